#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use jiff::SignedDuration;
use serde_json::{Value, from_value, json};

use super::*;
use crate::{
    events::Teller,
    operator::metrics::Metrics,
    runbooks::{
        circumstances::Asker,
        dispatch::{WRITTEN_BY, seal, tests::Given},
        lent::FINALIZER,
        proof::{SEAL, Sealer},
    },
    testing::FakeApi,
};

const AT: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/x";
const MONITOR: &str = "/apis/monitoring.coreos.com/v1/namespaces/shop/servicemonitors/checkout";

fn executor(api: &FakeApi) -> Executor {
    executor_of(api, Given::of(api.clone(), Sealer::new([5; 32])))
}

/// With these runbooks.
pub(in crate::runbooks) fn executor_of(api: &FakeApi, given: Given) -> Executor {
    let (client, metrics) = (api.client(), Metrics::new());
    let outside = given.dispatcher.outside.clone();
    let dispatcher = Arc::new(given.dispatcher);
    Executor {
        client: client.clone(),
        asker: Asker::new(client.clone(), Arc::clone(&dispatcher)),
        all: kube::runtime::reflector::store().0,
        watched: Watched::default(),
        dispatcher,
        outside,
        artifacts: ArtifactsConfig::default(),
        switch: Switch::new(client.clone(), "ops", Arc::clone(&metrics)),
        news: News::new(client.clone(), Teller::new(client, "Run"), metrics),
        refusing: Semaphore::new(1),
    }
}

/// An execution that measures more closely since a moment, and that somebody has deleted some minutes ago.
fn borrowed(api: &FakeApi, deleted: Option<i64>) {
    let now = Timestamp::now();
    let ago = |minutes: i64| (now - SignedDuration::from_mins(minutes)).to_string();
    let mut execution = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
        "metadata": {"name": "x", "namespace": "shop", "uid": "u", "creationTimestamp": ago(1), "finalizers": ["theirs", FINALIZER],
            "annotations": {WRITTEN_BY: "ann"}},
        "spec": {"runbook": {"name": "r", "uid": "r", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
            "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": ago(1)}, "target": "monitor",
            "objects": [{"parameter": "monitor", "kind": "ServiceMonitor", "namespace": "shop", "name": "checkout",
                "uid": "m", "facts": {"intervals": ["30s"]}}],
            "steps": [{"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug", "for": "1h", "interval": "5s"}}],
            "deadline": "2h", "cooldown": "1h"},
        "status": {"phase": "Running", "startedAt": ago(1), "steps": [{"name": "a", "intentTime": ago(1), "attempts": 1,
            "finishedAt": ago(1), "outcome": "Succeeded", "leaseUntil": (now + SignedDuration::from_mins(59)).to_string()}]}});
    let typed: RunbookExecution = from_value(execution.clone()).unwrap();
    let sealed = seal(&Sealer::new([5; 32]), "ann", "shop", "x", &typed.spec).unwrap();
    execution["metadata"]["annotations"][SEAL] = json!(sealed);
    if let Some(minutes) = deleted {
        execution["metadata"]["deletionTimestamp"] = json!(ago(minutes));
    }
    api.put(AT, execution);
}

fn monitor(api: &FakeApi, interval: &str) {
    let object = json!({"metadata": {"name": "checkout", "uid": "m"}, "spec": {"endpoints": [{"interval": interval}]}});
    api.put(MONITOR, object);
}

fn finalizers(api: &FakeApi) -> Value {
    api.get(AT).unwrap()["metadata"]["finalizers"].clone()
}

#[tokio::test]
async fn a_deleted_execution_goes_when_what_it_has_borrowed_is_given_back() {
    let api = FakeApi::default();
    borrowed(&api, Some(0));
    monitor(&api, "5s");
    assert_eq!(executor(&api).run("shop", "x", None).await.unwrap(), Next::Never);
    assert!(api.writes().contains(&format!("PATCH {MONITOR}")), "{:?}", api.writes());
    let status = api.get(AT).unwrap()["status"].clone();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Deleted")));
    assert_eq!(status["steps"][0]["compensation"]["outcome"], "Succeeded");
    assert_eq!(finalizers(&api), json!(["theirs"]));
}

