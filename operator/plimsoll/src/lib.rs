//! Plimsoll: SLOs as code for Kubernetes. The binary is a thin `main` around this crate, so that
//! tests and tools use the same code.

pub mod cli;
pub mod source;
