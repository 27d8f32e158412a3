//! The one loop that asks Prometheus, for all SLOs together.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use plimsoll_slo::names;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    Context,
    columns::Numbers,
    observe::{Crowd, Id, Puzzle},
    stored::Stored,
};
use crate::{prometheus::Prometheus, selecting};

/// SLOs in one question about rules.
const BATCH: usize = 40;
/// How often the numbers are asked for. A status shows them rarely; this bounds how late.
const NUMBERS: Duration = Duration::from_secs(15);
/// How long samples are kept changes only with a restart of Prometheus.
const RETENTION: Duration = Duration::from_secs(600);
/// A Prometheus that does not answer gets this much rest.
const REST: Duration = Duration::from_secs(2);

/// Asks until dropped.
pub async fn run(ctx: Arc<Context>, trigger: UnboundedSender<ObjectRef<Stored>>) {
    let Some(prometheus) = ctx.prometheus.clone() else { return };
    tokio::join!(rules(&ctx, &prometheus, &trigger), numbers(&ctx, &prometheus, &trigger));
}

fn send(ctx: &Context, trigger: &UnboundedSender<ObjectRef<Stored>>, changed: Vec<Id>) {
    for id in changed {
        // A closed channel means that the controller stops.
        let _ = trigger.unbounded_send(ctx.reference(&id));
    }
}

async fn rules(ctx: &Context, prometheus: &Prometheus, trigger: &UnboundedSender<ObjectRef<Stored>>) {
    loop {
        ctx.observations.wait().await;
        let question = ctx.observations.due(Instant::now(), BATCH);
        if question.ids.is_empty() {
            continue;
        }
        let names: Vec<&str> = question.groups.iter().map(String::as_str).collect();
        match prometheus.groups(&names).await {
            Ok(found) => {
                let (changed, puzzles) = ctx.observations.answer(&question, &found, Instant::now());
                send(ctx, trigger, changed);
                send(ctx, trigger, solve(ctx, puzzles).await);
            }
            Err(error) => {
                ctx.metrics.prometheus_failed();
                tracing::warn!(%error, "rules could not be asked for");
                send(ctx, trigger, ctx.observations.unreachable(&question, &error.to_string(), Instant::now()));
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Finds out why groups are missing; silently gives up where `Prometheus` objects cannot be read.
async fn solve(ctx: &Context, puzzles: Vec<Puzzle>) -> Vec<Id> {
    let mut by_namespace = HashMap::new();
    let mut changed = Vec::new();
    for (id, labels) in puzzles {
        if !by_namespace.contains_key(&id.0) {
            let read = selecting::read(&ctx.client, &id.0).await.ok();
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
async fn look_at(ctx: &Context, prometheus: &Prometheus, crowds: Vec<Crowd>) -> Vec<Id> {
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

async fn numbers(ctx: &Context, prometheus: &Prometheus, trigger: &UnboundedSender<ObjectRef<Stored>>) {
    let mut ticks = tokio::time::interval(NUMBERS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retention_at = None;
    loop {
        ticks.tick().await;
        if retention_at.is_none_or(|at: Instant| at.elapsed() >= RETENTION)
            && let Ok(retention) = prometheus.retention().await
        {
            retention_at = Some(Instant::now());
            send(ctx, trigger, ctx.observations.retention(retention));
        }
        if ctx.observations.is_empty() {
            continue;
        }
        match Numbers::ask(prometheus, ctx.kind).await {
            Ok(numbers) => {
                let (changed, crowds) = ctx.observations.numbers(&numbers, Instant::now());
                send(ctx, trigger, changed);
                send(ctx, trigger, look_at(ctx, prometheus, crowds).await);
            }
            Err(error) => {
                // The last known values stay; RulesLoaded says that Prometheus is away.
                ctx.metrics.prometheus_failed();
                tracing::warn!(%error, "numbers could not be asked for");
            }
        }
    }
}
