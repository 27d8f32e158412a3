//! What is watched: from the objects in the store to queries. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::{Resource as _, runtime::watcher::Event};
use plimsoll_anomaly::{
    alerting::{Policy, Side},
    journal::checksum,
    lstm::Random,
};
use plimsoll_api::{
    Kind,
    anomaly::{Direction, Sensitivity},
};
use plimsoll_slo::{
    AnyModel, AnyValid,
    alerts::{ANOMALY_ACCEPTED, Watch as Condition, sensitivity},
    evaluate,
    model::{Exclusion, Span},
    names,
    promql::quote,
    render,
};
use serde::{Deserialize, Serialize};

use super::{EVERY, facts::Owner};
use crate::controller::stored::{Object, Stored};

/// Which of an SLO's two rates a score is of, or that it is of all series together.
pub(crate) const SIGNAL: &str = "signal";
const TOTAL: &str = "total";
const BAD: &str = "bad";
const JOINT: &str = "joint";
/// Seconds over which the rates of an SLO's events are taken.
const RATE: f64 = 300.0;
/// Seconds after excluded time until which its series need not be there: those in which what was recorded in it could still be
/// found, and as long again as one that is missing takes to count as vanished.
const AFTER_REST: i64 = 1200;
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
    /// An alert takes at least so many events in [`RATE`] seconds; the series is of events per second.
    pub(crate) least: u64,
    /// Seconds after which a level that stays is accepted.
    pub(crate) accept: u64,
}

impl Watch {
    fn new(labels: &[(&str, &str)], query: String, direction: Direction) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let accept = ANOMALY_ACCEPTED.as_seconds();
        Self { labels, query, direction, sensitivity: Sensitivity::default(), least: 0, accept }
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

    /// The kind of the object that asked for it.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.labels.first()?.0.as_str() {
            names::SLO_ID => Some(Kind::Slo),
            names::ALERT_RULE => Some(Kind::AlertRule),
            _ => None,
        }
    }

    /// When an alert of its series begins and ends.
    pub(crate) fn policy(&self) -> Policy {
        let side = match self.direction {
            Direction::Both => Side::Both,
            Direction::Up => Side::Up,
            Direction::Down => Side::Down,
        };
        let least = if self.least > 0 { self.least as f64 / RATE } else { f64::NEG_INFINITY };
        Policy { side, score: sensitivity(self.sensitivity).score, least, accept: self.accept as f64 }
    }

    /// The labels of the score of all its series together; `None` where they have no course in common: bad events of an SLO
    /// are too few.
    pub(crate) fn joint_labels(&self) -> Option<Labels> {
        let signal = (SIGNAL.to_owned(), JOINT.to_owned());
        match self.labels.as_slice() {
            [(kind, id), (name, value)] if name == SIGNAL => {
                (value == TOTAL).then(|| vec![(kind.clone(), id.clone()), signal])
            }
            own => Some(own.iter().cloned().chain([signal]).collect()),
        }
    }

    /// The labels of the score of this series: its own, and ours. Where they collide the series' gets the
    /// prefix that Prometheus gives, unless both say the same. No `__name__`: of series that differ in
    /// nothing else one is scored.
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

/// What is to be watched of one object, and when not.
#[derive(Clone, Debug, Default)]
struct Asked {
    watches: Vec<Watch>,
    /// In which its series are not there.
    exclusions: Vec<Exclusion>,
}

impl Asked {
    fn of(model: &AnyModel) -> Self {
        let exclusions = match model {
            AnyModel::Slo(model) => model.exclusions.clone(),
            AnyModel::AlertRule(_) => Vec::new(),
        };
        Self { watches: of(model), exclusions }
    }

    /// Whether its series may rightly be missing at this second.
    fn rests(&self, now: u64) -> bool {
        let now = i64::try_from(now).unwrap_or(i64::MAX / 1000);
        // What is excluded is so for five minutes at least.
        (now - AFTER_REST..=now).rev().step_by(60).any(|time| evaluate::is_excluded(&self.exclusions, time * 1000))
    }
}

