//! Values of parameters: from labels, by hand, by default; typed, and each wrong one is told.
//!
//! Whatever a label says, a value is a text of the type's own characters: it never has a control character, and as
//! the name of an object it is a name of Kubernetes, so that it cannot lead elsewhere in a path.

use std::collections::BTreeMap;

use plimsoll_api::runbook::ObjectKind;
use serde_json::Value;

use crate::{
    model::{Model, Parameter, Type},
    requests,
};

/// The label of an alert that says in which namespace its objects are.
pub const NAMESPACE_LABEL: &str = "namespace";
/// The longest value, in bytes.
const LONGEST: usize = 1024;

/// The values, and the objects to look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Values of parameters that are no objects, and names of objects that are named.
    pub values: BTreeMap<String, String>,
    /// Objects to look up, an owner after what it owns.
    pub lookups: Vec<Lookup>,
}

/// An object to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The parameter.
    pub parameter: String,
    /// The kind.
    pub kind: ObjectKind,
    /// Its namespace, one that is granted; none of a Node.
    pub namespace: Option<String>,
    /// Which.
    pub which: Which,
}

/// How an object is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its name.
    Named(String),
    /// As the owner of another parameter's Pod, or the Node that it runs on.
    OwnerOf(String),
}

/// A value that is not there or not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The parameter.
    pub parameter: String,
    /// What is wrong, a sentence without a full stop.
    pub message: String,
}

/// A parameter that a query picks, and the query.
pub fn queries<'m>(
    model: &'m Model,
    given: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&'m Parameter, &'m str)> {
    let given: Vec<String> = given.keys().cloned().collect();
    model
        .parameters
        .iter()
        .filter(move |parameter| !given.contains(&parameter.name))
        .filter_map(|parameter| Some((parameter, parameter.from_query.as_deref()?)))
}

/// The value that an answer of Prometheus picks: the label of the series with the largest value, and its namespace before
/// it where the parameter is an object of one. `None` when no series has the label.
///
/// # Errors
/// When it is no answer.
pub fn picked(parameter: &Parameter, answer: &Value) -> Result<Option<String>, String> {
    requests::found(answer)?;
    let label = parameter.from_label.as_deref().unwrap_or_default();
    let text = |series: &'_ Value, label: &str| {
        let value = series.get("metric")?.get(label)?.as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let value = |series: &Value| -> f64 {
        let value = series.pointer("/value/1").and_then(Value::as_str).and_then(|text| text.parse().ok());
        value.filter(|value: &f64| !value.is_nan()).unwrap_or(f64::NEG_INFINITY)
    };
    let all = answer.pointer("/data/result").and_then(Value::as_array).into_iter().flatten();
    let with_label = all.filter(|series| text(series, label).is_some());
    // Of equal ones the first by name, so that the same answer picks the same.
    let order =
        |a: &&Value, b: &&Value| value(a).total_cmp(&value(b)).then_with(|| text(b, label).cmp(&text(a, label)));
    let Some(series) = with_label.max_by(order) else { return Ok(None) };
    let namespace = match parameter.of {
        Type::Object(kind) if kind.is_namespaced() => text(series, NAMESPACE_LABEL),
        _ => None,
    };
    let name = text(series, label).unwrap_or_default();
    Ok(Some(namespace.map_or(name.clone(), |namespace| format!("{namespace}/{name}"))))
}

