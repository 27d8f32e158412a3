//! A joint anomaly: series that usually move together no longer do, though each stays within its own range.
//!
//! The rows of all series of one SLO are points; principal components span where those points usually lie. What of a new
//! row lies outside (its squared prediction error, Jackson and Mudholkar 1979) is compared with the same of earlier rows.

use linfa_linalg::eigh::EighInto as _;
use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};

use crate::detector::{Verdict, move_score};
use crate::lstm::Random;

/// Rows remembered, a sample of all that came with newer ones more likely.
const ROWS: usize = 256;
/// Rows over which the remembered ones are replaced in the long run.
const SPAN: f64 = 20_000.0;
/// Rows between two fits of the components.
const REFIT: u64 = 64;
/// Rows before the first verdict.
const WARM: u64 = 200;
/// Share of the variance that the components must explain.
const EXPLAINED: f64 = 0.9;
/// Components stay below this share of the series, so that something is left to break.
const MOST: f64 = 0.7;
/// Rank of the usual residual among the remembered ones.
const USUAL: f64 = 0.99;
/// A residual this many times the usual one is anomalous.
const LEVEL: f64 = 2.0;

/// What a row's residual says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointVerdict {
    /// Residual over the alert level: 1 is the level. 0 while nothing is known.
    pub strength: f64,
    /// The series with the largest share in the residual.
    pub series: usize,
    /// Whether that one lies above what the others say of it.
    pub above: bool,
}

impl JointVerdict {
    /// The same in the terms of a detector of one series: it ranks as a move, since each value by itself is known.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let alarming = self.strength >= 1.0;
        Verdict { score: move_score(self.strength), alarming, alert: alarming }
    }
}

/// Watches a handful of series together. Memory: 1 KB a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    series: usize,
    rows: u64,
    /// Remembered rows, one after the other.
    kept: Vec<f32>,
    random: Random,
    model: Option<Model>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Model {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// The components, one after the other: as many numbers each as there are series.
    axes: Vec<f64>,
    usual: f64,
}

impl Joint {
    /// For `series` series whose rows come together.
    #[must_use]
    pub fn new(series: usize) -> Self {
        Self { series, rows: 0, kept: Vec::new(), random: Random(series as u64), model: None }
    }

    /// Judges a row, one value for each series, and learns from it. A row with a value missing (not finite) or of another
    /// length is passed over.
    pub fn step(&mut self, row: &[f64]) -> JointVerdict {
        if self.series < 2 || row.len() != self.series || !row.iter().all(|v| v.abs() < 1e30) {
            return JointVerdict::default();
        }
        let verdict = match &self.model {
            Some(model) if self.rows >= WARM => model.judge(row),
            _ => JointVerdict::default(),
        };
        // A row that breaks with the others is no example of what is usual.
        if verdict.strength < 1.0 {
            self.keep(row);
        }
        self.rows += 1;
        if self.rows.is_multiple_of(REFIT) {
            self.model = self.fit().or(self.model.take());
        }
        verdict
    }

    /// One series less; what is known of the others stays.
    pub fn drop_series(&mut self, series: usize) {
        if series >= self.series {
            return;
        }
        let rows = self.kept.chunks_exact(self.series);
        let others = rows.flat_map(|row| row.iter().enumerate().filter(|(i, _)| *i != series).map(|(_, v)| *v));
        self.kept = others.collect();
        self.series -= 1;
        self.model = if self.series < 2 { None } else { self.fit() };
    }

    fn keep(&mut self, row: &[f64]) {
        let row = row.iter().map(|v| *v as f32);
        if self.kept.len() < ROWS * self.series {
            self.kept.extend(row);
            return;
        }
        let chance = ROWS as f64 / (self.rows as f64 + 1.0).min(SPAN);
        if f64::from(self.random.unit()) < chance {
            let at = self.random.below(ROWS) * self.series;
            self.kept.iter_mut().skip(at).zip(row).for_each(|(old, new)| *old = new);
        }
    }

    fn fit(&self) -> Option<Model> {
        let n = self.kept.len() / self.series;
        let mut mean = vec![0.0; self.series];
        let mut scale = vec![0.0; self.series];
        for row in self.kept.chunks_exact(self.series) {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n as f64);
        }
        for row in self.kept.chunks_exact(self.series) {
            let values = row.iter().zip(&mean);
            scale.iter_mut().zip(values).for_each(|(s, (v, m))| *s += (f64::from(*v) - m).powi(2) / n as f64);
        }
        // A constant series, but for rounding, has nothing in common with the others; any change of it is its own matter.
        scale.iter_mut().zip(&mean).for_each(|(s, m)| *s = if s.sqrt() > 1e-9 * m.abs() { s.sqrt() } else { 0.0 });
        let live = scale.iter().filter(|s| **s > 0.0).count();
        if live < 2 || n < 4 * self.series {
            return None;
        }
        let normal: Vec<f64> = self
            .kept
            .chunks_exact(self.series)
            .flat_map(|row| row.iter().zip(&mean).zip(&scale).map(|((v, m), s)| normalised(f64::from(*v), *m, *s)))
            .collect();
        let points = Array2::from_shape_vec((n, self.series), normal).ok()?;
        let most = ((live as f64 * MOST) as usize).max(1);
        let (variances, vectors) = (points.t().dot(&points) / n as f64).eigh_into().ok()?;
        // The largest first; a variance of 1 for each series that moves.
        let mut order: Vec<(f64, ArrayView1<'_, f64>)> = variances.iter().copied().zip(vectors.columns()).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        order.truncate(most);
        let mut explained = 0.0;
        order.retain(|(variance, _)| {
            let wanted = explained < EXPLAINED * live as f64;
            explained += variance;
            wanted
        });
        let axes: Vec<f64> = order.iter().flat_map(|(_, axis)| axis.iter().copied()).collect();
        let mut model = Model { mean, scale, axes, usual: 0.0 };
        let mut errors: Vec<f64> = points.rows().into_iter().map(|r| model.residual(&r.to_vec()).strength).collect();
        errors.sort_by(f64::total_cmp);
        model.usual = errors.get((USUAL * (n - 1) as f64) as usize).copied()?;
        (!model.axes.is_empty() && model.usual > 0.0 && model.axes.iter().all(|v| v.is_finite())).then_some(model)
    }
}

