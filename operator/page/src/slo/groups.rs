//! The groups of an SLO with `groupBy`, worst first.

use std::collections::BTreeMap;

use plimsoll_slo::Model;

use super::{Answers, ERRORS, LEFT, error_budget};
use crate::ask::Line;

/// Groups that are shown.
const GROUPS: usize = 20;

/// One group of an SLO with `groupBy`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Its labels: `route=/pay`.
    pub name: String,
    /// Share of its budget that is left.
    pub budget: f64,
    /// Bad events / all events over an hour.
    pub errors: Option<f64>,
    /// Burn rate over an hour.
    pub burn: Option<f64>,
}

/// The groups with least budget, and how many there are in all.
pub(super) fn groups(model: &Model, answers: &Answers) -> (Vec<GroupRow>, usize) {
    if model.group_by.is_empty() {
        return (Vec::new(), 0);
    }
    let name = |line: &Line| {
        let parts: Vec<String> = model.group_by.iter().map(|label| format!("{label}={}", line.label(label))).collect();
        parts.join(", ")
    };
    let errors: BTreeMap<String, f64> = answers.now(ERRORS).map(|(line, ratio)| (name(line), ratio)).collect();
    let budget = error_budget(model);
    let mut rows: Vec<GroupRow> = answers
        .now(LEFT)
        .map(|(line, left)| {
            let name = name(line);
            let errors = errors.get(&name).copied();
            GroupRow { name, budget: left, errors, burn: errors.map(|errors| errors / budget) }
        })
        .collect();
    rows.sort_by(|a, b| a.budget.total_cmp(&b.budget).then_with(|| a.name.cmp(&b.name)));
    let all = rows.len();
    rows.truncate(GROUPS);
    (rows, all)
}
