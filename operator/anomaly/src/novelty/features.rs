//! The four views of a series in which values can be new.

use serde::{Deserialize, Serialize};

/// Views.
pub(super) const FEATURES: usize = 4;
/// Rows of the two means.
const SHORT: usize = 10;
pub(super) const LONG: usize = 30;
const HOURS: usize = 168;
/// Largest magnitude of a feature, so that a range of 32-bit numbers cannot overflow.
const LIMIT: f64 = 1e37;

/// What the views need to remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Features {
    /// The first value: features are counted from it, so that a large offset costs no precision.
    origin: f64,
    /// The last values, the newest last overwritten at `rows % LONG`.
    ring: Vec<f32>,
    profile: Vec<f32>,
    /// Values seen in each hour of the week, up to 255.
    counts: Vec<u8>,
}

impl Features {
    pub(super) fn new(origin: f64) -> Self {
        Self { origin, ring: vec![0.0; LONG], profile: vec![0.0; HOURS], counts: vec![0; HOURS] }
    }

    /// The views of row `row` (counted from 0): signed root, residual of the hour of the week, short and long mean.
    pub(super) fn see(&mut self, rate: f64, row: u64, time: f64, value: f64) -> [f32; FEATURES] {
        let root = |x: f64| x.abs().sqrt().copysign(x);
        let x = (value - self.origin).clamp(-LIMIT, LIMIT);
        let hour = (time.rem_euclid(604_800.0) / 3600.0) as usize % HOURS;
        let residual = self.residual(rate, hour, x);
        let at = (row % LONG as u64) as usize;
        if let Some(slot) = self.ring.get_mut(at) {
            *slot = x as f32;
        }
        let (short, long) = self.means(at, row);
        [(root(value) - root(self.origin)).clamp(-LIMIT, LIMIT) as f32, residual, short, long]
    }

    /// How far the value is from the profile of its hour; then moves the profile.
    fn residual(&mut self, rate: f64, hour: usize, x: f64) -> f32 {
        let (Some(profile), Some(count)) = (self.profile.get_mut(hour), self.counts.get_mut(hour)) else { return 0.0 };
        let expected = f64::from(*profile);
        let residual = if *count > 0 { x - expected } else { 0.0 };
        *count = count.saturating_add(1);
        *profile = (expected + rate.max(1.0 / f64::from(*count)) * (x - expected)) as f32;
        residual.clamp(-LIMIT, LIMIT) as f32
    }

    /// Means of the last values; `at` is the newest one's place in the ring.
    fn means(&self, at: usize, row: u64) -> (f32, f32) {
        let seen = (row + 1).min(LONG as u64) as usize;
        let sum = |count: usize| -> f64 {
            let (before, after) = self.ring.split_at(at + 1);
            let recent = before.iter().rev().chain(after.iter().rev()).take(count);
            recent.map(|v| f64::from(*v)).sum()
        };
        let (short, long) = (seen.min(SHORT), seen);
        ((sum(short) / short as f64) as f32, (sum(long) / long as f64) as f32)
    }

    pub(super) fn bytes(&self) -> usize {
        8 + 4 * (LONG + HOURS) + HOURS
    }
}
