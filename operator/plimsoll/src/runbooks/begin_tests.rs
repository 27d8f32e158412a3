#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use kube::{core::DeserializeGuard, runtime::watcher::Event};
use plimsoll_api::execution::Phase;
use plimsoll_runbook::alertmanager::Alert;
use serde_json::{Value, json};

use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

use super::*;
use crate::{
    actions::outside::Endpoint,
    alerts_webhook::server::{Desk as _, Stored},
    runbooks::{
        dispatch::tests::Given,
        execute::{MOMENT, tests::executor_of},
        proof::Sealer,
    },
    testing::FakeApi,
};

const EXECUTIONS: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";
const POD: &str = "/api/v1/namespaces/shop/pods/checkout-1";

/// A cluster in which an alert starts a runbook with one step, whose author may do that or not.
async fn cluster(step: &Value, allowed: bool) -> (FakeApi, Arc<Executor>, MockServer) {
    let api = FakeApi::default();
    let prometheus = prometheus().await;
    let mut given = given(&api, &prometheus);
    let runbook = given.runbook(|object| {
        object["spec"] = json!({"mode": "Auto", "serviceAccountName": "s", "trigger": {"alert": ["alertname=\"Leaks\""]},
            "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"},
                {"name": "pod", "object": "Pod", "fromLabel": "pod"}], "steps": [step]});
        if step.get("exec").is_some() {
            object["spec"]["artifacts"] = json!({"volume": "evidence"});
        }
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
    (api, executor, prometheus)
}

/// One in which every alert holds, and a destination of messages.
async fn prometheus() -> MockServer {
    let server = MockServer::start().await;
    let one =
        json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "1"]}]}});
    Mock::given(path("/hook")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(one))
        .with_priority(9)
        .mount(&server)
        .await;
    server
}

/// How often somebody was told.
async fn messages(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().iter().filter(|request| request.url.path() == "/hook").count()
}

fn given(api: &FakeApi, prometheus: &MockServer) -> Given {
    let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
    let at = |path: &str| Endpoint { url: prometheus.uri() + path, tenant: None, bearer_token_file: None };
    given.dispatcher.outside.prometheus = Some(at(""));
    given.dispatcher.outside.destinations.insert("on-call".to_owned(), at("/hook"));
    given.dispatcher.settings.destinations.push("on-call".to_owned());
    given.dispatcher.settings.volumes.push("evidence".to_owned());
    given
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

fn tell() -> Value {
    json!({"name": "tell", "notify": {"destination": "on-call", "message": "$(workload) is in trouble"}})
}

#[tokio::test]
async fn what_nothing_holds_back_begins_with_its_making() {
    let (api, executor, prometheus) = cluster(&tell(), true).await;
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let made = execution(&api).await;
    assert!(made.spec.begun.is_some() && made.status.is_none() && executor.unsealed(&made).is_none());
    // It counts, and who looks at it sees what it is.
    assert_eq!(executor.watched.ledger.page().same_target(&made), Vec::<String>::new());
    let mut seen = made.clone();
    recall(&mut seen);
    assert_eq!(seen.status.unwrap().reason.as_deref(), Some("Started"));

    let name = made.name_any();
    told(&executor, &made);
    assert_eq!(messages(&prometheus).await, 0, "first it is stored");
    executor.run("shop", &name, None).await.unwrap();
    let stored = format!("PUT {EXECUTIONS}/{name}/status");
    let often = api.writes().iter().filter(|write| **write == stored).count();
    assert_eq!((messages(&prometheus).await, often), (1, 1));
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");
    assert_eq!(status.started_at, made.spec.begun);
}

/// Who made it died, and somebody else leads.
#[tokio::test]
async fn what_was_made_by_another_process_may_have_been_done() {
    let once = json!({"name": "again", "exec": {"pod": "pod", "command": ["true"]}});
    for (step, reason, attempts, acts) in [(tell(), "Done", 2, 1), (once, "StepUnknown", 1, 0)] {
        let (api, executor, prometheus) = cluster(&step, true).await;
        assert_eq!(alerted(&executor).await, Ok(Stored::Now));
        let name = execution(&api).await.name_any();
        let next = executor_of(&api, given(&api, &prometheus));
        next.run("shop", &name, None).await.unwrap();
        let status = execution(&api).await.status.unwrap();
        let found = (status.reason.as_deref(), status.steps.first().and_then(|step| step.effect.attempts));
        assert_eq!(found, (Some(reason), Some(attempts)), "{status:?}");
        // Whoever made it, and was only slow, does not do it once more.
        executor.run("shop", &name, None).await.unwrap();
        assert_eq!(messages(&prometheus).await, acts);
    }
}

/// Who saves an execution and makes it anew, seal and all, makes nobody do anything, or undo it.
#[tokio::test]
async fn what_is_made_anew_of_one_that_has_begun_is_a_copy() {
    for (is_next, days) in [(false, 0), (true, 1)] {
        let (api, executor, prometheus) = cluster(&tell(), true).await;
        assert_eq!(alerted(&executor).await, Ok(Stored::Now));
        let mut copy = execution(&api).await;
        let name = copy.name_any();
        executor.run("shop", &name, None).await.unwrap();
        assert_eq!(execution(&api).await.status.unwrap().reason.as_deref(), Some("Done"));
        let at = format!("{EXECUTIONS}/{name}");
        api.remove(&at);
        let made = Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        (copy.metadata.uid, copy.metadata.creation_timestamp) = (Some("another".to_owned()), Some(Time(made)));
        api.put(&at, serde_json::to_value(&copy).unwrap());
        let runs = if is_next { Arc::new(executor_of(&api, given(&api, &prometheus))) } else { executor };
        runs.run("shop", &name, None).await.unwrap();
        let status = execution(&api).await.status.unwrap();
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::Unknown, Some("Copied")));
        assert!(status.steps.is_empty() && status.started_at.is_none(), "{status:?}");
        assert_eq!(messages(&prometheus).await, 1);
    }
}

