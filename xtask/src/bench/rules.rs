//! What one SLO's rules cost Prometheus in an hour: samples read and time, for the rules of Plimsoll and of its peers
//! on the same data in the same Prometheus.

use anyhow::{Context, Result, anyhow, ensure};
use plimsoll_slo::{Rule, RuleSet};
use plimsoll_testbed::{Component, Prometheus, ensure_components};
use serde_json::json;

use super::history;
use super::peers;
use super::table::{self, Target, grouped};

/// How often each expression is asked. A cheap one more often: what disturbs it is as long as it is itself.
const TRIES: usize = 3;
/// Seconds that an expression takes, and how often one that takes less is asked.
const CHEAP_TRIES: [(f64, usize); 2] = [(0.02, 25), (0.005, 200)];

const MOST_SAMPLES: f64 = 1.0 / 600.0;
const MOST_TIME: f64 = 1.0 / 75.0;

pub(crate) fn run() -> Result<Vec<Target>> {
    let bin = ensure_components(&[Component::Prometheus])?.required()?;
    let names = ["Sloth", "Pyrra", "Plimsoll"];
    let sets = [peers::sloth(), peers::pyrra(), ours()?];
    tokio::runtime::Runtime::new()?.block_on(async {
        let prometheus = history::start(&bin, &sets).await?;
        truthful(&prometheus).await?;
        let mut totals = Vec::new();
        for (name, set) in names.iter().zip(&sets) {
            println!("\n{name}");
            totals.push(measure(&prometheus, set).await?);
        }
        // Reads what Plimsoll's rules have recorded.
        println!("\nPlain");
        let plain = measure(&prometheus, &peers::plain("shop/checkout-availability")).await?;
        summary(&names, &totals, plain)
    })
}

