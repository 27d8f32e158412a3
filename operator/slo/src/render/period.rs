//! The SLO's own period: error ratio, budget, coverage, and the descriptive series.

use plimsoll_api::slo::NoData;

use super::{
    Context, FOUR_DAYS, HOUR, PRESENCE, PRESENCE_STEP, ROLLUP, ROLLUP_STEP, clock, id_matcher, plus,
    windows::{self, Metric, combine},
};
use crate::{
    model::{Period, Span},
    names,
    rules::Rule,
};

/// The last full half hour, as a vector. `@ end()` holds it still inside a subquery.
const LAST_ROLLUP: &str = "floor(last_over_time(vector(time())[2m:1m] @ end()) / 1800) * 1800";

/// Half-hourly sums, evaluated often enough that one is never missed, read every half hour.
pub(super) fn rollups(cx: &Context<'_>) -> Vec<Rule> {
    let sum = |metric: Metric| format!("sum_over_time({}[{ROLLUP}:{ROLLUP_STEP}])", cx.series(metric.base()));
    let expected = PRESENCE.millis / PRESENCE_STEP.millis;
    vec![
        cx.record(names::TOTAL_ROLLUP, sum(Metric::Total)),
        cx.record(names::BAD_ROLLUP, sum(Metric::Bad)),
        cx.record(
            names::PRESENT_ROLLUP,
            format!("count_over_time(count({})[{PRESENCE}:{PRESENCE_STEP}]) / {expected}", cx.series(names::TOTAL)),
        ),
    ]
}

/// Name of the period in the label `window`.
pub(crate) fn window(cx: &Context<'_>) -> String {
    match &cx.model.period {
        Period::Rolling(span) => span.to_string(),
        Period::Calendar { unit, .. } => clock::unit_name(*unit).to_owned(),
    }
}

/// The rules of the period, in the order in which they build on each other.
pub(super) fn rules(cx: &Context<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let Period::Calendar { unit, zone, corrections } = &cx.model.period {
        rules.push(cx.record(names::PERIOD_START, clock::unit_start(*unit, zone, corrections)));
    }
    let record_sums = records_sums(cx);
    if record_sums {
        for metric in [Metric::Total, Metric::Bad] {
            rules.push(cx.record(metric.closed(), rolled(cx, metric, &cx.id)));
            rules.push(cx.record(metric.open(), newest(cx, metric, &cx.id)));
        }
    }
    let period = window(cx);
    rules.push(cx.record_window(names::ERROR_RATIO, &period, ratio(cx, record_sums)));
    let budget = cx.model.objective.budget();
    rules.push(cx.record(
        names::BUDGET_REMAINING,
        format!("1 - sum without (window) ({}) / {budget}", cx.windowed(names::ERROR_RATIO, &period)),
    ));
    // Where missing time is bad it is a base series, by which that is told from time that Prometheus was away.
    if cx.model.no_data != NoData::Bad {
        rules.push(objective(cx));
    }
    rules.push(cx.record(names::COVERAGE, coverage(cx)));
    rules.push(info(cx, &period));
    rules
}

/// The objective, which has a value whenever the rules are evaluated.
pub(super) fn objective(cx: &Context<'_>) -> Rule {
    cx.record(names::OBJECTIVE, format!("vector({})", cx.model.objective.ratio()))
}

/// Whether the sums of the period, closed and open, are series of their own.
pub(crate) fn records_sums(cx: &Context<'_>) -> bool {
    matches!(source(cx), Source::Rollups) && !cx.composite()
}

/// From where the period's sums are read.
pub(crate) enum Source {
    /// Short: like any other window.
    Window(Span),
    /// Exclusions reach into the past, so every base sample is looked at again.
    Samples,
    /// Half-hourly sums, and the base samples since the last of them.
    Rollups,
}

pub(crate) fn source(cx: &Context<'_>) -> Source {
    match cx.model.period {
        Period::Rolling(span) if span <= FOUR_DAYS => Source::Window(span),
        _ if cx.keep.is_some() => Source::Samples,
        _ => Source::Rollups,
    }
}

