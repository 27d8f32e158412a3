//! What the guards count: every execution that has begun, in memory, so that a check reads no list.
//!
//! Only the leader writes statuses, so what it listed when it began to lead and what it has stored since is all there
//! is; the watch adds what somebody else did. Nothing lives here alone: a restart makes it anew from the API server.
//! While the watch is broken the executions are listed for each check, and what cannot be listed refuses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{ResourceExt, core::DeserializeGuard, runtime::watcher};
use plimsoll_api::{
    RunbookExecution,
    execution::{ObjectRef, Phase},
    runbook::Mode,
};
use plimsoll_runbook::{
    guards::{self, Hits, Past},
    machine::unsaid,
};
use tokio::{sync::watch, time::timeout};

use super::{lent, proof::Sealer, unsealed::is_sealed};

/// An execution as the watch tells it.
type Told = DeserializeGuard<RunbookExecution>;

/// `namespace/name` of an execution: the same as long as it lives.
type Key = String;

/// All executions that have begun.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
    /// Whether the watch has told everything and goes on telling.
    whole: watch::Sender<bool>,
    /// Tells what the operator has made; without it nothing is believed to have begun with its making.
    sealer: Option<Sealer>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What a list that is under way has told so far.
    listed: Option<HashSet<Key>>,
    entries: HashMap<Key, Entry>,
    /// Of each runbook, by its namespace and UID: whoever makes an execution elsewhere could say any UID.
    of_runbook: HashMap<String, HashSet<Key>>,
    /// Of each object that one has for itself, by its UID: those that act now.
    held: HashMap<String, HashSet<Key>>,
    /// Of each workload, by its UID: those that take Pods of it now.
    taken: HashMap<String, HashSet<Key>>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Its UID; none while this process makes it and has no answer yet.
    uid: Option<String>,
    runbook: String,
    past: Past,
    /// The UIDs of what it has for itself while it acts.
    holds: Vec<String>,
}

/// What is known of an execution's surroundings at one moment. Whoever holds it is alone: a run that begins is entered
/// before anybody else counts.
pub struct Page<'l> {
    inner: MutexGuard<'l, Inner>,
}

impl Ledger {
    /// With what tells which executions the operator has made.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer: Some(sealer), ..Self::default() }
    }

    /// Whether the operator has made an execution.
    pub fn is_sealed(&self, execution: &RunbookExecution) -> bool {
        self.sealer.as_ref().is_some_and(|sealer| is_sealed(sealer, execution))
    }

    fn counted(&self, execution: &RunbookExecution) -> Option<Past> {
        counted(self.sealer.as_ref(), execution)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch has told something.
    pub fn told(&self, event: &watcher::Result<watcher::Event<Told>>) {
        let mut inner = self.lock();
        let mut whole = *self.whole.borrow();
        match event {
            Ok(watcher::Event::Apply(DeserializeGuard(Ok(execution)))) => {
                whole |= inner.listed.is_none();
                inner.join(execution, self.counted(execution));
            }
            Ok(watcher::Event::InitApply(DeserializeGuard(Ok(execution)))) => {
                inner.join(execution, self.counted(execution));
            }
            Ok(watcher::Event::Delete(execution)) => {
                let key = format!("{}/{}", execution.namespace().unwrap_or_default(), execution.name_any());
                // Another one of its name may have been made since.
                if inner.entries.get(&key).is_some_and(|entry| entry.uid.is_some() && entry.uid == execution.uid()) {
                    inner.remove(&key);
                }
            }
            Ok(watcher::Event::Init) => {
                whole = false;
                inner.listed = Some(HashSet::new());
            }
            Ok(watcher::Event::InitDone) => {
                let listed = inner.listed.take().unwrap_or_default();
                // What is being made may be stored after the list was.
                let is_gone = |(key, entry): &(&Key, &Entry)| entry.uid.is_some() && !listed.contains(*key);
                let gone: Vec<Key> = inner.entries.iter().filter(is_gone).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    inner.remove(&key);
                }
                whole = true;
            }
            // One that cannot be read never began: only the operator writes statuses.
            Ok(watcher::Event::Apply(_) | watcher::Event::InitApply(_)) => {}
            Err(_) => whole = false,
        }
        self.whole.send_if_modified(|was| std::mem::replace(was, whole) != whole);
    }

    /// What the API server has just answered about an execution, to a read or a write: nothing is newer.
    pub fn read(&self, execution: &RunbookExecution) {
        let counted = self.counted(execution);
        self.lock().replace(execution, counted);
    }

    /// An execution is not there any more. One that is being made under its name is another one.
    pub fn gone(&self, namespace: &str, name: &str) {
        let (key, mut inner) = (format!("{namespace}/{name}"), self.lock());
        if inner.entries.get(&key).is_some_and(|entry| entry.uid.is_some()) {
            inner.remove(&key);
        }
    }

    /// What this process was making was not made; what has its name instead, if anything has, may have begun meanwhile.
    pub fn not_made(&self, made: &RunbookExecution, found: Option<&RunbookExecution>) {
        let (key, found) = (key(made), found.map(|found| (found, self.counted(found))));
        let mut inner = self.lock();
        if inner.entries.get(&key).is_some_and(|entry| entry.uid.is_none()) {
            inner.remove(&key);
        }
        if let Some((found, counted)) = found {
            inner.join(found, counted);
        }
    }

    /// Whether the watch tells all there is, at the latest after a time: when it begins, it needs a moment.
    pub async fn is_whole(&self, within: Duration) -> bool {
        timeout(within, self.whole.subscribe().wait_for(|whole| *whole)).await.is_ok()
    }

    /// Whether the watch tells all there is.
    pub fn is_whole_now(&self) -> bool {
        *self.whole.borrow()
    }

    /// To count, and to enter what begins.
    pub fn page(&self) -> Page<'_> {
        Page { inner: self.lock() }
    }
}

