//! The operator on a real API server: from an SLO to conditions, and through every disturbance.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use plimsoll_api::Slo;
use plimsoll_e2e::{STACK, Test, Testbed, operator::Operator, proxy::Proxy, test};
use plimsoll_testbed::{Component, ControlPlane, ControlPlaneOptions, PrometheusOperator, free_port, wait_until};
use serde_json::{Value, json};

use crate::traffic::slo;

const SOON: Duration = Duration::from_secs(90);
/// etcd, the API server, and prometheus-operator's definitions.
const API: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(STACK, an_slo_becomes_a_page),
        test(STACK, fifty_slos_of_every_kind_become_ready),
        test(API, drift_is_repaired_and_nothing_is_written_twice),
        test(API, bad_objects_stop_nothing),
        test(API, killed_after_every_write_it_ends_the_same),
        test(API, it_outlives_the_api_server_and_etcd),
        test(API, the_webhook_says_what_the_command_line_says),
    ]
}

async fn install(control_plane: &ControlPlane) -> Result<()> {
    control_plane.apply(&serde_json::to_string(&Slo::crd())?).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(control_plane.client().await?);
    let name = Slo::crd_name();
    wait_until("the kind SLO to be served", SOON, async || {
        let crd = crds.get(name).await?;
        let conditions = crd.status.and_then(|s| s.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|c| c.type_ == "Established" && c.status == "True").then_some(()))
    })
    .await
}

/// A control plane with both definitions, and no controllers of its own.
async fn api(testbed: &Testbed) -> Result<ControlPlane> {
    let control_plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    PrometheusOperator::install_crds(testbed.bin(), &control_plane).await?;
    install(&control_plane).await?;
    Ok(control_plane)
}

async fn apply(control_plane: &ControlPlane, namespace: &str, objects: &[Value]) -> Result<()> {
    let objects: Vec<Value> = objects
        .iter()
        .cloned()
        .map(|mut object| {
            object["metadata"]["namespace"] = json!(namespace);
            object
        })
        .collect();
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).await?;
    Ok(())
}

fn condition(slo: &Slo, type_: &str) -> (String, String, String) {
    let conditions = slo.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .unwrap_or_default()
}

async fn ready(slos: &Api<Slo>, count: usize) -> Result<Vec<Slo>> {
    let outcome = wait_until("all SLOs to be ready", SOON, async || {
        let all = slos.list(&ListParams::default()).await?.items;
        let done = all.iter().filter(|s| condition(s, "Ready").0 == "True").count();
        Ok((all.len() == count && done == count).then_some(all))
    })
    .await;
    match outcome {
        Ok(all) => Ok(all),
        Err(error) => {
            let all = slos.list(&ListParams::default()).await?.items;
            let not: Vec<_> = all
                .iter()
                .map(|s| (s.metadata.name.clone(), condition(s, "Ready")))
                .filter(|(_, c)| c.0 != "True")
                .collect();
            Err(error.context(format!("not ready: {not:?}")))
        }
    }
}

fn rules_api(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource {
        group: "monitoring.coreos.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "monitoring.coreos.com/v1".to_owned(),
        kind: "PrometheusRule".to_owned(),
        plural: "prometheusrules".to_owned(),
    };
    Api::namespaced_with(client, namespace, &kind)
}

fn plain(name: &str) -> Value {
    let selector = |more: &str| format!("http_requests_total{{job=\"{name}\"{more}}}");
    slo(
        name,
        &json!({"objective": "99.9", "sli": {"events": {"bad": selector(",code=~\"5..\""), "total": selector("")}}}),
    )
}

