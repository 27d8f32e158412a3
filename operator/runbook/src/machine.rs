//! The state machine of a run: what is done next, and what is remembered before it is done.
//!
//! The state is the execution's status and nothing else. The shell turns in this circle:
//!
//! 1. It reads the execution and calls [`step`] with [`Event::Loaded`].
//! 2. [`step`] returns a status and a [`Command`]. For [`Command::Store`], the shell stores the status under the
//!    resource version that it read, and calls [`step`] with that status and [`Event::Stored`], which says what the
//!    store begins. When storing fails in any way, it begins at 1: it must not go on from a status that may not be stored.
//! 3. For [`Command::Check`] and [`Command::Act`] it does that and calls [`step`] with what came back.
//! 4. For [`Command::Wait`] it comes back at that time, or earlier when what is waited for may be there, with
//!    [`Event::Woken`]. [`Command::Finished`] ends the circle.
//!
//! A run that nothing holds back may be made as one that has begun ([`begins`]): then its making was the first store, and
//! the circle begins at 3. Where nobody has stored a status since, [`step`] recalls the one that follows from that.
//!
//! [`Command::Act`] comes only on [`Event::Stored`], for a status that has the intent of just that: **intent before
//! effect** is a property of this function, not of the shell. A status that is read (after a crash, by another leader,
//! after storing failed) and has an intent without an outcome is one whose effect may have been: a repeatable action is
//! done again with another intent; one that is done once ends the run as Unknown.

mod begun;
mod endings;
mod lowered;
mod running;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{
    RunbookExecutionSpec, RunbookExecutionStatus,
    approval::Decision,
    execution::{ArtifactRef, Decided, Outcome, Phase, TriggerKind},
    runbook::Mode,
};

pub use begun::{begins, recalled, unsaid};
pub use lowered::lowered;

use crate::{
    guards::{self, Refusal},
    model::seconds,
    names, plan, validate,
};

/// What is true while a step is taken, beside what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    /// The time.
    pub now: Timestamp,
    /// Whether all runbooks are paused; what is not known counts as paused.
    pub paused: Option<bool>,
    /// When the alert was resolved, or the series that started the run had gone, as far as is known.
    pub resolved_at: Option<Timestamp>,
    /// Whether the execution is being deleted: then it only gives back what it has borrowed.
    pub deleted: bool,
    /// Why nothing more is begun of a run that is under way, as [`lowered`] says; `None` as well when that is not known.
    pub lowered: Option<&'static str>,
    /// When the execution was made.
    pub created: Timestamp,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The status was read. Whatever was going on is over.
    Loaded,
    /// The status that was returned last has been stored; what [`Command::Store`] said comes back with it.
    Stored(Option<What>),
    /// Time has passed, or something may have changed.
    Woken,
    /// The answer to [`Command::Check`].
    Checked(Checked),
    /// A decision that is valid: of this execution and spec, in time, by somebody who may.
    Decided(Decided),
    /// The answer to [`Command::Act`].
    Done(Report),
}

/// Whether the run may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether what started it still holds, asked of Prometheus again; `None`: it could not be asked. A trigger
    /// without a condition holds.
    pub holds: Option<bool>,
    /// The guards that refuse.
    pub refusals: Vec<Refusal>,
    /// Why the approval that the status names is none by now; `None`: it is one, or the status names none.
    pub void: Option<String>,
}

/// How an act ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How.
    pub outcome: Outcome,
    /// What happened, a sentence without a full stop.
    pub message: String,
    /// What was kept.
    pub artifacts: Vec<ArtifactRef>,
    /// Of a query: whether it has any series. Of a verification: whether the SLO has recovered.
    pub answer: Option<bool>,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store the returned status, then [`Event::Stored`] with the same: what is begun by that, if anything is.
    Store(Option<What>),
    /// Ask the condition again, and the guards; then [`Event::Checked`].
    Check,
    /// Do it; then [`Event::Done`].
    Act(Doing),
    /// Nothing now.
    Wait {
        /// Come back then, at the latest.
        until: Option<Timestamp>,
        /// What is waited for.
        awaits: Awaits,
    },
    /// Nothing ever.
    Finished,
}

/// Something with an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// What.
    pub what: What,
    /// When it has taken too long: then it is ended and its outcome is TimedOut.
    pub until: Timestamp,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The step of this name.
    Step(String),
    /// What undoes the step of this name.
    Undo(String),
    /// The verification of the whole run.
    Verify,
    /// The message to a person that it did not help: to this destination.
    Escalate(String),
}

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// A decision.
    Approval,
    /// A guard.
    Guard,
    /// That runbooks are no longer paused.
    Unpaused,
    /// The end of a `wait`, or that things settle before a verification.
    Time,
    /// The end of a telemetry profile.
    Lease,
}

