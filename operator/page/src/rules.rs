//! "Does an alert fire?": AlertRules as a list of their alerts, and one of them over a time.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use plimsoll_api::{
    AlertRule,
    alert_rule::{Alert, AlertRuleSpec},
    conditions as c,
    slo::Severity,
};
use plimsoll_slo::{alerts::sensitivity, names};

use crate::{
    Kept,
    ask::{ALERTS, ALERTS_FOR_STATE, Fold, Grid, History, Line, Question, Reading},
    overview::{self, State},
    slo::{Band, Mark, MarkKind, RANGES, Range, fired, lasting, newest, sentence},
};

/// The label of an alert's name.
const NAME: &str = "alertname";
/// How far the list looks back for when an alert fired last, in seconds, and how closely.
const LOOKED: (i64, i64) = (7 * 86_400, 300);
/// Moments of a chart.
const MOMENTS: i64 = 240;
/// Moments at which it is looked whether an alert fires: closer, since one may be short.
const LOOKS: i64 = 2000;

/// What is asked about all AlertRules, in the order in which [`Rules::new`] reads the answers.
pub fn questions() -> Vec<Question> {
    vec![alerts("firing"), alerts("pending"), began()]
}

fn alerts(state: &str) -> Question {
    Question::of_alert_rules(ALERTS, Fold::Highest(&[NAME])).with("alertstate", state)
}

/// What is asked for when each alert fired last.
pub fn past() -> Question {
    alerts("firing")
}

/// What is asked for since when each alert fires, over the same grid.
pub fn began() -> Question {
    Question::of_alert_rules(ALERTS_FOR_STATE, Fold::Lowest(&[NAME]))
}

/// The grid of [`past`].
pub fn past_grid(now: i64) -> Grid {
    Grid::until(now, LOOKED.0, LOOKED.0 / LOOKED.1)
}

/// One alert on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// The AlertRule's namespace.
    pub namespace: String,
    /// The AlertRule's name.
    pub rule: String,
    /// Its own name; empty of an AlertRule that cannot be read.
    pub alert: String,
    /// Who answers for it, or empty.
    pub owner: String,
    /// How it is.
    pub state: State,
    /// Its condition holds, though not long enough to fire.
    pub pending: bool,
    /// Since when it fires or its condition holds, in seconds since 1970.
    pub since: Option<i64>,
    /// When it was last seen to fire, in seconds since 1970.
    pub last: Option<i64>,
    /// Whom it wakes.
    pub severity: Severity,
    /// `PromQL`, `LogQL` or `anomaly`.
    pub kind: &'static str,
    /// What it is about, as it is written.
    pub expression: String,
    /// How long the condition must hold; empty by default.
    pub hold: String,
    /// What is wrong, in a sentence.
    pub reason: Option<String>,
}

/// The whole list.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The answer, in a sentence.
    pub headline: String,
    /// What else is to be known: that Prometheus is away.
    pub trouble: Option<String>,
    /// Every alert of every AlertRule, worst first.
    pub rows: Vec<AlertRow>,
    /// False as long as not all objects are known.
    pub complete: bool,
}

impl Rules {
    /// From what is stored and what was answered to [`questions`] and [`past`].
    pub fn new(rules: &[Kept<AlertRule>], complete: bool, reading: &Reading, past: &History, grid: Grid) -> Self {
        let known = Known::of(reading, &past.lines, &grid);
        let mut rows: Vec<AlertRow> = rules.iter().flat_map(|rule| known.rows(rule)).collect();
        let place = |row: &AlertRow| (row.state, !row.pending, row.namespace.clone(), row.rule.clone());
        // Stable: the alerts of one AlertRule stay in its order.
        rows.sort_by_key(place);
        Self { headline: headline(&rows, complete), trouble: overview::trouble(reading), rows, complete }
    }
}

/// Answers by AlertRule and alert.
struct Known<'a> {
    answered: bool,
    firing: BTreeMap<Of<'a>, f64>,
    pending: BTreeMap<Of<'a>, f64>,
    since: BTreeMap<Of<'a>, f64>,
    last: BTreeMap<Of<'a>, i64>,
}