async fn an_slo_becomes_a_page(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    install(&stack.control_plane).await?;
    let namespace = testbed.namespace("page").await?;
    let operator =
        Operator::start(testbed.plimsoll()?, &stack.control_plane, &["--prometheus", stack.prometheus.url()]).await?;
    stack.sample.rate("page_requests_total", "code=\"200\"", 90.0);
    stack.sample.rate("page_requests_total", "code=\"500\"", 10.0);
    let object = slo(
        "checkout",
        &json!({
            "objective": "99", "owner": "payments", "period": {"rolling": "10m"},
            "sli": {"events": {"bad": "page_requests_total{job=\"sample\",code=~\"5..\"}", "total": "page_requests_total{job=\"sample\"}"}},
            "alerting": {"tiers": [{"name": "fast", "burnRate": "5", "longWindow": "20s", "shortWindow": "5s"}]}
        }),
    );
    apply(&stack.control_plane, &namespace, &[object]).await?;
    let alert = stack
        .webhook
        .wait_for_alert(SOON, |alert| {
            alert["labels"]["slo_id"] == format!("{namespace}/checkout") && alert["status"] == "firing"
        })
        .await?;
    for (label, value) in
        [("alertname", "SLOErrorBudgetBurn"), ("severity", "page"), ("owner", "payments"), ("burnrate_tier", "fast")]
    {
        ensure!(alert["labels"][label] == value, "{label} in {alert}");
    }
    let slos: Api<Slo> = Api::namespaced(stack.control_plane.client().await?, &namespace);
    let burning = wait_until("the status to say that it burns", SOON, async || {
        let slo = slos.get("checkout").await?;
        Ok((condition(&slo, "Burning").0 == "True").then_some(slo))
    })
    .await?;
    for (type_, status) in [("Ready", "True"), ("RulesLoaded", "True"), ("DataPresent", "True")] {
        ensure!(condition(&burning, type_).0 == status, "{type_}: {:?}", condition(&burning, type_));
    }
    let columns = stack.control_plane.kubectl(["-n", &namespace, "get", "slo"]).await?;
    ensure!(columns.contains("Page") && columns.contains("99"), "{columns}");
    let (program, kubeconfig) = (testbed.plimsoll()?, stack.control_plane.kubeconfig());
    let explained = plimsoll_testbed::Program::new(program)
        .args(["explain", "slo/checkout", "-n", &namespace, "--prometheus", stack.prometheus.url()])
        .env("KUBECONFIG", kubeconfig)
        .run("", SOON)
        .await?
        .success()?;
    ensure!(explained.contains("fast"), "{explained}");
    drop(operator);
    Ok(())
}

/// SLOs of every kind, `count` in all.
fn every_kind(count: usize) -> Vec<Value> {
    let kinds = [
        json!({"events": {"bad": "r{job=\"sample\",code=~\"5..\"}", "total": "r{job=\"sample\"}"}}),
        json!({"events": {"good": "r{job=\"sample\",code=\"200\"}", "total": "r{job=\"sample\"}"}}),
        json!({"events": {"good": "r{job=\"sample\",code=\"200\"}", "bad": "sum by (route) (rate(r{job=\"sample\",code=\"500\"}[$window]))"}}),
        json!({"ratio": {"errors": "job:errors:ratio_rate$window"}}),
        json!({"latency": {"histogram": "h_seconds{job=\"sample\"}", "threshold": "300ms"}}),
        json!({"up": {"series": "up{job=\"sample\"}"}}),
        json!({"timeSlices": {"good": "avg(up{job=\"sample\"}) > bool 0.9", "slice": "1m"}}),
        json!({"preset": {"name": "grpc-availability", "with": {"job": "sample"}}}),
        json!({"composite": {"weighted": [{"slo": "kind-00", "weight": 3}, {"slo": "kind-05"}]}}),
        json!({"composite": {"worstOf": ["kind-00", "kind-04"]}}),
    ];
    let periods = [
        json!({"rolling": "30d"}),
        json!({"calendar": "Month", "timeZone": "Europe/Berlin"}),
        json!({"rolling": "7d"}),
        json!({"calendar": "Week"}),
        json!({"calendar": "Quarter"}),
    ];
    (0..count)
        .map(|i| {
            let sli = kinds[i % kinds.len()].clone();
            let mut spec = json!({"objective": "99.9", "period": periods[i / kinds.len() % periods.len()], "sli": sli});
            if spec["sli"].get("composite").is_none() && i % 3 == 0 {
                spec["groupBy"] = json!(["route"]);
            }
            if i % 7 == 0 {
                spec["exclusions"] =
                    json!([{"name": "patches", "every": "Sun 03:00", "for": "2h", "timeZone": "Europe/Berlin"}]);
            }
            slo(&format!("kind-{i:02}"), &spec)
        })
        .collect()
}

