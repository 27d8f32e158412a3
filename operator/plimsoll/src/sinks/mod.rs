//! Backends: where rendered rules go. One trait, one file for each, one suite over all of them.

pub mod config;
pub mod conformance;
pub mod fingerprint;
pub mod kubernetes;
pub mod prometheus_rule;
mod reading;
pub mod rule_files;
pub mod ruler_api;
pub mod vm_rule;

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use kube::api::ObjectMeta;
use plimsoll_api::Kind;
use plimsoll_slo::{Dialect, RuleSet, SloId, alerts::Language, names};

pub use config::{Backend, Config};
pub use fingerprint::Fingerprint;

use crate::operator::gate::NotLeading;

/// The object to which rules belong, as far as a backend needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Its uid: an SLO that was deleted and made again is another one.
    pub uid: String,
    /// Labels that the rule object gets; `plimsoll` decides which of the SLO's are copied.
    pub labels: BTreeMap<String, String>,
}

impl Target {
    /// From the object.
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        let labels = metadata
            .labels
            .iter()
            .flatten()
            .filter(|(key, _)| is_copied(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Self {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            labels,
        }
    }

    /// `NAMESPACE/NAME`, the value of [`Self::id_label`].
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Namespace and name.
    pub fn slo_id(&self) -> SloId {
        SloId { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The label that every rule of the object has.
    pub fn id_label(&self) -> &'static str {
        match self.kind {
            Kind::Slo => names::SLO_ID,
            Kind::AlertRule => names::ALERT_RULE,
        }
    }

    /// Name of the object that holds the rules: `plimsoll-NAME`, at most [`OBJECT_NAME_MAX`] characters.
    pub fn object_name(&self) -> String {
        object_name(self.kind, &self.name)
    }

    /// The longer name that an earlier version gave the same object, where it did: what is left under it says the same
    /// a second time.
    pub fn former_object_name(&self) -> Option<String> {
        let whole = format!("{}-{}", self.kind.prefix(), self.name);
        (whole.len() > OBJECT_NAME_MAX).then(|| shorten(&whole, NAME_MAX))
    }
}

/// Longest name that the API server takes; names were shortened to it before [`OBJECT_NAME_MAX`].
const NAME_MAX: usize = 253;

/// Longest name of an object that holds rules. prometheus-operator puts the rules of all objects into ConfigMaps, each
/// under `NAMESPACE-NAME-UID.yaml`. A key has at most 253 characters, and with a longer one the API server refuses
/// the rules of all others as well.
pub const OBJECT_NAME_MAX: usize = NAME_MAX - (63 + 1 + 1 + 36 + 5);

/// See [`Target::object_name`].
pub fn object_name(kind: Kind, name: &str) -> String {
    shorten(&format!("{}-{name}", kind.prefix()), OBJECT_NAME_MAX)
}

/// Name of the file that holds the rules: neither namespaces nor names contain an underscore, so that no
/// two objects share one.
pub fn file_name(kind: Kind, id: &SloId) -> String {
    format!("{}.yaml", shorten(&format!("{}_{}_{}", kind.prefix(), id.namespace, id.name), 200))
}

/// Name of the ruler namespace that holds the rules. A namespace of Kubernetes has no underscore, so none
/// of an SLO begins as one of an AlertRule.
pub fn ruler_namespace(prefix: &str, kind: Kind, id: &SloId) -> String {
    let of_kind = match kind {
        Kind::Slo => "",
        Kind::AlertRule => "alertrule_",
    };
    format!("{prefix}.{of_kind}{}.{}", id.namespace, id.name)
}

/// Argo CD and Helm mark what they own by these: a copy would make them prune the rules.
fn is_copied(label: &str) -> bool {
    label != "app.kubernetes.io/instance"
        && label != kubernetes::MANAGED_BY.0
        && !label.starts_with("argocd.argoproj.io/")
}

/// At most `max` characters: a longer name loses its end to a hash of the whole, so that two long
/// names never become one.
pub(crate) fn shorten(name: &str, max: usize) -> String {
    use sha2::{Digest, Sha256};
    if name.len() <= max {
        return name.to_owned();
    }
    let hash: String = Sha256::digest(name.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(max - 17).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing had to be written.
    Unchanged,
    /// Something was written.
    Changed,
}

/// Why rules could not be written or deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// An object of that name belongs to somebody else, and stays as it is.
    #[error("{what} exists and {owner}; it is left alone: delete it if nobody needs it, or rename this object")]
    NotOurs {
        /// The object: `PrometheusRule shop/plimsoll-checkout`.
        what: String,
        /// Whose it is: `is not owned by this SLO`.
        owner: String,
    },
    /// The backend cannot be used yet; it tells when it can.
    #[error("{what} is not ready: {cause}")]
    NotReady {
        /// The backend or object.
        what: String,
        /// Why.
        cause: String,
    },
    /// The backend refused; the same request will be refused again.
    #[error("{what} was refused: {cause}")]
    Refused {
        /// The object, with its address where it has one.
        what: String,
        /// In the backend's words.
        cause: String,
    },
    /// The backend did not answer, or failed on its side.
    #[error("{what} could not be written: {cause}")]
    Unavailable {
        /// The object, with its address where it has one.
        what: String,
        /// Why.
        cause: String,
    },
    /// The rules are written or removed, and Prometheus was not made to read that.
    #[error("{what} is {done}, {UNREAD}: POST {url}: {cause}; {remedy}")]
    Unread {
        /// The file.
        what: String,
        /// What became of it: `written`.
        done: &'static str,
        /// What was posted to.
        url: String,
        /// Why.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// What is said where the rules are in place and nothing reads them yet.
pub const UNREAD: &str = "but Prometheus could not be made to read it";

impl From<NotLeading> for SinkError {
    fn from(error: NotLeading) -> Self {
        SinkError::NotReady { what: "the backend".to_owned(), cause: error.to_string() }
    }
}

impl SinkError {
    /// True when trying again can help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            SinkError::NotReady { .. } | SinkError::Unavailable { .. } | SinkError::Unread { .. } => true,
            SinkError::NotOurs { .. } | SinkError::Refused { .. } => false,
        }
    }
}

/// A backend that keeps rules for SLOs. Every operation may be repeated at any time, also after a
/// crash half-way, and writes nothing when nothing differs.
pub trait RuleSink: Send + Sync + fmt::Debug {
    /// Where the rules of this SLO are, for people: `PrometheusRule shop/plimsoll-checkout`.
    fn describe(&self, target: &Target) -> String;

    /// Where it writes: two backends of the same place write the same object for an SLO.
    fn place(&self) -> String;

    /// Labels of the object that holds the rules, by which others select it; `None` when it has none.
    fn labels(&self, target: &Target) -> Option<BTreeMap<String, String>> {
        let _ = target;
        None
    }

    /// What the rules that it takes are written in.
    fn language(&self) -> Language {
        Language::PromQl
    }

    /// Who evaluates the rules.
    fn dialect(&self) -> Dialect {
        Dialect::Prometheus
    }

    /// What to look at where Prometheus has not loaded what is written here, if there is something.
    fn advice(&self) -> Option<String> {
        None
    }

    /// How many writes it may get at a time from one that has many.
    fn at_once(&self) -> usize {
        16
    }

    /// True while Prometheus is being made to read what was written, for which writes wait.
    fn is_reloading(&self) -> bool {
        false
    }

    /// True when the rules are outside the cluster, where no garbage collector finds them: the SLO
    /// then carries a finalizer while they may be there.
    fn is_outside(&self) -> bool;

    /// Makes the backend hold exactly these rules for this SLO.
    fn write<'a>(&'a self, target: &'a Target, rules: &'a RuleSet) -> BoxFuture<'a, Result<Written, SinkError>>;

    /// Removes the rules of this SLO.
    fn delete<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Written, SinkError>>;
}

/// The configured backends by name.
#[derive(Clone, Debug, Default)]
pub struct Sinks(BTreeMap<String, Arc<dyn RuleSink>>);

impl Sinks {
    /// The backend of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn RuleSink>> {
        self.0.get(name)
    }