/// In standard deviations from the mean; 0 for a series that never moved.
fn normalised(v: f64, mean: f64, scale: f64) -> f64 {
    if scale > 0.0 { ((v - mean) / scale).clamp(-1e3, 1e3) } else { 0.0 }
}

impl Model {
    fn judge(&self, row: &[f64]) -> JointVerdict {
        let normal: Vec<f64> =
            row.iter().zip(&self.mean).zip(&self.scale).map(|((v, m), s)| normalised(*v, *m, *s)).collect();
        let verdict = self.residual(&normal);
        JointVerdict { strength: verdict.strength / self.usual / LEVEL, ..verdict }
    }

    /// Length of what lies outside the components, and the series that has most of it.
    fn residual(&self, normal: &[f64]) -> JointVerdict {
        let mut rest = normal.to_vec();
        for axis in self.axes.chunks_exact(normal.len().max(1)) {
            let along: f64 = axis.iter().zip(normal).map(|(a, v)| a * v).sum();
            rest.iter_mut().zip(axis).for_each(|(r, a)| *r -= along * a);
        }
        let worst = rest.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        let (series, above) = worst.map_or((0, false), |(i, rest)| (i, *rest > 0.0));
        JointVerdict { strength: rest.iter().map(|r| r * r).sum::<f64>().sqrt(), series, above }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five series that follow one daily load, each with its own noise; from `fault` on, the third follows no more: it shows
    /// what it showed half a day before, values that it has every day.
    fn load(at: usize, fault: usize, random: &mut Random) -> Vec<f64> {
        (0..5)
            .map(|s| {
                let shift = if s == 2 && at >= fault { 144.0 } else { 0.0 };
                let day = ((at as f64 - shift) / 288.0 * std::f64::consts::TAU).sin();
                let noise = f64::from(random.unit() + random.unit() - 1.0);
                f64::from(s + 1) * (10.0 + 4.0 * day + 0.6 * noise)
            })
            .collect()
    }

    #[test]
    fn finds_a_series_that_no_longer_follows_though_it_stays_in_its_range() {
        let mut random = Random(1);
        let mut joint = Joint::new(5);
        let fault = 288 * 14;
        let (mut early, mut range) = (0, (f64::MAX, f64::MIN));
        for at in 0..fault {
            let row = load(at, fault, &mut random);
            range = (range.0.min(row[2]), range.1.max(row[2]));
            early += usize::from(joint.step(&row).strength >= 1.0);
        }
        assert_eq!(early, 0, "false alarms in two weeks");
        let (mut first, mut hits) = (None, 0);
        for at in fault..fault + 288 {
            let row = load(at, fault, &mut random);
            assert!((range.0 - 1.0..range.1 + 1.0).contains(&row[2]), "the series itself stays in range");
            let verdict = joint.step(&row);
            if verdict.strength >= 1.0 {
                first = first.or(Some(at - fault));
                hits += usize::from(verdict.series == 2);
            }
        }
        // At first the two courses coincide: they cross where the fault begins.
        assert!(first.is_some_and(|f| f < 36), "found after {first:?} rows of five minutes");
        assert!(hits > 100, "and named in {hits} rows");
    }

    #[test]
    fn a_series_that_goes_leaves_what_is_known_of_the_others() {
        let mut random = Random(2);
        let mut joint = Joint::new(5);
        (0..288 * 7).for_each(|at| _ = joint.step(&load(at, usize::MAX, &mut random)));
        joint.drop_series(0);
        joint.drop_series(4);
        let (mut early, mut found) = (0, JointVerdict::default());
        for at in 288 * 7..288 * 9 {
            let row = load(at, 288 * 8, &mut random);
            // The third is the second of those that are left, and stays behind while the load rises.
            let verdict = joint.step(&row[1..]);
            if at < 288 * 8 {
                early += usize::from(verdict.strength >= 1.0);
            } else if verdict.strength > found.strength && at < 288 * 8 + 72 {
                found = verdict;
            }
        }
        assert_eq!(early, 0);
        assert!(found.strength > 1.0 && found.series == 1 && !found.above, "{found:?}");
        assert_eq!(joint.step(&[1.0; 5]), JointVerdict::default(), "a row of before");
    }

    #[test]
    fn constants_gaps_and_single_series_say_nothing() {
        let mut joint = Joint::new(3);
        for at in 0..600 {
            let verdict = joint.step(&[1.0, if at % 5 == 0 { f64::NAN } else { 2.0 }, 3.0]);
            assert_eq!(verdict, JointVerdict::default());
        }
        let mut one = Joint::new(1);
        for at in 0..600 {
            assert_eq!(one.step(&[f64::from(at)]), JointVerdict::default());
        }
    }
}
