//! Runbooks on a real node: what they are for, from the alert to what is kept and whether it helped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{Router, routing::get};
use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Pod, ServiceAccount},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    runtime::{
        WatchStreamExt,
        watcher::{Config, watcher},
    },
};
use plimsoll_api::{RunbookExecution, execution::Phase};
use plimsoll_e2e::{NODE, Needs, NodeStack, Test, Testbed, test};
use plimsoll_testbed::{
    Alertmanager, Component, DEBUG_IMAGE, Program, Prometheus, PrometheusOptions, SAMPLE_IMAGE, Server,
    WebhookReceiver, wait_until,
};
use serde_json::{Value, json};

use crate::{cluster::SOON, runbook_ground::Ground};

const MONITORED_NODE: Needs = Needs {
    components: &[
        Component::Etcd,
        Component::Kubernetes,
        Component::Prometheus,
        Component::Alertmanager,
        Component::Workloads,
    ],
    programs: &["go"],
    ..NODE
};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(MONITORED_NODE, a_pod_that_restarts_is_looked_into),
        test(MONITORED_NODE, rollouts_are_rolled_back_and_it_is_seen_whether_that_helped),
    ]
}

/// What kube-state-metrics shows of Pods, as far as this test reads it: the testbed has none.
async fn state_metrics(client: Client) -> Result<Server> {
    let show = move || {
        let pods: Api<Pod> = Api::all(client.clone());
        async move {
            let mut text = String::new();
            for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
                let status = pod.status.unwrap_or_default();
                for container in status.container_statuses.unwrap_or_default() {
                    let labels =
                        format!("{{namespace=\"{namespace}\",pod=\"{name}\",container=\"{}\"}}", container.name);
                    let (restarts, ready) = (container.restart_count, u8::from(container.ready));
                    text.push_str(&format!("kube_pod_container_status_restarts_total{labels} {restarts}\n"));
                    text.push_str(&format!("kube_pod_container_status_ready{labels} {ready}\n"));
                }
            }
            text
        }
    };
    Server::start(Router::new().route("/metrics", get(show))).await
}

/// When each thing was seen first.
#[derive(Clone)]
struct Hops {
    begun: Instant,
    seen: Arc<Mutex<Vec<(String, Duration)>>>,
}

impl Hops {
    fn see(&self, what: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.iter().any(|(known, _)| known == what) {
            seen.push((what.to_owned(), self.begun.elapsed()));
        }
    }

    /// Notes how far the executions are.
    async fn follow(self, executions: Api<RunbookExecution>) {
        let mut changes = watcher(executions, Config::default()).applied_objects().boxed();
        while let Some(change) = changes.next().await {
            let Ok(execution) = change else { continue };
            self.see("execution stored");
            let Some(status) = &execution.status else { continue };
            if status.started_at.is_some() {
                self.see("run started, first intent stored");
            }
            for step in &status.steps {
                if let Some(outcome) = step.effect.outcome {
                    self.see(&format!("step {}: {}", step.name, outcome.name()));
                }
            }
            if status.phase == Phase::Verifying {
                self.see("verifying");
            }
            if status.phase.is_terminal() {
                self.see(&format!("run ended: {}", status.phase.name()));
            }
        }
    }
}

/// The shipped runbook with its rights, as somebody would make it their own; `change` is made to its spec.
async fn shipped(ground: &Ground, change: impl FnOnce(&mut Value)) -> Result<()> {
    let folder = format!("{}/../../runbooks/crash-loop", env!("CARGO_MANIFEST_DIR"));
    ground.plane.apply(&std::fs::read_to_string(format!("{folder}/rbac.yaml"))?).await?;
    let text = std::fs::read_to_string(format!("{folder}/runbook.yaml"))?;
    let mut runbook: Value = serde_saphyr::from_str(&text)?;
    change(&mut runbook["spec"]);
    ground.runbook("crash-loop", runbook["spec"].clone()).await.map(drop)
}

/// The expression of the shipped alert.
fn shipped_rule() -> Result<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runbooks/crash-loop/alert_rules.yaml");
    let rule: Value = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
    rule["spec"]["rules"][0]["expr"].as_str().map(str::to_owned).context("no expression")
}

