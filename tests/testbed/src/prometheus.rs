//! A Prometheus, and promtool.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::binaries::Bin;
use crate::folder::{Folder, write_whole};
use crate::http;
use crate::network::{Network, port_for};
use crate::process::{Process, Program};
use crate::recipe::Component;
use crate::wait::wait_until;

const START: Duration = Duration::from_secs(60);
const RETENTION_TIME: &str = "--storage.tsdb.retention.time=";

/// How a Prometheus is set up.
#[derive(Clone, Debug)]
pub struct PrometheusOptions {
    /// What is scraped: jobs and their `host:port` targets.
    pub scrape: Vec<(String, Vec<String>)>,
    /// Where alerts go: `http://host:port`.
    pub alertmanager: Option<String>,
    /// How often targets are scraped. One second unless set.
    pub scrape_interval: Duration,
    /// How often rules are evaluated. One second unless set.
    pub evaluation_interval: Duration,
    /// Blocks to start with, as promtool has made them; moved into the data folder.
    pub blocks: Option<PathBuf>,
    /// More arguments, such as `--enable-feature=…`.
    pub arguments: Vec<String>,
    /// Start it inside a network, where it can scrape pods. Its address holds outside as well.
    pub network: Option<Arc<Network>>,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        let interval = Duration::from_secs(1);
        Self {
            scrape: Vec::new(),
            alertmanager: None,
            scrape_interval: interval,
            evaluation_interval: interval,
            blocks: None,
            arguments: Vec::new(),
            network: None,
        }
    }
}

/// A running Prometheus with a rule folder of its own.
pub struct Prometheus {
    process: Process,
    program: Program,
    url: String,
    options: PrometheusOptions,
    /// Held by whoever changes rule files, until they are loaded: one that goes while it is loaded is an error.
    files: Mutex<()>,
    folder: Folder,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, the name as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Its values with their times in seconds; one for an instant query.
    pub samples: Vec<(f64, f64)>,
}

impl Series {
    /// The last value.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.samples.last().map(|(_, value)| *value)
    }

    /// A label's value, empty when it is not there (as in PromQL).
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A rule group as Prometheus has loaded it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleGroup {
    /// The group's name.
    pub name: String,
    /// The file that it comes from.
    pub file: String,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// How long the last evaluation took, in seconds.
    pub evaluation_time: f64,
}

