//! The base series: bad and total events per second, whatever the indicator's type.

use plimsoll_api::slo::NoData;
use rust_decimal::Decimal;

use super::{BASE_RANGE, Context, Dialect, FOUR_DAYS, clock, conditions, id_matcher, period, windows};
use crate::{
    model::{Counter, Selector, Sli, Span},
    names,
    promql::quote,
    rules::Rule,
};

/// Rules of the base series: over five minutes, and where a window is shorter, finer ones as well.
pub(super) fn rules(cx: &Context<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = slices(cx).into_iter().collect();
    if cx.model.no_data == NoData::Bad {
        rules.push(period::objective(cx));
    }
    rules.extend(pair(cx, BASE_RANGE, names::TOTAL, names::BAD));
    if let Some(fine) = cx.fine {
        rules.extend(pair(cx, fine, names::TOTAL_FINE, names::BAD_FINE));
    }
    rules
}

/// Each slice as it ends. It is recorded so that the base series can be a mean over five minutes like
/// any other, and no slice is lost where windows are read in steps.
fn slices(cx: &Context<'_>) -> Option<Rule> {
    let Sli::TimeSlices { good, slice } = &cx.model.sli else { return None };
    let good = good.fill(*slice);
    // A slice of which nothing is known is no bad one.
    let good = match cx.dialect {
        Dialect::Prometheus => conditions::known(&good),
        Dialect::VictoriaMetrics => good,
    };
    let good = cx.aggregate("min", &finite(&good));
    Some(cx.record(names::SLICE, format!("{good} < bool 1")))
}

/// Drops NaN and infinity, which is what a ratio without traffic yields.
fn finite(expr: &str) -> String {
    format!("(({expr}) >= 0) < Inf")
}

fn pair(cx: &Context<'_>, range: Span, total_name: &str, bad_name: &str) -> Vec<Rule> {
    // One NaN or infinity, once recorded, would blank every window that contains it.
    let raw = finite(&total_of(cx, range));
    let total = match cx.model.no_data {
        // When all of it is missing, the time is as busy as usual, and all of it is bad. A group that goes while
        // others stay has merely gone.
        NoData::Bad => format!("{raw} or ({} and on () {} unless on () {raw})", usual(cx, total_name), awake(cx)),
        NoData::Alert | NoData::Ignore => raw.clone(),
    };
    let recorded = match cx.dialect {
        // Recorded by the rule just before, so it is cheaper to read than to compute.
        Dialect::Prometheus => cx.sum(&cx.series(total_name)),
        Dialect::VictoriaMetrics => format!("({total})"),
    };
    let bad = finite(&bad_of(cx, range, &recorded));
    let bad = match cx.model.no_data {
        NoData::Alert | NoData::Ignore if cx.single() && cx.dialect == Dialect::Prometheus => {
            format!("({bad} or vector(0)) and on () {}", cx.series(total_name))
        }
        // Bad events of no group that has a total belong to nobody.
        NoData::Alert | NoData::Ignore => format!("({bad} or 0 * {recorded}) and {recorded}"),
        NoData::Bad => format!("({bad} or 0 * ({raw}) or {recorded} and on () {}) and {recorded}", awake(cx)),
    };
    let masked = |expr: String| match &cx.keep {
        Some(keep) => format!("({expr}) * ({keep})"),
        None => expr,
    };
    vec![cx.record(total_name, masked(total)), cx.record(bad_name, masked(bad))]
}

/// The events per second of the last day. Time that does not count is recorded as 0, which is not how busy it was: where
/// there is such, it is left out, and the day is so much longer that there is always some that counts.
fn usual(cx: &Context<'_>, total_name: &str) -> String {
    let series = cx.series(total_name);
    match (&cx.keep, remembers(cx)) {
        (Some(keep), (range, Some(step))) => {
            // What is found at a moment is up to five minutes old, and that time must count as well.
            let before = clock::keep(&cx.model.exclusions, &format!("({} - 300)", clock::NOW));
            cx.sum(&format!("avg_over_time(({series} and on () vector({keep} * {before}) > 0)[{range}:{step}])"))
        }
        (_, (range, _)) => cx.sum(&format!("avg_over_time({series}[{range}])")),
    }
}

