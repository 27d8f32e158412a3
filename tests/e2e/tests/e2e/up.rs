//! `plimsoll up` with real servers: its own, and those that run already.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use plimsoll::prometheus::http_client;
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use plimsoll_testbed::{
    Component, Folder, Process, Program, Prometheus, PrometheusOptions, SampleService, Signal, free_port, wait_until,
};
use serde_json::{Value, json};

use crate::traffic::slo;

const SOON: Duration = Duration::from_secs(90);
/// Children have 20 s to end.
const END: Duration = Duration::from_secs(40);
const OWN: &[Component] = &[Component::Prometheus, Component::Alertmanager];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(OWN, a_file_becomes_rules_an_alert_and_a_dry_run),
        test(OWN, what_is_allowed_is_done_without_a_cluster),
        test(OWN, servers_that_die_come_back_and_none_is_left),
        test(PROMETHEUS, with_a_prometheus_that_runs_already),
    ]
}

/// A running `plimsoll up`, its directory and its data.
struct Up {
    process: Process,
    url: String,
    folder: Folder,
}

impl Up {
    /// Of what is in the folder `dir`.
    async fn start(testbed: &Testbed, folder: Folder, arguments: &[&str]) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut paths = Vec::new();
        for component in OWN {
            // What the test has not asked for is not there.
            paths.extend(testbed.bin().folder(*component).ok().map(Path::to_owned));
        }
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut process = Program::new(testbed.plimsoll()?)
            .arg("up")
            .arg(folder.join("dir"))
            .arg("--data")
            .arg(folder.join("data"))
            .args(["--listen", &address])
            .args(arguments)
            .env("PATH", std::env::join_paths(paths)?)
            .start(&folder.join("up.log"))?;
        let url = format!("http://{address}");
        process.ready(SOON, async || text(&format!("{url}/healthz")).await.map(drop)).await?;
        Ok(Self { process, url, folder })
    }

    fn write(&self, file: &str, object: &Value) -> Result<()> {
        write(&self.folder, file, object)
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("up.log"))?)
    }

    /// Waits until it has said something so often.
    async fn says(&self, words: &str, times: usize) -> Result<()> {
        let what = format!("{words:?} {times} times");
        let said = wait_until(&what, SOON, async || Ok((self.log()?.matches(words).count() >= times).then_some(())));
        said.await.with_context(|| self.process.log_tail(40))
    }

    /// Waits until a view says something.
    async fn shows(&self, path: &str, words: &str) -> Result<String> {
        let what = format!("{words:?} at {path}");
        let shown = wait_until(&what, SOON, async || {
            let page = text(&format!("{}{path}", self.url)).await?;
            Ok(page.contains(words).then_some(page))
        });
        shown.await.with_context(|| self.process.log_tail(40))
    }

    /// The number of a server that it has started.
    fn child(&self, name: &str) -> Result<u32> {
        let noted = fs::read_to_string(self.folder.join(format!("data/{name}.pid")))?;
        Ok(noted.split_whitespace().next().context("no number")?.parse()?)
    }

    /// Ends it as Ctrl-C does, and sees that nothing is left.
    async fn interrupt(&mut self) -> Result<()> {
        let children = ["prometheus", "alertmanager"].map(|name| self.child(name));
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.wait(END).await?;
        ensure!(status.success(), "{status}: {}", self.process.log_tail(40));
        for child in children.into_iter().flatten() {
            ensure!(!runs(child), "process {child} is left");
        }
        Ok(())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test that fails must not leave its servers: they are in groups of their own.
        let _ = self.process.signal(Signal::SIGTERM);
        let until = Instant::now() + END;
        while Instant::now() < until && self.process.ended().is_ok_and(|ended| ended.is_none()) {
            std::thread::yield_now();
        }
    }
}

/// Whether a process runs; the arguments of one that has ended and that nobody has asked about yet are empty.
fn runs(process: u32) -> bool {
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}

