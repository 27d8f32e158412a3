//! SLO-as-code for Kubernetes: the operator's parts.

pub mod controller;
pub mod explain;
pub mod operator;
pub mod prometheus;
pub mod selecting;
pub mod sinks;
pub mod webhook;

#[cfg(test)]
mod testing;
