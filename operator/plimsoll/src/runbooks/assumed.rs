//! What is assumed of a cluster and of the operator's configuration where neither is there: for dry runs of files.

use std::collections::BTreeMap;

use plimsoll_api::execution::{Earlier, Facts, ObjectRef};
use plimsoll_runbook::{
    Act, Model,
    parameters::{Lookup, Which},
    plan::Settings,
};
use serde_json::json;

/// An object as it could be; what only a cluster knows is in capitals.
pub fn object(model: &Model, lookup: &Lookup, values: &BTreeMap<String, String>) -> ObjectRef {
    let Lookup { parameter, kind, namespace, which } = lookup;
    let name = match which {
        Which::Named(name) => name.clone(),
        Which::OwnerOf(owned) => format!("{}-OF-{}", kind.name().to_uppercase(), owned.to_uppercase()),
    };
    // Whatever container the steps name is there; without a name there is one.
    let mut containers: Vec<String> =
        model.steps.iter().filter_map(named_container).map(|name| values.get(&name).cloned().unwrap_or(name)).collect();
    containers.dedup();
    if containers.is_empty() {
        containers.push("CONTAINER".to_owned());
    }
    let facts = Facts {
        containers,
        workload_uid: Some(format!("UID-OF-WORKLOAD-OF-{}", parameter.to_uppercase())),
        replicas: Some(1),
        ready: Some(1),
        pod_labels: [("LABEL".to_owned(), "OF-ITS-PODS".to_owned())].into(),
        revision: Some(2),
        template: Some(json!("THE-PRESENT-TEMPLATE")),
        earlier: Some(Earlier {
            revision: 1,
            replica_set: "THE-EARLIER-REPLICASET".to_owned(),
            template: json!("THE-EARLIER-TEMPLATE"),
        }),
        unschedulable: Some(false),
        intervals: vec!["THE-PRESENT-INTERVAL".to_owned()],
        sampling: Some("\"THE-PRESENT-PERCENTAGE\"".to_owned()),
        ..Facts::default()
    };
    ObjectRef {
        parameter: parameter.clone(),
        kind: *kind,
        namespace: namespace.clone(),
        name,
        uid: format!("UID-OF-{}", parameter.to_uppercase()),
        facts,
    }
}

/// The container that a step names, itself or by a parameter.
fn named_container(step: &plimsoll_api::runbook::Step) -> Option<String> {
    match Act::of(&step.action) {
        Some(Act::Logs(logs)) => logs.container.clone(),
        Some(Act::DebugContainer(debug)) => debug.target.clone(),
        Some(Act::HeapDump(dump)) => dump.container.clone(),
        Some(Act::Exec(exec)) => exec.container.clone(),
        _ => None,
    }
}

/// A configuration that allows what the runbook names.
pub fn settings(model: &Model) -> Settings {
    let mut settings = Settings { operator_namespace: "plimsoll-system".to_owned(), ..Settings::default() };
    // The empty beginning is that of every image; they are named by digest all the same.
    settings.images.push(String::new());
    let acts = model.steps.iter().flat_map(|step| [Some(&step.action), step.compensate.as_deref()]).flatten();
    for act in acts.filter_map(Act::of) {
        match act {
            Act::Notify(notify) => settings.destinations.push(notify.destination.clone()),
            Act::Verify(verify) => settings.destinations.extend(verify.escalate_to.clone()),
            _ => {}
        }
    }
    settings.destinations.extend(model.verify.as_ref().and_then(|verify| verify.escalate_to.clone()));
    settings.destinations.extend(model.approval_notify.clone());
    settings.volumes.extend(model.artifacts.as_ref().and_then(|artifacts| artifacts.volume.clone()));
    settings
}
