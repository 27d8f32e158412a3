//! Whether a run may start now. Every guard is asked, so that a person reads all reasons at once; what cannot be known
//! refuses.
//!
//! All counting is over the executions that the API server has, so a restart or another leader forgets nothing.

mod at_risk;
mod taken;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use plimsoll_api::{
    RunbookExecutionSpec,
    execution::{Facts, ObjectRef, Phase},
    runbook::{Mode, ObjectKind, Step},
};
use plimsoll_slo::model::Span;

pub use at_risk::{SloNow, at_risk, fault_namespaces};

use taken::Taken;

pub use crate::hits::{Hits, takes, workload};
use crate::{
    Act, hits,
    model::Safety,
    plan::{PROTECTED, Settings},
};

/// What is known at the moment. `None` is what could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Circumstances {
    /// The kill switch: everything is paused.
    pub paused: Option<bool>,
    /// The runbook's mode now, which may have changed since the run was planned; `Some(None)`: it was deleted.
    pub mode: Option<Option<Mode>>,
    /// The runbook's other executions, this one left out.
    pub history: Option<Vec<Past>>,
    /// Executions of any runbook that have something of [`holds`] too and have not ended, this one left out.
    pub same_target: Option<Vec<String>>,
    /// Executions of any runbook that take Pods of the same [`workload`] and have not ended, this one left out.
    pub same_workload: Option<Vec<Past>>,
    /// SLOs of the namespace, and of those of [`fault_namespaces`].
    pub slos: Option<Vec<SloNow>>,
    /// SLOs that verifications of the run name, and whether there is such a one: an SLO of the namespace, or one whose burn
    /// rate Prometheus records; `None`: it cannot be known.
    pub verifies: Vec<(String, Option<bool>)>,
    /// Whether the ServiceAccount exists and who wrote the runbook may use it.
    pub author_may: Option<bool>,
    /// Who wrote the runbook as it is now, when that is somebody else than who wrote what this run does.
    pub other_author: Option<String>,
    /// Whether who asked for the run by hand may use the ServiceAccount; true where nobody asked.
    pub asker_may: Option<bool>,
    /// Facts of the target as they are now; of an object that is not there any more, `Some(None)`.
    pub target: Option<Option<Facts>>,
}

/// Another execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Its name.
    pub name: String,
    /// The UID of its target; `""` without one.
    pub target_uid: String,
    /// The UID of the workload that its target is, or belongs to.
    pub workload_uid: Option<String>,
    /// How many Pods of that it takes; `None`: nobody knows.
    pub takes: Option<Hits>,
    /// How far it is.
    pub phase: Phase,
    /// When it began to run; `None`: it never did, and counts for nothing.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// False for one that would only have been done (mode DryRun).
    pub real: bool,
}

/// Which guard refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Everything is paused, or it cannot be known.
    Paused,
    /// The runbook's mode is Off, or it was deleted.
    Off,
    /// The runbook's mode lets it go less far than when the run was planned.
    ModeLowered,
    /// A namespace in which no runbook acts.
    ProtectedNamespace,
    /// The target is not there any more.
    TargetGone,
    /// Somebody has changed what the run would change, since it was planned.
    Changed,
    /// Who wrote the runbook, or asked for the run, may not use its ServiceAccount.
    NotAllowed,
    /// Another run has the same target, or measures the same object more closely.
    TargetBusy,
    /// As many runs as there may be at the same time.
    MaxConcurrent,
    /// The target was acted upon a short time ago.
    Cooldown,
    /// As many runs as there may be in a time.
    Budget,
    /// It failed again and again.
    CircuitBreaker,
    /// Too many Pods of the workload were acted upon.
    MaxTargets,
    /// Too few Pods are ready.
    MinHealthy,
    /// An SLO burns or has too little budget for a fault.
    SloAtRisk,
    /// Something that a guard must know could not be read.
    NotKnown,
}

