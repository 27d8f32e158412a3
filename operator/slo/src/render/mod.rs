//! From the model to the rules. Deterministic: same model, same bytes.

use crate::{model::Model, rules::RuleSet};

/// All rules of one SLO.
pub fn render(model: &Model) -> RuleSet {
    let _ = model;
    RuleSet::default()
}
