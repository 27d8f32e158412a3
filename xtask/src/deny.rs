//! What the dependencies may be: `deny.toml`, judged by cargo-deny.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use plimsoll_testbed::{cache_folder, cargo};

use crate::command::{program, succeed};

pub(crate) fn check() -> Result<()> {
    let tool = tool()?;
    let mut command = program(&tool)?;
    command.args(["--workspace", "--log-level", "warn", "check", "licenses", "bans", "sources"]);
    succeed(command)?;
    advisories(&tool)
}

/// Known vulnerabilities, when their list can be had. Its absence is told, and no failure: it says nothing of the code.
fn advisories(tool: &PathBuf) -> Result<()> {
    let mut command = program(tool)?;
    command.args(["--workspace", "--log-level", "warn", "check", "advisories"]);
    // A clone that asks for a password would wait for ever.
    let output = command.env("GIT_TERMINAL_PROMPT", "0").output().context("running cargo-deny")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(());
    }
    if told.contains("failed to fetch advisory database") || told.contains("failed to load advisory database") {
        println!(
            "check: dependencies: the list of known vulnerabilities was not reachable, so they were not looked for"
        );
        return Ok(());
    }
    bail!("cargo deny check advisories: {}\n{told}", output.status)
}

/// cargo-deny of a fixed version, so that its verdict changes with a change here only; built into the cache when it is not there.
fn tool() -> Result<PathBuf> {
    const NAME: &str = "cargo-deny";
    const VERSION: &str = "0.20.2";
    let folder = cache_folder()?.join("tools").join(format!("{NAME}-{VERSION}"));
    let tool = folder.join("bin").join(NAME);
    if !tool.exists() {
        let started = Instant::now();
        println!("check: building {NAME} (once; kept in {})", folder.display());
        let mut install = cargo(&["install", NAME, "--version", VERSION, "--locked", "--quiet", "--root"]);
        install.arg(&folder);
        // It runs for seconds and is built for minutes: the least optimization that is quick to build.
        install.args(["--config", "profile.release.opt-level=1", "--config", "profile.release.lto=false"]);
        install.args(["--config", "profile.release.codegen-units=16", "--config", "profile.release.debug=false"]);
        // Not among the workspace's own builds, where what it leaves would stay.
        let scratch = tempfile::tempdir()?;
        install.env("CARGO_TARGET_DIR", scratch.path());
        succeed(install)?;
        println!("check: built {NAME} in {} s", started.elapsed().as_secs());
    }
    Ok(tool)
}
