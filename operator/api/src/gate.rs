//! The actions that ask instead of act: how to go on, and whether it helped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// PromQL whose result says how to go on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Query {
    /// The expression.
    #[schemars(length(min = 1, max = 4096))]
    pub expr: String,
    /// When it yields any series. Default: Continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Branch>,
    /// When it yields none. Default: Stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<Branch>,
    /// Of GoTo: a later step; those between are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub go_to: Option<String>,
}

/// How to go on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Branch {
    /// With the next step.
    Continue,
    /// Not at all: the run has succeeded, the steps after are skipped.
    Stop,
    /// With the step of `goTo`.
    GoTo,
}

/// Whether an SLO has recovered: after `after`, it must burn slower than `below` over 5 minutes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Verify {
    /// The SLO, of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub slo: String,
    /// How long things may take to settle. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub after: Option<String>,
    /// The burn rate that is good enough, a decimal. Default: "1".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::decimal")]
    pub below: Option<String>,
    /// What happens when it has not. Default: Escalate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnUnverified>,
    /// A destination of the operator's configuration that is told when it has not, before anything is undone. Default:
    /// only an event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub escalate_to: Option<String>,
}

/// What happens when an SLO has not recovered.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OnUnverified {
    /// What was done is undone, last first.
    Rollback,
    /// What was done stays; a person must look.
    #[default]
    Escalate,
}
