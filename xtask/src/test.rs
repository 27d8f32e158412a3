//! `cargo xtask test`: every test of the workspace, against real servers, with one line at the end.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use plimsoll_testbed::{Binaries, PROGRAM_VARIABLE, cargo, ensure_binaries, plimsoll, plimsoll_and_tests};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Run the end-to-end tests against a release build of plimsoll.
    #[arg(long)]
    release: bool,
    /// Only the tests whose names contain this.
    filter: Option<String>,
}

/// What came of the tests, over all test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = prepare(arguments).and_then(|program| test(arguments, program));
    let tally = outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        Tally { failed: 1, ..Tally::default() }
    });
    // The last line, whatever happened: it is what a machine reads.
    println!("{tally}");
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prepare(arguments: &Arguments) -> Result<PathBuf> {
    // Here rather than in the first test that needs them, so that no test has a deadline running meanwhile. What
    // cannot be had is the tests' to report: they skip, or fail in CI.
    if let Binaries::Missing(missing) = ensure_binaries()? {
        eprintln!("{missing}");
    }
    if arguments.release { plimsoll(true) } else { plimsoll_and_tests() }
}

fn test(arguments: &Arguments, program: PathBuf) -> Result<Tally> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(&arguments.filter).env(PROGRAM_VARIABLE, program).stdout(Stdio::piped());
    let mut child = command.spawn().context("running cargo test")?;
    let lines = BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines();
    let (mut tally, mut failures) = (Tally::default(), Failures::default());
    for line in lines {
        let line = line?;
        println!("{line}");
        tally.add(&line)?;
        failures.add(&line);
    }
    let status = child.wait()?;
    // Again at the end, since whoever sees a long log sees its end first.
    println!("{failures}");
    if !status.success() && tally.failed == 0 {
        // A test program that died has told nothing, and one that did not compile neither.
        eprintln!("cargo test: {status}, though no test has failed");
        tally.failed += 1;
    }
    Ok(tally)
}

/// What the test programs said of their failures, each as one block of lines.
#[derive(Debug, Default)]
struct Failures {
    lines: Vec<String>,
    inside: bool,
}

impl Failures {
    /// Keeps what stands between `failures:` and the closing line of a test program.
    fn add(&mut self, line: &str) {
        self.inside = (self.inside || line == "failures:") && !line.starts_with("test result: ");
        if self.inside {
            self.lines.push(line.to_owned());
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lines.join("\n"))
    }
}

impl Tally {
    /// Adds the closing line of one test program; other lines count nothing.
    fn add(&mut self, line: &str) -> Result<()> {
        let Some(result) = line.strip_prefix("test result: ") else {
            return Ok(());
        };
        // `ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
        let (_, counts) = result.split_once(". ").context("a closing line without counts")?;
        for count in counts.split("; ") {
            let (number, what) = count.split_once(' ').with_context(|| format!("no count: {count}"))?;
            match what {
                "passed" => self.passed += number.parse::<u32>()?,
                "failed" => self.failed += number.parse::<u32>()?,
                "ignored" => self.skipped += number.parse::<u32>()?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up() -> Result<()> {
        let mut tally = Tally::default();
        let lines = [
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 7.00s",
        ];
        for line in lines {
            tally.add(line)?;
        }
        assert_eq!(tally, Tally { passed: 4, failed: 2, skipped: 1 });
        assert_eq!(tally.to_string(), "4 passed, 2 failed, 1 skipped");
        Ok(())
    }

    #[test]
    fn failures_are_told_again_and_nothing_else_is() {
        let mut failures = Failures::default();
        let lines = [
            "test result: ok. 3 passed; 0 failed; 1 ignored",
            "test a ... FAILED",
            "failures:",
            "---- a ----",
            "it is 4",
            "failures:",
            "    a",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored",
            "test b ... ok",
        ];
        lines.iter().for_each(|line| failures.add(line));
        assert_eq!(failures.to_string(), "failures:\n---- a ----\nit is 4\nfailures:\n    a");
    }
}
