//! Sudden moves, in units of how much the series usually moves, and of how seldom it moves that far.

use serde::{Deserialize, Serialize};

use super::{Constants, times::Times};
use crate::{
    detector::Sample,
    peaks::{NOTABLE, Peaks, Scarcity},
};

/// Moves over one and over two rows.
const LAGS: usize = 2;
const HOURS: usize = 24;
/// Moves before the largest ones are clipped.
const CLIP_AFTER: u64 = 30;
/// A move counts in its hour's scale up to this many mean squares, so that one spike does not make the hour deaf.
const HOUR_CLIP: f64 = 30.0;
/// Moves within so many seconds are one peak.
const PEAK_S: f64 = 1860.0;
/// From this share of the level of alarm on, half an octave below it, a move marks its time of the day.
const NEARLY: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// How much a series moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Jumps {
    last: [f64; LAGS],
    squares: [f64; LAGS],
    /// Mean square of the moves in each hour of the day, in units of that of all.
    hours: [f32; HOURS],
    peaks: Peaks,
    times: Times,
}

impl Default for Jumps {
    fn default() -> Self {
        Self {
            last: [0.0; LAGS],
            squares: [0.0; LAGS],
            hours: [1.0; HOURS],
            peaks: Peaks::default(),
            times: Times::default(),
        }
    }
}

impl Jumps {
    /// The largest move that ends in row `row` (counted from 0) of a series whose rows are `step` seconds apart, the last
    /// of them at `before`; 1 is alarming. Before `judged` there is none.
    pub(super) fn see(
        &mut self,
        constants: &Constants,
        (row, before, Sample { time, value }, step): (u64, f64, Sample, f64),
        judged: bool,
    ) -> f64 {
        let mut largest = 0.0f64;
        let mut relative = None;
        for (lag, (from, square)) in (1..).zip(self.last.iter().zip(&mut self.squares)) {
            let Some(moves) = row.checked_sub(lag) else { break };
            let squared = ((value - from) * (value - from)).min(f64::MAX);
            if *square > 0.0 {
                largest = largest.max(squared / *square);
                relative.get_or_insert(squared / *square);
            }
            let learnt = if moves >= CLIP_AFTER && *square > 0.0 {
                squared.min(constants.clip * constants.clip * *square)
            } else {
                squared
            };
            *square += (step / constants.memory).max(1.0 / (moves + 1) as f64) * (learnt - *square);
        }
        self.last.rotate_right(1);
        if let Some(newest) = self.last.first_mut() {
            *newest = value;
        }
        let usual = self.hour(constants, time, step, relative);
        if !judged {
            return 0.0;
        }
        self.times.pass(before, time);
        let strength = (largest / usual).sqrt() / constants.jump;
        strength / self.level(constants, time, strength)
    }

    /// The level of alarm for a move of this strength; then learns it. At times of the day at which the series often moves
    /// only what comes hardly ever is alarming.
    fn level(&mut self, constants: &Constants, time: f64, strength: f64) -> f64 {
        let scarcity =
            Scarcity { apart: PEAK_S, below: constants.scarce, above: constants.often, memory: constants.peaks };
        let often = strength >= NOTABLE && self.times.often(time);
        let usual = if often { self.peaks.level_where(&Scarcity { above: constants.daily, ..scarcity }) } else { 0.0 };
        let level = self.peaks.see(&scarcity, time, strength);
        // What is known stays known where the level has been raised above it, or each would undo the other.
        if strength >= NEARLY * if often { 1.0 } else { level } {
            self.times.note(time);
        }
        level.max(usual)
    }

    /// By how much moves at this time of day are larger than usual; then learns this row's.
    fn hour(&mut self, constants: &Constants, time: f64, step: f64, relative: Option<f64>) -> f64 {
        let hour = (time as i64).div_euclid(3600).rem_euclid(HOURS as i64) as usize;
        let Some(scale) = self.hours.get_mut(hour) else { return 1.0 };
        // Half of it on the scale of logarithms, and quiet hours count as usual ones.
        let usual = f64::from(*scale).sqrt().max(1.0);
        if let Some(relative) = relative {
            let rate = (step / 3600.0 * constants.hour).min(0.05);
            *scale += (rate * (relative.min(HOUR_CLIP) - f64::from(*scale))) as f32;
        }
        usual
    }
}
