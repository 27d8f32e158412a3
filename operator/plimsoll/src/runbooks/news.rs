//! What a stored status tells the world: events, metrics, the runbook's columns. Told beside the run, which does not
//! wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use plimsoll_api::{
    Runbook, RunbookExecution, RunbookExecutionStatus,
    execution::{Effect, Outcome, Phase},
};
use serde_json::json;
use tokio::time::Instant;

use crate::events::Teller;
use crate::{operator::metrics::Metrics, sinks::kubernetes::chain};

/// So many events of one runbook are told at once, then so many a second: in a storm of alerts, what is told of each
/// would be more than what is done. The executions themselves say all of it.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 1.0;
/// Runbooks of which it is remembered how much was told.
const MOST: usize = 1000;
/// The columns of a runbook change no more often.
const COLUMN: Duration = Duration::from_secs(1);

/// Tells it.
#[derive(Clone)]
pub struct News {
    client: Client,
    teller: Teller,
    metrics: Arc<Metrics>,
    room: Arc<Mutex<HashMap<String, (f64, Instant)>>>,
    columns: Arc<Mutex<HashMap<String, Option<Box<RunbookExecution>>>>>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    warning: bool,
    reason: String,
    note: String,
}

impl News {
    /// With a client that writes only while this process leads.
    pub fn new(client: Client, teller: Teller, metrics: Arc<Metrics>) -> Self {
        Self { client, teller, metrics, room: Arc::default(), columns: Arc::default() }
    }

    /// A status was stored over another one.
    pub fn stored(&self, old: &RunbookExecution, new: &RunbookExecution) {
        let before = old.status.clone().unwrap_or_default();
        let Some(after) = new.status.clone() else { return };
        if before.phase != after.phase && after.phase.is_terminal() {
            self.metrics.runbook_ended(after.phase.name());
        }
        for (step, outcome) in outcomes(&before, &after) {
            let action = new.spec.steps.iter().find(|s| s.name == step).and_then(|s| s.action.kinds().first().copied());
            self.metrics.runbook_step(action.map_or("", |kind| kind.field()), outcome.name());
        }
        let mut items = items(&before, &after);
        items.retain(|_| self.has_room(&new.spec.runbook.uid, Instant::now()));
        let started = before.started_at.is_none() && after.started_at.is_some();
        // What never began is no run, and there may be very many of that.
        let ended = before.phase != after.phase && after.phase.is_terminal();
        let of_runbook = after.started_at.is_some() && (started || ended);
        if items.is_empty() && !of_runbook {
            return;
        }
        let (news, execution) = (self.clone(), new.clone());
        tokio::spawn(async move {
            let about = execution.object_ref(&());
            for Item { warning, reason, note } in &items {
                let type_ = if *warning { EventType::Warning } else { EventType::Normal };
                news.teller.tell(&about, type_, reason, note).await;
            }
            if of_runbook {
                news.columns(execution).await;
            }
        });
    }

    /// An execution has borrowed something and does not give it back any more; why not.
    pub async fn not_given_back(&self, execution: &RunbookExecution, note: &str) {
        tracing::warn!(execution = %execution.name_any(), namespace = ?execution.namespace(), "{note}");
        self.teller.tell(&execution.object_ref(&()), EventType::Warning, "NotGivenBack", note).await;
    }

    /// Whether one more event of a runbook is told now.
    fn has_room(&self, runbook: &str, now: Instant) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = |left: f64, at: Instant| (left + PER_SECOND * (now - at).as_secs_f64()).min(BURST);
        if room.len() > MOST {
            room.retain(|_, (left, at)| refilled(*left, *at) < BURST);
        }
        let (left, at) = room.entry(runbook.to_owned()).or_insert((BURST, now));
        (*left, *at) = (refilled(*left, *at), now);
        let fits = *left >= 1.0;
        if fits {
            *left -= 1.0;
        } else {
            self.metrics.runbook_event_left_out();
        }
        fits
    }

    /// The columns of `kubectl get runbook`: the newest of what comes within a moment.
    async fn columns(&self, execution: RunbookExecution) {
        let uid = execution.spec.runbook.uid.clone();
        let columns = || self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = columns().get_mut(&uid) {
            *next = Some(Box::new(execution));
            return;
        }
        columns().insert(uid.clone(), Some(Box::new(execution)));
        loop {
            let next = {
                let mut columns = columns();
                let next = columns.get_mut(&uid).and_then(Option::take);
                if next.is_none() {
                    columns.remove(&uid);
                }
                next
            };
            let Some(next) = next else { return };
            self.column(&next).await;
            tokio::time::sleep(COLUMN).await;
        }
    }

    async fn column(&self, execution: &RunbookExecution) {
        let status = execution.status.clone().unwrap_or_default();
        let at = status.started_at.or(status.finished_at);
        let patch = json!({"metadata": {"uid": execution.spec.runbook.uid}, "status":
            {"lastRun": at, "lastExecution": execution.name_any(), "lastPhase": status.phase}});
        let api: Api<Runbook> = Api::namespaced(self.client.clone(), &execution.namespace().unwrap_or_default());
        match api.patch_status(&execution.spec.runbook.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => {}
            // It was deleted, or made anew.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(error = %chain(&error), "the last run of a runbook was not stored"),
        }
    }
}

