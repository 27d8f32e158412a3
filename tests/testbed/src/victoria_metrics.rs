//! VictoriaMetrics, with vmalert beside it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::binaries::Bin;
use crate::folder::Folder;
use crate::http;
use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::prometheus::{Series, series};
use crate::recipe::Component;

const START: Duration = Duration::from_secs(30);

/// A running VictoriaMetrics that scrapes every second.
pub struct VictoriaMetrics {
    vmalert: PathBuf,
    // Before the folder, so that it has ended when that goes.
    _process: Process,
    url: String,
    folder: Folder,
}

/// A running vmalert.
pub struct Vmalert {
    process: Process,
    url: String,
}

impl VictoriaMetrics {
    /// Starts it on a `host:port` to scrape as job `job`, and waits until it is ready.
    pub async fn start(bin: &Bin, job: &str, target: &str) -> Result<Self> {
        let folder = Folder::new("victoria-metrics")?;
        let scrape = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [target]}]}],
        });
        fs::write(folder.join("scrape.yaml"), scrape.to_string())?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut process = Program::new(bin.path(Component::VictoriaMetrics, "victoria-metrics")?)
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-storageDataPath={}", folder.join("data").display()))
            .arg(format!("-promscrape.config={}", folder.join("scrape.yaml").display()))
            // Half a minute by default: longer than the windows of a test.
            .args(["-search.latencyOffset=0s", "-search.disableCache"])
            .start(&folder.join("victoria-metrics.log"))?;
        let url = format!("http://{address}");
        let health = format!("{url}/health");
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        let vmalert = bin.path(Component::VictoriaMetrics, "vmalert")?;
        Ok(Self { vmalert, _process: process, url, folder })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts a vmalert that evaluates the groups of a rule file here and stores the results here. A rule that it
    /// rejects is an error with its message.
    pub async fn evaluate(&self, rules: &str) -> Result<Vmalert> {
        let file = self.folder.join("rules.yaml");
        fs::write(&file, rules)?;
        let rule = format!("-rule={}", file.display());
        Program::new(&self.vmalert).args(["-dryRun", &rule]).run("", START).await?.success()?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut process = Program::new(&self.vmalert)
            .arg(rule)
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-datasource.url={}", self.url))
            .arg(format!("-remoteWrite.url={}", self.url))
            // Each group at once, and not somewhere within its interval.
            .arg("-group.maxStartDelay=1s")
            .args(["-notifier.blackhole", "-rule.evalDelay=0s", "-remoteWrite.flushInterval=200ms"])
            .start(&self.folder.join("vmalert.log"))?;
        let url = format!("http://{address}");
        let health = format!("{url}/health");
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        Ok(Vmalert { process, url })
    }

    /// Evaluates an expression now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let mut answer: Value = http::get_json(&format!("{}/api/v1/query", self.url), &[("query", expression)]).await?;
        series(answer["data"].take())
    }
}

impl Vmalert {
    /// Its alerts, pending ones too.
    pub async fn alerts(&self) -> Result<Vec<Value>> {
        let mut answer: Value = http::get_json(&format!("{}/api/v1/alerts", self.url), &[]).await?;
        serde_json::from_value(answer["data"]["alerts"].take()).with_context(|| self.process.log_tail(5))
    }

    /// The rules whose last evaluation failed, with the error.
    pub async fn failing(&self) -> Result<Vec<String>> {
        let answer: Value = http::get_json(&format!("{}/api/v1/rules", self.url), &[]).await?;
        let groups = answer["data"]["groups"].as_array().context("no groups")?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let failing = rules.filter(|rule| rule["lastError"].as_str().is_some_and(|error| !error.is_empty()));
        Ok(failing.map(|rule| format!("{}: {}", rule["name"], rule["lastError"])).collect())
    }
}
