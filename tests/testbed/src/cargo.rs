//! The program under test, from cargo.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Names the program under test, and so replaces its build.
pub const PROGRAM_VARIABLE: &str = "PLIMSOLL_BIN";

/// A command of the cargo that runs this process.
///
/// cargo tells the programs that it runs about their package, in variables that some build scripts look at; a cargo
/// below it with these variables would build their crates anew, and so would the next one without them.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    for (name, _) in std::env::vars_os() {
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
    command
}

/// The program under test: what `PLIMSOLL_BIN` names, else built now, so that it is never an old one.
pub fn plimsoll(release: bool) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--package", "plimsoll", "--bin", "plimsoll"]);
    command.args(release.then_some("--release"));
    program(command)
}

/// `cargo xtask` without cargo before it, for who sends it signals.
pub fn xtask() -> Result<PathBuf> {
    executable(cargo(&["build", "--package", "xtask"]), "xtask")
}

/// The same, built together with every test of the workspace: what they share is compiled once, with the features
/// that all of them need, and not a second time with those of the program alone.
pub fn plimsoll_and_tests() -> Result<PathBuf> {
    program(cargo(&["test", "--workspace", "--no-run"]))
}

fn program(build: Command) -> Result<PathBuf> {
    match std::env::var_os(PROGRAM_VARIABLE) {
        Some(path) => Ok(path.into()),
        None => executable(build, "plimsoll"),
    }
}

/// Builds, and gives the program of a name.
fn executable(mut build: Command, name: &str) -> Result<PathBuf> {
    build.args(["--message-format", "json-render-diagnostics"]);
    let output = build.stderr(Stdio::inherit()).output().context("running cargo")?;
    ensure!(output.status.success(), "building {name}: {}", output.status);
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // Its own unit tests are a program of the same name.
    let mut built = messages.filter(|message| {
        message["target"]["name"] == name
            && message["target"]["kind"] == json!(["bin"])
            && message["profile"]["test"] == false
    });
    let executable = built.find_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    executable.context("cargo told of no executable")
}
