//! What scoring costs: samples a second through each part, beside one pass of an exponential mean over the same samples.

use std::hint::black_box;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use plimsoll_anomaly::forecast::{Forecaster, Row, Settings};
use plimsoll_anomaly::lstm::Random;
use plimsoll_anomaly::novelty::Novelty;
use plimsoll_anomaly::{Detector as _, Sample, Watch};
use serde_json::json;

/// Ticks before the clock runs: profiles and units are then in use, memories are full, and there is enough to learn from.
const WARM: usize = 240;
/// Rows of a day at one minute.
const DAY: usize = 1440;
/// Seconds between samples in steady state and in a backfill.
const STEADY: f64 = 15.0;
const MINUTE: f64 = 60.0;

/// Processor time of this process so far, in seconds: other work on the machine does not count, as it would by the clock.
fn used() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}

/// Made before the clock runs, one row for every series at every tick.
struct Rows {
    all: Vec<Vec<Row>>,
    step: f64,
}

impl Rows {
    fn random(series: usize, step: f64) -> Self {
        let mut random = Random(1);
        let tick = |random: &mut Random| {
            (0..series)
                .map(|series| Row { series, time: 0.0, value: f64::from(random.unit() + random.unit()) })
                .collect()
        };
        Self { all: (0..8).map(|_| tick(&mut random)).collect(), step }
    }

    fn at(&self, tick: usize) -> Vec<Row> {
        let mut rows = self.all.get(tick % self.all.len()).cloned().unwrap_or_default();
        rows.iter_mut().for_each(|row| row.time = 1.7e9 + self.step * tick as f64);
        rows
    }

    /// Samples a second through `work`, which is called for each tick; the first ticks do not count.
    fn rate(&self, ticks: usize, mut work: impl FnMut(&[Row])) -> Result<f64> {
        let mut seconds = 0.0;
        for tick in 0..WARM + ticks {
            let rows = self.at(tick);
            let begin = used()?;
            work(&rows);
            if tick >= WARM {
                seconds += used()? - begin;
            }
        }
        Ok((ticks * self.at(0).len()) as f64 / seconds.max(1e-6))
    }
}

pub(crate) fn run(series: usize, ticks: usize) -> Result<()> {
    let steady = Rows::random(series, STEADY);
    let mut means = vec![0.0f32; series];
    let mean = steady.rate(ticks, |rows| {
        for (row, mean) in rows.iter().zip(&mut means) {
            *mean += 0.1 * (row.value as f32 - *mean);
        }
        black_box(&means);
    })?;
    let mut detectors = vec![Novelty::default(); series];
    let novelty = steady.rate(ticks, |rows| {
        for (row, detector) in rows.iter().zip(&mut detectors) {
            black_box(detector.step(Sample { time: row.time, value: row.value }));
        }
    })?;
    drop(detectors);

    let training = Settings { replay: 1.0, batches: 1 << 20, ..Settings::default() };
    let mut outlooks = Vec::with_capacity(series);
    let mut forecaster = filled(Forecaster::new(training), series, Forecaster::add);
    let forecast = steady.rate(ticks, |rows| {
        outlooks.clear();
        forecaster.observe(rows, &mut outlooks);
    })?;
    drop(forecaster);

    let mut verdicts = Vec::with_capacity(series);
    let mut watch = filled(Watch::new(training), series, Watch::add);
    let watched = steady.rate(ticks, |rows| {
        verdicts.clear();
        watch.observe(rows, &mut verdicts);
    })?;
    let trained = steady.rate(ticks, |rows| {
        verdicts.clear();
        watch.observe(rows, &mut verdicts);
        watch.learn();
    })?;
    let bytes_per_series = watch.bytes_per_series();
    let begin = used()?;
    let bytes = watch.snapshot();
    let saved = used()? - begin;
    drop(watch);
    let begin = used()?;
    let restored = Watch::restore(&bytes).context("a snapshot just made")?;
    let restoring = used()? - begin;
    drop(restored);

    // A start: a day of every series at one minute, with the training that it allows.
    let minutes = Rows::random(series, MINUTE);
    let mut watch = filled(Watch::new(Settings { batches: 1, ..training }), series, Watch::add);
    let begin = used()?;
    for tick in 0..DAY {
        verdicts.clear();
        watch.observe(&minutes.at(tick), &mut verdicts);
        watch.learn();
    }
    let backfill = used()? - begin;
    println!(
        "{}",
        json!({
            "mean": mean,
            "novelty": novelty,
            "forecast": forecast,
            "watched": watched,
            "trained": trained,
            "backfill_seconds": backfill,
            "bytes_per_series": bytes_per_series,
            "snapshot_bytes": bytes.len(),
            "snapshot_seconds": saved,
            "restore_seconds": restoring,
        })
    );
    Ok(())
}

fn filled<T>(mut of: T, series: usize, add: fn(&mut T) -> usize) -> T {
    (0..series).for_each(|_| _ = add(&mut of));
    of
}
