//! Checks the shape of an object against its JSON schema, as the API server does, but with every
//! problem named and with a hint for misspelled fields.

use serde_json::Value;

use crate::Problem;

/// All fields of `value` that the schema does not know, lacks, or wants of another type.
///
/// `schema` is a structural schema as in a CRD (`properties`, `items`, `required`, `enum`,
/// `additionalProperties`, bounds); `path` is where `value` stands, `""` for the root.
pub fn check(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    if value.is_null() {
        if schema.get("nullable") != Some(&Value::Bool(true)) {
            problems.push(
                Problem::error(path, format!("{} is empty", last(path))).help("give it a value or remove the field"),
            );
        }
        return;
    }
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    match (wanted, value) {
        ("object", Value::Object(map)) => object(map, schema, path, problems),
        ("array", Value::Array(items)) => {
            bounds(items.len(), schema, "minItems", "maxItems", ("entry", "entries"), path, problems);
            if let Some(item_schema) = schema.get("items") {
                for (i, item) in items.iter().enumerate() {
                    check(item, item_schema, &format!("{path}[{i}]"), problems);
                }
            }
            duplicates(items, schema, path, problems);
        }
        ("string", Value::String(text)) => {
            bounds(text.chars().count(), schema, "minLength", "maxLength", ("character", "characters"), path, problems);
            choices(text, schema, path, problems);
        }
        ("integer", Value::Number(n)) if n.is_i64() || n.is_u64() => {
            range(n.as_f64().unwrap_or(0.0), schema, path, problems)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("", _) => {}
        // Quotes would not make a choice of it.
        (_, Value::Bool(_) | Value::Number(_)) if schema.get("enum").is_some() => {
            choices(&value.to_string(), schema, path, problems);
            if let (Some(word), Some(problem)) = (unquoted(value, schema), problems.last_mut()) {
                problem.help = format!("write \"{word}\" in quotes (YAML reads {word} as {value})");
            }
        }
        _ => problems.push(wrong_type(value, schema, wanted, path)),
    }
}

fn object(map: &serde_json::Map<String, Value>, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    bounds(map.len(), schema, "minProperties", "maxProperties", ("entry", "entries"), path, problems);
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    let required = || schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for (key, field) in map {
        let here = join(path, key);
        if field.is_null() && required().any(|name| name == key) {
            problems.push(Problem::error(here, format!("{key} is empty")).help("give it a value"));
            continue;
        }
        match (properties.and_then(|p| p.get(key)), additional) {
            (Some(field_schema), _) | (None, Some(field_schema)) => check(field, field_schema, &here, problems),
            (None, None) if properties.is_some() => {
                let names: Vec<&str> = properties.into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
                problems.push(
                    Problem::error(here, format!("unknown field {key}"))
                        .help(belongs_under(key, properties).unwrap_or_else(|| suggest(key, &names))),
                );
            }
            (None, None) => {}
        }
    }
    for name in required() {
        if !map.contains_key(name) {
            problems.push(Problem::error(join(path, name), format!("{name} is missing")).help("add it"));
        }
    }
}

/// What to do with a field that is known one level deeper, in one place only.
fn belongs_under(key: &str, properties: Option<&serde_json::Map<String, Value>>) -> Option<String> {
    let has = |schema: &Value| schema.pointer("/properties").is_some_and(|inner| inner.get(key).is_some());
    let mut places = properties?.iter().filter(|(_, schema)| has(schema)).map(|(name, _)| name);
    match (places.next(), places.next()) {
        (Some(name), None) => Some(format!("indent it: it belongs under {name}")),
        _ => None,
    }
}

fn duplicates(items: &[Value], schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let keys: Vec<&str> = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    if schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set") {
        for (i, item) in items.iter().enumerate().filter(|(_, item)| !seen.insert(vec![item.to_string()])) {
            problems.push(
                Problem::error(format!("{path}[{i}]"), format!("{item} is there twice")).help("remove one of them"),
            );
        }
    }
    for (i, item) in items.iter().enumerate() {
        let id: Vec<String> = keys.iter().filter_map(|k| item.get(k)).map(ToString::to_string).collect();
        if !id.is_empty() && !seen.insert(id.clone()) {
            problems.push(
                Problem::error(format!("{path}[{i}]"), format!("{} {} is there twice", keys.join(", "), id.join(", ")))
                    .help("rename or remove one of them"),
            );
        }
    }
}

