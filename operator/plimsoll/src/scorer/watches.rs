//! What is watched: from the objects in the store to queries. Pure.

use std::collections::HashMap;

use plimsoll_anomaly::alerting::{Policy, Side};
use plimsoll_api::anomaly::{Direction, Sensitivity};
use plimsoll_slo::{
    AnyModel, AnyValid,
    alerts::{ANOMALY_ACCEPTED, Watch as Condition, sensitivity},
    model::Span,
    names,
    promql::quote,
};
use serde::{Deserialize, Serialize};

use crate::controller::stored::{Object, Stored};

/// Which of an SLO's two rates a score is of.
pub(crate) const SIGNAL: &str = "signal";
/// Labels by which the generated rules tell scores apart; no watched series may bring its own.
const OURS: [&str; 4] = [names::SLO_ID, names::ALERT_RULE, names::ALERT, SIGNAL];

/// Labels in order, as they are exported.
pub(crate) type Labels = Vec<(String, String)>;

/// One query whose series are scored. An edit of any of it makes another watch, whose past is judged anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// On each of its scores; no two watches have the same.
    pub(crate) labels: Labels,
    /// PromQL.
    pub(crate) query: String,
    /// Which side is unusual.
    pub(crate) direction: Direction,
    /// How easily something is.
    pub(crate) sensitivity: Sensitivity,
    /// Seconds after which a level that stays is accepted.
    pub(crate) accept: u64,
}

impl Watch {
    fn new(labels: &[(&str, &str)], query: String, direction: Direction) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let accept = ANOMALY_ACCEPTED.as_seconds();
        Self { labels, query, direction, sensitivity: Sensitivity::default(), accept }
    }

    /// With this sensitivity, and an alert that is told only when it has held for so long.
    fn told(self, sensitivity: Sensitivity, hold: Option<Span>) -> Self {
        let accept = self.accept.saturating_add(hold.map_or(0, Span::as_seconds));
        Self { sensitivity, accept, ..self }
    }

    /// One that stands for all.
    pub(crate) fn example() -> Self {
        Self::new(&[(names::ALERT_RULE, "a/b"), (names::ALERT, "c")], "d".to_owned(), Direction::Both)
    }

    /// When an alert of its series begins and ends.
    pub(crate) fn policy(&self) -> Policy {
        let side = match self.direction {
            Direction::Both => Side::Both,
            Direction::Up => Side::Up,
            Direction::Down => Side::Down,
        };
        Policy { side, score: sensitivity(self.sensitivity).score, accept: self.accept as f64 }
    }

    /// The labels of the score of this series: its own, and ours. Where they collide the series' gets the
    /// prefix that Prometheus gives, unless both say the same. No `__name__`: two series that differ in
    /// nothing else are one.
    pub(crate) fn exported<'a>(&self, series: impl IntoIterator<Item = (&'a String, &'a String)>) -> Labels {
        let mut all = self.labels.clone();
        for (name, value) in series {
            if name == "__name__" || value.is_empty() || self.labels.iter().any(|own| (&own.0, &own.1) == (name, value))
            {
                continue;
            }
            let mut name = legacy(name);
            while OURS.contains(&name.as_str()) || all.iter().any(|(other, _)| *other == name) {
                name.insert_str(0, "exported_");
            }
            all.push((name, value.clone()));
        }
        all
    }
}

/// As every version of the text format can carry it: a dot, say, becomes an underscore.
fn legacy(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let text: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if text.starts_with(|c: char| c.is_ascii_digit()) { format!("_{text}") } else { text }
}

/// The watches of one object.
fn of(model: &AnyModel) -> Vec<Watch> {
    match model {
        AnyModel::Slo(model) => {
            let Some(chosen) = model.anomaly else { return Vec::new() };
            let id = model.id.to_string();
            // Fewer bad events are no anomaly; fewer events are.
            [(names::TOTAL, "total", Direction::Both), (names::BAD, "bad", Direction::Up)]
                .map(|(series, signal, direction)| {
                    let query = format!("{series}{{{}={}}}", names::SLO_ID, quote(&id));
                    let watch = Watch::new(&[(names::SLO_ID, &id), (SIGNAL, signal)], query, direction);
                    watch.told(chosen, sensitivity(chosen).hold)
                })
                .into()
        }
        AnyModel::AlertRule(model) => {
            let id = model.id.to_string();
            let anomalies = model.alerts.iter().filter_map(|alert| match &alert.watch {
                Condition::Anomaly(anomaly) => Some((alert, anomaly)),
                Condition::Expression(_) => None,
            });
            anomalies
                .map(|(alert, anomaly)| {
                    let labels = [(names::ALERT_RULE, id.as_str()), (names::ALERT, alert.name.as_str())];
                    let watch = Watch::new(&labels, anomaly.query.clone(), anomaly.direction);
                    watch.told(anomaly.sensitivity, alert.hold)
                })
                .collect()
        }
    }
}

/// Objects by what they were when last looked at, so that only edits are validated.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    known: HashMap<Vec<String>, (Option<i64>, Vec<Watch>)>,
}

impl Watches {
    /// All watches of these objects. An object that an edit has made invalid keeps those it had, as its
    /// rules stay.
    pub(crate) fn update<'a>(&mut self, objects: impl IntoIterator<Item = &'a Stored>) -> Vec<Watch> {
        use kube::Resource as _;
        let mut before = std::mem::take(&mut self.known);
        for stored in objects.into_iter().filter(|stored| stored.meta().deletion_timestamp.is_none()) {
            let meta = stored.meta();
            let field = |field: &Option<String>| field.clone().unwrap_or_default();
            // With the uid: one that was made anew has generation 1 again.
            let key =
                [&meta.namespace, &meta.name, &meta.uid].map(field).into_iter().chain([stored.kind_of().to_string()]);
            let key: Vec<String> = key.collect();
            let old = before.remove(&key);
            let watches = match old {
                Some((generation, watches)) if generation.is_some() && generation == meta.generation => watches,
                old => read(stored).unwrap_or_else(|| old.map(|(_, watches)| watches).unwrap_or_default()),
            };
            self.known.insert(key, (meta.generation, watches));
        }
        self.known.values().flat_map(|(_, watches)| watches).cloned().collect()
    }
}

/// `None` when the object is invalid.
fn read(stored: &Stored) -> Option<Vec<Watch>> {
    if stored.unreadable.is_some() {
        return None;
    }
    let valid = match &stored.object {
        Object::Slo(slo) if slo.spec.anomaly.is_none() => return Some(Vec::new()),
        Object::AlertRule(rule) if rule.spec.rules.iter().all(|rule| rule.anomaly.is_none()) => {
            return Some(Vec::new());
        }
        Object::Slo(slo) => plimsoll_slo::validate(slo).map(AnyValid::from),
        Object::AlertRule(rule) => plimsoll_slo::alerts::validate(rule).map(AnyValid::from),
    };
    valid.ok().map(|valid| of(&valid.model))
}
