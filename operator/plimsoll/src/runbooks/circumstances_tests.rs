#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::sync::Mutex;

use http::{Request, Response};
use http_body_util::Full;
use kube::{client::Body, runtime::reflector::store::Writer};
use serde_json::{Value, from_value, json};

use super::*;
use crate::{
    events::Teller,
    operator::{
        gate::{GateLayer, Lease},
        metrics::Metrics,
    },
    runbooks::{
        dispatch::tests::Given,
        proof::{AUTHOR, Sealer},
    },
};

#[test]
fn a_budget_is_rounded_towards_less() {
    let cases = [("61.3%", Some(61)), ("100%", Some(100)), ("-0.5%", Some(-1)), ("-", None), ("NaN%", None)];
    for (text, wanted) in cases {
        assert_eq!(percent(text), wanted, "{text}");
    }
}

/// An API server with a runbook, its account and its target, where the author has a right or not.
#[derive(Clone)]
struct Server {
    allowed: Arc<Mutex<bool>>,
    asked: Arc<Mutex<Vec<String>>>,
    runbook: Value,
}

impl Server {
    fn new(sealer: &Sealer) -> Self {
        let mut runbook = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
            "metadata": {"name": "r", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {"serviceAccountName": "s", "mode": "Auto", "trigger": {"manual": {}},
                "parameters": [{"name": "node", "object": "Node"}], "steps": [{"name": "a", "wait": "1s"}]}});
        let spec: plimsoll_api::RunbookSpec = from_value(runbook["spec"].clone()).unwrap();
        let mut author = Author { username: "ann".to_owned(), ..Author::default() };
        author.seal = sealer.of_author("shop", "r", &spec, &author).unwrap();
        runbook["metadata"]["annotations"] = json!({AUTHOR: serde_json::to_string(&author).unwrap()});
        Self { allowed: Arc::new(Mutex::new(true)), asked: Arc::default(), runbook }
    }

    fn answer(&self, path: &str) -> Value {
        let kind = path.split('/').rev().nth(1).unwrap();
        self.asked.lock().unwrap().push(kind.to_owned());
        match kind {
            "runbooks" => self.runbook.clone(),
            "serviceaccounts" => json!({"metadata": {"name": "s"}}),
            "nodes" => json!({"metadata": {"name": "n1", "uid": "t"}, "spec": {"unschedulable": true}}),
            // …/authorization.k8s.io/v1/subjectaccessreviews
            _ => json!({"spec": {}, "status": {"allowed": *self.allowed.lock().unwrap()}}),
        }
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(request.uri().path());
            async move { Ok::<_, std::io::Error>(Response::new(Full::from(serde_json::to_vec(&answer).unwrap()))) }
        });
        Client::new(service, "default")
    }

    /// How much was asked since.
    fn asked(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }
}

fn asker(server: &Server, sealer: Sealer) -> Asker {
    let (client, metrics) = (server.client(), Metrics::new());
    let gate = GateLayer { lease: Lease::forever(), metrics: Arc::clone(&metrics) };
    let (prometheus, destinations) = (None, std::collections::BTreeMap::new());
    let outside = Outside {
        http: crate::prometheus::http_client().unwrap(),
        gate,
        prometheus,
        alertmanager: None,
        grafana: None,
        destinations,
    };
    let (runbooks, teller) = (Writer::default().as_reader(), Teller::new(client.clone(), "Run"));
    let dispatcher = Dispatcher::new(client.clone(), runbooks, sealer, Settings::default(), teller, metrics, outside);
    Asker::new(client, Arc::new(dispatcher))
}

