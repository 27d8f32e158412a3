//! How much earlier than the burn-rate alerts the anomaly alerts of a synthetic service come.

use anyhow::{Context, Result};
use serde_json::Value;

use super::anomaly::measured;
use super::table;

/// Faults of each kind.
const ROUNDS: usize = 50;
/// What alerts, in the order of the program that measures.
const ALERTS: [&str; 6] =
    ["SLO's rates, Low", "SLO's rates, Medium", "SLO's rates, High", "p99, Low", "p99, Medium", "p99, High"];

pub(crate) fn run() -> Result<()> {
    let figures = measured(&["lead", &ROUNDS.to_string()])?;
    let step = figures.pointer("/step").and_then(Value::as_f64).context("no step")?;
    println!(
        "\nMinutes by which the anomaly alert comes before the first burn-rate alert, {ROUNDS} faults of each kind"
    );
    let head = [
        "",
        "burns",
        "alert too",
        "only one: anomaly",
        "burn",
        "lead: least",
        "10 %",
        "median",
        "90 %",
        "most",
        "negative",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for course in figures.pointer("/courses").and_then(Value::as_array).context("no courses")? {
        let name = course.pointer("/course").and_then(Value::as_str).unwrap_or_default();
        let each = course.pointer("/each").and_then(Value::as_array).context("no rounds")?;
        if name == "clean" {
            clean(each);
            continue;
        }
        for (at, what) in ALERTS.iter().enumerate() {
            rows.push(leads(&format!("{name}, {what}"), each, step, &format!("/anomaly/{at}")));
        }
    }
    table::print(&rows);
    Ok(())
}

fn leads(name: &str, each: &[Value], step: f64, alert: &str) -> Vec<String> {
    let pairs = each.iter().map(|round| ["/burn", alert].map(|at| round.pointer(at).and_then(Value::as_f64)));
    let pairs: Vec<[Option<f64>; 2]> = pairs.collect();
    let count = |of: &dyn Fn(&[Option<f64>; 2]) -> bool| pairs.iter().filter(|pair| of(pair)).count().to_string();
    let mut leads: Vec<f64> =
        pairs.iter().filter_map(|[burn, alert]| Some(((*burn)? - (*alert)?) * step / 60.0)).collect();
    leads.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let at = (share * leads.len().saturating_sub(1) as f64).round() as usize;
        leads.get(at).map_or_else(|| "–".to_owned(), |lead| format!("{lead:.1}"))
    };
    vec![
        name.to_owned(),
        count(&|[burn, _]| burn.is_some()),
        leads.len().to_string(),
        count(&|[burn, alert]| burn.is_none() && alert.is_some()),
        count(&|[burn, alert]| burn.is_some() && alert.is_none()),
        rank(0.0),
        rank(0.1),
        rank(0.5),
        rank(0.9),
        rank(1.0),
        leads.iter().filter(|lead| **lead < 0.0).count().to_string(),
    ]
}

fn clean(each: &[Value]) {
    let mean = |at: &str| {
        let all = each.iter().filter_map(|round| round.pointer(at).and_then(Value::as_f64));
        all.sum::<f64>() / each.len().max(1) as f64
    };
    let mut rows =
        vec![["alerts in a clean week of one service", "all", "by new values", "by moves"].map(str::to_owned).to_vec()];
    for (at, what) in ALERTS.iter().enumerate() {
        let [new, moves] = [0, 1].map(|cause| mean(&format!("/wrong/{at}/{cause}")));
        rows.push(vec![(*what).to_owned(), format!("{:.2}", new + moves), format!("{new:.2}"), format!("{moves:.2}")]);
    }
    rows.push(vec!["burn rate".to_owned(), format!("{:.2}", mean("/burnt"))]);
    table::print(&rows);
}
