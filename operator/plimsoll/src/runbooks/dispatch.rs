//! From something that happened to stored executions. Every replica may do this, whoever leads: the name of an execution
//! is a hash of what it is for, so the API server itself lets each be made once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
    runtime::{events::EventType, reflector::Store},
};
use plimsoll_api::{
    Runbook, RunbookExecution,
    execution::{ObjectRef, RunbookExecutionSpec},
};
use plimsoll_runbook::{
    matching::{self, Occurrence, matches},
    model::{Model, Trigger},
    names,
    parameters::{Lookup, resolve},
    plan::{Planned, Settings, plan},
};
use plimsoll_slo::names as series;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    lookup::{self, LookupError},
    proof::{AUTHOR, Author, SEAL, Sealer},
    read::{entries, get, path, text},
};
use crate::{
    actions::account,
    alerts_webhook::{
        payload::Alert,
        server::{Desk, NotStored, Stored},
    },
    events::Teller,
    operator::metrics::Metrics,
    sinks::kubernetes::chain,
};

/// The annotation of an execution with the time at which its alert was resolved.
pub const RESOLVED_AT: &str = "plimsoll.dev/resolved-at";
/// The annotation of an execution with who wrote its runbook.
pub const WRITTEN_BY: &str = "plimsoll.dev/written-by";
/// How long it is remembered that something was stored or told, so that repetitions are cheap.
const RECENT: Duration = Duration::from_secs(60);
/// Occurrences that are looked up and stored at the same time.
const AT_ONCE: usize = 32;
/// How much is remembered.
const MOST: usize = 20_000;
/// A `Runbook` that may be unreadable.
pub type Guarded = DeserializeGuard<Runbook>;

/// A runbook that may be started.
#[derive(Debug)]
pub struct Known {
    /// As it is stored.
    pub runbook: Runbook,
    /// What it says.
    pub model: Model,
    /// Who wrote it.
    pub author: Author,
}

/// Why a runbook cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is invalid: a condition's message.
    Invalid(String),
    /// Nobody vouches for its author.
    Unsealed(String),
}

/// A runbook that was read, or why it cannot be started.
type Checked = Result<Arc<Known>, Unusable>;

/// What everything that starts runbooks shares.
pub struct Dispatcher {
    /// A client that needs no lease.
    pub client: Client,
    /// All runbooks.
    pub runbooks: Store<Guarded>,
    /// Checks who wrote them.
    pub sealer: Sealer,
    /// What an administrator has decided.
    pub settings: Settings,
    /// Tells people.
    pub teller: Teller,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Rung when Alertmanager must be asked for all alerts.
    pub resync: Notify,
    turns: Semaphore,
    known: Mutex<HashMap<String, (Option<String>, Checked)>>,
    recent: Mutex<HashMap<String, Instant>>,
    named: Mutex<HashMap<String, (Instant, Vec<String>)>>,
}

