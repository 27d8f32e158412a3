//! How long the engine takes for thirty days of a hundred SLOs: `cargo run --release -p plimsoll-slo --example month`.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use plimsoll_api::Slo;
use plimsoll_slo::{
    evaluate::{Engine, Labels, Sample, Schedule, backtest},
    names,
};

const DAYS: i64 = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let object = serde_json::json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": "month", "namespace": "shop"},
        "spec": {"objective": "99.9", "sli": {"events": {"bad": "b_total", "total": "a_total"}}}});
    let object: Slo = serde_json::from_value(object)?;
    let model = plimsoll_slo::validate(&object).map_err(|problems| format!("{problems:?}"))?.model;
    let end = DAYS * 86_400_000;
    let rows: Vec<Sample> = (0..=end / 60_000)
        .map(|k| Sample { total: 100.0 + (k % 997) as f64, bad: if k % 5000 < 60 { 9.0 } else { 0.01 } })
        .collect();
    for (what, cases) in [("as written", 1), ("with the other objectives and tiers of a backtest", 5)] {
        let cases: Vec<_> = backtest::cases(&model, &[]).into_iter().take(cases).collect();
        let wide = backtest::widened(&model, &cases);
        let begin = Instant::now();
        let (mut fired, mut left) = (0, 0.0);
        for _ in 0..100 {
            let mut engine = Engine::new(vec![wide.clone()], 0, &Schedule::default());
            engine.feed("shop/month", &Labels::new(), 0, &rows, &[]);
            engine.run(end);
            fired += engine.alerts("shop/month").map(|alert| alert.episodes.len()).sum::<usize>();
            let found = engine.select(names::BUDGET_REMAINING, "shop/month");
            left += found.first().and_then(|found| found.series.at(end)).unwrap_or(f64::NAN);
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "100 SLOs over {DAYS} days, {what}: {seconds:.2} s ({fired} times that an alert fires, budgets {left:.3})"
        );
    }
    Ok(())
}
