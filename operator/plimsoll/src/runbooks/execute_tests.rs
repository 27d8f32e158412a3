#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use jiff::SignedDuration;
use serde_json::{Value, from_value, json};

use kube::core::DeserializeGuard;

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
        watched: Watched::new(dispatcher.sealer.clone()),
        dispatcher,
        outside,
        artifacts: ArtifactsConfig::default(),
        switch: Switch::new(client.clone(), "ops", Arc::clone(&metrics)),
        news: News::new(client.clone(), Teller::new(client, "Run"), metrics),
        refusing: Semaphore::new(1),
        slots: Shares::new(2, 1),
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
    put(api, execution);
}

/// Puts an execution with a status as the operator has written it.
fn put(api: &FakeApi, mut execution: Value) {
    let typed: RunbookExecution = from_value(execution.clone()).unwrap();
    let seal = Sealer::new([5; 32]).of_status(&typed, typed.status.as_ref().unwrap()).unwrap();
    execution["status"]["seal"] = json!(seal);
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

/// A rollout or a Job may take a day: whoever has many of them keeps no other namespace waiting.
#[tokio::test]
async fn a_step_that_waits_leaves_its_slot_to_others() {
    let api = FakeApi::default();
    borrowed(&api, None);
    let mut execution = api.get(AT).unwrap();
    let intent = execution["status"]["startedAt"].clone();
    execution["spec"]["target"] = json!("workload");
    execution["spec"]["objects"] = json!([{"parameter": "workload", "kind": "Deployment", "namespace": "shop",
        "name": "checkout", "uid": "d"}]);
    execution["spec"]["steps"] = json!([{"name": "a", "restart": {"workload": "workload"}, "timeout": "1h"}]);
    execution["status"]["steps"] = json!([{"name": "a", "intentTime": intent, "attempts": 1}]);
    let typed: RunbookExecution = from_value(execution.clone()).unwrap();
    let sealed = seal(&Sealer::new([5; 32]), "ann", "shop", "x", &typed.spec).unwrap();
    execution["metadata"]["annotations"][SEAL] = json!(sealed);
    put(&api, execution);
    let at = "/apis/apps/v1/namespaces/shop/deployments/checkout";
    api.put(at, json!({"metadata": {"name": "checkout", "namespace": "shop", "uid": "d"}}));
    let executor = Executor { slots: Shares::new(1, 1), ..executor(&api) };
    let turn = Turn { slot: executor.slots.take("shop", 1).await, told: None };
    let others = async {
        drop(executor.slots.take("bank", 1).await);
        while !api.writes().contains(&format!("PATCH {at}")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        next = executor.run("shop", "x", Some(turn)) => unreachable!("{next:?}"),
        taken = tokio::time::timeout(Duration::from_secs(20), others) => taken.unwrap(),
    }
    assert_eq!(api.get(AT).unwrap()["status"]["steps"][0]["outcome"], Value::Null);
}

thread_local! {
    /// What this thread has logged.
    static LOGGED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writes to what a test reads that runs on one thread.
struct Lines;

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A run is some lines of the log: what became of each step, and how it ended.
#[tokio::test]
async fn a_run_is_some_lines_of_the_log() {
    // Of all threads, since what is logged is decided once for all of them.
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::INFO)
        .with_writer(|| Lines)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let api = FakeApi::default();
    borrowed(&api, Some(0));
    monitor(&api, "5s");
    executor(&api).run("shop", "x", None).await.unwrap();
    let text = LOGGED.with_borrow(|logged| String::from_utf8(logged.clone()).unwrap());
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str, &str)> = told
        .iter()
        .map(|line| ["level", "execution", "reason"].map(|field| line[field].as_str().unwrap_or_default()).into())
        .collect();
    assert_eq!(told, [("INFO", "shop/x", "UndoSucceeded"), ("WARN", "shop/x", "Deleted")], "{text}");
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
    put(&api, new);
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
    // Also one that whoever has made it has deleted, and keeps from going.
    let (api, mut execution) = unsealed("Blocked");
    (execution["status"], execution["metadata"]["finalizers"]) = (Value::Null, json!(["theirs"]));
    execution["metadata"]["deletionTimestamp"] = execution["metadata"]["creationTimestamp"].clone();
    api.put(AT, execution);
    executor(&api).run("shop", "x", None).await.unwrap();
    assert_eq!(api.get(AT).unwrap()["status"]["reason"], "NotSealed");
}

/// Who may write statuses makes nobody do anything: what the guards have not let begin does not begin.
#[tokio::test]
async fn a_status_that_the_operator_has_not_written_is_not_gone_on_with() {
    let forged = async |change: &dyn Fn(&mut Value)| {
        let api = FakeApi::default();
        borrowed(&api, None);
        monitor(&api, "30s");
        let mut execution = api.get(AT).unwrap();
        change(&mut execution);
        api.put(AT, execution);
        executor(&api).run("shop", "x", None).await.unwrap();
        assert!(!api.writes().contains(&format!("PATCH {MONITOR}")), "{:?}", api.writes());
        api.get(AT).unwrap()
    };
    let now = Timestamp::now().to_string();
    let intent = json!([{"name": "a", "intentTime": now, "attempts": 1}]);
    // One that waits, or was only shown, or has ended, is said to be under way: with no seal, or with one of another status.
    for (mode, keeps) in [("Auto", false), ("DryRun", false), ("Auto", true)] {
        let found = forged(&|execution| {
            let sealed = execution["status"]["seal"].clone();
            execution["spec"]["mode"] = json!(mode);
            execution["status"] = json!({"phase": "Running", "startedAt": now, "steps": intent});
            if keeps {
                execution["status"]["seal"] = sealed;
            }
            let typed: RunbookExecution = from_value(execution.clone()).unwrap();
            let right = seal(&Sealer::new([5; 32]), "ann", "shop", "x", &typed.spec).unwrap();
            execution["metadata"]["annotations"][SEAL] = json!(right);
        })
        .await;
        let status = &found["status"];
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Unknown"), &json!("StatusForged")), "{mode}");
        assert!(status["message"].as_str().unwrap().contains("(step a)"), "{status}");
        assert_eq!(found["metadata"]["finalizers"], json!(["theirs"]));
    }
    // The right status of another execution.
    let found = forged(&|execution| execution["metadata"]["uid"] = json!("another")).await;
    assert_eq!(found["status"]["reason"], "StatusForged");
    // One that has borrowed something is said not to have begun.
    let found = forged(&|execution| execution["status"] = json!({"phase": "Pending"})).await;
    assert_eq!(found["status"]["reason"], "StatusForged");
    // A gate that is said to be passed, and an approval that nobody gave, before it begins: it is asked from the start.
    let found = forged(&|execution| {
        let done = json!([{"name": "a", "attempts": 1, "outcome": "Succeeded", "finishedAt": now}]);
        execution["metadata"]["finalizers"] = json!([]);
        execution["status"] = json!({"phase": "Blocked", "reason": "Cooldown", "steps": done, "startedAt": now});
    })
    .await;
    let status = &found["status"];
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Skipped"), &json!("Off")), "there is no such runbook");
    assert_eq!((&status["steps"], &status["startedAt"]), (&Value::Null, &Value::Null));
}

/// What was approved late may begin late: whether it still may is the machine's to say, not that of a first look.
#[tokio::test]
async fn who_waits_after_an_approval_is_not_missed() {
    let api = FakeApi::default();
    borrowed(&api, None);
    let now = Timestamp::now();
    let ago = |minutes: i64| (now - SignedDuration::from_mins(minutes)).to_string();
    let mut execution = api.get(AT).unwrap();
    (execution["spec"]["mode"], execution["spec"]["startBy"]) = (json!("Approve"), json!(ago(50)));
    execution["spec"]["trigger"]["startsAt"] = json!(ago(60));
    execution["status"] = json!({"phase": "Blocked", "reason": "MaxConcurrent"});
    let by = |execution: &Value| {
        let typed: RunbookExecution = from_value(execution.clone()).unwrap();
        let approval = typed.status.as_ref().unwrap().approval.as_ref();
        plimsoll_runbook::machine::start_by(&typed.spec, approval).unwrap() > now
    };
    assert!(!by(&execution));
    execution["status"]["approval"] = json!({"approval": "ok", "decision": "Approve", "decider": "eve", "at": ago(5)});
    assert!(by(&execution), "ten minutes from the approval");
    // What the leader keeps of an execution is enough to know it.
    let kept = Kept::of(DeserializeGuard(Ok(from_value::<RunbookExecution>(execution).unwrap())));
    let slimmed = serde_json::to_value(kept.whole().unwrap()).unwrap();
    assert!(by(&slimmed));
}

/// A Prometheus that begins anew answers 503 for a while: what it will know a moment later is asked again until there is no
/// time left, and what it never said is not known.
#[tokio::test]
async fn a_verification_asks_until_its_time_is_over() {
    let burns =
        json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "0.4"]}]}});
    // How long ago it began to settle, and how often Prometheus does not answer: more often than an ordinary step asks.
    for (ago, unanswered, phase, reason) in
        [(60, 6, "Succeeded", "Done"), (299, u64::MAX, "Failed", "RecoveryNotKnown")]
    {
        let api = FakeApi::default();
        borrowed(&api, None);
        let server = wiremock::MockServer::start().await;
        let at = wiremock::matchers::path("/hook");
        wiremock::Mock::given(at).respond_with(wiremock::ResponseTemplate::new(200)).mount(&server).await;
        let away = wiremock::Mock::given(wiremock::matchers::path("/api/v1/query"));
        let away = away.respond_with(wiremock::ResponseTemplate::new(503)).up_to_n_times(unanswered).with_priority(1);
        away.mount(&server).await;
        let good = wiremock::ResponseTemplate::new(200).set_body_json(&burns);
        wiremock::Mock::given(wiremock::matchers::any()).respond_with(good).with_priority(9).mount(&server).await;
        let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
        let endpoint = |path: &str| from_value(json!({"url": server.uri() + path})).unwrap();
        given.dispatcher.outside.prometheus = Some(endpoint(""));
        given.dispatcher.outside.destinations.insert("pager".to_owned(), endpoint("/hook"));
        let begun = (Timestamp::now() - SignedDuration::from_secs(ago)).to_string();
        let mut execution = api.get(AT).unwrap();
        execution["spec"]["steps"] = json!([{"name": "a", "cordon": {"node": "node"}}]);
        execution["spec"]["verify"] =
            json!({"slo": "checkout", "after": "1s", "onFailure": "Rollback", "escalateTo": "pager"});
        execution["status"] = json!({"phase": "Verifying", "startedAt": begun, "verification": {"intentTime": begun},
            "steps": [{"name": "a", "intentTime": begun, "attempts": 1, "finishedAt": begun, "outcome": "Succeeded"}]});
        let typed: RunbookExecution = from_value(execution.clone()).unwrap();
        let right = seal(&Sealer::new([5; 32]), "ann", "shop", "x", &typed.spec).unwrap();
        execution["metadata"]["annotations"][SEAL] = json!(right);
        put(&api, execution);
        executor_of(&api, given).run("shop", "x", None).await.unwrap();
        let status = api.get(AT).unwrap()["status"].clone();
        assert_eq!((&status["phase"], &status["reason"]), (&json!(phase), &json!(reason)), "{status}");
        let told = server.received_requests().await.unwrap().iter().filter(|sent| sent.url.path() == "/hook").count();
        assert_eq!(told, usize::from(phase == "Failed"), "whoever the runbook names");
        assert_eq!(status["steps"][0]["compensation"], Value::Null, "nothing is undone");
    }
}