/// Before anything is done: of an SLO that neither the cluster has nor Prometheus records, nobody would know whether it
/// helped.
#[tokio::test]
async fn the_slo_of_a_verification_must_be_there() {
    let api = crate::testing::FakeApi::default();
    let prometheus = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        let known = request.uri().query().unwrap_or_default().contains("recorded");
        let series = if known { json!([{"metric": {}, "value": [0, "1"]}]) } else { json!([]) };
        axum::Json(json!({"status": "success", "data": {"resultType": "vector", "result": series}}))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (limits, stop) = (crate::serving::Limits::default(), tokio_util::sync::CancellationToken::new());
    tokio::spawn(crate::serving::serve(listener, None, prometheus, limits, stop));
    let server = Server::new(&Sealer::new([5; 32]));
    let mut outside = asker(&server, Sealer::new([5; 32])).dispatcher.outside.clone();
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/stored", json!({"metadata": {"name": "stored"}}));
    let of = |slo: &str| {
        let mut execution = execution(json!({"name": "a", "wait": "1s"}));
        execution.spec.verify = Some(from_value(json!({"slo": slo})).unwrap());
        execution
    };
    let client = api.client();
    let found = async |outside: &Outside, slo: &str| verifies(&client, outside, &of(slo), "shop").await;
    assert_eq!(found(&outside, "stored").await, [("stored".to_owned(), Some(true))]);
    assert_eq!(found(&outside, "nope").await, [("nope".to_owned(), None)], "there is no Prometheus to ask");
    outside.prometheus = Some(from_value(json!({"url": url})).unwrap());
    assert_eq!(found(&outside, "recorded").await, [("recorded".to_owned(), Some(true))]);
    assert_eq!(found(&outside, "nope").await, [("nope".to_owned(), Some(false))]);
    // Of a step too, and each once.
    let mut both = of("nope");
    both.spec.steps = vec![from_value(json!({"name": "a", "verify": {"slo": "stored"}})).unwrap()];
    let all = verifies(&client, &outside, &both, "shop").await;
    assert_eq!(all, [("nope".to_owned(), Some(false)), ("stored".to_owned(), Some(true))]);
}

fn execution(step: Value) -> RunbookExecution {
    from_value(json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
        "metadata": {"name": "x", "namespace": "shop", "annotations": {WRITTEN_BY: "ann"}},
        "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
            "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"}, "target": "node",
            "objects": [{"parameter": "node", "kind": "Node", "name": "n1", "uid": "t", "facts": {}}],
            "steps": [step], "deadline": "1h", "cooldown": "1h"}}))
    .unwrap()
}

/// The right that is asked for is that of who wrote the runbook as it is now: the steps must be of the same person.
#[tokio::test]
async fn what_somebody_else_wrote_is_told() {
    let sealer = Sealer::new([4; 32]);
    let server = Server::new(&sealer);
    let asker = asker(&server, sealer);
    let mut execution = execution(json!({"name": "a", "cordon": {"node": "node"}}));
    assert_eq!(asker.around(&execution, None, None, Some(false)).await.0.other_author, None);
    execution.annotations_mut().insert(WRITTEN_BY.to_owned(), "mallory".to_owned());
    let (around, _) = asker.around(&execution, None, None, Some(false)).await;
    assert_eq!((around.other_author.as_deref(), around.author_may), (Some("ann"), Some(true)));
}

#[tokio::test]
async fn only_runs_that_change_nothing_share_what_was_just_asked() {
    let sealer = Sealer::new([4; 32]);
    let server = Server::new(&sealer);
    let asker = asker(&server, sealer);
    let tells = execution(json!({"name": "a", "notify": {"destination": "d", "message": "m"}}));
    let cordons = execution(json!({"name": "a", "cordon": {"node": "node"}}));
    let ask = async |execution: &RunbookExecution, seen: Option<Instant>| {
        let (around, runbook) = asker.around(execution, None, seen, Some(false)).await;
        assert!(runbook.is_some_and(|runbook| runbook.is_some()));
        (around.author_may, around.target.flatten().and_then(|facts| facts.unschedulable))
    };
    let now = Some(Instant::now());
    // The runbook, the account, the right and the target.
    assert_eq!((ask(&cordons, now).await, server.asked()), ((Some(true), Some(true)), 4));
    assert_eq!((ask(&tells, None).await, server.asked()), ((Some(true), Some(true)), 4));
    assert_eq!((ask(&tells, None).await, server.asked()), ((Some(true), Some(true)), 1), "only the target");
    assert_eq!((ask(&tells, now).await, server.asked()), ((Some(true), None), 0), "that was seen when it was planned");
    let long_ago = Instant::now().checked_sub(SHARED);
    assert_eq!((ask(&tells, long_ago).await, server.asked()), ((Some(true), Some(true)), 1));
    // A right that is withdrawn.
    *server.allowed.lock().unwrap() = false;
    assert_eq!(ask(&cordons, now).await.0, Some(false), "at once");
    assert_eq!(ask(&tells, now).await.0, Some(true), "not yet");
    let asked = Instant::now();
    loop {
        let began = asked.elapsed();
        if ask(&tells, now).await.0 != Some(true) {
            break;
        }
        assert!(began <= SHARED, "it is not believed for longer");
        tokio::task::yield_now().await;
    }
    // A refusal is not shared.
    *server.allowed.lock().unwrap() = true;
    assert_eq!(ask(&tells, now).await.0, Some(true));
}

