//! The loop against a server that takes its time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use plimsoll_api::{anomaly::Direction, conditions as c};
use serde_json::json;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use super::tests::{NOW, labels, scorer, watch};
use super::*;

/// A clock, and a server to which each question takes so many seconds of it.
struct Slow {
    clock: Arc<AtomicU64>,
    cost: Arc<AtomicU64>,
    server: MockServer,
}

impl Slow {
    async fn start() -> Self {
        let (clock, cost) = (Arc::new(AtomicU64::new(NOW)), Arc::new(AtomicU64::new(0)));
        let (passes, costs, server) = (Arc::clone(&clock), Arc::clone(&cost), MockServer::start().await);
        let answer = move |request: &Request| {
            passes.fetch_add(costs.load(SeqCst), SeqCst);
            let query: BTreeMap<_, _> = request.url.query_pairs().collect();
            let number = |name: &str| query[name].parse::<u64>().unwrap();
            // Little of the past, which is not what is looked at here.
            let values = (number("start").max(NOW - 300)..=number("end")).step_by(30).map(|time| json!([time, "7"]));
            let result = json!([{"metric": {"of": query["query"]}, "values": values.collect::<Vec<_>>()}]);
            ResponseTemplate::new(200)
                .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
        };
        Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
        Self { clock, cost, server }
    }

    fn now(&self) -> u64 {
        self.clock.load(SeqCst)
    }

    async fn round(&self, scorer: &mut Scorer<'_>, watches: &[Watch]) {
        scorer.round(watches.to_vec(), || self.now()).await;
        // The next turn, if it is not due already.
        self.clock.fetch_add(if self.cost.load(SeqCst) == 0 { EVERY } else { 0 }, SeqCst);
    }
}

fn watches(names: std::ops::Range<usize>) -> Vec<Watch> {
    let id = |n: usize| labels(&[("alertrule", &format!("shop/{n:03}")), ("alert", "Odd")]);
    names.map(|n| Watch { labels: id(n), query: n.to_string(), ..watch(Direction::Both) }).collect()
}

/// Those whose score is shown.
fn shown(metrics: &Metrics, now: u64) -> BTreeSet<String> {
    let of = |labels: &watches::Labels| labels.iter().find(|(name, _)| name == "of").unwrap().1.clone();
    metrics.anomalies().with(0, |shard| shard.table.fresh(now as f64).map(|(labels, _)| of(labels)).collect())
}

fn reason(metrics: &Metrics, n: usize) -> &'static str {
    metrics.anomalies().facts().of(Kind::AlertRule, "shop", &format!("{n:03}")).unwrap().reason
}

#[tokio::test]
async fn in_long_rounds_all_are_shown_in_turn_and_it_is_told() {
    const MANY: usize = 75;
    let (slow, metrics) = (Slow::start().await, Metrics::default());
    let (mut scorer, all) = (scorer(&slow.server.uri(), &metrics), watches(0..MANY));
    slow.round(&mut scorer, &all).await;
    assert_eq!(shown(&metrics, slow.now()).len(), MANY);
    assert_eq!(reason(&metrics, 0), c::REASON_LEARNING);

    slow.cost.store(2, SeqCst);
    let mut ever = BTreeSet::new();
    for _ in 0..3 {
        slow.round(&mut scorer, &all).await;
        let now = shown(&metrics, slow.now());
        // Of the last two minutes.
        assert!((55..MANY).contains(&now.len()), "{}", now.len());
        // And right after it was read, the first of them too.
        assert!(shown(&metrics, slow.now() - 30).len() > now.len());
        ever.extend(now);
        ever.extend(shown(&metrics, slow.now() - 60));
    }
    assert_eq!(ever.len(), MANY);
    assert!(metrics.text().contains("\nplimsoll_anomaly_round_seconds 150\n"), "{}", metrics.text());
    let told = metrics.anomalies().facts().of(Kind::AlertRule, "shop", "000").unwrap();
    assert_eq!((told.status, told.reason), (Some(false), c::REASON_BEHIND));
    assert!(told.message.contains("to read all takes 150 s"), "{}", told.message);

    // A minute and a half is no end of it, half a minute is.
    slow.cost.store(1, SeqCst);
    (0..2).for_each(|_| _ = slow.clock.fetch_add(15, SeqCst));
    for _ in 0..2 {
        slow.round(&mut scorer, &all).await;
    }
    assert_eq!(reason(&metrics, MANY - 1), c::REASON_BEHIND);
    slow.cost.store(0, SeqCst);
    for _ in 0..2 {
        slow.round(&mut scorer, &all).await;
    }
    assert_eq!(reason(&metrics, MANY - 1), c::REASON_LEARNING);
}

