//! The kinds that files may hold, and their schemas.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
pub use plimsoll_api::Kind;
use plimsoll_api::{AlertRule, Slo};
use serde_json::{Value, json};

/// The definition of a kind for the API server.
pub fn crd(kind: Kind) -> CustomResourceDefinition {
    match kind {
        Kind::Slo => Slo::crd(),
        Kind::AlertRule => AlertRule::crd(),
    }
}

/// The schema of a kind's `spec`, as in the definition.
pub fn spec_schema(kind: Kind) -> &'static Value {
    static SLO: LazyLock<Value> = LazyLock::new(|| schema_of_spec(&crd(Kind::Slo)));
    static ALERT_RULE: LazyLock<Value> = LazyLock::new(|| schema_of_spec(&crd(Kind::AlertRule)));
    match kind {
        Kind::Slo => &SLO,
        Kind::AlertRule => &ALERT_RULE,
    }
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
    Kind::ALL.into_iter().map(Kind::name).collect()
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
