//! The operator with 2,000 SLOs on a real API server, beside a client that only sends the same writes.
//!
//! Each run has a fresh API server; runs of the two sides alternate, with the same watch of the SLOs open. The operator's
//! time is from the start of its process to the last status that this watch tells; the client's is its requests only.
//! The client is measured with plain requests, which is what the operator is compared with, and with ones as sparing as
//! the operator's, to tell how much of the ratio is theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{Stream, StreamExt};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use plimsoll_api::Slo;
use plimsoll_testbed::{
    Bin, Component, ControlPlane, ControlPlaneOptions, Folder, Process, Program, PrometheusOperator, Usage,
    ensure_components, free_port,
};
use serde_json::{Value, json};

use super::release::{self, Programs};
use super::table::{self, Target};

const SLOS: usize = 2000;
const ROUNDS: usize = 2;
const NAMESPACE: &str = "shop";
/// How the bare client is called.
const PLAIN: &str = "write";
const SPARING: &str = "write-sparing";
/// Written when nothing was written for so long.
const QUIET: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(300);
const MOST_RATIO: f64 = 1.2;
const MOST_MEBIBYTES: f64 = 64.0;

pub(crate) fn run() -> Result<Vec<Target>> {
    let bin =
        ensure_components(&[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator])?.required()?;
    let programs = release::build(&["plimsoll", "xtask-floor"])?;
    tokio::runtime::Runtime::new()?.block_on(rounds(&bin, &programs))
}

async fn rounds(bin: &Bin, programs: &Programs) -> Result<Vec<Target>> {
    println!("\n{SLOS} SLOs on a fresh API server for each run");
    let mut rows = vec![["", "s", "CPU s", "peak MiB", "writes"].map(str::to_owned).to_vec()];
    let (mut ours, mut bare) = (0.0, 0.0);
    let mut peak: f64 = 0.0;
    let mut rewritten = 0.0;
    for round in 1..=ROUNDS {
        let run = operator(bin, programs).await?;
        ours += run.seconds;
        for (what, figures) in [("operator", &run.first), ("operator, restarted", &run.again)] {
            peak = peak.max(mebi(figures.usage.resident_peak));
            let seconds = if what == "operator" { format!("{:.2}", run.seconds) } else { String::new() };
            rows.push(vec![
                format!("{what}, {round}"),
                seconds,
                format!("{:.2}", figures.usage.cpu.as_secs_f64()),
                format!("{:.1}", mebi(figures.usage.resident_peak)),
                describe(&figures.writes),
            ]);
        }
        rewritten += run.again.writes.values().sum::<f64>();
        for (what, command) in [("bare client", PLAIN), ("sparing client", SPARING)] {
            let alone = client(bin, programs, &run.files, command).await?;
            let seconds: f64 = alone.parts.iter().sum();
            if command == PLAIN {
                bare += seconds;
            }
            let parts: Vec<String> = alone.parts.iter().map(|part| format!("{part:.2}")).collect();
            rows.push(vec![
                format!("{what}, {round} ({})", parts.join(" + ")),
                format!("{seconds:.2}"),
                String::new(),
                String::new(),
                describe(&alone.writes),
            ]);
        }
    }
    table::print(&rows);
    Ok(vec![
        Target::at_most("reconcile, of the bare client", ours / bare, MOST_RATIO, "times"),
        Target::at_most("reconcile, memory", peak, MOST_MEBIBYTES, "MiB"),
        Target::at_most("reconcile, writes when restarted", rewritten, 0.0, "writes"),
    ])
}

/// Counts of writes that the API server has taken, by resource and verb.
type Writes = BTreeMap<String, f64>;

