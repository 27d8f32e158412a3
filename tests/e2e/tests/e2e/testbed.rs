//! The testbed itself: each server does what the other tests rely on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use plimsoll_e2e::{CONTROL_PLANE, PROMETHEUS, STACK, Test, Testbed, test};
use plimsoll_testbed::{
    ControlPlane, ControlPlaneOptions, Folder, Prometheus, PrometheusOptions, Promtool, SampleService, wait_until,
};
use serde_json::json;

/// Generous: a deadline is for what never happens, and the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(STACK, control_plane_serves),
        test(STACK, kubectl_applies),
        test(STACK, rbac_is_on),
        test(PROMETHEUS, prometheus_evaluates_a_rule_file),
        test(PROMETHEUS, prometheus_answers_from_blocks_of_the_past),
        test(PROMETHEUS, promtool_tells_good_rules_from_bad),
        test(PROMETHEUS, a_newcomer_s_shop_serves_and_fails),
        test(STACK, an_alert_reaches_the_webhook),
        test(STACK, a_prometheus_rule_reaches_prometheus_and_leaves_it),
        test(CONTROL_PLANE, api_server_and_etcd_restart),
    ]
}

async fn control_plane_serves(testbed: &Testbed) -> Result<()> {
    let client = testbed.shared().await?.control_plane.client().await?;
    let version = client.apiserver_version().await?;
    ensure!(version.git_version.starts_with("v1."), "{version:?}");
    Ok(())
}

async fn kubectl_applies(testbed: &Testbed) -> Result<()> {
    let namespace = testbed.namespace("kubectl").await?;
    let control_plane = &testbed.shared().await?.control_plane;
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "namespace": namespace},
        "data": {"key": "value"},
    });
    control_plane.apply(&object.to_string()).await?;
    let value =
        control_plane.kubectl(["-n", &namespace, "get", "configmap", "one", "-o", "jsonpath={.data.key}"]).await?;
    ensure!(value == "value", "{value}");
    let missing = control_plane.kubectl(["-n", &namespace, "get", "configmap", "two"]).await;
    let message = format!("{:#}", missing.err().context("an object that is not there was found")?);
    ensure!(message.contains("NotFound"), "{message}");
    Ok(())
}

async fn rbac_is_on(testbed: &Testbed) -> Result<()> {
    let namespace = testbed.namespace("rbac").await?;
    let control_plane = &testbed.shared().await?.control_plane;
    let kubeconfig = control_plane.kubeconfig_for("somebody", None)?;
    let client = plimsoll_testbed::client_from(&kubeconfig).await?;
    let refused = Api::<ConfigMap>::namespaced(client.clone(), &namespace).list(&Default::default()).await;
    ensure!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403), "{refused:?}");
    let binding = ["create", "rolebinding", "somebody", "--clusterrole=view", "--user=somebody", "-n", &namespace];
    control_plane.kubectl(binding).await?;
    wait_until("the role to take effect", SOON, async || {
        Ok(Api::<ConfigMap>::namespaced(client.clone(), &namespace).list(&Default::default()).await.ok())
    })
    .await?;
    Ok(())
}

