//! The loop against servers that behave in all sorts of ways.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use plimsoll_api::{anomaly::Direction, conditions as c};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use super::tests::{NOW, calm, labels, present, scorer, server, state, take, watch};
use super::*;

/// The bytes of the table, in which everything is.
fn bytes(metrics: &Metrics) -> Vec<u8> {
    metrics.anomalies().with(0, |shard| shard.table.bytes())
}

fn begins(metrics: &Metrics, now: u64) -> bool {
    metrics.anomalies().with(0, |shard| shard.table.fresh(now as f64).any(|(_, series)| series.alert.begins))
}

fn with_state(folder: &Path) -> Metrics {
    let metrics = Metrics::default();
    metrics.anomalies().configure(Options { state: Some(folder.to_owned()), ..Options::default() });
    metrics
}

async fn asked(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn after_kill_nothing_is_read_again_and_no_alert_is_lost_or_doubled() {
    // It jumps, and stays there for five minutes.
    let server = server(NOW + 120, NOW + 420).await;
    let folder = tempfile::tempdir().unwrap();
    let (steady, mut onsets) = (Metrics::default(), [0, 0]);
    let mut one = scorer(&server.uri(), &steady);
    let mut metrics = with_state(folder.path());
    for (turn, now) in (NOW..=NOW + 600).step_by(30).enumerate() {
        one.round(vec![watch(Direction::Up)], || now).await;
        // Every other turn is a new process; the old one was ended without a word.
        if turn % 2 == 1 {
            metrics = with_state(folder.path());
        }
        let mut other = scorer(&server.uri(), &metrics);
        other.restore().await;
        let before = asked(&server).await;
        other.round(vec![watch(Direction::Up)], || now).await;
        if turn > 0 {
            assert_eq!(asked(&server).await, before + 1, "the past is not read again");
        }
        assert!(bytes(&steady) == bytes(&metrics), "in turn {turn}");
        assert_eq!(state(&metrics, now), state(&steady, now));
        for (count, metrics) in onsets.iter_mut().zip([&steady, &metrics]) {
            *count += usize::from(begins(metrics, now));
        }
    }
    assert_eq!(onsets, [1, 1]);
}

#[tokio::test]
async fn state_that_is_refused_is_read_anew_and_replaced() {
    let server = server(u64::MAX, u64::MAX).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shard-0.snapshot"), b"not ours").unwrap();
    for (wanted, what) in [(24..=28, "the past"), (1..=1, "what was stored instead")] {
        let metrics = with_state(folder.path());
        let mut scorer = scorer(&server.uri(), &metrics);
        scorer.restore().await;
        let before = asked(&server).await;
        scorer.round(vec![watch(Direction::Up)], || NOW).await;
        let questions = asked(&server).await - before;
        assert!(wanted.contains(&questions), "{what}: {questions}");
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_stops_nothing() {
    const AHEAD: u64 = 30 * 86_400;
    let value = |time: u64| format!("10.{}", (time / 30 * 7) % 10);
    // Samples as they are, and ones that a query makes of any time.
    for makes in [false, true] {
        let server = MockServer::start().await;
        let answer = move |request: &Request| {
            let query: BTreeMap<_, _> = request.url.query_pairs().collect();
            let number = |name: &str| query[name].parse::<u64>().unwrap();
            let known = move |time: &u64| makes || *time <= NOW + 120;
            let times = (number("start")..=number("end")).step_by(30).filter(known);
            let values: Vec<Value> = times.map(|time| json!([time, value(time)])).collect();
            let result = if values.is_empty() { json!([]) } else { json!([{"metric": {}, "values": values}]) };
            ResponseTemplate::new(200)
                .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
        };
        Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
        let folder = tempfile::tempdir().unwrap();
        let metrics = with_state(folder.path());
        let mut one = scorer(&server.uri(), &metrics);
        one.restore().await;
        one.round(vec![watch(Direction::Both)], || NOW).await;
        one.round(vec![watch(Direction::Both)], || NOW + AHEAD).await;
        one.progress.values_mut().for_each(|progress| progress.again = NOW + AHEAD + 60);
        for now in [NOW + 60, NOW + 90, NOW + 120] {
            one.round(vec![watch(Direction::Both)], || now).await;
            assert!(present(&metrics, now).is_some(), "{makes}: {}", now - NOW);
            let last = metrics.anomalies().with(0, |shard| shard.table.all().next().map(|(_, series)| series.last));
            assert_eq!(last, Some(now as f64), "{makes}");
        }
        let fact = metrics.anomalies().facts().of(Kind::AlertRule, "shop", "checkout").unwrap();
        assert_eq!(fact.reason, c::REASON_SCORING, "{makes}: {}", fact.message);
        // Nor does it after a restart.
        let metrics = with_state(folder.path());
        let mut other = scorer(&server.uri(), &metrics);
        other.restore().await;
        other.round(vec![watch(Direction::Both)], || NOW + 120).await;
        assert!(present(&metrics, NOW + 120).is_some());
    }
}

#[tokio::test]
async fn what_is_stored_stays_until_the_objects_are_listed() {
    let server = server(u64::MAX, u64::MAX).await;
    let folder = tempfile::tempdir().unwrap();
    let of =
        |kind: &str| Watch { labels: labels(&[(kind, "shop/checkout"), ("signal", "total")]), ..watch(Direction::Up) };
    let [slo, rule] = ["slo_id", "alertrule"].map(of);
    let metrics = with_state(folder.path());
    let mut before = scorer(&server.uri(), &metrics);
    before.restore().await;
    before.round(vec![slo.clone(), rule.clone()], || NOW).await;

    // SLOs are listed, AlertRules only later.
    let metrics = with_state(folder.path());
    let mut scorer = scorer(&server.uri(), &metrics);
    scorer.restore().await;
    let known = |metrics: &Metrics| -> Vec<Watch> {
        metrics.anomalies().with(0, |shard| shard.table.watches().cloned().collect())
    };
    let part = |watches: &[&Watch], unlisted: &[Kind]| Wanted {
        watches: watches.iter().map(|watch| (*watch).clone()).collect(),
        unlisted: unlisted.iter().copied().collect(),
        ..Wanted::default()
    };
    scorer.round(part(&[], &Kind::ALL), || NOW + 30).await;
    assert_eq!(known(&metrics).len(), 2);
    scorer.round(part(&[&slo], &[Kind::AlertRule]), || NOW + 60).await;
    assert_eq!(known(&metrics).len(), 2);
    let questions = asked(&server).await;
    scorer.round(part(&[&slo, &rule], &[]), || NOW + 90).await;
    assert_eq!(asked(&server).await, questions + 2, "the past is not read again");
    scorer.round(part(&[&rule], &[Kind::AlertRule]), || NOW + 120).await;
    assert_eq!(known(&metrics), [rule], "all SLOs are known, and it is none of them");
}

/// What a series is at so many seconds after `NOW`, if it has a sample there by then.
type World = fn(at: i64, now: i64) -> Option<String>;

/// Noise between 10 and 11, the same for the same time.
fn usual(at: i64) -> String {
    let mut z = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{}", 10.0 + (z >> 11) as f64 / (1u64 << 53) as f64)
}

/// A server of one series, with a day of the past.
async fn world(value: World, now: &Arc<AtomicU64>) -> MockServer {
    let (server, now) = (MockServer::start().await, Arc::clone(now));
    let answer = move |request: &Request| {
        let query: BTreeMap<_, _> = request.url.query_pairs().collect();
        let number = |name: &str| query[name].parse::<u64>().unwrap();
        let relative = |time: u64| time as i64 - NOW as i64;
        let values: Vec<Value> = (number("start")..=number("end"))
            .step_by(30)
            .filter_map(|time| Some(json!([time, value(relative(time), relative(now.load(SeqCst)))?])))
            .collect();
        let series = json!({"metric": {"pod": "a"}, "values": values});
        let result = if values.is_empty() { json!([]) } else { json!([series]) };
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    };
    Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn series_that_misbehave_alert_nobody() {
    let rounds = (NOW..=NOW + 1800).step_by(30);
    let worlds: [(&str, World, bool); 12] = [
        ("one that is well", |at, _| Some(usual(at)), false),
        ("one that vanishes", |at, _| (at < 300).then(|| usual(at)), false),
        ("one that appears", |at, _| (at >= 300).then(|| usual(at)), false),
        ("one that appears far out", |at, _| (at >= 300).then(|| format!("{}", 1000 + at)), false),
        ("one that comes and goes", |at, _| (at.rem_euclid(900) < 300).then(|| usual(at)), false),
        ("NaN", |at, _| Some(if at == 300 { "NaN".to_owned() } else { usual(at) }), false),
        ("infinite", |at, _| Some(if at >= 300 { "+Inf".to_owned() } else { usual(at) }), false),
        ("no number", |at, _| Some(if at >= 300 { "ten".to_owned() } else { usual(at) }), false),
        ("constant", |_, _| Some("7".to_owned()), false),
        ("four minutes late", |at, now| (at <= now - 240).then(|| usual(at)), false),
        // A slow rise within what is known, of which eight minutes are missing.
        (
            "a gap in a slow wave",
            |at, _| {
                let value = 100.0 + 50.0 * (at as f64 / 3600.0 * std::f64::consts::TAU).sin();
                (!(300..800).contains(&at)).then(|| value.to_string())
            },
            false,
        ),
        ("one that is truly wrong", |at, _| Some(if at >= 300 { "90".to_owned() } else { usual(at) }), true),
    ];
    for (what, value, wanted) in worlds {
        let now = Arc::new(AtomicU64::new(NOW));
        let server = world(value, &now).await;
        let metrics = Metrics::default();
        let mut scorer = scorer(&server.uri(), &metrics);
        let mut alerted = false;
        for time in rounds.clone() {
            now.store(time, SeqCst);
            scorer.round(vec![watch(Direction::Both)], || time).await;
            alerted |= state(&metrics, time).is_some_and(|peak| peak > 0.0);
        }
        assert_eq!(alerted, wanted, "{what}");
        assert!(asked(&server).await <= 28 + rounds.clone().count(), "{what}");
        assert!(metrics.text().contains("plimsoll_anomaly_failures_total 0"), "{what}");
    }
}

#[tokio::test]
async fn late_samples_are_taken_as_if_they_had_come_in_time() {
    let now = Arc::new(AtomicU64::new(NOW));
    let mut ends = Vec::new();
    for value in [(|at, _| Some(usual(at))) as World, |at, now| (at <= now - 240 || now >= 900).then(|| usual(at))] {
        let server = world(value, &now).await;
        let metrics = Metrics::default();
        let mut scorer = scorer(&server.uri(), &metrics);
        for time in (NOW..=NOW + 900).step_by(30) {
            now.store(time, SeqCst);
            scorer.round(vec![watch(Direction::Both)], || time).await;
        }
        ends.push(present(&metrics, NOW + 900));
    }
    assert!(ends[0].is_some());
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn a_series_that_is_reset_is_compared_with_what_it_becomes() {
    // Restarts of a process: a gauge that falls to nothing and grows again, every ten minutes, as it always has.
    let now = Arc::new(AtomicU64::new(NOW));
    let server = world(|at, _| Some(format!("{}", at.rem_euclid(600))), &now).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    for time in (NOW..=NOW + 3600).step_by(30) {
        now.store(time, SeqCst);
        scorer.round(vec![watch(Direction::Both)], || time).await;
        assert_eq!(state(&metrics, time), Some(0.0), "{}", time - NOW);
    }
}

#[tokio::test]
async fn a_server_that_wants_less_is_asked_less() {
    for (code, retry_after, until) in [(429, Some("100"), 120), (503, Some("100"), 120), (429, None, 30)] {
        let server = MockServer::start().await;
        let mut answer = ResponseTemplate::new(code).set_body_string("slow down");
        if let Some(wait) = retry_after {
            answer = answer.insert_header("Retry-After", wait);
        }
        Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
        let metrics = Metrics::default();
        let mut scorer = scorer(&server.uri(), &metrics);
        let watches = || (0..20).map(|n| Watch { query: n.to_string(), ..watch(Direction::Both) }).collect::<Vec<_>>();
        scorer.round(vec![watch(Direction::Both)], || NOW).await;
        assert_eq!(asked(&server).await, 1);
        for now in (NOW + 30..NOW + until).step_by(30) {
            scorer.round(watches(), || now).await;
            assert_eq!(asked(&server).await, 1, "{code} {retry_after:?}: at rest");
        }
        scorer.round(watches(), || NOW + until).await;
        assert_eq!(asked(&server).await, 2, "{code} {retry_after:?}: one at a time, and one refusal is enough");
        let fact = metrics.anomalies().facts().of(Kind::AlertRule, "shop", "checkout").unwrap();
        let wanted = if until > 60 { c::REASON_THROTTLED } else { c::REASON_WAITING };
        assert_eq!(fact.reason, wanted, "{}", fact.message);
    }
}

#[tokio::test]
async fn all_is_asked_again_when_the_server_has_rested() {
    let server = server(u64::MAX, u64::MAX).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    scorer.pace.throttled(NOW, Some(60));
    let watches = || (0..6).map(|n| Watch { query: n.to_string(), ..watch(Direction::Both) }).collect::<Vec<_>>();
    scorer.round(watches(), || NOW + 59).await;
    assert_eq!(asked(&server).await, 0);
    scorer.round(watches(), || NOW + 60).await;
    assert_eq!(scorer.pace, Pace::default());
    assert!(scorer.progress.values().all(|progress| progress.asked == 2));
}

#[tokio::test]
async fn a_partial_answer_is_no_sample_and_what_comes_later_is_read() {
    let server = server(u64::MAX, u64::MAX).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    scorer.round(vec![watch(Direction::Both)], || NOW).await;
    server.reset().await;
    // Half of the stores are away.
    let values: Vec<Value> = (NOW..=NOW + 90).step_by(30).map(|time| json!([time, "5"])).collect();
    let result = json!([{"metric": {"__name__": "x", "pod": "a\"b"}, "values": values}]);
    let warnings = ["receive series from Addr: store-2: rpc error: code = Unavailable"];
    let body = json!({"status": "success", "warnings": warnings, "data": {"resultType": "matrix", "result": result}});
    Mock::given(path("/api/v1/query_range"))
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .mount(&server)
        .await;
    for now in [NOW + 30, NOW + 60, NOW + 90] {
        scorer.round(vec![watch(Direction::Both)], || now).await;
    }
    let fact = metrics.anomalies().facts().of(Kind::AlertRule, "shop", "checkout").unwrap();
    assert_eq!(fact.reason, c::REASON_SOURCE_UNREACHABLE);
    assert!(fact.message.contains("store-2"), "{}", fact.message);
    let last = metrics.anomalies().with(0, |shard| shard.table.all().next().map(|(_, series)| series.last));
    assert_eq!(last, Some(NOW as f64));
}

#[tokio::test]
async fn of_series_with_the_same_labels_one_is_scored_and_it_is_told() {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let query: BTreeMap<_, _> = request.url.query_pairs().collect();
        let number = |name: &str| query[name].parse::<u64>().unwrap();
        let one = |metric: Value, value: &str| {
            let times = (number("start").max(NOW - 600)..=number("end")).step_by(30);
            json!({"metric": metric, "values": times.map(|time| json!([time, value])).collect::<Vec<_>>()})
        };
        let result = json!([
            one(json!({"__name__": "a", "k8s.pod": "x"}), "1"),
            one(json!({"__name__": "a", "k8s_pod": "x"}), "2"),
            one(json!({"__name__": "b", "k8s_pod": "x"}), "3"),
            one(json!({"__name__": "b", "k8s_pod": "y"}), "4"),
        ]);
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    };
    Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    for now in [NOW, NOW + 30] {
        scorer.round(vec![watch(Direction::Both)], || now).await;
    }
    let known = metrics.anomalies().with(0, |shard| {
        let values = shard.table.all().map(|(labels, series)| (labels.last().unwrap().1.clone(), series.value));
        values.collect::<Vec<_>>()
    });
    assert_eq!(known, [("x".to_owned(), 1.0), ("y".to_owned(), 4.0)]);
    let fact = metrics.anomalies().facts().of(Kind::AlertRule, "shop", "checkout").unwrap();
    assert_eq!(fact.reason, c::REASON_INDISTINCT_SERIES, "{}", fact.message);
    assert!(fact.message.contains("about 2 series since"), "{}", fact.message);
    assert!(fact.message.contains("and 2 more that would have the same labels"), "{}", fact.message);
    assert!(metrics.text().contains("\nplimsoll_anomaly_series_indistinct 2\n"), "{}", metrics.text());
    // Nothing of it stays when the query is mended.
    scorer.round(Vec::new(), || NOW + 60).await;
    assert!(metrics.text().contains("\nplimsoll_anomaly_series_indistinct 0\n"), "{}", metrics.text());
}

#[tokio::test]
async fn what_is_refused_is_asked_ever_less_and_holds_nobody_up() {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let query: BTreeMap<_, _> = request.url.query_pairs().collect();
        match query["query"].as_ref() {
            "bad" => ResponseTemplate::new(400).set_body_json(json!({"status": "error", "error": "parse error"})),
            // More than is read of any answer.
            "large" => ResponseTemplate::new(200).set_body_bytes(vec![b' '; (4 << 20) + 1]),
            _ => {
                let values = [json!([query["end"].parse::<u64>().unwrap(), "1"])];
                let result = json!([{"metric": {}, "values": values}]);
                ResponseTemplate::new(200)
                    .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
            }
        }
    };
    Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    let named = |query: &str| Watch {
        labels: labels(&[("alertrule", &format!("shop/{query}")), ("alert", "Odd")]),
        query: query.to_owned(),
        ..watch(Direction::Both)
    };
    let rounds = 20;
    for now in (NOW..NOW + 30 * rounds).step_by(30) {
        scorer.round(["bad", "large", "good"].map(named).to_vec(), || now).await;
    }
    let count = async |wanted: &str| {
        let all = server.received_requests().await.unwrap();
        all.iter()
            .filter(|request| request.url.query_pairs().any(|(name, value)| name == "query" && value == wanted))
            .count()
    };
    assert!((2..=6).contains(&count("bad").await), "{}", count("bad").await);
    assert!((2..=6).contains(&count("large").await), "{}", count("large").await);
    assert!(count("good").await as u64 >= rounds);
    let fact = |name: &str| metrics.anomalies().facts().of(Kind::AlertRule, "shop", name).unwrap();
    assert_eq!(fact("good").reason, c::REASON_LEARNING);
    for (name, wanted) in [("bad", "parse error"), ("large", "its answer is larger than 4 MiB")] {
        assert_eq!(fact(name).reason, c::REASON_QUERY_FAILED);
        assert!(fact(name).message.ends_with(wanted), "{}", fact(name).message);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_told_for_all_and_its_return_too() {
    let away = MockServer::start().await;
    Mock::given(path("/api/v1/query_range")).respond_with(ResponseTemplate::new(502)).mount(&away).await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&away.uri(), &metrics);
    let watches = || -> Vec<Watch> {
        let id = |n: usize| labels(&[("alertrule", &format!("shop/{n}")), ("alert", "Odd")]);
        (0..20).map(|n| Watch { labels: id(n), ..watch(Direction::Both) }).collect()
    };
    for now in [NOW, NOW + 30, NOW + 60] {
        scorer.round(watches(), || now).await;
    }
    let reasons = || -> Vec<&str> {
        (0..20)
            .map(|n| metrics.anomalies().facts().of(Kind::AlertRule, "shop", &n.to_string()).unwrap().reason)
            .collect()
    };
    assert_eq!(reasons(), [c::REASON_SOURCE_UNREACHABLE; 20]);
    let changed = metrics.anomalies().facts().changed().await;
    assert_eq!(changed.len(), 20);
    scorer.round(watches(), || NOW + 90).await;
    let more = metrics.anomalies().facts().changed();
    assert!(futures::FutureExt::now_or_never(more).is_none(), "nothing new, nothing to write");
    away.reset().await;
    let back = json!({"status": "success", "data": {"resultType": "matrix", "result": []}});
    Mock::given(path("/api/v1/query_range"))
        .respond_with(ResponseTemplate::new(200).set_body_json(back))
        .mount(&away)
        .await;
    for now in [NOW + 120, NOW + 150, NOW + 180] {
        scorer.round(watches(), || now).await;
    }
    assert_eq!(reasons(), [c::REASON_NO_SERIES; 20], "an answer without series");
}

#[test]
fn the_most_unusual_series_have_a_band() {
    let metrics = Metrics::default();
    metrics.anomalies().configure(Options { bands: 2, ..Options::default() });
    let (watch, now) = (watch(Direction::Both), now());
    let wild = |mut samples: Vec<(f64, f64)>, value: f64| {
        samples.last_mut().unwrap().1 = value;
        samples
    };
    metrics.anomalies().with(0, |shard| {
        let found = ["a", "b", "c", "d"].map(|pod| {
            let samples = calm(1440, now);
            let value = match pod {
                "b" => 500.0,
                "d" => 11.5,
                _ => 10.3,
            };
            (watch.exported(&BTreeMap::from([("pod".to_owned(), pod.to_owned())])), wild(samples, value))
        });
        take(&mut shard.table, &watch, now as f64, found);
    });
    let text = metrics.text();
    let with = |name: &str| -> Vec<f64> {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(with("plimsoll_anomaly_score").len(), 4);
    assert_eq!(with("plimsoll_anomaly_state").iter().filter(|state| **state > 0.0).count(), 2, "{text}");
    let bands = ["lower", "expected", "upper"].map(|what| with(&format!("plimsoll_anomaly_{what}")));
    for (i, expected) in bands[1].iter().enumerate() {
        assert!(bands[0][i] <= *expected && *expected <= bands[2][i]);
        // What was expected before the sample came, which is calm.
        assert!((9.0..12.0).contains(expected), "{bands:?}");
    }
    assert_eq!(bands.map(|values| values.len()), [2, 2, 2]);
    assert_eq!(with("plimsoll_anomaly_value").len(), 2, "{text}");
    assert!(text.contains("plimsoll_anomaly_upper{alertrule=\"shop/checkout\",alert=\"Odd\",pod=\"b\","), "{text}");

    // On demand: every series, whatever is exported.
    let looked = |series: &[(&str, &str)]| {
        serde_json::to_value(metrics.anomalies().look("shop/checkout", &labels(series))).unwrap()
    };
    let all = looked(&[]);
    let pods: Vec<&str> =
        all["series"].as_array().unwrap().iter().map(|s| s["labels"]["pod"].as_str().unwrap()).collect();
    assert_eq!((pods.len(), pods[0]), (4, "b"), "the most unusual first");
    let one = &looked(&[("pod", "b")])["series"][0];
    assert_eq!((one["value"].as_f64(), one["time"].as_f64()), (Some(500.0), Some(now as f64)));
    assert_eq!(one["since"], one["time"]);
    assert!(one["high"].as_f64() < Some(100.0) && one["next"]["high"].is_f64(), "{one}");
    assert!(metrics.anomalies().look("shop/other", &[]).is_empty());
    assert!(metrics.anomalies().look("shop/checkout", &labels(&[("pod", "x")])).is_empty());
    assert!(metrics.anomalies().look("Odd", &[]).is_empty(), "only objects have ids");
}
