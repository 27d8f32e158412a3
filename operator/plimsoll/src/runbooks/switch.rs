//! The kill switch: one ConfigMap that holds every runbook, also after a restart. What cannot be read holds as well.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::recent::Recent;
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
/// While a read takes longer it is not known.
const ANSWER: Duration = Duration::from_millis(900);
/// An answer that comes later than this is not waited for: what is under way stops also where reads are slow.
const LATE: Duration = Duration::from_secs(10);

/// That it cannot be read is logged again after this time.
const TOLD: Duration = Duration::from_secs(60);
const MOST_TOLD: usize = 100;

/// What the leader says on its lease of the ConfigMap in this version.
pub fn obeys(paused: bool, version: &str) -> String {
    format!("{} {version}", if paused { "paused" } else { "running" })
}

/// What is said on the lease, from whoever reads the switch to whoever holds the lease; nothing while it is not known.
pub type Obeyed = Arc<watch::Sender<Option<String>>>;

/// Answers may come in another order than they were asked for. What an older one says is over.
#[derive(Debug, Default)]
struct Read {
    /// When the newest answer was asked for.
    asked: Option<Instant>,
    /// When the last answer came that said paused: what was asked for before that may have been read before it was said.
    held: Option<Instant>,
    /// When what is known, or that it is not, was asked for.
    known: Option<Instant>,
}

impl Read {
    /// Whether an answer is newer than all that is known.
    fn counts(&self, asked: Instant, paused: bool) -> bool {
        let is_newest = self.asked.is_none_or(|newest| asked >= newest);
        is_newest && (paused || self.held.is_none_or(|held| asked >= held))
    }
}

/// Reads the switch.
#[derive(Clone)]
pub struct Switch {
    api: Api<ConfigMap>,
    seen: Arc<watch::Sender<Option<bool>>>,
    why: Arc<Mutex<String>>,
    read: Arc<Mutex<Read>>,
    /// Speaks whenever an answer says that runbooks are paused, however soon it is not known again.
    stops: Arc<watch::Sender<()>>,
    metrics: Arc<Metrics>,
    obeyed: Obeyed,
    /// Why it could not be read, lately.
    told: Arc<Recent>,
}

impl Switch {
    /// Of this namespace. Until it is read, everything is paused.
    pub fn new(client: Client, namespace: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            obeyed: Arc::default(),
            api: Api::namespaced(client, namespace),
            seen: Arc::new(watch::Sender::new(None)),
            why: Arc::default(),
            read: Arc::default(),
            stops: Arc::default(),
            metrics,
            told: Arc::new(Recent::new(TOLD, MOST_TOLD)),
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
        self.read(ANSWER).await;
        *self.seen.borrow()
    }

    /// Reads it once. That there is no answer is known after a moment; one that comes until `late` counts all the same.
    async fn read(&self, late: Duration) {
        let asked = Instant::now();
        let mut answer = pin!(timeout_at(asked + late, self.api.get_opt(CONFIG_MAP)));
        let answered = match timeout_at(asked + ANSWER, &mut answer).await {
            Ok(answered) => answered,
            Err(slow) => {
                self.warn("it takes too long");
                self.unknown(asked);
                if late <= ANSWER { Err(slow) } else { answer.await }
            }
        };
        match answered {
            Ok(Ok(map)) => self.answered(asked, map),
            Ok(Err(error)) => {
                self.warn(&chain(&error));
                self.unknown(asked);
            }
            // It was said already.
            Err(_) => {}
        }
    }

    fn answered(&self, asked: Instant, map: Option<ConfigMap>) {
        let paused = is_paused(map.as_ref());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.counts(asked, paused) {
            return;
        }
        *read = Read {
            asked: Some(asked),
            held: if paused { Some(Instant::now()) } else { read.held },
            known: Some(asked),
        };
        let why = map.as_ref().and_then(|map| map.data.as_ref()?.get(REASON).cloned()).unwrap_or_default();
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        let version = map.and_then(|map| map.metadata.resource_version).unwrap_or_default();
        self.say(Some(paused), Some(obeys(paused, &version)));
        if paused {
            self.stops.send_replace(());
        }
    }

