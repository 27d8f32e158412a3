//! Simple forecasts to be compared with, calibrated in the same way.

use super::evaluate::{History, Issued};
use super::{LEVELS, QUANTILES};
use std::fmt;

/// A forecast of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Baseline {
    /// Exponential mean with this half-life in rows; 0 is the last value.
    Ewma(f64),
    /// The value this many seconds before the row forecast; the last value until there is one.
    Seasonal(f64),
}

impl Baseline {
    /// All that are tried; the best is chosen in hindsight.
    pub const ALL: [Self; 11] = [
        Self::Ewma(0.0),
        Self::Ewma(0.5),
        Self::Ewma(1.0),
        Self::Ewma(2.0),
        Self::Ewma(4.0),
        Self::Ewma(8.0),
        Self::Ewma(16.0),
        Self::Ewma(32.0),
        Self::Ewma(128.0),
        Self::Seasonal(86_400.0),
        Self::Seasonal(604_800.0),
    ];

    /// The forecast for every row as it was known `lead` rows before; NaN for the first rows.
    #[must_use]
    pub fn points(self, history: &History, lead: usize) -> Vec<f64> {
        let mut points = vec![f64::NAN; history.values.len()];
        match self {
            Self::Ewma(half_life) => {
                let share = if half_life > 0.0 { 1.0 - 0.5f64.powf(1.0 / half_life) } else { 1.0 };
                let mut mean = 0.0;
                for (i, value) in history.values.iter().enumerate() {
                    if value.is_finite() {
                        mean += share.max(1.0 / (i + 1) as f64) * (value - mean);
                    }
                    if let Some(point) = points.get_mut(i + lead) {
                        *point = mean;
                    }
                }
            }
            Self::Seasonal(lag) => {
                let mut earlier = history.times.iter().zip(&history.values).enumerate().peekable();
                let (mut at, mut found) = (0, None);
                for (row, point) in points.iter_mut().enumerate().skip(lead) {
                    let wanted = history.times.get(row).map_or(0.0, |t| t - lag + 1e-6);
                    while let Some((i, (_, value))) = earlier.next_if(|(_, (time, _))| **time <= wanted) {
                        (at, found) = (i, Some(*value));
                    }
                    let last = history.values.get(row - lead).copied();
                    *point = found.filter(|_| at + lead <= row).or(last).unwrap_or(f64::NAN);
                }
            }
        }
        points
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ewma(0.0) => write!(f, "last value"),
            Self::Ewma(half_life) => write!(f, "EWMA, half-life {half_life} rows"),
            Self::Seasonal(lag) => write!(f, "seasonal, {} days", lag / 86_400.0),
        }
    }
}

/// How quantiles are laid around a forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibration {
    /// Online conformal offsets, as the forecaster's: units of the mean absolute error, steps of this share of the band.
    Conformal(f64),
    /// Empirical quantiles of this many last errors.
    Window(usize),
}

impl Calibration {
    /// All that are tried with each forecast.
    pub const ALL: [Self; 7] = [
        Self::Conformal(0.002),
        Self::Conformal(0.005),
        Self::Conformal(0.01),
        Self::Conformal(0.03),
        Self::Window(100),
        Self::Window(300),
        Self::Window(1000),
    ];

    /// Quantiles of every row around `points`, each known `lead` rows before.
    #[must_use]
    pub fn quantiles(self, values: &[f64], points: &[f64], lead: usize) -> Issued {
        match self {
            Self::Conformal(rate) => conformal(values, points, lead, rate),
            Self::Window(rows) => empirical(values, points, lead, rows),
        }
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conformal(rate) => write!(f, "conformal {rate}"),
            Self::Window(rows) => write!(f, "last {rows} errors"),
        }
    }
}

/// Width of the 90 % band of a Laplace distribution, in mean absolute errors.
const LAPLACE: f64 = 4.605;

