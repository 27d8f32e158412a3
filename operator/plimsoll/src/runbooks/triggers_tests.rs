#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use jiff::SignedDuration;

use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::{
    actions::Endpoint,
    operator::gate::GateLayer,
    runbooks::dispatch::{Guarded, tests::Given},
    testing::FakeApi,
};

const RUNBOOK: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/restart";

/// What a process does that begins to lead, and that the watch has told of a request, but of no answer yet.
fn looked(api: &FakeApi, change: impl FnOnce(&mut RunRequest)) -> (Triggers, Arc<Dispatcher>) {
    let sealer = Sealer::new([5; 32]);
    let mut request = RunRequest { id: "1".to_owned(), by: "ann".to_owned(), ..RunRequest::default() };
    request.at = Timestamp::now().to_string();
    change(&mut request);
    if request.seal.is_empty() {
        request.seal = sealer.of_run("shop", "restart", &request);
    }
    let mut given = Given::of(api.clone(), sealer);
    let mut runbook = given.runbook(|object| {
        object["spec"] =
            json!({"serviceAccountName": "s", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}],
                "parameters": [{"name": "workload", "object": "Deployment", "default": "checkout"}]});
    });
    let noted = serde_json::to_string(&request).unwrap();
    if let Ok(runbook) = &mut runbook.0 {
        runbook.annotations_mut().insert(RUN.to_owned(), noted);
        let mut stored = serde_json::to_value(&*runbook).unwrap();
        stored["status"] = api.get(RUNBOOK).map_or(json!({}), |before| before["status"].clone());
        api.put(RUNBOOK, stored);
    }
    given.know(runbook);
    let dispatcher = Arc::new(given.dispatcher);
    (Triggers::new(Arc::clone(&dispatcher), api.client()), dispatcher)
}

