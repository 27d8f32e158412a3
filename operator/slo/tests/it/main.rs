//! Tests of the crate's public face: what is refused and why, what is rendered, what always holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod alert_rule_properties;
mod alert_rules;
mod bad_inputs;
mod bad_names;
mod bad_parts;
mod bad_sense;
mod bad_times;
mod goldens;
mod helps;
mod missing;
mod properties;

use plimsoll_api::Slo;
use serde_json::{Value, json};

/// The shortest SLO there is, with `patch` merged into its spec (null removes).
pub(crate) fn slo(patch: &Value) -> Slo {
    let mut spec = json!({
        "objective": "99.95",
        "sli": {"events": {"bad": "http_requests_total{job=\"checkout\",code=~\"5..\"}", "total": "http_requests_total{job=\"checkout\"}"}}
    });
    merge(&mut spec, patch);
    serde_json::from_value(json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": "checkout-availability", "namespace": "shop"},
        "spec": spec
    }))
    .unwrap()
}

pub(crate) fn merge(into: &mut Value, patch: &Value) {
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

/// Every problem of an SLO as one line each; empty when there is none. Examples need not name the job of their series.
pub(crate) fn problems(patch: &Value) -> Vec<String> {
    let found = all_problems(patch);
    found.into_iter().filter(|problem| !problem.contains(" names no job (")).collect()
}

/// The same, and whether its series name their job.
pub(crate) fn all_problems(patch: &Value) -> Vec<String> {
    let found = match plimsoll_slo::validate(&slo(patch)) {
        Ok(valid) => valid.warnings,
        Err(problems) => problems,
    };
    found.iter().map(|p| format!("{}: {p}", p.level)).collect()
}
