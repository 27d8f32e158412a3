#![allow(clippy::unwrap_used)]
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

fn refused(code: u16) -> ResponseTemplate {
    let error = "query processing would load too many samples into memory in query execution";
    ResponseTemplate::new(code).set_body_json(json!({"status": "error", "errorType": "execution", "error": error}))
}

fn slo(name: &str, total: &str) -> AnyModel {
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