/// An object that a run may be about.
fn deployment(api: &FakeApi, name: &str) {
    let object = json!({"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {"replicas": 2}});
    api.put(&format!("/apis/apps/v1/namespaces/shop/deployments/{name}"), object);
}

/// What requests were answered, the newest first.
fn answers(api: &FakeApi) -> Vec<Answered> {
    serde_json::from_value(api.get(RUNBOOK).unwrap()["status"]["requests"].clone()).unwrap_or_default()
}

fn executions(api: &FakeApi) -> usize {
    api.count("/runbookexecutions/")
}

/// What was told of requests that nothing came of.
fn told(dispatcher: &Dispatcher) -> Vec<&'static str> {
    let text = dispatcher.metrics.text();
    let reasons = ["RequestTooOld", "RequestNotSealed"];
    reasons.into_iter().filter(|reason| text.contains(&format!("{{reason=\"{reason}\"}} 1"))).collect()
}

/// What Alertmanager is asked for is most when there are most alerts.
#[tokio::test]
async fn a_long_list_of_alerts_is_read_and_one_that_is_not_is_counted() {
    let alert = |n: usize| {
        json!({"labels": {"alertname": "A", "n": n.to_string(), "pad": "x".repeat(1000)}, "annotations": {},
            "startsAt": "2026-11-26T11:59:00.000Z", "endsAt": "2026-11-26T12:04:00.000Z", "fingerprint": "fed0",
            "status": {"state": "active"}})
    };
    let outside = async |body: String| {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string(body)).mount(&server).await;
        let at = || Some(Endpoint { url: server.uri(), tenant: None, bearer_token_file: None });
        let (gate, http) = (GateLayer::open(), crate::prometheus::http_client().unwrap());
        let (alertmanager, prometheus, grafana) = (at(), at(), None);
        (Outside { http, gate, prometheus, alertmanager, grafana, destinations: BTreeMap::new() }, server)
    };
    let (_, dispatcher) = looked(&FakeApi::default(), |_| {});
    let all: Vec<serde_json::Value> = (0..5000).map(alert).collect();
    let all = serde_json::Value::from(all).to_string();
    assert!(all.len() > 4 << 20, "more than any other answer may have");
    let (long, _server) = outside(all).await;
    assert_eq!(ask_alertmanager(&dispatcher, &long, None).await, Ok(()));
    let other = plimsoll_runbook::requests::query_request("up");
    assert!(long.send(&other, &other.path, None).await.is_err(), "other answers are small");

    let (broken, _server) = outside("no list".to_owned()).await;
    let stop = CancellationToken::new();
    dispatcher.resync.notify_one();
    let asking = tokio::spawn(resync(Arc::clone(&dispatcher), broken, None, stop.clone()));
    let counted = async {
        while !dispatcher.metrics.text().contains("plimsoll_alerts_total{outcome=\"not_asked_for\"} 1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
    stop.cancel();
    asking.await.unwrap();
}

#[tokio::test]
async fn a_request_is_looked_after_once_and_what_is_dropped_is_told() {
    let ago = |minutes| {
        move |request: &mut RunRequest| {
            request.at = (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string();
        }
    };
    let api = FakeApi::default();
    deployment(&api, "checkout");
    let (mut triggers, dispatcher) = looked(&api, |_| {});
    triggers.look().await;
    triggers.look().await;
    assert_eq!((executions(&api), triggers.looked_after.len()), (1, 1));
    let answered = answers(&api);
    assert_eq!((answered.len(), answered[0].id.as_str(), &answered[0].message), (1, "1", &None));
    let name = answered[0].execution.clone().unwrap();
    assert!(api.get(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}")).is_some());
    assert_eq!(told(&dispatcher), Vec::<&str>::new());
    // The runbook is gone, and so is what was remembered of it.
    triggers.dispatcher = Arc::new(Given::of(FakeApi::default(), Sealer::new([5; 32])).dispatcher);
    triggers.look().await;
    assert_eq!(triggers.looked_after.len(), 0);

    let (mut triggers, dispatcher) = looked(&FakeApi::default(), ago(11));
    triggers.look().await;
    assert_eq!(told(&dispatcher), ["RequestTooOld"]);
    let (mut triggers, dispatcher) = looked(&FakeApi::default(), |request| request.seal = "made up".to_owned());
    triggers.look().await;
    assert_eq!(told(&dispatcher), ["RequestNotSealed"]);
    // Whoever leads next does not tell of what is long past.
    let (mut triggers, dispatcher) = looked(&FakeApi::default(), ago(2000));
    triggers.look().await;
    assert_eq!(told(&dispatcher), Vec::<&str>::new());
}

/// Nobody asks again, so nothing is begun, however long somebody else leads then and whatever is there by then.
#[tokio::test]
async fn what_was_refused_is_not_started_by_whoever_leads_next() {
    let not_yet = |request: &mut RunRequest| {
        request.parameters = [("workload".to_owned(), "notyet".to_owned())].into();
    };
    let refused = |api: &FakeApi| {
        let answered = answers(api);
        assert_eq!((answered.len(), &answered[0].execution), (1, &None), "{answered:?}");
        assert!(answered[0].message.as_ref().unwrap().contains("there is no Deployment notyet"), "{answered:?}");
    };
    let api = FakeApi::default();
    let (mut triggers, _) = looked(&api, not_yet);
    triggers.look().await;
    refused(&api);
    deployment(&api, "notyet");
    triggers.look().await;
    let (mut next, _) = looked(&api, not_yet);
    next.look().await;
    refused(&api);
    assert_eq!(executions(&api), 0);

    // The answer cannot be stored at first: it stays what it is.
    let api = FakeApi::default();
    let (mut triggers, _) = looked(&api, not_yet);
    api.fail(true);
    triggers.look().await;
    assert_eq!(answers(&api), []);
    api.fail(false);
    deployment(&api, "notyet");
    triggers.look().await;
    refused(&api);
    assert_eq!(executions(&api), 0);

    // Of whom nobody has told what came of it, who leads next looks after; that is what the answer is for.
    let (api, at) = (FakeApi::default(), Timestamp::now().to_string());
    deployment(&api, "checkout");
    api.put_no_execution("broken");
    let same = |request: &mut RunRequest| request.at.clone_from(&at);
    let mut name = String::new();
    for _ in 0..2 {
        let (mut triggers, _) = looked(&api, same);
        triggers.look().await;
        assert_eq!((executions(&api), answers(&api).len()), (2, 1));
        name = answers(&api)[0].execution.clone().unwrap();
        let mut stored = api.get(RUNBOOK).unwrap();
        stored["status"] = json!({});
        api.put(RUNBOOK, stored);
    }
    // What somebody else has made in its place is not what came of it.
    let path = format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}");
    let mut forged = api.get(&path).unwrap();
    forged["metadata"]["annotations"] = json!({});
    api.put(&path, forged);
    let (mut triggers, _) = looked(&api, same);
    triggers.look().await;
    assert_eq!(answers(&api), []);
}

/// Neither a schedule nor a person waits for what others' runbooks ask of a Prometheus that hangs.
#[tokio::test]
async fn nobody_s_request_waits_for_the_query_of_somebody_else() {
    let api = FakeApi::default();
    deployment(&api, "checkout");
    let (_, dispatcher) = looked(&api, |_| {});
    let own = dispatcher.runbooks.state().pop().map(|own| Guarded::clone(&own)).unwrap();
    let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
    let server = given.hanging().await;
    let others: Vec<_> = (1..=12)
        .map(|n| {
            let namespace = format!("m{n}");
            let mut other = given.asking(&namespace, json!({"manual": {}}));
            let mut request = RunRequest { id: "1".to_owned(), by: "eve".to_owned(), ..RunRequest::default() };
            request.at = Timestamp::now().to_string();
            request.seal = Sealer::new([5; 32]).of_run(&namespace, "asks", &request);
            let runbook = other.0.as_mut().unwrap();
            runbook.annotations_mut().insert(RUN.to_owned(), serde_json::to_string(&request).unwrap());
            runbook.metadata.resource_version = Some("2".to_owned());
            let at = format!("/apis/plimsoll.dev/v1alpha1/namespaces/{namespace}/runbooks/asks");
            api.put(&at, serde_json::to_value(&*runbook).unwrap());
            other
        })
        .collect();
    given.know_all(others.into_iter().chain([own]));
    let mut triggers = Triggers::new(Arc::new(given.dispatcher), api.client());
    tokio::time::timeout(Duration::from_secs(9), triggers.look()).await.unwrap();
    assert_eq!((answers(&api).len(), server.received_requests().await.unwrap().len()), (1, 12));
}

#[tokio::test]
async fn two_requests_of_one_second_are_two_runs_and_each_has_its_answer() {
    let (api, at) = (FakeApi::default(), Timestamp::now().to_string());
    deployment(&api, "checkout");
    for id in 1..=12 {
        let (mut triggers, _) = looked(&api, |request| {
            request.id = id.to_string();
            request.at.clone_from(&at);
        });
        triggers.look().await;
    }
    assert_eq!(executions(&api), 12);
    let answered = answers(&api);
    let ids: Vec<&str> = answered.iter().map(|answered| answered.id.as_str()).collect();
    assert_eq!(ids, ["12", "11", "10", "9", "8", "7", "6", "5", "4", "3"]);
    let runs: std::collections::BTreeSet<_> = answered.iter().map(|answered| &answered.execution).collect();
    assert_eq!(runs.len(), ids.len());
}

/// Whoever asks hears what to grant, and that is final: what is granted later starts nothing.
#[tokio::test]
async fn a_run_for_which_a_right_is_missing_says_which() {
    let api = FakeApi::default();
    let message = r#"deployments.apps "checkout" is forbidden: User "system:serviceaccount:ops:plimsoll" cannot impersonate-on:serviceaccount:get resource "deployments" in API group "apps" in the namespace "shop""#;
    let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": message});
    api.refuse("/apis/apps/v1/namespaces/shop/deployments/checkout", status);
    let (mut triggers, _) = looked(&api, |_| {});
    triggers.look().await;
    let answered = answers(&api);
    let wanted = "parameter workload: the operator may not act as ServiceAccount shop/s: grant the operator's ServiceAccount \
                  ops/plimsoll the verb impersonate on serviceaccounts with the resource name s in namespace shop";
    assert_eq!(answered[0].message.as_deref(), Some(wanted));
    assert_eq!(api.notes(), [wanted]);
}