/// An AlertRule's id and an alert's name.
type Of<'a> = (&'a str, &'a str);

impl<'a> Known<'a> {
    fn of(reading: &'a Reading, past: &'a [Line], grid: &Grid) -> Self {
        let numbers = |question| {
            let samples = reading.of(question).iter();
            samples.map(|sample| ((sample.label(names::ALERT_RULE), sample.label(NAME)), sample.value)).collect()
        };
        let last = |line: &'a Line| {
            let place = line.values.iter().rposition(Option::is_some)?;
            let at = grid.from + grid.step * i64::try_from(place).ok()?;
            Some(((line.label(names::ALERT_RULE), line.label(NAME)), at))
        };
        Self {
            answered: reading.at.is_some(),
            firing: numbers(0),
            pending: numbers(1),
            since: numbers(2),
            last: past.iter().filter_map(last).collect(),
        }
    }

    fn rows(&self, rule: &Kept<AlertRule>) -> Vec<AlertRow> {
        let Ok(object) = &rule.object else {
            let alert = Alert::default();
            return vec![self.row(rule, None, &alert)];
        };
        object.spec.rules.iter().map(|alert| self.row(rule, Some(&object.spec), alert)).collect()
    }

    fn row(&self, rule: &Kept<AlertRule>, spec: Option<&AlertRuleSpec>, alert: &Alert) -> AlertRow {
        let id = rule.id();
        let key = (id.as_str(), alert.alert.as_str());
        let severity = alert.severity.unwrap_or(Severity::Ticket);
        let reason = broken(rule);
        let state = match (self.firing.contains_key(&key), &reason, severity) {
            (true, _, Severity::Page) => State::Page,
            (true, _, Severity::Ticket) => State::Ticket,
            (false, Some(_), _) => State::Broken,
            // Alerts of Loki are not in Prometheus.
            (false, None, _) if !self.answered || alert.logql.is_some() => State::Unknown,
            (false, None, _) => State::Quiet,
        };
        let active = self.since.get(&key).filter(|since| since.is_finite());
        let (kind, expression) = written(alert);
        AlertRow {
            namespace: rule.namespace.clone(),
            rule: rule.name.clone(),
            alert: alert.alert.clone(),
            owner: spec.and_then(|spec| spec.owner.clone()).unwrap_or_default(),
            state,
            pending: !state.is_burning() && self.pending.contains_key(&key),
            // Times of alerts are far below where that could fail.
            since: active.map(|since| *since as i64),
            last: self.last.get(&key).copied(),
            severity,
            kind,
            expression: expression.to_owned(),
            hold: alert.r#for.clone().unwrap_or_default(),
            reason,
        }
    }
}

/// The language of an alert, and what it says in it.
fn written(alert: &Alert) -> (&'static str, &str) {
    match (&alert.expr, &alert.logql, &alert.anomaly) {
        (Some(expr), ..) => ("PromQL", expr),
        (None, Some(logql), _) => ("LogQL", logql),
        (None, None, Some(anomaly)) => ("anomaly", &anomaly.query),
        (None, None, None) => ("PromQL", ""),
    }
}

fn conditions(rule: &Kept<AlertRule>) -> &[Condition] {
    let status = rule.object.as_ref().ok().and_then(|object| object.status.as_ref());
    status.map_or(&[], |status| &status.conditions)
}

/// Why an AlertRule does not work.
fn broken(rule: &Kept<AlertRule>) -> Option<String> {
    if let Err(why) = &rule.object {
        return Some(why.clone());
    }
    let ready = conditions(rule).iter().find(|condition| condition.type_ == c::READY);
    ready.filter(|ready| ready.status == "False").map(|ready| ready.message.clone())
}

