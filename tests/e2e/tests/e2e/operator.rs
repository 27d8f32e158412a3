//! The operator on a real API server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{Router, body::Body, extract::Request, response::Response};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use plimsoll_api::{Slo, conditions};
use plimsoll_e2e::{STACK, Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{Component, ControlPlaneOptions, Folder, Server, free_port, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::{
        OF_THE_MANIFEST, SOON, all_ready, apply, condition, install, may, outcome, reason, rules, slo, start, versions,
    },
    install::manifests,
};

const SERVERS: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(SERVERS, a_rollout_is_repaired_and_a_restart_writes_nothing),
        test(SERVERS, one_malformed_object_stops_nobody),
        test(SERVERS, the_webhook_says_what_the_command_line_says),
        test(SERVERS, killed_after_every_single_write),
        test(SERVERS, a_stranger_in_between_is_left_alone),
        test(SERVERS, the_servers_come_back),
        test(SERVERS, only_one_of_two_leads),
        test(SERVERS, the_rights_in_the_manifest_suffice),
        test(STACK, fifty_of_every_kind_become_ready),
    ]
}

fn many(count: usize) -> Vec<Value> {
    (0..count).map(|i| slo(&format!("service-{i:02}"))).collect()
}

async fn a_rollout_is_repaired_and_a_restart_writes_nothing(testbed: &Testbed) -> Result<()> {
    let options = ControlPlaneOptions { scheduler: false, ..ControlPlaneOptions::default() };
    let (plane, client) = start(testbed, options).await?;
    let theirs = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "plimsoll-taken"}, "spec": {"groups": [{"name": "theirs", "rules": []}]}});
    let rules = rules(&client, "default");
    rules.create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;
    apply(&client, "default", &many(50)).await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    all_ready(&client, "default", SOON).await?;
    ensure!(rules.list(&ListParams::default()).await?.items.len() == 51);

    // Somebody else's object of the name, and what happens when it goes.
    apply(&client, "default", &[slo("taken")]).await?;
    let message = reason(&client, "default", "taken", conditions::REASON_NOT_OURS).await?;
    ensure!(message.contains("PrometheusRule default/plimsoll-taken exists and is not owned by this SLO"), "{message}");
    rules.delete("plimsoll-taken", &DeleteParams::default()).await?;
    all_ready(&client, "default", SOON).await?;

    // A restart finds everything as it should be.
    let before = versions(&client, "default").await?;
    operator.stop().await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    wait_until("all to be reconciled", SOON, async || {
        Ok((operator.metric("plimsoll_reconciles_total{outcome=\"unchanged\"}").await? >= 51).then_some(()))
    })
    .await?;
    ensure!(operator.writes().await? == 0, "a restart wrote something");
    ensure!(versions(&client, "default").await? == before);

    // Edits by hand, while it runs and while it does not.
    let edit = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}, "spec": {"groups": []}});
    let edited = |name: &'static str| {
        let (rules, edit) = (rules.clone(), edit.clone());
        async move { rules.patch(name, &PatchParams::default(), &Patch::Merge(&edit)).await }
    };
    let repaired = async |name: &str| {
        wait_until("the repair", SOON, async || {
            let rule = rules.get(name).await?;
            let groups = rule.data["spec"]["groups"].as_array().map_or(0, Vec::len);
            let label = rule.metadata.labels.unwrap_or_default().remove("app.kubernetes.io/managed-by");
            Ok((groups > 0 && label.as_deref() == Some("plimsoll")).then_some(()))
        })
        .await
    };
    edited("plimsoll-service-00").await?;
    repaired("plimsoll-service-00").await?;
    // An apply leaves what others have put beside its fields, and by these no rule would be evaluated in time.
    let stray = json!([{"op": "add", "path": "/spec/groups/0/query_offset", "value": "1h"},
        {"op": "add", "path": "/spec/groups/0/labels", "value": {"severity": "none"}}]);
    let stray: Patch<()> = Patch::Json(serde_json::from_value(stray)?);
    rules.patch("plimsoll-service-05", &PatchParams::default(), &stray).await?;
    wait_until("what was put into a group to go", SOON, async || {
        let group = rules.get("plimsoll-service-05").await?.data["spec"]["groups"][0].clone();
        ensure!(group["rules"].as_array().is_some_and(|rules| !rules.is_empty()), "{group}");
        Ok((group["query_offset"].is_null() && group["labels"].is_null()).then_some(()))
    })
    .await?;
    operator.stop().await?;
    edited("plimsoll-service-01").await?;
    rules.delete("plimsoll-service-02", &DeleteParams::default()).await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    repaired("plimsoll-service-01").await?;
    repaired("plimsoll-service-02").await?;

    // A label of somebody else is none of our business.
    let label = json!({"metadata": {"labels": {"theirs": "x"}}});
    rules.patch("plimsoll-service-03", &PatchParams::default(), &Patch::Merge(&label)).await?;
    // A label of the SLO reaches the rules, and leaves them with it.
    let labelled = |value: Value| json!({"metadata": {"labels": {"release": value}}});
    let slos: Api<Slo> = Api::namespaced(client.clone(), "default");
    for value in [json!("main"), Value::Null] {
        slos.patch("service-03", &PatchParams::default(), &Patch::Merge(&labelled(value.clone()))).await?;
        wait_until("the label", SOON, async || {
            let labels = rules.get("plimsoll-service-03").await?.metadata.labels.unwrap_or_default();
            ensure!(labels.contains_key("theirs"));
            Ok((labels.get("release").map(String::as_str) == value.as_str()).then_some(()))
        })
        .await?;
    }

    // The garbage collector takes the rules of a deleted SLO.
    slos.delete("service-04", &DeleteParams::default()).await?;
    wait_until("the rules to go", SOON, async || {
        Ok(rules.get_opt("plimsoll-service-04").await?.is_none().then_some(()))
    })
    .await?;
    operator.stop().await
}

