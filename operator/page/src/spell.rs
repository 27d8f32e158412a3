//! How long a budget lasts.
//!
//! What is recorded is a share of the budget of the events that there were. So it is of the time in which they were: of a calendar period
//! that is what has gone by, and of a young service what there is. Nothing is said of events that nobody has seen.

/// The time of which a recorded budget is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spell {
    /// Seconds with samples.
    known: f64,
    /// Length of the period in seconds.
    period: f64,
    /// Seconds until it begins anew; none of a rolling one.
    ends: Option<f64>,
}

impl Spell {
    /// Of a rolling period in seconds, and the share of it with samples; none while there are none.
    pub fn rolling(period: f64, coverage: f64) -> Option<Self> {
        Self { known: period * coverage, period, ends: None }.checked()
    }

    /// Of a calendar period of so many seconds that began so many seconds ago, and the share with samples since.
    pub fn calendar(period: f64, since: f64, coverage: f64) -> Option<Self> {
        // A long month is longer than the usual one.
        Self { known: since * coverage, period, ends: Some((period - since).max(0.0)) }.checked()
    }

    fn checked(self) -> Option<Self> {
        (self.known > 0.0 && self.known.is_finite()).then_some(self)
    }

    /// Seconds with samples, where they are fewer than the period has: then numbers are of these.
    pub fn part(&self) -> Option<f64> {
        // An evaluation that was missed is not worth a word.
        (self.known < 0.99 * self.period).then_some(self.known)
    }

    /// Seconds until of this share of the budget nothing is left, at a burn rate. The budget of a calendar period grows with the
    /// events that are still to come; that of a rolling one is taken for what it is, and what leaves it is not counted.
    fn until_spent(&self, left: f64, burn: f64) -> f64 {
        let grows = if self.ends.is_some() { 1.0 } else { 0.0 };
        left * self.known / (burn - grows)
    }

    /// The same, where it is spent within the period.
    pub fn lasts(&self, left: f64, burn: f64) -> Option<f64> {
        let seconds = self.until_spent(left, burn);
        (left > 0.0 && burn > 1.0 && seconds < self.ends.unwrap_or(self.period)).then_some(seconds)
    }

    /// Seconds in which everything may fail until a share of the budget is spent, of an error budget as a ratio.
    pub fn outage(&self, left: f64, budget: f64) -> f64 {
        self.until_spent(left, 1.0 / budget)
    }

    /// What is left after some seconds at a burn rate, and how many of them there are in the period.
    pub fn after(&self, left: f64, burn: f64, seconds: f64) -> (f64, f64) {
        match self.ends {
            None => (left - burn * seconds / self.known, seconds),
            Some(ends) => {
                let seconds = seconds.min(ends);
                ((left * self.known + (1.0 - burn) * seconds) / (self.known + seconds), seconds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: f64 = 86_400.0;

    /// What the rules record: 1 - bad / total / budget since the period began, with one event each second.
    fn recorded(bad: f64, total: f64, budget: f64) -> f64 {
        1.0 - bad / total / budget
    }

    #[test]
    fn a_calendar_budget_lasts_until_what_is_recorded_is_nothing() {
        let budget = 0.001;
        let (since, burn) = (3.0 * DAY, 14.4);
        let month = Spell::calendar(30.0 * DAY, since, 1.0).unwrap();
        let bad = 0.5 * budget * since;
        let seconds = month.lasts(0.5, burn).unwrap();
        assert!((seconds / 3600.0 - 2.7).abs() < 0.02, "{seconds}");
        let at = |seconds: f64, burn: f64| recorded(bad + burn * budget * seconds, since + seconds, budget);
        assert!(at(seconds, burn).abs() < 1e-9);
        let (then, ahead) = month.after(0.5, burn, 3600.0);
        assert!((then - at(3600.0, burn)).abs() < 1e-9 && (ahead - 3600.0).abs() < 1e-9);
        // All fails: 2.2 minutes, and not the 21.6 that half the budget of a whole month would be.
        let outage = month.outage(0.5, budget);
        assert!((outage / 60.0 - 2.16).abs() < 0.01, "{outage}");
        assert!(at(outage, 1.0 / budget).abs() < 1e-9);
    }

    #[test]
    fn a_calendar_period_ends() {
        let month = Spell::calendar(30.0 * DAY, 29.0 * DAY, 1.0).unwrap();
        assert_eq!(month.lasts(0.5, 2.0), None, "a new one begins before");
        assert!(month.lasts(0.5, 29.0).is_some());
        assert_eq!(month.after(0.5, 1.0, 3.0 * DAY).1, DAY);
        assert_eq!(Spell::calendar(30.0 * DAY, 0.0, 1.0), None, "it has just begun");
        assert_eq!(Spell::calendar(30.0 * DAY, 31.0 * DAY, 1.0).unwrap().lasts(0.5, 20.0), None);
    }

    #[test]
    fn of_a_young_service_only_what_there_is_counts() {
        let whole = Spell::rolling(30.0 * DAY, 1.0).unwrap();
        assert_eq!((whole.lasts(0.5, 20.0), whole.part()), (Some(0.75 * DAY), None));
        let young = Spell::rolling(30.0 * DAY, 0.1).unwrap();
        assert_eq!((young.lasts(0.5, 20.0), young.part()), (Some(0.075 * DAY), Some(3.0 * DAY)));
        assert!((young.outage(0.5, 0.001) - 0.0015 * DAY).abs() < 1e-9);
        assert!((young.after(0.5, 20.0, 0.075 * DAY).0).abs() < 1e-9);
        assert_eq!(Spell::rolling(30.0 * DAY, 0.0), None);
        assert_eq!(Spell::rolling(30.0 * DAY, f64::NAN), None);
    }

    #[test]
    fn what_is_never_spent_does_not_run_out() {
        for spell in [Spell::rolling(1000.0, 1.0).unwrap(), Spell::calendar(1000.0, 500.0, 1.0).unwrap()] {
            assert_eq!(spell.lasts(0.5, 0.9), None);
            assert_eq!(spell.lasts(0.0, 10.0), None, "it is spent");
            assert_eq!(spell.lasts(0.5, f64::NAN), None);
        }
    }
}
