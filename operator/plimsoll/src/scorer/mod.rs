//! The scorer loop: while this process leads, the series behind `anomaly` are read from Prometheus and
//! scored, and the scores stand on the operator's `/metrics`, where the generated rules expect them.
//! `watches` and `table` think; here is the only I/O.

mod table;
mod watches;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt as _, stream};
use kube::runtime::reflector::Store;
use plimsoll_slo::names;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tokio::time::MissedTickBehavior;

use self::{
    table::{IN_ALL, PER_WATCH, Table},
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

/// The scores of the present, shared with `/metrics`.
#[derive(Debug, Default)]
pub struct Board(Mutex<Table>);

impl Board {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the registry prefixes every name.
fn short(name: &'static str) -> &'static str {
    name.trim_start_matches("plimsoll_")
}

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (table, now) = (self.table(), now() as f64);
        let (seen, refused) = table.counts(now);
        for (name, help, value) in [
            ("anomaly_series", "Series that the anomaly scorer watches", seen),
            ("anomaly_series_refused", "Series that the anomaly scorer has no room for", refused),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let mut scores = table.scores(now).peekable();
        if scores.peek().is_some() {
            let help = "How unusual a watched series is, from 0 to 1";
            let mut family = encoder.encode_descriptor(short(names::ANOMALY_SCORE), help, None, MetricType::Gauge)?;
            for (labels, score) in scores {
                ConstGauge::new(score).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

/// Takes the scores away when the loop ends, however it ends: only the leader has any.
struct Term<'a>(&'a Board);

impl Drop for Term<'_> {
    fn drop(&mut self) {
        *self.0.table() = Table::default();
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Scores until dropped.
pub async fn run(prometheus: Prometheus, stores: Vec<Store<Stored>>, metrics: Arc<Metrics>) {
    let _term = Term(metrics.anomalies());
    let mut scorer = Scorer::new(prometheus, &metrics);
    let mut watches = Watches::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for store in &stores {
        // Only so that the first round finds something; a kind that the cluster lacks keeps nobody waiting.
        let _ = tokio::time::timeout(Duration::from_secs(5), store.wait_until_ready()).await;
    }
    loop {
        ticks.tick().await;
        let objects: Vec<Arc<Stored>> = stores.iter().flat_map(Store::state).collect();
        scorer.round(watches.update(objects.iter().map(Arc::as_ref)), now()).await;
    }
}

/// How far a watch has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Up to where it was read; 0 before the first time.
    until: u64,
    /// Number of the round in which it was last asked for.
    asked: u64,
    /// Whether the log says already that there are too many series.
    told: bool,
}

struct Scorer<'a> {
    prometheus: Prometheus,
    metrics: &'a Metrics,
    progress: HashMap<Watch, Progress>,
    rounds: u64,
}

impl<'a> Scorer<'a> {
    fn new(prometheus: Prometheus, metrics: &'a Metrics) -> Self {
        Self { prometheus, metrics, progress: HashMap::new(), rounds: 0 }
    }

    /// Brings every watch up to `now`, as far as Prometheus answers.
    async fn round(&mut self, watches: Vec<Watch>, now: u64) {
        self.rounds += 1;
        let mut old = std::mem::take(&mut self.progress);
        self.progress =
            watches.into_iter().map(|watch| (watch.clone(), old.remove(&watch).unwrap_or_default())).collect();
        self.metrics.anomalies().table().sweep(now as f64, |watch| self.progress.contains_key(watch));
        // A watch that fails always must not keep the others from their turn.
        let mut turns: Vec<(Watch, Progress)> = self.progress.iter().map(|(w, p)| (w.clone(), *p)).collect();
        turns.sort_by(|a, b| (a.1.asked, &a.0.labels).cmp(&(b.1.asked, &b.0.labels)));
        let (prometheus, board, round) = (&self.prometheus, self.metrics.anomalies(), self.rounds);
        let mut asked = stream::iter(turns)
            .map(|(watch, progress)| async move {
                let mut progress = Progress { asked: round, ..progress };
                let result = read(prometheus, board, &watch, &mut progress, now).await;
                (watch, progress, result)
            })
            .buffer_unordered(CONCURRENCY);
        let (mut failures, mut away) = (Vec::new(), 0);
        while let Some((watch, progress, result)) = asked.next().await {
            if let Err(error) = result {
                self.metrics.anomaly_failed();
                away += usize::from(matches!(error, PrometheusError::Unreachable { .. }));
                failures.push((watch.query.clone(), error));
            }
            self.progress.insert(watch, progress);
            if away >= ENOUGH {
                break;
            }
        }
        if let Some((query, error)) = failures.first() {
            tracing::warn!(%error, query, failures = failures.len(), "series could not be read for anomalies");
        }
    }
}

/// Reads and scores what is new since the last time.
async fn read(
    prometheus: &Prometheus,
    board: &Board,
    watch: &Watch,
    progress: &mut Progress,
    now: u64,
) -> Result<(), PrometheusError> {
    let oldest = now.saturating_sub(BACKFILL);
    loop {
        let from = progress.until.saturating_sub(LATE).max(oldest).next_multiple_of(EVERY);
        let to = now.min(from + PIECE);
        if from > to {
            // The clock was set back.
            return Ok(());
        }
        let found = prometheus.query_range(&watch.query, from, to, EVERY).await?;
        let series = found.iter().map(|range| (watch.exported(&range.metric), range.samples().collect()));
        let refused = board.table().take(watch, to as f64, series);
        progress.until = to;
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
mod tests;