    /// All names, for messages.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// All backends with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn RuleSink>)> {
        self.0.iter().map(|(name, sink)| (name.as_str(), sink))
    }
}

impl FromIterator<(String, Arc<dyn RuleSink>)> for Sinks {
    fn from_iter<T: IntoIterator<Item = (String, Arc<dyn RuleSink>)>>(iter: T) -> Self {
        Self(iter.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_harmless_labels_are_copied() {
        for (label, copied) in [
            ("release", true),
            ("app.kubernetes.io/name", true),
            ("app.kubernetes.io/instance", false),
            ("app.kubernetes.io/managed-by", false),
            ("argocd.argoproj.io/instance", false),
        ] {
            assert_eq!(is_copied(label), copied, "{label}");
        }
    }

    /// Whatever two objects are called, nothing that is made for one is taken for the other's.
    #[test]
    fn no_two_objects_share_a_name() {
        let long = "a".repeat(252);
        let names = ["a", "a.b", "a-b", "b", "base", "a.base", "alerts", "a.alerts", "alertrule-a", "alertrule.a"];
        let names: Vec<String> =
            names.iter().map(|&name| name.to_owned()).chain([format!("{long}x"), format!("{long}y")]).collect();
        let (mut objects, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
        for kind in Kind::ALL {
            for namespace in ["a", "a-b", "alertrule", "plimsoll"] {
                for name in &names {
                    let id = SloId { namespace: namespace.to_owned(), name: name.clone() };
                    let object = object_name(kind, name);
                    let key = format!("{}-{object}-{}.yaml", "n".repeat(63), "u".repeat(36));
                    assert!(key.len() <= 253, "{key}");
                    assert!(file_name(kind, &id).len() <= 255);
                    assert!(objects.insert((namespace, object)), "{kind} {id}");
                    let ruler = ruler_namespace("plimsoll", kind, &id);
                    let groups = groups(kind, &id).into_iter().map(|group| ("group", group));
                    for made in groups.chain([("file", file_name(kind, &id)), ("ruler", ruler)]) {
                        assert!(elsewhere.insert(made.clone()), "{made:?} of {kind} {id}");
                    }
                }
            }
        }
        assert_eq!(object_name(Kind::Slo, "checkout"), "plimsoll-checkout");
    }

    /// Names of the groups that are rendered for it.
    fn groups(kind: Kind, id: &SloId) -> Vec<String> {
        let metadata =
            ObjectMeta { namespace: Some(id.namespace.clone()), name: Some(id.name.clone()), ..ObjectMeta::default() };
        let rules = match kind {
            Kind::Slo => {
                let spec = serde_json::json!({"objective": "99", "sli": {"up": {"series": "up"}}});
                let spec = serde_json::from_value(spec).unwrap();
                let slo = plimsoll_api::Slo { metadata, spec, status: None };
                plimsoll_slo::render(&plimsoll_slo::validate(&slo).unwrap().model)
            }
            Kind::AlertRule => {
                let spec = serde_json::json!({"rules": [{"alert": "Down", "expr": "up == 0"}]});
                let spec = serde_json::from_value(spec).unwrap();
                let rule = plimsoll_api::AlertRule { metadata, spec, status: None };
                plimsoll_slo::alerts::render(&plimsoll_slo::alerts::validate(&rule).unwrap().model)
            }
        };
        rules.group_names().map(str::to_owned).collect()
    }
}
