//! `spec.trigger`.

use plimsoll_api::{
    Problem,
    runbook::{AnomalyTrigger, Manual, SloTrigger, Trigger as Spec},
};
use plimsoll_slo::{duration, model::Span, promql, weekly, zone};
use rust_decimal::Decimal;

use crate::{matcher::Matcher, model::Trigger, schedule::Schedule, validate::decimal};

/// How late a schedule may start by default.
const STARTING_DEADLINE: Span = Span::seconds(600);

pub(super) fn trigger(spec: &Spec, problems: &mut Vec<Problem>) -> Option<Trigger> {
    let Spec { alert, slo, anomaly, query, schedule, manual, r#for, time_zone, starting_deadline } = spec;
    let given =
        [alert.is_some(), slo.is_some(), anomaly.is_some(), query.is_some(), schedule.is_some(), manual.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        problems.push(
            Problem::error("spec.trigger", "trigger has exactly one of alert, slo, anomaly, query, schedule, manual")
                .help(r#"write it like {alert: ['alertname="PodRestarting"']}"#),
        );
        return None;
    }
    let belongs = [
        ("for", r#for.is_some(), anomaly.is_some() || query.is_some(), "anomaly and query"),
        ("timeZone", time_zone.is_some(), schedule.is_some(), "schedule"),
        ("startingDeadline", starting_deadline.is_some(), schedule.is_some(), "schedule"),
    ];
    for (field, given, fits, of) in belongs {
        if given && !fits {
            problems.push(
                Problem::error(format!("spec.trigger.{field}"), format!("{field} belongs to {of}")).help("remove it"),
            );
        }
    }
    let lasting = span(r#for.as_ref(), "spec.trigger.for", problems);
    if let Some(matchers) = alert {
        return alert_matchers(matchers, problems).map(Trigger::Alert);
    }
    if let Some(SloTrigger { burning, names }) = slo {
        return Some(Trigger::Slo { burning: *burning, names: names.clone() });
    }
    if let Some(AnomalyTrigger { above, slo, alert_rule }) = anomaly {
        if slo.is_some() && alert_rule.is_some() {
            problems.push(
                Problem::error("spec.trigger.anomaly", "anomaly has one of slo and alertRule").help("remove one"),
            );
        }
        let Some(above) = decimal(above).filter(|above| !above.is_zero() && *above < Decimal::ONE) else {
            problems.push(
                Problem::error("spec.trigger.anomaly.above", "above is not a score between 0 and 1")
                    .label(above.clone())
                    .help("write it like \"0.9\""),
            );
            return None;
        };
        return Some(Trigger::Anomaly { above, slo: slo.clone(), alert_rule: alert_rule.clone(), lasting });
    }
    if let Some(expr) = query {
        return match promql::parse(expr, "spec.trigger.query") {
            Ok(parsed) => Some(Trigger::Query { expr: parsed.text, lasting }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
    }
    if let Some(text) = schedule {
        return self::schedule(text, time_zone.as_deref(), starting_deadline.as_ref(), problems);
    }
    manual.as_ref().map(|Manual {}| Trigger::Manual)
}

fn span(text: Option<&String>, path: &str, problems: &mut Vec<Problem>) -> Option<Span> {
    duration::parse(text?, path).map_err(|problem| problems.push(problem)).ok()
}

fn alert_matchers(texts: &[String], problems: &mut Vec<Problem>) -> Option<Vec<Matcher>> {
    const PATH: &str = "spec.trigger.alert";
    let mut matchers = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match Matcher::parse(text, &format!("{PATH}[{i}]")) {
            Ok(matcher) => matchers.push(matcher),
            Err(problem) => problems.push(problem),
        }
    }
    if matchers.len() < texts.len() {
        return None;
    }
    // What is not there is not what somebody means.
    if !matchers.iter().any(|m| m.flags().1 && !m.value().is_empty()) {
        problems.push(
            Problem::error(PATH, "the matchers match almost every alert")
                .label("none of them says what an alert must have")
                .help(r#"add one by = or =~, such as alertname="PodRestarting""#),
        );
        return None;
    }
    Some(matchers)
}

fn schedule(text: &str, zone: Option<&str>, deadline: Option<&String>, problems: &mut Vec<Problem>) -> Option<Trigger> {
    let starts = weekly::starts(text, "spec.trigger.schedule").map_err(|problem| problems.push(problem)).ok();
    let name = zone.unwrap_or("UTC");
    let zone = zone::find(name);
    if zone.is_none() {
        problems.push(
            Problem::error("spec.trigger.timeZone", format!("no time zone is called {name}"))
                .help("use an IANA name, such as Europe/Berlin"),
        );
    }
    let deadline = match deadline {
        Some(_) => span(deadline, "spec.trigger.startingDeadline", problems)?,
        None => STARTING_DEADLINE,
    };
    let starting_deadline = i64::try_from(deadline.as_seconds()).unwrap_or(i64::MAX);
    let mut starts = starts?;
    starts.sort_unstable();
    Some(Trigger::Schedule(Schedule { starts, zone: zone?, starting_deadline }))
}
