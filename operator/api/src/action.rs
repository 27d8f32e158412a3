//! The actions of runbooks: a closed set. Nothing here is a template of another object, so a step can do only
//! what its fields say.
//!
//! A field that means an object (`pod`, `workload`, `node`, `object`) is the name of a parameter that is an
//! object. A `container` is the parameter of that name where there is one, else the container's own name. Texts may
//! say `$(name)`: anywhere in a message, as a whole entry of a command, as the whole value of a label matcher.

use std::collections::BTreeMap;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    chaos::Chaos,
    gate::{Query, Verify},
};

/// Exactly one action.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.logs), has(self.debugContainer), has(self.profile), has(self.heapDump), has(self.exec), has(self.describe), has(self.job), has(self.scale), has(self.restart), has(self.rollback), has(self.evictPod), has(self.cordon), has(self.chaos), has(self.telemetryProfile), has(self.silence), has(self.notify), has(self.annotate), has(self.wait), has(self.query), has(self.verify)].filter(x, x).size() == 1").message("a step has exactly one action"))]
pub struct Action {
    /// Keeps a container's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// Runs a program in a debug container beside a Pod's own, and keeps its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_container: Option<DebugContainer>,
    /// Keeps profiles of a Go program that serves `net/http/pprof`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Keeps the heap of a JVM, or a core of any process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_dump: Option<HeapDump>,
    /// Runs a program in a container, and keeps its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// Keeps an object as it is, and the events about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub describe: Option<Describe>,
    /// Runs a Job and waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Changes a workload's number of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Restarts a workload's Pods, by its own rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Brings a Deployment back to an earlier revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// Evicts a Pod, as far as its PodDisruptionBudget lets it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evict_pod: Option<EvictPod>,
    /// Keeps new Pods off a Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
    /// Injects a fault and waits until it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chaos: Option<Chaos>,
    /// Measures more closely for a while, then as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry_profile: Option<TelemetryProfile>,
    /// Silences alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// Tells somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// Puts a mark into Grafana.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotate: Option<Annotate>,
    /// Waits this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub wait: Option<String>,
    /// Asks Prometheus how to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// Asks whether an SLO has recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// Which action it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is a field of Action and documented there")]
pub enum ActionKind {
    Logs,
    DebugContainer,
    Profile,
    HeapDump,
    Exec,
    Describe,
    Job,
    Scale,
    Restart,
    Rollback,
    EvictPod,
    Cordon,
    Chaos,
    TelemetryProfile,
    Silence,
    Notify,
    Annotate,
    Wait,
    Query,
    Verify,
}

impl ActionKind {
    /// Every action and its field, in the order of [`Action`].
    pub const ALL: [(Self, &'static str); 20] = [
        (Self::Logs, "logs"),
        (Self::DebugContainer, "debugContainer"),
        (Self::Profile, "profile"),
        (Self::HeapDump, "heapDump"),
        (Self::Exec, "exec"),
        (Self::Describe, "describe"),
        (Self::Job, "job"),
        (Self::Scale, "scale"),
        (Self::Restart, "restart"),
        (Self::Rollback, "rollback"),
        (Self::EvictPod, "evictPod"),
        (Self::Cordon, "cordon"),
        (Self::Chaos, "chaos"),
        (Self::TelemetryProfile, "telemetryProfile"),
        (Self::Silence, "silence"),
        (Self::Notify, "notify"),
        (Self::Annotate, "annotate"),
        (Self::Wait, "wait"),
        (Self::Query, "query"),
        (Self::Verify, "verify"),
    ];

    /// The field of [`Action`].
    pub fn field(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, field)| field)
    }
}

impl Action {
    /// The actions that are set; a valid one has exactly one.
    pub fn kinds(&self) -> Vec<ActionKind> {
        // Without `..`, so that a new action cannot be forgotten here.
        let Self {
            logs,
            debug_container,
            profile,
            heap_dump,
            exec,
            describe,
            job,
            scale,
            restart,
            rollback,
            evict_pod,
            cordon,
            chaos,
            telemetry_profile,
            silence,
            notify,
            annotate,
            wait,
            query,
            verify,
        } = self;
        let set = [
            logs.is_some(),
            debug_container.is_some(),
            profile.is_some(),
            heap_dump.is_some(),
            exec.is_some(),
            describe.is_some(),
            job.is_some(),
            scale.is_some(),
            restart.is_some(),
            rollback.is_some(),
            evict_pod.is_some(),
            cordon.is_some(),
            chaos.is_some(),
            telemetry_profile.is_some(),
            silence.is_some(),
            notify.is_some(),
            annotate.is_some(),
            wait.is_some(),
            query.is_some(),
            verify.is_some(),
        ];
        ActionKind::ALL.into_iter().zip(set).filter(|(_, set)| *set).map(|((kind, _), _)| kind).collect()
    }
}

