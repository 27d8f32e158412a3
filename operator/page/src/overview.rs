//! "Is anything burning?": every SLO as a row, worst first.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use plimsoll_api::{
    Slo, conditions as c,
    slo::{Calendar, Severity, SloSpec},
};
use plimsoll_slo::{duration, names};

use crate::{
    Kept, Spell,
    ask::{ALERTS, Fold, Grid, History, Question, Reading},
    words,
};

/// What is asked about all SLOs, in the order in which [`Overview::new`] reads the answers.
pub fn questions() -> Vec<Question> {
    vec![
        Question::new(names::BUDGET_REMAINING, Fold::Lowest(&[])),
        // Not the recorded burn rate: it follows the ratio by minutes.
        Question::new(names::ERROR_RATIO, Fold::Highest(&[])).with(names::WINDOW, "1h"),
        Question::new(ALERTS, Fold::Highest(&["alertname", names::SEVERITY])).with("alertstate", "firing"),
        Question::new(names::COVERAGE, Fold::Lowest(&[])),
        Question::new(names::PERIOD_START, Fold::Lowest(&[])),
    ]
}

/// What is asked for the small pictures of the last thirty days.
pub fn sparks() -> Question {
    Question::new(names::BUDGET_REMAINING, Fold::Lowest(&[]))
}

/// The grid of the small pictures.
pub fn sparks_grid(now: i64) -> Grid {
    Grid::until(now, 30 * 86_400, 30)
}

/// How an SLO is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// An alert that wakes somebody fires.
    Page,
    /// An alert for tomorrow fires.
    Ticket,
    /// It does not work.
    Broken,
    /// It is quiet, but its budget is spent.
    Spent,
    /// It works, but nothing is recorded of it.
    NoData,
    /// Nobody who has numbers answers.
    Unknown,
    /// Nothing is wrong.
    Quiet,
}

impl State {
    /// Every state, worst first.
    pub const ALL: [Self; 7] =
        [Self::Page, Self::Ticket, Self::Broken, Self::Spent, Self::NoData, Self::Unknown, Self::Quiet];

    /// In the address, and the class in the page.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::Broken => "broken",
            Self::Spent => "spent",
            Self::NoData => "no-data",
            Self::Unknown => "unknown",
            Self::Quiet => "quiet",
        }
    }

    /// As it is read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Page => "Page",
            Self::Ticket => "Ticket",
            Self::Broken => "Broken",
            Self::Spent => "Spent",
            Self::NoData => "No data",
            Self::Unknown => "Not known",
            Self::Quiet => "Quiet",
        }
    }

    /// Whether an alert of the budget fires.
    pub const fn is_burning(self) -> bool {
        matches!(self, Self::Page | Self::Ticket)
    }
}

/// What a reader wants to see; all of it is in the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Words that are all in the name, namespace, service, owner or a label.
    pub text: String,
    /// Labels: `team=payments`, or `team` alone for any value.
    pub label: String,
    /// `page`, `ticket`, `broken`, `spent`, `no-data`, `unknown`, `quiet` or `burning`.
    pub state: String,
}

impl Filter {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        let Self { text, label, state } = self;
        [text, label, state].iter().all(|part| part.trim().is_empty())
    }

    fn takes(&self, row: &Row) -> bool {
        let state = match self.state.as_str() {
            "" => true,
            "burning" => row.state.is_burning(),
            key => row.state.key() == key,
        };
        state && self.takes_label(row) && self.takes_text(row)
    }

    fn takes_label(&self, row: &Row) -> bool {
        self.label.split(',').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
            let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name.trim(), Some(value)));
            let value = value.map(|value| value.trim().trim_matches('"'));
            row.labels.get(name).is_some_and(|has| value.is_none_or(|value| has == value))
        })
    }

    fn takes_text(&self, row: &Row) -> bool {
        if self.text.trim().is_empty() {
            return true;
        }
        let mut all = format!("{}/{} {} {}", row.namespace, row.name, row.service, row.owner);
        for (name, value) in &row.labels {
            all.push_str(&format!(" {name}={value}"));
        }
        let all = all.to_lowercase();
        self.text.to_lowercase().split_whitespace().all(|word| all.contains(word))
    }
}

