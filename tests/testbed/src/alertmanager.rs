//! An Alertmanager, and a receiver for its webhooks.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::binaries::Bin;
use crate::folder::Folder;
use crate::http;
use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::recipe::Component;
use crate::server::Server;
use crate::wait::wait_until;

const START: Duration = Duration::from_secs(60);

/// A running Alertmanager.
pub struct Alertmanager {
    process: Process,
    url: String,
    amtool: PathBuf,
    folder: Folder,
}

/// An alert as Alertmanager tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether it is held back, and by what.
    pub status: AlertStatus,
    /// Identifies its labels.
    pub fingerprint: String,
}

/// Whether an alert is held back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
    /// The silences that silence it.
    pub silenced_by: Vec<String>,
}

impl Alertmanager {
    /// A configuration that sends everything to a webhook within a second.
    #[must_use]
    pub fn webhook_config(url: &str) -> Value {
        json!({
            "route": {
                "receiver": "webhook",
                "group_by": ["..."],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [{"name": "webhook", "webhook_configs": [{"url": url, "send_resolved": true}]}],
        })
    }

    /// Starts it with a configuration, and waits until it is ready.
    pub async fn start(bin: &Bin, config: &Value) -> Result<Self> {
        let folder = Folder::new("alertmanager")?;
        // JSON is YAML.
        fs::write(folder.join("alertmanager.yml"), config.to_string())?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let program = Program::new(bin.path(Component::Alertmanager, "alertmanager")?)
            .arg(format!("--config.file={}", folder.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // Alone: it opens no port for peers.
            .args(["--cluster.listen-address=", "--log.level=warn"]);
        let mut process = program.start(&folder.join("alertmanager.log"))?;
        let health = format!("{url}/-/ready");
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        Ok(Self { process, url, amtool: bin.path(Component::Alertmanager, "amtool")?, folder })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Replaces the configuration and loads it.
    pub async fn configure(&self, config: &Value) -> Result<()> {
        fs::write(self.folder.join("alertmanager.yml"), config.to_string())?;
        http::post(&format!("{}/-/reload", self.url)).await.with_context(|| self.process.log_tail(5))
    }

    /// Has it post everything to a receiver that wants a token, and whose certificate comes from this authority.
    pub async fn post_to(&self, url: &str, token: &str, authority: &[u8]) -> Result<()> {
        let file = self.folder.join("authority.crt");
        fs::write(&file, authority)?;
        let mut config = Self::webhook_config(url);
        config["receivers"][0]["webhook_configs"][0]["http_config"] =
            json!({"authorization": {"credentials": token}, "tls_config": {"ca_file": file}});
        self.configure(&config).await
    }

    /// The alerts that match all of `matchers` (such as `alertname="Down"`), held back or not.
    pub async fn alerts(&self, matchers: &[&str]) -> Result<Vec<Alert>> {
        let query: Vec<_> = matchers.iter().map(|matcher| ("filter", *matcher)).collect();
        http::get_json(&format!("{}/api/v2/alerts", self.url), &query).await
    }

    /// Waits until one alert matches and `accept` says yes to it.
    pub async fn wait_for(
        &self,
        matchers: &[&str],
        deadline: Duration,
        accept: impl Fn(&Alert) -> bool,
    ) -> Result<Alert> {
        wait_until(&format!("an alert with {matchers:?}"), deadline, async || {
            Ok(self.alerts(matchers).await?.into_iter().find(&accept))
        })
        .await
    }

    /// Runs amtool against it.
    pub async fn amtool<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        let program = Program::new(&self.amtool).arg(format!("--alertmanager.url={}", self.url)).args(arguments);
        program.run("", Duration::from_secs(60)).await?.success()
    }
}

/// An HTTP server that keeps every JSON body posted to it.
pub struct WebhookReceiver {
    server: Server,
    received: Arc<Mutex<Vec<Value>>>,
}

impl WebhookReceiver {
    /// Starts it; it ends when dropped.
    pub async fn start() -> Result<Self> {
        let received = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback_service(post(keep).with_state(Arc::clone(&received)));
        Ok(Self { server: Server::start(router).await?, received })
    }

    /// Where to post; any path will do.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/", self.server.url())
    }

    /// Everything that was posted, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a message of Alertmanager with an alert for which `accept` says yes, and gives that alert.
    pub async fn wait_for_alert(&self, deadline: Duration, accept: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_until("an alert to reach the webhook", deadline, async || {
            let messages = self.received();
            let alerts = messages.iter().filter_map(|message| message["alerts"].as_array()).flatten();
            Ok(alerts.into_iter().find(|alert| accept(alert)).cloned())
        })
        .await
    }
}

async fn keep(State(received): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>) -> StatusCode {
    received.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    StatusCode::OK
}
