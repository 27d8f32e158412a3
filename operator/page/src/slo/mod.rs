//! "What happened and what will happen?": one SLO over a time.

mod groups;
mod marks;
mod said;
mod tiers;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use plimsoll_api::{RunbookExecution, Slo};
use plimsoll_slo::{
    Model,
    alerts::sensitivity,
    model::{Period, Span},
    names,
};
use rust_decimal::prelude::ToPrimitive as _;

pub(crate) use self::marks::{fired, lasting, newest};
pub use self::{
    groups::GroupRow,
    marks::{Mark, MarkKind},
    tiers::{TierRow, TierState},
};
use crate::{
    Kept, Spell,
    ask::{ALERTS, ALERTS_FOR_STATE, Fold, Grid, History, Line, Question},
    overview::{self, State},
};

/// Moments of a chart: as many as a screen can tell apart, and few enough for one answer.
const MOMENTS: i64 = 240;
/// Moments at which alerts are looked for; Prometheus answers up to 11,000.
const ALERT_MOMENTS: i64 = 10_000;

/// How much time the charts show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// In the address.
    pub key: &'static str,
    /// As it is read.
    pub word: &'static str,
    /// Seconds; none for the SLO's own period.
    pub(crate) seconds: Option<i64>,
}

/// What there is to choose from; the first is the default.
pub const RANGES: [Range; 5] = [
    Range { key: "period", word: "period", seconds: None },
    Range { key: "7d", word: "7 days", seconds: Some(7 * 86_400) },
    Range { key: "1d", word: "1 day", seconds: Some(86_400) },
    Range { key: "6h", word: "6 hours", seconds: Some(6 * 3600) },
    Range { key: "1h", word: "1 hour", seconds: Some(3600) },
];

impl Range {
    /// The one of this key, or the default.
    pub fn of(key: &str) -> Self {
        RANGES.into_iter().find(|range| range.key == key).unwrap_or(RANGES[0])
    }
}

/// The length of a model's period in seconds.
pub fn period_seconds(model: &Model) -> i64 {
    match &model.period {
        Period::Rolling(span) => i64::try_from(span.as_seconds()).unwrap_or(i64::MAX),
        // A calendar unit has at most 366 days.
        Period::Calendar { unit, .. } => overview::calendar(*unit) as i64,
    }
}

/// The place of the alerts in [`Plan::over`].
const FIRED: usize = 2;
/// The place of since when they do.
const BEGAN: usize = 7;

/// Places in [`Plan::now`]. What decides whether somebody must get up is asked first.
const FIRING: usize = 0;
const LEFT: usize = 1;
const ERRORS: usize = 2;
const RATIOS: usize = 3;
const SINCE: usize = 4;
const CLOSED: usize = 5;
const OPEN: usize = 6;
const COVERAGE: usize = 7;
/// Of a calendar period.
const START: usize = 8;

/// What is asked for one SLO: series over the grid, and values of now.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The time.
    pub grid: Grid,
    /// The same time in as many moments as one answer may have: an alert may be short.
    pub alerts: Grid,
    /// Asked over the grid, in the order in which [`View::new`] reads the answers; the alerts over theirs.
    pub over: Vec<Question>,
    /// Asked at [`Plan::moment`], in the same way.
    pub now: Vec<Question>,
    range: Range,
}

