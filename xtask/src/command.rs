//! Running other programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The checkout's root.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask is in no workspace")?.to_owned())
}

/// A program run from the checkout's root.
pub(crate) fn program(name: impl Into<OsString>) -> Result<Command> {
    let mut command = Command::new(name.into());
    command.current_dir(root()?);
    Ok(command)
}

/// Runs it with its output going where ours goes.
pub(crate) fn succeed(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {}", words(&command)))?;
    ensure!(status.success(), "{}: {status}", words(&command));
    Ok(())
}

/// Runs it and gives what it wrote to standard output.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("running {}", words(&command)))?;
    ensure!(output.status.success(), "{}: {}", words(&command), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The command as a person would type it.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