impl Guard {
    /// The reason of the phase: one word.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Paused => "Paused",
            Self::Off => "Off",
            Self::ModeLowered => "ModeLowered",
            Self::ProtectedNamespace => "ProtectedNamespace",
            Self::TargetGone => "TargetGone",
            Self::Changed => "Changed",
            Self::NotAllowed => "NotAllowed",
            Self::TargetBusy => "TargetBusy",
            Self::MaxConcurrent => "MaxConcurrent",
            Self::Cooldown => "Cooldown",
            Self::Budget => "Budget",
            Self::CircuitBreaker => "CircuitBreaker",
            Self::MaxTargets => "MaxTargets",
            Self::MinHealthy => "MinHealthy",
            Self::SloAtRisk => "SloAtRisk",
            Self::NotKnown => "NotKnown",
        }
    }

    /// True when waiting does not help: the run is skipped instead of held back.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Off | Self::ModeLowered | Self::ProtectedNamespace | Self::TargetGone | Self::Changed)
    }
}

/// A guard that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub guard: Guard,
    /// Why, a sentence without a full stop.
    pub message: String,
    /// When it may let the run go, where that is known.
    pub until: Option<Timestamp>,
}

/// Every guard that refuses; none: the run may start.
pub fn check(
    spec: &RunbookExecutionSpec,
    safety: &Safety,
    settings: &Settings,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Vec<Refusal> {
    let mut check = Check { spec, safety, settings, circumstances, now, refusals: Vec::new() };
    check.all();
    check.refusals
}

struct Check<'c> {
    spec: &'c RunbookExecutionSpec,
    safety: &'c Safety,
    settings: &'c Settings,
    circumstances: &'c Circumstances,
    now: Timestamp,
    refusals: Vec<Refusal>,
}

impl<'c> Check<'c> {
    fn refuse(&mut self, guard: Guard, message: impl Into<String>) {
        self.refusals.push(Refusal { guard, message: message.into(), until: None });
    }

    fn refuse_until(&mut self, guard: Guard, message: impl Into<String>, until: Timestamp) {
        self.refusals.push(Refusal { guard, message: message.into(), until: Some(until) });
    }

    fn all(&mut self) {
        match self.circumstances.paused {
            Some(false) => {}
            Some(true) => self.refuse(Guard::Paused, "all runbooks are paused"),
            None => self.refuse(Guard::Paused, "it cannot be read whether runbooks are paused"),
        }
        match self.circumstances.mode {
            Some(Some(Mode::Off)) => self.refuse(Guard::Off, "the runbook's mode is Off by now"),
            Some(None) => self.refuse(Guard::Off, "the runbook was deleted"),
            Some(Some(mode)) if mode < self.spec.mode => {
                let message =
                    format!("the runbook's mode is {mode:?} by now, and the run was planned in {:?}", self.spec.mode);
                self.refuse(Guard::ModeLowered, message);
            }
            Some(Some(_)) => {}
            None => self.refuse(Guard::NotKnown, "the runbook cannot be read"),
        }
        self.namespaces();
        self.rights();
        self.target();
        self.history();
        self.chaos();
        self.verifications();
    }

    fn namespaces(&mut self) {
        let spec = self.spec;
        for object in &spec.objects {
            let Some(namespace) = &object.namespace else { continue };
            if PROTECTED.contains(&namespace.as_str()) {
                self.refuse(Guard::ProtectedNamespace, format!("namespace {namespace} is the cluster's own"));
            } else if *namespace == self.settings.operator_namespace {
                self.refuse(Guard::ProtectedNamespace, format!("namespace {namespace} is the operator's own"));
            }
        }
    }

    fn rights(&mut self) {
        let account = &self.spec.service_account_name;
        // What is asked is what this author may; the steps are of another one.
        if let Some(author) = &self.circumstances.other_author {
            let message = format!("the runbook is {author}'s by now, and what this run would do is somebody else's");
            self.refuse(Guard::Changed, message);
        }
        match self.circumstances.author_may {
            Some(true) => {}
            Some(false) => {
                let message = format!("who wrote the runbook may not use ServiceAccount {account}, or there is none");
                self.refuse(Guard::NotAllowed, message);
            }
            None => {
                let message =
                    format!("it cannot be known whether who wrote the runbook may use ServiceAccount {account}");
                self.refuse(Guard::NotKnown, message);
            }
        }
        if self.spec.trigger.requested_by.is_none() {
            return;
        }
        match self.circumstances.asker_may {
            Some(true) => {}
            Some(false) => {
                self.refuse(Guard::NotAllowed, format!("who asked for the run may not use ServiceAccount {account}"));
            }
            None => {
                let message =
                    format!("it cannot be known whether who asked for the run may use ServiceAccount {account}");
                self.refuse(Guard::NotKnown, message);
            }
        }
    }

