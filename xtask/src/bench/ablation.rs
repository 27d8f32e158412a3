//! What each part of the scorer finds on synthetic series of which the truth is known.

use anyhow::Result;
use serde_json::Value;

use super::anomaly::measured;
use super::table;

/// Series of each kind.
const ROUNDS: usize = 40;

pub(crate) fn run() -> Result<()> {
    let figures = measured(&["ablation", &ROUNDS.to_string()])?;
    let number = |at: &str, digits: usize| match figures.pointer(at).and_then(Value::as_f64) {
        Some(number) => format!("{number:.digits$}"),
        None => "–".to_owned(),
    };
    let row = |name: &str, at: &str| {
        let hours =
            figures.pointer(&format!("{at}/delay")).and_then(Value::as_f64).map(|s| format!("{:.1}", s / 3600.0));
        vec![
            name.to_owned(),
            number(&format!("{at}/recall"), 2),
            hours.unwrap_or_else(|| "–".to_owned()),
            number(&format!("{at}/false"), 2),
            number(&format!("{at}/equal"), 2),
        ]
    };
    let head = ["", "recall", "delay, h", "false/series-week", "recall at 0.5 false"].map(str::to_owned).to_vec();
    println!(
        "\nFaults of a series within its own range, {ROUNDS} series of each kind; all that count as false are outside the fault"
    );
    let mut rows = vec![head.clone()];
    for fault in ["slow drift", "missed peak", "load at night", "lower wave"] {
        for method in ["A", "A+B"] {
            rows.push(row(&format!("{fault}, {method}"), &format!("/single/{method}/{fault}")));
        }
    }
    table::print(&rows);
    println!(
        "clean series, false/series-week: A {}, A+B {}",
        number("/single/A/clean", 2),
        number("/single/A+B/clean", 2)
    );
    println!(
        "\nOne of five series breaks away from the load that they share, {ROUNDS} groups; any of their alerts counts"
    );
    let methods = ["A", "A+B", "C", "A+B+C"];
    let mut rows = vec![head];
    rows.extend(methods.map(|method| row(method, &format!("/joint/{method}/broken"))));
    table::print(&rows);
    let clean = methods.map(|method| format!("{method} {}", number(&format!("/joint/{method}/clean"), 2)));
    println!("groups that do not break, false/group-week: {}", clean.join(", "));
    println!("C names the right series in {} of the rows", number("/joint/named", 3));
    Ok(())
}