/// How often something may be begun: what brings the operator down again and again is let be.
pub const MAX_ATTEMPTS: i64 = 5;
/// How often guards are asked again at least, in seconds.
pub const RECHECK: i64 = 30;
/// What started a run may not be seen yet by the Prometheus that is asked, in seconds: it evaluates later than the one
/// that has sent the alert, or gets the alerts of another one.
const YOUNG: i64 = 120;
/// Until it is seen, it is asked again after this, in seconds.
const LOOK_AGAIN: i64 = 10;
const NOT_SEEN_YET: &str = "NotSeenYet";
/// What is said of a step that was not begun because the alert was resolved.
const RESOLVED: &str = "the alert was resolved";
/// The same where no alert started the run, but series that are not there any more.
const GONE: &str = "what started it does not hold any more";
/// How long telling a person may take, in seconds.
pub(crate) const ESCALATION: i64 = 60;

/// One step of a run: see the module's description. `status` is what is stored, but for [`Event::Checked`],
/// [`Event::Decided`] and [`Event::Done`], which come on top of it.
pub fn step(
    spec: &RunbookExecutionSpec,
    status: &RunbookExecutionStatus,
    event: &Event,
    world: &World,
) -> (RunbookExecutionStatus, Command) {
    let recalled = recalled(spec, Some(status));
    let status = recalled.as_ref().unwrap_or(status);
    let mut machine = Machine { spec, status: status.clone(), world: *world };
    let command = machine.next(event);
    // What differs from what is stored is stored before anything is done with it. To ask does nothing, and its answer
    // comes on top of what is stored, so asking needs no store of its own.
    let command = match command {
        command @ (Command::Store(_) | Command::Check) => command,
        command if machine.status == *status => command,
        _ => Command::Store(None),
    };
    (machine.status, command)
}

/// Until when a run may begin. Whoever has approved it meant the time after that.
pub fn start_by(spec: &RunbookExecutionSpec, approval: Option<&Decided>) -> Option<Timestamp> {
    let by = spec.start_by.as_ref()?.0;
    let Some(approved) = approval else { return Some(by) };
    let within = by.duration_since(spec.trigger.starts_at.0);
    Some(approved.at.0.saturating_add(within).unwrap_or(Timestamp::MAX))
}

/// Whether a run has borrowed something that is not given back: a fault, closer measurement. Until it is, the execution
/// must stay.
pub fn owes(spec: &RunbookExecutionSpec, status: &RunbookExecutionStatus) -> bool {
    !status.phase.is_terminal() && running::owed(spec, status).next().is_some()
}

/// The steps that have borrowed something which is not given back, whatever the phase says.
pub fn owing<'s>(spec: &'s RunbookExecutionSpec, status: &'s RunbookExecutionStatus) -> impl Iterator<Item = &'s str> {
    running::owed(spec, status).map(|entry| entry.name.as_str())
}

struct Machine<'m> {
    spec: &'m RunbookExecutionSpec,
    status: RunbookExecutionStatus,
    world: World,
}

