//! `cargo xtask image`: the program in an image, without a daemon and without a registry.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use plimsoll_testbed::PlimsollImage;
use serde_json::Value;

use crate::command::{output, program, root};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Where the archive goes. Default: target/plimsoll-image.tar
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image's name
    #[arg(long, default_value = concat!("localhost/plimsoll:", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// A program to put into it, instead of a static release build
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binary = match &arguments.program {
        Some(path) => path.clone(),
        None => build()?,
    };
    let into = arguments.output.clone().unwrap_or(root()?.join("target/plimsoll-image.tar"));
    std::fs::create_dir_all(into.parent().context("a file is in a folder")?)?;
    let revision = revision();
    let image = PlimsollImage {
        program: &binary,
        name: &arguments.name,
        version: env!("CARGO_PKG_VERSION"),
        revision: revision.as_deref(),
        compressed: true,
    };
    let digest = image.write(&into)?;
    println!("image    {}", arguments.name);
    println!("digest   {digest}");
    println!("archive  {}", into.display());
    println!("into kind:        kind load image-archive {}", into.display());
    println!("into a registry:  skopeo copy oci-archive:{} docker://REGISTRY/plimsoll", into.display());
    Ok(())
}

/// A release build with the C library inside, so that the image needs nothing of a distribution.
pub(crate) fn build() -> Result<PathBuf> {
    let target = target()?;
    let mut command =
        plimsoll_testbed::cargo(&["build", "--release", "--locked", "--package", "plimsoll", "--bin", "plimsoll"]);
    // With a target named, the flags are for the program alone, and not for what runs while it is built.
    command.args(["--target", &target, "--message-format", "json-render-diagnostics"]);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let built = output(command)?;
    let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_program = messages.filter(|message| message.pointer("/target/name") == Some(&Value::from("plimsoll")));
    let mut paths = of_program.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    paths.next().context("cargo told of no executable")
}

/// What this machine's programs are for.
fn target() -> Result<String> {
    let mut command = program(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))?;
    command.arg("--version").arg("--verbose");
    let told = output(command)?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    ensure!(host.contains("linux"), "an image is of a Linux program, and this is {host}");
    Ok(host.to_owned())
}

/// The commit, when nothing differs from it.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut command = program("git").ok()?;
        command.args(arguments);
        output(command).ok()
    };
    let clean = git(&["status", "--porcelain"])?.trim().is_empty();
    Some(git(&["rev-parse", "HEAD"])?.trim().to_owned()).filter(|_| clean)
}
