//! The one loop that asks Prometheus, for all SLOs together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::{Client, runtime::reflector::ObjectRef};
use plimsoll_api::Kind;
use plimsoll_slo::names;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    Context,
    columns::Numbers,
    observe::{Crowd, Id, Observations, Puzzle},
    stored::Stored,
};
use crate::{
    explain::gather,
    operator::metrics::Metrics,
    prometheus::{Prometheus, PrometheusError},
    selecting, targets,
};

/// SLOs in one question about rules.
const BATCH: usize = 40;
/// How often the numbers are asked for. A status shows them rarely; this bounds how late.
const NUMBERS: Duration = Duration::from_secs(15);
/// How long samples are kept changes only with a restart of Prometheus.
const RETENTION: Duration = Duration::from_secs(600);
/// A Prometheus that does not answer gets this much rest.
const REST: Duration = Duration::from_secs(2);

/// So many SLOs without samples are looked into at a time.
const SILENT: usize = 10;
/// What lasts is logged this often.
const REPEAT: Duration = Duration::from_secs(60);

/// Says once that Prometheus does not answer, and rarely that it still does not.
#[derive(Debug, Default)]
struct Outage {
    told: Mutex<Option<Instant>>,
}

impl Outage {
    fn told(&self) -> MutexGuard<'_, Option<Instant>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this failure should be logged.
    fn fails(&self, now: Instant) -> bool {
        let mut told = self.told();
        let tell = told.is_none_or(|at| now.duration_since(at) >= REPEAT);
        if tell {
            *told = Some(now);
        }
        tell
    }

    /// Whether this answer is the first after failures.
    fn ends(&self) -> bool {
        self.told().take().is_some()
    }

    fn failed(&self, error: &PrometheusError, what: &str) {
        if self.fails(Instant::now()) {
            tracing::warn!(%error, "{what} could not be asked for; this is tried again, and told once a minute at most");
        } else {
            tracing::debug!(%error, "{what} could not be asked for");
        }
    }

    fn answered(&self) {
        if self.ends() {
            tracing::info!("Prometheus answers again");
        }
    }
}

/// Asks until dropped.
pub async fn run(ctx: Arc<Context>, trigger: UnboundedSender<ObjectRef<Stored>>) {
    let Some(prometheus) = &ctx.prometheus else { return };
    let changed = |id: &Id| {
        // A closed channel means that the controller stops.
        let _ = trigger.unbounded_send(ctx.reference(id));
    };
    let (kind, observations, metrics) = (ctx.kind, &ctx.observations, ctx.metrics.as_ref());
    let poll = Poll { kind, prometheus, observations, metrics, cluster: Some(&ctx.client), changed: &changed };
    poll.run().await;
}

/// What is asked, for the objects of one kind.
pub struct Poll<'a> {
    /// The kind.
    pub kind: Kind,
    /// Who is asked.
    pub prometheus: &'a Prometheus,
    /// What is known.
    pub observations: &'a Observations,
    /// Counters.
    pub metrics: &'a Metrics,
    /// The cluster whose `Prometheus` objects say why groups are missing, if there is one.
    pub cluster: Option<&'a Client>,
    /// Is told of which objects the status changes.
    pub changed: &'a (dyn Fn(&Id) + Sync),
}

impl Poll<'_> {
    /// Asks until dropped.
    pub async fn run(&self) {
        let outage = Outage::default();
        tokio::join!(rules(self, &outage), numbers(self, &outage));
    }

    fn tell(&self, changed: Vec<Id>) {
        changed.iter().for_each(self.changed);
    }
}

