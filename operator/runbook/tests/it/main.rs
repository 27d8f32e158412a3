//! Tests of the crate's public face: what is refused and why, what is planned and sent, what always holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod answers;
mod bad_commands;
mod bad_inputs;
mod crashes;
mod guards;
mod lowered;
mod meanwhile;
mod planning;
mod scenarios;
mod starting;
mod together;
mod undoing;

use std::collections::BTreeMap;

use plimsoll_api::{
    Runbook,
    execution::{Earlier, Facts, ObjectRef},
    runbook::ObjectKind,
};
use plimsoll_runbook::{
    Model,
    matching::{Alert, Occurrence, matches},
    parameters,
    plan::{Planned, Settings, plan},
};
use serde_json::{Value, json};

/// An image by its digest.
pub(crate) const IMAGE: &str =
    "registry.example/debug@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A runbook that keeps a log, with `patch` merged into its spec (null removes).
pub(crate) fn runbook(patch: &Value) -> Runbook {
    let mut spec = json!({
        "serviceAccountName": "evidence",
        "trigger": {"alert": ["alertname=\"PodRestarting\""]},
        "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"}],
        "steps": [{"name": "last-words", "logs": {"pod": "pod", "previous": true}}],
        "artifacts": {"volume": "evidence"},
    });
    merge(&mut spec, patch);
    serde_json::from_value(json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "crashloop", "namespace": "shop", "uid": "rb-uid", "generation": 3},
        "spec": spec
    }))
    .unwrap()
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// Every problem of a runbook as one line each; empty when there is none.
pub(crate) fn problems(patch: &Value) -> Vec<String> {
    let found = match plimsoll_runbook::validate(&runbook(patch)) {
        Ok(valid) => valid.warnings,
        Err(problems) => problems,
    };
    found.iter().map(|p| format!("{}: {p}", p.level)).collect()
}

/// The model of a runbook that must be valid.
pub(crate) fn model(patch: &Value) -> Model {
    plimsoll_runbook::validate(&runbook(patch)).unwrap_or_else(|problems| panic!("{patch}: {problems:#?}")).model
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

/// The moment at which everything happens.
pub(crate) fn noon() -> jiff::Timestamp {
    at("2026-11-26T12:00:00Z")
}

pub(crate) fn alert(pairs: &[(&str, &str)]) -> Occurrence {
    Occurrence::Alert(Alert {
        labels: labels(pairs),
        fingerprint: "f1".to_owned(),
        starts_at: at("2026-11-26T11:58:00Z"),
        firing: true,
        ends_at: None,
        runbooks: Vec::new(),
    })
}

pub(crate) fn settings() -> Settings {
    Settings {
        operator_namespace: "plimsoll-system".to_owned(),
        images: vec!["registry.example/".to_owned()],
        destinations: vec!["payments".to_owned()],
        volumes: vec!["evidence".to_owned()],
    }
}

/// An object of each kind, as the cluster could have it.
pub(crate) fn object(parameter: &str, kind: ObjectKind, name: &str) -> ObjectRef {
    let template = |image: &str| json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    ObjectRef {
        parameter: parameter.to_owned(),
        kind,
        namespace: kind.is_namespaced().then(|| "shop".to_owned()),
        name: name.to_owned(),
        uid: format!("{name}-uid"),
        facts: Facts {
            containers: vec!["app".to_owned()],
            workload_uid: (kind == ObjectKind::Pod).then(|| "workload".to_owned()),
            replicas: Some(4),
            ready: Some(3),
            pod_labels: labels(&[("app", "checkout")]),
            revision: Some(8),
            template: Some(template("checkout:8")),
            earlier: Some(Earlier {
                revision: 7,
                replica_set: "checkout-7".to_owned(),
                template: template("checkout:7"),
            }),
            unschedulable: Some(false),
            intervals: vec!["30s".to_owned(), String::new()],
            sampling: Some("1".to_owned()),
            ..Facts::default()
        },
    }
}

/// Plans a run of `patch` for an alert with the label `pod`, every object found.
pub(crate) fn planned(patch: &Value) -> Result<Planned, Vec<String>> {
    planned_with(patch, |_| ())
}

pub(crate) fn planned_with(patch: &Value, change: impl Fn(&mut ObjectRef)) -> Result<Planned, Vec<String>> {
    let model = model(patch);
    let occurrence =
        alert(&[("alertname", "PodRestarting"), ("namespace", "shop"), ("pod", "checkout-1"), ("container", "app")]);
    let evidence = matches(&model, &occurrence, noon()).unwrap();
    let values = parameters::resolve(&model, &evidence.labels, &BTreeMap::new()).unwrap();
    let objects = values
        .lookups
        .iter()
        .map(|lookup| {
            let name = values.values.get(&lookup.parameter).map_or("owner", String::as_str);
            let mut object = object(&lookup.parameter, lookup.kind, name);
            change(&mut object);
            object
        })
        .collect();
    plan(&model, &settings(), evidence, &values.values, objects, None)
}
