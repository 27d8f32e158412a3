//! Runbooks without a cluster: an alert that starts one is planned as it would be in a cluster, and run dry. Executions
//! are files, stored before anything follows from them; nothing is sent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{RunbookExecution, execution::Phase, runbook::Mode};
use plimsoll_page::Kept;
use plimsoll_runbook::{
    Model,
    alertmanager::{self, Alert},
    machine::{Checked, Command, Event, World, step},
    matching::{Occurrence, matches},
    model::Trigger,
    names,
    parameters::resolve,
    plan::plan,
};
use plimsoll_slo::names as series;
use tokio_util::sync::CancellationToken;

use super::{data::Data, objects::Shelf, say::Say};
use crate::{
    alerts_webhook::server::{Desk, NotStored, Stored},
    page::Objects as _,
    prometheus::{Prometheus, bounded_bytes},
    runbooks::{assumed, circumstances, ledger},
    sinks::kubernetes::chain,
};

/// How often alerts are asked for where nobody posts them.
const ASK: Duration = Duration::from_secs(10);
/// How often what waits is looked at again.
const WAITING: Duration = Duration::from_secs(30);
/// Executions that are kept; the oldest that are over go.
const KEPT: usize = 1000;
/// The largest answer of an Alertmanager that is read.
const MAX_BYTES: usize = 32 << 20;

