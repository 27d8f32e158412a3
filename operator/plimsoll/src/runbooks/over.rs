//! Alerts that are over: their executions are looked for, and told. A label is looked for among all executions that there
//! are, so however many alerts end at the same time, one list is under way, and those that come meanwhile share the next.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;
use kube::{Api, Client, api::ListParams};
use plimsoll_api::RunbookExecution;
use plimsoll_runbook::{alertmanager::Alert, names};
use tokio::time::Instant;

use super::{Execution, ended, read::readable};
use crate::sinks::kubernetes::chain;

/// So many alerts share a list: what is looked for is part of an address.
const TOGETHER: usize = 100;

/// Executions, or why they are not known.
type Found = Shared<BoxFuture<'static, Result<Arc<[RunbookExecution]>, String>>>;

/// Tells executions that their alert is over.
pub struct Resolver {
    client: Client,
    /// Whoever lists has it, and for as long again: what else is asked of the API server has its time as well.
    turn: Arc<tokio::sync::Mutex<()>>,
    next: Mutex<Option<Batch>>,
}

/// A list that has not begun.
struct Batch {
    /// The fingerprints that it looks for; none once it has begun.
    wanted: Arc<Mutex<Option<BTreeSet<String>>>>,
    found: Found,
}

impl Resolver {
    /// With a client that needs no lease.
    pub fn new(client: Client) -> Self {
        Self { client, turn: Arc::default(), next: Mutex::default() }
    }

    /// Tells the executions of an alert that it was over at a time; gives how many there are.
    ///
    /// # Errors
    /// When they cannot be listed, or one cannot be told.
    pub async fn resolve(&self, alert: &Alert, at: Timestamp) -> Result<usize, String> {
        let found = self.join(&alert.fingerprint).await?;
        let since = alert.starts_at.as_second();
        let is_of = |execution: &&RunbookExecution| {
            let trigger = &execution.spec.trigger;
            trigger.fingerprint == alert.fingerprint && trigger.starts_at.0.as_second() == since
        };
        let mut count = 0;
        for execution in found.iter().filter(is_of) {
            count += 1;
            if ended::is_to_be_told(execution) {
                ended::tell(&self.client, execution, at).await.map_err(|error| chain(&error))?;
            }
        }
        Ok(count)
    }

    /// A list that begins after now, and looks for this as well.
    fn join(&self, fingerprint: &str) -> Found {
        let mut next = lock(&self.next);
        if let Some(batch) = &*next {
            let mut wanted = lock(&batch.wanted);
            if let Some(wanted) = wanted.as_mut().filter(|wanted| wanted.len() < TOGETHER) {
                wanted.insert(fingerprint.to_owned());
                return batch.found.clone();
            }
        }
        let wanted = Arc::new(Mutex::new(Some(BTreeSet::from([fingerprint.to_owned()]))));
        let found = self.list(Arc::clone(&wanted));
        *next = Some(Batch { wanted, found: found.clone() });
        found
    }

    fn list(&self, wanted: Arc<Mutex<Option<BTreeSet<String>>>>) -> Found {
        let (all, turn) = (Api::<Execution>::all(self.client.clone()), Arc::clone(&self.turn));
        let listed = async move {
            let turn = turn.lock_owned().await;
            let wanted = Vec::from_iter(lock(&wanted).take().unwrap_or_default()).join(",");
            let began = Instant::now();
            let params = ListParams::default().labels(&format!("{} in ({wanted})", names::FINGERPRINT));
            let found = readable(&all, &params).await;
            let took = began.elapsed();
            tokio::spawn(async move {
                tokio::time::sleep(took).await;
                drop(turn);
            });
            found.map(Arc::from).map_err(|error| chain(&error))
        };
        // Of its own: whoever waits may go away, and would take the turn along.
        tokio::spawn(listed).map(|listed| listed.unwrap_or_else(|error| Err(error.to_string()))).boxed().shared()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use futures::future::join_all;
    use serde_json::json;

    use super::*;
    use crate::{runbooks::dispatch::RESOLVED_AT, testing::FakeApi};

    fn at(name: &str) -> String {
        format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}")
    }

    #[tokio::test]
    async fn alerts_that_end_together_share_a_list() {
        let api = FakeApi::default();
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for i in 0..250 {
            let execution = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
                "metadata": {"name": format!("x{i}"), "namespace": "shop", "uid": format!("u{i}")},
                "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                    "trigger": {"kind": "Alert", "fingerprint": format!("{i:x}"), "startsAt": since.to_string()},
                    "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}});
            api.put(&at(&format!("x{i}")), execution);
        }
        // Somebody else's, which says nothing.
        api.put(&at("odd"), json!({"metadata": {"name": "odd", "namespace": "shop"}, "spec": {"steps": [{}]}}));
        let resolver = Resolver::new(api.client());
        let alert = |i: u32| Alert {
            fingerprint: format!("{i:x}"),
            labels: BTreeMap::new(),
            starts_at: since,
            resolved_at: Some(since),
            named: Vec::new(),
        };
        let told = join_all((0..260).map(|i| {
            let (resolver, alert) = (&resolver, alert(i));
            async move { resolver.resolve(&alert, since).await }
        }));
        let told = told.await;
        assert!(told.iter().take(250).all(|told| *told == Ok(1)), "{told:?}");
        assert!(told.iter().skip(250).all(|told| *told == Ok(0)), "{told:?}");
        assert!(
            (0..250).all(|i| {
                api.get(&at(&format!("x{i}"))).unwrap()["metadata"]["annotations"][RESOLVED_AT].is_string()
            })
        );
        let patched = api.writes().iter().filter(|write| write.starts_with("PATCH ")).count();
        assert_eq!((patched, api.requests() - patched), (250, 3), "three lists, of at most a hundred alerts");
        // One that ends later is not looked for in a list of before.
        assert_eq!((resolver.resolve(&alert(7), since).await, api.requests() - patched), (Ok(1), 4));
    }
}
