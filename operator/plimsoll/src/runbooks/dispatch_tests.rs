#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use kube::runtime::{reflector::store::Writer, watcher};
use plimsoll_runbook::names;
use serde_json::{Value, from_value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::{
    actions::Endpoint,
    operator::gate::{GateLayer, Lease},
    testing::FakeApi,
};

const EXECUTIONS: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions";

pub(in crate::runbooks) struct Given {
    api: FakeApi,
    pub(in crate::runbooks) dispatcher: Dispatcher,
    writer: Writer<Guarded>,
    sealer: Sealer,
}

fn given() -> Given {
    let given = Given::of(FakeApi::default(), Sealer::new([5; 32]));
    given.api.put(
        "/apis/apps/v1/namespaces/shop/deployments/checkout",
        json!({"metadata": {"name": "checkout", "namespace": "shop", "uid": "d"}, "spec": {"replicas": 2}}),
    );
    given
}

fn given_over(api: FakeApi, sealer: Sealer) -> Given {
    let writer = Writer::<Guarded>::default();
    let (client, settings) = (api.client(), Settings { operator_namespace: "ops".to_owned(), ..Settings::default() });
    let teller = Teller::new(client.clone(), "Run");
    let metrics = Metrics::new();
    let gate = GateLayer { lease: Lease::forever(), metrics: Arc::clone(&metrics) };
    let (prometheus, destinations) = (None, BTreeMap::new());
    let http = crate::prometheus::http_client().unwrap();
    let outside = Outside { http, gate, prometheus, alertmanager: None, grafana: None, destinations };
    let dispatcher = Dispatcher::new(client, writer.as_reader(), sealer.clone(), settings, teller, metrics, outside);
    Given { api, dispatcher, writer, sealer }
}

fn runbook(sealer: &Sealer, change: impl FnOnce(&mut Value)) -> Guarded {
    let mut object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
        "metadata": {"name": "restart", "namespace": "shop", "uid": "r", "generation": 1, "resourceVersion": "1"},
        "spec": {"serviceAccountName": "s", "trigger": {"alert": ["alertname=\"Leaks\""]},
            "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"}],
            "steps": [{"name": "again", "restart": {"workload": "workload"}}]}});
    let runbook: Runbook = from_value(object.clone()).unwrap();
    let mut author = Author { username: "ann".to_owned(), ..Author::default() };
    author.seal = sealer.of_author("shop", "restart", &runbook.spec, &author).unwrap();
    object["metadata"]["annotations"] = json!({AUTHOR: serde_json::to_string(&author).unwrap()});
    change(&mut object);
    DeserializeGuard(Ok(from_value(object).unwrap()))
}

impl Given {
    /// With nothing but these.
    pub(in crate::runbooks) fn of(api: FakeApi, sealer: Sealer) -> Self {
        given_over(api, sealer)
    }

