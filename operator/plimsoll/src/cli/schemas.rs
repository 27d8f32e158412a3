//! `plimsoll crds` and `plimsoll schemas`: what the API server and editors need to know.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{
    Exit, editors,
    kinds::{self, AnyKind},
    out::{self, Directory, Stop},
    yaml,
};

/// Prints the custom resource definitions, for `kubectl apply -f -`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll crds | kubectl apply --server-side -f -
  plimsoll crds --output crds/")]
pub struct Crds {
    /// Write one file for each kind into this directory, and the JSON schemas into schemas/ below it
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints JSON schemas, with which editors complete and check SLO files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll schemas --output ~/.config/plimsoll/
  plimsoll schemas > plimsoll.json

Then begin a file with this line, which editors with the YAML language server understand:
  # yaml-language-server: $schema=/path/to/slo.json
A schema underlines what has a wrong shape; plimsoll validate knows the rest, PromQL above all.")]
pub struct Schemas {
    /// Write one file for each kind into this directory instead of one for all to standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs `crds`.
///
/// # Errors
/// When the result cannot be written.
pub fn crds(args: &Crds) -> Result<Exit, Stop> {
    let Some(path) = &args.output else {
        let all: String = AnyKind::ALL.into_iter().map(|kind| format!("---\n{}", crd(kind))).collect();
        out::stdout(|writer| writer.write_all(all.as_bytes()))?;
        return Ok(Exit::Fine);
    };
    super::interrupt::listen();
    let mut directory = Directory::open(path)?;
    for kind in AnyKind::ALL {
        directory.put(&format!("{}.yaml", file_name(kind)), &crd(kind))?;
    }
    directory.finish()?;
    write_schemas(&path.join("schemas"))
}

/// Runs `schemas`.
///
/// # Errors
/// When the result cannot be written.
pub fn schemas(args: &Schemas) -> Result<Exit, Stop> {
    if let Some(path) = &args.output {
        return write_schemas(path);
    }
    out::stdout(|writer| writer.write_all(pretty(&editors::any()).as_bytes())).map(|()| Exit::Fine)
}

fn write_schemas(path: &std::path::Path) -> Result<Exit, Stop> {
    super::interrupt::listen();
    let mut directory = Directory::open(path)?;
    for kind in AnyKind::ALL {
        directory.put(&format!("{}.json", file_name(kind)), &pretty(&editors::schema(kind)))?;
    }
    directory.finish()?;
    Ok(Exit::Fine)
}

fn file_name(kind: AnyKind) -> String {
    kind.name().to_lowercase()
}

fn crd(kind: AnyKind) -> String {
    let mut out = String::new();
    yaml::value(&mut out, &serde_json::to_value(kinds::crd(kind)).unwrap_or_default(), 0);
    out.push('\n');
    out
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
