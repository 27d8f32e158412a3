//! The kind `RunbookExecution`: one run of a runbook, its ledger and its audit.
//!
//! The spec is a snapshot and never changes: whatever becomes of the Runbook, this is what is done. Its name is a
//! hash of the runbook, the alert, its start and the target, so that making it is what keeps a run from being made
//! twice. The status is the only memory of the run: before a step has an effect, its `intentTime` is stored here.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    approval::Decision,
    gate::Verify,
    runbook::{Artifacts, Mode, ObjectKind, Step},
};

/// One run of a runbook: all that it needs to know, as it was when it was planned.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "plimsoll.dev",
    version = "v1alpha1",
    kind = "RunbookExecution",
    root = "RunbookExecution",
    plural = "runbookexecutions",
    singular = "runbookexecution",
    shortname = "rbx",
    namespaced,
    category = "plimsoll",
    status = "RunbookExecutionStatus",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Runbook","type":"string","jsonPath":".spec.runbook.name"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Step","type":"string","jsonPath":".status.step"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("self == oldSelf").message("an execution never changes; start another one"))]
#[serde(rename_all = "camelCase")]
// Only the operator writes either, as a whole: that each field is somebody's own is nothing to keep account of, and would
// be a third of what is stored.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct RunbookExecutionSpec {
    /// The runbook, as it was.
    pub runbook: RunbookRef,
    /// What started it.
    pub trigger: Evidence,
    /// The values of the parameters, by name; of objects the name, or `namespace/name` in another namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub parameters: BTreeMap<String, String>,
    /// The objects of the parameters, looked up: from now on it is this very object, by its UID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["parameter"]))]
    pub objects: Vec<ObjectRef>,
    /// The parameter whose object is acted upon; one run at a time for each such object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How far it goes: never Off.
    pub mode: Mode,
    /// The ServiceAccount of the same namespace as which every step acts.
    pub service_account_name: String,
    /// The steps, as `spec.steps` of a Runbook, defaults filled in and texts completed. Fields that mean an object still
    /// say the parameter.
    #[schemars(schema_with = "planned")]
    pub steps: Vec<Step>,
    /// Whether it helped, as `spec.verify` of a Runbook, asked after the last step; defaults filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::foreign")]
    pub verify: Option<Verify>,
    /// Where evidence goes, as `spec.artifacts` of a Runbook; defaults filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::foreign")]
    pub artifacts: Option<Artifacts>,
    /// How long it may take in all, from its start or approval.
    pub deadline: String,
    /// How long an approval is waited for, in mode Approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_within: Option<String>,
    /// Of a run by a schedule or by hand: it is not begun later than this. Once somebody has approved it, it has as long
    /// from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Time>,
    /// Of a run that nothing held back: when it began. That, and the intent of its first step, was stored with the
    /// execution itself, so there may be no status yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Time>,
    /// After its end the target is left alone for this long, and the execution is kept at least as long.
    pub cooldown: String,
    /// Trace context of what started it (W3C `traceparent`); every request of the run continues it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 55))]
    pub traceparent: Option<String>,
}

/// Steps as a list that the API server does not look into. Only the operator writes them, they were checked in the
/// runbook, and the seal tells of any other: to have each of them checked at every status that is stored costs the API
/// server a third more processor time.
fn planned(_: &mut SchemaGenerator) -> Schema {
    let step = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json_schema!({"type": "array", "minItems": 1, "maxItems": 32, "items": step})
}

/// A runbook at a moment.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunbookRef {
    /// Its name, in the same namespace.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
}

/// What started a run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Which kind of trigger.
    pub kind: TriggerKind,
    /// Alertmanager's fingerprint of the alert, or one made alike of the labels.
    pub fingerprint: String,
    /// Since when it holds; of a schedule the moment itself, of a run by hand when it was asked for.
    pub starts_at: Time,
    /// The labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// The value that was seen, a decimal, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is asked of Prometheus again before anything is done: it must yield a series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Who asked for it, of a run by hand: the name by which the API server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// The groups that they were in then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_groups: Vec<String>,
}

/// Which kind of trigger.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TriggerKind {
    /// An alert.
    Alert,
    /// An SLO that burns.
    Slo,
    /// An unusual series.
    Anomaly,
    /// A query.
    Query,
    /// A moment of a schedule.
    Schedule,
    /// Somebody.
    #[default]
    Manual,
}

/// An object that steps refer to, found before anything was done.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// The parameter.
    pub parameter: String,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace; none of a Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What it was like.
    #[serde(default)]
    pub facts: Facts,
}

