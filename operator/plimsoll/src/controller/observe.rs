//! What Prometheus knows about the SLOs: a table that one loop keeps, in shared questions.
//!
//! Reconciles read the table and never wait for Prometheus; the loop asks for a reconcile when
//! something that a status shows has changed.

mod silence;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use plimsoll_api::slo::Severity;
use plimsoll_slo::alerts::Language;
use plimsoll_slo::model::Span;
use tokio::{sync::Notify, time::Instant};

use self::silence::Doubt;
use super::columns::{Columns, Numbers};
pub(crate) use super::judge::{index, judge};
use crate::{
    limits::{self, Excess, Scope},
    prometheus::LoadedGroup,
    targets::Away,
};

/// The first question comes this long after a write.
const FIRST: Duration = Duration::from_millis(500);
/// Questions about what is missing never lie further apart.
const MISSING_MAX: Duration = Duration::from_secs(15);
/// After so many questions, about 11 seconds, it is looked into why rules are not there.
const EARLY: u32 = 7;
/// Rules take this long at most to reach a Prometheus whose files are mounted from a ConfigMap, or a ruler: new ones, an
/// edit, and those that somebody removed and the operator put back.
const WAY: Duration = Duration::from_secs(300);
/// What is loaded is looked at this often.
const LOADED: Duration = Duration::from_secs(120);
/// A Prometheus that is away for less than this changes no status of what was loaded.
const PATIENCE: Duration = Duration::from_secs(60);
/// For so long after a start of Prometheus, or an outage, an alert that does not fire is none that ended: the rules of
/// the slowest group, every four minutes, must have been evaluated first.
pub(super) const SETTLE: Duration = Duration::from_secs(360);
/// Base series come with the first evaluations; until then their absence means nothing.
const DATA_PATIENCE: Duration = Duration::from_secs(90);

/// Whether Prometheus has the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Not asked yet.
    Asking,
    /// It has these rules.
    Yes,
    /// It has other rules of this SLO: those before an edit.
    Outdated {
        /// For longer than the way of an edit takes.
        overdue: bool,
    },
    /// It lacks a group.
    Missing {
        /// The group.
        group: String,
        /// Why, if `Prometheus` objects say so.
        hint: Option<String>,
    },
    /// It has the groups, but a rule fails.
    Failing(String),
    /// It has the groups, but does not evaluate them.
    Idle {
        /// The group.
        group: String,
        /// The last time it did; nothing when it never did.
        since: Option<Timestamp>,
    },
    /// It does not answer.
    Unreachable(String),
}

/// What is known about one SLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Whether its rules are loaded.
    pub loaded: Loaded,
    /// Since when that is asked.
    pub since: Timestamp,
    /// Whether the indicator has samples; `None` when that is not known yet.
    pub data: Option<bool>,
    /// The base series have some all the same: made up, since missing time counts as bad.
    pub made_up: bool,
    /// The columns.
    pub columns: Columns,
    /// What is too much for this Prometheus; `None` when that is not known yet.
    pub excess: Option<Vec<Excess>>,
    /// Names of the alerts of an AlertRule that fire.
    pub firing: Vec<String>,
    /// Why there are no samples, where the targets show it.
    pub targets: Option<Away>,
    /// A label of `groupBy` that bad events lack, so that they are counted by no group.
    pub lacks: Option<String>,
    /// Since when Prometheus does not answer, while it does not.
    pub away: Option<Timestamp>,
    /// Since when it answers again, or since when it runs.
    pub back: Option<Timestamp>,
}

impl Observation {
    /// Of what nobody knows anything yet.
    pub fn new(loaded: Loaded, since: Timestamp) -> Self {
        Self {
            loaded,
            since,
            data: None,
            made_up: false,
            columns: Columns::default(),
            excess: None,
            firing: Vec::new(),
            targets: None,
            lacks: None,
            away: None,
            back: None,
        }
    }
}

/// What Prometheus should have loaded for an SLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Which rules they hold; see [`plimsoll_slo::revision`].
    pub revision: String,
    /// Labels of the rule object, if it is one.
    pub labels: Option<BTreeMap<String, String>>,
    /// What of the SLO may be too much.
    pub scope: Scope,
    /// Number of alerts.
    pub rules: usize,
    /// What the rules are written in: Prometheus does not know those in LogQL.
    pub language: Language,
}