impl Plan {
    /// For a valid SLO at a time, in seconds since 1970.
    pub fn new(model: &Model, range: Range, now: i64) -> Self {
        let seconds = range.seconds.unwrap_or_else(|| period_seconds(model));
        let alert = &["alertname", names::TIER, names::SEVERITY];
        let over = vec![
            Question::new(names::BUDGET_REMAINING, Fold::Lowest(&[])),
            Question::new(names::ERROR_RATIO, Fold::Highest(&[names::WINDOW])).peaks(),
            Question::new(ALERTS, Fold::Highest(alert)).with("alertstate", "firing"),
            Question::new(names::ANOMALY_SCORE, Fold::Highest(&[])).peaks(),
            Question::new(names::ANOMALY_EXPECTED, Fold::Each),
            Question::new(names::ANOMALY_LOWER, Fold::Each),
            Question::new(names::ANOMALY_UPPER, Fold::Each),
            Question::new(ALERTS_FOR_STATE, Fold::Lowest(alert)),
        ];
        let mut now_questions = vec![
            Question::new(ALERTS, Fold::Highest(alert)).with("alertstate", "firing"),
            Question::new(names::BUDGET_REMAINING, Fold::Each),
            Question::new(names::ERROR_RATIO, Fold::Each).with(names::WINDOW, "1h"),
            Question::new(names::ERROR_RATIO, Fold::Highest(&[names::WINDOW])),
            Question::new(ALERTS_FOR_STATE, Fold::Lowest(alert)),
            Question::new(names::TOTAL_CLOSED, Fold::Each),
            Question::new(names::TOTAL_OPEN, Fold::Each),
            Question::new(names::COVERAGE, Fold::Each),
        ];
        if let Period::Calendar { .. } = model.period {
            now_questions.push(Question::new(names::PERIOD_START, Fold::Each));
        }
        let [grid, alerts] = [MOMENTS, ALERT_MOMENTS].map(|moments| Grid::until(now, seconds, moments));
        Self { grid, alerts, over, now: now_questions, range }
    }

    /// A shorter range that has all that was answered, where there is one: a month of which only the last hour is known shows
    /// nothing. Of a shorter range, an even shorter one may be found.
    pub fn shorter(&self, over: &[History]) -> Option<Range> {
        let lines = over.iter().take(FIRED).flat_map(|history| &history.lines);
        let first = lines.filter_map(|line| line.values.iter().position(Option::is_some)).min()?;
        // It may have begun just after the moment before.
        let known = self.grid.step * i64::try_from(self.grid.count.saturating_sub(first)).ok()?;
        let all = self.grid.to() - self.grid.from;
        let holds = |range: &Range| range.seconds.is_some_and(|seconds| known <= seconds && seconds < all);
        RANGES.into_iter().rev().find(holds)
    }

    /// The grid over which [`Plan::over`] of this place is asked.
    pub fn grid_of(&self, question: usize) -> Grid {
        if matches!(question, FIRED | BEGAN) { self.alerts } else { self.grid }
    }

    /// The grid for the values of now.
    pub fn moment(now: i64) -> Grid {
        Grid { from: now - now.rem_euclid(15), step: 15, count: 1 }
    }
}

/// The series that the scorer watches, of the line whose band it exports.
pub fn watched(over: &[History]) -> Option<Question> {
    let line = over.get(4)?.lines.first()?;
    let name = if line.label("signal") == "total" { names::TOTAL } else { names::BAD };
    let foreign = [names::SLO_ID, "signal", "__name__", "job", "instance"];
    let own = line.labels.iter().filter(|(label, _)| !foreign.contains(&label.as_str()));
    Some(own.fold(Question::new(name, Fold::Each), |question, (label, value)| question.with(label.clone(), value)))
}

/// What was answered to a [`Plan`].
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// To [`Plan::over`].
    pub over: Vec<History>,
    /// To [`Plan::now`].
    pub now: Vec<History>,
    /// To [`watched`].
    pub watched: Option<History>,
}

impl Answers {
    fn over(&self, question: usize) -> &[Line] {
        self.over.get(question).map_or(&[], |history| history.lines.as_slice())
    }

    fn now(&self, question: usize) -> impl Iterator<Item = (&Line, f64)> {
        let lines = self.now.get(question).map_or(&[][..], |history| history.lines.as_slice());
        lines.iter().filter_map(|line| Some((line, line.values.last().copied().flatten()?)))
    }

    /// Whether there ever was an answer to a question of now. That nothing came of it is another thing.
    fn is_answered(&self, question: usize) -> bool {
        self.now.get(question).is_some_and(|history| history.at.is_some())
    }

    fn trouble(&self) -> Option<String> {
        let all = || self.now.iter().chain(&self.over).chain(&self.watched);
        let troubled = || all().filter(|history| history.trouble.is_some());
        let cause = troubled().find_map(|history| history.trouble.as_deref())?;
        let known = all().any(|history| history.at.is_some());
        Some(overview::told(troubled().map(|history| history.at).min().flatten(), known, cause))
    }
}

