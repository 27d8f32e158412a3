//! A kind's fields, from its definition.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::NOTICE;
use super::markdown::{anchor, table};

/// Where an object's fields are told already, by what they are: one shape is told once.
#[derive(Default)]
pub(super) struct Fields {
    told: BTreeMap<String, Place>,
}

struct Place {
    page: String,
    path: String,
}

/// An object whose fields are still to be told.
struct Open<'s> {
    path: String,
    schema: &'s Value,
}

impl Fields {
    /// The page of a kind: `first` is its introduction, `example` a file.
    pub(super) fn page(&mut self, page: &str, definition: &Value, first: &str, example: &str) -> Result<String> {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).context(pointer.to_owned());
        let kind = text("/spec/names/kind")?;
        let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties").context("no schema")?;
        let spec = schema.get("spec").context("no spec")?;
        let short = definition.pointer("/spec/names/shortNames/0").and_then(Value::as_str);
        let short = short.map(|short| format!(" (`{short}`)")).unwrap_or_default();
        let mut out = format!(
            "{NOTICE}\n\n# {kind}: every field\n\n{}\n\n`apiVersion: {}/{}`, `kubectl get {}`{short}. {first}\n\n```yaml\n{}```\n",
            description(spec),
            text("/spec/group")?,
            text("/spec/versions/0/name")?,
            text("/spec/names/plural")?,
            example.trim_start_matches("---\n"),
        );
        let mut open: Vec<Open<'_>> = ["status", "spec"]
            .into_iter()
            .filter_map(|name| Some(Open { path: name.to_owned(), schema: schema.get(name)? }))
            .collect();
        while let Some(Open { path, schema }) = open.pop() {
            let mut inner = Vec::new();
            out += &self.section(page, &path, schema, &mut inner);
            open.extend(inner.into_iter().rev());
        }
        Ok(out)
    }

    /// One object's fields; those that are objects with fields of their own are put into `inner`.
    fn section<'s>(&mut self, page: &str, path: &str, schema: &'s Value, inner: &mut Vec<Open<'s>>) -> String {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut rows = Vec::new();
        for (name, field) in properties(schema).into_iter().flatten() {
            let (said, default) = split_default(&description(field));
            let default = match default {
                Some(default) => default,
                None if required.contains(&name.as_str()) => "required".to_owned(),
                None => "–".to_owned(),
            };
            let type_ = self.type_of(page, &format!("{path}.{name}"), field, inner);
            rows.push([format!("`{name}`"), type_, default, sentences([vec![said], constraints(field)].concat())]);
        }
        // What a kind is stands at the top of its page already.
        let said = if path.contains('.') { split_default(&description(schema)).0 } else { String::new() };
        let about = [said, sentences(messages(schema))].into_iter().filter(|text| !text.is_empty());
        let about: String = about.map(|text| format!("\n{text}\n")).collect();
        format!("\n## {path}\n{about}\n{}", table(["field", "type", "default", "what"], rows))
    }

    /// What a field holds, and a link to where that is told when it has fields itself.
    fn type_of<'s>(&mut self, page: &str, path: &str, field: &'s Value, inner: &mut Vec<Open<'s>>) -> String {
        let (list, path, held) = match field.get("items") {
            Some(items) => ("list of ", format!("{path}[]"), items),
            None => ("", path.to_owned(), field),
        };
        if let Some(fields) = properties(held) {
            if fields.contains_key("lastTransitionTime") {
                return "[conditions](conditions.md)".to_owned();
            }
            let shape = Value::Object(fields.clone()).to_string();
            let place = self.told.entry(shape).or_insert_with(|| {
                inner.push(Open { path: path.clone(), schema: held });
                Place { page: page.to_owned(), path: path.clone() }
            });
            let file = if place.page == page { "" } else { place.page.as_str() };
            let objects = if list.is_empty() { "object" } else { "objects" };
            return format!("{list}[{objects}]({file}#{})", anchor(&place.path));
        }
        if let Some(values) = held.get("additionalProperties").filter(|values| values.is_object()) {
            return format!("{list}map of {}", plain(values, true));
        }
        format!("{list}{}", plain(held, !list.is_empty()))
    }
}

