#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::time::Duration;

use plimsoll_page::runs::{Run, Runs};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::testing::FakeApi;

const SPACE: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop";

fn execution(name: &str) -> Value {
    let template = json!({"spec": {"containers": [{"name": "c", "env": [{"name": "PASSWORD", "value": "secret"}]}]}});
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"plimsoll.dev/runbook": "r"}, "annotations": {"plimsoll.dev/seal": "s"},
            "managedFields": [{"manager": "plimsoll", "operation": "Apply"}]},
        "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Approve", "serviceAccountName": "s",
            "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z",
                "labels": {"slo_id": "shop/a"}},
            "objects": [{"parameter": "workload", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "w",
                "facts": {"containers": ["c"], "template": template}}],
            "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
        "status": {"phase": "Failed", "message": "it did not help", "startedAt": "2026-01-01T00:00:00Z",
            "steps": [{"name": "a", "outcome": "Failed", "message": "why"}]}})
}

fn slo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "SLO", "metadata": {"name": name, "namespace": "shop"},
        "spec": spec})
}

fn pointer<K>(kept: &Kept<K>) -> &Arc<K> {
    kept.object.as_ref().unwrap()
}

#[tokio::test]
async fn views_share_what_is_stored_and_no_more_is_stored_than_they_show() {
    let api = FakeApi::default();
    api.put(&format!("{SPACE}/runbookexecutions/x"), execution("x"));
    api.put(&format!("{SPACE}/runbookexecutions/y"), execution("y"));
    let events = json!({"events": {"bad": "bad_total", "total": "all_total"}});
    api.put(&format!("{SPACE}/slos/a"), slo("a", json!({"objective": "99.9", "sli": events})));
    api.put(&format!("{SPACE}/slos/b"), slo("b", json!({"objective": 7})));
    let (stores, watches) = Stores::new(api.client(), true);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watches.run(stop.clone()));
    let read = async {
        while !stores.complete() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), read).await.unwrap();

    // Two views, and a look at one: the same object.
    let (first, second) = (stores.executions(), stores.executions());
    assert_eq!(first.len(), 2);
    for one in &first {
        let again = second.iter().find(|other| other.name == one.name).unwrap();
        let looked = stores.execution(&one.namespace, &one.name).unwrap();
        assert!(Arc::ptr_eq(pointer(one), pointer(again)) && Arc::ptr_eq(pointer(one), pointer(&looked)));
    }
    assert!(Arc::ptr_eq(pointer(&stores.slo("shop", "a").unwrap()), pointer(&stores.slo("shop", "a").unwrap())));
    assert!(stores.slo("shop", "b").unwrap().object.unwrap_err().contains("it cannot be read"));
    assert!(stores.slo("other", "a").is_none() && stores.execution("shop", "z").is_none());

    // What was left out is not shown.
    let whole: RunbookExecution = serde_json::from_value(execution("x")).unwrap();
    let stored = stores.execution("shop", "x").unwrap();
    let text = serde_json::to_string(pointer(&stored).as_ref()).unwrap();
    for heavy in ["secret", "managedFields", "plimsoll.dev/seal"] {
        assert!(!text.contains(heavy), "{text}");
    }
    assert_eq!(Run::new("shop", "x", pointer(&stored)), Run::new("shop", "x", &whole));
    let listed = |kept: Kept<RunbookExecution>| Runs::new(&[], &[kept], true);
    assert_eq!(listed(stored), listed(Kept::new("shop", "x", whole)));
    stop.cancel();
    watching.await.unwrap();
}