/// A node whose Pods a Prometheus watches, with an Alertmanager that posts nowhere yet and somebody to be told.
struct Watched {
    stack: NodeStack,
    /// Serves as long as it is there.
    metrics: Server,
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    on_call: WebhookReceiver,
}

impl Watched {
    async fn start(testbed: &Testbed) -> Result<Self> {
        let stack = NodeStack::start(testbed.bin()).await?;
        let metrics = state_metrics(stack.control_plane.client().await?).await?;
        let nowhere = json!({"route": {"receiver": "none"}, "receivers": [{"name": "none"}]});
        let alertmanager = Alertmanager::start(testbed.bin(), &nowhere).await?;
        let options = PrometheusOptions {
            alertmanager: Some(alertmanager.url().to_owned()),
            scrape: vec![("kube-state-metrics".to_owned(), vec![metrics.address()])],
            scrape_interval: Duration::from_secs(1),
            ..PrometheusOptions::default()
        };
        let prometheus = Prometheus::start(testbed.bin(), options).await?;
        let on_call = WebhookReceiver::start().await?;
        Ok(Self { stack, metrics, prometheus, alertmanager, on_call })
    }
}

/// A Pod restarts more than five times in the window, Prometheus alerts, Alertmanager posts, and the shipped runbook keeps
/// what the restarts leave: the last log, what runs in the Pod, the heap. Then it is asked whether the SLO recovered.
async fn a_pod_that_restarts_is_looked_into(testbed: &Testbed) -> Result<()> {
    let Watched { stack, metrics: _metrics, prometheus, alertmanager, on_call } = Watched::start(testbed).await?;
    let more = json!({"images": ["localhost/"], "destinations": {"on-call": {"url": on_call.url()}}});
    let ground = Ground::on_node(stack, Some(prometheus.url()), Some(alertmanager.url()), more).await?;
    let mut operator = ground.operator(testbed).await?;
    let image = ground.node()?.by_digest(DEBUG_IMAGE)?.to_owned();
    shipped(&ground, |spec| {
        spec["mode"] = json!("Auto");
        for step in spec["steps"].as_array_mut().into_iter().flatten() {
            if let Some(debug) = step.get_mut("debugContainer") {
                debug["image"] = json!(image);
            }
            // Nothing may fail here.
            step["onFailure"] = json!("Stop");
        }
        spec["verify"] = json!({"slo": "checkout", "after": "10s", "onFailure": "Escalate", "escalateTo": "on-call"});
    })
    .await?;
    ground.hears(&alertmanager).await?;

    // The rule of the shipped AlertRule, but five minutes for its hour, one and a half for its quarter of an hour, no `for`.
    let restarts = shipped_rule()?.replace("[1h]", "[5m]").replace("[15m]", "[90s]");
    // The service is what its Pod is: it burns as long as that is not ready.
    let burn = "(1 - avg_over_time(kube_pod_container_status_ready{namespace=\"shop\"}[5s])) * 100";
    let labels = json!({"slo_id": "shop/checkout", "window": "5m"});
    let rules = json!({"groups": [{"name": "test", "interval": "1s", "rules": [
        {"alert": "PodRestarting", "expr": restarts, "labels": {"alertrule": "shop/crash-loop"}},
        {"record": "slo:burn_rate:window", "expr": burn, "labels": labels}]}]});

    let pods: Api<Pod> = Api::namespaced(ground.client.clone(), "shop");
    let accounts: Api<ServiceAccount> = Api::namespaced(ground.client.clone(), "shop");
    wait_until("the namespace's account", SOON, async || accounts.get_opt("default").await.map_err(Into::into)).await?;
    let pod = json!({"metadata": {"name": "checkout"}, "spec": {"terminationGracePeriodSeconds": 1,
        // Debug containers run as another user than root, and so does what they look into.
        "securityContext": {"runAsUser": 65_532, "runAsNonRoot": true},
        "containers": [{"name": "app", "image": SAMPLE_IMAGE, "imagePullPolicy": "Never",
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let running = async |restarts: i32| {
        wait_until(&format!("restart {restarts}"), SOON, async || {
            let status = pods.get("checkout").await?.status.unwrap_or_default();
            let container = status.container_statuses.and_then(|all| all.into_iter().next()).context("no container")?;
            Ok((container.ready && container.restart_count == restarts).then_some(()))
        })
        .await
    };
    let counted = async |restarts: i32| {
        let query = format!("kube_pod_container_status_restarts_total{{pod=\"checkout\"}} == {restarts}");
        prometheus.wait_for(&query, SOON).await.map(drop)
    };
    for restarts in 0..7 {
        running(restarts).await?;
        counted(restarts).await?;
        if restarts == 6 {
            break;
        }
        // The answer is cut off by what was asked for.
        drop(fault(&ground.client, "exit?n=3").await);
    }
    // What holds memory now is what the heap must show.
    fault(&ground.client, "hold?n=64").await?;
    // Only now: the seconds are those since there was something to find.
    prometheus.load_rules("rules.yml", &rules.to_string()).await?;
    let hops = Hops { begun: Instant::now(), seen: Arc::default() };
    let following = tokio::spawn(hops.clone().follow(ground.executions()));

    prometheus.wait_for("ALERTS{alertname=\"PodRestarting\",alertstate=\"firing\"}", SOON).await?;
    hops.see("alert fires in Prometheus");
    wait_until("the alert in Alertmanager", SOON, async || {
        Ok((!alertmanager.alerts(&["alertname=PodRestarting"]).await?.is_empty()).then_some(()))
    })
    .await?;
    hops.see("alert in Alertmanager");
    let done = ground.only("crash-loop", |status| status.phase.is_terminal()).await?;
    let status = done.status.clone().context("status")?;
    ensure!(status.phase == Phase::Succeeded, "{status:#?}");
    wait_until("the alert to resolve", SOON * 3, async || {
        let resolved = operator.metric("plimsoll_alerts_total{outcome=\"resolved\"}").await?;
        Ok((resolved > 0).then_some(()))
    })
    .await?;
    hops.see("alert resolved, and known to the operator");
    following.abort();

    // What it did can be seen in each of the places where one looks.
    let columns = ground.plane.kubectl(["get", "rbx", "-n", "shop"]).await?;
    ensure!(columns.contains("crash-loop") && columns.contains("Succeeded"), "{columns}");
    let names: Vec<&str> = status.steps.iter().map(|step| step.name.as_str()).collect();
    ensure!(names == ["last-words", "now", "look-inside", "heap", "tell"], "{names:?}");
    let verified = status.verification.and_then(|effect| effect.message).unwrap_or_default();
    ensure!(verified.contains("burns at 0,"), "{verified}");
    let events: Api<Event> = Api::namespaced(ground.client.clone(), "shop");
    let own = done.name_any();
    let told: BTreeMap<String, usize> =
        events.list(&ListParams::default()).await?.items.iter().fold(BTreeMap::new(), |mut told, event| {
            let about = event.regarding.as_ref().and_then(|object| object.name.clone());
            if about.as_deref() == Some(own.as_str()) {
                let times = event.series.as_ref().map_or(1, |series| usize::try_from(series.count).unwrap_or(1));
                *told.entry(event.reason.clone().unwrap_or_default()).or_default() += times;
            }
            told
        });
    for reason in ["Started", "StepSucceeded", "Verifying", "Done"] {
        ensure!(told.contains_key(reason), "no event {reason}: {told:?}");
    }
    for (action, count) in [("logs", 2), ("debugContainer", 1), ("profile", 1), ("notify", 1)] {
        let series = format!("plimsoll_runbook_steps_total{{action=\"{action}\",outcome=\"Succeeded\"}}");
        ensure!(operator.metric(&series).await? == count, "{series}");
    }
    let message = on_call.received();
    ensure!(
        message.len() == 1 && message[0]["message"].as_str().is_some_and(|m| m.contains("checkout")),
        "{message:?}"
    );

    // And what is kept is what was wanted.
    let kept = ground.folder.join("evidence").join("shop/crash-loop").join(&own);
    let text = |file: &str| std::fs::read_to_string(kept.join(file)).with_context(|| file.to_owned());
    ensure!(text("last-words/app.previous.log")?.contains("exiting with code 3, as told"), "no last words");
    ensure!(text("now/app.log")?.contains("hold n MB more"), "{}", text("now/app.log")?);
    ensure!(text("look-inside/output.txt")?.contains("/bin/sample"), "{}", text("look-inside/output.txt")?);
    text("heap/manifest.json")?;
    let program = Program::new("go").args(["tool", "pprof", "-top", "-unit=MB", "-sample_index=inuse_space"]);
    let top = program.arg(kept.join("heap/heap.pb.gz")).run("", Duration::from_secs(120)).await?.success()?;
    let largest = top.lines().skip_while(|line| !line.contains("flat%")).nth(1).context("no functions")?;
    ensure!(largest.ends_with("main.fillCartCache"), "{top}");

    println!("{}", columns.trim_end());
    println!("after the rule was loaded, six restarts being counted:");
    let mut seen = hops.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen.sort_by_key(|(_, at)| *at);
    for (what, at) in seen {
        println!("  {:>7.2} s  {what}", at.as_secs_f64());
    }
    operator.stop().await
}

/// Tells the sample to misbehave.
async fn fault(client: &Client, what: &str) -> Result<()> {
    let uri = format!("/api/v1/namespaces/shop/pods/checkout:8080/proxy/{what}");
    let request = http::Request::post(uri).body(Vec::new())?;
    client.request_text(request).await?;
    Ok(())
}

fn workload(name: &str, readiness: &str, version: &str) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"},
        "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "app", "image": SAMPLE_IMAGE, "imagePullPolicy": "Never", "env": [{"name": "VERSION", "value": version}],
                "readinessProbe": {"httpGet": {"path": readiness, "port": 8080}, "periodSeconds": 1}}]}}}})
}

