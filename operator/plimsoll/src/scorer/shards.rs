//! Which replica scores what: every shard is scored by whoever holds its lease, and each replica by and by holds its share.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt as _,
        reflector::Store,
        watcher::{self, watcher},
    },
};
use plimsoll_api::Kind;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{EVERY, Event, Scorer, Term, Watches, now, share::Page};
use crate::{
    controller::stored::Stored,
    operator::{
        election::{self, Office, Terms},
        gate::{GateLayer, Lease},
        metrics::Metrics,
    },
    prometheus::Prometheus,
    sinks::kubernetes::chain,
};

/// Shards at most: the operator may write only leases whose names are in its rights.
pub const MOST: u32 = 16;
/// The API server's pages.
const PAGE: u32 = 100;
/// For so long the first round waits for the lists of objects; a kind that the cluster lacks keeps nobody waiting, and what
/// is stored of a kind that is listed later stays.
const LISTS: Duration = Duration::from_secs(5);
/// The network is told every so many rounds, which are ten minutes ...
const TELL: u64 = 20;
/// ... and the mean of all shards' taken every so many, which are an hour.
const MEAN: u64 = 120;

/// The name of a shard's lease, and of the ConfigMap with what its holder tells.
pub(super) fn name(shard: u32) -> String {
    format!("plimsoll-scorer-{shard}")
}

/// What the scorer runs with.
pub struct Setup {
    /// The Prometheus to read from.
    pub prometheus: Prometheus,
    /// The Kubernetes API. The scorer's writes are kept by its leases, not the leader's.
    pub client: Client,
    /// Of leases and ConfigMaps.
    pub namespace: String,
    /// This process in the election, and after how long another takes over; `None` where there is no other.
    pub election: Option<(String, Duration)>,
    /// Shards of all that is scored.
    pub shards: u32,
    /// Where scores stand.
    pub metrics: Arc<Metrics>,
}

/// Scores its share until `stop`.
pub async fn serve(setup: Setup, stop: CancellationToken) {
    let Setup { prometheus, client, namespace, election, shards, metrics } = setup;
    let (watched, _) = watch::channel(Watches::default());
    let watched = Arc::new(watched);
    let mut tasks = tokio::task::JoinSet::new();
    for kind in Kind::ALL {
        tasks.spawn(stop.clone().run_until_cancelled_owned(listen(client.clone(), kind, Arc::clone(&watched))));
    }
    let lists = async {
        let _ = watched.subscribe().wait_for(Watches::is_complete).await;
    };
    if stop.run_until_cancelled(tokio::time::timeout(LISTS, lists)).await.is_none() {
        return;
    }
    let leases: Vec<Lease> =
        (0..shards).map(|_| if election.is_some() { Lease::default() } else { Lease::forever() }).collect();
    // With a single process there is nobody to tell.
    let told = election.is_some().then(|| (client.clone(), namespace.clone()));
    let work: Vec<Work> = (0..shards)
        .zip(&leases)
        .map(|(shard, lease)| Work {
            prometheus: prometheus.clone(),
            watched: Arc::clone(&watched),
            metrics: Arc::clone(&metrics),
            told: told.clone(),
            lease: lease.clone(),
            shard,
            shards,
        })
        .collect();
    let desk = Desk { running: Mutex::new(work.iter().map(|_| None).collect()), work };
    if let Some((identity, duration)) = election {
        let terms = Terms { identity, namespace, names: (0..shards).map(name).collect(), duration };
        election::run(client, terms, &leases, &desk, stop).await;
    } else {
        desk.held(&vec![true; leases.len()]);
        stop.cancelled().await;
        join_all((0..leases.len()).map(|lease| desk.leave(lease))).await;
    }
    while tasks.join_next().await.is_some() {}
}

/// Scores everything, as a process that has no other beside it, of the objects in these stores, until `stop`.
pub async fn alone(
    prometheus: Prometheus,
    stores: Vec<(Kind, Store<Stored>)>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let (watched, _) = watch::channel(Watches::default());
    let watched = Arc::new(watched);
    let (lease, shard, shards) = (Lease::forever(), 0, 1);
    let work = Work { prometheus, watched: Arc::clone(&watched), metrics, told: None, lease, shard, shards };
    let look = async {
        for (_, store) in &stores {
            // What is not read yet is no list of all. Who else waits may have been woken instead, so it is looked at again.
            while tokio::time::timeout(LISTS, store.wait_until_ready()).await.is_err() {}
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(EVERY));
        loop {
            ticks.tick().await;
            watched.send_modify(|watches| {
                for (kind, store) in &stores {
                    watches.all(*kind, store.state().iter().map(Arc::as_ref));
                }
            });
        }
    };
    tokio::select! {
        () = work.run(stop) => {}
        () = look => {}
    }
}

