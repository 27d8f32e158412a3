#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Response, StatusCode};
use plimsoll_runbook::requests::{JSON, Known, Part, Pick, Until};
use serde_json::json;
use tower::Layer;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{
    super::{account, outside::Endpoint},
    *,
};
use crate::{
    artifacts::config::{ArtifactsConfig, Volume},
    operator::gate::GateLayer,
    shares::Shares,
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An API server that answers what it is told to, the last answer again and again.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), seen: Arc::default() }
    }

    fn account(&self, gate: &GateLayer) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let line = format!("{} {}", request.method(), request.uri());
            this.seen.lock().unwrap().push((line, request.headers().clone()));
            let mut answers = this.answers.lock().unwrap();
            let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            let (code, body) = next.unwrap();
            let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            let answer =
                Response::builder().status(StatusCode::from_u16(code).unwrap()).body(Body::from(body.into_bytes()));
            async move { Ok::<_, std::io::Error>(answer.unwrap()) }
        });
        let own = Client::new(gate.layer(service), "default");
        account::client(&own, "shop", "evidence", Some(TRACE)).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }
}

fn outside(gate: &GateLayer, destination: &str) -> Outside {
    let endpoint = Endpoint { url: destination.to_owned(), tenant: None, bearer_token_file: None };
    Outside {
        http: crate::prometheus::http_client().unwrap(),
        gate: gate.clone(),
        prometheus: None,
        alertmanager: None,
        grafana: None,
        destinations: BTreeMap::from([("on-call".to_owned(), endpoint)]),
    }
}

fn call(method: &'static str, path: &str) -> Call {
    let request = Request {
        to: Server::Kubernetes,
        method,
        path: path.to_owned(),
        content_type: None,
        body: None,
        streams: false,
    };
    Call {
        what: "do it".to_owned(),
        request,
        fine: &[],
        again: &[],
        unknown: &[],
        expect: Expect::Code,
        keep: None,
        pick: None,
        cleans: false,
    }
}

async fn perform(server: &Scripted, calls: &[Call], repeatable: bool, room: Result<Room, String>) -> Finish {
    let gate = GateLayer::open();
    let outside = outside(&gate, "http://127.0.0.1:9/");
    let deadline = Instant::now() + Duration::from_secs(3);
    let traceparent = Some(TRACE.to_owned());
    let account = Some(server.account(&gate));
    let actor = Actor { account, outside: &outside, room, traceparent, repeatable, patient: false, deadline };
    actor.perform(calls).await
}

async fn outcome(server: &Scripted, calls: &[Call]) -> (Outcome, String) {
    match perform(server, calls, true, Err("nowhere".to_owned())).await {
        Finish::Done(done) => (done.outcome, done.message),
        Finish::Abandoned => unreachable!(),
    }
}

#[tokio::test]
async fn every_request_is_the_account_s_and_continues_the_trace() {
    let server = Scripted::new([(200, json!({"metadata": {"uid": "u"}}))]);
    let mut see = call("GET", "/api/v1/namespaces/shop/pods/a");
    see.expect = Expect::Uid("u".to_owned());
    let (outcome, message) = outcome(&server, &[see, call("PATCH", "/x")]).await;
    assert_eq!((outcome, message.as_str()), (Outcome::Succeeded, "do it: done"));
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    for (line, headers) in seen.iter() {
        assert_eq!(headers["impersonate-user"], "system:serviceaccount:shop:evidence", "{line}");
        let trace = headers["traceparent"].to_str().unwrap();
        assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace != TRACE, "{trace}");
    }
}

