//! Turns the machine's circle for the executions of `up`: its ledger are files, and what is sent is sent by the same
//! performer as in a cluster. Nothing is decided here.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use plimsoll_api::{
    RunbookExecution, RunbookExecutionStatus,
    execution::{Outcome, Phase},
    runbook::Mode,
};
use plimsoll_runbook::{
    Model,
    guards::{self, Circumstances, Refusal},
    machine::{self, Checked, Command, Doing, Event, Report, World, step},
    plan::Settings,
    validate,
};
use plimsoll_slo::names as series;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::runs::{Id, Runs};
use crate::{
    actions::{Actor, Finish},
    alerts_webhook::server::NotStored,
    page::Objects as _,
    runbooks::{assumed, circumstances, ledger, tasks},
};

/// What could not be stored is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);
/// What waits is looked at again after this time at the latest.
const LATEST: Duration = Duration::from_secs(60);
/// How often it is looked whether something was paused while it is done.
const PAUSED: Duration = Duration::from_millis(500);

/// How an execution stands when it went as far as it goes now.
enum Next {
    /// It is looked at again then.
    At(Option<Timestamp>),
    /// It ended, or is not there any more.
    Never,
}

impl Runs {
    /// Looks after one execution until it is over, or until `stop`.
    pub(super) async fn carry(self: Arc<Self>, id: Id, stop: CancellationToken) {
        let carried = || self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wakes) = carried().get(&id).cloned() else { return };
        while !stop.is_cancelled() {
            let pause = match self.drive(&id).await {
                Ok(Next::Never) => break,
                Ok(Next::At(until)) => until.map_or(LATEST, |until| tasks::left(until, Timestamp::now()).min(LATEST)),
                Err(error) => {
                    tracing::warn!(%error, execution = %id.1, "an execution could not be stored; it is tried again");
                    AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = wakes.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        carried().remove(&id);
    }

    /// Turns the circle as far as it goes now. Whatever is read, decided and stored is so in one turn; what is asked and
    /// sent is in nobody's.
    async fn drive(&self, id: &Id) -> Result<Next, NotStored> {
        let mut event = Event::Loaded;
        let mut turn = self.turn.lock().await;
        loop {
            let Some(execution) = self.shelf.execution(&id.0, &id.1).and_then(|kept| kept.object.ok()) else {
                return Ok(Next::Never);
            };
            let resolved_at = tasks::resolved_at(&execution);
            let created = tasks::created(&execution);
            let paused = self.is_paused(&execution);
            let lowered = self.lowered(&execution);
            let world = World { now: Timestamp::now(), paused, resolved_at, deleted: false, lowered, created };
            let stored = execution.status.clone().unwrap_or_default();
            let (status, command) = step(&execution.spec, &stored, &event, &world);
            event = match command {
                Command::Store(begins) => {
                    self.set(&execution, &stored, status)?;
                    Event::Stored(begins)
                }
                Command::Check => {
                    let mut checked = Checked { holds: Some(true), refusals: self.refusals(&execution), void: None };
                    if checked.refusals.is_empty() {
                        drop(turn);
                        checked.holds = self.holds(&execution).await;
                        turn = self.turn.lock().await;
                        // Others may have begun meanwhile.
                        checked.refusals = self.refusals(&execution);
                    }
                    Event::Checked(checked)
                }
                Command::Act(doing) => {
                    drop(turn);
                    let acted = self.act(&execution, &doing).await;
                    turn = self.turn.lock().await;
                    // What it means that nobody saw the end is for the machine to say.
                    acted.map_or(Event::Loaded, Event::Done)
                }
                Command::Wait { until, .. } => return Ok(Next::At(until)),
                Command::Finished => return Ok(Next::Never),
            };
        }
    }

    /// What is only shown is not paused: it does nothing.
    fn is_paused(&self, execution: &RunbookExecution) -> Option<bool> {
        match execution.spec.mode {
            Mode::DryRun => Some(false),
            // What was begun when it was allowed waits until it is allowed again.
            _ if !self.acts() => Some(true),
            _ => self.data.is_paused(),
        }
    }

    /// Why nothing more is begun of what is under way. A file that is gone may be one that is being written; and what was begun
    /// when it was allowed waits, as for a pause.
    fn lowered(&self, execution: &RunbookExecution) -> Option<&'static str> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner).clone();
        let model = models.iter().find(|model| self.acts() && model.uid == execution.spec.runbook.uid)?;
        machine::lowered(execution.spec.mode, Some(model.mode))
    }

    async fn holds(&self, execution: &RunbookExecution) -> Option<bool> {
        let _permit = self.asking.acquire().await.ok()?;
        circumstances::holds(&self.outside, execution).await
    }

    fn refusals(&self, execution: &RunbookExecution) -> Vec<Refusal> {
        let (spec, uid) = (&execution.spec, &execution.spec.runbook.uid);
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner).clone();
        let model: Option<&Model> = models.iter().map(AsRef::as_ref).find(|model| model.uid == *uid);
        let others = self.stored();
        let others = others.iter().filter(|other| other.spec.runbook.uid == *uid);
        let others = others.filter(|other| other.metadata.name != execution.metadata.name);
        let history = others.map(|other| ledger::past(other)).collect();
        if spec.mode == Mode::DryRun {
            // What only a cluster knows is assumed, so only what counts is asked.
            return model.map_or_else(Vec::new, |model| {
                circumstances::refused_by_count(spec, model, &assumed::settings(model), history, Vec::new())
            });
        }
        let around = Circumstances {
            paused: self.is_paused(execution),
            mode: Some(model.map(|model| model.mode)),
            history: self.is_whole.then_some(history),
            // It has no object, so no target, and acts as nobody: whoever runs `up` has allowed it.
            same_target: Some(Vec::new()),
            same_workload: Some(Vec::new()),
            author_may: Some(true),
            asker_may: Some(true),
            ..Circumstances::default()
        };
        let safety = model.map_or(&validate::DEFAULT_SAFETY, |model| &model.safety);
        guards::check(spec, safety, &Settings::default(), &around, Timestamp::now())
    }

