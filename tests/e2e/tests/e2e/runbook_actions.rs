//! Each action with real servers around it: what its account may not do is not done, faults and closer measurement are
//! put back, evidence arrives where it should.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post as on_post,
};
use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{Config, watcher},
    },
};
use plimsoll_api::{RunbookExecutionStatus, execution::Phase};
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, test};
use plimsoll_testbed::{ControlPlane, ControlPlaneOptions, Server, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::SOON,
    runbook_ground::{Ground, TOKEN, alert, post},
};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(CONTROL_PLANE, what_an_account_may_not_do_is_not_done),
        test(CONTROL_PLANE, faults_and_closer_measurement_are_put_back),
        test(CONTROL_PLANE, evidence_and_marks_arrive_outside),
    ]
}

const IMAGE: &str = "registry.example/debug@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A kind of another project, as far as this test needs it: any content, and a status.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"spec": open.clone(), "status": open}}}}]}})
}

const CHAOS: [(&str, &str); 4] = [
    ("PodChaos", "podchaos"),
    ("NetworkChaos", "networkchaos"),
    ("StressChaos", "stresschaos"),
    ("Workflow", "workflows"),
];

async fn definitions(plane: &ControlPlane) -> Result<()> {
    for (kind, plural) in CHAOS {
        plane.apply(&definition("chaos-mesh.org", "v1alpha1", kind, plural).to_string()).await?;
    }
    for (group, version, kind, plural) in [
        ("litmuschaos.io", "v1alpha1", "ChaosEngine", "chaosengines"),
        ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
        ("opentelemetry.io", "v1beta1", "OpenTelemetryCollector", "opentelemetrycollectors"),
    ] {
        plane.apply(&definition(group, version, kind, plural).to_string()).await?;
    }
    plane.established().await
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// What objects are looked up with.
fn looks() -> Value {
    json!([
        rule("", &["pods"], &["get"]),
        rule("apps", &["deployments", "replicasets"], &["get", "list"]),
        rule("policy", &["poddisruptionbudgets"], &["list"]),
        rule("autoscaling", &["horizontalpodautoscalers"], &["list"]),
        rule("monitoring.coreos.com", &["servicemonitors"], &["get"]),
        rule("opentelemetry.io", &["opentelemetrycollectors"], &["get"]),
    ])
}

/// The account may also do something with Nodes.
async fn nodes(ground: &Ground, account: &str, verbs: &[&str]) -> Result<()> {
    let api = "rbac.authorization.k8s.io/v1";
    let name = format!("nodes-of-{account}");
    let role = json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [rule("", &["nodes"], verbs)]});
    let binding = json!({"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "shop"}]});
    for object in [role, binding] {
        ground.plane.apply(&object.to_string()).await?;
    }
    Ok(())
}

/// A Deployment with an earlier revision, a Pod, a Node, a ServiceMonitor and a collector: nothing runs, all is there.
async fn objects(ground: &Ground) -> Result<()> {
    ground.deployment("checkout").await?;
    let template = |image: &str| json!({"metadata": {"labels": {"app": "checkout"}}, "spec": {"containers": [{"name": "app", "image": image}]}});
    ground
        .plane
        .kubectl(["annotate", "deployment/checkout", "-n", "shop", "deployment.kubernetes.io/revision=2"])
        .await?;
    let deployment: Value =
        serde_json::from_str(&ground.plane.kubectl(["get", "deployment/checkout", "-n", "shop", "-o=json"]).await?)?;
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "controller": true,
        "uid": deployment["metadata"]["uid"]}]);
    for (revision, image) in [("1", "registry.example/app:1"), ("2", "registry.example/app")] {
        let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("checkout-{revision}"), "namespace": "shop", "ownerReferences": owner,
                "labels": {"app": "checkout"},
                "annotations": {"deployment.kubernetes.io/revision": revision}},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "checkout"}}, "template": template(image)}});
        ground.plane.apply(&set.to_string()).await?;
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"serviceAccountName": "looks", "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "registry.example/app"}]}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}});
    let monitor = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"endpoints": [{"port": "web", "interval": "30s"}, {"port": "admin"}]}});
    let collector = json!({"apiVersion": "opentelemetry.io/v1beta1", "kind": "OpenTelemetryCollector",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"config": {"processors": {"probabilistic_sampler": {"sampling_percentage": 5}}}}});
    for object in [pod, node, monitor, collector] {
        ground.plane.apply(&object.to_string()).await?;
    }
    Ok(())
}

