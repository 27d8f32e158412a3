#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::sync::Mutex;

use axum::{
    Json, Router,
    extract::{Path, Query},
    routing::get,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use kube::core::DeserializeGuard;

use super::*;
use crate::runbooks::{dispatch::tests::Given, proof::Sealer};

/// Whether a series was there, so many seconds ago.
type WasThere = fn(i64) -> bool;

/// A Prometheus in which one series was there at certain times, in seconds before now. Whatever is asked but for scores
/// and what is up, there is none.
#[derive(Clone)]
struct Memory {
    url: String,
    was_there: Arc<Mutex<WasThere>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn prometheus(was_there: WasThere) -> (Prometheus, Memory) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let memory = Memory { url: url.clone(), was_there: Arc::new(Mutex::new(was_there)), asked: Arc::default() };
    let served = memory.clone();
    let answer = async |served: Memory, path: Path<String>, query: HashMap<String, String>| {
        served.asked.lock().unwrap().push(format!("{} {}", path.0, query["query"]));
        let metric = json!({"__name__": "up", "pod": "a"});
        let was_there = *served.was_there.lock().unwrap();
        let (kind, result) = if path.0 == "query" {
            let is_there =
                was_there(0) && ["up", "plimsoll_anomaly_score"].iter().any(|it| query["query"].starts_with(it));
            ("vector", if is_there { vec![json!({"metric": metric, "value": [0, "0"]})] } else { Vec::new() })
        } else {
            let number = |name: &str| query[name].parse::<i64>().unwrap();
            let (start, end, step) = (number("start"), number("end"), usize::try_from(number("step")).unwrap());
            let times = (start..=end).step_by(step).filter(|time| was_there(end - time));
            let values: Vec<Value> = times.map(|time| json!([time, "0"])).collect();
            ("matrix", vec![json!({"metric": metric, "values": values})])
        };
        Json(json!({"status": "success", "data": {"resultType": kind, "result": result}}))
    };
    let serve =
        move |path: Path<String>, Query(query): Query<HashMap<String, String>>| answer(served.clone(), path, query);
    let app = Router::new().route("/api/v1/{what}", get(serve));
    tokio::spawn(crate::serving::serve(listener, None, app, crate::serving::Limits::of(8), CancellationToken::new()));
    (Prometheus::new(crate::prometheus::http_client().unwrap(), &url).unwrap(), memory)
}

/// Somebody who begins to lead, with nothing in memory.
fn leader(api: &crate::testing::FakeApi, trigger: &Value, prometheus: &Prometheus) -> Asks {
    let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
    let runbook = given.runbook(|object| {
        object["spec"] = json!({"serviceAccountName": "s", "trigger": trigger, "steps": [{"name": "a", "wait": "1s"}]});
    });
    given.know(runbook);
    let all = kube::runtime::reflector::store().0;
    Asks::new(Arc::new(given.dispatcher), api.client(), prometheus.clone(), true, all)
}

/// One that asks of an execution's own condition as well, and knows what the watch has told.
async fn watching(api: &crate::testing::FakeApi, trigger: &Value, prometheus: &Prometheus, memory: &Memory) -> Asks {
    let mut asks = leader(api, trigger, prometheus);
    let dispatcher = Arc::get_mut(&mut asks.dispatcher).unwrap();
    dispatcher.outside.prometheus = Some(serde_json::from_value(json!({"url": memory.url})).unwrap());
    told(&mut asks).await;
    asks
}

/// The watch tells of all that are stored, and of each the leader keeps little.
async fn told(asks: &mut Asks) {
    let (all, mut writer) = kube::runtime::reflector::store();
    let stored: Api<RunbookExecution> = Api::all(asks.client.clone());
    for execution in stored.list(&ListParams::default()).await.unwrap() {
        let kept = Kept::of(DeserializeGuard(Ok(execution)));
        writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(kept));
    }
    asks.all = all;
}