#[derive(Debug)]
struct Row {
    wanted: Wanted,
    observation: Observation,
    /// Since when other rules are known to be loaded.
    outdated_since: Option<Instant>,
    /// A group that is not there, and since when.
    lacks: Option<(Instant, String)>,
    /// When it was loaded first, to be patient about its data.
    loaded_at: Option<Instant>,
    /// Since when none of its groups is known to have been evaluated.
    fresh_since: Option<Instant>,
    unreachable_since: Option<Instant>,
    columns_at: Option<Instant>,
    /// Prometheus did not answer when it was asked for its numbers.
    lost: bool,
    /// It answered without the series that were there before.
    gone: bool,
    /// When what does not fire is known to have ended; see [`SETTLE`].
    settles: Option<Instant>,
    /// The number of groups that was told, or would have been.
    crowd: Option<(u64, Excess)>,
    /// When its targets were asked for last.
    sought: Option<Instant>,
    /// When it was asked for bad events of no group last.
    paired: Option<Instant>,
    /// Whether its samples are made up.
    doubt: Option<Doubt>,
    /// Its groups were counted, and looked at where they are many.
    counted: bool,
    attempts: u32,
    /// When to ask whether the rules are loaded; never, while it is not known which.
    due: Option<Instant>,
}

impl Row {
    fn new(time: Timestamp) -> Self {
        Self {
            wanted: Wanted::default(),
            observation: Observation::new(Loaded::Asking, time),
            outdated_since: None,
            lacks: None,
            loaded_at: None,
            fresh_since: None,
            unreachable_since: None,
            columns_at: None,
            lost: false,
            gone: false,
            settles: None,
            crowd: None,
            sought: None,
            paired: None,
            doubt: None,
            counted: false,
            attempts: 0,
            due: None,
        }
    }

    /// Notes that numbers come again after they were lost, or from a Prometheus that was started since; true when the
    /// time is over in which that matters.
    fn settle(&mut self, known: bool, numbers: &Numbers, now: Instant) -> bool {
        if !known {
            let seen = &self.observation;
            self.gone |= seen.data == Some(true) || seen.made_up || !seen.firing.is_empty();
            return false;
        }
        let (lost, gone) = (std::mem::take(&mut self.lost), std::mem::take(&mut self.gone));
        // One that tells of no start since has gone on evaluating while it could not be reached.
        let back = (gone || lost && numbers.started.is_none()).then_some(numbers.at);
        let back = back.into_iter().chain(numbers.started).max();
        if let Some(back) = back.filter(|back| self.observation.back.is_none_or(|known| known < *back)) {
            let passed = Duration::try_from(numbers.at.duration_since(back)).unwrap_or_default();
            self.observation.back = Some(back);
            self.settles = SETTLE.checked_sub(passed).map(|rest| now + rest);
        }
        self.settles.take_if(|at| *at <= now).is_some()
    }

    /// Says anew what is too much; true when that differs from what was said.
    fn judge_excess(&mut self, retention: Retention) -> bool {
        let scope = &self.wanted.scope;
        let known = retention.filter(|_| self.counted || scope.group_by.is_empty());
        let crowd = self.crowd.as_ref().map(|(_, excess)| excess.clone());
        let excess = known.map(|retention| limits::period(scope, retention).into_iter().chain(crowd).collect());
        let differs = excess != self.observation.excess;
        self.observation.excess = excess;
        differs
    }
}

/// By half: a status that follows every new group would be a time series.
fn differs(groups: u64, told: u64) -> bool {
    groups.saturating_mul(2) > told.saturating_mul(3) || groups.saturating_mul(3) < told.saturating_mul(2)
}

/// Namespace and name.
pub type Id = (String, String);

/// The table.
#[derive(Debug, Default)]
pub struct Observations {
    rows: Mutex<HashMap<Id, Row>>,
    retention: Mutex<Retention>,
    changed: Notify,
}

/// Groups to ask for.
#[derive(Debug, Default)]
pub struct Question {
    /// The SLOs they belong to.
    pub ids: Vec<Id>,
    /// Names of the groups.
    pub groups: Vec<String>,
}

