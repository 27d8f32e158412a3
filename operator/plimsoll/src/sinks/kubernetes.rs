//! What backends have in common whose rules are objects in the SLO's namespace.
//!
//! All objects of the kind are watched, but only a compact entry of each is kept: enough to know
//! without asking whether it is ours and whether it says what it should.

mod entry;
mod former;
mod strays;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, Patch, PatchParams, Preconditions, ValidationDirective},
    runtime::{WatchStreamExt, watcher},
};
use plimsoll_api::Kind;
use plimsoll_slo::{Dialect, RuleSet};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

pub(crate) use self::entry::version;
use self::{
    entry::{Entry, Key, Reduced, entry, key},
    former::either,
};
use super::{RuleSink, SinkError, Target, Written, fingerprint::Fingerprint, fingerprint::of_object, vm_rule};
pub(crate) use crate::refusals::chain;

/// The one field manager of everything that the SLO controller applies.
pub const FIELD_MANAGER: &str = "plimsoll-slo";
/// On every rule object that Plimsoll writes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "plimsoll");
/// A resource version that no object can have, since nothing was stored yet when etcd counted one. An apply with
/// it creates, and conflicts with whatever is there already.
const NO_OBJECT: &str = "1";
/// To warn of fields that a kind lacks, the API server reads the whole object a second time, and nobody here reads warnings.
pub const UNCHECKED: ValidationDirective = ValidationDirective::Ignore;
/// How a part of an object is patched of which it is known that it is ours.
pub(crate) fn merges() -> PatchParams {
    let mut params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    params.field_validation = Some(UNCHECKED);
    params
}

/// Few enough that a page of large rule objects stays small in memory.
const PAGE: u32 = 50;

/// Kind, namespace and name of an object whose rules changed.
pub type Touched = (Kind, String, String);

/// A desired and the observed fingerprint that its apply led to.
///
/// They differ when somebody else has fields of their own in the object, for example another rule
/// group: then the object is as we want it although it does not look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settled {
    wanted: Fingerprint,
    observed: Fingerprint,
    /// What they have was looked at, and none of it is in our groups.
    looked: bool,
}

#[derive(Debug, Default)]
struct State {
    objects: HashMap<Key, Entry>,
    settled: HashMap<Key, Settled>,
    incoming: HashMap<Key, Entry>,
    /// The newest version that the last list, or the watch after it, has told of.
    seen: u64,
    /// How often all objects were listed.
    lists: u64,
}

impl State {
    /// Whether an answer says more than the watch. `lists` is how many there had been when it was asked for: what a list
    /// since then lacks may be deleted again, and nobody tells of that any more.
    fn is_news(&self, entry: &Entry, lists: u64) -> bool {
        entry.version > self.seen && lists == self.lists
    }

    /// Notes an apply of ours, of which only the metadata were answered: `entry` has the wanted fingerprint.
    fn wrote(&mut self, key: Key, entry: Entry, lists: u64) {
        if self.is_news(&entry, lists) {
            self.settled.remove(&key);
            self.objects.insert(key, entry);
            return;
        }
        // The watch has told already what came of it, or what came after it.
        match self.objects.get(&key) {
            Some(known) if known.version == entry.version && known.print != entry.print => {
                self.settled.insert(key, Settled { wanted: entry.print, observed: known.print, looked: false });
            }
            _ => _ = self.settled.remove(&key),
        }
    }

    /// Whether the watch tells of what is known: of our own write, seen before or still to come in a newer version. An
    /// object that was in its place before, and that the watch has yet to tell of, is no news either.
    fn knows(&mut self, key: &Key, told: &Entry) -> bool {
        let Some(known) = self.objects.get_mut(key) else { return false };
        if known.version == told.version && known.print != told.print {
            let settled = Settled { wanted: known.print, observed: told.print, looked: false };
            self.settled.insert(key.clone(), settled);
            known.print = told.print;
            // It is to be looked at what others have in it.
            return false;
        }
        known.version >= told.version
    }

    /// Takes a new list for all there is, and gives what was known before. An etcd that was restored counts from lower again.
    fn listed(&mut self) -> HashMap<Key, Entry> {
        let old = std::mem::replace(&mut self.objects, std::mem::take(&mut self.incoming));
        self.objects.shrink_to_fit();
        self.settled.retain(|key, _| self.objects.contains_key(key));
        self.seen = self.objects.values().map(|entry| entry.version).max().unwrap_or(0);
        self.lists += 1;
        old
    }
}

