//! An object as it is stored, readable or not: one malformed object must not stop the watch.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, api::ObjectMeta, core::DynamicResourceScope};
use plimsoll_api::{API_VERSION, AlertRule, AlertRuleStatus, GROUP, Kind, Slo, SloStatus, VERSION, slo::Composite};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// The annotation in which kubectl keeps a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A stored object, without what nobody here reads. The kind is its dynamic type, so that one
/// controller serves all kinds.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The object, its status apart; its spec is empty when it could not be read.
    pub object: Object,
    /// Its status.
    pub status: Option<Shown>,
    /// Why it could not be read: `spec.objective: invalid type: …`.
    pub unreadable: Option<String>,
}

/// An object of one of the kinds.
#[derive(Clone, Debug)]
pub enum Object {
    /// `SLO`.
    Slo(Box<Slo>),
    /// `AlertRule`.
    AlertRule(Box<AlertRule>),
}

/// What a status shows, of whichever kind; a kind leaves out what it does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The generation that it speaks of.
    pub observed_generation: Option<i64>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Where the rules are.
    pub place: Option<String>,
    /// Of an SLO.
    pub budget: Option<String>,
    /// Of an SLO.
    pub burn: Option<String>,
    /// Of an SLO.
    pub alert: Option<String>,
    /// Of an AlertRule: how many.
    pub rules: Option<i64>,
    /// Of an AlertRule: how many alerts fire.
    pub firing: Option<i64>,
}

impl From<SloStatus> for Shown {
    fn from(status: SloStatus) -> Self {
        let SloStatus { observed_generation, conditions, budget, burn, alert, rules } = status;
        Self { observed_generation, conditions, place: rules, budget, burn, alert, ..Self::default() }
    }
}

impl From<AlertRuleStatus> for Shown {
    fn from(status: AlertRuleStatus) -> Self {
        let AlertRuleStatus { observed_generation, conditions, rules, firing, place } = status;
        Self { observed_generation, conditions, place, rules, firing, ..Self::default() }
    }
}

impl From<Shown> for SloStatus {
    fn from(shown: Shown) -> Self {
        let Shown { observed_generation, conditions, place: rules, budget, burn, alert, rules: _, firing: _ } = shown;
        Self { observed_generation, conditions, budget, burn, alert, rules }
    }
}

impl From<Shown> for AlertRuleStatus {
    fn from(shown: Shown) -> Self {
        let Shown { observed_generation, conditions, place, budget: _, burn: _, alert: _, rules, firing } = shown;
        Self { observed_generation, conditions, rules, firing, place }
    }
}

impl Stored {
    /// Its kind.
    pub fn kind_of(&self) -> Kind {
        match &self.object {
            Object::Slo(_) => Kind::Slo,
            Object::AlertRule(_) => Kind::AlertRule,
        }
    }

    /// The backend that it names.
    pub fn backend(&self) -> Option<&str> {
        match &self.object {
            Object::Slo(slo) => slo.spec.backend.as_deref(),
            Object::AlertRule(rule) => rule.spec.backend.as_deref(),
        }
    }

    /// Whether it asks for the anomaly scorer.
    pub fn wants_anomaly(&self) -> bool {
        match &self.object {
            Object::Slo(slo) => slo.spec.anomaly.is_some(),
            Object::AlertRule(rule) => rule.spec.rules.iter().any(|rule| rule.anomaly.is_some()),
        }
    }

    /// The SLOs of the same namespace that it is made of, as it says itself.
    pub fn parts(&self) -> Vec<String> {
        let Object::Slo(slo) = &self.object else { return Vec::new() };
        let Some(Composite { weighted, worst_of }) = &slo.spec.sli.composite else { return Vec::new() };
        let weighted = weighted.iter().flatten().map(|part| part.slo.clone());
        weighted.chain(worst_of.iter().flatten().cloned()).collect()
    }
}

#[derive(Deserialize)]
struct Raw {
    kind: Option<String>,
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { kind, mut metadata, spec, status } = Raw::deserialize(deserializer)?;
        metadata.managed_fields = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.annotations = None;
            }
        }
        // The API server says the kind of every custom resource, also in lists.
        Ok(match kind.as_deref().and_then(Kind::parse).unwrap_or_default() {
            Kind::Slo => {
                let (spec, unreadable) = read(spec);
                let object = Object::Slo(Box::new(Slo { metadata, spec, status: None }));
                Self { object, status: shown::<SloStatus>(status), unreadable }
            }
            Kind::AlertRule => {
                let (spec, unreadable) = read(spec);
                let object = Object::AlertRule(Box::new(AlertRule { metadata, spec, status: None }));
                Self { object, status: shown::<AlertRuleStatus>(status), unreadable }
            }
        })
    }
}

/// The spec, or an empty one and why.
fn read<S: DeserializeOwned + Default>(spec: Value) -> (S, Option<String>) {
    match serde_path_to_error::deserialize::<_, S>(spec) {
        Ok(spec) => (spec, None),
        Err(error) => {
            let path = error.path().to_string();
            let field = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
            (S::default(), Some(format!("{field}: {}", error.into_inner())))
        }
    }
}

/// A status that cannot be read is one that will be written anew.
fn shown<S: DeserializeOwned + Into<Shown>>(status: Value) -> Option<Shown> {
    serde_json::from_value::<S>(status).ok().map(Into::into)
}

impl Resource for Stored {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.name().into()
    }

    fn group(_: &Kind) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        VERSION.into()
    }

    fn api_version(_: &Kind) -> Cow<'_, str> {
        API_VERSION.into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.object {
            Object::Slo(slo) => &slo.metadata,
            Object::AlertRule(rule) => &rule.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.object {
            Object::Slo(slo) => &mut slo.metadata,
            Object::AlertRule(rule) => &mut rule.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unreadable_spec_keeps_its_name_and_says_the_field() {
        for (kind, spec, said) in [
            (
                "SLO",
                json!({"objective": "99", "sli": {"events": {"bad": 5}}}),
                "spec.sli.events.bad: invalid type: integer",
            ),
            ("AlertRule", json!({"rules": [{"alert": 5}]}), "spec.rules[0].alert: invalid type: integer"),
        ] {
            let stored: Stored = serde_json::from_value(json!({
                "kind": kind,
                "metadata": {"name": "a", "namespace": "shop", "managedFields": [{}]},
                "spec": spec,
                "status": {"observedGeneration": "x"},
            }))
            .unwrap();
            assert_eq!(stored.kind_of().name(), kind);
            assert_eq!(stored.meta().name.as_deref(), Some("a"));
            let message = stored.unreadable.unwrap();
            assert!(message.starts_with(said), "{message}");
            assert_eq!(stored.status, None);
        }
    }
}
