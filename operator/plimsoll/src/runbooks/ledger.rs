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
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::runbooks::proof::SEAL;

    fn execution(name: &str, status: Value) -> RunbookExecution {
        from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
            "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"}, "target": "pod",
                "objects": [{"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": "p", "uid": "t"}],
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}, "status": status}))
        .unwrap()
    }

    fn running(name: &str) -> RunbookExecution {
        execution(name, json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"}))
    }

    fn ended(name: &str) -> RunbookExecution {
        let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
        execution(name, json!({"phase": "Failed", "startedAt": times[0], "finishedAt": times[1]}))
    }

    fn waits(name: &str) -> RunbookExecution {
        execution(name, json!({"phase": "Blocked"}))
    }

    fn tell(ledger: &Ledger, event: Event<RunbookExecution>) {
        let guarded = |execution| DeserializeGuard(Ok(execution));
        ledger.told(&Ok(match event {
            Event::Apply(one) => Event::Apply(guarded(one)),
            Event::Delete(one) => Event::Delete(guarded(one)),
            Event::InitApply(one) => Event::InitApply(guarded(one)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        }));
    }

    /// How many have begun, and which act, for one that asks.
    fn seen(ledger: &Ledger) -> (usize, Vec<String>) {
        let (page, asks) = (ledger.page(), waits("asks"));
        let mut acting = page.same_target(&asks);
        acting.sort();
        (page.history(&asks, Vec::new()).len(), acting)
    }

    #[test]
    fn it_is_whole_only_between_a_list_and_a_failure() {
        let ledger = Ledger::default();
        let is_whole = || *ledger.whole.borrow();
        assert!(!is_whole());
        tell(&ledger, Event::Init);
        tell(&ledger, Event::InitApply(running("a")));
        tell(&ledger, Event::Apply(running("b")));
        assert!(!is_whole(), "the list has not ended");
        tell(&ledger, Event::InitDone);
        assert!(is_whole());
        ledger.told(&Err(watcher::Error::NoResourceVersion));
        assert!(!is_whole());
        tell(&ledger, Event::Apply(waits("c")));
        assert!(is_whole(), "it speaks again");
    }

    #[test]
    fn what_begins_counts_at_once_and_what_did_not_begin_does_not() {
        let ledger = Ledger::default();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        ledger.page().begins(&waits("a"), now);
        assert_eq!(seen(&ledger), (1, vec!["a".to_owned()]));
        // The watch tells what was before.
        tell(&ledger, Event::Apply(waits("a")));
        assert_eq!(seen(&ledger).0, 1);
        // It could not be stored, as a read says.
        ledger.read(&waits("a"));
        assert_eq!(seen(&ledger), (0, vec![]));
        ledger.read(&running("a"));
        ledger.read(&ended("a"));
        tell(&ledger, Event::Apply(running("a")));
        assert_eq!(seen(&ledger), (1, vec![]), "what has ended does not go on");
        // Nobody counts itself.
        assert!(ledger.page().history(&waits("a"), Vec::new()).is_empty());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let ledger = Ledger::default();
        for name in ["a", "b", "c"] {
            tell(&ledger, Event::Apply(running(name)));
        }
        tell(&ledger, Event::Delete(running("a")));
        ledger.gone("shop", "b");
        assert_eq!(seen(&ledger), (1, vec!["c".to_owned()]));
        tell(&ledger, Event::Init);
        tell(&ledger, Event::InitApply(running("d")));
        assert_eq!(seen(&ledger).0, 2, "until the list has ended");
        tell(&ledger, Event::InitDone);
        assert_eq!(seen(&ledger), (1, vec!["d".to_owned()]));
        tell(&ledger, Event::Delete(running("d")));
        assert!(ledger.lock().of_runbook.is_empty() && ledger.lock().held.is_empty());
    }

    /// What anybody writes into an execution takes nobody's turn.
    #[test]
    fn only_what_the_operator_has_made_has_begun_with_its_making() {
        let sealer = Sealer::new([1; 32]);
        let ledger = Ledger::new(sealer.clone());
        let now = || Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
        let mut made = execution("a", Value::Null);
        made.spec.begun = now();
        tell(&ledger, Event::Apply(made.clone()));
        ledger.read(&made);
        assert_eq!(seen(&ledger), (0, vec![]));
        let seal = crate::runbooks::dispatch::seal(&sealer, "", "shop", "a", &made.spec).unwrap();
        made.annotations_mut().insert(SEAL.to_owned(), seal);
        tell(&ledger, Event::Apply(made.clone()));
        assert_eq!(seen(&ledger), (1, vec!["a".to_owned()]));
        // In another namespace there are no runs of this runbook, whatever they say.
        let mut elsewhere = ended("b");
        elsewhere.metadata.namespace = Some("m".to_owned());
        tell(&ledger, Event::Apply(elsewhere));
        assert_eq!(seen(&ledger).0, 1);
        // What only others keep from going is gone.
        made.metadata.deletion_timestamp = now();
        made.metadata.finalizers = Some(vec!["theirs".to_owned(), lent::FINALIZER.to_owned()]);
        tell(&ledger, Event::Apply(made.clone()));
        assert_eq!(seen(&ledger).0, 1, "it gives back");
        made.metadata.finalizers = Some(vec!["theirs".to_owned()]);
        tell(&ledger, Event::Apply(made.clone()));
        assert_eq!(seen(&ledger), (0, vec![]));
        ledger.read(&made);
        assert_eq!(seen(&ledger), (0, vec![]));
    }

    /// Two posts of one alert make the same: who was second takes nothing back of what the first has begun.
    #[test]
    fn what_was_not_made_takes_nothing_back() {
        let (ledger, now) = (Ledger::default(), "2026-01-01T00:00:00Z".parse().unwrap());
        let (mut making, other) = (waits("a"), waits("a"));
        making.metadata.uid = None;
        let counts = || seen(&ledger).0 == 1;
        ledger.page().begins(&making, now);
        // What is being made is in no list yet, and one that went was another one.
        tell(&ledger, Event::Init);
        tell(&ledger, Event::InitDone);
        tell(&ledger, Event::Delete(ended("a")));
        ledger.gone("shop", "a");
        assert!(counts());
        ledger.not_made(&making, None);
        assert!(!counts());
        ledger.page().begins(&making, now);
        ledger.not_made(&making, Some(&other));
        assert!(!counts(), "the other one has not begun");
        ledger.page().begins(&making, now);
        ledger.page().begins(&other, now);
        ledger.not_made(&making, Some(&other));
        assert!(counts(), "it has, since it was read");
        // The watch tells late of one that was before.
        let mut earlier = waits("a");
        earlier.metadata.uid = Some("of-before".to_owned());
        tell(&ledger, Event::Apply(earlier.clone()));
        tell(&ledger, Event::Delete(earlier));
        assert_eq!(seen(&ledger), (1, vec!["a".to_owned()]));
    }

    #[test]
    fn a_list_and_what_is_known_become_one() {
        let ledger = Ledger::default();
        ledger.read(&ended("a"));
        ledger.read(&running("b"));
        let listed = vec![past(&running("a")), past(&ended("c")), past(&waits("asks"))];
        let all = ledger.page().history(&waits("asks"), listed);
        let shown: Vec<(&str, bool)> =
            all.iter().map(|past| (past.name.as_str(), past.finished_at.is_some())).collect();
        assert_eq!(shown, [("a", true), ("b", false), ("c", true)]);
    }

    /// Two runs of different targets that measure the same object more closely come one after the other.
    #[test]
    fn what_is_borrowed_is_held_as_a_target_is() {
        let measures = |name: &str, target: &str, monitor: &str, status: Value| {
            let mut execution = execution(name, status);
            execution.spec.objects = from_value(json!([
                {"parameter": "app", "kind": "Deployment", "namespace": "shop", "name": target, "uid": target},
                {"parameter": "monitor", "kind": "ServiceMonitor", "namespace": "shop", "name": monitor, "uid": monitor}]))
            .unwrap();
            execution.spec.target = Some("app".to_owned());
            execution.spec.steps = from_value(json!([
                {"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug"}}]))
            .unwrap();
            execution
        };
        let acting = json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
        let ledger = Ledger::default();
        tell(&ledger, Event::Apply(measures("first", "checkout", "m", acting.clone())));
        let busy = |other: &RunbookExecution| ledger.page().same_target(other);
        assert_eq!(busy(&measures("second", "cart", "m", Value::Null)), ["first"]);
        assert!(busy(&measures("second", "cart", "n", Value::Null)).is_empty(), "another monitor");
        // Who acts upon the monitor itself, and who has the same target, as ever.
        let mut upon = measures("second", "m", "n", Value::Null);
        upon.spec.steps = Vec::new();
        assert_eq!(busy(&upon), ["first"]);
        assert_eq!(busy(&measures("second", "checkout", "m", Value::Null)), ["first"], "told once");
        // A dry run borrows nothing, and what has ended has given back.
        let mut dry = measures("dry", "x", "n", acting);
        dry.spec.mode = Mode::DryRun;
        tell(&ledger, Event::Apply(dry));
        assert!(busy(&measures("second", "cart", "n", Value::Null)).is_empty());
        let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
        let over = json!({"phase": "Succeeded", "startedAt": times[0], "finishedAt": times[1]});
        ledger.read(&measures("first", "checkout", "m", over));
        assert!(busy(&measures("second", "cart", "m", Value::Null)).is_empty());
        assert!(ledger.lock().held.is_empty());
    }

    /// Each of two runbooks keeps its bounds alone; what the other one takes is counted by the workload, and a leader that
    /// has only just begun counts the same.
    #[test]
    fn what_takes_pods_is_counted_by_their_workload() {
        let run = |name: &str, action: Value, object: Value, status: Value| {
            let mut execution = execution(name, status);
            execution.spec.runbook.uid = format!("runbook-of-{name}");
            execution.spec.steps = from_value(json!([action])).unwrap();
            execution.spec.objects = from_value(json!([object])).unwrap();
            execution
        };
        let evict = json!({"name": "a", "evictPod": {"pod": "pod"}});
        let pod = |uid: &str, workload: &str| {
            json!({"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": uid, "uid": uid,
                "facts": {"workloadUid": workload, "replicas": 4}})
        };
        let acting = || json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
        let ledger = Ledger::default();
        let asks = run("asks", evict.clone(), pod("p9", "w"), Value::Null);
        let taken = |ledger: &Ledger| {
            let all = ledger.page().same_workload(&asks, Vec::new());
            all.into_iter().map(|past| (past.name, past.takes.unwrap().at_once)).collect::<Vec<_>>()
        };
        let first = |status: Value| run("first", evict.clone(), pod("p1", "w"), status);
        ledger.page().begins(&first(Value::Null), "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(taken(&ledger), [("first".to_owned(), 1)], "before it is stored");
        // Whoever leads next has what is stored.
        let ledger = Ledger::default();
        tell(&ledger, Event::Init);
        let looks = json!({"name": "a", "describe": {"object": "pod"}});
        let mut dry = run("dry", evict.clone(), pod("p2", "w"), acting());
        dry.spec.mode = Mode::DryRun;
        let fewer = json!({"name": "a", "scale": {"workload": "pod", "replicas": 2, "max": 9}});
        let workload = json!({"parameter": "pod", "kind": "Deployment", "namespace": "shop", "name": "app", "uid": "w",
            "facts": {"replicas": 4}});
        for stored in [
            first(acting()),
            dry,
            run("looks", looks, pod("p3", "w"), acting()),
            run("elsewhere", evict.clone(), pod("p4", "another"), acting()),
            run("waits", evict.clone(), pod("p5", "w"), json!({"phase": "Blocked"})),
            run("fewer", fewer, workload, acting()),
            run("asks", evict.clone(), pod("p9", "w"), acting()),
        ] {
            tell(&ledger, Event::InitApply(stored));
        }
        tell(&ledger, Event::InitDone);
        assert_eq!(taken(&ledger), [("fewer".to_owned(), 2), ("first".to_owned(), 1)]);
        let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
        ledger.read(&first(json!({"phase": "Succeeded", "startedAt": times[0], "finishedAt": times[1]})));
        assert_eq!(taken(&ledger), [("fewer".to_owned(), 2)]);
        for name in ["fewer", "elsewhere", "asks"] {
            ledger.gone("shop", name);
        }
        assert!(ledger.lock().taken.is_empty());
    }
}