async fn fifty_slos_of_every_kind_become_ready(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    install(&stack.control_plane).await?;
    let namespace = testbed.namespace("fifty").await?;
    let operator =
        Operator::start(testbed.plimsoll()?, &stack.control_plane, &["--prometheus", stack.prometheus.url()]).await?;
    let started = Instant::now();
    apply(&stack.control_plane, &namespace, &every_kind(50)).await?;
    let applied = started.elapsed();
    let slos: Api<Slo> = Api::namespaced(stack.control_plane.client().await?, &namespace);
    ready(&slos, 50).await?;
    println!("50 SLOs: kubectl apply took {applied:.1?}, all were ready {:.1?} after it began", started.elapsed());
    // Ready means loaded: Prometheus evaluates every rule without an error.
    let groups = stack.prometheus.rules().await?;
    let ours: Vec<_> = groups.iter().filter(|g| g.name.starts_with(&format!("plimsoll.{namespace}."))).collect();
    ensure!(ours.len() >= 50 * 3 - 20, "{} groups", ours.len());
    drop(operator);
    Ok(())
}

async fn drift_is_repaired_and_nothing_is_written_twice(testbed: &Testbed) -> Result<()> {
    let control_plane = api(testbed).await?;
    let client = control_plane.client().await?;
    let rules = rules_api(client.clone(), "default");
    let slos: Api<Slo> = Api::namespaced(client, "default");
    let mut operator = Operator::start(testbed.plimsoll()?, &control_plane, &[]).await?;
    apply(&control_plane, "default", &every_kind(10)).await?;
    ready(&slos, 10).await?;
    let name = "plimsoll-kind-00";
    let whole = rules.get(name).await?.data["spec"].clone();
    let tamper = json!({"metadata": {"labels": {"mine": "stays"}}, "spec": {"groups": []}});

    // Somebody edits a rule object: it is put back, and what is not ours stays.
    rules.patch(name, &PatchParams::default(), &Patch::Merge(&tamper)).await?;
    let repaired = wait_until("drift to be repaired", SOON, async || {
        let rule = rules.get(name).await?;
        Ok((rule.data["spec"] == whole).then_some(rule))
    })
    .await?;
    ensure!(
        repaired.metadata.labels.unwrap_or_default().get("mine").is_some_and(|v| v == "stays"),
        "a foreign label is gone"
    );
    rules.delete(name, &Default::default()).await?;
    wait_until("a deleted object to come back", SOON, async || Ok(rules.get_opt(name).await?)).await?;

    // Started again with nothing to do, it writes nothing.
    operator.stop().await?;
    let versions = async || -> Result<BTreeMap<_, _>> {
        let mut all = BTreeMap::new();
        for rule in rules.list(&ListParams::default()).await?.items {
            all.insert(rule.metadata.name, rule.metadata.resource_version);
        }
        for slo in slos.list(&ListParams::default()).await?.items {
            all.insert(slo.metadata.name, slo.metadata.resource_version);
        }
        Ok(all)
    };
    let before = versions().await?;
    let mut operator = Operator::start(testbed.plimsoll()?, &control_plane, &[]).await?;
    wait_until("all to be looked at again", SOON, async || {
        Ok((operator.metric("plimsoll_reconciles_total{outcome=\"unchanged\"}").await? >= 10).then_some(()))
    })
    .await?;
    ensure!(operator.writes().await? == 0, "{} writes after a restart", operator.writes().await?);
    ensure!(versions().await? == before, "something was written after a restart");

    // What was edited while it was away is put back when it returns.
    operator.stop().await?;
    rules.patch(name, &PatchParams::default(), &Patch::Merge(&tamper)).await?;
    let operator = Operator::start(testbed.plimsoll()?, &control_plane, &[]).await?;
    wait_until("old drift to be repaired", SOON, async || {
        Ok((rules.get(name).await?.data["spec"] == whole).then_some(()))
    })
    .await?;
    drop(operator);
    Ok(())
}

