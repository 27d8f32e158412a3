//! Whether the samples are what the indicator takes them for. It accuses only where nothing else explains what is
//! seen; a question that is refused is no answer.

use plimsoll_slo::{
    Model,
    model::{self, Counter, Sli, Span},
    promql,
};

use super::facts::Misfit;
use crate::{
    explain::gather::{count, single},
    limits::Excess,
    prometheus::{Prometheus, PrometheusError},
};

/// For so long series are looked at: enough for some falls, few enough samples for any server.
const LOOK: &str = "15m";
/// A counter that begins anew so often is hardly scraped between; it then begins near 0.
const FALLS: u64 = 5;
/// Ratios of two counters that are scraped at different moments may leave 0 to 1 by so much.
const SKEW: f64 = 0.02;

/// So far it is looked back.
const BACK: &str = "6h";
/// What was only a moment's difference of two scrapes is no percentage.
const CLEARLY: f64 = 2.0;

/// What is seen of them.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// What cannot be right.
    pub misfits: Vec<Misfit>,
    /// What may be.
    pub doubt: Option<Excess>,
}

/// Looks at the samples of an indicator.
pub(super) async fn examine(prometheus: &Prometheus, model: &Model) -> Fit {
    let mut fit = Fit::default();
    let mut gauges: Vec<Gauge> = Vec::new();
    for (role, selector) in counters(&model.sli) {
        // What can only be said of samples must not take the rest of the explanation with it.
        match counter(prometheus, role, &selector).await.unwrap_or(None) {
            Some(Seen::Gauge(gauge)) if !gauges.contains(&gauge) => gauges.push(gauge),
            Some(Seen::Called(doubt)) => {
                fit.doubt.get_or_insert(doubt);
            }
            Some(Seen::Gauge(_)) | None => {}
        }
    }
    fit.misfits = misfits(gauges);
    if let Some((expr, kind)) = fraction(&model.sli) {
        fit.misfits.extend(outside(prometheus, &expr, kind).await.unwrap_or(None));
    }
    fit
}

/// Each gauge with its own line, and all of them in the headline.
fn misfits(gauges: Vec<Gauge>) -> Vec<Misfit> {
    let mut names: Vec<String> = gauges.iter().map(|Gauge { role, name, .. }| format!("{name}, its {role}")).collect();
    names.dedup();
    let headline = match names.as_slice() {
        [one] => format!("takes a gauge for a counter: {one}."),
        many => format!("takes gauges for counters: {}.", many.join("; ")),
    };
    let misfit = |Gauge { role, selector, name, seen }| Misfit {
        role,
        selector,
        headline: headline.clone(),
        what: format!("{role}: {name} is a gauge: {seen}; the rate of a gauge means nothing"),
        remedy: REMEDY.to_owned(),
    };
    gauges.into_iter().map(misfit).collect()
}

/// The selectors of which a rate is taken, with their roles.
fn counters(sli: &Sli) -> Vec<(&'static str, model::Selector)> {
    let Sli::Events { good, bad, total } = sli else { return Vec::new() };
    let of = |role, counter: &Option<Counter>| match counter {
        Some(Counter::Series(selector)) => vec![(role, selector.clone())],
        Some(Counter::Rate(template)) => promql::parse(&template.0, "")
            .map(|parsed| parsed.rated().iter().map(|selector| (role, promql::split(selector))).collect())
            .unwrap_or_default(),
        None => Vec::new(),
    };
    [of("total", total), of("good", good), of("bad", bad)].concat()
}

enum Seen {
    Gauge(Gauge),
    Called(Excess),
}

/// A gauge of which a rate is taken.
#[derive(PartialEq)]
struct Gauge {
    /// The field that has it.
    role: &'static str,
    /// With its matchers.
    selector: String,
    /// Without, where it has a name.
    name: String,
    /// How it shows.
    seen: String,
}

/// Whether Prometheus itself writes this metric, of which there is no metadata: all of them are gauges.
pub(super) fn is_own(metric: &str) -> bool {
    metric == "up" || metric.starts_with("scrape_")
}

