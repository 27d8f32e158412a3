//! What the condition of a Runbook says, and when it is looked at again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::{super::dispatch::tests::Given, *};
use crate::{operator::metrics::Metrics, runbooks::proof::Sealer, testing::FakeApi};

const AT: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/restart";
const ACCOUNT: &str = "/api/v1/namespaces/shop/serviceaccounts/robot";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

/// A stored runbook, changed, with all rights, which what starts runbooks knows.
fn given(change: impl FnOnce(&mut Value)) -> (FakeApi, States, Guarded) {
    given_to(true, change)
}

/// The same; it may be that only its status's watch has told of it yet.
fn given_to(known: bool, change: impl FnOnce(&mut Value)) -> (FakeApi, States, Guarded) {
    let api = FakeApi::default();
    let mut given = Given::of(api.clone(), Sealer::new([5; 32]));
    given.dispatcher.settings.destinations = vec!["pager".to_owned()];
    let runbook = given.runbook(|object| {
        object["spec"] = json!({"serviceAccountName": "robot", "mode": "Auto", "trigger": {"manual": {}},
            "steps": [{"name": "tell", "notify": {"destination": "pager", "message": "x"}}]});
        change(object);
    });
    api.put(AT, serde_json::to_value(runbook.0.as_ref().unwrap()).unwrap());
    given.know_all(known.then(|| DeserializeGuard(runbook.0.clone())));
    api.put(ACCOUNT, json!({"metadata": {"name": "robot", "namespace": "shop"}}));
    may(&api, "subjectaccessreviews/ann", true);
    may(&api, "selfsubjectaccessreviews/self", true);
    let switch = Switch::new(api.client(), "ops", Metrics::new());
    (api.clone(), States { client: api.client(), dispatcher: Arc::new(given.dispatcher), switch }, runbook)
}

fn may(api: &FakeApi, who: &str, allowed: bool) {
    api.put(&format!("{REVIEWS}/{who}"), json!({"metadata": {"name": who}, "status": {"allowed": allowed}}));
}

/// Status, reason and message of Ready, and the mode, as stored.
async fn seen(api: &FakeApi, states: &States, runbook: &Guarded) -> (String, String, String, String) {
    states.switch.paused().await;
    states.look(runbook).await.unwrap();
    let status = api.get(AT).unwrap()["status"].clone();
    let ready = &status["conditions"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&ready["status"]), text(&ready["reason"]), text(&ready["message"]), text(&status["mode"]))
}

#[tokio::test]
async fn each_cause_has_a_sentence_of_its_own() {
    let (api, states, runbook) = given(|_| {});
    let ready = async || seen(&api, &states, &runbook).await;
    assert_eq!(ready().await, ("True".into(), REASON_OK.into(), String::new(), "Auto".into()));
    let mut going = runbook.0.clone().unwrap();
    going.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
    let (status, reason, ..) = seen(&api, &states, &DeserializeGuard(Ok(going))).await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Deleted"));
    may(&api, "selfsubjectaccessreviews/self", false);
    let (status, reason, message, _) = ready().await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "OperatorNotAllowed"));
    assert_eq!(
        message,
        "the operator may not act as ServiceAccount robot: grant the operator's own ServiceAccount the verb impersonate on serviceaccounts with the resource name robot in namespace shop"
    );
    may(&api, "subjectaccessreviews/ann", false);
    let (_, reason, message, _) = ready().await;
    assert_eq!(reason, "NotAllowed");
    assert!(
        message.starts_with("ann, who wrote it, may not use ServiceAccount robot: grant ann the verb"),
        "{message}"
    );
    api.remove(ACCOUNT);
    let (_, reason, message, _) = ready().await;
    let wanted = ("NotAllowed", "there is no ServiceAccount robot in namespace shop");
    assert_eq!((reason.as_str(), message.as_str()), wanted);
    api.remove(&format!("{REVIEWS}/subjectaccessreviews/ann"));
    api.put(ACCOUNT, json!({"metadata": {"name": "robot", "namespace": "shop"}}));
    may(&api, "selfsubjectaccessreviews/self", true);
    let (status, reason, ..) = ready().await;
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "NotKnown"));
}