/// Waits until a Deployment has all Pods of its newest template, all available.
async fn rolled_out(ground: &Ground, name: &str) -> Result<()> {
    let deployment = format!("deployment/{name}");
    ground.plane.kubectl(["rollout", "status", &deployment, "-n", "shop", "--timeout=60s"]).await.map(drop)
}

/// The version that a Deployment's template has, and the probe of it.
async fn template(ground: &Ground, name: &str) -> Result<(String, String)> {
    let path = "jsonpath={.spec.template.spec.containers[0].env[0].value} \
        {.spec.template.spec.containers[0].readinessProbe.httpGet.path}";
    let text = ground.plane.kubectl(["get", "deployment", name, "-n", "shop", "-o", path]).await?;
    let (version, probe) = text.trim().split_once(' ').context("a version and a probe")?;
    Ok((version.to_owned(), probe.trim().to_owned()))
}

/// What an account needs for the actions on workloads, Pods and Nodes.
async fn may_act(ground: &Ground) -> Result<()> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    ground
        .account(
            "acts",
            json!([
                rule("apps", &["deployments"], &["get", "patch"]),
                rule("apps", &["replicasets"], &["get", "list"]),
                rule("", &["pods"], &["get"]),
                rule("", &["pods/eviction"], &["create"]),
                rule("policy", &["poddisruptionbudgets"], &["list"]),
            ]),
        )
        .await?;
    let api = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": "cordons"},
        "rules": [rule("", &["nodes"], &["get", "patch"])]});
    let binding = json!({"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": "cordons"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cordons"},
        "subjects": [{"kind": "ServiceAccount", "name": "acts", "namespace": "shop"}]});
    for object in [role, binding] {
        ground.plane.apply(&object.to_string()).await?;
    }
    Ok(())
}

