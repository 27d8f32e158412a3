//! How long the operator takes for many SLOs, beside a bare client that does the same writes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::{
    Api, Client, CustomResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use plimsoll_api::Slo;
use plimsoll_testbed::{Bin, ControlPlane, ControlPlaneOptions, PrometheusOperator, Usage, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::operator::Operator;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Number of SLOs.
    pub slos: usize,
    /// The bare client's applies of rule objects.
    pub bare_applies: Duration,
    /// The bare client's writes of statuses.
    pub bare_statuses: Duration,
    /// The operator, from its start to the last status.
    pub operator: Duration,
    /// The operator's memory and processor time then.
    pub usage: Usage,
    /// The operator, started again with nothing to do: until all were reconciled.
    pub restart: Duration,
    /// Its writes in that time.
    pub restart_writes: u64,
    /// Its memory and processor time then.
    pub restart_usage: Usage,
}

impl Figures {
    /// The operator's time in units of the bare client's.
    pub fn ratio(&self) -> f64 {
        self.operator.as_secs_f64() / (self.bare_applies + self.bare_statuses).as_secs_f64()
    }
}

/// Requests of the bare client at the same time.
const CONCURRENCY: usize = 8;
const NAMESPACE: &str = "default";
const PATIENCE: Duration = Duration::from_secs(300);

/// An SLO like those of the world.
pub fn example(i: usize) -> Value {
    json!({
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "SLO",
        "metadata": {"name": format!("service-{i:04}"), "labels": {"team": format!("team-{}", i % 20)}},
        "spec": {
            "description": "Customers can pay.",
            "service": format!("service-{i}"),
            "owner": format!("team-{}", i % 20),
            "objective": "99.9",
            "sli": {"events": {
                "bad": format!("http_requests_total{{job=\"service-{i}\",code=~\"5..\"}}"),
                "total": format!("http_requests_total{{job=\"service-{i}\"}}"),
            }},
        },
    })
}

fn rule_kind() -> ApiResource {
    ApiResource {
        group: "monitoring.coreos.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "monitoring.coreos.com/v1".to_owned(),
        kind: "PrometheusRule".to_owned(),
        plural: "prometheusrules".to_owned(),
    }
}

/// Does something for every number below `count`, a few at a time.
async fn each<F, Fut>(count: usize, work: F) -> Result<Duration>
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let started = Instant::now();
    let work = Arc::new(work);
    let mut workers = JoinSet::new();
    for worker in 0..CONCURRENCY {
        let work = Arc::clone(&work);
        workers.spawn(async move {
            for i in (worker..count).step_by(CONCURRENCY) {
                work(i).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(started.elapsed())
}

async fn create_all(client: &Client, count: usize) -> Result<()> {
    let api: Api<Slo> = Api::namespaced(client.clone(), NAMESPACE);
    each(count, move |i| {
        let api = api.clone();
        async move {
            api.create(&Default::default(), &serde_json::from_value(example(i))?).await?;
            Ok(())
        }
    })
    .await?;
    Ok(())
}

/// Measures, on a control plane of its own.
pub async fn measure(bin: &Bin, program: &Path, count: usize) -> Result<Figures> {
    let control_plane = ControlPlane::start(bin, ControlPlaneOptions::api_only()).await?;
    PrometheusOperator::install_crds(bin, &control_plane).await?;
    control_plane.apply(&serde_json::to_string(&Slo::crd())?).await?;
    let client = control_plane.client().await?;
    let slos: Api<Slo> = Api::namespaced(client.clone(), NAMESPACE);
    wait_until("the kind SLO", PATIENCE, async || Ok(Some(slos.list(&ListParams::default().limit(1)).await?))).await?;
    create_all(&client, count).await?;

    // The same objects and the same statuses as the operator's, made before the clock starts.
    let mut bodies = Vec::with_capacity(count);
    let mut statuses = Vec::with_capacity(count);
    for i in 0..count {
        let mut slo: Slo = serde_json::from_value(example(i))?;
        slo.metadata.namespace = Some(NAMESPACE.to_owned());
        let valid = plimsoll_slo::validate(&slo).map_err(|p| anyhow::anyhow!("{p:?}"))?;
        let name = format!("bare-{i:04}");
        bodies.push(json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name, "labels": {"team": "x", "app.kubernetes.io/managed-by": "bare"}},
            "spec": plimsoll_slo::render(&valid.model),
        }));
        statuses.push(json!({"status": {"observedGeneration": 1, "rules": format!("PrometheusRule default/{name}"), "conditions": [
            {"type": "Ready", "status": "True", "reason": "AsDeclared", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "RulesLoaded", "status": "Unknown", "reason": "PrometheusNotConfigured", "message": "the operator knows no Prometheus to ask; start it with --prometheus URL", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}}));
    }
    let rules: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &rule_kind());
    let (bodies, statuses) = (Arc::new(bodies), Arc::new(statuses));
    let bare_applies = {
        let rules = rules.clone();
        each(count, move |i| {
            let (rules, bodies) = (rules.clone(), Arc::clone(&bodies));
            async move {
                let body = bodies.get(i).context("body")?;
                rules.patch(&format!("bare-{i:04}"), &PatchParams::apply("bare"), &Patch::Apply(body)).await?;
                Ok(())
            }
        })
        .await?
    };
    let bare_statuses = {
        let slos = slos.clone();
        each(count, move |i| {
            let (slos, statuses) = (slos.clone(), Arc::clone(&statuses));
            async move {
                let body = statuses.get(i).context("status")?;
                slos.patch_status(&format!("service-{i:04}"), &PatchParams::default(), &Patch::Merge(body)).await?;
                Ok(())
            }
        })
        .await?
    };
    rules.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    slos.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    create_all(&client, count).await?;

    let wanted = u64::try_from(count)?;
    let started = Instant::now();
    let mut operator = Operator::start(program, &control_plane, &[]).await?;
    wait_until("all statuses", PATIENCE, async || {
        let written = operator.metric("plimsoll_api_writes_total{kind=\"slos/status\",outcome=\"ok\"}").await?;
        Ok((written >= wanted).then_some(()))
    })
    .await?;
    let time = started.elapsed();
    let usage = operator.usage()?;
    ensure!(rules.list(&ListParams::default().limit(1)).await?.items.len() == 1, "no rules were written");
    operator.stop().await?;

    let started = Instant::now();
    let mut operator = Operator::start(program, &control_plane, &[]).await?;
    wait_until("all reconciles", PATIENCE, async || {
        let done = operator.metric("plimsoll_reconciles_total{outcome=\"unchanged\"}").await?;
        Ok((done >= wanted).then_some(()))
    })
    .await?;
    let restart = started.elapsed();
    let restart_writes = operator.writes().await?;
    let restart_usage = operator.usage()?;
    operator.stop().await?;
    Ok(Figures {
        slos: count,
        bare_applies,
        bare_statuses,
        operator: time,
        usage,
        restart,
        restart_writes,
        restart_usage,
    })
}