/// A runbook of one step over all these objects.
fn runbook(alert: &str, account: &str, action: &Value) -> Value {
    let object = |name: &str, kind: &str, value: &str| json!({"name": name, "object": kind, "default": value});
    let mut step = action.clone();
    step["name"] = json!("it");
    // A fault hits the target alone.
    let target = action.pointer("/chaos/object").cloned().unwrap_or_else(|| json!("pod"));
    json!({"mode": "Auto", "target": target, "serviceAccountName": account, "trigger": {"alert": [format!("alertname=\"{alert}\"")]},
        "parameters": [object("pod", "Pod", "checkout"), object("app", "Deployment", "checkout"),
            object("node", "Node", "node-1"), object("monitor", "ServiceMonitor", "checkout"),
            object("collector", "OpenTelemetryCollector", "checkout")],
        "steps": [step], "safety": {"minHealthy": 0, "cooldown": "1s"}, "artifacts": {"volume": "evidence"}})
}

/// Every action that asks the API server, tried with an account that may look at its objects and do nothing: the step
/// fails with what is lacking, verb and resource, and nothing has changed.
async fn what_an_account_may_not_do_is_not_done(testbed: &Testbed) -> Result<()> {
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    let ground = Ground::over(plane, None, None, json!({"images": ["registry.example/"]})).await?;
    definitions(&ground.plane).await?;
    ground.account("looks", looks()).await?;
    nodes(&ground, "looks", &["get"]).await?;
    objects(&ground).await?;
    let mut operator = ground.operator(testbed).await?;
    let chaos = |fault: Value| {
        let mut chaos = json!({"object": "app", "duration": "10s"});
        for (name, value) in fault.as_object().into_iter().flatten() {
            chaos[name] = value.clone();
        }
        json!({"chaos": chaos})
    };
    let delay = json!({"networkChaos": {"delay": {"latency": "100ms"}}});
    let table: Vec<(Value, &str, &str)> = vec![
        (json!({"logs": {"pod": "pod"}}), "get", "pods/log"),
        (
            json!({"debugContainer": {"pod": "pod", "image": IMAGE, "command": ["ps"]}}),
            "patch",
            "pods/ephemeralcontainers",
        ),
        (json!({"profile": {"pod": "pod", "port": 6060, "kinds": ["heap"]}}), "get", "pods/proxy"),
        (json!({"heapDump": {"pod": "pod", "jvm": {}}}), "get", "pods/exec"),
        (json!({"heapDump": {"pod": "pod", "core": {"image": IMAGE}}}), "patch", "pods/ephemeralcontainers"),
        (json!({"exec": {"pod": "pod", "command": ["payout"]}}), "get", "pods/exec"),
        (json!({"describe": {"object": "pod"}}), "list", "events"),
        (json!({"job": {"image": IMAGE, "command": ["true"]}}), "create", "jobs"),
        (json!({"scale": {"workload": "app", "replicas": 3, "max": 5}}), "patch", "deployments/scale"),
        (json!({"restart": {"workload": "app"}}), "patch", "deployments"),
        (json!({"rollback": {"workload": "app"}}), "patch", "deployments"),
        (json!({"evictPod": {"pod": "pod"}}), "create", "pods/eviction"),
        (json!({"cordon": {"node": "node"}}), "patch", "nodes"),
        (chaos(json!({"podChaos": {"action": "PodKill"}})), "create", "podchaos"),
        (chaos(delay), "create", "networkchaos"),
        (chaos(json!({"stressChaos": {"cpu": {"workers": 1}}})), "create", "stresschaos"),
        (
            chaos(json!({"chaosEngine": {"serviceAccount": "litmus", "experiment": "pod-delete"}})),
            "create",
            "chaosengines",
        ),
        (
            json!({"telemetryProfile": {"object": "monitor", "profile": "debug", "for": "1m"}}),
            "patch",
            "servicemonitors",
        ),
        (
            json!({"telemetryProfile": {"object": "collector", "profile": "debug", "for": "1m"}}),
            "patch",
            "opentelemetrycollectors",
        ),
    ];
    let before = everything(&ground).await?;
    for (i, (action, verb, resource)) in table.iter().enumerate() {
        let (name, alert_name) = (format!("row-{i}"), format!("Row{i}"));
        let kind = action.as_object().and_then(|action| action.keys().next()).context("an action")?;
        ground.runbook(&name, runbook(&alert_name, "looks", action)).await.with_context(|| kind.clone())?;
        let posted = post(&[alert(&alert_name, "checkout", 100 + u64::try_from(i)?)]);
        ensure!(ground.post(TOKEN, &posted).await?.0 == 200, "{kind}");
        let ended = ground.only(&name, |status| status.phase.is_terminal()).await.with_context(|| kind.clone())?;
        let status = ended.status.context("status")?;
        let said = status.steps.first().and_then(|step| step.effect.message.clone()).unwrap_or_default();
        let lacking = format!("cannot {verb} resource \"{resource}\"");
        ensure!(status.phase == Phase::Failed, "{kind}: {status:?}");
        ensure!(said.contains("403") && said.contains(&lacking), "{kind}: {said}, not {lacking}");
        ensure!(said.contains("system:serviceaccount:shop:looks"), "{kind}: {said}");
    }
    let after = everything(&ground).await?;
    ensure!(before == after, "something was done:\n{before:#?}\n{after:#?}");
    operator.stop().await?;
    // The table is of every action, but for those that ask nothing of the API server.
    let tried: Vec<&String> = table.iter().filter_map(|(action, ..)| action.as_object()?.keys().next()).collect();
    let elsewhere = ["silence", "notify", "annotate", "wait", "query", "verify"];
    for (_, field) in plimsoll_api::ActionKind::ALL {
        ensure!(elsewhere.contains(&field) || tried.iter().any(|kind| **kind == field), "{field} was not tried");
    }
    Ok(())
}

