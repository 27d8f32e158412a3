//! A Runbook that was checked: what planning and guards read.

use std::collections::BTreeSet;

use plimsoll_api::{
    gate::Verify,
    runbook::{Artifacts, Mode, ObjectKind, Range, Step},
    slo::Severity,
};
use plimsoll_slo::model::Span;
use rust_decimal::Decimal;

use crate::{matcher::Matcher, schedule::Schedule};

/// A usable Runbook.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; `""` of one that is not stored.
    pub uid: String,
    /// Its generation; 0 of one that is not stored.
    pub generation: i64,
    /// How far it goes.
    pub mode: Mode,
    /// As whom its steps act.
    pub service_account_name: String,
    /// What starts it.
    pub trigger: Trigger,
    /// What its steps need to know; an owner after what it owns.
    pub parameters: Vec<Parameter>,
    /// The parameter that is acted upon.
    pub target: Option<String>,
    /// Other namespaces in which objects may be.
    pub namespaces: BTreeSet<String>,
    /// The steps, with every default filled in.
    pub steps: Vec<Step>,
    /// Whether it helped; with every default filled in.
    pub verify: Option<Verify>,
    /// Its bounds.
    pub safety: Safety,
    /// How long an approval is waited for.
    pub approval_within: Span,
    /// Who is told that an approval is waited for.
    pub approval_notify: Option<String>,
    /// Where evidence goes; with every default filled in.
    pub artifacts: Option<Artifacts>,
    /// How long a run may take.
    pub deadline: Span,
}

/// What starts it.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// All of these match an alert's labels.
    Alert(Vec<Matcher>),
    /// An SLO burns.
    Slo {
        /// How bad it must be.
        burning: Severity,
        /// Which; none: those that name the runbook.
        names: Vec<String>,
    },
    /// A score is high.
    Anomaly {
        /// Above this.
        above: Decimal,
        /// Of this SLO.
        slo: Option<String>,
        /// Of this AlertRule.
        alert_rule: Option<String>,
        /// For how long.
        lasting: Option<Span>,
    },
    /// PromQL yields a series.
    Query {
        /// The expression.
        expr: String,
        /// For how long.
        lasting: Option<Span>,
    },
    /// A moment has come.
    Schedule(Schedule),
    /// Somebody asks.
    Manual,
}

/// A typed value.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type.
    pub of: Type,
    /// The label whose value it is.
    pub from_label: Option<String>,
    /// The query whose series has the label; none: what starts the run has it.
    pub from_query: Option<String>,
    /// The parameter that it owns.
    pub owner_of: Option<String>,
    /// Its value when there is no other.
    pub default: Option<String>,
}

/// A type of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// A text that matches as a whole.
    String(Matcher),
    /// A number in a range.
    Integer(Range),
    /// One of these.
    Enum(Vec<String>),
    /// An object.
    Object(ObjectKind),
}

/// The bounds, every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// How long a target is left alone.
    pub cooldown: Span,
    /// Runs at the same time.
    pub max_concurrent: i64,
    /// Runs in `budget_per`.
    pub budget_runs: i64,
    /// The time of the budget.
    pub budget_per: Span,
    /// Share of a workload's Pods.
    pub max_targets_percent: i64,
    /// Pods that must be ready besides.
    pub min_healthy: i64,
    /// Failures in a row after which it stops itself.
    pub failures: i64,
    /// For how long.
    pub open_for: Span,
}

impl Model {
    /// The parameter of a name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// The destinations that it names, with the fields that name them.
    pub fn destinations(&self) -> Vec<(String, &str)> {
        let mut all: Vec<(String, &str)> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            let own = Some((format!("spec.steps[{i}]"), &step.action));
            let undo = step.compensate.as_deref().map(|undo| (format!("spec.steps[{i}].compensate"), undo));
            for (path, action) in own.into_iter().chain(undo) {
                let notify = action.notify.as_ref().map(|notify| ("notify.destination", &notify.destination));
                let escalate =
                    action.verify.as_ref().and_then(|verify| Some(("verify.escalateTo", verify.escalate_to.as_ref()?)));
                all.extend(
                    notify.into_iter().chain(escalate).map(|(field, name)| (format!("{path}.{field}"), name.as_str())),
                );
            }
        }
        let escalate = self.verify.as_ref().and_then(|verify| verify.escalate_to.as_deref());
        all.extend(escalate.map(|name| ("spec.verify.escalateTo".to_owned(), name)));
        all.extend(self.approval_notify.as_deref().map(|name| ("spec.approval.notify".to_owned(), name)));
        all
    }
}

/// A duration that validation has read already, in whole seconds and at least one.
pub(crate) fn seconds(text: Option<&str>, default: Span) -> i64 {
    let span = text.and_then(|text| plimsoll_slo::duration::parse(text, "").ok()).unwrap_or(default);
    i64::try_from(span.as_seconds().max(1)).unwrap_or(i64::MAX)
}
