#![allow(clippy::unwrap_used, clippy::panic)]
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{path, query_param_contains},
};

use super::*;
use crate::prometheus::http_client;

/// A Prometheus that knows nothing, and answers what holds these words with this.
async fn server(words: &str, answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let data = |data| ResponseTemplate::new(200).set_body_json(json!({"status": "success", "data": data}));
    Mock::given(path("/api/v1/query"))
        .and(query_param_contains("query", words))
        .respond_with(answer)
        .mount(&server)
        .await;
    let one = data(json!({"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "1"]}]}));
    Mock::given(path("/api/v1/query")).respond_with(one).mount(&server).await;
    Mock::given(path("/api/v1/rules")).respond_with(data(json!({"groups": []}))).mount(&server).await;
    server
}

pub(super) fn refused(code: u16) -> ResponseTemplate {
    let error = "query processing would load too many samples into memory in query execution";
    ResponseTemplate::new(code).set_body_json(json!({"status": "error", "errorType": "execution", "error": error}))
}

pub(super) fn slo(name: &str, total: &str) -> AnyModel {
    let spec = json!({"objective": "99.9", "sli": {"events": {"bad": "errors_total", "total": total}}});
    let mut slo = plimsoll_api::Slo::new(name, serde_json::from_value(spec).unwrap());
    slo.metadata.namespace = Some("shop".to_owned());
    AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model))
}

fn alert_rule(name: &str, expr: &str) -> AnyModel {
    let spec = json!({"rules": [{"alert": "Down", "expr": expr}]});
    let mut rule = plimsoll_api::AlertRule::new(name, serde_json::from_value(spec).unwrap());
    rule.metadata.namespace = Some("shop".to_owned());
    AnyModel::AlertRule(Box::new(plimsoll_slo::alerts::validate(&rule).unwrap().model))
}

#[tokio::test]
async fn a_refusal_is_of_one_question_and_silences_no_other_object() {
    for code in [400, 422] {
        let server = server("huge", refused(code)).await;
        let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().with_retries(0);
        let mut explainer = Explainer::new(Some(prometheus));
        for model in [slo("wide", "huge_total"), alert_rule("broad", "huge_total > 1")] {
            let refused = explainer.model(&model).await;
            let role = if matches!(model, AnyModel::Slo(_)) { "total" } else { "Down" };
            let line = format!(
                "  ✗ Prometheus refuses to answer for {role}: huge_total: query processing would load too many samples into memory in query execution\n"
            );
            assert!(refused.text.contains(&line), "{}", refused.text);
            assert!(!refused.text.contains("does not answer"), "{}", refused.text);
            assert!(refused.valid && !refused.answered);
        }
        for model in [slo("other", "requests_total"), alert_rule("another", "up == 0")] {
            let other = explainer.model(&model).await;
            assert!(other.answered, "{}", other.text);
            assert!(other.text.contains("matches 1 series"), "{}", other.text);
        }
    }
}

#[tokio::test]
async fn a_server_that_fails_is_not_asked_again() {
    for answer in [ResponseTemplate::new(500), ResponseTemplate::new(429)] {
        let server = server("huge", answer).await;
        let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().with_retries(0);
        let mut explainer = Explainer::new(Some(prometheus));
        assert!(!explainer.model(&slo("wide", "huge_total")).await.answered);
        let asked = server.received_requests().await.unwrap().len();
        let other = explainer.model(&slo("other", "requests_total")).await;
        assert!(other.text.ends_with("  → see above; it was not asked again\n"), "{}", other.text);
        assert_eq!(server.received_requests().await.unwrap().len(), asked);
    }
}

/// The recorded burn rate follows the ratios by minutes, and an alert may fire that it does not show yet.
#[tokio::test]
async fn the_burn_is_that_of_the_alerts() {
    let server = server("nothing of this name", ResponseTemplate::new(500)).await;
    let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap();
    assert!(Explainer::new(Some(prometheus)).model(&slo("cart", "requests_total")).await.answered);
    let asked: Vec<String> = server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .flat_map(|request| request.url.query_pairs().map(|(_, value)| value.into_owned()).collect::<Vec<_>>())
        .collect();
    let burn = "max by (window) (slo:error_ratio:window{slo_id=\"shop/cart\"}) / 0.001";
    assert!(asked.iter().any(|query| query == burn), "{asked:#?}");
    assert!(!asked.iter().any(|query| query.contains("burn_rate")), "{asked:#?}");
}

/// A Prometheus in which what holds these words has this value, or none, and which knows this of its metrics.
pub(super) async fn knows(answers: &[(&str, &str)], others: &[(&str, serde_json::Value)]) -> MockServer {
    let server = MockServer::start().await;
    let data =
        |data: &serde_json::Value| ResponseTemplate::new(200).set_body_json(json!({"status": "success", "data": data}));
    for (words, value) in answers {
        let result = if value.is_empty() {
            json!([])
        } else {
            json!([{"metric": {"job": "cart", "instance": "a:80"}, "value": [1.0, value]}])
        };
        Mock::given(path("/api/v1/query"))
            .and(query_param_contains("query", *words))
            .respond_with(data(&json!({"resultType": "vector", "result": result})))
            .mount(&server)
            .await;
    }
    for (at, what) in others {
        Mock::given(path(*at)).respond_with(data(what)).mount(&server).await;
    }
    let one = json!({"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "1"]}]});
    Mock::given(path("/api/v1/query")).respond_with(data(&one)).mount(&server).await;
    // The rules are there, whatever they are called: what is asked for is told by the names of the request.
    Mock::given(path("/api/v1/rules")).respond_with(refused(422)).mount(&server).await;
    server
}

pub(super) fn of(sli: serde_json::Value) -> AnyModel {
    let mut slo =
        plimsoll_api::Slo::new("cart", serde_json::from_value(json!({"objective": "99.9", "sli": sli})).unwrap());
    slo.metadata.namespace = Some("shop".to_owned());
    AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model))
}

pub(super) async fn explained(server: &MockServer, model: &AnyModel) -> String {
    let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().with_retries(0);
    Explainer::new(Some(prometheus)).model(model).await.text
}

#[tokio::test]
async fn a_gauge_is_no_counter() {
    let of_total = |total: &str| of(json!({"events": {"bad": "errors_total", "total": total}}));
    let gauge = [("/api/v1/metadata", json!({"queue": [{"type": "gauge", "help": "", "unit": ""}]}))];
    let both_gauges = [("/api/v1/metadata", json!({"errors_total": [{"type": "gauge"}]}))];
    let counter = [("/api/v1/metadata", json!({"queue": [{"type": "counter"}]}))];
    let both = [("/api/v1/metadata", json!({"queue": [{"type": "gauge"}, {"type": "counter"}]}))];
    let takes = |name: &str| Some(format!("cart takes a gauge for a counter: {name}, its total.\n"));
    for (total, answers, others, wanted) in [
        ("queue", &[("max(resets(queue[15m]))", "3")][..], &gauge[..], takes("queue")),
        // A counter that its exporter calls a gauge, as many do, and one that is called both.
        ("queue", &[("resets(", "0")], &gauge, None),
        ("queue", &[("resets(", "4")], &both, None),
        // Restarts are no falls of a gauge, however many: the query asks for what does not begin anew.
        ("queue", &[("resets(", "4")], &counter, None),
        ("queue", &[("resets(", "")], &[], None),
        ("queue", &[("max(resets(queue[15m]) >= 5 and min_over_time", "8")], &counter, takes("queue")),
        ("queue", &[("min(queue)", "-3")], &[], takes("queue")),
        ("up{job=\"cart\"}", &[], &[], takes("up")),
        // Where both are, both are told.
        (
            "up",
            &[("resets(errors_total", "3")],
            &both_gauges,
            Some("cart takes gauges for counters: up, its total; errors_total, its bad.\n".to_owned()),
        ),
        ("sum(rate(queue[$window]))", &[("resets(queue", "7")], &[], takes("queue")),
        // No rate is taken of it, so that it may be a gauge.
        ("sum(avg_over_time(queue[$window]))", &[("resets(queue", "7")], &gauge, None),
    ] {
        let server = knows(answers, others).await;
        let text = explained(&server, &of_total(total)).await;
        assert_eq!(
            text.contains("for a counter") || text.contains("for counters"),
            wanted.is_some(),
            "{total} {answers:?}: {text}"
        );
        assert!(text.starts_with(wanted.as_deref().unwrap_or("cart ")), "{text}");
    }
    let server = knows(&[("resets(", "0")], &gauge).await;
    let text = explained(&server, &of_total("queue")).await;
    assert!(
        text.contains("  ! total: the metadata of Prometheus calls queue a gauge; it did not fall in 15m"),
        "{text}"
    );
}

/// With `noData: Bad` the base series go on without the indicator.
#[tokio::test]
async fn what_is_made_up_for_missing_time_is_no_data() {
    for (no_data, own, made_up) in [("Bad", "", true), ("Bad", "1", false), ("Alert", "", false)] {
        let spec = json!({"objective": "99.9", "alerting": {"noData": no_data},
            "sli": {"ratio": {"errors": "sum(rate(errors[$window])) / sum(rate(all[$window]))"}}});
        let slo = plimsoll_api::Slo::new("cart", serde_json::from_value(spec).unwrap());
        let model = AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model));
        let answers = [("> 1.02", ""), ("< -0.02", ""), ("[6h:5m]", ""), ("> bool 0", own)];
        let server = knows(&answers, &[]).await;
        let text = explained(&server, &model).await;
        assert_eq!(text.starts_with("cart has no data: its series are there"), made_up, "{no_data} {own:?}: {text}");
        let line = "  ✗ it has no samples now, and missing time counts as bad (noData: Bad)\n";
        assert_eq!(text.contains(line), made_up, "{text}");
    }
}

