//! Third step: the rules. The type says how far they have come: only what was applied can have a status.

use std::sync::Arc;

use kube::Resource;
use plimsoll_slo::{
    RuleSet,
    alerts::{Language, route::Route},
};

use super::{stored::Stored, validate::Validated};
use crate::{
    limits::Scope,
    sinks::{RuleSink, Target},
};

/// Rules of one object, in the state `S`.
#[derive(Debug)]
pub struct Rendered<S> {
    /// The object as it is stored.
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
    /// What they are written in.
    pub language: Language,
    /// Who is told of an AlertRule's alerts.
    pub route: Option<Route>,
    /// Where they go.
    pub backend: Arc<dyn RuleSink>,
    /// What of it may be too much for a Prometheus.
    pub scope: Scope,
    /// Warnings about the object, one line.
    pub warnings: Option<String>,
}

/// Renders.
pub fn render(valid: Validated) -> Rendered<Prepared> {
    let Validated { stored, model, warnings, backend } = valid;
    let state = Prepared {
        target: Target::of(stored.kind_of(), stored.meta()),
        rules: model.render_for(backend.dialect()),
        language: model.language(),
        route: model.route().cloned(),
        backend,
        scope: Scope::of_any(&model),
        warnings: (!warnings.is_empty()).then(|| plimsoll_api::problem::summary(&warnings)),
    };
    Rendered { stored, state }
}
