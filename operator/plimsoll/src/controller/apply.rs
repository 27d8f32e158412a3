//! Fourth step: the backend gets the rules. Repeatable at any point.

use std::sync::Arc;

use super::{
    observe::Wanted,
    render::{Prepared, Rendered},
    stored::Stored,
    validate::ValidateError,
};
use crate::sinks::{SinkError, Written};

/// What became of the rules. Made by [`apply`] and [`refuse`] only, so that no status can speak of
/// rules that were never tried.
#[derive(Debug)]
pub struct Applied {
    outcome: Outcome,
}

/// See [`Applied`].
#[derive(Debug)]
pub enum Outcome {
    /// The backend holds the rules.
    Held {
        /// Where, for people.
        place: String,
        /// Whether something had to be written.
        written: Written,
        /// What Prometheus should have loaded then.
        wanted: Wanted,
        /// Warnings about the SLO.
        warnings: Option<String>,
    },
    /// The backend does not.
    Failed(SinkError),
    /// There were none to write.
    Refused(ValidateError),
}

impl Applied {
    /// What became of them.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}

/// Writes what differs.
pub async fn apply(prepared: Rendered<Prepared>) -> Rendered<Applied> {
    let Rendered { stored, state: Prepared { target, rules, backend, warnings } } = prepared;
    let outcome = match backend.write(&target, &rules).await {
        Ok(written) => Outcome::Held {
            place: backend.describe(&target),
            written,
            wanted: Wanted {
                groups: rules.group_names().map(str::to_owned).collect(),
                revision: rules.revision().unwrap_or_default().to_owned(),
                labels: backend.labels(&target),
            },
            warnings,
        },
        Err(error) => Outcome::Failed(error),
    };
    Rendered { stored, state: Applied { outcome } }
}

/// An SLO that cannot be rendered: nothing is written, and its last good rules go on working.
pub fn refuse(stored: Arc<Stored>, error: ValidateError) -> Rendered<Applied> {
    Rendered { stored, state: Applied { outcome: Outcome::Refused(error) } }
}
