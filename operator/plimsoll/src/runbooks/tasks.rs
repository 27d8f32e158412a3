//! What the machine tells to do, as requests, and what their answers mean to it: the same whoever turns its circle, the
//! operator ([`super::execute`]) or `plimsoll up` (`up/drive`).

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use plimsoll_api::{
    RunbookExecution, RunbookExecutionStatus, conditions,
    execution::{Outcome, Phase},
    runbook::Step,
};
use plimsoll_runbook::{
    Act, Class,
    machine::{Report, What},
    requests::{self, Call, Run},
};

use super::dispatch::RESOLVED_AT;
use crate::actions::Performed;

/// The condition of an execution: Unknown while it is under way.
pub const SUCCEEDED: &str = "Succeeded";

/// Something to do.
pub struct Task<'s> {
    /// Its name, in places for what is kept.
    pub name: String,
    /// What is sent.
    pub calls: Vec<Call>,
    /// Whether twice is the same as once.
    pub repeatable: bool,
    /// Whether a server that fails is asked until the time is over: nobody undoes a step later, and what is not known about
    /// an SLO because Prometheus begins anew is known a minute later.
    pub patient: bool,
    /// The step that is done or undone.
    pub step: Option<&'s Step>,
    verify: Option<&'s plimsoll_api::gate::Verify>,
    asks: bool,
}

/// When an execution was made; long ago where nobody knows.
pub fn created(execution: &RunbookExecution) -> Timestamp {
    execution.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// An execution as the requests of what is done now need it.
pub fn run<'e>(execution: &'e RunbookExecution, what: &What) -> Run<'e> {
    let metadata = &execution.metadata;
    let created = created(execution);
    let (begun, first) = execution.status.as_ref().and_then(|status| begun(status, what)).unwrap_or((created, created));
    Run {
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        name: metadata.name.as_deref().unwrap_or_default(),
        uid: metadata.uid.as_deref().unwrap_or_default(),
        created,
        begun,
        first,
        spec: &execution.spec,
    }
}

/// What something to do sends.
///
/// # Errors
/// When the spec was not planned here and lacks something, in words.
pub fn task<'e>(execution: &'e RunbookExecution, run: &Run<'e>, what: &What) -> Result<Task<'e>, String> {
    // What somebody is told when they must look.
    let ending = execution.status.as_ref().and_then(|status| status.ending.as_ref());
    let why = ending.map_or("it did not help", |ending| ending.message.as_str());
    let find = |name: &str| {
        run.spec.steps.iter().find(|step| step.name == name).ok_or_else(|| format!("the execution has no step {name}"))
    };
    let is_repeatable = |act: Option<Act<'_>>| act.is_some_and(|act| act.class() == Class::Repeatable);
    Ok(match what {
        What::Step(name) => {
            let step = find(name)?;
            Task {
                name: name.clone(),
                calls: requests::of(run, step)?,
                repeatable: is_repeatable(Act::of(&step.action)),
                patient: step.action.verify.is_some(),
                step: Some(step),
                verify: step.action.verify.as_ref(),
                asks: step.action.query.is_some(),
            }
        }
        What::Undo(name) => {
            let step = find(name)?;
            let undone = step.compensate.as_deref().unwrap_or(&step.action);
            Task {
                name: format!("{name}-undo"),
                calls: requests::undo(run, step)?,
                repeatable: is_repeatable(Act::of(undone)),
                patient: true,
                step: Some(step),
                verify: None,
                asks: false,
            }
        }
        What::Verify => {
            let verify = run.spec.verify.as_ref().ok_or("the execution has no verification")?;
            Task {
                name: "verify".to_owned(),
                calls: requests::verification(run, verify),
                repeatable: true,
                patient: true,
                step: None,
                verify: Some(verify),
                asks: false,
            }
        }
        What::Escalate(to) => Task {
            name: "escalate".to_owned(),
            calls: vec![requests::message(run, to, why)],
            repeatable: true,
            patient: false,
            step: None,
            verify: None,
            asks: false,
        },
    })
}

/// What came of it, for the machine.
pub fn report(task: &Task<'_>, performed: Performed) -> Report {
    let Performed { outcome, message, artifacts, answer: given } = performed;
    let mut report = Report { outcome, message, artifacts, answer: None };
    if report.outcome == Outcome::Succeeded {
        answer(task, &given, &mut report);
    }
    report
}

/// What an answer of Prometheus means.
fn answer(task: &Task<'_>, given: &serde_json::Value, report: &mut Report) {
    let read = match task.verify {
        Some(verify) => requests::verified(given, verify),
        None if task.asks => requests::found(given)
            .map(|found| (Some(found), if found { "there is a result" } else { "there is no result" }.to_owned())),
        None => return,
    };
    match read {
        Ok((answer, message)) => (report.answer, report.message) = (answer, message),
        Err(message) => *report = failed(message),
    }
}

/// It was not done.
pub fn failed(message: String) -> Report {
    Report { outcome: Outcome::Failed, message, artifacts: Vec::new(), answer: None }
}

/// When the intent of something was stored, and when it was for the first time.
fn begun(status: &RunbookExecutionStatus, what: &What) -> Option<(Timestamp, Timestamp)> {
    let entry = |name: &String| status.steps.iter().find(|entry| entry.name == *name);
    let effect = match what {
        What::Step(name) => entry(name).map(|entry| &entry.effect),
        What::Undo(name) => entry(name).and_then(|entry| entry.compensation.as_ref()),
        What::Verify => status.verification.as_ref(),
        What::Escalate(_) => status.escalation.as_ref(),
    };
    let effect = effect?;
    let begun = effect.intent_time.as_ref()?.0;
    Some((begun, effect.first_intent_time.as_ref().map_or(begun, |time| time.0)))
}

/// When the alert was resolved, as was noted.
pub fn resolved_at(execution: &RunbookExecution) -> Option<Timestamp> {
    let noted = execution.annotations().get(RESOLVED_AT)?;
    // A time that cannot be read still says that it is over.
    Some(noted.parse().unwrap_or_else(|_| Timestamp::now()))
}

/// The condition that tools read.
pub fn conclude(status: &mut RunbookExecutionStatus, generation: Option<i64>) {
    let value = match status.phase {
        Phase::Succeeded => Some(true),
        phase if phase.is_terminal() => Some(false),
        _ => None,
    };
    let reason = status.reason.clone().unwrap_or_else(|| status.phase.name().to_owned());
    let message = status.message.clone().unwrap_or_default();
    conditions::set(&mut status.conditions, SUCCEEDED, value, &reason, message, generation, Timestamp::now());
}

/// How long it is until then.
pub fn left(until: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
}
