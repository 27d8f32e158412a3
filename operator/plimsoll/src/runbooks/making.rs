//! Executions that this process makes as such that have begun, from before they are stored until somebody goes on with
//! them: whoever finds one waits until it is known who has made it, and only one that this process has made, and that
//! nobody has gone on with yet, is acted upon without another intent.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use plimsoll_api::RunbookExecution;
use tokio::{sync::watch, time::Instant};

/// Between the moment at which one begins and the one at which the API server has made it lies a request, and what two
/// clocks differ by. One that was made later, or much earlier, is a copy of one that has begun.
const MADE_WITHIN: SignedDuration = SignedDuration::from_secs(15);
/// Which of a name was the first is remembered for longer than a copy of it could be taken for it.
const REMEMBERED: Duration = Duration::from_secs(60);

type Key = (String, String);

/// See the module. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Making(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Of each that is being made, or that nobody has gone on with: the UID with which it was stored; none while that is
    /// not known.
    made: HashMap<Key, watch::Receiver<Option<String>>>,
    /// Of each name under which one has begun a short time ago: the first.
    first: HashMap<Key, First>,
    /// When each of those was seen, the oldest in front.
    order: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
struct First {
    uid: String,
    /// Whether this process has made it.
    is_own: bool,
    seen: Instant,
}

/// An execution that is being made. Dropped, it was not made here.
#[derive(Debug)]
pub struct Claim {
    all: Making,
    key: Key,
    uid: watch::Sender<Option<String>>,
    confirmed: bool,
}

fn key(execution: &RunbookExecution) -> Key {
    (execution.namespace().unwrap_or_default(), execution.name_any())
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To make it; `None` while it is being made, or was and nobody has gone on with it yet.
    pub fn claim(&self, execution: &RunbookExecution) -> Option<Claim> {
        let key = key(execution);
        let mut all = self.lock();
        if all.made.contains_key(&key) {
            return None;
        }
        let (uid, known) = watch::channel(None);
        all.made.insert(key.clone(), known);
        Some(Claim { all: self.clone(), key, uid, confirmed: false })
    }

    /// Whether this process has made it, and nobody has gone on with it since: true once.
    pub async fn take(&self, execution: &RunbookExecution) -> bool {
        let key = key(execution);
        let known = self.lock().made.get(&key).cloned();
        let Some(mut known) = known else { return false };
        // Whoever makes it ends, one way or the other: requests have a time.
        let uid = known.wait_for(Option::is_some).await.ok().and_then(|uid| uid.clone());
        if uid.is_none() || uid != execution.uid() {
            return false;
        }
        self.lock().made.remove(&key).is_some()
    }

    /// It is gone: nobody will go on with it.
    pub fn gone(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.lock();
        if all.made.get(&key).is_some_and(|known| known.borrow().is_some()) {
            all.made.remove(&key);
        }
    }

    /// One that says that it has begun is there. Only one that the operator has made is remembered.
    pub fn seen(&self, execution: &RunbookExecution, is_sealed: impl FnOnce() -> bool) {
        let age = execution.spec.begun.as_ref().map(|begun| Timestamp::now().duration_since(begun.0));
        let is_young = age.is_some_and(|age| age.abs().unsigned_abs() < REMEMBERED);
        let (key, uid) = (key(execution), execution.uid());
        if let Some(uid) = uid.filter(|_| is_young && !self.lock().first.contains_key(&key) && is_sealed()) {
            self.lock().remember(key, uid, false, Instant::now());
        }
    }

    /// Whether one that says that it has begun, with nothing stored since and not by this process, is not what was made
    /// then, but made anew from that: by somebody who has saved it, or by a backup.
    pub fn is_copy(&self, execution: &RunbookExecution) -> bool {
        match self.lock().first.get(&key(execution)) {
            Some(first) if Some(&first.uid) != execution.uid().as_ref() => return true,
            Some(first) if first.is_own => return false,
            _ => {}
        }
        let (created, begun) = (execution.creation_timestamp(), &execution.spec.begun);
        let (Some(created), Some(begun)) = (created, begun) else { return true };
        created.0.duration_since(begun.0).abs() > MADE_WITHIN
    }
}

impl Inner {
    fn remember(&mut self, key: Key, uid: String, is_own: bool, now: Instant) {
        while let Some((seen, key)) = self.order.pop_front_if(|(seen, _)| now - *seen > REMEMBERED) {
            if self.first.get(&key).is_some_and(|first| first.seen == seen) {
                self.first.remove(&key);
            }
        }
        self.order.push_back((now, key.clone()));
        self.first.insert(key, First { uid, is_own, seen: now });
    }
}