/// Whether the watch has delivered its first list, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The first list is on its way.
    Starting,
    /// All objects are known.
    Ready,
    /// The watch fails, in the API server's words.
    Failing(String),
}

/// A backend of rule objects of one kind.
#[derive(Clone, Debug)]
pub struct KubeSink {
    objects: Arc<Objects>,
    labels: BTreeMap<String, String>,
}

impl KubeSink {
    /// A backend that writes into `objects` with these labels.
    pub fn new(objects: Arc<Objects>, labels: BTreeMap<String, String>) -> Arc<Self> {
        Arc::new(Self { objects, labels })
    }

    fn all_labels(&self, target: &Target) -> BTreeMap<String, String> {
        let managed_by = (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        target.labels.clone().into_iter().chain(self.labels.clone()).chain([managed_by]).collect()
    }
}

/// All objects of one kind, watched once for all backends that write it.
pub struct Objects {
    client: Client,
    resource: ApiResource,
    state: Mutex<State>,
    readiness: watch::Sender<Readiness>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("kind", &self.resource.kind).finish_non_exhaustive()
    }
}

impl Objects {
    /// The objects of `resource`.
    pub fn new(client: Client, resource: ApiResource) -> Arc<Self> {
        let (readiness, _) = watch::channel(Readiness::Starting);
        Arc::new(Self { client, resource, state: Mutex::default(), readiness })
    }

    /// The kind.
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// Tells when the watch is ready or failing.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Number of objects of the kind that are known.
    pub fn known(&self) -> usize {
        self.state().objects.len()
    }

