//! From the custom resource to the model, with every problem at once and in the order of the fields.

mod actions;
mod parameters;
mod scripts;
mod steps;
mod trigger;

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_api::{
    Level, Problem, Runbook, RunbookSpec,
    gate::Verify,
    runbook::{Approval, Artifacts, Budget, CircuitBreaker, ObjectKind, S3, Safety as SafetySpec},
    shape::suggest,
};
use plimsoll_slo::{duration, model::Span};
use rust_decimal::Decimal;

use crate::{
    model::{Model, Parameter, Safety, Type},
    plan::PROTECTED,
    text,
};

/// The deadline of a runbook that names none.
pub const DEFAULT_DEADLINE: Span = Span::seconds(3600);
/// The timeout of a step that names none.
pub const DEFAULT_TIMEOUT: Span = Span::seconds(300);
/// How long things settle before a verification that does not say so.
pub const DEFAULT_AFTER: Span = Span::seconds(600);
/// How long an approval is waited for by default.
pub const DEFAULT_APPROVAL: Span = Span::seconds(3600);
/// How long artifacts are kept by default.
pub const DEFAULT_TTL: &str = "7d";
/// How much artifacts may take by default.
pub const DEFAULT_QUOTA: &str = "1Gi";

const DAY: Span = Span::seconds(86_400);

/// The bounds of a runbook that names none.
pub const DEFAULT_SAFETY: Safety = Safety {
    cooldown: Span::seconds(1800),
    max_concurrent: 1,
    budget_runs: 10,
    budget_per: DAY,
    max_targets_percent: 25,
    min_healthy: 1,
    failures: 3,
    open_for: Span::seconds(3600),
};

