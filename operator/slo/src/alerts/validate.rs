//! From the custom resource to the model, with every problem at once and in the order of the fields.

use std::collections::BTreeMap;

use plimsoll_api::{AlertRule, Level, Problem, alert_rule as api, slo::Severity};
use promql_parser::{
    label::{MatchOp, Matcher as Parsed},
    parser::{Expr, value::ValueType},
};

use super::{
    ANOMALY_KEEP_FIRING, Alert, Anomaly, Language, Model, Valid, Watch, inject,
    logql::LogQl,
    matchers::{Matcher, Op, matchers},
    route, sensitivity, template,
};
use crate::{
    duration,
    model::{SloId, Span},
    names, promql,
    validate::{
        DEFAULT_BACKEND, DEFAULT_NAMESPACE, alerting, dns_name, label_name, label_value, sense, template as go,
    },
};

/// How often the rules of an AlertRule are evaluated that says nothing of it.
pub const DEFAULT_INTERVAL: Span = Span::seconds(30);
/// Longest time that a condition may have to hold.
const MAX_HOLD: Span = Span::seconds(31 * 86_400);
/// An object must fit into etcd.
const MAX_SIZE: usize = 512 << 10;

/// Checks everything that can be known without a server.
///
/// # Errors
/// All problems, errors and warnings, in the order of the fields.
pub fn validate(rule: &AlertRule) -> Result<Valid, Vec<Problem>> {
    let mut problems = Vec::new();
    let model = build(rule, &mut problems);
    if let Some(model) = model.filter(|_| problems.iter().all(|p| p.level == Level::Warning)) {
        let bytes = super::render(&model).bytes();
        if bytes <= MAX_SIZE {
            return Ok(Valid { model, warnings: problems });
        }
        problems.push(
            Problem::error("spec.rules", "the rules become too large")
                .label(format!("{} KiB", bytes >> 10))
                .help(format!("spread them over several AlertRules: at most {} KiB each", MAX_SIZE >> 10)),
        );
    }
    Err(problems)
}

fn build(object: &AlertRule, problems: &mut Vec<Problem>) -> Option<Model> {
    // Without `..`, so that a new field cannot be forgotten here.
    let api::AlertRuleSpec { owner, matchers: written, rules, interval, route, backend } = &object.spec;
    let name = object.metadata.name.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let id = SloId { namespace, name };
    if let Some(owner) = owner {
        label_value(owner, "spec.owner", problems);
    }
    let matchers = matchers(written, problems);
    let shared = Shared { id: &id, owner: owner.as_deref(), written, matchers: &matchers };
    if rules.is_empty() {
        problems.push(Problem::error("spec.rules", "rules is empty").help("add an alert, or remove the object"));
    }
    let mut alerts = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        if rules.iter().take(i).any(|r| r.alert == rule.alert) {
            problems.push(
                Problem::error(format!("{path}.alert"), format!("alert {} is there twice", rule.alert))
                    .help("rename one, or tell them apart by what they mean"),
            );
        }
        alerts.extend(alert(rule, &shared, &path, problems));
    }
    let language = language(rules, problems);
    let interval = match interval.as_deref().map(|text| span(text, "spec.interval", MAX_INTERVAL, problems)) {
        Some(read) => read.unwrap_or(DEFAULT_INTERVAL),
        None => DEFAULT_INTERVAL,
    };
    let names: Vec<&str> = rules.iter().map(|r| r.alert.as_str()).collect();
    let route = route.as_ref().map(|route| route::route(route, &id, &names, problems));
    if let Some(backend) = backend {
        dns_name(backend, "spec.backend", problems);
    }
    Some(Model {
        owner: owner.clone(),
        language,
        matchers,
        interval,
        alerts,
        route,
        backend: backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.to_owned()),
        id,
    })
}

/// Longest interval: beyond it Prometheus would forget an alert between two evaluations.
const MAX_INTERVAL: Span = Span::seconds(300);

/// What all alerts of one object share.
struct Shared<'a> {
    id: &'a SloId,
    owner: Option<&'a str>,
    written: &'a BTreeMap<String, String>,
    matchers: &'a [Matcher],
}

