#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::{Path, PathBuf};

use futures::future::join_all;
use plimsoll_api::execution::{Outcome, Phase};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path, path_regex},
};

use super::*;
use crate::{actions::Endpoint, operator::gate::GateLayer, prometheus::http_client, sinks::Config};

/// Whatever happens takes less.
const SOON: Duration = Duration::from_secs(30);

/// What has been sent to the servers that steps speak to, and whether that it would be done was on disk by then.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<(String, Value, bool)>>>);

impl Sent {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(line, ..)| line.clone()).collect()
    }

    fn count(&self, line: &str) -> usize {
        self.all().iter().filter(|sent| *sent == line).count()
    }

    fn take(&self, request: &Request, executions: &Path) -> Value {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let line = format!("{} {}", request.method, request.url.path());
        self.0.lock().unwrap().push((line, body.clone(), has_intent(executions)));
        body
    }
}

/// Whether a stored execution has an intent without an outcome.
fn has_intent(executions: &Path) -> bool {
    let all = std::fs::read_dir(executions).unwrap().filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    let open = |effect: &Value| effect["intentTime"].is_string() && effect["outcome"].is_null();
    all.filter_map(|text| serde_json::from_str::<Value>(&text).ok()).any(|execution| {
        let steps = execution["status"]["steps"].as_array().cloned().unwrap_or_default();
        steps.iter().any(|step| open(step) || open(&step["compensation"]))
    })
}

struct Ground {
    server: MockServer,
    sent: Sent,
    folder: tempfile::TempDir,
    runs: Arc<Runs>,
    told: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A Prometheus in which everything holds, an Alertmanager, a Grafana and a destination, all at one address.
async fn server(sent: &Sent, executions: PathBuf) -> MockServer {
    let server = MockServer::start().await;
    let one =
        json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "1"]}]}});
    let answer = ResponseTemplate::new(200).set_body_json(one);
    Mock::given(path("/api/v1/query")).respond_with(answer).mount(&server).await;
    let silences = Arc::<Mutex<Vec<Value>>>::default();
    let (seen, all, folder) = (sent.clone(), Arc::clone(&silences), executions.clone());
    let silence = move |request: &Request| {
        let mut silence = seen.take(request, &folder);
        (silence["id"], silence["status"]["state"]) = (json!("s1"), json!("active"));
        all.lock().unwrap().push(silence);
        ResponseTemplate::new(200).set_body_json(json!({"silenceID": "s1"}))
    };
    Mock::given(method("POST")).and(path("/api/v2/silences")).respond_with(silence).mount(&server).await;
    let all = move |_: &Request| ResponseTemplate::new(200).set_body_json(silences.lock().unwrap().clone());
    Mock::given(method("GET")).and(path("/api/v2/silences")).respond_with(all).mount(&server).await;
    let seen = sent.clone();
    let rest = move |request: &Request| {
        seen.take(request, &executions);
        ResponseTemplate::new(200).set_body_json(json!({}))
    };
    Mock::given(path_regex("^/(hook|api/annotations|api/v2/silence/.*)$")).respond_with(rest).mount(&server).await;
    server
}

fn runbook(mode: &str, more: Value) -> Value {
    let mut spec =
        json!({"mode": mode, "serviceAccountName": "runbooks", "trigger": {"alert": ["alertname=\"Down\""]}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
        "metadata": {"name": "restart", "namespace": "shop", "uid": "u"}, "spec": spec})
}

/// One that needs a cluster.
fn restart(mode: &str) -> Value {
    runbook(
        mode,
        json!({"target": "workload",
            "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"}],
            "steps": [{"name": "again", "restart": {"workload": "workload"}}]}),
    )
}

/// One that needs none.
fn tell(mode: &str) -> Value {
    runbook(mode, json!({"steps": [{"name": "tell", "notify": {"destination": "on-call", "message": "look"}}]}))
}

impl Ground {
    /// Nothing is allowed.
    async fn of(runbook: &Value) -> Self {
        let (sent, folder) = (Sent::default(), tempfile::tempdir().unwrap());
        let server = server(&sent, folder.path().join("executions")).await;
        Self::on(server, sent, folder, runbook, false)
    }