/// How far back it is looked for how busy missing time is; and how often, where that is not every sample.
pub(crate) fn remembers(cx: &Context<'_>) -> (Span, Option<Span>) {
    const DAY: u64 = 86_400;
    if cx.keep.is_none() {
        return (Span::seconds(DAY), None);
    }
    // Prometheus has every sample in memory that it looks at, at each evaluation: there is an end to it.
    let longest = clock::longest_excluded(&cx.model.exclusions).min(Span::seconds(90 * DAY));
    let range = Span::seconds(DAY + longest.as_seconds());
    // An hour is no multiple of the longer one, so what comes every hour is not met each time or never.
    (range, Some(if range <= FOUR_DAYS { BASE_RANGE } else { Span::seconds(1500) }))
}

/// How many of the evaluations in the base range there must have been for a lack of data to be the indicator's own: all
/// but one. Where rules have not been evaluated nothing was scraped either, and a rate has no two samples yet.
pub(crate) fn awake_for(cx: &Context<'_>) -> u64 {
    (BASE_RANGE.as_seconds() / cx.interval.as_seconds()).saturating_sub(1)
}

/// A value while the rules have been evaluated for so long, told by the one series that needs no data.
fn awake(cx: &Context<'_>) -> String {
    format!("count_over_time({}[{BASE_RANGE}]) >= {}", cx.series(names::OBJECTIVE), awake_for(cx))
}

/// Total and bad from raw series alone. The slices themselves, where the base is made of slices.
pub(super) fn raw(cx: &Context<'_>, range: Span) -> (String, String) {
    if let Some(slices) = slices(cx) {
        return (format!("({}) >= bool 0", slices.expr), slices.expr);
    }
    let total = finite(&total_of(cx, range));
    let bad = finite(&bad_of(cx, range, &format!("({total})")));
    (total, bad)
}

fn rate(cx: &Context<'_>, counter: &Counter, range: Span) -> String {
    match counter {
        Counter::Series(selector) => cx.sum(&format!("rate({selector}[{range}])")),
        Counter::Rate(template) => cx.sum(&template.fill(range)),
    }
}

/// All events per second over `range`.
fn total_of(cx: &Context<'_>, range: Span) -> String {
    match &cx.model.sli {
        Sli::Events { total: Some(total), .. } => rate(cx, total, range),
        Sli::Events { good, bad, total: None } => {
            let part = |counter: &Option<Counter>| counter.as_ref().map(|c| rate(cx, c, range)).unwrap_or_default();
            super::plus(&part(good), &part(bad))
        }
        Sli::Latency { histogram, threshold, unit: _ } => {
            let Histogram { bucket: _, count, native } = Histogram::new(cx, histogram, *threshold, range);
            match native {
                Some(native) => format!("{count} or histogram_count({native})"),
                None => count,
            }
        }
        Sli::Up(selector) => {
            let count = cx.sum(&format!("count_over_time({selector}[{range}])"));
            format!("{count} / {}", range.as_seconds())
        }
        Sli::Ratio(errors) => format!("{} > bool 0", cx.aggregate("count", &finite(&errors.fill(range)))),
        Sli::TimeSlices { .. } => slices_over(cx, "count_over_time", range),
        Sli::Weighted(_) | Sli::WorstOf(_) => {
            let ids: Vec<String> =
                cx.model.parts().iter().map(|name| format!("{}/{name}", cx.model.id.namespace)).collect();
            // Names of objects hold no regular expression's character but the dot.
            let any = ids.join("|").replace('.', "\\\\.");
            format!("count({}{{{}=~\"{any}\"}}) > bool 0", names::TOTAL, names::SLO_ID)
        }
    }
}

/// Bad events per second over `range`; `total` is an expression of all of them.
fn bad_of(cx: &Context<'_>, range: Span, total: &str) -> String {
    match &cx.model.sli {
        Sli::Events { bad: Some(bad), .. } => rate(cx, bad, range),
        // No good series at all means that nothing was good.
        Sli::Events { good, bad: None, total: _ } => {
            let good = good.as_ref().map(|good| rate(cx, good, range)).unwrap_or_default();
            format!("clamp_min({total} - {good}, 0) or {total}")
        }
        Sli::Latency { histogram, threshold, unit: _ } => {
            let Histogram { bucket, count: _, native } = Histogram::new(cx, histogram, *threshold, range);
            let fast = cx.sum(&format!("rate({bucket}[{range}])"));
            let classic = format!("clamp_min({total} - {fast}, 0)");
            match native {
                Some(native) => format!(
                    "{classic} or (histogram_count({native}) * (1 - histogram_fraction(0, {threshold}, {native})) >= 0)"
                ),
                None => classic,
            }
        }
        Sli::Up(selector) => {
            let up = cx.sum(&format!("sum_over_time({selector}[{range}])"));
            format!("clamp_min({total} - {up} / {}, 0)", range.as_seconds())
        }
        Sli::Ratio(errors) => format!("clamp_max({}, 1)", cx.aggregate("avg", &finite(&errors.fill(range)))),
        Sli::TimeSlices { .. } => slices_over(cx, "sum_over_time", range),
        Sli::Weighted(_) | Sli::WorstOf(_) => windows::combine(cx, |part| {
            let id = id_matcher(part);
            format!("sum({}{{{id}}}) / (sum({}{{{id}}}) > 0)", names::BAD, names::TOTAL)
        }),
    }
}