/// A usable Runbook and what its author should still know.
#[derive(Clone, Debug)]
pub struct Valid {
    /// What is planned.
    pub model: Model,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

/// Checks everything that can be known without a server.
///
/// # Errors
/// All problems, errors and warnings, in the order of the fields.
pub fn validate(runbook: &Runbook) -> Result<Valid, Vec<Problem>> {
    let mut problems = Vec::new();
    let model = build(runbook, &mut problems);
    match model {
        Some(model) if problems.iter().all(|p| p.level == Level::Warning) => Ok(Valid { model, warnings: problems }),
        _ => Err(problems),
    }
}

/// What the checks of the steps read and write.
pub(crate) struct Context<'p> {
    /// The parameters that are usable, by name.
    pub parameters: &'p [Parameter],
    /// Names of all parameters, also of those that are not usable.
    pub names: Vec<&'p str>,
    /// Those that were used.
    pub used: BTreeSet<String>,
    /// The parameter that is acted upon.
    pub target: Option<String>,
    /// True when evidence has somewhere to go.
    pub artifacts: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Context<'_> {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>, label: &str, help: &str) {
        self.problems.push(Problem::error(path, message).label(label).help(help));
    }

    /// A field that is the name of a parameter which is an object of one of `kinds`.
    fn object(&mut self, name: &str, path: &str, kinds: &[ObjectKind]) {
        let Some(of) = self.parameter(name, path) else { return };
        let wanted = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
        let is = match of {
            Type::Object(kind) if kinds.contains(&kind) => return,
            Type::Object(kind) => format!("it is a {}", kind.name()),
            _ => "it is a value, not an object".to_owned(),
        };
        self.error(
            path,
            format!("parameter {name} is no {wanted}"),
            &is,
            &format!("name a parameter with object: {}", kinds.first().map_or("Pod", |kind| kind.name())),
        );
    }

    /// The type of a parameter; a name that there is not is told.
    fn parameter(&mut self, name: &str, path: &str) -> Option<Type> {
        self.used.insert(name.to_owned());
        if let Some(parameter) = self.parameters.iter().find(|p| p.name == name) {
            return Some(parameter.of.clone());
        }
        if !self.names.contains(&name) {
            let help = match self.names.as_slice() {
                [] => "add it to spec.parameters".to_owned(),
                names => format!("{} Or add it to spec.parameters", ended(&suggest(name, names))),
            };
            self.error(path, format!("there is no parameter {name}"), "", &help);
        }
        None
    }

    /// The kind of an object that a parameter is.
    fn kind(&self, name: &str) -> Option<ObjectKind> {
        match self.parameters.iter().find(|p| p.name == name)?.of {
            Type::Object(kind) => Some(kind),
            _ => None,
        }
    }

    /// Guards look at the target: whether another object is left alone for a while, is busy, changed, or has Pods enough
    /// is not asked.
    fn beside_target(&mut self, name: &str, path: String) {
        if let Some(target) = &self.target
            && target != name
            && self.kind(name).is_some()
        {
            self.problems.push(
                Problem::warning(path, format!("{name} is not the target"))
                    .label(format!("cooldown, minHealthy and other runs are looked at for {target} alone"))
                    .help(format!("set spec.target: {name}, or make a runbook of each")),
            );
        }
    }

    /// A container: a parameter's name where there is such a parameter, else its own.
    fn container(&mut self, name: Option<&String>, path: &str) {
        let Some(name) = name else { return };
        if self.names.contains(&name.as_str()) {
            if let Some(Type::Object(kind)) = self.parameter(name, path) {
                self.error(
                    path,
                    format!("parameter {name} is no text"),
                    &format!("it is a {}", kind.name()),
                    "name a container, or a parameter with string",
                );
            }
        } else if !crate::parameters::is_dns_label(name) {
            self.error(path, format!("{name:?} is no name of a container"), "", "use a-z, 0-9 and - between them");
        }
    }

    /// A text in which parameters may stand anywhere.
    fn text(&mut self, text: &str, path: &str) {
        for (name, _) in text::references(text) {
            self.parameter(name, path);
        }
    }

    /// A message for people, in which templates of other tools go out as they are.
    fn message(&mut self, text: &str, path: &str) {
        self.text(text, path);
        for (written, name) in text::foreign(text) {
            let help = match name {
                Some(name) if self.names.contains(&name) => format!("write $({name})"),
                Some(name) => {
                    format!("write $({name}), with a parameter {name} in spec.parameters and where it comes from")
                }
                None => "write $(name) of a parameter".to_owned(),
            };
            self.problems.push(
                Problem::warning(path, format!("{written} goes out as it is written"))
                    .label("only $(name) is filled in")
                    .help(help),
            );
        }
    }

    /// A command: parameters are whole entries, and nothing of them is a shell's or an interpreter's to run.
    fn command(&mut self, command: &[String], path: &str) {
        for (i, entry) in command.iter().enumerate() {
            let path = format!("{path}[{i}]");
            for (name, range) in text::references(entry) {
                self.parameter(name, &path);
                if range != (0..entry.len()) {
                    self.problems.push(
                        Problem::error(&path, format!("$({name}) is only a part of this entry"))
                            .label("a value stays what it is only as an entry of its own")
                            .help(format!("write $({name}) as its own entry"))
                            .span(range),
                    );
                } else if i == 0 {
                    self.error(&path, "a parameter cannot be the program", "", "name the program");
                }
            }
        }
        let is_parameter = |entry: &String| !text::references(entry).is_empty();
        if let Some((i, shell)) = scripts::shell(command, is_parameter) {
            self.error(
                format!("{path}[{i}]"),
                "a parameter never reaches a shell",
                &format!("{shell} would read it as a script"),
                "name the program itself, each argument as an entry of its own",
            );
        } else if let Some((i, program)) = scripts::script(command, is_parameter) {
            self.error(
                format!("{path}[{i}]"),
                "a parameter cannot be a script",
                &format!("{program} would run it"),
                "write the script itself, and the parameter as an entry after it",
            );
        }
    }

    /// An image by digest.
    fn image(&mut self, image: &str, path: &str) {
        let digest = image.rsplit_once("@sha256:").map(|(_, digest)| digest);
        let (label, help) = match digest {
            Some(digest) if digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                if !text::references(image).is_empty() {
                    self.error(path, "a parameter cannot choose the image", "", "write the image itself");
                }
                return;
            }
            Some(_) => ("its digest is not 64 hexadecimal digits", "copy it from the registry"),
            None => ("its tag can be moved to another image", "add the digest: registry.example/debug@sha256:..."),
        };
        self.error(path, "image is not named by its digest", label, help);
    }

    /// PromQL in which parameters are whole literals.
    fn promql(&mut self, expr: &str, path: &str) {
        self.text(expr, path);
        if let Some(range) = text::not_literal(expr) {
            self.problems.push(
                Problem::error(path, "a parameter in PromQL is a whole value in quotes")
                    .help("write it like up{pod=\"$(pod)\"}")
                    .span(range),
            );
        } else if let Err(problem) = plimsoll_slo::promql::parse(expr, path) {
            self.problems.push(problem);
        }
    }

    /// A duration within bounds.
    fn span(&mut self, text: &str, path: &str, least: Span, most: Span) -> Option<Span> {
        let field = path.rsplit('.').next().unwrap_or(path);
        match duration::parse(text, path) {
            Ok(span) if span < least => {
                self.error(path, format!("{field} is too short"), text, &format!("use at least {least}"));
                None
            }
            Ok(span) if span > most => {
                self.error(path, format!("{field} is too long"), text, &format!("use at most {most}"));
                None
            }
            Ok(span) => Some(span),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// A size.
    fn bytes(&mut self, text: Option<&String>, path: &str) {
        if let Some(text) = text
            && bytes(text).is_none()
        {
            let field = path.rsplit('.').next().unwrap_or(path);
            self.error(path, format!("{field} is not a size"), text, "write it like 512Mi or 2Gi");
        }
    }
}

/// Bytes of a log that are kept at most: it is not known to be at its end before it is.
pub const LARGEST_LOG: u64 = 64 << 20;

/// Bytes of a size such as `512Mi`.
pub fn bytes(text: &str) -> Option<u64> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)];
    let (number, shift) =
        units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift))).unwrap_or((text, 0));
    let plain = !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| number.parse::<u64>().ok()?.checked_mul(1 << shift)).flatten()
}

