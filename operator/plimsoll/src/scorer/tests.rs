#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeMap;

use kube::runtime::watcher::Event as Heard;
use plimsoll_api::{Kind, anomaly::Direction};
use plimsoll_slo::names;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use super::{
    facts::Owner,
    table::{FORGOTTEN, FRESH, Samples, Table, VANISHED},
    watches::{Labels, shard_of},
    *,
};
use crate::{
    controller::stored::{Object, Stored},
    prometheus::http_client,
};

pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn stored(object: Value) -> Stored {
    serde_json::from_value(object).unwrap()
}

fn slo(generation: i64, objective: &str) -> Stored {
    stored(json!({
        "kind": "SLO",
        "metadata": {"name": "checkout", "namespace": "shop", "generation": generation},
        "spec": {"objective": objective, "anomaly": {},
            "sli": {"events": {"bad": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total"}}},
    }))
}

fn alert_rule() -> Stored {
    stored(json!({
        "kind": "AlertRule",
        "metadata": {"name": "checkout", "namespace": "shop", "generation": 1},
        "spec": {"matchers": {"cluster": "eu"}, "rules": [
            {"alert": "Down", "expr": "up == 0"},
            {"alert": "Odd", "anomaly": {"query": "sum by (pod) (rate(x_total[5m]))", "direction": "Up"}}]},
    }))
}

pub(super) fn watch(direction: Direction) -> Watch {
    let labels = labels(&[("alertrule", "shop/checkout"), ("alert", "Odd")]);
    Watch { labels, query: "x".to_owned(), direction, ..Watch::example() }
}

/// A question up to `until` was answered so; gives the number of series for which there was no room.
pub(super) fn take(
    table: &mut Table,
    watch: &Watch,
    until: f64,
    found: impl IntoIterator<Item = (Labels, Samples)>,
) -> usize {
    let found = table.news(watch, found);
    table.apply(&Event::Read { watch: watch.clone(), until: until as u64, found });
    table.seen(watch, until).refused
}

fn sweep(table: &mut Table, now: f64, watches: &[&Watch]) {
    let watches: BTreeSet<Watch> = watches.iter().map(|watch| (*watch).clone()).collect();
    sweep_but(table, now, watches, BTreeSet::new());
}

fn sweep_but(table: &mut Table, now: f64, watches: BTreeSet<Watch>, resting: BTreeSet<Watch>) {
    let event = Event::Swept { now, watches, resting };
    let Event::Swept { watches, resting, .. } = &event else { return };
    let (dusty, before) = (table.is_dusty(now, watches, resting), table.bytes());
    table.apply(&event);
    assert_eq!(dusty, table.bytes() != before, "a sweep is needed when it changes something");
}

#[test]
fn watched_is_what_the_objects_ask_for() {
    let mut watches = Watches::default();
    let plain = stored(json!({"kind": "SLO", "metadata": {"name": "plain", "namespace": "shop"}, "spec": {
        "objective": "99", "sli": {"events": {"bad": "a_total", "total": "b_total"}}}}));
    let mut after = |objects: &[Stored]| {
        let kinds = Kind::ALL.into_iter().flat_map(|kind| {
            let listed = objects.iter().filter(move |object| object.kind_of() == kind).cloned().map(Heard::InitApply);
            [Heard::Init].into_iter().chain(listed).chain([Heard::InitDone]).map(move |event| (kind, event))
        });
        kinds.for_each(|(kind, event)| watches.hear(kind, event));
        let wanted = watches.of_shard(0, 1, NOW);
        assert!(wanted.unlisted.is_empty() && watches.is_complete());
        wanted.watches
    };
    let mut found = after(&[slo(1, "99.9"), alert_rule(), plain]);
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    // Ten bad events in five minutes, as a burn rate's alert takes ten.
    assert_eq!(
        found.iter().map(|w| w.policy().least).collect::<Vec<_>>(),
        [f64::NEG_INFINITY, 10.0 / 300.0, f64::NEG_INFINITY]
    );
    let found: Vec<_> = found.iter().map(|w| (w.labels.clone(), w.query.as_str(), w.direction)).collect();
    assert_eq!(
        found,
        [
            (
                labels(&[("alertrule", "shop/checkout"), ("alert", "Odd")]),
                "sum by (pod) (rate(x_total{cluster=\"eu\"}[5m]))",
                Direction::Up
            ),
            (
                labels(&[("slo_id", "shop/checkout"), ("signal", "bad")]),
                "slo:bad_events:rate5m{slo_id=\"shop/checkout\"}",
                Direction::Up
            ),
            (
                labels(&[("slo_id", "shop/checkout"), ("signal", "total")]),
                "slo:total_events:rate5m{slo_id=\"shop/checkout\"}",
                Direction::Both
            ),
        ]
    );
    assert_eq!(after(&[slo(2, "never")]).len(), 2, "its rules stay, so do its scores");
    let mut anew = slo(2, "99.9");
    let Object::Slo(slo_anew) = &mut anew.object else { panic!("an SLO") };
    (slo_anew.metadata.uid, slo_anew.spec.anomaly) = (Some("another".to_owned()), None);
    assert_eq!(after(&[anew]), [], "not the one of the same name");
    assert_eq!(after(&[]), []);
    assert_eq!(after(&[slo(2, "never")]), [], "never was valid");

    let mut watches = Watches::default();
    watches.hear(Kind::Slo, Heard::Apply(slo(1, "99.9")));
    watches.hear(Kind::AlertRule, Heard::Apply(alert_rule()));
    assert_eq!(watches.of_shard(0, 1, NOW).watches.len(), 3);
    watches.hear(Kind::AlertRule, Heard::Init);
    assert_eq!(watches.of_shard(0, 1, NOW).unlisted, BTreeSet::from(Kind::ALL), "nothing was listed to its end");
    assert_eq!(
        watches.of_shard(0, 1, NOW).watches.len(),
        3,
        "a list that has only begun says of nothing that it is gone"
    );
    watches.hear(Kind::AlertRule, Heard::InitDone);
    assert_eq!(watches.of_shard(0, 1, NOW).watches.len(), 2, "nor of another kind");
    let unlisted = || -> BTreeSet<Kind> { Kind::ALL.into_iter().filter(|kind| *kind != Kind::AlertRule).collect() };
    assert_eq!(watches.of_shard(0, 1, NOW).unlisted, unlisted());
    watches.hear(Kind::AlertRule, Heard::Init);
    assert_eq!(watches.of_shard(0, 1, NOW).unlisted, unlisted(), "it was known once, and is kept up");
    watches.hear(Kind::Slo, Heard::Delete(slo(1, "99.9")));
    assert_eq!(watches.of_shard(0, 1, NOW).watches, []);
}

#[test]
fn every_object_is_in_one_shard_and_few_move() {
    let owners: Vec<Owner> = (0..4000)
        .map(|n| {
            let kind = if n % 3 == 0 { Kind::Slo } else { Kind::AlertRule };
            (kind, format!("team-{}", n % 7), format!("service-{n}"))
        })
        .collect();
    let shards = |count: u32| owners.iter().map(|owner| shard_of(owner, count)).collect::<Vec<u32>>();
    assert!(shards(1).iter().all(|shard| *shard == 0));
    for count in 2..=16u32 {
        let (fewer, now) = (shards(count - 1), shards(count));
        let mut sizes = vec![0usize; count as usize];
        now.iter().for_each(|shard| sizes[*shard as usize] += 1);
        let even = owners.len() / count as usize;
        assert!(sizes.iter().all(|size| (even * 4 / 5..=even * 5 / 4).contains(size)), "{count}: {sizes:?}");
        let moved = fewer.iter().zip(&now).filter(|(before, now)| before != now);
        assert!(moved.clone().all(|(_, now)| *now == count - 1), "only the new shard takes");
        assert!(moved.count() <= even * 5 / 4);
    }
    // Another version of the operator must not find another shard for what is stored already.
    let known = ["checkout", "cart", "search", "login"]
        .map(|name| shard_of(&(Kind::Slo, "shop".to_owned(), name.to_owned()), 4));
    assert_eq!(known, [0, 1, 2, 1]);
}

#[test]
fn labels_of_a_series_do_not_pass_for_ours() {
    let metric: BTreeMap<String, String> =
        [("__name__", "x"), ("pod", "a"), ("alert", "Other"), ("alertrule", "shop/checkout"), ("slo_id", "a/b")]
            .into_iter()
            .chain([("http.status", "200"), ("http_status", "500"), ("9", "nine"), ("empty", "")])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    let mut found = watch(Direction::Both).exported(&metric);
    found.sort();
    let wanted = [
        ("_9", "nine"),
        ("alert", "Odd"),
        ("alertrule", "shop/checkout"),
        ("exported_alert", "Other"),
        ("exported_http_status", "500"),
        ("exported_slo_id", "a/b"),
        ("http_status", "200"),
        ("pod", "a"),
    ];
    assert_eq!(found, labels(&wanted));
}

/// A rhythm of ten values, minute by minute, until `end`.
pub(super) fn calm(rows: u64, end: u64) -> Vec<(f64, f64)> {
    (0..rows).map(|row| ((end - (rows - 1 - row) * 60) as f64, 10.0 + ((row * 7) % 10) as f64 / 10.0)).collect()
}

pub(super) fn score(table: &Table, now: u64) -> Option<f64> {
    table.fresh(now as f64).map(|(_, series)| series.score).next()
}

#[test]
fn a_jump_counts_on_the_side_that_is_asked_for() {
    for (direction, up, down) in
        [(Direction::Both, true, true), (Direction::Up, true, false), (Direction::Down, false, true)]
    {
        for (value, wanted) in [(100.0, up), (-80.0, down)] {
            let (watch, mut table) = (watch(direction), Table::default());
            take(&mut table, &watch, NOW as f64, [(Vec::new(), calm(1440, NOW - 60))]);
            assert!(score(&table, NOW).unwrap() < 0.4, "calm");
            take(&mut table, &watch, NOW as f64, [(Vec::new(), vec![(NOW as f64, value)])]);
            assert_eq!(score(&table, NOW).unwrap() >= 0.5, wanted, "{direction:?} {value}");
        }
    }
}

/// Pods that start at any hour of a day with a usual course: none alerts on what is only new to it. One that is known does,
/// and so does a pod in its second day.
#[test]
fn a_series_alerts_on_nothing_before_a_day_of_it_is_known() {
    let value = |time: u64, noise: f64| {
        let phase = time as f64 / 86_400.0 * std::f64::consts::TAU;
        200.0 - 100.0 * phase.cos() + 20.0 * (noise - 0.5)
    };
    let (mut scored, mut alerted) = (0, 0);
    for hour in (0..24).step_by(6) {
        let (watch, mut table) = (watch(Direction::Both), Table::default());
        let (begin, mut random) = (NOW + hour * 3600, plimsoll_anomaly::lstm::Random(hour + 1));
        let mut state = |time: u64, value: f64| {
            take(&mut table, &watch, time as f64, [(Vec::new(), vec![(time as f64, value)])]);
            let (_, series) = table.all().next().unwrap();
            (series.score, series.alert.peak, table.seen(&watch, time as f64).learning)
        };
        for time in (begin..begin + 82_000).step_by(60) {
            // Of a day and of an outage.
            let outage = (time - begin) / 60 % 400 == 399;
            let (score, peak, learning) =
                state(time, if outage { 5000.0 } else { value(time, f64::from(random.unit())) });
            scored += usize::from(score >= 0.5);
            assert_eq!((peak, learning), (0.0, 1), "{hour}: {} s", time - begin);
        }
        for time in (begin + 82_000..begin + 100_000).step_by(60) {
            state(time, value(time, f64::from(random.unit())));
        }
        let (score, peak, learning) = state(begin + 100_020, 50_000.0);
        assert!(score >= 0.5 && learning == 0);
        alerted += usize::from(peak >= 0.5);
    }
    assert!(scored >= 4, "it is scored meanwhile: {scored}");
    assert_eq!(alerted, 4);
}

#[test]
fn what_is_seen_now_and_then_is_known_later() {
    let (watch, mut table) = (watch(Direction::Both), Table::default());
    // An hour, half a day later another one, and so on: two days of it are not a day.
    let mut time = NOW;
    for _ in 0..4 {
        for _ in 0..60 {
            time += 60;
            take(&mut table, &watch, time as f64, [(Vec::new(), vec![(time as f64, 1.0)])]);
        }
        time += 11 * 3600;
    }
    assert!(!table.all().next().unwrap().1.is_known());
}

#[test]
fn what_is_no_news_changes_nothing() {
    let (watch, mut table) = (watch(Direction::Both), Table::default());
    take(&mut table, &watch, NOW as f64, [(Vec::new(), calm(1440, NOW))]);
    let before = score(&table, NOW);
    let now = NOW as f64;
    let late = [(now, 500.0), (now - 60.0, 500.0), (now + 30.0, f64::NAN), (now + 60.0, f64::INFINITY)];
    take(&mut table, &watch, now, [(Vec::new(), late.to_vec())]);
    assert_eq!(score(&table, NOW), before);
    // Nor has it begun to count as new again.
    assert_eq!(score(&table, NOW + FRESH as u64 + 1), None, "a score of the past is not shown");
}

#[test]
fn series_vanish_and_are_forgotten() {
    let (watch, mut table) = (watch(Direction::Both), Table::default());
    let now = NOW as f64;
    take(&mut table, &watch, now, [(Vec::new(), calm(10, NOW))]);
    assert_eq!(table.counts(now + VANISHED), (1, 0));
    assert_eq!(table.counts(now + VANISHED + 1.0), (0, 0));
    sweep(&mut table, now + FORGOTTEN, &[&watch]);
    assert_eq!(table.len(), 1);
    sweep(&mut table, now + FORGOTTEN + 1.0, &[&watch]);
    assert_eq!(table.len(), 0);
    take(&mut table, &watch, now, [(Vec::new(), calm(10, NOW))]);
    sweep(&mut table, now, &[]);
    assert_eq!(table.len(), 0, "watched no more");
}

#[test]
fn there_is_room_for_so_many_and_the_living_come_first() {
    let mut table = Table::default();
    let now = NOW as f64;
    let some = |from: usize, many: usize, time: f64| {
        (from..from + many).map(move |n| (labels(&[("pod", &n.to_string())]), vec![(time, 1.0)]))
    };
    let first = watch(Direction::Both);
    assert_eq!(take(&mut table, &first, now, some(0, PER_WATCH + 3, now)), 3);
    assert_eq!(table.counts(now), (PER_WATCH, 3));
    // The same ones again are known.
    assert_eq!(take(&mut table, &first, now, some(0, PER_WATCH, now + 30.0)), 0);
    let later = now + 30.0 + VANISHED + 1.0;
    assert_eq!(take(&mut table, &first, later, some(PER_WATCH, 3, later)), 0, "in the place of vanished ones");
    for n in 0..IN_ALL / PER_WATCH + 2 {
        take(&mut table, &Watch { query: n.to_string(), ..first.clone() }, now, some(0, PER_WATCH, now));
        assert!(table.len() <= IN_ALL);
    }
    assert_eq!(table.len(), IN_ALL);
}

#[test]
fn one_that_ended_within_an_answer_leaves_its_place_whole() {
    let (mut table, now) = (Table::default(), NOW as f64);
    let ended =
        (0..PER_WATCH).map(|n| (labels(&[("pod", &n.to_string())]), vec![(now - 2000.0, 1e6), (now - 1970.0, 1e6)]));
    let begun = [(labels(&[("pod", "new")]), calm(10, NOW))];
    assert_eq!(take(&mut table, &watch(Direction::Both), now, ended.chain(begun.clone())), 0);
    let next = |table: &Table| table.all().next().unwrap().1.next.unwrap();
    assert_eq!(table.len(), 1);
    let mut alone = Table::default();
    take(&mut alone, &watch(Direction::Both), now, begun);
    let (found, wanted) = (next(&table), next(&alone));
    // The network is one that has seen others; what this one was is not a million.
    assert!((found.expected - wanted.expected).abs() < 5.0, "{found:?} {wanted:?}");
}

/// A Prometheus that has one calm series, which jumps at a time and falls back at another.
pub(super) async fn server(jump: u64, back: u64) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let query: BTreeMap<_, _> = request.url.query_pairs().collect();
        let number = |name: &str| query[name].parse::<u64>().unwrap();
        let (from, to, step) = (number("start"), number("end"), number("step"));
        let value = |time: u64| {
            if (jump..back).contains(&time) { "100".to_owned() } else { format!("10.{}", (time / 30 * 7) % 10) }
        };
        let values: Vec<Value> =
            (from..=to).step_by(usize::try_from(step).unwrap()).map(|time| json!([time, value(time)])).collect();
        let result = json!([{"metric": {"__name__": "x", "pod": "a\"b"}, "values": values}]);
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    };
    Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
    server
}

pub(super) fn scorer<'a>(url: &str, metrics: &'a Metrics) -> Scorer<'a> {
    Scorer::new(Prometheus::new(http_client().unwrap(), url).unwrap(), metrics, 0, Lease::forever())
}