    /// A runbook whose author is noted after a change of its content.
    pub(in crate::runbooks) fn runbook(&self, change: impl FnOnce(&mut Value)) -> Guarded {
        let mut object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "spec": {},
            "metadata": {"name": "restart", "namespace": "shop", "uid": "r", "generation": 1, "resourceVersion": "1"}});
        change(&mut object);
        let mut runbook: Runbook = from_value(object).unwrap();
        let mut author = Author { username: "ann".to_owned(), ..Author::default() };
        author.seal =
            self.sealer.of_author(&runbook.namespace().unwrap(), &runbook.name_any(), &runbook.spec, &author).unwrap();
        runbook.annotations_mut().insert(AUTHOR.to_owned(), serde_json::to_string(&author).unwrap());
        DeserializeGuard(Ok(runbook))
    }

    pub(in crate::runbooks) fn know(&mut self, runbook: Guarded) {
        self.know_all([runbook]);
    }

    pub(in crate::runbooks) fn know_all(&mut self, runbooks: impl IntoIterator<Item = Guarded>) {
        self.writer.apply_watcher_event(&watcher::Event::Init);
        for runbook in runbooks {
            self.writer.apply_watcher_event(&watcher::Event::InitApply(runbook));
        }
        self.writer.apply_watcher_event(&watcher::Event::InitDone);
    }

    /// Prometheus takes longer than anybody waits.
    pub(in crate::runbooks) async fn hanging(&mut self) -> MockServer {
        let server = MockServer::start().await;
        let never = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
        Mock::given(any()).respond_with(never).mount(&server).await;
        let prometheus = Endpoint { url: server.uri(), tenant: None, bearer_token_file: None };
        self.dispatcher.outside.prometheus = Some(prometheus);
        server
    }

    /// A runbook of another namespace that asks Prometheus for what it is about, when this happens.
    pub(in crate::runbooks) fn asking(&self, namespace: &str, trigger: Value) -> Guarded {
        let asks = self.runbook(|object| {
            object["metadata"] = json!({"name": "asks", "namespace": namespace, "uid": namespace, "generation": 1,
                "resourceVersion": "1"});
            object["spec"] = json!({"serviceAccountName": "s", "mode": "DryRun", "trigger": trigger,
                "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod", "fromQuery": format!("up{{n={namespace:?}}}")}],
                "steps": [{"name": "a", "evictPod": {"pod": "pod"}}]});
        });
        self.dispatcher.know(&asks).unwrap();
        asks
    }

    async fn accept(&self, change: impl FnOnce(&mut Alert)) -> Result<Stored, String> {
        let labels = [("alertname", "Leaks"), ("deployment", "checkout")];
        let mut alert = Alert {
            fingerprint: "f1".to_owned(),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            starts_at: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            resolved_at: None,
            named: Vec::new(),
        };
        change(&mut alert);
        self.dispatcher.accept(&alert, &crate::trace::received(None)).await.map_err(|error| error.to_string())
    }

    /// How often one was to be created.
    fn executions(&self) -> usize {
        self.api.writes().iter().filter(|write| **write == format!("POST {EXECUTIONS}")).count()
    }
}

#[tokio::test]
async fn an_alert_is_one_execution_with_a_seal_of_all_it_says() {
    let mut given = given();
    assert_eq!(given.accept(|_| {}).await, Err("the runbooks are not known yet".to_owned()));
    given.know(runbook(&given.sealer, |_| {}));
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Now));
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Before));
    assert_eq!(given.executions(), 1, "what is known is not asked of the API server again");
    let at = "2026-01-01T00:00:00.5Z".parse().unwrap();
    let path = format!("{EXECUTIONS}/{}", names::execution("restart", "r", "f1", at, "d"));
    let execution: RunbookExecution = from_value(given.api.get(&path).unwrap()).unwrap();
    let (name, spec) = (execution.name_any(), &execution.spec);
    // The API server rounds times to seconds; the seal is of what it stores.
    let right = seal(&given.sealer, "ann", "shop", &name, spec).unwrap();
    assert_eq!(execution.annotations()[SEAL], right);
    assert_eq!(execution.annotations()[WRITTEN_BY], "ann");
    assert_ne!(seal(&given.sealer, "eve", "shop", &name, spec).unwrap(), right);
    let more = RunbookExecutionSpec { service_account_name: "root".to_owned(), ..spec.clone() };
    assert_ne!(seal(&given.sealer, "ann", "shop", &name, &more).unwrap(), right);
}

#[tokio::test]
async fn what_cannot_be_stored_now_is_an_error_and_what_never_can_is_told() {
    let mut given = given();
    given.know(runbook(&given.sealer, |_| {}));
    given.api.fail(true);
    assert!(given.accept(|_| {}).await.unwrap_err().contains("etcd is away"));
    given.api.fail(false);
    let missing = given.accept(|alert| {
        alert.labels.insert("deployment".to_owned(), "gone".to_owned());
    });
    assert_eq!(missing.await, Ok(Stored::Refused));
    let forged = given.accept(|alert| {
        alert.labels.insert("deployment".to_owned(), "../../secrets/x".to_owned());
    });
    assert_eq!(forged.await, Ok(Stored::Refused));
    let elsewhere = given.accept(|alert| {
        alert.labels.insert("namespace".to_owned(), "bank".to_owned());
    });
    assert_eq!(elsewhere.await, Ok(Stored::Nothing));
    assert_eq!(given.executions(), 1, "the one that failed");
    let text = given.dispatcher.metrics.text();
    assert!(text.contains("plimsoll_runbook_refusals_total{reason=\"TargetNotFound\"} 1"), "{text}");
    assert!(text.contains("plimsoll_runbook_refusals_total{reason=\"ParameterWrong\"} 1"), "{text}");
}

