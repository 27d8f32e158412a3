#![allow(clippy::unwrap_used)]
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path, query_param},
};

use super::*;

fn client(url: &str) -> Prometheus {
    Prometheus::new(http_client().unwrap(), url).unwrap()
}

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).and(path("/prefix/api/v1/query")).respond_with(answer).mount(&server).await;
    server
}

async fn query(answer: ResponseTemplate) -> Result<Vec<Sample>, PrometheusError> {
    let server = server(answer).await;
    client(&format!("{}/prefix/", server.uri())).with_retries(0).query("up").await
}

#[tokio::test]
async fn the_retention_is_known_where_it_is_told() {
    for (code, body, wanted) in [
        (200, r#"{"status": "success", "data": {"storageRetention": "2w1d"}}"#, Some("15d")),
        (200, r#"{"status": "success", "data": {"storageRetention": "30d or 512GiB"}}"#, Some("30d")),
        (200, r#"{"status": "success", "data": {"storageRetention": "512GiB"}}"#, None),
        (200, r#"{"status": "success", "data": {}}"#, None),
        (404, "404 page not found", None),
    ] {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(code).set_body_string(body);
        Mock::given(wiremock::matchers::path("/api/v1/status/runtimeinfo")).respond_with(answer).mount(&server).await;
        let found = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().retention().await.unwrap();
        assert_eq!(found.map(|span| span.to_string()).as_deref(), wanted, "{body}");
    }
}

#[tokio::test]
async fn vectors_and_scalars_are_read() {
    let vector = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"slo_id": "a/b"}, "value": [1.0, "0.5"]}, {"metric": {}, "value": [1.0, "NaN"]}]}});
    let samples = query(ResponseTemplate::new(200).set_body_json(vector)).await.unwrap();
    assert_eq!(samples.first().map(|s| (s.label("slo_id").to_owned(), s.value())), Some(("a/b".to_owned(), 0.5)));
    assert!(samples.get(1).unwrap().value().is_nan());
    let scalar = serde_json::json!({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "7"]}});
    let samples = query(ResponseTemplate::new(200).set_body_json(scalar)).await.unwrap();
    assert_eq!(samples.first().map(Sample::value), Some(7.0));
}