pub(super) fn present(metrics: &Metrics, now: u64) -> Option<f64> {
    metrics.anomalies().with(0, |shard| score(&shard.table, now))
}

/// The peak of the alert that stays.
pub(super) fn state(metrics: &Metrics, now: u64) -> Option<f64> {
    metrics.anomalies().with(0, |shard| shard.table.fresh(now as f64).map(|(_, series)| series.alert.peak).next())
}

#[tokio::test]
async fn history_is_read_once_and_a_jump_raises_the_score() {
    let jump = NOW + 60;
    let server = server(jump, u64::MAX).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    let watches = || vec![watch(Direction::Up)];
    let present = |now| present(&metrics, now);
    scorer.round(watches(), || NOW).await;
    let requests = server.received_requests().await.unwrap().len();
    assert!((24..=28).contains(&requests), "a day in pieces: {requests}");
    assert!(present(NOW).unwrap() < 0.4);
    scorer.round(watches(), || NOW + 30).await;
    assert_eq!(server.received_requests().await.unwrap().len(), requests + 1);
    assert!(present(NOW + 30).unwrap() < 0.4);
    scorer.round(watches(), || jump).await;
    assert!(present(jump).unwrap() >= 0.5);
    assert_eq!(state(&metrics, jump), present(jump));
    scorer.round(Vec::new(), || jump).await;
    assert_eq!(present(jump), None, "watched no more");
}

