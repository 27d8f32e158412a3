//! The kind `RunbookApproval`: somebody's decision about one execution.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A decision about exactly what an execution's spec says: of another spec it is void.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "plimsoll.dev",
    version = "v1alpha1",
    kind = "RunbookApproval",
    root = "RunbookApproval",
    plural = "runbookapprovals",
    singular = "runbookapproval",
    namespaced,
    category = "plimsoll",
    status = "RunbookApprovalStatus",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Execution","type":"string","jsonPath":".spec.execution"}"#,
    printcolumn = r#"{"name":"Decision","type":"string","jsonPath":".spec.decision"}"#,
    printcolumn = r#"{"name":"Decider","type":"string","jsonPath":".spec.decider"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("self == oldSelf").message("a decision never changes; write another one"))]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct RunbookApprovalSpec {
    /// The RunbookExecution, of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub execution: String,
    /// Its `status.specHash`: that what was decided about is what is done.
    #[schemars(length(min = 64, max = 64))]
    pub spec_hash: String,
    /// Approve or Deny.
    pub decision: Decision,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// When the decision is void.
    pub expires: Time,
    /// Who decides: the name by which the API server knows them, which the webhook holds them to. Whoever wrote the
    /// runbook or asked for the run may not approve it.
    #[schemars(length(min = 1, max = 253))]
    pub decider: String,
}

/// Approve or Deny.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Decision {
    /// It may run.
    Approve,
    /// It may not.
    #[default]
    Deny,
}

/// What became of the decision.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunbookApprovalStatus {
    /// `Accepted`, or why it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