/// For how long samples are kept: not asked yet, or not told, or told.
type Retention = Option<Option<Span>>;

/// SLOs of many groups: how many, and by which labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// The SLO.
    pub id: Id,
    /// Number of its groups.
    pub groups: u64,
    /// Labels of `groupBy`.
    pub labels: Vec<String>,
}

/// Rows that lack a group more than once, so that it is worth to find out why.
pub type Puzzle = (Id, BTreeMap<String, String>);

impl Observations {
    /// Says that these rules should be loaded, and what is known about them. `waiting`: since when they are waited
    /// for, as an operator before this one has told; a restart begins no patience anew.
    pub fn expect(
        &self,
        id: &Id,
        wanted: &Wanted,
        written: bool,
        waiting: Option<Timestamp>,
        now: Instant,
        time: Timestamp,
    ) -> Observation {
        let mut rows = self.rows();
        let waiting = waiting.filter(|since| !written && *since <= time && !rows.contains_key(id));
        let row = rows.entry(id.clone()).or_insert_with(|| Row::new(time));
        if row.wanted != *wanted || written {
            let edited = row.wanted.revision != wanted.revision;
            if edited
                && matches!(
                    row.observation.loaded,
                    Loaded::Yes | Loaded::Failing(_) | Loaded::Idle { .. } | Loaded::Outdated { .. }
                )
            {
                row.observation.loaded = Loaded::Outdated { overdue: false };
                row.outdated_since = Some(now);
            }
            if row.wanted.scope.group_by != wanted.scope.group_by {
                (row.crowd, row.counted) = (None, false);
            }
            if row.wanted.scope.apart != wanted.scope.apart {
                (row.paired, row.observation.lacks) = (None, None);
            }
            row.wanted = wanted.clone();
            row.judge_excess(self.kept_for());
            row.observation.since = waiting.unwrap_or(time);
            if let Some(since) = waiting {
                let passed = Duration::try_from(time.duration_since(since)).unwrap_or_default();
                row.outdated_since = now.checked_sub(passed);
            }
            // Which group is known when it is asked again.
            row.lacks = waiting.and(row.outdated_since).map(|since| (since, String::new()));
            row.attempts = 0;
            // After a write Prometheus needs a moment; found unchanged, as at a start, it can be asked at once.
            row.due = Some(if written { now + FIRST } else { now });
            self.changed.notify_one();
        }
        row.observation.clone()
    }

    /// Goes on looking at the numbers of an SLO whose last good rules work, although it is not valid now.
    pub fn follow(&self, id: &Id, now: Instant, time: Timestamp) -> Observation {
        let mut rows = self.rows();
        let row = rows.entry(id.clone()).or_insert_with(|| Row { loaded_at: Some(now), ..Row::new(time) });
        row.observation.clone()
    }

    /// Forgets an SLO.
    pub fn forget(&self, id: &Id) {
        self.rows().remove(id);
    }

    /// Every SLO that is asked about.
    pub fn ids(&self) -> Vec<Id> {
        self.rows().keys().cloned().collect()
    }

