//! What an SLO or AlertRule watches, whether its rules work, and why it is quiet or fires.
//! [`gather`] asks; [`text()`] is a pure function from the facts to words.

pub mod alert_rule;
mod blind;
mod buckets;
mod excluded;
pub mod facts;
mod fit;
pub mod gather;
mod groups;
mod histogram;
mod near;
mod parts;
mod scores;
pub mod text;
mod tiers;

use kube::Client;
use plimsoll_slo::AnyModel;

pub use facts::Facts;
pub use text::text;

use crate::{controller::stored::Object, prometheus::Prometheus};

/// Explains one object after another.
#[derive(Debug, Default)]
pub struct Explainer {
    prometheus: Option<Prometheus>,
    /// True once Prometheus has not answered: it is not asked again for every other object.
    silent: bool,
    /// Names objects with their namespaces.
    wide: bool,
    /// The SLOs of the files that are explained, each as `shop/cart`.
    known: Vec<String>,
}

/// One object explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// In words; ends with a line break.
    pub text: String,
    /// False when the object cannot be rendered.
    pub valid: bool,
    /// False when Prometheus was asked and has not answered every question.
    pub answered: bool,
}

impl Explainer {
    /// Asks this Prometheus, or nobody.
    pub fn new(prometheus: Option<Prometheus>) -> Self {
        Self { prometheus, silent: false, wide: false, known: Vec::new() }
    }

    /// From here on names objects with their namespaces: those of several are explained.
    pub fn name_namespaces(&mut self) {
        self.wide = true;
    }

    /// Tells which SLOs there are in the files, whether or not Prometheus has heard of them.
    pub fn knows(&mut self, models: &[AnyModel]) {
        let slos = models.iter().filter(|model| matches!(model, AnyModel::Slo(_)));
        self.known.extend(slos.map(|model| model.id().to_string()));
    }

    /// Whether there is a Prometheus to ask.
    pub fn asks(&self) -> bool {
        self.prometheus.is_some()
    }

    /// Explains what a file holds; what its author should know was said when the file was checked.
    pub async fn model(&mut self, model: &AnyModel) -> Explanation {
        let prometheus = self.prometheus.as_ref().filter(|_| !self.silent);
        let explanation = match model {
            AnyModel::Slo(model) => {
                let facts = gather::model(model, prometheus, &self.known).await;
                self.slo(facts)
            }
            AnyModel::AlertRule(model) => {
                let facts = alert_rule::model(model, prometheus).await;
                self.alert_rule(facts)
            }
        };
        self.named(&model.id().namespace, explanation)
    }

    /// Explains what a cluster holds.
    pub async fn stored(&mut self, object: &Object, cluster: &Client) -> Explanation {
        let prometheus = self.prometheus.as_ref().filter(|_| !self.silent);
        let (metadata, explanation) = match object {
            Object::Slo(slo) => {
                let facts = gather::gather(slo, prometheus, cluster).await;
                (&slo.metadata, self.slo(facts))
            }
            Object::AlertRule(rule) => {
                let facts = alert_rule::gather(rule, prometheus, cluster).await;
                (&rule.metadata, self.alert_rule(facts))
            }
        };
        self.named(metadata.namespace.as_deref().unwrap_or_default(), explanation)
    }

    fn slo(&mut self, mut facts: Facts) -> Explanation {
        let valid = facts.problems.is_empty();
        self.settle(&mut facts.loaded, valid);
        let answered = !self.silent && facts.refusals.is_empty();
        Explanation { text: text(&facts), valid, answered }
    }

    fn alert_rule(&mut self, mut facts: alert_rule::Facts) -> Explanation {
        let valid = facts.problems.is_empty();
        // Prometheus is never asked about LogQL.
        self.settle(&mut facts.loaded, valid && !facts.logql);
        let answered = !self.silent && facts.refusals.is_empty();
        Explanation { text: alert_rule::text(&facts), valid, answered }
    }

    /// The text begins with the name of the object.
    fn named(&self, namespace: &str, explanation: Explanation) -> Explanation {
        let Explanation { text, valid, answered } = explanation;
        let text = if self.wide { format!("{namespace}/{text}") } else { text };
        Explanation { text, valid, answered }
    }

    /// Notes that Prometheus does not answer at all, and says it of the objects for which it was not asked again.
    fn settle(&mut self, loaded: &mut facts::Loaded, asked: bool) {
        if self.prometheus.is_none() || !asked {
            return;
        }
        if self.silent {
            *loaded = facts::Loaded::Unreachable(String::new());
        }
        self.silent = matches!(loaded, facts::Loaded::Unreachable(_));
    }
}

#[cfg(test)]
mod blind_tests;
#[cfg(test)]
mod composite_tests;
#[cfg(test)]
mod groups_tests;
#[cfg(test)]
mod stored_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
