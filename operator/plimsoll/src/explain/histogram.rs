//! Whether a latency's histogram is one, and whether it has a bucket at the threshold.

use plimsoll_slo::model::Selector;

use super::{facts::Misfit, fit, gather::count, near};
use crate::prometheus::{Prometheus, PrometheusError};

/// What is known about a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// The threshold in the histogram's unit.
    pub threshold: f64,
    /// That unit: `s` or `ms`.
    pub unit: &'static str,
    /// Upper bounds, ascending, without +Inf.
    pub bounds: Vec<f64>,
    /// True where it has series of buckets, be it of the last one alone.
    pub classic: bool,
    /// True for a native one, which needs no bucket at the threshold.
    pub native: bool,
}

impl Buckets {
    /// What to do about a threshold that no bucket ends at.
    pub(super) fn none_at_threshold(&self) -> Option<String> {
        let Self { threshold, unit, bounds, classic, native } = self;
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
        if *native || !classic || bounds.iter().any(|bound| near(*bound, *threshold)) {
            return None;
        }
        let below = bounds.iter().rev().find(|bound| **bound < *threshold);
        let above = bounds.iter().find(|bound| **bound > *threshold);
        let neighbours: Vec<String> = below.into_iter().chain(above).map(|bound| format!("{bound} {unit}")).collect();
        let verb = match neighbours.len() {
            0 => return Some(format!("give it a bucket at {threshold} {unit}: it has none but that of everything")),
            1 => "is",
            _ => "are",
        };
        Some(format!(
            "set the threshold to a bucket's bound: the nearest to {threshold} {unit} {verb} {}",
            neighbours.join(" and ")
        ))
    }
}

/// Asks for its buckets, and for samples of a native one.
pub(super) async fn buckets(
    prometheus: &Prometheus,
    histogram: &Selector,
    threshold: &str,
    unit: &'static str,
) -> Result<Buckets, PrometheusError> {
    let buckets = Selector { metric: format!("{}_bucket", histogram.metric), ..histogram.clone() };
    let found = prometheus.query(&format!("group by (le) ({buckets})")).await?;
    let mut bounds: Vec<f64> = found
        .iter()
        .filter_map(|sample| sample.label("le").parse().ok())
        .filter(|bound: &f64| bound.is_finite())
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    // Of samples that are numbers the function yields nothing.
    let native = count(prometheus, &format!("count(histogram_count({histogram}))")).await? > 0;
    let threshold = threshold.parse().unwrap_or(f64::NAN);
    Ok(Buckets { threshold, unit, bounds, classic: !found.is_empty(), native })
}

/// What is said of a histogram that has series, and neither buckets nor native samples.
pub(super) async fn misfit(prometheus: &Prometheus, histogram: &Selector, selector: &str) -> Misfit {
    let metric = &histogram.metric;
    // What can only be a hint must not take the rest of the explanation with it.
    let kind = if fit::is_own(metric) { Some("gauge".to_owned()) } else { kind(prometheus, metric).await };
    let hint = near::of_histogram(prometheus, histogram).await;
    said(metric, kind.as_deref(), hint, selector)
}

/// The type of a metric by its metadata, which some targets write without the ending of a counter.
async fn kind(prometheus: &Prometheus, metric: &str) -> Option<String> {
    for name in [Some(metric), metric.strip_suffix("_total")].into_iter().flatten() {
        let kind = prometheus.metric_type(name).await.unwrap_or(None).filter(|kind| kind != "unknown");
        if kind.is_some() {
            return kind;
        }
    }
    None
}

fn said(metric: &str, kind: Option<&str>, hint: Option<String>, selector: &str) -> Misfit {
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    let name = "name a histogram in spec.sli.latency.histogram, without _bucket";
    let lacks = "there are no _bucket series and no native samples";
    let (headline, what, remedy) = match kind {
        Some("histogram" | "gaugehistogram") => (
            format!("has no data: its histogram {metric} has no buckets."),
            format!("{lacks} of {metric}, though the metadata of Prometheus calls it a histogram"),
            "see whether metric_relabel_configs drop its buckets".to_owned(),
        ),
        Some("summary") => (
            format!("takes a summary for a histogram: {metric}."),
            format!("{metric} is a summary, no histogram: {lacks}"),
            format!(
                "let the service expose a histogram: a summary does not tell how many requests were slower than the threshold{hint}"
            ),
        ),
        Some(kind) => (
            format!("takes a {kind} for a histogram: {metric}."),
            format!("{metric} is a {kind}, no histogram: {lacks}"),
            format!("{name}{hint}"),
        ),
        None => (
            format!("watches no histogram: {metric} is none."),
            format!("{metric} is no histogram: {lacks}"),
            format!("{name}{hint}"),
        ),
    };
    Misfit { role: "histogram", selector: selector.to_owned(), headline, what: format!("histogram: {what}"), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_buckets_are_told() {
        let of = |threshold, bounds: &[f64]| {
            Buckets { threshold, unit: "s", bounds: bounds.to_vec(), classic: true, native: false }.none_at_threshold()
        };
        let wants = "set the threshold to a bucket's bound: the nearest to 0.3 s";
        assert_eq!(of(0.3, &[0.1, 0.25, 0.5, 1.0]), Some(format!("{wants} are 0.25 s and 0.5 s")));
        assert_eq!(of(0.3, &[0.1]), Some(format!("{wants} is 0.1 s")));
        assert_eq!(of(0.3, &[]).as_deref(), Some("give it a bucket at 0.3 s: it has none but that of everything"));
        assert_eq!(of(0.3, &[0.1, 0.3]), None);
        let other = |classic, native| Buckets { threshold: 0.3, classic, native, ..Buckets::default() };
        assert_eq!(other(true, true).none_at_threshold(), None, "a native one needs none");
        assert_eq!(other(false, false).none_at_threshold(), None, "what is no histogram is told in other words");
    }

    #[test]
    fn what_is_no_histogram_is_called_what_it_is() {
        let of = |kind| said("queue", kind, Some("did you mean queue_seconds?".to_owned()), "s");
        for (kind, headline, next) in [
            (Some("gauge"), "takes a gauge for a histogram: queue.", "_bucket; did you mean queue_seconds?"),
            (Some("counter"), "takes a counter for a histogram: queue.", "_bucket; did you mean queue_seconds?"),
            (None, "watches no histogram: queue is none.", "_bucket; did you mean queue_seconds?"),
            (
                Some("summary"),
                "takes a summary for a histogram: queue.",
                "slower than the threshold; did you mean queue_seconds?",
            ),
            (
                Some("histogram"),
                "has no data: its histogram queue has no buckets.",
                "see whether metric_relabel_configs drop its buckets",
            ),
        ] {
            let Misfit { headline: found, remedy, .. } = of(kind);
            assert_eq!(found, headline);
            assert!(remedy.ends_with(next), "{remedy}");
        }
        assert_eq!(
            of(Some("gauge")).what,
            "histogram: queue is a gauge, no histogram: there are no _bucket series and no native samples"
        );
    }
}
