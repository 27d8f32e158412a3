//! `plimsoll bench forecast`: how good the forecasts are on recorded series, beside simple ones.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use plimsoll_anomaly::forecast::{
    Settings,
    baseline::Baseline,
    evaluate::{self, Contender, History},
};

use super::super::{out::Stop, parallel, series::Series};
use crate::source::files::{cause, shown};

/// Pinball loss and coverage of the forecasts on recorded series, beside the best EWMA and seasonal forecasts.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll bench forecast NAB/data/real* --windows NAB/labels/combined_windows.json
  plimsoll bench forecast aiops/ --each")]
pub(super) struct Forecast {
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

/// The table.
pub(super) fn run(args: &Forecast) -> Result<String, Stop> {
    let windows = args.windows.as_deref().map_or(Ok(Windows::new()), windows)?;
    let found = args.paths.iter().flat_map(walkdir::WalkDir::new).flatten().map(walkdir::DirEntry::into_path);
    let mut files: Vec<PathBuf> = found.filter(|p| is_series(p)).collect();
    files.sort();
    let series = parallel::map(&files, |path| read(path, &windows)).into_iter().collect::<Result<Vec<_>, _>>()?;
    if series.is_empty() {
        let help = "name directories that hold *.csv or *.csv.gz";
        return Err(Stop::Failed("no series found".into(), help.into()));
    }
    let settings = Settings { replay: args.replay, batches: 1000, seed: args.seed, ..Settings::default() };
    Ok(report(&series, settings, args.each))
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

/// Labelled windows by FOLDER/FILE, in seconds.
fn windows(path: &Path) -> Result<Windows, Stop> {
    let failed = |what: String| Stop::Failed(format!("{}: {what}", shown(path)), "NAB has one in labels/".into());
    let text = fs::read_to_string(path).map_err(|e| failed(cause(&e)))?;
    serde_json::from_str(&text).map_err(|e| failed(format!("no labelled windows: {e}")))
}

fn read(path: &Path, windows: &Windows) -> Result<History, Stop> {
    let mut series = Series::open(path, |_| {})?;
    let name = |p: Option<&Path>| p.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let key = format!("{}/{}", name(path.parent()), name(Some(path)));
    let windows = windows.get(&key).map(Vec::as_slice).unwrap_or_default();
    let mut history = History { name: key, ..History::default() };
    // Times as they are written, in the same form, sort as text; NAB's windows have microseconds that its files lack.
    let within = |stamp: &str| windows.iter().any(|(a, b)| (cut(a)..=cut(b)).contains(&stamp));
    while let Some(row) = series.read_row()? {
        history.anomalous.push(row.label || within(row.timestamp));
        history.times.push(row.sample.time);
        history.values.push(row.sample.value);
    }
    series.not_empty()?;
    Ok(history)
}

/// A time without its fraction of a second.
fn cut(stamp: &str) -> &str {
    stamp.split_once('.').map_or(stamp, |(whole, _)| whole)
}