/// One SLO on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Who answers for it, or empty.
    pub owner: String,
    /// Labels by which it can be found, with `service`, `owner` and `namespace`.
    pub labels: BTreeMap<String, String>,
    /// As written: `99.95`; empty when it cannot be read.
    pub objective: String,
    /// Good events / all events over the period.
    pub sli: Option<f64>,
    /// Share of the budget that is left; negative when overspent.
    pub budget: Option<f64>,
    /// Share of the budget that was left over the last thirty days.
    pub spark: Vec<Option<f64>>,
    /// Burn rate over an hour.
    pub burn: Option<f64>,
    /// Seconds until the budget is spent at the rate of the last hour, where it would be.
    pub lasts: Option<f64>,
    /// How it is.
    pub state: State,
    /// What else fires or is wrong, in a sentence.
    pub reason: Option<String>,
}

/// The whole view.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    /// The answer, in a sentence.
    pub headline: String,
    /// What else is to be known: that Prometheus is away.
    pub trouble: Option<String>,
    /// The rows that the filter takes, worst first.
    pub rows: Vec<Row>,
    /// How many there are in all.
    pub total: usize,
    /// How many are in each state, of all.
    pub states: BTreeMap<State, usize>,
    /// What the reader wants to see.
    pub filter: Filter,
    /// False as long as not all objects are known.
    pub complete: bool,
}

/// What an objective and a period are in numbers; both are on the SLO, whether it is valid or not.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Promise {
    /// The error budget as a ratio.
    budget: f64,
    /// Length of the period in seconds.
    period: f64,
    /// It begins anew, and slides not along.
    calendar: bool,
}

fn promise(spec: &SloSpec) -> Option<Promise> {
    let percent: f64 = spec.objective.trim_end_matches('%').parse().ok()?;
    let budget = 1.0 - percent / 100.0;
    let (period, calendar) = match &spec.period {
        None => (30.0 * DAY, false),
        Some(period) => match (&period.rolling, period.calendar) {
            (Some(rolling), _) => (duration::parse(rolling, "period").ok()?.as_seconds() as f64, false),
            (None, Some(unit)) => (calendar(unit), true),
            (None, None) => (30.0 * DAY, false),
        },
    };
    (budget > 0.0).then_some(Promise { budget, period, calendar })
}

const DAY: f64 = 86_400.0;

/// The usual length of a calendar unit, in seconds.
pub(crate) const fn calendar(unit: Calendar) -> f64 {
    match unit {
        Calendar::Week => 7.0 * DAY,
        Calendar::Month => 30.0 * DAY,
        Calendar::Quarter => 91.0 * DAY,
        Calendar::Year => 365.0 * DAY,
    }
}

impl Overview {
    /// From what is stored and what was answered to [`questions`] and [`sparks`].
    pub fn new(slos: &[Kept<Slo>], complete: bool, reading: &Reading, sparks: &History, filter: Filter) -> Self {
        let known = Known::of(reading, sparks);
        let mut rows: Vec<Row> = slos.iter().map(|slo| known.row(slo)).collect();
        rows.sort_by(worst_first);
        let (total, mut states) = (rows.len(), BTreeMap::new());
        for row in &rows {
            *states.entry(row.state).or_insert(0) += 1;
        }
        let headline = headline(&rows, complete);
        rows.retain(|row| filter.takes(row));
        Self { headline, trouble: trouble(reading), rows, total, states, filter, complete }
    }
}

/// Why numbers are not of now, in a sentence.
pub fn trouble(reading: &Reading) -> Option<String> {
    let cause = reading.trouble.as_ref()?;
    Some(told(reading.at, reading.samples.iter().any(|samples| !samples.is_empty()), cause))
}

/// The same, of numbers that were all read then, or of which some were never, and perhaps none.
pub(crate) fn told(at: Option<Timestamp>, some: bool, cause: &str) -> String {
    match at {
        Some(at) => format!("These are the last known numbers, of {} UTC: {cause}", words::moment(at)),
        None if some => format!("Not all numbers are known yet: {cause}"),
        None => format!("No numbers are known yet: {cause}"),
    }
}

/// Answers by the SLO's id.
struct Known<'a> {
    /// When, if there was one to every question.
    answered: Option<Timestamp>,
    budget: BTreeMap<&'a str, f64>,
    ratio: BTreeMap<&'a str, f64>,
    alerts: BTreeMap<&'a str, Vec<(&'a str, Option<Severity>)>>,
    coverage: BTreeMap<&'a str, f64>,
    start: BTreeMap<&'a str, f64>,
    sparks: BTreeMap<&'a str, &'a [Option<f64>]>,
}