    fn unknown(&self, asked: Instant) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.asked.is_none_or(|newest| asked >= newest) {
            read.known = read.known.max(Some(asked));
            self.say(None, None);
        }
    }

    /// Under the lock of what was read, so that what is said last is what is known.
    fn say(&self, paused: Option<bool>, obeyed: Option<String>) {
        self.metrics.runbooks_paused(paused != Some(false));
        self.seen.send_if_modified(|seen| std::mem::replace(seen, paused) != paused);
        self.obeyed.send_if_modified(|said| {
            let changed = *said != obeyed;
            *said = obeyed;
            changed
        });
    }

    /// Said when it begins, and not each second.
    fn warn(&self, error: &str) {
        if self.told.is_new(error, Instant::now()) {
            tracing::warn!(error, "it cannot be read whether runbooks are paused, so they are");
        }
    }

    /// The same, as it was read a moment ago at most: before every step of every run.
    pub async fn just_now(&self) -> Option<bool> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).known;
        if known.is_some_and(|at| at.elapsed() < FRESH) { *self.seen.borrow() } else { self.paused().await }
    }

    /// Reads it again and again, also while earlier answers are late.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reads = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => reads.push(self.read(LATE)),
                Some(()) = reads.next() => {}
            }
        }
    }

    /// Waits until runbooks are paused. What merely cannot be read ends nothing that is under way; it begins nothing.
    pub async fn until_paused(&self) {
        let mut stops = self.stops.subscribe();
        if *self.seen.borrow() != Some(true) {
            // The sender lives as long as this.
            let _ = stops.changed().await;
        }
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
    use std::convert::Infallible;

    use futures::FutureExt;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::testing::FakeApi;

    /// Reads of the switch, each of which is answered when the test says so.
    fn asked() -> (Switch, mpsc::UnboundedReceiver<oneshot::Sender<Value>>) {
        let (asked, reads) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let (answer, answered) = oneshot::channel();
            asked.send(answer).unwrap();
            async move {
                let map: Value = answered.await.unwrap();
                Ok::<_, Infallible>(http::Response::new(Body::from(map.to_string().into_bytes())))
            }
        });
        (Switch::new(Client::new(service, "default"), "ops", Metrics::new()), reads)
    }

    fn map(paused: bool, version: &str) -> Value {
        json!({"metadata": {"name": "plimsoll-runbooks", "resourceVersion": version},
            "data": {"paused": paused.to_string()}})
    }

    /// Whoever was told that runbooks are paused relies on it: nothing begins by what was read before.
    #[tokio::test]
    async fn an_answer_that_comes_after_a_newer_one_says_nothing() {
        // By how the reads were begun, and by what had been told when the second was.
        for late_first in [true, false] {
            let (switch, mut reads) = asked();
            let test = async {
                let (before, after) = (reads.recv().await.unwrap(), reads.recv().await.unwrap());
                let (first, second) = if late_first { (after, before) } else { (before, after) };
                first.send(map(true, "6")).unwrap();
                switch.until_paused().await;
                second.send(map(false, "5")).unwrap();
            };
            tokio::join!(switch.paused(), switch.paused(), test);
            assert_eq!(switch.just_now().await, Some(true), "{late_first}");
            assert_eq!(switch.obeyed.borrow().as_deref(), Some("paused 6"), "{late_first}");
            // What is asked from now on counts.
            let test = async { reads.recv().await.unwrap().send(map(false, "7")).unwrap() };
            assert_eq!(tokio::join!(switch.paused(), test).0, Some(false));
            assert_eq!(switch.obeyed.borrow().as_deref(), Some("running 7"));
        }
    }

    /// An API server that is slow in everything must not keep what is under way from being stopped.
    #[tokio::test]
    async fn a_late_answer_stops_what_is_under_way() {
        let (switch, mut reads) = asked();
        let test = async {
            let first = reads.recv().await.unwrap();
            // The next read begins after the first one's time, and it is not known meanwhile.
            let _second = reads.recv().await.unwrap();
            assert_eq!(switch.just_now().await, None);
            first.send(map(true, "6")).unwrap();
            switch.until_paused().await;
        };
        let within = Duration::from_secs(8);
        tokio::select! {
            () = switch.watch() => unreachable!(),
            done = tokio::time::timeout(within, test) => done.unwrap(),
        }
    }

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