fn properties(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// A type without fields.
fn plain(schema: &Value, plural: bool) -> String {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let name = match (schema.get("type").and_then(Value::as_str), schema.get("format").and_then(Value::as_str)) {
        (Some("string"), Some("date-time")) => "time",
        (Some(name), _) => name,
        (None, _) => "value",
    };
    if plural { format!("{name}s") } else { name.to_owned() }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a description says of the default, and the rest of it.
fn split_default(text: &str) -> (String, Option<String>) {
    const MARK: &str = "Default: ";
    let Some((before, after)) = text.split_once(MARK) else { return (text.to_owned(), None) };
    let end = after.match_indices('.').map(|(at, _)| at).find(|at| {
        let rest = after.get(at + 1..).unwrap_or_default();
        rest.is_empty() || rest.starts_with([' ', '\n'])
    });
    let (default, rest) = end.and_then(|at| after.split_at_checked(at)).unwrap_or((after, ""));
    let (before, rest) = (before.trim_end(), rest.trim_start_matches('.').trim_start_matches(' '));
    let between = if before.is_empty() || rest.is_empty() || rest.starts_with('\n') { "" } else { " " };
    let rest = format!("{before}{between}{rest}");
    (rest, Some(default.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// What the API server holds a value to.
fn constraints(field: &Value) -> Vec<String> {
    let mut all = own_constraints(field, "");
    if let Some(items) = field.get("items").filter(|items| items.get("properties").is_none()) {
        all.extend(own_constraints(items, "Each: "));
    }
    if let Some(key) = field.pointer("/x-kubernetes-list-map-keys/0").and_then(Value::as_str) {
        all.push(format!("Each `{key}` once."));
    }
    all
}

fn own_constraints(schema: &Value, before: &str) -> Vec<String> {
    let range = |low: &str, high: &str, of: &str| {
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let text = match (number(low), number(high)) {
            (Some(low), Some(high)) if (high - low).abs() < f64::EPSILON => format!("{before}exactly {low}{of}."),
            (Some(low), Some(high)) => format!("{before}{low} to {high}{of}."),
            (Some(low), None) => format!("{before}at least {low}{of}."),
            (None, Some(high)) => format!("{before}at most {high}{of}."),
            (None, None) => return None,
        };
        Some(capital(&text))
    };
    let ranges = [
        range("minLength", "maxLength", " characters"),
        range("minItems", "maxItems", " entries"),
        range("minProperties", "maxProperties", " entries"),
        range("minimum", "maximum", ""),
    ];
    let mut all: Vec<String> = ranges.into_iter().flatten().collect();
    if schema.get("properties").is_none() {
        all.extend(messages(schema));
    }
    all
}

/// What the API server says where its rules do not hold.
fn messages(schema: &Value) -> Vec<String> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    let messages = rules.into_iter().flatten().filter_map(|rule| rule.get("message")?.as_str());
    messages.map(|message| format!("Checked: {message}.")).collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn sentences(all: Vec<String>) -> String {
    let mut out = String::new();
    for one in all.into_iter().filter(|one| !one.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out += &one;
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_default_is_told_in_its_own_column() {
        let split = |text: &str| split_default(text);
        assert_eq!(split("How often. Default: 30s."), ("How often.".to_owned(), Some("30s".to_owned())));
        assert_eq!(split("A rate. Default: 1.5."), ("A rate.".to_owned(), Some("1.5".to_owned())));
        assert_eq!(
            split("Whom. Default: Ticket. Never Page."),
            ("Whom. Never Page.".to_owned(), Some("Ticket".to_owned()))
        );
        assert_eq!(split("No default"), ("No default".to_owned(), None));
        let (said, default) = split("Whom. Default: Page.\n`Page`: Now.");
        assert_eq!((said.as_str(), default.as_deref()), ("Whom.\n`Page`: Now.", Some("Page")));
    }

    #[test]
    fn a_shape_is_told_once() {
        let object = json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}});
        let schema = json!({"type": "object", "required": ["x"], "properties": {"x": object, "y": object}});
        let (mut fields, mut inner) = (Fields::default(), Vec::new());
        let text = fields.section("slo.md", "spec", &schema, &mut inner);
        assert_eq!(inner.len(), 1);
        assert_eq!(text.matches("[object](#specx)").count(), 2);
        assert!(text.contains("| `x` | [object](#specx) | required |"), "{text}");
        let text = fields.section("runbook.md", "spec", &schema, &mut inner);
        assert!(text.contains("[object](slo.md#specx)"), "{text}");
        assert_eq!(inner.len(), 1);
    }

    #[test]
    fn what_is_checked_is_said() {
        let field = json!({"type": "array", "minItems": 1, "maxItems": 4, "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "string", "minLength": 64, "maxLength": 64}});
        assert_eq!(constraints(&field), ["1 to 4 entries.", "Each: exactly 64 characters.", "Each `name` once."]);
    }
}