#[tokio::test]
async fn a_fraction_is_from_0_to_1() {
    for (sli, answers, wanted) in [
        (
            json!({"ratio": {"errors": "errors:percent"}}),
            [("> 1.02", "5.2"), ("< -0.02", ""), ("[6h:5m]", "")],
            Some(("its ratio.errors is 5.2.", "→ if it is a percentage, divide spec.sli.ratio.errors by 100")),
        ),
        // Of a percentage that is below 1 now, what it was during the last outage.
        (
            json!({"ratio": {"errors": "errors:percent"}}),
            [("> 1.02", ""), ("< -0.02", ""), ("> 2) < Inf)[6h:5m]", "37.29665732328914")],
            Some((
                "its ratio.errors was 37.3 within the last 6h.",
                "→ if it is a percentage, divide spec.sli.ratio.errors by 100",
            )),
        ),
        (
            json!({"up": {"series": "temperature"}}),
            [("> 1.02", "57"), ("< -0.02", ""), ("[6h:5m]", "")],
            Some(("its up.series is 57.", "→ write the condition that is good as spec.sli.timeSlices.good")),
        ),
        (
            json!({"ratio": {"errors": "errors:ratio"}}),
            [("> 1.02", ""), ("< -0.02", "-1"), ("[6h:5m]", "")],
            Some(("its ratio.errors is -1.", "→ write spec.sli.ratio.errors as bad events by all events")),
        ),
        (json!({"ratio": {"errors": "errors:ratio"}}), [("> 1.02", ""), ("< -0.02", ""), ("[6h:5m]", "")], None),
        (json!({"up": {"series": "up{job=\"cart\"}"}}), [("> 1.02", ""), ("< -0.02", ""), ("[6h:5m]", "")], None),
    ] {
        let server = knows(&answers, &[]).await;
        let text = explained(&server, &of(sli)).await;
        match wanted {
            Some((headline, next)) => {
                assert!(text.starts_with(&format!("cart has values that are not from 0 to 1: {headline}\n")), "{text}");
                assert!(text.lines().last().unwrap().trim_start().starts_with(next), "{text}");
            }
            None => assert!(!text.contains("not from 0 to 1"), "{text}"),
        }
    }
}

