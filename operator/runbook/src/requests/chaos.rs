//! Faults: an object of Chaos Mesh or Litmus under the step's name, bounded in what it hits and for how long.
//!
//! It stays when it is over, so that making it again is refused; it goes with the execution.

use plimsoll_api::{
    chaos::{Chaos, ChaosEngine, CpuStress, Delay, MemoryStress, NetworkChaos, PodChaos, PodChaosAction, StressChaos},
    execution::ObjectRef,
    runbook::{ObjectKind, Step},
};
use plimsoll_slo::model::Span;
use serde_json::{Map, Value, json};

use super::{Call, Expect, JSON, Request, Run, Until, path};
use crate::{model::seconds, names, validate};

const CHAOS_MESH: &str = "chaos-mesh.org/v1alpha1";
const LITMUS: &str = "litmuschaos.io/v1alpha1";
/// The template of a Workflow that has all others. Names of experiments have no dot, so none is the same.
const ENTRY: &str = "all.experiments";

/// A fault as its API has it.
struct Fault {
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    spec: Value,
    /// What says that all are hit, where that can be told from the end.
    injected: bool,
    /// What says that it is over.
    over: Until,
}

pub(super) fn inject(run: &Run<'_>, chaos: &Chaos, name: &str) -> Result<Vec<Call>, String> {
    let object = run.object(&chaos.object)?;
    let fault = fault(chaos, object)?;
    let namespace = object.namespace.as_deref().unwrap_or(run.namespace);
    let mut metadata = run.metadata(name);
    if namespace != run.namespace
        && let Some(map) = metadata.as_object_mut()
    {
        map.insert("namespace".to_owned(), json!(namespace));
        // An owner must be of the same namespace.
        map.remove("ownerReferences");
    }
    let body = json!({"apiVersion": fault.api_version, "kind": fault.kind, "metadata": metadata, "spec": fault.spec});
    let all = path(fault.api_version, Some(namespace), fault.plural, "");
    let this = format!("{all}/{name}");
    let mut calls = vec![
        Call::new(format!("make the {} {name}", fault.kind), Request::kubernetes("POST", all).body(JSON, body))
            .fine(&[409]),
        Call::new("see that it is of this run", Request::get(this.clone())).expect(Expect::Ours(run.name.to_owned())),
    ];
    if fault.injected {
        let hit = Call::new("wait until all are hit", Request::get(this.clone()));
        calls.push(hit.expect(Expect::Until(Until::Injected)));
    }
    calls.push(Call::new("wait until it is over", Request::get(this)).expect(Expect::Until(fault.over)));
    Ok(calls)
}

/// Ends it now: its finalizer puts things back before it goes.
pub(super) fn remove(run: &Run<'_>, step: &Step, chaos: &Chaos) -> Result<Vec<Call>, String> {
    let object = run.object(&chaos.object)?;
    let fault = fault(chaos, object)?;
    let namespace = object.namespace.as_deref().unwrap_or(run.namespace);
    let this = path(fault.api_version, Some(namespace), fault.plural, &names::of_step(run.name, &step.name));
    Ok(vec![Call::new(format!("remove the {}", fault.kind), Request::kubernetes("DELETE", this)).fine(&[404])])
}

fn fault(chaos: &Chaos, object: &ObjectRef) -> Result<Fault, String> {
    let duration = seconds(Some(&chaos.duration), Span::seconds(60));
    let target = target(chaos, object)?;
    if let Some(engine) = &chaos.chaos_engine {
        return Ok(litmus(chaos, engine, object, duration));
    }
    if let Some(workflow) = &chaos.workflow {
        let mut templates = Vec::new();
        let names: Vec<&str> = workflow.experiments.iter().map(|experiment| experiment.name.as_str()).collect();
        let order = if workflow.parallel == Some(true) { "Parallel" } else { "Serial" };
        templates.push(json!({
            "name": ENTRY, "templateType": order, "deadline": format!("{duration}s"), "children": names,
        }));
        for experiment in &workflow.experiments {
            let length = seconds(Some(&experiment.duration), Span::seconds(60));
            let (pod, network, stress) = (&experiment.pod_chaos, &experiment.network_chaos, &experiment.stress_chaos);
            let (kind, spec, _) = mesh(pod.as_ref(), network.as_ref(), stress.as_ref(), &target)
                .ok_or_else(|| format!("experiment {} has no fault", experiment.name))?;
            let field = match kind {
                "PodChaos" => "podChaos",
                "NetworkChaos" => "networkChaos",
                _ => "stressChaos",
            };
            templates.push(json!({
                "name": experiment.name, "templateType": kind, "deadline": format!("{length}s"), field: spec,
            }));
        }
        let spec = json!({"entry": ENTRY, "templates": templates});
        let over = Until::Accomplished;
        return Ok(Fault {
            api_version: CHAOS_MESH,
            kind: "Workflow",
            plural: "workflows",
            spec,
            injected: false,
            over,
        });
    }
    let (kind, mut spec, once) =
        mesh(chaos.pod_chaos.as_ref(), chaos.network_chaos.as_ref(), chaos.stress_chaos.as_ref(), &target)
            .ok_or("the chaos step has no fault")?;
    if let Some(spec) = spec.as_object_mut().filter(|_| !once) {
        spec.insert("duration".to_owned(), json!(format!("{duration}s")));
    }
    let plural = match kind {
        "PodChaos" => "podchaos",
        "NetworkChaos" => "networkchaos",
        _ => "stresschaos",
    };
    // What is done in a moment has nothing to recover from.
    let over = if once { Until::Injected } else { Until::Recovered };
    Ok(Fault { api_version: CHAOS_MESH, kind, plural, spec, injected: !once, over })
}

