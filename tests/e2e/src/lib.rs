//! The harness of the end-to-end tests.
//!
//! A test is an `async fn(&Testbed) -> anyhow::Result<()>` in the table of its file:
//!
//! ```ignore
//! pub(crate) fn tests() -> Vec<Test> {
//!     vec![test(STACK, a_rule_reaches_prometheus), test(CONTROL_PLANE, etcd_comes_back)]
//! }
//! ```
//!
//! The first word says which servers it needs. Where they cannot be had, the test is listed as ignored under a name
//! that says why; where `CI` is set to `true` it fails instead. [`Testbed::shared`] is one set of servers for all
//! tests that can live with each other, each in its own [`Testbed::namespace`]; a test that breaks servers starts
//! its own.

mod context;
mod harness;

/// The operator as a process.
pub mod operator {
    pub use plimsoll_testbed::Operator;
}

pub use context::{NodeStack, Testbed};
pub use harness::{CONTROL_PLANE, NODE, Needs, PROMETHEUS, STACK, Test, VICTORIA_METRICS, run, test};