/// The SLOs of whoever is hit are asked, beside those of the runbook's own namespace.
#[tokio::test]
async fn a_fault_elsewhere_reads_the_slos_there() {
    let api = crate::testing::FakeApi::default();
    let outside = Given::of(api.clone(), Sealer::new([5; 32])).dispatcher.outside;
    let broken = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "SLO",
        "metadata": {"name": "z", "namespace": "bank"}, "spec": {}, "status": {"budget": "61.3%"}});
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/bank/slos/z", broken);
    for (namespace, name) in [("shop", "checkout"), ("bank", "transfers"), ("zoo", "tickets")] {
        let slo = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "SLO",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"objective": "99.9", "sli": {"events": {"bad": "a", "total": "b"}}},
            "status": {"budget": "61.3%", "conditions": []}});
        api.put(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/{namespace}/slos/{name}"), slo);
    }
    let asked = async |namespace: &str, step: Value| {
        let mut execution = execution(step);
        execution.spec.objects = from_value(json!([{"parameter": "app", "kind": "Deployment", "namespace": namespace,
            "name": "app", "uid": "t", "facts": {}}]))
        .unwrap();
        let found = slos(&api.client(), &outside, &execution.spec, "shop").await.unwrap();
        assert!(found.iter().all(|slo| slo.name != "z" || (slo.burning, slo.budget) == (None, None)), "{found:?}");
        found.into_iter().map(|slo| (slo.namespace, slo.name)).collect::<Vec<_>>()
    };
    let fault = json!({"name": "a", "chaos": {"object": "app", "duration": "30s", "podChaos": {"action": "PodKill"}}});
    let own = (None, "checkout".to_owned());
    let [transfers, broken] = ["transfers", "z"].map(|name| (Some("bank".to_owned()), name.to_owned()));
    assert_eq!(asked("bank", fault.clone()).await, [own.clone(), transfers, broken]);
    assert_eq!(asked("shop", fault).await, [own]);
}

/// Without the watch, executions are listed: those of the same target, and those that have borrowed the same object. What
/// somebody has made that is none hides no other.
#[tokio::test]
async fn who_has_borrowed_the_same_object_is_listed() {
    let api = crate::testing::FakeApi::default();
    let measures = |name: &str, target: &str, monitor: &str| -> RunbookExecution {
        let mut execution =
            execution(json!({"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug"}}));
        execution.metadata.name = Some(name.to_owned());
        execution.metadata.uid = Some(name.to_owned());
        execution.spec.target = Some("app".to_owned());
        execution.spec.objects = from_value(json!([
            {"parameter": "app", "kind": "Deployment", "namespace": "shop", "name": target, "uid": target},
            {"parameter": "monitor", "kind": "ServiceMonitor", "namespace": "shop", "name": monitor, "uid": monitor}]))
        .unwrap();
        execution
    };
    api.put_no_execution("broken");
    let mut acts = serde_json::to_value(measures("first", "checkout", "m")).unwrap();
    acts["status"] = json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/first", acts);
    let busy = async |execution: &RunbookExecution| {
        listed(&api.client(), Some(&Sealer::new([5; 32])), execution).await.unwrap().same_target
    };
    assert_eq!(busy(&measures("second", "cart", "m")).await, ["first"]);
    assert!(busy(&measures("second", "cart", "n")).await.is_empty());
    assert_eq!(busy(&measures("second", "checkout", "n")).await, ["first"]);
}