/// What an object was like when the run was planned; what undoing needs. Each field is of the kinds that it names.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Of a Pod: its containers, without those that only begin it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// Of a Pod: the UID of the workload that it belongs to, through its ReplicaSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_uid: Option<String>,
    /// Of a workload, or of a Pod's workload: how many Pods it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Of a workload, or of a Pod's workload: how many are ready. A Pod itself is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<i64>,
    /// Of a workload, or of a Pod: labels by which exactly its Pods, or this Pod's workload's, are found.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// Of a workload: the HorizontalPodAutoscaler that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<String>,
    /// Of a workload, or of a Pod's workload: how many Pods its PodDisruptionBudget lets go now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptions_allowed: Option<i64>,
    /// Who keeps the object as it is in Git, and would undo a change: `Argo CD`, `Flux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Of a Deployment: its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Of a Deployment that is rolled back: the template of that revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::foreign")]
    pub template: Option<Value>,
    /// Of a Deployment that is rolled back: the revision that it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Earlier>,
    /// Of a Node: no new Pods come to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unschedulable: Option<bool>,
    /// Of a monitor: the interval of each endpoint, `""` where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<String>,
    /// Of a collector: the percentage of its sampler, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<String>,
}

/// An earlier revision of a Deployment.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Earlier {
    /// Its number.
    pub revision: i64,
    /// Its ReplicaSet.
    pub replica_set: String,
    /// The template of its Pods, without the label `pod-template-hash`.
    #[schemars(schema_with = "crate::schema::foreign")]
    pub template: Value,
}

/// How far a run is. Nothing of a run is remembered elsewhere.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct RunbookExecutionStatus {
    /// See the constants in the operator's documentation of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How far it is.
    #[serde(default)]
    pub phase: Phase,
    /// Why it is there, one word: `Cooldown`, `StepFailed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is there, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The hash of the spec, which an approval names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_hash: Option<String>,
    /// The step that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// When it began to wait for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Time>,
    /// Who decided what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Decided>,
    /// When it began to run; the deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// When the alert was resolved. What has not begun by then is not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
    /// Once no further step is begun: how it ends when all that must be put back is put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The steps, those that have not begun left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepStatus>,
    /// The verification of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Effect>,
    /// The message that a person was sent because it did not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Effect>,
    /// The operator's seal over all of it. A status that somebody else has written is not gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
}

/// How far a run is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Phase {
    /// It was stored and nobody has looked at it yet.
    #[default]
    Pending,
    /// A guard holds it back; `reason` says which, and it may still start.
    Blocked,
    /// It waits for a RunbookApproval.
    AwaitingApproval,
    /// Steps are done, or undone.
    Running,
    /// The steps are done; whether they helped is being asked.
    Verifying,
    /// All is done, and verified where that was asked for. In mode DryRun: it would have been started.
    Succeeded,
    /// It ended before its end; `reason` says why.
    Failed,
    /// A step began, its end was not seen, and it cannot be repeated: somebody must look.
    Unknown,
    /// What was done was undone.
    RolledBack,
    /// Nothing was done: it was denied, resolved, superseded, or a guard refused it.
    Skipped,
}

impl Phase {
    /// True when nothing more will happen.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Unknown | Self::RolledBack | Self::Skipped)
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Blocked => "Blocked",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Running => "Running",
            Self::Verifying => "Verifying",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
            Self::RolledBack => "RolledBack",
            Self::Skipped => "Skipped",
        }
    }
}

/// How a run ends.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// As what. RolledBack: first all that was done is undone, last first; else only what may not stay, such as a
    /// telemetry profile.
    pub phase: Phase,
    /// Why, one word.
    pub reason: String,
    /// Why, a sentence.
    pub message: String,
    /// The destination that is told first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<String>,
}

/// What was decided.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The RunbookApproval.
    pub approval: String,
    /// Approve or Deny.
    pub decision: Decision,
    /// Who.
    pub decider: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was seen.
    pub at: Time,
}

/// One step of a run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// What it did.
    #[serde(flatten)]
    pub effect: Effect,
    /// What its undoing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Effect>,
    /// Of `telemetryProfile`: when what it changed is put back at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Time>,
}

/// Something that may have an effect outside: first its intent is stored, then it is done, then its outcome is stored.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// When it was stored that it would be done. Nothing is done before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_time: Option<Time>,
    /// The first such time, where what a pause or an outage had held was given its time anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_intent_time: Option<Time>,
    /// How often it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// When its outcome was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How it ended; none while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What happened, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub artifacts: Vec<ArtifactRef>,
}

/// How something ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was done.
    Succeeded,
    /// It was not done, or not as it should be.
    Failed,
    /// It took too long.
    TimedOut,
    /// It was not begun.
    Skipped,
    /// It may have been done; nobody saw the end.
    Unknown,
}

impl Outcome {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::Skipped => "Skipped",
            Self::Unknown => "Unknown",
        }
    }
}

/// Something that was kept. Its content is never here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRef {
    /// Its name, unique in the step: `heap.pb.gz`.
    pub name: String,
    /// Where it is: `s3://bucket/key`, `volume://evidence/path`.
    pub location: String,
    /// Its size.
    pub bytes: i64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// True when it was cut off at the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// When it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}
