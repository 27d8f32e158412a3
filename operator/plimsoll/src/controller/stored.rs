//! An SLO as it is stored, readable or not: one malformed object must not stop the watch.

use std::borrow::Cow;

use kube::{Resource, api::ObjectMeta};
use plimsoll_api::{Slo, SloSpec, SloStatus};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The annotation in which kubectl keeps a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A stored SLO, without what nobody here reads.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The object; its spec is empty when it could not be read.
    pub slo: Slo,
    /// Why it could not be read: `spec.objective: invalid type: …`.
    pub unreadable: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { mut metadata, spec, status } = Raw::deserialize(deserializer)?;
        metadata.managed_fields = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.annotations = None;
            }
        }
        let (spec, unreadable) = match serde_path_to_error::deserialize::<_, SloSpec>(spec) {
            Ok(spec) => (spec, None),
            Err(error) => {
                let path = error.path().to_string();
                let field = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
                (SloSpec::default(), Some(format!("{field}: {}", error.into_inner())))
            }
        };
        // A status that cannot be read is one that will be written anew.
        let status: Option<SloStatus> = serde_json::from_value(status).ok();
        Ok(Self { slo: Slo { metadata, spec, status }, unreadable })
    }
}

impl Resource for Stored {
    type DynamicType = ();
    type Scope = <Slo as Resource>::Scope;

    fn kind(dt: &()) -> Cow<'_, str> {
        Slo::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        Slo::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        Slo::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        Slo::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.slo.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.slo.metadata
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unreadable_spec_keeps_its_name_and_says_the_field() {
        let stored: Stored = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "shop", "managedFields": [{}]},
            "spec": {"objective": "99", "sli": {"events": {"bad": 5}}},
            "status": {"observedGeneration": "x"},
        }))
        .unwrap();
        assert_eq!(stored.slo.metadata.name.as_deref(), Some("a"));
        let message = stored.unreadable.unwrap();
        assert!(message.starts_with("spec.sli.events.bad: invalid type: integer"), "{message}");
        assert_eq!(stored.slo.status, None);
        assert_eq!(stored.slo.metadata.managed_fields, None);
    }
}