/// A container's log, up to now.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// The Pod.
    #[schemars(schema_with = "crate::schema::label")]
    pub pod: String,
    /// The container. Default: the Pod's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// That of the container before its last restart. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<bool>,
    /// Only the last lines. Default: all, within the limit of bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tail: Option<i64>,
    /// How much of its end is kept, 64Mi at most. Default: 10Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub limit: Option<String>,
}

/// An object as it is now, `object.json`, and the events about it, `events.json`: what `kubectl describe` reads. They
/// hold what the object holds, such as the environment of containers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Describe {
    /// The object.
    #[schemars(schema_with = "crate::schema::label")]
    pub object: String,
}

/// An ephemeral container. It cannot be removed again, so there is one for each step of an execution. Its security
/// context is Plimsoll's: no privileges, no new ones, no root file system to write to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DebugContainer {
    /// The Pod.
    #[schemars(schema_with = "crate::schema::label")]
    pub pod: String,
    /// The container whose processes it sees. Default: the Pod's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
    /// The image, by digest; the operator's configuration lists which are allowed.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The program and its arguments. No shell is asked.
    #[schemars(length(min = 1, max = 64), inner(length(max = 1024)))]
    pub command: Vec<String>,
    /// It may look into other processes' memory (SYS_PTRACE). Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptrace: Option<bool>,
    /// What its output is cut off after. Default: 10Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub limit: Option<String>,
}

/// Profiles by `net/http/pprof`, through the API server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The Pod.
    #[schemars(schema_with = "crate::schema::label")]
    pub pod: String,
    /// The port that serves `/debug/pprof`.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i64,
    /// What is kept.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Vec<ProfileKind>,
    /// How long `profile` and `trace` look. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub r#for: Option<String>,
}

/// A profile, by its name in `net/http/pprof`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ProfileKind {
    /// Memory in use.
    Heap,
    /// All memory that was ever allocated.
    Allocs,
    /// What all goroutines do.
    Goroutine,
    /// Where goroutines wait.
    Block,
    /// Who holds locks that others wait for.
    Mutex,
    /// What made new threads.
    Threadcreate,
    /// Where the processor's time goes.
    Profile,
    /// What happens when.
    Trace,
}

impl ProfileKind {
    /// Its name in the path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Goroutine => "goroutine",
            Self::Block => "block",
            Self::Mutex => "mutex",
            Self::Threadcreate => "threadcreate",
            Self::Profile => "profile",
            Self::Trace => "trace",
        }
    }

    /// True for those that look for a while.
    pub const fn takes_time(self) -> bool {
        matches!(self, Self::Profile | Self::Trace)
    }
}

/// Exactly one of `jvm` and `core`. A dump holds secrets: it goes to the artifacts and nowhere else.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("has(self.jvm) != has(self.core)").message("heapDump has exactly one of jvm and core"))]
pub struct HeapDump {
    /// The Pod.
    #[schemars(schema_with = "crate::schema::label")]
    pub pod: String,
    /// The container. Default: the Pod's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// By `jcmd` in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jvm: Option<Jvm>,
    /// By `gcore` in a debug container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<Core>,
    /// What is larger is not kept, and the step fails. Default: the quota of the artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub limit: Option<String>,
}

/// A dump of a JVM's heap.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Jvm {
    /// The process in the container. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pid: Option<i64>,
    /// Also what could be freed. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Where the container can write it for a moment: an absolute path. Default: /tmp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub directory: Option<String>,
}

/// A core of a process.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Core {
    /// An image with `gcore` and `cat`, by digest; the operator's configuration lists which are allowed.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The process in the container. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pid: Option<i64>,
}

/// A program in a container that runs already.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The Pod.
    #[schemars(schema_with = "crate::schema::label")]
    pub pod: String,
    /// The container. Default: the Pod's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The program and its arguments. No shell is asked.
    #[schemars(length(min = 1, max = 64), inner(length(max = 1024)))]
    pub command: Vec<String>,
    /// It can be repeated without harm, so it is after a crash. Default: false; then a run whose end nobody saw ends
    /// as Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// What its output is cut off after. Default: 1Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub limit: Option<String>,
}