impl Machine<'_> {
    fn next(&mut self, event: &Event) -> Command {
        if self.status.phase.is_terminal() {
            return Command::Finished;
        }
        if let Some(command) = self.tampered() {
            return command;
        }
        // What was stored just now begins; that it is over is noted with what becomes of it.
        if self.status.resolved_at.is_none() && !matches!(event, Event::Stored(Some(_))) {
            self.status.resolved_at = self.world.resolved_at.map(Time);
        }
        match self.status.phase {
            Phase::Pending | Phase::Blocked | Phase::AwaitingApproval => self.before(event),
            Phase::Running | Phase::Verifying => self.running(event),
            _ => Command::Finished,
        }
    }

    /// The spec is what it was at the first look: what the API server's rule of immutability cannot see is seen here.
    fn tampered(&mut self) -> Option<Command> {
        let hash = names::spec_hash(self.spec).unwrap_or_default();
        if *self.status.spec_hash.get_or_insert_with(|| hash.clone()) == hash {
            return None;
        }
        let message = "its spec is not what it was: nothing more is done, and nothing is undone by it";
        Some(self.finish(Phase::Failed, "SpecChanged", message))
    }

    /// Before anything is done.
    fn before(&mut self, event: &Event) -> Command {
        if self.world.deleted {
            return self.skip("Deleted", "the execution was deleted before anything was done");
        }
        if self.status.resolved_at.is_some() {
            return match self.over() {
                RESOLVED => self.skip("Resolved", "the alert was resolved before anything was done"),
                gone => self.skip("ConditionGone", gone),
            };
        }
        if self.awaits_decision() {
            return self.await_decision(event);
        }
        if let Some(by) = self.start_by().filter(|by| self.world.now > *by) {
            let held = self.status.message.as_ref().filter(|_| self.status.phase == Phase::Blocked);
            let why = held.map(|message| format!(": {message}")).unwrap_or_default();
            return self.skip("Missed", &format!("it had not begun by {by}, and was meant for then{why}"));
        }
        match event {
            Event::Checked(checked) => self.checked(checked),
            // What was stored was a refusal: then is when to ask again.
            Event::Stored(_) if self.status.phase == Phase::Blocked => self.blocked(None),
            _ => Command::Check,
        }
    }

    fn start_by(&self) -> Option<Timestamp> {
        start_by(self.spec, self.status.approval.as_ref())
    }

    fn awaits_decision(&self) -> bool {
        self.spec.mode == Mode::Approve && self.status.phase == Phase::AwaitingApproval
    }

    fn await_decision(&mut self, event: &Event) -> Command {
        if let Event::Decided(decided) = event {
            let words = decided.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            self.status.approval = Some(decided.clone());
            return match decided.decision {
                Decision::Deny => self.skip("Denied", &format!("{} denied it{words}", decided.decider)),
                // Much may have happened while somebody thought about it.
                Decision::Approve => {
                    self.phase(Phase::Pending, "Approved", &format!("{} approved it{words}", decided.decider));
                    Command::Store(None)
                }
            };
        }
        let within = seconds(self.spec.approval_within.as_deref(), validate::DEFAULT_APPROVAL);
        let asked = self.status.asked_at.get_or_insert(Time(self.world.now)).0;
        let until = later(asked, within);
        if self.world.now >= until {
            return self.skip("ApprovalExpired", "nobody decided in time");
        }
        Command::Wait { until: Some(until), awaits: Awaits::Approval }
    }

    fn checked(&mut self, checked: &Checked) -> Command {
        match checked.holds {
            Some(true) => {}
            Some(false) if self.world.now < later(self.world.created, YOUNG) => {
                self.phase(
                    Phase::Blocked,
                    NOT_SEEN_YET,
                    "the Prometheus that is asked does not see yet what started it",
                );
                return self.blocked(None);
            }
            Some(false) => return self.skip("ConditionGone", GONE),
            None => {
                self.phase(Phase::Blocked, "NotKnown", "it cannot be asked whether what started it still holds");
                return self.blocked(None);
            }
        }
        if let Some((reason, message)) = guards::summary(&checked.refusals) {
            if checked.refusals.iter().any(|refusal| refusal.guard.is_final()) {
                return self.skip(reason, &message);
            }
            if self.spec.mode == Mode::DryRun {
                let message = format!("it would have been held back: {message}");
                return self.finish(Phase::Succeeded, "DryRun", &message);
            }
            self.phase(Phase::Blocked, reason, &message);
            return self.blocked(checked.refusals.iter().filter_map(|refusal| refusal.until).min());
        }
        match self.spec.mode {
            Mode::Off => self.skip("Off", "the runbook's mode is Off"),
            Mode::DryRun => {
                // It counts as started, so that the next dry run is held back as a real one would be.
                self.status.started_at = Some(Time(self.world.now));
                let steps: Vec<&str> = self.spec.steps.iter().map(|step| step.name.as_str()).collect();
                let message = format!("it would have been done: {}{}", steps.join(", "), self.notes());
                self.finish(Phase::Succeeded, "DryRun", &message)
            }
            Mode::Approve if self.status.approval.is_none() || checked.void.is_some() => {
                self.status.approval = None;
                self.status.asked_at = Some(Time(self.world.now));
                let anew = checked.void.iter().map(|why| format!(" anew: {why}"));
                let message = format!("somebody must approve it{}{}", anew.collect::<String>(), self.notes());
                self.phase(Phase::AwaitingApproval, "Asked", &message);
                Command::Store(None)
            }
            Mode::Approve | Mode::Auto => {
                self.status.started_at = Some(Time(self.world.now));
                self.started();
                // The start and the first intent are one store: nothing lies between them that could be lost.
                self.go_on()
            }
        }
    }

    /// What somebody should know before it is done, after what else is said.
    fn notes(&self) -> String {
        plan::keepers(self.spec).iter().map(|note| format!("; {note}")).collect()
    }

    /// What it means that what started the run is over.
    fn over(&self) -> &'static str {
        match self.spec.trigger.kind {
            TriggerKind::Query | TriggerKind::Anomaly => GONE,
            _ => RESOLVED,
        }
    }

    /// When guards are asked again.
    fn blocked(&self, until: Option<Timestamp>) -> Command {
        let is_new = self.status.reason.as_deref() == Some(NOT_SEEN_YET);
        let soon = later(self.world.now, if is_new { LOOK_AGAIN } else { RECHECK });
        Command::Wait { until: Some(until.map_or(soon, |until| until.min(soon))), awaits: Awaits::Guard }
    }

    fn phase(&mut self, phase: Phase, reason: &str, message: &str) {
        self.status.phase = phase;
        self.status.reason = Some(reason.to_owned());
        self.status.message = Some(message.to_owned());
    }

    fn skip(&mut self, reason: &str, message: &str) -> Command {
        self.finish(Phase::Skipped, reason, message)
    }

    fn finish(&mut self, phase: Phase, reason: &str, message: &str) -> Command {
        self.phase(phase, reason, message);
        self.status.step = None;
        self.status.finished_at = Some(Time(self.world.now));
        Command::Finished
    }
}

/// A time, some seconds later.
pub(crate) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
