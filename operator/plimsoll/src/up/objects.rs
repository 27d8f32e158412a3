//! What the page shows of a directory: its objects as they are served, with their statuses, and the executions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use kube::ResourceExt as _;
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::Kept;
use plimsoll_slo::AnyValid;

use crate::{
    controller::stored::{Object, Shown, Stored},
    explain::Explainer,
    page::{Explains, Objects, told::Told},
    prometheus::Prometheus,
};

/// Namespace and name.
type Id = (String, String);

#[derive(Default)]
struct Lists {
    slos: BTreeMap<Id, Kept<Slo>>,
    alert_rules: BTreeMap<Id, Kept<AlertRule>>,
    runbooks: BTreeMap<Id, Kept<Runbook>>,
    executions: BTreeMap<Id, Kept<RunbookExecution>>,
}

/// See the module.
#[derive(Default)]
pub struct Shelf {
    lists: RwLock<Lists>,
    changes: AtomicU64,
    /// Whether all objects are on it.
    complete: AtomicBool,
}

/// An object, or why there is none.
fn kept<K>(id: &Id, object: Result<K, String>) -> Kept<K> {
    Kept { namespace: id.0.clone(), name: id.1.clone(), object: object.map(Arc::new) }
}

impl Shelf {
    fn change(&self, change: impl FnOnce(&mut Lists)) {
        change(&mut self.lists.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn list<K>(&self, of: impl FnOnce(&Lists) -> &BTreeMap<Id, Kept<K>>) -> Vec<Kept<K>> {
        of(&self.lists.read().unwrap_or_else(PoisonError::into_inner)).values().cloned().collect()
    }

    fn one<K>(
        &self,
        of: impl FnOnce(&Lists) -> &BTreeMap<Id, Kept<K>>,
        namespace: &str,
        name: &str,
    ) -> Option<Kept<K>> {
        let id = (namespace.to_owned(), name.to_owned());
        of(&self.lists.read().unwrap_or_else(PoisonError::into_inner)).get(&id).cloned()
    }

    /// An object that becomes rules, as it is served.
    pub fn serve(&self, id: &Id, stored: &Stored, status: Shown) {
        match &stored.object {
            Object::Slo(slo) => {
                let mut slo = slo.as_ref().clone();
                slo.status = Some(status.into());
                self.change(|lists| drop(lists.slos.insert(id.clone(), kept(id, Ok(slo)))));
            }
            Object::AlertRule(rule) => {
                let mut rule = rule.as_ref().clone();
                rule.status = Some(status.into());
                self.change(|lists| drop(lists.alert_rules.insert(id.clone(), kept(id, Ok(rule)))));
            }
        }
    }

    /// One of which there was never a good version.
    pub fn lacks(&self, kind: plimsoll_api::Kind, id: &Id, why: &str) {
        let why = why.to_owned();
        self.change(|lists| match kind {
            plimsoll_api::Kind::Slo => drop(lists.slos.insert(id.clone(), kept(id, Err(why)))),
            plimsoll_api::Kind::AlertRule => drop(lists.alert_rules.insert(id.clone(), kept(id, Err(why)))),
        });
    }

    /// One that is gone.
    pub fn remove(&self, kind: plimsoll_api::Kind, id: &Id) {
        self.change(|lists| match kind {
            plimsoll_api::Kind::Slo => drop(lists.slos.remove(id)),
            plimsoll_api::Kind::AlertRule => drop(lists.alert_rules.remove(id)),
        });
    }

    /// From now on what is not on it is not there.
    pub fn completed(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }

    /// All runbooks.
    pub fn runbooks_are(&self, all: Vec<(Id, Result<Runbook, String>)>) {
        let all = all.into_iter().map(|(id, runbook)| (id.clone(), kept(&id, runbook))).collect();
        self.change(|lists| lists.runbooks = all);
    }

    /// An execution as it is stored.
    pub fn runs(&self, execution: RunbookExecution) {
        let id = id(&execution);
        self.change(|lists| drop(lists.executions.insert(id.clone(), kept(&id, Ok(execution)))));
    }

    /// An execution that is not kept any more.
    pub fn forget(&self, execution: &RunbookExecution) {
        self.change(|lists| drop(lists.executions.remove(&id(execution))));
    }
}

fn id(execution: &RunbookExecution) -> Id {
    let metadata = &execution.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

impl Objects for Shelf {
    fn slos(&self) -> Vec<Kept<Slo>> {
        self.list(|lists| &lists.slos)
    }

    fn slo(&self, namespace: &str, name: &str) -> Option<Kept<Slo>> {
        self.one(|lists| &lists.slos, namespace, name)
    }

    fn alert_rules(&self) -> Vec<Kept<AlertRule>> {
        self.list(|lists| &lists.alert_rules)
    }

    fn runbooks(&self) -> Vec<Kept<Runbook>> {
        self.list(|lists| &lists.runbooks)
    }

    fn executions(&self) -> Vec<Kept<RunbookExecution>> {
        self.list(|lists| &lists.executions)
    }

    fn execution(&self, namespace: &str, name: &str) -> Option<Kept<RunbookExecution>> {
        self.one(|lists| &lists.executions, namespace, name)
    }

    fn revision(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

/// Explains SLOs, as `plimsoll explain` does for files.
pub struct Explaining {
    prometheus: Prometheus,
    told: Told,
}

impl Explaining {
    /// Asks this Prometheus.
    pub fn new(prometheus: &Prometheus) -> Self {
        Self { prometheus: prometheus.clone().with_retries(0), told: Told::default() }
    }
}

impl Explains for Explaining {
    fn explain<'a>(&'a self, slo: &'a Slo) -> BoxFuture<'a, String> {
        async move {
            let AnyValid { model, .. } = match plimsoll_slo::validate(slo) {
                Ok(valid) => AnyValid::from(valid),
                Err(problems) => return format!("It is invalid: {}.", plimsoll_api::problem::summary(&problems)),
            };
            // A file has no version: what it says is its version.
            let spec = serde_json::to_string(&slo.spec).unwrap_or_default();
            let key = format!("{}/{} {spec}", slo.namespace().unwrap_or_default(), slo.name_any());
            let explaining = async { Explainer::new(Some(self.prometheus.clone())).model(&model).await.text };
            self.told.or(key, explaining).await
        }
        .boxed()
    }
}
