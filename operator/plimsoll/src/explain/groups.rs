//! Which group of an SLO with `groupBy` burns: the worst one, and how many others.

use plimsoll_slo::{Model, model, names, promql};

use super::{
    facts::{Facts, Tier},
    gather::{count, single},
};
use crate::prometheus::{Prometheus, PrometheusError, Sample};

/// The labels of `groupBy`, as PromQL.
fn by(model: &Model) -> String {
    model.group_by.iter().map(|label| promql::label_name(label)).collect::<Vec<_>>().join(", ")
}

/// What names a group, for people and as matchers: `region="eu", route="/pay"`.
fn named(model: &Model, sample: &Sample) -> String {
    let label = |name: &String| promql::equals(name, sample.label(name));
    model.group_by.iter().map(label).collect::<Vec<_>>().join(", ")
}

/// The budget that is left, where there are groups that of the worst one.
pub(super) async fn budget(
    prometheus: &Prometheus,
    model: &Model,
    id: &str,
    facts: &mut Facts,
) -> Result<(), PrometheusError> {
    let left = format!("{}{{{id}}}", names::BUDGET_REMAINING);
    if model.group_by.is_empty() {
        facts.budget = single(prometheus, &format!("min({left})")).await?;
        return Ok(());
    }
    let found = prometheus.query(&format!("bottomk(1, min by ({}) ({left}))", by(model))).await?;
    let worst = found.first().filter(|sample| sample.value().is_finite());
    facts.budget = worst.map(Sample::value);
    facts.budget_of = worst.map(|sample| named(model, sample)).unwrap_or_default();
    Ok(())
}

/// Names the worst group of a tier that fires or burns, with its numbers: the highest burns over the two windows
/// need not be of the same one.
pub(super) async fn worst(
    prometheus: &Prometheus,
    model: &Model,
    id: &str,
    windows: &model::Tier,
    tier: &mut Tier,
) -> Result<(), PrometheusError> {
    if model.group_by.is_empty() || !(tier.firing || tier.is_over()) {
        return Ok(());
    }
    match find(prometheus, model, id, windows, tier).await {
        // What is known of all groups is told all the same.
        Err(PrometheusError::Refused { .. }) => Ok(()),
        found => found,
    }
}

async fn find(
    prometheus: &Prometheus,
    model: &Model,
    id: &str,
    windows: &model::Tier,
    tier: &mut Tier,
) -> Result<(), PrometheusError> {
    let (by, budget, threshold) = (by(model), model.objective.budget(), &tier.threshold);
    let ratio = |window: &str| format!("{}{{{id},{}={}", names::ERROR_RATIO, names::WINDOW, promql::quote(window));
    let burn = |window: &str| format!("max by ({by}) ({}}}) / {budget}", ratio(window));
    let (long, short) = (burn(&tier.long), burn(&tier.short));
    let over = format!("({long} > {threshold}) and on ({by}) ({short} > {threshold})");
    let alerts = format!(
        "group by ({by}) (ALERTS{{alertname=\"{}\",alertstate=\"firing\",{id},{}={}}})",
        names::ALERT_BURN,
        names::TIER,
        promql::quote(&tier.name)
    );
    // Each with what counts the groups that are as bad; the last resort is only for the numbers.
    let candidates = if tier.firing {
        let of_alerts = |what: &str| format!("({what}) and on ({by}) {alerts}");
        vec![(of_alerts(&over), Some(&alerts)), (of_alerts(&long), Some(&alerts)), (alerts.clone(), Some(&alerts))]
    } else {
        let (events, _) = plimsoll_slo::render::bad_events(model, windows.long);
        // As the alert takes counts for whole ones.
        let floor = tier.minimum as f64 - 0.001;
        let enough = format!("({over}) and on ({by}) (({events}) >= {floor})");
        let mut all = vec![(over.clone(), Some(&over)), (format!("({long}) and on ({by}) ({short})"), None)];
        if tier.minimum > 0 {
            all.insert(0, (enough, Some(&over)));
        }
        all
    };
    for (candidate, counted) in candidates {
        let found = prometheus.query(&format!("topk(1, {candidate})")).await?;
        let Some(sample) = found.first() else { continue };
        let group = named(model, sample);
        // Where time is excluded, what is recorded was replaced by what counts.
        if model.exclusions.is_empty() {
            let of_group = |window: &str| format!("max({}, {group}}}) / {budget}", ratio(window));
            let (long, short) = (of_group(&tier.long), of_group(&tier.short));
            tier.burn_long = single(prometheus, &long).await?;
            tier.burn_short = single(prometheus, &short).await?;
        }
        if let Some(counted) = counted {
            tier.others = count(prometheus, &format!("count({counted})")).await?.saturating_sub(1);
            tier.group = group;
        }
        return Ok(());
    }
    Ok(())
}

/// The bad events in a window, of the group that is named.
pub(super) fn bad_events(model: &Model, id: &str, events: &str, group: &str) -> String {
    format!("max(({events}) and on ({}) {}{{{id}, {group}}})", by(model), names::ERROR_RATIO)
}

/// ` for region="eu" and 2 other groups`; nothing where there are no groups.
pub(super) fn of(tier: &Tier) -> String {
    match (tier.group.as_str(), tier.others) {
        ("", _) => String::new(),
        (group, 0) => format!(" for {group}"),
        (group, 1) => format!(" for {group} and 1 other group"),
        (group, others) => format!(" for {group} and {others} other groups"),
    }
}

/// Below this share of the period a budget says little.
const COVERED: f64 = 0.9;

/// About how much of the period is known, where that is not most of it: `4m`.
pub(super) async fn known(prometheus: &Prometheus, model: &Model, id: &str) -> Result<Option<String>, PrometheusError> {
    let covered = single(prometheus, &format!("min({}{{{id}}})", names::COVERAGE)).await?;
    let Some(covered) = covered.filter(|covered| *covered < COVERED) else { return Ok(None) };
    let period = match &model.period {
        model::Period::Rolling(span) => Some(span.as_seconds() as f64),
        // Of a calendar period what has passed of it.
        model::Period::Calendar { .. } => {
            single(prometheus, &format!("time() - max({}{{{id}}})", names::PERIOD_START)).await?
        }
    };
    Ok(period.map(|seconds| about(seconds * covered)))
}

/// Roughly: `4m`, `3h`, `12d`.
fn about(seconds: f64) -> String {
    let (minutes, hours, days) = (seconds / 60.0, seconds / 3600.0, seconds / 86_400.0);
    if minutes < 120.0 {
        format!("{:.0}m", minutes.max(1.0))
    } else if hours < 48.0 {
        format!("{hours:.0}h")
    } else {
        format!("{days:.0}d")
    }
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn a_time_is_told_roughly() {
        for (seconds, text) in [(20.0, "1m"), (250.0, "4m"), (10_000.0, "3h"), (1_000_000.0, "12d")] {
            assert_eq!(about(seconds), text);
        }
    }
}
