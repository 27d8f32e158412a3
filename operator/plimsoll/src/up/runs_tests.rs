#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::Path;

use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;
use crate::prometheus::http_client;

struct Ground {
    _server: MockServer,
    folder: tempfile::TempDir,
    runs: Runs,
    shelf: Arc<Shelf>,
    told: Arc<Mutex<Vec<String>>>,
}

/// Runbooks of which one alert can start the first, with a Prometheus in which everything holds.
async fn ground_of(mode: &str) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    let one =
        json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "1"]}]}});
    let answer = ResponseTemplate::new(200).set_body_json(one);
    Mock::given(path("/api/v1/query")).respond_with(answer).mount(&server).await;
    let http = http_client().unwrap();
    let prometheus = Prometheus::new(http.clone(), &server.uri()).unwrap();
    let (say, told) = Say::to_test();
    let shelf = Arc::<Shelf>::default();
    let data = Arc::new(Data::open(Some(folder.path()), Path::new(".")).unwrap());
    let runs = Runs::new(data, Arc::clone(&shelf), prometheus, http, say);
    let runbook = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
        "metadata": {"name": "restart", "namespace": "shop", "uid": "u"},
        "spec": {"mode": mode, "serviceAccountName": "runbooks", "target": "workload",
            "trigger": {"alert": ["alertname=\"Down\""]},
            "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"}],
            "steps": [{"name": "again", "restart": {"workload": "workload"}}]}});
    let runbook = serde_json::from_value(runbook).unwrap();
    let valid = plimsoll_runbook::validate(&runbook).map_err(|p| plimsoll_api::problem::summary(&p)).unwrap();
    runs.know(vec![valid.model], HashMap::new());
    Ground { _server: server, folder, runs, shelf, told }
}

fn alert(deployment: &str, second: i64) -> Alert {
    let labels = [("alertname", "Down"), ("namespace", "shop"), ("deployment", deployment)];
    let labels: BTreeMap<String, String> = labels.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let fingerprint = names::fingerprint("Alert", &labels);
    Alert {
        fingerprint,
        labels,
        starts_at: Timestamp::from_second(second).unwrap(),
        resolved_at: None,
        named: Vec::new(),
    }
}

#[tokio::test]
async fn an_alert_is_planned_stored_and_told_once_and_nothing_is_sent() {
    let ground = ground_of("Auto").await;
    let alert = alert("checkout", 1_790_000_000);
    assert_eq!(ground.runs.take(&alert).await.unwrap(), Stored::Now);
    assert_eq!(ground.runs.take(&alert).await.unwrap(), Stored::Before);
    let all = ground.runs.stored();
    assert_eq!(all.len(), 1);
    let status = all[0].status.clone().unwrap();
    assert_eq!((all[0].spec.mode, status.phase), (Mode::DryRun, Phase::Succeeded));
    assert_eq!(status.message.as_deref(), Some("it would have been done: again"));
    assert_eq!(all[0].spec.objects[0].name, "checkout");
    assert_eq!(
        *ground.told.lock().unwrap(),
        ["Runbook shop/restart: dry run for alert Down: it would have been done: again"]
    );
    // After a restart it is known.
    let files = std::fs::read_dir(ground.folder.path().join("executions")).unwrap().count();
    assert_eq!((files, ground.shelf.executions().len()), (1, 1));
    let stored = ground.runs.data.executions().0;
    // Times are stored in whole seconds.
    assert_eq!((&stored[0].metadata.name, &stored[0].spec), (&all[0].metadata.name, &all[0].spec));
    assert_eq!(stored[0].status.clone().unwrap().message, status.message);
}

#[tokio::test]
async fn guards_that_count_hold_back_the_next_dry_run() {
    let ground = ground_of("DryRun").await;
    ground.runs.take(&alert("checkout", 1_790_000_000)).await.unwrap();
    ground.runs.take(&alert("checkout", 1_790_000_060)).await.unwrap();
    let told = ground.told.lock().unwrap().clone();
    assert!(told[1].contains("it would have been held back"), "{told:?}");
    // Another object is another target, and another workload.
    ground.runs.take(&alert("cart", 1_790_000_000)).await.unwrap();
    let told = ground.told.lock().unwrap().clone();
    assert!(told[2].ends_with("it would have been done: again"), "{told:?}");
}

#[tokio::test]
async fn what_cannot_be_planned_is_told_once_and_what_is_off_is_not_started() {
    let ground = ground_of("DryRun").await;
    let mut bare = alert("checkout", 1_790_000_000);
    bare.labels.remove("deployment");
    for _ in 0..2 {
        assert_eq!(ground.runs.take(&bare).await.unwrap(), Stored::Refused);
    }
    let told = ground.told.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].contains("parameter workload: "), "{told:?}");
    let off = ground_of("Off").await;
    assert_eq!(off.runs.take(&alert("checkout", 1_790_000_000)).await.unwrap(), Stored::Nothing);
    assert!(off.told.lock().unwrap().is_empty());
}
