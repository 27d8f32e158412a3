//! Where a moment stands in its day and week. Nearly all series of a tick share their times, so this is computed once for them.

use std::f64::consts::TAU;

const DAY: f64 = 86_400.0;
const WEEK: f64 = 604_800.0;

/// A moment's phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    time: f64,
    /// Seconds into the (UTC) day.
    pub(crate) day: f32,
    /// Seconds into the week, which began on a Thursday in 1970.
    pub(crate) week: f32,
    /// Hour of the day, 0 to 23.
    pub(crate) hour: usize,
    /// Sine and cosine of the phase in the day, then in the week.
    pub(crate) waves: [f32; 4],
}

impl Clock {
    /// The phase at `time` seconds since 1970.
    pub(crate) fn at(time: f64) -> Self {
        let (day, week) = (time.rem_euclid(DAY), time.rem_euclid(WEEK));
        let (a, b) = (day / DAY * TAU, week / WEEK * TAU);
        Self {
            time,
            day: day as f32,
            week: week as f32,
            hour: ((day / 3600.0) as usize).min(23),
            waves: [a.sin() as f32, a.cos() as f32, b.sin() as f32, b.cos() as f32],
        }
    }

    /// Moves to `time`; free if it is there already.
    pub(crate) fn move_to(&mut self, time: f64) -> Self {
        if self.time.to_bits() != time.to_bits() {
            *self = Self::at(time);
        }
        *self
    }
}
