//! Excluded time: until when nothing counts, and what the alerts will see of it.

use jiff::Timestamp;
use plimsoll_slo::{Model, evaluate, model::Span, names};

use super::gather::single;
use crate::prometheus::{Prometheus, PrometheusError};

/// Until when nothing that happens counts, where nothing does now.
pub(super) fn until(model: &Model, now: Timestamp) -> Option<String> {
    let end = evaluate::excluded_until(&model.exclusions, now.as_millisecond())?;
    Some(Timestamp::from_millisecond(end).ok()?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Puts the burn over a window as it will be recorded next in the place of what is recorded: an exclusion of the past
/// changes at once what is recorded only minutes later. Nothing where no event counts.
pub(super) async fn recount(
    prometheus: &Prometheus,
    model: &Model,
    window: Span,
    burn: &mut Option<f64>,
) -> Result<(), PrometheusError> {
    let rules = plimsoll_slo::render(model);
    let window = window.to_string();
    let records = |rule: &&plimsoll_slo::Rule| {
        rule.record.as_deref() == Some(names::ERROR_RATIO) && rule.labels.get(names::WINDOW) == Some(&window)
    };
    let Some(rule) = rules.groups.iter().flat_map(|group| &group.rules).find(records) else { return Ok(()) };
    match single(prometheus, &format!("max({}) / {}", rule.expr, model.objective.budget())).await {
        Ok(now) => *burn = now,
        // What is recorded is told all the same.
        Err(PrometheusError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
