//! From a runbook, what happened and what the objects are like, to an execution: everything is decided here, once.
//!
//! What a step does later depends on nothing but the execution's spec and the time at which it was made. So a step
//! that is done again after a crash sends the same requests.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{
    RunbookExecutionSpec,
    action::{Action, Annotate, Job, Scale, Silence, TelemetryLevel, TelemetryProfile},
    chaos::ChaosEngine,
    execution::{Evidence, Facts, ObjectRef, RunbookRef, TriggerKind},
    runbook::{Mode, ObjectKind, Step},
};
use plimsoll_slo::{model::Span, promql::quote};

use crate::{
    Act, lacking,
    matcher::Matcher,
    model::{Model, Trigger, seconds},
    names, text,
};

/// What the operator's configuration says to every runbook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The operator's own namespace, in which no runbook acts.
    pub operator_namespace: String,
    /// What an image may begin with, such as `registry.example/debug/`; images are named by digest besides. None:
    /// no image is allowed.
    pub images: Vec<String>,
    /// Names of destinations for messages.
    pub destinations: Vec<String>,
    /// Names of volumes for evidence.
    pub volumes: Vec<String>,
}

impl Settings {
    /// Whether it is a namespace in which no runbook acts.
    pub fn protects(&self, namespace: &str) -> bool {
        PROTECTED.contains(&namespace) || namespace == self.operator_namespace
    }
}

/// Namespaces in which no runbook acts, besides the operator's own.
pub const PROTECTED: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// How long after somebody has asked for a run it may still begin: it was meant for then.
pub const BY_HAND: SignedDuration = SignedDuration::from_mins(10);

/// An execution to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name: making it under this name is what keeps it from being made twice.
    pub name: String,
    /// Its labels, by which history is found.
    pub labels: BTreeMap<String, String>,
    /// Its spec.
    pub spec: RunbookExecutionSpec,
    /// The hash of that.
    pub spec_hash: String,
    /// What somebody should know, in sentences; nothing that keeps it from being done.
    pub notes: Vec<String>,
}

/// Plans a run.
///
/// `values` and `objects` are what [`crate::parameters::resolve`] and looking up have found: an object for each
/// lookup, with its facts.
///
/// # Errors
/// Everything that keeps it from being done whenever it is tried, each a sentence without a full stop.
pub fn plan(
    model: &Model,
    settings: &Settings,
    evidence: Evidence,
    values: &BTreeMap<String, String>,
    objects: Vec<ObjectRef>,
    traceparent: Option<String>,
) -> Result<Planned, Vec<String>> {
    let mut planner =
        Planner { model, settings, values: values.clone(), objects: &objects, wrong: Vec::new(), notes: Vec::new() };
    // Jobs are made there, and alerts of there are silenced: what has no object is held to this as well.
    planner.protect("Runbook", &model.namespace, &model.name);
    for object in &objects {
        if let Some(namespace) = &object.namespace {
            planner.protect(object.kind.name(), namespace, &object.name);
        }
        // Texts say an object's name alone.
        planner.values.insert(object.parameter.clone(), object.name.clone());
    }
    let steps: Vec<Step> = model.steps.iter().map(|step| planner.step(step)).collect();
    planner.told("spec.approval.notify", model.approval_notify.as_ref());
    planner.told("spec.verify.escalateTo", model.verify.as_ref().and_then(|verify| verify.escalate_to.as_ref()));
    let Planner { mut wrong, notes, .. } = planner;
    wrong.extend(lacking::volume(model, settings));
    let target_uid = match &model.target {
        Some(target) => match objects.iter().find(|object| object.parameter == *target) {
            Some(object) => object.uid.clone(),
            None => {
                wrong.push(format!("the target {target} was not found"));
                String::new()
            }
        },
        None => String::new(),
    };
    let starts_at = evidence.starts_at.0;
    let start_by = start_by(model, &evidence);
    // What a query picks may be another object the next time, and the alert is the same.
    let is_picked =
        model.target.as_ref().and_then(|target| model.parameter(target)).is_some_and(|p| p.from_query.is_some());
    let of = if is_picked { "" } else { target_uid.as_str() };
    let name = names::execution(&model.name, &model.uid, &evidence.fingerprint, starts_at, of);
    let labels = [
        (names::MANAGED_BY.0, names::MANAGED_BY.1.to_owned()),
        (names::RUNBOOK, label_value(&model.name)),
        (names::RUNBOOK_UID, model.uid.clone()),
        (names::TARGET_UID, target_uid),
        (names::FINGERPRINT, evidence.fingerprint.clone()),
    ];
    let spec = RunbookExecutionSpec {
        runbook: RunbookRef { name: model.name.clone(), uid: model.uid.clone(), generation: model.generation },
        trigger: evidence,
        parameters: values.clone(),
        objects: objects.clone(),
        target: model.target.clone(),
        mode: model.mode,
        service_account_name: model.service_account_name.clone(),
        steps,
        verify: model.verify.clone(),
        artifacts: model.artifacts.clone(),
        deadline: model.deadline.to_string(),
        approval_within: (model.mode == Mode::Approve).then(|| model.approval_within.to_string()),
        start_by,
        begun: None,
        cooldown: model.safety.cooldown.to_string(),
        traceparent,
    };
    let spec_hash = match names::spec_hash(&spec) {
        Ok(hash) => hash,
        Err(error) => {
            wrong.push(format!("the execution cannot be written: {error}"));
            String::new()
        }
    };
    if !wrong.is_empty() {
        wrong.dedup();
        return Err(wrong);
    }
    let labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect();
    Ok(Planned { name, labels, spec, spec_hash, notes })
}

