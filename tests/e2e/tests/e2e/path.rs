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

/// A control plane with both definitions, and no controllers of its own.
async fn api(testbed: &Testbed) -> Result<ControlPlane> {
    let control_plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    PrometheusOperator::install_crds(testbed.bin(), &control_plane).await?;
    install(&control_plane).await?;
    Ok(control_plane)
}

fn condition(slo: &Slo, type_: &str) -> (String, String, String) {
    let conditions = slo.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .unwrap_or_default()
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
