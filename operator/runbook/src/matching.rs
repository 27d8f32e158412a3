//! Whether something that happened starts a runbook; if not, why not, in words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{
    execution::{Evidence, TriggerKind},
    runbook::Mode,
    slo::Severity,
};
use plimsoll_slo::{model::Span, names as series, promql::quote};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{
    matcher::Matcher,
    model::{Model, Trigger},
    names,
    parameters::{NAMESPACE_LABEL, is_granted},
    requests,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Occurrence {
    /// An alert, from Alertmanager or Prometheus; also that of an SLO.
    Alert(Alert),
    /// A score of the anomaly scorer.
    Score(Score),
    /// A series of the runbook's own query.
    Series {
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Its value, a decimal.
        value: String,
        /// Since when it holds.
        since: Timestamp,
    },
    /// A moment of the runbook's own schedule.
    Moment(Timestamp),
    /// Somebody asks for it.
    Asked {
        /// The request's: two of them are two runs, also of the same person in the same second.
        id: String,
        /// The name by which the API server knows them.
        by: String,
        /// The groups that they are in.
        groups: Vec<String>,
        /// When.
        at: Timestamp,
    },
}

/// An alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alert {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Alertmanager's fingerprint; `""`: one is made of the labels.
    pub fingerprint: String,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// False when it is resolved.
    pub firing: bool,
    /// When it was resolved.
    pub ends_at: Option<Timestamp>,
    /// The runbooks that the SLO or AlertRule of the alert names.
    pub runbooks: Vec<String>,
}

/// A score of the anomaly scorer.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Labels of the series, with `slo_id` or `alertrule`.
    pub labels: BTreeMap<String, String>,
    /// From 0 to 1.
    pub score: Decimal,
    /// Since when it is above the runbook's bound.
    pub since: Timestamp,
    /// The runbooks that the SLO or AlertRule names.
    pub runbooks: Vec<String>,
}

/// Whether an occurrence starts a runbook.
///
/// # Errors
/// Why it does not, a sentence without a full stop.
pub fn matches(model: &Model, occurrence: &Occurrence, now: Timestamp) -> Result<Evidence, String> {
    if model.mode == Mode::Off {
        return Err("its mode is Off".to_owned());
    }
    // Also a runbook with another trigger can be run by hand.
    if let Occurrence::Asked { id, by, groups, at } = occurrence {
        let labels = BTreeMap::from([("requested_by".to_owned(), by.clone())]);
        let of_request = [("id", id), ("requested_by", by)].map(|(name, value)| (name.to_owned(), value.clone()));
        let of_request = BTreeMap::from(of_request);
        let mut evidence = evidence(TriggerKind::Manual, labels, *at, None, None);
        evidence.fingerprint = names::fingerprint("Manual", &of_request);
        evidence.requested_by = Some(by.clone());
        evidence.requested_groups.clone_from(groups);
        return Ok(evidence);
    }
    match (&model.trigger, occurrence) {
        (Trigger::Alert(matchers), Occurrence::Alert(alert)) => {
            fires(model, alert)?;
            if let Some(matcher) = matchers.iter().find(|matcher| !matcher.matches(&alert.labels)) {
                let has = alert.labels.get(matcher.label()).map_or("nothing".to_owned(), |value| quote(value));
                return Err(format!("the alert does not match {matcher}: it has {has}"));
            }
            Ok(of_alert(TriggerKind::Alert, model, alert))
        }
        (Trigger::Slo { burning, names }, Occurrence::Alert(alert)) => {
            fires(model, alert)?;
            slo(model, *burning, names, alert)?;
            Ok(of_alert(TriggerKind::Slo, model, alert))
        }
        (Trigger::Anomaly { above, slo, alert_rule, lasting }, Occurrence::Score(score)) => {
            let scope = [(slo, series::SLO_ID), (alert_rule, series::ALERT_RULE)];
            let named = scope.iter().find_map(|(name, label)| Some((name.as_ref()?, *label)));
            match named {
                Some((name, label)) => {
                    let id = format!("{}/{name}", model.namespace);
                    if score.labels.get(label) != Some(&id) {
                        return Err(format!("the score is not of {id}"));
                    }
                }
                None if !score.runbooks.contains(&model.name) => {
                    return Err("neither an SLO nor an AlertRule of the score names it".to_owned());
                }
                None => of_namespace(model, score.labels.get(series::SLO_ID).or(score.labels.get(series::ALERT_RULE)))?,
            }
            if score.score <= *above {
                return Err(format!("the score {} is not above {above}", score.score));
            }
            lasts(score.since, *lasting, now)?;
            let condition = format!("{} > {above}", selector(series::ANOMALY_SCORE, &score.labels));
            let value = Some(score.score.to_string());
            Ok(evidence(TriggerKind::Anomaly, score.labels.clone(), score.since, value, Some(condition)))
        }
        (Trigger::Query { expr, lasting }, Occurrence::Series { labels, value, since }) => {
            namespace(model, labels)?;
            lasts(*since, *lasting, now)?;
            Ok(evidence(TriggerKind::Query, labels.clone(), *since, Some(value.clone()), Some(expr.clone())))
        }
        (Trigger::Schedule(_), Occurrence::Moment(at)) => {
            Ok(evidence(TriggerKind::Schedule, BTreeMap::new(), *at, None, None))
        }
        (trigger, _) => Err(format!("it is started by {}", what(trigger))),
    }
}

