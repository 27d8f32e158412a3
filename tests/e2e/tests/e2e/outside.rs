//! The operator with rules outside the cluster, and with a Prometheus that loads them when the test says so.

use anyhow::{Context, Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use plimsoll_api::{Slo, conditions as c};
use plimsoll_e2e::{Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{
    Component, ControlPlane, ControlPlaneOptions, Folder, Prometheus, PrometheusOptions, SampleService, wait_until,
};
use serde_json::{Value, json};

use crate::{
    cluster::{SOON, apply, condition, reason, slo, start},
    explain::{explain, last},
};

const SERVERS: &[Component] =
    &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator, Component::Prometheus];
const API: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(SERVERS, an_edit_is_loaded_when_prometheus_has_it),
        test(SERVERS, an_invalid_slo_goes_on_burning_and_says_what_is_too_much),
        test(API, a_deletion_that_hangs_says_why),
    ]
}

/// An operator that writes into the rule folder of a Prometheus.
struct Files {
    plane: ControlPlane,
    slos: Api<Slo>,
    client: Client,
    prometheus: Prometheus,
    sample: SampleService,
    operator: Operator,
    config: Value,
    folder: Folder,
}

impl Files {
    /// `reloads`: Prometheus is told of every change.
    async fn start(testbed: &Testbed, arguments: &[&str], reloads: bool) -> Result<Self> {
        let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
        let sample = SampleService::start().await?;
        let options = PrometheusOptions {
            scrape: vec![("sample".to_owned(), vec![sample.target()])],
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            ..PrometheusOptions::default()
        };
        let prometheus = Prometheus::start(testbed.bin(), options).await?;
        let folder = Folder::new("config")?;
        let mut files = json!({"directory": prometheus.rule_folder()});
        if reloads {
            files["reloadUrl"] = json!(format!("{}/-/reload", prometheus.url()));
        }
        let config = json!({"backends": {"default": {"ruleFiles": files}}, "prometheus": {"url": prometheus.url()}});
        let operator = operator(testbed, &plane, &folder, &config).await?;
        let slos = Api::namespaced(client.clone(), "default");
        Ok(Self { plane, slos, client, prometheus, sample, operator, config, folder })
    }

    /// Ends the operator and starts another.
    async fn restart(&mut self, testbed: &Testbed) -> Result<()> {
        self.operator.stop().await?;
        self.begin(testbed).await
    }

    /// Starts another after the operator has ended.
    async fn begin(&mut self, testbed: &Testbed) -> Result<()> {
        self.operator = operator(testbed, &self.plane, &self.folder, &self.config).await?;
        Ok(())
    }

    /// Waits until a condition has this status, and gives the SLO.
    async fn wait(&self, name: &str, type_: &str, status: &str) -> Result<Slo> {
        wait_until(&format!("{name} to have {type_}={status}"), SOON * 3, async || {
            let slo = self.slos.get(name).await?;
            let found = condition(&slo, type_);
            ensure!(found.as_ref().is_some_and(|(is, ..)| is == status), "{found:?}");
            Ok(Some(slo))
        })
        .await
        .with_context(|| self.operator.process().log_tail(5))
    }
}

async fn operator(testbed: &Testbed, plane: &ControlPlane, folder: &Folder, config: &Value) -> Result<Operator> {
    let file = folder.join("config.json");
    std::fs::write(&file, config.to_string())?;
    Operator::start(testbed.plimsoll()?, plane, &["--config", &file.display().to_string()]).await
}

/// Generations of which a condition speaks.
fn generation(slo: &Slo, type_: &str) -> Option<i64> {
    slo.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)?.observed_generation
}