async fn rules(ctx: &Poll<'_>, outage: &Outage) {
    let prometheus = ctx.prometheus;
    loop {
        ctx.observations.wait().await;
        let question = ctx.observations.due(Instant::now(), BATCH);
        if question.ids.is_empty() {
            continue;
        }
        let names: Vec<&str> = question.groups.iter().map(String::as_str).collect();
        match prometheus.groups(&names).await {
            Ok(found) => {
                outage.answered();
                let (changed, puzzles) = ctx.observations.answer(&question, &found, Instant::now());
                ctx.tell(changed);
                ctx.tell(solve(ctx, puzzles).await);
            }
            Err(error) => {
                ctx.metrics.prometheus_failed();
                outage.failed(&error, "rules");
                let (now, time) = (Instant::now(), Timestamp::now());
                ctx.tell(ctx.observations.unreachable(&question, &error.to_string(), now, time));
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Finds out why groups are missing; silently gives up where `Prometheus` objects cannot be read.
async fn solve(ctx: &Poll<'_>, puzzles: Vec<Puzzle>) -> Vec<Id> {
    let Some(cluster) = ctx.cluster else { return Vec::new() };
    let mut by_namespace = HashMap::new();
    let mut changed = Vec::new();
    for (id, labels) in puzzles {
        if !by_namespace.contains_key(&id.0) {
            let read = selecting::read(cluster, &id.0).await.ok();
            by_namespace.insert(id.0.clone(), read);
        }
        let Some(Some((all, namespace_labels))) = by_namespace.get(&id.0) else { continue };
        let unselected = selecting::explain(all, ctx.kind, &id.1, &id.0, namespace_labels, &labels);
        let hint = unselected.map(|found| match found.remedy {
            Some(remedy) => format!("{}; {remedy}", found.why),
            None => found.why,
        });
        if ctx.observations.hint(&id, hint) {
            changed.push(id);
        }
    }
    changed
}

/// Finds out which label makes so many groups. What cannot be asked now is asked with the next numbers.
async fn look_at(ctx: &Poll<'_>, prometheus: &Prometheus, crowds: Vec<Crowd>) -> Vec<Id> {
    let mut changed = Vec::new();
    for crowd in crowds {
        let (namespace, name) = &crowd.id;
        let selector = format!("{}{{{}=\"{namespace}/{name}\"}}", names::TOTAL, names::SLO_ID);
        let Ok(worst) = prometheus.widest(&selector, &crowd.labels).await else { continue };
        if ctx.observations.crowd(&crowd, worst) {
            changed.push(crowd.id.clone());
        }
    }
    changed
}

/// Finds out whether what counts as bad altogether is measured, or made up for missing time.
async fn doubt(ctx: &Poll<'_>, prometheus: &Prometheus) -> Vec<Id> {
    let mut changed = Vec::new();
    for (id, own) in ctx.observations.doubtful(Instant::now(), SILENT) {
        let Ok(groups) = gather::count(prometheus, &format!("count({own})")).await else { continue };
        if ctx.observations.measures(&id, groups > 0) {
            changed.push(id);
        }
    }
    changed
}

/// Finds out whether the targets of what has no samples are down. What cannot be asked now is asked a minute later.
async fn seek(ctx: &Poll<'_>, prometheus: &Prometheus) -> Vec<Id> {
    let mut changed = Vec::new();
    for (id, of) in ctx.observations.silent(Instant::now(), SILENT) {
        let Ok(away) = targets::away(prometheus, &of).await else { continue };
        if ctx.observations.seek(&id, away) {
            changed.push(id);
        }
    }
    changed
}

/// Finds out whether bad events lack a label of `groupBy`. What cannot be asked now is asked ten minutes later.
async fn pair(ctx: &Poll<'_>, prometheus: &Prometheus) -> Vec<Id> {
    let mut changed = Vec::new();
    for (id, questions) in ctx.observations.grouped(Instant::now(), SILENT) {
        let mut lacks = Ok(None);
        for (label, question) in questions {
            match prometheus.query(&question).await {
                Ok(found) if found.iter().any(|sample| sample.label(&label).is_empty()) => {
                    lacks = Ok(Some(label));
                    break;
                }
                Ok(_) => {}
                Err(error) => lacks = Err(error),
            }
        }
        let Ok(lacks) = lacks else { continue };
        if ctx.observations.pair(&id, lacks) {
            changed.push(id);
        }
    }
    changed
}

async fn numbers(ctx: &Poll<'_>, outage: &Outage) {
    let prometheus = ctx.prometheus;
    let mut ticks = tokio::time::interval(NUMBERS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retention_at = None;
    loop {
        ticks.tick().await;
        if retention_at.is_none_or(|at: Instant| at.elapsed() >= RETENTION)
            && let Ok(retention) = prometheus.retention().await
        {
            retention_at = Some(Instant::now());
            ctx.tell(ctx.observations.retention(retention));
        }
        if ctx.observations.is_empty() {
            continue;
        }
        match Numbers::ask(prometheus, ctx.kind).await {
            Ok(numbers) => {
                outage.answered();
                let (changed, crowds) = ctx.observations.numbers(&numbers, Instant::now());
                ctx.tell(changed);
                ctx.tell(look_at(ctx, prometheus, crowds).await);
                ctx.tell(doubt(ctx, prometheus).await);
                ctx.tell(seek(ctx, prometheus).await);
                ctx.tell(pair(ctx, prometheus).await);
            }
            Err(error) => {
                // The last known values stay; the conditions say since when.
                ctx.metrics.prometheus_failed();
                outage.failed(&error, "numbers");
                ctx.observations.lose(Instant::now(), Timestamp::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_once_a_minute() {
        let (outage, start) = (Outage::default(), Instant::now());
        let told = (0..40).filter(|i| outage.fails(start + Duration::from_secs(3 * i))).count();
        assert_eq!(told, 2, "in two minutes");
        assert!(outage.ends() && !outage.ends());
        assert!(outage.fails(start), "a new one is told at once");
    }
}