    async fn acting(runbook: &Value) -> Self {
        let (sent, folder) = (Sent::default(), tempfile::tempdir().unwrap());
        let server = server(&sent, folder.path().join("executions")).await;
        Self::on(server, sent, folder, runbook, true)
    }

    fn on(server: MockServer, sent: Sent, folder: tempfile::TempDir, runbook: &Value, acts: bool) -> Self {
        let http = http_client().unwrap();
        let uri = server.uri();
        let prometheus = Prometheus::new(http.clone(), &uri).unwrap();
        let config = json!({"runbooks": {"alertmanager": {"url": uri}, "grafana": {"url": uri},
            "destinations": {"on-call": {"url": format!("{uri}/hook")}}}});
        let config = acts.then(|| Config::parse(&config.to_string()).unwrap().runbooks);
        let RunbooksConfig { alertmanager, grafana, destinations, .. } = config.clone().unwrap_or_default();
        let at = Endpoint { url: uri, tenant: None, bearer_token_file: None };
        let (gate, asked) = (GateLayer::open(), Some(at));
        let outside = Outside { http, gate, prometheus: asked, alertmanager, grafana, destinations };
        let (say, told) = Say::to_test();
        let shelf = Arc::<Shelf>::default();
        let data = Arc::new(Data::open(Some(folder.path()), Path::new(".")).unwrap());
        let runs = Arc::new(Runs::new(data, shelf, prometheus, outside, config, say));
        let runbook = serde_json::from_value(runbook.clone()).unwrap();
        let valid = plimsoll_runbook::validate(&runbook).map_err(|p| plimsoll_api::problem::summary(&p)).unwrap();
        runs.know(vec![valid.model], HashMap::new());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&runs).run(Source::Posted, stop.clone()));
        Self { server, sent, folder, runs, told, stop, task }
    }

    /// Ends as by kill -9; what it leaves is the folder.
    async fn killed(self) -> (MockServer, Sent, tempfile::TempDir) {
        let Self { server, sent, folder, runs, task, .. } = self;
        task.abort();
        let _ = task.await;
        // What it did is ended with it; then nobody has the folder any more.
        let mut left = Some(runs);
        until("the end", || {
            left = match Arc::try_unwrap(left.take()?) {
                Ok(runs) => {
                    drop(runs);
                    return Some(());
                }
                Err(runs) => Some(runs),
            };
            None
        })
        .await;
        (server, sent, folder)
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    async fn says(&self, words: &str) -> String {
        until(words, || self.told().into_iter().find(|line| line.contains(words))).await
    }

    /// Waits until the one execution is so.
    async fn is(&self, phase: Phase) -> RunbookExecution {
        let found = || {
            let all = self.runs.stored();
            let execution = all.first()?;
            (execution.status.as_ref()?.phase == phase).then(|| RunbookExecution::clone(execution))
        };
        until(phase.name(), found).await
    }
}

async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            match found() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(SOON, looked).await.map_err(|_| format!("no {what}")).unwrap()
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

const AT: i64 = 1_790_000_000;

#[tokio::test]
async fn an_alert_is_planned_stored_and_told_once_and_nothing_is_sent() {
    // Neither by one that would need a cluster nor by one that would not: nobody has allowed it.
    for (runbook, step, why) in [
        (restart("Auto"), "again", "step again (restart) needs a cluster"),
        (tell("Auto"), "tell", "nothing is sent without --runbooks FILE"),
        (tell("DryRun"), "tell", ""),
    ] {
        let ground = Ground::of(&runbook).await;
        let alert = alert("checkout", AT);
        assert_eq!(ground.runs.take(&alert).await.unwrap(), Stored::Now);
        assert_eq!(ground.runs.take(&alert).await.unwrap(), Stored::Before);
        let execution = ground.is(Phase::Succeeded).await;
        let status = execution.status.clone().unwrap();
        assert_eq!(execution.spec.mode, Mode::DryRun);
        assert_eq!(status.message, Some(format!("it would have been done: {step}")));
        let done = ground.says("dry run").await;
        assert_eq!(
            done,
            format!(
                "Runbook shop/restart: dry run for alert Down (deployment=checkout, namespace=shop): it would have been done: {step}"
            )
        );
        let stays = format!("Runbook shop/restart stays dry: {why}");
        let before: &[String] = if why.is_empty() { &[] } else { &[stays] };
        assert_eq!(ground.told(), [before, &[done]].concat());
        assert!(ground.sent.all().is_empty(), "{:?}", ground.sent.all());
        // After a restart it is known.
        let files = std::fs::read_dir(ground.folder.path().join("executions")).unwrap().count();
        assert_eq!((files, ground.runs.stored().len()), (1, 1));
        assert_eq!(ground.runs.data.executions().0, [execution]);
    }
}