fn bounds(n: usize, schema: &Value, min: &str, max: &str, unit: (&str, &str), path: &str, problems: &mut Vec<Problem>) {
    let counted = |n: usize| format!("{n} {}", if n == 1 { unit.0 } else { unit.1 });
    let limit = |key| schema.get(key).and_then(Value::as_u64).and_then(|v| usize::try_from(v).ok());
    if let Some(max) = limit(max).filter(|&max| n > max) {
        problems.push(
            Problem::error(path, format!("{} is too long", last(path)))
                .label(counted(n))
                .help(format!("use at most {}", counted(max))),
        );
    }
    if let Some(min) = limit(min).filter(|&min| n < min) {
        problems.push(
            Problem::error(path, format!("{} is too short", last(path)))
                .label(counted(n))
                .help(format!("use at least {}", counted(min))),
        );
    }
}

fn range(n: f64, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let limit = |key| schema.get(key).and_then(Value::as_f64);
    if let Some(min) = limit("minimum").filter(|&min| n < min) {
        problems.push(
            Problem::error(path, format!("{} is too small", last(path)))
                .label(format!("{n}"))
                .help(format!("use {min} or more")),
        );
    }
    if let Some(max) = limit("maximum").filter(|&max| n > max) {
        problems.push(
            Problem::error(path, format!("{} is too large", last(path)))
                .label(format!("{n}"))
                .help(format!("use {max} or less")),
        );
    }
}

fn choices(text: &str, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(choices) = schema.get("enum").and_then(Value::as_array) else { return };
    let names: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
    if !names.is_empty() && !names.contains(&text) {
        problems.push(
            Problem::error(path, format!("{text} is not a choice of {}", last(path))).help(suggest(text, &names)),
        );
    }
}

/// The choice that YAML takes for a boolean.
fn unquoted<'s>(value: &Value, schema: &'s Value) -> Option<&'s str> {
    let words = if value.as_bool()? { ["on", "yes", "y"] } else { ["off", "no", "n"] };
    let mut choices = schema.get("enum")?.as_array()?.iter().filter_map(Value::as_str);
    choices.find(|choice| words.contains(&choice.to_lowercase().as_str()))
}

/// Fields that hold a duration in whatever kind they stand.
const DURATIONS: [&str; 7] = ["after", "cooldown", "deadline", "lasting", "openFor", "timeout", "within"];

/// A map with at most so many fields is told by them.
const TOLD_FIELDS: usize = 8;

fn wrong_type(value: &Value, schema: &Value, wanted: &str, path: &str) -> Problem {
    let (is, shown) = match value {
        Value::Null => ("empty", String::new()),
        Value::Bool(b) => ("a boolean", b.to_string()),
        Value::Number(n) => ("a number", n.to_string()),
        Value::String(s) => ("a string", s.clone()),
        Value::Array(_) => ("a list", String::new()),
        Value::Object(_) => ("a map", String::new()),
    };
    let wants = match wanted {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a map",
    };
    let problem = Problem::error(path, format!("{} is {wants}", last(path))).label(format!("this is {is}"));
    match wanted {
        // What is 30 in a field for a time has no unit, and quotes give it none.
        "string" if value.is_u64() && DURATIONS.contains(&last(path)) => {
            problem.help(format!("write it with its unit, such as {shown}s or {shown}m"))
        }
        "string" if !shown.is_empty() => problem.help(format!("write \"{shown}\" in quotes")),
        "array" => problem.help("write it as [a, b] or with a dash for each entry"),
        "object" if schema.get("properties").is_some() => {
            let fields: Vec<&str> = schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(|p| p.keys())
                .map(String::as_str)
                .collect();
            let of = if fields.len() <= TOLD_FIELDS { format!(" of {}", fields.join(", ")) } else { String::new() };
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let mut shown: Vec<&str> = required.filter_map(Value::as_str).collect();
            if shown.is_empty() {
                shown.extend(fields.first());
            }
            let shown: Vec<String> = shown.iter().map(|field| format!("{field}: …")).collect();
            // An entry of a list has no key.
            let key = if path.ends_with(']') { String::new() } else { format!("{}: ", last(path)) };
            problem.help(format!("write a map here{of}: {key}{{{}}}", shown.join(", ")))
        }
        _ => problem.help(format!("write {wants} here")),
    }
}