fn describe(writes: &Writes) -> String {
    if writes.is_empty() {
        return "none".to_owned();
    }
    writes.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

#[allow(clippy::cast_precision_loss)]
fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// An API server with the SLOs, and nothing done about them yet.
struct Server {
    plane: ControlPlane,
    client: Client,
    folder: Folder,
}

impl Server {
    async fn start(bin: &Bin, programs: &Programs) -> Result<Self> {
        let plane = ControlPlane::start(bin, ControlPlaneOptions::api_only()).await?;
        PrometheusOperator::install_crds(bin, &plane).await?;
        let crds = Program::new(programs.path("plimsoll")?).arg("crds").run("", Duration::from_secs(10)).await?;
        plane.apply(&crds.success()?).await?;
        plane.established().await?;
        plane.kubectl(["create", "namespace", NAMESPACE]).await?;
        let client = plane.client().await?;
        let server = Self { plane, client, folder: Folder::new("bench")? };
        let file = server.folder.join("slos.json");
        let slos: Vec<Value> = (0..SLOS).map(slo).collect();
        fs::write(&file, serde_json::to_vec(&slos)?)?;
        server.write(programs, PLAIN, &[&file]).await?;
        Ok(server)
    }

    /// Has the bare client send writes; gives the seconds that it took for each file.
    async fn write(&self, programs: &Programs, command: &str, files: &[&Path]) -> Result<Vec<f64>> {
        let program = Program::new(programs.path("xtask-floor")?).arg(command).arg(self.plane.kubeconfig()).args(files);
        let answer: Value = serde_json::from_str(&program.run("", DEADLINE).await?.success()?)?;
        let seconds = answer.get("seconds").and_then(Value::as_array).context("no seconds")?;
        Ok(seconds.iter().filter_map(Value::as_f64).collect())
    }

    /// What was written to the kinds that the operator writes.
    async fn writes(&self) -> Result<Writes> {
        let text = self.plane.kubectl(["get", "--raw", "/metrics"]).await?;
        let mut writes = Writes::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let (resource, verb) = (label("resource").unwrap_or_default(), label("verb").unwrap_or_default());
            let ours = ["slos", "prometheusrules", "events"].contains(&resource);
            if !ours || !["APPLY", "PATCH", "PUT", "POST", "DELETE"].contains(&verb) {
                continue;
            }
            let part = label("subresource").filter(|part| !part.is_empty()).map(|part| format!("/{part}"));
            let count: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            *writes.entry(format!("{resource}{} {verb}", part.unwrap_or_default())).or_default() += count;
        }
        Ok(writes)
    }

    /// What was written since.
    async fn writes_since(&self, before: &Writes) -> Result<Writes> {
        let mut writes = self.writes().await?;
        for (what, count) in &mut writes {
            *count -= before.get(what).copied().unwrap_or_default();
        }
        writes.retain(|_, count| *count != 0.0);
        Ok(writes)
    }
}

/// A write for the bare client: the shortest SLO that there is.
fn slo(number: usize) -> Value {
    let name = format!("service-{number:04}");
    let total = format!("http_requests_total{{job=\"{name}\"}}");
    let bad = format!("http_requests_total{{job=\"{name}\",code=~\"5..\"}}");
    json!({
        "path": format!("/apis/{}/namespaces/{NAMESPACE}/slos", plimsoll_api::API_VERSION),
        "name": name,
        "body": {
            "apiVersion": plimsoll_api::API_VERSION,
            "kind": "SLO",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"objective": "99.95", "sli": {"events": {"bad": bad, "total": total}}},
        },
    })
}

/// A watch of all SLOs' metadata that has got everything that was there.
async fn watch(client: &Client) -> Result<impl Stream<Item = watcher::Result<Event<PartialObjectMeta<Slo>>>> + Unpin> {
    let mut changes =
        watcher::watcher(Api::<PartialObjectMeta<Slo>>::all(client.clone()), watcher::Config::default()).boxed();
    while let Some(change) = changes.next().await {
        if matches!(change?, Event::InitDone) {
            return Ok(changes);
        }
    }
    bail!("the watch ended")
}