/// What starts a runbook, in words.
fn what(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Alert(_) => "an alert",
        Trigger::Slo { .. } => "an SLO that burns",
        Trigger::Anomaly { .. } => "an anomaly",
        Trigger::Query { .. } => "a query",
        Trigger::Schedule(_) => "its schedule",
        Trigger::Manual => "somebody by hand",
    }
}

fn fires(model: &Model, alert: &Alert) -> Result<(), String> {
    if !alert.firing {
        return Err("the alert is resolved".to_owned());
    }
    namespace(model, &alert.labels)
}

/// A label cannot carry a runbook into a namespace that nobody granted.
fn namespace(model: &Model, labels: &BTreeMap<String, String>) -> Result<(), String> {
    match labels.get(NAMESPACE_LABEL) {
        Some(other) if !is_granted(model, other) => {
            Err(format!("the alert is of namespace {other}, which is neither its own nor one of spec.namespaces"))
        }
        _ => Ok(()),
    }
}

fn of_namespace(model: &Model, id: Option<&String>) -> Result<(), String> {
    match id.and_then(|id| id.split_once('/')) {
        Some((namespace, _)) if namespace == model.namespace => Ok(()),
        _ => Err(format!("it is not of namespace {}", model.namespace)),
    }
}

fn slo(model: &Model, burning: Severity, wanted: &[String], alert: &Alert) -> Result<(), String> {
    let label = |name: &str| alert.labels.get(name).map(String::as_str).unwrap_or_default();
    if label("alertname") != series::ALERT_BURN {
        return Err(format!("the alert is not {}", series::ALERT_BURN));
    }
    of_namespace(model, alert.labels.get(series::SLO_ID))?;
    let name = label(series::SLO_ID).split_once('/').map_or("", |(_, name)| name);
    if wanted.is_empty() && !alert.runbooks.contains(&model.name) {
        return Err(format!("SLO {name} does not name it in its runbooks"));
    }
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
        return Err(format!("SLO {name} is none of {}", wanted.join(", ")));
    }
    match (burning, label(series::SEVERITY)) {
        (_, "page") | (Severity::Ticket, "ticket") => Ok(()),
        (_, other) => Err(format!("SLO {name} burns at severity {other:?}, not Page")),
    }
}

fn lasts(since: Timestamp, lasting: Option<Span>, now: Timestamp) -> Result<(), String> {
    let Some(span) = lasting else { return Ok(()) };
    let held = now.duration_since(since).as_secs();
    if held < i64::try_from(span.as_seconds()).unwrap_or(i64::MAX) {
        return Err(format!("it has held for {held} s, not yet for {span}"));
    }
    Ok(())
}

fn of_alert(kind: TriggerKind, model: &Model, alert: &Alert) -> Evidence {
    // A page ends long before the tickets of the same outage, which have the same name and SLO. Of a ticket either will do.
    let severity = match model.trigger {
        Trigger::Slo { burning: Severity::Page, .. } => Some(series::SEVERITY),
        _ => None,
    };
    // Only labels that the rule itself sets: what Prometheus adds when it sends an alert is not on its series.
    let used: BTreeMap<String, String> = model
        .parameters
        .iter()
        .filter_map(|p| p.from_label.as_deref())
        .chain(["alertname", series::SLO_ID])
        .chain(severity)
        .filter_map(|label| Some((label.to_owned(), alert.labels.get(label)?.clone())))
        .chain([("alertstate".to_owned(), "firing".to_owned())])
        .collect();
    let condition = conditions("ALERTS", named(&used).chain(chosen(model, alert, &used)));
    let mut evidence = evidence(kind, alert.labels.clone(), alert.starts_at, None, Some(condition));
    if !alert.fingerprint.is_empty() {
        evidence.fingerprint.clone_from(&alert.fingerprint);
    }
    evidence
}

