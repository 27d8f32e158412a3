//! Fourth step: the backend gets the rules. Repeatable at any point.

use std::sync::Arc;

use plimsoll_slo::alerts::route::Route;

use super::{
    finalizer::FinalizerError,
    observe::Wanted,
    render::{Prepared, Rendered},
    route::RouteError,
    stored::Stored,
    validate::ValidateError,
};
use crate::{
    scorer::Fact,
    sinks::{SinkError, Written},
};

/// What became of the rules. Made by [`apply`] and [`refuse`] only, so that no status can speak of
/// rules that were never tried.
#[derive(Debug)]
pub struct Applied {
    outcome: Outcome,
    leftover: Option<String>,
    routed: Option<Result<String, RouteError>>,
    scored: Scored,
}

/// What the anomaly scorer sees of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scored {
    /// It was not asked; what was said of it before stays.
    #[default]
    Unasked,
    /// The object does not want to be scored.
    Unwanted,
    /// It wants to, and no Prometheus is known.
    NoPrometheus,
    /// Nothing is known yet.
    Awaited,
    /// This.
    Says(Fact),
}

/// See [`Applied`].
#[derive(Debug)]
pub enum Outcome {
    /// The backend holds the rules.
    Held {
        /// Where, for people.
        place: String,
        /// What to look at where Prometheus does not load them.
        advice: Option<String>,
        /// Whether something had to be written.
        written: Written,
        /// What Prometheus should have loaded then.
        wanted: Wanted,
        /// Warnings about the object.
        warnings: Option<String>,
        /// Who is told of an AlertRule's alerts.
        route: Option<Box<Route>>,
    },
    /// The backend does not.
    Failed(SinkError),
    /// There were none to write.
    Refused(ValidateError),
    /// The SLO's finalizers could not be set, so nothing may be written; or it is deleted, and its rules could
    /// not be removed.
    Stuck {
        /// The conditions' reason.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
}

impl Applied {
    /// What became of them.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What became of the route, where there is to be one.
    pub fn routed(&self) -> Option<&Result<String, RouteError>> {
        self.routed.as_ref()
    }

    /// What the anomaly scorer sees.
    pub fn scored(&self) -> &Scored {
        &self.scored
    }

    /// Why rules remain where the SLO was before.
    pub fn leftover(&self) -> Option<&str> {
        self.leftover.as_deref()
    }
}

impl Rendered<Applied> {
    fn new(stored: Arc<Stored>, outcome: Outcome) -> Self {
        Self { stored, state: Applied { outcome, leftover: None, routed: None, scored: Scored::Unasked } }
    }

    /// Where the route is, or why there is none.
    #[must_use]
    pub fn with_route(mut self, routed: Result<String, RouteError>) -> Self {
        self.state.routed = Some(routed);
        self
    }

    /// What the anomaly scorer sees of it.
    #[must_use]
    pub fn with_scored(mut self, scored: Scored) -> Self {
        self.state.scored = scored;
        self
    }

    /// Written, but not everything could be removed from where the SLO was before.
    #[must_use]
    pub fn with_leftover(mut self, error: &FinalizerError) -> Self {
        self.state.leftover = Some(error.to_string());
        self
    }
}

/// Writes what differs.
pub async fn apply(prepared: Rendered<Prepared>) -> Rendered<Applied> {
    let Rendered { stored, state: Prepared { target, rules, language, route, backend, scope, warnings } } = prepared;
    let outcome = match backend.write(&target, &rules).await {
        Ok(written) => Outcome::Held {
            place: backend.describe(&target),
            advice: backend.advice(),
            written,
            wanted: Wanted {
                groups: rules.group_names().map(str::to_owned).collect(),
                revision: rules.revision().unwrap_or_default().to_owned(),
                labels: backend.labels(&target),
                scope,
                rules: rules.groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.alert.is_some()).count(),
                language,
            },
            warnings,
            route: route.map(Box::new),
        },
        Err(error) => Outcome::Failed(error),
    };
    Rendered::new(stored, outcome)
}

/// An SLO that cannot be rendered: nothing is written, and its last good rules go on working.
pub fn refuse(stored: Arc<Stored>, error: ValidateError) -> Rendered<Applied> {
    Rendered::new(stored, Outcome::Refused(error))
}

/// An SLO that waits for its finalizers.
pub fn stuck(stored: Arc<Stored>, error: &FinalizerError) -> Rendered<Applied> {
    Rendered::new(stored, Outcome::Stuck { reason: error.reason(), message: error.to_string() })
}
