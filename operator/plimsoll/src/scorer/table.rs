//! All series that are scored, with what the detector knows of each. Pure: the time is given.

use std::collections::HashMap;

use plimsoll_anomaly::{Detector as _, Sample, novelty::Novelty};
use plimsoll_api::anomaly::Direction;

use super::watches::{Labels, Watch};

/// Series of one watch.
pub(crate) const PER_WATCH: usize = 500;
/// Series in all, at some 4 KB each.
pub(crate) const IN_ALL: usize = 10_000;
/// Seconds after which a score says nothing of the present.
pub(crate) const FRESH: f64 = 120.0;
/// Seconds after which a series counts as vanished: others may take its place.
pub(crate) const VANISHED: f64 = 900.0;
/// Seconds after which a series is forgotten.
pub(crate) const FORGOTTEN: f64 = 86_400.0;
/// Seconds over which the recent level of a series is taken.
const LEVEL: f64 = 1800.0;

#[derive(Debug, Default)]
struct Series {
    detector: Novelty,
    /// Time of the last sample, in seconds since 1970.
    last: f64,
    /// The recent level, before the next sample.
    level: f64,
    score: f64,
}

impl Series {
    /// Samples that are not newer than the last one, and those without a value, change nothing.
    fn take(&mut self, direction: Direction, time: f64, value: f64) {
        if !value.is_finite() || !time.is_finite() || time <= self.last {
            return;
        }
        // The first sample is its own level.
        let weight = if self.last == 0.0 { 1.0 } else { 1.0 - (-(time - self.last) / LEVEL).exp() };
        let asked = match direction {
            Direction::Both => true,
            Direction::Up => value > self.level,
            Direction::Down => value < self.level,
        };
        let verdict = self.detector.step(Sample { time, value });
        self.score = if asked { verdict.score } else { 0.0 };
        self.level = (1.0 - weight) * self.level + weight * value;
        self.last = time;
    }
}

/// Series by watch, each by the labels of its score.
#[derive(Debug, Default)]
pub(crate) struct Table {
    watches: HashMap<Watch, HashMap<Labels, Series>>,
    /// Series that found no room when their watch was last asked for.
    refused: HashMap<Watch, usize>,
}

impl Table {
    /// Scores these samples, each series' in order of time, as they are known at `end`. Gives the number
    /// of series for which there is no room.
    pub(crate) fn take(
        &mut self,
        watch: &Watch,
        end: f64,
        found: impl IntoIterator<Item = (Labels, Vec<(f64, f64)>)>,
    ) -> usize {
        let mut room = IN_ALL.saturating_sub(self.len());
        let all = self.watches.entry(watch.clone()).or_default();
        let mut refused = 0;
        let mut swept = false;
        for (labels, samples) in found {
            if !all.contains_key(&labels) {
                if (all.len() >= PER_WATCH || room == 0) && !swept {
                    swept = true;
                    let before = all.len();
                    all.retain(|_, series| end - series.last <= VANISHED);
                    room += before - all.len();
                }
                if all.len() >= PER_WATCH || room == 0 {
                    refused += 1;
                    continue;
                }
                room -= 1;
            }
            let series = all.entry(labels).or_default();
            for (time, value) in samples {
                series.take(watch.direction, time, value);
            }
        }
        self.refused.insert(watch.clone(), refused);
        refused
    }

    /// Forgets what is watched no more, and series that have not been seen for a day.
    pub(crate) fn sweep(&mut self, now: f64, is_watched: impl Fn(&Watch) -> bool) {
        self.watches.retain(|watch, _| is_watched(watch));
        self.refused.retain(|watch, _| is_watched(watch));
        for series in self.watches.values_mut() {
            series.retain(|_, series| now - series.last <= FORGOTTEN);
        }
    }

    /// Everything that is known, seen lately or not.
    pub(crate) fn len(&self) -> usize {
        self.watches.values().map(HashMap::len).sum()
    }

    /// Series that were seen in the last quarter of an hour, and those that find no room.
    pub(crate) fn counts(&self, now: f64) -> (usize, usize) {
        let seen = self.watches.values().flat_map(HashMap::values).filter(|s| now - s.last <= VANISHED).count();
        (seen, self.refused.values().sum())
    }

    /// The scores that say something of the present.
    pub(crate) fn scores(&self, now: f64) -> impl Iterator<Item = (&Labels, f64)> {
        let all = self.watches.values().flatten();
        all.filter(move |(_, series)| now - series.last <= FRESH).map(|(labels, series)| (labels, series.score))
    }
}