impl Claim {
    /// It is stored, with this UID.
    pub fn confirm(mut self, uid: String) {
        self.confirmed = true;
        self.all.lock().remember(self.key.clone(), uid.clone(), true, Instant::now());
        self.uid.send_replace(Some(uid));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.confirmed {
            self.all.lock().made.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{from_value, json};

    use super::*;

    fn execution(uid: &str) -> RunbookExecution {
        from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"name": "x", "namespace": "shop", "uid": uid},
            "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}}))
        .unwrap()
    }

    fn taken(making: &Making, uid: &str) -> Option<bool> {
        making.take(&execution(uid)).now_or_never()
    }

    #[test]
    fn what_was_made_here_is_taken_once() {
        let making = Making::default();
        assert_eq!(taken(&making, "u"), Some(false), "somebody else has made it");
        let claim = making.claim(&execution("")).unwrap();
        assert!(making.claim(&execution("")).is_none(), "it is being made");
        assert_eq!(taken(&making, "u"), None, "it is not known yet who has made it");
        claim.confirm("u".to_owned());
        assert!(making.claim(&execution("")).is_none(), "nobody has gone on with it yet");
        assert_eq!(taken(&making, "another"), Some(false));
        assert_eq!([taken(&making, "u"), taken(&making, "u")], [Some(true), Some(false)]);
    }

    #[test]
    fn what_was_not_made_or_is_gone_is_forgotten() {
        let making = Making::default();
        drop(making.claim(&execution("")).unwrap());
        assert_eq!(taken(&making, "u"), Some(false));
        let claim = making.claim(&execution("")).unwrap();
        making.gone("shop", "x");
        assert_eq!(taken(&making, "u"), None, "what is gone was another one");
        claim.confirm("u".to_owned());
        making.gone("shop", "x");
        assert_eq!(taken(&making, "u"), Some(false));
    }

    /// Of which the API server says that it was made so long after it has begun.
    fn begun(uid: &str, after: SignedDuration) -> RunbookExecution {
        let at = Timestamp::now();
        let mut execution = execution(uid);
        execution.spec.begun = Some(Time(at));
        execution.metadata.creation_timestamp = Some(Time(at + after));
        execution
    }

    #[test]
    fn what_was_made_long_after_it_has_begun_is_a_copy() {
        let is_copy = |seconds: i64| Making::default().is_copy(&begun("u", SignedDuration::from_secs(seconds)));
        assert_eq!([0, 14, -14].map(is_copy), [false; 3], "another process has made it");
        assert_eq!([16, -16, 86_400].map(is_copy), [true; 3]);
        let mut nobody_knows = begun("u", SignedDuration::ZERO);
        nobody_knows.metadata.creation_timestamp = None;
        assert!(Making::default().is_copy(&nobody_knows));
    }

    #[test]
    fn a_second_one_of_a_name_is_a_copy_of_the_first() {
        let (making, soon) = (Making::default(), SignedDuration::from_secs(1));
        making.seen(&begun("forged", soon), || false);
        assert!(!making.is_copy(&begun("first", soon)), "what the operator has not made is no first");
        making.seen(&begun("first", soon), || true);
        making.seen(&begun("second", soon), || true);
        assert!(!making.is_copy(&begun("first", soon)) && making.is_copy(&begun("second", soon)));
        // What this process has made itself needs no clock, and comes after whatever was before.
        making.claim(&execution("")).unwrap().confirm("own".to_owned());
        assert!(making.is_copy(&begun("first", soon)));
        assert!(!making.is_copy(&begun("own", SignedDuration::from_hours(1))));
        // After a time none could be taken for it any more.
        making.lock().remember(key(&execution("")), "later".to_owned(), false, Instant::now() + REMEMBERED * 2);
        making.lock().remember(
            ("shop".to_owned(), "y".to_owned()),
            String::new(),
            false,
            Instant::now() + REMEMBERED * 4,
        );
        assert!(!making.lock().first.contains_key(&key(&execution(""))) && making.lock().order.len() == 1);
    }

    #[tokio::test]
    async fn whoever_finds_it_waits_until_it_is_known() {
        let making = Making::default();
        for confirms in [true, false] {
            let claim = making.claim(&execution("")).unwrap();
            let (finds, execution) = (making.clone(), execution("u"));
            let found = tokio::spawn(async move { finds.take(&execution).await });
            tokio::task::yield_now().await;
            if confirms {
                claim.confirm("u".to_owned());
            } else {
                drop(claim);
            }
            assert_eq!(found.await.unwrap(), confirms);
        }
    }
}
