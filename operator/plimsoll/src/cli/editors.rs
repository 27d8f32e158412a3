//! Schemas for editors, from those for the API server: plain JSON schema that knows as much of the rules as a schema
//! can say, so that a mistake is underlined while it is typed. It refuses nothing that `validate` accepts.

use plimsoll_api::{API_VERSION, Kind};
use serde_json::{Map, Value, json};

use super::kinds::{self, AnyKind};

/// The draft that editors know best.
pub const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

const DURATION: &str = "^([0-9]+(ms|[smhdwy]))+$";
const DECIMAL: &str = "^[0-9]+([.][0-9]+)?$";
/// A name of an object; of those that the rules are named by, 200 characters are left.
const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const NAMESPACE: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Over 1 and below 100, with or without a percent sign.
const OBJECTIVE: &str = "^(0{0,2}1[.][0-9]*[1-9][0-9]*|0{0,2}[2-9]([.][0-9]+)?|0?[1-9][0-9]([.][0-9]+)?)%?$";

/// What is known of a text by its field's name, where the definition does not say it: its pattern, and an example.
const TEXTS: &[(&str, Option<&str>, &str)] = &[
    ("objective", Some(OBJECTIVE), "99.95"),
    ("rolling", Some(DURATION), "30d"),
    ("threshold", Some(DURATION), "300ms"),
    ("slice", Some(DURATION), "1m"),
    ("longWindow", Some(DURATION), "1h"),
    ("shortWindow", Some(DURATION), "5m"),
    ("for", Some(DURATION), "5m"),
    ("keepFiringFor", Some(DURATION), "5m"),
    ("interval", Some(DURATION), "1m"),
    ("groupWait", Some(DURATION), "30s"),
    ("groupInterval", Some(DURATION), "5m"),
    ("repeatInterval", Some(DURATION), "4h"),
    ("burnRate", Some(DECIMAL), "14.4"),
    ("timeZone", None, "Europe/Berlin"),
    ("every", None, "Sun 03:00"),
    ("bad", None, "http_requests_total{job=\"checkout\",code=~\"5..\"}"),
    ("good", None, "http_requests_total{job=\"checkout\",code!~\"5..\"}"),
    ("total", None, "http_requests_total{job=\"checkout\"}"),
    ("errors", None, "job:errors:ratio_rate$window{job=\"checkout\"}"),
    ("histogram", None, "http_request_duration_seconds{job=\"checkout\"}"),
    ("series", None, "probe_success{job=\"checkout\"}"),
    ("expr", None, "increase(kube_pod_container_status_restarts_total[10m]) > 5"),
    ("logql", None, "sum(rate({app=\"checkout\"} |= \"error\" [5m])) > 1"),
];

/// The schema of a whole file of this kind.
pub fn schema(kind: AnyKind) -> Value {
    let spec = kinds::spec_schema(kind);
    let mut file = json!({
        "$schema": DRAFT,
        "title": kind.name(),
        "description": spec.get("description"),
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION, "description": "The version of this kind."},
            "kind": {"const": kind.name(), "description": "What this file holds."},
            "metadata": metadata(),
            "spec": plain(spec, ""),
            "status": {"type": "object", "description": "Written by the operator."},
        }
    });
    if let (Some(example), Some(file)) = (example(kind), file.as_object_mut()) {
        file.insert("examples".to_owned(), json!([example]));
    }
    file
}

/// The schema of a file of any kind. What is wrong with a file is told of its kind alone, and not of all of them.
pub fn any() -> Value {
    let names: Vec<&str> = AnyKind::ALL.into_iter().map(AnyKind::name).collect();
    let of_kind = AnyKind::ALL.map(|kind| {
        let mut schema = schema(kind);
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        json!({"if": {"required": ["kind"], "properties": {"kind": {"const": kind.name()}}}, "then": schema})
    });
    json!({
        "$schema": DRAFT,
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            // What it must be is told with the kind.
            "apiVersion": {"description": "The version of these kinds.", "default": API_VERSION},
            "kind": {"enum": names, "description": "What this file holds."},
        },
        "allOf": of_kind,
    })
}