/// The watches of one object.
fn of(model: &AnyModel) -> Vec<Watch> {
    match model {
        AnyModel::Slo(model) => {
            let Some(chosen) = model.anomaly else { return Vec::new() };
            let id = model.id.to_string();
            let counting = render::counting_time(model, Span::seconds(EVERY));
            let only = counting.map(|counting| format!(" and on () ({counting})")).unwrap_or_default();
            // Fewer bad events are no anomaly, nor is a handful of them; fewer events are.
            [(names::TOTAL, TOTAL, Direction::Both, 0), (names::BAD, BAD, Direction::Up, model.minimum_bad_events)]
                .map(|(series, signal, direction, least)| {
                    let query = format!("{series}{{{}={}}}{only}", names::SLO_ID, quote(&id));
                    let watch = Watch::new(&[(names::SLO_ID, &id), (SIGNAL, signal)], query, direction);
                    Watch { least, ..watch.told(chosen, sensitivity(chosen).hold) }
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

/// What is to be watched, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) watches: Vec<Watch>,
    /// Those of them whose series may rightly be missing now.
    pub(crate) resting: BTreeSet<Watch>,
    /// Kinds of which not all objects are known yet: a watch that is missing may still come.
    pub(crate) unlisted: BTreeSet<Kind>,
}

impl From<Vec<Watch>> for Wanted {
    /// These, and no others.
    fn from(watches: Vec<Watch>) -> Self {
        Self { watches, ..Self::default() }
    }
}

/// The watches of all objects, by what the API server tells of them; only edits are validated.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    known: BTreeMap<Owner, (Version, Asked)>,
    /// Kinds that were listed to the end, once.
    complete: BTreeSet<Kind>,
    /// Of each kind that is being listed anew: what was listed so far.
    listed: BTreeMap<Kind, BTreeSet<Owner>>,
}

/// The uid and the generation: an object that was made anew has generation 1 again.
type Version = (Option<String>, Option<i64>);

impl Watches {
    /// Takes in what a watch of objects of this kind says. An object that an edit has made invalid keeps the watches it had,
    /// as its rules stay.
    pub(crate) fn hear(&mut self, kind: Kind, event: Event<Stored>) {
        match event {
            Event::Init => {
                self.listed.insert(kind, BTreeSet::new());
            }
            Event::InitApply(stored) => {
                let owner = self.put(&stored);
                self.listed.entry(kind).or_default().insert(owner);
            }
            Event::InitDone => {
                self.complete.insert(kind);
                if let Some(listed) = self.listed.remove(&kind) {
                    self.known.retain(|owner, _| owner.0 != kind || listed.contains(owner));
                }
            }
            Event::Apply(stored) => {
                self.put(&stored);
            }
            Event::Delete(stored) => {
                self.known.remove(&owner_of(&stored));
            }
        }
    }

    /// These are all objects of the kind.
    pub(crate) fn all<'s>(&mut self, kind: Kind, objects: impl IntoIterator<Item = &'s Stored>) {
        let listed: BTreeSet<Owner> = objects.into_iter().map(|stored| self.put(stored)).collect();
        self.known.retain(|owner, _| owner.0 != kind || listed.contains(owner));
        self.complete.insert(kind);
    }

    /// Whether all objects of all kinds are known.
    pub(crate) fn is_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.complete.contains(kind))
    }

    fn put(&mut self, stored: &Stored) -> Owner {
        let (owner, meta) = (owner_of(stored), stored.meta());
        if meta.deletion_timestamp.is_some() {
            self.known.remove(&owner);
            return owner;
        }
        let version = (meta.uid.clone(), meta.generation);
        let old = self.known.remove(&owner).filter(|((uid, _), _)| *uid == version.0);
        let asked = match old {
            Some((old, asked)) if old == version && version.1.is_some() => asked,
            old => read(stored).unwrap_or_else(|| old.map(|(_, asked)| asked).unwrap_or_default()),
        };
        self.known.insert(owner.clone(), (version, asked));
        owner
    }

    /// The watches of one shard of so many, at this second.
    pub(crate) fn of_shard(&self, shard: u32, shards: u32, now: u64) -> Wanted {
        let ours = self
            .known
            .iter()
            .filter(|(owner, (_, asked))| !asked.watches.is_empty() && shard_of(owner, shards) == shard)
            .map(|(_, (_, asked))| asked);
        let unlisted = Kind::ALL.into_iter().filter(|kind| !self.complete.contains(kind)).collect();
        let mut wanted = Wanted { unlisted, ..Wanted::default() };
        for asked in ours {
            wanted.watches.extend(asked.watches.iter().cloned());
            if asked.rests(now) {
                wanted.resting.extend(asked.watches.iter().cloned());
            }
        }
        wanted
    }
}

fn owner_of(stored: &Stored) -> Owner {
    let field = |field: &Option<String>| field.clone().unwrap_or_default();
    (stored.kind_of(), field(&stored.meta().namespace), field(&stored.meta().name))
}

/// The shard that scores an object: the one with the largest number made of both (rendezvous hashing), so that another
/// shard takes from each its part and moves nothing else. All watches of an object are in the same one.
pub(crate) fn shard_of((kind, namespace, name): &Owner, shards: u32) -> u32 {
    let id = checksum(format!("{kind}/{namespace}/{name}").as_bytes());
    let weight = |shard: &u32| Random(id ^ u64::from(*shard).wrapping_mul(0xd6e8_feb8_6659_fd93)).bits();
    (0..shards).max_by_key(weight).unwrap_or_default()
}

/// `None` when the object is invalid.
fn read(stored: &Stored) -> Option<Asked> {
    if stored.unreadable.is_some() {
        return None;
    }
    let valid = match &stored.object {
        Object::Slo(slo) if slo.spec.anomaly.is_none() => return Some(Asked::default()),
        Object::AlertRule(rule) if rule.spec.rules.iter().all(|rule| rule.anomaly.is_none()) => {
            return Some(Asked::default());
        }
        Object::Slo(slo) => plimsoll_slo::validate(slo).map(AnyValid::from),
        Object::AlertRule(rule) => plimsoll_slo::alerts::validate(rule).map(AnyValid::from),
    };
    valid.ok().map(|valid| Asked::of(&valid.model))
}
