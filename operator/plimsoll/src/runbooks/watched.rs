//! What the leader keeps of the executions that the watch tells: little of each, since there may be very many, and all of
//! a few that nobody has looked at yet, so that a run begins without being read again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{
    ResourceExt,
    core::DeserializeGuard,
    runtime::watcher::{Event, Result},
};
use plimsoll_api::RunbookExecution;
use tokio::time::Instant;

use super::{begin::recall, ledger::Ledger, making::Making, proof::Sealer};

/// So many are kept whole. More than this at once is a storm, in which most are held back anyway.
const WHOLE: usize = 256;

/// Executions that nobody has looked at yet, by namespace and name.
type All = HashMap<(String, String), New>;

/// An execution that nobody has looked at yet.
#[derive(Clone, Debug)]
pub struct New {
    /// All of it.
    pub execution: RunbookExecution,
    /// When its objects were looked at, where this process planned it.
    pub seen: Option<Instant>,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// What the guards count.
    pub ledger: Arc<Ledger>,
    /// What this process makes as such that have begun.
    pub making: Making,
    new: Arc<Mutex<All>>,
}

impl Watched {
    /// With what tells which executions the operator has made.
    pub fn new(sealer: Sealer) -> Self {
        Self { ledger: Arc::new(Ledger::new(sealer)), ..Self::default() }
    }

    /// The watch has told something.
    pub fn told(&self, event: &Result<Event<DeserializeGuard<RunbookExecution>>>) {
        self.ledger.told(event);
        if let Ok(Event::Apply(DeserializeGuard(Ok(execution))) | Event::InitApply(DeserializeGuard(Ok(execution)))) =
            event
        {
            self.making.seen(execution, || self.ledger.is_sealed(execution));
        }
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(DeserializeGuard(Ok(execution)))) => {
                let key = (execution.namespace().unwrap_or_default(), execution.name_any());
                if execution.status.is_some() {
                    new.remove(&key);
                } else if new.len() < WHOLE || new.contains_key(&key) {
                    let seen = new.get(&key).and_then(|new| new.seen);
                    new.insert(key, New { execution: execution.clone(), seen });
                }
            }
            Ok(Event::Delete(execution)) => {
                let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
                self.making.gone(&namespace, &name);
                new.remove(&(namespace, name));
            }
            // What is listed may have been there for long.
            Ok(Event::Init) => new.clear(),
            Ok(_) | Err(_) => {}
        }
    }

    /// This process has just made an execution, before the watch tells of it; false when it is left to the watch: while
    /// that lists, what is not in its list would be taken for gone.
    pub fn made(&self, new: &New) -> bool {
        if !self.ledger.is_whole_now() {
            return false;
        }
        let key = (new.execution.namespace().unwrap_or_default(), new.execution.name_any());
        let mut all = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < WHOLE {
            all.entry(key).or_insert_with(|| new.clone());
        }
        true
    }

    /// One that nobody has looked at yet. It may be behind: a status that is stored over it is refused by its version.
    pub fn take(&self, namespace: &str, name: &str) -> Option<New> {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.remove(&(namespace.to_owned(), name.to_owned()))
    }
}

/// Leaves of an execution what the page shows of it. Most of one are the templates of its objects, which nobody is shown.
pub fn slim_for_page(execution: &mut RunbookExecution) {
    recall(execution);
    let metadata = &mut execution.metadata;
    (metadata.labels, metadata.annotations, metadata.managed_fields) = (None, None, None);
    execution.spec.artifacts = None;
    for object in &mut execution.spec.objects {
        (object.facts.template, object.facts.earlier) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, from_value, json};

    use super::*;

    fn execution(version: &str, status: Value) -> RunbookExecution {
        from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"name": "x", "namespace": "shop", "resourceVersion": version},
            "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}, "status": status}))
        .unwrap()
    }

    fn told(watched: &Watched, event: Event<RunbookExecution>) {
        let guarded = |execution| DeserializeGuard(Ok(execution));
        watched.told(&Ok(match event {
            Event::Apply(one) => Event::Apply(guarded(one)),
            Event::Delete(one) => Event::Delete(guarded(one)),
            Event::InitApply(one) => Event::InitApply(guarded(one)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        }));
    }

    #[test]
    fn what_this_process_made_is_known_before_the_watch_tells_of_it() {
        let (watched, seen) = (Watched::default(), Instant::now());
        let new = || New { execution: execution("1", Value::Null), seen: Some(seen) };
        assert!(!watched.made(&new()), "nothing is listed yet");
        told(&watched, Event::Init);
        assert!(!watched.made(&new()), "it may have been made after the list");
        assert!(watched.take("shop", "x").is_none());
        told(&watched, Event::InitDone);
        assert!(watched.made(&new()));
        let taken = watched.take("shop", "x").unwrap();
        assert_eq!(taken.seen, Some(seen));
        // What the watch says is newer, and when its objects were seen stays known.
        assert!(watched.made(&new()));
        told(&watched, Event::Apply(execution("2", Value::Null)));
        assert!(watched.made(&new()));
        let taken = watched.take("shop", "x").unwrap();
        assert_eq!((taken.execution.metadata.resource_version.as_deref(), taken.seen), (Some("2"), Some(seen)));
        // Somebody has looked at it.
        assert!(watched.made(&new()));
        told(&watched, Event::Apply(execution("3", json!({"phase": "Running"}))));
        assert!(watched.take("shop", "x").is_none());
        watched.told(&Err(kube::runtime::watcher::Error::NoResourceVersion));
        assert!(!watched.made(&new()), "the watch is broken: it lists again");
    }
}
