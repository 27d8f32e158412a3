//! Scores of the Numenta Anomaly Benchmark, version 1.1 (Lavin and Ahmad 2015), in its three profiles.
//!
//! A labelled window earns once, for its earliest detection, the more the earlier; every detection outside a window
//! costs, the more the longer after the last window; a missed window costs. 0 is the score of a detector that never
//! alerts, 100 that of a perfect one. The first 15 % of a file, at most 750 rows, is probation and does not count.

use std::collections::BTreeMap;

/// What detections earn and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Its name in the benchmark.
    pub name: &'static str,
    true_positive: f64,
    false_negative: f64,
    false_positive: f64,
}

/// The benchmark's profiles.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", true_positive: 1.0, false_negative: 1.0, false_positive: 0.11 },
    Profile { name: "low-FP", true_positive: 1.0, false_negative: 1.0, false_positive: 0.22 },
    Profile { name: "low-FN", true_positive: 1.0, false_negative: 2.0, false_positive: 0.11 },
];

/// What a detection is worth at each row of a file.
#[derive(Clone, Debug)]
pub struct Truth {
    windows: Vec<(usize, usize)>,
    /// Weight of a detection in [-1, 1], and the window that it is in.
    rows: Vec<(f64, Option<usize>)>,
    probation: usize,
}

impl Truth {
    /// A file of `rows` rows with these windows (first and last row, in order).
    pub fn new(rows: usize, windows: &[(usize, usize)]) -> Self {
        let weigh = |row: usize| {
            if let Some((j, (a, b))) = windows.iter().enumerate().rfind(|(_, (a, b))| (*a..=*b).contains(&row)) {
                let left = (b - row + 1) as f64 / (b - a + 1) as f64;
                return (sigmoid(-left) / sigmoid(-1.0), Some(j));
            }
            let weight = windows.iter().rfind(|(_, b)| *b < row).map_or(-1.0, |(a, b)| {
                let y = (row - b) as f64 / (b - a) as f64;
                if y > 3.0 { -1.0 } else { sigmoid(y) }
            });
            (weight, None)
        };
        let probation = ((0.15 * rows as f64) as usize).min(750);
        Self { windows: windows.to_vec(), rows: (0..rows).map(weigh).collect(), probation }
    }

    /// First and last row of each window.
    pub fn windows(&self) -> &[(usize, usize)] {
        &self.windows
    }
}

/// Weight in (-1, 1) by the position: -1 at a window's left edge, 0 at its right, above 0 after it.
fn sigmoid(y: f64) -> f64 {
    2.0 / (1.0 + (5.0 * y).exp()) - 1.0
}

/// All detections of some files from the highest score down: the result of every threshold in one pass.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Score, weight, window.
    rows: Vec<(f64, f64, Option<usize>)>,
    windows: usize,
    /// Windows that do not lie wholly in probation.
    scorable: usize,
}

/// A profile's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Normalised score.
    pub score: f64,
    /// The one threshold for all files that earns it.
    pub threshold: f64,
}

impl Sweep {
    /// Takes the scores, one for each row, of files.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a Truth, &'a [f64])>) -> Self {
        let (mut rows, mut windows, mut scorable) = (Vec::new(), 0, 0);
        for (truth, scores) in files {
            let begin = rows.len();
            rows.extend(
                truth
                    .rows
                    .iter()
                    .zip(scores)
                    .skip(truth.probation)
                    .map(|((w, at), s)| (*s, *w, at.map(|j| j + windows))),
            );
            let mut seen: Vec<usize> = rows[begin..].iter().filter_map(|row| row.2).collect();
            seen.dedup();
            scorable += seen.len();
            windows += truth.windows.len();
        }
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { rows, windows, scorable }
    }

    /// The score with the threshold that is best for the profile.
    pub fn best(&self, profile: Profile) -> Best {
        let mut best = (-profile.false_negative * self.scorable as f64, 1.1);
        self.walk(profile, |threshold, raw| {
            if raw > best.0 {
                best = (raw, threshold);
            }
            true
        });
        Best { score: self.normalised(profile, best.0), threshold: best.1 }
    }

    /// The score with this threshold.
    pub fn at(&self, profile: Profile, threshold: f64) -> f64 {
        let mut raw = -profile.false_negative * self.scorable as f64;
        self.walk(profile, |at, sum| {
            let on = at >= threshold;
            if on {
                raw = sum;
            }
            on
        });
        self.normalised(profile, raw)
    }

    /// Calls with every threshold and its raw score, from the highest down, until told to stop.
    fn walk(&self, profile: Profile, mut visit: impl FnMut(f64, f64) -> bool) {
        let mut raw = -profile.false_negative * self.scorable as f64;
        let mut earned: BTreeMap<usize, f64> = BTreeMap::new();
        for group in self.rows.chunk_by(|a, b| a.0 == b.0) {
            for (_, weight, window) in group {
                let Some(window) = window else {
                    raw += weight * profile.false_positive;
                    continue;
                };
                let had = earned.entry(*window).or_insert(-profile.false_negative);
                let gain = weight * profile.true_positive;
                if gain > *had {
                    raw += gain - *had;
                    *had = gain;
                }
            }
            if !group.first().is_some_and(|row| visit(row.0, raw)) {
                return;
            }
        }
    }

    fn normalised(&self, profile: Profile, raw: f64) -> f64 {
        let null = -profile.false_negative * self.scorable as f64;
        100.0 * (raw - null) / (self.windows as f64 * profile.true_positive - null)
    }
}
