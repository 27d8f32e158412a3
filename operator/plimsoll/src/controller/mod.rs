//! The controller of SLOs and AlertRules: dereference → validate → render → `Rendered<Prepared>` → apply →
//! `Rendered<Applied>` → conditions → status. Only dereference, apply and status reach outside.

pub mod apply;
pub mod columns;
pub mod conditions;
pub mod dereference;
pub mod finalizer;
mod judge;
pub mod observe;
pub mod poll;
pub mod render;
pub mod route;
pub mod status;
pub mod stored;
pub mod validate;

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, channel::mpsc};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        Config as RunnerConfig, Controller, Predicate, WatchStreamExt,
        controller::Action,
        predicates,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use plimsoll_api::{Kind, conditions as c};
use plimsoll_slo::alerts::Language;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::{
    apply::{Applied, Outcome, Scored, apply, refuse},
    conditions::Asked,
    dereference::{Lookup, dereference},
    finalizer::{FinalizerError, Presence},
    observe::{Id, Observations},
    render::{Rendered, render},
    route::RouteError,
    status::{StatusError, StatusWriter},
    stored::{Shown, Stored},
    validate::validate,
};
use crate::{
    operator::{drain::drained, metrics::Metrics},
    prometheus::Prometheus,
    scorer,
    sinks::{Sinks, Written, kubernetes},
};

/// Reconciles at the same time: enough to keep an API server busy, few enough to stay small.
const CONCURRENCY: u16 = 16;
/// Rules outside the cluster cannot be watched; they are compared this often, spread over the time.
const OUTSIDE: Duration = Duration::from_secs(600);
/// The API server's pages for SLOs.
const PAGE: u32 = 100;

/// Why a reconcile is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The backend failed in a way that may pass; the status says so.
    #[error("{0}")]
    Backend(#[from] crate::sinks::SinkError),
    /// The status was not stored.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The finalizer was not set or removed.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
    /// A fault of the operator.
    #[error("the operator has a fault that this object brings out; please report it")]
    Panicked,
}

impl ReconcileError {
    /// One word for a metric.
    fn outcome(&self) -> &'static str {
        match self {
            ReconcileError::Backend(_) => "backend_failed",
            ReconcileError::Status(_) => "status_failed",
            ReconcileError::Finalizer(_) => "finalizer_failed",
            ReconcileError::Panicked => "panicked",
        }
    }
}

/// Everything that reconciles share.
pub struct Context {
    /// The kind that is reconciled.
    pub kind: Kind,
    /// The client, which writes only while this process leads.
    pub client: Client,
    /// All objects of the kind.
    pub objects: Store<Stored>,
    /// All backends.
    pub sinks: Sinks,
    /// What Prometheus knows.
    pub observations: Observations,
    /// The Prometheus to ask.
    pub prometheus: Option<Prometheus>,
    /// Stores statuses.
    pub status: StatusWriter,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// SLOs by the SLOs that are made of them.
    dependents: Mutex<HashMap<Id, HashSet<Id>>>,
    attempts: Mutex<HashMap<Id, u32>>,
}

