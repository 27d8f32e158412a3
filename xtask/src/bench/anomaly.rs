//! What scoring costs: samples a second on one core, beside the least that can be done with a sample.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::release;
use super::table::{self, Target};

const SERIES: usize = 10_000;
const TICKS: usize = 80;
/// Seconds between the samples of a series in steady state.
const STEP: f64 = 15.0;
/// Of one series, both detectors.
const MOST_BYTES: f64 = 4096.0;

/// What the program prints for `arguments`.
pub(super) fn measured(arguments: &[&str]) -> Result<Value> {
    let programs = release::build(&["xtask-floor"])?;
    let output = Command::new(programs.path("xtask-floor")?).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn run() -> Result<Vec<Target>> {
    let figures = measured(&["anomaly", &SERIES.to_string(), &TICKS.to_string()])?;
    let figure = |name: &str| figures.get(name).and_then(Value::as_f64).with_context(|| format!("no figure {name}"));
    let (mean, watched, trained) = (figure("mean")?, figure("watched")?, figure("trained")?);
    println!("\nScoring {SERIES} series, {TICKS} samples each at {STEP} s; samples a second of processor time");
    let row = |what: &str, rate: f64| {
        vec![what.to_owned(), table::grouped(rate), format!("{:.3}", 1e6 / rate), format!("{:.0}", mean / rate)]
    };
    table::print(&[
        vec!["".into(), "samples/s".into(), "µs".into(), "times a mean".into()],
        row("exponential mean of each series", mean),
        row("A: novelty and moves", figure("novelty")?),
        row("B: a forecast for each sample", figure("forecast")?),
        row("A, and B once a minute", watched),
        row("the same, and training on as many steps as B takes", trained),
    ]);
    let share = SERIES as f64 / STEP / trained;
    let backfill = figure("backfill_seconds")?;
    println!(
        "{} bytes a series; {SERIES} series take {:.2} % of a core; a day of them at one minute takes {backfill:.1} s",
        figure("bytes_per_series")?,
        100.0 * share
    );
    println!(
        "snapshot of all {} bytes, written in {:.2} s, restored in {:.2} s",
        table::grouped(figure("snapshot_bytes")?),
        figure("snapshot_seconds")?,
        figure("restore_seconds")?
    );
    Ok(vec![
        Target::at_most("scoring a sample (A+B)", 1e6 / watched, 1.0, "µs"),
        Target::at_most("scoring a sample with training (A+B)", 1e6 / trained, 5.0, "µs"),
        Target::at_most("10,000 series at 15 s", 100.0 * share, 2.0, "% of a core"),
        Target::at_most("a day of 10,000 series at one minute", backfill, 60.0, "s"),
        Target::at_most("memory for a series (A+B)", figure("bytes_per_series")?, MOST_BYTES, "bytes"),
        Target::at_most("restoring 10,000 series", figure("restore_seconds")?, 1.0, "s"),
    ])
}