/// `did you mean total?` where one name is near, else the list of names.
pub fn suggest(wrong: &str, names: &[&str]) -> String {
    match nearest(wrong, names.iter().copied(), 1).first() {
        Some(name) => format!("did you mean {name}?"),
        None => match names {
            [one] => format!("use {one}"),
            many => format!("use one of {}", many.join(", ")),
        },
    }
}

/// So many of the names as are near, the nearest first.
pub fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>, most: usize) -> Vec<&'n str> {
    let wrong = wrong.to_lowercase();
    let distances = names.into_iter().filter_map(|name| {
        let reach = 1 + name.len() / 3;
        // Whose lengths differ by more are not near.
        if wrong.chars().count().abs_diff(name.chars().count()) > reach {
            return None;
        }
        Some((distance(&wrong, &name.to_lowercase()), name)).filter(|(edits, _)| *edits <= reach)
    });
    let mut near: Vec<(usize, &str)> = distances.collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).take(most).collect()
}

/// Levenshtein distance: edits between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (cb, &up) in b.iter().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(ca != *cb)).min(up + 1).min(left + 1);
            diagonal = up;
            left = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().filter(|s| !s.is_empty()).unwrap_or("the document")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_every_problem_at_once() {
        let schema = json!({"type": "object", "required": ["total", "unit"], "properties": {
            "bad": {"type": "string"}, "total": {"type": "string"}, "unit": {"type": "string"}, "cooldown": {"type": "string"}, "n": {"type": "integer", "minimum": 1},
            "deep": {"type": "object", "properties": {"limit": {"type": "integer"}}},
            "kind": {"type": "string", "enum": ["Page", "Ticket"]},
            "other": {"type": "string", "enum": ["Low", "High"]},
            "mode": {"type": "string", "enum": ["Off", "Auto"]},
            "words": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "env": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}},
            "tiers": {"type": "array", "maxItems": 2, "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {"name": {"type": "string"}}}}
        }});
        let value = json!({"cooldown": 30, "unit": null, "bda": "x", "limit": 2, "bad": 5.5, "n": 0, "kind": "page", "mode": false, "other": 0, "words": ["a", "a"], "env": {"A": "1", "B": "2"}, "tiers": [{"name": "a"}, {"name": "a"}, {"name": null}]});
        let mut problems = Vec::new();
        check(&value, &schema, "", &mut problems);
        let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "bad: bad is a string (this is a number); write \"5.5\" in quotes",
                "bda: unknown field bda; did you mean bad?",
                "cooldown: cooldown is a string (this is a number); write it with its unit, such as 30s or 30m",
                "env: env is too long (2 entries); use at most 1 entry",
                "kind: page is not a choice of kind; did you mean Page?",
                "limit: unknown field limit; indent it: it belongs under deep",
                "mode: false is not a choice of mode; write \"Off\" in quotes (YAML reads Off as false)",
                "n: n is too small (0); use 1 or more",
                "other: 0 is not a choice of other; use one of Low, High",
                "tiers: tiers is too long (3 entries); use at most 2 entries",
                "tiers[1]: name \"a\" is there twice; rename or remove one of them",
                "tiers[2].name: name is empty; give it a value or remove the field",
                "total: total is missing; add it",
                "unit: unit is empty; give it a value",
                "words[1]: \"a\" is there twice; remove one of them",
            ]
        );
    }

    #[test]
    fn distance_counts_edits() {
        for (a, b, n) in [("", "abc", 3), ("kitten", "sitting", 3), ("page", "page", 0)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
    }
}
