//! The Numenta Anomaly Benchmark.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use plimsoll_anomaly::{
    Verdict,
    detector::{ALERT, NEW},
    evaluate::{
        halves::halves,
        nab::{PROFILES, Sweep, Truth},
        vus::vus_pr,
    },
};

use super::{Folder, Loaded, methods, nothing, spread, tuned};
use crate::{
    cli::out::Stop,
    source::files::{shown, unreadable},
};

/// Longest buffer of VUS-PR, in rows.
const BUFFER: usize = 100;

/// The table.
pub(super) fn run(folder: &Folder) -> Result<String, Stop> {
    let (series, truths) = load(folder)?;
    let windows: usize = truths.iter().map(|t| t.windows().len()).sum();
    let mut text =
        format!("{} files, {windows} windows; one threshold for all files, the best for the profile\n", series.len());
    let _ = writeln!(text, "{:20}{:>10}{:>10}{:>10}{:>10}", "", "standard", "low-FP", "low-FN", "VUS-PR");
    for method in methods(&series, |s| (s.samples.len() * 15 / 100).min(750)) {
        let sweep = sweep(&truths, &method.results, |_| true);
        row(&mut text, method.name, |p| sweep.best(p).score);
        let _ = writeln!(text, "{:10.3}", mean_vus(&truths, &method.results));
        if method.alerts {
            for (name, threshold) in [("  rows from 0.5 on", NEW), ("  rows from 0.4 on", ALERT)] {
                row(&mut text, name, |p| sweep.at(p, threshold));
                text.push('\n');
            }
            let alerts = alerts(&truths, &method.results);
            row(&mut text, "  its alerts", |p| alerts.at(p, 1.0));
            text.push('\n');
        }
        if folder.splits > 0 {
            let mut held: [Vec<f64>; 3] = Default::default();
            for (fit, test) in halves(series.len(), folder.splits) {
                let part = |rows: &[usize]| sweep_of(&truths, &method.results, rows);
                let (fitted, tested) = (part(&fit), part(&test));
                for (profile, held) in PROFILES.into_iter().zip(&mut held) {
                    held.push(tested.at(profile, fitted.best(profile).threshold));
                }
            }
            let all: Vec<String> = held.iter().map(|values| spread(values, 1)).collect();
            let _ = writeln!(text, "  threshold from the other half: {}", all.join(", "));
        }
    }
    if folder.splits > 0 && folder.settings > 0 {
        text.push_str(&chosen(folder, &series, &truths));
    }
    Ok(text)
}

/// The standard profile when the setting of all constants, and the threshold, are chosen on the other half.
fn chosen(folder: &Folder, series: &[Loaded], truths: &[Truth]) -> String {
    let settings: Vec<Vec<Vec<Verdict>>> = (0..folder.settings).map(|seed| tuned(series, seed)).collect();
    let [profile, ..] = PROFILES;
    let mut held = Vec::new();
    for (fit, test) in halves(series.len(), folder.splits) {
        let best = settings
            .iter()
            .map(|results| (sweep_of(truths, results, &fit).best(profile), results))
            .max_by(|a, b| a.0.score.total_cmp(&b.0.score));
        if let Some((best, results)) = best {
            held.push(sweep_of(truths, results, &test).at(profile, best.threshold));
        }
    }
    let each: Vec<String> = held.iter().map(|v| format!("{v:.1}")).collect();
    format!(
        "novelty, one of {} settings of all constants and the threshold from the other half, standard: {}\n  {}\n",
        folder.settings,
        spread(&held, 1),
        each.join(" ")
    )
}

fn row(text: &mut String, name: &str, score: impl Fn(plimsoll_anomaly::evaluate::nab::Profile) -> f64) {
    let _ = write!(text, "{name:20}");
    for profile in PROFILES {
        let _ = write!(text, "{:10.2}", score(profile));
    }
}

fn sweep_of(truths: &[Truth], results: &[Vec<Verdict>], rows: &[usize]) -> Sweep {
    sweep(truths, results, |i| rows.contains(&i))
}

fn sweep(truths: &[Truth], results: &[Vec<Verdict>], keep: impl Fn(usize) -> bool) -> Sweep {
    let kept = truths.iter().zip(results).enumerate().filter(|(i, _)| keep(*i)).map(|(_, pair)| pair);
    let scores: Vec<(&Truth, Vec<f64>)> = kept.map(|(t, r)| (t, r.iter().map(|v| v.score).collect())).collect();
    Sweep::new(scores.iter().map(|(truth, scores)| (*truth, scores.as_slice())))
}

/// Only the rows at which an alert begins, which is another decision than a threshold on the score.
fn alerts(truths: &[Truth], results: &[Vec<Verdict>]) -> Sweep {
    let begins = |results: &Vec<Verdict>| results.iter().map(|v| f64::from(u8::from(v.alert))).collect::<Vec<_>>();
    let alerts: Vec<(&Truth, Vec<f64>)> = truths.iter().zip(results.iter().map(begins)).collect();
    Sweep::new(alerts.iter().map(|(truth, alerts)| (*truth, alerts.as_slice())))
}

/// Over the files that have a window.
fn mean_vus(truths: &[Truth], results: &[Vec<Verdict>]) -> f64 {
    let each: Vec<f64> = truths
        .iter()
        .zip(results)
        .filter_map(|(truth, results)| {
            let inside = |row| truth.windows().iter().any(|(a, b)| (*a..=*b).contains(&row));
            let labels: Vec<bool> = (0..results.len()).map(inside).collect();
            vus_pr(&labels, &results.iter().map(|v| v.score).collect::<Vec<_>>(), BUFFER)
        })
        .collect();
    each.iter().sum::<f64>() / each.len().max(1) as f64
}

fn load(folder: &Folder) -> Result<(Vec<Loaded>, Vec<Truth>), Stop> {
    let path = folder.directory.join("labels").join("combined_windows.json");
    let text = fs::read_to_string(&path).map_err(|error| {
        let trouble = unreadable(&path, &error);
        Stop::Failed(trouble.message, "name the folder that holds data/ and labels/ of the benchmark".to_owned())
    })?;
    let labels: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&text).map_err(|error| {
        let help = "it maps each file to its windows: {\"folder/file.csv\": [[\"begin\", \"end\"]]}".to_owned();
        Stop::Failed(format!("{}: {error}", shown(&path)), help)
    })?;
    let (mut series, mut truths) = (Vec::new(), Vec::new());
    for (name, windows) in &labels {
        let loaded = Loaded::read(&folder.directory.join("data").join(name), false)?;
        let first = |stamp: &str| {
            let stamp = stamp.split('.').next().unwrap_or_default();
            loaded.stamps.iter().position(|s| s == stamp).ok_or_else(|| {
                let help = "a window begins and ends at timestamps of its file, as they are written there".to_owned();
                Stop::Failed(format!("{}: {name} has no row at {stamp}", shown(&path)), help)
            })
        };
        let rows = windows.iter().map(|(a, b)| Ok((first(a)?, first(b)?))).collect::<Result<Vec<_>, Stop>>()?;
        truths.push(Truth::new(loaded.samples.len(), &rows));
        series.push(loaded);
    }
    if series.is_empty() {
        return Err(nothing(&folder.directory, "labels/combined_windows.json names the files"));
    }
    Ok((series, truths))
}