/// How many executions know that what started them is over.
async fn ended(asks: &Asks) -> usize {
    let stored: Api<RunbookExecution> = Api::all(asks.client.clone());
    let all = stored.list(&ListParams::default()).await.unwrap();
    all.iter().filter(|execution| !ended::is_to_be_told(execution)).count()
}

/// An execution of a time before now, as a leader of before has stored it.
fn earlier(api: &crate::testing::FakeApi, ago: i64) {
    let at = Timestamp::now() - SignedDuration::from_secs(ago);
    let fingerprint = names::fingerprint("Query", &BTreeMap::from([("pod".to_owned(), "a".to_owned())]));
    let trigger = json!({"kind": "Query", "fingerprint": fingerprint, "startsAt": names::whole(at).to_string(),
        "labels": {"pod": "a"}});
    let name = names::execution("restart", "r", &fingerprint, at, "");
    let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"runbook": {"name": "restart", "uid": "r", "generation": 1},
        "mode": "DryRun", "serviceAccountName": "s", "trigger": trigger, "steps": [{"name": "a", "wait": "1s"}],
        "deadline": "1h", "cooldown": "1h"}});
    api.put(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}"), object);
}

fn executions(api: &crate::testing::FakeApi) -> usize {
    api.count("/runbookexecutions/")
}

#[tokio::test]
async fn another_leader_does_not_run_the_same_occurrence_again() {
    let api = crate::testing::FakeApi::default();
    let query = json!({"query": "up == 0"});
    let (prometheus, memory) = prometheus(|_| true).await;
    let mut first = leader(&api, &query, &prometheus);
    first.ask().await;
    first.ask().await;
    assert_eq!(executions(&api), 1);
    leader(&api, &query, &prometheus).ask().await;
    assert_eq!(executions(&api), 1, "it held all the time");
    // An occurrence of an hour ago, and the series was away in between.
    let api = crate::testing::FakeApi::default();
    earlier(&api, 3600);
    api.put_no_execution("broken");
    *memory.was_there.lock().unwrap() = |ago| !(600..1200).contains(&ago);
    let mut next = leader(&api, &query, &prometheus);
    next.ask().await;
    assert_eq!(executions(&api), 3, "it went and came back while nobody led");
    next.ask().await;
    leader(&api, &query, &prometheus).ask().await;
    assert_eq!(executions(&api), 3, "and is the same for the one after");
}

#[tokio::test]
async fn another_leader_goes_on_waiting_and_does_not_wait_less() {
    let query = json!({"query": "up == 0", "for": "10m"});
    let cases: [(WasThere, usize); 3] =
        [(|ago| ago < 300, 1), (|ago| ago < 900, 2), (|ago| !(300..=400).contains(&ago), 1)];
    for (was_there, wanted) in cases {
        let api = crate::testing::FakeApi::default();
        // Of another occurrence, which must not be taken for this one.
        earlier(&api, 7200);
        let (prometheus, _) = prometheus(was_there).await;
        leader(&api, &query, &prometheus).ask().await;
        assert_eq!(executions(&api), wanted);
    }
}

#[tokio::test]
async fn what_cannot_be_known_begins_nothing() {
    let api = crate::testing::FakeApi::default();
    earlier(&api, 60);
    let (good, _) = prometheus(|_| true).await;
    let mut asks = leader(&api, &json!({"query": "up == 0"}), &good);
    let sample: Sample = serde_json::from_value(json!({"metric": {"pod": "a"}, "value": [0, "0"]})).unwrap();
    let known = asks.dispatcher.usable().remove(0);
    // The past cannot be asked for: neither now nor, for that reason, later.
    asks.prometheus = Prometheus::new(crate::prometheus::http_client().unwrap(), "http://127.0.0.1:1").unwrap();
    asks.prometheus = asks.prometheus.with_retries(0);
    asks.series(&known, "up == 0", std::slice::from_ref(&sample)).await;
    assert_eq!(executions(&api), 1);
    asks.prometheus = good;
    asks.series(&known, "up == 0", &[sample]).await;
    assert_eq!(executions(&api), 1, "it held all the time");
}

