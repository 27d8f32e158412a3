//! Release builds of what is measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Programs by name.
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    pub(crate) fn path(&self, name: &str) -> Result<&Path> {
        Ok(self.0.get(name).with_context(|| format!("cargo built no {name}"))?)
    }
}

/// Builds some of the workspace's programs with optimization.
pub(crate) fn build(packages: &[&str]) -> Result<Programs> {
    println!("building {} with optimization: minutes, the first time", packages.join(" and "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--release", "--quiet"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    for package in packages {
        command.args(["--package", package]);
    }
    // What cargo told this program of its own package would be news to build scripts, and half of it be built again.
    for (name, _) in std::env::vars_os() {
        let of_package = name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if of_package {
            command.env_remove(name);
        }
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "cargo build: {}", output.status);
    let mut programs = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        let text = |path: &str| message.pointer(path).and_then(Value::as_str);
        if let Some((name, path)) = text("/target/name").zip(text("/executable")) {
            programs.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(Programs(programs))
}