async fn one_malformed_object_stops_nobody(testbed: &Testbed) -> Result<()> {
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    // An older schema that allowed what today's type does not.
    let mut lax = serde_json::to_value(Slo::crd())?;
    lax["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    plane.apply(&lax.to_string()).await?;
    let resource = ApiResource::erase::<Slo>(&());
    let any: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let mut bad = slo("bad");
    bad["spec"]["objective"] = json!(99.95);
    wait_until("the lax schema", SOON, async || {
        any.patch("bad", &PatchParams::apply("test").force(), &Patch::Apply(&bad)).await?;
        Ok((any.get("bad").await?.data["spec"]["objective"] == json!(99.95)).then_some(()))
    })
    .await?;
    apply(&client, "default", &many(3)).await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    let good = wait_until("the others", SOON, async || {
        let all = any.list(&ListParams::default()).await?.items;
        let ready = |object: &&DynamicObject| object.data["status"]["conditions"][0]["status"] == "True";
        Ok((all.iter().filter(ready).count() == 3).then_some(all))
    })
    .await;
    ensure!(good.is_ok(), "{good:?}\n{}", operator.log()?);
    let message = wait_until("the message", SOON, async || {
        let conditions = any.get("bad").await?.data["status"]["conditions"].clone();
        Ok(conditions[0]["message"].as_str().map(str::to_owned))
    })
    .await?;
    ensure!(message.starts_with("spec.objective: invalid type: floating point"), "{message}");
    operator.stop().await
}

async fn the_webhook_says_what_the_command_line_says(testbed: &Testbed) -> Result<()> {
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("https://{address}");
    let arguments = ["--webhook-listen", &address, "--webhook-url", &url, "--namespace", "default"];
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &arguments).await?;
    let slos: Api<Slo> = Api::namespaced(client.clone(), "default");
    let mut bad = slo("bad");
    bad["spec"]["sli"]["events"]["total"] = json!("sum(rate(x[$window])");
    let bad: Slo = serde_json::from_value(bad)?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let wanted = plimsoll_slo::validate(&bad).err().context("the bad one is good")?;
    let message = wait_until("the webhook", SOON, async || match slos.create(&dry, &bad).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    })
    .await?;
    ensure!(message.contains(&plimsoll_api::problem::summary(&wanted)), "{message}");
    slos.create(&PostParams::default(), &serde_json::from_value(slo("good"))?).await?;
    all_ready(&client, "default", SOON).await?;

    // A second replica uses the same certificate instead of one of its own.
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(client.clone(), "default");
    let version = secrets.get("plimsoll-webhook").await?.metadata.resource_version;
    operator.stop().await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &arguments).await?;
    ensure!(secrets.get("plimsoll-webhook").await?.metadata.resource_version == version);
    // Where a call does not come through, as one over a connection to the replica before may not, the object passes.
    wait_until("the second replica to be asked", SOON, async || Ok(slos.create(&dry, &bad).await.err())).await?;
    operator.kill()?;

    // One of an administrator's own, beside a registration that others have changed.
    let secret = secrets.get("plimsoll-webhook").await?.data.unwrap_or_default();
    let folder = Folder::new("certificate")?;
    for (name, content) in &secret {
        std::fs::write(folder.join(name), &content.0)?;
    }
    secrets.delete("plimsoll-webhook", &DeleteParams::default()).await?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key, authorities) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
    let own = ["--webhook-cert", &certificate, "--webhook-key", &key, "--webhook-ca", &authorities];
    let registrations: Api<ValidatingWebhookConfiguration> = Api::all(client);
    let spoiled = json!({"webhooks": [{"name": "slo.plimsoll.dev", "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/validate"},
        "rules": [{"apiGroups": ["plimsoll.dev"], "apiVersions": ["v1alpha1"], "resources": ["slos"], "operations": ["UPDATE"]}],
        "namespaceSelector": {"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]}}]});
    registrations.patch("plimsoll", &PatchParams::default(), &Patch::Merge(&spoiled)).await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[&arguments[..], &own].concat()).await?;
    let refusal = wait_until("the webhook to be asked again", SOON, async || {
        Ok(slos.create(&dry, &bad).await.err().map(|error| error.to_string()))
    })
    .await?;
    ensure!(refusal.contains(&plimsoll_api::problem::summary(&wanted)), "{refusal}");
    let webhook = registrations.get("plimsoll").await?.webhooks.unwrap_or_default().remove(0);
    ensure!(webhook.failure_policy.as_deref() == Some("Ignore"), "{webhook:?}");
    ensure!(webhook.client_config.ca_bundle.as_ref() == secret.get("ca.crt"), "{webhook:?}");
    let selected = webhook.namespace_selector.and_then(|selector| selector.match_expressions).unwrap_or_default();
    ensure!(selected.len() == 1, "an administrator's selector is taken away");
    ensure!(secrets.get_opt("plimsoll-webhook").await?.is_none(), "a certificate was made beside the given one");

    // And without writing anything when all is as it is to be; by others, the authorities.
    let version = async || anyhow::Ok(registrations.get("plimsoll").await?.metadata.resource_version);
    let before = version().await?;
    operator.kill()?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[&arguments[..], &own].concat()).await?;
    ensure!(version().await? == before, "the same is written again");
    operator.kill()?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[&arguments[..], &own[..4]].concat()).await?;
    let webhook = registrations.get("plimsoll").await?.webhooks.unwrap_or_default().remove(0);
    ensure!(webhook.client_config.ca_bundle.is_none(), "the authorities of before stay: {webhook:?}");
    operator.stop().await
}