#[tokio::test]
async fn a_target_that_is_down_is_named() {
    let target = |instance: &str, health: &str, error: &str| {
        json!({"labels": {"job": "cart", "instance": instance}, "scrapeUrl": format!("http://{instance}/metrics"),
            "lastError": error, "health": health})
    };
    let targets = [(
        "/api/v1/targets",
        json!({"activeTargets": [target("b:80", "up", ""), target("a:80", "down", "Get \"http://a:80/metrics\": connection refused")]}),
    )];
    let model = of(json!({"events": {"bad": "errors_total{job=\"cart\"}", "total": "requests_total{job=\"cart\"}"}}));
    let nothing = ("count(requests_total", "");
    for (answers, others, headline, next) in [
        (
            vec![nothing, ("up{job=\"cart\"} == 0", "0")],
            &targets[..],
            "cart has no data: the target of job=\"cart\" is down.",
            "→ see why Prometheus cannot scrape http://a:80/metrics: connection refused",
        ),
        // A compatible server need not tell of targets.
        (
            vec![nothing, ("up{job=\"cart\"} == 0", "0")],
            &[],
            "cart has no data: the target of job=\"cart\" is down.",
            "→ see why Prometheus cannot scrape a:80",
        ),
        (
            vec![("count(requests_total{", ""), ("count(up{job=\"cart\"})", "")],
            &[],
            "cart has no data: its selector for total matches nothing.",
            "→ check the matchers: the metric has 1 series, but none of them fits requests_total{job=\"cart\"}",
        ),
        (
            vec![("requests_total", ""), ("count(up{job=\"cart\"})", "")],
            &[],
            "cart has no data: Prometheus scrapes no target of job=\"cart\".",
            "→ check the name, or let Prometheus scrape it with scrape_configs, a ServiceMonitor or a PodMonitor; the jobs that it scrapes are ",
        ),
        // Of two one is down: the other would have the series.
        (
            vec![("count(requests_total{", ""), ("count(up{job=\"cart\"})", "2"), ("up{job=\"cart\"} == 0", "0")],
            &targets,
            "cart has no data: its selector for total matches nothing.",
            "→ check the matchers",
        ),
        (vec![("count(errors_total", "")], &[], "cart could not be examined wholly", "→ "),
    ] {
        let server = knows(&answers, others).await;
        let text = explained(&server, &model).await;
        assert!(text.starts_with(headline), "{answers:?}: {text}");
        assert!(text.lines().last().unwrap().trim_start().starts_with(next), "{text}");
    }
}