#[tokio::test]
async fn guards_that_count_hold_back_the_next_dry_run() {
    let ground = Ground::of(&restart("DryRun")).await;
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    ground.says("it would have been done: again").await;
    ground.runs.take(&alert("checkout", AT + 60)).await.unwrap();
    ground.says("it would have been held back").await;
    // Another object is another target, and another workload.
    ground.runs.take(&alert("cart", AT)).await.unwrap();
    until("a third", || (ground.told().len() == 3).then_some(())).await;
    assert!(ground.told()[2].ends_with("it would have been done: again"), "{:?}", ground.told());
}

#[tokio::test]
async fn what_cannot_be_planned_is_told_once_and_what_is_off_is_not_started() {
    let ground = Ground::of(&restart("DryRun")).await;
    let mut bare = alert("checkout", AT);
    bare.labels.remove("deployment");
    for _ in 0..2 {
        assert_eq!(ground.runs.take(&bare).await.unwrap(), Stored::Refused);
    }
    let told = ground.told();
    assert!(told.len() == 1 && told[0].contains("parameter workload: "), "{told:?}");
    let off = Ground::acting(&tell("Off")).await;
    assert_eq!(off.runs.take(&alert("checkout", AT)).await.unwrap(), Stored::Nothing);
    assert!(off.told().is_empty());
    // A destination that the file does not list.
    let mut runbook = tell("Auto");
    runbook["spec"]["steps"][0]["notify"]["destination"] = json!("nobody");
    let ground = Ground::acting(&runbook).await;
    for _ in 0..2 {
        assert_eq!(ground.runs.take(&alert("checkout", AT)).await.unwrap(), Stored::Refused);
    }
    let words = "Runbook shop/restart is not run: step tell: the configuration has no destination nobody";
    assert_eq!(ground.told(), [words]);
    assert!(ground.sent.all().is_empty() && ground.runs.stored().is_empty());
}

#[tokio::test]
async fn what_is_allowed_is_done_once_however_often_the_alert_comes_and_only_when_that_is_stored() {
    let steps = json!({"parameters": [{"name": "what", "string": "[a-z]+", "fromLabel": "deployment"}],
        "steps": [
        {"name": "ask", "query": {"expr": "up"}},
        {"name": "quiet", "silence": {"matchers": ["deployment=\"$(what)\""], "for": "10m", "comment": "it is known"}},
        {"name": "tell", "notify": {"destination": "on-call", "message": "$(what) is down"}},
        {"name": "mark", "annotate": {"text": "$(what) is down"}}]});
    let ground = Ground::acting(&runbook("Auto", steps)).await;
    let alert = alert("checkout", AT);
    let taken = join_all((0..100).map(|_| ground.runs.take(&alert))).await;
    assert_eq!(taken.iter().filter(|taken| matches!(taken, Ok(Stored::Now))).count(), 1);
    let execution = ground.is(Phase::Succeeded).await;
    assert_eq!(ground.runs.take(&alert).await.unwrap(), Stored::Before);
    ground
        .says(
            "Runbook shop/restart: Succeeded for alert Down (deployment=checkout, namespace=shop): all steps are done",
        )
        .await;
    assert_eq!(
        ground.told()[0],
        "Runbook shop/restart: started for alert Down (deployment=checkout, namespace=shop): its steps are done: ask, quiet, tell, mark"
    );
    assert_eq!(ground.sent.all(), ["POST /api/v2/silences", "POST /hook", "POST /api/annotations"]);
    let sent = ground.sent.0.lock().unwrap().clone();
    assert!(sent.iter().all(|(.., stored)| *stored), "{sent:?}");
    assert_eq!((&sent[1].1["message"], &sent[1].1["step"]), (&json!("checkout is down"), &json!("tell")));
    let name = execution.metadata.name.unwrap();
    assert_eq!(sent[0].1["createdBy"], json!(format!("plimsoll shop/{name}/quiet")));
    // Another start of the same alert is another run, and the target is left alone for a while.
    let again = Alert { starts_at: Timestamp::from_second(AT + 60).unwrap(), ..alert };
    assert_eq!(ground.runs.take(&again).await.unwrap(), Stored::Now);
    ground.says("held back for alert Down (deployment=checkout, namespace=shop): execution ").await;
    assert_eq!(ground.sent.count("POST /hook"), 1);
    // At the end nothing is left to do.
    ground.stop.cancel();
    ground.task.await.unwrap();
}