#[tokio::test]
async fn what_is_not_as_it_must_be_ends_the_step() {
    let forbidden = json!({"kind": "Status", "message": "deployments.apps \"a\" is forbidden: User cannot patch"});
    let mut other = call("GET", "/x");
    other.expect = Expect::Uid("u".to_owned());
    let mut ours = call("GET", "/x");
    ours.expect = Expect::Ours("run".to_owned());
    let mut engine = call("GET", "/x");
    engine.expect = Expect::Until(Until::EngineCompleted);
    let stopped = json!({"status": {"engineStatus": "stopped"}});
    for (answer, call, wanted) in [
        ((403, forbidden), call("PATCH", "/x"), "do it: 403 deployments.apps \"a\" is forbidden: User cannot patch"),
        ((404, json!("a proxy's secret")), call("GET", "/x"), "do it: 404"),
        ((200, json!({"metadata": {"uid": "v"}})), other, "do it: it is another object of the same name by now"),
        (
            (200, json!({"metadata": {}})),
            ours,
            "do it: an object of this name is there that this execution has not made",
        ),
        ((200, stopped), engine, "do it: the engine was stopped"),
    ] {
        let server = Scripted::new([answer]);
        let told = outcome(&server, &[call, self::call("DELETE", "/never")]).await;
        assert_eq!(told, (Outcome::Failed, wanted.to_owned()));
        assert_eq!(server.lines().len(), 1, "{wanted}");
    }
}

/// What may have been made and removed since is not called failed, which would say that it was not done.
#[tokio::test]
async fn what_is_looked_for_and_not_there_is_not_known() {
    let server = Scripted::new([(404, json!({}))]);
    let mut look = call("GET", "/x");
    look.unknown = &[404];
    let seen = outcome(&server, &[look, call("GET", "/y")]).await;
    assert_eq!((seen, server.lines().len()), ((Outcome::Unknown, "do it: 404".to_owned()), 1));
}

#[tokio::test]
async fn what_may_pass_is_waited_for_until_it_is_too_late() {
    let mut evict = call("POST", "/x");
    evict.again = &[429];
    let server = Scripted::new([(429, json!({})), (500, json!({})), (201, json!({}))]);
    assert_eq!(outcome(&server, &[evict.clone()]).await.0, Outcome::Succeeded);
    assert_eq!(server.lines().len(), 3);
    let server = Scripted::new([(429, json!({"kind": "Status", "message": "the budget lets no pod go"}))]);
    let (late, message) = outcome(&server, &[evict]).await;
    assert_eq!((late, message.as_str()), (Outcome::TimedOut, "do it: 429 the budget lets no pod go"));
    let mut job = call("GET", "/x");
    job.expect = Expect::Until(Until::JobEnded);
    let (late, message) = outcome(&Scripted::new([(200, json!({}))]), &[job]).await;
    assert_eq!((late, message.as_str()), (Outcome::TimedOut, "do it: it took too long; the Job runs"));
}

/// A server that begins anew fails for a while: what nobody does later is asked of it for as long as there is time.
#[tokio::test]
async fn who_is_patient_does_not_give_up_while_there_is_time() {
    let gate = GateLayer::open();
    let outside = outside(&gate, "http://127.0.0.1:9/");
    let fails = |times: usize| Scripted::new(vec![(503, json!({})); times].into_iter().chain([(200, json!({}))]));
    for (patient, times, seconds, wanted) in
        [(false, 5, 60, Outcome::Failed), (true, 5, 60, Outcome::Succeeded), (true, 1000, 1, Outcome::TimedOut)]
    {
        let server = fails(times);
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let (account, room) = (Some(server.account(&gate)), Err("nowhere".to_owned()));
        let actor = Actor { account, outside: &outside, room, traceparent: None, repeatable: true, patient, deadline };
        let Finish::Done(done) = actor.perform(&[call("PATCH", "/x")]).await else { unreachable!() };
        assert_eq!(done.outcome, wanted, "{}", done.message);
    }
}

/// A server that fails may have done it all the same: what is done once is not sent again.
#[tokio::test]
async fn what_is_done_once_is_sent_once() {
    let server = Scripted::new([(503, json!({}))]);
    let finish = perform(&server, &[call("POST", "/x")], false, Err("nowhere".to_owned())).await;
    let Finish::Done(done) = finish else { unreachable!() };
    assert_eq!((done.outcome, server.lines().len()), (Outcome::Unknown, 1));
}

