//! The kind `Runbook`: what is done when something happens, and within which bounds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{action::Action, gate::Verify, slo::Severity};

/// What is done when something happens, as whom, and within which bounds.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "plimsoll.dev",
    version = "v1alpha1",
    kind = "Runbook",
    root = "Runbook",
    plural = "runbooks",
    singular = "runbook",
    shortname = "rb",
    namespaced,
    category = "plimsoll",
    status = "RunbookStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".status.mode"}"#,
    printcolumn = r#"{"name":"Last","type":"string","jsonPath":".status.lastPhase"}"#,
    printcolumn = r#"{"name":"Ran","type":"date","jsonPath":".status.lastRun"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct RunbookSpec {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Who answers for it: a team, not a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub owner: Option<String>,
    /// How far it goes. Default: DryRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The ServiceAccount of the same namespace as which every step acts. Steps can do what it may, and nothing else.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
    /// What starts it.
    pub trigger: Trigger,
    /// What the steps need to know, typed, and where it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<Parameter>,
    /// The parameter that is acted upon: one run at a time for each such object. Default: the first parameter that is
    /// an object; without any, the runbook itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
    /// Other namespaces in which objects may be. Their owners decide: the ServiceAccount needs rights there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// What is done, in this order.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// Whether it helped, asked after the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<Safety>,
    /// How an approval is asked for, in mode Approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Where evidence goes: logs, profiles, dumps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// How long a run may take in all, approval not counted. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub deadline: Option<String>,
}

/// How far a runbook goes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Mode {
    /// It is not started.
    Off,
    /// An execution is made that says what would be done; nothing is done.
    #[default]
    DryRun,
    /// Each run waits until somebody approves it.
    Approve,
    /// It runs by itself.
    Auto,
}

/// What starts a runbook: exactly one of the kinds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.alert), has(self.slo), has(self.anomaly), has(self.query), has(self.schedule), has(self.manual)].filter(x, x).size() == 1").message("trigger has exactly one of alert, slo, anomaly, query, schedule, manual"))]
pub struct Trigger {
    /// Matchers of an alert's labels, as Alertmanager writes them: `alertname="PodRestarting"`, `pod=~"checkout-.*"`;
    /// also `!=` and `!~`. All must match; regular expressions match the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 1024)))]
    pub alert: Option<Vec<String>>,
    /// An SLO of this namespace burns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloTrigger>,
    /// A watched series is unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<AnomalyTrigger>,
    /// PromQL; it starts once for every series of the result, whose labels are those of an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,
    /// Weekdays and time: `Mon 10:00`, `Mon-Fri 22:30`, `03:00` (daily).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub schedule: Option<String>,
    /// Only somebody who asks for it, with `plimsoll runbook run`. The other triggers can be run that way as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// Of `query` and `anomaly`: how long it must hold. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub r#for: Option<String>,
    /// Of `schedule`: IANA name of its zone. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// Of `schedule`: how late it may still start after the operator was away. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub starting_deadline: Option<String>,
}

/// An SLO burns: one that names this runbook in its `runbooks`, or one of `names`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct SloTrigger {
    /// The alert that must fire: Page, or Ticket, which a page counts as too.
    pub burning: Severity,
    /// Names of SLOs of this namespace. Default: those that name this runbook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
}

/// The anomaly score of a watched series is high: of an SLO, or of an alert of an AlertRule.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AnomalyTrigger {
    /// The score above which it starts, from 0 to 1: "0.9". At 0.5 the detector itself would speak.
    #[schemars(schema_with = "crate::schema::decimal")]
    pub above: String,
    /// An SLO of this namespace. Default: any that names this runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub slo: Option<String>,
    /// An AlertRule of this namespace. Default: any that has an alert which names this runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub alert_rule: Option<String>,
}

/// No fields: whoever asks gives the parameters.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Manual {}

/// A typed value that steps refer to: exactly one of `string`, `integer`, `enum` and `object`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"),
    validation = Rule::new("[has(self.string), has(self.integer), has(self.enum), has(self.object)].filter(x, x).size() == 1").message("a parameter has exactly one of string, integer, enum and object"),
    validation = Rule::new("!(has(self.fromLabel) && has(self.ownerOf))").message("a parameter has one of fromLabel and ownerOf"),
    validation = Rule::new("!has(self.fromQuery) || has(self.fromLabel)").message("fromQuery wants fromLabel, the label of its series"))]
pub struct Parameter {
    /// Its name. Fields that mean an object say it alone (`pod: pod`); texts say `$(name)`.
    #[schemars(schema_with = "crate::schema::label")]
    pub name: String,
    /// What it means, for whoever runs it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,
    /// A text that matches this regular expression as a whole: `[a-z0-9-]{1,63}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub string: Option<String>,
    /// A whole number in a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integer: Option<Range>,
    /// One of these words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 253)))]
    pub r#enum: Option<Vec<String>>,
    /// The name of an object of this kind, or `namespace/name` for one of another namespace that is granted. It is
    /// looked up before anything is done, and is that very object from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKind>,
    /// The label whose value it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub from_label: Option<String>,
    /// PromQL that picks it: the label is that of its series with the largest value, not of what starts the run. So an
    /// SLO's alert, which names no Pod, finds the Pod that is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub from_query: Option<String>,
    /// Of a workload or Node: it owns the Pod of this parameter, as a Deployment does, or runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub owner_of: Option<String>,
    /// Its value when there is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub default: Option<String>,
}

