//! Detectors of anomalies in series of samples, their evaluation and their snapshots. Pure: no I/O, no clock, no client.

pub mod alerting;
pub mod detector;
pub mod evaluate;
pub mod forecast;
pub mod group;
pub mod journal;
pub mod lstm;
pub mod novelty;
mod peaks;
pub mod watch;

pub use detector::{Detector, Sample, Verdict};
pub use watch::Watch;