#[tokio::test]
async fn whoever_does_not_lead_abandons_without_a_word() {
    let server = Scripted::new([(200, json!({}))]);
    let gate =
        GateLayer { lease: crate::operator::gate::Lease::default(), metrics: crate::operator::metrics::Metrics::new() };
    let outside = outside(&gate, "http://127.0.0.1:9/");
    for mut call in [call("PATCH", "/x"), call("POST", "")] {
        if call.request.path.is_empty() {
            call.request.to = Server::Destination("on-call".to_owned());
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        let room = Err("nowhere".to_owned());
        let actor = Actor {
            account: Some(server.account(&gate)),
            outside: &outside,
            room,
            traceparent: None,
            repeatable: true,
            patient: false,
            deadline,
        };
        assert_eq!(actor.perform(&[call]).await, Finish::Abandoned);
    }
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn what_comes_back_is_kept_and_nothing_else_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = BTreeMap::from([("evidence".to_owned(), Volume { directory: folder.path().to_owned() })]);
    let config = ArtifactsConfig { volumes, stores: BTreeMap::new() };
    let [namespace, runbook, execution, step] = ["shop", "crash", "x", "log"].map(str::to_owned);
    let room = Room {
        archive: Archive::volume("evidence", &config).unwrap(),
        place: Place { namespace, runbook, execution, step },
        quota: 1 << 20,
        created: Timestamp::UNIX_EPOCH,
        expires: Timestamp::UNIX_EPOCH,
    };
    // A kubelet says so with code 200, and that is no log.
    let gone = Scripted::new([(200, json!("unable to retrieve container logs for containerd://1"))]);
    let mut log = call("GET", "/api/v1/namespaces/shop/pods/a/log");
    let none = Some("unable to retrieve container logs for ");
    log.keep = Some(Keep { name: "app.log".to_owned(), limit: None, whole: false, end: false, none });
    let again = Room { archive: room.archive.clone(), place: room.place.clone(), ..room };
    let third = Room { archive: room.archive.clone(), place: room.place.clone(), ..room };
    let Finish::Done(done) = perform(&gone, &[log], true, Ok(again)).await else { unreachable!() };
    assert_eq!((done.outcome, done.artifacts.len()), (Outcome::Failed, 0));
    assert_eq!(done.message, "do it: the node has removed the container, and its log with it");
    let server = Scripted::new([(200, json!("password=hunter2"))]);
    let mut log = call("GET", "/api/v1/namespaces/shop/pods/a/log");
    // Of a log the end is kept, even where what begins it was looked at; of other output the beginning.
    for (end, none, wanted) in [(false, None, &b"password"[..]), (true, None, b"=hunter2"), (true, none, b"=hunter2")] {
        log.keep = Some(Keep { name: "app.log".to_owned(), limit: Some(8), whole: false, end, none });
        let again = Room { archive: room.archive.clone(), place: room.place.clone(), ..room };
        let Finish::Done(done) = perform(&server, &[log.clone()], true, Ok(again)).await else { unreachable!() };
        assert_eq!((done.outcome, done.artifacts.len()), (Outcome::Succeeded, 1));
        assert_eq!((done.artifacts[0].bytes, done.artifacts[0].truncated), (8, Some(true)));
        assert_eq!(std::fs::read(folder.path().join("shop/crash/x/log/app.log")).unwrap(), wanted);
        assert!(!format!("{done:?}").contains("password") && !format!("{done:?}").contains("hunter2"));
    }
    // A log without a line is kept, and nobody hopes for more than there is.
    let mut log = call("GET", "/api/v1/namespaces/shop/pods/a/log");
    log.keep = Some(Keep { name: "none.log".to_owned(), limit: None, whole: false, end: true, none: None });
    let Finish::Done(done) = perform(&Scripted::new([(200, json!(""))]), &[log], true, Ok(third)).await else {
        unreachable!()
    };
    assert_eq!((done.outcome, done.artifacts[0].bytes), (Outcome::Succeeded, 0));
    assert_eq!(done.message, "do it: done, and what was kept is empty");
}

/// What a program that failed has said is kept, and then the step fails: what comes after it does not begin for nothing.
#[tokio::test]
async fn what_ended_badly_is_kept_and_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = BTreeMap::from([("evidence".to_owned(), Volume { directory: folder.path().to_owned() })]);
    let archive = Archive::volume("evidence", &ArtifactsConfig { volumes, stores: BTreeMap::new() }).unwrap();
    let room = || {
        let [namespace, runbook, execution, step] = ["shop", "crash", "x", "look"].map(str::to_owned);
        let place = Place { namespace, runbook, execution, step };
        let (created, expires) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        Ok(Room { archive: archive.clone(), place, quota: 1 << 20, created, expires })
    };
    let until = |path: &str, until: Until| Call { expect: Expect::Until(until), ..call("GET", path) };
    let mut log = call("GET", "/pods/{picked}/log");
    log.keep = Some(Keep { name: "output.txt".to_owned(), limit: None, whole: false, end: false, none: None });
    let ended =
        |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": "hunter2"}});
    let debugged = |state: Value| json!({"status": {"ephemeralContainerStatuses": [{"name": "own", "state": state}]}});
    let job = |condition: &str| json!({"status": {"conditions": [{"type": condition, "status": "True"}]}});
    let pods = |state: Value| {
        json!({"items": [{"metadata": {"name": "p"},
        "status": {"containerStatuses": [{"name": "job", "state": state}]}}]})
    };
    let look = [
        until("/pods/a", Until::ContainerEnded("own".to_owned())),
        Call { request: Request { path: "/pods/a/log".to_owned(), ..log.request.clone() }, ..log.clone() },
    ];
    let mut find = until("/pods", Until::PodOfJob);
    let take = "/metadata/name";
    find.pick = Some(Pick { list: "/items", entry: None, take, optional: false, only: None, each: false });
    let run = [until("/jobs/a", Until::JobEnded), find, log];
    for (calls, answers, wanted) in [
        (&look[..], vec![debugged(ended(0, "Completed"))], "do it: done"),
        (&look, vec![debugged(ended(1, "Error"))], "do it: the program ended with code 1; do it: done"),
        (
            &look,
            vec![debugged(ended(137, "OOMKilled"))],
            "do it: the program ended with code 137 (OOMKilled); do it: done",
        ),
        (&run, vec![job("Complete"), pods(ended(0, "Completed"))], "do it: done"),
        (
            &run,
            vec![job("Failed"), pods(ended(3, "Error"))],
            "do it: the Job has failed; do it: the program ended with code 3; do it: done",
        ),
        (
            &run,
            vec![job("Failed"), json!({"items": []})],
            "do it: the Job has failed; do it: the answer has not what is needed",
        ),
    ] {
        let is_there = wanted.ends_with("do it: done");
        let log = is_there.then(|| json!("password=hunter2"));
        let server = Scripted::new(answers.into_iter().chain(log).map(|answer| (200, answer)));
        let Finish::Done(done) = perform(&server, calls, true, room()).await else { unreachable!() };
        let outcome = if wanted == "do it: done" { Outcome::Succeeded } else { Outcome::Failed };
        assert_eq!((done.outcome, done.message.as_str()), (outcome, wanted));
        assert_eq!(done.artifacts.len(), usize::from(is_there), "{wanted}");
        assert!(!format!("{done:?}").contains("hunter2"), "{done:?}");
        let file = folder.path().join("shop/crash/x/look/output.txt");
        assert_eq!(std::fs::read(&file).is_ok_and(|kept| kept == b"password=hunter2"), is_there, "{wanted}");
        std::fs::remove_dir_all(folder.path().join("shop")).unwrap_or_default();
    }
}

