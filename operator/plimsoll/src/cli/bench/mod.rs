//! `plimsoll bench`: every detector on labelled series, beside what it must beat.

mod aiops;
mod forecast;
mod nab;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use plimsoll_anomaly::{
    Sample, Verdict,
    detector::{DETECTORS, Detector},
    evaluate::baselines,
    novelty::{Constants, Tuned},
};

use super::{
    Exit,
    out::{self, Stop},
    parallel,
    series::Series,
};
use crate::source::files::{shown, unreadable};

/// Measures the detectors on labelled series, beside baselines.
#[derive(Args, Debug)]
pub struct Bench {
    #[command(subcommand)]
    set: Set,
}

#[derive(Subcommand, Debug)]
enum Set {
    /// The Numenta Anomaly Benchmark: DIR has data/*/*.csv and labels/combined_windows.json
    Nab(Folder),
    /// Series with labels: DIR has NAME.csv or NAME.csv.gz with the columns timestamp, value, label (1 is anomalous) and split (train or test)
    Aiops(Folder),
    Forecast(forecast::Forecast),
}

/// What is measured.
#[derive(Args, Debug)]
struct Folder {
    /// Folder of the data
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Halve the series at random this many times: what is chosen on one half is judged on the other
    #[arg(long, value_name = "N", default_value_t = 0)]
    splits: usize,
    /// Settings of the constants to choose from in each half, all constants varied at once
    #[arg(long, value_name = "N", default_value_t = 40)]
    settings: u64,
}

/// Runs it.
///
/// # Errors
/// When the data cannot be read or the result cannot be written.
pub fn run(args: &Bench) -> Result<Exit, Stop> {
    let text = match &args.set {
        Set::Nab(folder) => nab::run(folder)?,
        Set::Aiops(folder) => aiops::run(folder)?,
        Set::Forecast(args) => forecast::run(args)?,
    };
    out::stdout(|writer| writer.write_all(text.as_bytes())).map(|()| Exit::Fine)
}

/// One series in memory.
struct Loaded {
    samples: Vec<Sample>,
    /// The times as they are written.
    stamps: Vec<String>,
    labels: Vec<bool>,
    /// The first row of the split `test`.
    split: usize,
}

impl Loaded {
    fn read(path: &Path, labelled: bool) -> Result<Self, Stop> {
        let mut series = Series::open(path, |_| {})?;
        let mut loaded = Self { samples: Vec::new(), stamps: Vec::new(), labels: Vec::new(), split: 0 };
        let (mut tested, mut torn) = (false, false);
        while let Some(row) = series.read_row()? {
            torn |= tested && !row.test;
            if row.test && !tested {
                (loaded.split, tested) = (loaded.samples.len(), true);
            }
            loaded.samples.push(row.sample);
            loaded.labels.push(row.label);
            if !labelled {
                loaded.stamps.push(row.timestamp.to_owned());
            }
        }
        series.not_empty()?;
        if labelled && (!tested || torn) {
            let help = "the columns label and split are needed, and the rows of train come before those of test";
            return Err(Stop::Failed(
                format!("{}: no rows of the split test, or train after test", series.name()),
                help.to_owned(),
            ));
        }
        Ok(loaded)
    }

    fn run(&self, detector: &mut dyn Detector) -> Vec<Verdict> {
        self.samples.iter().map(|sample| detector.step(*sample)).collect()
    }

    fn values(&self) -> Vec<f64> {
        self.samples.iter().map(|s| s.value).collect()
    }

    fn times(&self) -> Vec<f64> {
        self.samples.iter().map(|s| s.time).collect()
    }
}

/// Results of one method on every series, in their order.
struct Method {
    name: &'static str,
    results: Vec<Vec<Verdict>>,
    /// Whether it has a setting of its own, not only an order of rows.
    alerts: bool,
}

/// Every detector and every baseline on every series. The first `learnt` rows of a series set its static threshold.
fn methods(series: &[Loaded], learnt: impl Fn(&Loaded) -> usize + Sync) -> Vec<Method> {
    let mut methods: Vec<Method> = DETECTORS
        .iter()
        .map(|entry| Method {
            name: entry.name,
            results: parallel::map(series, |s| s.run(&mut *(entry.make)())),
            alerts: true,
        })
        .collect();
    type Baseline<'a> = (&'static str, &'a (dyn Fn(&Loaded) -> Vec<f64> + Sync));
    let baselines: [Baseline; 4] = [
        ("static threshold", &|s| baselines::static_threshold(&s.values(), learnt(s))),
        ("windowed Gaussian", &|s| baselines::windowed_gaussian(&s.values())),
        ("random", &|s| baselines::uniform(s.samples.len(), s.samples.len() as u64)),
        ("null", &|s| baselines::null(s.samples.len())),
    ];
    methods.extend(baselines.into_iter().map(|(name, scores)| {
        let verdicts =
            |s: &Loaded| scores(s).into_iter().map(|score| Verdict { score, ..Verdict::default() }).collect();
        Method { name, results: parallel::map(series, verdicts), alerts: false }
    }));
    methods
}

/// The results of one setting of the constants of the detector.
fn tuned(series: &[Loaded], seed: u64) -> Vec<Vec<Verdict>> {
    let constants = Constants::varied(seed);
    parallel::map(series, |s| s.run(&mut Tuned::new(&constants)))
}

/// Mean, least and greatest, as text.
fn spread(values: &[f64], digits: usize) -> String {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    format!("{mean:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// Entries of a folder in order.
fn list(directory: &Path) -> Result<Vec<PathBuf>, Stop> {
    let entries = fs::read_dir(directory).map_err(|error| {
        let trouble = unreadable(directory, &error);
        Stop::Failed(trouble.message, trouble.help)
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn nothing(directory: &Path, help: &str) -> Stop {
    Stop::Failed(format!("{} holds no series", shown(directory)), help.to_owned())
}
