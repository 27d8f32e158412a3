//! Tests of the crate's public face.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod detectors;
mod evaluation;
