//! The scorer loop: while this process leads, the series behind `anomaly` are read from Prometheus and
//! scored, and the scores stand on the operator's `/metrics`, where the generated rules expect them.
//! `watches`, `table`, `facts` and `pace` think; here and in `store` is the only I/O.

mod board;
mod facts;
mod pace;
mod store;
mod table;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, stream};
use kube::runtime::reflector::Store as Objects;
use plimsoll_api::Kind;
use tokio::{sync::mpsc::UnboundedSender, time::MissedTickBehavior};

pub use self::{
    board::{Board, Looked, Options},
    facts::{Fact, Facts},
    store::check,
};
use self::{
    facts::Trouble,
    pace::Pace,
    store::{Refusal, Store},
    table::{Event, IN_ALL, PER_WATCH, Table},
    watches::{Watch, Watches},
};
use crate::{
    controller::stored::Stored,
    operator::metrics::Metrics,
    prometheus::{Prometheus, PrometheusError},
};

/// How often each series is looked at, and how far apart its samples are: in the past too, because on a
/// coarser grid a rhythm of a minute would hide values, and the present would seem new after each restart.
const EVERY: u64 = 30;
/// How far back a watch begins that has no samples yet.
const BACKFILL: u64 = 86_400;
/// What one request may cover, so that its answer stays small.
const PIECE: u64 = 3600;
/// What is asked for again, because samples may come late.
const LATE: u64 = 300;
/// Requests at the same time.
const CONCURRENCY: usize = 4;
/// So many failures of the server end a round: it is away, and the others would find the same.
const ENOUGH: usize = 4;
/// A query that is refused is asked again after twice as long each time, up to so many seconds.
const REFUSED_MAX: u64 = 600;

/// Takes the scores away when the loop ends, however it ends: only the leader has any.
struct Term<'a>(&'a Board, u32);

impl Drop for Term<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
        // The next leader tells what it sees.
        self.0.facts().keep([]);
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Says which objects' conditions change, until dropped.
pub async fn tell(metrics: Arc<Metrics>, touched: UnboundedSender<(Kind, String, String)>) {
    loop {
        for owner in metrics.anomalies().facts().changed().await {
            if touched.send(owner).is_err() {
                return;
            }
        }
    }
}

/// Scores until dropped.
pub async fn run(prometheus: Prometheus, stores: Vec<Objects<Stored>>, metrics: Arc<Metrics>) {
    const SHARD: u32 = 0;
    let _term = Term(metrics.anomalies(), SHARD);
    let mut scorer = Scorer::new(prometheus, &metrics, SHARD);
    scorer.restore().await;
    let mut watches = Watches::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for store in &stores {
        // Only so that the first round finds something; a kind that the cluster lacks keeps nobody waiting.
        let _ = tokio::time::timeout(Duration::from_secs(5), store.wait_until_ready()).await;
    }
    loop {
        ticks.tick().await;
        let objects: Vec<Arc<Stored>> = stores.iter().flat_map(Objects::state).collect();
        scorer.round(watches.update(objects.iter().map(Arc::as_ref)), now()).await;
    }
}

/// How it goes with a watch.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Number of the round in which it was last asked for.
    asked: u64,
    /// Whether the log says already that there are too many series.
    told: bool,
    /// When it may be asked for again that was refused, in seconds since 1970.
    again: u64,
    refusals: u32,
}

struct Scorer<'a> {
    prometheus: Prometheus,
    metrics: &'a Metrics,
    shard: u32,
    progress: BTreeMap<Watch, Progress>,
    rounds: u64,
    pace: Pace,
}

impl<'a> Scorer<'a> {
    /// What fails is asked again in the next round, not at once.
    fn new(prometheus: Prometheus, metrics: &'a Metrics, shard: u32) -> Self {
        let prometheus = prometheus.with_retries(0);
        Self { prometheus, metrics, shard, progress: BTreeMap::new(), rounds: 0, pace: Pace::default() }
    }

    /// Goes on from the state that is stored, if there is a place for it.
    async fn restore(&self) {
        let Some(folder) = self.metrics.anomalies().options().state else { return };
        let shard = self.shard;
        let Ok((store, table)) = tokio::task::spawn_blocking(move || Store::open(&folder, shard)).await else { return };
        let table = match table {
            Ok(table) => {
                tracing::info!(series = table.len(), "the scorer goes on from its stored state");
                table
            }
            Err(Refusal::Nothing) => Table::default(),
            Err(error) => {
                tracing::warn!(%error, "the scorer's stored state is not gone on with; the last day is read anew");
                Table::default()
            }
        };
        self.metrics.anomalies().with(shard, |shard| (shard.table, shard.store) = (table, Some(store)));
    }

