//! What becomes rules, of whichever kind: all that printing and writing rules need to know of it.

use plimsoll_api::{Kind, Problem};

use crate::{
    Dialect,
    alerts::{self, Language},
    model::{Model, SloId},
    rules::RuleSet,
};

/// A valid object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyModel {
    /// An SLO.
    Slo(Box<Model>),
    /// An AlertRule.
    AlertRule(Box<alerts::Model>),
}

/// A valid object of any kind, and what its author should still know.
#[derive(Clone, Debug)]
pub struct AnyValid {
    /// What is rendered.
    pub model: AnyModel,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

impl AnyModel {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            AnyModel::Slo(_) => Kind::Slo,
            AnyModel::AlertRule(_) => Kind::AlertRule,
        }
    }

    /// Who it is.
    pub fn id(&self) -> &SloId {
        match self {
            AnyModel::Slo(model) => &model.id,
            AnyModel::AlertRule(model) => &model.id,
        }
    }

    /// Name of the backend that takes its rules.
    pub fn backend(&self) -> &str {
        match self {
            AnyModel::Slo(model) => &model.backend,
            AnyModel::AlertRule(model) => &model.backend,
        }
    }

    /// What its rules are written in.
    pub fn language(&self) -> Language {
        match self {
            AnyModel::Slo(_) => Language::PromQl,
            AnyModel::AlertRule(model) => model.language,
        }
    }

    /// Its rules, as this dialect's server reads them.
    pub fn render_for(&self, dialect: Dialect) -> RuleSet {
        match self {
            AnyModel::Slo(model) => crate::render_for(model, dialect),
            // Expressions are the author's own, who writes for the server that there is.
            AnyModel::AlertRule(model) => alerts::render(model),
        }
    }

    /// Who is told of its alerts, where it says so itself.
    pub fn route(&self) -> Option<&alerts::route::Route> {
        match self {
            AnyModel::Slo(_) => None,
            AnyModel::AlertRule(model) => model.route.as_ref(),
        }
    }

    /// The SLOs of the same namespace that it is made of.
    pub fn parts(&self) -> Vec<&str> {
        match self {
            AnyModel::Slo(model) => model.parts(),
            AnyModel::AlertRule(_) => Vec::new(),
        }
    }
}

impl From<crate::Valid> for AnyValid {
    fn from(valid: crate::Valid) -> Self {
        Self { model: AnyModel::Slo(Box::new(valid.model)), warnings: valid.warnings }
    }
}

impl From<alerts::Valid> for AnyValid {
    fn from(valid: alerts::Valid) -> Self {
        Self { model: AnyModel::AlertRule(Box::new(valid.model)), warnings: valid.warnings }
    }
}