#[tokio::test]
async fn what_needs_a_cluster_stays_dry_and_that_is_said_once() {
    let with = |step: Value| {
        runbook(
            "Auto",
            json!({"steps": [tell("Auto")["spec"]["steps"][0], step],
        "parameters": [{"name": "w", "object": "Deployment", "fromLabel": "deployment"}]}),
        )
    };
    let mut named = tell("Auto");
    named["spec"]["steps"][0]["notify"]["message"] = json!("$(w) is down");
    named["spec"]["parameters"] = json!([{"name": "w", "object": "Deployment", "fromLabel": "deployment"}]);
    for (runbook, why) in [
        (with(json!({"name": "again", "restart": {"workload": "w"}})), "step again (restart) needs a cluster"),
        (
            with(json!({"name": "a", "wait": "1s", "compensate": {"restart": {"workload": "w"}}})),
            "what undoes step a (restart) needs a cluster",
        ),
        (named, "parameter w is a Deployment, which only a cluster knows"),
        (tell("Approve"), "its mode is Approve"),
    ] {
        let ground = Ground::acting(&runbook).await;
        let models = ground.runs.models.read().unwrap().iter().map(|model| Model::clone(model)).collect::<Vec<_>>();
        assert_eq!(models[0].mode, Mode::DryRun);
        let original: Model = Model { mode: Mode::Auto, ..models[0].clone() };
        ground.runs.take(&alert("checkout", AT)).await.unwrap();
        ground.says("dry run for alert Down (deployment=checkout, namespace=shop)").await;
        // The files are read again and again.
        if !why.contains("Approve") {
            ground.runs.know(vec![original], HashMap::new());
        }
        let told = ground.told();
        assert_eq!(told.iter().filter(|line| line.contains(why)).count(), 1, "{told:?}");
        assert!(ground.sent.all().is_empty());
    }
}

#[tokio::test]
async fn killed_in_the_middle_what_can_be_repeated_is_and_what_cannot_is_unknown() {
    // A destination that never answers; then it is killed.
    let (sent, folder) = (Sent::default(), tempfile::tempdir().unwrap());
    let slow = server(&sent, folder.path().join("executions")).await;
    let (seen, executions) = (sent.clone(), folder.path().join("executions"));
    let never = move |request: &Request| {
        seen.take(request, &executions);
        ResponseTemplate::new(200).set_delay(Duration::from_secs(600))
    };
    Mock::given(path("/hook")).respond_with(never).with_priority(1).mount(&slow).await;
    let runbook = tell("Auto");
    let ground = Ground::on(slow, sent, folder, &runbook, true);
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    until("a message", || (ground.sent.count("POST /hook") == 1).then_some(())).await;
    let (_gone, sent, folder) = ground.killed().await;
    assert!(has_intent(&folder.path().join("executions")));

    // A message is better twice than never; that it was begun twice is noted.
    let next = server(&sent, folder.path().join("executions")).await;
    let ground = Ground::on(next, sent, folder, &runbook, true);
    let execution = ground.is(Phase::Succeeded).await;
    assert_eq!(execution.status.unwrap().steps[0].effect.attempts, Some(2));
    assert_eq!(ground.sent.count("POST /hook"), 2);
    let (server, sent, folder) = ground.killed().await;

    // What is done once is not begun again: nobody knows whether it was done.
    let file = std::fs::read_dir(folder.path().join("executions")).unwrap().next().unwrap().unwrap().path();
    let mut execution: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    execution["spec"]["steps"] = json!([{"name": "once", "exec": {"pod": "pod", "command": ["/bin/do"]}},
        {"name": "tell", "notify": {"destination": "on-call", "message": "look"}}]);
    let now = Timestamp::now().to_string();
    execution["status"] = json!({"phase": "Running", "startedAt": now,
        "steps": [{"name": "once", "intentTime": now, "attempts": 1}]});
    std::fs::write(&file, execution.to_string()).unwrap();
    let ground = Ground::on(server, sent, folder, &runbook, true);
    let status = ground.is(Phase::Unknown).await.status.unwrap();
    assert_eq!(
        (status.reason.as_deref(), status.steps[0].effect.outcome),
        (Some("StepUnknown"), Some(Outcome::Unknown))
    );
    let told =
        ground.says("Unknown for alert Down (deployment=checkout, namespace=shop): step once may have been done").await;
    assert!(told.contains("it is not begun again"), "{told}");
    assert_eq!(ground.sent.count("POST /hook"), 2, "nothing more is sent");
}