/// Who knows what a run will be called makes something under its name first, so that there is none.
#[tokio::test]
async fn what_somebody_has_made_under_the_name_of_a_run_makes_room_for_it() {
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let made = execution(&api).await;
    let at = format!("{EXECUTIONS}/{}", made.name_any());
    let forged = async |begun: bool, status: Value| {
        let (api, executor, _prometheus) = cluster(&tell(), true).await;
        let mut forged = serde_json::to_value(&made).unwrap();
        (forged["metadata"]["uid"], forged["metadata"]["annotations"], forged["status"]) =
            (json!("forged"), json!({}), status);
        if !begun {
            forged["spec"]["begun"] = Value::Null;
        }
        api.put(&at, forged);
        let stored = alerted(&executor).await;
        let found = execution(&api).await;
        let is_made = found.uid().as_deref() != Some("forged") && executor.unsealed(&found).is_none();
        assert!(api.notes().iter().any(|note| note.contains("bears no seal of the operator's")), "{:?}", api.notes());
        (stored, is_made)
    };
    let refused = |phase: &str| json!({"phase": phase, "reason": "NotSealed", "finishedAt": "2026-01-01T00:00:00Z"});
    for (begun, status) in
        [(false, Value::Null), (true, Value::Null), (false, refused("Skipped")), (true, refused("Unknown"))]
    {
        assert_eq!(forged(begun, status).await, (Ok(Stored::Now), true));
    }
    // One that ran under a key of before is none to be repeated.
    let ran = json!({"phase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"});
    assert_eq!(forged(false, ran).await, (Ok(Stored::Before), false));
}

