//! What the page asks of whoever has the recorded series, and what it is answered.
//!
//! The questions are data, so that Prometheus and an engine in memory answer the same ones.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use plimsoll_slo::{names, promql};

/// Alerts as Prometheus records them: 1 while one is `pending` or `firing`, which the label `alertstate` says.
pub const ALERTS: &str = "ALERTS";
/// Since when an alert is active, in seconds since 1970.
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// What becomes of several series of one SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fold {
    /// All are wanted, with all their labels.
    Each,
    /// The highest of those that are equal in these labels, and in the object's id.
    Highest(&'static [&'static str]),
    /// The lowest of them.
    Lowest(&'static [&'static str]),
}

/// Some series of one name, of SLOs or of AlertRules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The name, one of [`names`], or [`ALERTS`].
    pub name: &'static str,
    /// The label by which its series name their object: [`names::SLO_ID`] or [`names::ALERT_RULE`].
    pub object: &'static str,
    /// Labels that a series must have, exactly so.
    pub matchers: Vec<(Cow<'static, str>, String)>,
    /// What becomes of several.
    pub fold: Fold,
    /// Over a time, each moment stands for the highest value since the moment before it.
    pub peaks: bool,
}

impl Question {
    /// All series of a name that SLOs have.
    pub const fn new(name: &'static str, fold: Fold) -> Self {
        Self { name, object: names::SLO_ID, matchers: Vec::new(), fold, peaks: false }
    }

    /// All series of a name that AlertRules have.
    pub const fn of_alert_rules(name: &'static str, fold: Fold) -> Self {
        Self { name, object: names::ALERT_RULE, matchers: Vec::new(), fold, peaks: false }
    }

    /// With one more label.
    #[must_use]
    pub fn with(mut self, label: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.matchers.push((label.into(), value.into()));
        self
    }

    /// With nothing left out between two moments: what was high for a short time is seen on a long one, too.
    #[must_use]
    pub fn peaks(mut self) -> Self {
        self.peaks = true;
        self
    }

    /// As PromQL at one moment, of one object or of all.
    pub fn promql(&self, id: Option<&str>) -> String {
        self.promql_over(id, 0)
    }

    /// As PromQL for moments that are so many seconds apart.
    pub fn promql_over(&self, id: Option<&str>, step: i64) -> String {
        let id = match id {
            Some(id) => format!("{}={}", self.object, promql::quote(id)),
            None => format!("{}!=\"\"", self.object),
        };
        let others = self.matchers.iter().map(|(label, value)| format!("{label}={}", promql::quote(value)));
        let matchers: Vec<String> = std::iter::once(id).chain(others).collect();
        let mut selector = format!("{}{{{}}}", self.name, matchers.join(","));
        if self.peaks && step > FINE {
            selector = format!("max_over_time({selector}[{step}s])");
        }
        let by = |function: &str, labels: &[&str]| {
            let labels: Vec<&str> = std::iter::once(self.object).chain(labels.iter().copied()).collect();
            format!("{function} by ({}) ({selector})", labels.join(", "))
        };
        match self.fold {
            Fold::Each => selector,
            Fold::Highest(labels) => by("max", labels),
            Fold::Lowest(labels) => by("min", labels),
        }
    }

    /// Whether a series of the name, with these labels, is asked for: for whoever has no PromQL.
    pub fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |label: &str, value: &str| labels.get(label).map_or("", String::as_str) == value;
        labels.contains_key(self.object) && self.matchers.iter().all(|(label, value)| has(label, value))
    }

    /// Folds the values of one moment as asked for: for whoever has no PromQL.
    pub fn folded(&self, samples: impl IntoIterator<Item = Sample>) -> Vec<Sample> {
        let (labels, highest) = match self.fold {
            Fold::Each => return samples.into_iter().collect(),
            Fold::Highest(labels) => (labels, true),
            Fold::Lowest(labels) => (labels, false),
        };
        let mut found: BTreeMap<BTreeMap<String, String>, f64> = BTreeMap::new();
        for Sample { labels: mut all, value } in samples {
            all.retain(|label, _| label == self.object || labels.contains(&label.as_str()));
            let worst = found.entry(all).or_insert(value);
            let keep = if highest { value > *worst } else { value < *worst };
            if keep || worst.is_nan() {
                *worst = value;
            }
        }
        found.into_iter().map(|(labels, value)| Sample { labels, value }).collect()
    }
}

