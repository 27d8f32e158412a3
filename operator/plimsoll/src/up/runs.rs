//! Runbooks without a cluster: an alert that starts one is planned as it would be in a cluster, and run: dry, or, where
//! whoever runs `up` has allowed it and no step needs a cluster, in earnest ([`super::allowed`]). Executions are files,
//! stored before anything follows from them; [`super::drive`] turns the machine's circle.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{RunbookExecution, runbook::Mode};
use plimsoll_page::Kept;
use plimsoll_runbook::{
    Model,
    alertmanager::Alert,
    matching::{Occurrence, matches},
    model::Trigger,
    names,
    parameters::resolve,
    plan::plan,
};
use plimsoll_slo::names as series;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    alerts::Source,
    allowed,
    data::{Data, PAUSED},
    objects::Shelf,
    say::Say,
};
use crate::{
    actions::Outside,
    alerts_webhook::server::{Desk, NotStored, Stored},
    cli::report::count,
    page::Objects as _,
    prometheus::Prometheus,
    runbooks::{assumed, config::RunbooksConfig, dispatch::RESOLVED_AT, keep, tasks},
    source::files::shown,
};

/// How often it is looked whether runbooks are paused.
const LOOK: Duration = Duration::from_secs(1);
/// Executions that are kept besides those that guards count; the oldest that are over go.
const KEPT: usize = 1000;
/// Conditions that are asked of Prometheus at the same time.
const AT_ONCE: usize = 8;
/// What is under way at the end may take so long.
const GRACE: Duration = Duration::from_secs(4);

/// The runbooks that an SLO or AlertRule names, by label and value.
pub type Named = HashMap<(&'static str, String), Vec<String>>;

/// Namespace and name of an execution.
pub(super) type Id = (String, String);

/// See the module.
pub struct Runs {
    pub(super) data: Arc<Data>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) prometheus: Prometheus,
    pub(super) outside: Outside,
    /// What steps may use; without it nothing is done.
    pub(super) config: Option<RunbooksConfig>,
    pub(super) say: Say,
    pub(super) models: RwLock<Vec<Arc<Model>>>,
    /// The runbooks that an SLO or AlertRule names, by label and value.
    named: RwLock<Named>,
    /// What was told already.
    told: Mutex<HashSet<String>>,
    /// Planning, counting and storing are done one at a time, so that each sees those before it. What is sent is not.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Executions that are looked after, and what wakes who does.
    pub(super) carried: Mutex<HashMap<Id, Arc<Notify>>>,
    hand: mpsc::UnboundedSender<Id>,
    handed: tokio::sync::Mutex<mpsc::UnboundedReceiver<Id>>,
    pub(super) asking: Semaphore,
    /// Whether all executions that are stored could be read: else nobody knows what guards must count.
    pub(super) is_whole: bool,
}

impl Runs {
    /// With what is stored.
    pub fn new(
        data: Arc<Data>,
        shelf: Arc<Shelf>,
        prometheus: Prometheus,
        outside: Outside,
        config: Option<RunbooksConfig>,
        say: Say,
    ) -> Self {
        let (executions, wrong) = data.executions();
        wrong.iter().for_each(|why| say.trouble(&format!("no execution: {why}")));
        if !wrong.is_empty() && config.is_some() {
            say.trouble("nothing is done by runbooks, since nobody knows what those have done: mend or remove them, and start again");
        }
        executions.into_iter().for_each(|execution| shelf.runs(execution));
        let (hand, handed) = mpsc::unbounded_channel();
        Self {
            data,
            shelf,
            prometheus,
            outside,
            config,
            say,
            models: RwLock::default(),
            named: RwLock::default(),
            told: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            carried: Mutex::default(),
            hand,
            handed: tokio::sync::Mutex::new(handed),
            asking: Semaphore::new(AT_ONCE),
            is_whole: wrong.is_empty(),
        }
    }

    /// Whether anything may be done at all.
    pub fn acts(&self) -> bool {
        self.config.is_some()
    }

    /// The runbooks that there are, and who names which.
    pub fn know(&self, models: Vec<Model>, named: Named) {
        let here = |model: Model| {
            let (mode, why) = allowed::mode(&model, self.acts());
            if let Some(why) = why {
                self.tell_once(format!("Runbook {}/{} stays dry: {why}", model.namespace, model.name));
            }
            Arc::new(Model { mode, ..model })
        };
        let models = models.into_iter().map(here).collect();
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = models;
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = named;
    }