fn ratio(cx: &Context<'_>, recorded: bool) -> String {
    let of = |id: &str, aggregate: bool| {
        let sum = |metric: Metric| {
            let sum = match source(cx) {
                Source::Window(span) => windows::total(cx, metric, id, span),
                Source::Samples => samples(cx, metric, id),
                Source::Rollups => {
                    if recorded {
                        plus(&format!("{}{{{id}}}", metric.closed()), &format!("{}{{{id}}}", metric.open()))
                    } else {
                        plus(&rolled(cx, metric, id), &newest(cx, metric, id))
                    }
                }
            };
            if aggregate { format!("sum({sum})") } else { format!("({sum})") }
        };
        format!("{} / ({} > 0)", sum(Metric::Bad), sum(Metric::Total))
    };
    if cx.composite() { combine(cx, |part| of(&id_matcher(part), true)) } else { of(&cx.id, false) }
}

/// Reads `inner` over the period every `step`.
fn over(cx: &Context<'_>, function: &str, inner: &str, step: Span) -> String {
    match &cx.model.period {
        Period::Rolling(span) => format!("{function}({inner}[{span}:{step}])"),
        Period::Calendar { unit, .. } => {
            let start = format!("{} @ end()", cx.series(names::PERIOD_START));
            format!(
                "{function}(({inner} and on () (vector(time()) > on () {start}))[{}:{step}])",
                clock::longest(*unit)
            )
        }
    }
}

fn rolled(cx: &Context<'_>, metric: Metric, id: &str) -> String {
    cx.regrouped(over(cx, "sum_over_time", &format!("{}{{{id}}}", metric.rollup()), ROLLUP))
}

fn samples(cx: &Context<'_>, metric: Metric, id: &str) -> String {
    let series = format!("{}{{{id}}}", metric.base());
    let inner = match &cx.keep {
        Some(keep) => format!("({series} * ({keep}))"),
        None => series,
    };
    cx.regrouped(over(cx, "sum_over_time", &inner, super::BASE_RANGE))
}

/// The sum since the last roll-up.
fn newest(cx: &Context<'_>, metric: Metric, id: &str) -> String {
    cx.regrouped(format!(
        "sum_over_time(({}{{{id}}} and on () (vector(time()) > on () {LAST_ROLLUP}))[{ROLLUP}:{ROLLUP_STEP}])",
        metric.base()
    ))
}

/// How the share of the period that has samples is told.
pub(crate) enum Share {
    /// By looking at every step of the span; so many of them are expected.
    Looks(Span, Span, u64),
    /// By the roll-ups of presence; so many of them are expected.
    Rollups(u64),
    /// By those since the calendar period's start.
    Since,
}

pub(crate) fn share(cx: &Context<'_>) -> Share {
    match (&cx.model.period, source(cx)) {
        (Period::Rolling(_), Source::Window(span)) => {
            let step = if span <= HOUR { Span::seconds((span.as_seconds() / 10).clamp(1, 60)) } else { PRESENCE_STEP };
            Share::Looks(span, step, span.as_seconds() / step.as_seconds())
        }
        (Period::Rolling(span), _) => Share::Rollups(span.as_seconds() / PRESENCE.as_seconds()),
        (Period::Calendar { .. }, _) => Share::Since,
    }
}

/// Share of the period that has samples.
fn coverage(cx: &Context<'_>) -> String {
    let share = match share(cx) {
        Share::Looks(span, step, expected) => {
            format!("count_over_time(count({})[{span}:{step}]) / {expected}", cx.series(names::TOTAL))
        }
        Share::Rollups(expected) => {
            format!("{} / {expected}", over(cx, "sum_over_time", &cx.series(names::PRESENT_ROLLUP), PRESENCE))
        }
        Share::Since => {
            // Both ends at the even hours by which presence is told.
            let (step, start) = (PRESENCE.as_seconds(), cx.series(names::PERIOD_START));
            let since = format!("((time() - time() % {step} - ({start} - {start} % {step})) > 0)");
            format!(
                "{} * {} / {since}",
                over(cx, "sum_over_time", &cx.series(names::PRESENT_ROLLUP), PRESENCE),
                PRESENCE.as_seconds()
            )
        }
    };
    format!("clamp_max({share}, 1)")
}

pub(crate) fn info(cx: &Context<'_>, period: &str) -> Rule {
    let mut rule = cx.record(names::INFO, "vector(1)".to_owned());
    rule.labels.extend(cx.model.labels.clone());
    rule.labels.insert(names::SLO.to_owned(), cx.model.id.name.clone());
    rule.labels.insert(names::NAMESPACE.to_owned(), cx.model.id.namespace.clone());
    rule.labels.insert("objective".to_owned(), cx.model.objective.percent().to_string());
    rule.labels.insert("period".to_owned(), period.to_owned());
    rule
}
