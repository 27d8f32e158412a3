//! What a fault may not endanger: the SLOs of the namespace, and of the one that it hits.

use std::collections::BTreeSet;

use plimsoll_api::{RunbookExecutionSpec, chaos::Chaos};

/// Percent of an error budget that must be left for a fault.
const MIN_BUDGET: i64 = 25;

/// An SLO as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SloNow {
    /// Its name.
    pub name: String,
    /// Its namespace, where that is not the runbook's own.
    pub namespace: Option<String>,
    /// Whether an alert of it fires; `None`: not known.
    pub burning: Option<bool>,
    /// Percent of the error budget that is left, rounded down; `None`: not known.
    pub budget: Option<i64>,
}

/// The namespaces in which faults of a run hit something: whoever has SLOs there is asked as well.
pub fn fault_namespaces(spec: &RunbookExecutionSpec) -> BTreeSet<&str> {
    let faults = spec.steps.iter().filter_map(|step| step.action.chaos.as_ref());
    let objects = faults.filter_map(|chaos| spec.objects.iter().find(|object| object.parameter == chaos.object));
    objects.filter_map(|object| object.namespace.as_deref()).collect()
}

/// SLOs that a fault would endanger, each with a sentence; `None` for what cannot be known. The shell asks this again
/// while the fault lasts, and ends it when there is one. Names narrow what is asked of a namespace that has one of them: who
/// names SLOs of the own one does not pass over those of the namespace that is hit.
pub fn at_risk(chaos: &Chaos, slos: Option<&[SloNow]>) -> Vec<(Option<String>, String)> {
    let Some(slos) = slos else { return vec![(None, "the SLOs of the namespace cannot be read".to_owned())] };
    let least = chaos.min_budget.unwrap_or(MIN_BUDGET);
    let mut found = Vec::new();
    for name in chaos.slos.iter().filter(|name| !slos.iter().any(|slo| slo.name == **name)) {
        found.push((None, format!("there is no SLO {name}")));
    }
    let is_named = |slo: &&SloNow| chaos.slos.contains(&slo.name);
    let narrowed: BTreeSet<&Option<String>> = slos.iter().filter(is_named).map(|slo| &slo.namespace).collect();
    for slo in slos.iter().filter(|slo| is_named(slo) || !narrowed.contains(&slo.namespace)) {
        let name = &match &slo.namespace {
            Some(namespace) => format!("{namespace}/{}", slo.name),
            None => slo.name.clone(),
        };
        match (slo.burning, slo.budget) {
            (Some(true), _) => found.push((Some(name.clone()), format!("SLO {name} burns"))),
            (_, Some(budget)) if budget < least => {
                let message = format!("SLO {name} has {budget} % of its error budget left, a fault wants {least} %");
                found.push((Some(name.clone()), message));
            }
            (None, _) | (_, None) => {
                found.push((None, format!("it cannot be known whether SLO {name} burns or what budget it has")));
            }
            (Some(false), Some(_)) => {}
        }
    }
    found
}