    /// Number of SLOs.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// True without SLOs.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// Waits until the next question is due.
    pub async fn wait(&self) {
        let due = self.rows().values().filter_map(|row| row.due).min();
        match due {
            Some(due) => {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.changed.notified() => {}
                }
            }
            None => self.changed.notified().await,
        }
    }

    /// At most `max` SLOs whose question is due.
    pub fn due(&self, now: Instant, max: usize) -> Question {
        let rows = self.rows();
        let mut question = Question::default();
        for (id, row) in rows.iter().filter(|(_, row)| row.due.is_some_and(|due| due <= now)).take(max) {
            question.ids.push(id.clone());
            question.groups.extend(row.wanted.groups.iter().cloned());
        }
        question
    }

    /// Takes the answer; gives the SLOs whose status changes, and those worth a closer look.
    pub fn answer(&self, question: &Question, found: &[LoadedGroup], now: Instant) -> (Vec<Id>, Vec<Puzzle>) {
        let by_name = index(found);
        let mut rows = self.rows();
        let (mut changed, mut puzzles) = (Vec::new(), Vec::new());
        for id in &question.ids {
            let Some(row) = rows.get_mut(id) else { continue };
            row.unreachable_since = None;
            row.observation.away = None;
            let mut new = judge(&row.wanted, &by_name);
            if let (Loaded::Missing { group, hint }, Loaded::Missing { group: old, hint: known }) =
                (&mut new, &row.observation.loaded)
                && group == old
            {
                hint.clone_from(known);
            }
            if matches!(new, Loaded::Yes | Loaded::Failing(_) | Loaded::Idle { .. }) {
                row.attempts = 0;
                row.loaded_at.get_or_insert(now);
                row.due = Some(now + if matches!(new, Loaded::Idle { .. }) { MISSING_MAX } else { LOADED });
            } else {
                row.due = Some(now + backoff(row.attempts));
                row.attempts = row.attempts.saturating_add(1);
                let missing = matches!(new, Loaded::Missing { .. });
                if missing && (row.attempts == EARLY || row.attempts.is_multiple_of(8)) {
                    puzzles.extend(row.wanted.labels.clone().map(|labels| (id.clone(), labels)));
                }
            }
            // Not only rules that were just written: Prometheus forgets that it has evaluated a group when it is started,
            // and when the file of the group becomes another one, as happens where prometheus-operator needs more than
            // one ConfigMap. The first evaluation comes within the interval of the slowest group.
            let never = matches!(new, Loaded::Idle { since: None, .. });
            row.fresh_since = never.then(|| row.fresh_since.unwrap_or(now));
            if row.fresh_since.is_some_and(|since| now.duration_since(since) < SETTLE) {
                new = Loaded::Yes;
            }
            if let Loaded::Outdated { overdue } = &mut new {
                *overdue = now.duration_since(*row.outdated_since.get_or_insert(now)) >= WAY;
            } else {
                row.outdated_since = None;
            }
            let mut on_its_way = false;
            row.lacks = match &new {
                Loaded::Missing { group, .. } => {
                    let since = row.lacks.take().map_or(now, |(since, _)| since);
                    on_its_way = now.duration_since(since) < WAY;
                    Some((since, group.clone()))
                }
                _ => None,
            };
            // Until then nothing is missing, it is only not there yet, or for a moment not there.
            if on_its_way {
                match row.observation.loaded {
                    Loaded::Missing { .. } => {}
                    // One that answers again, and never had them.
                    Loaded::Unreachable(_) if row.loaded_at.is_none() => new = Loaded::Asking,
                    Loaded::Unreachable(_) => {}
                    _ => continue,
                }
            }
            if new != row.observation.loaded {
                row.observation.loaded = new;
                changed.push(id.clone());
            }
        }
        (changed, puzzles)
    }

    /// Says why a group is missing; true when that is news. Of what has a cause it is not waited whether it is on its way.
    pub fn hint(&self, id: &Id, text: Option<String>) -> bool {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id) else { return false };
        match (&mut row.observation.loaded, &row.lacks) {
            (Loaded::Missing { hint, .. }, _) => {
                let news = *hint != text;
                *hint = text;
                news
            }
            (loaded, Some((_, group))) if text.is_some() => {
                *loaded = Loaded::Missing { group: group.clone(), hint: text };
                true
            }
            _ => false,
        }
    }

    /// Takes a failure to answer; gives the SLOs whose status changes.
    pub fn unreachable(&self, question: &Question, cause: &str, now: Instant, time: Timestamp) -> Vec<Id> {
        let mut rows = self.rows();
        let mut changed = Vec::new();
        for id in &question.ids {
            let Some(row) = rows.get_mut(id) else { continue };
            row.due = Some(now + backoff(row.attempts));
            row.attempts = row.attempts.saturating_add(1);
            let since = *row.unreachable_since.get_or_insert(now);
            row.observation.away.get_or_insert(time);
            let new = Loaded::Unreachable(cause.to_owned());
            let outage = now.duration_since(since) >= PATIENCE;
            if outage {
                // It may have been started anew meanwhile: then the time of a first evaluation begins when it answers.
                row.fresh_since = None;
            }
            let patient = row.observation.loaded == Loaded::Yes && !outage;
            let already = matches!(row.observation.loaded, Loaded::Unreachable(_));
            // The first cause is kept: its wording may change with every attempt.
            if !patient && !already {
                row.observation.loaded = new;
                changed.push(id.clone());
            }
        }
        changed
    }

    /// Takes for how long samples are kept, where that is known; gives the SLOs whose status changes.
    pub fn retention(&self, retention: Option<Span>) -> Vec<Id> {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner) = Some(retention);
        let mut rows = self.rows();
        rows.iter_mut().filter_map(|(id, row)| row.judge_excess(Some(retention)).then(|| id.clone())).collect()
    }

    fn kept_for(&self) -> Retention {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the label that makes the groups of an SLO so many; true when that changes its status.
    pub fn crowd(&self, crowd: &Crowd, worst: Option<(&str, u64)>) -> bool {
        let retention = self.kept_for();
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(&crowd.id) else { return false };
        row.crowd = limits::groups(crowd.groups, worst).map(|excess| (crowd.groups, excess));
        row.counted = true;
        row.judge_excess(retention)
    }

    /// Notes that the numbers are not known now. Whether Prometheus is away altogether is asked at once.
    pub fn lose(&self, now: Instant, time: Timestamp) {
        for row in self.rows().values_mut() {
            row.lost = true;
            row.observation.away.get_or_insert(time);
            if row.unreachable_since.is_none() {
                row.due = row.due.map(|due| due.min(now));
            }
        }
        self.changed.notify_one();
    }

    /// Takes the numbers of all SLOs; gives those whose status changes, and those whose groups are to be looked at.
    pub fn numbers(&self, numbers: &Numbers, now: Instant) -> (Vec<Id>, Vec<Crowd>) {
        let retention = self.kept_for();
        let mut rows = self.rows();
        let (mut changed, mut crowds) = (Vec::new(), Vec::new());
        for (id, row) in rows.iter_mut() {
            let slo_id = format!("{}/{}", id.0, id.1);
            let groups = numbers.groups(&slo_id);
            if groups <= limits::GROUPS {
                // None at all may be those that the first evaluation has not made yet.
                (row.crowd, row.counted) = (None, row.counted || groups > 0 || row.loaded_at.is_some());
            } else if !row.wanted.scope.group_by.is_empty()
                && row.crowd.as_ref().is_none_or(|(told, _)| differs(groups, *told))
            {
                crowds.push(Crowd { id: id.clone(), groups, labels: row.wanted.scope.group_by.clone() });
            }
            let excess = row.judge_excess(retention);
            if !numbers.knows_data() {
                row.observation.data = None;
            }
            let patience_over = row.loaded_at.is_some_and(|at| now.duration_since(at) > DATA_PATIENCE);
            let made_up = row.doubts(numbers.is_whole(&slo_id));
            let data = match (groups > 0, patience_over) {
                _ if !numbers.knows_data() => None,
                (true, _) => Some(!made_up),
                (false, true) => Some(false),
                (false, false) => row.observation.data.filter(|present| !present),
            };
            let columns = numbers.columns(&slo_id);
            let settled = row.settle(groups > 0 || columns.alert.is_some() || columns.firing.is_some(), numbers, now);
            let firing = numbers.names(&slo_id);
            let named = firing != row.observation.firing.as_slice();
            if named {
                row.observation.firing = firing.to_vec();
            }
            let since = row.columns_at.map(|at| now.duration_since(at));
            let shown = columns.worth_showing(&row.observation.columns, since);
            if data != row.observation.data || shown || excess || settled || named {
                row.has_data(data, made_up);
                if shown {
                    row.observation.columns = columns;
                    row.columns_at = Some(now);
                }
                changed.push(id.clone());
            }
        }
        (changed, crowds)
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Id, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn backoff(attempts: u32) -> Duration {
    FIRST.saturating_mul(2u32.saturating_pow(attempts.min(10) / 2)).min(MISSING_MAX)
}

/// Severity as the alerts' label has it.
pub(super) fn severity(label: &str) -> Option<Severity> {
    match label {
        "page" => Some(Severity::Page),
        "ticket" => Some(Severity::Ticket),
        _ => None,
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
