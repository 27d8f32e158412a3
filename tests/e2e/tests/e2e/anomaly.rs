//! The anomaly scorer on real servers: from an AlertRule to an alert of a series that does what it never did.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use plimsoll_api::{AlertRule, conditions};
use plimsoll_e2e::{Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{
    Component, ControlPlaneOptions, Folder, Prometheus, PrometheusOptions, SampleService, wait_until,
};
use serde_json::{Value, json};

use crate::cluster::{OF_THE_MANIFEST, may, start};

/// Some turns of the scorer, which looks every 30 s.
const TURNS: Duration = Duration::from_secs(150);

const NEEDS: &[Component] =
    &[Component::Etcd, Component::Kubernetes, Component::Prometheus, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(NEEDS, a_series_that_jumps_becomes_an_alert_which_outlives_the_operator),
        test(NEEDS, two_replicas_share_and_the_one_that_is_left_goes_on),
    ]
}

/// The series has no past, so the query makes one: ten values in turn, to which the series is added.
const QUERY: &str = "vector(10 + time() % 300 / 300) + (sum(queue_length) or vector(0))";
const SCORE: &str = "plimsoll_anomaly_score{alertrule=\"default/queue\",alert=\"QueueUnusual\"}";
const STATE: &str = "plimsoll_anomaly_state{alertrule=\"default/queue\",alert=\"QueueUnusual\"}";
const FIRING: &str = "ALERTS{alertname=\"QueueUnusual\",alertstate=\"firing\",alertrule=\"default/queue\"}";
/// Since when it fires: another one, or one that had ended in between, has another time.
const SINCE: &str = "ALERTS_FOR_STATE{alertname=\"QueueUnusual\",alertrule=\"default/queue\"}";

async fn a_series_that_jumps_becomes_an_alert_which_outlives_the_operator(testbed: &Testbed) -> Result<()> {
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
    let (config, state) = (config.display().to_string(), folder.join("state").display().to_string());
    let arguments = ["--config", &config, "--state-dir", &state];
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &arguments).await?;
    let metrics = operator.target().to_owned();
    prometheus.reconfigure(|options| options.scrape.push(("plimsoll".to_owned(), vec![metrics]))).await?;

    let object = json!({
        "apiVersion": plimsoll_api::API_VERSION, "kind": "AlertRule", "metadata": {"name": "queue"},
        "spec": {"interval": "1s", "matchers": {"cluster": "eu"},
            "rules": [{"alert": "QueueUnusual", "anomaly": {"query": QUERY, "direction": "Up"}}]},
    });
    let api: Api<AlertRule> = Api::namespaced(client, "default");
    api.patch("queue", &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;

    let calm = prometheus.wait_for(SCORE, TURNS).await?;
    ensure!(calm.len() == 1 && calm[0].value().is_some_and(|score| score < 0.4), "{calm:?}");
    ensure!(!calm[0].labels.contains_key("instance"), "no label of this process: {calm:?}");
    ensure!(operator.metric("plimsoll_anomaly_series").await? == 1);
    let scored = wait_until("the condition", TURNS, async || {
        let status = api.get("queue").await?.status.unwrap_or_default();
        Ok(status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == conditions::SCORED && condition.reason == conditions::REASON_SCORING))
    })
    .await?;
    ensure!(scored.message.starts_with("QueueUnusual: 1 series scored since "), "{scored:?}");

    sample.set("queue_length", labels, 90.0);
    prometheus.wait_for(FIRING, TURNS).await?;
    let all = prometheus.query(&format!("max_over_time({STATE}[5m])")).await?;
    ensure!(all.len() == 1 && all[0].value().is_some_and(|score| score >= 0.5), "{all:?}");
    ensure!(operator.metric("plimsoll_anomaly_failures_total").await? == 0);
    let looked = reqwest::get(format!("http://{}/anomaly?watch=default/queue", operator.target())).await?;
    let looked: Value = serde_json::from_str(&looked.error_for_status()?.text().await?)?;
    let one = &looked["series"][0];
    ensure!(one["value"].as_f64() > one["high"].as_f64() && one["since"].is_f64(), "{looked}");
    let since = prometheus.value(SINCE).await?;
    ensure!(since.is_some());

    // Killed in the middle of the alert, and started anew under another address.
    let before = questions(&prometheus).await?;
    operator.kill()?;
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &arguments).await?;
    let metrics = operator.target().to_owned();
    prometheus
        .reconfigure(|options| {
            options.scrape.retain(|(job, _)| job != "plimsoll");
            options.scrape.push(("plimsoll".to_owned(), vec![metrics]));
        })
        .await?;
    wait_until("the state to be read", TURNS, async || {
        Ok((operator.metric("plimsoll_anomaly_series").await? == 1).then_some(()))
    })
    .await?;
    prometheus.wait_for(&format!("{STATE} > 0"), TURNS).await?;
    let first = questions(&prometheus).await?;
    wait_until("another turn", TURNS, async || {
        Ok((questions(&prometheus).await? > first.max(before + 1.0)).then_some(()))
    })
    .await?;
    // A day of the past are 25 questions.
    let asked = questions(&prometheus).await? - before;
    ensure!(asked <= 8.0, "the past was read again: {asked} questions");
    ensure!(operator.log()?.contains("the scorer goes on from its stored state"));
    ensure!(prometheus.query(FIRING).await?.len() == 1);
    let same = prometheus.value(SINCE).await?;
    ensure!(same == since, "the alert is another one: since {same:?}, not {since:?}");
    operator.stop().await
}