#[tokio::test]
async fn what_was_begun_waits_while_it_is_not_allowed_any_more() {
    let steps = json!({"steps": [{"name": "a", "wait": "1s"}, tell("Auto")["spec"]["steps"][0]]});
    let runbook = runbook("Auto", steps);
    let ground = Ground::acting(&runbook).await;
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    ground.is(Phase::Running).await;
    let (server, sent, folder) = ground.killed().await;
    let ground = Ground::on(server, sent, folder, &runbook, false);
    ground.says("1 execution not at an end: without --runbooks FILE nothing more is done").await;
    let waited = || {
        let steps = ground.runs.stored()[0].status.clone()?.steps;
        (steps[0].effect.outcome == Some(Outcome::Succeeded)).then_some(steps.len())
    };
    assert_eq!(until("the end of the wait", waited).await, 1, "what comes next has no intent");
    let (server, sent, folder) = ground.killed().await;
    let ground = Ground::on(server, sent, folder, &runbook, true);
    ground.is(Phase::Succeeded).await;
    assert_eq!(ground.sent.all(), ["POST /hook"]);
}

#[tokio::test]
async fn while_a_file_says_so_all_are_paused() {
    let ground = Ground::acting(&tell("Auto")).await;
    let file = ground.folder.path().join(PAUSED);
    std::fs::write(&file, "").unwrap();
    ground.says("runbooks are paused, until ").await;
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    let status = ground.is(Phase::Blocked).await.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("Paused"));
    ground.says("held back for alert Down (deployment=checkout, namespace=shop): all runbooks are paused").await;
    assert!(ground.sent.all().is_empty());
    std::fs::remove_file(&file).unwrap();
    ground.is(Phase::Succeeded).await;
    assert_eq!(ground.sent.all(), ["POST /hook"]);
    ground.says("runbooks are not paused any more").await;
}

#[tokio::test]
async fn what_fails_is_told_with_its_step_and_a_silence_is_ended() {
    let steps = json!({"steps": [
        {"name": "quiet", "silence": {"matchers": ["alertname=\"Down\""], "for": "10m", "comment": "it is known"}},
        {"name": "tell", "notify": {"destination": "on-call", "message": "look"}, "onFailure": "Compensate"}]});
    let ground = Ground::acting(&runbook("Auto", steps)).await;
    let seen = ground.sent.clone();
    let executions = ground.folder.path().join("executions");
    let refuse = move |request: &Request| {
        seen.take(request, &executions);
        ResponseTemplate::new(403).set_body_json(json!({"message": "the token abc is wrong"}))
    };
    Mock::given(path("/hook")).respond_with(refuse).with_priority(1).mount(&ground.server).await;
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    let execution = ground.is(Phase::RolledBack).await;
    assert_eq!(ground.sent.all(), ["POST /api/v2/silences", "POST /hook", "DELETE /api/v2/silence/s1"]);
    assert!(ground.sent.0.lock().unwrap().iter().all(|(.., stored)| *stored));
    let told = ground.says("RolledBack for alert Down (deployment=checkout, namespace=shop): step tell failed; tell: tell on-call: 403").await;
    // What a destination answers may repeat what it was sent.
    let stored = serde_json::to_string(&execution).unwrap();
    assert!(!told.contains("abc") && !stored.contains("abc"), "{told} {stored}");
}

