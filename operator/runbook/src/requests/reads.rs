//! What is read of a run's objects before it is planned, as the runbook's ServiceAccount too.

use plimsoll_api::{
    execution::ObjectRef,
    runbook::{ObjectKind, Step},
};

use super::{Call, Request, path, path_of};

/// What a Pod can belong to, by plural: a Deployment's through a ReplicaSet.
const OWNERS: [(&str, &str); 4] = [
    ("replicasets", "ReplicaSet"),
    ("deployments", "Deployment"),
    ("statefulsets", "StatefulSet"),
    ("daemonsets", "DaemonSet"),
];

/// The requests by which objects are looked up for these steps. Of what a Pod can belong to, only what it does belong to
/// is read; which that is, only the cluster knows. A read for which 403 is fine is left out where the account may not.
pub fn reads(objects: &[ObjectRef], steps: &[Step]) -> Vec<Call> {
    let actions = || steps.iter().flat_map(|step| [Some(&step.action), step.compensate.as_deref()]).flatten();
    let mut calls = Vec::new();
    for object in objects {
        let namespace = object.namespace.as_deref();
        let is_it = |workload: &String| *workload == object.parameter;
        let scales = actions().filter_map(|action| action.scale.as_ref()).any(|scale| is_it(&scale.workload));
        let rolls_back =
            actions().filter_map(|action| action.rollback.as_ref()).any(|rollback| is_it(&rollback.workload));
        let list = |api_version: &str, plural: &str| Request::get(path(api_version, namespace, plural, ""));
        let budgets = Call::new(
            "how many Pods its PodDisruptionBudgets let go, if the account may read them",
            list("policy/v1", "poddisruptionbudgets"),
        );
        calls.push(Call::new(format!("look up the {}", object.kind.name()), Request::get(path_of(object))));
        match object.kind {
            ObjectKind::Pod => {
                for (plural, kind) in OWNERS {
                    let name = format!("{}-OF-{}", kind.to_uppercase(), object.parameter.to_uppercase());
                    let owner = Request::get(path("apps/v1", namespace, plural, &name));
                    calls.push(Call::new(format!("look up what the Pod belongs to, if it is a {kind}'s"), owner));
                }
                calls.push(budgets.fine(&[403]));
            }
            ObjectKind::Deployment | ObjectKind::StatefulSet | ObjectKind::DaemonSet => {
                calls.push(budgets.fine(&[403]));
                if scales {
                    let scalers = list("autoscaling/v2", "horizontalpodautoscalers");
                    calls.push(Call::new("see that no HorizontalPodAutoscaler has it", scalers));
                }
                if rolls_back && object.kind == ObjectKind::Deployment {
                    calls.push(Call::new("find its earlier revisions", list("apps/v1", "replicasets")));
                }
            }
            _ => {}
        }
    }
    calls
}
