//! `cargo xtask check`: everything that is held to besides the tests.

use std::time::Instant;

use anyhow::{Result, bail};
use plimsoll_testbed::cargo;

use crate::command::succeed;
use crate::{deny, files, generated, manifests};

/// Runs all checks, also after one that failed, and names those that failed at the end.
pub(crate) fn run() -> Result<()> {
    type Check = (&'static str, fn() -> Result<()>);
    let checks: [Check; 7] = [
        ("format", format),
        ("files", files::check),
        ("lints", lints),
        ("documentation", documentation),
        ("generated files", generated::check),
        ("manifests", manifests::check),
        ("dependencies", deny::check),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        let started = Instant::now();
        let outcome = check();
        let seconds = started.elapsed().as_secs();
        match outcome {
            Ok(()) => println!("check: {name}: ok ({seconds} s)"),
            Err(error) => {
                println!("check: {name}: FAILED ({seconds} s): {error:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> Result<()> {
    succeed(cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    succeed(cargo(&["clippy", "--quiet", "--keep-going", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut command = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    succeed(command)
}
