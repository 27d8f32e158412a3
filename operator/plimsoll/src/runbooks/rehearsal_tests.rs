#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use plimsoll_runbook::{matching::matches, parameters::resolve, plan::plan};
use serde_json::{Value, from_value, json};

use super::*;
use crate::{actions::Endpoint, operator::gate::GateLayer, runbooks::switch::CONFIG_MAP, testing::FakeApi};

const RUNBOOK: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/restart";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/self";

fn runbook(mode: &str) -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
        "metadata": {"name": "restart", "namespace": "shop", "uid": "r", "generation": 1},
        "spec": {"mode": mode, "serviceAccountName": "s", "trigger": {"manual": {}},
            "parameters": [{"name": "workload", "object": "Deployment"}],
            "safety": {"minHealthy": 2},
            "steps": [{"name": "again", "restart": {"workload": "workload"}}]}})
}

fn model(runbook: &Value) -> Model {
    plimsoll_runbook::validate(&from_value(runbook.clone()).unwrap()).unwrap().model
}

/// A cluster with the runbook, its account and what it restarts, and who looks at it.
async fn cluster(ready: i64, allowed: bool) -> (FakeApi, Cluster) {
    let api = FakeApi::default();
    api.put(RUNBOOK, runbook("Auto"));
    api.put(
        DEPLOYMENT,
        json!({"metadata": {"name": "checkout", "namespace": "shop", "uid": "d"},
        "spec": {"replicas": 3}, "status": {"readyReplicas": ready}}),
    );
    api.put("/api/v1/namespaces/shop/serviceaccounts/s", json!({"metadata": {"name": "s"}}));
    api.put(REVIEWS, json!({"metadata": {"name": "self"}, "status": {"allowed": allowed}}));
    let me = json!({"metadata": {"name": "self"}, "status": {"userInfo": {"username": "ann", "groups": ["sre"]}}});
    api.put("/apis/authentication.k8s.io/v1/selfsubjectreviews/self", me);
    let http = crate::prometheus::http_client().unwrap();
    let (prometheus, alertmanager, grafana, destinations) = (None, None, None, BTreeMap::new());
    let outside = Outside { http, gate: GateLayer::open(), prometheus, alertmanager, grafana, destinations };
    let cluster = Cluster::new(api.client(), outside, "ops".to_owned()).await.unwrap();
    (api, cluster)
}

async fn planned(rehearsal: &Rehearsal<'_>, now: Timestamp) -> Planned {
    let evidence = matches(&rehearsal.model, &rehearsal.by_hand(now), now).unwrap();
    let given = BTreeMap::from([("workload".to_owned(), "checkout".to_owned())]);
    let values = resolve(&rehearsal.model, &evidence.labels, &given).unwrap();
    let looked = rehearsal.look_up(&values).await.unwrap();
    assert_eq!((looked.objects[0].uid.as_str(), looked.instead), ("d", None));
    plan(&rehearsal.model, &rehearsal.settings(), evidence, &values.values, looked.objects, None).unwrap()
}

#[tokio::test]
async fn guards_are_asked_of_what_is_there_and_nothing_is_written() {
    let now = Timestamp::now();
    let (api, cluster) = cluster(3, true).await;
    let rehearsal = cluster.rehearse(&model(&runbook("Auto"))).await;
    assert_eq!(rehearsal.stored, Stored::Same(None));
    let planned = planned(&rehearsal, now).await;
    assert_eq!(planned.spec.trigger.requested_by.as_deref(), Some("ann"));
    let found = |guarded: &Guarded| guarded.refusals.iter().map(|refusal| refusal.guard).collect::<Vec<_>>();
    let guarded = rehearsal.guards(&planned, None, now).await;
    assert_eq!((found(&guarded), guarded.unknown), (vec![], Vec::<String>::new()));
    assert_eq!(rehearsal.lacking(&planned, false).await, Ok(Lacking::default()));
    assert_eq!(rehearsal.already(&planned).await, None);

    // A run that has just ended, one Pod ready, and a pause.
    let mut past = RunbookExecution::new("past", planned.spec.clone());
    past.metadata.labels = Some(planned.labels.clone().into_iter().collect());
    let mut past = serde_json::to_value(past).unwrap();
    past["status"] = json!({"phase": "Succeeded", "startedAt": now.to_string(), "finishedAt": now.to_string()});
    api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/past", past);
    api.put(
        DEPLOYMENT,
        json!({"metadata": {"name": "checkout", "namespace": "shop", "uid": "d"},
        "spec": {"replicas": 3}, "status": {"readyReplicas": 1}}),
    );
    let switch = json!({"metadata": {"name": CONFIG_MAP}, "data": {"paused": "true", "reason": "moving"}});
    api.put(&format!("/api/v1/namespaces/ops/configmaps/{CONFIG_MAP}"), switch);
    let planned = self::planned(&rehearsal, now).await;
    let guarded = rehearsal.guards(&planned, None, now).await;
    assert_eq!(found(&guarded), [Guard::Paused, Guard::MinHealthy, Guard::Cooldown]);
    assert_eq!(guarded.refusals[0].message, "all runbooks are paused: moving");
    let writes = api.writes();
    assert!(writes.iter().all(|write| write.starts_with("POST ") && write.ends_with("reviews")), "{writes:?}");
}

