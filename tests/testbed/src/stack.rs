//! Everything at once, wired together.

use std::sync::Arc;

use anyhow::Result;

use crate::alertmanager::{Alertmanager, WebhookReceiver};
use crate::binaries::Bin;
use crate::control_plane::{ControlPlane, ControlPlaneOptions};
use crate::prometheus::{Prometheus, PrometheusOptions};
use crate::prometheus_operator::PrometheusOperator;
use crate::sample::SampleService;

/// A control plane, prometheus-operator, Prometheus, Alertmanager, a webhook receiver and a synthetic service.
///
/// A `PrometheusRule` applied to the control plane is evaluated by Prometheus over what the service shows,
/// and its alerts reach the receiver through Alertmanager.
pub struct Stack {
    // In this order they are ended: each before what it depends on.
    /// The way from `PrometheusRule`s to Prometheus.
    pub prometheus_operator: PrometheusOperator,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// Scrapes the service as job `sample`.
    pub prometheus: Arc<Prometheus>,
    /// Sends everything to the webhook receiver.
    pub alertmanager: Alertmanager,
    /// Keeps what Alertmanager sends.
    pub webhook: WebhookReceiver,
    /// The service.
    pub sample: SampleService,
}

impl Stack {
    /// Starts everything and waits until it is ready: about ten seconds.
    pub async fn start(bin: &Bin) -> Result<Self> {
        Self::with_jobs(bin, &[]).await
    }

    /// The same, with more jobs that Prometheus scrapes: their names and targets.
    pub async fn with_jobs(bin: &Bin, jobs: &[(&str, String)]) -> Result<Self> {
        let webhook = WebhookReceiver::start().await?;
        let sample = SampleService::start().await?;
        let more = jobs.iter().map(|(job, target)| ((*job).to_owned(), vec![target.clone()]));
        let scrape = [("sample".to_owned(), vec![sample.target()])].into_iter().chain(more).collect();
        let monitoring = async {
            let alertmanager = Alertmanager::start(bin, &Alertmanager::webhook_config(&webhook.url())).await?;
            let options = PrometheusOptions {
                scrape,
                alertmanager: Some(alertmanager.url().to_owned()),
                ..PrometheusOptions::default()
            };
            Ok((alertmanager, Arc::new(Prometheus::start(bin, options).await?)))
        };
        let control_plane = ControlPlane::start(bin, ControlPlaneOptions::default());
        let (control_plane, (alertmanager, prometheus)) = tokio::try_join!(control_plane, monitoring)?;
        let prometheus_operator = PrometheusOperator::start(bin, &control_plane, Arc::clone(&prometheus)).await?;
        Ok(Self { prometheus_operator, control_plane, prometheus, alertmanager, webhook, sample })
    }
}
