//! The objects of a cluster, watched by every replica: the page is read whoever leads.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, ObjectMeta},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::Kept;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::{
    sources::{Explains, Objects},
    told::Told,
};
use crate::{
    controller::stored::Object, explain::Explainer, prometheus::Prometheus, runbooks::watched::slim_for_page,
    sinks::kubernetes::chain,
};

type Guarded<K> = DeserializeGuard<Shared<K>>;

/// An object that a store and the views have in common: a view copies none.
#[derive(Debug)]
struct Shared<K>(Arc<K>);

// Not derived: that would want `K: Clone`, while only the pointer is copied.
impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for Shared<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        K::deserialize(deserializer).map(|object| Self(Arc::new(object)))
    }
}

impl<K: Resource + Clone> Resource for Shared<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        Arc::make_mut(&mut self.0).meta_mut()
    }
}

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

type RunbookWriters = (Writer<Guarded<Runbook>>, Writer<Guarded<RunbookExecution>>);

/// Keeps [`Stores`] up to date.
pub struct Watches {
    client: Client,
    slos: Writer<Guarded<Slo>>,
    alert_rules: Writer<Guarded<AlertRule>>,
    runbooks: Option<RunbookWriters>,
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
                let executions = watch(&client, executions, &signs, slim_for_page);
                tokio::join!(
                    watch(&client, runbooks, &signs, |runbook| runbook.metadata.managed_fields = None),
                    executions
                );
            }
        };
        let all = async {
            let slos = watch(&client, slos, &signs, |slo| when_changed(&mut slo.metadata));
            let alert_rules = watch(&client, alert_rules, &signs, |rule| when_changed(&mut rule.metadata));
            tokio::join!(slos, alert_rules, of_runbooks)
        };
        let _ = stop.run_until_cancelled(all).await;
    }
}

/// Keeps a store up to date; `slim` takes from each object what no view shows.
async fn watch<K>(
    client: &Client,
    writer: Writer<Guarded<K>>,
    (changes, unread): &(Arc<AtomicU64>, Arc<AtomicU64>),
    slim: fn(&mut K),
) where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let api: Api<Guarded<K>> = Api::all(client.clone());
    let mut known = false;
    watcher(api, watcher::Config::default().page_size(200))
        .default_backoff()
        .modify(move |object| match &mut object.0 {
            Ok(Shared(object)) => slim(Arc::make_mut(object)),
            Err(broken) => broken.metadata.managed_fields = None,
        })
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

/// Of who owns which fields, only when each writer last changed the spec is kept: the lists of fields are most of an object.
fn when_changed(meta: &mut ObjectMeta) {
    for mut entry in meta.managed_fields.take().into_iter().flatten() {
        let fields = entry.fields_v1.take().map(|fields| fields.0);
        if fields.is_some_and(|fields| fields.get("f:spec").is_some()) {
            meta.managed_fields.get_or_insert_default().push(entry);
        }
    }
}

fn kept<K: Resource<DynamicType = ()> + Clone>(object: &Guarded<K>) -> Kept<K> {
    Kept {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        object: match &object.0 {
            Ok(Shared(object)) => Ok(Arc::clone(object)),
            Err(error) => Err(format!("it cannot be read: {}", error.error)),
        },
    }
}

/// All objects of a store.
fn all<K: Resource<DynamicType = ()> + Clone>(store: &Store<Guarded<K>>) -> Vec<Kept<K>> {
    store.state().iter().map(|object| kept(object)).collect()
}

/// One of them.
fn one<K: Resource<DynamicType = ()> + Clone>(
    store: &Store<Guarded<K>>,
    namespace: &str,
    name: &str,
) -> Option<Kept<K>> {
    store.get(&ObjectRef::new(name).within(namespace)).map(|object| kept(&object))
}

impl Objects for Stores {
    fn slos(&self) -> Vec<Kept<Slo>> {
        all(&self.slos)
    }

    fn slo(&self, namespace: &str, name: &str) -> Option<Kept<Slo>> {
        one(&self.slos, namespace, name)
    }

    fn alert_rules(&self) -> Vec<Kept<AlertRule>> {
        all(&self.alert_rules)
    }

    fn runbooks(&self) -> Vec<Kept<Runbook>> {
        all(&self.runbooks)
    }

    fn executions(&self) -> Vec<Kept<RunbookExecution>> {
        all(&self.executions)
    }

    fn execution(&self, namespace: &str, name: &str) -> Option<Kept<RunbookExecution>> {
        one(&self.executions, namespace, name)
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
    prometheus: Option<Prometheus>,
    client: Client,
    told: Told,
}

impl Explaining {
    /// Asks this Prometheus, or nobody, and the cluster.
    pub fn new(prometheus: Option<Prometheus>, client: Client) -> Self {
        let prometheus = prometheus.map(|prometheus| prometheus.with_retries(0));
        Self { prometheus, client, told: Told::default() }
    }
}

impl Explains for Explaining {
    fn explain<'a>(&'a self, slo: &'a Slo) -> BoxFuture<'a, String> {
        async move {
            let version = slo.metadata.resource_version.as_deref().unwrap_or_default();
            let key = format!("{}/{} {version}", slo.namespace().unwrap_or_default(), slo.name_any());
            let explaining = async {
                let object = Object::Slo(Box::new(slo.clone()));
                let mut explainer = Explainer::new(self.prometheus.clone());
                explainer.stored(&object, &self.client).await.text
            };
            self.told.or(key, explaining).await
        }
        .boxed()
    }
}

#[cfg(test)]
#[path = "stores_tests.rs"]
mod tests;