#[tokio::test]
async fn a_resolved_alert_stops_what_has_not_begun() {
    let steps = json!({"steps": [{"name": "a", "wait": "30m"}, tell("Auto")["spec"]["steps"][0]]});
    for told in [true, false] {
        let ground = Ground::acting(&runbook("Auto", steps.clone())).await;
        let alert = alert("checkout", AT);
        ground.runs.take(&alert).await.unwrap();
        ground.is(Phase::Running).await;
        ground.runs.miss(std::slice::from_ref(&alert)).await.unwrap();
        if told {
            let over = Alert { resolved_at: Some(Timestamp::now()), ..alert };
            assert_eq!(ground.runs.take(&over).await.unwrap(), Stored::Resolved);
        } else {
            // Whoever is asked for alerts does not have it any more.
            ground.runs.miss(&[]).await.unwrap();
        }
        let status = ground.is(Phase::Succeeded).await.status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("Resolved"));
        assert!(ground.sent.all().is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_read_may_be_what_was_done() {
    let ground = Ground::acting(&tell("Auto")).await;
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    ground.is(Phase::Succeeded).await;
    let (server, sent, folder) = ground.killed().await;
    let file = std::fs::read_dir(folder.path().join("executions")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, "{").unwrap();
    let ground = Ground::on(server, sent, folder, &tell("Auto"), true);
    // The same alert again is not planned again, and another one is held back.
    assert_eq!(ground.runs.take(&alert("checkout", AT)).await.unwrap(), Stored::Refused);
    ground.says("is stored and cannot be read").await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
    ground.runs.take(&alert("cart", AT)).await.unwrap();
    let status = ground.is(Phase::Blocked).await.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NotKnown"));
    assert_eq!(ground.sent.all(), ["POST /hook"]);
}

#[tokio::test]
async fn what_guards_count_outlives_what_is_only_shown() {
    let ground = Ground::of(&tell("DryRun")).await;
    ground.runs.take(&alert("checkout", AT)).await.unwrap();
    let shown = ground.is(Phase::Succeeded).await;
    let mut done = shown.clone();
    (done.spec.mode, done.metadata.name) = (Mode::Auto, Some("done".to_owned()));
    ground.runs.put(&done).unwrap();
    for i in 0..KEPT {
        let mut more = shown.clone();
        more.metadata.name = Some(format!("x{i}"));
        ground.runs.shelf.runs(more);
    }
    let there = || ground.runs.stored().iter().any(|execution| execution.metadata.name == done.metadata.name);
    ground.runs.tidy(Timestamp::now());
    assert!(there() && ground.runs.stored().len() == KEPT + 1);
    // As long as in a cluster: thirty days.
    let days = |days: i64| Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    ground.runs.tidy(days(29));
    assert!(there());
    ground.runs.tidy(days(31));
    assert!(!there());
}

/// Prometheus keeps a template that yields nothing as it is, in the series of an alert that has no such label.
#[tokio::test]
async fn alerts_of_prometheus_have_the_labels_that_an_alertmanager_sees() {
    let ground = Ground::of(&tell("DryRun")).await;
    let metric = json!({"__name__": "ALERTS_FOR_STATE", "alertname": "Down", "deployment": "checkout",
        "tier": "{{ if eq $labels.deployment \"cart\" }}gold{{ end }}"});
    let found = json!({"status": "success", "data": {"resultType": "vector",
        "result": [{"metric": metric, "value": [0, "1767225600"]}]}});
    let answer = ResponseTemplate::new(200).set_body_json(found);
    Mock::given(path("/api/v1/query")).respond_with(answer).with_priority(1).mount(&ground.server).await;
    let alerts = ground.runs.of_prometheus().await.unwrap();
    let labels: BTreeMap<String, String> =
        [("alertname", "Down"), ("deployment", "checkout")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(alerts.len(), 1);
    assert_eq!((&alerts[0].labels, alerts[0].starts_at.as_second()), (&labels, 1_767_225_600));
    assert_eq!(alerts[0].fingerprint, names::fingerprint("Alert", &labels));
}