/// A way to the API server that can be cut after a number of writes: the last one has happened, but
/// its answer never arrives.
#[derive(Clone)]
struct Cut {
    client: Client,
    left: Arc<AtomicUsize>,
    reached: Arc<tokio::sync::Notify>,
}

impl Cut {
    async fn pass(self, request: Request) -> Result<Response, String> {
        let write = request.method() != axum::http::Method::GET;
        let (mut parts, body) = request.into_parts();
        parts.headers.remove("host");
        let body = axum::body::to_bytes(body, 16 << 20).await.map_err(|e| e.to_string())?;
        if write && self.left.load(Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        let request = axum::http::Request::from_parts(parts, body.to_vec().into());
        let response = self.client.send(request).await.map_err(|e| e.to_string())?;
        if write && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(response.map(Body::new))
    }
}

async fn killed_after_every_single_write(testbed: &Testbed) -> Result<()> {
    const SLOS: usize = 20;
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let cut = Cut { client: client.clone(), left: Arc::default(), reached: Arc::default() };
    let passing = cut.clone();
    let proxy = Server::start(Router::new().fallback(move |request: Request| passing.clone().pass(request))).await?;
    let folder = Folder::new("kill")?;
    let kubeconfig = proxied(&folder, &proxy.url())?;

    let run = async |namespace: &str, writes: usize| -> Result<bool> {
        plane.kubectl(["create", "namespace", namespace]).await?;
        apply(&client, namespace, &many(SLOS)).await?;
        cut.left.store(writes, Ordering::SeqCst);
        let mut operator = Operator::start_with(testbed.plimsoll()?, &kubeconfig, &["--no-leader-election"]).await?;
        let killed = tokio::select! {
            () = cut.reached.notified() => true,
            ready = all_ready(&client, namespace, SOON) => { ready?; false }
        };
        operator.kill()?;
        let mut again = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
        all_ready(&client, namespace, SOON).await?;
        again.stop().await?;
        Ok(killed)
    };
    ensure!(!run("undisturbed", usize::MAX).await?);
    let wanted = outcome(&client, "undisturbed").await?;
    ensure!(wanted.len() == 2 * SLOS);
    let mut writes = 1;
    while run(&format!("killed-{writes}"), writes).await? {
        let namespace = format!("killed-{writes}");
        ensure!(outcome(&client, &namespace).await? == wanted, "killed after {writes} writes");
        writes += 1;
    }
    // A rule object and a status each. After the last write all is ready, so that run may count as undisturbed.
    ensure!(writes >= 2 * SLOS, "only {writes} writes were seen");
    Ok(())
}

/// A way to the API server on which somebody else is faster: when the first write of a rule object arrives, it exists,
/// or its SLO is gone.
async fn a_stranger_in_between_is_left_alone(testbed: &Testbed) -> Result<()> {
    let (_plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let theirs = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "plimsoll-raced"}, "spec": {"groups": [{"name": "theirs", "rules": []}]}});
    let theirs: DynamicObject = serde_json::from_value(theirs)?;
    let direct = Cut { client: client.clone(), left: Arc::new(AtomicUsize::new(usize::MAX)), reached: Arc::default() };
    let strangers = rules(&client, "default");
    let slos: Api<Slo> = Api::namespaced(client.clone(), "default");
    let deleted = slos.clone();
    let proxy = Server::start(Router::new().fallback(move |request: Request| {
        let (direct, strangers, theirs, slos) = (direct.clone(), strangers.clone(), theirs.clone(), deleted.clone());
        async move {
            let write = request.method() == axum::http::Method::PATCH;
            let name = request.uri().path().rsplit_once("/prometheusrules/").filter(|_| write);
            match name.map(|(_, name)| name.to_owned()).as_deref() {
                // The second time it is there already, or gone.
                Some("plimsoll-raced") => drop(strangers.create(&PostParams::default(), &theirs).await),
                Some("plimsoll-gone") => drop(slos.delete("gone", &DeleteParams::default()).await),
                _ => {}
            }
            direct.pass(request).await
        }
    }))
    .await?;
    let folder = Folder::new("raced")?;
    let kubeconfig = proxied(&folder, &proxy.url())?;
    let mut operator = Operator::start_with(testbed.plimsoll()?, &kubeconfig, &["--no-leader-election"]).await?;
    apply(&client, "default", &[slo("raced"), slo("gone"), slo("alone")]).await?;
    let message = reason(&client, "default", "raced", conditions::REASON_NOT_OURS).await?;
    ensure!(message.contains("PrometheusRule default/plimsoll-raced exists and is not owned by this SLO"), "{message}");
    reason(&client, "default", "alone", conditions::REASON_OK).await?;
    let writes = "plimsoll_api_writes_total{kind=\"prometheusrules\",outcome=\"ok\"}";
    // One write made the rules of each of the others.
    wait_until("the writes", SOON, async || Ok((operator.metric(writes).await? >= 2).then_some(()))).await?;
    ensure!(operator.metric(writes).await? == 2);
    let left = rules(&client, "default").get("plimsoll-raced").await?;
    ensure!(left.data["spec"] == json!({"groups": [{"name": "theirs", "rules": []}]}), "{left:?}");
    ensure!(left.metadata.labels.is_none() && left.metadata.owner_references.is_none(), "{left:?}");
    // What was written for the one that went bears its uid, by which the garbage collector finds it.
    let orphans = rules(&client, "default");
    let orphan =
        wait_until("its rules", SOON, async || orphans.get_opt("plimsoll-gone").await.map_err(Into::into)).await?;
    ensure!(orphan.owner_references().first().is_some_and(|owner| owner.name == "gone"), "{orphan:?}");
    ensure!(slos.get_opt("gone").await?.is_none());
    operator.stop().await?;
    let log = operator.log()?;
    ensure!(!log.contains("reconcile failed"), "an SLO that goes is no failure: {log}");
    Ok(())
}

