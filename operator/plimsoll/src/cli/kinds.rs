//! The kinds that files may hold, and their schemas.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use plimsoll_api::Slo;
use serde_json::{Value, json};

/// A kind of this API group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SLO`.
    Slo,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 1] = [Self::Slo];

    /// As in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slo => "SLO",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Its definition for the API server.
    pub fn crd(self) -> CustomResourceDefinition {
        match self {
            Self::Slo => Slo::crd(),
        }
    }

    /// The schema of its `spec`, as in the definition.
    pub fn spec_schema(self) -> &'static Value {
        static SLO: LazyLock<Value> = LazyLock::new(|| spec_schema(&Kind::Slo.crd()));
        match self {
            Self::Slo => &SLO,
        }
    }
}

fn spec_schema(crd: &CustomResourceDefinition) -> Value {
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
