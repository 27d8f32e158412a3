//! The anomaly scorer on real servers: from an AlertRule to an alert of a series that does what it never did.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use plimsoll_api::AlertRule;
use plimsoll_e2e::{Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{Component, ControlPlaneOptions, Folder, Prometheus, PrometheusOptions, SampleService};
use serde_json::json;

use crate::cluster::start;

/// Two turns of the scorer, which looks every 30 s, and some more.
const TURNS: Duration = Duration::from_secs(100);

const NEEDS: &[Component] =
    &[Component::Etcd, Component::Kubernetes, Component::Prometheus, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![test(NEEDS, a_series_that_jumps_becomes_an_alert)]
}

/// The series has no past, so the query makes one: ten values in turn, to which the series is added.
async fn a_series_that_jumps_becomes_an_alert(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    let labels = "cluster=\"eu\"";
    sample.set("queue_length", labels, 0.0);
    let options = PrometheusOptions {
        scrape: vec![("sample".to_owned(), vec![sample.target()])],
        ..PrometheusOptions::default()
    };
    let mut prometheus = Prometheus::start(testbed.bin(), options).await?;
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let folder = Folder::new("anomaly")?;
    let config = folder.join("config.yaml");
    let files = json!({"directory": prometheus.rule_folder(), "reloadUrl": format!("{}/-/reload", prometheus.url())});
    let backends = json!({"backends": {"default": {"ruleFiles": files}}, "prometheus": {"url": prometheus.url()}});
    std::fs::write(&config, backends.to_string())?;
    let mut operator =
        Operator::start(testbed.plimsoll()?, &plane, &["--config", &config.display().to_string()]).await?;
    let metrics = operator.target().to_owned();
    prometheus.reconfigure(|options| options.scrape.push(("plimsoll".to_owned(), vec![metrics]))).await?;

    let query = "vector(10 + time() % 300 / 300) + (sum(queue_length) or vector(0))";
    let object = json!({
        "apiVersion": plimsoll_api::API_VERSION, "kind": "AlertRule", "metadata": {"name": "queue"},
        "spec": {"interval": "1s", "matchers": {"cluster": "eu"},
            "rules": [{"alert": "QueueUnusual", "anomaly": {"query": query, "direction": "Up"}}]},
    });
    let api: Api<AlertRule> = Api::namespaced(client, "default");
    api.patch("queue", &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;

    let score = "plimsoll_anomaly_score{alertrule=\"default/queue\",alert=\"QueueUnusual\"}";
    let calm = prometheus.wait_for(score, TURNS).await?;
    ensure!(calm.len() == 1 && calm[0].value().is_some_and(|score| score < 0.4), "{calm:?}");
    ensure!(operator.metric("plimsoll_anomaly_series").await? == 1);
    sample.set("queue_length", labels, 90.0);
    let firing = "ALERTS{alertname=\"QueueUnusual\",alertstate=\"firing\",alertrule=\"default/queue\"}";
    prometheus.wait_for(firing, TURNS).await?;
    let all = prometheus.query(&format!("max_over_time({score}[5m])")).await?;
    ensure!(all.len() == 1 && all[0].value().is_some_and(|score| score >= 0.5), "{all:?}");
    ensure!(operator.metric("plimsoll_anomaly_failures_total").await? == 0);
    operator.stop().await
}