/// AlertRules, of which each of the two shards has some.
const QUEUES: usize = 6;

async fn two_replicas_share_and_the_one_that_is_left_goes_on(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    let set = |value: f64| (0..QUEUES).for_each(|n| sample.set(&format!("queue_{n}"), "cluster=\"eu\"", value));
    set(0.0);
    let options = PrometheusOptions {
        scrape: vec![("sample".to_owned(), vec![sample.target()])],
        ..PrometheusOptions::default()
    };
    let mut prometheus = Prometheus::start(testbed.bin(), options).await?;
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    plane.kubectl(["create", "namespace", "plimsoll-system"]).await?;
    plane.apply(&std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/rbac.yaml"))?).await?;
    let kubeconfig = plane.kubeconfig_for("system:serviceaccount:plimsoll-system:plimsoll", None)?;
    may(&kubeconfig, &OF_THE_MANIFEST).await?;
    let folder = Folder::new("shards")?;
    let config = folder.join("config.yaml");
    let files = json!({"directory": prometheus.rule_folder(), "reloadUrl": format!("{}/-/reload", prometheus.url())});
    let backends = json!({"backends": {"default": {"ruleFiles": files}}, "prometheus": {"url": prometheus.url()}});
    std::fs::write(&config, backends.to_string())?;
    let (config, state) = (config.display().to_string(), folder.join("state").display().to_string());
    let start = async |identity: &str| {
        // A lease of so long is lost by nobody who is only slow: whoever loses one reads the state again.
        let arguments = ["--config", &config, "--state-dir", &state, "--anomaly-shards", "2", "--lease-seconds", "12"];
        let election = ["--namespace", "plimsoll-system", "--identity", identity];
        Operator::start_with(testbed.plimsoll()?, &kubeconfig, &[arguments.as_slice(), &election].concat()).await
    };
    let has = async |operator: &Operator, metric: &str, wanted: u64| {
        wait_until(&format!("{metric} {wanted}"), TURNS, async || {
            Ok((operator.metric(metric).await? == wanted).then_some(()))
        })
        .await
    };

    // One has all; the other one, which comes later, gets its half, and only one writes statuses.
    let mut first = start("first").await?;
    has(&first, "plimsoll_leader", 1).await?;
    has(&first, "plimsoll_anomaly_shards", 2).await?;
    let mut second = start("second").await?;
    has(&second, "plimsoll_anomaly_shards", 1).await?;
    has(&first, "plimsoll_anomaly_shards", 1).await?;
    let targets = [&first, &second].map(|operator| operator.target().to_owned()).to_vec();
    prometheus.reconfigure(|options| options.scrape.push(("plimsoll".to_owned(), targets))).await?;
    let api: Api<AlertRule> = Api::namespaced(client, "default");
    for n in 0..QUEUES {
        let query = format!("vector(10 + time() % 300 / 300) + (sum(queue_{n}) or vector(0))");
        let object = json!({
            "apiVersion": plimsoll_api::API_VERSION, "kind": "AlertRule", "metadata": {"name": format!("queue-{n}")},
            "spec": {"interval": "1s", "matchers": {"cluster": "eu"},
                "rules": [{"alert": "QueueUnusual", "anomaly": {"query": query, "direction": "Up"}}]},
        });
        api.patch(&format!("queue-{n}"), &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
    }
    let statuses = async || -> Result<Vec<_>> {
        let found = api.list(&Default::default()).await?.items.into_iter().map(|rule| {
            let status = rule.status.unwrap_or_default();
            let scored = status.conditions.into_iter().find(|one| one.type_ == conditions::SCORED);
            scored.filter(|scored| scored.reason == conditions::REASON_SCORING)
        });
        Ok(found.flatten().map(|scored| (scored.message, scored.last_transition_time.0)).collect())
    };
    let all_scored = wait_until("the conditions", TURNS, async || {
        Ok(Some(statuses().await?).filter(|scored| scored.len() == QUEUES))
    })
    .await?;
    let number = async |expression: &str| anyhow::Ok(prometheus.value(expression).await?.unwrap_or(0.0) as usize);
    wait_until("a score of each", TURNS, async || {
        Ok((number("count(plimsoll_anomaly_score)").await? == QUEUES).then_some(()))
    })
    .await?;
    let mut shares = Vec::new();
    for operator in [&first, &second] {
        shares.push(operator.metric("plimsoll_anomaly_series").await?);
    }
    ensure!(shares.iter().all(|share| *share > 0) && shares.iter().sum::<u64>() == QUEUES as u64, "{shares:?}");

    set(90.0);
    const FIRING: &str = "count(ALERTS{alertname=\"QueueUnusual\",alertstate=\"firing\"})";
    let since = async || -> Result<Vec<_>> {
        let found = prometheus.query("ALERTS_FOR_STATE{alertname=\"QueueUnusual\"}").await?;
        let mut all: Vec<_> = found.iter().map(|one| (one.label("alertrule").to_owned(), one.value())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    };
    wait_until("all to fire", TURNS, async || Ok((number(FIRING).await? == QUEUES).then_some(()))).await?;
    let begun = since().await?;
    ensure!(begun.len() == QUEUES, "{begun:?}");

    // The leader crashes, with its shard.
    first.kill()?;
    has(&second, "plimsoll_anomaly_shards", 2).await?;
    has(&second, "plimsoll_leader", 1).await?;
    has(&second, "plimsoll_anomaly_series", QUEUES as u64).await?;
    ensure!(second.log()?.matches("the scorer goes on from its stored state").count() == 2, "{}", second.log()?);
    wait_until("all states again", TURNS, async || {
        Ok((number("count(plimsoll_anomaly_state > 0)").await? == QUEUES).then_some(()))
    })
    .await?;
    // Another leader, another scorer, and nothing to say.
    // Its first status of an alert that fires is another matter.
    const TOLD: &str = "plimsoll_api_writes_total{kind=\"configmaps\",outcome=\"ok\"}";
    let before = (questions(&prometheus).await?, second.metric(TOLD).await?);
    wait_until("two more turns", TURNS, async || {
        Ok((questions(&prometheus).await? >= before.0 + 2.0 * QUEUES as f64).then_some(()))
    })
    .await?;
    ensure!(number(FIRING).await? == QUEUES && since().await? == begun, "{:?}, not {begun:?}", since().await?);
    ensure!(statuses().await? == all_scored, "{:?}, not {all_scored:?}", statuses().await?);
    ensure!(second.metric(TOLD).await? <= before.1 + 1, "what is seen of the shard that came may be told once");
    second.stop().await?;
    for operator in [&first, &second] {
        ensure!(!operator.log()?.contains("forbidden"), "{}", operator.log()?);
    }
    Ok(())
}

/// Range queries that Prometheus was asked.
async fn questions(prometheus: &Prometheus) -> Result<f64> {
    let text = reqwest::get(format!("{}/metrics", prometheus.url())).await?.text().await?;
    let wanted = "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/query_range\"}";
    Ok(text.lines().find_map(|line| line.strip_prefix(wanted)?.trim().parse().ok()).unwrap_or(0.0))
}
