//! The kinds that files may hold, and their schemas.

use std::sync::{LazyLock, OnceLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
pub use plimsoll_api::AnyKind;
use plimsoll_api::{AlertRule, Kind, Runbook, RunbookApproval, RunbookExecution, Slo};
use serde_json::{Value, json};

/// The definition of a kind for the API server.
pub fn crd(kind: AnyKind) -> CustomResourceDefinition {
    match kind {
        AnyKind::Rules(Kind::Slo) => Slo::crd(),
        AnyKind::Rules(Kind::AlertRule) => AlertRule::crd(),
        AnyKind::Runbook => Runbook::crd(),
        AnyKind::RunbookExecution => RunbookExecution::crd(),
        AnyKind::RunbookApproval => RunbookApproval::crd(),
    }
}

/// The schema of a kind's `spec`, as in the definition.
pub fn spec_schema(kind: AnyKind) -> &'static Value {
    // Each is made when it is first wanted: all of them together take as long as some hundred SLOs.
    static SCHEMAS: [OnceLock<Value>; AnyKind::ALL.len()] = [const { OnceLock::new() }; AnyKind::ALL.len()];
    static NONE: Value = Value::Null;
    AnyKind::ALL
        .into_iter()
        .zip(&SCHEMAS)
        .find(|(k, _)| *k == kind)
        .map_or(&NONE, |(_, schema)| schema.get_or_init(|| schema_of_spec(&crd(kind))))
}

fn schema_of_spec(crd: &CustomResourceDefinition) -> Value {
    crd.spec
        .versions
        .first()
        .and_then(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref()?.properties.as_ref()?.get("spec"))
        .and_then(|schema| serde_json::to_value(schema).ok())
        .unwrap_or_default()
}

/// The names of all kinds.
pub fn names() -> Vec<&'static str> {
    AnyKind::ALL.into_iter().map(AnyKind::name).collect()
}

/// What a person may write under `metadata`; the API server knows it, a definition does not hold it.
pub fn metadata_schema() -> &'static Value {
    static METADATA: LazyLock<Value> = LazyLock::new(|| {
        let any = json!({"x-kubernetes-preserve-unknown-fields": true});
        let strings = json!({"type": "object", "additionalProperties": {"type": "string"}});
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "description": "Its name, unique in the namespace for this kind."},
                "namespace": {"type": "string", "description": "Its namespace."},
                "labels": strings,
                "annotations": strings,
                "finalizers": {"type": "array", "items": {"type": "string"}},
                // Written by the API server; they come along when an object is copied from a cluster.
                "creationTimestamp": any, "deletionGracePeriodSeconds": any, "deletionTimestamp": any,
                "generateName": any, "generation": any, "managedFields": any, "ownerReferences": any,
                "resourceVersion": any, "selfLink": any, "uid": any,
            }
        })
    });
    &METADATA
}