/// However many keep something at the same time, memory is enough, and nobody's share is another namespace's.
#[tokio::test]
async fn what_is_kept_waits_for_memory_within_the_time_of_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = BTreeMap::from([("evidence".to_owned(), Volume { directory: folder.path().to_owned() })]);
    let config = ArtifactsConfig { volumes, stores: BTreeMap::new() };
    let mut archive = Archive::volume("evidence", &config).unwrap();
    archive.memory = Box::leak(Box::new(Shares::new(100, 50)));
    let held = archive.memory("shop", Limit::End(50)).await;
    let room = |namespace: &str| {
        let [runbook, execution, step] = ["crash", "x", "log"].map(str::to_owned);
        Ok(Room {
            archive: archive.clone(),
            place: Place { namespace: namespace.to_owned(), runbook, execution, step },
            quota: 1 << 20,
            created: Timestamp::UNIX_EPOCH,
            expires: Timestamp::UNIX_EPOCH,
        })
    };
    let mut log = call("GET", "/log");
    log.keep = Some(Keep { name: "app.log".to_owned(), limit: Some(10), whole: false, end: true, none: None });
    let server = Scripted::new([(200, json!("a line"))]);
    let kept = async |namespace: &str| {
        let Finish::Done(done) = perform(&server, &[log.clone()], true, room(namespace)).await else { unreachable!() };
        done.outcome
    };
    assert_eq!((kept("shop").await, server.lines().len()), (Outcome::TimedOut, 0));
    assert_eq!((kept("bank").await, server.lines().len()), (Outcome::Succeeded, 1));
    drop(held);
    assert_eq!((kept("shop").await, server.lines().len()), (Outcome::Succeeded, 2));
}