/// A bad rollout burns the budget and is rolled back: the SLO recovers. Another one burns for another reason: rolling back
/// does not help, so somebody is told and the rollout is put forward again. Then what restarts, evicts and cordons, on the
/// same Pods and Node.
async fn rollouts_are_rolled_back_and_it_is_seen_whether_that_helped(testbed: &Testbed) -> Result<()> {
    let Watched { stack, metrics: _metrics, prometheus, alertmanager, on_call } = Watched::start(testbed).await?;
    let more = json!({"destinations": {"on-call": {"url": on_call.url()}}});
    let ground = Ground::on_node(stack, Some(prometheus.url()), Some(alertmanager.url()), more).await?;
    let mut operator = ground.operator(testbed).await?;
    may_act(&ground).await?;
    for name in ["helped", "cart", "backend"] {
        ground.plane.apply(&workload(name, "/healthz", "1").to_string()).await?;
    }
    for name in ["helped", "cart", "backend"] {
        rolled_out(&ground, name).await?;
    }
    // The service helped is its own Pods; the cart is what its backend is.
    let ready = |pods: &str| format!("min(kube_pod_container_status_ready{{namespace=\"shop\",pod=~\"{pods}-.*\"}})");
    let burn = |slo: &str, pods: &str| {
        json!({"record": "slo:burn_rate:window", "expr": format!("(1 - {}) * 100", ready(pods)),
        "labels": {"slo_id": format!("shop/{slo}"), "window": "5m"}})
    };
    let alert = |name: &str, workload: &str| {
        json!({"alert": name, "labels": {"namespace": "shop", "deployment": workload},
        "expr": format!("slo:burn_rate:window{{slo_id=\"shop/{workload}\"}} > 14.4"), "keep_firing_for": "5m"})
    };
    let load = async |file: &str, rules: [Value; 2]| {
        let rules = json!({"groups": [{"name": file, "interval": "1s", "rules": rules}]});
        prometheus.load_rules(file, &rules.to_string()).await
    };
    load("burn.yml", [burn("helped", "helped"), burn("cart", "backend")]).await?;
    // Of the last scrape, Pods may not be ready yet: an alert that fires for that is not sent again within a minute.
    for slo in ["helped", "cart"] {
        prometheus.wait_for(&format!("slo:burn_rate:window{{slo_id=\"shop/{slo}\"}} == 0"), SOON).await?;
    }
    load("alerts.yml", [alert("Helped", "helped"), alert("Cart", "cart")]).await?;
    ground.hears(&alertmanager).await?;
    for (name, alert, on_failure) in [("helped", "Helped", "Escalate"), ("cart", "Cart", "Rollback")] {
        let spec = json!({"mode": "Auto", "serviceAccountName": "acts", "trigger": {"alert": [format!("alertname=\"{alert}\"")]},
            "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"}],
            "steps": [{"name": "back", "rollback": {"workload": "workload"}, "timeout": "1m"}],
            "verify": {"slo": name, "after": "10s", "onFailure": on_failure, "escalateTo": "on-call"}});
        ground.runbook(name, spec).await?;
    }

    // The new version of the one is never ready; the new version of the other is, and its backend breaks.
    ground.plane.apply(&workload("helped", "/nowhere", "2").to_string()).await?;
    ground.plane.apply(&workload("cart", "/healthz", "2").to_string()).await?;
    rolled_out(&ground, "cart").await?;
    ground.plane.apply(&workload("backend", "/nowhere", "2").to_string()).await?;
    let helped = ground.only("helped", |status| status.phase.is_terminal()).await?.status.context("status")?;
    ensure!(helped.phase == Phase::Succeeded, "{helped:#?}");
    ensure!(template(&ground, "helped").await? == ("1".to_owned(), "/healthz".to_owned()));
    rolled_out(&ground, "helped").await?;
    let cart = ground.only("cart", |status| status.phase.is_terminal()).await?.status.context("status")?;
    ensure!(cart.phase == Phase::RolledBack && cart.reason.as_deref() == Some("NotRecovered"), "{cart:#?}");
    ensure!(template(&ground, "cart").await?.0 == "2", "it was not put forward again");
    let revisions = ground.plane.kubectl(["get", "replicasets", "-n", "shop", "-l=app=cart", "-o=name"]).await?;
    ensure!(revisions.lines().count() == 2, "no revision is made anew: {revisions}");
    let told = on_call.received();
    ensure!(told.len() == 1 && told[0]["runbook"] == "cart", "only what did not help is told: {told:?}");
    ensure!(told[0]["message"].as_str().is_some_and(|m| m.contains("SLO cart has not recovered")), "{told:?}");

    restarts_evicts_and_cordons(&ground, &prometheus).await?;
    operator.stop().await
}