async fn bad_objects_stop_nothing(testbed: &Testbed) -> Result<()> {
    let control_plane = api(testbed).await?;
    let client = control_plane.client().await?;
    let slos: Api<Slo> = Api::namespaced(client.clone(), "default");
    let rules = rules_api(client.clone(), "default");
    // Somebody else's object has the name that ours would have.
    let theirs = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "plimsoll-taken"}, "spec": {"groups": []}});
    apply(&control_plane, "default", &[theirs]).await?;
    // An object from before the definition was as strict as it is.
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let loose = json!({"spec": {"versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    crds.patch(Slo::crd_name(), &PatchParams::default(), &Patch::Merge(&loose)).await?;
    let broken = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "metadata": {"name": "broken"}, "spec": {"objective": 99.9, "sli": []}});
    wait_until("the loose definition", SOON, async || {
        Ok(apply(&control_plane, "default", std::slice::from_ref(&broken)).await.ok())
    })
    .await?;
    control_plane.apply(&serde_json::to_string(&Slo::crd())?).await?;

    let operator = Operator::start(testbed.plimsoll()?, &control_plane, &[]).await?;
    let mut invalid = plain("invalid");
    invalid["spec"]["sli"]["events"]["bad"] = json!("sum(rate(a[$window])");
    let mut nowhere = plain("nowhere");
    nowhere["spec"]["backend"] = json!("mimir");
    let partless =
        slo("partless", &json!({"objective": "99", "sli": {"composite": {"worstOf": ["plain", "missing"]}}}));
    apply(&control_plane, "default", &[invalid, nowhere, partless, plain("taken"), plain("plain")]).await?;
    let settled = async |name: &str, status: &str, reason: &str, words: &str| -> Result<()> {
        wait_until(&format!("{name} to be {status} for {reason}"), SOON, async || {
            let slo = slos.get(name).await?;
            let (is, why, message) = condition(&slo, "Ready");
            Ok((is == status && why == reason && message.contains(words)).then_some(()))
        })
        .await
    };
    settled("plain", "True", "AsDeclared", "").await?;
    settled(
        "invalid",
        "False",
        "Invalid",
        "spec.sli.events.bad: bad is not valid PromQL (this ( is never closed); close it",
    )
    .await?;
    settled("nowhere", "False", "BackendUnknown", "mimir").await?;
    settled("partless", "False", "ReferenceMissing", "missing").await?;
    settled("taken", "False", "NotOurs", "plimsoll-taken").await?;
    ensure!(
        rules.get("plimsoll-taken").await?.data["spec"]["groups"] == json!([]),
        "somebody else's object was written"
    );
    ensure!(rules.get_opt("plimsoll-broken").await?.is_none(), "rules of an object that cannot be read");
    // A part that appears makes its composite ready.
    apply(&control_plane, "default", &[plain("missing")]).await?;
    settled("partless", "True", "AsDeclared", "").await?;
    drop(operator);
    Ok(())
}

/// Everything that the operator made, without what differs between any two clusters.
async fn made(client: &Client, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for rule in rules_api(client.clone(), namespace).list(&ListParams::default()).await?.items {
        let owners: Vec<String> =
            rule.metadata.owner_references.unwrap_or_default().into_iter().map(|o| o.kind + "/" + &o.name).collect();
        let name = rule.metadata.name.unwrap_or_default();
        all.insert(
            format!("rule/{name}"),
            json!({"spec": rule.data["spec"], "labels": rule.metadata.labels, "owners": owners}),
        );
    }
    for slo in Api::<Slo>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items {
        let mut status = serde_json::to_value(slo.status)?;
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        all.insert(format!("slo/{}", slo.metadata.name.unwrap_or_default()), status);
    }
    Ok(all)
}