async fn an_edit_is_loaded_when_prometheus_has_it(testbed: &Testbed) -> Result<()> {
    let mut files = Files::start(testbed, &[], false).await?;
    apply(&files.client, "default", &[slo("edited")]).await?;
    files.wait("edited", c::RECONCILING, "True").await?;
    files.prometheus.reload().await?;
    files.wait("edited", c::READY, "True").await?;

    // Another number in the same rules.
    let mut edit = slo("edited");
    edit["spec"]["objective"] = json!("99.5");
    apply(&files.client, "default", &[edit]).await?;
    let progressing = wait_until("the edit to be on its way", SOON, async || {
        let slo = files.slos.get("edited").await?;
        let (ready, ..) = condition(&slo, c::READY).context("Ready")?;
        ensure!(ready == "True", "Ready is {ready}: {:?}", slo.status);
        let reason = condition(&slo, c::RULES_LOADED).map(|(_, reason, _)| reason);
        Ok((reason.as_deref() == Some(c::REASON_PROGRESSING)).then_some(slo))
    })
    .await?;
    let wait = async |plane: &ControlPlane, timeout: &str| {
        plane.kubectl(["wait", "slo/edited", "--for=condition=Ready", timeout]).await
    };
    ensure!(progressing.status.as_ref().and_then(|s| s.observed_generation) == Some(2));
    ensure!(generation(&progressing, c::READY) == Some(1), "{:?}", progressing.status);
    ensure!(condition(&progressing, c::RECONCILING).is_some_and(|(status, ..)| status == "True"));
    let arguments = ["slo/edited", "-n", "default", "--prometheus", files.prometheus.url()];
    let text = explain(testbed, files.plane.kubeconfig(), &arguments).await?.success()?;
    ensure!(text.contains("has not loaded these rules yet, but others of this SLO"), "{text}");
    // What it asks for is not there: that is not mended by waiting for the rules.
    ensure!(text.starts_with("edited has no data: its selector for total matches nothing.\n"), "{text}");
    ensure!(last(&text).starts_with("→ check the metric's name"), "{text}");
    let held = wait(&files.plane, "--timeout=1s").await;
    ensure!(held.is_err(), "kubectl wait did not wait for the edit: {held:?}");

    // Long after, also a new operator knows that this takes too long, and one after it has nothing to add. The one before
    // has ended by then: it would say anew what it has said, with its own times, as soon as it finds something else.
    files.operator.stop().await?;
    let mut status = serde_json::to_value(&progressing.status)?;
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    }
    let long_ago = Patch::Merge(json!({"status": status}));
    files.slos.patch_status("edited", &PatchParams::default(), &long_ago).await?;
    files.begin(testbed).await?;
    let late = files.wait("edited", c::READY, "False").await?;
    let (_, reason, message) = condition(&late, c::READY).context("Ready")?;
    ensure!(reason == c::REASON_NOT_LOADED, "{reason}: {message}");
    ensure!(message.contains("still has other rules of it (asked since 2026-01-01T00:00:00Z)"), "{message}");
    files.restart(testbed).await?;
    let unchanged = "plimsoll_reconciles_total{outcome=\"unchanged\"}";
    wait_until("the answer", SOON, async || Ok((files.operator.metric(unchanged).await? >= 2).then_some(()))).await?;
    ensure!(files.operator.writes().await? == 0, "{}", files.operator.log()?);
    ensure!(condition(&files.slos.get("edited").await?, c::READY) == condition(&late, c::READY));

    files.prometheus.reload().await?;
    let loaded = files.wait("edited", c::RULES_LOADED, "True").await?;
    ensure!(generation(&loaded, c::READY) == Some(2) && condition(&loaded, c::RECONCILING).is_none());
    let queries: Vec<String> =
        files.prometheus.rules().await?.into_iter().flat_map(|g| g.rules).map(|r| r.query).collect();
    ensure!(queries.iter().any(|query| query == "vector(0.995)"), "{queries:?}");
    wait(&files.plane, "--timeout=60s").await?;
    files.operator.stop().await
}