/// The runbooks that an SLO or AlertRule names, by label and value.
pub type Named = HashMap<(&'static str, String), Vec<String>>;

/// Who is asked for alerts.
#[derive(Clone, Debug)]
pub enum Source {
    /// An Alertmanager of ours posts them.
    Posted,
    /// The Alertmanager at this address.
    Alertmanager(String),
    /// The Prometheus itself.
    Prometheus,
}

/// See the module.
pub struct Runs {
    data: Arc<Data>,
    shelf: Arc<Shelf>,
    prometheus: Prometheus,
    http: reqwest::Client,
    say: Say,
    models: RwLock<Vec<Arc<Model>>>,
    /// The runbooks that an SLO or AlertRule names, by label and value.
    named: RwLock<Named>,
    /// What was told already.
    told: Mutex<HashSet<String>>,
    /// One is planned and run at a time, so that each sees those before it.
    turn: tokio::sync::Mutex<()>,
}

impl Runs {
    /// With what is stored.
    pub fn new(data: Arc<Data>, shelf: Arc<Shelf>, prometheus: Prometheus, http: reqwest::Client, say: Say) -> Self {
        let (executions, wrong) = data.executions();
        wrong.iter().for_each(|why| say.trouble(&format!("no execution: {why}")));
        executions.into_iter().for_each(|execution| shelf.runs(execution));
        Self {
            data,
            shelf,
            prometheus,
            http,
            say,
            models: RwLock::default(),
            named: RwLock::default(),
            told: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The runbooks that there are, and who names which.
    pub fn know(&self, models: Vec<Model>, named: Named) {
        // Whatever their mode says: without a cluster nothing is done.
        let dry =
            |model: Model| Model { mode: if model.mode == Mode::Off { Mode::Off } else { Mode::DryRun }, ..model };
        let models = models.into_iter().map(dry).map(Arc::new).collect();
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = models;
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = named;
    }

    /// Asks for alerts where nobody posts them, and looks after what waits, until `stop`.
    pub async fn run(self: Arc<Self>, source: Source, stop: CancellationToken) {
        let asking = async {
            loop {
                tokio::time::sleep(ASK).await;
                let found = match &source {
                    Source::Posted => std::future::pending().await,
                    Source::Alertmanager(url) => self.of_alertmanager(url).await,
                    Source::Prometheus => self.of_prometheus().await,
                };
                match found {
                    Ok(alerts) => {
                        for alert in &alerts {
                            if let Err(error) = self.take(alert).await {
                                tracing::warn!(%error, "an execution could not be stored; it is tried again");
                            }
                        }
                    }
                    Err(why) => tracing::warn!(why, "alerts could not be asked for; they are asked for again"),
                }
            }
        };
        let waiting = async {
            loop {
                tokio::time::sleep(WAITING).await;
                self.look_after().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = asking => {}
            () = waiting => {}
        }
    }

    async fn of_alertmanager(&self, url: &str) -> Result<Vec<Alert>, String> {
        let path = "api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false";
        let url = format!("{}/{path}", url.trim_end_matches('/'));
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|error| chain(&error.without_url()))?;
        let body = bounded_bytes(answer, MAX_BYTES).await.map_err(|error| error.to_string())?;
        Ok(alertmanager::read_api(&body, Timestamp::now()).map_err(|error| error.to_string())?.alerts)
    }

    async fn of_prometheus(&self) -> Result<Vec<Alert>, String> {
        // The value is the time since when the alert is active.
        let firing = "ALERTS_FOR_STATE * ignoring(alertstate) group_left() ALERTS{alertstate=\"firing\"}";
        let samples = self.prometheus.query(firing).await.map_err(|error| error.to_string())?;
        let alert = |sample: crate::prometheus::Sample| {
            let starts_at = Timestamp::from_second(sample.value() as i64).ok()?;
            let mut labels: BTreeMap<String, String> = sample.metric.into_iter().collect();
            labels.retain(|name, _| !matches!(name.as_str(), "__name__" | "alertstate"));
            let fingerprint = names::fingerprint("Alert", &labels);
            Some(Alert { fingerprint, labels, starts_at, resolved_at: None, named: Vec::new() })
        };
        Ok(samples.into_iter().filter_map(alert).collect())
    }

    async fn look_after(&self) {
        let _turn = self.turn.lock().await;
        for execution in self.stored().into_iter().filter(|execution| !is_over(execution)) {
            if let Err(error) = self.drive((*execution).clone(), None).await {
                tracing::warn!(%error, "an execution could not be stored; it is tried again");
            }
        }
    }

    fn stored(&self) -> Vec<Arc<RunbookExecution>> {
        self.shelf.executions().into_iter().filter_map(|Kept { object, .. }| object.ok()).collect()
    }

    async fn take(&self, alert: &Alert) -> Result<Stored, NotStored> {
        let _turn = self.turn.lock().await;
        if let Some(at) = alert.resolved_at {
            return self.resolve(alert, at).await;
        }
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner).clone();
        let occurrence = Occurrence::Alert(alert.clone().occurred(self.named_by(&alert.labels)));
        let mut stored = Stored::Nothing;
        for model in models.iter().filter(|model| matches!(model.trigger, Trigger::Alert(_) | Trigger::Slo { .. })) {
            match self.start(model, &occurrence).await? {
                Stored::Now => stored = Stored::Now,
                Stored::Before if stored == Stored::Nothing => stored = Stored::Before,
                _ => {}
            }
        }
        Ok(stored)
    }

    fn named_by(&self, labels: &BTreeMap<String, String>) -> Vec<String> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let of = |label: &'static str| named.get(&(label, labels.get(label)?.clone())).cloned();
        of(series::SLO_ID).or_else(|| of(series::ALERT_RULE)).unwrap_or_default()
    }

    /// Plans a run, stores it, and runs it dry. The same again has the same name, and is there.
    async fn start(&self, model: &Model, occurrence: &Occurrence) -> Result<Stored, NotStored> {
        let Ok(evidence) = matches(model, occurrence, Timestamp::now()) else { return Ok(Stored::Nothing) };
        let values = match resolve(model, &evidence.labels, &BTreeMap::new()) {
            Ok(values) => values,
            Err(wrong) => {
                let all: Vec<String> =
                    wrong.iter().map(|wrong| format!("parameter {}: {}", wrong.parameter, wrong.message)).collect();
                return Ok(self.refuse(model, &all.join("; ")));
            }
        };
        let objects = values.lookups.iter().map(|lookup| {
            let mut object = assumed::object(model, lookup, &values.values);
            // Two objects are two targets, though nobody knows their UIDs; and two workloads, which nobody knows either.
            let place = object.namespace.clone().unwrap_or_default();
            object.uid = names::fingerprint(object.kind.name(), [(&place, &object.name)]);
            object.facts.workload_uid = Some(object.uid.clone());
            object
        });
        let alert = evidence.labels.get("alertname").cloned().unwrap_or_default();
        let planned = match plan(model, &assumed::settings(model), evidence, &values.values, objects.collect(), None) {
            Ok(planned) => planned,
            Err(wrong) => return Ok(self.refuse(model, &wrong.join("; "))),
        };
        let mut execution = RunbookExecution::new(&planned.name, planned.spec);
        execution.metadata.namespace = Some(model.namespace.clone());
        execution.metadata.labels = Some(planned.labels);
        execution.metadata.creation_timestamp = Some(Time(Timestamp::now()));
        let name = &execution.metadata.name;
        if self
            .stored()
            .iter()
            .any(|known| known.metadata.name == *name && known.metadata.namespace == execution.metadata.namespace)
        {
            return Ok(Stored::Before);
        }
        self.put(&execution)?;
        self.tidy();
        self.drive(execution, Some(alert)).await?;
        Ok(Stored::Now)
    }

    /// It will not be planned, however often the alert comes: told once.
    fn refuse(&self, model: &Model, why: &str) -> Stored {
        let line = format!("Runbook {}/{} is not run dry: {why}", model.namespace, model.name);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < KEPT && told.insert(line.clone()) {
            self.say.trouble(&line);
        }
        Stored::Nothing
    }

    fn put(&self, execution: &RunbookExecution) -> Result<(), NotStored> {
        self.data.store(execution).map_err(NotStored)?;
        self.shelf.runs(execution.clone());
        Ok(())
    }

    /// Turns the machine's circle as far as it goes now.
    async fn drive(&self, mut execution: RunbookExecution, alert: Option<String>) -> Result<(), NotStored> {
        let mut event = Event::Loaded;
        loop {
            let now = Timestamp::now();
            // The Prometheus that is asked has sent the alert.
            let created = Timestamp::MIN;
            let world = World { now, paused: Some(false), resolved_at: None, deleted: false, created };
            let stored = execution.status.clone().unwrap_or_default();
            let (status, command) = step(&execution.spec, &stored, &event, &world);
            event = match command {
                Command::Store(begins) => {
                    execution.status = Some(status);
                    self.put(&execution)?;
                    Event::Stored(begins)
                }
                Command::Check => Event::Checked(self.check(&execution).await),
                // A dry run has nothing to do.
                Command::Act(_) | Command::Wait { .. } => return Ok(()),
                Command::Finished => {
                    self.tell(&execution, alert.as_deref());
                    return Ok(());
                }
            };
        }
    }

    async fn check(&self, execution: &RunbookExecution) -> Checked {
        let holds = match &execution.spec.trigger.condition {
            Some(condition) => self.prometheus.query(condition).await.map(|found| !found.is_empty()).ok(),
            None => Some(true),
        };
        let runbook = &execution.spec.runbook;
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(model) = models.iter().find(|model| model.uid == runbook.uid) else {
            return Checked { holds, refusals: Vec::new(), void: None };
        };
        let others = self.stored();
        let history = others
            .iter()
            .filter(|other| other.spec.runbook.uid == runbook.uid && other.metadata.name != execution.metadata.name)
            .filter(|other| other.status.as_ref().is_some_and(|status| status.started_at.is_some()))
            .map(|other| ledger::past(other))
            .collect();
        let refusals = circumstances::refused_by_count(&execution.spec, model, &assumed::settings(model), history);
        Checked { holds, refusals, void: None }
    }

    fn tell(&self, execution: &RunbookExecution, alert: Option<&str>) {
        let status = execution.status.clone().unwrap_or_default();
        let namespace = execution.metadata.namespace.as_deref().unwrap_or_default();
        let of = alert.map(|alert| format!(" for alert {alert}")).unwrap_or_default();
        let what = if status.phase == Phase::Skipped { "skipped" } else { "dry run" };
        let message = status.message.unwrap_or_default();
        self.say.news(&format!("Runbook {namespace}/{}: {what}{of}: {message}", execution.spec.runbook.name));
    }

    /// Tells the executions of an alert that it is over.
    async fn resolve(&self, alert: &Alert, at: Timestamp) -> Result<Stored, NotStored> {
        let mut stored = Stored::Nothing;
        for execution in self.stored() {
            let trigger = &execution.spec.trigger;
            let same = trigger.fingerprint == alert.fingerprint
                && trigger.starts_at.0.as_second() == alert.starts_at.as_second();
            if !same {
                continue;
            }
            stored = Stored::Resolved;
            if is_over(&execution) {
                continue;
            }
            let mut execution = (*execution).clone();
            let (now, created) = (Timestamp::now(), Timestamp::MIN);
            let world = World { now, paused: Some(false), resolved_at: Some(at), deleted: false, created };
            let before = execution.status.clone().unwrap_or_default();
            execution.status = Some(step(&execution.spec, &before, &Event::Loaded, &world).0);
            self.put(&execution)?;
            self.tell(&execution, None);
        }
        Ok(stored)
    }

    /// The oldest that are over go when there are too many.
    fn tidy(&self) {
        let mut all = self.stored();
        let over = all.len().saturating_sub(KEPT);
        all.retain(|execution| is_over(execution));
        all.sort_by_key(|execution| execution.metadata.creation_timestamp.as_ref().map(|time| time.0));
        for execution in all.iter().take(over) {
            self.data.remove(execution);
            self.shelf.forget(execution);
        }
    }
}

fn is_over(execution: &RunbookExecution) -> bool {
    execution.status.as_ref().is_some_and(|status| status.phase.is_terminal())
}

impl Desk for Runs {
    fn accept<'a>(&'a self, alert: &'a Alert, _traceparent: &'a str) -> BoxFuture<'a, Result<Stored, NotStored>> {
        self.take(alert).boxed()
    }

    fn resync(&self) {
        // Our own Alertmanager posts everything again within the hour; a post of ours is never too large for us.
        tracing::warn!("a post of alerts was refused; it comes again");
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