fn ended(text: &str) -> String {
    if text.ends_with('?') { text.to_owned() } else { format!("{text}.") }
}

/// The model, or `None` when a field without which there is none is wrong; then `problems` says so.
fn build(runbook: &Runbook, problems: &mut Vec<Problem>) -> Option<Model> {
    // Without `..`, so that a new field cannot be forgotten here.
    let RunbookSpec {
        description: _,
        owner: _,
        mode,
        service_account_name,
        trigger,
        parameters,
        target,
        namespaces,
        steps,
        verify,
        safety,
        approval,
        artifacts,
        deadline,
    } = &runbook.spec;
    let metadata = &runbook.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_else(|| plimsoll_slo::validate::DEFAULT_NAMESPACE.to_owned());

    if !crate::parameters::is_dns_name(service_account_name) {
        problems.push(
            Problem::error(
                "spec.serviceAccountName",
                format!("{service_account_name:?} is no name of a ServiceAccount"),
            )
            .help("name a ServiceAccount of this namespace; its rights are what the steps may do"),
        );
    }
    let trigger = trigger::trigger(trigger, problems);
    let usable = parameters::parameters(parameters, matches!(trigger, Some(crate::model::Trigger::Manual)), problems);
    for (i, other) in namespaces.iter().enumerate() {
        let path = format!("spec.namespaces[{i}]");
        if *other == namespace {
            problems.push(Problem::warning(path, format!("{other} is the runbook's own namespace")).help("remove it"));
        } else if !crate::parameters::is_dns_label(other) {
            problems
                .push(Problem::error(path, format!("{other:?} is no name of a namespace")).help("use a-z, 0-9 and -"));
        } else if PROTECTED.contains(&other.as_str()) {
            problems.push(
                Problem::warning(path, format!("{other} is the cluster's own, and no runbook acts there"))
                    .label("every run on an object of it is refused")
                    .help("remove it"),
            );
        }
    }
    let mut context = Context {
        parameters: &usable,
        names: parameters.iter().map(|p| p.name.as_str()).collect(),
        used: BTreeSet::new(),
        target: None,
        artifacts: artifacts.is_some(),
        problems: Vec::new(),
    };
    let target = self::target(target.as_deref(), &usable, &mut context);
    context.target.clone_from(&target);
    let deadline = match deadline {
        Some(text) => context.span(text, "spec.deadline", Span::seconds(1), DAY),
        None => Some(DEFAULT_DEADLINE),
    };
    let steps = steps::steps(steps, deadline, &mut context);
    let verify = verify.as_ref().and_then(|verify| self::verify(verify, "spec.verify", &mut context));
    let safety = self::safety(safety.as_ref(), &mut context);
    if let Some(steps) = &steps {
        steps::nothing_to_undo(steps, verify.as_ref(), &mut context);
    }
    if let (Some(steps), Some(safety)) = (&steps, &safety) {
        steps::shares(steps, safety.max_targets_percent, &mut context);
    }
    let (within, notify) = match approval {
        Some(Approval { within, notify }) => {
            let span = within.as_ref().and_then(|t| context.span(t, "spec.approval.within", Span::seconds(60), DAY));
            (span.unwrap_or(DEFAULT_APPROVAL), notify.clone())
        }
        None => (DEFAULT_APPROVAL, None),
    };
    let artifacts = artifacts.as_ref().and_then(|artifacts| self::artifacts(artifacts, &mut context));
    unused(parameters, &mut context);
    let Context { problems: more, .. } = context;
    problems.extend(more);
    Some(Model {
        namespace,
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        mode: mode.unwrap_or_default(),
        service_account_name: service_account_name.clone(),
        trigger: trigger?,
        parameters: usable,
        target,
        namespaces: namespaces.iter().cloned().collect(),
        steps: steps?,
        verify,
        safety: safety?,
        approval_within: within,
        approval_notify: notify,
        artifacts,
        deadline: deadline?,
    })
}

