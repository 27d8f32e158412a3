//! What the scorer sees of each object, in the words of its condition: a table that the scorer fills and the controller's
//! status step reads. Pure: it holds no client, and the time is given. What is told changes rarely: not with every
//! series, not with every failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use plimsoll_api::{Kind, conditions as c};
use tokio::sync::Notify;

use super::{
    table::{FRESH, IN_ALL, PER_WATCH, Seen},
    watches::Watch,
};

/// A watch without series, or one that is not answered, is told after so many seconds.
const PATIENCE: u64 = 60;
/// A watch that is new has so many seconds to show its first series.
const FIRST: u64 = 120;
/// When a series is scored, and when it alerts.
const LEARNING: &str = "after 100 samples, which take 50 minutes, and alerts when a day of it is known";

/// Kind, namespace and name.
pub(crate) type Owner = (Kind, String, String);

/// What the condition `Scored` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its status; `None` for `Unknown`.
    pub status: Option<bool>,
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

impl Fact {
    /// One that another process tells; `None` where its reason is not one of ours.
    pub(crate) fn read(reason: &str, message: String) -> Option<Self> {
        let known = Told::ALL.map(Told::condition).into_iter().find(|(_, known)| *known == reason);
        known.map(|(status, reason)| Self { status, reason, message })
    }

    /// Whether this message says the same, but for the times since when and for numbers that differ little: after a start
    /// everything is found anew, and nothing of it is news.
    pub fn repeats(&self, message: &str) -> bool {
        let words = |text: &str| -> Vec<String> {
            text.split_whitespace().map(|word| word.trim_end_matches([':', ';', ',']).to_owned()).collect()
        };
        let same = |(one, other): (&String, &String)| {
            let number = |word: &str| word.parse::<usize>().ok();
            let is_time = |word: &str| word.parse::<Timestamp>().is_ok();
            one == other
                || (is_time(one) && is_time(other))
                || number(one).zip(number(other)).is_some_and(|(one, other)| !differs(one, other))
        };
        let (new, old) = (words(&self.message), words(message));
        new.len() == old.len() && new.iter().zip(&old).all(same)
    }
}

/// Why a watch could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Prometheus does not answer.
    Unreachable,
    /// It wants to be asked less.
    Throttled,
    /// It refuses the query.
    Refused,
}

/// What is told of a watch; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Failing(Trouble),
    NoSeries,
    TooMany,
    Indistinct,
    Behind,
    Learning,
    Waiting,
    Scoring,
}

impl Told {
    const ALL: [Self; 10] = [
        Self::Failing(Trouble::Unreachable),
        Self::Failing(Trouble::Throttled),
        Self::Failing(Trouble::Refused),
        Self::NoSeries,
        Self::TooMany,
        Self::Indistinct,
        Self::Behind,
        Self::Learning,
        Self::Waiting,
        Self::Scoring,
    ];

    fn condition(self) -> (Option<bool>, &'static str) {
        match self {
            Told::Failing(Trouble::Unreachable) => (Some(false), c::REASON_SOURCE_UNREACHABLE),
            Told::Failing(Trouble::Throttled) => (Some(false), c::REASON_THROTTLED),
            Told::Failing(Trouble::Refused) => (Some(false), c::REASON_QUERY_FAILED),
            Told::NoSeries => (Some(false), c::REASON_NO_SERIES),
            Told::TooMany => (Some(false), c::REASON_TOO_MANY_SERIES),
            Told::Indistinct => (Some(false), c::REASON_INDISTINCT_SERIES),
            Told::Behind => (Some(false), c::REASON_BEHIND),
            Told::Learning => (None, c::REASON_LEARNING),
            Told::Waiting => (None, c::REASON_WAITING),
            Told::Scoring => (Some(true), c::REASON_SCORING),
        }
    }
}

#[derive(Debug)]
struct Row {
    told: Told,
    /// Since when that is so.
    since: u64,
    /// Numbers as told.
    series: usize,
    refused: usize,
    /// What is wrong with how it is read, as was said first: wordings differ from one time to the next.
    cause: String,
    /// Since when it is not what is told, and what it is.
    other: Option<(Told, u64)>,
}

impl Row {
    fn new(now: u64) -> Self {
        Self { told: Told::Waiting, since: now, series: 0, refused: 0, cause: String::new(), other: None }
    }