async fn killed_after_every_write_it_ends_the_same(testbed: &Testbed) -> Result<()> {
    const COUNT: usize = 20;
    let objects = every_kind(COUNT);
    let undisturbed = {
        let control_plane = api(testbed).await?;
        apply(&control_plane, "default", &objects).await?;
        let client = control_plane.client().await?;
        let _operator = Operator::start(testbed.plimsoll()?, &control_plane, &[]).await?;
        ready(&Api::namespaced(client.clone(), "default"), COUNT).await?;
        made(&client, "default").await?
    };
    let control_plane = api(testbed).await?;
    apply(&control_plane, "default", &objects).await?;
    let client = control_plane.client().await?;
    let proxy = Proxy::start(&control_plane).await?;
    let mut kills = 0;
    loop {
        ensure!(kills < 20 * COUNT, "it does not come to an end: {:?}", made(&client, "default").await?);
        static VICTIM: AtomicU64 = AtomicU64::new(0);
        VICTIM.store(0, Ordering::SeqCst);
        // By its number, since the answer must not reach it before it is gone.
        let kill = || {
            let pid = i32::try_from(VICTIM.load(Ordering::SeqCst)).unwrap_or(0);
            if pid > 0 {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
            pid == 0
        };
        proxy.after_write(kill).await;
        let started =
            Operator::start_with_victim(testbed.plimsoll()?, &proxy.kubeconfig(), &["--no-leader-election"], |pid| {
                VICTIM.store(u64::from(pid), Ordering::SeqCst);
            })
            .await;
        let Ok(mut operator) = started else {
            kills += 1;
            continue;
        };
        let before = proxy.writes();
        let quiet = wait_until("it to be killed, or to have nothing left to do", SOON, async || {
            if operator.ended()? {
                return Ok(Some(false));
            }
            let done = operator.metric("plimsoll_reconciles_total{outcome=\"unchanged\"}").await.unwrap_or(0);
            Ok((done >= u64::try_from(COUNT)? && proxy.writes() == before).then_some(true))
        })
        .await?;
        if quiet && !operator.ended()? {
            break;
        }
        kills += 1;
    }
    println!("killed {kills} times on the way");
    // A rule object and a status each, and an event now and then.
    ensure!(kills >= 2 * COUNT, "only {kills} kills: the test does not do what it says");
    let disturbed = made(&client, "default").await?;
    for (name, object) in &undisturbed {
        ensure!(disturbed.get(name) == Some(object), "{name} differs:\n{object}\n{:?}", disturbed.get(name));
    }
    ensure!(disturbed.len() == undisturbed.len(), "{:?}", disturbed.keys());
    Ok(())
}

async fn it_outlives_the_api_server_and_etcd(testbed: &Testbed) -> Result<()> {
    let mut control_plane = api(testbed).await?;
    let slos: Api<Slo> = Api::namespaced(control_plane.client().await?, "default");
    let mut operator = Operator::start(testbed.plimsoll()?, &control_plane, &[]).await?;
    apply(&control_plane, "default", &[plain("before")]).await?;
    ready(&slos, 1).await?;
    control_plane.stop_api_server().await?;
    control_plane.stop_etcd().await?;
    control_plane.start_etcd().await?;
    control_plane.start_api_server().await?;
    control_plane.ready_again().await?;
    apply(&control_plane, "default", &[plain("after")]).await?;
    ready(&slos, 2).await?;
    ensure!(!operator.ended()?, "the operator ended");
    operator.stop().await
}

async fn the_webhook_says_what_the_command_line_says(testbed: &Testbed) -> Result<()> {
    let control_plane = api(testbed).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("https://{address}");
    let operator = Operator::start(
        testbed.plimsoll()?,
        &control_plane,
        &["--namespace", "default", "--webhook-listen", &address, "--webhook-url", &url],
    )
    .await?;
    let mut bad = plain("bad");
    bad["spec"]["sli"]["events"]["bad"] = json!("sum(rate(a[$window])");
    let words = "spec.sli.events.bad: bad is not valid PromQL (this ( is never closed); close it";
    let refusal = wait_until("the webhook to refuse", SOON, async || {
        // Until its configuration is in force, anything of the right shape is let in.
        let outcome = apply(&control_plane, "default", std::slice::from_ref(&bad)).await;
        Ok(outcome.err().map(|e| format!("{e:#}")))
    })
    .await
    .with_context(|| operator.log().unwrap_or_default())?;
    ensure!(refusal.contains(words), "{refusal}");
    let cli = plimsoll_testbed::Program::new(testbed.plimsoll()?)
        .args(["validate", "--output", "json", "-"])
        .run(&bad.to_string(), SOON)
        .await?;
    let printed = format!("{cli:?}");
    ensure!(printed.contains("this ( is never closed"), "{printed}");
    // The shape is refused by the API server itself, in the same words.
    let mut shape = plain("shape");
    shape["spec"]["objective"] = json!("100");
    let refusal = format!(
        "{:#}",
        apply(&control_plane, "default", &[shape]).await.err().context("an objective of 100 was accepted")?
    );
    ensure!(refusal.contains("objective is a percentage"), "{refusal}");
    apply(&control_plane, "default", &[plain("good")]).await?;
    drop(operator);
    Ok(())
}