/// An answer of Prometheus.
pub(super) fn vector(result: serde_json::Value) -> ResponseTemplate {
    let data = json!({"resultType": "vector", "result": result});
    ResponseTemplate::new(200).set_body_json(json!({"status": "success", "data": data}))
}

/// Just after the start: half of all events are bad, the short windows are recorded, and nothing else is.
#[tokio::test]
async fn what_was_not_counted_is_no_zero() {
    let server = MockServer::start().await;
    let burn = |window: &str| json!({"metric": {"window": window}, "value": [1.0, "500"]});
    for (words, result) in [
        ("max by (window)", json!([burn("5m"), burn("1h")])),
        ("sum_over_time(", json!([])),
        ("ALERTS", json!([])),
        ("resets(", json!([])),
        ("", json!([{"metric": {}, "value": [1.0, "1"]}])),
    ] {
        let asked = Mock::given(path("/api/v1/query")).and(query_param_contains("query", words));
        asked.respond_with(vector(result)).mount(&server).await;
    }
    Mock::given(path("/api/v1/rules")).respond_with(refused(422)).mount(&server).await;
    let text = explained(&server, &slo("cart", "requests_total")).await;
    for line in [
        "cart burns: over both windows of the fast tier; its bad events are not counted yet.\n",
        "  ✗ tier fast does not fire yet: burn 500.0 over 1h and 500.0 over 5m, threshold 14.4; bad events not counted yet (every 1m), at least 10 needed\n",
        "  · tier medium is not known yet: recorded every 2m\n",
        "  · tier slow is not known yet: recorded every 4m\n",
        "  → its alert fires with at least 10 bad events, which are counted every 1 m; find out what fails",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains(" 0 bad events"), "{text}");
}