/// Whether a counter is a gauge.
async fn counter(
    prometheus: &Prometheus,
    role: &'static str,
    selector: &model::Selector,
) -> Result<Option<Seen>, PrometheusError> {
    let metric = selector.metric.as_str();
    let own = is_own(metric);
    let told = own
        || promql::is_metric(metric)
            && prometheus.metric_type(metric).await.unwrap_or(None).is_some_and(|kind| kind == "gauge");
    let range = format!("{selector}[{LOOK}]");
    let seen = if told {
        let falls = count(prometheus, &format!("max(resets({range}))")).await?;
        match falls {
            _ if own => "one that Prometheus itself writes".to_owned(),
            0 => return Ok(Some(Seen::Called(doubt(role, metric)))),
            1 => format!("its metadata says so, and it fell once in {LOOK}"),
            falls => format!("its metadata says so, and it fell {falls} times in {LOOK}"),
        }
    } else {
        // What begins anew begins at 0. A series that falls again and again and keeps more than half of its greatest
        // value, or is negative, is no counter, whatever happens to the process that has it.
        let falls = format!("max(resets({range}) >= {FALLS} and min_over_time({range}) > max_over_time({range}) / 2)");
        let (falls, least) = (count(prometheus, &falls).await?, single(prometheus, &format!("min({selector})")).await?);
        match (falls, least) {
            (_, Some(least)) if least < 0.0 => format!("it is {least} now, and no counter is negative"),
            (falls, _) if falls < FALLS => return Ok(None),
            (falls, _) => format!("it fell {falls} times in {LOOK} without beginning anew at 0"),
        }
    };
    let name = if metric.is_empty() { selector.to_string() } else { metric.to_owned() };
    Ok(Some(Seen::Gauge(Gauge { role, selector: selector.to_string(), name, seen })))
}

const REMEDY: &str = "count events with a counter, whose name mostly ends in _total or _count; of a gauge write sli.up when it is 0 or 1, and sli.timeSlices with a condition otherwise";

fn doubt(role: &str, metric: &str) -> Excess {
    Excess {
        headline: "one of its counters is a gauge to the metadata of Prometheus.",
        what: format!(
            "{role}: the metadata of Prometheus calls {metric} a gauge; it did not fall in {LOOK}, so it may be a counter all the same"
        ),
        remedy: format!("see that {metric} never falls but to 0; if it does, {REMEDY}"),
    }
}

/// What must be between 0 and 1, and the field that has it.
fn fraction(sli: &Sli) -> Option<(String, &'static str)> {
    match sli {
        Sli::Up(series) => Some((series.to_string(), "up.series")),
        Sli::Ratio(errors) => Some((errors.fill(Span::seconds(300)), "ratio.errors")),
        Sli::TimeSlices { good, slice } => Some((good.fill(*slice), "timeSlices.good")),
        Sli::Events { .. } | Sli::Latency { .. } | Sli::Weighted(_) | Sli::WorstOf(_) => None,
    }
}

/// Values that are no fractions, now or lately.
async fn outside(prometheus: &Prometheus, expr: &str, field: &'static str) -> Result<Option<Misfit>, PrometheusError> {
    // Without traffic a ratio may be infinite, which the rules leave out.
    let most = format!("max((({expr}) > {}) < Inf)", 1.0 + SKEW);
    if let Some(value) = single(prometheus, &most).await? {
        return Ok(Some(misfit(field, value, None)));
    }
    let least = format!("min((({expr}) < -{SKEW}) > -Inf)");
    if let Some(value) = single(prometheus, &least).await? {
        return Ok(Some(misfit(field, value, None)));
    }
    // A percentage is below 1 while all is well.
    let lately = format!("max(max_over_time(((({expr}) > {CLEARLY}) < Inf)[{BACK}:5m]))");
    let most = single(prometheus, &lately).await?;
    Ok(most.map(|value| misfit(field, value, Some(BACK))))
}

/// What its value is, or was within some time.
fn misfit(field: &str, value: f64, within: Option<&str>) -> Misfit {
    let percent = value > 1.0 && value <= 100.0;
    let remedy = match field {
        "ratio.errors" if percent => "if it is a percentage, divide spec.sli.ratio.errors by 100".to_owned(),
        "ratio.errors" => "write spec.sli.ratio.errors as bad events by all events, from 0 to 1".to_owned(),
        "up.series" => {
            "write the condition that is good as spec.sli.timeSlices.good, with bool: series > bool 0.9".to_owned()
        }
        _ => "compare with bool, which gives 0 or 1: expr < bool 0.2".to_owned(),
    };
    let value = rounded(value);
    let is = match within {
        Some(within) => format!("was {value} within the last {within}"),
        None => format!("is {value}"),
    };
    Misfit {
        role: "",
        selector: String::new(),
        headline: format!("has values that are not from 0 to 1: its {field} {is}."),
        what: format!("{field} {is}, and everything above 1 counts as 1"),
        remedy,
    }
}

/// To three digits behind the point, or one where it is larger.
fn rounded(value: f64) -> f64 {
    let digits = if value.abs() < 10.0 { 1000.0 } else { 10.0 };
    (value * digits).round() / digits
}