/// The charts, all on one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Charts {
    /// The time that is known.
    pub grid: Grid,
    /// How much of the future is shown, in seconds.
    pub ahead: i64,
    /// Share of the budget that is left.
    pub budget: Vec<Option<f64>>,
    /// Where it goes.
    pub projection: Option<Projection>,
    /// The window of the SLI.
    pub sli_window: String,
    /// Good events / all events over that window.
    pub sli: Vec<Option<f64>>,
    /// The objective as a ratio.
    pub objective: f64,
    /// Burn rates of each tier.
    pub tiers: Vec<TierChart>,
    /// How unusual it is, from 0 to 1; empty where nobody looks.
    pub score: Vec<Option<f64>>,
    /// The score from which on an alert may begin.
    pub alarms: f64,
    /// What the scorer has seen and expected, of the most unusual series.
    pub band: Option<Band>,
    /// What happened: the newest of it.
    pub marks: Vec<Mark>,
    /// How much more there was before.
    pub older: usize,
}

/// Where the budget goes at the rate of the last hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// What is left now.
    pub left: f64,
    /// What is left at the end of the time shown, or of a calendar period that ends before.
    pub then: f64,
    /// When that is, in seconds since 1970.
    pub at: i64,
    /// When nothing is left, in seconds since 1970.
    pub spent_at: Option<i64>,
}

/// Burn rates of one tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierChart {
    /// Its name.
    pub name: String,
    /// Windows, as they are written.
    pub windows: [String; 2],
    /// Burn rate over the long window.
    pub long: Vec<Option<f64>>,
    /// Burn rate over the short window.
    pub short: Vec<Option<f64>>,
    /// It fires above.
    pub threshold: f64,
}

/// A watched series and what it was expected to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Which series, in words.
    pub of: String,
    /// Events each second.
    pub seen: Vec<Option<f64>>,
    /// Expected.
    pub expected: Vec<Option<f64>>,
    /// Where the band of 90 % begins.
    pub lower: Vec<Option<f64>>,
    /// Where it ends.
    pub upper: Vec<Option<f64>>,
}

/// The whole view.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// The answer, in a sentence.
    pub headline: String,
    /// What else is to be known: that Prometheus is away.
    pub trouble: Option<String>,
    /// What its users can do while the objective holds.
    pub description: Option<String>,
    /// What it promises, as names and values.
    pub facts: Vec<(&'static str, String)>,
    /// What the charts show.
    pub range: Range,
    /// The charts; none of an SLO that is not valid.
    pub charts: Option<Charts>,
    /// The alerts.
    pub tiers: Vec<TierRow>,
    /// The groups with least budget, and how many there are in all.
    pub groups: (Vec<GroupRow>, usize),
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Why it fires or is quiet, in the words of `plimsoll explain`.
    pub explanation: Option<String>,
    /// As it is applied.
    pub yaml: String,
    /// Its rules, as Prometheus loads them; empty of one that is not valid.
    pub rules: String,
}

/// Texts of an SLO that others write.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Why it fires or is quiet.
    pub explanation: Option<String>,
    /// As it is applied.
    pub yaml: String,
    /// Its rules.
    pub rules: String,
}

impl View {
    /// Of one that has no charts: it is not valid, or cannot be read.
    pub fn without_charts(slo: &Kept<Slo>, texts: Texts) -> Self {
        let reason = overview::broken(slo).unwrap_or_else(|| "it is not valid".to_owned());
        Self {
            namespace: slo.namespace.clone(),
            name: slo.name.clone(),
            state: State::Broken,
            headline: format!("Broken: {}", sentence(&reason)),
            trouble: None,
            description: slo.object.as_ref().ok().and_then(|object| object.spec.description.clone()),
            facts: Vec::new(),
            range: Range::of(""),
            charts: None,
            tiers: Vec::new(),
            groups: (Vec::new(), 0),
            conditions: overview::conditions(slo).to_vec(),
            explanation: texts.explanation,
            yaml: texts.yaml,
            rules: texts.rules,
        }
    }

