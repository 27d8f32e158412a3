#![allow(clippy::unwrap_used)]
use plimsoll_slo::AnyModel;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer,
    matchers::{path, query_param_contains},
};

use super::tests::{explained, refused, vector};

fn model(more: &Value) -> AnyModel {
    let mut spec = json!({"objective": "99.9", "sli": {"events": {"bad": "errors_total", "total": "requests_total"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut slo = plimsoll_api::Slo::new("cart", serde_json::from_value(spec).unwrap());
    slo.metadata.namespace = Some("shop".to_owned());
    AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model))
}

async fn server(answers: &[(&str, Value)]) -> MockServer {
    let server = MockServer::start().await;
    for (words, result) in answers {
        let asked = Mock::given(path("/api/v1/query")).and(query_param_contains("query", *words));
        asked.respond_with(vector(result.clone())).mount(&server).await;
    }
    let one = json!([{"metric": {}, "value": [1.0, "1"]}]);
    Mock::given(path("/api/v1/query")).respond_with(vector(one)).mount(&server).await;
    Mock::given(path("/api/v1/rules")).respond_with(refused(422)).mount(&server).await;
    server
}

fn value(value: &str) -> Value {
    json!([{"metric": {}, "value": [1.0, value]}])
}

fn eu(value: &str) -> Value {
    json!([{"metric": {"region": "eu"}, "value": [1.0, value]}])
}

fn burns(long: &str, short: &str) -> Value {
    json!([{"metric": {"window": "1h"}, "value": [1.0, long]}, {"metric": {"window": "5m"}, "value": [1.0, short]}])
}

#[tokio::test]
async fn the_group_that_burns_is_named() {
    let grouped = model(&json!({"groupBy": ["region"]}));
    let (firing, none) = (json!([{"metric": {"burnrate_tier": "fast"}, "value": [1.0, "1"]}]), json!([]));
    let of_eu = [
        ("resets(", none.clone()),
        ("max by (window)", burns("400", "500")),
        ("bottomk(1, ", eu("-2")),
        ("topk(1, ", eu("400")),
        ("count(group by (region) (ALERTS", value("3")),
        ("count((max by (region)", value("1")),
        ("max(slo:error_ratio:window{slo_id=\"shop/cart\",window=\"1h\", region=\"eu\"})", value("40")),
        ("max(slo:error_ratio:window{slo_id=\"shop/cart\",window=\"5m\", region=\"eu\"})", value("30")),
        ("and on (region) slo:error_ratio:window{slo_id=\"shop/cart\", region=\"eu\"}", value("77")),
        ("max((", value("99")),
        ("max(sum", value("99")),
    ];
    for (alerts, headline, line) in [
        (
            firing,
            "cart is burning: the fast tier fires for region=\"eu\" and 2 other groups.\n",
            "  ✗ tier fast fires for region=\"eu\" and 2 other groups: burn 40.0 over 1h and 30.0 over 5m, threshold 14.4; 77 bad events",
        ),
        (
            none.clone(),
            "cart burns: all conditions of the fast tier are met for region=\"eu\", its alert does not fire yet.\n",
            "  ✗ tier fast does not fire yet for region=\"eu\": burn 40.0 over 1h and 30.0 over 5m, threshold 14.4; 77 bad events",
        ),
    ] {
        let mut answers = vec![("group by (burnrate_tier) (ALERTS", alerts)];
        answers.extend(of_eu.clone());
        answers.push(("ALERTS", none.clone()));
        let text = explained(&server(&answers).await, &grouped).await;
        assert!(text.starts_with(headline), "{text}");
        assert!(text.contains(line), "{line} in\n{text}");
        assert!(text.contains("  ✗ budget left for region=\"eu\": -200.0 %\n"), "{text}");
    }
}

/// One group burns over the long window, and another over the short one.
#[tokio::test]
async fn the_windows_of_a_tier_are_of_one_group() {
    let grouped = model(&json!({"groupBy": ["region"]}));
    let answers = [
        ("resets(", json!([])),
        ("max by (window)", burns("400", "500")),
        ("bottomk(1, ", eu("0.5")),
        (" > 14.4", json!([])),
        ("topk(1, ", eu("400")),
        ("max(slo:error_ratio:window{slo_id=\"shop/cart\",window=\"1h\", region=\"eu\"})", value("400")),
        ("max(slo:error_ratio:window{slo_id=\"shop/cart\",window=\"5m\", region=\"eu\"})", value("0.25")),
        ("ALERTS", json!([])),
    ];
    let text = explained(&server(&answers).await, &grouped).await;
    assert!(text.contains("  ✓ tier fast is quiet: burn 400.0 over 1h and 0.2 over 5m"), "{text}");
    assert!(text.contains("    budget left for region=\"eu\": 50.0 %\n"), "{text}");
}

#[tokio::test]
async fn a_budget_of_little_time_says_of_how_much() {
    let rolling = model(&json!({}));
    let month = model(&json!({"period": {"calendar": "Month"}}));
    for (model, covered, budget, line) in [
        (&rolling, "0.0001", "-4.018", "  ✗ budget left: -401.8 %, of the time known so far, about 4m\n"),
        (&rolling, "0.95", "-4.018", "  ✗ budget left: -401.8 %\n"),
        (&rolling, "0.5", "0.25", "    budget left: 25.0 %, of the time known so far, about 15d\n"),
        (&month, "0.5", "0.25", "    budget left: 25.0 %, of the time known so far, about 2h\n"),
    ] {
        let answers = [
            ("resets(", json!([])),
            ("slo:coverage:ratio", value(covered)),
            ("time() - max(slo:period:start", value("14400")),
            ("min(slo:error_budget:remaining_ratio", value(budget)),
            ("ALERTS", json!([])),
        ];
        let text = explained(&server(&answers).await, model).await;
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
