//! What benchmarks measure against. A program of its own, so that it is optimized and starts like what it is compared with.
//!
//! - `measure OUT PROGRAM ARGUMENT…` runs a program with its standard output in a file, and prints what that took.
//! - `copy DIRECTORY BYTES` reads all files and writes so many bytes: the least that a generator can do.
//! - `parse DIRECTORY` reads all files and parses their YAML.
//! - `anomaly SERIES TICKS` prints how many samples a second the scorer takes in.
//! - `ablation ROUNDS` prints what each part of the scorer finds on series of which the truth is known.
//! - `lead ROUNDS` prints when the anomaly alerts and the burn-rate alerts of a synthetic service come.
//! - `write KUBECONFIG FILE…` sends the writes that each file lists, as fast as eight at a time go; `write-sparing` does so
//!   with requests that give the API server less to do.

// Its output is for the program that called it.
#![allow(clippy::print_stdout)]

mod ablation;
mod anomaly;
mod lead;
mod write;

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["measure", out, program, rest @ ..] => measure(out, program, rest),
        ["copy", directory, bytes] => copy(directory, bytes.parse()?),
        ["parse", directory] => parse(directory),
        ["anomaly", series, ticks] => anomaly::run(series.parse()?, ticks.parse()?),
        ["ablation", rounds] => ablation::run(rounds.parse()?),
        ["lead", rounds] => lead::run(rounds.parse()?),
        ["write", kubeconfig, files @ ..] => write::run(kubeconfig, files, false),
        ["write-sparing", kubeconfig, files @ ..] => write::run(kubeconfig, files, true),
        _ => bail!(
            "measure OUT PROGRAM ARGUMENT… | copy DIRECTORY BYTES | parse DIRECTORY | anomaly SERIES TICKS | ablation ROUNDS | lead ROUNDS | write KUBECONFIG FILE… | write-sparing KUBECONFIG FILE…"
        ),
    }
}

fn measure(out: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let out = File::create(out)?;
    let started = Instant::now();
    let status = Command::new(program).args(arguments).stdout(out).status()?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(status.success(), "{program}: {status}");
    // There is only this child; and this process, whose size counts as the least of it, is a small one.
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    println!("{}", json!({"seconds": seconds, "peak": usage.max_rss() * 1024, "cpu_microseconds": cpu}));
    Ok(())
}

fn read(directory: &str) -> Result<Vec<String>> {
    let mut paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).with_context(|| path.display().to_string())).collect()
}

fn copy(directory: &str, bytes: usize) -> Result<()> {
    static CHUNK: [u8; 1 << 16] = [b'.'; 1 << 16];
    let read: usize = read(directory)?.iter().map(String::len).sum();
    ensure!(read > 0, "{directory} is empty");
    let mut out = std::io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let written = left.min(CHUNK.len());
        out.write_all(CHUNK.get(..written).unwrap_or_default())?;
        left -= written;
    }
    Ok(out.flush()?)
}

fn parse(directory: &str) -> Result<()> {
    let mut count = 0;
    for text in read(directory)? {
        count += serde_saphyr::from_multiple::<Value>(&text)?.len();
    }
    println!("{count}");
    Ok(())
}
