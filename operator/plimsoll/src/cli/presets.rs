//! `plimsoll presets`: the ready-made indicators.

use std::fmt::Write as _;

use clap::Args;
use plimsoll_slo::presets::PRESETS;

use super::{
    Exit,
    out::{self, Stop},
};

/// Lists the ready-made indicators for `spec.sli.preset`, with their parameters.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, in an SLO:
  sli: {preset: {name: grpc-availability, with: {job: checkout}}}")]
pub struct Presets {
    /// Only presets whose name contains this
    #[arg(value_name = "TEXT", default_value = "", hide_default_value = true)]
    text: String,
}

/// Runs it.
///
/// # Errors
/// When nothing matches, or the result cannot be written.
pub fn run(args: &Presets) -> Result<Exit, Stop> {
    let text = args.text.to_lowercase();
    let found: Vec<_> = PRESETS.iter().filter(|p| p.name.contains(&text)).collect();
    if found.is_empty() {
        let help = "list all with: plimsoll presets".to_owned();
        return Err(Stop::Failed(format!("no preset has {} in its name", args.text), help));
    }
    let mut text = String::new();
    for preset in found {
        let _ = writeln!(text, "{}\n  {}", preset.name, preset.summary);
        for (name, what, default) in preset.parameters {
            let _ = match default {
                Some(default) => writeln!(text, "  {name}: {what}; default {default}"),
                None => writeln!(text, "  {name}: {what}"),
            };
        }
    }
    out::stdout(|writer| writer.write_all(text.as_bytes())).map(|()| Exit::Fine)
}
