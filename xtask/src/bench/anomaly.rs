//! What forecasting costs: samples a second on one core, beside the least that can be done with a sample.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::release;
use super::table::{self, Target};

const SERIES: usize = 10_000;
const TICKS: usize = 60;
/// Bytes held for a series.
const MOST_BYTES: f64 = 2560.0;

pub(crate) fn run() -> Result<Vec<Target>> {
    let programs = release::build(&["xtask-floor"])?;
    let output = Command::new(programs.path("xtask-floor")?)
        .args(["forecast", &SERIES.to_string(), &TICKS.to_string()])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| figures.get(name).and_then(Value::as_f64).with_context(|| format!("no figure {name}"));
    let (mean, forecast, trained) = (figure("mean")?, figure("forecast")?, figure("trained")?);
    println!("\nForecasts of {SERIES} series, {TICKS} rows each, one core");
    let row = |what: &str, rate: f64| {
        vec![what.to_owned(), table::grouped(rate), format!("{:.3}", 1e6 / rate), format!("{:.1}", mean / rate)]
    };
    table::print(&[
        vec!["".into(), "samples/s".into(), "µs".into(), "times a mean".into()],
        row("exponential mean of each series", mean),
        row("forecast", forecast),
        row("forecast, and training on as many steps", trained),
    ]);
    println!(
        "{} bytes a series in memory; snapshot of all {} bytes, written in {:.2} s, restored in {:.2} s",
        figure("bytes_per_series")?,
        table::grouped(figure("snapshot_bytes")?),
        figure("snapshot_seconds")?,
        figure("restore_seconds")?
    );
    Ok(vec![
        Target::at_most("forecast of a sample", 1e6 / forecast, 0.4, "µs"),
        Target::at_most("forecast of a sample with training", 1e6 / trained, 5.0, "µs"),
        Target::at_most("forecaster's memory for a series", figure("bytes_per_series")?, MOST_BYTES, "bytes"),
        Target::at_most("restoring 10,000 series", figure("restore_seconds")?, 1.0, "s"),
    ])
}
