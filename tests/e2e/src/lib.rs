//! What end-to-end tests and benchmarks share.

pub mod operator;
pub mod reconciling;
