//! A parameter that a real Prometheus picks: the Pod that is to blame, of an alert that names none.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::{
    Api,
    api::{ListParams, ResourceExt},
};
use plimsoll_api::execution::Phase;
use plimsoll_e2e::{Test, Testbed, test};
use plimsoll_testbed::{Component, Prometheus, PrometheusOptions, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::SOON,
    runbook_ground::{Ground, TOKEN, post},
};

const WITH_PROMETHEUS: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::Prometheus];

pub(crate) fn tests() -> Vec<Test> {
    vec![test(WITH_PROMETHEUS, a_query_picks_the_pod_that_is_to_blame)]
}

/// Errors of three Pods: recorded, so that an answer is what the rules say. The alert fires: it is asked again whether it does.
async fn errors(prometheus: &Prometheus, of: [(&str, f64); 3]) -> Result<()> {
    let mut rules: Vec<Value> = of
        .iter()
        .map(|(pod, rate)| {
            let labels = json!({"namespace": "shop", "pod": pod});
            json!({"record": "pod:errors:rate5m", "expr": format!("vector({rate})"), "labels": labels})
        })
        .collect();
    rules.push(json!({"alert": "CheckoutBurns", "expr": "vector(1)", "labels": {"namespace": "shop"}}));
    prometheus.load_rules("rules.yml", &json!({"groups": [{"name": "test", "rules": rules}]}).to_string()).await?;
    for (pod, rate) in of {
        let expression = format!("pod:errors:rate5m{{pod=\"{pod}\"}} == {rate}");
        prometheus.wait_for(&expression, SOON).await?;
    }
    prometheus.wait_for("ALERTS{alertname=\"CheckoutBurns\", alertstate=\"firing\"}", SOON).await?;
    Ok(())
}

async fn a_query_picks_the_pod_that_is_to_blame(testbed: &Testbed) -> Result<()> {
    let prometheus = Prometheus::start(testbed.bin(), PrometheusOptions::default()).await?;
    let ground = Ground::with(testbed, Some(prometheus.url()), None).await?;
    let rights = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]}]);
    ground.account("evictor", rights).await?;
    for pod in ["checkout-a", "checkout-b", "checkout-c"] {
        ground.pod(pod, "evictor").await?;
    }
    let mut operator = ground.operator(testbed).await?;
    let spec = json!({"mode": "Auto", "serviceAccountName": "evictor",
        "trigger": {"alert": ["alertname=\"CheckoutBurns\""]},
        "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod", "fromQuery": "pod:errors:rate5m > 1"}],
        "steps": [{"name": "away", "evictPod": {"pod": "pod"}}], "safety": {"minHealthy": 0, "cooldown": "1s"}});
    ground.runbook("blames", spec).await?;
    let alert = |minute: u32| {
        json!({"status": "firing", "labels": {"alertname": "CheckoutBurns", "namespace": "shop"}, "annotations": {},
            "startsAt": format!("2026-01-01T00:{minute:02}:00Z"), "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "00000000000000b1"})
    };
    let pods: Api<Pod> = Api::namespaced(ground.client.clone(), "shop");
    let left = async || -> Result<Vec<String>> {
        Ok(pods.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
    };
    let done = async |count: usize, wanted: &str| {
        wait_until(&format!("{wanted} to be evicted"), SOON, async || {
            let all = ground.of("blames").await?;
            ensure!(all.len() == count, "{} executions", all.len());
            let found = all.into_iter().find(|one| one.spec.objects.iter().any(|object| object.name == wanted));
            let status = found.context("another Pod was picked")?.status.unwrap_or_default();
            ensure!(status.phase == Phase::Succeeded, "{status:?}");
            Ok(Some(()))
        })
        .await
    };

    // The largest value, not the first series.
    errors(&prometheus, [("checkout-a", 2.0), ("checkout-b", 7.0), ("checkout-c", 0.1)]).await?;
    for _ in 0..3 {
        let (code, message) = ground.post(TOKEN, &post(&[alert(1)])).await?;
        ensure!(code == 200, "{code} {message}");
    }
    done(1, "checkout-b").await?;
    ensure!(left().await? == ["checkout-a", "checkout-c"], "{:?}", left().await?);

    // The same alert is the same run, whatever would be picked by now; its next start picks anew.
    errors(&prometheus, [("checkout-a", 9.0), ("checkout-b", 0.0), ("checkout-c", 3.0)]).await?;
    ensure!(ground.post(TOKEN, &post(&[alert(1)])).await?.0 == 200);
    ensure!(ground.of("blames").await?.len() == 1);
    ensure!(ground.post(TOKEN, &post(&[alert(2)])).await?.0 == 200);
    done(2, "checkout-a").await?;
    ensure!(left().await? == ["checkout-c"], "{:?}", left().await?);

    // Nobody is to blame: nothing is done, and somebody is told.
    errors(&prometheus, [("checkout-a", 0.0), ("checkout-b", 0.0), ("checkout-c", 0.5)]).await?;
    ensure!(ground.post(TOKEN, &post(&[alert(3)])).await?.0 == 200);
    let events: Api<Event> = Api::namespaced(ground.client.clone(), "shop");
    wait_until("the event", SOON, async || {
        let all = events.list(&ListParams::default()).await?.items;
        Ok(all.into_iter().find(|event| event.note.as_deref().is_some_and(|note| note.contains("yields no series"))))
    })
    .await?;
    ensure!(ground.of("blames").await?.len() == 2 && left().await? == ["checkout-c"]);

    // What cannot be asked is not answered by 200, so Alertmanager sends it again.
    drop(prometheus);
    let (code, message) = ground.post(TOKEN, &post(&[alert(4)])).await?;
    ensure!(code == 503 && message.contains("parameter pod"), "{code} {message}");
    operator.stop().await
}
