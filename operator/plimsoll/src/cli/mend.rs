//! What is put in place of what has a wrong shape, so that the rest of the object can be checked too and a
//! person sees all of its problems at once.

use plimsoll_api::Problem;
use serde_json::{Map, Value, json};

use super::kinds::{self, AnyKind};
use crate::source::{
    Node, path,
    tree::{Changes, Data},
};

/// The object without its wrong shapes, and the fields that now hold something else than what is written.
///
/// A number that should be text is taken as that text: `objective: 0.9995` lacks quotes, but what it
/// really lacks is a percentage. Of other fields, those that may be missing are left out, and the others
/// get an empty value; no entry of a list is left out, which would give the others new numbers.
pub fn mend(node: &Node<'_>, kind: AnyKind, problems: &[Problem]) -> (Value, Vec<String>) {
    let mut changes = Changes::default();
    let mut wrong = Vec::new();
    for problem in problems.iter().filter(|p| !is_unknown_field(p) && !is_twice(p)) {
        let found = path::find(node, &problem.path);
        if found.exact && is_no_string(problem) && matches!(found.node.data, Data::Scalar { .. }) {
            changes.strings.insert(found.node.pos);
        } else {
            wrong.push(problem.path.clone());
        }
    }
    let mut value = node.to_json_with(&changes);
    for path in &wrong {
        let (root, schema) = match path.split(['.', '[']).next() {
            Some("spec") => ("spec", kinds::spec_schema(kind)),
            Some("metadata") => ("metadata", kinds::metadata_schema()),
            _ => continue,
        };
        let Some(object) = value.as_object_mut() else { continue };
        let rest = path.get(root.len()..).unwrap_or_default();
        match object.get_mut(root) {
            Some(value) if !rest.is_empty() => replace(value, schema, rest.trim_start_matches('.')),
            _ if root == "metadata" => drop(object.insert(root.to_owned(), json!({}))),
            Some(value) => *value = empty(schema),
            // Of an object without a spec there is nothing left to check.
            None => {}
        }
    }
    (value, wrong)
}

/// True for the problem of a string that is written as something else.
pub fn is_no_string(problem: &Problem) -> bool {
    problem.message.ends_with("is a string")
}

/// True for a field that no schema knows; it is ignored, and so hides nothing.
pub fn is_unknown_field(problem: &Problem) -> bool {
    problem.message.starts_with("unknown field")
}

/// Two entries of a list with one name are wrong together, but each can be read.
pub fn is_twice(problem: &Problem) -> bool {
    problem.message.ends_with("is there twice")
}

/// True when `path` is about a field at `mended` or within it, or about one that holds it.
pub fn concerns(path: &str, mended: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(path, mended) || within(mended, path)
}

/// Follows `path` through the value and its schema together, and replaces what is there.
fn replace(value: &mut Value, schema: &Value, path: &str) {
    match value {
        Value::Array(items) => {
            let Some((index, tail)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return };
            let (Some(item), Some(schema)) =
                (index.parse::<usize>().ok().and_then(|i| items.get_mut(i)), schema.get("items"))
            else {
                return;
            };
            match tail.trim_start_matches('.') {
                "" => *item = empty(schema),
                tail => replace(item, schema, tail),
            }
        }
        Value::Object(map) => {
            let (key, tail) = step(map, path);
            let needed = required(schema).any(|name| name == key);
            let Some(inner) = schema.get("properties").and_then(|p| p.get(key)).or(schema.get("additionalProperties"))
            else {
                return;
            };
            match (tail, map.get_mut(key)) {
                ("", _) if needed => drop(map.insert(key.to_owned(), empty(inner))),
                ("", _) => drop(map.remove(key)),
                (tail, Some(value)) => replace(value, inner, tail),
                (_, None) => {}
            }
        }
        _ => {}
    }
}

/// The key that a path begins with, and the path below it. A key may hold dots itself, so that the longest
/// one that is there is meant.
fn step<'p>(map: &Map<String, Value>, path: &'p str) -> (&'p str, &'p str) {
    let fits = |key: &String| {
        let tail = path.strip_prefix(key.as_str())?;
        (!key.is_empty() && (tail.is_empty() || tail.starts_with(['.', '[']))).then_some(key.len())
    };
    let length = map.keys().filter_map(fits).max().or(path.find(['.', '['])).unwrap_or(path.len());
    let (key, tail) = path.split_at(length);
    (key, tail.trim_start_matches('.'))
}

/// The names of the fields that a map of this schema has.
pub fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The least that has this shape. An empty text is no duration, name or expression: what reads it stops
/// there, and its complaint is one about a mended field.
fn empty(schema: &Value) -> Value {
    let choice = schema.get("enum").and_then(|choices| choices.get(0));
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => choice.cloned().unwrap_or_else(|| json!("")),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => {
            let field = |name: &str| {
                let inner = schema.get("properties").and_then(|p| p.get(name)).unwrap_or(&Value::Null);
                (name.to_owned(), empty(inner))
            };
            Value::Object(required(schema).map(field).collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_missing_goes_and_the_rest_becomes_empty() {
        let schema = json!({"type": "object", "required": ["rules"], "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "rules": {"type": "array", "items": {"type": "object", "required": ["name", "level"], "properties": {
                "name": {"type": "string"}, "for": {"type": "string"},
                "level": {"type": "string", "enum": ["Page", "Ticket"]}}}}}});
        for (path, want) in [
            ("labels.a.b", json!({"labels": {"c": "d"}, "rules": [{"name": "x", "for": {}}, 5]})),
            ("labels", json!({"rules": [{"name": "x", "for": {}}, 5]})),
            ("rules[0].for", json!({"labels": {"a.b": 1, "c": "d"}, "rules": [{"name": "x"}, 5]})),
            (
                "rules[0].level",
                json!({"labels": {"a.b": 1, "c": "d"}, "rules": [{"name": "x", "for": {}, "level": "Page"}, 5]}),
            ),
            (
                "rules[1]",
                json!({"labels": {"a.b": 1, "c": "d"},
                    "rules": [{"name": "x", "for": {}}, {"name": "", "level": "Page"}]}),
            ),
            ("rules", json!({"labels": {"a.b": 1, "c": "d"}, "rules": []})),
        ] {
            let mut value = json!({"labels": {"a.b": 1, "c": "d"}, "rules": [{"name": "x", "for": {}}, 5]});
            replace(&mut value, &schema, path);
            assert_eq!(value, want, "{path}");
        }
    }

    #[test]
    fn a_mended_field_concerns_what_holds_it_and_what_it_holds() {
        for (path, concerned) in [
            ("spec.rules[1].for", true),
            ("spec.rules[1]", true),
            ("spec.rules", true),
            ("spec.rules[1].for.more", true),
            ("spec.rules[1].forever", false),
            ("spec.rules[10].for", false),
            ("spec.rule", false),
        ] {
            assert_eq!(concerns(path, "spec.rules[1].for"), concerned, "{path}");
        }
    }
}
