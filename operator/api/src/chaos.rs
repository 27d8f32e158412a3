//! The faults of the action `chaos`: Chaos Mesh's and Litmus', bounded in what they hit and for how long.

use std::collections::BTreeMap;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault: exactly one kind of it. Refused while an SLO burns; ended at once when one begins to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.podChaos), has(self.networkChaos), has(self.stressChaos), has(self.workflow), has(self.chaosEngine)].filter(x, x).size() == 1").message("chaos has exactly one of podChaos, networkChaos, stressChaos, workflow, chaosEngine"))]
pub struct Chaos {
    /// The workload whose Pods are hit, or the Pod: the runbook's target, by which `minHealthy` and `maxTargetsPercent`
    /// are reckoned.
    #[schemars(schema_with = "crate::schema::label")]
    pub object: String,
    /// How many of its Pods, at most; each experiment of a workflow picks so many. Default: One. Litmus takes one or a
    /// percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<ChaosPods>,
    /// How long: 10s to 1h.
    #[schemars(schema_with = "crate::schema::duration")]
    pub duration: String,
    /// SLOs that it must not endanger: it is refused while one burns or has less than `minBudget` left, and ended when one
    /// begins to burn. Default: every SLO of this namespace, and of the object's where that is another one. Names narrow
    /// it for a namespace that has one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 253)))]
    pub slos: Vec<String>,
    /// Percent of the error budget that must be left. Default: 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub min_budget: Option<i64>,
    /// Chaos Mesh: Pods or containers go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_chaos: Option<PodChaos>,
    /// Chaos Mesh: the network is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_chaos: Option<NetworkChaos>,
    /// Chaos Mesh: processor or memory are scarce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress_chaos: Option<StressChaos>,
    /// Chaos Mesh: several of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Workflow>,
    /// Litmus: experiments of its hub that are installed in the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chaos_engine: Option<ChaosEngine>,
}

/// How many Pods: exactly one of the two.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("has(self.count) != has(self.percent)").message("pods has exactly one of count and percent"))]
pub struct ChaosPods {
    /// This many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: Option<i64>,
    /// This share, at most half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub percent: Option<i64>,
}

/// What happens to the Pods.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct PodChaos {
    /// What.
    pub action: PodChaosAction,
    /// Of ContainerKill: which containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 63)))]
    pub containers: Vec<String>,
}

/// What happens to the Pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PodChaosAction {
    /// They are deleted.
    #[default]
    PodKill,
    /// They do not work while it lasts.
    PodFailure,
    /// Containers of them are killed.
    ContainerKill,
}

/// What happens to packets: exactly one of the kinds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.delay), has(self.loss), has(self.corrupt), has(self.duplicate)].filter(x, x).size() == 1").message("networkChaos has exactly one of delay, loss, corrupt and duplicate"))]
pub struct NetworkChaos {
    /// They come later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Percent that are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub loss: Option<i64>,
    /// Percent that are broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub corrupt: Option<i64>,
    /// Percent that come twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub duplicate: Option<i64>,
}

/// Packets come later.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// By this, at most 30s.
    #[schemars(schema_with = "crate::schema::duration")]
    pub latency: String,
    /// By this more or less. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub jitter: Option<String>,
}

/// What is scarce: `cpu`, `memory` or both.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("has(self.cpu) || has(self.memory)").message("stressChaos has cpu, memory or both"))]
pub struct StressChaos {
    /// Processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStress>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStress>,
}

/// Threads that compute.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CpuStress {
    /// How many.
    #[schemars(range(min = 1, max = 256))]
    pub workers: i64,
    /// Percent of a core for each. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub load: Option<i64>,
}

/// Threads that hold memory.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStress {
    /// How many.
    #[schemars(range(min = 1, max = 256))]
    pub workers: i64,
    /// How much in all.
    #[schemars(schema_with = "crate::schema::bytes")]
    pub size: String,
}

/// Several faults of the same object, in a row or at once.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Workflow {
    /// All at once instead of one after the other. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// The faults.
    #[schemars(length(min = 1, max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub experiments: Vec<Experiment>,
}

/// One fault of a workflow: exactly one kind of it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.podChaos), has(self.networkChaos), has(self.stressChaos)].filter(x, x).size() == 1").message("an experiment has exactly one of podChaos, networkChaos, stressChaos"))]
pub struct Experiment {
    /// Its name.
    #[schemars(schema_with = "crate::schema::label")]
    pub name: String,
    /// How long. All together take at most the chaos step's `duration`.
    #[schemars(schema_with = "crate::schema::duration")]
    pub duration: String,
    /// Pods or containers go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_chaos: Option<PodChaos>,
    /// The network is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_chaos: Option<NetworkChaos>,
    /// Processor or memory are scarce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress_chaos: Option<StressChaos>,
}

/// Experiments of Litmus.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChaosEngine {
    /// The ServiceAccount as which Litmus runs the experiment.
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,
    /// Name of a ChaosExperiment of the namespace: `pod-network-latency`.
    #[schemars(schema_with = "crate::schema::label")]
    pub experiment: String,
    /// Its variables, besides TOTAL_CHAOS_DURATION and PODS_AFFECTED_PERC, which are Plimsoll's, and those by which it
    /// would hit something else than `object` or run another image, such as TARGET_PODS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub env: BTreeMap<String, String>,
}