/// Hears of all objects of a kind, until dropped.
async fn listen(client: Client, kind: Kind, watched: Arc<watch::Sender<Watches>>) {
    let api: Api<Stored> = Api::all_with(client, &kind);
    let mut events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => watched.send_modify(|watches| watches.hear(kind, event)),
            Err(error) => tracing::warn!(%kind, error = %chain(&error), "a watch of the scorer failed"),
        }
    }
}

/// The work on one shard.
#[derive(Clone)]
struct Work {
    prometheus: Prometheus,
    watched: Arc<watch::Sender<Watches>>,
    metrics: Arc<Metrics>,
    /// Where others hear what is seen.
    told: Option<(Client, String)>,
    lease: Lease,
    shard: u32,
    shards: u32,
}

impl Work {
    /// Scores until `stop`, then stores what is to be gone on with.
    async fn run(self, stop: CancellationToken) {
        let Self { prometheus, watched, metrics, told, lease, shard, shards } = self;
        let board = metrics.anomalies();
        let _term = Term::begin(board, shard, &lease);
        let gate = GateLayer { lease: lease.clone(), metrics: Arc::clone(&metrics) };
        let mut page = told.map(|(client, namespace)| Page::new(client, &namespace, gate, shard));
        let mut scorer = Scorer::new(prometheus, &metrics, shard, lease);
        let begin = async {
            if !scorer.restore().await
                && let Some(page) = &page
            {
                adopt(&metrics, shard, page.networks(0..shards).await);
            }
        };
        if stop.run_until_cancelled(begin).await.is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let work = async {
            for round in 1u64.. {
                ticks.tick().await;
                let wanted = watched.borrow().of_shard(shard, shards, now());
                scorer.round(wanted, now).await;
                let Some(page) = &mut page else { continue };
                let others = (0..shards).filter(|other| *other != shard);
                if round.is_multiple_of(MEAN) && shards > 1 {
                    adopt(&metrics, shard, page.networks(others).await);
                }
                let network = round.is_multiple_of(TELL).then(|| board.with(shard, |shard| shard.table.network()));
                page.tell(board.facts().of_shard(shard), network).await;
            }
        };
        stop.run_until_cancelled(work).await;
        scorer.keep().await;
    }
}

/// The mean of these networks and its own becomes the shard's.
fn adopt(metrics: &Metrics, shard: u32, networks: Vec<Vec<u8>>) {
    if !networks.is_empty() {
        metrics.anomalies().with(shard, |shard| shard.take(&Event::Shared { networks }));
    }
}

/// The work under way.
struct Desk {
    work: Vec<Work>,
    running: Mutex<Vec<Option<Running>>>,
}

struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
    /// Cancelled when it has ended, however it ends.
    ended: CancellationToken,
}

impl Running {
    fn begin(work: Work) -> Self {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (until, guard) = (stop.clone(), ended.clone().drop_guard());
        let task = tokio::spawn(async move {
            let _guard = guard;
            work.run(until).await;
        });
        Self { task, stop, ended }
    }
}

impl Office for Desk {
    fn held(&self, held: &[bool]) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for ((held, running), work) in held.iter().zip(running.iter_mut()).zip(&self.work) {
            if running.as_ref().is_some_and(|running| running.task.is_finished()) {
                *running = None;
            }
            match running {
                None if *held => {
                    tracing::info!(shard = work.shard, "scoring");
                    *running = Some(Running::begin(work.clone()));
                }
                Some(running) if !*held && !running.stop.is_cancelled() => {
                    tracing::info!(shard = work.shard, "not scoring any more");
                    running.stop.cancel();
                }
                _ => {}
            }
        }
    }

    async fn leave(&self, lease: usize) {
        let ended = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let running = running.get(lease).and_then(Option::as_ref);
            running.map(|running| {
                running.stop.cancel();
                running.ended.clone()
            })
        };
        if let Some(ended) = ended {
            ended.cancelled().await;
        }
    }
}