/// Each of two runbooks keeps its bounds alone; without the watch, who takes Pods of the same workload is listed.
#[tokio::test]
async fn who_takes_pods_of_the_same_workload_is_listed() {
    let api = crate::testing::FakeApi::default();
    let evicts = |name: &str, workload: &str| -> RunbookExecution {
        let mut execution = execution(json!({"name": "a", "evictPod": {"pod": "pod"}}));
        execution.metadata.name = Some(name.to_owned());
        execution.metadata.uid = Some(name.to_owned());
        execution.spec.target = Some("pod".to_owned());
        execution.spec.objects =
            from_value(json!([{"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": name,
            "uid": name, "facts": {"workloadUid": workload, "replicas": 4}}]))
            .unwrap();
        execution
    };
    for (name, workload, phase) in [("first", "w", "Running"), ("waits", "w", "Blocked"), ("other", "v", "Running")] {
        let mut stored = serde_json::to_value(evicts(name, workload)).unwrap();
        stored["status"] = json!({"phase": phase});
        if phase == "Running" {
            stored["status"]["startedAt"] = json!("2026-01-01T00:00:00Z");
        }
        api.put(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}"), stored);
    }
    let found = listed(&api.client(), Some(&Sealer::new([5; 32])), &evicts("second", "w")).await.unwrap();
    let shown: Vec<_> = found.same_workload.iter().map(|past| (past.name.as_str(), past.takes)).collect();
    assert_eq!(shown, [("first", Some(guards::Hits { at_once: 1, in_all: 1 }))]);
    assert!(found.same_target.is_empty());
}

/// What a status says of an SLO is what was last known: while Prometheus does not answer, no SLO is known not to burn.
#[tokio::test]
async fn whether_an_slo_burns_is_asked_of_prometheus_as_well() {
    let api = crate::testing::FakeApi::default();
    for (name, burning) in [("checkout", "False"), ("cart", "False"), ("login", "True")] {
        let condition = json!({"type": "Burning", "status": burning, "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let slo = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "SLO",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"objective": "99.9", "sli": {"events": {"bad": "a", "total": "b"}}},
            "status": {"budget": "61.3%", "conditions": [condition]}});
        api.put(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/{name}"), slo);
    }
    let server = wiremock::MockServer::start().await;
    let mut outside = Given::of(api.clone(), Sealer::new([5; 32])).dispatcher.outside;
    let spec = execution(json!({"name": "a", "wait": "1s"})).spec;
    let client = api.client();
    let burning = async |outside: &Outside| {
        let mut found = slos(&client, outside, &spec, "shop").await.unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.into_iter().map(|slo| slo.burning).collect::<Vec<_>>()
    };
    // By name: cart, checkout, login.
    assert_eq!(burning(&outside).await, [Some(false), Some(false), Some(true)], "there is no Prometheus");
    outside.prometheus = Some(from_value(json!({"url": server.uri()})).unwrap());
    let firing = json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"slo_id": "shop/checkout"}, "value": [0, "1"]}, {"metric": {"slo_id": "bank/cart"}, "value": [0, "1"]}]}});
    let asks = wiremock::matchers::query_param(
        "query",
        r#"ALERTS{alertname="SLOErrorBudgetBurn",alertstate="firing",slo_id=~"(shop)/.+"}"#,
    );
    let answer = wiremock::ResponseTemplate::new(200).set_body_json(firing);
    wiremock::Mock::given(asks).respond_with(answer).mount(&server).await;
    assert_eq!(burning(&outside).await, [Some(false), Some(true), Some(true)], "sooner than the status says so");
    server.reset().await;
    let away = wiremock::ResponseTemplate::new(503);
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(away).mount(&server).await;
    assert_eq!(burning(&outside).await, [None, None, Some(true)]);
}