/// One value of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The labels that are asked for.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label, `""` when it is missing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The newest values, one list for each question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// When they were read; none as long as nothing was ever answered.
    pub at: Option<Timestamp>,
    /// One list for each question; empty lists while nothing was ever answered.
    pub samples: Vec<Vec<Sample>>,
    /// Why they are not newer, in a sentence: then these are the last known ones.
    pub trouble: Option<String>,
}

impl Reading {
    /// What was answered to the question at this place of the list.
    pub fn of(&self, question: usize) -> &[Sample] {
        self.samples.get(question).map_or(&[], Vec::as_slice)
    }
}

/// A time with equal steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grid {
    /// First moment, in seconds since 1970.
    pub from: i64,
    /// Seconds between two moments; at least 1.
    pub step: i64,
    /// Number of moments.
    pub count: usize,
}

impl Grid {
    /// About `wanted` moments that end now, with a step that a clock knows. The last one is never far from now, however long
    /// the step: it is read as how things are.
    pub fn until(now: i64, seconds: i64, wanted: i64) -> Self {
        let ideal = seconds / wanted.max(1);
        let step = STEPS.into_iter().find(|step| *step >= ideal).unwrap_or(86_400);
        let to = now - now.rem_euclid(step.min(NEWEST));
        let count = usize::try_from(seconds / step).unwrap_or(0) + 1;
        Self { from: to - (seconds / step) * step, step, count }
    }

    /// The last moment.
    pub fn to(&self) -> i64 {
        self.from + self.step * (i64::try_from(self.count).unwrap_or(1) - 1)
    }

    /// The place of the moment that is nearest; none outside.
    pub fn place(&self, time: i64) -> Option<usize> {
        let step = self.step.max(1);
        let place = usize::try_from((time - self.from + step / 2).div_euclid(step)).ok()?;
        (place < self.count).then_some(place)
    }
}

/// Seconds between samples that are recorded most often: with moments no further apart nothing is left out.
pub const FINE: i64 = 30;
/// The last moment of a grid is at most so many seconds old.
const NEWEST: i64 = 15;
/// Steps of grids, in seconds.
const STEPS: [i64; 15] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];

/// One series on a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// One value for each moment of the grid; none where there is no sample.
    pub values: Vec<Option<f64>>,
}

impl Line {
    /// A line from samples: seconds since 1970 and value.
    pub fn on(grid: &Grid, labels: BTreeMap<String, String>, samples: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut values = vec![None; grid.count];
        for (time, value) in samples {
            // A time is far below where that could fail.
            let place = grid.place(time as i64);
            if let Some(slot) = place.and_then(|place| values.get_mut(place)).filter(|_| value.is_finite()) {
                *slot = Some(value);
            }
        }
        Self { labels, values }
    }

