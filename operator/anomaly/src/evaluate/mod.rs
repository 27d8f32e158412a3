//! How good detectors are on labelled series: the profiles of the Numenta Anomaly Benchmark, events, volume under the
//! precision-recall surface, and what any detector must beat.

pub mod baselines;
pub mod events;
pub mod halves;
pub mod nab;
pub mod synthetic;
pub mod vus;
