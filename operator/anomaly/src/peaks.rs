//! Levels of alarm that a series sets for itself.

use half::f16;
use serde::{Deserialize, Serialize};

/// Bands of peaks: narrow ones, six to an octave, of which the first begins three below the strength 1; above them one of an
/// octave, and one of all that is stronger still.
const BANDS: usize = NARROW + 2;
const NARROW: usize = 13;
const BANDS_PER_OCTAVE: f64 = 6.0;
/// Bands below the strength 1, and so many below a level are just below it: half an octave.
const BELOW: usize = 3;
/// Rows of this strength begin a peak.
pub(crate) const NOTABLE: f64 = 0.3;
const WEEK_S: f64 = 604_800.0;

/// How scarce peaks are to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scarcity {
    /// Rows within so many seconds are one peak.
    pub(crate) apart: f64,
    /// Peaks a week, just below the level of alarm, that are scarce enough for it.
    pub(crate) below: f64,
    /// Peaks a week, at the level of alarm and all above, that are scarce enough for it.
    pub(crate) above: f64,
    /// Seconds over which peaks are counted.
    pub(crate) memory: f64,
}

/// How often something peaks near the level of alarm and above: where it often does, the level is higher, as high as the
/// peaks become scarce. A series that is often odd thus raises its own threshold, no label needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peaks {
    /// Peaks of each band, those long ago counting less; the bits of half-precision numbers.
    bands: [u16; BANDS],
    /// Seconds seen, those long ago counting less.
    span: f32,
    highest: f32,
    /// The band in which the level of alarm begins.
    level: u8,
    begin: f64,
}

impl Default for Peaks {
    fn default() -> Self {
        Self { bands: [0; BANDS], span: 0.0, highest: 0.0, level: BELOW as u8, begin: f64::NEG_INFINITY }
    }
}

impl Peaks {
    /// The level of alarm for this row; then learns it.
    pub(crate) fn see(&mut self, scarcity: &Scarcity, time: f64, strength: f64) -> f64 {
        let level = self.level();
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

    /// The level of alarm.
    pub(crate) fn level(&self) -> f64 {
        edge(usize::from(self.level))
    }

    /// What the level would be if only so many peaks a week were scarce.
    pub(crate) fn level_where(&self, scarcity: &Scarcity) -> f64 {
        edge(self.scarce_from(scarcity))
    }

    /// Counts the peak, which began this many seconds ago, and sets the level.
    fn close(&mut self, scarcity: &Scarcity, since: f64) {
        let fades = (-since / scarcity.memory).exp();
        self.span = (f64::from(self.span) * fades + since) as f32;
        let highest = f64::from(self.highest);
        let band = (0..BANDS).rev().find(|band| edge(*band) <= highest);
        for (i, count) in self.bands.iter_mut().enumerate() {
            let peaks = f16::from_bits(*count).to_f64() * fades + f64::from(u8::from(band == Some(i)));
            *count = f16::from_f64(peaks).to_bits();
        }
        self.level = self.scarce_from(scarcity) as u8;
    }

    /// The first band from which on peaks are scarce, as are those just below it; one beyond the last where none is.
    fn scarce_from(&self, scarcity: &Scarcity) -> usize {
        let weeks = f64::from(self.span) / WEEK_S;
        let sum = |bands: &[u16]| bands.iter().map(|count| f16::from_bits(*count).to_f64()).sum::<f64>();
        let scarce = |level: &usize| {
            let (below, above) = self.bands.split_at(*level);
            let just_below = below.len() - if *level > NARROW { 1 } else { BELOW };
            let (_, below) = below.split_at(just_below);
            sum(below) <= scarcity.below * weeks && sum(above) <= scarcity.above * weeks
        };
        (BELOW..BANDS).find(scarce).unwrap_or(BANDS)
    }
}

/// The least strength of a band; nothing of use reaches the one beyond the last.
fn edge(band: usize) -> f64 {
    let narrow = band.min(NARROW) as f64 - BELOW as f64;
    let wide = band.saturating_sub(NARROW) as f64;
    if band < BANDS { (narrow / BANDS_PER_OCTAVE + wide).exp2() } else { f64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCARCITY: Scarcity = Scarcity { apart: 1860.0, below: 8.0, above: 24.0, memory: 2.6e6 };

    /// The level after four weeks of peaks of this strength, so many a week.
    fn level(strength: f64, weekly: f64) -> f64 {
        let mut peaks = Peaks::default();
        for i in 0..(4.0 * weekly) as u32 {
            peaks.see(&SCARCITY, f64::from(i) * WEEK_S / weekly, strength);
        }
        peaks.level()
    }

    #[test]
    fn the_level_lies_above_peaks_that_are_many_whatever_their_strength() {
        for strength in [1.0, 1.1, 1.9, 2.0, 3.1, 3.2, 5.0, 6.3, 6.4, 50.0, 1e6] {
            assert!(level(strength, 168.0) > strength, "{strength}: {}", level(strength, 168.0));
            assert!(level(strength, 42.0) > strength, "{strength}: {}", level(strength, 42.0));
            assert_eq!(level(strength, 7.0), 1.0, "{strength}: a few are to be seen");
        }
        assert!(level(0.9, 20.0) > 1.0, "just below the level a smaller number is many");
        assert_eq!(level(0.5, 168.0), 1.0, "far below it none is");
    }

    #[test]
    fn bands_begin_where_the_one_before_ends() {
        let edges: Vec<f64> = (0..=BANDS).map(edge).collect();
        assert!(edges.is_sorted_by(|a, b| a < b), "{edges:?}");
        assert_eq!((edges[BELOW], edges[BELOW + 6], edges[BANDS]), (1.0, 2.0, f64::MAX));
    }
}