/// However many series are unusual elsewhere, a runbook asks for its own.
#[tokio::test]
async fn scores_are_asked_for_by_whose_they_are() {
    let (prometheus, memory) = prometheus(|_| true).await;
    for trigger in [json!({"above": "0.9", "slo": "checkout"}), json!({"above": "0.9"})] {
        let api = crate::testing::FakeApi::default();
        leader(&api, &json!({"anomaly": trigger}), &prometheus).ask().await;
    }
    assert_eq!(
        *memory.asked.lock().unwrap(),
        [
            r#"query plimsoll_anomaly_score{slo_id="shop/checkout"} > 0.9"#,
            r#"query plimsoll_anomaly_score{slo_id=~"shop/.+"} > 0.9 or plimsoll_anomaly_score{alertrule=~"shop/.+"} > 0.9"#,
        ]
    );
}

/// A resolved alert stops what has not begun; so do series that have gone. Who is not sure says nothing.
#[tokio::test]
async fn what_has_gone_is_told_to_its_run() {
    let api = crate::testing::FakeApi::default();
    let query = json!({"query": "up == 0"});
    let (prometheus, memory) = prometheus(|_| true).await;
    let mut asks = watching(&api, &query, &prometheus, &memory).await;
    asks.ask().await;
    told(&mut asks).await;
    asks.ask().await;
    assert_eq!((executions(&api), ended(&asks).await), (1, 0), "it holds");
    // Somebody else leads, and has not seen it begin.
    watching(&api, &query, &prometheus, &memory).await.ask().await;
    // The runbook asks for something else by now, and what started the run holds.
    watching(&api, &json!({"query": "down == 1"}), &prometheus, &memory).await.ask().await;
    assert_eq!(ended(&asks).await, 0);
    // Gone, and nobody can say so.
    *memory.was_there.lock().unwrap() = |ago| ago > 0;
    let mut blind = leader(&api, &query, &prometheus);
    told(&mut blind).await;
    blind.ask().await;
    assert_eq!(ended(&asks).await, 0, "its own condition cannot be asked");
    asks.ask().await;
    assert_eq!(ended(&asks).await, 1);
    let writes = api.writes().len();
    told(&mut asks).await;
    asks.ask().await;
    assert_eq!(api.writes().len(), writes, "it is told once");
}

/// Where no Alertmanager tells, whoever finds the SLOs that burn says which do not any more.
#[tokio::test]
async fn an_slo_that_burns_no_more_is_told_to_its_run() {
    let api = crate::testing::FakeApi::default();
    let labels = json!({"alertname": "SLOErrorBudgetBurn", "slo_id": "shop/checkout"});
    let fingerprint = names::fingerprint("Slo", &serde_json::from_value::<BTreeMap<String, String>>(labels).unwrap());
    let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
        "metadata": {"name": "x", "namespace": "shop"}, "spec": {"runbook": {"name": "restart", "uid": "r", "generation": 1},
        "mode": "Auto", "serviceAccountName": "s", "trigger": {"kind": "Slo", "fingerprint": fingerprint,
            "startsAt": "2026-01-01T00:00:00Z", "condition": "ALERTS{slo_id=\"shop/checkout\",alertstate=\"firing\"}"},
        "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}, "status": {"phase": "Running"}});
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/x", object);
    let (prometheus, memory) = prometheus(|_| true).await;
    let trigger = json!({"slo": {"burning": "Page", "names": ["checkout"]}});
    let mut asks = watching(&api, &trigger, &prometheus, &memory).await;
    asks.ask().await;
    asks.ended(None).await;
    assert_eq!(ended(&asks).await, 0, "Alertmanager tells, or nobody knows");
    asks.ended(Some(&HashSet::from([fingerprint]))).await;
    assert_eq!(ended(&asks).await, 0, "it burns");
    asks.has_alerts = false;
    asks.ask().await;
    assert_eq!(ended(&asks).await, 1);
}