#[tokio::test]
async fn a_picked_value_goes_on_as_one_segment() {
    let list = json!({"items": [{"by": "a", "id": "1"}, {"by": "b", "id": "../x"}]});
    let server = Scripted::new([(200, list), (200, json!({}))]);
    let mut find = call("GET", "/list");
    find.pick = Some(Pick {
        list: "/items",
        entry: Some(("by", "b".to_owned())),
        take: "/id",
        optional: true,
        only: None,
        each: false,
    });
    let calls = [find.clone(), call("DELETE", "/thing/{picked}")];
    assert_eq!(outcome(&server, &calls).await.0, Outcome::Succeeded);
    assert_eq!(server.lines(), ["GET /list", "DELETE /thing/%2E%2E%2Fx"]);
    let empty = Scripted::new([(200, json!({"items": []}))]);
    let (done, message) = outcome(&empty, &calls).await;
    assert_eq!((done, message.as_str()), (Outcome::Succeeded, "do it: there is nothing to do"));
    assert_eq!(empty.lines().len(), 1);
}

#[tokio::test]
async fn everything_that_was_picked_is_meant_but_what_has_ended() {
    let silence = |id: &str, state: &str, by: &str| json!({"id": id, "status": {"state": state}, "createdBy": by});
    let all = json!([
        silence("1", "expired", "us"),
        silence("2", "active", "us"),
        silence("3", "active", "them"),
        silence("4", "pending", "us")
    ]);
    let server = Scripted::new([(200, all), (200, json!({})), (200, json!({}))]);
    let mut find = call("GET", "/silences");
    let only = Some(("/status/state", &["active", "pending"][..]));
    let entry = Some(("createdBy", "us".to_owned()));
    find.pick = Some(Pick { list: "", entry, take: "/id", optional: true, only, each: true });
    assert_eq!(outcome(&server, &[find, call("DELETE", "/silence/{picked}")]).await.0, Outcome::Succeeded);
    assert_eq!(server.lines(), ["GET /silences", "DELETE /silence/2", "DELETE /silence/4"]);
}

#[tokio::test]
async fn what_is_done_already_is_left_out_and_what_has_changed_is_left_alone() {
    let object = |replicas: i64| json!({"metadata": {"uid": "u"}, "spec": {"replicas": replicas}});
    let mut look = call("GET", "/app");
    let part = Part::At("/spec/replicas");
    look.expect = Expect::Known(Known { uid: "u".to_owned(), part, from: vec![json!(4)], to: json!(5) });
    let calls = [look, call("PATCH", "/app"), call("GET", "/app")];
    for (replicas, wanted, lines) in [
        (4, Outcome::Succeeded, &["GET /app", "PATCH /app", "GET /app"][..]),
        (5, Outcome::Succeeded, &["GET /app", "GET /app"]),
        (9, Outcome::Failed, &["GET /app"]),
    ] {
        let server = Scripted::new([(200, object(replicas)), (200, json!({})), (200, json!({}))]);
        let (done, message) = outcome(&server, &calls).await;
        assert_eq!(
            (done, server.lines()),
            (wanted, lines.iter().map(|line| (*line).to_owned()).collect()),
            "{message}"
        );
        assert_eq!(message.contains("somebody has changed it"), wanted == Outcome::Failed, "{message}");
    }
}