/// A Job in the runbook's namespace: one Pod, never tried again, without privileges and without a token of the API.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The image, by digest; the operator's configuration lists which are allowed.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The program and its arguments. No shell is asked.
    #[schemars(length(min = 1, max = 64), inner(length(max = 1024)))]
    pub command: Vec<String>,
    /// Variables of its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub env: BTreeMap<String, String>,
    /// When it is removed after its end. Default: 1d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub ttl: Option<String>,
}

/// Exactly one of `replicas`, `by` and `percent`; the result is kept within `min` and `max`. Refused while a
/// HorizontalPodAutoscaler has the workload, which would undo it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.replicas), has(self.by), has(self.percent)].filter(x, x).size() == 1").message("scale has exactly one of replicas, by and percent"))]
pub struct Scale {
    /// The Deployment or StatefulSet.
    #[schemars(schema_with = "crate::schema::label")]
    pub workload: String,
    /// To this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i64>,
    /// By this number more, or fewer when negative, than when the run was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub by: Option<i64>,
    /// To this percentage of what there were when the run was planned, rounded up: 150.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub percent: Option<i64>,
    /// Never below. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min: Option<i64>,
    /// Never above.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: i64,
}

/// A rollout of the same template, as `kubectl rollout restart` does it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// The Deployment, StatefulSet or DaemonSet.
    #[schemars(schema_with = "crate::schema::label")]
    pub workload: String,
}

/// The template of an earlier ReplicaSet.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// The Deployment.
    #[schemars(schema_with = "crate::schema::label")]
    pub workload: String,
    /// To this revision. Default: the one before the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub revision: Option<i64>,
}

/// An eviction of that very Pod, not of one that has its name since.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EvictPod {
    /// The Pod.
    #[schemars(schema_with = "crate::schema::label")]
    pub pod: String,
    /// How long it may take to end. Default: the Pod's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub grace_period: Option<String>,
}

/// `spec.unschedulable` of a Node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cordon {
    /// The Node.
    #[schemars(schema_with = "crate::schema::label")]
    pub node: String,
    /// Let new Pods come again instead. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<bool>,
}

/// More samples for a while. What it was before is kept in the execution and put back when the time is over, when the
/// alert is resolved, or when the run is undone, whatever crashes meanwhile.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct TelemetryProfile {
    /// The ServiceMonitor, PodMonitor or OpenTelemetryCollector.
    #[schemars(schema_with = "crate::schema::label")]
    pub object: String,
    /// How closely it looks.
    pub profile: TelemetryLevel,
    /// For how long, at most 1d. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub r#for: Option<String>,
    /// The scrape interval instead of the profile's: 60s, 30s, 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub interval: Option<String>,
    /// Percent of traces instead of the profile's: 1, 10, 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub sampling: Option<i64>,
}

/// How closely telemetry looks.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "lowercase")]
pub enum TelemetryLevel {
    /// Every minute, 1 % of traces.
    Prod,
    /// Every 30 seconds, 10 % of traces.
    Staging,
    /// Every 5 seconds, all traces.
    #[default]
    Debug,
}

/// A silence of Alertmanager that ends by itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// Matchers as in `trigger.alert`; at least one by equality. The namespace is added.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 1024)))]
    pub matchers: Vec<String>,
    /// How long, at most 7d.
    #[schemars(schema_with = "crate::schema::duration")]
    pub r#for: String,
    /// Why.
    #[schemars(length(min = 1, max = 1024))]
    pub comment: String,
}

/// A message to a destination that the operator's configuration lists; addresses are never written here.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// The destination's name.
    #[schemars(length(min = 1, max = 63))]
    pub destination: String,
    /// What it is told.
    #[schemars(length(min = 1, max = 4096))]
    pub message: String,
}

/// An annotation of Grafana, at the time of the step.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Annotate {
    /// What it says.
    #[schemars(length(min = 1, max = 4096))]
    pub text: String,
    /// Its tags, besides `plimsoll` and the runbook's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 63)))]
    pub tags: Vec<String>,
    /// The dashboard that it is for, by its UID. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub dashboard: Option<String>,
}