    /// Tells of this when it has lasted; true when that is news.
    fn tell(&mut self, told: Told, seen: Seen, cause: &str, now: u64) -> bool {
        if told == self.told {
            self.other = None;
            let news = differs(seen.series, self.series) || differs(seen.refused, self.refused);
            if news && !matches!(told, Told::Failing(_)) {
                (self.series, self.refused) = (seen.series, seen.refused);
            }
            return news && !matches!(told, Told::Failing(_) | Told::Waiting | Told::NoSeries);
        }
        let begun = match self.other {
            Some((other, begun)) if other == told => begun,
            _ => now,
        };
        let patience = match (self.told, told) {
            (Told::Waiting, Told::NoSeries) => FIRST,
            (_, Told::NoSeries | Told::Failing(_) | Told::Behind) => PATIENCE,
            _ => 0,
        };
        let begins = if self.told == Told::Waiting && told == Told::NoSeries { self.since } else { begun };
        if now.saturating_sub(begins) < patience {
            self.other = Some((told, begun));
            return false;
        }
        *self = Self {
            told,
            since: begun,
            series: seen.series,
            refused: seen.refused,
            cause: cause.to_owned(),
            other: None,
        };
        true
    }

    fn text(&self) -> String {
        let since = i64::try_from(self.since).ok().and_then(|since| Timestamp::from_second(since).ok());
        let since = since.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let series = |n: usize| format!("about {n} series").replace("about 1 series", "1 series");
        match self.told {
            Told::Failing(_) => format!("not scored since {since}: {}", self.cause),
            Told::NoSeries => format!("its query finds no series since {since}"),
            Told::TooMany => format!(
                "{} since {since}, and about {} more find no room: at most {PER_WATCH} of a query and {IN_ALL} in all are scored; aggregate the query, as in sum by (job) (…)",
                series(self.series),
                self.refused
            ),
            Told::Indistinct => format!(
                "{} since {since}, {}: a score has no name of a metric, and a dot in a label's name becomes an underscore; tell them apart, as in sum by (…) or label_replace(…)",
                series(self.series),
                self.cause
            ),
            Told::Behind => format!(
                "{} read too seldom since {since}: {}, and a score is shown for {FRESH} s, so that alerts come late or not at all; see why Prometheus is slow, or give the work to more replicas with --anomaly-shards",
                series(self.series),
                self.cause
            ),
            Told::Learning => format!("{} learnt since {since}; a series is scored {LEARNING}", series(self.series)),
            Told::Waiting => "the scorer's first questions are awaited".to_owned(),
            Told::Scoring => format!("{} scored since {since}", series(self.series)),
        }
    }
}

/// By half: a status that follows every series would be a time series.
fn differs(now: usize, told: usize) -> bool {
    now.saturating_mul(2) > told.saturating_mul(3) || now.saturating_mul(3) < told.saturating_mul(2)
}

/// The object that asked for a watch, and which of its watches this is.
fn owner(watch: &Watch) -> Option<(Owner, &str)> {
    let [(_, id), (_, what)] = watch.labels.as_slice() else { return None };
    let kind = watch.kind()?;
    let (namespace, name) = id.split_once('/')?;
    Some(((kind, namespace.to_owned(), name.to_owned()), what))
}

/// The table.
#[derive(Debug, Default)]
pub struct Facts {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Of the shards that are scored here.
    rows: BTreeMap<u32, BTreeMap<Owner, BTreeMap<String, Row>>>,
    /// Of all shards, as whoever scores them says.
    told: BTreeMap<u32, BTreeMap<Owner, Fact>>,
    changed: BTreeSet<Owner>,
}

impl Inner {
    fn of(&self, owner: &Owner) -> Option<Fact> {
        let here = self.rows.values().find_map(|rows| rows.get(owner));
        here.and_then(fact).or_else(|| self.told.values().find_map(|facts| facts.get(owner)).cloned())
    }
}

/// The worst of an object's watches decides, and each has its words.
fn fact(rows: &BTreeMap<String, Row>) -> Option<Fact> {
    let worst = rows.values().map(|row| row.told).min()?;
    let (status, reason) = worst.condition();
    let texts: Vec<String> = rows.iter().map(|(what, row)| format!("{what}: {}", row.text())).collect();
    Some(Fact { status, reason, message: texts.join("; ") })
}

