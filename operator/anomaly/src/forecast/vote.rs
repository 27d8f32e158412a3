//! What the forecaster holds against a series: that it has left its own day and week for hours, though every value is one
//! that it has had.
//!
//! A drift counts by its size and for how long it keeps to one side. Where drifts often come near the level of alarm, the
//! level rises until they are scarce.

use serde::{Deserialize, Serialize};

use super::Outlook;
use crate::peaks::{Peaks, Scarcity};

/// Seconds of a series after which its week is known, so that drifts can be told, and after which it is also known how
/// often it drifts, so that alerts can be raised.
const KNOWN: f64 = 7.0 * 86_400.0;
const RIPE: f64 = 14.0 * 86_400.0;
/// Drift that is alarming; see [`Outlook::drift`].
const DRIFT: f64 = 1.0;
/// Drifts within half a day are one; one in four weeks is scarce.
const SCARCITY: Scarcity = Scarcity { apart: 43_200.0, below: 0.25, above: f64::MAX, memory: 5e6 };

/// Watches the drift of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    peaks: Peaks,
    strength: f32,
}

impl Vote {
    /// Takes in what was said at one row, at `time`. True where an alert begins.
    pub fn step(&mut self, time: f64, outlook: &Outlook) -> bool {
        if outlook.age < KNOWN {
            return false;
        }
        let strength = outlook.drift.abs() / DRIFT;
        let strength = strength / self.peaks.see(&SCARCITY, time, strength);
        if outlook.age < RIPE {
            return false;
        }
        let begins = strength >= 1.0 && self.strength < 1.0;
        self.strength = strength as f32;
        begins
    }

    /// How strong the case is; 1 is alarming.
    #[must_use]
    pub fn strength(&self) -> f64 {
        f64::from(self.strength)
    }
}