    /// Asks for alerts where nobody posts them, and looks after executions, until `stop`.
    pub async fn run(self: Arc<Self>, source: Source, stop: CancellationToken) {
        let open: Vec<_> = self.stored().into_iter().filter(|execution| !is_over(execution)).collect();
        let real = open.iter().filter(|execution| execution.spec.mode != Mode::DryRun).count();
        if real > 0 && !self.acts() {
            let all = count(real, "execution");
            self.say.trouble(&format!("{all} not at an end: without --runbooks FILE nothing more is done"));
        }
        open.iter().for_each(|execution| self.look_after(id(execution)));
        let (mut carriers, mut handed) = (JoinSet::new(), self.handed.lock().await);
        let carrying = async {
            loop {
                tokio::select! {
                    Some(id) = handed.recv() => drop(carriers.spawn(Arc::clone(&self).carry(id, stop.clone()))),
                    Some(_) = carriers.join_next() => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.ask(&source) => {}
            () = self.watch_pause() => {}
            () = carrying => {}
        }
        // What takes longer is found by the next start: that it would be done is stored.
        let _ = tokio::time::timeout(GRACE, async { while carriers.join_next().await.is_some() {} }).await;
    }

    /// Says when runbooks are paused and when they are not any more, and wakes those that wait for it.
    async fn watch_pause(&self) {
        let mut before = Some(false);
        loop {
            let now = self.data.is_paused();
            if now != before && self.acts() {
                let file = shown(&self.data.join(PAUSED));
                match now {
                    Some(true) => self.say.news(&format!("runbooks are paused, until {file} is removed")),
                    Some(false) => self.say.news("runbooks are not paused any more"),
                    None => self.say.trouble(&format!("{file} cannot be looked for, so runbooks are paused")),
                }
                let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
                carried.values().for_each(|wakes| wakes.notify_one());
            }
            before = now;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Has an execution looked after, once, until it is over.
    fn look_after(&self, id: Id) {
        let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        if !carried.contains_key(&id) {
            carried.insert(id.clone(), Arc::default());
            // Who takes it lives as long as this.
            let _ = self.hand.send(id);
        }
    }

    pub(super) fn stored(&self) -> Vec<Arc<RunbookExecution>> {
        self.shelf.executions().into_iter().filter_map(|Kept { object, .. }| object.ok()).collect()
    }

    pub(super) async fn take(&self, alert: &Alert) -> Result<Stored, NotStored> {
        let _turn = self.turn.lock().await;
        if let Some(at) = alert.resolved_at {
            return self.resolve(alert, at);
        }
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner).clone();
        let occurrence = Occurrence::Alert(alert.clone().occurred(self.named_by(&alert.labels)));
        let mut stored = Stored::Nothing;
        for model in models.iter().filter(|model| matches!(model.trigger, Trigger::Alert(_) | Trigger::Slo { .. })) {
            match self.start(model, &occurrence)? {
                Stored::Now => stored = Stored::Now,
                Stored::Before if stored != Stored::Now => stored = Stored::Before,
                Stored::Refused if stored == Stored::Nothing => stored = Stored::Refused,
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

    /// Plans a run, stores it, and has it looked after. The same again has the same name, and is there.
    fn start(&self, model: &Model, occurrence: &Occurrence) -> Result<Stored, NotStored> {
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
        // What is only shown may name what nobody has allowed yet.
        let settings = match self.config.as_ref().filter(|_| model.mode != Mode::DryRun) {
            Some(config) => config.settings(""),
            None => assumed::settings(model),
        };
        let planned = match plan(model, &settings, evidence, &values.values, objects.collect(), None) {
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
        if self.data.has(&execution) {
            return Ok(self.refuse(model, &format!("its execution {} is stored and cannot be read", planned.name)));
        }
        self.put(&execution)?;
        self.tidy(Timestamp::now());
        self.look_after(id(&execution));
        Ok(Stored::Now)
    }

    /// It will not be planned, however often the alert comes: told once.
    fn refuse(&self, model: &Model, why: &str) -> Stored {
        let what = if model.mode == Mode::DryRun { "is not run dry" } else { "is not run" };
        self.tell_once(format!("Runbook {}/{} {what}: {why}", model.namespace, model.name));
        Stored::Refused
    }

    fn tell_once(&self, line: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < KEPT && told.insert(line.clone()) {
            self.say.trouble(&line);
        }
    }

    /// Stores an execution; what is known of it is what is stored.
    pub(super) fn put(&self, execution: &RunbookExecution) -> Result<(), NotStored> {
        self.shelf.runs(self.data.store(execution).map_err(NotStored)?);
        Ok(())
    }

    /// Notes at the executions of an alert that it is over: what has not begun is not begun.
    fn resolve(&self, alert: &Alert, at: Timestamp) -> Result<Stored, NotStored> {
        let mut stored = Stored::Nothing;
        for execution in self.stored().iter().filter(|execution| is_of(execution, alert)) {
            stored = Stored::Resolved;
            self.note_resolved(execution, at)?;
        }
        Ok(stored)
    }

    /// The caller has the turn.
    pub(super) fn note_resolved(&self, execution: &RunbookExecution, at: Timestamp) -> Result<(), NotStored> {
        if is_over(execution) || tasks::resolved_at(execution).is_some() {
            return Ok(());
        }
        let mut noted = execution.clone();
        noted.metadata.annotations.get_or_insert_default().insert(RESOLVED_AT.to_owned(), at.to_string());
        self.put(&noted)?;
        if let Some(wakes) = self.carried.lock().unwrap_or_else(PoisonError::into_inner).get(&id(execution)) {
            wakes.notify_one();
        }
        Ok(())
    }

    /// What guards count is kept as long as in a cluster; of the rest, the oldest that are over go when there are too many.
    fn tidy(&self, now: Timestamp) {
        let days = self.config.as_ref().map_or_else(|| RunbooksConfig::default().keep_days, |config| config.keep_days);
        let (counted, mut rest): (Vec<_>, Vec<_>) = self.stored().into_iter().partition(|execution| {
            let began = execution.status.as_ref().is_some_and(|status| status.started_at.is_some());
            began && execution.spec.mode != Mode::DryRun
        });
        let over = rest.len().saturating_sub(KEPT);
        rest.retain(|execution| is_over(execution));
        rest.sort_by_key(|execution| execution.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let old = counted.iter().filter(|execution| keep::is_over(execution, days, now));
        for execution in old.chain(rest.iter().take(over)) {
            self.data.remove(execution);
            self.shelf.forget(execution);
        }
    }
}

/// Whether an execution is of this very alert.
pub(super) fn is_of(execution: &RunbookExecution, alert: &Alert) -> bool {
    let trigger = &execution.spec.trigger;
    trigger.fingerprint == alert.fingerprint && trigger.starts_at.0.as_second() == alert.starts_at.as_second()
}

pub(super) fn id(execution: &RunbookExecution) -> Id {
    let metadata = &execution.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

pub(super) fn is_over(execution: &RunbookExecution) -> bool {
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