/// The answer to the view's question.
fn headline(rows: &[AlertRow], complete: bool) -> String {
    if rows.is_empty() {
        return if complete { "There is no AlertRule yet." } else { "Still reading what there is." }.to_owned();
    }
    let of = |wanted: State| rows.iter().filter(|row| row.state == wanted).count();
    let (total, firing) = (rows.len(), of(State::Page) + of(State::Ticket));
    let mut parts = vec![match (firing, total) {
        (0, _) if of(State::Unknown) == total => "Whether an alert fires is not known".to_owned(),
        (0, 1) => "The one alert is quiet".to_owned(),
        (0, _) => format!("None of {total} alerts fires"),
        (_, 1) => "The one alert fires".to_owned(),
        (1, _) => format!("1 of {total} alerts fires"),
        (n, _) => format!("{n} of {total} alerts fire"),
    }];
    if let Some(page) = rows.iter().find(|row| row.state == State::Page) {
        parts.push(format!("{} pages", page.alert));
    }
    let pending = rows.iter().filter(|row| row.pending).count();
    parts.extend((pending > 0).then(|| format!("{pending} pending")));
    for (state, what) in [(State::Broken, "broken"), (State::Unknown, "not known")] {
        match of(state) {
            0 => {}
            // It has been said.
            n if n == total && state == State::Unknown => {}
            1 => parts.push(format!("1 is {what}")),
            n => parts.push(format!("{n} are {what}")),
        }
    }
    format!("{}.", parts.join("; "))
}

/// What is asked for one AlertRule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The time of the charts.
    pub grid: Grid,
    /// The time in which it is looked whether alerts fire.
    pub looks: Grid,
    /// Asked over [`Plan::grid`], in the order in which [`View::new`] reads the answers.
    pub over: Vec<Question>,
    range: Range,
}

impl Plan {
    /// Of a range, at a time in seconds since 1970.
    pub fn new(range: Range, now: i64) -> Self {
        let seconds = range.seconds.unwrap_or(LOOKED.0);
        let over = vec![
            Question::of_alert_rules(names::ANOMALY_SCORE, Fold::Highest(&[names::ALERT])).peaks(),
            Question::of_alert_rules(names::ANOMALY_EXPECTED, Fold::Each),
            Question::of_alert_rules(names::ANOMALY_LOWER, Fold::Each),
            Question::of_alert_rules(names::ANOMALY_UPPER, Fold::Each),
            Question::of_alert_rules(names::ANOMALY_VALUE, Fold::Each),
        ];
        Self { grid: Grid::until(now, seconds, MOMENTS), looks: Grid::until(now, seconds, LOOKS), over, range }
    }
}

/// What there is to choose from; the first is the default. An AlertRule has no period.
pub fn ranges() -> impl Iterator<Item = Range> {
    RANGES.into_iter().filter(|range| range.seconds.is_some())
}

/// The range of this key, or the default.
pub fn range(key: &str) -> Range {
    ranges().find(|range| range.key == key).or_else(|| ranges().next()).unwrap_or(RANGES[0])
}

/// How unusual what an alert watches was.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The alert.
    pub alert: String,
    /// The highest score, from 0 to 1.
    pub score: Vec<Option<f64>>,
    /// The score from which on an alert may begin.
    pub alarms: f64,
    /// What the most unusual series were expected to be.
    pub bands: Vec<Band>,
}

/// One AlertRule.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of its worst alert.
    pub state: State,
    /// The answer, in a sentence.
    pub headline: String,
    /// What else is to be known: that Prometheus is away.
    pub trouble: Option<String>,
    /// What it says of all its alerts, as names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Its alerts, in its own order.
    pub alerts: Vec<AlertRow>,
    /// What is shown.
    pub range: Range,
    /// The time of the charts.
    pub grid: Grid,
    /// When its alerts fired: the newest times.
    pub marks: Vec<Mark>,
    /// How many more there were before.
    pub older: usize,
    /// What the scorer says, of each alert that is an anomaly.
    pub watched: Vec<Watched>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// As it is applied.
    pub yaml: String,
    /// Its rules; empty of one that is not valid.
    pub rules: String,
}

/// What was answered about one AlertRule.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// To [`questions`].
    pub now: Reading,
    /// To [`past`] on [`Plan::looks`].
    pub fired: History,
    /// To [`began`] on [`Plan::looks`].
    pub began: History,
    /// To [`Plan::over`].
    pub over: Vec<History>,
}

