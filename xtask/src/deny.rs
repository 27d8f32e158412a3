//! What the dependencies may be: `deny.toml`, judged by cargo-deny.

use std::path::PathBuf;
use std::process::Command;
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

/// cargo-deny: the one on the path, else one in the cache, built when there is none.
fn tool() -> Result<PathBuf> {
    const NAME: &str = "cargo-deny";
    if Command::new(NAME).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(NAME.into());
    }
    let tools = cache_folder()?.join("tools");
    let tool = tools.join("bin").join(NAME);
    if !tool.exists() {
        let started = Instant::now();
        println!("check: building {NAME} (once; kept in {})", tools.display());
        let mut install = cargo(&["install", NAME, "--locked", "--quiet", "--root"]);
        install.arg(&tools);
        // It runs for a second and is built for minutes: the least optimization that is quick to build.
        install.args(["--config", "profile.release.opt-level=1", "--config", "profile.release.lto=false"]);
        install.args(["--config", "profile.release.codegen-units=16", "--config", "profile.release.debug=false"]);
        succeed(install)?;
        println!("check: built {NAME} in {} s", started.elapsed().as_secs());
    }
    Ok(tool)
}