    /// Watches the kind until dropped, and says which SLOs are touched by what it sees.
    pub async fn watch(self: Arc<Self>, touched: mpsc::UnboundedSender<Touched>) {
        let api: Api<Reduced> = Api::all_with(self.client.clone(), &self.resource);
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    for slo in self.ingest(event) {
                        // A closed channel means that the controller stops; so will this watch.
                        let _ = touched.send(slo);
                    }
                }
                Ok(None) => return,
                Err(error) => self.fails(&error),
            }
        }
    }

    fn fails(&self, error: &watcher::Error) {
        let cause = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => format!(
                "the cluster has no kind {} ({}); install its custom resource definition or choose another backend",
                self.resource.kind, self.resource.api_version
            ),
            other => chain(other),
        };
        self.readiness.send_if_modified(|now| {
            // A watch that was ready once stays so: its knowledge is stale at worst, and every write is checked
            // by the API server against the uid.
            let new = if *now == Readiness::Ready { Readiness::Ready } else { Readiness::Failing(cause.clone()) };
            let modified = *now != new;
            *now = new;
            modified
        });
        tracing::warn!(kind = %self.resource.kind, %cause, "watch failed");
    }

    fn ingest(&self, event: watcher::Event<Reduced>) -> Vec<Touched> {
        let mut state = self.state();
        if let watcher::Event::Apply(object) | watcher::Event::Delete(object) = &event {
            state.seen = state.seen.max(entry(object).1.version);
        }
        match event {
            watcher::Event::Init => {
                state.incoming.clear();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                let (key, entry) = entry(&object);
                state.incoming.insert(key, entry);
                Vec::new()
            }
            watcher::Event::InitDone => {
                let old = state.listed();
                let first = *self.readiness.borrow() != Readiness::Ready;
                let mut touched = Vec::new();
                for (key, entry) in &state.objects {
                    if old.get(key).is_none_or(|o| o.print != entry.print || o.owner != entry.owner) {
                        touched.extend(concerned(key, entry));
                    }
                }
                for (key, entry) in old.iter().filter(|(key, _)| !state.objects.contains_key(*key)) {
                    touched.extend(concerned(key, entry));
                }
                drop(state);
                self.readiness.send_replace(Readiness::Ready);
                // At the first list every SLO is reconciled anyway.
                if first { Vec::new() } else { touched }
            }
            watcher::Event::Apply(object) => {
                let (key, entry) = entry(&object);
                if state.knows(&key, &entry) {
                    return Vec::new();
                }
                let touched = concerned(&key, &entry);
                state.objects.insert(key, entry);
                touched
            }
            watcher::Event::Delete(object) => {
                let (key, entry) = entry(&object);
                match state.objects.get(&key) {
                    Some(known) if known.uid != entry.uid => Vec::new(),
                    _ => {
                        state.objects.remove(&key);
                        state.settled.remove(&key);
                        concerned(&key, &entry)
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; should it happen, the entries are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn what(&self, target: &Target) -> String {
        format!("{} {}/{}", self.resource.kind, target.namespace, target.object_name())
    }

    fn ready(&self, target: &Target) -> Result<(), SinkError> {
        let cause = match &*self.readiness.borrow() {
            Readiness::Ready => return Ok(()),
            Readiness::Starting => format!("the {} objects are still being listed", self.resource.kind),
            Readiness::Failing(cause) => cause.clone(),
        };
        Err(SinkError::NotReady { what: self.what(target), cause })
    }

    /// The entry of the target's object, if it is there and ours.
    fn ours(&self, target: &Target) -> Result<Option<Entry>, SinkError> {
        self.owned(target, &target.object_name())
    }

    /// The entry of the object of this name, if it is there and the target's.
    fn owned(&self, target: &Target, name: &str) -> Result<Option<Entry>, SinkError> {
        let Some(entry) = self.state().objects.get(&key(&target.namespace, name)).cloned() else {
            return Ok(None);
        };
        match &entry.owner {
            Some(owner) if *owner.uid == *target.uid => {}
            // Of an SLO of the same name that is gone: the garbage collector takes it, and the watch will tell.
            Some(owner) if *owner.name == *target.name && owner.kind == target.kind => {
                let cause =
                    format!("it belongs to a deleted {} of the same name and is about to be removed", target.kind);
                return Err(SinkError::NotReady { what: self.what(target), cause });
            }
            Some(owner) => {
                let owner = format!("is owned by {} {}", owner.kind, owner.name);
                return Err(SinkError::NotOurs { what: self.what(target), owner });
            }
            None => {
                let owner = format!("is not owned by this {}", target.kind);
                return Err(SinkError::NotOurs { what: self.what(target), owner });
            }
        }
        if entry.deleting {
            return Err(SinkError::NotReady { what: self.what(target), cause: "it is being deleted".to_owned() });
        }
        Ok(Some(entry))
    }

    fn api(&self, target: &Target) -> Api<Reduced> {
        Api::namespaced_with(self.client.clone(), &target.namespace, &self.resource)
    }

    async fn put(
        &self,
        target: &Target,
        labels: BTreeMap<String, String>,
        rules: &RuleSet,
    ) -> Result<Written, SinkError> {
        self.ready(target)?;
        let mut known = self.ours(target)?;
        let refused = |cause: String| SinkError::Refused { what: self.what(target), cause };
        let spec = Fingerprint::of(rules).map_err(|e| refused(e.to_string()))?;
        let wanted = of_object(&labels, spec);
        let key = key(&target.namespace, &target.object_name());
        loop {
            if let Some(known) = &known {
                if known.print == wanted {
                    return Ok(Written::Unchanged);
                }
                let settled = self.state().settled.get(&key).copied();
                if settled.is_some_and(|settled| settled.wanted == wanted && settled.observed == known.print) {
                    return self.clear(target, rules).await;
                }
            }
            let lists = self.state().lists;
            match self.patch(target, &labels, rules, known.as_ref()).await {
                Ok(metadata) => {
                    let (_, entry) = entry(&Reduced::of(metadata, wanted));
                    // What changes nothing keeps its version, and Prometheus has nothing to load anew.
                    let is_same = known.is_some_and(|known| known.version == entry.version);
                    self.state().wrote(key, entry, lists);
                    let written = if is_same { Written::Unchanged } else { Written::Changed };
                    return Ok(either(written, self.clear(target, rules).await?));
                }
                // There is one of which the watch has not told yet: somebody else's, or of a write of ours whose
                // answer was lost.
                Err(kube::Error::Api(status)) if status.code == 409 && known.is_none() => {
                    known = Some(self.unseen(target, &key).await?);
                }
                Err(error) => return Err(self.failed(target, error)),
            }
        }
    }

    /// One apply: into the known object, which is ours, or else into none. What it led to, the watch tells.
    async fn patch(
        &self,
        target: &Target,
        labels: &BTreeMap<String, String>,
        rules: &RuleSet,
        known: Option<&Entry>,
    ) -> Result<ObjectMeta, kube::Error> {
        let name = target.object_name();
        let mut metadata = serde_json::json!({
            "name": name,
            "namespace": target.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(target)],
        });
        let mut params = PatchParams::apply(FIELD_MANAGER);
        params.field_validation = Some(UNCHECKED);
        let (field, value) = match known {
            // Fields that others took are taken back. The uid makes sure that it is still the same object.
            Some(known) => {
                params = params.force();
                ("uid", known.uid.as_ref())
            }
            None => ("resourceVersion", NO_OBJECT),
        };
        if let Some(map) = metadata.as_object_mut() {
            map.insert(field.to_owned(), value.into());
        }
        let body = serde_json::json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": metadata,
            "spec": rules,
        });
        Ok(self.api(target).patch_metadata(&name, &params, &Patch::Apply(&body)).await?.metadata)
    }

    /// The object that stood in the way, if it is ours.
    async fn unseen(&self, target: &Target, key: &Key) -> Result<Entry, SinkError> {
        let lists = self.state().lists;
        let found = self.api(target).get_opt(&target.object_name()).await;
        if let Some(object) = found.map_err(|error| self.failed(target, error))? {
            let (_, entry) = entry(&object);
            let mut state = self.state();
            if state.is_news(&entry, lists) {
                state.objects.insert(key.clone(), entry);
            }
        }
        let gone = "it came and went while it was written".to_owned();
        self.ours(target)?.ok_or_else(|| SinkError::NotReady { what: self.what(target), cause: gone })
    }

    async fn remove_named(&self, target: &Target, name: &str) -> Result<Written, SinkError> {
        self.ready(target)?;
        let Ok(Some(known)) = self.owned(target, name) else { return Ok(Written::Unchanged) };
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(known.uid.into()), resource_version: None }),
            ..DeleteParams::background()
        };
        match self.api(target).delete(name, &params).await {
            Ok(_) => Ok(Written::Changed),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(Written::Unchanged),
            Err(error) => Err(self.failed(target, error)),
        }
    }

    fn failed(&self, target: &Target, error: kube::Error) -> SinkError {
        let what = self.what(target);
        match error {
            // Rights and kinds come and go without the SLO; only what is wrong with the object itself stays wrong.
            kube::Error::Api(status) if [400, 413, 422].contains(&status.code) => {
                SinkError::Refused { what, cause: status.message.clone() }
            }
            other => SinkError::Unavailable { what, cause: chain(&other) },
        }
    }
}