#[tokio::test]
async fn an_answer_that_lacks_something_is_a_failure_where_that_matters() {
    for (more, lacks) in [
        (r#""infos": ["PromQL info: metric might not be a counter: \"x\" (1:6)"]"#, None),
        (r#""warnings": ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:1)"]"#, None),
        (r#""isPartial": false"#, None),
        (r#""warnings": []"#, None),
        (r#""isPartial": true"#, Some("a part of its storage does not answer")),
        (
            r#""warnings": ["PromQL info: x", "receive series from store-2: Unavailable"]"#,
            Some("receive series from store-2"),
        ),
    ] {
        let server = MockServer::start().await;
        let body = format!(r#"{{"status": "success", {more}, "data": {{"resultType": "matrix", "result": []}}}}"#);
        Mock::given(path("/api/v1/query_range"))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .mount(&server)
            .await;
        let any = client(&server.uri()).with_retries(0);
        assert!(any.query_range("x", 0, 60, 30).await.is_ok(), "{more}");
        let whole = any.for_scoring().query_range("x", 0, 60, 30).await;
        let error = whole.err().map(|error| error.to_string());
        assert_eq!(error.is_some(), lacks.is_some(), "{more} {error:?}");
        assert!(error.unwrap_or_default().contains(lacks.unwrap_or_default()), "{more}");
        let asked = server.received_requests().await.unwrap();
        let says = |request: &wiremock::Request, name: &str| {
            request.url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
        };
        let partial = |at: usize| asked.get(at).and_then(|request| says(request, "partial_response"));
        let denied = |at: usize| asked.get(at).and_then(|request| says(request, "deny_partial_response"));
        assert_eq!((partial(0), denied(0)), (None, None));
        assert_eq!((partial(1).as_deref(), denied(1).as_deref()), (Some("false"), Some("1")));
    }
}

#[tokio::test]
async fn what_the_scorer_reads_is_bounded() {
    let of = |series: usize, length: usize| {
        let one = |n: usize| serde_json::json!({"metric": {"n": n.to_string()}, "values": [[60, "1.5"], [90, "x"]]});
        let result: Vec<_> = (0..series).map(one).collect();
        let mut body =
            serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string();
        body.extend(std::iter::repeat_n(' ', length.saturating_sub(body.len())));
        body
    };
    for (body, wanted) in [
        (of(5000, 0), None),
        (of(1, 4 << 20), None),
        (of(5003, 0), Some("its answer has 5003 series, of which at most 5000 are read")),
        (of(1, (4 << 20) + 1), Some("its answer is larger than 4 MiB")),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/api/v1/query_range"))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .mount(&server)
            .await;
        let any = client(&server.uri()).with_retries(0);
        let all = any.query_range("x", 0, 60, 30).await.unwrap();
        let samples: Vec<(f64, f64)> = all.first().unwrap().samples().collect();
        assert!(
            matches!(samples.as_slice(), [first, (_, none)] if *first == (60.0, 1.5) && none.is_nan()),
            "{samples:?}"
        );
        match (any.for_scoring().query_range("x", 0, 60, 30).await, wanted) {
            (Ok(same), None) => assert_eq!(same.len(), all.len()),
            (Err(error @ PrometheusError::Refused { .. }), Some(wanted)) => {
                assert!(error.to_string().ends_with(wanted), "{error}");
            }
            (other, _) => panic!("{other:?}, not {wanted:?}"),
        }
    }
}

#[tokio::test]
async fn every_failure_names_address_and_cause() {
    let error = serde_json::json!({"status": "error", "error": "parse error: unexpected end"});
    for (answer, refused, wanted) in [
        (ResponseTemplate::new(400).set_body_json(error), true, "parse error: unexpected end"),
        (ResponseTemplate::new(429).set_body_string("slow down"), false, "429 Too Many Requests slow down"),
        (ResponseTemplate::new(503).set_body_string("starting"), false, "503 Service Unavailable starting"),
        (ResponseTemplate::new(401).set_body_string("who?"), true, "401 Unauthorized who?"),
        (
            ResponseTemplate::new(404).set_body_string("\n<!DOCTYPE html>\n<html><head>long</head></html>"),
            true,
            "404 Not Found (with a web page: this is not the API of a Prometheus)",
        ),
        (ResponseTemplate::new(200).set_body_string("<html>"), true, "not the API of a Prometheus"),
        (ResponseTemplate::new(200).set_body_bytes(vec![b' '; MAX_BYTES + 1]), true, "larger than 16 MiB"),
    ] {
        let error = query(answer).await.unwrap_err();
        assert_eq!(matches!(error, PrometheusError::Refused { .. }), refused, "{error}");
        let text = error.to_string();
        assert!(text.starts_with("http://127.0.0.1:") && text.contains(wanted), "{text}");
    }
    let error = client("http://127.0.0.1:1").with_retries(0).query("up").await.unwrap_err().to_string();
    assert!(error.starts_with("http://127.0.0.1:1 does not answer: "), "{error}");
    assert!(error.contains("refused"), "{error}");
    assert!(Prometheus::new(http_client().unwrap(), "prometheus:9090").is_err());
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_a_refusal_is_not() {
    for (code, wanted) in [(StatusCode::BAD_GATEWAY, 3), (StatusCode::BAD_REQUEST, 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let app = Router::new().fallback(get(move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            code.into_response()
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let limits = crate::serving::Limits::default();
        tokio::spawn(crate::serving::serve(listener, None, app, limits, tokio_util::sync::CancellationToken::new()));
        assert!(client(&url).query("up").await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), wanted);
    }
}

#[tokio::test]
async fn many_groups_are_many_short_requests() {
    let server = MockServer::start().await;
    let group = |name: &str| serde_json::json!({"name": name, "rules": [{"name": "r", "health": "ok"}]});
    let body =
        serde_json::json!({"status": "success", "data": {"groups": [group("g-0"), group("g-499"), group("theirs")]}});
    Mock::given(method("GET"))
        .and(path("/api/v1/rules"))
        .and(query_param("exclude_alerts", "true"))
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .mount(&server)
        .await;
    let names: Vec<String> = (0..500).map(|i| format!("g-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = client(&server.uri()).groups(&names).await.unwrap();
    let found: Vec<&str> = found.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(found, ["g-0", "g-499"], "each group is counted in the answer that asked for it");
    let requests = server.received_requests().await.unwrap();
    assert!(requests.len() > 1);
    assert!(requests.iter().all(|request| request.url.as_str().len() < 8000));
}

#[test]
fn a_group_is_idle_by_its_own_interval() {
    let now: jiff::Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
    for (last, interval, wanted) in [
        ("2027-01-15T07:59:40Z", 30.0, None),
        ("2027-01-15T07:55:30Z", 30.0, None),
        ("2027-01-15T07:54:59Z", 30.0, Some(Idle::Since("2027-01-15T07:54:59Z".parse().unwrap()))),
        ("2027-01-15T07:49:00Z", 240.0, None),
        ("2027-01-15T07:47:00Z", 240.0, Some(Idle::Since("2027-01-15T07:47:00Z".parse().unwrap()))),
        ("0001-01-01T00:00:00Z", 30.0, Some(Idle::Never)),
        // Its clock is ahead of ours, or it does not say when.
        ("2027-01-15T09:00:00Z", 30.0, None),
        ("", 0.0, None),
        ("never", f64::NAN, None),
    ] {
        let group = LoadedGroup { interval, last_evaluation: last.to_owned(), ..LoadedGroup::default() };
        assert_eq!(group.idle(now), wanted, "{last} {interval}");
    }
}

/// Whose clock is right does not matter: an answer bears the time of who wrote it.
#[tokio::test]
async fn idleness_is_told_by_the_server_s_clock() {
    let server = MockServer::start().await;
    let groups = serde_json::json!({"status": "success", "data": {"groups": [
        {"name": "g", "interval": 30, "lastEvaluation": "2020-01-15T08:00:00.5Z", "rules": []},
        {"name": "h", "interval": 30, "lastEvaluation": "2020-01-15T07:00:00Z", "rules": []}]}});
    let answer =
        ResponseTemplate::new(200).set_body_json(groups).insert_header("date", "Wed, 15 Jan 2020 08:00:30 GMT");
    Mock::given(path("/api/v1/rules")).respond_with(answer).mount(&server).await;
    let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap();
    let idle: Vec<_> = prometheus.groups(&["g", "h"]).await.unwrap().into_iter().map(|group| group.idle).collect();
    assert_eq!(idle, [None, Some(Idle::Since("2020-01-15T07:00:00Z".parse().unwrap()))]);
}
