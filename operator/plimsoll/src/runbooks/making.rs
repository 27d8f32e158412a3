//! Executions that this process makes as such that have begun, from before they are stored until somebody goes on with
//! them: whoever finds one waits until it is known who has made it, and only one that this process has made, and that
//! nobody has gone on with yet, is acted upon without another intent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt;
use plimsoll_api::RunbookExecution;
use tokio::sync::watch;

type Key = (String, String);

/// Of each, the UID with which it was stored; none while that is not known.
#[derive(Clone, Debug, Default)]
pub struct Making(Arc<Mutex<HashMap<Key, watch::Receiver<Option<String>>>>>);

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
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<String>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To make it; `None` while it is being made, or was and nobody has gone on with it yet.
    pub fn claim(&self, execution: &RunbookExecution) -> Option<Claim> {
        let key = key(execution);
        let mut all = self.lock();
        if all.contains_key(&key) {
            return None;
        }
        let (uid, known) = watch::channel(None);
        all.insert(key.clone(), known);
        Some(Claim { all: self.clone(), key, uid, confirmed: false })
    }

    /// Whether this process has made it, and nobody has gone on with it since: true once.
    pub async fn take(&self, execution: &RunbookExecution) -> bool {
        let key = key(execution);
        let known = self.lock().get(&key).cloned();
        let Some(mut known) = known else { return false };
        // Whoever makes it ends, one way or the other: requests have a time.
        let uid = known.wait_for(Option::is_some).await.ok().and_then(|uid| uid.clone());
        if uid.is_none() || uid != execution.uid() {
            return false;
        }
        self.lock().remove(&key).is_some()
    }

    /// It is gone: nobody will go on with it.
    pub fn gone(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.lock();
        if all.get(&key).is_some_and(|known| known.borrow().is_some()) {
            all.remove(&key);
        }
    }
}

impl Claim {
    /// It is stored, with this UID.
    pub fn confirm(mut self, uid: String) {
        self.confirmed = true;
        self.uid.send_replace(Some(uid));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.confirmed {
            self.all.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;
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