/// The values of all parameters: those `given` by hand first, then the labels', then the defaults.
///
/// # Errors
/// Every value that is missing or wrong, and every one given that there is no parameter for.
pub fn resolve(
    model: &Model,
    labels: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> Result<Values, Vec<Wrong>> {
    let mut values = Values::default();
    let mut wrong = Vec::new();
    for name in given.keys().filter(|name| model.parameter(name).is_none()) {
        wrong.push(Wrong { parameter: name.clone(), message: "the runbook has no such parameter".to_owned() });
    }
    for parameter in &model.parameters {
        let name = &parameter.name;
        let of_trigger = parameter.from_label.as_ref().filter(|_| parameter.from_query.is_none());
        let label = of_trigger.and_then(|label| labels.get(label)).filter(|value| !value.is_empty());
        let of_label = label.is_some() && !given.contains_key(name);
        let found = given.get(name).or(label).or(parameter.default.as_ref());
        match (&parameter.of, found) {
            (Type::Object(kind), found) => {
                let namespace = if of_label { labels.get(NAMESPACE_LABEL) } else { None };
                match self::lookup(model, parameter, *kind, found, namespace, &values.lookups) {
                    Ok(lookup) => {
                        if let Which::Named(named) = &lookup.which {
                            values.values.insert(name.clone(), named.clone());
                        }
                        values.lookups.push(lookup);
                    }
                    Err(message) => wrong.push(Wrong { parameter: name.clone(), message }),
                }
            }
            (of, Some(text)) => match value(of, text) {
                Ok(()) => {
                    values.values.insert(name.clone(), text.clone());
                }
                Err(message) => wrong.push(Wrong { parameter: name.clone(), message }),
            },
            (_, None) => wrong.push(Wrong { parameter: name.clone(), message: missing(parameter) }),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}

fn missing(parameter: &Parameter) -> String {
    match &parameter.from_label {
        _ if parameter.from_query.is_some() => {
            "its query yields no series with the label, and there is no default".to_owned()
        }
        Some(label) => {
            format!(
                "the label {label} is missing, and there is no default; by hand it is given as {}",
                by_hand(parameter)
            )
        }
        None => format!("nobody gave it, and there is no default; give it as {}", by_hand(parameter)),
    }
}

/// How somebody gives a value on the command line: `--parameter pod=NAME, the name of a Pod`.
fn by_hand(parameter: &Parameter) -> String {
    let name = &parameter.name;
    match &parameter.of {
        Type::String(pattern) => format!("--parameter {name}=TEXT, a text that matches {} as a whole", pattern.value()),
        Type::Integer(range) => {
            format!("--parameter {name}=NUMBER, a whole number from {} to {}", range.min, range.max)
        }
        Type::Enum(words) => format!("--parameter {name}=WORD, one of {}", words.join(", ")),
        Type::Object(kind) => format!("--parameter {name}=NAME, the name of a {}", kind.name()),
    }
}

fn lookup(
    model: &Model,
    parameter: &Parameter,
    kind: ObjectKind,
    found: Option<&String>,
    label_namespace: Option<&String>,
    before: &[Lookup],
) -> Result<Lookup, String> {
    let lookup = |namespace: &str, which| Lookup {
        parameter: parameter.name.clone(),
        kind,
        namespace: kind.is_namespaced().then(|| namespace.to_owned()),
        which,
    };
    let Some(text) = found else {
        // The owner's namespace is that of what it owns.
        return match &parameter.owner_of {
            Some(owned) => {
                let pod = before.iter().find(|lookup| lookup.parameter == *owned);
                let namespace = pod.and_then(|pod| pod.namespace.as_deref()).unwrap_or(&model.namespace);
                Ok(lookup(namespace, Which::OwnerOf(owned.clone())))
            }
            None => Err(missing(parameter)),
        };
    };
    value(&parameter.of, text)?;
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace, name),
        None => (label_namespace.map_or(model.namespace.as_str(), String::as_str), text.as_str()),
    };
    if kind.is_namespaced() && !is_granted(model, namespace) {
        return Err(format!("namespace {namespace} is neither the runbook's own nor one of spec.namespaces"));
    }
    Ok(lookup(namespace, Which::Named(name.to_owned())))
}

/// True for a namespace in which the runbook's objects may be.
pub fn is_granted(model: &Model, namespace: &str) -> bool {
    namespace == model.namespace || model.namespaces.contains(namespace)
}

/// Why a text is no value of a type; a sentence without a full stop.
///
/// # Errors
/// The reason.
pub fn value(of: &Type, text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes, more than {LONGEST}", text.len()));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(format!("it has the control character U+{:04X}", u32::from(c)));
    }
    match of {
        Type::String(pattern) => {
            let labels = BTreeMap::from([(pattern.label().to_owned(), text.to_owned())]);
            if !pattern.matches(&labels) {
                return Err(format!("{text:?} does not match {} as a whole", pattern.value()));
            }
            // Nothing that a program or a path would read as something else than a value.
            if text.starts_with('-') {
                return Err(format!("{text:?} begins with a dash, which a program would read as an option"));
            }
            if text.split(['/', '\\']).any(|part| part == "..") {
                return Err(format!("{text:?} has .., which leads out of a path"));
            }
            Ok(())
        }
        Type::Integer(range) => match text.parse::<i64>() {
            Ok(n) if (range.min..=range.max).contains(&n) && n.to_string() == text => Ok(()),
            Ok(n) if n.to_string() == text => Err(format!("{n} is not within {} and {}", range.min, range.max)),
            _ => Err(format!("{text:?} is no whole number")),
        },
        Type::Enum(words) if words.iter().any(|word| word == text) => Ok(()),
        Type::Enum(words) => Err(format!("{text:?} is none of {}", words.join(", "))),
        Type::Object(kind) => {
            let (namespace, name) = text.split_once('/').map_or((None, text), |(ns, name)| (Some(ns), name));
            let fine = is_dns_name(name) && namespace.is_none_or(|ns| kind.is_namespaced() && is_dns_label(ns));
            if fine { Ok(()) } else { Err(format!("{text:?} is no name of a {}", kind.name())) }
        }
    }
}

/// True for a label of DNS, as containers, namespaces and steps are named.
pub fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// True for a name of DNS, as most objects are named.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}