async fn an_invalid_slo_goes_on_burning_and_says_what_is_too_much(testbed: &Testbed) -> Result<()> {
    let mut files = Files::start(testbed, &["--storage.tsdb.retention.time=1d"], true).await?;
    files.sample.rate("burning_requests_total", "code=\"200\"", 30.0);
    files.sample.rate("burning_requests_total", "code=\"500\"", 10.0);
    let mut burning = slo("burning");
    burning["spec"] = json!({
        "objective": "99", "period": {"rolling": "2d"},
        "sli": {"events": {"bad": "burning_requests_total{job=\"sample\",code=~\"5..\"}",
            "total": "burning_requests_total{job=\"sample\"}"}},
        "alerting": {"tiers": [{"name": "fast", "burnRate": "5", "longWindow": "20s", "shortWindow": "5s", "keepFiringFor": "1s"}]}
    });
    apply(&files.client, "default", &[burning.clone()]).await?;
    files.wait("burning", c::BURNING, "True").await?;
    // Whether its rules are loaded, and for how long samples are kept, is asked for apart, and may be known later.
    wait_until("what burns to be Ready, with what is too much", SOON, async || {
        let slo = files.slos.get("burning").await?;
        let (burns, ..) = condition(&slo, c::BURNING).context("Burning")?;
        let (ready, _, message) = condition(&slo, c::READY).context("Ready")?;
        let is_told = message.starts_with("spec.period: the period of 2d is longer than the 1d");
        ensure!(burns == "True" && ready == "True" && is_told, "{:?}", slo.status);
        Ok(Some(()))
    })
    .await?;

    burning["spec"]["sli"]["events"]["bad"] = json!("sum(");
    apply(&files.client, "default", &[burning]).await?;
    reason(&files.client, "default", "burning", c::REASON_INVALID).await?;
    files.operator.stop().await?;
    // A new process knows of it only by its status.
    let config = json!({"backends": {"default": {"ruleFiles": {"directory": files.prometheus.rule_folder()}}},
        "prometheus": {"url": files.prometheus.url()}});
    files.operator = operator(testbed, &files.plane, &files.folder, &config).await?;
    files.sample.rate("burning_requests_total", "code=\"500\"", 0.0);
    let quiet = files.wait("burning", c::BURNING, "False").await?;
    let (ready, reason, _) = condition(&quiet, c::READY).context("Ready")?;
    ensure!((ready.as_str(), reason.as_str()) == ("False", c::REASON_INVALID));
    ensure!(quiet.status.and_then(|status| status.alert).as_deref() == Some("-"));
    files.operator.stop().await
}

async fn a_deletion_that_hangs_says_why(testbed: &Testbed) -> Result<()> {
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let folder = Folder::new("hang")?;
    let config = json!({"backends": {"default": {"rulerApi": {"url": "http://127.0.0.1:1"}}}});
    let mut operator = operator(testbed, &plane, &folder, &config).await?;
    apply(&client, "default", &[slo("held")]).await?;
    let message = reason(&client, "default", "held", c::REASON_BACKEND_FAILED).await?;
    ensure!(message.contains("127.0.0.1:1"), "{message}");
    let text = explain(testbed, plane.kubeconfig(), &["slo/held", "-n", "default"]).await?.success()?;
    ensure!(text.starts_with("held is not ready: its rules could not be written.\n"), "{text}");
    let next = format!("→ resolve this, the operator then goes on by itself: {message}");
    ensure!(last(&text) == next, "{text}");
    let slos: Api<Slo> = Api::namespaced(client.clone(), "default");
    slos.delete("held", &DeleteParams::default()).await?;
    let message = reason(&client, "default", "held", c::REASON_CLEANUP_FAILED).await?;
    for words in ["rules could not be removed from backend default: ", "127.0.0.1:1", "plimsoll.dev/backend-default"] {
        ensure!(message.contains(words), "{message}");
    }
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(client, "default");
    wait_until("the event", SOON, async || {
        let all = events.list(&ListParams::default()).await?;
        Ok(all.items.iter().any(|event| event.reason.as_deref() == Some(c::REASON_CLEANUP_FAILED)).then_some(()))
    })
    .await?;
    // What the message says helps.
    let given_up = json!({"metadata": {"finalizers": null}});
    slos.patch("held", &PatchParams::default(), &Patch::Merge(&given_up)).await?;
    wait_until("it to be gone", SOON, async || Ok(slos.get_opt("held").await?.is_none().then_some(()))).await?;
    operator.stop().await
}
