//! `plimsoll bench forecast`: how good the forecasts are on recorded series, beside simple ones.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Read, path::Path, path::PathBuf};

use clap::Args;
use plimsoll_anomaly::forecast::{
    Settings,
    baseline::Baseline,
    evaluate::{self, Contender, History},
};

use super::{
    Exit,
    out::{self, Stop},
    parallel,
};
use crate::source::files::{cause, shown};

/// Pinball loss and coverage of the forecasts on recorded series, beside the best EWMA and seasonal forecasts.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll bench forecast NAB/data/real* --windows NAB/labels/combined_windows.json
  plimsoll bench forecast aiops/ --each")]
pub struct Forecast {
    /// Directories searched for CSV files (*.csv, *.csv.gz) with the columns timestamp, value and perhaps label
    #[arg(value_name = "DIR", required = true)]
    paths: Vec<PathBuf>,
    /// Labelled windows as NAB has them: a JSON object from DIRECTORY/FILE to pairs of times
    #[arg(long, value_name = "FILE")]
    windows: Option<PathBuf>,
    /// Print every series
    #[arg(long)]
    each: bool,
    /// Steps trained on for each row
    #[arg(long, default_value_t = 8.0, value_name = "N")]
    replay: f32,
    /// Seed of the first weights and of what is replayed
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

type Windows = BTreeMap<String, Vec<(String, String)>>;

/// Runs it.
///
/// # Errors
/// When a file cannot be read, or is no series.
pub fn run(args: &Forecast) -> Result<Exit, Stop> {
    let windows = match &args.windows {
        None => Windows::new(),
        Some(path) => {
            serde_json::from_str(&text(path)?).map_err(|e| failed(path, &format!("no labelled windows: {e}")))?
        }
    };
    let mut files: Vec<PathBuf> = args
        .paths
        .iter()
        .flat_map(|p| walkdir::WalkDir::new(p))
        .flatten()
        .map(walkdir::DirEntry::into_path)
        .filter(|p| is_series(p))
        .collect();
    files.sort();
    let series = parallel::map(&files, |path| read(path, &windows)).into_iter().collect::<Result<Vec<_>, _>>()?;
    if series.is_empty() {
        return Err(Stop::Failed("no CSV file found".into(), "name directories that hold *.csv or *.csv.gz".into()));
    }
    let settings = Settings { replay: args.replay, batches: 1000, seed: args.seed, ..Settings::default() };
    let report = report(&series, settings, args.each);
    out::stdout(|writer| writer.write_all(report.as_bytes())).map(|()| Exit::Fine)
}

fn report(series: &[History], settings: Settings, each: bool) -> String {
    let rows: usize = series.iter().map(|h| h.values.len()).sum();
    let mut text = format!(
        "{} series, {rows} rows; pinball loss at {}, over the mean absolute change\n",
        series.len(),
        evaluate::levels()
    );
    let begin = std::time::Instant::now();
    let (trained, forecaster) = evaluate::run(series, settings, true);
    let seconds = begin.elapsed().as_secs_f64();
    let (untrained, _) = evaluate::run(series, settings, false);
    for (((name, ahead), trained), untrained) in
        [("next row", 0.0), ("30 minutes ahead", f64::from(settings.lead))].into_iter().zip(trained).zip(untrained)
    {
        let simple: Vec<Contender> =
            parallel::map(&Baseline::ALL, |b| evaluate::baselines(*b, series, ahead)).into_iter().flatten().collect();
        let best = |family: &str| {
            let of = simple.iter().filter(|c| c.name.starts_with("seasonal") == (family == "seasonal"));
            of.min_by(|a, b| a.loss().total_cmp(&b.loss())).cloned()
        };
        let (Some(ewma), Some(seasonal)) = (best("ewma"), best("seasonal")) else { continue };
        let floor = if ewma.loss() < seasonal.loss() { ewma.loss() } else { seasonal.loss() };
        let _ = writeln!(text, "\n{name:<48} {:>7} {:>7} {:>9} {:>12}", "loss", "ratio", "coverage", "85 to 95 %");
        let line = |text: &mut String, name: &str, c: &Contender| {
            let n = c.scores.len();
            let _ = writeln!(
                text,
                "  {name:<46} {:>7.4} {:>7.3} {:>9.3} {:>8} / {n}",
                c.loss(),
                c.loss() / floor,
                c.coverage(),
                c.covered()
            );
        };
        line(&mut text, &format!("seasonal: {}", seasonal.name), &seasonal);
        line(&mut text, &format!("EWMA: {}", ewma.name), &ewma);
        line(&mut text, "mixture of experts, untrained", &untrained);
        line(&mut text, "LSTM", &trained);
        let hindsight: Vec<f64> = (0..series.len())
            .map(|i| simple.iter().filter_map(|c| c.scores.get(i)).map(|s| s.loss).fold(f64::MAX, f64::min))
            .collect();
        let mean = hindsight.iter().sum::<f64>() / hindsight.len() as f64;
        let _ = writeln!(
            text,
            "  {:<46} {mean:>7.4} {:>7.3}",
            "best of all simple ones chosen for each series",
            mean / floor
        );
        let wins = trained.scores.iter().zip(&hindsight).filter(|(s, h)| s.loss < **h).count();
        let _ = writeln!(
            text,
            "  LSTM against that choice: {:.3}, lower on {wins} of {} series",
            trained.loss() / mean,
            series.len()
        );
        if each {
            for ((h, s), b) in series.iter().zip(&trained.scores).zip(&hindsight) {
                let _ = writeln!(text, "    {:<44} {:>7.4} {:>7.3} {:>9.3}", h.name, s.loss, s.loss / b, s.coverage);
            }
        }
    }
    let learnt = forecaster.learnt();
    let _ = writeln!(
        text,
        "\n{} batches of 1,024 steps; {:.1} s, {:.1} µs a row with training; {} bytes a series",
        learnt.batches,
        seconds,
        1e6 * seconds / rows as f64,
        forecaster.bytes_per_series()
    );
    text
}

fn is_series(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".csv") || name.ends_with(".csv.gz")
}

