//! Where alerts come from when nobody posts them: an Alertmanager or the Prometheus is asked again and again. What is not
//! told any more is over.

use std::time::Duration;

use jiff::Timestamp;
use plimsoll_runbook::{
    alertmanager::{self, Alert},
    matching::labels_of_alert,
    names,
};

use super::runs::{Runs, is_of, is_over};
use crate::{
    prometheus::{Sample, bounded_bytes},
    sinks::kubernetes::chain,
};

/// How often alerts are asked for.
const ASK: Duration = Duration::from_secs(10);
/// The largest answer of an Alertmanager that is read.
const MAX_BYTES: usize = 32 << 20;
/// All alerts that fire, whoever is told of them.
const FIRING: &str = "/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=true";

/// Who is asked for alerts.
#[derive(Clone, Debug)]
pub enum Source {
    /// An Alertmanager of ours posts them.
    Posted,
    /// The Alertmanager at this address.
    Alertmanager(String),
    /// The Prometheus itself.
    Prometheus,
}

impl Runs {
    /// Asks for ever.
    pub(super) async fn ask(&self, source: &Source) {
        loop {
            tokio::time::sleep(ASK).await;
            let found = match source {
                Source::Posted => std::future::pending().await,
                Source::Alertmanager(url) => self.of_alertmanager(url, &alertmanager::path(None)).await,
                Source::Prometheus => self.of_prometheus().await,
            };
            let asked = match found {
                Ok(alerts) => self.heard(source, &alerts).await,
                Err(why) => Err(why),
            };
            if let Err(why) = asked {
                tracing::warn!(why, "alerts could not be asked for; they are asked for again");
            }
        }
    }

    async fn heard(&self, source: &Source, alerts: &[Alert]) -> Result<(), String> {
        for alert in alerts {
            if let Err(error) = self.take(alert).await {
                tracing::warn!(%error, "an execution could not be stored; it is tried again");
            }
        }
        if self.stored().iter().all(|execution| is_over(execution)) {
            return Ok(());
        }
        // One that is silenced, perhaps by its own runbook, is not over.
        let all = match source {
            Source::Alertmanager(url) => Some(self.of_alertmanager(url, FIRING).await?),
            Source::Posted | Source::Prometheus => None,
        };
        self.miss(all.as_deref().unwrap_or(alerts)).await
    }

    /// What has an execution and is not among those that fire is over.
    pub(super) async fn miss(&self, firing: &[Alert]) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let fires = |execution: &_| firing.iter().any(|alert| is_of(execution, alert));
        for execution in self.stored().iter().filter(|execution| !fires(execution)) {
            self.note_resolved(execution, Timestamp::now()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn of_alertmanager(&self, url: &str, path: &str) -> Result<Vec<Alert>, String> {
        let url = format!("{}{path}", url.trim_end_matches('/'));
        let answer = self.outside.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|error| chain(&error.without_url()))?;
        let body = bounded_bytes(answer, MAX_BYTES).await.map_err(|error| error.to_string())?;
        Ok(alertmanager::read_api(&body, Timestamp::now()).map_err(|error| error.to_string())?.alerts)
    }

    pub(super) async fn of_prometheus(&self) -> Result<Vec<Alert>, String> {
        // The value is the time since when the alert is active.
        let firing = "ALERTS_FOR_STATE * ignoring(alertstate) group_left() ALERTS{alertstate=\"firing\"}";
        let samples = self.prometheus.query(firing).await.map_err(|error| error.to_string())?;
        let alert = |sample: Sample| {
            let starts_at = Timestamp::from_second(sample.value() as i64).ok()?;
            let labels = labels_of_alert(sample.metric.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let fingerprint = names::fingerprint("Alert", &labels);
            Some(Alert { fingerprint, labels, starts_at, resolved_at: None, named: Vec::new() })
        };
        Ok(samples.into_iter().filter_map(alert).collect())
    }
}
