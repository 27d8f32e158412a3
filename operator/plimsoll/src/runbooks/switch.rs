//! The kill switch: one ConfigMap that holds every runbook, also after a restart. What cannot be read holds as well.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::{sync::watch, time::Instant};

use crate::{operator::metrics::Metrics, sinks::kubernetes::chain};

/// On the leader's lease: which version of the ConfigMap it goes by, see [`obeys`].
pub const OBEYS: &str = "plimsoll.dev/runbooks";
/// The ConfigMap, in the operator's namespace.
pub const CONFIG_MAP: &str = "plimsoll-runbooks";
/// Its key: `true` pauses.
pub const PAUSED: &str = "paused";
/// Its key that says why.
pub const REASON: &str = "reason";
/// How often it is read: what is under way stops within two seconds.
const LOOK: Duration = Duration::from_secs(1);
/// What was asked longer ago is asked again.
const FRESH: Duration = Duration::from_millis(1500);
/// A read that takes longer has failed.
const ANSWER: Duration = Duration::from_millis(900);

/// What the leader says on its lease of the ConfigMap in this version.
pub fn obeys(paused: bool, version: &str) -> String {
    format!("{} {version}", if paused { "paused" } else { "running" })
}

/// What is said on the lease, from whoever reads the switch to whoever holds the lease; nothing while it is not known.
pub type Obeyed = Arc<watch::Sender<Option<String>>>;

/// Reads the switch.
#[derive(Clone)]
pub struct Switch {
    api: Api<ConfigMap>,
    seen: Arc<watch::Sender<Option<bool>>>,
    why: Arc<Mutex<String>>,
    read_at: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
    obeyed: Obeyed,
}

impl Switch {
    /// Of this namespace. Until it is read, everything is paused.
    pub fn new(client: Client, namespace: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            obeyed: Arc::default(),
            api: Api::namespaced(client, namespace),
            seen: Arc::new(watch::Sender::new(None)),
            why: Arc::default(),
            read_at: Arc::default(),
            metrics,
        }
    }

    /// Says there what it has read.
    #[must_use]
    pub fn obeying(mut self, obeyed: Obeyed) -> Self {
        obeyed.send_replace(None);
        self.obeyed = obeyed;
        self
    }

    /// Whether runbooks are paused, asked of the API server now; `None` when it cannot be known.
    pub async fn paused(&self) -> Option<bool> {
        let asked = Instant::now();
        let read = tokio::time::timeout(ANSWER, self.api.get_opt(CONFIG_MAP)).await;
        let mut obeyed = None;
        let paused = match read {
            Ok(Ok(map)) => {
                let paused = is_paused(map.as_ref());
                let why = map.as_ref().and_then(|map| map.data.as_ref()?.get(REASON).cloned()).unwrap_or_default();
                *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
                let version = map.and_then(|map| map.metadata.resource_version).unwrap_or_default();
                obeyed = Some(obeys(paused, &version));
                Some(paused)
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "it cannot be read whether runbooks are paused, so they are");
                None
            }
            Err(_) => {
                tracing::warn!("it takes too long to read whether runbooks are paused, so they are");
                None
            }
        };
        self.metrics.runbooks_paused(paused != Some(false));
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        self.seen.send_if_modified(|seen| std::mem::replace(seen, paused) != paused);
        self.obeyed.send_if_modified(|said| {
            let changed = *said != obeyed;
            *said = obeyed;
            changed
        });
        paused
    }

    /// The same, as it was read a moment ago at most: before every step of every run.
    pub async fn just_now(&self) -> Option<bool> {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        if read_at.is_some_and(|at| at.elapsed() < FRESH) { *self.seen.borrow() } else { self.paused().await }
    }

    /// Reads it again and again.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.paused().await;
        }
    }

    /// Waits until runbooks are paused. What merely cannot be read ends nothing that is under way; it begins nothing.
    pub async fn until_paused(&self) {
        let mut seen = self.seen.subscribe();
        // The sender lives as long as this.
        let _ = seen.wait_for(|paused| *paused == Some(true)).await;
    }

    /// That all runbooks are paused, in words, as was read last: with the reason that was given. Nothing while they are not.
    pub fn words(&self) -> Option<String> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        match *self.seen.borrow() {
            Some(false) => None,
            Some(true) if why.is_empty() => Some("all runbooks are paused".to_owned()),
            Some(true) => Some(format!("all runbooks are paused: {why}")),
            None => Some("it cannot be read whether runbooks are paused, so they are".to_owned()),
        }
    }

    /// Told of every change.
    pub fn changes(&self) -> watch::Receiver<Option<bool>> {
        self.seen.subscribe()
    }
}

/// Anything but a clear no pauses.
fn is_paused(map: Option<&ConfigMap>) -> bool {
    let Some(map) = map else { return false };
    match map.data.as_ref().and_then(|data| data.get(PAUSED)).map(String::as_str) {
        None | Some("false") => false,
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::testing::FakeApi;

    #[tokio::test]
    async fn anything_but_a_clear_no_pauses() {
        let api = FakeApi::default();
        let switch = Switch::new(api.client(), "ops", Metrics::new());
        assert_eq!(switch.paused().await, Some(false));
        let at = "/api/v1/namespaces/ops/configmaps/plimsoll-runbooks";
        for (value, wanted) in [("true", true), ("yes", true), ("", true), ("false", false)] {
            api.put(at, json!({"metadata": {"name": "plimsoll-runbooks"}, "data": {"paused": value}}));
            assert_eq!(switch.paused().await, Some(wanted), "{value}");
        }
        // What is under way ends when it is said, not when it cannot be read.
        api.put(at, json!({"metadata": {"name": "plimsoll-runbooks"}, "data": {"paused": "true"}}));
        assert_eq!(switch.paused().await, Some(true));
        switch.until_paused().await;
        assert_eq!(switch.words().as_deref(), Some("all runbooks are paused"));
        let said = json!({"metadata": {"name": "plimsoll-runbooks"}, "data": {"paused": "true", "reason": "moving"}});
        api.put(at, said);
        switch.paused().await;
        assert_eq!(switch.words().as_deref(), Some("all runbooks are paused: moving"));
        // What is not a ConfigMap cannot be read.
        api.put(at, json!({"metadata": {"name": "plimsoll-runbooks"}, "data": 7}));
        assert_eq!(switch.paused().await, None);
        assert_eq!(switch.until_paused().now_or_never(), None);
    }
}