/// A kubeconfig for a way to the API server that needs no credentials.
fn proxied(folder: &Folder, url: &str) -> Result<std::path::PathBuf> {
    let file = folder.join("kubeconfig");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": url}}], "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]});
    std::fs::write(&file, config.to_string())?;
    Ok(file)
}

async fn the_servers_come_back(testbed: &Testbed) -> Result<()> {
    // Without it a stopping API server waits a minute for the operator's watches.
    let arguments = vec!["--shutdown-watch-termination-grace-period=2s".to_owned()];
    let options = ControlPlaneOptions { api_server_arguments: arguments, ..ControlPlaneOptions::api_only() };
    let (mut plane, client) = start(testbed, options).await?;
    apply(&client, "default", &many(5)).await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    all_ready(&client, "default", SOON).await?;
    plane.stop_api_server().await?;
    plane.stop_etcd().await?;
    plane.start_etcd().await?;
    plane.start_api_server().await?;
    plane.ready_again().await?;
    let mut changed = slo("service-00");
    changed["spec"]["objective"] = json!("99.5");
    apply(&client, "default", &[changed, slo("late")]).await?;
    all_ready(&client, "default", SOON).await?;
    let spec = rules(&client, "default").get("plimsoll-service-00").await?.data["spec"].to_string();
    ensure!(spec.contains("0.995"), "{spec}");
    operator.stop().await
}