impl Context {
    /// A context over these.
    pub fn new(
        kind: Kind,
        client: Client,
        objects: Store<Stored>,
        sinks: Sinks,
        prometheus: Option<Prometheus>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            status: StatusWriter::new(client.clone()),
            kind,
            client,
            objects,
            sinks,
            observations: Observations::default(),
            prometheus,
            metrics,
            dependents: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    fn dependents(&self) -> MutexGuard<'_, HashMap<Id, HashSet<Id>>> {
        self.dependents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<Id, u32>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the queue and the store name an object.
    pub fn reference(&self, (namespace, name): &Id) -> ObjectRef<Stored> {
        ObjectRef::new_with(name, self.kind).within(namespace)
    }

    /// Notes which SLOs are reconciled when one of these parts comes, changes or goes.
    fn depends(&self, id: &Id, parts: &[String]) {
        let mut dependents = self.dependents();
        dependents.retain(|(namespace, part), users| {
            if *namespace == id.0 && !parts.contains(part) {
                users.remove(id);
            }
            !users.is_empty()
        });
        for part in parts {
            dependents.entry((id.0.clone(), part.clone())).or_default().insert(id.clone());
        }
    }

    /// Forgets a deleted SLO; gives those that are made of it.
    fn gone(&self, id: &Id) -> Vec<Id> {
        self.observations.forget(id);
        self.status.forget(id);
        self.attempts().remove(id);
        self.users(id)
    }

    /// All SLOs that are made of this one, by however many steps: a cycle ends for each of them.
    fn users(&self, id: &Id) -> Vec<Id> {
        let graph = self.dependents();
        let (mut seen, mut next) = (HashSet::new(), vec![id.clone()]);
        while let Some(part) = next.pop() {
            for user in graph.get(&part).into_iter().flatten() {
                if seen.insert(user.clone()) {
                    next.push(user.clone());
                }
            }
        }
        seen.into_iter().collect()
    }

    /// After a new list of all SLOs: what went away unseen is forgotten, and what is made of parts is looked at again.
    fn listed(&self) -> Vec<Id> {
        let there = |id: &Id| self.objects.get(&self.reference(id)).is_some();
        for id in self.observations.ids().iter().filter(|id| !there(id)) {
            self.gone(id);
        }
        self.dependents().values().flatten().filter(|id| there(id)).cloned().collect()
    }
}

impl Lookup for Store<Stored> {
    fn parts(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        let stored = self.get(&ObjectRef::new_with(name, Kind::Slo).within(namespace))?;
        Some(stored.parts())
    }
}

/// Brings one SLO and the world into agreement.
///
/// # Errors
/// When it should be tried again soon.
pub async fn reconcile(stored: Arc<Stored>, ctx: Arc<Context>) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    // One SLO that brings out a fault of ours must not end the work for all others.
    let result = AssertUnwindSafe(steps(&stored, &ctx)).catch_unwind().await.unwrap_or(Err(ReconcileError::Panicked));
    let outcome = match &result {
        Ok((outcome, _)) => outcome,
        Err(error) => error.outcome(),
    };
    ctx.metrics.reconciled(outcome, started.elapsed());
    let (_, action) = result?;
    ctx.attempts().remove(&id(&stored));
    Ok(action)
}

async fn steps(stored: &Arc<Stored>, ctx: &Context) -> Result<(&'static str, Action), ReconcileError> {
    let id = id(stored);
    if stored.meta().deletion_timestamp.is_some() {
        return match finalizer::clean(stored, ctx).await {
            Ok(()) => Ok(("deleted", Action::await_change())),
            Err(error) => Err(tell(stored, ctx, error).await),
        };
    }
    let facts = dereference(Arc::clone(stored), &ctx.sinks, &ctx.objects);
    ctx.depends(&id, &stored.parts());
    let backend = facts.backend.as_ref().ok().cloned();
    let mut applied = match validate(facts) {
        Ok(valid) => {
            match finalizer::before_write(stored, &valid, ctx).await {
                Ok(Presence::There) => {}
                // What goes with it, or has its name now, is told by the watch.
                Ok(Presence::Gone) => return Ok(("gone", Action::await_change())),
                Err(error) => return Err(tell(stored, ctx, error).await),
            }
            apply(render(valid)).await
        }
        Err(error) => refuse(Arc::clone(stored), error),
    };
    let is_held = matches!(applied.state.outcome(), Outcome::Held { .. });
    let leftover = if is_held { finalizer::after_write(stored, ctx).await.err() } else { None };
    if let Some(error) = &leftover {
        applied = applied.with_leftover(error);
    }
    let (routed, rewritten) = route(stored, ctx, &applied).await;
    if let Some(routed) = routed {
        applied = applied.with_route(routed);
    }
    applied = applied.with_scored(scored(stored, ctx.prometheus.is_some(), &ctx.metrics));
    let written = matches!(applied.state.outcome(), Outcome::Held { written: Written::Changed, .. });
    let old = ctx.status.stored(stored);
    let status = judge(&applied, old.as_ref(), ctx.prometheus.as_ref(), &ctx.observations);
    let stored_status = ctx.status.write(stored, old.as_ref(), &status).await?;
    if stored_status == Written::Changed {
        let place = |shown: &Shown| shown.place.clone();
        let (old, new) = (old.as_ref().and_then(place), place(status.get()));
        finalizer::tell_left(stored, old.as_deref(), new.as_deref(), ctx).await;
    }
    let wrote = rewritten || written || stored_status == Written::Changed;
    if let Some(error) = leftover {
        return Err(error.into());
    }
    match applied.state.outcome() {
        Outcome::Failed(error) if error.is_transient() => Err(error.clone().into()),
        // What a backend refuses may be allowed one day, and nobody tells when.
        Outcome::Failed(_) => Ok(("backend_refused", Action::requeue(spread(OUTSIDE, &id)))),
        Outcome::Refused(_) | Outcome::Stuck { .. } => Ok(("invalid", Action::await_change())),
        Outcome::Held { .. } => {
            // Rules outside and receivers cannot be watched.
            let unwatched = applied.state.routed().is_some() || backend.is_some_and(|backend| backend.is_outside());
            let action = if unwatched { Action::requeue(spread(OUTSIDE, &id)) } else { Action::await_change() };
            Ok((if wrote { "changed" } else { "unchanged" }, action))
        }
    }
}

