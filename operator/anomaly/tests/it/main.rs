//! Tests of the crate's public face.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::single_range_in_vec_init, reason = "a list of one event")]

mod alerting;
mod detectors;
mod evaluation;