/// Whoever waits for Ready sends an alert then, and it must not be for nobody.
#[tokio::test]
async fn ready_is_what_alerts_start() {
    let (api, states, runbook) = given_to(false, |_| {});
    states.switch.paused().await;
    assert_eq!(states.look(&runbook).await.unwrap(), Action::requeue(UNTOLD));
    assert_eq!(api.get(AT).unwrap()["status"], Value::Null);
    // What is in the way is told all the same.
    api.remove(ACCOUNT);
    assert_eq!(seen(&api, &states, &runbook).await.1, "NotAllowed");

    let (_, states, runbook) = given(|_| {});
    let has = |change: fn(&mut Runbook)| {
        let mut other = runbook.0.clone().unwrap();
        change(&mut other);
        states.dispatcher.has(&DeserializeGuard(Ok(other)))
    };
    assert!(has(|_| {}));
    assert!(has(|other| other.metadata.generation = Some(0)), "what it knows is newer");
    assert!(!has(|other| other.metadata.generation = Some(2)));
    assert!(!has(|other| other.metadata.uid = Some("made-anew".to_owned())));
    assert!(!has(|other| other.annotations_mut().clear()), "nobody has noted who wrote it");
    assert!(!has(|other| other.metadata.name = Some("another".to_owned())));
}

#[test]
fn what_is_in_the_way_is_looked_at_again_soon() {
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let after = |status: Option<bool>, reason: &str, seconds: i64| {
        let mut all = Vec::new();
        let since = now - jiff::SignedDuration::from_secs(seconds);
        conditions::set(&mut all, READY, status, reason, "", Some(1), since);
        again(&all, now).as_secs()
    };
    let soon: Vec<u64> = [0, 10, 60, 299, 9999].map(|lasts| after(Some(false), "NotAllowed", lasts)).to_vec();
    assert_eq!(soon, [10, 10, 60, 299, 300]);
    assert_eq!(after(None, "NotKnown", 0), 10);
    assert_eq!(after(Some(true), REASON_REFERENCE_MISSING, 9999), 60);
    assert_eq!(after(Some(true), REASON_OK, 0), 300);
}

#[tokio::test]
async fn what_the_configuration_lacks_is_told_before_the_incident() {
    let (api, states, runbook) = given(|object| {
        object["spec"]["steps"] = json!([{"name": "tell", "notify": {"destination": "pagerr", "message": "x"}}]);
        object["spec"]["artifacts"] = json!({"volume": "evidense"});
    });
    let (status, reason, message, _) = seen(&api, &states, &runbook).await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotConfigured"));
    assert_eq!(
        message,
        "spec.steps[0].notify.destination: the operator's configuration has no destination pagerr; did you mean pager?; spec.artifacts.volume: the operator's configuration has no volume evidense; it has none"
    );
}

#[tokio::test]
async fn a_protected_namespace_is_told_before_the_incident() {
    let (_, mut states, runbook) = given(|_| {});
    let dispatcher = Arc::get_mut(&mut states.dispatcher).unwrap();
    dispatcher.settings.operator_namespace = "shop".to_owned();
    let (ready, reason, message) = states.ready("shop", &states.dispatcher.know(&runbook)).await;
    assert_eq!((ready, reason), (Some(false), "ProtectedNamespace"));
    let words =
        "metadata.namespace: shop is a protected namespace, and no runbook there is run; put it into another one";
    assert_eq!(message, words);
}

/// Git may bring it later, so that it could be started is true all the same.
#[tokio::test]
async fn what_is_not_there_yet_is_a_warning() {
    let (api, states, runbook) = given(|object| {
        object["spec"]["trigger"] = json!({"slo": {"burning": "Page", "names": ["nope"]}});
    });
    let (status, reason, message, _) = seen(&api, &states, &runbook).await;
    assert_eq!((status.as_str(), reason.as_str()), ("True", REASON_REFERENCE_MISSING));
    assert_eq!(message, "spec.trigger.slo.names: there is no SLO nope in namespace shop, so it starts nothing");
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/nope", json!({"metadata": {"name": "nope"}}));
    assert_eq!(seen(&api, &states, &runbook).await.1, REASON_OK);
}

/// Nobody has turned it off.
#[tokio::test]
async fn a_pause_is_told_with_its_reason_and_changes_no_mode() {
    let (api, states, runbook) = given(|_| {});
    let map = json!({"metadata": {"name": "plimsoll-runbooks"}, "data": {"paused": "true", "reason": "moving"}});
    api.put("/api/v1/namespaces/ops/configmaps/plimsoll-runbooks", map);
    let wanted = ("True", "Paused", "all runbooks are paused: moving", "Auto");
    let (status, reason, message, mode) = seen(&api, &states, &runbook).await;
    assert_eq!((status.as_str(), reason.as_str(), message.as_str(), mode.as_str()), wanted);
}