/// Which Pods, and how many: never an empty selector.
fn target(chaos: &Chaos, object: &ObjectRef) -> Result<Map<String, Value>, String> {
    let namespace = object.namespace.clone().unwrap_or_default();
    let selector = if object.kind == ObjectKind::Pod {
        json!({"namespaces": [namespace], "pods": {namespace.clone(): [object.name]}})
    } else if object.facts.pod_labels.is_empty() {
        return Err(format!("{} has no labels by which exactly its Pods are found", object.name));
    } else {
        json!({"namespaces": [namespace], "labelSelectors": object.facts.pod_labels})
    };
    let mut target = Map::new();
    target.insert("selector".to_owned(), selector);
    let pods = chaos.pods.unwrap_or_default();
    let (mode, value) = match (pods.count, pods.percent) {
        (Some(count), _) => ("fixed", Some(count)),
        (_, Some(percent)) => ("fixed-percent", Some(percent)),
        _ => ("one", None),
    };
    target.insert("mode".to_owned(), json!(mode));
    if let Some(value) = value {
        target.insert("value".to_owned(), json!(value.to_string()));
    }
    Ok(target)
}

/// Kind and spec of a fault of Chaos Mesh, without its duration, and whether it is done in a moment.
fn mesh(
    pod: Option<&PodChaos>,
    network: Option<&NetworkChaos>,
    stress: Option<&StressChaos>,
    target: &Map<String, Value>,
) -> Option<(&'static str, Value, bool)> {
    let mut spec = target.clone();
    let mut set = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    let (kind, once) = if let Some(PodChaos { action, containers }) = pod {
        let (action, once) = match action {
            PodChaosAction::PodKill => ("pod-kill", true),
            PodChaosAction::PodFailure => ("pod-failure", false),
            PodChaosAction::ContainerKill => ("container-kill", true),
        };
        set("action", json!(action));
        if !containers.is_empty() {
            set("containerNames", json!(containers));
        }
        ("PodChaos", once)
    } else if let Some(NetworkChaos { delay, loss, corrupt, duplicate }) = network {
        let percent = |field: &str, n: i64| json!({field: n.to_string(), "correlation": "0"});
        let (action, value) = match (delay, loss, corrupt, duplicate) {
            (Some(Delay { latency, jitter }), ..) => {
                ("delay", json!({"latency": latency, "jitter": jitter.as_deref().unwrap_or("0ms"), "correlation": "0"}))
            }
            (_, Some(n), ..) => ("loss", percent("loss", *n)),
            (_, _, Some(n), _) => ("corrupt", percent("corrupt", *n)),
            (_, _, _, Some(n)) => ("duplicate", percent("duplicate", *n)),
            _ => return None,
        };
        set("action", json!(action));
        set("direction", json!("to"));
        set(action, value);
        ("NetworkChaos", false)
    } else {
        let StressChaos { cpu, memory } = stress?;
        let mut stressors = Map::new();
        if let Some(CpuStress { workers, load }) = cpu {
            stressors.insert("cpu".to_owned(), json!({"workers": workers, "load": load.unwrap_or(100)}));
        }
        if let Some(MemoryStress { workers, size }) = memory {
            let size = validate::bytes(size).map_or_else(|| size.clone(), |bytes| bytes.to_string());
            stressors.insert("memory".to_owned(), json!({"workers": workers, "size": size}));
        }
        set("stressors", Value::Object(stressors));
        ("StressChaos", false)
    };
    Some((kind, Value::Object(spec), once))
}

fn litmus(chaos: &Chaos, engine: &ChaosEngine, object: &ObjectRef, duration: i64) -> Fault {
    let labels: Vec<String> = object.facts.pod_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Litmus hits at least one; it has no number.
    let percent = chaos.pods.and_then(|pods| pods.percent).unwrap_or(0);
    let mut env: Vec<Value> = engine.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    env.push(json!({"name": "TOTAL_CHAOS_DURATION", "value": duration.to_string()}));
    if object.kind == ObjectKind::Pod {
        env.push(json!({"name": "TARGET_PODS", "value": object.name}));
    } else {
        env.push(json!({"name": "PODS_AFFECTED_PERC", "value": percent.to_string()}));
    }
    let kind = if object.kind == ObjectKind::Pod { "deployment".to_owned() } else { object.kind.name().to_lowercase() };
    let spec = json!({
        "engineState": "active",
        "appinfo": {"appns": object.namespace, "applabel": labels.join(","), "appkind": kind},
        "chaosServiceAccount": engine.service_account,
        "jobCleanUpPolicy": "retain",
        "experiments": [{"name": engine.experiment, "spec": {"components": {"env": env}}}],
    });
    let over = Until::EngineCompleted;
    Fault { api_version: LITMUS, kind: "ChaosEngine", plural: "chaosengines", spec, injected: false, over }
}