impl Page<'_> {
    /// The other executions of the same runbook that have begun. `listed` are those of a list that was made just now,
    /// where one was.
    pub fn history(&self, execution: &RunbookExecution, listed: Vec<Past>) -> Vec<Past> {
        let own = key(execution);
        let mut all: BTreeMap<String, Past> = listed.into_iter().map(|past| (past.name.clone(), past)).collect();
        let keys = self.inner.of_runbook.get(&runbook_of(execution)).into_iter().flatten();
        for entry in keys.filter(|key| **key != own).filter_map(|key| self.inner.entries.get(key)) {
            match all.get_mut(&entry.past.name) {
                Some(past) => join(past, &entry.past),
                None => _ = all.insert(entry.past.name.clone(), entry.past.clone()),
            }
        }
        all.remove(&execution.name_any());
        all.into_values().collect()
    }

    /// Other executions that act now upon the same target, or have borrowed the same object. One that waits does not hold
    /// another one back, or both would wait for ever.
    pub fn same_target(&self, execution: &RunbookExecution) -> Vec<String> {
        let (own, holds) = (key(execution), guards::holds(&execution.spec));
        let keys: BTreeSet<&Key> = holds.iter().filter_map(|uid| self.inner.held.get(*uid)).flatten().collect();
        let entries = keys.into_iter().filter(|key| **key != own).filter_map(|key| self.inner.entries.get(key));
        entries.filter(|entry| acts(&entry.past)).map(|entry| entry.past.name.clone()).collect()
    }

    /// Other executions, of any runbook, that take Pods now of the workload that the target is, or belongs to. `listed` are
    /// those of a list that was made just now, where one was.
    pub fn same_workload(&self, execution: &RunbookExecution, listed: Vec<Past>) -> Vec<Past> {
        let own = key(execution);
        let mut all: BTreeMap<String, Past> = listed.into_iter().map(|past| (past.name.clone(), past)).collect();
        let workload = target_of(execution).and_then(guards::workload);
        let keys = workload.and_then(|uid| self.inner.taken.get(uid)).into_iter().flatten();
        for entry in keys.filter(|key| **key != own).filter_map(|key| self.inner.entries.get(key)) {
            all.insert(entry.past.name.clone(), entry.past.clone());
        }
        all.into_values().collect()
    }

    /// It begins: whoever counts next sees it, before it is stored. What becomes of it is entered when it is read.
    pub fn begins(mut self, execution: &RunbookExecution, now: jiff::Timestamp) {
        let past = Past { started_at: Some(now), finished_at: None, ..past(execution) };
        self.inner.put(key(execution), entry(execution, past));
    }
}

impl Inner {
    /// A watch may be behind: what has begun has not unbegun, and what has ended does not go on.
    fn join(&mut self, execution: &RunbookExecution, told: Option<Past>) {
        let key = key(execution);
        let known = self.entries.get(&key);
        let is_known = known.is_some_and(|entry| entry.uid == execution.uid());
        let Some(mut told) = told else {
            if is_known {
                self.remove(&key);
            }
            return;
        };
        match known {
            Some(entry) if is_known => join(&mut told, &entry.past),
            // Of two of a name one is gone, which is told, or is not in a list.
            Some(entry) if acts(&entry.past) && !acts(&told) => return,
            _ => {}
        }
        if told.started_at.is_some() {
            self.put(key, entry(execution, told));
        }
    }