/// All objects that steps could have changed or made, with their versions.
async fn everything(ground: &Ground) -> Result<BTreeMap<String, String>> {
    let kinds = "pods,deployments,replicasets,jobs,servicemonitors,opentelemetrycollectors,podchaos,networkchaos,\
        stresschaos,workflows,chaosengines";
    let columns = "custom-columns=K:.kind,N:.metadata.name,V:.metadata.resourceVersion";
    let mut text = ground.plane.kubectl(["get", kinds, "-n", "shop", "--no-headers", "-o", columns]).await?;
    text += &ground.plane.kubectl(["get", "nodes", "--no-headers", "-o", columns]).await?;
    let rows = text.lines().filter_map(|line| line.trim().rsplit_once(' '));
    Ok(rows.map(|(what, version)| (what.trim().to_owned(), version.to_owned())).collect())
}

/// What Chaos Mesh and Litmus would say about faults: hit a moment later, over when their time is.
async fn stub(client: Client, group: &str, kind: &str, plural: &str, seen: Arc<Mutex<Vec<Value>>>) {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1alpha1", kind), plural);
    let all: Api<DynamicObject> = Api::namespaced_with(client, "shop", &resource);
    let mut changes = watcher(all.clone(), Config::default()).applied_objects().boxed();
    while let Some(change) = changes.next().await {
        let Ok(object) = change else { continue };
        let said = object.data.get("status").cloned().unwrap_or_default();
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let status = match kind {
            "ChaosEngine" if said["engineStatus"].is_null() => json!({"engineStatus": "initialized"}),
            "ChaosEngine" if said["engineStatus"] == "initialized" => json!({"engineStatus": "completed"}),
            "Workflow" if said["conditions"].is_null() => json!({"conditions": [condition("Accomplished", "True")]}),
            "PodChaos" | "NetworkChaos" | "StressChaos" if said["conditions"].is_null() => {
                json!({"experiment": {"desiredPhase": "Run"},
                    "conditions": [condition("AllInjected", "True"), condition("AllRecovered", "False")]})
            }
            // One of eleven seconds never ends by itself.
            "NetworkChaos" | "StressChaos"
                if said["experiment"]["desiredPhase"] == "Run" && object.data["spec"]["duration"] != "11s" =>
            {
                json!({"experiment": {"desiredPhase": "Stop"},
                    "conditions": [condition("AllInjected", "False"), condition("AllRecovered", "True")]})
            }
            _ => continue,
        };
        if said.is_null() {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(json!({"kind": kind, "spec": object.data["spec"]}));
        }
        let patch = json!({"status": status});
        // Somebody may have removed it.
        drop(all.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await);
    }
}