#[tokio::test]
async fn the_file_counts_and_what_its_account_lacks_is_all_told() {
    let now = Timestamp::now();
    let (api, cluster) = cluster(3, false).await;
    let rehearsal = cluster.rehearse(&model(&runbook("DryRun"))).await;
    assert_eq!(rehearsal.stored, Stored::Other);
    assert_eq!(rehearsal.model.uid, "r", "what is stored over it keeps its history");
    let planned = planned(&rehearsal, now).await;
    let guarded = rehearsal.guards(&planned, None, now).await;
    let guards: Vec<Guard> = guarded.refusals.iter().map(|refusal| refusal.guard).collect();
    assert_eq!(guards, [Guard::NotAllowed, Guard::NotAllowed], "{guarded:?}");
    let lacking = rehearsal.lacking(&planned, false).await.unwrap();
    let wanted =
        "a Role in namespace shop with the rules {apiGroups: [apps], resources: [deployments], verbs: [get, patch]}";
    assert_eq!(lacking.grants(), [wanted]);
    api.remove(RUNBOOK);
    assert_eq!(cluster.rehearse(&rehearsal.model).await.stored, Stored::Not);
    // Whoever may not be the account asks about it, where that is allowed.
    api.remove(REVIEWS);
    assert!(rehearsal.lacking(&planned, false).await.is_err());
    let of_account = "/apis/authorization.k8s.io/v1/subjectaccessreviews/system:serviceaccount:shop:s";
    api.put(of_account, json!({"metadata": {"name": "x"}, "status": {"allowed": true}}));
    assert_eq!(rehearsal.lacking(&planned, false).await, Ok(Lacking::default()));
}

/// What the operator would not know either holds a run back: nobody is told that nothing would.
#[tokio::test]
async fn what_the_operator_cannot_know_holds_it_back() {
    let now = Timestamp::now();
    let (api, mut cluster) = cluster(3, true).await;
    let mut verified = runbook("Auto");
    verified["spec"]["verify"] = json!({"slo": "gone", "onFailure": "Escalate", "escalateTo": "on-call"});
    api.put(RUNBOOK, verified.clone());
    let rehearsal = cluster.rehearse(&model(&verified)).await;
    let planned = planned(&rehearsal, now).await;
    let guarded = rehearsal.guards(&planned, None, now).await;
    let said: Vec<_> = guarded.refusals.iter().map(|refusal| (refusal.guard, refusal.message.as_str())).collect();
    let wanted = "there is no SLO gone in the runbook's namespace; whether Prometheus has a burn rate of it was not asked: give --prometheus";
    assert_eq!((said, guarded.unknown), (vec![(Guard::NotKnown, wanted)], Vec::new()));

    // Who may not list executions does not know, and the operator does.
    let forbidden = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"});
    api.refuse("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions", forbidden);
    let guarded = rehearsal.guards(&planned, None, now).await;
    assert_eq!(guarded.refusals.len(), 1, "{guarded:?}");
    assert!(guarded.unknown.iter().any(|what| what.contains("executions cannot be read")), "{guarded:?}");

    // A Prometheus that is not there is said to be so, with the cause.
    let prometheus = Endpoint { url: "http://127.0.0.1:1".to_owned(), tenant: None, bearer_token_file: None };
    cluster.prometheus_answers().await.unwrap();
    cluster.outside.prometheus = Some(prometheus);
    let why = cluster.prometheus_answers().await.unwrap_err().to_string();
    assert!(why.starts_with("prometheus: ") && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn kinds_that_the_cluster_has_not_are_told() {
    let now = Timestamp::now();
    let (api, cluster) = cluster(3, true).await;
    let rehearsal = cluster.rehearse(&model(&runbook("Auto"))).await;
    let planned = planned(&rehearsal, now).await;
    assert_eq!(rehearsal.unknown_kinds(&planned).await, ["deployments of apps/v1"]);
    api.put("/apis/apps/v1", json!({"kind": "APIResourceList", "resources": [{"name": "deployments"}]}));
    assert_eq!(rehearsal.unknown_kinds(&planned).await, Vec::<String>::new());
    // Who may not ask does not know.
    api.refuse("/apis/apps/v1", json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}));
    assert_eq!(rehearsal.unknown_kinds(&planned).await, Vec::<String>::new());
}

/// That whoever asks lacks a right keeps the operator from nothing.
#[tokio::test]
async fn what_the_asker_may_not_look_at_is_assumed() {
    let now = Timestamp::now();
    let (api, cluster) = cluster(0, true).await;
    let rehearsal = cluster.rehearse(&model(&runbook("Auto"))).await;
    let message = "deployments.apps is forbidden: User \"ann\" cannot get resource \"deployments\"";
    api.refuse(DEPLOYMENT, json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": message}));
    let evidence = matches(&rehearsal.model, &rehearsal.by_hand(now), now).unwrap();
    let given = BTreeMap::from([("workload".to_owned(), "checkout".to_owned())]);
    let values = resolve(&rehearsal.model, &evidence.labels, &given).unwrap();
    let Looked { objects, unread, .. } = rehearsal.look_up(&values).await.unwrap();
    assert_eq!(objects[0].uid, "UID-OF-WORKLOAD");
    let planned = plan(&rehearsal.model, &rehearsal.settings(), evidence, &values.values, objects, None).unwrap();
    let guarded = rehearsal.guards(&planned, unread.as_deref(), now).await;
    assert_eq!(guarded.refusals, []);
    assert!(guarded.unknown.iter().any(|what| what.contains(message)), "{guarded:?}");
}