    /// Stores what has happened, and now and then all of it.
    async fn keep(&self) {
        let board = self.metrics.anomalies();
        let Some((mut store, table)) = board.with(self.shard, |shard| {
            let mut store = shard.store.take()?;
            let table = store.is_due().then(|| shard.table.bytes());
            Some((store, table))
        }) else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || {
            let result = match table {
                Some(table) => store.snapshot(&table),
                None => store.sync(),
            };
            (store, result)
        });
        let Ok((store, result)) = written.await else { return };
        if let Err(error) = result {
            tracing::warn!(%error, "the scorer's state cannot be stored");
        }
        board.with(self.shard, |shard| shard.store = Some(store));
    }

    /// Brings every watch up to `now`, as far as Prometheus answers.
    async fn round(&mut self, watches: Vec<Watch>, now: u64) {
        self.rounds += 1;
        let mut old = std::mem::take(&mut self.progress);
        self.progress = watches
            .into_iter()
            .map(|watch| {
                let progress = old.remove(&watch).unwrap_or_default();
                (watch, progress)
            })
            .collect();
        let board = self.metrics.anomalies();
        board.facts().keep(self.progress.keys());
        board.with(self.shard, |shard| {
            let watches: BTreeSet<Watch> = self.progress.keys().cloned().collect();
            if shard.table.is_dusty(now as f64, &watches) {
                shard.take(&Event::Swept { now: now as f64, watches });
            }
        });
        if !self.pace.rests(now) {
            self.ask(now).await;
        }
        self.keep().await;
    }

    async fn ask(&mut self, now: u64) {
        // A watch that fails always must not keep the others from their turn.
        let due = self.progress.iter().filter(|(_, progress)| progress.again <= now);
        let mut turns: Vec<(Watch, Progress)> = due.map(|(w, p)| (w.clone(), *p)).collect();
        turns.sort_by(|a, b| (a.1.asked, &a.0.labels).cmp(&(b.1.asked, &b.0.labels)));
        let mut left: BTreeSet<Watch> = turns.iter().map(|(watch, _)| watch.clone()).collect();
        let (prometheus, board, shard, round) = (&self.prometheus, self.metrics.anomalies(), self.shard, self.rounds);
        let mut asked = stream::iter(turns)
            .map(|(watch, progress)| async move {
                let mut progress = Progress { asked: round, ..progress };
                let result = read(prometheus, board, shard, &watch, &mut progress, now).await;
                (watch, progress, result)
            })
            .buffer_unordered(self.pace.concurrency(CONCURRENCY));
        let (mut failures, mut away, mut end) = (Vec::new(), 0, None);
        while let Some((watch, mut progress, result)) = asked.next().await {
            left.remove(&watch);
            match result {
                Ok(()) => {
                    progress.refusals = 0;
                    board.facts().saw(&watch, board.with(shard, |s| s.table.seen(&watch, now as f64)), now);
                }
                Err(error) => {
                    self.metrics.anomaly_failed();
                    let (trouble, text) = (trouble(&error), error.to_string());
                    board.facts().failed(&watch, trouble, &text, now);
                    match &error {
                        PrometheusError::Unreachable { .. } => away += 1,
                        PrometheusError::Throttled { retry_after, .. } => {
                            self.pace.throttled(now, retry_after.map(|wait| wait.as_secs()));
                        }
                        PrometheusError::Refused { .. } => {
                            let wait = EVERY.saturating_mul(2u64.saturating_pow(progress.refusals));
                            progress.again = now + wait.min(REFUSED_MAX);
                            progress.refusals = progress.refusals.saturating_add(1);
                        }
                    }
                    if away >= ENOUGH || trouble == Trouble::Throttled {
                        end = Some((trouble, text));
                    }
                    failures.push((watch.query.clone(), error));
                }
            }
            self.progress.insert(watch, progress);
            if end.is_some() {
                break;
            }
        }
        drop(asked);
        match &end {
            // Those that were not asked would have been answered the same.
            Some((trouble, text)) => {
                left.iter().for_each(|watch| board.facts().failed(watch, *trouble, text, now));
            }
            None if failures.is_empty() => self.pace.answered(),
            None => {}
        }
        if let Some((query, error)) = failures.first() {
            tracing::warn!(%error, query, failures = failures.len(), "series could not be read for anomalies");
        }
    }
}

fn trouble(error: &PrometheusError) -> Trouble {
    match error {
        PrometheusError::Unreachable { .. } => Trouble::Unreachable,
        PrometheusError::Throttled { .. } => Trouble::Throttled,
        PrometheusError::Refused { .. } => Trouble::Refused,
    }
}

/// Reads and scores what is new since the last time.
async fn read(
    prometheus: &Prometheus,
    board: &Board,
    shard: u32,
    watch: &Watch,
    progress: &mut Progress,
    now: u64,
) -> Result<(), PrometheusError> {
    let oldest = now.saturating_sub(BACKFILL);
    loop {
        let until = board.with(shard, |shard| shard.table.until(watch));
        let from = until.saturating_sub(LATE).max(oldest).next_multiple_of(EVERY);
        let to = now.min(from + PIECE);
        if from > to {
            // The clock was set back.
            return Ok(());
        }
        let answer = prometheus.query_range(&watch.query, from, to, EVERY).await?;
        let found = answer.iter().map(|range| (watch.exported(&range.metric), range.samples().collect()));
        let refused = board.with(shard, |shard| {
            let found = shard.table.news(watch, found);
            shard.take(&Event::Read { watch: watch.clone(), until: to, found });
            shard.table.seen(watch, to as f64).refused
        });
        if refused > 0 && !progress.told {
            progress.told = true;
            tracing::warn!(
                query = watch.query,
                refused,
                "more series than are watched: at most {PER_WATCH} of a query and {IN_ALL} in all"
            );
        }
        if to >= now {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod loop_tests;
#[cfg(test)]
mod tests;