fn text(path: &Path) -> Result<String, Stop> {
    let bytes = fs::read(path).map_err(|e| failed(path, &cause(&e)))?;
    let mut text = String::new();
    let read = if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
    } else {
        bytes.as_slice().read_to_string(&mut text)
    };
    read.map_err(|e| failed(path, &cause(&e)))?;
    Ok(text)
}

fn failed(path: &Path, what: &str) -> Stop {
    Stop::Failed(format!("cannot read {}: {what}", shown(path)), String::new())
}

/// Seconds since 1970 of `2014-02-14 14:30:00`, or of a number.
fn time(text: &str) -> Option<f64> {
    let civil = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse().ok().or_else(|| civil().map(|z| z.timestamp().as_duration().as_secs_f64()))
}

fn read(path: &Path, windows: &Windows) -> Result<History, Stop> {
    let text = text(path)?;
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = lines.next().map_or("", |(_, l)| l).split(',').map(str::trim).collect();
    let column = |name: &str| header.iter().position(|h| *h == name);
    let (Some(times), Some(values)) = (column("timestamp"), column("value")) else {
        return Err(failed(path, "its first line must name the columns timestamp and value"));
    };
    let labels = column("label");
    let key: Vec<_> = path.components().rev().take(2).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    let key: Vec<_> = key.into_iter().rev().collect();
    let windows: Vec<(f64, f64)> =
        windows.get(&key.join("/")).into_iter().flatten().filter_map(|(a, b)| Some((time(a)?, time(b)?))).collect();
    let mut history =
        History { name: path.file_name().unwrap_or_default().to_string_lossy().into(), ..History::default() };
    for (i, line) in lines.filter(|(_, l)| !l.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        let (Some(time), Ok(value)) = (time(field(times)), field(values).parse()) else {
            return Err(failed(path, &format!("line {} has no time and value: {line}", i + 1)));
        };
        history.times.push(time);
        history.values.push(value);
        let labelled =
            labels.is_some_and(|at| field(at) == "1") || windows.iter().any(|(a, b)| (*a..=*b).contains(&time));
        history.anomalous.push(labelled);
    }
    Ok(history)
}