async fn faults_and_closer_measurement_are_put_back(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    definitions(&ground.plane).await?;
    let mut rules = looks();
    rules.as_array_mut().context("rules")?.extend([
        rule("chaos-mesh.org", &["podchaos", "networkchaos", "stresschaos", "workflows"], &["create", "get", "delete"]),
        rule("litmuschaos.io", &["chaosengines"], &["create", "get", "delete"]),
        rule("monitoring.coreos.com", &["servicemonitors"], &["patch"]),
        rule("opentelemetry.io", &["opentelemetrycollectors"], &["patch"]),
    ]);
    ground.account("looks", rules).await?;
    nodes(&ground, "looks", &["get"]).await?;
    objects(&ground).await?;
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let mut stubs = tokio::task::JoinSet::new();
    for (kind, plural) in CHAOS {
        stubs.spawn(stub(ground.client.clone(), "chaos-mesh.org", kind, plural, Arc::clone(&seen)));
    }
    stubs.spawn(stub(ground.client.clone(), "litmuschaos.io", "ChaosEngine", "chaosengines", Arc::clone(&seen)));
    let mut operator = ground.operator(testbed).await?;

    let chaos = |fault: &str, value: Value, duration: &str| json!({"chaos": {"object": "app", "duration": duration, fault: value}});
    let delay = || json!({"delay": {"latency": "100ms"}});
    let experiment = json!({"experiments": [{"name": "slow", "duration": "10s", "networkChaos": delay()}]});
    let run = async |name: &str, spec: Value| -> Result<RunbookExecutionStatus> {
        let number = name.bytes().fold(0_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte));
        ground.runbook(name, spec).await?;
        let posted = post(&[alert(name, "checkout", number)]);
        ensure!(ground.post(TOKEN, &posted).await?.0 == 200, "{name}");
        let ended = ground.only(name, |status| status.phase.is_terminal()).await?;
        ended.status.context("status")
    };
    for (name, kind, action) in [
        ("kill", "PodChaos", chaos("podChaos", json!({"action": "PodKill"}), "10s")),
        ("slow", "NetworkChaos", chaos("networkChaos", delay(), "10s")),
        ("busy", "StressChaos", chaos("stressChaos", json!({"cpu": {"workers": 1}}), "10s")),
        ("several", "Workflow", chaos("workflow", experiment, "10s")),
        (
            "litmus",
            "ChaosEngine",
            chaos("chaosEngine", json!({"serviceAccount": "litmus", "experiment": "pod-delete"}), "10s"),
        ),
    ] {
        let status = run(name, runbook(name, "looks", &action)).await?;
        ensure!(status.phase == Phase::Succeeded, "{name}: {status:?}");
        let made = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = made.iter().filter(|fault| fault["kind"] == kind).count();
        ensure!(own == 1, "{own} {kind} were made: {made:?}");
    }
    // A fault that does not end by itself within the step's time is removed when the run ends.
    let mut spec = runbook("stays", "looks", &chaos("networkChaos", delay(), "11s"));
    spec["steps"][0]["timeout"] = json!("13s");
    let status = run("stays", spec).await?;
    ensure!(status.phase == Phase::Failed, "{status:?}");
    let undone = status.steps.first().and_then(|step| step.compensation.as_ref()).context("it was not undone")?;
    ensure!(undone.outcome.is_some_and(|outcome| outcome.name() == "Succeeded"), "{undone:?}");
    let left = ground.plane.kubectl(["get", "networkchaos", "-n", "shop", "-o=name"]).await?;
    ensure!(left.lines().count() == 1, "only the one that is over is left: {left}");

    // Closer measurement ends with the alert.
    for (parameter, path, raised, before) in [
        (
            "monitor",
            "servicemonitor",
            json!([{"port": "web", "interval": "5s"}, {"port": "admin", "interval": "5s"}]),
            json!([{"port": "web", "interval": "30s"}, {"port": "admin"}]),
        ),
        ("collector", "opentelemetrycollector", json!(100), json!(5)),
    ] {
        let name = format!("closer-{parameter}");
        let action = json!({"telemetryProfile": {"object": parameter, "profile": "debug", "for": "1h"}});
        ground.runbook(&name, runbook(&name, "looks", &action)).await?;
        let mut one = alert(&name, "checkout", 4000);
        ensure!(ground.post(TOKEN, &post(&[one.clone()])).await?.0 == 200, "{name}");
        let now = async || -> Result<Value> {
            let text = ground.plane.kubectl(["get", path, "checkout", "-n", "shop", "-o=json"]).await?;
            let object: Value = serde_json::from_str(&text)?;
            let sampler = "/spec/config/processors/probabilistic_sampler/sampling_percentage";
            let found = object.pointer("/spec/endpoints").or(object.pointer(sampler));
            found.cloned().context("nothing is measured")
        };
        let becomes = async |wanted: &Value| {
            wait_until(&format!("{name} to be {wanted}"), SOON, async || {
                let seen = now().await?;
                ensure!(seen == *wanted, "{seen}");
                Ok(Some(()))
            })
            .await
        };
        becomes(&raised).await?;
        one["status"] = json!("resolved");
        one["endsAt"] = json!(k8s_openapi::jiff::Timestamp::now().to_string());
        ensure!(ground.post(TOKEN, &post(&[one])).await?.0 == 200, "{name}");
        becomes(&before).await?;
        ground.only(&name, |status| status.phase.is_terminal()).await?;
    }
    stubs.abort_all();
    operator.stop().await
}