/// A runbook that is turned off ends its run that waits; what a late watch says and the API server does not, ends nothing.
#[tokio::test]
async fn a_runbook_that_is_turned_off_ends_its_run() {
    for (now, ends) in [(json!("Off"), true), (json!("DryRun"), true), (json!("Auto"), false)] {
        let api = FakeApi::default();
        borrowed(&api, None);
        monitor(&api, "5s");
        let mut execution = api.get(AT).unwrap();
        let intent = execution["status"]["startedAt"].clone();
        let steps = execution["spec"]["steps"].as_array_mut().unwrap();
        steps.extend([json!({"name": "b", "wait": "1h"}), json!({"name": "c", "wait": "1h"})]);
        let entries = execution["status"]["steps"].as_array_mut().unwrap();
        entries.push(json!({"name": "b", "intentTime": intent}));
        let typed: RunbookExecution = from_value(execution.clone()).unwrap();
        let sealed = seal(&Sealer::new([5; 32]), "ann", "shop", "x", &typed.spec).unwrap();
        execution["metadata"]["annotations"][SEAL] = json!(sealed);
        put(&api, execution);
        let runbook = |mode: Value| {
            json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
                "metadata": {"name": "r", "namespace": "shop", "uid": "r"},
                "spec": {"mode": mode, "serviceAccountName": "s", "trigger": {"manual": {}},
                    "steps": [{"name": "a", "wait": "1h"}]}})
        };
        api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/r", runbook(now));
        let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
        given.know(from_value(runbook(json!("Off"))).unwrap());
        let (all, mut writer) = kube::runtime::reflector::store();
        let kept: Kept = from_value(api.get(AT).unwrap()).unwrap();
        writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(kept));
        let executor = Arc::new(Executor { all, ..executor_of(&api, given) });
        let mut told = std::pin::pin!(crate::runbooks::lowered::turned_off(Arc::clone(&executor)));
        assert_eq!(
            futures::StreamExt::next(&mut told).await.unwrap().name,
            "x",
            "it is looked at without another change"
        );
        let next = executor.run("shop", "x", None).await.unwrap();
        assert_eq!(next == Next::Never, ends, "{next:?}");
        let status = api.get(AT).unwrap()["status"].clone();
        let (phase, undone) = (&status["phase"], &status["steps"][0]["compensation"]["outcome"]);
        assert_eq!((phase == "Failed", undone == "Succeeded"), (ends, ends), "{status}");
        assert!(!ends || status["reason"] == "ModeLowered", "{status}");
    }
}
