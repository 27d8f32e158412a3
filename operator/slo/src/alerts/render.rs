//! From the model to one group of rules. Deterministic: same model, same bytes.

use std::collections::BTreeMap;

use super::{Alert, Language, Model, Watch, validate::fixed_labels, validate::severity_label};
use crate::{
    model::SloId,
    names, promql, revision,
    rules::{Group, Rule, RuleSet},
};

/// Name of the group of an AlertRule: `plimsoll.NAMESPACE.NAME.alerts`.
pub fn group_name(id: &SloId) -> String {
    // A namespace has no dots, and no group of an SLO ends so.
    format!("plimsoll.{}.{}.alerts", id.namespace, id.name)
}

/// All rules of one AlertRule.
pub fn render(model: &Model) -> RuleSet {
    let rules = model.alerts.iter().map(|alert| rule(model, alert)).chain(info(model)).collect();
    let group = Group { name: group_name(&model.id), interval: model.interval.to_string(), rules, ..Group::default() };
    let mut rules = RuleSet { groups: vec![group] };
    revision::mark(&mut rules);
    rules
}

/// Tells dashboards that the AlertRule is there, and the operator which version of it is loaded. Loki
/// has no place for recorded series unless it is told one.
fn info(model: &Model) -> Option<Rule> {
    let SloId { namespace, .. } = &model.id;
    let owner = model.owner.iter().map(|owner| (names::OWNER, owner.clone()));
    let fixed = [(names::ALERT_RULE, model.id.to_string()), (names::NAMESPACE, namespace.clone())];
    let labels = fixed.into_iter().chain(owner).map(|(name, value)| (name.to_owned(), value)).collect();
    let rule = Rule {
        record: Some(names::ALERT_RULE_INFO.to_owned()),
        expr: "vector(1)".to_owned(),
        labels,
        ..Rule::default()
    };
    (model.language == Language::PromQl).then_some(rule)
}

fn rule(model: &Model, alert: &Alert) -> Rule {
    let expr = match &alert.watch {
        Watch::Expression(expr) => expr.clone(),
        Watch::Anomaly(_) => format!(
            "{}{{{}={},{}={}}} > 0",
            names::ANOMALY_STATE,
            names::ALERT,
            promql::quote(&alert.name),
            names::ALERT_RULE,
            promql::quote(&model.id.to_string())
        ),
    };
    Rule {
        alert: Some(alert.name.clone()),
        expr,
        hold: alert.hold.map(|span| span.to_string()),
        keep_firing_for: alert.keep_firing_for.map(|span| span.to_string()),
        labels: labels(model, alert),
        annotations: annotations(model, alert),
        ..Rule::default()
    }
}

fn labels(model: &Model, alert: &Alert) -> BTreeMap<String, String> {
    let SloId { namespace, .. } = &model.id;
    let fixed = fixed_labels(&model.matchers).map(|(name, value)| (name.to_owned(), escape(value)));
    let mut labels: BTreeMap<String, String> = fixed.collect();
    // Alertmanager routes by the namespace of the AlertRule. A series of another namespace keeps its own
    // beside it, or two that differ in nothing else would be one alert; an empty label is no label.
    let own = promql::quote(namespace);
    let other = format!("{{{{ if ne $labels.namespace {own} }}}}{{{{ $labels.namespace }}}}{{{{ end }}}}");
    labels.insert(names::SERIES_NAMESPACE.to_owned(), other);
    if let Some(owner) = &model.owner {
        labels.insert(names::OWNER.to_owned(), escape(owner));
    }
    labels.extend(alert.labels.clone());
    labels.insert(names::NAMESPACE.to_owned(), namespace.clone());
    labels.insert(names::ALERT_RULE.to_owned(), model.id.to_string());
    labels.insert(names::SEVERITY.to_owned(), severity_label(alert.severity).to_owned());
    labels
}

fn annotations(model: &Model, alert: &Alert) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let summary = match &alert.watch {
        Watch::Expression(_) => format!("{} ({})", alert.name, model.id),
        Watch::Anomaly(_) => format!("{} ({}): score {{{{ $value | printf \"%.2f\" }}}} of 1", alert.name, model.id),
    };
    all.insert("summary".to_owned(), if alert.name.contains("}}") { model.id.to_string() } else { summary });
    if let Watch::Anomaly(anomaly) = &alert.watch {
        all.insert("query".to_owned(), escape(&anomaly.query));
    }
    if !alert.runbooks.is_empty() {
        all.insert("runbooks".to_owned(), alert.runbooks.join(", "));
    }
    all.extend(alert.annotations.clone());
    all
}

/// Keeps a value from being read as a template.
fn escape(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}
