//! The whole path: from a file to a page; and what stands in its way.

use anyhow::{Result, ensure};
use kube::Api;
use plimsoll_api::{Slo, conditions};
use plimsoll_e2e::{STACK, Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{Component, ControlPlaneOptions, Program, wait_until};
use serde_json::json;

use crate::{
    cluster::{SOON, apply, condition, install, reason, rules, slo as plain, start},
    traffic::slo,
};

/// etcd, the API server, and prometheus-operator's definitions.
const API: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![test(STACK, an_slo_becomes_a_page), test(API, bad_objects_stop_nothing)]
}

async fn an_slo_becomes_a_page(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    let client = install(&stack.control_plane).await?;
    let namespace = testbed.namespace("page").await?;
    let operator =
        Operator::start(testbed.plimsoll()?, &stack.control_plane, &["--prometheus", stack.prometheus.url()]).await?;
    stack.sample.rate("page_requests_total", "code=\"200\"", 90.0);
    stack.sample.rate("page_requests_total", "code=\"500\"", 10.0);
    let mut object = slo(
        "checkout",
        &json!({
            "objective": "99", "owner": "payments", "period": {"rolling": "10m"},
            "sli": {"events": {"bad": "page_requests_total{job=\"sample\",code=~\"5..\"}", "total": "page_requests_total{job=\"sample\"}"}},
            "alerting": {"tiers": [{"name": "fast", "burnRate": "5", "longWindow": "20s", "shortWindow": "5s"}]}
        }),
    );
    object["metadata"]["namespace"] = json!(namespace);
    apply(&client, &namespace, &[object]).await?;
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
    let slos: Api<Slo> = Api::namespaced(client, &namespace);
    // Its rules and its numbers are asked for apart: either may be known first.
    wait_until("the status to say that it burns, and works", SOON, async || {
        let slo = slos.get("checkout").await?;
        for type_ in [conditions::BURNING, conditions::READY, conditions::RULES_LOADED, conditions::DATA_PRESENT] {
            let found = condition(&slo, type_);
            ensure!(found.as_ref().is_some_and(|(is, ..)| is == "True"), "{type_}: {found:?}");
        }
        Ok(Some(()))
    })
    .await?;
    let columns = stack.control_plane.kubectl(["-n", &namespace, "get", "slo"]).await?;
    ensure!(columns.contains("Page") && columns.contains("99"), "{columns}");
    let (program, kubeconfig) = (testbed.plimsoll()?, stack.control_plane.kubeconfig());
    let explained = Program::new(program)
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
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    let mut invalid = plain("invalid");
    invalid["spec"]["sli"]["events"]["bad"] = json!("sum(rate(a[$window])");
    let mut nowhere = plain("nowhere");
    nowhere["spec"]["backend"] = json!("mimir");
    let partless =
        slo("partless", &json!({"objective": "99", "sli": {"composite": {"worstOf": ["plain", "missing"]}}}));
    let mut partless = partless;
    partless["metadata"]["namespace"] = json!("default");
    apply(&client, "default", &[invalid, nowhere, partless, plain("plain")]).await?;
    let says = async |name: &str, why: &str, words: &str| -> Result<()> {
        let message = reason(&client, "default", name, why).await?;
        ensure!(message.contains(words), "{name}: {message}");
        Ok(())
    };
    says("plain", conditions::REASON_OK, "").await?;
    says(
        "invalid",
        conditions::REASON_INVALID,
        "spec.sli.events.bad: bad is not valid PromQL (this ( is never closed); close it",
    )
    .await?;
    says("nowhere", conditions::REASON_BACKEND_UNKNOWN, "mimir").await?;
    says("partless", conditions::REASON_REFERENCE_MISSING, "missing").await?;
    ensure!(rules(&client, "default").get_opt("plimsoll-invalid").await?.is_none(), "rules of an invalid SLO");
    // A part that appears makes its composite ready.
    apply(&client, "default", &[plain("missing")]).await?;
    says("partless", conditions::REASON_OK, "").await?;
    drop(operator);
    Ok(())
}
