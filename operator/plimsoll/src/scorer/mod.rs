//! The scorer loop: the series behind `anomaly` are read from Prometheus and scored, and the scores stand on the operator's
//! `/metrics`, where the generated rules expect them. Every object belongs to a shard, and each shard is scored by the
//! replica that holds its lease (`shards`). `watches`, `table`, `facts` and `pace` think; here, in `shards`, `share` and
//! `store` is the only I/O.

mod board;
mod facts;
mod joint;
mod pace;
mod shards;
mod share;
mod store;
mod table;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, stream};
use plimsoll_api::Kind;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

pub use self::{
    board::{Board, Looked, Options},
    facts::{Fact, Facts},
    shards::{MOST, Setup, alone, serve},
    share::follow,
    store::check,
};
use self::{
    facts::Trouble,
    pace::Pace,
    store::{Refusal, Store},
    table::{Event, FRESH, IN_ALL, PER_WATCH, Samples, Seen},
    watches::{Wanted, Watch, Watches},
};
use crate::{
    operator::{gate::Lease, metrics::Metrics},
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
/// Requests of a shard at the same time ...
const CONCURRENCY: usize = 4;
/// ... and of all shards of this process: their answers are in memory at once.
const CONCURRENCY_OF_ALL: usize = 8;
/// So many failures of the server end a round: it is away, and the others would find the same.
const ENOUGH: usize = 4;
/// A query that is refused is asked again after twice as long each time, up to so many seconds.
const REFUSED_MAX: u64 = 600;

/// A shard on the board, taken away when the work on it ends, however it ends: only its holder has scores.
struct Term<'a>(&'a Board, u32);

impl<'a> Term<'a> {
    fn begin(board: &'a Board, shard: u32, lease: &Lease) -> Self {
        board.with(shard, |shard| shard.lease = lease.clone());
        Self(board, shard)
    }
}

impl Drop for Term<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
        // The next holder tells what it sees.
        self.0.facts().leave(self.1);
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

/// Up to where a watch was read.
enum Reached {
    Present,
    /// There is more to be read than there was time for.
    Past,
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
    /// Series of the last answer that had the labels of another one.
    indistinct: usize,
}

impl Progress {
    /// Whether it may be asked for. A clock that was set back must not mean never.
    fn is_due(&self, now: u64) -> bool {
        self.again <= now || self.again - now > REFUSED_MAX
    }
}

struct Scorer<'a> {
    prometheus: Prometheus,
    metrics: &'a Metrics,
    shard: u32,
    /// Without it nothing is read or stored: somebody else may do it.
    lease: Lease,
    progress: BTreeMap<Watch, Progress>,
    rounds: u64,
    pace: Pace,
    /// Seconds that a round takes, while that is so long that scores are not shown all the time.
    behind: Option<u64>,
}

impl<'a> Scorer<'a> {
    fn new(prometheus: Prometheus, metrics: &'a Metrics, shard: u32, lease: Lease) -> Self {
        let prometheus = prometheus.for_scoring();
        Self {
            prometheus,
            metrics,
            shard,
            lease,
            progress: BTreeMap::new(),
            rounds: 0,
            pace: Pace::default(),
            behind: None,
        }
    }

    /// Goes on from the state that is stored, if there is a place for it; false where the past is read anew.
    async fn restore(&self) -> bool {
        let Some(folder) = self.metrics.anomalies().options().state else { return false };
        let (shard, lease) = (self.shard, self.lease.clone());
        let opened = tokio::task::spawn_blocking(move || Store::open(&folder, shard, lease)).await;
        let Ok((store, table)) = opened else { return false };
        let table = match table {
            Ok(table) => {
                tracing::info!(shard, series = table.len(), "the scorer goes on from its stored state");
                Some(table)
            }
            Err(Refusal::Nothing) => None,
            Err(error) => {
                tracing::warn!(shard, %error, "the scorer's stored state is not gone on with; the last day is read anew");
                None
            }
        };
        let goes_on = table.is_some();
        let table = table.unwrap_or_default();
        self.metrics.anomalies().with(shard, |shard| (shard.table, shard.store) = (table, Some(store)));
        goes_on
    }