impl Dispatcher {
    /// With these.
    pub fn new(
        client: Client,
        runbooks: Store<Guarded>,
        sealer: Sealer,
        settings: Settings,
        teller: Teller,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            runbooks,
            sealer,
            settings,
            teller,
            metrics,
            resync: Notify::new(),
            turns: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
            recent: Mutex::default(),
            named: Mutex::default(),
        }
    }

    /// All runbooks that may be started.
    pub fn usable(&self) -> Vec<Arc<Known>> {
        let all = self.runbooks.state();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() > all.len() + 100 {
                known.clear();
            }
        }
        all.iter().filter_map(|guarded| self.know(guarded).ok()).collect()
    }

    /// A stored runbook, read, checked, and its author's seal looked at; remembered while it does not change.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn know(&self, guarded: &Guarded) -> Checked {
        let runbook = guarded.0.as_ref().map_err(|error| Unusable::Invalid(error.error.clone()))?;
        let key = runbook.uid().unwrap_or_default();
        let version = runbook.resource_version();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, result)) = known.get(&key).filter(|(seen, _)| *seen == version) {
            return result.clone();
        }
        let result = check(runbook, &self.sealer).map(Arc::new);
        known.insert(key, (version, result.clone()));
        result
    }

    /// Stores the execution that follows, if one does.
    ///
    /// # Errors
    /// When it could not be stored now.
    pub async fn start(
        &self,
        known: &Known,
        occurrence: &Occurrence,
        given: &BTreeMap<String, String>,
        traceparent: Option<String>,
    ) -> Result<Stored, NotStored> {
        let Known { runbook, model, author } = known;
        let evidence = match matches(model, occurrence, Timestamp::now()) {
            Ok(evidence) => evidence,
            Err(_) => return Ok(Stored::Nothing),
        };
        let key = format!("{}/{}/{}", model.uid, evidence.fingerprint, evidence.starts_at.0);
        if self.was(&key) {
            return Ok(Stored::Before);
        }
        let values = match resolve(model, &evidence.labels, given) {
            Ok(values) => values,
            Err(wrong) => {
                let all: Vec<String> =
                    wrong.iter().map(|wrong| format!("parameter {}: {}", wrong.parameter, wrong.message)).collect();
                return Ok(self.refuse(runbook, "ParameterWrong", &all.join("; ")).await);
            }
        };
        // However many alerts come, the API server is asked about so many at once.
        let _turn = self.turns.acquire().await.map_err(|error| NotStored(error.to_string()))?;
        let objects = match self.look_up(model, &values.lookups, traceparent.as_deref()).await {
            Ok(objects) => objects,
            Err(error @ LookupError::Missing(..)) => {
                return Ok(self.refuse(runbook, "TargetNotFound", &error.to_string()).await);
            }
            Err(error @ LookupError::Failed(..)) => return Err(NotStored(error.to_string())),
        };
        let planned = match plan(model, &self.settings, evidence, &values.values, objects, traceparent) {
            Ok(planned) => planned,
            Err(wrong) => return Ok(self.refuse(runbook, "NotPlanned", &wrong.join("; ")).await),
        };
        let stored = self.create(model, author, &planned).await?;
        self.remember(key);
        if stored == Stored::Now {
            for note in &planned.notes {
                self.teller.tell(&runbook.object_ref(&()), EventType::Warning, "MayBeUndone", note).await;
            }
        }
        Ok(stored)
    }

    /// The objects of a run, as its ServiceAccount sees them.
    async fn look_up(
        &self,
        model: &Model,
        lookups: &[Lookup],
        traceparent: Option<&str>,
    ) -> Result<Vec<ObjectRef>, LookupError> {
        if lookups.is_empty() {
            return Ok(Vec::new());
        }
        let account = account::client(&self.client, &model.namespace, &model.service_account_name, traceparent)
            .map_err(|error| LookupError::Failed("serviceAccountName".to_owned(), error.to_string()))?;
        lookup::all(&account, lookups, &model.steps).await
    }

    async fn create(&self, model: &Model, author: &Author, planned: &Planned) -> Result<Stored, NotStored> {
        let Planned { name, labels, spec, spec_hash: _, notes: _ } = planned;
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &model.namespace);
        let seal = seal(&self.sealer, &author.username, &model.namespace, name, spec);
        let seal = seal.map_err(|error| NotStored(error.to_string()))?;
        let mut execution = RunbookExecution::new(name, spec.clone());
        execution.metadata.labels = Some(labels.clone());
        execution.metadata.annotations =
            Some([(SEAL.to_owned(), seal), (WRITTEN_BY.to_owned(), author.username.clone())].into());
        match api.create(&PostParams::default(), &execution).await {
            Ok(_) => Ok(Stored::Now),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                Ok(Stored::Before)
            }
            // The namespace is gone, and the runbook with it.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Stored::Nothing),
            Err(error) => Err(NotStored(format!("RunbookExecution {}/{name}: {}", model.namespace, chain(&error)))),
        }
    }

    /// It will not be done, however often it comes: somebody is told.
    async fn refuse(&self, runbook: &Runbook, reason: &'static str, message: &str) -> Stored {
        self.metrics.runbook_refused(reason);
        let key = format!("{}/{reason}/{message}", runbook.uid().unwrap_or_default());
        if !self.was(&key) {
            self.remember(key);
            tracing::warn!(runbook = %runbook.name_any(), namespace = ?runbook.namespace(), reason, message, "a runbook was not started");
            self.teller.tell(&runbook.object_ref(&()), EventType::Warning, reason, message).await;
        }
        Stored::Nothing
    }

    fn was(&self, key: &str) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(key).is_some_and(|at| at.elapsed() < RECENT)
    }

    fn remember(&self, key: String) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST {
            recent.retain(|_, at| at.elapsed() < RECENT);
            if recent.len() >= MOST {
                recent.clear();
            }
        }
        recent.insert(key, Instant::now());
    }

    /// The runbooks that the SLO or the AlertRule of some labels names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn named_by(&self, labels: &BTreeMap<String, String>) -> Result<Vec<String>, NotStored> {
        let (plural, id) = match (labels.get(series::SLO_ID), labels.get(series::ALERT_RULE)) {
            (Some(id), _) => ("slos", id),
            (None, Some(id)) => ("alertrules", id),
            (None, None) => return Ok(Vec::new()),
        };
        let Some((namespace, name)) = id.split_once('/') else { return Ok(Vec::new()) };
        let is_name = plimsoll_runbook::parameters::is_dns_name;
        // A label is not trusted to be a part of a path.
        if !is_name(namespace) || !is_name(name) {
            return Ok(Vec::new());
        }
        let key = format!("{plural}/{id}");
        {
            let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, names)) = named.get(&key).filter(|(at, _)| at.elapsed() < RECENT / 2) {
                return Ok(names.clone());
            }
        }
        let at = path(plimsoll_api::API_VERSION, Some(namespace), plural, name);
        let object = get(&self.client, &at).await.map_err(|error| NotStored(error.to_string()))?;
        let object = object.unwrap_or(Value::Null);
        let of_rules = entries(&object, "/spec/rules").flat_map(|rule| entries(rule, "/runbooks"));
        let names: Vec<String> =
            entries(&object, "/spec/runbooks").chain(of_rules).map(|name| text(name, "").to_owned()).collect();
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() >= MOST {
            named.clear();
        }
        named.insert(key, (Instant::now(), names.clone()));
        Ok(names)
    }

    async fn store(&self, alert: &Alert, traceparent: &str) -> Result<Stored, NotStored> {
        let Alert { fingerprint, labels, starts_at, resolved_at } = alert;
        // A replica that has only just begun must not say that an alert is for nobody.
        if !matches!(self.runbooks.wait_until_ready().now_or_never(), Some(Ok(()))) {
            return Err(NotStored("the runbooks are not known yet".to_owned()));
        }
        let usable: Vec<Arc<Known>> = self.usable().into_iter().filter(|known| starts_by_alert(&known.model)).collect();
        if usable.is_empty() {
            return Ok(Stored::Nothing);
        }
        let runbooks = if usable.iter().any(|known| asks_who_names(&known.model)) {
            self.named_by(labels).await?
        } else {
            Vec::new()
        };
        let occurrence = Occurrence::Alert(matching::Alert {
            labels: labels.clone(),
            fingerprint: fingerprint.clone(),
            starts_at: *starts_at,
            firing: true,
            ends_at: None,
            runbooks,
        });
        if let Some(at) = resolved_at {
            let concerned = usable.iter().any(|known| matches(&known.model, &occurrence, Timestamp::now()).is_ok());
            return if concerned { self.resolve(alert, *at).await } else { Ok(Stored::Nothing) };
        }
        let (mut stored, mut failed) = (Stored::Nothing, None);
        for known in &usable {
            match self.start(known, &occurrence, &BTreeMap::new(), Some(traceparent.to_owned())).await {
                Ok(Stored::Now) => stored = Stored::Now,
                Ok(Stored::Before) if stored == Stored::Nothing => stored = Stored::Before,
                Ok(_) => {}
                // The other runbooks are not kept waiting for this one.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(stored), Err)
    }

    /// Tells the executions of an alert that it is over.
    async fn resolve(&self, alert: &Alert, at: Timestamp) -> Result<Stored, NotStored> {
        let all: Api<RunbookExecution> = Api::all(self.client.clone());
        let params = ListParams::default().labels(&format!("{}={}", names::FINGERPRINT, alert.fingerprint));
        let failed = |error: kube::Error| NotStored(format!("RunbookExecutions: {}", chain(&error)));
        for execution in all.list(&params).await.map_err(failed)? {
            let started = execution.spec.trigger.starts_at.0.as_second();
            let over = execution.status.as_ref().is_some_and(|status| status.phase.is_terminal());
            let told = execution.annotations().contains_key(RESOLVED_AT);
            if over || told || started != alert.starts_at.as_second() {
                continue;
            }
            let api: Api<RunbookExecution> =
                Api::namespaced(self.client.clone(), &execution.namespace().unwrap_or_default());
            let patch = json!({"metadata": {"uid": execution.uid(), "annotations": {RESOLVED_AT: at.to_string()}}});
            match api.patch_metadata(&execution.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                // It went, or another one has its name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Stored::Resolved)
    }
}

/// The seal of an execution: of who wrote its runbook, of its name and of its whole spec.
///
/// # Errors
/// None that can occur.
pub fn seal(
    sealer: &Sealer,
    author: &str,
    namespace: &str,
    name: &str,
    spec: &RunbookExecutionSpec,
) -> Result<String, serde_json::Error> {
    sealer.of_object(&format!("execution by {author}"), namespace, name, spec)
}

fn starts_by_alert(model: &Model) -> bool {
    matches!(model.trigger, Trigger::Alert(_) | Trigger::Slo { .. })
}

fn asks_who_names(model: &Model) -> bool {
    matches!(&model.trigger, Trigger::Slo { names, .. } if names.is_empty())
}

/// Reads a runbook, and looks at the seal of who wrote it.
fn check(runbook: &Runbook, sealer: &Sealer) -> Result<Known, Unusable> {
    let valid = plimsoll_runbook::validate(runbook)
        .map_err(|problems| Unusable::Invalid(plimsoll_api::problem::summary(&problems)))?;
    let unsealed =
        |message: &str| Unusable::Unsealed(format!("{message}; apply it again, with the operator's webhook on"));
    let noted = runbook.annotations().get(AUTHOR).ok_or_else(|| unsealed("nobody has noted who wrote it"))?;
    let author: Author =
        serde_json::from_str(noted).map_err(|_| unsealed("the note of who wrote it is not readable"))?;
    let right = sealer
        .of_author(&runbook.namespace().unwrap_or_default(), &runbook.name_any(), &runbook.spec, &author)
        .map_err(|error| unsealed(&error.to_string()))?;
    if !Sealer::is(&author.seal, &right) {
        return Err(unsealed("the note of who wrote it is not of this content"));
    }
    Ok(Known { runbook: runbook.clone(), model: valid.model, author })
}

impl Desk for Dispatcher {
    fn accept<'a>(&'a self, alert: &'a Alert, traceparent: &'a str) -> BoxFuture<'a, Result<Stored, NotStored>> {
        self.store(alert, traceparent).boxed()
    }

    fn resync(&self) {
        self.resync.notify_one();
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
