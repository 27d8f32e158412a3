//! When the error budget will be used up, if errors go on as forecast.

use super::LEVELS;

/// Seconds until the budget is used up; None if it never is at that rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exhaustion {
    /// At the 95 % quantile of the burn rate.
    pub earliest: Option<f64>,
    /// At its median.
    pub expected: Option<f64>,
    /// At its 5 % quantile.
    pub latest: Option<f64>,
}

/// From the forecast of a burn rate (1 uses up a whole budget in `period` seconds) to the time at which `remaining`, the
/// share of the budget that is left, is gone. The rate goes in a straight line from the quantiles of the next row to those
/// `lead` seconds ahead, and stays there. Each level is followed by itself, as if the whole future were as bad as that
/// level: the band is wide on purpose, since errors of successive rows go together.
#[must_use]
pub fn exhaustion(remaining: f64, period: f64, next: [f64; LEVELS], later: [f64; LEVELS], lead: f64) -> Exhaustion {
    let at = |level: usize| {
        let (Some(a), Some(b)) = (next.get(level), later.get(level)) else { return None };
        time(remaining * period, a.max(0.0), b.max(0.0), lead)
    };
    Exhaustion { earliest: at(4), expected: at(2), latest: at(0) }
}

/// Time in which a rate that goes from `a` to `b` in `lead` seconds and stays there has added up to `amount`.
fn time(amount: f64, a: f64, b: f64, lead: f64) -> Option<f64> {
    if !(amount.is_finite() && a.is_finite() && b.is_finite() && lead > 0.0) {
        return None;
    }
    if amount <= 0.0 {
        return Some(0.0);
    }
    let ramp = 0.5 * (a + b) * lead;
    if ramp >= amount {
        // The least root of a·t + slope·t²/2 = amount, in the form that does not cancel.
        let slope = (b - a) / lead;
        return Some(2.0 * amount / (a + (a * a + 2.0 * slope * amount).max(0.0).sqrt()));
    }
    (b > 0.0).then(|| lead + (amount - ramp) / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: f64 = 30.0 * 86_400.0;

    #[test]
    fn known_truths() {
        let burn = |b: f64| exhaustion(1.0, MONTH, [b; LEVELS], [b; LEVELS], 1800.0).expected;
        assert!((burn(1.0).unwrap() / MONTH - 1.0).abs() < 1e-9);
        assert!((burn(14.4).unwrap() / (MONTH / 14.4) - 1.0).abs() < 1e-9);
        assert_eq!(burn(0.0), None);
        assert_eq!(burn(-1.0), None);
        assert_eq!(burn(f64::NAN), None);
        assert_eq!(exhaustion(-0.1, MONTH, [0.0; LEVELS], [0.0; LEVELS], 1800.0).latest, Some(0.0));
        // A rate that rises from 0 to 2 in 100 s has used 100 of 2592 after those, and 2 a second from then on.
        let rising = exhaustion(1e-3, MONTH, [0.0; LEVELS], [2.0; LEVELS], 100.0).expected.unwrap();
        assert!((rising - (100.0 + (2592.0 - 100.0) / 2.0)).abs() < 1e-9);
        // Within the ramp: t² / 100 = 36.
        let early = exhaustion(36.0 / MONTH, MONTH, [0.0; LEVELS], [2.0; LEVELS], 100.0).expected.unwrap();
        assert!((early - 60.0).abs() < 1e-9, "{early}");
        // A falling rate that stops before the budget is gone.
        assert_eq!(exhaustion(1.0, MONTH, [5.0; LEVELS], [0.0; LEVELS], 100.0).expected, None);
    }

    #[test]
    fn worse_comes_sooner() {
        let quantiles = [0.0, 0.5, 1.0, 2.0, 6.0];
        let e = exhaustion(0.4, MONTH, quantiles, quantiles.map(|q| q * 1.5), 1800.0);
        assert!(e.earliest < e.expected && e.earliest.is_some() && e.latest.is_none(), "{e:?}");
    }
}