#[tokio::test]
async fn an_anomaly_of_the_past_is_learnt_and_not_told() {
    let server = server(NOW - 3600, u64::MAX).await;
    let metrics = Metrics::default();
    scorer(&server.uri(), &metrics).round(vec![watch(Direction::Both)], || NOW).await;
    let present = present(&metrics, NOW).unwrap();
    assert!(present < 0.4, "{present}");
    assert_eq!(state(&metrics, NOW), Some(0.0), "the level of an hour is accepted");
}

#[tokio::test]
async fn a_prometheus_that_fails_raises_nothing() {
    let refusal = json!({"status": "error", "error": "parse error"});
    for answer in [
        ResponseTemplate::new(429),
        ResponseTemplate::new(503),
        ResponseTemplate::new(400).set_body_json(refusal),
        ResponseTemplate::new(200).set_body_string("<html>"),
    ] {
        let up = server(NOW + 30, u64::MAX).await;
        let metrics = Metrics::default();
        let mut scorer = scorer(&up.uri(), &metrics);
        scorer.round(vec![watch(Direction::Both)], || NOW).await;
        let before = present(&metrics, NOW);
        up.reset().await;
        Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&up).await;
        scorer.round(vec![watch(Direction::Both)], || NOW + 60).await;
        assert_eq!(present(&metrics, NOW + 60), before);
        assert_eq!(present(&metrics, NOW + 200), None);
        assert!(metrics.text().contains("plimsoll_anomaly_failures_total 1"), "{}", metrics.text());
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_little_and_all_get_their_turn() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/query_range")).respond_with(ResponseTemplate::new(503)).mount(&server).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    let watches = || (0..20).map(|n| Watch { query: n.to_string(), ..watch(Direction::Both) }).collect::<Vec<_>>();
    let mut rounds = 0;
    while scorer.progress.values().any(|progress| progress.asked == 0) || rounds == 0 {
        rounds += 1;
        assert!(rounds <= 20, "some are never asked");
        scorer.round(watches(), || NOW).await;
    }
    let asked = server.received_requests().await.unwrap().len();
    assert!(asked <= rounds * (ENOUGH + CONCURRENCY), "{asked} in {rounds} rounds");
}

#[tokio::test]
async fn scores_are_exported_while_this_process_leads() {
    let metrics = Metrics::default();
    {
        let _term = Term::begin(metrics.anomalies(), 0, &Lease::forever());
        let watch = watch(Direction::Both);
        let metric = BTreeMap::from([("pod".to_owned(), "a\"b\n".to_owned())]);
        let series = (watch.exported(&metric), calm(200, now()));
        metrics.anomalies().with(0, |shard| take(&mut shard.table, &watch, now() as f64, [series]));
        let text = metrics.text();
        let line = text.lines().find(|line| line.starts_with(names::ANOMALY_SCORE)).unwrap();
        let wanted = r#"plimsoll_anomaly_score{alertrule="shop/checkout",alert="Odd",pod="a\"b\n",container="",endpoint="",instance="",job="",namespace="",service=""} 0"#;
        assert!(line.starts_with(wanted), "{line}");
        assert!(text.contains("\nplimsoll_anomaly_series 1"), "{text}");
        assert!(text.contains("\nplimsoll_anomaly_series_refused 0"), "{text}");
    }
    assert!(!metrics.text().contains(names::ANOMALY_SCORE));
}
