//! SLOs with exclusions: time that does not count is not scored, and makes nobody forget what the series are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeMap;

use kube::runtime::watcher::Event as Heard;
use plimsoll_api::{Kind, conditions as c};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use super::{
    tests::{NOW, scorer},
    *,
};
use crate::controller::stored::Stored;

const HOUR: u64 = 3600;
/// The Saturday after the Friday of `NOW`, 00:00 ...
const BEGIN: u64 = NOW + 16 * HOUR;
/// ... and the Monday, with the five minutes whose rates reach back.
const END: u64 = BEGIN + 48 * HOUR + 300;
/// What finds no excluded sample any more, which is found for five minutes.
const BACK: u64 = END + 300;

fn watches() -> Watches {
    let slo: Stored = serde_json::from_value(json!({
        "kind": "SLO",
        "metadata": {"name": "checkout", "namespace": "shop", "generation": 1},
        "spec": {"objective": "99.9", "anomaly": {},
            "sli": {"events": {"bad": "errors_total", "total": "requests_total"}},
            "exclusions": [{"name": "weekend", "every": "Sat 00:00", "for": "2d"}]},
    }))
    .unwrap();
    let mut watches = Watches::default();
    watches.hear(Kind::Slo, Heard::Apply(slo));
    watches
}

#[test]
fn excluded_time_is_not_asked_for() {
    let wanted = |now| watches().of_shard(0, 1, now);
    let query = wanted(NOW).watches[1].query.clone();
    // Seconds since the last Saturday, of a week and of what is excluded of it.
    assert_eq!(
        query,
        "slo:bad_events:rate5m{slo_id=\"shop/checkout\"} and on () (min_over_time(vector((1 - (((time()) + 432000) % 604800 < bool 173100)))[5m:30s]) > 0)"
    );
    assert!(plimsoll_slo::promql::parse(&query, "").is_ok());
    for (now, rests) in [
        (BEGIN - 1, false),
        (BEGIN, true),
        (END - 1, true),
        // Until its series have had the time to come back.
        (BACK + 600, true),
        (END + 1260, false),
    ] {
        let Wanted { watches, resting, .. } = wanted(now);
        assert_eq!(resting, if rests { watches.into_iter().collect() } else { BTreeSet::new() }, "{now}");
    }
}

/// A Prometheus that evaluates these queries: the recorded rates are steady, and 0 in excluded time.
async fn server() -> MockServer {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let query: BTreeMap<_, _> = request.url.query_pairs().collect();
        let number = |name: &str| query[name].parse::<u64>().unwrap();
        let only = query["query"].contains(" and on () (min_over_time(vector(");
        let times = (number("start")..=number("end")).step_by(30);
        let counting = |time: &u64| !only || !(BEGIN..BACK).contains(time);
        let value = |time: u64| {
            // The last sample of that time is found until the next one is recorded.
            if (BEGIN..END + 60).contains(&time) { "0".to_owned() } else { format!("10.{}", (time / 30 * 7) % 10) }
        };
        let values: Vec<Value> = times.filter(counting).map(|time| json!([time, value(time)])).collect();
        let result = if values.is_empty() { json!([]) } else { json!([{"metric": {}, "values": values}]) };
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    };
    Mock::given(path("/api/v1/query_range")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn maintenance_is_no_anomaly_and_nothing_is_forgotten_over_it() {
    let server = server().await;
    let metrics = Metrics::default();
    let mut scorer = scorer(&server.uri(), &metrics);
    let watches = watches();
    let around = |time: u64| (time - 60..=time + 600).step_by(30);
    let times = [NOW].into_iter().chain(around(BEGIN)).chain((BEGIN..END).step_by(3 * 3600)).chain(around(BACK));
    for now in times.chain([BACK + HOUR]) {
        scorer.round(watches.of_shard(0, 1, now), || now).await;
        let (series, alerts) = metrics.anomalies().with(0, |shard| {
            (shard.table.len(), shard.table.all().filter(|(_, series)| series.alert.on || series.score > 0.4).count())
        });
        assert_eq!((series, alerts), (2, 0), "at {now}");
        let fact = metrics.anomalies().facts().of(Kind::Slo, "shop", "checkout").unwrap();
        assert_eq!(fact.reason, c::REASON_SCORING, "at {now}: {}", fact.message);
    }
    let known =
        |time: u64| metrics.anomalies().with(0, |shard| shard.table.fresh(time as f64).all(|(_, s)| s.is_known()));
    assert!(known(BACK + HOUR), "what was known before the weekend is known after it");
}