/// What the status says of what was applied, and of what Prometheus knows of it: rules that were written are expected
/// there from now on.
pub fn judge(
    applied: &Rendered<Applied>,
    old: Option<&Shown>,
    prometheus: Option<&Prometheus>,
    observations: &Observations,
) -> conditions::Status {
    let (stored, now) = (&applied.stored, Timestamp::now());
    let id = id(stored);
    let observation = match applied.state.outcome() {
        _ if prometheus.is_none() => None,
        Outcome::Held { wanted, .. } if wanted.language != Language::PromQl => {
            observations.forget(&id);
            None
        }
        Outcome::Held { written, wanted, .. } => {
            let waiting = conditions::waiting_since(old, stored.meta().generation);
            let written = *written == Written::Changed;
            Some(observations.expect(&id, wanted, written, waiting, Instant::now(), now))
        }
        // What was written before goes on working, and burning.
        _ if old.is_some_and(|old| old.place.is_some()) => Some(observations.follow(&id, Instant::now(), now)),
        _ => None,
    };
    let url = prometheus.map(Prometheus::url);
    let asked = url.as_deref().map(|url| Asked { url, observation: observation.as_ref() });
    conditions::status(applied, old, asked, now)
}

/// Brings the route of an AlertRule about, or what an earlier one left out of the world; true when that
/// was a write. A route that fails is told and tried again; it takes no rule with it.
async fn route(
    stored: &Stored,
    ctx: &Context,
    applied: &Rendered<Applied>,
) -> (Option<Result<String, RouteError>>, bool) {
    let Outcome::Held { route, .. } = applied.state.outcome() else { return (None, false) };
    let had = stored.status.as_ref().is_some_and(|old| c::status(&old.conditions, c::ROUTED).is_some());
    match route {
        Some(route) => match route::apply(&ctx.client, stored, route).await {
            Ok((place, written)) => (Some(Ok(place)), written == Written::Changed),
            Err(error) => (Some(Err(error)), false),
        },
        None if had => match route::remove(&ctx.client, stored).await {
            Ok(()) | Err(RouteError::NoKind) => (None, true),
            Err(error) => (Some(Err(error)), false),
        },
        None => (None, false),
    }
}

/// What the scorer sees of the object, which it may have begun to look at before this edit.
pub fn scored(stored: &Stored, prometheus: bool, metrics: &Metrics) -> Scored {
    let (namespace, name) = id(stored);
    if !stored.wants_anomaly() {
        return Scored::Unwanted;
    }
    if !prometheus {
        return Scored::NoPrometheus;
    }
    metrics.anomalies().facts().of(stored.kind_of(), &namespace, &name).map_or(Scored::Awaited, Scored::Says)
}