/// What somebody may mend is asked for again; what no API server ever takes is not, and is told.
#[tokio::test]
async fn an_answer_says_whether_it_helps_to_come_again() {
    let status = |code: u16, reason: &str, message: &str, kind: &str| {
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
            "details": {"kind": kind, "name": "shop"}})
    };
    let target = "/apis/apps/v1/namespaces/shop/deployments/checkout";
    for (path, answer, want, reason) in [
        (
            target,
            status(403, "Forbidden", "cannot impersonate", "serviceaccounts"),
            Err("cannot impersonate"),
            "NotAllowed",
        ),
        (EXECUTIONS, status(404, "NotFound", "namespaces \"shop\" not found", "namespaces"), Ok(Stored::Nothing), ""),
        // The definition of executions is being replaced.
        (
            EXECUTIONS,
            status(404, "NotFound", "the server could not find the requested resource", ""),
            Err("could not find the requested resource"),
            "",
        ),
        (EXECUTIONS, status(413, "RequestEntityTooLarge", "limit is 3145728", ""), Ok(Stored::Refused), "NotPlanned"),
        (EXECUTIONS, status(500, "", "etcdserver: request is too large", ""), Ok(Stored::Refused), "NotPlanned"),
        (
            EXECUTIONS,
            status(422, "Invalid", "spec.steps: Too many", "runbookexecutions"),
            Ok(Stored::Refused),
            "NotPlanned",
        ),
    ] {
        let mut given = given();
        given.know(runbook(&given.sealer, |_| {}));
        given.api.refuse(path, answer.clone());
        match (given.accept(|_| {}).await, want) {
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (found, want) => assert_eq!(found, want.map_err(str::to_owned), "{answer}"),
        }
        let text = given.dispatcher.metrics.text();
        let refusals: Vec<&str> =
            text.lines().filter(|line| line.starts_with("plimsoll_runbook_refusals_total{")).collect();
        let told = if reason.is_empty() {
            vec![]
        } else {
            vec![format!("plimsoll_runbook_refusals_total{{reason=\"{reason}\"}} 1")]
        };
        assert_eq!(refusals, told, "{answer}");
    }
}

/// What the API server refuses is the first right that is missing; all of them are told at once.
#[tokio::test]
async fn an_account_without_rights_is_told_all_that_it_lacks() {
    let mut given = given();
    given.know(runbook(&given.sealer, |_| {}));
    let forbidden = |user: &str| {
        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message":
            format!("deployments.apps \"checkout\" is forbidden: User \"{user}\" cannot get resource \"deployments\" in API group \"apps\" in the namespace \"shop\"")})
    };
    let target = "/apis/apps/v1/namespaces/shop/deployments/checkout";
    given.api.refuse(target, forbidden("system:serviceaccount:shop:s"));
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    given.api.put(&format!("{reviews}/self"), json!({"metadata": {"name": "self"}, "status": {"allowed": false}}));
    let message = given.accept(|_| {}).await.unwrap_err();
    let lacks = "; ServiceAccount shop/s lacks rights; bind it to a Role in namespace shop with the rules \
        {apiGroups: [apps], resources: [deployments], verbs: [get, patch]}";
    assert!(message.contains("cannot get resource") && message.ends_with(lacks), "{message}");
    assert!(given.api.notes().iter().any(|note| note.ends_with(lacks)), "{:?}", given.api.notes());
    // A storm of the same asks once.
    let asked = || given.api.writes().iter().filter(|write| write.ends_with("reviews")).count();
    let before = asked();
    assert_eq!(given.accept(|_| {}).await.unwrap_err(), message);
    assert_eq!(asked(), before);
    // What somebody else lacks is not the account's.
    given.api.refuse(target, forbidden("eve"));
    assert!(given.accept(|_| {}).await.unwrap_err().ends_with("in the namespace \"shop\""));
    assert_eq!(asked(), before);
}