/// A patch that was done, and whose answer was lost, is refused when it is sent again: it expects what was there before.
#[tokio::test]
async fn what_is_refused_after_a_lost_answer_is_looked_at_again() {
    let object = |replicas: i64| (200, json!({"metadata": {"uid": "u"}, "spec": {"replicas": replicas}}));
    let mut look = call("GET", "/app");
    let part = Part::At("/spec/replicas");
    look.expect = Expect::Known(Known { uid: "u".to_owned(), part, from: vec![json!(3)], to: json!(5) });
    look.what = "look".to_owned();
    let calls = [look, call("PATCH", "/app/scale"), call("GET", "/rollout")];
    let refused = (422, json!({"kind": "Status", "message": "the test failed"}));
    let lost = [object(3), (504, json!({})), refused.clone()];
    for (answers, wanted, message, last) in [
        ([&lost[..], &[object(5), (200, json!({}))]].concat(), Outcome::Succeeded, "do it: done", "GET /rollout"),
        ([&lost[..], &[object(3)]].concat(), Outcome::Failed, "do it: 422 the test failed", "GET /app"),
        ([&lost[..], &[object(9)]].concat(), Outcome::Failed, "look: somebody has changed it", "GET /app"),
        ([&lost[..], &[(403, json!({}))]].concat(), Outcome::Failed, "do it: 422 the test failed", "GET /app"),
        // Nothing was lost, so nothing was done.
        (vec![object(3), refused], Outcome::Failed, "do it: 422 the test failed", "PATCH /app/scale"),
    ] {
        let server = Scripted::new(answers);
        let (done, said) = outcome(&server, &calls).await;
        assert!(done == wanted && said.starts_with(message), "{done:?} {said}");
        assert_eq!(server.lines().last().map(String::as_str), Some(last), "{said}");
    }
}

#[tokio::test]
async fn a_destination_is_never_quoted() {
    let server = MockServer::start().await;
    let echo = ResponseTemplate::new(403).set_body_json(json!({"message": "token abc is wrong"}));
    Mock::given(any()).respond_with(echo).mount(&server).await;
    let gate = GateLayer::open();
    let outside = outside(&gate, &format!("{}/hook?key=abc", server.uri()));
    let mut tell = call("POST", "");
    (tell.request.to, tell.request.content_type) = (Server::Destination("on-call".to_owned()), Some(JSON));
    tell.request.body = Some(json!({"message": "x"}));
    let deadline = Instant::now() + Duration::from_secs(3);
    let nobody = Scripted::new([(200, json!({}))]);
    let room = Err("nowhere".to_owned());
    let account = Some(nobody.account(&gate));
    let traceparent = Some(TRACE.to_owned());
    let actor = Actor { account, outside: &outside, room, traceparent, repeatable: true, patient: false, deadline };
    let Finish::Done(done) = actor.perform(&[tell.clone()]).await else { unreachable!() };
    assert_eq!((done.outcome, done.message.as_str()), (Outcome::Failed, "do it: 403"));
    let requests = server.received_requests().await.unwrap();
    assert_eq!((requests.len(), requests[0].url.query()), (1, Some("key=abc")));
    assert!(requests[0].headers.contains_key("traceparent"));
    tell.request.to = Server::Destination("other".to_owned());
    let Finish::Done(done) = actor.perform(&[tell]).await else { unreachable!() };
    assert_eq!(done.message, "do it: the configuration has no runbooks.destinations.other");
}

#[tokio::test]
async fn without_a_cluster_what_needs_one_fails_at_once() {
    let outside = outside(&GateLayer::open(), "http://127.0.0.1:9/");
    // The time would be enough for many attempts.
    let deadline = Instant::now() + Duration::from_secs(600);
    let room = Err("nowhere".to_owned());
    let actor = Actor {
        account: None,
        outside: &outside,
        room,
        traceparent: None,
        repeatable: false,
        patient: false,
        deadline,
    };
    let mut program = call("GET", "/api/v1/namespaces/shop/pods/a/exec");
    program.request.streams = true;
    for call in [call("GET", "/api/v1/nodes"), call("PATCH", "/api/v1/nodes/a"), program] {
        let Finish::Done(done) = actor.perform(&[call]).await else { unreachable!() };
        assert_eq!((done.outcome, done.message.as_str()), (Outcome::Failed, "do it: there is no cluster here"));
    }
}

