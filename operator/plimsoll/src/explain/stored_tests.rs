//! What is said of stored objects that is of the operator's finding, not of this process.
#![allow(clippy::unwrap_used, clippy::panic)]
use kube::Client;
use plimsoll_api::{Slo, conditions as c};
use serde_json::{Value, json};

use super::{tests::knows, *};
use crate::{prometheus::http_client, testing::FakeApi};

/// An SLO of generation 3, valid by itself, of which the operator has said this.
fn slo(sli: &Value, status: &str, reason: &str, message: &str, generation: i64) -> Object {
    let ready = json!({"type": c::READY, "status": status, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": "2026-12-01T00:00:00Z"});
    let slo: Slo = serde_json::from_value(json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": "b", "namespace": "shop", "generation": 3},
        "spec": {"objective": "99.9", "sli": sli},
        "status": {"conditions": [ready], "rules": "PrometheusRule shop/plimsoll-b"}
    }))
    .unwrap();
    Object::Slo(Box::new(slo))
}

async fn explained(object: &Object) -> Explanation {
    let cluster: Client = FakeApi::default().client();
    Explainer::new(None).stored(object, &cluster).await
}

/// No object shows it by itself; who knows all of them has refused it.
#[tokio::test]
async fn a_cycle_is_as_invalid_as_the_operator_says() {
    const CYCLE: &str = "spec.sli.composite: b → a → b is a cycle; remove one of the parts";
    let parts = json!({"composite": {"worstOf": ["a"]}});
    let cycle = explained(&slo(&parts, "False", c::REASON_INVALID, CYCLE, 3)).await;
    assert!(!cycle.valid);
    assert_eq!(
        cycle.text,
        "b is not ready: it is invalid.\n  ✗ spec.sli.composite: b → a → b is a cycle; remove one of the parts\n    its last good rules go on working in PrometheusRule shop/plimsoll-b\n  → remove one of the parts, then apply it again\n"
    );
    // What was said of an edit before this one, or is no longer so, is nobody's problem.
    for said in [
        slo(&parts, "False", c::REASON_INVALID, CYCLE, 2),
        slo(&parts, "Unknown", c::REASON_INVALID, CYCLE, 3),
        slo(&parts, "True", c::REASON_OK, "", 3),
    ] {
        let valid = explained(&said).await;
        assert!(valid.valid && valid.text.contains("✓ valid"), "{}", valid.text);
    }
}

#[tokio::test]
async fn what_keeps_the_operator_from_writing_is_what_is_to_be_resolved() {
    let events = json!({"events": {"bad": "errors_total", "total": "requests_total"}});
    for reason in [c::REASON_FINALIZER_FAILED, c::REASON_LANGUAGE, c::REASON_BACKEND_FAILED] {
        let told = explained(&slo(&events, "False", reason, "it cannot be written", 3)).await;
        assert!(told.text.starts_with("b is not ready: its rules could not be written.\n"), "{}", told.text);
        let next = "  → resolve this, the operator then goes on by itself: it cannot be written\n";
        assert!(told.text.ends_with(next), "{}", told.text);
    }
}

/// A score is shown for two minutes, and time that does not count is not scored.
#[tokio::test]
async fn scores_are_not_missed_in_excluded_time() {
    let events = json!({"events": {"bad": "errors_total", "total": "requests_total"}});
    for (until, missed) in [("2026-01-02T00:00:00Z", true), ("2199-01-01T00:00:00Z", false)] {
        let Object::Slo(mut slo) = slo(&events, "True", c::REASON_OK, "", 3) else { panic!("an SLO") };
        slo.spec.anomaly = Some(serde_json::from_value(json!({})).unwrap());
        let exclusion = json!({"name": "move", "from": "2026-01-01T00:00:00Z", "to": until});
        slo.spec.exclusions = serde_json::from_value(json!([exclusion])).unwrap();
        let server = knows(&[("plimsoll_anomaly_state", "")], &[]).await;
        let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().with_retries(0);
        let cluster: Client = FakeApi::default().client();
        let told = Explainer::new(Some(prometheus)).stored(&Object::Slo(slo), &cluster).await.text;
        assert_eq!(told.contains("no score of it yet"), missed, "{told}");
    }
}