impl Facts {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, shard: u32, watch: &Watch, told: Told, seen: Seen, cause: &str, now: u64) {
        let Some((owner, what)) = owner(watch) else { return };
        let mut inner = self.inner();
        let rows = inner.rows.entry(shard).or_default().entry(owner.clone()).or_default();
        if rows.entry(what.to_owned()).or_insert_with(|| Row::new(now)).tell(told, seen, cause, now) {
            inner.changed.insert(owner);
            self.news.notify_one();
        }
    }

    /// A watch was read, and stands so.
    pub(crate) fn saw(&self, shard: u32, watch: &Watch, seen: Seen, now: u64) {
        let told = match seen {
            Seen { refused: 1.., .. } => Told::TooMany,
            Seen { series: 0, .. } => Told::NoSeries,
            Seen { indistinct: 1.., .. } => Told::Indistinct,
            Seen { behind: Some(_), .. } => Told::Behind,
            Seen { series, learning, .. } if learning == series => Told::Learning,
            _ => Told::Scoring,
        };
        let cause = match (told, seen) {
            (Told::Indistinct, Seen { indistinct, .. }) => {
                format!("and {indistinct} more that would have the same labels")
            }
            (_, Seen { behind: Some(seconds), .. }) => format!("to read all takes {seconds} s"),
            _ => String::new(),
        };
        self.tell(shard, watch, told, seen, &cause, now);
    }

    /// A watch could not be read.
    pub(crate) fn failed(&self, shard: u32, watch: &Watch, trouble: Trouble, cause: &str, now: u64) {
        self.tell(shard, watch, Told::Failing(trouble), Seen::default(), cause, now);
    }

    /// Forgets what is watched no more in a shard.
    pub(crate) fn keep<'a>(&self, shard: u32, watches: impl IntoIterator<Item = &'a Watch>) {
        let left: BTreeSet<(Owner, &str)> = watches.into_iter().filter_map(owner).collect();
        let mut inner = self.inner();
        inner.rows.entry(shard).or_default().retain(|owner, rows| {
            rows.retain(|what, _| left.contains(&(owner.clone(), what.as_str())));
            !rows.is_empty()
        });
    }

    /// A shard is scored here no more; whoever does now tells what it sees.
    pub(crate) fn leave(&self, shard: u32) {
        self.inner().rows.remove(&shard);
    }

    /// Somebody tells this of a shard, be it this process or another one.
    pub(crate) fn hear(&self, shard: u32, facts: BTreeMap<Owner, Fact>) {
        let mut inner = self.inner();
        let before = inner.told.insert(shard, facts).unwrap_or_default();
        let Inner { rows, told, changed } = &mut *inner;
        let here = |owner: &Owner| rows.values().any(|rows| rows.contains_key(owner));
        let news = told.get(&shard).into_iter().flatten().filter(|(owner, fact)| before.get(owner) != Some(fact));
        let news: Vec<Owner> = news.map(|(owner, _)| owner.clone()).filter(|owner| !here(owner)).collect();
        if !news.is_empty() {
            changed.extend(news);
            self.news.notify_one();
        }
    }

    /// Forgets what others tell: nobody listens any more.
    pub(crate) fn forget_told(&self) {
        self.inner().told.clear();
    }

    /// All that is seen in a shard that is scored here.
    pub(crate) fn of_shard(&self, shard: u32) -> BTreeMap<Owner, Fact> {
        let inner = self.inner();
        let rows = inner.rows.get(&shard).into_iter().flatten();
        rows.filter_map(|(owner, rows)| Some((owner.clone(), fact(rows)?))).collect()
    }

    /// What is told of an object. `None` while nothing is known.
    pub fn of(&self, kind: Kind, namespace: &str, name: &str) -> Option<Fact> {
        self.inner().of(&(kind, namespace.to_owned(), name.to_owned()))
    }

    /// Waits until more is to be told; gives the objects.
    pub(crate) async fn changed(&self) -> BTreeSet<Owner> {
        loop {
            let changed = std::mem::take(&mut self.inner().changed);
            if !changed.is_empty() {
                return changed;
            }
            self.news.notified().await;
        }
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