impl View {
    /// From what was answered, with its YAML and its rules.
    pub fn new(rule: &Kept<AlertRule>, plan: &Plan, answers: &Answers, [yaml, rules]: [String; 2]) -> Self {
        let known = Known::of(&answers.now, &answers.fired.lines, &plan.looks);
        let alerts = known.rows(rule);
        let state = alerts.iter().map(|row| row.state).min().unwrap_or(State::Quiet);
        let said = match broken(rule) {
            Some(why) if !state.is_burning() => format!("Broken: {}", sentence(&why)),
            Some(_) | None => headline(&alerts, true),
        };
        let object = rule.object.as_ref().ok();
        let (marks, older) = marks(&alerts, (&answers.fired.lines, &answers.began.lines), &plan.looks);
        Self {
            namespace: rule.namespace.clone(),
            name: rule.name.clone(),
            state,
            headline: said,
            trouble: overview::trouble(&answers.now),
            facts: object.map(|object| facts(&object.spec)).unwrap_or_default(),
            marks,
            older,
            watched: object.map(|object| watched(&object.spec, &answers.over)).unwrap_or_default(),
            alerts,
            range: plan.range,
            grid: plan.grid,
            conditions: conditions(rule).to_vec(),
            yaml,
            rules,
        }
    }
}

fn facts(spec: &AlertRuleSpec) -> Vec<(&'static str, String)> {
    let matchers: Vec<String> = spec.matchers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let receiver = spec.route.as_ref().map(|route| route.receiver.clone());
    let all = [
        ("Owner", spec.owner.clone()),
        ("Matchers", Some(matchers.join(", "))),
        ("Evaluated every", spec.interval.clone()),
        ("Receiver", receiver),
        ("Backend", spec.backend.clone()),
    ];
    let known = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.filter(|(_, value)| !value.is_empty()).collect()
}

/// Times in which alerts fired.
fn marks(alerts: &[AlertRow], (lines, began): (&[Line], &[Line]), grid: &Grid) -> (Vec<Mark>, usize) {
    let mut all = Vec::new();
    for line in lines {
        let Some(row) = alerts.iter().find(|row| row.alert == line.label(NAME)) else { continue };
        let kind = if row.severity == Severity::Page { MarkKind::Page } else { MarkKind::Ticket };
        all.extend(fired(line, grid, began).into_iter().map(|(from, to)| Mark {
            kind,
            from,
            to: Some(to),
            label: lasting(&format!("alert {}", row.alert), from, to),
            href: None,
        }));
    }
    newest(all)
}

fn watched(spec: &AlertRuleSpec, over: &[History]) -> Vec<Watched> {
    let lines = |question: usize| over.get(question).map_or(&[][..], |history| history.lines.as_slice());
    let own = |line: &Line| -> BTreeMap<String, String> {
        let foreign = ["__name__", "job", "instance", NAME, names::ALERT_RULE, names::ALERT];
        let own = line.labels.iter().filter(|(label, _)| !foreign.contains(&label.as_str()));
        own.map(|(label, value)| (label.clone(), value.clone())).collect()
    };
    let of = |alert: &Alert| {
        let mine = |line: &&Line| line.label(names::ALERT) == alert.alert;
        let same = |question: usize, labels: &BTreeMap<String, String>| {
            let line = lines(question).iter().filter(mine).find(|line| own(line) == *labels);
            line.map(|line| line.values.clone()).unwrap_or_default()
        };
        let bands = lines(1).iter().filter(mine).take(BANDS).map(|line| {
            let labels = own(line);
            let which: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            let of =
                if which.is_empty() { alert.alert.clone() } else { format!("{} of {}", alert.alert, which.join(", ")) };
            let [lower, upper, seen] = [2, 3, 4].map(|question| same(question, &labels));
            Band { of, seen, expected: line.values.clone(), lower, upper }
        });
        Watched {
            alert: alert.alert.clone(),
            score: lines(0).iter().find(mine).map(|line| line.values.clone()).unwrap_or_default(),
            alarms: sensitivity(alert.anomaly.as_ref().and_then(|anomaly| anomaly.sensitivity).unwrap_or_default())
                .least(),
            bands: bands.collect(),
        }
    };
    spec.rules.iter().filter(|alert| alert.anomaly.is_some()).map(of).collect()
}

/// Bands that are drawn of one alert: the scorer exports those of the most unusual series.
const BANDS: usize = 3;

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