fn alert(spec: &api::Alert, shared: &Shared<'_>, path: &str, problems: &mut Vec<Problem>) -> Option<Alert> {
    let api::Alert {
        alert: name,
        expr,
        logql,
        anomaly,
        r#for,
        keep_firing_for,
        severity,
        labels,
        annotations,
        runbooks,
    } = spec;
    alert_name(name, &format!("{path}.alert"), problems);
    let watch = watch(expr.as_deref(), logql.as_deref(), anomaly.as_ref(), shared, path, problems);
    let mut time = |text: &Option<String>, field: &str| {
        text.as_deref().and_then(|text| span(text, &format!("{path}.{field}"), MAX_HOLD, problems))
    };
    let hold = time(r#for, "for");
    let keep = time(keep_firing_for, "keepFiringFor");
    let severity = severity.unwrap_or(Severity::Ticket);
    if anomaly.is_some() && severity == Severity::Page {
        problems.push(
            Problem::error(format!("{path}.severity"), "an anomaly does not page by itself")
                .label("unusual is not yet broken")
                .help("use Ticket; what must page is an SLO, whose spec.anomaly tells of the same earlier"),
        );
    }
    self::labels(labels, shared.matchers, path, problems);
    for (i, runbook) in runbooks.iter().enumerate() {
        dns_name(runbook, &format!("{path}.runbooks[{i}]"), problems);
    }
    let values = template::Values {
        name: &shared.id.name,
        namespace: &shared.id.namespace,
        alert: name,
        severity: severity_label(severity),
        owner: shared.owner,
        matchers: shared.written,
        runbooks: (!runbooks.is_empty()).then(|| runbooks.join(", ")),
    };
    let annotations = self::annotations(annotations, &values, path, problems);
    let (hold, keep) = match &watch {
        Some(Watch::Anomaly(anomaly)) => {
            (hold.or(sensitivity(anomaly.sensitivity).hold), keep.or(Some(ANOMALY_KEEP_FIRING)))
        }
        _ => (hold, keep),
    };
    Some(Alert {
        name: name.clone(),
        watch: watch?,
        hold,
        keep_firing_for: keep,
        severity,
        labels: labels.clone(),
        annotations,
        runbooks: runbooks.clone(),
    })
}

/// The value of the label `severity`.
pub(super) const fn severity_label(severity: Severity) -> &'static str {
    match severity {
        Severity::Page => "page",
        Severity::Ticket => "ticket",
    }
}

fn alert_name(name: &str, path: &str, problems: &mut Vec<Problem>) {
    if name.trim().is_empty() {
        problems.push(Problem::error(path, "alert is empty").help("name it by what is wrong, such as PodRestarting"));
    } else if name.chars().any(char::is_control) || name.contains("{{") {
        problems.push(
            Problem::error(path, "alert is not a name")
                .label("Prometheus does not expand templates here")
                .help("write plain words, such as PodRestarting"),
        );
    }
}