async fn text(url: &str) -> Result<String> {
    Ok(http_client()?.get(url).send().await?.error_for_status()?.text().await?)
}

fn write(folder: &Folder, file: &str, object: &Value) -> Result<()> {
    // As an editor does: beside it, then renamed. JSON is YAML.
    let (whole, part) = (folder.join("dir").join(file), folder.join("dir").join(format!(".{file}.part")));
    fs::write(&part, object.to_string())?;
    Ok(fs::rename(part, whole)?)
}

/// Tiers are data, so windows of seconds show in seconds what windows of hours do.
fn checkout(objective: &str) -> Value {
    slo(
        "checkout",
        &json!({
            "objective": objective, "period": {"rolling": "10m"}, "runbooks": ["restart"],
            "sli": {"events": {"bad": "requests_total{job=\"shop\",code=~\"5..\"}", "total": "requests_total{job=\"shop\"}"}},
            "alerting": {"tiers": [
                {"name": "fast", "burnRate": "2", "longWindow": "20s", "shortWindow": "5s", "severity": "Page"}]},
        }),
    )
}

/// It acts by itself, where there is a cluster.
fn restart(trigger: &Value) -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "restart", "namespace": "shop"},
        "spec": {"mode": "Auto", "serviceAccountName": "runbooks", "trigger": trigger,
            "steps": [{"name": "look", "query": {"expr": "up"}}]}})
}

fn tree(sample: &SampleService) -> Result<Folder> {
    let folder = Folder::new("up")?;
    fs::create_dir(folder.join("dir"))?;
    let scrape = json!({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": [sample.target()]}]}]});
    write(&folder, "prometheus.yml", &scrape)?;
    write(&folder, "checkout.yaml", &checkout("99"))?;
    Ok(folder)
}

fn rules(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.push(entry?.path());
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    Ok(found)
}

async fn a_file_becomes_rules_an_alert_and_a_dry_run(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    sample.rate("requests_total", "code=\"200\"", 90.0);
    sample.rate("requests_total", "code=\"500\"", 0.0);
    let folder = tree(&sample)?;
    write(&folder, "restart.yaml", &restart(&json!({"slo": {"burning": "Page"}})))?;
    let mut up = Up::start(testbed, folder, &[]).await?;
    up.says("1 SLO, 0 AlertRules, 1 Runbook", 1).await?;
    up.says("loaded: the rules of 1 object", 1).await?;
    up.shows("/slo/shop/checkout", "checkout").await?;
    // Our own Prometheus scrapes us.
    let metrics = text(&format!("{}/metrics", up.url)).await?;
    ensure!(metrics.contains("plimsoll_"), "{metrics}");

    // An edit is loaded; its file is another one.
    let file = rules(&up.folder.join("data/rules"))?.pop().context("no rule file")?;
    let before = fs::read_to_string(&file)?;
    up.write("checkout.yaml", &checkout("98"))?;
    up.says("SLO shop/checkout: read", 1).await?;
    up.says("loaded: the rules of 1 object", 2).await?;
    let edited = fs::read_to_string(&file)?;
    ensure!(edited != before);

    // A broken one changes nothing, and the page says why.
    up.write("checkout.yaml", &checkout("101"))?;
    up.says("SLO shop/checkout goes on as it was", 1).await?;
    let page = up.shows("/", "spec.objective").await?;
    ensure!(page.contains("checkout.yaml:1"), "{page}");
    ensure!(fs::read_to_string(&file)? == edited);
    up.write("checkout.yaml", &checkout("98"))?;
    up.says("SLO shop/checkout: good again", 1).await?;

    // What burns reaches the runbook by Alertmanager; its dry run is told, shown and kept.
    sample.rate("requests_total", "code=\"500\"", 60.0);
    up.says("Runbook shop/restart: dry run for alert SLOErrorBudgetBurn of SLO shop/checkout (tier fast): it would have been done: look", 1).await?;
    up.says("SLO shop/checkout: the error budget burns too fast", 1).await?;
    up.shows("/runbooks", "it would have been done: look").await?;
    let kept = fs::read_dir(up.folder.join("data/executions"))?.count();
    ensure!(kept == 1, "{kept} executions");
    let refused = http_client()?.post(format!("{}/alerts", up.url)).json(&json!({})).send().await?.status();
    ensure!(refused == 401, "whoever has no token starts nothing: {refused}");
    up.interrupt().await
}

/// It says what it does by itself: the alert is silenced, and it is seen that Prometheus answers.
fn quiet() -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "quiet", "namespace": "shop"},
        "spec": {"mode": "Auto", "serviceAccountName": "runbooks", "trigger": {"slo": {"burning": "Page", "names": ["checkout"]}},
            "steps": [
                {"name": "look", "query": {"expr": "up"}},
                {"name": "hush", "silence": {"matchers": ["slo_id=\"shop/checkout\""], "for": "10m", "comment": "it is known"}}]}})
}

