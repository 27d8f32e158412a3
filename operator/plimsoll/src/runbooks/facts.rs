//! What objects are like: what planning, guards and undoing need to know of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::Client;
use plimsoll_api::{
    execution::{Earlier, Facts},
    runbook::{ObjectKind, Step},
};
use serde_json::Value;

use super::read::{ReadError, entries, get, list, path, text};

/// What the steps of a runbook make it necessary to ask of one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether an autoscaler has the workload.
    pub autoscaler: bool,
    /// An earlier template: of this revision, or of the one before.
    pub earlier: Option<Option<i64>>,
}

impl Wanted {
    /// By these steps, of the object of a parameter.
    pub fn of(steps: &[Step], parameter: &str) -> Self {
        let all = || steps.iter().flat_map(|step| [Some(&step.action), step.compensate.as_deref()]).flatten();
        let mut rollbacks = all().filter_map(|action| action.rollback.as_ref());
        Self {
            autoscaler: all().filter_map(|action| action.scale.as_ref()).any(|scale| scale.workload == parameter),
            earlier: rollbacks.find(|rollback| rollback.workload == parameter).map(|rollback| rollback.revision),
        }
    }
}

/// What an object is like.
///
/// # Errors
/// When something that is wanted cannot be read.
pub async fn gather(client: &Client, kind: ObjectKind, object: &Value, wanted: Wanted) -> Result<Facts, ReadError> {
    let mut facts = Facts { managed_by: keeper(object).map(str::to_owned), ..Facts::default() };
    match kind {
        ObjectKind::Pod => pod(client, object, &mut facts).await?,
        ObjectKind::Deployment | ObjectKind::StatefulSet | ObjectKind::DaemonSet => {
            workload(object, &mut facts);
            facts.disruptions_allowed = disruptions(client, object, &facts.pod_labels).await?;
            if wanted.autoscaler {
                facts.autoscaler = autoscaler(client, kind, object).await?;
            }
            if kind == ObjectKind::Deployment {
                facts.revision = revision(object);
                // A template may hold what is nobody's business: it is kept only to be put back.
                if let Some(revision) = wanted.earlier {
                    facts.template = object.pointer("/spec/template").cloned();
                    facts.earlier = earlier(client, object, facts.revision, revision).await?;
                }
            }
        }
        ObjectKind::Node => {
            facts.unschedulable = Some(object.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false));
        }
        ObjectKind::ServiceMonitor => facts.intervals = intervals(object, "/spec/endpoints"),
        ObjectKind::PodMonitor => facts.intervals = intervals(object, "/spec/podMetricsEndpoints"),
        ObjectKind::OpenTelemetryCollector => {
            let sampling = object.pointer("/spec/config/processors/probabilistic_sampler/sampling_percentage");
            facts.sampling = sampling.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    Ok(facts)
}

/// The workload that a Pod belongs to: its Deployment, not the ReplicaSet between them.
///
/// # Errors
/// When it cannot be read.
pub async fn workload_of(client: &Client, pod: &Value) -> Result<Option<(ObjectKind, Value)>, ReadError> {
    let namespace = text(pod, "/metadata/namespace");
    let Some((kind, name)) = controller(pod) else { return Ok(None) };
    let read = async |kind: ObjectKind, name: &str| -> Result<Option<(ObjectKind, Value)>, ReadError> {
        let (_, version, plural) = kind.resource();
        Ok(get(client, &path(version, Some(namespace), plural, name)).await?.map(|object| (kind, object)))
    };
    match kind {
        "StatefulSet" => read(ObjectKind::StatefulSet, name).await,
        "DaemonSet" => read(ObjectKind::DaemonSet, name).await,
        "ReplicaSet" => {
            let set = get(client, &path("apps/v1", Some(namespace), "replicasets", name)).await?;
            match set.as_ref().and_then(controller) {
                Some(("Deployment", name)) => read(ObjectKind::Deployment, name).await,
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

fn controller(object: &Value) -> Option<(&str, &str)> {
    let owner = entries(object, "/metadata/ownerReferences")
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    Some((text(owner, "/kind"), text(owner, "/name")))
}

async fn pod(client: &Client, pod: &Value, facts: &mut Facts) -> Result<(), ReadError> {
    facts.containers = entries(pod, "/spec/containers").map(|c| text(c, "/name").to_owned()).collect();
    let Some((_, owner)) = workload_of(client, pod).await? else { return Ok(()) };
    let mut of_owner = Facts::default();
    workload(&owner, &mut of_owner);
    facts.workload_uid = Some(text(&owner, "/metadata/uid").to_owned());
    facts.replicas = of_owner.replicas;
    facts.pod_labels = of_owner.pod_labels;
    facts.disruptions_allowed = disruptions(client, &owner, &facts.pod_labels).await?;
    let ready = entries(pod, "/status/conditions")
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True");
    facts.ready = of_owner.ready.map(|all| (all - i64::from(ready)).max(0));
    Ok(())
}

fn workload(object: &Value, facts: &mut Facts) {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let daemon_set = number("/status/desiredNumberScheduled");
    facts.replicas = daemon_set.or(number("/spec/replicas"));
    facts.ready = Some(number("/status/readyReplicas").or(number("/status/numberReady")).unwrap_or(0));
    // With expressions beside the labels, the labels alone would find others too.
    if entries(object, "/spec/selector/matchExpressions").next().is_none() {
        facts.pod_labels = labels(object.pointer("/spec/selector/matchLabels"));
    }
}

fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// How many Pods the budgets of a workload let go now. An account that may not read budgets need not: the eviction
/// itself asks them.
async fn disruptions(
    client: &Client,
    workload: &Value,
    selector: &BTreeMap<String, String>,
) -> Result<Option<i64>, ReadError> {
    let namespace = text(workload, "/metadata/namespace");
    let budgets = match list(client, &path("policy/v1", Some(namespace), "poddisruptionbudgets", "")).await {
        Ok(budgets) => budgets,
        Err(ReadError::Forbidden(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut of_pods = labels(workload.pointer("/spec/template/metadata/labels"));
    of_pods.extend(selector.clone());
    let allowed = budgets.iter().filter(|budget| {
        let wanted = labels(budget.pointer("/spec/selector/matchLabels"));
        !wanted.is_empty() && wanted.iter().all(|(name, value)| of_pods.get(name) == Some(value))
    });
    Ok(allowed.filter_map(|budget| budget.pointer("/status/disruptionsAllowed").and_then(Value::as_i64)).min())
}

async fn autoscaler(client: &Client, kind: ObjectKind, object: &Value) -> Result<Option<String>, ReadError> {
    let namespace = text(object, "/metadata/namespace");
    let all = list(client, &path("autoscaling/v2", Some(namespace), "horizontalpodautoscalers", "")).await?;
    let name = text(object, "/metadata/name");
    let of_it = all.iter().find(|scaler| {
        text(scaler, "/spec/scaleTargetRef/kind") == kind.name() && text(scaler, "/spec/scaleTargetRef/name") == name
    });
    Ok(of_it.map(|scaler| text(scaler, "/metadata/name").to_owned()))
}

fn revision(object: &Value) -> Option<i64> {
    text(object, "/metadata/annotations/deployment.kubernetes.io~1revision").parse().ok()
}

async fn earlier(
    client: &Client,
    deployment: &Value,
    now: Option<i64>,
    wanted: Option<i64>,
) -> Result<Option<Earlier>, ReadError> {
    let namespace = text(deployment, "/metadata/namespace");
    let uid = text(deployment, "/metadata/uid");
    let sets = list(client, &path("apps/v1", Some(namespace), "replicasets", "")).await?;
    let owned = sets.iter().filter(|set| entries(set, "/metadata/ownerReferences").any(|o| text(o, "/uid") == uid));
    let revisions: Vec<(i64, &Value)> = owned.filter_map(|set| Some((revision(set)?, set))).collect();
    let of = |wanted: i64| revisions.iter().find(|(revision, _)| *revision == wanted).copied();
    let found = match wanted {
        Some(wanted) => of(wanted),
        None => {
            // After an undo the revision before is the one that was taken back: it came later, and would be a step forward.
            let made = |set: &Value| text(set, "/metadata/creationTimestamp").parse::<Timestamp>().ok();
            let present = now.and_then(of).and_then(|(_, set)| made(set));
            let is_before = |(revision, set): &&(i64, &Value)| {
                now.is_none_or(|now| *revision < now) && (present.is_none() || made(set) <= present)
            };
            revisions.iter().filter(is_before).max_by_key(|(revision, _)| *revision).copied()
        }
    };
    Ok(found.and_then(|(revision, set)| {
        let mut template = set.pointer("/spec/template")?.clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
        Some(Earlier { revision, replica_set: text(set, "/metadata/name").to_owned(), template })
    }))
}

fn intervals(object: &Value, pointer: &str) -> Vec<String> {
    entries(object, pointer).map(|endpoint| text(endpoint, "/interval").to_owned()).collect()
}

/// Who keeps an object as it is in Git.
fn keeper(object: &Value) -> Option<&'static str> {
    let has = |pointer: &str| object.pointer(pointer).is_some();
    if has("/metadata/annotations/argocd.argoproj.io~1tracking-id")
        || has("/metadata/labels/argocd.argoproj.io~1instance")
    {
        return Some("Argo CD");
    }
    let flux = ["kustomize.toolkit.fluxcd.io~1name", "helm.toolkit.fluxcd.io~1name"];
    flux.into_iter().any(|label| has(&format!("/metadata/labels/{label}"))).then_some("Flux")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::testing::FakeApi;

    fn cluster() -> (FakeApi, Value) {
        let api = FakeApi::default();
        let apps = "/apis/apps/v1/namespaces/shop";
        let owner =
            |kind: &str, name: &str, uid: &str| json!([{"kind": kind, "name": name, "uid": uid, "controller": true}]);
        let deployment = json!({"metadata": {"name": "checkout", "namespace": "shop", "uid": "d",
            "annotations": {"deployment.kubernetes.io/revision": "3", "argocd.argoproj.io/tracking-id": "x"}},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "checkout"}},
                "template": {"metadata": {"labels": {"app": "checkout", "tier": "web"}}}}, "status": {"readyReplicas": 3}});
        api.put(&format!("{apps}/deployments/checkout"), deployment);
        for n in 1..=3 {
            let set = json!({"metadata": {"name": format!("checkout-{n}"), "namespace": "shop",
                "annotations": {"deployment.kubernetes.io/revision": n.to_string()},
                "ownerReferences": owner("Deployment", "checkout", "d")},
                "spec": {"template": {"metadata": {"labels": {"app": "checkout", "pod-template-hash": "h"}}, "n": n}}});
            api.put(&format!("{apps}/replicasets/checkout-{n}"), set);
        }
        let budget = json!({"metadata": {"name": "b", "namespace": "shop"}, "spec": {"selector": {"matchLabels": {"tier": "web"}}},
            "status": {"disruptionsAllowed": 1}});
        api.put("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/b", budget);
        let scaler = json!({"metadata": {"name": "h", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "checkout"}}});
        api.put("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/h", scaler);
        let pod = json!({"metadata": {"name": "checkout-3-x", "namespace": "shop", "ownerReferences": owner("ReplicaSet", "checkout-3", "r")},
            "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "init"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        (api, pod)
    }

    #[tokio::test]
    async fn a_pod_knows_its_workload_without_itself() {
        let (api, pod) = cluster();
        let facts = gather(&api.client(), ObjectKind::Pod, &pod, Wanted::default()).await.unwrap();
        assert_eq!(facts.containers, ["app"]);
        assert_eq!((facts.workload_uid.as_deref(), facts.replicas, facts.ready), (Some("d"), Some(4), Some(2)));
        assert_eq!(facts.disruptions_allowed, Some(1));
        assert_eq!(facts.pod_labels, BTreeMap::from([("app".to_owned(), "checkout".to_owned())]));
    }

    #[tokio::test]
    async fn a_deployment_knows_what_it_was() {
        let (api, _) = cluster();
        let deployment = api.get("/apis/apps/v1/namespaces/shop/deployments/checkout").unwrap();
        let read = async |wanted| gather(&api.client(), ObjectKind::Deployment, &deployment, wanted).await.unwrap();
        let facts = read(Wanted { autoscaler: true, earlier: Some(None) }).await;
        assert_eq!((facts.revision, facts.autoscaler.as_deref()), (Some(3), Some("h")));
        assert_eq!(facts.managed_by.as_deref(), Some("Argo CD"));
        let earlier = facts.earlier.clone().unwrap();
        assert_eq!((earlier.revision, earlier.replica_set.as_str()), (2, "checkout-2"));
        assert_eq!(earlier.template, json!({"metadata": {"labels": {"app": "checkout"}}, "n": 2}));
        let chosen = read(Wanted { autoscaler: false, earlier: Some(Some(1)) }).await;
        assert_eq!((chosen.earlier.unwrap().revision, chosen.autoscaler), (1, None));
        assert_eq!(read(Wanted { autoscaler: false, earlier: Some(Some(9)) }).await.earlier, None);
        assert_eq!(facts.template.as_ref(), deployment.pointer("/spec/template"));
        let scaled = read(Wanted { autoscaler: true, earlier: None }).await;
        assert_eq!((scaled.revision, scaled.template), (Some(3), None), "no template where none is put back");
    }

    /// After `kubectl rollout undo` the ReplicaSet in use is an old one, with the highest revision.
    #[tokio::test]
    async fn a_rollback_never_goes_forward_to_what_was_taken_back() {
        let (api, _) = cluster();
        let apps = "/apis/apps/v1/namespaces/shop";
        let mut deployment = api.get(&format!("{apps}/deployments/checkout")).unwrap();
        let set = |n: i64, revision: i64, made: &str| {
            let at = format!("{apps}/replicasets/checkout-{n}");
            let mut set = api.get(&at).unwrap();
            *set.pointer_mut("/metadata/annotations/deployment.kubernetes.io~1revision").unwrap() =
                json!(revision.to_string());
            set.pointer_mut("/metadata")
                .unwrap()
                .as_object_mut()
                .unwrap()
                .insert("creationTimestamp".to_owned(), json!(made));
            api.put(&at, set);
        };
        let earlier = async |deployment: &Value| {
            let wanted = Wanted { autoscaler: false, earlier: Some(None) };
            let facts = gather(&api.client(), ObjectKind::Deployment, deployment, wanted).await.unwrap();
            facts.earlier.map(|earlier| (earlier.revision, earlier.replica_set))
        };
        set(1, 1, "2026-11-01T09:00:00Z");
        set(2, 2, "2026-11-20T09:00:00Z");
        set(3, 3, "2026-11-26T14:00:00Z");
        assert_eq!(earlier(&deployment).await, Some((2, "checkout-2".to_owned())));
        // Revision 3 is bad and was undone: revision 4 is the ReplicaSet of 2, and before it came 1.
        set(2, 4, "2026-11-20T09:00:00Z");
        *deployment.pointer_mut("/metadata/annotations/deployment.kubernetes.io~1revision").unwrap() = json!("4");
        assert_eq!(earlier(&deployment).await, Some((1, "checkout-1".to_owned())));
        // Undone to the very first one: there is nothing before it.
        set(2, 2, "2026-11-20T09:00:00Z");
        set(1, 4, "2026-11-01T09:00:00Z");
        assert_eq!(earlier(&deployment).await, None);
    }

    #[test]
    fn each_object_is_asked_what_its_own_steps_need() {
        let steps: Vec<Step> = serde_json::from_value(json!([
            {"name": "a", "rollback": {"workload": "checkout", "revision": 3}},
            {"name": "b", "rollback": {"workload": "cart"}},
            {"name": "c", "scale": {"workload": "worker", "by": 1, "max": 9}},
        ]))
        .unwrap();
        let wanted = |parameter| Wanted::of(&steps, parameter);
        assert_eq!(wanted("checkout"), Wanted { autoscaler: false, earlier: Some(Some(3)) });
        assert_eq!(wanted("cart"), Wanted { autoscaler: false, earlier: Some(None) });
        assert_eq!(wanted("worker"), Wanted { autoscaler: true, earlier: None });
    }

    #[tokio::test]
    async fn monitors_and_collectors_know_how_closely_they_look() {
        let client = FakeApi::default().client();
        let monitor = json!({"spec": {"endpoints": [{"interval": "30s"}, {}]}});
        let facts = gather(&client, ObjectKind::ServiceMonitor, &monitor, Wanted::default()).await.unwrap();
        assert_eq!(facts.intervals, ["30s", ""]);
        let collector =
            json!({"spec": {"config": {"processors": {"probabilistic_sampler": {"sampling_percentage": 10}}}}});
        let facts = gather(&client, ObjectKind::OpenTelemetryCollector, &collector, Wanted::default()).await.unwrap();
        assert_eq!(facts.sampling.as_deref(), Some("10"));
    }
}