fn span(text: &str, path: &str, max: Span, problems: &mut Vec<Problem>) -> Option<Span> {
    let field = path.rsplit('.').next().unwrap_or(path);
    match duration::parse(text, path) {
        Ok(span) if span > max => {
            problems.push(
                Problem::error(path, format!("{field} is too long")).label(text).help(format!("use at most {max}")),
            );
            None
        }
        Ok(span) => Some(span),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn watch(
    expr: Option<&str>,
    logql: Option<&str>,
    anomaly: Option<&api::Anomaly>,
    shared: &Shared<'_>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Watch> {
    match (expr, logql, anomaly) {
        (Some(expr), None, None) => {
            let path = format!("{path}.expr");
            let parsed = vector(expr, &path, problems)?;
            let text = rewritten(&parsed, shared, &path, problems)?;
            warn_always(&parsed.expr, &path, problems);
            Some(Watch::Expression(text))
        }
        (None, Some(logql), None) => {
            let path = format!("{path}.logql");
            let parsed = LogQl::parse(logql, &path).map_err(|p| problems.push(p)).ok()?;
            for own in parsed.matchers() {
                let own =
                    own.iter().filter(|(_, op, _)| op == "=").map(|(label, _, value)| (label.as_str(), value.as_str()));
                contradiction(own, shared.matchers, &path, problems);
            }
            Some(Watch::Expression(parsed.inject(shared.matchers)))
        }
        (None, None, Some(api::Anomaly { query, direction, sensitivity })) => {
            let path = format!("{path}.anomaly.query");
            let parsed = vector(query, &path, problems)?;
            let compares = |e: &Expr| matches!(e, Expr::Binary(b) if b.op.is_comparison_operator() && !b.return_bool());
            if matches!(&parsed.expr, top if compares(top)) {
                problems.push(
                    Problem::warning(&path, "query compares")
                        .label("the scorer sees gaps where the comparison is false")
                        .help("query the value alone: the scorer finds out what is unusual"),
                );
            }
            Some(Watch::Anomaly(Anomaly {
                query: rewritten(&parsed, shared, &path, problems)?,
                direction: direction.unwrap_or_default(),
                sensitivity: sensitivity.unwrap_or_default(),
            }))
        }
        _ => {
            let given: Vec<&str> =
                [("expr", expr.is_some()), ("logql", logql.is_some()), ("anomaly", anomaly.is_some())]
                    .into_iter()
                    .filter_map(|(name, there)| there.then_some(name))
                    .collect();
            let (label, help) = match given.as_slice() {
                [] => ("there is none".to_owned(), "add one"),
                more => (format!("there are {}", more.join(" and ")), "keep one"),
            };
            problems.push(
                Problem::error(path, "a rule has exactly one of expr, logql and anomaly").label(label).help(help),
            );
            None
        }
    }
}

fn vector(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<promql::Parsed> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let parsed = promql::parse(text, path).map_err(|p| problems.push(p)).ok()?;
    sense::quantiles(&parsed.expr, path, problems);
    sense::buckets(&parsed.expr, path, problems);
    sense::patterns(&parsed.expr, text, path, problems);
    let problem = if parsed.windowed {
        let problem = Problem::error(path, format!("{field} has $window, which only SLOs have"))
            .help("write a range, such as [5m]");
        match promql::find(text, "$window") {
            Some(span) => problem.span(span),
            None => problem,
        }
    } else if parsed.expr.value_type() != ValueType::Vector {
        let label = match parsed.expr.value_type() {
            ValueType::Scalar => "it is a number, so the alert would never end".to_owned(),
            _ => format!("it is {}", promql::kind(&parsed.expr)),
        };
        Problem::error(path, format!("{field} is not an instant vector"))
            .label(label)
            .help("write an expression that yields series")
    } else {
        return Some(parsed);
    };
    problems.push(problem);
    None
}

/// An alert fires for every series of its expression; what compares nothing always has some.
fn warn_always(expr: &Expr, path: &str, problems: &mut Vec<Problem>) {
    let decides = |e: &Expr| match e {
        Expr::Binary(b) => b.op.is_comparison_operator() && !b.return_bool() || b.op.is_set_operator(),
        Expr::Call(c) => matches!(c.func.name, "absent" | "absent_over_time" | "vector"),
        Expr::VectorSelector(s) => s.name.as_deref().is_some_and(|name| name.starts_with("ALERTS")),
        _ => false,
    };
    if !inject::any(expr, &decides) {
        problems.push(
            Problem::warning(path, "expr compares nothing")
                .label("it fires for every series that exists")
                .help("compare it, such as > 5"),
        );
    } else if matches!(expr, Expr::Binary(b) if b.op.is_comparison_operator() && b.return_bool()) {
        problems.push(
            Problem::warning(path, "expr yields 0 instead of nothing")
                .label("it fires also when the answer is 0")
                .help("remove bool"),
        );
    }
}

fn rewritten(parsed: &promql::Parsed, shared: &Shared<'_>, path: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let text = inject::inject(parsed, shared.matchers, path).map_err(|p| problems.push(p)).ok()?;
    for selector in parsed.selectors() {
        let equal = |m: &&Parsed| m.op == MatchOp::Equal;
        let own = selector.matchers.matchers.iter().filter(equal).map(|m| (m.name.as_str(), m.value.as_str()));
        contradiction(own, shared.matchers, path, problems);
        let unequal = selector.matchers.matchers.iter().filter(|m| m.op == MatchOp::NotEqual);
        exclusion(unequal, shared.matchers, path, problems);
    }
    Some(text)
}

/// Both matchers hold, so where they exclude each other nothing is ever selected.
fn contradiction<'a>(
    own: impl Iterator<Item = (&'a str, &'a str)>,
    matchers: &[Matcher],
    path: &str,
    problems: &mut Vec<Problem>,
) {
    for (label, value) in own {
        let excluded = matchers.iter().find(|m| m.label == label && m.parsed().is_some_and(|m| !m.is_match(value)));
        if let Some(matcher) = excluded {
            let field = path.rsplit('.').next().unwrap_or(path);
            problems.push(
                Problem::warning(path, format!("{field} selects nothing"))
                    .label(format!("{label}=\"{value}\" here, {matcher} in spec.matchers; both must hold"))
                    .help("remove one of them"),
            );
        }
    }
}

/// The same of what an expression leaves out: it may be all that a matcher lets through.
fn exclusion<'a>(own: impl Iterator<Item = &'a Parsed>, matchers: &[Matcher], path: &str, problems: &mut Vec<Problem>) {
    for own in own {
        let same = |m: &&Matcher| m.op == Op::Equal && m.label == own.name && m.value == own.value;
        if let Some(matcher) = matchers.iter().find(same) {
            let field = path.rsplit('.').next().unwrap_or(path);
            problems.push(
                Problem::warning(path, format!("{field} selects nothing"))
                    .label(format!("{} here, {matcher} in spec.matchers; both must hold", promql::matcher(own)))
                    .help("remove one of them"),
            );
        }
    }
}