/// A server that holds every answer back until so many questions wait for theirs; and the most that ever did.
async fn holds_back(until: usize) -> (String, Arc<AtomicUsize>) {
    let (waiting, most) = (Arc::new(tokio::sync::watch::channel(0usize).0), Arc::new(AtomicUsize::new(0)));
    let (arrived, highest, open) = (Arc::clone(&waiting), Arc::clone(&most), Arc::new(AtomicUsize::new(0)));
    let app = axum::Router::new().fallback(axum::routing::get(move || {
        let (arrived, highest, open) = (Arc::clone(&arrived), Arc::clone(&highest), Arc::clone(&open));
        async move {
            highest.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            arrived.send_modify(|count| *count += 1);
            // Nobody drops the sender.
            let _ = arrived.subscribe().wait_for(|count| *count >= until).await;
            open.fetch_sub(1, SeqCst);
            r#"{"status": "success", "data": {"resultType": "matrix", "result": []}}"#
        }
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let limits = crate::serving::Limits::default();
    tokio::spawn(crate::serving::serve(listener, None, app, limits, tokio_util::sync::CancellationToken::new()));
    (url, most)
}

#[tokio::test]
async fn all_shards_together_ask_so_much_at_the_same_time() {
    let (url, most) = holds_back(CONCURRENCY_OF_ALL).await;
    let metrics = Metrics::default();
    let prometheus = || Prometheus::new(crate::prometheus::http_client().unwrap(), &url).unwrap();
    let mut shards: Vec<_> = (0..4).map(|n| Scorer::new(prometheus(), &metrics, n, Lease::forever())).collect();
    let rounds = shards.iter_mut().map(|scorer| scorer.round(watches(0..6), || NOW));
    futures::future::join_all(rounds).await;
    assert_eq!(most.load(SeqCst), CONCURRENCY_OF_ALL);
    assert!(metrics.text().contains("plimsoll_anomaly_failures_total 0"));
}

#[tokio::test]
async fn a_day_that_is_to_be_read_holds_up_nobody_s_present() {
    let (slow, metrics) = (Slow::start().await, Metrics::default());
    let (mut scorer, old) = (scorer(&slow.server.uri(), &metrics), watches(0..4));
    slow.round(&mut scorer, &old).await;
    // Others come, each with a day of the past, which takes 50 seconds.
    slow.cost.store(2, SeqCst);
    let (all, mut rounds) = (watches(0..12), 0);
    while shown(&metrics, slow.now()).len() < all.len() {
        let before = slow.now();
        slow.round(&mut scorer, &all).await;
        rounds += 1;
        assert!(slow.now() - before <= EVERY + 10, "{}", slow.now() - before);
        assert!(shown(&metrics, slow.now()).is_superset(&old.iter().map(|watch| watch.query.clone()).collect()));
        assert!(rounds < 40, "{:?} of {rounds} rounds", shown(&metrics, slow.now()));
    }
    assert!(rounds > 5, "{rounds}");
    assert_eq!(reason(&metrics, 11), c::REASON_LEARNING);
}
