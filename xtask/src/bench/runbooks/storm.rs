//! Two storms of alerts: of alerts that are all different, and of groups that repeat what they have said.

#![allow(clippy::indexing_slicing, reason = "an index into JSON yields null where there is nothing")]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::ground::{Ground, Used, pod};
use super::sender::alert;
use super::table::{self, Target};
use super::{STEADY, STEADY_SECONDS, concurrently};

/// Alerts a second, and how many Alertmanager puts into a post.
const STORM: usize = 1000;
const GROUP: usize = 50;
/// Posts a second.
const POSTS: usize = STORM / GROUP;
/// Groups that take turns: each posts every five seconds, Alertmanager's shortest sensible `group_interval`.
const GROUPS: usize = POSTS * 5;
/// Alerts of a group that are new in each of its posts; as many are over.
const NEW: usize = 4;
/// Objects that a bare client makes as fast as they go, and how many at a time.
const BARE: usize = 2000;
const BARE_AT_ONCE: usize = 32;
const MOST_MEBIBYTES: f64 = 256.0;

/// What is posted.
#[derive(Clone, Copy)]
enum Storm {
    Different,
    Groups,
}

impl Storm {
    const fn runbook(self) -> &'static str {
        match self {
            Self::Different => "storm",
            Self::Groups => "groups",
        }
    }

    const fn alertname(self) -> &'static str {
        match self {
            Self::Different => "Storm",
            Self::Groups => "Groups",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Different => "each another one",
            Self::Groups => "100 groups, in each post 4 of 50 that are new and 4 more that are over",
        }
    }

    /// The numbers of the alerts that fire in a post, and of those that are over.
    fn numbers(self, post: usize) -> (Vec<usize>, Vec<usize>) {
        match self {
            Self::Different => ((post * GROUP..(post + 1) * GROUP).collect(), Vec::new()),
            Self::Groups => {
                let (group, turn) = (post % GROUPS, post / GROUPS);
                let first = group * 10_000 + turn * NEW;
                let over = if turn == 0 { first..first } else { first - NEW..first };
                ((first..first + GROUP).collect(), over.collect())
            }
        }
    }

    /// Each has a fingerprint of its own, and a Pod that others have as well.
    fn alert(self, number: usize) -> Value {
        let pods = (STEADY * STEADY_SECONDS) as usize;
        let of = u32::try_from(number % pods).map(pod).unwrap_or_default();
        alert(self.alertname(), &of, fingerprint(number))
    }

    fn post(self, post: usize) -> Vec<Value> {
        let (fires, over) = self.numbers(post);
        let resolved = |number| {
            let mut alert = self.alert(number);
            alert["status"] = json!("resolved");
            alert["endsAt"] = json!("2026-01-01T01:00:00Z");
            alert
        };
        fires.into_iter().map(|number| self.alert(number)).chain(over.into_iter().map(resolved)).collect()
    }
}

fn fingerprint(number: usize) -> u64 {
    1_000_000 + number as u64
}

pub(super) async fn run(ground: &Ground, seconds: usize) -> Result<Vec<Target>> {
    let before = ground.used()?;
    let started = Instant::now();
    stream::iter(0..BARE)
        .map(|i| async move { ground.copy(&format!("bare-{i}")).await })
        .buffer_unordered(BARE_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let (took, used) = (started.elapsed(), ground.used()?.since(&before));
    println!("\n{BARE} such objects by a client that does nothing else, {BARE_AT_ONCE} at a time");
    table::print(&[
        row("a second", format!("{:.0}", rate(BARE, took))),
        row("ms of CPU of the API server, each", each(used.api_server, BARE)),
    ]);
    let mut targets = Vec::new();
    for storm in [Storm::Different, Storm::Groups] {
        targets.push(Target::at_most("runbooks, alerts lost", one(ground, storm, seconds).await?, 0.0, "alerts"));
    }
    #[allow(clippy::cast_precision_loss)]
    let peak = ground.used()?.operator.resident_peak as f64 / f64::from(1 << 20);
    println!("\npeak MiB of the operator  {peak:.1}");
    targets.push(Target::at_most("runbooks, memory", peak, MOST_MEBIBYTES, "MiB"));
    Ok(targets)
}

/// How many alerts are lost.
async fn one(ground: &Ground, storm: Storm, seconds: usize) -> Result<f64> {
    let sender = ground.sender().await?;
    let there = ground.stored(storm.runbook()).await?.len();
    ensure!(there == 0, "{there} are stored before");
    let posts = POSTS * seconds;
    let wanted: BTreeSet<String> =
        (0..posts).flat_map(|post| storm.numbers(post).0).map(|n| format!("{:016x}", fingerprint(n))).collect();
    let gap = Duration::from_secs(1) / u32::try_from(POSTS)?;
    let before = ground.used()?;
    let started = Instant::now();
    let refused = Mutex::new(0_usize);
    concurrently(u32::try_from(posts)?, gap, |i| {
        let (sender, refused) = (&sender, &refused);
        async move {
            let times = sender.deliver(&storm.post(i as usize)).await?;
            *refused.lock().unwrap_or_else(PoisonError::into_inner) += times;
            Ok(())
        }
    })
    .await?;
    let took = started.elapsed();
    let used = ground.used()?.since(&before);
    let stored = ground.stored(storm.runbook()).await?;
    let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\n{STORM} alerts a second for {seconds} s, {GROUP} in a post: {}", storm.title());
    table::print(&[
        row("sent", (posts * GROUP).to_string()),
        row("of them different, and stored", format!("{}, {}", wanted.len(), stored.len())),
        row("posts, and answers 503", format!("{posts}, {refused}")),
        row("s until all were stored", format!("{:.1}", took.as_secs_f64())),
        row("stored a second", format!("{:.0}", rate(stored.len(), took))),
        row("ms of CPU of the operator, each", each(used.operator.cpu, stored.len())),
        row("ms of CPU of the API server, each", each(used.api_server, stored.len())),
    ]);
    #[allow(clippy::cast_precision_loss)]
    let lost = wanted.difference(&stored).count() as f64;
    Ok(lost)
}

fn row(what: &str, figure: String) -> Vec<String> {
    vec![what.to_owned(), figure]
}

#[allow(clippy::cast_precision_loss)]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

#[allow(clippy::cast_precision_loss)]
fn each(cpu: Duration, count: usize) -> String {
    format!("{:.2}", cpu.as_secs_f64() * 1000.0 / count as f64)
}

impl Used {
    /// What was used since another moment; memory as it is now.
    fn since(&self, before: &Self) -> Self {
        let mut operator = self.operator;
        operator.cpu = operator.cpu.saturating_sub(before.operator.cpu);
        Self { operator, api_server: self.api_server.saturating_sub(before.api_server) }
    }
}
