//! The custom resources of Plimsoll: types, shape rules (CEL), defaults and conditions.
//!
//! This crate has no client and does no I/O; `ARCHITECTURE.md` says how the other crates use it.

#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod action;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod alert_rule;
pub mod anomaly;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod approval;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod chaos;
pub mod conditions;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod execution;
pub mod gate;
pub mod kind;
pub mod problem;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod runbook;
pub mod schema;
pub mod shape;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod slo;

pub use action::{Action, ActionKind};
pub use alert_rule::{AlertRule, AlertRuleSpec, AlertRuleStatus};
pub use approval::{RunbookApproval, RunbookApprovalSpec, RunbookApprovalStatus};
pub use execution::{RunbookExecution, RunbookExecutionSpec, RunbookExecutionStatus};
pub use kind::{AnyKind, Kind};
pub use problem::{Level, Problem};
pub use runbook::{Runbook, RunbookSpec, RunbookStatus};
pub use slo::{Slo, SloSpec, SloStatus};

/// API group of every kind.
pub const GROUP: &str = "plimsoll.dev";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "plimsoll.dev/v1alpha1";