fn effects(status: &RunbookExecutionStatus) -> impl Iterator<Item = (&str, &'static str, &Effect)> {
    status.steps.iter().flat_map(|step| {
        let undone = step.compensation.as_ref().map(|effect| (step.name.as_str(), "Undo", effect));
        [Some((step.name.as_str(), "Step", &step.effect)), undone].into_iter().flatten()
    })
}

/// Steps that have ended since.
fn outcomes<'s>(
    before: &'s RunbookExecutionStatus,
    after: &'s RunbookExecutionStatus,
) -> impl Iterator<Item = (&'s str, Outcome)> {
    new_effects(before, after).filter(|(_, kind, _)| *kind == "Step").filter_map(|(n, _, e)| Some((n, e.outcome?)))
}

fn new_effects<'s>(
    before: &'s RunbookExecutionStatus,
    after: &'s RunbookExecutionStatus,
) -> impl Iterator<Item = (&'s str, &'static str, &'s Effect)> {
    effects(after).filter(|(name, kind, effect)| {
        let known = effects(before).find(|(n, k, _)| n == name && k == kind).and_then(|(_, _, old)| old.outcome);
        effect.outcome.is_some() && known.is_none()
    })
}

fn items(before: &RunbookExecutionStatus, after: &RunbookExecutionStatus) -> Vec<Item> {
    let mut all: Vec<Item> = new_effects(before, after)
        .map(|(name, kind, effect)| {
            let outcome = effect.outcome.unwrap_or(Outcome::Unknown);
            Item {
                warning: !matches!(outcome, Outcome::Succeeded | Outcome::Skipped),
                reason: format!("{kind}{}", outcome.name()),
                note: format!("{}: {}", name, effect.message.as_deref().unwrap_or_default()),
            }
        })
        .collect();
    if before.phase != after.phase || before.reason != after.reason && after.phase == Phase::Blocked {
        let warning = matches!(after.phase, Phase::Blocked | Phase::Failed | Phase::Unknown | Phase::RolledBack);
        let reason = after.reason.clone().unwrap_or_else(|| after.phase.name().to_owned());
        let note = format!("{}: {}", after.phase.name(), after.message.as_deref().unwrap_or_default());
        all.push(Item { warning, reason, note });
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::from_value;

    use super::*;

    #[tokio::test]
    async fn a_storm_is_told_in_part() {
        let api = crate::testing::FakeApi::default();
        let metrics = Metrics::new();
        let news = News::new(api.client(), Teller::new(api.client(), "Run"), Arc::clone(&metrics));
        let now = Instant::now();
        let told = (0..500).filter(|_| news.has_room("storm", now)).count();
        assert_eq!(told, 100);
        assert!(news.has_room("another", now), "others are told of all the same");
        assert!(metrics.text().contains("plimsoll_runbook_events_left_out_total 400"));
        let later = now + Duration::from_secs(30);
        assert_eq!((0..500).filter(|_| news.has_room("storm", later)).count(), 30);
    }

    #[test]
    fn each_ending_is_told_once() {
        let before: RunbookExecutionStatus = from_value(json!({"phase": "Running", "steps": [
            {"name": "a", "outcome": "Succeeded", "message": "x"}, {"name": "b", "intentTime": "2026-01-01T00:00:00Z"}]}))
        .unwrap();
        let after: RunbookExecutionStatus = from_value(json!({"phase": "Failed", "reason": "StepFailed",
            "message": "step b failed", "steps": [{"name": "a", "outcome": "Succeeded", "message": "x"},
            {"name": "b", "outcome": "TimedOut", "message": "too long", "compensation": {"outcome": "Succeeded", "message": "put back"}}]}))
        .unwrap();
        let told: Vec<(String, String)> = items(&before, &after).into_iter().map(|i| (i.reason, i.note)).collect();
        let wanted = [
            ("StepTimedOut", "b: too long"),
            ("UndoSucceeded", "b: put back"),
            ("StepFailed", "Failed: step b failed"),
        ];
        assert_eq!(told, wanted.map(|(reason, note)| (reason.to_owned(), note.to_owned())));
        assert!(items(&after, &after).is_empty());
        assert_eq!(outcomes(&before, &after).collect::<Vec<_>>(), [("b", Outcome::TimedOut)]);
    }
}
