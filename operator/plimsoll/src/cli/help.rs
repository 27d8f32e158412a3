//! What helps with a wrong shape, where the field says more than its type: an example of it, and what others call it.

use plimsoll_api::{Level, Problem};
use plimsoll_slo::meant;
use serde_json::Value;

use super::mend;
use crate::source::{Node, layout, path, tree::Data};

/// What a field that must be there looks like, by its path without the numbers of entries.
const EXAMPLES: [(&str, &str); 20] = [
    ("metadata", "metadata: {name: checkout-availability}"),
    ("metadata.name", "name: checkout-availability"),
    ("spec.objective", "objective: \"99.9\""),
    ("spec.sli", "sli: {events: {bad: 'errors_total{job=\"checkout\"}', total: 'requests_total{job=\"checkout\"}'}}"),
    ("spec.sli.latency.histogram", "histogram: 'http_request_duration_seconds{job=\"checkout\"}'"),
    ("spec.sli.latency.threshold", "threshold: 300ms"),
    ("spec.sli.preset.name", "name: http-availability"),
    ("spec.sli.ratio.errors", "errors: 'job:errors:ratio_rate$window'"),
    ("spec.sli.timeSlices.good", "good: 'min(probe_success) > bool 0'"),
    ("spec.sli.up.series", "series: 'up{job=\"checkout\"}'"),
    ("spec.alerting.tiers.name", "name: fast"),
    ("spec.alerting.tiers.burnRate", "burnRate: \"14.4\""),
    ("spec.alerting.tiers.longWindow", "longWindow: 1h"),
    ("spec.exclusions.name", "name: patch-night"),
    ("spec.rules", "rules: [{alert: TargetDown, expr: up == 0}]"),
    ("spec.rules.alert", "alert: TargetDown"),
    (
        "spec.serviceAccountName",
        "serviceAccountName: … (the ServiceAccount whose rights its steps have in a cluster; plimsoll up does not use it)",
    ),
    ("spec.trigger", "trigger: {alert: ['alertname=\"TargetDown\"']}"),
    ("spec.steps", "steps: [{name: last-words, logs: {pod: pod, previous: true}}]"),
    ("spec.steps.name", "name: last-words"),
];

/// What people call a field of a step's action, by the end of its path, and what it is called here.
const CALLED: [(&str, &str); 12] = [
    (".notify.to", "destination"),
    (".notify.receiver", "destination"),
    (".notify.channel", "destination"),
    (".notify.target", "destination"),
    (".notify.text", "message"),
    (".notify.body", "message"),
    (".silence.duration", "for"),
    (".silence.reason", "comment"),
    (".silence.message", "comment"),
    (".silence.match", "matchers"),
    (".annotate.message", "text"),
    (".query.query", "expr"),
];

/// What is written here for a field of another tool.
#[derive(Clone, Copy)]
enum Here {
    /// The objective that stands there.
    Objective,
    /// The same, where it is a number: else it is no objective at all.
    Number,
    /// The period that stands there.
    Period,
    /// A field whose value has another form.
    Like(&'static str),
    /// A field of the same value.
    Called(&'static str),
}

/// What other tools call a field of an SLO's spec.
const ELSEWHERE: [(&str, Here); 11] = [
    ("window", Here::Period),
    ("timeWindow", Here::Period),
    ("target", Here::Objective),
    ("targetPercent", Here::Objective),
    ("objectives", Here::Objective),
    ("slo", Here::Number),
    ("indicator", Here::Like("sli: {events: {bad: …, total: …}}")),
    ("indicators", Here::Like("sli: {events: {bad: …, total: …}}")),
    ("grouping", Here::Like("groupBy: [route]")),
    ("alertPolicies", Here::Like("alerting: {tiers: […]}")),
    ("serviceName", Here::Called("service")),
];

impl Here {
    /// The help for a field with this value.
    fn help(self, value: &Value) -> Option<String> {
        let objective = || plain_text(value, &["target", "targetPercent"]).and_then(|text| meant::objective(&text));
        match self {
            Self::Objective => Some(match objective() {
                Some(objective) => format!("write objective: \"{objective}\""),
                None => "write objective: \"…\", with a percentage such as 99.95".to_owned(),
            }),
            Self::Number => objective().map(|objective| format!("write objective: \"{objective}\"")),
            Self::Period => {
                // OpenSLO's other windows are of a calendar, and of units that it has alone.
                let rolls = [value.get("isRolling"), value.pointer("/0/isRolling")]
                    .iter()
                    .all(|is| *is != Some(&Value::Bool(false)));
                let text = plain_text(value, &["duration", "rolling"]).filter(|_| rolls);
                let period = text.and_then(|text| meant::period(&text));
                Some(match period {
                    Some(period) => format!("write period: {period}"),
                    None => "write period: {rolling: …}, with a time such as 30d".to_owned(),
                })
            }
            Self::Like(form) => Some(format!("write {form}")),
            Self::Called(name) => Some(format!("did you mean {name}?")),
        }
    }
}

/// A text or number; of a map, and of a list of one, that of the first of these fields.
fn plain_text(value: &Value, fields: &[&str]) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => match items.as_slice() {
            [one @ Value::Object(_)] => plain_text(one, fields),
            _ => None,
        },
        Value::Object(map) => fields.iter().find_map(|field| map.get(*field).and_then(|value| plain_text(value, &[]))),
        Value::Null | Value::Bool(_) => None,
    }
}