/// What the rules say of the period must be what happened, or their cost means nothing.
async fn truthful(prometheus: &Prometheus) -> Result<()> {
    #[allow(clippy::cast_precision_loss)]
    let end = history::END as f64;
    let said = prometheus.query_at(r#"slo:error_ratio:window{window="30d"}"#, end).await?;
    let said = said.first().and_then(plimsoll_testbed::Series::value).context("no error ratio of the period")?;
    let off = said / history::ERROR_RATIO - 1.0;
    ensure!(off.abs() < 0.01, "the period's error ratio is {said}, {:.1} % off the truth", off * 100.0);
    Ok(())
}

/// The shortest SLO that there is, through the same steps as anybody's.
fn ours() -> Result<RuleSet> {
    let slo = serde_json::from_value(json!({
        "apiVersion": plimsoll_api::API_VERSION,
        "kind": "SLO",
        "metadata": {"name": "checkout-availability", "namespace": "shop"},
        "spec": {"objective": "99.95", "sli": {"events": {"bad": peers::BAD, "total": peers::ALL}}},
    }))?;
    let valid = plimsoll_slo::validate(&slo)
        .map_err(|problems| anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    Ok(plimsoll_slo::render(&valid.model))
}

/// Samples read and seconds taken.
#[derive(Clone, Copy, Default)]
struct Cost {
    samples: f64,
    seconds: f64,
}

impl Cost {
    fn times(self, factor: f64) -> Self {
        Self { samples: self.samples * factor, seconds: self.seconds * factor }
    }

    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.seconds += other.seconds;
    }
}

/// Of an hour.
#[derive(Clone, Copy, Default)]
struct Total {
    recording: Cost,
    all: Cost,
}

async fn measure(prometheus: &Prometheus, set: &RuleSet) -> Result<Total> {
    let header = ["rule", "interval", "samples", "ms", "samples/h", "s/h"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut total = Total::default();
    for group in &set.groups {
        #[allow(clippy::cast_precision_loss)]
        let hourly = 3600.0 / history::seconds(&group.interval)? as f64;
        for rule in &group.rules {
            let once = ask(prometheus, rule).await?;
            let cost = once.times(hourly);
            total.all.add(cost);
            if rule.record.is_some() {
                total.recording.add(cost);
            }
            rows.push(vec![
                label(rule),
                group.interval.clone(),
                grouped(once.samples),
                format!("{:.3}", once.seconds * 1e3),
                grouped(cost.samples),
                format!("{:.4}", cost.seconds),
            ]);
        }
    }
    table::print(&rows);
    Ok(total)
}

fn label(rule: &Rule) -> String {
    let of = |name: &str| rule.labels.get(name).map(|value| format!(" {value}")).unwrap_or_default();
    match (&rule.record, &rule.alert) {
        (Some(name), _) => format!("{name}{}", of("window")),
        (_, Some(name)) => format!("alert {name}{}", of("burnrate_tier")),
        _ => String::new(),
    }
}

async fn ask(prometheus: &Prometheus, rule: &Rule) -> Result<Cost> {
    let time = history::END.to_string();
    let mut best = Cost { samples: 0.0, seconds: f64::INFINITY };
    let mut tries = 0;
    let wanted = |best: f64| CHEAP_TRIES.into_iter().filter(|(below, _)| best < *below).map(|(_, tries)| tries).max();
    while tries < wanted(best.seconds).unwrap_or(TRIES) {
        let answer = prometheus.api("query", &[("query", &rule.expr), ("time", &time), ("stats", "all")]).await?;
        let result = answer.pointer("/result").and_then(|result| result.as_array());
        // An alert may be quiet; a recording rule that yields nothing was not measured.
        ensure!(rule.alert.is_some() || result.is_some_and(|all| !all.is_empty()), "nothing came of {}", rule.expr);
        let number = |path: &str| answer.pointer(path).and_then(serde_json::Value::as_f64);
        best.samples = number("/stats/samples/samplesRead")
            .or_else(|| number("/stats/samples/totalQueryableSamples"))
            .context("Prometheus gives no statistics")?;
        let seconds = number("/stats/timings/execTotalTime").context("Prometheus gives no timings")?;
        best.seconds = best.seconds.min(seconds);
        tries += 1;
    }
    Ok(best)
}

fn summary(names: &[&str], totals: &[Total], plain: Total) -> Result<Vec<Target>> {
    println!("\nIn an hour");
    let header = ["", "samples", "of Sloth", "seconds", "of Sloth"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let sloth = *totals.first().context("no totals")?;
    let ours = *totals.last().context("no totals")?;
    for (kind, pick) in [("recording rules", (|t| t.recording) as fn(&Total) -> Cost), ("all rules", |t| t.all)] {
        for (name, total) in names.iter().zip(totals) {
            let (cost, base) = (pick(total), pick(&sloth));
            rows.push(vec![
                format!("{name}, {kind}"),
                grouped(cost.samples),
                share(cost.samples, base.samples),
                format!("{:.3}", cost.seconds),
                share(cost.seconds, base.seconds),
            ]);
        }
    }
    let (cost, base) = (plain.recording, sloth.recording);
    rows.push(vec![
        "plain ratios, nothing else".to_owned(),
        grouped(cost.samples),
        share(cost.samples, base.samples),
        format!("{:.3}", cost.seconds),
        share(cost.seconds, base.seconds),
    ]);
    table::print(&rows);
    let share = |what, ours: f64, theirs: f64, most| Target::at_most(what, ours / theirs, most, "share");
    let (recording, all) = (sloth.recording, sloth.all);
    Ok(vec![
        share("samples, recording rules", ours.recording.samples, recording.samples, MOST_SAMPLES),
        share("time, recording rules", ours.recording.seconds, recording.seconds, MOST_TIME),
        share("samples, all rules", ours.all.samples, all.samples, MOST_SAMPLES),
        share("time, all rules", ours.all.seconds, all.seconds, MOST_TIME),
    ])
}

fn share(cost: f64, base: f64) -> String {
    if cost < base { format!("1/{:.0}", base / cost) } else { format!("{:.2}", cost / base) }
}
