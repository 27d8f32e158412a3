//! Labelled series of key performance indicators.

use std::fmt::Write as _;

use plimsoll_anomaly::{
    Verdict,
    evaluate::{
        events::{Quality, Tally, Truth, curve, recall_at},
        halves::halves,
        vus::vus_pr,
    },
};

use super::{Folder, Loaded, Method, list, methods, nothing, spread, tuned};
use crate::cli::out::Stop;

/// False alarms per series-week at which the recall is read.
const RATES: [f64; 3] = [0.5, 1.0, 2.0];
/// Longest buffer of VUS-PR, in rows.
const BUFFER: usize = 100;

/// The table.
pub(super) fn run(folder: &Folder) -> Result<String, Stop> {
    let mut series = Vec::new();
    for path in list(&folder.directory)? {
        if path
            .file_name()
            .is_some_and(|name| [".csv", ".csv.gz"].iter().any(|end| name.to_string_lossy().ends_with(end)))
        {
            series.push(Loaded::read(&path, true)?);
        }
    }
    if series.is_empty() {
        return Err(nothing(&folder.directory, "put files NAME.csv or NAME.csv.gz into it"));
    }
    let truths: Vec<Truth> = series.iter().map(|s| Truth::new(&s.times(), &s.labels, s.split)).collect();
    let weeks: f64 = truths.iter().map(Truth::weeks).sum();
    let events: usize = truths.iter().map(Truth::events).sum();
    let mut text = format!("{} series, {weeks:.1} series-weeks, {events} events in the test split\n", series.len());
    for method in methods(&series, |s| s.split) {
        measure(&mut text, folder, &series, &truths, &method);
    }
    if folder.splits > 0 && folder.settings > 0 {
        text.push_str(&chosen(folder, &series, &truths));
    }
    Ok(text)
}

fn measure(text: &mut String, folder: &Folder, series: &[Loaded], truths: &[Truth], method: &Method) {
    let scores: Vec<Vec<f64>> = method.results.iter().map(|r| r.iter().map(|v| v.score).collect()).collect();
    let pairs: Vec<(&Truth, &[f64])> = truths.iter().zip(scores.iter().map(Vec::as_slice)).collect();
    let _ = writeln!(text, "\n{}", method.name);
    let _ = writeln!(text, "  budget/week  alerts  precision  recall     F1  false/series-week  median delay");
    if method.alerts {
        line(text, "default", &tally(truths, &method.results, |_| true).quality());
    }
    let curve = curve(&pairs);
    for (budget, quality) in &curve {
        line(text, &budget.to_string(), quality);
    }
    let recalls = RATES.map(|rate| {
        recall_at(&curve, rate).map_or_else(|| format!("{rate}: not reached"), |recall| format!("{rate}: {recall:.3}"))
    });
    let _ = writeln!(text, "  recall at false alarms per series-week: {}", recalls.join(", "));
    let each: Vec<f64> = series
        .iter()
        .zip(&scores)
        .filter_map(|(s, scores)| vus_pr(s.labels.get(s.split..)?, scores.get(s.split..)?, BUFFER))
        .collect();
    let _ = writeln!(text, "  VUS-PR {:.3}", each.iter().sum::<f64>() / each.len().max(1) as f64);
    if method.alerts && folder.splits > 0 {
        let halves = halves(series.len(), folder.splits);
        let held: Vec<f64> =
            halves.iter().map(|(_, test)| tally(truths, &method.results, |i| test.contains(&i)).quality().f1).collect();
        let _ = writeln!(text, "  F1 of the default over the same halves, nothing chosen: {}", spread(&held, 3));
    }
}

/// F1 when the setting of all constants is chosen on the other half.
fn chosen(folder: &Folder, series: &[Loaded], truths: &[Truth]) -> String {
    let settings: Vec<Vec<Tally>> = (0..folder.settings)
        .map(|seed| {
            let results = tuned(series, seed);
            (0..series.len()).map(|only| tally(truths, &results, |i| i == only)).collect()
        })
        .collect();
    let f1 = |tallies: &[Tally], rows: &[usize]| {
        let mut sum = Tally::default();
        rows.iter().filter_map(|i| tallies.get(*i)).for_each(|t| sum.merge(t));
        sum.quality().f1
    };
    let held: Vec<f64> = halves(series.len(), folder.splits)
        .iter()
        .filter_map(|(fit, test)| {
            let best = settings.iter().max_by(|a, b| f1(a, fit).total_cmp(&f1(b, fit)))?;
            Some(f1(best, test))
        })
        .collect();
    let each: Vec<String> = held.iter().map(|v| format!("{v:.3}")).collect();
    format!(
        "\nnovelty, one of {} settings of all constants chosen on the other half: F1 {}\n  {}\n",
        folder.settings,
        spread(&held, 3),
        each.join(" ")
    )
}

fn tally(truths: &[Truth], results: &[Vec<Verdict>], keep: impl Fn(usize) -> bool) -> Tally {
    let mut tally = Tally::default();
    for (_, (truth, results)) in truths.iter().zip(results).enumerate().filter(|(i, _)| keep(*i)) {
        tally.add(truth, results.iter().map(|v| v.alert));
    }
    tally
}

fn line(text: &mut String, name: &str, q: &Quality) {
    let delay = q.median_delay.map_or_else(|| "none".to_owned(), |d| format!("{d} s"));
    let _ = writeln!(
        text,
        "  {name:>11}  {:6}  {:9.3}  {:6.3}  {:5.3}  {:17.3}  {delay}",
        q.alerts, q.precision, q.recall, q.f1, q.false_per_series_week
    );
}
