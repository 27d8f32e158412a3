//! Levels of alarm that a series sets for itself.

use serde::{Deserialize, Serialize};

/// Bands of peaks, six to an octave; the first begins three below the strength 1.
const BANDS: usize = 13;
const BANDS_PER_OCTAVE: f64 = 6.0;
const FIRST_BAND: f64 = -3.0;
/// Rows of this strength begin a peak.
const NOTABLE: f64 = 0.3;
const WEEK_S: f64 = 604_800.0;

/// How scarce peaks are to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scarcity {
    /// Rows within so many seconds are one peak.
    pub(crate) apart: f64,
    /// Peaks a week, just below the level of alarm, that are scarce enough for it.
    pub(crate) weekly: f64,
    /// Seconds over which peaks are counted.
    pub(crate) memory: f64,
}

/// How often something peaks near the level of alarm: where it often does, the level is higher, as high as the peaks become
/// scarce. A series that is often odd thus raises its own threshold, no label needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peaks {
    /// Peaks of each band, those long ago counting less.
    bands: [f32; BANDS],
    /// Seconds seen, those long ago counting less.
    span: f32,
    highest: f32,
    level: f32,
    begin: f64,
}

impl Default for Peaks {
    fn default() -> Self {
        Self { bands: [0.0; BANDS], span: 0.0, highest: 0.0, level: 1.0, begin: f64::NEG_INFINITY }
    }
}

impl Peaks {
    /// The level of alarm for this row; then learns it.
    pub(crate) fn see(&mut self, scarcity: &Scarcity, time: f64, strength: f64) -> f64 {
        let level = f64::from(self.level);
        if strength < NOTABLE {
            return level;
        }
        let since = time - self.begin;
        if since > scarcity.apart {
            if since.is_finite() {
                self.close(scarcity, since);
            }
            (self.begin, self.highest) = (time, strength as f32);
        } else {
            self.highest = self.highest.max(strength as f32);
        }
        level
    }

    /// Counts the peak, which began this many seconds ago, and sets the level.
    fn close(&mut self, scarcity: &Scarcity, since: f64) {
        let fades = (-since / scarcity.memory).exp();
        self.span = (f64::from(self.span) * fades + since) as f32;
        let band = (f64::from(self.highest).log2() * BANDS_PER_OCTAVE - FIRST_BAND).floor();
        for (i, count) in self.bands.iter_mut().enumerate() {
            *count *= fades as f32;
            *count += f32::from(band == i as f64);
        }
        let weeks = f64::from(self.span) / WEEK_S;
        let below = -FIRST_BAND as usize;
        let scarce = |bands: &[f32]| f64::from(bands.iter().sum::<f32>()) <= scarcity.weekly * weeks;
        let raised = self.bands.windows(below).position(scarce).unwrap_or(BANDS - below);
        self.level = (raised as f64 / BANDS_PER_OCTAVE).exp2() as f32;
    }
}
