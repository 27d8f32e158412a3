//! Samples a second through the forecaster, beside one pass of an exponential mean over the same samples.

use std::time::Instant;

use anyhow::Result;
use plimsoll_anomaly::forecast::{Forecaster, Row, Settings};
use plimsoll_anomaly::lstm::Random;
use serde_json::json;

/// Ticks before the clock runs: profiles and units are then in use, and there is enough to learn from.
const WARM: usize = 120;

pub(crate) fn run(series: usize, ticks: usize) -> Result<()> {
    let mut random = Random(1);
    // A new row for every series at every tick, made before the clock runs.
    let rows: Vec<Vec<Row>> = (0..8)
        .map(|_| (0..series).map(|series| Row { series, time: 0.0, value: f64::from(random.unit()) }).collect())
        .collect();
    let at = |tick: usize| rows.get(tick % rows.len()).cloned().unwrap_or_default();
    let mut forecaster = Forecaster::new(Settings { replay: 1.0, batches: 1 << 20, ..Settings::default() });
    (0..series).for_each(|_| _ = forecaster.add());
    let mut outlooks = Vec::with_capacity(series);
    let (mut observing, mut learning, mut mean_seconds) = (0.0, 0.0, 0.0);
    let mut means = vec![0.0f64; series];
    for tick in 0..WARM + ticks {
        let mut rows = at(tick);
        rows.iter_mut().for_each(|row| row.time = 1.7e9 + 15.0 * tick as f64);
        outlooks.clear();
        let begin = Instant::now();
        forecaster.observe(&rows, &mut outlooks);
        let observed = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        forecaster.learn();
        let learnt = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        for row in &rows {
            if let Some(mean) = means.get_mut(row.series) {
                *mean += 0.1 * (row.value - *mean);
            }
        }
        std::hint::black_box(&means);
        if tick >= WARM {
            observing += observed;
            learning += learnt;
            mean_seconds += begin.elapsed().as_secs_f64();
        }
    }
    let begin = Instant::now();
    let bytes = forecaster.snapshot();
    let saved = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let restored = Forecaster::restore(&bytes)?;
    let restoring = begin.elapsed().as_secs_f64();
    let samples = (series * ticks) as f64;
    println!(
        "{}",
        json!({
            "mean": samples / mean_seconds,
            "forecast": samples / observing,
            "trained": samples / (observing + learning),
            "batches": forecaster.learnt().batches,
            "bytes_per_series": forecaster.bytes_per_series(),
            "snapshot_bytes": bytes.len(),
            "snapshot_seconds": saved,
            "restore_seconds": restoring,
            "restored": restored.len(),
        })
    );
    Ok(())
}
