#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use jiff::SignedDuration;

use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::{actions::Endpoint, operator::gate::GateLayer, runbooks::dispatch::tests::Given, testing::FakeApi};

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
            json!({"serviceAccountName": "s", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]});
    });
    let noted = serde_json::to_string(&request).unwrap();
    if let Ok(runbook) = &mut runbook.0 {
        runbook.annotations_mut().insert(RUN.to_owned(), noted);
    }
    given.know(runbook);
    let dispatcher = Arc::new(given.dispatcher);
    (Triggers::new(Arc::clone(&dispatcher), api.client()), dispatcher)
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
    let (mut triggers, dispatcher) = looked(&api, |_| {});
    triggers.look().await;
    triggers.look().await;
    assert_eq!((api.count("/runbookexecutions/"), triggers.looked_after.len()), (1, 1));
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
