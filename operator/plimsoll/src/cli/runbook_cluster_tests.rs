#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::testing::FakeApi;

const RUNBOOK: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/restart";

fn request(id: &str, at: Timestamp) -> RunRequest {
    RunRequest { id: id.to_owned(), at: at.to_string(), ..RunRequest::default() }
}

/// A runbook with a request, and with answers to others.
fn runbook(request: &RunRequest, answers: serde_json::Value) -> serde_json::Value {
    let noted = serde_json::to_string(request).unwrap();
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "restart", "namespace": "shop",
        "annotations": {RUN: noted}}, "spec": {"serviceAccountName": "s", "trigger": {"manual": {}},
        "steps": [{"name": "a", "wait": "1s"}]}, "status": {"requests": answers}})
}

/// Whoever corrects a typo is not told the mistake of before.
#[test]
fn an_answer_is_that_to_the_request_itself() {
    let now = Timestamp::now();
    let answers = json!([{"id": "b", "at": now.to_string(), "message": "yyy is none of a, b"},
        {"id": "a", "at": now.to_string(), "message": "zzz is none of a, b"},
        {"id": "0", "at": now.to_string(), "execution": "restart-1"}]);
    let of = |id: &str| serde_json::from_value::<Runbook>(runbook(&request(id, now), answers.clone())).unwrap();
    let told = |id: &str| answer(&of(id), id);
    assert_eq!(told("a"), Some(Err("zzz is none of a, b".to_owned())));
    assert_eq!(told("b"), Some(Err("yyy is none of a, b".to_owned())));
    assert_eq!(told("0"), Some(Ok("restart-1".to_owned())));
    assert_eq!(told("c"), None);
    assert!(is_waited_for(&of("c")) && !is_waited_for(&of("a")));
    let old: Runbook = serde_json::from_value(runbook(&request("c", now - BY_HAND), answers)).unwrap();
    assert!(!is_waited_for(&old), "nothing comes of it any more");
}

/// Two at once are two requests: the second waits until the first is answered.
#[tokio::test]
async fn a_request_pushes_no_other_aside() {
    let (api, now) = (FakeApi::default(), Timestamp::now());
    api.strict();
    api.put(RUNBOOK, runbook(&request("a", now), json!([])));
    let runbooks: Api<Runbook> = Api::namespaced(api.client(), "shop");
    let later = Instant::now() + Duration::from_secs(60);
    let asks = async |id: &str, until: Instant| {
        ask(&runbooks, "shop", "restart", &request(id, now), until).await.map(|noted| noted.id)
    };
    assert!(tokio::time::timeout(LOOK * 2, asks("b", later)).await.is_err(), "the first has no answer");
    assert!(api.writes().is_empty(), "{:?}", api.writes());
    api.put(RUNBOOK, runbook(&request("a", now), json!([{"id": "a", "at": now.to_string()}])));
    assert_eq!(asks("b", later).await.unwrap(), "b");
    // Where nobody answers, a request is not kept from being made for ever.
    assert_eq!(asks("c", Instant::now()).await.unwrap(), "c");
    let noted = || -> RunRequest {
        let noted = api.get(RUNBOOK).unwrap()["metadata"]["annotations"][RUN].clone();
        serde_json::from_str(noted.as_str().unwrap()).unwrap()
    };
    let mut seen = vec!["c".to_owned()];
    let answers = async {
        while seen.len() < 3 {
            let last = noted();
            let answers = json!([{"id": last.id, "at": now.to_string()}]);
            api.put(RUNBOOK, runbook(&last, answers));
            while noted().id == last.id {
                assert!(Instant::now() < later, "{seen:?}");
                tokio::task::yield_now().await;
            }
            seen.push(noted().id);
        }
    };
    let (d, e, ()) = tokio::join!(asks("d", later), asks("e", later), answers);
    assert_eq!((d.unwrap(), e.unwrap()), ("d".to_owned(), "e".to_owned()));
    seen.sort();
    assert_eq!(seen, ["c", "d", "e"], "each was there until it had its answer");
    let none = ask(&runbooks, "shop", "nope", &request("f", now), later).await.unwrap_err();
    assert_eq!(none.to_string(), "there is no Runbook nope in namespace shop; kubectl get runbooks -A lists all");
}