    fn target_object(&self) -> Option<&'c ObjectRef> {
        let spec = self.spec;
        let target = spec.target.as_ref()?;
        spec.objects.iter().find(|object| object.parameter == *target)
    }

    fn target(&mut self) {
        match &self.circumstances.same_target {
            None => self.refuse(Guard::NotKnown, "other runs of the same target cannot be read"),
            Some(runs) => {
                if let Some(run) = runs.first() {
                    let message =
                        format!("execution {run} acts upon the same target, or measures the same object more closely");
                    self.refuse(Guard::TargetBusy, message);
                }
            }
        }
        let Some(object) = self.target_object() else { return };
        let shown = format!("{} {}", object.kind.name(), object.name);
        match &self.circumstances.target {
            None => self.refuse(Guard::NotKnown, format!("{shown} cannot be read")),
            Some(None) => {
                self.refuse(Guard::TargetGone, format!("{shown} with UID {} is not there any more", object.uid));
            }
            Some(Some(facts)) => {
                // Another run puts back what it has borrowed.
                if self.circumstances.same_target.as_ref().is_some_and(Vec::is_empty) {
                    self.changed(object, facts, &shown);
                }
                match hits::of(self.acts(), object, facts) {
                    Some(hits) => {
                        let taken = self.taken(object, hits);
                        self.healthy(object, facts, hits, &taken, &shown);
                        self.hit(object, facts, hits, &taken, &shown);
                    }
                    None => self.refuse(Guard::NotKnown, format!("it cannot be known how many Pods {shown} has")),
                }
            }
        }
    }

    fn acts(&self) -> impl Iterator<Item = Act<'_>> {
        self.spec.steps.iter().filter_map(|step: &Step| Act::of(&step.action))
    }

    /// It may have waited for hours: what it would put back, or go back to, is of then.
    fn changed(&mut self, object: &ObjectRef, now: &Facts, shown: &str) {
        let then = &object.facts;
        let is_it = |parameter: &String| *parameter == object.parameter;
        let changes = self.acts().find_map(|act| match act {
            Act::Rollback(rollback) if is_it(&rollback.workload) && now.revision != then.revision => Some("revision"),
            Act::Scale(scale) if is_it(&scale.workload) && now.replicas != then.replicas => Some("number of replicas"),
            Act::Cordon(cordon) if is_it(&cordon.node) && now.unschedulable != then.unschedulable => {
                Some("field unschedulable")
            }
            Act::TelemetryProfile(profile)
                if is_it(&profile.object) && (&now.intervals, &now.sampling) != (&then.intervals, &then.sampling) =>
            {
                Some("interval or percentage")
            }
            _ => None,
        });
        if let Some(what) = changes {
            self.refuse(Guard::Changed, format!("the {what} of {shown} is not what it was when the run was planned"));
        }
    }

    fn healthy(&mut self, object: &ObjectRef, facts: &Facts, hits: Hits, taken: &Taken, shown: &str) {
        let takes_pods = self.acts().any(takes_a_pod);
        let least = self.safety.min_healthy;
        // Facts of a Pod do not count itself.
        let (place, fewer) = if object.kind == ObjectKind::Pod { ("beside", 0) } else { ("of", hits.at_once) };
        match facts.ready {
            _ if !takes_pods && fewer == 0 => {}
            // Whether those that others take are gone by now, or are ready again, nobody knows until those runs end.
            Some(ready) if ready.saturating_sub(fewer).saturating_sub(taken.hits.at_once).max(0) >= least => {}
            Some(ready) => {
                let others = match taken.hits.at_once {
                    0 => String::new(),
                    many => format!(", {many} of which {} may take", taken.runs()),
                };
                let go = if fewer == 0 { String::new() } else { format!(" and {fewer} would go") };
                let message = format!("{place} {shown} {ready} Pods are ready{others}{go}, minHealthy wants {least}");
                self.refuse(Guard::MinHealthy, message);
            }
            None if least == 0 => {}
            None => self.refuse(Guard::NotKnown, format!("it cannot be known how many Pods {place} {shown} are ready")),
        }
        match facts.disruptions_allowed {
            Some(0) if takes_pods => {
                self.refuse(Guard::MinHealthy, format!("the PodDisruptionBudget of {shown} lets no Pod go now"));
            }
            Some(allowed) if takes_pods && hits.at_once > allowed => {
                let message =
                    format!("the PodDisruptionBudget of {shown} lets {allowed} Pods go now, not {}", hits.at_once);
                self.refuse(Guard::MinHealthy, message);
            }
            _ => {}
        }
    }

    /// A fault on a workload hits a share of its Pods at most, and always may hit one.
    fn hit(&mut self, object: &ObjectRef, facts: &Facts, hits: Hits, taken: &Taken, shown: &str) {
        if object.kind == ObjectKind::Pod || hits.in_all == 0 {
            return;
        }
        let percent = self.safety.max_targets_percent;
        let Some(replicas) = facts.replicas else { return };
        let most = share_of(replicas, percent);
        if hits.in_all.saturating_add(taken.hits.in_all) > most {
            let others = match taken.hits.in_all {
                0 => String::new(),
                many => format!(" and {many} are taken by {}", taken.runs()),
            };
            let message =
                format!("{} Pods of {shown} would be hit{others}, {percent} % of {replicas} is {most}", hits.in_all);
            self.refuse(Guard::MaxTargets, message);
        }
    }

    fn history(&mut self) {
        let circumstances = self.circumstances;
        let Some(history) = &circumstances.history else {
            return self.refuse(Guard::NotKnown, "the runbook's other executions cannot be read");
        };
        // What was only shown counts for what is only shown, so that a dry run says what a real one would.
        let real = self.spec.mode != Mode::DryRun;
        let ran: Vec<&Past> = history.iter().filter(|past| past.started_at.is_some() && past.real == real).collect();
        self.concurrent(&ran);
        self.cooldown(&ran);
        self.budget(&ran);
        self.breaker(&ran);
        self.share(&ran);
    }

    fn concurrent(&mut self, ran: &[&Past]) {
        let running = ran.iter().filter(|past| past.finished_at.is_none()).count();
        let most = self.safety.max_concurrent;
        if i64::try_from(running).unwrap_or(i64::MAX) >= most {
            self.refuse(Guard::MaxConcurrent, format!("{running} runs are under way, maxConcurrent is {most}"));
        }
    }

    fn cooldown(&mut self, ran: &[&Past]) {
        let uid = self.target_object().map_or("", |object| object.uid.as_str());
        let last = ran
            .iter()
            .filter(|past| past.target_uid == uid)
            .filter_map(|past| Some((past.finished_at?, past.name.as_str())))
            .max();
        if let Some((finished, name)) = last {
            let until = after(finished, self.safety.cooldown);
            if until > self.now {
                let message =
                    format!("execution {name} ended at {finished}, and the cooldown is {}", self.safety.cooldown);
                self.refuse_until(Guard::Cooldown, message, until);
            }
        }
    }

    fn budget(&mut self, ran: &[&Past]) {
        let Safety { budget_runs, budget_per, .. } = self.safety;
        let mut starts: Vec<Timestamp> = ran
            .iter()
            .filter_map(|past| past.started_at)
            .filter(|started| after(*started, *budget_per) > self.now)
            .collect();
        starts.sort();
        let runs = i64::try_from(starts.len()).unwrap_or(i64::MAX);
        if runs >= *budget_runs {
            // When so many have left the time that one more fits.
            let leaves = usize::try_from(runs - *budget_runs).unwrap_or(0);
            let until = starts.get(leaves).map(|started| after(*started, *budget_per));
            let message = format!("it has run {runs} times in the last {budget_per}, the budget is {budget_runs}");
            self.refusals.push(Refusal { guard: Guard::Budget, message, until });
        }
    }

    fn breaker(&mut self, ran: &[&Past]) {
        let mut ended: Vec<(Timestamp, Phase)> =
            ran.iter().filter_map(|past| Some((past.finished_at?, past.phase))).collect();
        ended.sort();
        let failed = ended
            .iter()
            .rev()
            .take_while(|(_, phase)| matches!(phase, Phase::Failed | Phase::Unknown | Phase::RolledBack));
        let failures = i64::try_from(failed.count()).unwrap_or(i64::MAX);
        if let Some((last, _)) = ended.last()
            && failures >= self.safety.failures
        {
            let until = after(*last, self.safety.open_for);
            if until > self.now {
                let message =
                    format!("the last {failures} runs did not succeed, it stays away for {}", self.safety.open_for);
                self.refuse_until(Guard::CircuitBreaker, message, until);
            }
        }
    }

    /// What nobody could verify afterwards is not done.
    fn verifications(&mut self) {
        for (slo, there) in &self.circumstances.verifies {
            match there {
                Some(true) => {}
                Some(false) => {
                    let message = format!(
                        "there is no SLO {slo} in the runbook's namespace, and Prometheus has no burn rate of it: nobody would know whether it helped"
                    );
                    self.refuse(Guard::NotKnown, message);
                }
                None => self.refuse(Guard::NotKnown, format!("it cannot be known whether there is an SLO {slo}")),
            }
        }
    }

    fn chaos(&mut self) {
        let spec = self.spec;
        for chaos in spec.steps.iter().filter_map(|step| step.action.chaos.as_ref()) {
            for (slo, message) in at_risk(chaos, self.circumstances.slos.as_deref()) {
                let guard = if slo.is_none() { Guard::NotKnown } else { Guard::SloAtRisk };
                self.refuse(guard, message);
            }
        }
    }
}

