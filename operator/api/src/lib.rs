//! The custom resources of Plimsoll: types, shape rules (CEL), defaults and conditions.
//!
//! This crate has no client and does no I/O; `ARCHITECTURE.md` says how the other crates use it.

#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod alert_rule;
pub mod anomaly;
pub mod conditions;
pub mod kind;
pub mod problem;
pub mod shape;
#[allow(unreachable_pub, reason = "the CEL derive wraps the public structs in a private module")]
pub mod slo;

pub use alert_rule::{AlertRule, AlertRuleSpec, AlertRuleStatus};
pub use kind::Kind;
pub use problem::{Level, Problem};
pub use slo::{Slo, SloSpec, SloStatus};

/// API group of every kind.
pub const GROUP: &str = "plimsoll.dev";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "plimsoll.dev/v1alpha1";