    fn replace(&mut self, execution: &RunbookExecution, read: Option<Past>) {
        let key = key(execution);
        match read.filter(|past| past.started_at.is_some()) {
            Some(past) => self.put(key, entry(execution, past)),
            None => self.remove(&key),
        }
    }

    fn put(&mut self, key: Key, entry: Entry) {
        // It may have been made since the list was.
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        // It may be another one of the same name.
        self.remove(&key);
        self.of_runbook.entry(entry.runbook.clone()).or_default().insert(key.clone());
        if acts(&entry.past) {
            for uid in &entry.holds {
                self.held.entry(uid.clone()).or_default().insert(key.clone());
            }
        }
        if let Some(workload) = entry.past.workload_uid.as_ref().filter(|_| takes(&entry.past)) {
            self.taken.entry(workload.clone()).or_default().insert(key.clone());
        }
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &str) {
        let Some(Entry { uid: _, runbook, past, holds }) = self.entries.remove(key) else { return };
        forget(&mut self.of_runbook, &runbook, key);
        if let Some(workload) = &past.workload_uid {
            forget(&mut self.taken, workload, key);
        }
        for uid in &holds {
            forget(&mut self.held, uid, key);
        }
    }
}

fn forget(index: &mut HashMap<String, HashSet<Key>>, of: &str, key: &str) {
    if let Some(keys) = index.get_mut(of) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(of);
        }
    }
}

fn entry(execution: &RunbookExecution, past: Past) -> Entry {
    // What has ended holds nothing, and that is most of them.
    let holds =
        if acts(&past) { guards::holds(&execution.spec).into_iter().map(str::to_owned).collect() } else { Vec::new() };
    Entry { uid: execution.uid(), runbook: runbook_of(execution), past, holds }
}

fn runbook_of(execution: &RunbookExecution) -> String {
    format!("{}/{}", execution.namespace().unwrap_or_default(), execution.spec.runbook.uid)
}

/// What is known besides: a start and an end that were seen once stay.
fn join(past: &mut Past, other: &Past) {
    if past.started_at.is_none() {
        past.started_at = other.started_at;
    }
    if past.finished_at.is_none() && other.finished_at.is_some() {
        (past.finished_at, past.phase) = (other.finished_at, other.phase);
    }
}

fn key(execution: &RunbookExecution) -> Key {
    format!("{}/{}", execution.namespace().unwrap_or_default(), execution.name_any())
}

/// It does something now.
pub fn acts(past: &Past) -> bool {
    past.real && past.started_at.is_some() && past.finished_at.is_none()
}

/// It takes Pods now, or nobody knows how many.
pub fn takes(past: &Past) -> bool {
    acts(past) && past.takes != Some(Hits::default())
}

/// What the guards count of an execution, where anybody may have made it: that it has begun with its making is believed of
/// those that the operator has made. `None` when it is gone but for finalizers of others, which may stay for ever.
pub fn counted(sealer: Option<&Sealer>, execution: &RunbookExecution) -> Option<Past> {
    if execution.metadata.deletion_timestamp.is_some() && !lent::is_held(execution) {
        return None;
    }
    let past = past(execution);
    let says = unsaid(&execution.spec, execution.status.as_ref()).is_some();
    if says && !sealer.is_some_and(|sealer| is_sealed(sealer, execution)) {
        return Some(Past { started_at: None, phase: Phase::Pending, ..past });
    }
    Some(past)
}

/// What the guards count of an execution that the operator has made.
pub fn past(execution: &RunbookExecution) -> Past {
    let target = target_of(execution);
    let status = execution.status.as_ref();
    // One that was made as one that has begun has no status for a moment.
    let begun = unsaid(&execution.spec, status);
    let started = status.and_then(|status| status.started_at.as_ref()).map(|time| time.0).or(begun);
    let phase = if begun.is_some() { Phase::Running } else { status.map(|status| status.phase).unwrap_or_default() };
    Past {
        name: execution.name_any(),
        target_uid: target.map(|object| object.uid.clone()).unwrap_or_default(),
        workload_uid: target.and_then(guards::workload).map(str::to_owned),
        takes: guards::takes(&execution.spec),
        phase,
        started_at: started,
        finished_at: status.and_then(|status| status.finished_at.as_ref()).map(|time| time.0),
        real: execution.spec.mode != Mode::DryRun,
    }
}

/// The object that an execution acts upon.
pub fn target_of(execution: &RunbookExecution) -> Option<&ObjectRef> {
    let target = execution.spec.target.as_ref()?;
    execution.spec.objects.iter().find(|object| object.parameter == *target)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
