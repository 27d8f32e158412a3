//! Runbooks on a real API server, beside what the server itself takes for the same objects in the same run.
//!
//! First 50 alerts a second, each with a Pod of its own: from the post to the request of the first action. Then more alerts
//! than any API server stores, by a sender that repeats what is answered by 503 as Alertmanager does: none may be lost. Each
//! alert is another one at first; then groups repeat most of what they have said, as Alertmanager's do.

mod ground;
mod sender;
mod storm;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use plimsoll_testbed::{Component, PROGRAM_VARIABLE, ensure_components};

use self::ground::Ground;
use self::sender::alert;
use super::release;
use super::table::{self, Target};

/// Alerts a second while latency is measured, and for how long: a runbook's budget is at most 1,000 runs.
const STEADY: u32 = 50;
const STEADY_SECONDS: u32 = 18;
const MOST_RATIO: f64 = 3.0;
const MOST_MILLIS: f64 = 50.0;

#[derive(Args, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// How long each storm lasts, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: usize,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { seconds: 60 }
    }
}

/// When each message came, by the Pod that it is about.
type Arrivals = Arc<Mutex<BTreeMap<String, Instant>>>;

pub(crate) fn run(arguments: Arguments) -> Result<Vec<Target>> {
    let bin =
        ensure_components(&[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator])?.required()?;
    // As in tests, one that was built before is taken where it is named.
    let program = match std::env::var_os(PROGRAM_VARIABLE) {
        Some(program) => PathBuf::from(program),
        None => release::build(&["plimsoll"])?.path("plimsoll")?.to_owned(),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let ground = Ground::start(&bin, &program).await?;
        let mut targets = steady(&ground).await?;
        targets.extend(storm::run(&ground, arguments.seconds).await?);
        Ok(targets)
    })
}

/// A figure of sorted times, in milliseconds.
fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (times.len() as f64 * share) as usize;
    times.get(index.min(times.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

async fn steady(ground: &Ground) -> Result<Vec<Target>> {
    let count = STEADY * STEADY_SECONDS;
    ground.pods(count).await?;
    let arrivals = Arrivals::default();
    ground.listen(Arc::clone(&arrivals)).await?;
    let sender = ground.sender().await?;
    let gap = Duration::from_secs(1) / STEADY;
    // One after the other at first, so that neither side begins with what it opens once.
    ground.copy("warm").await?;
    sender.deliver(&[alert("Nothing", "none", 0)]).await?;
    let mut alone = Vec::new();
    paced(count / 3, gap, async |i| {
        let took = ground.copy(&format!("alone-{i}")).await?;
        alone.push(took);
        Ok(())
    })
    .await?;

    let (sent, created) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    let posts = concurrently(count, gap, |i| {
        let (sender, sent) = (&sender, &sent);
        async move {
            let pod = ground::pod(i);
            sent.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.clone(), Instant::now());
            sender.deliver(&[alert("Steady", &pod, u64::from(i) + 1)]).await.map(drop)
        }
    });
    // The server's own, while it has the same to do: a tenth of the alerts.
    let copies = concurrently(count / 10, gap * 10, |i| {
        let created = &created;
        async move {
            let took = ground.copy(&format!("beside-{i}")).await?;
            created.lock().unwrap_or_else(PoisonError::into_inner).push(took);
            Ok(())
        }
    });
    let (posted, copied) = tokio::join!(posts, copies);
    posted.and(copied)?;
    let here = || arrivals.lock().unwrap_or_else(PoisonError::into_inner).len();
    ground::until("every action to begin", Duration::from_secs(60), async || Ok(here() == count as usize)).await?;
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut took: Vec<Duration> =
        sent.iter().filter_map(|(pod, at)| Some(arrivals.get(pod)?.saturating_duration_since(*at))).collect();
    ensure!(took.len() == count as usize, "{} of {count}", took.len());
    let mut created = created.into_inner().unwrap_or_else(PoisonError::into_inner);

    println!("\n{STEADY} alerts a second for {STEADY_SECONDS} s, a Pod each");
    let mut rows = vec![["", "p50 ms", "p99 ms"].map(str::to_owned).to_vec()];
    for (what, times) in [
        ("post to the first action's request", &mut took),
        ("the API server's create of such an object, meanwhile", &mut created),
        ("the same, with nothing else to do", &mut alone),
    ] {
        let figures = [0.5, 0.99].map(|share| format!("{:.1}", percentile(times, share)));
        rows.push(std::iter::once(what.to_owned()).chain(figures).collect());
    }
    table::print(&rows);
    let ours = percentile(&mut took, 0.99);
    Ok(vec![
        Target::at_most("runbooks, post to first action, p99", ours, MOST_MILLIS, "ms"),
        Target::at_most("the same, of the server's create", ours / percentile(&mut created, 0.99), MOST_RATIO, "times"),
    ])
}

/// Does something so often, one after the other, a gap apart.
async fn paced(count: u32, gap: Duration, mut act: impl AsyncFnMut(u32) -> Result<()>) -> Result<()> {
    let mut ticks = tokio::time::interval(gap);
    for i in 0..count {
        ticks.tick().await;
        act(i).await?;
    }
    Ok(())
}

/// Begins something so often, a gap apart, however long each takes.
async fn concurrently<F: Future<Output = Result<()>>>(count: u32, gap: Duration, act: impl Fn(u32) -> F) -> Result<()> {
    let mut ticks = tokio::time::interval(gap);
    let mut running = FuturesUnordered::new();
    let mut begun = 0;
    while begun < count {
        tokio::select! {
            _ = ticks.tick() => {
                running.push(act(begun));
                begun += 1;
            }
            Some(done) = running.next() => done?,
        }
    }
    running.try_collect().await
}

/// The value of a label.
fn label(object: &serde_json::Value, name: &str) -> Result<String> {
    let labels = object.pointer("/metadata/labels").and_then(serde_json::Value::as_object).context("labels")?;
    Ok(labels.get(name).and_then(serde_json::Value::as_str).context("a label")?.to_owned())
}