/// A rule as Prometheus has loaded it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The recorded series or the alert.
    pub name: String,
    /// `recording` or `alerting`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its expression.
    pub query: String,
    /// `ok`, `err` or `unknown` (not evaluated yet).
    pub health: String,
    /// The error of the last evaluation, or nothing.
    #[serde(default)]
    pub last_error: String,
    /// `inactive`, `pending` or `firing`; nothing for a recording rule.
    #[serde(default)]
    pub state: String,
    /// The rule's own labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Prometheus {
    /// Starts it and waits until it is ready.
    pub async fn start(bin: &Bin, options: PrometheusOptions) -> Result<Self> {
        let folder = Folder::new("prometheus")?;
        fs::create_dir(folder.join("rules"))?;
        match &options.blocks {
            Some(blocks) => {
                fs::rename(blocks, folder.join("data")).or_else(|_| copy_folder(blocks, &folder.join("data")))?
            }
            None => fs::create_dir(folder.join("data"))?,
        }
        write_config(&folder, &options)?;
        let port = port_for(options.network.as_ref()).await?;
        let url = format!("http://127.0.0.1:{port}");
        let given = options.arguments.iter().any(|argument| argument.starts_with(RETENTION_TIME));
        let long_lived = (!given).then(|| format!("{RETENTION_TIME}10y"));
        let program = Program::new(bin.path(Component::Prometheus, "prometheus")?)
            .within(options.network.as_ref())
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-lifecycle", "--web.enable-admin-api", "--log.level=warn"])
            // Blocks of the past must not be dropped before they were asked.
            .args(long_lived)
            .args(&options.arguments);
        let process = started(&program, &folder, &url).await?;
        let this = Self { process, program, url, options, files: Mutex::default(), folder };
        this.knows_alertmanager().await?;
        Ok(this)
    }

    /// Waits until it would send alerts: it is ready before it has found where to. What fires until then is sent to nobody,
    /// and again only after a minute.
    async fn knows_alertmanager(&self) -> Result<()> {
        if self.options.alertmanager.is_none() {
            return Ok(());
        }
        wait_until("Prometheus to know the Alertmanager", START, async || {
            let known = self.api("alertmanagers", &[]).await?;
            Ok(known["activeAlertmanagers"].as_array().filter(|known| !known.is_empty()).map(drop))
        })
        .await
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder that its rule files are in; `*.yaml` and `*.yml`, loaded by [`Self::reload`].
    #[must_use]
    pub fn rule_folder(&self) -> PathBuf {
        self.folder.join("rules")
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Writes a rule file and loads it. A rule file that Prometheus rejects is an error with its message.
    pub async fn load_rules(&self, file: &str, yaml: &str) -> Result<()> {
        let _files = self.rule_files().await;
        write_whole(&self.rule_folder().join(file), yaml)?;
        self.reload().await
    }

    /// Removes a rule file and what came of it.
    pub async fn unload_rules(&self, file: &str) -> Result<()> {
        let _files = self.rule_files().await;
        fs::remove_file(self.rule_folder().join(file))?;
        self.reload().await
    }

    /// Keeps others from changing rule files.
    pub(crate) async fn rule_files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().await
    }

    /// Loads the configuration and the rule files again.
    pub async fn reload(&self) -> Result<()> {
        let reloaded = http::post(&format!("{}/-/reload", self.url)).await;
        // The reason is in the log only.
        reloaded.with_context(|| self.process.log_tail(5))
    }

    /// Changes the configuration and loads it.
    pub async fn reconfigure(&mut self, change: impl FnOnce(&mut PrometheusOptions)) -> Result<()> {
        change(&mut self.options);
        write_config(&self.folder, &self.options)?;
        self.reload().await?;
        self.knows_alertmanager().await
    }

    /// Stops it and starts it again on the same data and port.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.stop(START).await?;
        self.process = started(&self.program, &self.folder, &self.url).await?;
        self.knows_alertmanager().await
    }

    /// Evaluates an expression now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Series>> {
        series(self.api("query", &[("query", expression)]).await?)
    }

    /// Evaluates an expression at a time (in seconds).
    pub async fn query_at(&self, expression: &str, time: f64) -> Result<Vec<Series>> {
        series(self.api("query", &[("query", expression), ("time", &time.to_string())]).await?)
    }

    /// The value of an expression that gives exactly one series; nothing when it gives none.
    pub async fn value(&self, expression: &str) -> Result<Option<f64>> {
        match self.query(expression).await?.as_slice() {
            [] => Ok(None),
            [one] => Ok(one.value()),
            more => bail!("{expression} gives {} series: {more:?}", more.len()),
        }
    }

    /// Evaluates an expression over a range of time (in seconds).
    pub async fn query_range(&self, expression: &str, start: f64, end: f64, step: f64) -> Result<Vec<Series>> {
        let [start, end, step] = [start, end, step].map(|seconds| seconds.to_string());
        series(
            self.api("query_range", &[("query", expression), ("start", &start), ("end", &end), ("step", &step)])
                .await?,
        )
    }

    /// The rule groups that are loaded.
    pub async fn rules(&self) -> Result<Vec<RuleGroup>> {
        let mut data = self.api("rules", &[]).await?;
        Ok(serde_json::from_value(data["groups"].take())?)
    }

    /// The series that match a selector, over all time unless `parameters` says `start` and `end`.
    pub async fn labels_of(&self, selector: &str) -> Result<Vec<BTreeMap<String, String>>> {
        Ok(serde_json::from_value(self.api("series", &[("match[]", selector)]).await?)?)
    }

    /// Any other part of the API (`/api/v1/PATH`): the `data` of its answer.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut answer: Value = http::get_json(&format!("{}/api/v1/{path}", self.url), parameters).await?;
        Ok(answer["data"].take())
    }

    /// Waits until an expression gives something, and gives that.
    pub async fn wait_for(&self, expression: &str, deadline: Duration) -> Result<Vec<Series>> {
        wait_until(&format!("`{expression}` to give something"), deadline, async || {
            Ok(Some(self.query(expression).await?).filter(|series| !series.is_empty()))
        })
        .await
    }
}

