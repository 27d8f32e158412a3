//! Third step: the rules. The type says how far they have come: only what was applied can have a status.

use std::sync::Arc;

use plimsoll_slo::RuleSet;

use super::{stored::Stored, validate::Validated};
use crate::{
    limits::Scope,
    sinks::{RuleSink, Target},
};

/// Rules of one SLO, in the state `S`.
#[derive(Debug)]
pub struct Rendered<S> {
    /// The SLO as it is stored.
    pub stored: Arc<Stored>,
    /// How far they have come.
    pub state: S,
}

/// Rendered, not yet written.
#[derive(Debug)]
pub struct Prepared {
    /// Whose they are.
    pub target: Target,
    /// The rules.
    pub rules: RuleSet,
    /// Where they go.
    pub backend: Arc<dyn RuleSink>,
    /// What of it may be too much for a Prometheus.
    pub scope: Scope,
    /// Warnings about the SLO, one line.
    pub warnings: Option<String>,
}

/// Renders.
pub fn render(valid: Validated) -> Rendered<Prepared> {
    let Validated { stored, model, warnings, backend } = valid;
    let state = Prepared {
        target: Target::of(&stored.slo),
        rules: plimsoll_slo::render(&model),
        backend,
        scope: Scope::of(&model),
        warnings: (!warnings.is_empty()).then(|| plimsoll_api::problem::summary(&warnings)),
    };
    Rendered { stored, state }
}