/// Says in the status why the finalizers are not as they should be; gives the reason to try again.
async fn tell(stored: &Arc<Stored>, ctx: &Context, error: FinalizerError) -> ReconcileError {
    let old = ctx.status.stored(stored);
    let stuck = apply::stuck(Arc::clone(stored), &error);
    let status = conditions::status(&stuck, old.as_ref(), None, Timestamp::now());
    match ctx.status.write(stored, old.as_ref(), &status).await {
        Ok(_) => error.into(),
        Err(unsaid) => unsaid.into(),
    }
}

/// Namespace and name.
pub fn id(stored: &Stored) -> Id {
    (stored.namespace().unwrap_or_default(), stored.name_any())
}

/// Between three quarters and five quarters of `time`, the same for the same SLO.
fn spread(time: Duration, id: &Id) -> Duration {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    time * 3 / 4 + time.mul_f64((hasher.finish() % 1000) as f64 / 2000.0)
}

fn retry(stored: Arc<Stored>, error: &ReconcileError, ctx: Arc<Context>) -> Action {
    let id = id(&stored);
    let attempt = {
        let mut attempts = ctx.attempts();
        let count = attempts.entry(id.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    };
    let wait =
        Duration::from_millis(500).saturating_mul(2u32.saturating_pow(attempt.min(9))).min(Duration::from_secs(120));
    tracing::warn!(kind = %ctx.kind, object = %format!("{}/{}", id.0, id.1), %error, attempt, retry_in = ?wait, "reconcile failed");
    Action::requeue(spread(wait, &id))
}

/// What the controller runs with.
pub struct Setup {
    /// A client that writes only while this process leads.
    pub client: Client,
    /// All backends.
    pub sinks: Sinks,
    /// Kinds of rule objects to watch for them.
    pub kinds: Vec<Arc<kubernetes::Objects>>,
    /// The Prometheus to ask.
    pub prometheus: Option<Prometheus>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Runs until `stop`, then finishes what is under way.
pub async fn run(setup: Setup, stop: CancellationToken) {
    let background = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let (touched, mut touches) = tokio::sync::mpsc::unbounded_channel();
    for kind in &setup.kinds {
        tasks.spawn(background.clone().run_until_cancelled_owned(Arc::clone(kind).watch(touched.clone())));
    }
    // What the scorer tells of an object is part of its status.
    tasks.spawn(background.clone().run_until_cancelled_owned(scorer::tell(Arc::clone(&setup.metrics), touched)));
    let queues: Vec<Queue> = Kind::ALL.into_iter().map(|kind| Queue::new(kind, &setup)).collect();
    let triggers: Vec<_> = queues.iter().map(|queue| (Arc::clone(&queue.ctx), queue.trigger.clone())).collect();
    tasks.spawn(background.clone().run_until_cancelled_owned(async move {
        while let Some((kind, namespace, name)) = touches.recv().await {
            for (ctx, trigger) in triggers.iter().filter(|(ctx, _)| ctx.kind == kind) {
                let _ = trigger.unbounded_send(ctx.reference(&(namespace.clone(), name.clone())));
            }
        }
    }));
    for queue in &queues {
        let (ctx, trigger) = (Arc::clone(&queue.ctx), queue.trigger.clone());
        if ctx.prometheus.is_some() {
            tasks.spawn(background.clone().run_until_cancelled_owned(poll::run(Arc::clone(&ctx), trigger.clone())));
        }
        // Backends that become usable later reconcile everything, because everything waits for them.
        for kind in &setup.kinds {
            let (kind, ctx, send) = (Arc::clone(kind), Arc::clone(&ctx), trigger.clone());
            tasks.spawn(background.clone().run_until_cancelled_owned(async move {
                let mut readiness = kind.readiness();
                if readiness.wait_for(|now| *now == kubernetes::Readiness::Ready).await.is_ok() {
                    for stored in ctx.objects.state() {
                        let _ = send.unbounded_send(ctx.reference(&id(&stored)));
                    }
                }
            }));
        }
    }
    // Before the first reconcile all rule objects should be known; a backend that fails stops only its own objects.
    for kind in &setup.kinds {
        let mut readiness = kind.readiness();
        let known = readiness.wait_for(|now| *now != kubernetes::Readiness::Starting);
        if stop.run_until_cancelled(known).await.is_none() {
            break;
        }
    }
    futures::future::join_all(queues.into_iter().map(|queue| queue.work(stop.clone()))).await;
    background.cancel();
    while tasks.join_next().await.is_some() {}
}

/// One kind's objects and what is to be done with them.
struct Queue {
    ctx: Arc<Context>,
    writer: reflector::store::Writer<Stored>,
    trigger: mpsc::UnboundedSender<ObjectRef<Stored>>,
    triggered: mpsc::UnboundedReceiver<ObjectRef<Stored>>,
}

impl Queue {
    fn new(kind: Kind, setup: &Setup) -> Self {
        let Setup { client, sinks, kinds: _, prometheus, metrics } = setup;
        let writer = reflector::store::Writer::<Stored>::new(kind);
        let ctx = Context::new(
            kind,
            client.clone(),
            writer.as_reader(),
            sinks.clone(),
            prometheus.clone(),
            Arc::clone(metrics),
        );
        let (trigger, triggered) = mpsc::unbounded();
        Self { ctx: Arc::new(ctx), writer, trigger, triggered }
    }

    /// Reconciles until `stop`, then finishes what is under way.
    async fn work(self, stop: CancellationToken) {
        let Self { ctx, writer, trigger, triggered } = self;
        let kind = ctx.kind;
        let api: Api<Stored> = Api::all_with(ctx.client.clone(), &kind);
        let objects = ctx.objects.clone();
        let (seen, send) = (Arc::clone(&ctx), trigger.clone());
        let (listed, again) = (Arc::clone(&ctx), trigger);
        let changes = watcher(api, watcher::Config::default().page_size(PAGE))
            .default_backoff()
            .inspect(move |event| follow(event, &seen, &send))
            .reflect(writer)
            .inspect(move |event| {
                if matches!(event, Ok(watcher::Event::InitDone)) {
                    for id in listed.listed() {
                        let _ = again.unbounded_send(listed.reference(&id));
                    }
                }
            })
            .applied_objects()
            .predicate_filter(predicates::generation.combine(predicates::labels), Default::default());
        let stopped = stop.clone();
        let work = Controller::for_stream_with(changes, objects.clone(), kind)
            .with_config(RunnerConfig::default().concurrency(CONCURRENCY))
            .reconcile_on(triggered)
            .graceful_shutdown_on(async move { stopped.cancelled().await })
            .run(
                move |stored, ctx| {
                    let (namespace, name) = id(&stored);
                    let generation = stored.meta().generation;
                    let span =
                        tracing::info_span!("reconcile", %kind, object = %format!("{namespace}/{name}"), generation);
                    reconcile(stored, ctx).instrument(span)
                },
                retry,
                ctx,
            )
            .for_each(|result| async move {
                match result {
                    // Errors of reconciles were logged where they are retried; an object that is gone is no error.
                    Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                    Err(kube::runtime::controller::Error::ObjectNotFound(_)) => {}
                    Err(error) => tracing::warn!(%kind, error = %kubernetes::chain(&error), "a watch failed"),
                }
            });
        drained(&objects, &stop, work).await;
    }
}

/// SLOs that come and go matter to those that are made of them.
fn follow(
    event: &Result<watcher::Event<Stored>, watcher::Error>,
    ctx: &Context,
    trigger: &mpsc::UnboundedSender<ObjectRef<Stored>>,
) {
    let users = match event {
        Ok(watcher::Event::Delete(object)) => ctx.gone(&id(object)),
        Ok(watcher::Event::Apply(object)) => {
            // A known part that merely changed its status changes nothing for others.
            let id = id(object);
            let known = ctx.objects.get(&ctx.reference(&id));
            if known.is_some_and(|old| old.meta().generation == object.meta().generation) {
                return;
            }
            ctx.users(&id)
        }
        _ => return,
    };
    for id in users {
        let _ = trigger.unbounded_send(ctx.reference(&id));
    }
}

#[cfg(test)]
mod tests;