/// What else an alert was chosen by, so that another one of the same name, in another namespace or of another severity, is not
/// taken for it: its own value of each label that a matcher asks for, however it asks. Its series may lack such a label:
/// Prometheus may have added it when it sent the alert.
fn chosen(model: &Model, alert: &Alert, used: &BTreeMap<String, String>) -> Vec<String> {
    let matchers = if let Trigger::Alert(matchers) = &model.trigger { matchers.as_slice() } else { &[] };
    let labels =
        matchers.iter().map(Matcher::label).chain([NAMESPACE_LABEL]).filter(|label| !used.contains_key(*label));
    let own: BTreeMap<&str, &String> =
        labels.filter_map(|label| Some((label, alert.labels.get(label).filter(|value| !value.is_empty())?))).collect();
    // What it must not have, and has not. What it must lack is not asked for: where the template of a label yields nothing,
    // the series has the template in its place.
    let lacks = |matcher: &&Matcher| !own.contains_key(matcher.label()) && !used.contains_key(matcher.label());
    let excluded = matchers.iter().filter(|matcher| !matcher.flags().1).filter(lacks);
    let own = own.iter().map(|(label, value)| format!("{label}=~{}", quote(&format!("{}|", literal(value)))));
    own.chain(excluded.map(Matcher::to_string)).collect()
}

/// A regular expression that matches this text and no other.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn evidence(
    kind: TriggerKind,
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    value: Option<String>,
    condition: Option<String>,
) -> Evidence {
    let fingerprint = names::fingerprint(&format!("{kind:?}"), &labels);
    let (requested_by, requested_groups) = (None, Vec::new());
    Evidence { kind, fingerprint, starts_at: Time(starts_at), labels, value, condition, requested_by, requested_groups }
}

/// What Prometheus is asked again and again for a runbook that waits for series; `None` for every other trigger. Scores
/// are asked for in the runbook's own namespace: however many there are elsewhere is no matter.
pub fn question(model: &Model) -> Option<String> {
    let above = match &model.trigger {
        Trigger::Query { expr, .. } => return Some(expr.clone()),
        Trigger::Anomaly { above, .. } => above,
        _ => return None,
    };
    let of = |label: &str, sign: &str, id: &str| {
        format!("{}{{{label}{sign}{}}} > {above}", series::ANOMALY_SCORE, quote(&format!("{}/{id}", model.namespace)))
    };
    Some(match &model.trigger {
        Trigger::Anomaly { slo: Some(name), .. } => of(series::SLO_ID, "=", name),
        Trigger::Anomaly { alert_rule: Some(name), .. } => of(series::ALERT_RULE, "=", name),
        // A namespace's name has nothing that a regular expression reads otherwise.
        _ => format!("{} or {}", of(series::SLO_ID, "=~", ".+"), of(series::ALERT_RULE, "=~", ".+")),
    })
}

/// How long series must hold that a runbook waits for.
pub fn lasting(model: &Model) -> Option<Span> {
    match &model.trigger {
        Trigger::Query { lasting, .. } | Trigger::Anomaly { lasting, .. } => *lasting,
        _ => None,
    }
}

/// The labels of a series that tell it apart: without its name and the state of an alert.
pub fn labels_of_series<'l>(metric: impl IntoIterator<Item = (&'l str, &'l str)>) -> BTreeMap<String, String> {
    let kept = metric.into_iter().filter(|(name, _)| !matches!(*name, "__name__" | "alertstate"));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The labels of an alert, by the series that Prometheus keeps of it: `ALERTS` and `ALERTS_FOR_STATE`. Where a label's
/// template yields nothing, the alert has no such label, and these series have the template in its place.
pub fn labels_of_alert<'l>(metric: impl IntoIterator<Item = (&'l str, &'l str)>) -> BTreeMap<String, String> {
    let mut labels = labels_of_series(metric);
    labels.retain(|_, value| !value.contains("{{"));
    labels
}

/// Whether what started a run still holds, by Prometheus' answer to its condition: of a query the very series that
/// started it, since others may have come.
///
/// # Errors
/// When it is no answer.
pub fn holds(evidence: &Evidence, answer: &Value) -> Result<bool, String> {
    if !requests::found(answer)? || evidence.kind != TriggerKind::Query {
        return requests::found(answer);
    }
    let is_it = |series: &Value| {
        let metric = series.get("metric").and_then(Value::as_object).into_iter().flatten();
        labels_of_series(metric.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))) == evidence.labels
    };
    let result = answer.pointer("/data/result").and_then(Value::as_array).into_iter().flatten();
    // A scalar has no series: it holds as long as it is answered.
    Ok(result.into_iter().any(|series| !series.is_object() && evidence.labels.is_empty() || is_it(series)))
}

/// `ALERTS{alertname="x"}`; labels that PromQL cannot name are left out.
fn selector(metric: &str, labels: &BTreeMap<String, String>) -> String {
    conditions(metric, named(labels))
}

fn conditions(metric: &str, conditions: impl Iterator<Item = String>) -> String {
    format!("{metric}{{{}}}", conditions.collect::<Vec<_>>().join(","))
}

fn named(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let named = |(name, _): &(&String, &String)| plimsoll_slo::promql::is_label(name) && name.as_str() != "__name__";
    labels.iter().filter(named).map(|(name, value)| format!("{name}={}", quote(value)))
}
