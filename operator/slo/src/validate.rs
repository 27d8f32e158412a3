//! From the custom resource to the model, with every problem at once.

use plimsoll_api::{Problem, Slo};

use crate::model::Model;

/// A usable SLO and what its author should still know.
#[derive(Clone, Debug)]
pub struct Valid {
    /// What is rendered.
    pub model: Model,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

/// Checks everything that can be known without a server.
///
/// # Errors
/// All problems, errors and warnings, in the order of the fields.
pub fn validate(slo: &Slo) -> Result<Valid, Vec<Problem>> {
    let _ = slo;
    Err(vec![])
}