#[tokio::test]
async fn a_runbook_whose_author_nobody_vouches_for_is_not_started() {
    let stolen = |object: &mut Value| object["spec"]["serviceAccountName"] = json!("root");
    let unsigned = |object: &mut Value| object["metadata"]["annotations"] = json!({});
    let invalid = |object: &mut Value| object["spec"]["steps"][0]["restart"]["workload"] = json!("nobody");
    for (change, wanted) in [
        (&stolen as &dyn Fn(&mut Value), "the note of who wrote it is not of this content"),
        (&unsigned, "nobody has noted who wrote it"),
        (&invalid, "there is no parameter nobody"),
    ] {
        let mut given = given();
        let guarded = runbook(&given.sealer, change);
        let why = match given.dispatcher.know(&guarded).unwrap_err() {
            Unusable::Invalid(message) | Unusable::Unsealed(message) => message,
        };
        assert!(why.contains(wanted), "{why}");
        given.know(guarded);
        assert_eq!(given.accept(|_| {}).await, Ok(Stored::Nothing));
        assert_eq!(given.executions(), 0);
    }
}

#[tokio::test]
async fn what_is_over_is_told_to_what_has_not_ended() {
    let mut given = given();
    given.know(runbook(&given.sealer, |_| {}));
    let execution = |name: &str, phase: &str, since: &str| {
        let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"runbook": {"name": "restart", "uid": "r", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                "trigger": {"kind": "Alert", "fingerprint": "f1", "startsAt": since},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}, "status": {"phase": phase}});
        given.api.put(&format!("{EXECUTIONS}/{name}"), object);
    };
    execution("waits", "Blocked", "2026-01-01T00:00:00Z");
    execution("ended", "Failed", "2026-01-01T00:00:00Z");
    execution("earlier", "Blocked", "2025-01-01T00:00:00Z");
    let over = given.accept(|alert| alert.resolved_at = Some("2026-01-01T01:00:00Z".parse().unwrap()));
    assert_eq!(over.await, Ok(Stored::Resolved));
    let told = |name: &str| {
        given.api.get(&format!("{EXECUTIONS}/{name}")).unwrap()["metadata"]["annotations"][RESOLVED_AT].clone()
    };
    assert_eq!(told("waits"), "2026-01-01T01:00:00Z");
    assert_eq!((told("ended"), told("earlier")), (Value::Null, Value::Null));
    // An alert that is for no runbook costs no list.
    let before = given.api.writes().len();
    let other = given.accept(|alert| {
        alert.labels.insert("alertname".to_owned(), "Other".to_owned());
        alert.resolved_at = Some("2026-01-01T01:00:00Z".parse().unwrap());
    });
    assert_eq!((other.await, given.api.writes().len()), (Ok(Stored::Nothing), before));
}

/// A post that was stored in part comes again and again, with all that it says.
#[tokio::test]
async fn what_is_repeated_asks_the_api_server_nothing() {
    let mut given = given();
    given.know(runbook(&given.sealer, |_| {}));
    let over = |alert: &mut Alert| alert.resolved_at = Some("2026-01-01T01:00:00Z".parse().unwrap());
    assert_eq!(given.accept(over).await, Ok(Stored::Resolved), "nobody has told of it before");
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Now));
    let asked = given.api.requests();
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Before));
    assert_eq!(given.api.requests(), asked);
    // One that came after the end, from an Alertmanager that is behind, is told as well.
    assert_eq!(given.accept(over).await, Ok(Stored::Resolved));
    let at = "2026-01-01T00:00:00.5Z".parse().unwrap();
    let path = format!("{EXECUTIONS}/{}", names::execution("restart", "r", "f1", at, "d"));
    assert!(given.api.get(&path).unwrap()["metadata"]["annotations"][RESOLVED_AT].is_string());
    let asked = given.api.requests();
    assert_eq!(given.accept(over).await, Ok(Stored::Resolved));
    assert_eq!(given.api.requests(), asked);
    // Another runbook that the same alert starts: its execution does not know yet.
    let other = runbook(&given.sealer, |_| {});
    let mut other = serde_json::to_value(other.0.unwrap()).unwrap();
    (other["metadata"]["name"], other["metadata"]["uid"]) = (json!("other"), json!("o"));
    let other = given.runbook(|object| {
        *object = other.clone();
    });
    given.know(other);
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Now));
    assert_eq!(given.accept(over).await, Ok(Stored::Resolved));
    let path = format!("{EXECUTIONS}/{}", names::execution("other", "o", "f1", at, "d"));
    assert!(given.api.get(&path).unwrap()["metadata"]["annotations"][RESOLVED_AT].is_string());
}