#[tokio::test]
async fn what_there_is_instead_is_told() {
    let names = ("/api/v1/label/__name__/values", json!(["parcels_handled_total", "parcels_lost_total", "up"]));
    let jobs = ("/api/v1/label/job/values", json!(["parcels", "parcels15"]));
    let all = [names, jobs];
    let with = |bad: &str, total: &str| of(json!({"events": {"bad": bad, "total": total}}));
    let good = "parcels_handled_total{job=\"parcels\"}";
    for (bad, total, answers, others, line) in [
        (
            "errors_total",
            "parcel_handled_total{job=\"parcels\"}",
            &[("parcel_handled_total", "")][..],
            &all[..],
            "→ check the metric's name and whether Prometheus scrapes it: parcel_handled_total{job=\"parcels\"}; did you mean parcels_handled_total?\n",
        ),
        (
            "errors_total",
            "parcels_handled_total{job=\"parcel\"}",
            &[("job=\"parcel\"", "")],
            &all,
            "none of them fits parcels_handled_total{job=\"parcel\"}; job is one of parcels, parcels15\n",
        ),
        // A server that lists no values.
        (
            "errors_total",
            "parcels_handled_total{job=\"parcel\"}",
            &[("job=\"parcel\"", "")],
            &[],
            "none of them fits parcels_handled_total{job=\"parcel\"}\n",
        ),
        // No errors are as it should be, another job is not.
        (
            "parcels_handled_total{job=\"parcel\",code=~\"5..\"}",
            good,
            &[("job=\"parcel\"", "")],
            &all,
            "matches nothing, which counts as no bad events; job is one of parcels, parcels15; did you mean job=\"parcels\"?\n",
        ),
    ] {
        let mut answers = answers.to_vec();
        answers.push(("== 0", ""));
        let server = knows(&answers, others).await;
        let text = explained(&server, &with(bad, total)).await;
        assert!(text.contains(line), "{line} in\n{text}");
        for request in server.received_requests().await.unwrap() {
            let bounded = request.url.query_pairs().any(|(name, _)| name == "limit");
            assert!(bounded || !request.url.path().contains("/label/"), "{}", request.url);
        }
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_is_a_slip() {
    let of_label =
        |label: &str| of(json!({"events": {"bad": format!("requests_total{{{label}}}"), "total": "requests_total"}}));
    let statuses = [("/api/v1/label/status/values", json!(["200", "500"]))];
    for (label, slip) in [("status=\"5xx\"", true), ("status=~\"500,502\"", true), ("status=\"503\"", false)] {
        let server = knows(&[(label, ""), ("resets(", "")], &statuses).await;
        let text = explained(&server, &of_label(label)).await;
        let line = format!("  ✗ bad: requests_total{{{label}}} matches nothing; status is one of 200, 500\n");
        assert_eq!(text.contains(&line), slip, "{text}");
        assert_eq!(text.starts_with("cart counts no bad events: no status can be what "), slip, "{text}");
    }
}

#[tokio::test]
async fn what_is_no_histogram_is_told() {
    let latency =
        |metric: &str| of(json!({"latency": {"histogram": format!("{metric}{{job=\"cart\"}}"), "threshold": "500ms"}}));
    let typed = |kind: &str| ("/api/v1/metadata", json!({"cart_queue": [{"type": kind}]}));
    let names = (
        "/api/v1/label/__name__/values",
        json!(["cart_queue", "cart_pay_seconds_bucket", "cart_pay_seconds_count", "up"]),
    );
    let near = ("/api/v1/label/__name__/values", json!(["cart_queue", "cart_queues_bucket", "cart_quay"]));
    let native = ("/api/v1/label/__name__/values", json!(["cart_queue", "cart_quay"]));
    let nothing = [("_bucket", ""), ("histogram_count(cart_queue", "")];
    for (answers, others, headline, next) in [
        (
            &nothing[..],
            vec![typed("gauge"), names.clone()],
            "cart takes a gauge for a histogram: cart_queue.",
            "without _bucket; the one of {job=\"cart\"} is cart_pay_seconds",
        ),
        (
            &nothing,
            vec![typed("counter"), near.clone()],
            "cart takes a counter for a histogram: cart_queue.",
            "without _bucket; did you mean cart_queues?",
        ),
        // A name like any other, whose samples are histograms.
        (
            &nothing,
            vec![typed("unknown"), native],
            "cart watches no histogram: cart_queue is none.",
            "without _bucket; did you mean cart_quay?",
        ),
        (&nothing, vec![], "cart watches no histogram: cart_queue is none.", "without _bucket"),
        // One that is native has no buckets and lacks none.
        (&[("_bucket", "")], vec![typed("histogram"), near], "cart could not be examined wholly", ""),
    ] {
        let server = knows(answers, &others).await;
        let text = explained(&server, &latency("cart_queue")).await;
        assert!(text.starts_with(headline), "{answers:?}: {text}");
        assert!(text.trim_end().ends_with(next), "{text}");
        let selector = "histogram: cart_queue_count{job=\"cart\"} or cart_queue{job=\"cart\"} matches 1 series";
        assert_eq!(text.contains(&format!("✓ {selector}")), next.is_empty(), "{text}");
    }
}

/// What was loaded just now for the past is recorded only minutes later.
#[tokio::test]
async fn the_burn_of_a_tier_that_fires_is_counted_anew_where_time_is_excluded() {
    let server = MockServer::start().await;
    let burn = |window: &str| json!({"metric": {"window": window}, "value": [1.0, "500"]});
    for (words, result) in [
        ("max by (window)", json!([burn("5m"), burn("1h"), burn("6h"), burn("30m")])),
        ("group by (burnrate_tier) (ALERTS", json!([{"metric": {"burnrate_tier": "fast"}, "value": [1.0, "1"]}])),
        // As its rules count: none, since all of it is excluded.
        ("max((", json!([])),
        ("ALERTS", json!([])),
        ("resets(", json!([])),
        ("", json!([{"metric": {}, "value": [1.0, "1"]}])),
    ] {
        let asked = Mock::given(path("/api/v1/query")).and(query_param_contains("query", words));
        asked.respond_with(vector(result)).mount(&server).await;
    }
    Mock::given(path("/api/v1/rules")).respond_with(refused(422)).mount(&server).await;
    let now = jiff::Timestamp::now().as_second();
    let at = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap().to_string();
    let exclusions = json!([{"name": "move", "from": at(now - 3600), "to": at(now - 10)}]);
    let spec = json!({"objective": "99.9", "exclusions": exclusions, "sli": {"events": {"bad": "errors_total", "total": "requests_total"}}});
    let mut slo = plimsoll_api::Slo::new("cart", serde_json::from_value(spec).unwrap());
    slo.metadata.namespace = Some("shop".to_owned());
    let model = AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model));
    let text = explained(&server, &model).await;
    let until = at(now - 10 + 300);
    assert!(text.starts_with(&format!("cart is excluded until {until}: the fast tier still fires.\n")), "{text}");
    assert!(text.contains("  ✗ tier fast still fires: no events count over 1h and 5m any more\n"), "{text}");
    assert!(text.contains("the alerts end by themselves: the fast tier is evaluated every 1 m"), "{text}");
}