/// Steps on the Pods of the Deployment `helped` and on its Node, each by hand, and what their undoing does.
async fn restarts_evicts_and_cordons(ground: &Ground, prometheus: &Prometheus) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(ground.client.clone(), "shop");
    let one = async || -> Result<Pod> {
        let all = pods.list(&ListParams::default().labels("app=helped")).await?.items;
        all.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).context("a pod")
    };
    let run = async |name: &str, steps: Value, more: Value| {
        let pod = one().await?.name_any();
        let mut spec = json!({"mode": "Auto", "serviceAccountName": "acts", "trigger": {"alert": [format!("alertname=\"{name}\"")]},
            "parameters": [{"name": "pod", "object": "Pod", "default": pod},
                {"name": "app", "object": "Deployment", "ownerOf": "pod"}, {"name": "node", "object": "Node", "ownerOf": "pod"}],
            "steps": steps, "safety": {"minHealthy": 0, "cooldown": "1s"}});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        ground.runbook(name, spec).await?;
        let rules = json!({"groups": [{"name": name, "interval": "1s", "rules": [
            {"alert": name, "expr": "vector(1)", "labels": {"namespace": "shop"}}]}]});
        prometheus.load_rules(&format!("{name}.yml"), &rules.to_string()).await?;
        let ended = ground.only(name, |status| status.phase.is_terminal()).await?;
        ended.status.context("status")
    };
    let unschedulable = async || -> Result<String> {
        ground.plane.kubectl(["get", "nodes", "-o=jsonpath={.items[0].spec.unschedulable}"]).await
    };

    let before = one().await?.uid();
    let status =
        run("restarts", json!([{"name": "again", "restart": {"workload": "app"}, "timeout": "1m"}]), json!({})).await?;
    ensure!(status.phase == Phase::Succeeded, "{status:#?}");
    let after = one().await?.uid();
    ensure!(before != after, "the Pod is the same");
    let made = ground.of("restarts").await?.pop().context("an execution")?.creation_timestamp().context("a time")?;
    let annotation = "jsonpath={.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}";
    let restarted = ground.plane.kubectl(["get", "deployment/helped", "-n", "shop", "-o", annotation]).await?;
    ensure!(restarted == made.0.to_string(), "{restarted} is not the execution's {made:?}");

    let status = run("evicts", json!([{"name": "away", "evictPod": {"pod": "pod"}}]), json!({})).await?;
    ensure!(status.phase == Phase::Succeeded, "{status:#?}");
    wait_until("the Pod to be another", SOON, async || Ok((one().await?.uid() != after).then_some(()))).await?;
    rolled_out(ground, "helped").await?;

    // It did not help: new Pods may come again. What is asked is the SLO that still burns.
    let undone = json!({"verify": {"slo": "cart", "after": "10s", "onFailure": "Rollback"}});
    let cordon = json!([{"name": "closed", "cordon": {"node": "node"}}]);
    let status = run("cordons-in-vain", cordon.clone(), undone).await?;
    ensure!(status.phase == Phase::RolledBack, "{status:#?}");
    let step = status.steps.first().context("a step")?;
    let compensated = step.compensation.as_ref().and_then(|effect| effect.outcome).map(|outcome| outcome.name());
    ensure!(
        step.effect.outcome.map(|outcome| outcome.name()) == Some("Succeeded") && compensated == Some("Succeeded"),
        "{step:?}"
    );
    ensure!(unschedulable().await? != "true", "the Node is still closed");
    let status = run("cordons", cordon, json!({})).await?;
    ensure!(status.phase == Phase::Succeeded && unschedulable().await? == "true", "{status:#?}");
    Ok(())
}