fn conformal(values: &[f64], points: &[f64], lead: usize, rate: f64) -> Issued {
    let mut issued: Issued = vec![[f64::NAN; LEVELS]; values.len()];
    let (mut unit, mut seen) = (0.0f64, 0.0f64);
    let mut offsets = [-0.5 * LAPLACE, -0.693, 0.0, 0.693, 0.5 * LAPLACE];
    for row in lead..values.len() {
        let known = row - lead;
        if let (Some(value), Some(point), Some(said)) = (values.get(known), points.get(known), issued.get(known))
            && value.is_finite()
            && point.is_finite()
        {
            seen += 1.0;
            let miss = (value - point).abs();
            let miss = if seen > 20.0 && unit > 0.0 { miss.min(10.0 * unit) } else { miss };
            unit += 0.002f64.max(1.0 / seen) * (miss - unit);
            let step = LAPLACE * rate.max(1.0 / (seen + 10.0));
            for ((offset, level), q) in offsets.iter_mut().zip(QUANTILES).zip(said) {
                *offset += step * (f64::from(level) - if value < q { 1.0 } else { 0.0 });
            }
        }
        if let (Some(point), Some(slot)) = (points.get(row), issued.get_mut(row)) {
            let mut least = f64::NEG_INFINITY;
            *slot = offsets.map(|offset| {
                least = least.max(point + unit * offset);
                least
            });
        }
    }
    issued
}

fn empirical(values: &[f64], points: &[f64], lead: usize, rows: usize) -> Issued {
    let mut issued: Issued = vec![[f64::NAN; LEVELS]; values.len()];
    let mut sorted: Vec<f64> = Vec::with_capacity(rows + 1);
    let error = |row: usize| Some(values.get(row)? - points.get(row)?).filter(|e| e.is_finite());
    for row in lead..values.len() {
        let known = row - lead;
        if let Some(e) = error(known) {
            sorted.insert(sorted.partition_point(|v| *v < e), e);
        }
        if let Some(e) = known.checked_sub(rows).and_then(error) {
            sorted.remove(sorted.partition_point(|v| *v < e));
        }
        if let (Some(point), Some(slot), false) = (points.get(row), issued.get_mut(row), sorted.is_empty()) {
            *slot = QUANTILES.map(|level| point + rank(&sorted, f64::from(level)));
        }
    }
    issued
}

/// The value of rank `level` in a sorted list that is not empty, between its two neighbours.
fn rank(sorted: &[f64], level: f64) -> f64 {
    let place = level * (sorted.len() - 1) as f64;
    let below = sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    let above = sorted.get(place as usize + 1).copied().unwrap_or(below);
    below + (place - place.floor()) * (above - below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::evaluate::score;
    use crate::lstm::Random;

    fn history(n: usize, value: impl Fn(usize) -> f64) -> History {
        History {
            name: "s".into(),
            times: (0..n).map(|i| i as f64 * 300.0).collect(),
            values: (0..n).map(value).collect(),
            anomalous: vec![false; n],
        }
    }

    #[test]
    fn seasonal_repeats_yesterday() {
        let h = history(1000, |i| (i % 288) as f64);
        let points = Baseline::Seasonal(86_400.0).points(&h, 6);
        assert_eq!(points[700], h.values[700]);
        assert_eq!(points[100], h.values[94], "before the first day is over, the last value");
        assert!(points[5].is_nan());
    }

    #[test]
    fn nothing_is_known_too_early() {
        let mut random = Random(4);
        let noise: Vec<f64> = (0..600).map(|_| f64::from(random.unit())).collect();
        let whole = history(600, |i| noise[i]);
        let mut other = whole.clone();
        other.values[500..].fill(1e6);
        for b in Baseline::ALL {
            for lead in [1, 6] {
                let (p, q) = (b.points(&whole, lead), b.points(&other, lead));
                assert_eq!(p[lead..500 + lead], q[lead..500 + lead], "{b}");
                for c in Calibration::ALL {
                    let (p, q) = (c.quantiles(&whole.values, &p, lead), c.quantiles(&other.values, &q, lead));
                    assert_eq!(p[2 * lead..500 + lead], q[2 * lead..500 + lead], "{b}, {c}");
                }
            }
        }
    }

    #[test]
    fn calibrations_cover() {
        let mut random = Random(8);
        let noise: Vec<f64> = (0..5000).map(|_| f64::from(random.unit() * random.unit())).collect();
        let h = history(5000, |i| noise[i]);
        for c in Calibration::ALL {
            let s = score(&h, 1, &c.quantiles(&h.values, &Baseline::Ewma(16.0).points(&h, 1), 1));
            assert!((s.coverage - 0.9).abs() < 0.03, "{c}: {s:?}");
        }
    }
}