/// What a person writes under `metadata`, and what comes along when an object is copied from a cluster.
fn metadata() -> Value {
    let mut schema = plain(kinds::metadata_schema(), "");
    for (field, more) in [
        ("name", json!({"pattern": NAME, "minLength": 1, "maxLength": 253, "examples": ["checkout-availability"]})),
        ("namespace", json!({"pattern": NAMESPACE, "minLength": 1, "maxLength": 63, "examples": ["shop"]})),
        (
            "labels",
            json!({"description": "Labels, by which objects are selected.", "examples": [{"team": "payments"}]}),
        ),
        ("annotations", json!({"description": "Annotations, for people and other programs."})),
        ("finalizers", json!({"description": "What must be done before the object goes."})),
    ] {
        let field = schema.pointer_mut(&format!("/properties/{field}")).and_then(Value::as_object_mut);
        if let (Some(field), Value::Object(more)) = (field, more) {
            field.extend(more);
        }
    }
    schema
}

/// From the API server's dialect to plain JSON schema: unknown fields are errors, rules become what a schema can say,
/// and what only Kubernetes understands goes. `name` is that of the field.
fn plain(schema: &Value, name: &str) -> Value {
    let Value::Object(source) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in source {
        let value = match (key.as_str(), value) {
            ("nullable", _) => continue,
            ("properties", Value::Object(fields)) => {
                Value::Object(fields.iter().map(|(name, field)| (name.clone(), plain(field, name))).collect())
            }
            ("items" | "additionalProperties", nested) => plain(nested, ""),
            ("x-kubernetes-validations", Value::Array(rules)) => {
                rules.iter().for_each(|rule| translate(rule, &mut out));
                continue;
            }
            (key, _) if key.starts_with("x-kubernetes-") => continue,
            // `int64` and the like say nothing to an editor.
            ("format", _) => continue,
            (_, other) => other.clone(),
        };
        out.insert(key.clone(), value);
    }
    if out.contains_key("properties") && !out.contains_key("additionalProperties") {
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if out.get("type").is_some_and(|kind| kind == "string") && !out.contains_key("enum") {
        text(name, &mut out);
    }
    Value::Object(out)
}

/// What is known of a text by its field's name.
fn text(name: &str, out: &mut Map<String, Value>) {
    let Some((_, pattern, example)) = TEXTS.iter().find(|(known, ..)| *known == name) else { return };
    if let Some(pattern) = pattern {
        // Of the objective it says more than the definition's.
        out.insert("pattern".to_owned(), json!(pattern));
    }
    out.insert("examples".to_owned(), json!([example]));
}

/// A rule of the API server's as what a schema can say; its message is kept for the reader in any case.
fn translate(rule: &Value, out: &mut Map<String, Value>) {
    if let Some(message) = rule.get("message").and_then(Value::as_str) {
        let said = out.get("$comment").and_then(Value::as_str).map(|said| format!("{said}; {message}"));
        out.insert("$comment".to_owned(), Value::String(said.unwrap_or_else(|| message.to_owned())));
    }
    let rule = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
    let pattern = rule.strip_prefix("self.matches('").and_then(|rest| rest.strip_suffix("')"));
    if let Some(pattern) = pattern.filter(|pattern| !pattern.contains('\'')) {
        out.insert("pattern".to_owned(), json!(pattern));
    } else if let Some(choice) = choice(rule) {
        let all = out.entry("allOf").or_insert_with(|| json!([]));
        all.as_array_mut().into_iter().for_each(|all| all.push(choice.clone()));
    }
}

/// Rules about which fields are there.
fn choice(rule: &str) -> Option<Value> {
    if let Some((list, count)) = rule.strip_prefix('[').and_then(|rest| rest.split_once("].filter(x, x).size() == ")) {
        let fields = list.split(", ").map(field).collect::<Option<Vec<_>>>()?;
        return exactly(&fields, count.parse().ok()?);
    }
    if let Some((a, b)) = rule.split_once(" != ") {
        return exactly(&[field(a)?, field(b)?], 1);
    }
    if let Some(both) = rule.strip_prefix("!(").and_then(|rest| rest.strip_suffix(')')) {
        let fields = both.split(" && ").map(field).collect::<Option<Vec<_>>>()?;
        return Some(json!({"not": {"required": fields}}));
    }
    let alternatives = rule.split(" || ").map(|one| {
        let one = one
            .strip_prefix('(')
            .and_then(|one| one.strip_suffix(')'))
            .filter(|one| one.contains(" && "))
            .unwrap_or(one);
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for term in one.split(" && ") {
            match term.strip_prefix('!') {
                Some(term) => without.push(field(term)?),
                None => with.push(field(term)?),
            }
        }
        Some(having(&with, &without))
    });
    Some(json!({"anyOf": alternatives.collect::<Option<Vec<_>>>()?}))
}

/// `has(self.bad)`
fn field(term: &str) -> Option<&str> {
    let name = term.strip_prefix("has(self.")?.strip_suffix(')')?;
    name.chars().all(char::is_alphanumeric).then_some(name)
}

/// So many of these fields and no more.
fn exactly(fields: &[&str], count: usize) -> Option<Value> {
    let alternatives: Vec<Value> = match count {
        1 => fields.iter().map(|field| json!({"required": [field]})).collect(),
        2 => fields
            .iter()
            .enumerate()
            .flat_map(|(i, a)| fields.iter().skip(i + 1).map(move |b| json!({"required": [a, b]})))
            .collect(),
        _ => return None,
    };
    // One more than wanted fits several of them, which is not one.
    Some(json!({"oneOf": alternatives}))
}

fn having(with: &[&str], without: &[&str]) -> Value {
    if without.is_empty() {
        return json!({"required": with});
    }
    let absent: Vec<Value> = without.iter().map(|field| json!({"required": [field]})).collect();
    json!({"required": with, "not": {"anyOf": absent}})
}

/// A whole object to begin with.
fn example(kind: AnyKind) -> Option<Value> {
    let spec = match kind {
        AnyKind::Rules(Kind::Slo) => json!({
            "objective": "99.95",
            "sli": {"events": {
                "bad": "http_requests_total{job=\"checkout\",code=~\"5..\"}",
                "total": "http_requests_total{job=\"checkout\"}"}}}),
        AnyKind::Rules(Kind::AlertRule) => json!({
            "rules": [{
                "alert": "PodRestarting",
                "expr": "increase(kube_pod_container_status_restarts_total[10m]) > 5",
                "for": "1m",
                "severity": "Page"}]}),
        AnyKind::Runbook => json!({
            "mode": "DryRun",
            "serviceAccountName": "evidence",
            "trigger": {"alert": ["alertname=\"PodRestarting\""]},
            "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"}],
            "steps": [{"name": "last-words", "logs": {"pod": "pod", "previous": true}}],
            "artifacts": {"volume": "evidence"}}),
        // The operator writes the one; the other's hash is of a stored execution.
        AnyKind::RunbookExecution | AnyKind::RunbookApproval => return None,
    };
    let name = match kind {
        AnyKind::Rules(Kind::Slo) => "checkout-availability",
        AnyKind::Rules(Kind::AlertRule) => "pods",
        _ => "crashloop-evidence",
    };
    Some(json!({
        "apiVersion": API_VERSION,
        "kind": kind.name(),
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_what_a_schema_can_say() {
        for (rule, wanted) in [
            ("has(self.a) != has(self.b)", json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]})),
            (
                "[has(self.a), has(self.b), has(self.c)].filter(x, x).size() == 2",
                json!({"oneOf": [{"required": ["a", "b"]}, {"required": ["a", "c"]}, {"required": ["b", "c"]}]}),
            ),
            ("has(self.a) || has(self.b)", json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]})),
            ("!(has(self.a) && has(self.b))", json!({"not": {"required": ["a", "b"]}})),
            (
                "(has(self.a) && !has(self.b)) || (has(self.b) && has(self.c))",
                json!({"anyOf": [
                    {"required": ["a"], "not": {"anyOf": [{"required": ["b"]}]}}, {"required": ["b", "c"]}]}),
            ),
        ] {
            assert_eq!(choice(rule), Some(wanted), "{rule}");
        }
        for rule in ["self == oldSelf", "self.a > 1", "[has(self.a)].filter(x, x).size() == 3"] {
            assert_eq!(choice(rule), None, "{rule}");
        }
    }

    /// Every rule but those that compare is translated: a new one of another form must not be lost without notice.
    #[test]
    fn no_rule_is_lost() {
        fn lost(schema: &Value, all: &mut Vec<String>) {
            match schema {
                Value::Object(map) => {
                    for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                        let mut out = Map::new();
                        translate(rule, &mut out);
                        let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
                        let compares = text == "self == oldSelf" || text.contains("double(");
                        if !compares && !out.contains_key("pattern") && !out.contains_key("allOf") {
                            all.push(text.to_owned());
                        }
                    }
                    map.values().for_each(|value| lost(value, all));
                }
                Value::Array(items) => items.iter().for_each(|value| lost(value, all)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        AnyKind::ALL.into_iter().for_each(|kind| lost(kinds::spec_schema(kind), &mut all));
        assert_eq!(all, [""; 0]);
    }
}