    /// A label, `""` when it is missing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Series over a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The series; none while nothing was ever answered.
    pub lines: Vec<Line>,
    /// When they were read; none as long as nothing was ever answered.
    pub at: Option<Timestamp>,
    /// Why they are not newer, in a sentence: then these are the last known ones.
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_question_as_promql_is_valid_whatever_it_is_about() {
        let burn = Question::new(names::ERROR_RATIO, Fold::Highest(&[names::WINDOW])).with(names::WINDOW, "1h");
        assert_eq!(burn.promql(None), "max by (slo_id, window) (slo:error_ratio:window{slo_id!=\"\",window=\"1h\"})");
        let hostile = Question::new(ALERTS, Fold::Each).promql(Some("a\"b\\/c{}"));
        assert_eq!(hostile, "ALERTS{slo_id=\"a\\\"b\\\\/c{}\"}");
        assert_eq!(burn.promql_over(Some("shop/a"), 3600), burn.promql(Some("shop/a")));
        let peaks = burn.clone().peaks();
        assert_eq!(peaks.promql_over(Some("shop/a"), 30), burn.promql(Some("shop/a")), "nothing is between");
        let long = peaks.promql_over(Some("shop/a"), 3600);
        assert!(long.contains("(max_over_time(slo:error_ratio:window{"), "{long}");
        for text in [burn.promql(Some("shop/a")), long, hostile] {
            assert!(promql::parse(&text, "page").is_ok(), "{text}");
        }
    }

    #[test]
    fn folding_in_memory_is_what_promql_does() {
        let sample = |route: &str, window: &str, value| Sample {
            labels: labels(&[("slo_id", "shop/a"), ("route", route), ("window", window)]),
            value,
        };
        let all = || [sample("/a", "1h", 2.0), sample("/b", "1h", 3.0), sample("/a", "5m", 9.0)];
        let question = Question::new(names::ERROR_RATIO, Fold::Highest(&[names::WINDOW])).with(names::WINDOW, "1h");
        let taken: Vec<Sample> = all().into_iter().filter(|sample| question.takes(&sample.labels)).collect();
        assert_eq!(
            question.folded(taken),
            [Sample { labels: labels(&[("slo_id", "shop/a"), ("window", "1h")]), value: 3.0 }]
        );
        let lowest = Question::new(names::BUDGET_REMAINING, Fold::Lowest(&[])).folded(all());
        assert_eq!(lowest, [Sample { labels: labels(&[("slo_id", "shop/a")]), value: 2.0 }]);
        assert_eq!(Question::new(names::BAD, Fold::Each).folded(all()).len(), 3);
        assert!(!question.takes(&labels(&[("window", "1h")])), "a series of no SLO");
    }

    #[test]
    fn a_question_about_alert_rules_is_about_them_alone() {
        let fires = Question::of_alert_rules(ALERTS, Fold::Highest(&["alertname"])).with("alertstate", "firing");
        let text = fires.promql(Some("shop/pods"));
        assert_eq!(text, "max by (alertrule, alertname) (ALERTS{alertrule=\"shop/pods\",alertstate=\"firing\"})");
        assert!(promql::parse(&text, "page").is_ok());
        let own = labels(&[("alertrule", "shop/pods"), ("alertname", "A"), ("alertstate", "firing"), ("pod", "x")]);
        let folded = fires.folded([Sample { labels: own.clone(), value: 1.0 }]);
        assert_eq!(folded[0].labels, labels(&[("alertrule", "shop/pods"), ("alertname", "A")]));
        assert!(fires.takes(&own) && !fires.takes(&labels(&[("slo_id", "shop/a"), ("alertstate", "firing")])));
    }

    #[test]
    fn a_grid_ends_now_however_long_its_step() {
        let grid = Grid::until(1_000_000_123, 30 * 86_400, 240);
        assert_eq!((grid.step, grid.count), (10_800, 241));
        assert!(grid.to() <= 1_000_000_123 && grid.to() > 1_000_000_123 - NEWEST);
        assert_eq!(grid.place(grid.from), Some(0));
        assert_eq!(grid.place(grid.to()), Some(240));
        assert_eq!((grid.place(grid.from - grid.step), grid.place(grid.to() + grid.step)), (None, None));
        let line = Line::on(&grid, BTreeMap::new(), [(grid.from as f64, 1.0), (grid.to() as f64, f64::NAN)]);
        assert_eq!((line.values.first().copied(), line.values.last().copied()), (Some(Some(1.0)), Some(None)));
    }
}
