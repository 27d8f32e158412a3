//! The objects of a cluster, watched by every replica: the page is read whoever leads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store, store::Writer},
        watcher,
    },
};
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::Kept;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::sources::{Explains, Objects};
use crate::{controller::stored::Object, explain::Explainer, prometheus::Prometheus, sinks::kubernetes::chain};

type Guarded<K> = DeserializeGuard<K>;

/// Every object of the page's kinds.
pub struct Stores {
    slos: Store<Guarded<Slo>>,
    alert_rules: Store<Guarded<AlertRule>>,
    runbooks: Store<Guarded<Runbook>>,
    executions: Store<Guarded<RunbookExecution>>,
    changes: Arc<AtomicU64>,
    /// Kinds whose objects are not all known yet.
    unread: Arc<AtomicU64>,
}

/// Keeps [`Stores`] up to date.
pub struct Watches {
    client: Client,
    slos: Writer<Guarded<Slo>>,
    alert_rules: Writer<Guarded<AlertRule>>,
    runbooks: Option<(Writer<Guarded<Runbook>>, Writer<Guarded<RunbookExecution>>)>,
    changes: Arc<AtomicU64>,
    unread: Arc<AtomicU64>,
}

impl Stores {
    /// Of a cluster; runbooks only where they are run, since nothing else may be allowed to read them.
    pub fn new(client: Client, runbooks: bool) -> (Self, Watches) {
        let (slos, of_slos) = reflector::store();
        let (alert_rules, of_alert_rules) = reflector::store();
        let (of_runbooks, of_executions) = (reflector::store(), reflector::store());
        let changes = Arc::new(AtomicU64::new(0));
        let unread = Arc::new(AtomicU64::new(if runbooks { 4 } else { 2 }));
        let stores = Self {
            slos,
            alert_rules,
            runbooks: of_runbooks.0,
            executions: of_executions.0,
            changes: Arc::clone(&changes),
            unread: Arc::clone(&unread),
        };
        let writers = runbooks.then_some((of_runbooks.1, of_executions.1));
        let watches =
            Watches { client, slos: of_slos, alert_rules: of_alert_rules, runbooks: writers, changes, unread };
        (stores, watches)
    }
}

impl Watches {
    /// Watches until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { client, slos, alert_rules, runbooks, changes, unread } = self;
        let signs = (changes, unread);
        let of_runbooks = async {
            if let Some((runbooks, executions)) = runbooks {
                tokio::join!(watch(&client, runbooks, &signs), watch(&client, executions, &signs));
            }
        };
        let all =
            async { tokio::join!(watch(&client, slos, &signs), watch(&client, alert_rules, &signs), of_runbooks) };
        let _ = stop.run_until_cancelled(all).await;
    }
}

async fn watch<K>(client: &Client, writer: Writer<Guarded<K>>, (changes, unread): &(Arc<AtomicU64>, Arc<AtomicU64>))
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let api: Api<Guarded<K>> = Api::all(client.clone());
    let mut known = false;
    watcher(api, watcher::Config::default().page_size(200))
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .for_each(|event| {
            match event {
                Ok(watcher::Event::InitDone) => {
                    if !std::mem::replace(&mut known, true) {
                        unread.fetch_sub(1, Ordering::Relaxed);
                    }
                    changes.fetch_add(1, Ordering::Relaxed);
                }
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
                    changes.fetch_add(1, Ordering::Relaxed);
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), error = %chain(&error), "a watch of the page failed")
                }
            }
            std::future::ready(())
        })
        .await;
}

/// All objects of a store.
fn kept<K>(store: &Store<Guarded<K>>) -> Vec<Kept<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let one = |object: Arc<Guarded<K>>| Kept {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        object: match &object.0 {
            Ok(object) => Ok(Arc::new(object.clone())),
            Err(error) => Err(format!("it cannot be read: {}", error.error)),
        },
    };
    store.state().into_iter().map(one).collect()
}

impl Objects for Stores {
    fn slos(&self) -> Vec<Kept<Slo>> {
        kept(&self.slos)
    }

    fn alert_rules(&self) -> Vec<Kept<AlertRule>> {
        kept(&self.alert_rules)
    }

    fn runbooks(&self) -> Vec<Kept<Runbook>> {
        kept(&self.runbooks)
    }

    fn executions(&self) -> Vec<Kept<RunbookExecution>> {
        kept(&self.executions)
    }

    fn revision(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn complete(&self) -> bool {
        self.unread.load(Ordering::Relaxed) == 0
    }
}

/// Explains the SLOs of a cluster, as `plimsoll explain` does.
pub struct Explaining {
    /// Whom to ask; nobody where none is configured.
    pub prometheus: Option<Prometheus>,
    /// The cluster.
    pub client: Client,
}

impl Explains for Explaining {
    fn explain<'a>(&'a self, slo: &'a Slo) -> BoxFuture<'a, String> {
        async move {
            let prometheus = self.prometheus.clone().map(|prometheus| prometheus.with_retries(0));
            let object = Object::Slo(Box::new(slo.clone()));
            let explaining = async { Explainer::new(prometheus).stored(&object, &self.client).await.text };
            let patience = std::time::Duration::from_secs(5);
            tokio::time::timeout(patience, explaining)
                .await
                .unwrap_or_else(|_| "Prometheus does not answer within 5 s, so nothing can be explained.".to_owned())
        }
        .boxed()
    }
}
