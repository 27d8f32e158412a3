//! The presets for the Go runtime on Go processes that really misbehave.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use plimsoll_e2e::{NODE, Test, Testbed, test};
use plimsoll_testbed::{Prometheus, PrometheusOptions, Series};
use serde_json::json;
use std::time::Duration;

use crate::{
    alert_rules::{firing, preset},
    cluster::SOON,
    node::{Place, sample},
    traffic::Simulation,
};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(NODE, the_presets_for_go_fire_on_processes_that_misbehave)]
}

/// How often a process is looked at, which stands for one minute of the presets: an hour is half a minute.
const SCRAPE: Duration = Duration::from_millis(500);

/// How often each process has been scraped. The test takes less than ten minutes.
const SCRAPES: &str = "count_over_time(up[10m])";

/// Scrapes before the fault: the presets look an hour back.
const BEFORE: usize = 64;
/// Scrapes of the fault: the longest `for` is 15 minutes.
const DURING: usize = 22;

struct Fault {
    pod: &'static str,
    /// Paths of the sample, each with its number.
    tell: &'static [(&'static str, u32)],
    alert: &'static str,
}

const FAULTS: [Fault; 2] = [
    Fault { pod: "fragments", tell: &[("fragment", 160)], alert: "GoHeapFragmented" },
    Fault { pod: "leaks", tell: &[("goroutines", 1500), ("grow", 100)], alert: "GoGoroutinesGrow" },
];

/// What the presets of these faults read. How long a goroutine waits for a processor depends on what else the machine does,
/// so that preset is tried on made-up series alone.
const SERIES: &str = "go_memstats_heap_inuse_bytes|go_memstats_heap_alloc_bytes|go_goroutines";

/// A real Prometheus scrapes real pods, quiet and then misbehaving. The presets, as they are generated, run over what it
/// has stored, with a minute for each scrape.
async fn the_presets_for_go_fire_on_processes_that_misbehave(testbed: &Testbed) -> Result<()> {
    let stack = testbed.node().await?;
    let place = Place::new(stack, "go-faults").await?;
    let mut targets = Vec::new();
    for name in FAULTS.iter().map(|fault| fault.pod).chain(["healthy"]) {
        let pod = place.pod(name, sample()).await?;
        let address = pod.status.and_then(|status| status.pod_ip).context("a pod without an address")?;
        targets.push((name, format!("{address}:8080")));
    }
    let options = PrometheusOptions {
        scrape: vec![("checkout".to_owned(), targets.iter().map(|(_, target)| target.clone()).collect())],
        scrape_interval: SCRAPE,
        network: Some(stack.network.clone()),
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    scraped(&prometheus, BEFORE + 4).await?;
    // Before the first of them: a machine that is busy takes its time to tell the faults.
    let begun = now(&prometheus).await?;
    for fault in &FAULTS {
        for (path, n) in fault.tell {
            place.fault(fault.pod, path, *n).await?;
        }
    }
    // And after the last of them so many scrapes more.
    let until = prometheus.value(&format!("max({SCRAPES})")).await?.context("no scrapes")?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred scrapes")]
    scraped(&prometheus, until as usize + DURING).await?;
    let series = prometheus.query(&format!("{{__name__=~\"{SERIES}\"}}[10m]")).await?;
    stack.control_plane.kubectl(["delete", "namespace", place.namespace, "--wait=false"]).await?;

    let mut simulation = Simulation::new(testbed, "1m", &preset("go-runtime")?).await?;
    let first = series.iter().filter_map(|one| one.samples.first()).map(|(time, _)| *time).fold(f64::MAX, f64::min);
    for one in &series {
        simulation.series(&selector(one), &values(one, first));
    }
    let minutes = |time: f64| (time - first) / SCRAPE.as_secs_f64();
    // A scrape of before may lie on the next minute's side.
    let quiet = format!("{}m", minutes(begun).floor() - 1.0);
    let end = series.iter().filter_map(|one| one.samples.last()).map(|(time, _)| *time).fold(0.0, f64::max);
    let end = format!("{}m", minutes(end).floor());
    for fault in &FAULTS {
        let target =
            targets.iter().find(|(name, _)| *name == fault.pod).map(|(_, target)| target).context("a target")?;
        let alerts = firing(fault.alert);
        let of = |instance: &str| alerts.replace('}', &format!(",instance=\"{instance}\"}}"));
        simulation.expect_nothing(&quiet, &format!("count_over_time({alerts}[{quiet}])"));
        simulation.expect(&end, &format!("{} == bool 1", of(target)));
    }
    simulation.run().await.with_context(|| format!("quiet until {quiet}, firing at {end}"))
}

/// Waits until every process has been scraped so often.
async fn scraped(prometheus: &Prometheus, times: usize) -> Result<()> {
    let count = format!("min({SCRAPES}) >= {times}");
    prometheus.wait_for(&count, SOON * 3).await.map(drop)
}

async fn now(prometheus: &Prometheus) -> Result<f64> {
    prometheus.value("time()").await?.context("Prometheus has no time")
}

/// A series as promtool takes its name.
fn selector(series: &Series) -> String {
    let labels = series.labels.iter().filter(|(name, _)| name.as_str() != "__name__");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", json!(value))).collect();
    format!("{}{{{}}}", series.label("__name__"), labels.join(","))
}

/// A series' values as promtool takes them, one for each scrape; `_` where one was missed.
fn values(series: &Series, first: f64) -> String {
    let mut text = String::new();
    let mut next = 0_usize;
    for (time, value) in &series.samples {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred scrapes")]
        let index = ((time - first) / SCRAPE.as_secs_f64()).round() as usize;
        if index < next {
            continue;
        }
        _ = write!(text, "{}{value} ", "_ ".repeat(index - next));
        next = index + 1;
    }
    text
}
