//! The operator as it is installed: its image, from its chart, in pods of a real node that may do nothing special.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, ResourceExt, api::ListParams};
use plimsoll_api::{Slo, conditions};
use plimsoll_e2e::{Needs, Test, Testbed, test};
use plimsoll_testbed::{
    Component, Folder, Helm, PlimsollImage, Prometheus, PrometheusOperator, PrometheusOptions, SampleService,
    wait_until,
};
use serde_json::json;

use crate::{
    cluster::{SOON, apply, condition, reason, rules},
    install::{NAMESPACE, chart, manifests},
    node::Place,
    traffic::slo,
};

const SERVERS: &[Component] = &[
    Component::Etcd,
    Component::Kubernetes,
    Component::Prometheus,
    Component::PrometheusOperator,
    Component::Workloads,
    Component::Helm,
];

pub(crate) fn tests() -> Vec<Test> {
    vec![test(Needs { components: SERVERS, node: true, programs: &[] }, from_the_chart_to_rules_that_are_loaded)]
}

/// Where pods find Prometheus: the node's own address, by a name that only `/etc/hosts` knows.
const PROMETHEUS: (&str, &str) = ("10.99.0.1", "prometheus.monitoring");

async fn from_the_chart_to_rules_that_are_loaded(testbed: &Testbed) -> Result<()> {
    let stack = testbed.node().await?;
    let plane = &stack.control_plane;
    let folder = Folder::new("image")?;
    let archive = folder.join("plimsoll.tar");
    let image = PlimsollImage {
        program: testbed.plimsoll()?,
        name: concat!("localhost/plimsoll:", env!("CARGO_PKG_VERSION")),
        version: env!("CARGO_PKG_VERSION"),
        revision: None,
        compressed: false,
    };
    image.write(&archive)?;
    stack.node.import(&archive).await?;

    let sample = SampleService::start().await?;
    let address: SocketAddr = sample.target().parse()?;
    stack.network.lend(address.port()).await?;
    let options = PrometheusOptions {
        scrape: vec![("sample".to_owned(), vec![sample.target()])],
        network: Some(Arc::clone(&stack.network)),
        ..PrometheusOptions::default()
    };
    let prometheus = Arc::new(Prometheus::start(testbed.bin(), options).await?);
    let listens: SocketAddr = prometheus.url().trim_start_matches("http://").parse()?;
    stack.network.relay(format!("{}:9090", PROMETHEUS.0).parse()?, listens)?;
    let prometheus_operator = PrometheusOperator::start(testbed.bin(), plane, Arc::clone(&prometheus)).await?;

    plane.apply(&std::fs::read_to_string(manifests("kustomize/namespace.yaml"))?).await?;
    let values = json!({
        "image": {"pullPolicy": "Never"},
        "config": {"prometheus": {"url": format!("http://{}:9090", PROMETHEUS.1)}},
        "hostAliases": [{"ip": PROMETHEUS.0, "hostnames": [PROMETHEUS.1]}],
    });
    std::fs::write(folder.join("values.yaml"), values.to_string())?;
    let (helm, values) = (Helm::new(testbed.bin())?, folder.join("values.yaml").display().to_string());
    let helm =
        async |arguments: &[&str]| helm.run(&[arguments, &["-n", NAMESPACE]].concat(), Some(plane.kubeconfig())).await;
    helm(&["install", "plimsoll", &chart(), "-f", &values]).await?;
    let ours = Place { client: plane.client().await?, namespace: NAMESPACE };
    let deployments: Api<Deployment> = ours.api();
    let available = wait_until("two operators", SOON * 2, async || {
        let status = deployments.get("plimsoll").await?.status.unwrap_or_default();
        Ok((status.available_replicas == Some(2)).then_some(()))
    });
    if let Err(error) = available.await {
        let state = plane.kubectl(["-n", NAMESPACE, "describe", "pods"]).await.unwrap_or_default();
        let log = plane.kubectl(["-n", NAMESPACE, "logs", "deployment/plimsoll"]).await.unwrap_or_default();
        return Err(error.context(format!("{state}\n{log}")));
    }

    // The first scenario: an SLO becomes rules that Prometheus has loaded, and says so.
    let place = Place::new(stack, "installed").await?;
    sample.rate("installed_requests_total", "code=\"200\"", 50.0);
    let mut object = slo(
        "checkout",
        &json!({
            "objective": "99", "period": {"rolling": "10m"},
            "sli": {"events": {"bad": "installed_requests_total{job=\"sample\",code=~\"5..\"}", "total": "installed_requests_total{job=\"sample\"}"}},
        }),
    );
    object["metadata"]["namespace"] = json!(place.namespace);
    apply(&place.client, place.namespace, &[object.clone()]).await?;
    reason(&place.client, place.namespace, "checkout", conditions::REASON_OK).await?;
    let slos: Api<Slo> = place.api();
    for (kind, wanted) in [(conditions::RULES_LOADED, "True"), (conditions::DATA_PRESENT, "True")] {
        // The base is evaluated once a minute, and asked for as often.
        wait_until(kind, SOON * 3, async || {
            let found = condition(&slos.get("checkout").await?, kind);
            Ok(found.is_some_and(|(status, ..)| status == wanted).then_some(()))
        })
        .await?;
    }
    let group = prometheus
        .rules()
        .await?
        .into_iter()
        .any(|group| group.name.contains("installed") && group.name.contains("checkout"));
    ensure!(group, "Prometheus has no group of it");

    // The webhook speaks, through its Service and by its own certificate.
    let mut broken = object;
    broken["metadata"]["name"] = json!("broken");
    broken["spec"]["sli"]["events"]["bad"] = json!("sum(rate(a[$window])");
    let wanted = "spec.sli.events.bad: bad is not valid PromQL (this ( is never closed)";
    wait_until("the webhook to refuse", SOON, async || {
        let refused = plane.kubectl_with_input(["apply", "--dry-run=server", "-f", "-"], &broken.to_string()).await;
        let refusal = format!("{:#}", refused.err().context("it is taken")?);
        // That it is not reached yet is another refusal.
        ensure!(refusal.contains(wanted), "{refusal}");
        Ok(Some(()))
    })
    .await?;

    // Two run, and one leads.
    let pods: Api<Pod> = ours.api();
    let mut leading = 0;
    for pod in pods.list(&ListParams::default().labels("app.kubernetes.io/name=plimsoll")).await? {
        let metrics = String::from_utf8(ours.through_proxy("GET", &pod.name_any(), 8080, "metrics").await?)?;
        let leads = metrics.lines().find_map(|line| line.strip_prefix("plimsoll_leader "));
        leading += leads.context("no metric says who leads")?.parse::<u32>()?;
    }
    ensure!(leading == 1, "{leading} lead");

    helm(&["uninstall", "plimsoll"]).await?;
    ensure!(slos.get("checkout").await?.metadata.deletion_timestamp.is_none(), "the SLO goes with the chart");
    rules(&place.client, place.namespace).get("plimsoll-checkout").await.context("its rules go with the chart")?;
    drop(prometheus_operator);
    Ok(())
}