/// It names a destination that nobody has allowed.
fn tell() -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "tell", "namespace": "shop"},
        "spec": {"mode": "Auto", "serviceAccountName": "runbooks", "trigger": {"alert": ["alertname=\"QueueLong\""]},
            "steps": [{"name": "tell", "notify": {"destination": "nobody", "message": "look"}}]}})
}

async fn what_is_allowed_is_done_without_a_cluster(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    sample.rate("requests_total", "code=\"200\"", 90.0);
    sample.rate("requests_total", "code=\"500\"", 0.0);
    let folder = tree(&sample)?;
    write(&folder, "quiet.yaml", &quiet())?;
    write(&folder, "restart.yaml", &cordon())?;
    // The Alertmanager is that of its own; a file is needed to say that runbooks may act.
    let allows = folder.join("plimsoll.yaml");
    fs::write(&allows, "runbooks: {keepDays: 7}\n")?;
    let allows = allows.display().to_string();
    let mut up = Up::start(testbed, folder, &["--runbooks", &allows]).await?;
    up.says("loaded: the rules of 1 object", 1).await?;
    up.says("runbooks may act; to pause all of them: touch ", 1).await?;
    up.says("Runbook shop/restart stays dry: step off (cordon) needs a cluster", 1).await?;
    up.write("tell.yaml", &tell())?;
    up.says("the file of --runbooks has no destination nobody", 1).await?;

    sample.rate("requests_total", "code=\"500\"", 60.0);
    up.says("Runbook shop/quiet: Succeeded for alert SLOErrorBudgetBurn of SLO shop/checkout (tier fast): all steps are done", 1).await?;
    up.says("Runbook shop/restart: dry run for alert SLOErrorBudgetBurn of SLO shop/checkout (tier fast): it would have been done: off", 1).await?;
    up.shows("/runbooks", "all steps are done").await?;
    let log = up.log()?;
    let alertmanager = log.split_once("Alertmanager of our own (").and_then(|(_, rest)| rest.split_once(')'));
    let (alertmanager, _) = alertmanager.context("no address of the Alertmanager")?;
    let silences: Value = serde_json::from_str(&text(&format!("{alertmanager}/api/v2/silences")).await?)?;
    let silences = silences.as_array().context("no list")?;
    ensure!(silences.len() == 1, "{silences:?}");
    let silence = &silences[0];
    ensure!(silence["status"]["state"] == "active" && silence["comment"] == "it is known", "{silence}");
    let by = silence["createdBy"].as_str().unwrap_or_default();
    ensure!(by.starts_with("plimsoll shop/quiet-") && by.ends_with("/hush"), "{silence}");
    // It is really quiet: Alertmanager has the alert and tells nobody.
    let silenced = wait_until("a silenced alert", SOON, async || {
        let alerts: Value = serde_json::from_str(&text(&format!("{alertmanager}/api/v2/alerts?active=false")).await?)?;
        let burns = |alert: &Value| {
            alert["labels"]["alertname"] == "SLOErrorBudgetBurn" && alert["status"]["state"] == "suppressed"
        };
        Ok(alerts.as_array().is_some_and(|alerts| alerts.iter().any(burns)).then_some(()))
    });
    silenced.await?;
    up.interrupt().await
}