fn slices_over(cx: &Context<'_>, function: &str, range: Span) -> String {
    let expected = slices_in(cx, range);
    cx.sum(&format!("{function}({}[{range}])", cx.series(names::SLICE))) + &format!(" / {expected}")
}

/// How many slices are recorded in `range`.
pub(crate) fn slices_in(cx: &Context<'_>, range: Span) -> u64 {
    range.as_seconds() / cx.interval.as_seconds()
}

/// Classic and native histograms at once: the series that are not there select nothing.
struct Histogram {
    /// The bucket that ends at the threshold.
    bucket: Selector,
    /// Rate of the classic count, of those series that have the bucket: of what has none at the threshold, such as the
    /// old Pods while buckets change, nothing can be said, and it must look neither good nor bad.
    count: String,
    /// Rate of the native histogram, where there are such.
    native: Option<String>,
}

impl Histogram {
    fn new(cx: &Context<'_>, histogram: &Selector, threshold: Decimal, range: Span) -> Self {
        let with = |suffix: &str, more: &str| {
            let matchers: Vec<&str> =
                [histogram.matchers.as_str(), more].into_iter().filter(|m| !m.is_empty()).collect();
            Selector { metric: format!("{}{suffix}", histogram.metric), matchers: matchers.join(",") }
        };
        let bucket = with("_bucket", &le(threshold));
        let count = format!("rate({}[{range}]) and ignoring (le) rate({bucket}[{range}])", with("_count", ""));
        Self {
            bucket,
            count: cx.sum(&count),
            native: match cx.dialect {
                Dialect::Prometheus => Some(cx.sum(&format!("rate({histogram}[{range}])"))),
                Dialect::VictoriaMetrics => None,
            },
        }
    }
}

/// A matcher for the bucket that ends at `threshold`, in the spellings that clients use.
fn le(threshold: Decimal) -> String {
    let plain = threshold.normalize().to_string();
    if threshold >= Decimal::from(1_000_000) {
        let digits = plain.trim_end_matches('0');
        let (first, rest) = digits.split_at(1.min(digits.len()));
        let mantissa = if rest.is_empty() { first.to_owned() } else { format!("{first}.{rest}") };
        let scientific = format!("{mantissa}e\\+{:02}", plain.len() - 1).replace('.', "\\.");
        return format!("le=~{}", quote(&format!("{plain}|{plain}\\.0|{scientific}")));
    }
    if threshold.is_integer() {
        // Prometheus 3 writes 1.0 where older versions and some clients write 1.
        return format!("le=~{}", quote(&format!("{plain}|{plain}\\.0")));
    }
    let tenth_of_milli = Decimal::new(1, 4);
    if threshold < tenth_of_milli {
        let digits = plain.trim_start_matches("0.").trim_start_matches('0');
        let exponent = plain.len() - 2 - digits.len() + 1;
        let (first, rest) = digits.split_at(1.min(digits.len()));
        let mantissa = if rest.is_empty() { first.to_owned() } else { format!("{first}.{rest}") };
        let scientific = format!("{mantissa}e-{exponent:02}");
        return format!("le=~{}", quote(&format!("{plain}|{scientific}").replace('.', "\\.")));
    }
    format!("le={}", quote(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_found_by_every_spelling() {
        for (value, matcher) in [
            ("0.3", r#"le="0.3""#),
            ("1", r#"le=~"1|1\\.0""#),
            ("10", r#"le=~"10|10\\.0""#),
            ("1800000", r#"le=~"1800000|1800000\\.0|1\\.8e\\+06""#),
            ("0.00005", r#"le=~"0\\.00005|5e-05""#),
            ("0.000025", r#"le=~"0\\.000025|2\\.5e-05""#),
        ] {
            assert_eq!(le(value.parse().expect(value)), matcher);
        }
    }
}