impl<'a> Known<'a> {
    fn of(reading: &'a Reading, sparks: &'a History) -> Self {
        let numbers = |question| {
            let samples = reading.of(question).iter().filter(|sample| sample.value.is_finite());
            samples.map(|sample| (sample.label(names::SLO_ID), sample.value)).collect()
        };
        let mut alerts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for sample in reading.of(2) {
            let severity = match sample.label(names::SEVERITY) {
                "page" => Some(Severity::Page),
                "ticket" => Some(Severity::Ticket),
                _ => None,
            };
            alerts.entry(sample.label(names::SLO_ID)).or_default().push((sample.label("alertname"), severity));
        }
        Self {
            answered: reading.at,
            budget: numbers(0),
            ratio: numbers(1),
            alerts,
            coverage: numbers(3),
            start: numbers(4),
            sparks: sparks.lines.iter().map(|line| (line.label(names::SLO_ID), line.values.as_slice())).collect(),
        }
    }

    /// The time of which an SLO's budget is.
    fn spell(&self, id: &str, promise: Promise) -> Option<Spell> {
        let coverage = *self.coverage.get(id)?;
        if !promise.calendar {
            return Spell::rolling(promise.period, coverage);
        }
        Spell::calendar(promise.period, self.answered?.as_second() as f64 - self.start.get(id)?, coverage)
    }

    fn row(&self, slo: &Kept<Slo>) -> Row {
        let id = slo.id();
        let id = id.as_str();
        let spec = slo.object.as_ref().ok().map(|object| &object.spec);
        let promise = spec.and_then(promise);
        let budget = self.budget.get(id).copied();
        let burn = self.ratio.get(id).zip(promise).map(|(ratio, promise)| ratio / promise.budget);
        let alerts = self.alerts.get(id).map_or(&[][..], Vec::as_slice);
        let worst = alerts.iter().filter(|(name, _)| *name == names::ALERT_BURN).filter_map(|(_, s)| *s).min();
        let broken = broken(slo);
        let state = match (worst, &broken, budget) {
            (Some(Severity::Page), ..) => State::Page,
            (Some(Severity::Ticket), ..) => State::Ticket,
            (None, Some(_), _) => State::Broken,
            // That nothing was answered is not that nothing fires.
            (None, None, _) if self.answered.is_none() => State::Unknown,
            (None, None, None) if !is_awaited(slo) => State::NoData,
            (None, None, None) => State::Unknown,
            (None, None, Some(budget)) if budget <= 0.0 => State::Spent,
            (None, None, _) => State::Quiet,
        };
        let reason = broken.or_else(|| others(alerts)).or_else(|| no_data(slo, state, self.answered.is_some()));
        let mut labels = spec.map(|spec| spec.labels.clone()).unwrap_or_default();
        let meta = slo.object.as_ref().ok().map(|object| &object.metadata);
        labels.extend(meta.and_then(|meta| meta.labels.clone()).unwrap_or_default());
        let service = spec.map(|spec| service(spec, meta.and_then(|meta| meta.labels.as_ref()), &slo.name));
        let owner = spec.and_then(|spec| spec.owner.clone()).unwrap_or_default();
        let service = service.unwrap_or_default();
        labels.insert("namespace".to_owned(), slo.namespace.clone());
        labels.extend([("service", &service), ("owner", &owner)].map(|(name, value)| (name.to_owned(), value.clone())));
        labels.retain(|_, value| !value.is_empty());
        Row {
            namespace: slo.namespace.clone(),
            name: slo.name.clone(),
            service,
            owner,
            labels,
            objective: spec.map(|spec| spec.objective.trim_end_matches('%').to_owned()).unwrap_or_default(),
            sli: budget.zip(promise).map(|(left, promise)| 1.0 - (1.0 - left) * promise.budget),
            budget,
            spark: self.sparks.get(id).map(|values| values.to_vec()).unwrap_or_default(),
            burn,
            lasts: promise.and_then(|promise| self.spell(id, promise)?.lasts(budget?, burn?)),
            state,
            reason,
        }
    }
}

/// The service of an SLO, as it is on `slo_info`.
fn service(spec: &SloSpec, labels: Option<&BTreeMap<String, String>>, name: &str) -> String {
    let labelled = labels.and_then(|labels| labels.get("app.kubernetes.io/name"));
    spec.service.as_ref().or(labelled).map_or_else(|| name.to_owned(), Clone::clone)
}

/// The conditions of a stored SLO.
pub(crate) fn conditions(slo: &Kept<Slo>) -> &[Condition] {
    let status = slo.object.as_ref().ok().and_then(|object| object.status.as_ref());
    status.map_or(&[], |status| &status.conditions)
}