fn target(named: Option<&str>, parameters: &[Parameter], context: &mut Context<'_>) -> Option<String> {
    match named {
        Some(name) => {
            match context.parameter(name, "spec.target") {
                Some(Type::Object(_)) | None => {}
                Some(_) => {
                    let message = format!("parameter {name} is no object");
                    context.error("spec.target", message, "", "name a parameter with object");
                }
            }
            Some(name.to_owned())
        }
        None => parameters.iter().find(|p| matches!(p.of, Type::Object(_))).map(|p| p.name.clone()),
    }
}

/// A verification with its defaults, of a step or of the whole.
pub(crate) fn verify(verify: &Verify, path: &str, context: &mut Context<'_>) -> Option<Verify> {
    let Verify { slo, after, below, on_failure, escalate_to } = verify;
    if !crate::parameters::is_dns_name(slo) {
        context.error(
            format!("{path}.slo"),
            format!("{slo:?} is no name of an SLO"),
            "",
            "name an SLO of this namespace",
        );
    }
    let after = match after {
        Some(text) => context.span(text, &format!("{path}.after"), Span::seconds(10), DAY)?,
        None => DEFAULT_AFTER,
    };
    let below = below.clone().unwrap_or_else(|| "1".to_owned());
    if decimal(&below).is_none_or(|rate| rate.is_zero()) {
        context.error(format!("{path}.below"), "below is not a positive decimal", &below, "write it like \"1\"");
    }
    let on_failure = on_failure.unwrap_or_default();
    Some(Verify {
        slo: slo.clone(),
        after: Some(after.to_string()),
        below: Some(below),
        on_failure: Some(on_failure),
        escalate_to: escalate_to.clone(),
    })
}

