//! Plimsoll: SLOs as code for Kubernetes. The binary is a thin `main` around this crate, so that
//! tests and tools use the same code.

pub mod actions;
pub mod alerts_webhook;
pub mod artifacts;
pub mod cli;
pub mod controller;
pub mod demo;
pub mod events;
pub mod explain;
pub mod limits;
pub mod operator;
pub mod page;
pub mod prometheus;
mod refusals;
pub mod runbooks;
pub mod scorer;
pub mod selecting;
pub mod serving;
pub mod shares;
pub mod sinks;
pub mod source;
pub mod targets;
pub mod trace;
pub mod up;
pub mod webhook;

#[cfg(test)]
mod testing;