/// The UIDs of what a run has for itself while it lasts: its target, and each object that it measures more closely. Two
/// that raise the same monitor would each take what the other has made of it for what it was before.
pub fn holds(spec: &RunbookExecutionSpec) -> BTreeSet<&str> {
    let actions = spec.steps.iter().flat_map(|step| [Some(&step.action), step.compensate.as_deref()]).flatten();
    let measured = actions.filter_map(|action| action.telemetry_profile.as_ref()).map(|profile| &profile.object);
    let parameters: BTreeSet<&String> = measured.chain(&spec.target).collect();
    let objects = spec.objects.iter().filter(|object| parameters.contains(&object.parameter));
    objects.map(|object| object.uid.as_str()).collect()
}

/// Whether an object of a kind may be measured more closely by a run whose target is another one.
pub const fn can_be_measured(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::ServiceMonitor | ObjectKind::PodMonitor | ObjectKind::OpenTelemetryCollector)
}

/// True for a run that changes nothing in the cluster, not even when it undoes something: what was true a second ago will
/// do for its guards.
pub fn changes_nothing(spec: &RunbookExecutionSpec) -> bool {
    let all = spec.steps.iter().flat_map(|step| [Some(&step.action), step.compensate.as_deref()]).flatten();
    all.map(Act::of).all(|act| act.is_some_and(Act::changes_nothing))
}

/// So many Pods of a workload may be acted upon: a share, and always one.
fn share_of(replicas: i64, percent: i64) -> i64 {
    (replicas.saturating_mul(percent) / 100).max(1)
}

/// True for an action after which there may be a Pod less for a while. Not a rollback: when it is needed most, no Pod is
/// ready.
fn takes_a_pod(act: Act<'_>) -> bool {
    matches!(act, Act::EvictPod(_) | Act::Restart(_) | Act::Chaos(_))
}

fn after(at: Timestamp, span: Span) -> Timestamp {
    let millis = i64::try_from(span.millis).unwrap_or(i64::MAX);
    at.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX)
}

/// The message of a run that is held back: the first reason, and how many more there are.
pub fn summary(refusals: &[Refusal]) -> Option<(&'static str, String)> {
    // What is final decides, whatever else there is.
    let first = refusals.iter().find(|refusal| refusal.guard.is_final()).or(refusals.first())?;
    let others: Vec<&str> =
        refusals.iter().filter(|refusal| *refusal != first).map(|refusal| refusal.message.as_str()).collect();
    let message = if others.is_empty() {
        first.message.clone()
    } else {
        format!("{}; besides, {}", first.message, others.join("; "))
    };
    Some((first.guard.reason(), message))
}