/// A slip is not told as if nothing had ever run.
#[tokio::test]
async fn executions_of_what_is_not_there_are_no_empty_list() {
    let api = FakeApi::default();
    api.put("/api/v1/namespaces/shop", json!({"metadata": {"name": "shop"}}));
    api.put(RUNBOOK, runbook(&request("a", Timestamp::now()), json!([])));
    let client = api.client();
    let asks = async |runbook: Option<&str>, namespace: &str| {
        let args =
            List { runbook: runbook.map(str::to_owned), namespace: Some(namespace.to_owned()), all_namespaces: false };
        list(&client, &args).await.map_err(|error| error.to_string())
    };
    assert_eq!(asks(None, "shop").await.unwrap(), "there is no execution\n");
    assert_eq!(asks(Some("restart"), "shop").await.unwrap(), "there is no execution\n");
    let wrong = asks(Some("restrat"), "shop").await.unwrap_err();
    assert!(wrong.starts_with("there is no Runbook restrat in namespace shop"), "{wrong}");
    let wrong = asks(None, "shpo").await.unwrap_err();
    assert!(wrong.starts_with("there is no namespace shpo"), "{wrong}");
    // Who may not read namespaces sees an empty list.
    let forbidden = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"});
    api.refuse("/api/v1/namespaces/shpo", forbidden);
    assert_eq!(asks(None, "shpo").await.unwrap(), "there is no execution\n");
}

/// Whoever may make executions hides those of others from nobody.
#[tokio::test]
async fn what_is_no_execution_is_named_beside_those_that_are() {
    let api = FakeApi::default();
    api.put("/api/v1/namespaces/shop", json!({"metadata": {"name": "shop"}}));
    api.put_no_execution("broken");
    let client = api.client();
    let asks = async |all_namespaces: bool| {
        let namespace = (!all_namespaces).then(|| "shop".to_owned());
        list(&client, &List { runbook: None, namespace, all_namespaces }).await.unwrap()
    };
    let wrong = |more: &str| {
        format!(
            "execution shop/broken cannot be read (Missing field name){more}: somebody else than the operator has made it, \
             or a newer version; look at it with: kubectl get runbookexecution broken -n shop -o yaml\n"
        )
    };
    assert_eq!(asks(false).await, format!("{}there is no other execution\n", wrong("")));
    api.put_no_execution("lost");
    let right = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/lost";
    let mut right = (api.get(right).unwrap(), right.replace("lost", "right"));
    (right.0["metadata"]["name"], right.0["spec"]["steps"]) = (json!("right"), json!([{"name": "a", "wait": "1s"}]));
    api.put(&right.1, right.0);
    for all_namespaces in [false, true] {
        let told = asks(all_namespaces).await;
        assert!(told.starts_with(&wrong(", nor can 1 more")), "{told}");
        assert!(told.lines().last().unwrap().contains("right"), "{told}");
    }
}

#[test]
fn that_all_is_paused_is_said_with_the_reason() {
    let runbook = |reason: &str| -> Runbook {
        let ready = json!({"type": "Ready", "status": "True", "reason": reason, "message": "all runbooks are paused: moving",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let spec =
            json!({"serviceAccountName": "s", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]});
        let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "a"},
            "spec": spec, "status": {"conditions": [ready]}});
        serde_json::from_value(object).unwrap()
    };
    let said = paused(&[runbook("AsDeclared"), runbook("Paused")]);
    assert_eq!(said.as_deref(), Some("all runbooks are paused: moving; go on with: plimsoll runbook resume\n"));
    assert_eq!(paused(&[runbook("AsDeclared")]), None);
}

#[test]
fn a_run_that_does_nothing_yet_says_so() {
    let status = |phase, reason: &str, message: &str| RunbookExecutionStatus {
        phase,
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..RunbookExecutionStatus::default()
    };
    let said = |status: &RunbookExecutionStatus, mode| not_done(status, mode, "a-1 -n shop");
    let none = RunbookExecutionStatus::default();
    assert_eq!(said(&none, Mode::DryRun), "mode DryRun: nothing is done, only what would be is said\n");
    let asks = "it waits for an approval: plimsoll runbook approve a-1 -n shop\n";
    assert_eq!(said(&none, Mode::Approve), asks);
    assert_eq!(said(&status(Phase::AwaitingApproval, "Asked", "somebody must"), Mode::Approve), asks);
    let held = status(Phase::Blocked, "NotKnown", "it cannot be\nasked");
    assert_eq!(said(&held, Mode::Approve), "Blocked (NotKnown): it cannot be asked\n");
    assert_eq!(said(&none, Mode::Auto), "");
    assert_eq!(said(&status(Phase::Running, "Started", "x"), Mode::Approve), "");
}

#[test]
fn columns_stand_below_each_other() {
    let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned).to_vec());
    assert_eq!(table(&rows), "A     B\nlong  x\n");
    let forged = vec![vec!["a\nb\u{1b}[2J".to_owned()]];
    assert_eq!(table(&forged), "a b\u{fffd}[2J\n");
}