/// That somebody keeps an object as it is elsewhere.
fn kept(step: &str, object: &ObjectRef) -> Option<String> {
    let keeper = object.facts.managed_by.as_ref()?;
    let (kind, name) = (object.kind.name(), &object.name);
    Some(format!("step {step}: {keeper} keeps {kind} {name} as it is in Git and may undo the change"))
}

/// What somebody should know of a run before it is done, in sentences: who may undo what its steps change.
pub fn keepers(spec: &RunbookExecutionSpec) -> Vec<String> {
    let changed = |step: &Step| match Act::of(&step.action)? {
        Act::Restart(restart) => Some(restart.workload.clone()),
        Act::Rollback(rollback) => Some(rollback.workload.clone()),
        Act::Scale(scale) => Some(scale.workload.clone()),
        Act::TelemetryProfile(profile) => Some(profile.object.clone()),
        _ => None,
    };
    let object = |step: &Step| {
        let parameter = changed(step)?;
        let object = spec.objects.iter().find(|object| object.parameter == parameter)?;
        kept(&step.name, object)
    };
    spec.steps.iter().filter_map(object).collect()
}

/// Until when a run may begin that was meant for a moment. What has a condition may begin as long as that holds.
fn start_by(model: &Model, evidence: &Evidence) -> Option<Time> {
    let within = match (evidence.kind, &model.trigger) {
        (TriggerKind::Manual, _) => BY_HAND,
        (TriggerKind::Schedule, Trigger::Schedule(schedule)) => SignedDuration::from_secs(schedule.starting_deadline),
        _ => return None,
    };
    evidence.starts_at.0.saturating_add(within).ok().map(Time)
}

/// A name as a label's value, which is shorter than a name may be.
fn label_value(name: &str) -> String {
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

struct Planner<'p> {
    model: &'p Model,
    settings: &'p Settings,
    values: BTreeMap<String, String>,
    objects: &'p [ObjectRef],
    wrong: Vec<String>,
    notes: Vec<String>,
}

