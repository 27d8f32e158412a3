//! Second step: whether the SLO can be rendered, with every reason why not.

use std::sync::Arc;

use plimsoll_api::{Problem, conditions as c, problem};
use plimsoll_slo::Model;

use super::{
    dereference::{DEFAULT_BACKEND, Dereferenced},
    stored::Stored,
};
use crate::sinks::RuleSink;

/// A valid SLO.
#[derive(Debug)]
pub struct Validated {
    /// As it is stored.
    pub stored: Arc<Stored>,
    /// What is rendered.
    pub model: Model,
    /// What its author should know.
    pub warnings: Vec<Problem>,
    /// Where its rules go.
    pub backend: Arc<dyn RuleSink>,
}

/// Why an SLO is not rendered. Its last good rules stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The stored object does not have the shape of an SLO.
    #[error("{0}")]
    Unreadable(String),
    /// Its content is wrong.
    #[error("{}", problem::summary(.0))]
    Invalid(Vec<Problem>),
    /// No backend of that name.
    #[error("spec.backend: no backend is named {name}; configured are {}", .known.join(", "))]
    BackendUnknown {
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// Parts that do not exist.
    #[error("spec.sli.composite: there is no SLO {} in this namespace; create it or remove the part", .0.join(", "))]
    ReferenceMissing(Vec<String>),
    /// It is made of itself.
    #[error("spec.sli.composite: {} is a cycle; remove one of the parts", .0.join(" → "))]
    Cycle(Vec<String>),
}

impl ValidateError {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            ValidateError::Unreadable(_) | ValidateError::Invalid(_) | ValidateError::Cycle(_) => c::REASON_INVALID,
            ValidateError::BackendUnknown { .. } => c::REASON_BACKEND_UNKNOWN,
            ValidateError::ReferenceMissing(_) => c::REASON_REFERENCE_MISSING,
        }
    }
}

/// Judges what was looked up.
///
/// # Errors
/// Why it cannot be rendered.
pub fn validate(facts: Dereferenced) -> Result<Validated, ValidateError> {
    let Dereferenced { stored, backend, missing, cycle } = facts;
    if let Some(message) = &stored.unreadable {
        return Err(ValidateError::Unreadable(message.clone()));
    }
    let valid = plimsoll_slo::validate(&stored.slo).map_err(ValidateError::Invalid)?;
    if let Some(cycle) = cycle {
        return Err(ValidateError::Cycle(cycle));
    }
    if !missing.is_empty() {
        return Err(ValidateError::ReferenceMissing(missing));
    }
    let backend = backend.map_err(|known| ValidateError::BackendUnknown {
        name: stored.slo.spec.backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.to_owned()),
        known,
    })?;
    Ok(Validated { model: valid.model, warnings: valid.warnings, stored, backend })
}
