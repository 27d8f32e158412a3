#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use kube::{core::DeserializeGuard, runtime::watcher::Event};
use plimsoll_runbook::alertmanager::Alert;
use serde_json::{Value, json};

use super::*;
use crate::{
    alerts_webhook::server::{Desk as _, Stored},
    runbooks::{dispatch::tests::Given, execute::tests::executor_of, proof::Sealer},
    testing::FakeApi,
};

const EXECUTIONS: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";
const POD: &str = "/api/v1/namespaces/shop/pods/checkout-1";

/// A cluster in which an alert starts a runbook with one step, whose author may do that or not.
fn cluster(step: &Value, allowed: bool) -> (FakeApi, Arc<Executor>) {
    let api = FakeApi::default();
    let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
    let runbook = given.runbook(|object| {
        object["spec"] = json!({"mode": "Auto", "serviceAccountName": "s", "trigger": {"alert": ["alertname=\"Leaks\""]},
            "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"},
                {"name": "pod", "object": "Pod", "fromLabel": "pod"}], "steps": [step]});
    });
    let stored = serde_json::to_value(runbook.0.as_ref().unwrap()).unwrap();
    given.know(runbook);
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/restart", stored);
    let meta = |name: &str, uid: &str| json!({"name": name, "namespace": "shop", "uid": uid});
    let workload =
        json!({"replicas": 2, "selector": {"matchLabels": {"app": "checkout"}}, "template": {"metadata": {}}});
    api.put(DEPLOYMENT, json!({"metadata": meta("checkout", "d"), "spec": workload, "status": {"readyReplicas": 2}}));
    api.put(POD, json!({"metadata": meta("checkout-1", "p"), "spec": {"containers": [{"name": "app"}]}}));
    api.put("/api/v1/namespaces/shop/serviceaccounts/s", json!({"metadata": {"name": "s", "namespace": "shop"}}));
    let verdict = json!({"status": {"allowed": allowed}});
    api.put("/apis/authorization.k8s.io/v1/subjectaccessreviews/ann", verdict);
    let executor = Arc::new(executor_of(&api, given));
    executor.watched.told(&Ok(Event::Init));
    executor.watched.told(&Ok(Event::InitDone));
    let (hand, _) = tokio::sync::mpsc::channel(1);
    executor.dispatcher.hand_to(hand, &executor);
    (api, executor)
}

async fn alerted(executor: &Executor) -> Result<Stored, String> {
    let labels = [("alertname", "Leaks"), ("deployment", "checkout"), ("pod", "checkout-1")];
    let alert = Alert {
        fingerprint: "f1".to_owned(),
        labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        starts_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        resolved_at: None,
        named: Vec::new(),
    };
    executor.dispatcher.accept(&alert, &crate::trace::received(None)).await.map_err(|error| error.to_string())
}

/// The one execution.
async fn execution(api: &FakeApi) -> RunbookExecution {
    let all: Api<RunbookExecution> = Api::namespaced(api.client(), "shop");
    let mut all = all.list(&Default::default()).await.unwrap().items;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn told(executor: &Executor, execution: &RunbookExecution) {
    executor.watched.told(&Ok(Event::Apply(DeserializeGuard(Ok(execution.clone())))));
}

/// Of these writes, where each stands among all.
fn places(api: &FakeApi, writes: &[String]) -> Vec<Option<usize>> {
    let all = api.writes();
    writes.iter().map(|wanted| all.iter().position(|write| write == wanted)).collect()
}

fn again() -> Value {
    json!({"name": "again", "restart": {"workload": "workload"}})
}

#[tokio::test]
async fn what_nothing_holds_back_begins_with_its_making() {
    let (api, executor) = cluster(&again(), true);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let made = execution(&api).await;
    assert!(made.spec.begun.is_some() && made.status.is_none() && executor.is_sealed(&made));
    // It counts, and who looks at it sees what it is.
    assert_eq!(executor.watched.ledger.page().same_target(&made), Vec::<String>::new());
    let mut seen = made.clone();
    recall(&mut seen);
    assert_eq!(seen.status.unwrap().reason.as_deref(), Some("Started"));

    let name = made.name_any();
    told(&executor, &made);
    executor.run("shop", &name, None).await.unwrap();
    let at = format!("{EXECUTIONS}/{name}");
    let order =
        places(&api, &[format!("POST {EXECUTIONS}"), format!("PATCH {DEPLOYMENT}"), format!("PUT {at}/status")]);
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{:?}", api.writes());
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");
    assert_eq!(status.started_at, made.spec.begun);
}

/// Who made it died, and somebody else leads.
#[tokio::test]
async fn what_was_made_by_another_process_may_have_been_done() {
    let once = json!({"name": "again", "exec": {"pod": "pod", "command": ["true"]}});
    for (step, reason, attempts, acts) in [(again(), "Done", 2, true), (once, "StepUnknown", 1, false)] {
        let (api, executor) = cluster(&step, true);
        assert_eq!(alerted(&executor).await, Ok(Stored::Now));
        let name = execution(&api).await.name_any();
        let next = executor_of(&api, Given::of(api.clone(), Sealer::new([5; 32])));
        next.run("shop", &name, None).await.unwrap();
        let status = execution(&api).await.status.unwrap();
        let found = (status.reason.as_deref(), status.steps[0].effect.attempts);
        assert_eq!(found, (Some(reason), Some(attempts)), "{status:?}");
        assert_eq!(api.writes().contains(&format!("PATCH {DEPLOYMENT}")), acts);
        // Whoever made it, and was only slow, does not do it once more.
        let before = api.writes().len();
        executor.run("shop", &name, None).await.unwrap();
        assert_eq!(api.writes().len(), before, "{:?}", api.writes());
    }
}

#[tokio::test]
async fn what_is_held_back_is_made_as_any_other() {
    let (api, executor) = cluster(&again(), false);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let made = execution(&api).await;
    assert_eq!(made.spec.begun, None);
    executor.run("shop", &made.name_any(), None).await.unwrap();
    let status = execution(&api).await.status.unwrap();
    assert!(status.started_at.is_none() && !api.writes().contains(&format!("PATCH {DEPLOYMENT}")), "{status:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_second_attempt() {
    let (api, executor) = cluster(&again(), true);
    api.lose(EXECUTIONS);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    executor.run("shop", &execution(&api).await.name_any(), None).await.unwrap();
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");

    // What could not be stored counts no more.
    let (api, executor) = cluster(&again(), true);
    api.fail(true);
    assert!(alerted(&executor).await.is_err());
    api.fail(false);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now), "it comes again");
    assert!(execution(&api).await.spec.begun.is_some());
}

/// What takes longer than a moment is said to run: people look at the execution.
#[tokio::test]
async fn what_takes_long_is_said_to_run() {
    let (api, executor) = cluster(&again(), true);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let slow = api.slow(DEPLOYMENT);
    let name = execution(&api).await.name_any();
    let runs = tokio::spawn({
        let (executor, name) = (Arc::clone(&executor), name.clone());
        async move { executor.run("shop", &name, None).await.map(drop) }
    });
    let said = async {
        loop {
            if let Some(status) = execution(&api).await.status {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let status = timeout(Duration::from_secs(10), said).await.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.outcome), (Some("Started"), None));
    while !runs.is_finished() {
        slow.notify_waiters();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    runs.await.unwrap().unwrap();
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");
}
