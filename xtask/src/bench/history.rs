//! A Prometheus that looks as if it had scraped a service, and evaluated rules on it, for 31 days.
//!
//! The raw counters are written down; what the rules recorded is computed by Prometheus itself, at each group's own
//! interval, level by level: first the rules that read raw series only, then those that read these, and so on. So the
//! recorded series hold what they would hold, whatever the rules are. Both are kept in the cache folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plimsoll_slo::{Rule, RuleSet};
use plimsoll_testbed::{Bin, Component, Folder, Program, Prometheus, PrometheusOptions, cache_folder};
use sha2::{Digest, Sha256};

use super::reads::reads;

/// The first scrape; chosen so that the end lies in the middle of a half hour, as an average evaluation does.
const START: u64 = 1_700_000_130;
const SCRAPE: u64 = 30;
const DAYS: u64 = 31;
const SCRAPES: u64 = DAYS * 86_400 / SCRAPE;
/// Counters, every tenth of them of errors.
const SERIES: u64 = 200;
/// The moment at which rules are asked.
pub(crate) const END: u64 = START + (SCRAPES - 1) * SCRAPE;
/// What the raw counters hold: one error beside 9,000 good requests.
pub(crate) const ERROR_RATIO: f64 = 1.0 / 9001.0;
/// Recorded series reach at least so much further back than they are read.
const MARGIN: u64 = 600;
/// Prometheus gives at most 11,000 steps at once.
const STEPS: u64 = 10_000;
/// To be changed with anything here that changes the raw data.
const RECIPE: &str = "one error series steps at each scrape; 100 pods up; 1";

/// Starts Prometheus on the history of all the given rules.
pub(crate) async fn start(bin: &Bin, sets: &[RuleSet]) -> Result<Prometheus> {
    let cache = cache_folder()?.join("bench");
    let raw = cache.join(format!("raw-{}", hash(&[RECIPE, &format!("{START} {SCRAPE} {SCRAPES} {SERIES}")])));
    kept(&raw, async |folder| blocks(bin, folder, &write_raw).await).await?;
    let rules = serde_json::to_string(sets)?;
    let recorded = cache.join(format!("recorded-{}", hash(&[&raw.to_string_lossy(), &rules])));
    kept(&recorded, async |folder| {
        let families = record(bin, &raw, sets).await?;
        blocks(bin, folder, &|out| write_families(out, &families)).await
    })
    .await?;
    on_blocks(bin, &[&raw, &recorded]).await
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Fills a folder unless it is there; renamed when full, so that an interrupted run leaves nothing that looks finished.
async fn kept(folder: &Path, fill: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let started = std::time::Instant::now();
    let unfinished = folder.with_file_name(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let filled = fill(&unfinished).await;
    if filled.is_err() {
        fs::remove_dir_all(&unfinished).ok();
    }
    filled?;
    fs::rename(&unfinished, folder)?;
    eprintln!("bench: made {} in {} s (once)", folder.display(), started.elapsed().as_secs());
    Ok(())
}

type Out = BufWriter<File>;

/// Has promtool make blocks of what `write` writes.
async fn blocks(bin: &Bin, into: &Path, write: &dyn Fn(&mut Out) -> Result<()>) -> Result<()> {
    let text = into.with_extension("om");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&text)?);
    write(&mut out)?;
    out.write_all(b"# EOF\n")?;
    drop(out.into_inner().map_err(std::io::IntoInnerError::into_error)?);
    let made = Program::new(bin.path(Component::Prometheus, "promtool")?)
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        // Few and long blocks: each pass over the file makes one.
        .arg("--max-block-duration=768h")
        .args([&text, into])
        .run("", Duration::from_secs(1800))
        .await;
    fs::remove_file(&text)?;
    made?.success().map(drop)
}

fn write_raw(out: &mut Out) -> Result<()> {
    writeln!(out, "# TYPE http_requests counter")?;
    for series in 0..SERIES {
        let errors = series % 10 == 0;
        let code = if errors { 500 } else { 200 };
        let labels = format!(r#"job="checkout",pod="p{}",handler="h{}",code="{code}""#, series / 2, series % 20);
        for scrape in 0..SCRAPES {
            // One of the 20 error series steps at each scrape; each of the 180 others by 50.
            let value = if errors { (scrape + series / 10) / 20 } else { (scrape + 1) * 50 };
            writeln!(out, "http_requests_total{{{labels}}} {value} {}", START + scrape * SCRAPE)?;
        }
    }
    writeln!(out, "# TYPE up gauge")?;
    for pod in 0..SERIES / 2 {
        // Read at the end only.
        for back in (0..120).rev() {
            writeln!(out, "up{{job=\"checkout\",pod=\"p{pod}\"}} 1 {}", END - back * SCRAPE)?;
        }
    }
    Ok(())
}

/// OpenMetrics lines by metric.
type Families = BTreeMap<String, String>;

fn write_families(out: &mut Out, families: &Families) -> Result<()> {
    for (name, lines) in families {
        writeln!(out, "# TYPE {name} gauge")?;
        out.write_all(lines.as_bytes())?;
    }
    Ok(())
}

async fn on_blocks(bin: &Bin, folders: &[&Path]) -> Result<Prometheus> {
    let folder = Folder::new("bench")?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    for block in folders.iter().map(fs::read_dir).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        copy(&block?.path(), &data)?;
    }
    // Nothing is to rewrite the blocks while they are measured.
    let arguments = ["min-block-duration=2h", "max-block-duration=2h"].map(|flag| format!("--storage.tsdb.{flag}"));
    let mut arguments = arguments.to_vec();
    arguments.push("--no-storage.tsdb.allow-overlapping-compaction".to_owned());
    Prometheus::start(bin, PrometheusOptions { blocks: Some(data), arguments, ..PrometheusOptions::default() }).await
}