/// Whoever may post alerts could fill the cluster with executions.
#[tokio::test]
async fn where_there_are_too_many_executions_alerts_are_not_taken() {
    let mut given = given();
    given.know(runbook(&given.sealer, |_| {}));
    given.api.put(&format!("{EXECUTIONS}/other"), json!({"metadata": {"name": "other", "namespace": "shop"}}));
    given.dispatcher = given.dispatcher.at_most(1);
    let refused = given.accept(|_| {}).await.unwrap_err();
    assert!(refused.contains("there are 1 RunbookExecutions, and at most 1 may be"), "{refused}");
    assert_eq!(given.executions(), 0);
    let told = given.api.writes().iter().filter(|write| write.contains("/events")).count();
    assert_eq!(told, 1, "{:?}", given.api.writes());
    given.dispatcher = given.dispatcher.at_most(2);
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Now));
}

/// A replica that does not lead writes nothing over it: the run comes again, and somebody is told.
#[tokio::test]
async fn what_somebody_has_made_under_the_name_of_a_run_is_no_run() {
    let mut given = given();
    given.know(runbook(&given.sealer, |_| {}));
    let at = "2026-01-01T00:00:00.5Z".parse().unwrap();
    let path = format!("{EXECUTIONS}/{}", names::execution("restart", "r", "f1", at, "d"));
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Now));
    let mut made = given.api.get(&path).unwrap();
    let mut another = Given::of(given.api.clone(), given.sealer.clone());
    another.know(runbook(&given.sealer, |_| {}));
    assert_eq!(another.accept(|_| {}).await, Ok(Stored::Before), "the operator's own");
    made["metadata"]["annotations"][SEAL] = json!("made up");
    given.api.put(&path, made);
    let mut third = Given::of(given.api.clone(), given.sealer.clone());
    third.know(runbook(&given.sealer, |_| {}));
    for _ in 0..2 {
        assert!(third.accept(|_| {}).await.unwrap_err().contains("bears no seal of the operator's"));
    }
    assert!(given.api.notes().iter().any(|note| note.contains("bears no seal")), "{:?}", given.api.notes());
    assert_eq!(given.api.get(&path).unwrap()["metadata"]["annotations"][SEAL], "made up");
}

/// Whoever keeps a runbook from going does not decide what it does meanwhile.
#[tokio::test]
async fn what_is_being_deleted_starts_nothing() {
    let mut given = given();
    let going = |object: &mut Value| {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["finalizers"] = json!(["theirs"]);
    };
    given.know(runbook(&given.sealer, going));
    assert_eq!(given.accept(|_| {}).await, Ok(Stored::Nothing));
}

/// A broad matcher and a query that hangs, written by whoever may write a runbook anywhere, keep nobody else's alert from
/// being stored within the time of a post.
#[tokio::test]
async fn nobody_waits_for_the_query_of_somebody_else() {
    let mut given = given();
    let _server = given.hanging().await;
    let others = ["m1", "m2", "m3", "m4", "m5"].map(|of| given.asking(of, json!({"alert": ["alertname=\"Leaks\""]})));
    let own = runbook(&given.sealer, |_| {});
    given.know_all(others.into_iter().chain([own]));
    let post = async {
        for n in 0..20 {
            let accepted = given.accept(|alert| alert.fingerprint = format!("f{n}")).await;
            let error = accepted.unwrap_err();
            assert!(error.starts_with("parameter pod: ") && error.contains("2 s"), "{error}");
        }
    };
    tokio::time::timeout(Duration::from_secs(9), post).await.unwrap();
    assert_eq!(given.executions(), 20);
}