/// An SLO and an AlertRule whose scores are not there.
#[tokio::test]
async fn scores_that_nobody_scrapes_are_told_in_the_same_words() {
    let spec = json!({"objective": "99.9", "anomaly": {}, "sli": {"events": {"bad": "errors_total", "total": "requests_total"}}});
    let slo = plimsoll_api::Slo::new("cart", serde_json::from_value(spec).unwrap());
    let spec = json!({"rules": [{"alert": "Odd", "anomaly": {"query": "sum(rate(requests_total[5m]))"}}]});
    let rule = plimsoll_api::AlertRule::new("cart", serde_json::from_value(spec).unwrap());
    let models = [
        AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model)),
        AnyModel::AlertRule(Box::new(plimsoll_slo::alerts::validate(&rule).unwrap().model)),
    ];
    for (answers, line) in [
        (
            &[("plimsoll_anomaly", "")][..],
            "  ✗ anomalies: this Prometheus has no scores, so nothing unusual can alert; let it scrape /metrics of Plimsoll",
        ),
        (&[("plimsoll_anomaly_state", "")], "  · anomalies: this Prometheus has no score of it yet"),
    ] {
        let server = knows(answers, &[]).await;
        for model in &models {
            let text = explained(&server, model).await;
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}

#[tokio::test]
async fn the_alert_of_missing_data_is_told() {
    let state =
        |state: &str, part: &str| json!({"metric": {"alertstate": state, "slo_part": part}, "value": [1.0, "1"]});
    let (one, made) = (slo("cart", "requests_total"), of(json!({"composite": {"worstOf": ["a", "b"]}})));
    let (fires, since) = ("  ✗ the alert SLONoData fires: ", " since 2026-11-26T14:40:21Z");
    for (model, states, line) in [
        (
            &one,
            vec![state("pending", "")],
            format!("  · the alert SLONoData is pending{since}: it fires when data are"),
        ),
        (&one, vec![state("firing", "")], format!("{fires}data are missing{since}\n")),
        (&one, vec![], String::new()),
        (&made, vec![state("firing", "b"), state("pending", "a")], format!("{fires}its part b is missing{since}\n")),
        (&made, vec![state("firing", "b"), state("firing", "")], format!("{fires}data are missing")),
        (&made, vec![state("pending", "a"), state("pending", "b")], "when its parts a, b are missing for 15 m".into()),
    ] {
        let server = MockServer::start().await;
        for (words, result) in [
            ("by (alertstate, slo_part) (ALERTS{alertname=\"SLONoData\",slo_id=\"shop/cart\"}", json!(states)),
            ("ALERTS_FOR_STATE{alertname=\"SLONoData\"", json!([{"metric": {}, "value": [1.0, "1795704021"]}])),
            ("", json!([{"metric": {}, "value": [1.0, "1"]}])),
        ] {
            let asked = Mock::given(path("/api/v1/query")).and(query_param_contains("query", words));
            asked.respond_with(vector(result)).mount(&server).await;
        }
        Mock::given(path("/api/v1/rules")).respond_with(refused(422)).mount(&server).await;
        let text = explained(&server, model).await;
        assert_eq!(text.contains("SLONoData"), !line.is_empty(), "{text}");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn a_time_zone_keeps_its_letters() {
    let spec = json!({"objective": "99.9", "period": {"calendar": "Month", "timeZone": "Europe/Berlin"}, "sli": {"up": {"series": "up"}}});
    let slo = plimsoll_api::Slo::new("cart", serde_json::from_value(spec).unwrap());
    let model = plimsoll_slo::validate(&slo).unwrap().model;
    assert_eq!(gather::period(&model.period), "the calendar month in Europe/Berlin");
}

/// Gauges have a value with one sample; rates have none.
#[test]
fn only_rates_need_frequent_scrapes() {
    for (sli, range) in [
        (json!({"timeSlices": {"good": "up{job=\"a\"}"}}), None),
        (json!({"timeSlices": {"good": "sum(rate(a[5m])) > bool 1"}}), Some("1m")),
        (json!({"timeSlices": {"good": "sum(rate(a[$window])) > bool 1", "slice": "5m"}}), None),
        (json!({"up": {"series": "up"}}), None),
    ] {
        let AnyModel::Slo(model) = of(sli.clone()) else { panic!("{sli}") };
        assert_eq!(gather::short_range(&model).map(|range| range.to_string()).as_deref(), range, "{sli}");
    }
}
