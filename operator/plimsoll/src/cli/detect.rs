//! `plimsoll detect`: anomalies of a series in a file.

use std::{
    fs,
    io::{IsTerminal, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_anomaly::{
    Detector,
    novelty::{Novelty, WARM},
};

use super::{
    Exit, interrupt,
    out::{self, Stop},
    plot::{self, Format, Plot},
    series::Series,
};
use crate::source::files::shown;

/// Scores the samples of a series and says where an alert would begin.
///
/// Each row is judged by what came before it, nothing after, so a file that ends earlier has the same scores.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll detect --input latency.csv --output scored.csv
  plimsoll detect --input latency.csv --output scored.csv --plot latency.svg
  plimsoll detect --input latency.csv.gz | awk -F, '$4 == 1'      the alerts alone

The input has a line with the names of its columns and among them timestamp (seconds since 1970, or
ISO 8601; UTC without a zone) and value (may be empty); others are ignored. Rows are in the order of time, the oldest first;
a step back of up to an hour is taken for a clock that is set back, as at the end of summer time. The output has
timestamp, value, anomaly_score (0 to 1; from 0.4 on a sudden move, from 0.5 on the value is new to the
series) and alert (1 where one begins). The first 100 rows only teach, and score 0. What the series has not shown
yet is new to it: until it has been through a day and a week, alerts say less.

Exit status: 0 scored, 2 wrong usage or something cannot be read or written")]
pub struct Detect {
    /// CSV file, also one compressed by gzip, or - for standard input
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// File to write instead of standard output; whole or not at all
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Stop after this many rows
    #[arg(long, value_name = "ROWS")]
    until: Option<usize>,
    /// Draw values, the band in which each was expected, score and alerts into this SVG or PNG file
    #[arg(long, value_name = "FILE", value_parser = drawing)]
    plot: Option<PathBuf>,
}

/// The path of a drawing: an SVG or a PNG.
pub(in crate::cli) fn drawing(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match Format::of(&path) {
        Some(_) => Ok(path),
        None => Err("a plot is an SVG or a PNG: end its name in .svg or .png".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// When the input cannot be read or the output cannot be written.
pub fn run(args: &Detect) -> Result<Exit, Stop> {
    apart(args)?;
    interrupt::listen();
    let bar = progress(&args.input);
    let counter = bar.clone();
    let mut series = Series::open(&args.input, move |bytes| counter.inc(bytes))?;
    let mut plot = args.plot.is_some().then(|| Plot::new(series.name()));
    let mut rows = 0;
    let mut work = |writer: &mut dyn std::io::Write| {
        rows = score(&mut series, args.until, writer, plot.as_mut())?;
        Ok(())
    };
    match &args.output {
        Some(path) => out::replace(path, out::Readers::Umask, &mut work)?,
        None => {
            interrupt::undone("the output is not whole".to_owned());
            let mut done = Ok(());
            out::stdout(|writer| match work(writer) {
                Err(out::Failure::Write(error)) => Err(error),
                Err(out::Failure::Stop(stop)) => {
                    done = Err(stop);
                    Ok(())
                }
                Ok(()) => Ok(()),
            })?;
            done?;
        }
    }
    bar.finish_and_clear();
    if let (Some(path), Some(plot)) = (&args.plot, &plot) {
        plot::save(plot, path)?;
    }
    if rows <= WARM {
        let all = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        out::stderr(&format!("{all}, and the first {WARM} only teach: nothing was judged\n"));
    }
    Ok(Exit::Fine)
}

/// Refuses to write over what is read, or to write two things into one file.
fn apart(args: &Detect) -> Result<(), Stop> {
    let real = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_file());
    let same = |a: &Path, b: &Path| a == b || real(a).is_some_and(|real_a| Some(real_a) == real(b));
    let pairs = [
        ("--output", &args.output, Some(&args.input), "--input"),
        ("--plot", &args.plot, Some(&args.input), "--input"),
        ("--plot", &args.plot, args.output.as_ref(), "--output"),
    ];
    for (option, path, other, named) in pairs {
        if let (Some(path), Some(other)) = (path, other)
            && same(path, other)
        {
            let message = format!("{option} {} is the file of {named} too", shown(path));
            return Err(Stop::Failed(message, "name another file".to_owned()));
        }
    }
    Ok(())
}

/// Scores row by row, so that a file of any length takes the same memory; gives the number of rows.
fn score(
    series: &mut Series,
    until: Option<usize>,
    writer: &mut dyn std::io::Write,
    mut plot: Option<&mut Plot>,
) -> Result<u64, out::Failure> {
    let mut detector = Novelty::default();
    let mut csv = csv::Writer::from_writer(writer);
    let written = |result: csv::Result<()>| {
        result.map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => out::Failure::Write(error),
            other => out::Failure::Write(std::io::Error::other(format!("{other:?}"))),
        })
    };
    written(csv.write_record(["timestamp", "value", "anomaly_score", "alert"]))?;
    let mut text = Vec::new();
    let mut rows = 0;
    for _ in 0..until.unwrap_or(usize::MAX) {
        let Some(row) = series.read_row()? else { break };
        let verdict = detector.step(row.sample);
        rows += 1;
        if let Some(plot) = &mut plot {
            plot.add(row.sample, verdict);
        }
        text.clear();
        write!(text, "{:.9}", verdict.score)?;
        let alert: &[u8] = if verdict.alert { b"1" } else { b"0" };
        written(csv.write_record([row.timestamp.as_bytes(), row.value.as_bytes(), &text, alert]))?;
    }
    series.not_empty()?;
    csv.flush()?;
    Ok(rows)
}

/// A bar for a person who looks on.
fn progress(input: &Path) -> ProgressBar {
    let length = fs::metadata(input).map_or(0, |meta| meta.len());
    if !std::io::stderr().is_terminal() || length == 0 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar
}