impl Planner<'_> {
    fn protect(&mut self, kind: &str, namespace: &str, name: &str) {
        if self.settings.protects(namespace) {
            self.wrong.push(format!("{kind} {namespace}/{name} is in a protected namespace"));
        }
    }

    fn object(&mut self, parameter: &str) -> Option<ObjectRef> {
        let found = self.objects.iter().find(|object| object.parameter == parameter).cloned();
        if found.is_none() {
            self.wrong.push(format!("the object {parameter} was not found"));
        }
        found
    }

    /// The facts of an object; none when it was not found, which is told already.
    fn facts(&mut self, parameter: &str) -> Facts {
        self.object(parameter).map(|object| object.facts).unwrap_or_default()
    }

    /// A destination that a person named.
    fn told(&mut self, place: &str, destination: Option<&String>) {
        if let Some(name) = destination.filter(|name| !self.settings.destinations.contains(name)) {
            self.wrong.push(lacking::destination(place, name, self.settings));
        }
    }

    fn step(&mut self, step: &Step) -> Step {
        let Step { name, timeout, on_failure, compensate, action } = step;
        Step {
            name: name.clone(),
            timeout: timeout.clone(),
            on_failure: *on_failure,
            compensate: compensate.as_ref().map(|undo| Box::new(self.action(name, undo))),
            action: self.action(name, action),
        }
    }

    fn fill(&self, text: &str) -> String {
        text::fill(text, &self.values)
    }

    fn fill_all(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.fill(text)).collect()
    }

    /// The container's own name; the Pod's only one when none is named.
    fn container(&mut self, step: &str, pod: &str, named: Option<&String>) -> Option<String> {
        let facts = self.facts(pod);
        let name = match named {
            Some(name) => self.values.get(name).unwrap_or(name).clone(),
            None => match facts.containers.as_slice() {
                [only] => only.clone(),
                several => {
                    self.wrong.push(format!(
                        "step {step}: the Pod has {} containers ({}); name one",
                        several.len(),
                        several.join(", ")
                    ));
                    return None;
                }
            },
        };
        if !facts.containers.contains(&name) {
            self.wrong
                .push(format!("step {step}: the Pod has no container {name}, only {}", facts.containers.join(", ")));
        }
        Some(name)
    }

    fn image(&mut self, step: &str, image: &str) {
        if !lacking::is_allowed(image, self.settings) {
            self.wrong.push(lacking::image_of(&format!("step {step}"), image, self.settings));
        }
    }

    /// A change that somebody else would undo is said.
    fn kept(&mut self, step: &str, parameter: &str) {
        if let Some(object) = self.object(parameter) {
            self.notes.extend(kept(step, &object));
        }
    }

    fn action(&mut self, step: &str, action: &Action) -> Action {
        let mut filled = action.clone();
        let Some(act) = Act::of(action) else {
            self.wrong.push(format!("step {step} has not exactly one action"));
            return filled;
        };
        match act {
            Act::Logs(logs) => {
                let container = self.container(step, &logs.pod, logs.container.as_ref());
                filled.logs = Some(plimsoll_api::action::Logs { container, ..logs.clone() });
            }
            Act::DebugContainer(debug) => {
                self.image(step, &debug.image);
                let target = self.container(step, &debug.pod, debug.target.as_ref());
                let command = self.fill_all(&debug.command);
                filled.debug_container =
                    Some(plimsoll_api::action::DebugContainer { target, command, ..debug.clone() });
            }
            Act::Profile(profile) => {
                self.object(&profile.pod);
            }
            Act::HeapDump(dump) => {
                if let Some(core) = &dump.core {
                    self.image(step, &core.image);
                }
                let container = self.container(step, &dump.pod, dump.container.as_ref());
                filled.heap_dump = Some(plimsoll_api::action::HeapDump { container, ..dump.clone() });
            }
            Act::Exec(exec) => {
                let container = self.container(step, &exec.pod, exec.container.as_ref());
                let command = self.fill_all(&exec.command);
                filled.exec = Some(plimsoll_api::action::Exec { container, command, ..exec.clone() });
            }
            Act::Describe(describe) => {
                self.object(&describe.object);
            }
            Act::Job(job) => {
                self.image(step, &job.image);
                let env = job.env.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect();
                filled.job = Some(Job { command: self.fill_all(&job.command), env, ..job.clone() });
            }
            Act::Scale(scale) => filled.scale = Some(self.scale(step, scale)),
            Act::Restart(restart) => self.kept(step, &restart.workload),
            Act::Rollback(rollback) => {
                self.kept(step, &rollback.workload);
                let facts = self.facts(&rollback.workload);
                match facts.earlier {
                    None => self.wrong.push(match rollback.revision {
                        Some(revision) => format!("step {step}: there is no revision {revision} to go back to"),
                        None => format!("step {step}: there is no earlier revision to go back to"),
                    }),
                    // Of one Deployment, one earlier revision is looked up.
                    Some(earlier) if rollback.revision.is_some_and(|revision| revision != earlier.revision) => {
                        self.wrong.push(format!(
                            "step {step}: another step takes {} to revision {}; one runbook goes back to one revision of a Deployment",
                            rollback.workload, earlier.revision
                        ));
                    }
                    Some(earlier) => {
                        filled.rollback = Some(plimsoll_api::action::Rollback {
                            revision: Some(earlier.revision),
                            ..rollback.clone()
                        })
                    }
                }
            }
            Act::EvictPod(evict) => {
                self.object(&evict.pod);
            }
            Act::Cordon(cordon) => {
                self.object(&cordon.node);
            }
            Act::Chaos(chaos) => {
                if self.object(&chaos.object).is_some_and(|object| object.facts.pod_labels.is_empty()) {
                    self.wrong.push(format!(
                        "step {step}: {} has no labels by which exactly its Pods are found, so the fault could hit others",
                        chaos.object
                    ));
                }
                let mut chaos = chaos.clone();
                if let Some(ChaosEngine { env, .. }) = &mut chaos.chaos_engine {
                    env.values_mut().for_each(|value| *value = text::fill(value, &self.values));
                }
                filled.chaos = Some(chaos);
            }
            Act::TelemetryProfile(profile) => filled.telemetry_profile = Some(self.telemetry(step, profile)),
            Act::Silence(silence) => filled.silence = Some(self.silence(silence)),
            Act::Notify(notify) => {
                self.told(&format!("step {step}"), Some(&notify.destination));
                let message = self.fill(&notify.message);
                filled.notify = Some(plimsoll_api::action::Notify { message, ..notify.clone() });
            }
            Act::Annotate(annotate) => {
                let (text, tags) = (self.fill(&annotate.text), self.fill_all(&annotate.tags));
                filled.annotate = Some(Annotate { text, tags, ..annotate.clone() });
            }
            Act::Query(query) => {
                let expr = text::fill_promql(&query.expr, &self.values);
                filled.query = Some(plimsoll_api::gate::Query { expr, ..query.clone() });
            }
            Act::Verify(verify) => self.told(&format!("step {step}"), verify.escalate_to.as_ref()),
            Act::Wait(_) => {}
        }
        filled
    }

    /// To a number: reckoned once, so that doing it again is the same.
    fn scale(&mut self, step: &str, scale: &Scale) -> Scale {
        self.kept(step, &scale.workload);
        let facts = self.facts(&scale.workload);
        if let Some(autoscaler) = &facts.autoscaler {
            self.wrong.push(format!(
                "step {step}: HorizontalPodAutoscaler {autoscaler} has the workload and would undo it; change its bounds instead"
            ));
        }
        let now = match facts.replicas {
            Some(now) => now,
            None if scale.replicas.is_some() => 0,
            None => {
                self.wrong.push(format!("step {step}: it is not known how many replicas there are"));
                0
            }
        };
        let wanted = match (scale.replicas, scale.by, scale.percent) {
            (Some(replicas), _, _) => replicas,
            (_, Some(by), _) => now.saturating_add(by),
            (_, _, Some(percent)) => now.saturating_mul(percent).saturating_add(99) / 100,
            _ => now,
        };
        let least = scale.min.unwrap_or(1);
        // To more never becomes to fewer, nor the other way round, whatever the bounds say.
        let (more, fewer) = match (scale.by, scale.percent) {
            (Some(by), _) => (by > 0, by < 0),
            (_, Some(percent)) => (percent > 100, percent < 100),
            _ => (false, false),
        };
        let kind = self.object(&scale.workload).map_or("workload", |object| object.kind.name());
        if (more || fewer) && now == 0 && facts.replicas.is_some() {
            self.wrong
                .push(format!("step {step}: the {kind} has 0 replicas: somebody has turned it off, so it stays so"));
        } else if more && now > scale.max {
            self.wrong.push(format!("step {step}: the {kind} has {now} replicas, above max {} already", scale.max));
        } else if fewer && now < least {
            self.wrong.push(format!("step {step}: the {kind} has {now} replicas, below min {least} already"));
        }
        Scale {
            workload: scale.workload.clone(),
            replicas: Some(wanted.min(scale.max).max(least)),
            by: None,
            percent: None,
            min: Some(least),
            max: scale.max,
        }
    }

    fn telemetry(&mut self, step: &str, profile: &TelemetryProfile) -> TelemetryProfile {
        self.kept(step, &profile.object);
        let (interval, sampling) = match profile.profile {
            TelemetryLevel::Prod => ("60s", 1),
            TelemetryLevel::Staging => ("30s", 10),
            TelemetryLevel::Debug => ("5s", 100),
        };
        if let Some(object) = self.object(&profile.object) {
            let collector = object.kind == ObjectKind::OpenTelemetryCollector;
            if collector && object.facts.sampling.is_none() {
                self.wrong.push(format!(
                    "step {step}: {} has no processor probabilistic_sampler whose percentage could be raised",
                    object.name
                ));
            }
            if !collector && object.facts.intervals.is_empty() {
                self.wrong.push(format!("step {step}: {} has no endpoint", object.name));
            }
        }
        TelemetryProfile {
            r#for: Some(profile.r#for.clone().unwrap_or_else(|| "1h".to_owned())),
            interval: Some(profile.interval.clone().unwrap_or_else(|| interval.to_owned())),
            sampling: Some(profile.sampling.unwrap_or(sampling)),
            ..profile.clone()
        }
    }

    /// Values are put into the matchers as values; the namespace is always one of them.
    fn silence(&mut self, silence: &Silence) -> Silence {
        let mut matchers: Vec<String> = silence
            .matchers
            .iter()
            .map(|text| {
                let Ok(matcher) = Matcher::parse(text, "") else { return text.clone() };
                match text::whole(matcher.value()).and_then(|name| self.values.get(name)) {
                    Some(value) => {
                        let sign = if matcher.flags().1 { "=" } else { "!=" };
                        format!("{}{sign}{}", matcher.label(), quote(value))
                    }
                    None => text.clone(),
                }
            })
            .collect();
        matchers
            .retain(|text| !Matcher::parse(text, "").is_ok_and(|m| m.label() == crate::parameters::NAMESPACE_LABEL));
        matchers.push(format!("{}={}", crate::parameters::NAMESPACE_LABEL, quote(&self.model.namespace)));
        Silence { matchers, r#for: silence.r#for.clone(), comment: self.fill(&silence.comment) }
    }
}

/// How long a telemetry profile lasts, in seconds.
pub fn lease(profile: &TelemetryProfile) -> i64 {
    seconds(profile.r#for.as_deref(), Span::seconds(3600))
}