/// Why an SLO does not work.
pub(crate) fn broken(slo: &Kept<Slo>) -> Option<String> {
    let object = match &slo.object {
        Ok(object) => object,
        Err(why) => return Some(why.clone()),
    };
    let ready = conditions(slo).iter().find(|condition| condition.type_ == c::READY);
    let failed = ready.filter(|ready| ready.status == "False").map(|ready| ready.message.clone());
    if object.metadata.deletion_timestamp.is_some() {
        return Some(failed.unwrap_or_else(|| "it is being deleted".to_owned()));
    }
    failed
}

/// Whether an SLO has samples, or may have them, so that what is not recorded of it is only not recorded yet: nobody can say
/// then that it has no data, nor that nothing fires.
pub(crate) fn is_awaited(slo: &Kept<Slo>) -> bool {
    let data = conditions(slo).iter().find(|condition| condition.type_ == c::DATA_PRESENT);
    data.is_some_and(|data| data.status != "False")
}

/// Alerts that fire besides those of the budget.
fn others(alerts: &[(&str, Option<Severity>)]) -> Option<String> {
    let has = |name: &str| alerts.iter().any(|(alert, _)| *alert == name);
    match (has(names::ALERT_NO_DATA), has(names::ALERT_ANOMALY)) {
        (true, _) => Some("alert: its data is missing".to_owned()),
        (false, true) => Some("alert: its indicator behaves unusually".to_owned()),
        (false, false) => None,
    }
}

fn no_data(slo: &Kept<Slo>, state: State, answered: bool) -> Option<String> {
    if state == State::Unknown && answered {
        return Some("not known yet: the first evaluations of its rules are awaited".to_owned());
    }
    if state != State::NoData {
        return None;
    }
    let data = conditions(slo).iter().find(|condition| condition.type_ == c::DATA_PRESENT);
    let said = data.filter(|data| data.status != "True").map(|data| data.message.clone());
    Some(said.filter(|said| !said.is_empty()).unwrap_or_else(|| "nothing is recorded of it yet".to_owned()))
}

fn worst_first(a: &Row, b: &Row) -> Ordering {
    let soonest = |row: &Row| row.lasts.unwrap_or(f64::INFINITY);
    let least = |row: &Row| row.budget.unwrap_or(f64::INFINITY);
    let order = a.state.cmp(&b.state).then_with(|| match a.state {
        // Spent already is worse than soon.
        State::Page | State::Ticket => (least(a) > 0.0).cmp(&(least(b) > 0.0)).then(soonest(a).total_cmp(&soonest(b))),
        State::Broken | State::Spent | State::NoData | State::Unknown | State::Quiet => Ordering::Equal,
    });
    order
        .then_with(|| least(a).total_cmp(&least(b)))
        .then_with(|| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)))
}

/// The answer to the view's question.
fn headline(rows: &[Row], complete: bool) -> String {
    if rows.is_empty() {
        return if complete { "There is no SLO yet." } else { "Still reading what there is." }.to_owned();
    }
    let total = rows.len();
    let of = |wanted: State| rows.iter().filter(|row| row.state == wanted).count();
    let burning: Vec<&Row> = rows.iter().filter(|row| row.state.is_burning()).collect();
    let of_all = if total == 1 { "the one SLO".to_owned() } else { format!("{total} SLOs") };
    let unknown = of(State::Unknown);
    let mut parts = vec![match burning.len() {
        0 if unknown > 0 && total == 1 => "Whether the one SLO is burning is not known".to_owned(),
        0 if unknown > 0 => format!("Whether any of {of_all} is burning is not known"),
        0 if total == 1 => "The one SLO is not burning".to_owned(),
        0 => format!("None of {of_all} is burning"),
        _ if total == 1 => "The one SLO is burning".to_owned(),
        1 => format!("1 of {of_all} is burning"),
        n => format!("{n} of {of_all} are burning"),
    }];
    if unknown > 0 && !burning.is_empty() {
        parts.push(format!("of {unknown} it is not known"));
    }
    if let Some(first) = burning.iter().find(|row| row.budget.is_some_and(|left| left <= 0.0)) {
        parts.push(format!("{} has spent its budget", first.name));
    } else if let Some((first, seconds)) = burning.iter().find_map(|row| Some((row, row.lasts?))) {
        parts.push(format!("{} runs out in {}", first.name, words::span(seconds)));
    }
    for (state, one, many) in [
        (State::Broken, "is broken", "are broken"),
        (State::Spent, "has spent its budget", "have spent their budget"),
        (State::NoData, "has no data", "have no data"),
    ] {
        match of(state) {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {many}")),
        }
    }
    format!("{}.", parts.join("; "))
}

#[cfg(test)]
#[path = "overview_tests.rs"]
mod tests;