fn copy(from: &Path, into: &Path) -> Result<()> {
    let to = into.join(from.file_name().context("no file name")?);
    if from.is_dir() {
        fs::create_dir(&to)?;
        for entry in fs::read_dir(from)? {
            copy(&entry?.path(), &to)?;
        }
    } else {
        fs::copy(from, &to)?;
    }
    Ok(())
}

/// A recording rule, and what it takes to know its past.
struct Recorded<'a> {
    rule: &'a Rule,
    interval: u64,
    /// One more than the highest level that it reads.
    level: usize,
    /// How many seconds of it others read; `None` when nobody reads it.
    depth: Option<u64>,
}

/// Everything that the rules recorded and that is read again.
async fn record(bin: &Bin, raw: &Path, sets: &[RuleSet]) -> Result<Families> {
    let mut rules = Vec::new();
    for set in sets {
        rules.extend(recorded(set)?);
    }
    let mut all = Families::new();
    let mut folders: Vec<PathBuf> = vec![raw.to_owned()];
    let work = Folder::new("bench-levels")?;
    for level in 0.. {
        let due: Vec<&Recorded<'_>> = rules.iter().filter(|r| r.level == level && r.depth.is_some()).collect();
        if due.is_empty() && rules.iter().all(|r| r.level <= level) {
            break;
        }
        let prometheus = on_blocks(bin, &folders.iter().map(PathBuf::as_path).collect::<Vec<_>>()).await?;
        let mut families = Families::new();
        for recorded in due {
            evaluate(&prometheus, recorded, &mut families).await?;
        }
        let folder = work.join(format!("level-{level}"));
        fs::create_dir(&folder)?;
        blocks(bin, &folder, &|out| write_families(out, &families)).await?;
        folders.push(folder);
        for (name, lines) in families {
            all.entry(name).or_default().push_str(&lines);
        }
    }
    Ok(all)
}

/// Appends what a rule recorded.
async fn evaluate(prometheus: &Prometheus, recorded: &Recorded<'_>, families: &mut Families) -> Result<()> {
    let Recorded { rule, interval, depth, .. } = recorded;
    let name = rule.record.as_deref().context("not a recording rule")?;
    let count = (depth.unwrap_or(0) + MARGIN) / interval;
    let first = END - (count * interval).min((END - START) / interval * interval);
    let mut from = first;
    while from <= END {
        let to = (from + STEPS * interval).min(END);
        // Exact: none of these numbers comes near 2^53.
        #[allow(clippy::cast_precision_loss)]
        let [start, end, step] = [from, to, *interval].map(|seconds| seconds as f64);
        for mut series in prometheus.query_range(&rule.expr, start, end, step).await? {
            series.labels.remove("__name__");
            series.labels.extend(rule.labels.clone());
            let labels: Vec<String> = series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let lines = families.entry(name.to_owned()).or_default();
            for (time, value) in &series.samples {
                writeln!(lines, "{name}{{{}}} {value} {time}", labels.join(","))?;
            }
        }
        from = to + interval;
    }
    Ok(())
}

/// The recording rules of a set with their levels and depths.
fn recorded(set: &RuleSet) -> Result<Vec<Recorded<'_>>> {
    let mut all = Vec::new();
    for group in &set.groups {
        for rule in &group.rules {
            all.push((rule, seconds(&group.interval)?, reads(&rule.expr)?));
        }
    }
    let mut found: Vec<_> =
        all.iter().map(|(rule, interval, _)| Recorded { rule, interval: *interval, level: 0, depth: None }).collect();
    // What is read is read by something; each round carries it one rule further.
    for round in 0.. {
        ensure!(round <= all.len(), "a rule reads what it records");
        let mut changed = false;
        for reader in 0..all.len() {
            for read in 0..all.len() {
                changed |= link(&all, &mut found, reader, read);
            }
        }
        if !changed {
            break;
        }
    }
    found.retain(|recorded| recorded.rule.record.is_some());
    Ok(found)
}

type Reads<'a> = (&'a Rule, u64, BTreeMap<String, Duration>);

/// Lets what `reader` needs of `read` count; true when that changed something.
fn link(all: &[Reads<'_>], found: &mut [Recorded<'_>], reader: usize, read: usize) -> bool {
    let name = found.get(read).and_then(|r| r.rule.record.as_deref());
    let range = all.get(reader).zip(name).and_then(|((_, _, reads), name)| reads.get(name));
    let (Some(range), Some((of_reader, level))) = (range, found.get(reader).map(|r| (r.depth, r.level))) else {
        return false;
    };
    // A rule that nobody reads is still asked once, at the end.
    let depth = Some(of_reader.unwrap_or(0) + range.as_secs());
    let mut changed = false;
    if let Some(read) = found.get_mut(read).filter(|read| read.depth < depth) {
        read.depth = depth;
        changed = true;
    }
    let above = found.get(read).map_or(0, |read| read.level + 1);
    if let Some(reader) = found.get_mut(reader).filter(|_| level < above) {
        reader.level = above;
        changed = true;
    }
    changed
}

/// A Prometheus duration in seconds.
pub(crate) fn seconds(duration: &str) -> Result<u64> {
    match plimsoll_slo::duration::parse(duration, "interval") {
        Ok(span) => Ok(span.as_seconds()),
        Err(problem) => Err(anyhow::anyhow!("{problem}")),
    }
}