async fn only_one_of_two_leads(testbed: &Testbed) -> Result<()> {
    /// Long enough that a machine which is busy keeps nobody from a renewal in time.
    const LEASE: Duration = Duration::from_secs(12);
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let seconds = LEASE.as_secs().to_string();
    let start = async |identity: &str| {
        let arguments = ["--namespace", "default", "--identity", identity, "--lease-seconds", &seconds];
        Operator::start_with(testbed.plimsoll()?, plane.kubeconfig(), &arguments).await
    };
    let mut first = start("first").await?;
    wait_until("the first to lead", SOON, async || Ok((first.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    let mut second = start("second").await?;
    apply(&client, "default", &many(3)).await?;
    all_ready(&client, "default", SOON).await?;
    ensure!(second.writes().await? == 0 && second.metric("plimsoll_leader").await? == 0);
    // A crash: the lease runs out.
    first.kill()?;
    wait_until("the second to lead", SOON, async || Ok((second.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    apply(&client, "default", &[slo("more")]).await?;
    all_ready(&client, "default", SOON).await?;
    // A stop: the lease is given back, and the next one need not wait.
    second.stop().await?;
    let mut third = start("third").await?;
    let started = Instant::now();
    wait_until("the third to lead", SOON, async || Ok((third.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    ensure!(started.elapsed() < LEASE, "the lease was not given back");
    third.stop().await
}

async fn the_rights_in_the_manifest_suffice(testbed: &Testbed) -> Result<()> {
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    plane.kubectl(["create", "namespace", "plimsoll-system"]).await?;
    for name in ["rbac.yaml", "webhook.yaml"] {
        plane.apply(&std::fs::read_to_string(manifests(name))?).await?;
    }
    let user = "system:serviceaccount:plimsoll-system:plimsoll";
    let kubeconfig = plane.kubeconfig_for(user, None)?;
    may(&kubeconfig, &OF_THE_MANIFEST).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("https://{address}");
    let arguments =
        ["--namespace", "plimsoll-system", "--lease-seconds", "3", "--webhook-listen", &address, "--webhook-url", &url];
    let mut operator = Operator::start_with(testbed.plimsoll()?, &kubeconfig, &arguments).await?;
    apply(&client, "default", &many(2)).await?;
    all_ready(&client, "default", SOON).await?;
    // An event, a repair, and the second look at lease and certificate.
    let mut bad = slo("bad");
    bad["spec"]["backend"] = json!("nowhere");
    apply(&client, "default", &[bad]).await?;
    let message = reason(&client, "default", "bad", conditions::REASON_BACKEND_UNKNOWN).await?;
    ensure!(message == "spec.backend: no backend is named nowhere; configured are default", "{message}");
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(client.clone(), "default");
    wait_until("the event", SOON, async || {
        let all = events.list(&ListParams::default()).await?;
        Ok(all.items.iter().any(|event| event.reason.as_deref() == Some("BackendUnknown")).then_some(()))
    })
    .await?;
    rules(&client, "default").delete("plimsoll-service-00", &DeleteParams::default()).await?;
    wait_until("the repair", SOON, async || Ok(rules(&client, "default").get_opt("plimsoll-service-00").await?))
        .await?;
    operator.stop().await?;
    let log = operator.log()?;
    ensure!(!log.contains("forbidden"), "{log}");
    Ok(())
}

/// Every kind of indicator and feature: the examples, and copies of them to fifty.
fn fifty() -> Result<Vec<Value>> {
    let mut examples = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(path)?;
        for part in text.split("\n---\n") {
            let mut object: Value = serde_saphyr::from_str(part)?;
            if object["kind"] == "SLO" {
                object["metadata"]["namespace"] = Value::Null;
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("namespace");
                }
                if let Some(spec) = object["spec"].as_object_mut() {
                    spec.remove("backend");
                }
                examples.push(object);
            }
        }
    }
    ensure!(!examples.is_empty());
    let mut copies: Vec<Value> = examples
        .iter()
        .cycle()
        .enumerate()
        .take(50)
        .map(|(i, object)| {
            let mut object = object.clone();
            if i >= examples.len() {
                object["metadata"]["name"] = json!(format!("copy-{i}"));
            }
            object
        })
        .collect();
    // Two of the longest names, which differ in the last letter.
    for (object, end) in copies.iter_mut().rev().zip(["x", "y"]) {
        object["metadata"]["name"] = json!("n".repeat(252) + end);
    }
    Ok(copies)
}

async fn fifty_of_every_kind_become_ready(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    let client = install(&stack.control_plane).await?;
    let namespace = testbed.namespace("fifty").await?;
    let mut operator =
        Operator::start(testbed.plimsoll()?, &stack.control_plane, &["--prometheus", stack.prometheus.url()]).await?;
    let objects = fifty()?;
    let started = Instant::now();
    apply(&client, &namespace, &objects).await?;
    let all = all_ready(&client, &namespace, SOON).await;
    let took = started.elapsed();
    let all = all.with_context(|| operator.process().log_tail(10))?;
    ensure!(all.len() == 50);
    for slo in &all {
        let loaded = condition(slo, conditions::RULES_LOADED).context("RulesLoaded")?;
        ensure!(loaded.0 == "True", "{loaded:?}");
    }
    operator.stop().await?;
    // A figure, not a condition: other tests run beside this one.
    println!("50 SLOs were Ready {took:.1?} after the first was applied");
    Ok(())
}