async fn prometheus_evaluates_a_rule_file(testbed: &Testbed) -> Result<()> {
    let service = SampleService::start().await?;
    service.rate("requests_total", r#"code="200""#, 90.0);
    service.rate("requests_total", r#"code="500""#, 10.0);
    service.observe_rate("latency_seconds", "", &[0.1, 0.5], 0.3, 20.0);
    let options = PrometheusOptions {
        scrape: vec![("service".to_owned(), vec![service.target()])],
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    let ratio = r#"sum(rate(requests_total{code="500"}[5s])) / sum(rate(requests_total[5s]))"#;
    let rules = json!({"groups": [{"name": "g", "rules": [{"record": "errors:ratio", "expr": ratio}]}]});
    prometheus.load_rules("r.yaml", &rules.to_string()).await?;

    let recorded = wait_until("the ratio", SOON, async || {
        Ok(prometheus.value("errors:ratio").await?.filter(|value| !value.is_nan()))
    });
    let recorded = recorded.await?;
    ensure!((recorded - 0.1).abs() < 0.02, "{recorded}");
    let quantile = "histogram_quantile(0.5, rate(latency_seconds_bucket[5s]))";
    // Of scrapes that are late there are not always two in the window.
    wait_until("the quantile", SOON, async || {
        let quantile = prometheus.value(quantile).await?.context("no quantile")?;
        ensure!((0.1..=0.5).contains(&quantile), "{quantile}");
        Ok(Some(()))
    })
    .await?;
    let groups = prometheus.rules().await?;
    let healthy = groups.iter().flat_map(|group| &group.rules).all(|rule| rule.health == "ok");
    ensure!(groups.len() == 1 && healthy, "{groups:?}");
    let rejected =
        prometheus.load_rules("bad.yaml", r#"{"groups": [{"name": "g", "rules": [{"record": "x", "expr": "sum("}]}]}"#);
    ensure!(rejected.await.is_err(), "a rule file that does not parse was loaded");
    Ok(())
}

/// What `cargo xtask testbed up` shows to somebody who has no service of his own.
async fn a_newcomer_s_shop_serves_and_fails(testbed: &Testbed) -> Result<()> {
    let shop = SampleService::shop().await?;
    let options = PrometheusOptions {
        scrape: vec![("checkout".to_owned(), vec![shop.target()])],
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    let total = r#"http_requests_total{job="checkout"}"#;
    let ratio = r#"sum(rate(http_requests_total{code=~"5.."}[5s])) / sum(rate(http_requests_total[5s]))"#;
    let slow = r#"1 - sum(rate(http_request_duration_seconds_bucket{le="0.3"}[5s])) / sum(rate(http_request_duration_seconds_count[5s]))"#;
    wait_until("the shop's requests", SOON, async || Ok(prometheus.value(&format!("count({total})")).await?)).await?;
    for (percent, status) in [("20", 200), ("101", 400), ("many", 400)] {
        let url = format!("http://{}/errors/{percent}", shop.target());
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.post(url).send().await?;
        ensure!(answer.status().as_u16() == status, "{percent}: {answer:?}");
    }
    for expression in [ratio, slow] {
        wait_until("a fifth to fail", SOON, async || {
            Ok(prometheus.value(expression).await?.filter(|share| (share - 0.2).abs() < 0.03))
        })
        .await?;
    }
    Ok(())
}

async fn prometheus_answers_from_blocks_of_the_past(testbed: &Testbed) -> Result<()> {
    // Four days of one sample a minute, two days ago on the server's clock in no way: it is 2020.
    const START: u32 = 1_600_000_000;
    let folder = Folder::new("blocks")?;
    let samples = (0..4 * 24 * 60).map(|minute| format!("up_total {minute} {}\n", START + minute * 60));
    let text = format!("# TYPE up counter\n{}# EOF\n", samples.collect::<String>());
    std::fs::write(folder.join("history.txt"), text)?;
    let blocks = folder.join("data");
    Promtool::new(testbed.bin())?.create_blocks(&folder.join("history.txt"), &blocks).await?;

    let options = PrometheusOptions { blocks: Some(blocks), ..PrometheusOptions::default() };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    let end = f64::from(START + 4 * 24 * 60 * 60 - 60);
    let answer = prometheus.query_at("increase(up_total[1d])", end).await?;
    let increase = answer.first().and_then(plimsoll_testbed::Series::value).context("no answer")?;
    ensure!((increase - 1440.0).abs() < 2.0, "{increase}");
    let range = prometheus.query_range("up_total", f64::from(START), end, 3600.0).await?;
    ensure!(range.first().is_some_and(|series| series.samples.len() == 96), "{range:?}");
    Ok(())
}

async fn promtool_tells_good_rules_from_bad(testbed: &Testbed) -> Result<()> {
    let folder = Folder::new("promtool")?;
    let promtool = Promtool::new(testbed.bin())?;
    let (rules, bad) = (folder.join("rules.yaml"), folder.join("bad.yaml"));
    std::fs::write(&rules, r#"{"groups": [{"name": "g", "rules": [{"record": "a:b", "expr": "sum(x)"}]}]}"#)?;
    std::fs::write(&bad, r#"{"groups": [{"name": "g", "rules": [{"record": "a:b", "expr": "sum("}]}]}"#)?;
    promtool.check_rules(&[&rules]).await?;
    ensure!(promtool.check_rules(&[&bad]).await.is_err(), "a rule that does not parse passed");

    let expecting = |value: u32| {
        let sample = json!({"labels": "a:b", "value": value});
        let query = json!({"expr": "a:b", "eval_time": "10m", "exp_samples": [sample]});
        let series = json!({"series": "x{i=\"1\"}", "values": "0+1x20"});
        json!({"rule_files": ["rules.yaml"], "tests": [{"interval": "1m", "input_series": [series], "promql_expr_test": [query]}]})
    };
    let (right, wrong) = (folder.join("right.yaml"), folder.join("wrong.yaml"));
    std::fs::write(&right, expecting(10).to_string())?;
    std::fs::write(&wrong, expecting(11).to_string())?;
    promtool.test_rules(&[&right]).await?;
    ensure!(promtool.test_rules(&[&wrong]).await.is_err(), "a wrong expectation passed");
    Ok(())
}

async fn an_alert_reaches_the_webhook(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    let rule = json!({"alert": "WebhookTest", "expr": "vector(1)", "labels": {"severity": "page"}});
    let rules = json!({"groups": [{"name": "webhook-test", "rules": [rule]}]});
    stack.prometheus.load_rules("webhook-test.yaml", &rules.to_string()).await?;
    let named = |alert: &serde_json::Value| alert["labels"]["alertname"] == "WebhookTest";
    let alert = stack.webhook.wait_for_alert(SOON, |alert| named(alert) && alert["status"] == "firing").await?;
    ensure!(alert["labels"]["severity"] == "page", "{alert}");
    let told = stack.alertmanager.wait_for(&[r#"alertname="WebhookTest""#], SOON, |_| true).await?;
    ensure!(told.status.state == "active" && told.status.inhibited_by.is_empty(), "{told:?}");
    let listed = stack.alertmanager.amtool(["alert", "query", "alertname=WebhookTest"]).await?;
    ensure!(listed.contains("WebhookTest"), "{listed}");

    stack.prometheus.unload_rules("webhook-test.yaml").await?;
    Ok(())
}

async fn a_prometheus_rule_reaches_prometheus_and_leaves_it(testbed: &Testbed) -> Result<()> {
    let namespace = testbed.namespace("rule").await?;
    let stack = testbed.shared().await?;
    let object = |value: u32| {
        let rule = json!({"record": "through:operator", "expr": format!("vector({value})")});
        json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "through", "namespace": namespace},
            "spec": {"groups": [{"name": "through", "rules": [rule]}]},
        })
    };
    for value in [7, 8] {
        stack.control_plane.apply(&object(value).to_string()).await?;
        stack.prometheus.wait_for(&format!("through:operator == {value}"), SOON).await?;
    }
    stack.control_plane.kubectl(["-n", &namespace, "delete", "prometheusrule", "through"]).await?;
    wait_until("the rule to be gone", SOON, async || {
        let groups = stack.prometheus.rules().await?;
        Ok(groups.iter().all(|group| group.name != "through").then_some(()))
    })
    .await
}

async fn api_server_and_etcd_restart(testbed: &Testbed) -> Result<()> {
    let mut control_plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    let client = control_plane.client().await?;
    let objects = Api::<ConfigMap>::namespaced(client, "default");
    let named = |name: &str| ConfigMap {
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Default::default()
    };
    objects.create(&PostParams::default(), &named("before")).await?;

    control_plane.stop_api_server().await?;
    ensure!(objects.get_opt("before").await.is_err(), "a stopped API server answers");
    control_plane.start_api_server().await?;
    // The same client, as an operator has it.
    wait_until("the client to come back", SOON, async || objects.get_opt("before").await.map_err(Into::into)).await?;

    control_plane.stop_etcd().await?;
    // The API server itself gives up after half a minute only.
    let (parameters, object) = (PostParams::default(), named("during"));
    let creating = objects.create(&parameters, &object);
    let creating = tokio::time::timeout(Duration::from_secs(3), creating).await;
    ensure!(!matches!(creating, Ok(Ok(_))), "something was stored without etcd");
    control_plane.start_etcd().await?;
    control_plane.ready_again().await?;
    let found =
        wait_until("the object to be there still", SOON, async || objects.get_opt("before").await.map_err(Into::into))
            .await?;
    ensure!(found.metadata.name.as_deref() == Some("before"), "{found:?}");
    Ok(())
}