    /// Of a valid SLO, from what was answered to its plan at a time, in seconds since 1970.
    pub fn new(
        slo: &Kept<Slo>,
        model: &Model,
        plan: &Plan,
        answers: &Answers,
        executions: &[Kept<RunbookExecution>],
        texts: Texts,
        now: i64,
    ) -> Self {
        let charts = charts(slo, model, plan, answers, executions, now);
        let tiers = tiers::rows(model, answers, now);
        let left = left_now(answers).or_else(|| last(&charts.budget));
        let burn = burn_now(model, answers);
        let state = state(slo, answers, &tiers, left);
        let spell = spell(model, answers, now);
        let spec = slo.object.as_ref().ok().map(|object| &object.spec);
        Self {
            namespace: slo.namespace.clone(),
            name: slo.name.clone(),
            state,
            headline: said::headline(
                slo,
                model,
                state,
                said::Numbers { left, burn, spell, answered: answers.is_answered(FIRING) && answers.is_answered(LEFT) },
            ),
            trouble: answers.trouble(),
            description: spec.and_then(|spec| spec.description.clone()),
            facts: said::facts(model, answers, left, spell),
            range: plan.range,
            tiers,
            groups: groups::groups(model, answers),
            conditions: overview::conditions(slo).to_vec(),
            explanation: texts.explanation,
            yaml: texts.yaml,
            rules: texts.rules,
            charts: Some(charts),
        }
    }
}

fn last(values: &[Option<f64>]) -> Option<f64> {
    values.iter().rev().find_map(|value| *value)
}

fn error_budget(model: &Model) -> f64 {
    model.objective.budget().to_f64().unwrap_or(f64::NAN)
}

fn left_now(answers: &Answers) -> Option<f64> {
    answers.now(LEFT).map(|(_, left)| left).reduce(f64::min)
}

fn burn_now(model: &Model, answers: &Answers) -> Option<f64> {
    Some(answers.now(ERRORS).map(|(_, ratio)| ratio).reduce(f64::max)? / error_budget(model))
}

/// The time of which the budget is.
fn spell(model: &Model, answers: &Answers, now: i64) -> Option<Spell> {
    let first = |question| answers.now(question).map(|(_, value)| value).next();
    let (period, coverage) = (period_seconds(model) as f64, first(COVERAGE)?);
    match model.period {
        Period::Rolling(_) => Spell::rolling(period, coverage),
        Period::Calendar { .. } => Spell::calendar(period, now as f64 - first(START)?, coverage),
    }
}

/// The error ratio over a window, of now.
fn ratio_now(answers: &Answers, window: &str) -> Option<f64> {
    answers.now(RATIOS).find(|(line, _)| line.label(names::WINDOW) == window).map(|(_, ratio)| ratio)
}

/// The error ratio over a window: the highest since the moment before, and at the end that of now.
fn ratios(answers: &Answers, window: &str) -> Vec<Option<f64>> {
    let line = answers.over(1).iter().find(|line| line.label(names::WINDOW) == window);
    let mut values = line.map(|line| line.values.clone()).unwrap_or_default();
    if let (Some(last), Some(now)) = (values.last_mut(), ratio_now(answers, window)) {
        *last = Some(now);
    }
    values
}

/// The shortest recorded window that leaves nothing out between two moments.
fn window(model: &Model, step: i64) -> Span {
    let mut all: Vec<Span> = model.tiers.iter().flat_map(|tier| [tier.short, tier.long]).collect();
    all.sort_unstable();
    let covers = |span: &&Span| i64::try_from(span.as_seconds()).unwrap_or(i64::MAX) >= step;
    all.iter().find(covers).or(all.last()).copied().unwrap_or(Span::seconds(3600))
}

