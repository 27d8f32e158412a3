//! The kind AlertRule: from the custom resource to a model, from the model to one group of rules and,
//! where somebody is named, to a route of Alertmanager.

mod inject;
pub mod logql;
pub mod matchers;
mod render;
pub mod route;
pub mod template;
mod validate;

pub(crate) use inject::printed;
pub use render::{group_name, render};
pub use validate::{DEFAULT_INTERVAL, validate};

use std::collections::BTreeMap;

use plimsoll_api::{
    Problem,
    anomaly::{Direction, Sensitivity},
    slo::Severity,
};

use self::matchers::Matcher;
use crate::model::{SloId, Span};

/// A usable AlertRule and what its author should still know.
#[derive(Clone, Debug)]
pub struct Valid {
    /// What is rendered.
    pub model: Model,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

/// One AlertRule, valid and with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Who it is.
    pub id: SloId,
    /// The team that answers for it.
    pub owner: Option<String>,
    /// What its expressions are written in; a backend takes one of the languages.
    pub language: Language,
    /// What is in every selector.
    pub matchers: Vec<Matcher>,
    /// How often its rules are evaluated.
    pub interval: Span,
    /// The alerts, in the author's order.
    pub alerts: Vec<Alert>,
    /// Who is told.
    pub route: Option<route::Route>,
    /// Name of its backend.
    pub backend: String,
}

/// The language of expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Of Prometheus, Thanos, Mimir and VictoriaMetrics.
    #[default]
    PromQl,
    /// Of Loki.
    LogQl,
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Language::PromQl => "PromQL",
            Language::LogQl => "LogQL",
        })
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub watch: Watch,
    /// How long the condition must hold.
    pub hold: Option<Span>,
    /// How long it goes on firing.
    pub keep_firing_for: Option<Span>,
    /// Whom it wakes.
    pub severity: Severity,
    /// The author's labels.
    pub labels: BTreeMap<String, String>,
    /// The author's annotations, filled in as far as it can be done before it fires.
    pub annotations: BTreeMap<String, String>,
    /// Names of its runbooks.
    pub runbooks: Vec<String>,
}

/// When an alert fires.
#[derive(Clone, Debug, PartialEq)]
pub enum Watch {
    /// While the expression has a result; the matchers are in it.
    Expression(String),
    /// While the anomaly scorer finds a series of the query unusual.
    Anomaly(Anomaly),
}

/// What the anomaly scorer watches for one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// PromQL; the matchers are in it.
    pub query: String,
    /// Which side is unusual.
    pub direction: Direction,
    /// How easily something counts as unusual.
    pub sensitivity: Sensitivity,
}

/// What a sensitivity means: the one table of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The score at which an alert begins; `None`: wherever `plimsoll detect` would alert.
    pub score: Option<f64>,
    /// How long it must stay before somebody is told.
    pub hold: Option<Span>,
}

/// See [`Threshold`]. A spike of one sample stays for about 90 seconds, so only what lasts is told at `Low`.
pub const fn sensitivity(sensitivity: Sensitivity) -> Threshold {
    match sensitivity {
        Sensitivity::Low => Threshold { score: Some(0.6), hold: Some(Span::seconds(120)) },
        Sensitivity::Medium => Threshold { score: None, hold: None },
        Sensitivity::High => Threshold { score: Some(ANOMALY_LEAST), hold: None },
    }
}

/// No alert begins at a lower score.
pub const ANOMALY_LEAST: f64 = 0.4;

impl Threshold {
    /// The score from which on an alert may begin: where the detector itself decides, the least of all.
    pub fn least(&self) -> f64 {
        self.score.unwrap_or(ANOMALY_LEAST)
    }
}

/// The scorer accepts a level as the new normal when it has lasted this long, and longer by what the alert's `for` takes.
pub const ANOMALY_ACCEPTED: Span = Span::seconds(3600);

/// A series that comes and goes is one alert for this long.
pub const ANOMALY_KEEP_FIRING: Span = Span::seconds(600);
