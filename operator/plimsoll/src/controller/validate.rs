//! Second step: whether the object can be rendered, with every reason why not.

use std::sync::Arc;

use plimsoll_api::{Problem, conditions as c, problem};
use plimsoll_slo::{AnyModel, AnyValid, alerts::Language};

use super::{
    dereference::{DEFAULT_BACKEND, Dereferenced},
    stored::{Object, Stored},
};
use crate::sinks::RuleSink;

/// A valid object.
#[derive(Debug)]
pub struct Validated {
    /// As it is stored.
    pub stored: Arc<Stored>,
    /// What is rendered.
    pub model: AnyModel,
    /// What its author should know.
    pub warnings: Vec<Problem>,
    /// Where its rules go.
    pub backend: Arc<dyn RuleSink>,
}

/// Why an object is not rendered. Its last good rules stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The stored object does not have the shape of its kind.
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
    /// The backend speaks another language than the rules.
    #[error("spec.backend: backend {name} takes {takes}, and these rules are {rules}; name a backend that takes {rules}{}", if *.rules == Language::LogQl { ", a rulerApi with the path of Loki" } else { "" })]
    Language {
        /// The backend.
        name: String,
        /// What it takes.
        takes: Language,
        /// What they are.
        rules: Language,
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
            ValidateError::Language { .. } => c::REASON_LANGUAGE,
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
    let valid = match &stored.object {
        Object::Slo(slo) => plimsoll_slo::validate(slo).map(AnyValid::from),
        Object::AlertRule(rule) => plimsoll_slo::alerts::validate(rule).map(AnyValid::from),
    };
    let AnyValid { model, warnings } = valid.map_err(ValidateError::Invalid)?;
    if let Some(cycle) = cycle {
        return Err(ValidateError::Cycle(cycle));
    }
    if !missing.is_empty() {
        return Err(ValidateError::ReferenceMissing(missing));
    }
    let backend = backend.map_err(|known| ValidateError::BackendUnknown {
        name: stored.backend().unwrap_or(DEFAULT_BACKEND).to_owned(),
        known,
    })?;
    let (takes, rules) = (backend.language(), model.language());
    if takes != rules {
        return Err(ValidateError::Language { name: model.backend().to_owned(), takes, rules });
    }
    Ok(Validated { model, warnings, stored, backend })
}
