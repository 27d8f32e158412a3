//! The constants of the detector, in one place, so that all of them can be varied at once.

use crate::evaluate::halves::random;

/// What the detector takes as given; nothing here depends on a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Constants {
    /// Mean root distance from the known values, in ranges, that is alarming.
    pub novel: f64,
    /// So many times that much raises an alert.
    pub certain: f64,
    /// A value nearer than this share of the range to a remembered one refreshes that one instead of taking a slot.
    pub resolution: f64,
    /// Rows, and seconds, for which a value must not have been seen to be forgotten.
    pub forget: (f64, f64),
    /// The range contracts by this share a row, at most as fast as by this time constant in seconds.
    pub shrink: (f64, f64),
    /// Share of a new value in the profile of its hour of the week.
    pub profile: f64,
    /// A novelty counts only above this many times the largest of the hundred rows before.
    pub record: f64,
    /// Moves of this many root mean squares are alarming. The mean is over all moves, alarming ones too, so that a
    /// series that often jumps has to jump farther.
    pub jump: f64,
    /// Seconds over which the mean square of moves is taken.
    pub memory: f64,
    /// A move counts in that mean up to this many root mean squares, so that one outage does not make it deaf for weeks.
    pub clip: f64,
    /// Share of a day's moves in the scale of an hour of the day.
    pub hour: f64,
    /// Peaks of moves a week, just below the level of alarm, that are scarce enough for it.
    pub scarce: f64,
    /// Peaks of moves a week, at the level of alarm and above, that are scarce enough for it.
    pub often: f64,
    /// The same at times of the day at which the series has moved on most days.
    pub daily: f64,
    /// Seconds over which peaks are counted.
    pub peaks: f64,
    /// Seconds for which nothing is raised after an alert was.
    pub refractory: f64,
}

impl Constants {
    /// What is used.
    pub const DEFAULT: Self = Self {
        novel: 0.110,
        certain: 1.4,
        resolution: 0.005,
        forget: (5000.0, 1.5e6),
        shrink: (2e-4, 1.5e6),
        profile: 0.4,
        record: 1.2,
        jump: 5.5,
        memory: 2e6,
        clip: 100.0,
        hour: 0.03,
        scarce: 8.0,
        often: 24.0,
        daily: 1.0,
        peaks: 2.6e6,
        refractory: 1860.0,
    };

    /// Every constant multiplied by its own random factor between a half and two, evenly on the scale of logarithms;
    /// the record, the certainty and the refractory time by one between 0.8 and 1.25. The factors follow from the seed.
    pub fn varied(seed: u64) -> Self {
        let mut state = seed;
        let mut draw = |widest: f64| widest.powf((random(&mut state) >> 11) as f64 / (1u64 << 52) as f64 - 1.0);
        let Self {
            novel,
            certain,
            resolution,
            forget,
            shrink,
            profile,
            record,
            jump,
            memory,
            clip,
            hour,
            scarce,
            often,
            daily,
            peaks,
            refractory,
        } = Self::DEFAULT;
        Self {
            novel: novel * draw(2.0),
            certain: certain * draw(1.25),
            resolution: resolution * draw(2.0),
            forget: (forget.0 * draw(2.0), forget.1 * draw(2.0)),
            shrink: (shrink.0 * draw(2.0), shrink.1 * draw(2.0)),
            profile: profile * draw(2.0),
            record: record * draw(1.25),
            jump: jump * draw(2.0),
            memory: memory * draw(2.0),
            clip: clip * draw(2.0),
            hour: hour * draw(2.0),
            scarce: scarce * draw(2.0),
            peaks: peaks * draw(2.0),
            refractory: refractory * draw(1.25),
            // Drawn last, so that the others of a seed stay what they were.
            often: often * draw(2.0),
            daily: daily * draw(2.0),
        }
    }
}
