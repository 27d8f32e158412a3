//! Alerts arrive at a real Alertmanager, with the labels that routing and inhibition need.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use plimsoll_e2e::{Test, Testbed, test};
use plimsoll_testbed::{
    Alertmanager, Component, Prometheus, PrometheusOptions, SampleService, WebhookReceiver, wait_until,
};
use serde_json::{Value, json};

use crate::traffic::{generate, slo};

const SOON: Duration = Duration::from_secs(90);
const MONITORING: &[Component] = &[Component::Prometheus, Component::Alertmanager];

pub(crate) fn tests() -> Vec<Test> {
    vec![test(MONITORING, pages_arrive_and_tickets_are_inhibited)]
}

/// The example's routing, with receivers that can be reached and without its patience.
fn configuration(webhook: &WebhookReceiver) -> Result<Value> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/alertmanager.yml"))?;
    let mut config: Value = serde_saphyr::from_str(&text)?;
    // Long enough for alerts of one evaluation to be there together: inhibition looks at what has arrived.
    config["route"]["group_wait"] = json!("3s");
    config["route"]["group_interval"] = json!("1s");
    for receiver in config["receivers"].as_array_mut().context("receivers")? {
        let name = receiver["name"].as_str().context("name")?.to_owned();
        receiver["webhook_configs"] = json!([{"url": format!("{}{name}", webhook.url())}]);
    }
    Ok(config)
}

async fn pages_arrive_and_tickets_are_inhibited(testbed: &Testbed) -> Result<()> {
    let webhook = WebhookReceiver::start().await?;
    let sample = SampleService::start().await?;
    let alertmanager = Alertmanager::start(testbed.bin(), &configuration(&webhook)?).await?;
    let options = PrometheusOptions {
        scrape: vec![("shop".to_owned(), vec![sample.target()])],
        alertmanager: Some(alertmanager.url().to_owned()),
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    sample.rate("requests_total", "code=\"200\"", 90.0);
    sample.rate("requests_total", "code=\"500\"", 10.0);
    // Tiers are data, so windows of seconds show in seconds what windows of hours do.
    let tier = |name: &str, rate: &str, long: &str, short: &str, severity: &str| json!({"name": name, "burnRate": rate, "longWindow": long, "shortWindow": short, "severity": severity});
    let object = slo(
        "checkout",
        &json!({
            "objective": "99", "owner": "payments", "description": "Customers can pay.", "period": {"rolling": "10m"},
            "sli": {"events": {"bad": "requests_total{job=\"shop\",code=~\"5..\"}", "total": "requests_total{job=\"shop\"}"}},
            "alerting": {
                "labels": {"pager": "payments"}, "annotations": {"dashboard": "https://grafana.example/d/checkout"},
                "tiers": [tier("fast", "8", "20s", "5s", "Page"), tier("medium", "6", "30s", "10s", "Page"), tier("slow", "3", "40s", "10s", "Ticket")]
            },
            "runbooks": ["checkout-rollback"]
        }),
    );
    prometheus.load_rules("slo.yaml", &generate(testbed, &[object]).await?).await?;

    let tiers = wait_until("all tiers to fire and the slower ones to be inhibited", SOON, async || {
        let alerts = alertmanager.alerts(&["alertname=\"SLOErrorBudgetBurn\""]).await?;
        let states: BTreeMap<String, (String, bool)> = alerts
            .iter()
            .map(|a| (a.labels["burnrate_tier"].clone(), (a.status.state.clone(), a.status.inhibited_by.is_empty())))
            .collect();
        let done = states.get("fast").is_some_and(|(state, _)| state == "active")
            && ["medium", "slow"]
                .iter()
                .all(|t| states.get(*t).is_some_and(|(state, free)| state == "suppressed" && !free));
        Ok(done.then_some(alerts))
    })
    .await?;
    let fast = tiers.iter().find(|a| a.labels["burnrate_tier"] == "fast").context("fast")?;
    for (label, value) in [
        ("slo_id", "shop/checkout"),
        ("slo", "checkout"),
        ("namespace", "shop"),
        ("service", "checkout"),
        ("owner", "payments"),
        ("pager", "payments"),
        ("severity", "page"),
    ] {
        ensure!(fast.labels.get(label).map(String::as_str) == Some(value), "{label} in {:?}", fast.labels);
    }
    let summary = &fast.annotations["summary"];
    ensure!(
        summary.starts_with("shop/checkout burns its error budget ") && summary.ends_with(" times too fast"),
        "{summary}"
    );
    ensure!(!summary.contains('?'), "the burn rate is not known: {summary}");
    ensure!(fast.annotations["runbooks"] == "checkout-rollback", "{:?}", fast.annotations);
    ensure!(fast.annotations["dashboard"] == "https://grafana.example/d/checkout", "{:?}", fast.annotations);
    let paged = webhook.wait_for_alert(SOON, |alert| alert["labels"]["burnrate_tier"] == "fast").await?;
    ensure!(paged["status"] == "firing", "{paged}");
    let delivered = webhook.received();
    ensure!(delivered.iter().all(|message| message["receiver"] == "pager"), "a ticket was sent in spite of the page");

    // The fault ends: the page is resolved.
    sample.rate("requests_total", "code=\"500\"", 0.0);
    webhook
        .wait_for_alert(SOON, |alert| alert["labels"]["burnrate_tier"] == "fast" && alert["status"] == "resolved")
        .await?;
    Ok(())
}