/// It needs a cluster.
fn cordon() -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "restart", "namespace": "shop"},
        "spec": {"mode": "Auto", "serviceAccountName": "runbooks", "trigger": {"slo": {"burning": "Page", "names": ["checkout"]}},
            "parameters": [{"name": "node", "object": "Node", "default": "n1"}],
            "steps": [{"name": "off", "cordon": {"node": "node"}}]}})
}

async fn servers_that_die_come_back_and_none_is_left(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    let folder = tree(&sample)?;
    let mut up = Up::start(testbed, folder, &[]).await?;
    up.says("loaded: the rules of 1 object", 1).await?;
    let before = up.child("prometheus")?;
    let killed = Program::new("kill").args(["-KILL", &before.to_string()]).run("", END).await?;
    killed.success()?;
    up.says("prometheus ended with signal: 9", 1).await?;
    wait_until("another Prometheus", SOON, async || Ok((up.child("prometheus")? != before).then_some(()))).await?;
    // It works with the rules of before, and takes new ones.
    up.write("checkout.yaml", &checkout("98"))?;
    up.says("loaded: the rules of 1 object", 2).await?;

    // As a crash ends it, its servers stay; the next one ends them before it starts its own.
    let orphans = [up.child("prometheus")?, up.child("alertmanager")?];
    up.process.kill()?;
    let folder = Folder::new("up")?;
    for name in ["dir", "data"] {
        fs::rename(up.folder.join(name), folder.join(name))?;
    }
    let mut next = Up::start(testbed, folder, &[]).await?;
    next.says("loaded: the rules of 1 object", 1).await?;
    for orphan in orphans {
        ensure!(!runs(orphan), "process {orphan} is left");
    }
    next.interrupt().await
}

async fn with_a_prometheus_that_runs_already(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    let options =
        PrometheusOptions { scrape: vec![("shop".to_owned(), vec![sample.target()])], ..PrometheusOptions::default() };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    sample.set("queue_length", "", 5.0);
    let folder = tree(&sample)?;
    let alert = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "AlertRule", "metadata": {"name": "queue", "namespace": "shop"},
        "spec": {"interval": "1s", "rules": [{"alert": "QueueLong", "expr": "queue_length > 1"}]}});
    write(&folder, "queue.yaml", &alert)?;
    write(&folder, "restart.yaml", &restart(&json!({"alert": ["alertname=\"QueueLong\""]})))?;
    let directory = prometheus.rule_folder().display().to_string();
    let arguments = ["--prometheus", prometheus.url(), "--rules", &directory];
    let mut up = Up::start(testbed, folder, &arguments).await?;
    up.says("loaded: the rules of 2 objects", 1).await?;
    // Nobody posts alerts, so Prometheus is asked for them.
    up.says("Runbook shop/restart: dry run for alert QueueLong (instance=", 1).await?;
    up.says("): it would have been done: look", 1).await?;

    // What is deleted takes its rules with it, also while this does not run.
    fs::remove_file(up.folder.join("dir/queue.yaml"))?;
    up.says("AlertRule shop/queue: removed", 1).await?;
    let left = |count: usize| {
        let folder = prometheus.rule_folder();
        wait_until("the rule files", SOON, async move || Ok((rules(&folder)?.len() == count).then_some(())))
    };
    left(1).await?;
    up.interrupt().await?;
    fs::remove_file(up.folder.join("dir/checkout.yaml"))?;
    let folder = Folder::new("up")?;
    for name in ["dir", "data"] {
        fs::rename(up.folder.join(name), folder.join(name))?;
    }
    let mut next = Up::start(testbed, folder, &arguments).await?;
    left(0).await?;
    next.interrupt().await
}
