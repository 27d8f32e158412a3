//! What a stored status tells the world: events, metrics, the runbook's columns. Told beside the run, which does not
//! wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
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
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::Instant,
};

use crate::events::Teller;
use crate::{operator::metrics::Metrics, sinks::kubernetes::chain};

/// So many events of one runbook are told at once, then so many a second: in a storm of alerts, what is told of each
/// would be more than what is done. The executions themselves say all of it.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 1.0;
/// Of all runbooks together so many are told at once, then one each time: what is told must not hold up what is done, and
/// the API server is the same.
const AT_ONCE: u32 = 10;
const EACH: Duration = Duration::from_millis(100);
/// So many wait for their turn.
const WAITING: usize = 1000;
/// Runbooks of which it is remembered how much was told.
const MOST: usize = 1000;
/// The columns of a runbook change no more often.
const COLUMN: Duration = Duration::from_secs(1);

/// Tells it.
#[derive(Clone)]
pub struct News {
    client: Client,
    teller: Teller,
    turns: Sender<(ObjectReference, Item)>,
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

impl Item {
    /// A run is some lines: that it began, what became of each step, and how it ended.
    fn log(&self, execution: &str) {
        let Self { warning, reason, note } = self;
        if *warning {
            tracing::warn!(execution, reason, "{note}");
        } else {
            tracing::info!(execution, reason, "{note}");
        }
    }
}

impl News {
    /// With a client that writes only while this process leads. Must be called in a runtime: events are told by a task.
    pub fn new(client: Client, teller: Teller, metrics: Arc<Metrics>) -> Self {
        let (turns, waiting) = mpsc::channel(WAITING);
        tokio::spawn(in_turn(teller.clone(), waiting));
        Self { client, teller, turns, metrics, room: Arc::default(), columns: Arc::default() }
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
        let execution = format!("{}/{}", new.namespace().unwrap_or_default(), new.name_any());
        for item in items {
            item.log(&execution);
            if self.turns.try_send((new.object_ref(&()), item)).is_err() {
                self.metrics.runbook_event_left_out();
            }
        }
        if of_runbook {
            let (news, execution) = (self.clone(), new.clone());
            tokio::spawn(async move { news.columns(execution).await });
        }
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

/// Tells one after the other, until nobody is left who says anything.
async fn in_turn(teller: Teller, mut waiting: Receiver<(ObjectReference, Item)>) {
    let mut taken = Instant::now();
    while let Some((about, Item { warning, reason, note })) = waiting.recv().await {
        let turn;
        (taken, turn) = next(taken, Instant::now());
        tokio::time::sleep_until(turn).await;
        let type_ = if warning { EventType::Warning } else { EventType::Normal };
        teller.tell(&about, type_, &reason, &note).await;
    }
}

/// Until when turns are taken once one more is, and when its turn is.
fn next(taken: Instant, now: Instant) -> (Instant, Instant) {
    let taken = taken.max(now) + EACH;
    (taken, now.max(taken - EACH * AT_ONCE))
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
    fn a_few_have_their_turn_at_once() {
        let now = Instant::now();
        let mut taken = now;
        let waits: Vec<Duration> = (0..30)
            .map(|_| {
                let turn;
                (taken, turn) = next(taken, now);
                turn - now
            })
            .collect();
        let (at_once, later) = waits.split_at(AT_ONCE as usize);
        assert!(at_once.iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(later, (1..=20).map(|i| EACH * i).collect::<Vec<_>>());
        // Nothing is left of it after a while.
        assert_eq!(next(taken, now + EACH * 60).1, now + EACH * 60);
    }

    #[tokio::test]
    async fn one_after_the_other_in_the_order_of_what_happened() {
        let api = crate::testing::FakeApi::default();
        let news = News::new(api.client(), Teller::new(api.client(), "Run"), Metrics::new());
        let named = |name: String, status: serde_json::Value| -> RunbookExecution {
            let mut object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
                "metadata": {"name": name, "namespace": "shop", "uid": "u"}, "spec": {"runbook": {"name": "r", "uid": "u",
                "generation": 1}, "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                "mode": "Auto", "serviceAccountName": "a", "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h",
                "cooldown": "1h"}});
            object["status"] = status;
            from_value(object).unwrap()
        };
        let began = Instant::now();
        for i in 0..12 {
            let after = json!({"phase": "Succeeded", "message": format!("of run {i}")});
            let run = |status| named(format!("run-{i}"), status);
            news.stored(&run(json!({"phase": "Running"})), &run(after));
        }
        while api.notes().len() < 12 {
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", api.notes());
            tokio::task::yield_now().await;
        }
        assert_eq!(api.notes(), (0..12).map(|i| format!("Succeeded: of run {i}")).collect::<Vec<_>>());
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