/// Waits until every SLO has a status and no SLO changes any more; gives the time of the last change.
async fn written(
    changes: &mut (impl Stream<Item = watcher::Result<Event<PartialObjectMeta<Slo>>>> + Unpin),
    started: Instant,
) -> Result<f64> {
    let mut with_status = BTreeSet::new();
    let mut last = started;
    loop {
        match tokio::time::timeout(QUIET, changes.next()).await {
            Ok(Some(Ok(Event::Apply(slo)))) => {
                last = Instant::now();
                if slo.managed_fields().iter().any(|entry| entry.subresource.as_deref() == Some("status")) {
                    with_status.insert(slo.name_any());
                }
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => bail!("the watch ended"),
            Err(_) if with_status.len() == SLOS => return Ok((last - started).as_secs_f64()),
            Err(_) => {}
        }
        ensure!(started.elapsed() < DEADLINE, "only {} of {SLOS} SLOs have a status", with_status.len());
    }
}

/// What a process used, and what it had the API server write.
struct Figures {
    usage: Usage,
    writes: Writes,
}

struct Operator {
    seconds: f64,
    first: Figures,
    again: Figures,
    /// All that it wrote, for the bare client.
    files: Folder,
}

async fn operator(bin: &Bin, programs: &Programs) -> Result<Operator> {
    let server = Server::start(bin, programs).await?;
    let port = free_port()?;
    let program = Program::new(programs.path("plimsoll")?)
        .args(["operator", "--namespace", NAMESPACE, "--identity", "bench"])
        .arg(format!("--listen=127.0.0.1:{port}"))
        .env("KUBECONFIG", server.plane.kubeconfig());
    let log = server.folder.join("operator.log");

    let before = server.writes().await?;
    let mut changes = watch(&server.client).await?;
    let started = Instant::now();
    let mut process = program.start(&log)?;
    let seconds = written(&mut changes, started).await.with_context(|| process.log_tail(5))?;
    drop(changes);
    let first = Figures { usage: process.usage()?, writes: server.writes_since(&before).await? };
    process.stop(Duration::from_secs(60)).await?;

    let before = server.writes().await?;
    let process = program.start(&log)?;
    idle(&process).await?;
    let again = Figures { usage: process.usage()?, writes: server.writes_since(&before).await? };
    drop(process);
    Ok(Operator { seconds, first, again, files: save(&server).await? })
}

/// Waits until a process has worked and does nothing any more.
async fn idle(process: &Process) -> Result<()> {
    let started = Instant::now();
    let (mut cpu, mut since) = (Duration::ZERO, started);
    while since.elapsed() < QUIET * 2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = process.usage()?.cpu;
        // A tick or two is housekeeping.
        if now > cpu + Duration::from_millis(20) {
            (cpu, since) = (now, Instant::now());
        }
        ensure!(started.elapsed() < DEADLINE, "the operator does not come to rest");
    }
    Ok(())
}

/// Writes down what the operator wrote: rules in one file, statuses in another.
async fn save(server: &Server) -> Result<Folder> {
    let rule = ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PrometheusRule"));
    let slo = ApiResource::erase::<Slo>(&());
    let folder = Folder::new("bench-writes")?;
    for (file, resource) in [("rules.json", &rule), ("statuses.json", &slo)] {
        let api: Api<DynamicObject> = Api::namespaced_with(server.client.clone(), NAMESPACE, resource);
        let mut writes = Vec::new();
        for object in api.list(&ListParams::default()).await? {
            let status = file == "statuses.json";
            let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
            let metadata = json!({
                "name": object.metadata.name,
                "namespace": NAMESPACE,
                "labels": object.metadata.labels,
                "ownerReferences": object.metadata.owner_references,
            });
            let body = if status {
                json!({"status": part("status")})
            } else {
                let (version, kind) = (&resource.api_version, &resource.kind);
                json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": part("spec")})
            };
            let path = format!("/apis/{}/namespaces/{NAMESPACE}/{}", resource.api_version, resource.plural);
            writes.push(json!({"path": path, "name": object.name_any(), "body": body, "status": status}));
        }
        ensure!(writes.len() == SLOS, "{} objects for {file}", writes.len());
        fs::write(folder.join(file), serde_json::to_vec(&writes)?)?;
    }
    Ok(folder)
}

struct Bare {
    /// Seconds for the rules, seconds for the statuses.
    parts: Vec<f64>,
    writes: Writes,
}

async fn client(bin: &Bin, programs: &Programs, files: &Folder, command: &str) -> Result<Bare> {
    let server = Server::start(bin, programs).await?;
    let before = server.writes().await?;
    let mut changes = watch(&server.client).await?;
    let (rules, statuses) = (files.join("rules.json"), files.join("statuses.json"));
    let files = [rules.as_path(), statuses.as_path()];
    let started = Instant::now();
    let (parts, _) = tokio::try_join!(server.write(programs, command, &files), written(&mut changes, started))?;
    Ok(Bare { parts, writes: server.writes_since(&before).await? })
}