/// The API server does not look into steps: what cannot even be read is no run, and counts for none.
#[tokio::test]
async fn what_is_no_execution_makes_room_for_the_run_of_its_name() {
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let made = execution(&api).await;
    let at = format!("{EXECUTIONS}/{}", made.name_any());
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    api.put_no_execution(&made.name_any());
    // Who has made it keeps it from going: it is asked for again, and nothing waits for what was not made.
    let held = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "in use"});
    let delete = format!("DELETE {at}");
    api.refuse(&delete, held);
    assert!(alerted(&executor).await.is_err());
    let mut other = made.clone();
    other.metadata.name = Some("other".to_owned());
    assert_eq!(executor.watched.ledger.page().history(&other, Vec::new()).len(), 0);
    api.allow(&delete);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let found = execution(&api).await;
    assert!(found.name_any() == made.name_any() && executor.unsealed(&found).is_none(), "{found:?}");
    let why =
        "bears no seal of the operator's: it cannot be read (missing field `name`); it was removed, and the run made";
    assert!(api.notes().iter().any(|note| note.ends_with(why)), "{:?}", api.notes());
    // One that has run, of another version, is none to be repeated.
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    api.put_no_execution(&made.name_any());
    let mut ran = api.get(&at).unwrap();
    ran["status"] = json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
    api.put(&at, ran.clone());
    assert_eq!(alerted(&executor).await, Ok(Stored::Before));
    assert_eq!(api.get(&at).unwrap()["spec"], ran["spec"]);
}

#[tokio::test]
async fn what_is_held_back_is_made_as_any_other() {
    let (api, executor, prometheus) = cluster(&tell(), false).await;
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let made = execution(&api).await;
    assert_eq!(made.spec.begun, None);
    executor.run("shop", &made.name_any(), None).await.unwrap();
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.started_at.is_none(), messages(&prometheus).await), (true, 0), "{status:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_second_attempt() {
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    api.lose(EXECUTIONS);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    executor.run("shop", &execution(&api).await.name_any(), None).await.unwrap();
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");

    // What could not be stored counts no more.
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    api.fail(true);
    assert!(alerted(&executor).await.is_err());
    api.fail(false);
    assert_eq!(alerted(&executor).await, Ok(Stored::Now), "it comes again");
    assert!(execution(&api).await.spec.begun.is_some());
}

/// Neither the making was answered nor the question after it.
#[tokio::test]
async fn what_may_have_been_made_counts_until_that_is_known() {
    let (api, executor, _prometheus) = cluster(&tell(), true).await;
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    let name = execution(&api).await.name_any();

    let (api, executor, prometheus) = cluster(&tell(), true).await;
    let at = format!("{EXECUTIONS}/{name}");
    api.lose(EXECUTIONS);
    let away =
        json!({"kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "away"});
    api.refuse(&at, away);
    assert!(alerted(&executor).await.is_err());
    let made = execution(&api).await;
    let mut other = made.clone();
    other.metadata.name = Some("other".to_owned());
    let counted = |execution: &RunbookExecution| executor.watched.ledger.page().history(execution, Vec::new()).len();
    assert_eq!(counted(&other), 1);
    assert!(alerted(&executor).await.is_err(), "it comes again, and nobody knows yet what has its name");
    assert_eq!(counted(&other), 1);

    api.allow(&at);
    assert_eq!(alerted(&executor).await, Ok(Stored::Before));
    assert_eq!(counted(&other), 1);
    executor.run("shop", &name, None).await.unwrap();
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");
    assert_eq!(messages(&prometheus).await, 1);
}

/// What takes longer than a moment is said to run: people look at the execution.
#[tokio::test]
async fn what_takes_long_is_said_to_run() {
    let (api, executor, prometheus) = cluster(&tell(), true).await;
    assert_eq!(alerted(&executor).await, Ok(Stored::Now));
    prometheus.reset().await;
    let slow = ResponseTemplate::new(200).set_delay(MOMENT * 3);
    Mock::given(path("/hook")).respond_with(slow).mount(&prometheus).await;
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
    runs.await.unwrap().unwrap();
    let status = execution(&api).await.status.unwrap();
    assert_eq!((status.reason.as_deref(), status.steps[0].effect.attempts), (Some("Done"), Some(1)), "{status:?}");
}