async fn started(program: &Program, folder: &Folder, url: &str) -> Result<Process> {
    let mut process = program.start(&folder.join("prometheus.log"))?;
    let health = format!("{url}/-/ready");
    process.ready(START, async || http::get(&health).await.map(drop)).await?;
    Ok(process)
}

fn write_config(folder: &Folder, options: &PrometheusOptions) -> Result<()> {
    let jobs = options
        .scrape
        .iter()
        .map(|(job, targets)| json!({"job_name": job, "honor_labels": true, "static_configs": [{"targets": targets}]}));
    let managers = options.alertmanager.iter().map(|url| {
        let (scheme, target) = url.split_once("://").unwrap_or(("http", url));
        json!({"scheme": scheme, "static_configs": [{"targets": [target]}]})
    });
    // JSON is YAML.
    let config = json!({
        "global": {
            "scrape_interval": milliseconds(options.scrape_interval),
            "scrape_timeout": milliseconds(options.scrape_interval),
            "evaluation_interval": milliseconds(options.evaluation_interval),
            // Of what offers them, such as another Prometheus; text has none.
            "scrape_native_histograms": true,
        },
        "rule_files": [folder.join("rules/*.yaml"), folder.join("rules/*.yml")],
        "scrape_configs": jobs.collect::<Vec<_>>(),
        "alerting": {"alertmanagers": managers.collect::<Vec<_>>()},
    });
    // Others have it reload as well: an operator that starts does. An empty file would be a configuration without rules.
    write_whole(&folder.join("prometheus.yml"), &serde_json::to_string_pretty(&config)?)
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The series in the `data` of an answer.
pub(crate) fn series(data: Value) -> Result<Vec<Series>> {
    #[derive(Deserialize)]
    struct Raw {
        metric: BTreeMap<String, String>,
        #[serde(default)]
        value: Option<(f64, String)>,
        #[serde(default)]
        values: Vec<(f64, String)>,
    }
    let raw: Vec<Raw> = match data["resultType"].as_str() {
        Some("scalar") => {
            vec![Raw {
                metric: BTreeMap::new(),
                value: serde_json::from_value(data["result"].clone())?,
                values: Vec::new(),
            }]
        }
        _ => serde_json::from_value(data["result"].clone()).with_context(|| data.to_string())?,
    };
    let parsed = raw.into_iter().map(|raw| {
        let samples = raw.value.into_iter().chain(raw.values).map(|(time, value)| Ok((time, value.parse()?)));
        Ok(Series { labels: raw.metric, samples: samples.collect::<Result<_>>()? })
    });
    parsed.collect()
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// promtool: the same engine without a server.
#[derive(Clone, Debug)]
pub struct Promtool {
    path: PathBuf,
}

impl Promtool {
    /// The promtool that was built with Prometheus.
    pub fn new(bin: &Bin) -> Result<Self> {
        Ok(Self { path: bin.path(Component::Prometheus, "promtool")? })
    }

    /// Checks rule files; an error has promtool's words.
    pub async fn check_rules(&self, files: &[&Path]) -> Result<String> {
        self.run(Program::new(&self.path).args(["check", "rules", "--lint=all", "--lint-fatal"]).args(files)).await
    }

    /// Runs test files (`promtool test rules`); an error has what differed.
    pub async fn test_rules(&self, files: &[&Path]) -> Result<String> {
        self.run(Program::new(&self.path).args(["test", "rules"]).args(files)).await
    }

    /// Makes blocks from an OpenMetrics file, for [`PrometheusOptions::blocks`]. Ten million samples take about 40 s.
    pub async fn create_blocks(&self, openmetrics: &Path, into: &Path) -> Result<String> {
        let arguments = ["tsdb", "create-blocks-from", "openmetrics", "--quiet"];
        self.run(Program::new(&self.path).args(arguments).args([openmetrics, into])).await
    }

    async fn run(&self, program: Program) -> Result<String> {
        program.run("", Duration::from_secs(600)).await?.success()
    }
}