    /// Stores what has happened, and now and then all of it.
    async fn keep(&self) {
        if !self.lease.is_held(Instant::now()) {
            return;
        }
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

    /// Brings every watch up to the time at which it is its turn, as far as Prometheus answers: what is read long after the
    /// round began must not end where it began.
    async fn round(&mut self, wanted: impl Into<Wanted>, clock: impl Fn() -> u64 + Sync) {
        self.rounds += 1;
        let now = clock();
        let Wanted { watches, resting, unlisted } = wanted.into();
        let mut old = std::mem::take(&mut self.progress);
        self.progress = watches
            .into_iter()
            .map(|watch| {
                let progress = old.remove(&watch).unwrap_or_default();
                (watch, progress)
            })
            .collect();
        let board = self.metrics.anomalies();
        board.facts().keep(self.shard, self.progress.keys());
        board.with(self.shard, |shard| {
            shard.lap.begin(now);
            // After a start what was stored is known before the objects are: none is gone because it was not heard of yet.
            let may_come =
                shard.table.watches().filter(|watch| watch.kind().is_some_and(|kind| unlisted.contains(&kind)));
            let watches: BTreeSet<Watch> = self.progress.keys().chain(may_come).cloned().collect();
            if shard.table.is_dusty(now as f64, &watches, &resting) {
                shard.take(&Event::Swept { now: now as f64, watches, resting: resting.clone() });
            }
        });
        if !self.pace.rests(now) && self.ask(&resting, &clock).await {
            let took = clock().saturating_sub(now);
            // One that was told must get well again, not only better.
            let most = if self.behind.is_some() { FRESH / 2.0 } else { FRESH };
            self.behind = Some(took).filter(|took| *took as f64 > most);
        }
        self.keep().await;
        let indistinct = self.progress.values().map(|progress| progress.indistinct).sum();
        board.with(self.shard, |shard| {
            shard.lap.end(clock());
            shard.indistinct = indistinct;
        });
    }

    /// Asks for all that is due; false where that was given up.
    async fn ask(&mut self, resting: &BTreeSet<Watch>, clock: &(impl Fn() -> u64 + Sync)) -> bool {
        let begun = clock();
        // A watch that fails always must not keep the others from their turn.
        let due = self.progress.iter().filter(|(_, progress)| progress.is_due(begun));
        let (prometheus, board, shard, round) = (&self.prometheus, self.metrics.anomalies(), self.shard, self.rounds);
        let in_past = |watch: &Watch| board.with(shard, |shard| shard.table.until(watch)) + PIECE < begun;
        let mut turns: Vec<(bool, Watch, Progress)> = due.map(|(w, p)| (in_past(w), w.clone(), *p)).collect();
        // The present comes first: a day of the past takes long to read, and only the present is shown.
        turns.sort_by(|a, b| (a.0, a.2.asked, &a.1.labels).cmp(&(b.0, b.2.asked, &b.1.labels)));
        let mut left: BTreeSet<Watch> = turns.iter().map(|(_, watch, _)| watch.clone()).collect();
        let (lease, deadline) = (&self.lease, &OnceLock::new());
        let mut asked = stream::iter(turns)
            .map(|(in_past, watch, mut progress)| async move {
                // The past may take as long as the present did, then the present has its turn again.
                let deadline = || *deadline.get_or_init(|| begun + EVERY.max(2 * clock().saturating_sub(begun)));
                let may_go_on = || !in_past || clock() < deadline();
                let result = if may_go_on() {
                    progress.asked = round;
                    read(prometheus, board, (shard, lease), &watch, &mut progress, (clock, &may_go_on)).await
                } else {
                    Ok(Reached::Past)
                };
                (watch, progress, result)
            })
            .buffer_unordered(self.pace.concurrency(CONCURRENCY));
        let (mut failures, mut away, mut end) = (Vec::new(), 0, None);
        while let Some((watch, mut progress, result)) = asked.next().await {
            left.remove(&watch);
            let now = clock();
            match result {
                Ok(Reached::Present) => {
                    progress.refusals = 0;
                    let rests = resting.contains(&watch);
                    let seen = board.with(shard, |shard| match rests {
                        true => shard.table.seen_at_rest(&watch),
                        false => shard.table.seen(&watch, now as f64),
                    });
                    let Progress { indistinct, .. } = progress;
                    // That nothing is found in time that does not count is no finding.
                    if !rests || seen.series > 0 {
                        board.facts().saw(shard, &watch, Seen { indistinct, behind: self.behind, ..seen }, now);
                    }
                }
                Ok(Reached::Past) => {}
                Err(error) => {
                    self.metrics.anomaly_failed();
                    let (trouble, text) = (trouble(&error), error.to_string());
                    board.facts().failed(shard, &watch, trouble, &text, now);
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
                left.iter().for_each(|watch| board.facts().failed(shard, watch, *trouble, text, clock()));
            }
            None if failures.is_empty() => self.pace.answered(),
            None => {}
        }
        if let Some((query, error)) = failures.first() {
            tracing::warn!(%error, query, failures = failures.len(), "series could not be read for anomalies");
        }
        end.is_none()
    }
}

fn trouble(error: &PrometheusError) -> Trouble {
    match error {
        PrometheusError::Unreachable { .. } => Trouble::Unreachable,
        PrometheusError::Throttled { .. } => Trouble::Throttled,
        PrometheusError::Refused { .. } => Trouble::Refused,
    }
}

/// Reads and scores what is new since the last time, while it may go on.
async fn read(
    prometheus: &Prometheus,
    board: &Board,
    (shard, lease): (u32, &Lease),
    watch: &Watch,
    progress: &mut Progress,
    (clock, may_go_on): (&(impl Fn() -> u64 + Sync), &(impl Fn() -> bool + Sync)),
) -> Result<Reached, PrometheusError> {
    loop {
        let now = clock();
        let oldest = now.saturating_sub(BACKFILL);
        let until = board.with(shard, |shard| {
            if shard.table.is_ahead(watch, now as f64) {
                // Samples of a time that has not come would be taken for the present until then: it begins anew.
                let watches: BTreeSet<Watch> = shard.table.watches().filter(|other| *other != watch).cloned().collect();
                shard.take(&Event::Swept { now: now as f64, resting: watches.clone(), watches });
            }
            // A clock that was wrong has said that more was read than there is.
            shard.table.until(watch).min(now)
        });
        let from = until.saturating_sub(LATE).max(oldest).next_multiple_of(EVERY);
        let to = now.min(from + PIECE);
        if from > to {
            // The clock was set back.
            return Ok(Reached::Present);
        }
        // Until what is read of it is in the table.
        let _room = board.room().await;
        let answer = prometheus.query_range(&watch.query, from, to, EVERY).await?;
        if !lease.is_held(Instant::now()) {
            // Whoever has the shard now asks for itself.
            return Ok(Reached::Past);
        }
        // Two series in one would be neither of them: of those that are called the same the first one is scored.
        let mut found: BTreeMap<_, Samples> = BTreeMap::new();
        for range in &answer {
            found.entry(watch.exported(&range.metric)).or_insert_with(|| range.samples().collect());
        }
        progress.indistinct = answer.len() - found.len();
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
            return Ok(Reached::Present);
        }
        if !may_go_on() {
            return Ok(Reached::Past);
        }
    }
}

#[cfg(test)]
mod joint_tests;
#[cfg(test)]
mod loop_tests;
#[cfg(test)]
mod rest_tests;
#[cfg(test)]
mod slow_tests;
#[cfg(test)]
mod tests;
