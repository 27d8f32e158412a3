//! Error ratios over the windows of the tiers: bad events / all events, whatever the traffic's shape.

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

/// A number proportional to the events in the window.
///
/// A rate over five minutes lags by half of that. So a sum of them over a window of one hour would
/// see a step two and a half minutes late; instead the newest values stand for that half as well:
/// the window is shortened by it, and what is newest is counted again.
pub(super) fn total(cx: &Context<'_>, metric: Metric, id: &str, window: Span) -> String {
    let fine = cx.fine.filter(|_| window < HOUR);
    let (name, range) = match fine {
        Some(fine) => (metric.fine(), fine),
        None => (metric.base(), BASE_RANGE),
    };
    let series = format!("{name}{{{id}}}");
    if window <= range {
        return series;
    }
    let half = Span { millis: range.millis / 2 };
    let rest = Span { millis: window.millis - half.millis };
    let masked = cx.keep.as_ref().map(|keep| format!("({series} * ({keep}))"));
    let over = |range: Span, step: Option<Span>| match (&masked, step) {
        (Some(masked), step) => format!("sum_over_time({masked}[{range}:{}])", step.unwrap_or(cx.interval)),
        (None, Some(step)) => format!("sum_over_time({series}[{range}:{step}])"),
        (None, None) => format!("sum_over_time({series}[{range}])"),
    };
    let step = match window {
        w if w <= HOUR => return format!("{} + {}", over(rest, None), over(half, None)),
        // A step divides the base range, or some events would count more often than others; and it is a
        // multiple of the intervals that rules are evaluated at, in any installation.
        w if w <= SIX_HOURS => Span::seconds(60),
        w if w <= FOUR_DAYS => BASE_RANGE,
        // So long that the lag is nothing.
        _ if masked.is_none() => return format!("sum_over_time({}{{{id}}}[{window}:{ROLLUP}])", metric.rollup()),
        _ => BASE_RANGE,
    };
    let sum = over(rest, Some(step));
    let newest = masked.as_ref().unwrap_or(&series);
    // With no newest sample, in a scrape gap, the window still speaks of what it has.
    let weight = rust_decimal::Decimal::from(half.millis) / rust_decimal::Decimal::from(step.millis);
    let weight = weight.normalize();
    // The sum is by far the dearer part, so it is written once where that can be.
    if cx.single() {
        return format!("sum({sum}) + ({weight} * sum({newest}) or vector(0))");
    }
    format!("{sum} + {weight} * {newest} or {sum}")
}