/// Rewrites the help of a problem of shape, where more can be said. `object` is what has the problem.
pub(super) fn improve(problem: &mut Problem, object: &Value, required: &[&str]) {
    let field = plain(&problem.path);
    let example = EXAMPLES.into_iter().find(|(path, _)| *path == field).map(|(_, example)| example);
    if problem.message.ends_with(" is missing") {
        if problem.help == "add it" {
            let name = field.rsplit('.').next().unwrap_or_default();
            problem.help = example.map_or_else(|| format!("add {name}: ..."), |example| format!("add {example}"));
        }
    } else if problem.message.ends_with(" is empty") {
        if field == "spec" && !required.is_empty() {
            problem.help = format!("write {} below it, indented", required.join(" and "));
        } else if let Some(example) = example {
            problem.help = format!("write {example}");
        }
    } else if mend::is_unknown_field(problem) {
        let is_slo = object.get("kind").and_then(Value::as_str) == Some("SLO");
        let name = field.strip_prefix("spec.").filter(|_| is_slo).unwrap_or_default();
        let elsewhere = ELSEWHERE
            .into_iter()
            .find(|(there, _)| *there == name)
            .and_then(|(_, here)| here.help(object.pointer(&format!("/spec/{name}"))?));
        if let Some(help) = elsewhere {
            problem.help = help;
        } else if field.starts_with("spec.") && field.ends_with("anomaly.seasonality") {
            problem.help = "seasonality is learnt; remove it".to_owned();
        }
        if let Some((_, here)) = CALLED.into_iter().find(|(there, _)| field.ends_with(there)) {
            problem.help = format!("it is called {here} here");
        }
    } else if field == "spec.period" && problem.message.ends_with(" is a map") {
        let text = object.pointer("/spec/period").and_then(Value::as_str).unwrap_or_default();
        problem.help = match meant::period(text) {
            Some(period) => format!("write period: {period}"),
            None => "write period: {rolling: 30d} or period: {calendar: Month}".to_owned(),
        };
    }
}

/// Takes out that a field is missing where it is there by another name: that is one mistake.
pub(super) fn once(problems: &mut Vec<Problem>) {
    let meant = |help: &str| {
        let near = help.strip_prefix("did you mean ").and_then(|rest| rest.strip_suffix('?'));
        let called = || help.strip_prefix("it is called ").and_then(|rest| rest.strip_suffix(" here"));
        let other = || help.strip_prefix("write ").and_then(|rest| Some(rest.split_once(':')?.0));
        near.or_else(called).or_else(other).map(str::to_owned)
    };
    let unknown = problems.iter().filter(|problem| mend::is_unknown_field(problem));
    let there: Vec<String> = unknown
        .filter_map(|problem| {
            let holder = problem.path.rsplit_once('.').map_or(String::new(), |(holder, _)| format!("{holder}."));
            Some(format!("{holder}{}", meant(&problem.help)?))
        })
        .collect();
    problems.retain(|problem| !(problem.message.ends_with(" is missing") && there.contains(&problem.path)));
}

/// A path without the numbers of entries: `spec.rules.alert`.
fn plain(path: &str) -> String {
    let mut parts = path.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| plain.push_str(part.split_once(']').map_or(part, |(_, rest)| rest)));
    plain
}

/// Rewrites the help of a problem, where how the value is written in `text` says what is meant.
pub(super) fn spell(root: &Node<'_>, text: &str, problem: &mut Problem) {
    let found = path::find(root, &problem.path);
    if !found.exact {
        return;
    }
    let of_value = problem.level == Level::Error && !problem.of_key && !mend::is_unknown_field(problem);
    if let Some(help) = as_written(found.node, text, problem).filter(|_| of_value) {
        problem.help = help;
    }
    understood(found.node, problem);
}

/// What helps with a value that a chart would fill in, that has curly quotes, or that is a selector which YAML reads as a map.
fn as_written(node: &Node<'_>, text: &str, problem: &Problem) -> Option<String> {
    match &node.data {
        Data::Scalar { text, .. } if layout::of_chart(text).is_some() => Some(layout::RENDER.to_owned()),
        Data::Scalar { text, .. } => {
            let inner = text.strip_prefix(meant::is_curly)?.strip_suffix(meant::is_curly)?;
            let inner = meant::straight(inner);
            let quoted = if inner.contains('"') { meant::quoted(&inner) } else { format!("\"{inner}\"") };
            Some(format!("type straight quotes: {quoted}"))
        }
        Data::Map(_) if mend::is_no_string(problem) => {
            let source = text.get(node.pos.start as usize..node.pos.end as usize)?;
            let selector = source.starts_with('{') && source.contains('=') && !source.contains(['\n', '\'']);
            selector.then(|| format!("quote the whole selector: {}", meant::quoted(source)))
        }
        _ => None,
    }
}

/// A plain scalar that YAML reads as something else than a string: the help repeats what is written,
/// not what was understood (`write "NO"`, not `write "false"`).
fn understood(node: &Node<'_>, problem: &mut Problem) {
    let Data::Scalar { text, string: false, .. } = &node.data else { return };
    let understood = node.to_json();
    let shown = understood.to_string();
    if understood.is_null() || understood.is_string() || shown == text.as_ref() {
        return;
    }
    if problem.help == format!("write \"{shown}\" in quotes") {
        problem.help = format!("write \"{text}\" in quotes");
        problem.label = format!("YAML reads {text} as {shown}");
    }
}