/// Objects for which a change of this one matters: its owner, and the one that would like its name.
fn concerned(key: &Key, entry: &Entry) -> Vec<Touched> {
    let mut touched = BTreeSet::new();
    if let Some(owner) = &entry.owner {
        touched.insert((owner.kind, owner.name.to_string()));
    }
    for kind in Kind::ALL {
        if let Some(name) = key.1.strip_prefix(kind.prefix()).and_then(|rest| rest.strip_prefix('-')) {
            touched.insert((kind, name.to_owned()));
        }
    }
    touched.into_iter().map(|(kind, name)| (kind, key.0.to_string(), name)).collect()
}

/// Whether a stored object says everything that is wanted. What the API server or others have added is theirs; lists are as they
/// are.
pub(crate) fn says(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| stored.get(key).is_some_and(|stored| says(stored, wanted)))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(stored, wanted)| says(stored, wanted))
        }
        _ => stored == wanted,
    }
}

pub(crate) fn owner_reference(target: &Target) -> OwnerReference {
    OwnerReference {
        api_version: plimsoll_api::API_VERSION.to_owned(),
        kind: target.kind.name().to_owned(),
        name: target.name.clone(),
        uid: target.uid.clone(),
        controller: Some(true),
        // Foreground deletion of the SLO need not wait: and setting it would ask for rights on the SLO's finalizers.
        block_owner_deletion: None,
    }
}

impl RuleSink for KubeSink {
    fn describe(&self, target: &Target) -> String {
        self.objects.what(target)
    }

    fn place(&self) -> String {
        format!("{}.{}", self.objects.resource.plural, self.objects.resource.group)
    }

    fn labels(&self, target: &Target) -> Option<BTreeMap<String, String>> {
        Some(self.all_labels(target))
    }

    fn dialect(&self) -> Dialect {
        if self.objects.resource == vm_rule::resource() { Dialect::VictoriaMetrics } else { Dialect::Prometheus }
    }

    fn is_outside(&self) -> bool {
        false
    }

    fn write<'a>(&'a self, target: &'a Target, rules: &'a RuleSet) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.objects.apply(target, self.all_labels(target), rules))
    }

    fn delete<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.objects.remove(target))
    }
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;
