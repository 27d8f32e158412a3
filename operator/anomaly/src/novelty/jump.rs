//! Sudden moves, in units of how much the series usually moves, and of how seldom it moves that far.

use serde::{Deserialize, Serialize};

use super::Constants;

/// Moves over one and over two rows.
const LAGS: usize = 2;
const HOURS: usize = 24;
/// A move counts in its hour's scale up to this many mean squares, so that one spike does not make the hour deaf.
const HOUR_CLIP: f64 = 30.0;
/// Bands of peaks, six to an octave; the first begins three below the strength 1.
const BANDS: usize = 13;
const BANDS_PER_OCTAVE: f64 = 6.0;
const FIRST_BAND: f64 = -3.0;
/// The peak of a series is taken once in this many seconds.
const PEAK_S: f64 = 1860.0;
const WEEK_S: f64 = 604_800.0;

/// How much a series moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Jumps {
    last: [f64; LAGS],
    squares: [f64; LAGS],
    /// Mean square of the moves in each hour of the day, in units of that of all.
    hours: [f32; HOURS],
    peaks: Peaks,
}

impl Default for Jumps {
    fn default() -> Self {
        Self { last: [0.0; LAGS], squares: [0.0; LAGS], hours: [1.0; HOURS], peaks: Peaks::default() }
    }
}

impl Jumps {
    /// The largest move that ends in row `row` (counted from 0) of a series whose rows are `step` seconds apart;
    /// 1 is alarming. Before `judged` there is none.
    pub(super) fn see(
        &mut self,
        constants: &Constants,
        (row, time, step): (u64, f64, f64),
        value: f64,
        judged: bool,
    ) -> f64 {
        let mut largest = 0.0f64;
        let mut relative = None;
        for (lag, (before, square)) in (1..).zip(self.last.iter().zip(&mut self.squares)) {
            let Some(moves) = row.checked_sub(lag) else { break };
            let squared = ((value - before) * (value - before)).min(f64::MAX);
            if *square > 0.0 {
                largest = largest.max(squared / *square);
                relative.get_or_insert(squared / *square);
            }
            *square += (step / constants.memory).max(1.0 / (moves + 1) as f64) * (squared - *square);
        }
        self.last.rotate_right(1);
        if let Some(newest) = self.last.first_mut() {
            *newest = value;
        }
        let usual = self.hour(constants, time, step, relative);
        if !judged {
            return 0.0;
        }
        let strength = (largest / usual).sqrt() / constants.jump;
        strength / self.peaks.see(constants, time, strength)
    }

    /// By how much moves at this time of day are larger than usual; then learns this row's.
    fn hour(&mut self, constants: &Constants, time: f64, step: f64, relative: Option<f64>) -> f64 {
        let hour = (time.rem_euclid(86_400.0) / 3600.0) as usize % HOURS;
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

/// How often a series' moves peak near the level of alarm: where they often do, the level is higher, as high as the
/// peaks become scarce.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Peaks {
    /// Peaks of each band, those long ago counting less.
    bands: [f32; BANDS],
    /// Seconds seen, those long ago counting less.
    span: f64,
    begin: f64,
    highest: f64,
    level: f64,
}

impl Default for Peaks {
    fn default() -> Self {
        Self { bands: [0.0; BANDS], span: 0.0, begin: f64::NEG_INFINITY, highest: 0.0, level: 1.0 }
    }
}

impl Peaks {
    /// The level of alarm for this row; then learns it.
    fn see(&mut self, constants: &Constants, time: f64, strength: f64) -> f64 {
        let level = self.level;
        let since = time - self.begin;
        if since > PEAK_S {
            if since.is_finite() {
                self.close(constants, since);
            }
            (self.begin, self.highest) = (time, strength);
        } else {
            self.highest = self.highest.max(strength);
        }
        level
    }

    /// Counts the peak of the time since its begin, and sets the level.
    fn close(&mut self, constants: &Constants, since: f64) {
        let fades = (-since / constants.peaks).exp();
        self.span = self.span * fades + since;
        let band = (self.highest.log2() * BANDS_PER_OCTAVE - FIRST_BAND).floor();
        for (i, count) in self.bands.iter_mut().enumerate() {
            *count *= fades as f32;
            *count += f32::from(band == i as f64);
        }
        let weeks = self.span / WEEK_S;
        let below = -FIRST_BAND as usize;
        let scarce = |bands: &[f32]| f64::from(bands.iter().sum::<f32>()) <= constants.scarce * weeks;
        let raised = self.bands.windows(below).position(scarce).unwrap_or(BANDS - below);
        self.level = (raised as f64 / BANDS_PER_OCTAVE).exp2();
    }
}