/// One backend takes all rules of an object, and it speaks one language.
fn language(rules: &[api::Alert], problems: &mut Vec<Problem>) -> Language {
    // Of a rule that has both or neither, that is said already.
    let of = |rule: &api::Alert| match (rule.expr.is_some() || rule.anomaly.is_some(), rule.logql.is_some()) {
        (true, false) => Some(Language::PromQl),
        (false, true) => Some(Language::LogQl),
        _ => None,
    };
    let Some(first) = rules.iter().find_map(of) else { return Language::default() };
    if let Some(i) = rules.iter().position(|rule| of(rule).is_some_and(|language| language != first)) {
        problems.push(
            Problem::error(format!("spec.rules[{i}]"), "PromQL and LogQL are mixed")
                .label(format!("the first rule is {first}, and all rules go to one backend"))
                .help("put the LogQL rules into an AlertRule of their own"),
        );
    }
    first
}

fn labels(labels: &BTreeMap<String, String>, matchers: &[Matcher], path: &str, problems: &mut Vec<Problem>) {
    for (name, value) in labels {
        let path = format!("{path}.labels.{name}");
        if name == names::NAMESPACE {
            problems.push(
                Problem::error(path, "label namespace is that of the AlertRule").help("use another name").of_key(),
            );
            continue;
        } else if name == names::OWNER {
            problems.push(Problem::error(path, "label owner has a field of its own").help("set spec.owner").of_key());
            continue;
        }
        label_name(name, &path, problems);
        label_value(value, &path, problems);
        if let Err(problem) = go::check(value, &path) {
            problems.push(problem);
        } else if let Some(found) = go::changing(value) {
            let problem = match found {
                "." | "$" => Problem::error(path, format!("label {name} has {found} alone"))
                    .label("the value is in it, and each new value would be a new alert"),
                "value" => Problem::error(path, format!("label {name} has the value of a query"))
                    .label("each new value would be a new alert"),
                _ => Problem::error(path, format!("label {name} has {found}"))
                    .label("each new value would be a new alert"),
            };
            problems.push(problem.help("put it into an annotation"));
        } else if value.contains("[[") {
            problems.push(
                Problem::warning(path, format!("label {name} keeps its [[ ]]"))
                    .label("only annotations are filled in")
                    .help("write the value itself, or put it into an annotation"),
            );
        } else if let Some((_, selected)) = fixed_labels(matchers).find(|(label, of)| label == name && of != value) {
            problems.push(
                Problem::warning(path, format!("label {name} says another value than its series"))
                    .label(format!("spec.matchers has {name}: {selected}"))
                    .help("remove it, or name it otherwise: the alert has the label of its series"),
            );
        }
    }
}

fn annotations(
    annotations: &BTreeMap<String, String>,
    values: &template::Values<'_>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, text) in annotations {
        let path = format!("{path}.annotations.{name}");
        match template::fill(text, values, &path) {
            Ok(filled) => {
                alerting::annotation(&path, name, &filled, problems);
                all.insert(name.clone(), filled);
            }
            Err(problem) => problems.push(problem),
        }
    }
    all
}

/// Labels that equality puts on every series, and so on the alerts, also where an aggregation drops them.
pub(super) fn fixed_labels(matchers: &[Matcher]) -> impl Iterator<Item = (&str, &str)> {
    matchers
        .iter()
        .filter(|m| m.op == Op::Equal && m.label != names::NAMESPACE && !names::RESERVED.contains(&m.label.as_str()))
        .map(|m| (m.label.as_str(), m.value.as_str()))
}