/// A decimal without a sign, as the schema has it.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| text.parse().ok()).flatten()
}

fn safety(spec: Option<&SafetySpec>, context: &mut Context<'_>) -> Option<Safety> {
    let mut safety = DEFAULT_SAFETY;
    let Some(SafetySpec { cooldown, max_concurrent, budget, max_targets_percent, min_healthy, circuit_breaker }) = spec
    else {
        return Some(safety);
    };
    let week = Span::seconds(7 * 86_400);
    if let Some(text) = cooldown {
        safety.cooldown = context.span(text, "spec.safety.cooldown", Span::seconds(1), week)?;
    }
    if let Some(Budget { runs, per }) = budget {
        safety.budget_per = context.span(per, "spec.safety.budget.per", Span::seconds(60), week)?;
        safety.budget_runs = *runs;
    }
    if let Some(CircuitBreaker { failures, open_for }) = circuit_breaker {
        safety.open_for = context.span(open_for, "spec.safety.circuitBreaker.openFor", Span::seconds(60), week)?;
        safety.failures = *failures;
    }
    let numbers = [
        (max_concurrent, &mut safety.max_concurrent),
        (max_targets_percent, &mut safety.max_targets_percent),
        (min_healthy, &mut safety.min_healthy),
    ];
    for (given, field) in numbers {
        if let Some(given) = given {
            *field = *given;
        }
    }
    Some(safety)
}

fn artifacts(artifacts: &Artifacts, context: &mut Context<'_>) -> Option<Artifacts> {
    let Artifacts { volume, s3, ttl, quota } = artifacts;
    if volume.is_some() == s3.is_some() {
        let help = "write {volume: NAME} or {s3: {bucket: NAME}}";
        context.error("spec.artifacts", "artifacts has exactly one of volume and s3", "", help);
    }
    if let Some(S3 { prefix: Some(prefix), .. }) = s3
        && (prefix.starts_with('/') || prefix.split('/').any(|part| part == ".."))
    {
        context.error(
            "spec.artifacts.s3.prefix",
            "prefix leads out of the bucket's keys",
            prefix,
            "use names and / between them",
        );
    }
    if s3.as_ref().is_some_and(|s3| s3.store.is_none() && s3.secret_name.is_none()) {
        let help =
            "name a Secret in s3.secretName, or a store of the operator's configuration that has keys in s3.store";
        context.error("spec.artifacts.s3", "nobody has keys for the bucket", "", help);
    }
    context.bytes(quota.as_ref(), "spec.artifacts.quota");
    if let Some(text) = ttl {
        context.span(text, "spec.artifacts.ttl", Span::seconds(3600), Span::seconds(366 * 86_400));
    }
    Some(Artifacts {
        volume: volume.clone(),
        s3: s3.clone(),
        ttl: Some(ttl.clone().unwrap_or_else(|| DEFAULT_TTL.to_owned())),
        quota: Some(quota.clone().unwrap_or_else(|| DEFAULT_QUOTA.to_owned())),
    })
}

fn unused(parameters: &[plimsoll_api::runbook::Parameter], context: &mut Context<'_>) {
    let owners: BTreeMap<&str, &str> =
        parameters.iter().filter_map(|p| Some((p.owner_of.as_deref()?, p.name.as_str()))).collect();
    for (i, parameter) in parameters.iter().enumerate() {
        let name = parameter.name.as_str();
        let first_object = parameters.iter().find(|p| p.object.is_some()).is_some_and(|p| p.name == name);
        if !context.used.contains(name) && !owners.contains_key(name) && !first_object {
            context.problems.push(
                Problem::warning(format!("spec.parameters[{i}].name"), format!("no step uses parameter {name}"))
                    .help(format!("use it as {name} or $({name}), or remove it")),
            );
        }
    }
}
