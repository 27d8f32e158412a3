//! Error ratios over the windows of the tiers: bad events / all events, whatever the traffic's shape.

use rust_decimal::Decimal;

use super::{BASE_RANGE, Context, FOUR_DAYS, HOUR, ROLLUP, SIX_HOURS, id_matcher};
use crate::{
    model::{Sli, Span},
    names,
    rules::Rule,
};

/// The error ratio over one window.
pub(super) fn rule(cx: &Context<'_>, window: Span) -> Rule {
    cx.record_window(names::ERROR_RATIO, &window.to_string(), ratio(cx, window))
}

/// The burn rate over every window at once.
pub(super) fn burn_rate(cx: &Context<'_>) -> Rule {
    cx.record(names::BURN_RATE, format!("{} / {}", cx.series(names::ERROR_RATIO), cx.model.objective.budget()))
}

fn ratio(cx: &Context<'_>, window: Span) -> String {
    let of = |id: &str, aggregate: bool| {
        let sum = |metric: Metric| {
            let sum = total(cx, metric, id, window);
            if aggregate { format!("sum({sum})") } else { format!("({sum})") }
        };
        format!("{} / ({} > 0)", sum(Metric::Bad), sum(Metric::Total))
    };
    if cx.composite() { combine(cx, |part| of(&id_matcher(part), true)) } else { of(&cx.id, false) }
}

/// Joins what `ratio` says of each part of a composite: the weighted mean, or the worst. A part
/// without traffic counts as good, as long as one part has some.
pub(super) fn combine(cx: &Context<'_>, ratio: impl Fn(&str) -> String) -> String {
    let qualified = |name: &str| format!("{}/{name}", cx.model.id.namespace);
    match &cx.model.sli {
        Sli::Weighted(parts) => {
            let all: u64 = parts.iter().map(|(_, weight)| weight).sum();
            let terms: Vec<String> = parts
                .iter()
                .map(|(name, weight)| {
                    format!("label_replace({weight} * ({}), \"part\", \"{name}\", \"\", \"\")", ratio(&qualified(name)))
                })
                .collect();
            format!("sum({}) / {all}", terms.join(" or "))
        }
        Sli::WorstOf(parts) => {
            let terms: Vec<String> = parts
                .iter()
                .map(|name| format!("label_replace({}, \"part\", \"{name}\", \"\", \"\")", ratio(&qualified(name))))
                .collect();
            format!("max({})", terms.join(" or "))
        }
        // Only composites are combined.
        _ => String::new(),
    }
}

/// Which of the two base series.
#[derive(Clone, Copy)]
pub(super) enum Metric {
    Bad,
    Total,
}

impl Metric {
    pub(super) const fn base(self) -> &'static str {
        match self {
            Metric::Bad => names::BAD,
            Metric::Total => names::TOTAL,
        }
    }

    const fn fine(self) -> &'static str {
        match self {
            Metric::Bad => names::BAD_FINE,
            Metric::Total => names::TOTAL_FINE,
        }
    }

    pub(super) const fn closed(self) -> &'static str {
        match self {
            Metric::Bad => names::BAD_CLOSED,
            Metric::Total => names::TOTAL_CLOSED,
        }
    }

    pub(super) const fn open(self) -> &'static str {
        match self {
            Metric::Bad => names::BAD_OPEN,
            Metric::Total => names::TOTAL_OPEN,
        }
    }

    pub(super) const fn rollup(self) -> &'static str {
        match self {
            Metric::Bad => names::BAD_ROLLUP,
            Metric::Total => names::TOTAL_ROLLUP,
        }
    }
}

/// How the events of a window are added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// From the finer base series.
    pub(crate) fine: bool,
    /// How.
    pub(crate) way: Way,
}

/// The ways to read a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// The newest value of the base series is the window.
    Newest,
    /// Every sample of a span, and the newest one so many times more.
    Samples(Span, Decimal),
    /// The samples of a span at every step, and the newest one so many times.
    Steps(Span, Span, Decimal),
    /// The half-hourly sums of a span.
    Rollups(Span),
}

/// How a window is read.
///
/// A rate over five minutes lags by half of that. So a sum of them over a window of one hour would
/// see a step two and a half minutes late; instead the newest value stands for that half as well:
/// the window is shortened by it, and what is newest is counted so much more often. Where every sample is
/// read, each stands for the interval before it, so half an interval less is to be made good: of five
/// samples in the base range, two.
pub(crate) fn reading(cx: &Context<'_>, window: Span) -> Reading {
    let fine = cx.fine.filter(|_| cx.is_fine(window));
    let range = fine.unwrap_or(BASE_RANGE);
    let without = |lag: u64| Span { millis: window.millis.saturating_sub(lag) };
    let steps = |step: Span| corrected(window, range.millis / 2, step);
    let way = match window {
        w if w <= range => Way::Newest,
        w if w <= HOUR && cx.keep.is_none() => {
            let lag = range.millis.saturating_sub(cx.interval.millis) / 2;
            Way::Samples(without(lag), times(lag, cx.interval))
        }
        w if w <= HOUR && fine.is_some() => steps(cx.interval),
        // A step divides the base range, or some events would count more often than others; and it is a
        // multiple of the intervals that rules are evaluated at, in any installation.
        w if w <= SIX_HOURS => steps(Span::seconds(60)),
        w if w <= FOUR_DAYS => steps(BASE_RANGE),
        // So long that the lag is nothing.
        w if cx.keep.is_none() => Way::Rollups(w),
        _ => steps(BASE_RANGE),
    };
    Reading { fine: fine.is_some(), way }
}

/// A window read at every step, and made good for rates that lag by so many milliseconds.
pub(super) fn corrected(window: Span, lag: u64, step: Span) -> Way {
    Way::Steps(Span { millis: window.millis.saturating_sub(lag) }, step, times(lag, step))
}

/// How many steps a lag is.
fn times(lag: u64, step: Span) -> Decimal {
    (Decimal::from(lag) / Decimal::from(step.millis)).round_dp(4).normalize()
}

/// A number proportional to the events in the window.
pub(super) fn total(cx: &Context<'_>, metric: Metric, id: &str, window: Span) -> String {
    let Reading { fine, way } = reading(cx, window);
    let name = if fine { metric.fine() } else { metric.base() };
    let series = format!("{name}{{{id}}}");
    let newest = match &cx.keep {
        Some(keep) => format!("({series} * ({keep}))"),
        None => series.clone(),
    };
    let (sum, weight) = match way {
        Way::Newest => return series,
        Way::Samples(rest, weight) => (format!("sum_over_time({newest}[{rest}])"), weight),
        Way::Steps(rest, step, weight) => (format!("sum_over_time({newest}[{rest}:{step}])"), weight),
        Way::Rollups(window) => {
            return cx.regrouped(format!("sum_over_time({}{{{id}}}[{window}:{ROLLUP}])", metric.rollup()));
        }
    };
    // With no newest sample, in a scrape gap, the window still speaks of what it has.
    // The sum is by far the dearer part, so it is written once where that can be.
    if cx.single() {
        return format!("sum({sum}) + ({weight} * sum({newest}) or vector(0))");
    }
    let (sum, newest) = (cx.regrouped(sum), cx.regrouped(newest));
    format!("{sum} + {weight} * {newest} or {sum}")
}
