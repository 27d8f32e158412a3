//! Sends alerts as Alertmanager does: a group in a post, and again after 5xx and network errors, with its waits.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Alertmanager's: the first wait, by what each following one is longer, and the longest.
const FIRST: Duration = Duration::from_millis(500);
const LONGER: f64 = 1.5;
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct Sender {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Sender {
    /// Sends until it is stored; gives how often it was refused.
    pub(crate) async fn deliver(&self, alerts: &[Value]) -> Result<usize> {
        let message = json!({"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing",
            "receiver": "plimsoll", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://alertmanager", "alerts": alerts});
        let (mut refused, mut wait) = (0, FIRST);
        loop {
            match self.http.post(&self.url).bearer_auth(&self.token).json(&message).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(refused),
                Ok(answer) if answer.status().is_server_error() => {}
                Ok(answer) => bail!("{}: {}", answer.status(), answer.text().await?),
                Err(_) => {}
            }
            refused += 1;
            tokio::time::sleep(wait).await;
            wait = wait.mul_f64(LONGER).min(LONGEST);
        }
    }
}

pub(crate) fn alert(name: &str, pod: &str, fingerprint: u64) -> Value {
    json!({"status": "firing", "labels": {"alertname": name, "namespace": "shop", "pod": pod, "severity": "critical",
            "job": "checkout", "cluster": "eu-1", "instance": format!("10.0.0.1:{fingerprint}")},
        "annotations": {"summary": "a pod is in trouble", "description": "something is not as it should be"},
        "startsAt": "2026-01-01T00:00:00.123Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus",
        "fingerprint": format!("{fingerprint:016x}")})
}