#[tokio::test]
async fn what_cannot_be_given_back_keeps_nothing_for_ever() {
    // What was measured is gone, or somebody else has changed it: it is said, and let go.
    for interval in [None, Some("10s")] {
        let api = FakeApi::default();
        borrowed(&api, Some(0));
        if let Some(interval) = interval {
            monitor(&api, interval);
        }
        executor(&api).run("shop", "x", None).await.unwrap();
        assert_eq!(api.get(AT).unwrap()["status"]["reason"], "UndoFailed");
        assert_eq!(finalizers(&api), json!(["theirs"]));
        assert!(!api.writes().contains(&format!("PATCH {MONITOR}")));
    }
    // Whatever it is, after a time nothing more is tried.
    let api = FakeApi::default();
    borrowed(&api, Some(11));
    monitor(&api, "5s");
    assert_eq!(executor(&api).run("shop", "x", None).await.unwrap(), Next::Never);
    assert_eq!(finalizers(&api), json!(["theirs"]));
    assert!(!api.writes().contains(&format!("PATCH {MONITOR}")));
    assert!(api.writes().iter().any(|write| write.ends_with("/events")), "{:?}", api.writes());
}

#[tokio::test]
async fn it_is_held_while_it_has_borrowed_and_let_go_when_it_ends() {
    let api = FakeApi::default();
    borrowed(&api, None);
    monitor(&api, "5s");
    assert!(matches!(executor(&api).run("shop", "x", None).await.unwrap(), Next::Later(_)));
    assert_eq!(finalizers(&api), json!(["theirs", FINALIZER]));
    // The step is to be done: first it is held, then that it will be done is stored.
    let mut new = api.get(AT).unwrap();
    new["metadata"]["finalizers"] = json!([]);
    new["status"] = json!({"phase": "Running", "startedAt": new["status"]["startedAt"]});
    api.put(AT, new);
    monitor(&api, "30s");
    let before = api.writes().len();
    executor(&api).run("shop", "x", None).await.unwrap();
    let writes = api.writes().split_off(before);
    let at = |line: String| writes.iter().position(|write| *write == line);
    let (held, stored) = (at(format!("PATCH {AT}")), at(format!("PUT {AT}/status")));
    assert!(held.is_some() && held < stored && stored < at(format!("PATCH {MONITOR}")), "{writes:?}");
    assert_eq!(finalizers(&api), json!([FINALIZER]));
    // Who led before ended it, and went before it let go.
    let mut ended = api.get(AT).unwrap();
    ended["status"]["phase"] = json!("Succeeded");
    api.put(AT, ended);
    assert_eq!(executor(&api).run("shop", "x", None).await.unwrap(), Next::Never);
    assert_eq!(finalizers(&api), json!([]));
}

/// The key was made anew, or somebody has taken the seal away: what has begun is not called nothing.
#[tokio::test]
async fn what_is_not_sealed_any_more_says_what_it_owes() {
    let unsealed = |phase: &str| {
        let api = FakeApi::default();
        borrowed(&api, None);
        monitor(&api, "5s");
        let mut execution = api.get(AT).unwrap();
        execution["metadata"]["annotations"][SEAL] = json!("of another key");
        execution["status"]["phase"] = json!(phase);
        (api, execution)
    };
    let (api, execution) = unsealed("Running");
    api.put(AT, execution);
    assert_eq!(executor(&api).run("shop", "x", None).await.unwrap(), Next::Never);
    let status = api.get(AT).unwrap()["status"].clone();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Unknown"), &json!("NotSealed")));
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with("look whether what it has borrowed is still there (step a)"), "{message}");
    assert!(!api.writes().contains(&format!("PATCH {MONITOR}")), "nothing is done by what somebody may have changed");
    assert!(api.writes().iter().any(|write| write.ends_with("/events")), "{:?}", api.writes());
    assert_eq!(finalizers(&api), json!(["theirs"]));
    // What never began is Skipped.
    let (api, mut execution) = unsealed("Blocked");
    execution["status"] = json!({"phase": "Blocked"});
    api.put(AT, execution);
    executor(&api).run("shop", "x", None).await.unwrap();
    let status = api.get(AT).unwrap()["status"].clone();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Skipped"), &json!("NotSealed")));
}
