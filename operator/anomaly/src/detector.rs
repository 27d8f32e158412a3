//! What a detector is: samples of one series in, one verdict for each out.

use crate::novelty::Novelty;
use crate::watch::Alone;

/// One sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since 1970; a series' samples come in order.
    pub time: f64,
    /// The value. NaN means that the series had none; a detector learns nothing from it.
    pub value: f64,
}

/// No alert begins at a lower score.
pub const ALERT: f64 = 0.4;
/// Scores from here on are of values that the series has not had; between [`ALERT`] and this are sudden moves.
pub const NEW: f64 = 0.5;

/// What a detector says of one sample, knowing it and what came before, nothing after.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How anomalous, in [0, 1], in the order in which a person would look: sudden moves among known values from
    /// [`ALERT`] on, new values from [`NEW`] on.
    pub score: f64,
    /// Whether a person should look, were it not for alerts shortly before.
    pub alarming: bool,
    /// Whether an alert begins at this sample.
    pub alert: bool,
}

/// The score of something that ranks below new values: below [`ALERT`] up to the strength 1, from there on towards [`NEW`].
pub(crate) fn move_score(strength: f64) -> f64 {
    if strength >= 1.0 { NEW - (NEW - ALERT) / strength } else { ALERT * strength.max(0.0) }
}

/// Watches one series.
pub trait Detector: Send {
    /// Judges the next sample and learns from it.
    fn step(&mut self, sample: Sample) -> Verdict;
}

/// A detector that the benchmark runs: a row here is all that a new one needs.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in tables.
    pub name: &'static str,
    /// Makes one for a series of which nothing is known.
    pub make: fn() -> Box<dyn Detector>,
}

/// Every detector, in the order of the tables.
pub const DETECTORS: &[Entry] = &[
    Entry { name: "novelty", make: || Box::<Novelty>::default() },
    Entry { name: "novelty and drift", make: || Box::<Alone>::default() },
];