    /// Does what the machine says; `None` when it was paused before its end was seen.
    async fn act(&self, execution: &RunbookExecution, doing: &Doing) -> Option<Report> {
        let run = tasks::run(execution, &doing.what);
        let task = match tasks::task(execution, &run, &doing.what) {
            Ok(task) => task,
            Err(message) => return Some(tasks::failed(message)),
        };
        let actor = Actor {
            account: None,
            outside: &self.outside,
            room: Err("without a cluster nothing is kept".to_owned()),
            traceparent: execution.spec.traceparent.clone(),
            repeatable: task.repeatable,
            patient: task.patient,
            deadline: Instant::now() + tasks::left(doing.until, Timestamp::now()),
        };
        let paused = async {
            while self.is_paused(execution) == Some(false) {
                tokio::time::sleep(PAUSED).await;
            }
        };
        let finish = tokio::select! {
            biased;
            () = paused => return None,
            finish = actor.perform(&task.calls) => finish,
        };
        match finish {
            Finish::Done(performed) => Some(tasks::report(&task, performed)),
            Finish::Abandoned => None,
        }
    }

    /// Stores a status and says what is new.
    fn set(
        &self,
        execution: &RunbookExecution,
        before: &RunbookExecutionStatus,
        mut status: RunbookExecutionStatus,
    ) -> Result<(), NotStored> {
        tasks::conclude(&mut status, execution.metadata.generation);
        let news = news(execution, before, &status);
        self.put(&RunbookExecution { status: Some(status), ..execution.clone() })?;
        if let Some(news) = news {
            self.say.news(&news);
        }
        Ok(())
    }
}

/// So many labels are told of an alert that is of no SLO.
const TOLD: usize = 4;

/// Which alert it is, so that two of one name can be told apart: ` for alert SLOErrorBudgetBurn of SLO shop/cart (tier fast)`.
fn occasion(labels: &BTreeMap<String, String>) -> String {
    let Some(alert) = labels.get("alertname") else { return String::new() };
    if let Some(id) = labels.get(series::SLO_ID) {
        let tier = labels.get(series::TIER).map(|tier| format!(" (tier {tier})")).unwrap_or_default();
        return format!(" for alert {alert} of SLO {id}{tier}");
    }
    let own =
        labels.iter().filter(|(name, _)| !["alertname", series::SEVERITY, series::ALERT_RULE].contains(&&***name));
    let own: Vec<String> = own.map(|(name, value)| format!("{name}={value}")).take(TOLD).collect();
    let own = if own.is_empty() { String::new() } else { format!(" ({})", own.join(", ")) };
    format!(" for alert {alert}{own}")
}

/// What is said of a status, if anything.
fn news(
    execution: &RunbookExecution,
    before: &RunbookExecutionStatus,
    status: &RunbookExecutionStatus,
) -> Option<String> {
    let spec = &execution.spec;
    let dry = spec.mode == Mode::DryRun;
    let what = match status.phase {
        Phase::Skipped => "skipped",
        Phase::Succeeded if dry => "dry run",
        Phase::Running if before.started_at.is_none() => "started",
        Phase::Blocked if !dry && before.reason != status.reason => "held back",
        phase if phase.is_terminal() => phase.name(),
        _ => return None,
    };
    let of = occasion(&spec.trigger.labels);
    let mut message = status.message.clone().unwrap_or_default();
    if what == "started" {
        let steps: Vec<&str> = spec.steps.iter().map(|step| step.name.as_str()).collect();
        message = format!("{message}: {}", steps.join(", "));
    }
    let ended = status.phase.is_terminal();
    let bad = |outcome| matches!(outcome, Some(Outcome::Failed | Outcome::TimedOut | Outcome::Unknown));
    for step in status.steps.iter().filter(|step| ended && bad(step.effect.outcome)) {
        message = format!("{message}; {}: {}", step.name, step.effect.message.as_deref().unwrap_or_default());
    }
    let namespace = execution.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("Runbook {namespace}/{}: {what}{of}: {message}", spec.runbook.name))
}

#[cfg(test)]
mod tests {
    use super::occasion;

    #[test]
    fn two_alerts_of_one_name_can_be_told_apart() {
        for (labels, said) in [
            (
                &[
                    ("alertname", "SLOErrorBudgetBurn"),
                    ("slo_id", "shop/cart"),
                    ("burnrate_tier", "fast"),
                    ("severity", "page"),
                ][..],
                " for alert SLOErrorBudgetBurn of SLO shop/cart (tier fast)",
            ),
            (&[("alertname", "SLONoData"), ("slo_id", "shop/cart")], " for alert SLONoData of SLO shop/cart"),
            (
                &[("alertname", "Down"), ("severity", "page"), ("job", "cart"), ("instance", "a:80")],
                " for alert Down (instance=a:80, job=cart)",
            ),
            (
                &[("alertname", "Down"), ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")],
                " for alert Down (a=1, b=2, c=3, d=4)",
            ),
            (&[("alertname", "Down")], " for alert Down"),
            (&[("job", "cart")], ""),
        ] {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(occasion(&labels), said);
        }
    }
}