/// Whole numbers from `min` to `max`, both included.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

/// The kinds of objects that steps act upon.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ObjectKind {
    /// A Pod.
    #[default]
    Pod,
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A Node: it has no namespace.
    Node,
    /// A ServiceMonitor of prometheus-operator.
    ServiceMonitor,
    /// A PodMonitor of prometheus-operator.
    PodMonitor,
    /// An OpenTelemetryCollector of the OpenTelemetry operator.
    OpenTelemetryCollector,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Node,
        Self::ServiceMonitor,
        Self::PodMonitor,
        Self::OpenTelemetryCollector,
    ];

    /// Its name, and its `apiVersion` and plural in the API's paths.
    pub const fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pod => ("Pod", "v1", "pods"),
            Self::Deployment => ("Deployment", "apps/v1", "deployments"),
            Self::StatefulSet => ("StatefulSet", "apps/v1", "statefulsets"),
            Self::DaemonSet => ("DaemonSet", "apps/v1", "daemonsets"),
            Self::Node => ("Node", "v1", "nodes"),
            Self::ServiceMonitor => ("ServiceMonitor", "monitoring.coreos.com/v1", "servicemonitors"),
            Self::PodMonitor => ("PodMonitor", "monitoring.coreos.com/v1", "podmonitors"),
            Self::OpenTelemetryCollector => {
                ("OpenTelemetryCollector", "opentelemetry.io/v1beta1", "opentelemetrycollectors")
            }
        }
    }

    /// As in a file: `Deployment`.
    pub const fn name(self) -> &'static str {
        self.resource().0
    }

    /// False for nodes.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node)
    }
}

/// One thing that is done: its name and exactly one action.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Step {
    /// Its name, in the status and in the names of what it makes.
    #[schemars(schema_with = "crate::schema::label")]
    pub name: String,
    /// How long it may take. Default: 5m; for `verify`, its `after` and 5m; for `wait`, its own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Option<String>,
    /// What happens when it fails. Default: Stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What undoes it, when a later step or the verification asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Box<Action>>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// What happens when a step fails.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OnFailure {
    /// The run ends as Failed; what was done stays.
    #[default]
    Stop,
    /// The next step is done.
    Continue,
    /// What was done is undone, last first; the run ends as RolledBack.
    Compensate,
}

/// The bounds of a runbook. When it cannot be known whether they hold, nothing is done.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Safety {
    /// After a run, the same target is left alone for this long. Default: 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub cooldown: Option<String>,
    /// Runs at the same time, over all targets. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent: Option<i64>,
    /// Runs in a time. Default: 10 in 1d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Of the workload that the target is or belongs to, at most this share of Pods is acted upon within the cooldown,
    /// but always one. A fault on a workload is refused if it could hit more. Default: 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_targets_percent: Option<i64>,
    /// Pods of the workload that must be ready besides those that the steps take away: the target that is evicted, all
    /// that a fault hits, the difference of a scale to fewer. For a restart, all that are ready. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_healthy: Option<i64>,
    /// It stops itself when it fails again and again. Default: after 3 failures, for 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// At most `runs` in `per`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub runs: i64,
    /// In which time.
    #[schemars(schema_with = "crate::schema::duration")]
    pub per: String,
}

/// After `failures` runs in a row that did not succeed, none is started for `openFor`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// How many in a row.
    #[schemars(range(min = 1, max = 100))]
    pub failures: i64,
    /// How long.
    #[schemars(schema_with = "crate::schema::duration")]
    pub open_for: String,
}

/// How an approval is asked for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// How long somebody may think about it; after that the run is skipped. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub within: Option<String>,
    /// A destination of the operator's configuration that is told. Default: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub notify: Option<String>,
}

/// Where evidence goes: exactly one of `volume` and `s3`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("has(self.volume) != has(self.s3)").message("artifacts has exactly one of volume and s3"))]
pub struct Artifacts {
    /// A volume of the operator's configuration, by its name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub volume: Option<String>,
    /// A bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// When they are removed. Default: 7d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub ttl: Option<String>,
    /// How much all of this runbook's artifacts may take; what would be more is refused. Default: 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub quota: Option<String>,
}

/// A bucket of an S3-compatible store.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// Its name.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// What begins the keys. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub prefix: Option<String>,
    /// A store of the operator's configuration, by its name there; it has the address and the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub store: Option<String>,
    /// A Secret of the same namespace with `accessKeyId` and `secretAccessKey`. Default: the store's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// What the operator found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunbookStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// See the constants in the operator's documentation of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How far it goes now, the default filled in: Off while it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// When it was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Time>,
    /// The execution of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_execution: Option<String>,
    /// How that went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_phase: Option<crate::execution::Phase>,
    /// Of a schedule: the moment up to which it has been looked after. A moment is never started twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule: Option<Time>,
    /// Of a schedule: when it starts next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule: Option<Time>,
    /// What came of the last requests for a run by hand, the newest first. Each is answered once, whoever leads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Answered>,
}

/// What came of a request for a run by hand.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// The request's.
    pub id: String,
    /// When it was answered.
    pub at: Time,
    /// The execution that was made for it; without it none was, and none will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// Why none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