/// A bucket: what `object_store` asks of S3 for small objects.
#[derive(Clone, Default)]
struct Bucket {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    unsigned: Arc<Mutex<usize>>,
}

async fn bucket(
    State(bucket): State<Bucket>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    path: Option<Path<String>>,
    body: Bytes,
) -> Response {
    let signed = headers.get("authorization").and_then(|value| value.to_str().ok());
    if !signed.is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=the-id/")) {
        *bucket.unsigned.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        return StatusCode::FORBIDDEN.into_response();
    }
    let Path(path) = path.unwrap_or(Path(uri.path().to_owned()));
    let key = path.trim_start_matches('/').trim_start_matches("evidence").trim_start_matches('/').to_owned();
    let mut objects = bucket.objects.lock().unwrap_or_else(PoisonError::into_inner);
    let time = "2026-01-01T00:00:00.000Z";
    match method {
        Method::PUT => {
            objects.insert(key, body);
            [("etag", "\"1\"")].into_response()
        }
        Method::GET if key.is_empty() => {
            let prefix = query.get("prefix").map(String::as_str).unwrap_or_default();
            let found: String = objects
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(key, body)| {
                    let size = body.len();
                    format!("<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>\"1\"</ETag><Size>{size}</Size></Contents>")
                })
                .collect();
            format!("<?xml version=\"1.0\"?><ListBucketResult><Name>evidence</Name><IsTruncated>false</IsTruncated>{found}</ListBucketResult>")
                .into_response()
        }
        Method::GET | Method::HEAD => match objects.get(&key) {
            Some(body) => {
                let length = body.len().to_string();
                let headers = [("etag", "\"1\".to_owned()"), ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")];
                let content = if method == Method::HEAD { Bytes::new() } else { body.clone() };
                (headers, [("content-length", length)], content).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn evidence_and_marks_arrive_outside(testbed: &Testbed) -> Result<()> {
    let store = Bucket::default();
    let s3 = Server::start(Router::new().fallback(bucket).with_state(store.clone())).await?;
    let marks: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let noted = Arc::clone(&marks);
    let note = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        noted.lock().unwrap_or_else(PoisonError::into_inner).push((token, body));
        Json(json!({"id": 1, "message": "Annotation added"}))
    };
    let grafana = Server::start(Router::new().route("/api/annotations", on_post(note))).await?;
    let secrets = plimsoll_testbed::Folder::new("grafana")?;
    std::fs::write(secrets.join("token"), "the-token-of-grafana")?;
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    let more = json!({"grafana": {"url": grafana.url(), "bearerTokenFile": secrets.join("token")},
        "artifacts": {"stores": {"minio": {"endpoint": s3.url()}}}});
    let ground = Ground::over(plane, None, None, more).await?;
    definitions(&ground.plane).await?;
    let mut rules = looks();
    rules.as_array_mut().context("rules")?.extend([
        rule("", &["events"], &["list"]),
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["bucket"], "verbs": ["get"]}),
    ]);
    ground.account("looks", rules).await?;
    nodes(&ground, "looks", &["get"]).await?;
    objects(&ground).await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket", "namespace": "shop"},
        "stringData": {"accessKeyId": "the-id", "secretAccessKey": "the-key"}});
    ground.plane.apply(&secret.to_string()).await?;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "checkout.1", "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "checkout",
            "uid": ground.plane.kubectl(["get", "pod/checkout", "-n=shop", "-o=jsonpath={.metadata.uid}"]).await?},
        "reason": "BackOff", "message": "Back-off restarting failed container", "type": "Warning"});
    ground.plane.apply(&event.to_string()).await?;
    let mut operator = ground.operator(testbed).await?;
    let mut spec = runbook("Keep", "looks", &json!({"describe": {"object": "pod"}}));
    spec["steps"].as_array_mut().context("steps")?.push(json!({"name": "mark",
        "annotate": {"text": "Evidence of $(pod) is kept", "tags": ["shop"]}}));
    spec["artifacts"] =
        json!({"s3": {"bucket": "evidence", "prefix": "plimsoll", "store": "minio", "secretName": "bucket"}});
    ground.runbook("keep", spec).await?;
    ensure!(ground.post(TOKEN, &post(&[alert("Keep", "checkout", 1)])).await?.0 == 200);
    let done = ground.only("keep", |status| status.phase.is_terminal()).await?;
    let status = done.status.clone().context("status")?;
    ensure!(status.phase == Phase::Succeeded, "{status:?}");

    let kept = status.steps.first().map(|step| step.effect.artifacts.clone()).unwrap_or_default();
    let prefix = format!("plimsoll/shop/keep/{}/it", done.name_any());
    let objects = store.objects.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for (name, wanted) in
        [("object.json", "registry.example/app"), ("events.json", "Back-off restarting failed container")]
    {
        let at = format!("{prefix}/{name}");
        let body = objects.get(&at).with_context(|| format!("{at} is not among {:?}", objects.keys()))?;
        let text = String::from_utf8_lossy(body);
        ensure!(text.contains(wanted), "{name}: {text}");
        let told = kept.iter().find(|artifact| artifact.name == name).context("it is not told")?;
        ensure!(told.location == format!("s3://evidence/{at}"), "{told:?}");
        ensure!(usize::try_from(told.bytes)? == body.len() && told.sha256.len() == 64, "{told:?}");
    }
    ensure!(objects.contains_key(&format!("{prefix}/manifest.json")), "{:?}", objects.keys());
    ensure!(*store.unsigned.lock().unwrap_or_else(PoisonError::into_inner) == 0, "somebody came without the key");
    let marks = marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let [(token, mark)] = marks.as_slice() else { anyhow::bail!("{marks:?}") };
    ensure!(token == "Bearer the-token-of-grafana", "{token}");
    ensure!(
        mark["text"] == "Evidence of checkout is kept" && mark["tags"] == json!(["plimsoll", "keep", "shop"]),
        "{mark}"
    );
    // What was kept is nowhere in the cluster.
    let all = ground.executions().list(&ListParams::default()).await?;
    ensure!(!serde_json::to_string(&all.items)?.contains("Back-off restarting"), "an event's text is in the execution");
    operator.stop().await
}
