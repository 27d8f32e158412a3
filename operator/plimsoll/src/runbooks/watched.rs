//! What the leader keeps of the executions that the watch tells: little of each, since there may be very many, and all of
//! a few that nobody has looked at yet, so that a run begins without being read again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use kube::{
    ResourceExt,
    core::DeserializeGuard,
    runtime::watcher::{Event, Result},
};
use plimsoll_api::{RunbookExecution, RunbookExecutionStatus, execution::Facts};

use super::ledger::Ledger;

/// So many are kept whole. More than this at once is a storm, in which most are held back anyway.
const WHOLE: usize = 256;

/// Executions that nobody has looked at yet, by namespace and name.
type New = HashMap<(String, String), RunbookExecution>;

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// What the guards count.
    pub ledger: Arc<Ledger>,
    new: Arc<Mutex<New>>,
}

impl Watched {
    /// The watch has told something.
    pub fn told(&self, event: &Result<Event<DeserializeGuard<RunbookExecution>>>) {
        self.ledger.told(event);
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(DeserializeGuard(Ok(execution)))) => {
                let key = (execution.namespace().unwrap_or_default(), execution.name_any());
                if execution.status.is_some() {
                    new.remove(&key);
                } else if new.len() < WHOLE || new.contains_key(&key) {
                    new.insert(key, execution.clone());
                }
            }
            Ok(Event::Delete(execution)) => {
                new.remove(&(execution.namespace().unwrap_or_default(), execution.name_any()));
            }
            // What is listed may have been there for long.
            Ok(Event::Init) => new.clear(),
            Ok(_) | Err(_) => {}
        }
    }

    /// One that nobody has looked at yet. It may be behind: a status that is stored over it is refused by its version.
    pub fn take(&self, namespace: &str, name: &str) -> Option<RunbookExecution> {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.remove(&(namespace.to_owned(), name.to_owned()))
    }
}

/// Leaves of an execution what the page shows of it. Most of one is what was found of its objects: templates, above all.
pub fn slim_for_page(execution: &mut RunbookExecution) {
    let metadata = &mut execution.metadata;
    (metadata.labels, metadata.annotations, metadata.managed_fields) = (None, None, None);
    execution.spec.artifacts = None;
    for object in &mut execution.spec.objects {
        object.facts = Facts::default();
    }
}

/// Leaves of an execution what [`Ledger`] and guards that count read of it.
pub fn slim(guarded: &mut DeserializeGuard<RunbookExecution>) {
    let Ok(execution) = &mut guarded.0 else { return };
    execution.metadata.managed_fields = None;
    execution.metadata.labels = None;
    let spec = &mut execution.spec;
    spec.steps = Vec::new();
    spec.trigger.labels = BTreeMap::new();
    spec.artifacts = None;
    for object in &mut spec.objects {
        let Facts { workload_uid, replicas, .. } = std::mem::take(&mut object.facts);
        object.facts = Facts { workload_uid, replicas, ..Facts::default() };
    }
    if let Some(status) = &mut execution.status {
        let RunbookExecutionStatus { phase, reason, started_at, finished_at, .. } = std::mem::take(status);
        *status =
            RunbookExecutionStatus { phase, reason, started_at, finished_at, ..RunbookExecutionStatus::default() };
    }
}