/// A dump that cannot be kept is not made: it stops the process and fills its container.
#[tokio::test]
async fn without_room_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = BTreeMap::from([("evidence".to_owned(), Volume { directory: folder.path().to_owned() })]);
    let config = ArtifactsConfig { volumes, stores: BTreeMap::new() };
    let [namespace, runbook, execution, step] = ["shop", "heap", "x", "heap"].map(str::to_owned);
    let room = Room {
        archive: Archive::volume("evidence", &config).unwrap(),
        place: Place { namespace, runbook, execution, step },
        // The manifest alone takes more.
        quota: 1,
        created: Timestamp::UNIX_EPOCH,
        expires: Timestamp::UNIX_EPOCH,
    };
    let server = Scripted::new([(200, json!({}))]);
    let finish = perform(&server, &dump(), true, Ok(room)).await;
    let Finish::Done(done) = finish else { unreachable!() };
    assert_eq!(done.outcome, Outcome::Failed);
    assert!(done.message.starts_with("keep the file: the artifacts of this runbook take "), "{}", done.message);
    assert_eq!(server.lines(), [""; 0]);
}

fn program(what: &str) -> Call {
    let mut call = call("GET", &format!("/api/v1/namespaces/shop/pods/a/exec?command={what}"));
    call.request.streams = true;
    call
}

/// As the requests of a heap dump are.
fn dump() -> Vec<Call> {
    let mut same = call("GET", "/api/v1/namespaces/shop/pods/a");
    same.expect = Expect::Uid("u".to_owned());
    let keep = Keep { name: "heap.hprof".to_owned(), limit: None, whole: true, end: false, none: None };
    let kept = Call { what: "keep the file".to_owned(), keep: Some(keep), ..program("cat") };
    vec![same, program("jcmd"), kept, Call { cleans: true, ..program("rm") }]
}

/// What holds all secrets of a process does not stay in its container because a step failed or was left.
#[tokio::test]
async fn what_was_written_is_removed_however_the_step_ends() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = BTreeMap::from([("evidence".to_owned(), Volume { directory: folder.path().to_owned() })]);
    let config = ArtifactsConfig { volumes, stores: BTreeMap::new() };
    let room = || {
        let [namespace, runbook, execution, step] = ["shop", "heap", "x", "heap"].map(str::to_owned);
        Ok(Room {
            archive: Archive::volume("evidence", &config).unwrap(),
            place: Place { namespace, runbook, execution, step },
            quota: 1 << 20,
            created: Timestamp::UNIX_EPOCH,
            expires: Timestamp::UNIX_EPOCH,
        })
    };
    let [pod, jcmd, rm] =
        ["", "/exec?command=jcmd", "/exec?command=rm"].map(|rest| format!("GET /api/v1/namespaces/shop/pods/a{rest}"));
    let same = json!({"metadata": {"uid": "u"}});
    // No program can be run here: that is the failure, and the file is looked after all the same.
    let server = Scripted::new([(200, same.clone()), (403, json!({})), (200, same.clone()), (403, json!({}))]);
    let Finish::Done(done) = perform(&server, &dump(), true, room()).await else { unreachable!() };
    assert_eq!(done.outcome, Outcome::Failed);
    assert!(done.message.contains("; what it wrote may still be in the container: "), "{}", done.message);
    assert_eq!(server.lines(), [pod.as_str(), &jcmd, &pod, &rm]);
    // Another Pod by now, before or after: nothing is run in it.
    let other = json!({"metadata": {"uid": "v"}});
    let server = Scripted::new([(200, other.clone())]);
    let Finish::Done(done) = perform(&server, &dump(), true, room()).await else { unreachable!() };
    assert_eq!((done.outcome, server.lines()), (Outcome::Failed, vec![pod.clone()]));
    let server = Scripted::new([(200, same), (403, json!({})), (200, other)]);
    perform(&server, &dump(), true, room()).await;
    assert_eq!(server.lines(), [pod.as_str(), &jcmd, &pod]);
}
