//! `spec.parameters`.

use plimsoll_api::{
    Problem,
    runbook::{ObjectKind, Parameter as Spec},
    shape::suggest,
};
use plimsoll_slo::re2;

use crate::{
    matcher::Matcher,
    model::{Parameter, Type},
    parameters::{is_dns_label, value},
};

/// The parameters that are usable, an owner after what it owns.
pub(super) fn parameters(specs: &[Spec], manual: bool, problems: &mut Vec<Problem>) -> Vec<Parameter> {
    let mut built = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("spec.parameters[{i}]");
        if specs.iter().take(i).any(|other| other.name == spec.name) {
            problems.push(
                Problem::error(format!("{path}.name"), format!("parameter {} is there twice", spec.name))
                    .help("rename one"),
            );
            continue;
        }
        if let Some(of) = self::of(spec, &path, problems) {
            let parameter = Parameter {
                name: spec.name.clone(),
                of,
                from_label: spec.from_label.clone(),
                from_query: spec.from_query.clone(),
                owner_of: spec.owner_of.clone(),
                default: spec.default.clone(),
            };
            source(spec, specs, &parameter, manual, &path, problems);
            built.push(parameter);
        }
    }
    built.sort_by_key(|parameter| parameter.owner_of.is_some());
    built
}

fn of(spec: &Spec, path: &str, problems: &mut Vec<Problem>) -> Option<Type> {
    if !is_dns_label(&spec.name) {
        problems.push(
            Problem::error(format!("{path}.name"), format!("{:?} is no name of a parameter", spec.name))
                .help("use a-z, 0-9 and - between them"),
        );
        return None;
    }
    match (&spec.string, &spec.integer, &spec.r#enum, &spec.object) {
        (Some(pattern), None, None, None) => string(pattern, &format!("{path}.string"), problems),
        (None, Some(range), None, None) if range.min > range.max => {
            problems.push(
                Problem::error(format!("{path}.integer"), "min is above max")
                    .label(format!("{} against {}", range.min, range.max))
                    .help("swap them"),
            );
            None
        }
        (None, Some(range), None, None) => Some(Type::Integer(*range)),
        (None, None, Some(words), None) => Some(Type::Enum(words.clone())),
        (None, None, None, Some(kind)) => Some(Type::Object(*kind)),
        _ => {
            problems.push(
                Problem::error(path, "a parameter has exactly one of string, integer, enum and object")
                    .help("write it like {name: pod, object: Pod, fromLabel: pod}"),
            );
            None
        }
    }
}

fn string(pattern: &str, path: &str, problems: &mut Vec<Problem>) -> Option<Type> {
    if let Some(complaint) = re2::complaint(pattern) {
        problems.push(
            Problem::error(path, "string has a broken regular expression")
                .label(complaint.message)
                .help(complaint.help),
        );
        return None;
    }
    if re2::matches_everything(pattern) {
        problems.push(
            Problem::error(path, "string takes everything")
                .label("a label could then be anything at all")
                .help("name the characters that are meant, such as [a-z0-9-]{1,63}"),
        );
        return None;
    }
    let quoted = plimsoll_slo::promql::quote(pattern);
    match Matcher::parse(&format!("value=~{quoted}"), path) {
        Ok(matcher) => Some(Type::String(matcher)),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// Where the value comes from.
fn source(spec: &Spec, all: &[Spec], parameter: &Parameter, manual: bool, path: &str, problems: &mut Vec<Problem>) {
    if spec.from_label.is_some() && spec.owner_of.is_some() {
        problems.push(Problem::error(path, "a parameter has one of fromLabel and ownerOf").help("remove one"));
    }
    if let Some(query) = &spec.from_query {
        let at = format!("{path}.fromQuery");
        if let Err(problem) = plimsoll_slo::promql::parse(query, &at) {
            problems.push(problem);
        }
        if spec.object.is_none() {
            problems.push(
                Problem::error(at.clone(), "fromQuery picks an object, and this is a value").help("add object: Pod"),
            );
        }
        if spec.from_label.is_none() {
            problems.push(
                Problem::error(at, "fromQuery wants fromLabel, the label of its series").help("add fromLabel: pod"),
            );
        }
    }
    if let Some(label) = &spec.from_label
        && !plimsoll_slo::promql::is_label(label)
    {
        problems.push(
            Problem::error(format!("{path}.fromLabel"), format!("{label:?} is no name of a label"))
                .help("use letters, digits and _, not beginning with a digit"),
        );
    }
    if let Some(owned) = &spec.owner_of {
        owner(owned, all, parameter, &format!("{path}.ownerOf"), problems);
    }
    if spec.from_label.is_none() && spec.owner_of.is_none() && spec.default.is_none() && !manual {
        problems.push(
            Problem::error(path, format!("nothing says what {} is", spec.name))
                .label("a trigger brings labels only")
                .help("add fromLabel, ownerOf or default"),
        );
    }
    if let Some(default) = &spec.default
        && let Err(why) = value(&parameter.of, default)
    {
        problems.push(
            Problem::error(format!("{path}.default"), format!("default is not what {} takes", spec.name))
                .label(why)
                .help("write a value of its own type"),
        );
    }
}

fn owner(owned: &str, all: &[Spec], parameter: &Parameter, path: &str, problems: &mut Vec<Problem>) {
    let workloads = [ObjectKind::Deployment, ObjectKind::StatefulSet, ObjectKind::DaemonSet, ObjectKind::Node];
    let wrong = match all.iter().find(|other| other.name == owned) {
        None => {
            let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).filter(|n| *n != parameter.name).collect();
            Some((format!("there is no parameter {owned}"), suggest(owned, &names)))
        }
        Some(other) if other.object != Some(ObjectKind::Pod) => {
            Some((format!("parameter {owned} is no Pod"), "name a parameter with object: Pod".to_owned()))
        }
        Some(_) => match parameter.of {
            Type::Object(kind) if workloads.contains(&kind) => None,
            _ => Some((
                "ownerOf is of a workload or Node".to_owned(),
                "write object: Deployment, StatefulSet, DaemonSet or Node (the one it runs on)".to_owned(),
            )),
        },
    };
    if let Some((message, help)) = wrong {
        problems.push(Problem::error(path, message).help(help));
    }
}
