//! `plimsoll crds` and `plimsoll schemas`: what the API server and editors need to know.

use std::path::PathBuf;

use clap::Args;
use plimsoll_api::API_VERSION;
use serde_json::{Map, Value, json};

use super::{
    Exit,
    kinds::{self, AnyKind},
    out::{self, Directory, Stop},
    yaml,
};

/// Prints the custom resource definitions, for `kubectl apply -f -`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll crds | kubectl apply --server-side -f -
  plimsoll crds --output crds/")]
pub struct Crds {
    /// Write one file for each kind into this directory, and the JSON schemas into schemas/ below it
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints JSON schemas, with which editors complete and check SLO files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll schemas --output ~/.config/plimsoll/
  plimsoll schemas > plimsoll.json

Then begin a file with this line, which editors with the YAML language server understand:
  # yaml-language-server: $schema=/path/to/slo.json")]
pub struct Schemas {
    /// Write one file for each kind into this directory instead of one for all to standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs `crds`.
///
/// # Errors
/// When the result cannot be written.
pub fn crds(args: &Crds) -> Result<Exit, Stop> {
    let Some(path) = &args.output else {
        let all: String = AnyKind::ALL.into_iter().map(|kind| format!("---\n{}", crd(kind))).collect();
        out::stdout(|writer| writer.write_all(all.as_bytes()))?;
        return Ok(Exit::Fine);
    };
    let mut directory = Directory::open(path)?;
    for kind in AnyKind::ALL {
        directory.put(&format!("{}.yaml", file_name(kind)), &crd(kind))?;
    }
    directory.finish()?;
    write_schemas(&path.join("schemas"))
}

/// Runs `schemas`.
///
/// # Errors
/// When the result cannot be written.
pub fn schemas(args: &Schemas) -> Result<Exit, Stop> {
    if let Some(path) = &args.output {
        return write_schemas(path);
    }
    let all: Vec<Value> = AnyKind::ALL.into_iter().map(schema).collect();
    let text = match all.as_slice() {
        [one] => pretty(one),
        _ => pretty(&json!({"$schema": DRAFT, "oneOf": all})),
    };
    out::stdout(|writer| writer.write_all(text.as_bytes())).map(|()| Exit::Fine)
}

fn write_schemas(path: &std::path::Path) -> Result<Exit, Stop> {
    let mut directory = Directory::open(path)?;
    for kind in AnyKind::ALL {
        directory.put(&format!("{}.json", file_name(kind)), &pretty(&schema(kind)))?;
    }
    directory.finish()?;
    Ok(Exit::Fine)
}

fn file_name(kind: AnyKind) -> String {
    kind.name().to_lowercase()
}

fn crd(kind: AnyKind) -> String {
    let mut out = String::new();
    yaml::value(&mut out, &serde_json::to_value(kinds::crd(kind)).unwrap_or_default(), 0);
    out.push('\n');
    out
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The draft that editors know best.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of a whole file of this kind.
pub fn schema(kind: AnyKind) -> Value {
    json!({
        "$schema": DRAFT,
        "title": kind.name(),
        "description": kinds::spec_schema(kind).get("description"),
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name()},
            "metadata": for_editors(kinds::metadata_schema()),
            "spec": for_editors(kinds::spec_schema(kind)),
            "status": {"type": "object", "description": "Written by the operator."},
        }
    })
}

/// From the API server's dialect to plain JSON schema: unknown fields are errors, and what only
/// Kubernetes understands goes.
fn for_editors(schema: &Value) -> Value {
    let Value::Object(source) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in source {
        let value = match (key.as_str(), value) {
            ("nullable", _) => continue,
            ("properties", Value::Object(fields)) => {
                Value::Object(fields.iter().map(|(name, field)| (name.clone(), for_editors(field))).collect())
            }
            ("items" | "additionalProperties", nested) => for_editors(nested),
            ("x-kubernetes-validations", Value::Array(rules)) => {
                comment(rules, &mut out);
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
    Value::Object(out)
}

/// Editors cannot evaluate rules; the messages at least are kept for the reader of the schema.
fn comment(rules: &[Value], out: &mut Map<String, Value>) {
    let messages: Vec<&str> = rules.iter().filter_map(|r| r.get("message")?.as_str()).collect();
    if !messages.is_empty() {
        out.insert("$comment".to_owned(), Value::String(messages.join("; ")));
    }
}