fn charts(
    slo: &Kept<Slo>,
    model: &Model,
    plan: &Plan,
    answers: &Answers,
    executions: &[Kept<RunbookExecution>],
    now: i64,
) -> Charts {
    let grid = plan.grid;
    let ahead = (grid.to() - grid.from) / 8;
    let values = |line: Option<&Line>| line.map(|line| line.values.clone()).unwrap_or_default();
    let budget = values(answers.over(0).first());
    let error_budget = error_budget(model);
    let burns = |window: Span| -> Vec<Option<f64>> {
        let ratios = ratios(answers, &window.to_string());
        ratios.into_iter().map(|value| value.map(|value| value / error_budget)).collect()
    };
    let sli_window = window(model, grid.step);
    let sli = ratios(answers, &sli_window.to_string());
    let left = left_now(answers).or_else(|| last(&budget));
    let projection = left
        .zip(burn_now(model, answers))
        .zip(spell(model, answers, now))
        .map(|((left, burn), spell)| {
            let (then, seconds) = spell.after(left, burn, ahead as f64);
            // Within a period, so far below where that could fail.
            let spent_at = spell.lasts(left, burn).map(|seconds| now + seconds as i64);
            Projection { left, then, at: grid.to() + seconds as i64, spent_at }
        })
        // Of a number that is none, nothing follows.
        .filter(|projection: &Projection| projection.then.is_finite());
    let (marks, older) =
        marks::marks(slo, &plan.alerts, now + ahead, (answers.over(FIRED), answers.over(BEGAN)), executions);
    Charts {
        grid,
        ahead,
        projection,
        budget,
        sli_window: sli_window.to_string(),
        sli: sli.into_iter().map(|value| value.map(|ratio| 1.0 - ratio)).collect(),
        objective: model.objective.ratio().to_f64().unwrap_or(1.0),
        tiers: model
            .tiers
            .iter()
            .map(|tier| TierChart {
                name: tier.name.clone(),
                windows: [tier.long.to_string(), tier.short.to_string()],
                long: burns(tier.long),
                short: burns(tier.short),
                threshold: tier.burn_rate.to_f64().unwrap_or(f64::INFINITY),
            })
            .collect(),
        score: values(answers.over(3).first()),
        alarms: sensitivity(model.anomaly.unwrap_or_default()).least(),
        band: band(answers),
        marks,
        older,
    }
}

fn band(answers: &Answers) -> Option<Band> {
    let expected = answers.over(4).first()?;
    let same = |question: usize| {
        let line = answers.over(question).iter().find(|line| {
            let name = "__name__";
            let own = |line: &Line| -> BTreeMap<String, String> {
                line.labels.iter().filter(|(label, _)| *label != name).map(|(l, v)| (l.clone(), v.clone())).collect()
            };
            own(line) == own(expected)
        });
        line.map(|line| line.values.clone()).unwrap_or_default()
    };
    let seen = answers.watched.as_ref().and_then(|history| history.lines.first());
    let signal = if expected.label("signal") == "total" { "all events" } else { "bad events" };
    let foreign = [names::SLO_ID, "signal", "__name__", "job", "instance"];
    let group: Vec<String> = expected
        .labels
        .iter()
        .filter(|(label, _)| !foreign.contains(&label.as_str()))
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    let group = if group.is_empty() { String::new() } else { format!(" of {}", group.join(", ")) };
    Some(Band {
        of: format!("{signal} each second{group}"),
        seen: seen.map(|line| line.values.clone()).unwrap_or_default(),
        expected: expected.values.clone(),
        lower: same(5),
        upper: same(6),
    })
}

fn state(slo: &Kept<Slo>, answers: &Answers, tiers: &[TierRow], left: Option<f64>) -> State {
    let fires = |page: bool| {
        tiers.iter().any(|tier| {
            matches!(tier.state, TierState::Fires { .. })
                && (tier.severity == plimsoll_api::slo::Severity::Page) == page
        })
    };
    match (fires(true), fires(false), overview::broken(slo), left) {
        (true, ..) => State::Page,
        (false, true, ..) => State::Ticket,
        (false, false, Some(_), _) => State::Broken,
        // That nothing was answered is not that nothing fires.
        (false, false, None, _) if !answers.is_answered(FIRING) => State::Unknown,
        (false, false, None, None) if answers.is_answered(LEFT) && !overview::is_awaited(slo) => State::NoData,
        (false, false, None, None) => State::Unknown,
        (false, false, None, Some(left)) if left <= 0.0 => State::Spent,
        (false, false, None, _) => State::Quiet,
    }
}

/// With a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
