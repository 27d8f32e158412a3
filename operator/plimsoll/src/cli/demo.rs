//! `plimsoll demo`: a simulated shop, with nothing else installed.

use clap::Args;
use jiff::Timestamp;

use super::{
    Exit,
    out::{self, Stop},
};
use crate::demo::{World, text};

/// Shows SLOs at work on a simulated shop: budgets, burn rates, alerts, anomalies and a runbook's dry run.
///
/// Nothing else is needed: no cluster, no Prometheus.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll demo
  plimsoll demo --fault

Exit status: 0 shown, 2 it cannot be shown")]
pub struct Demo {
    /// Begin with the fault: most payments at the checkout fail
    #[arg(long)]
    fault: bool,
    /// Another shop
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs it.
///
/// # Errors
/// When the result cannot be written.
pub fn run(args: &Demo) -> Result<Exit, Stop> {
    let now = Timestamp::now().as_second();
    let begin = if args.fault { now - 600 } else { now };
    let mut world = World::new(begin, args.seed).map_err(|error| Stop::Failed(error.to_string(), String::new()))?;
    if args.fault {
        world.set_fault(true, begin);
        world.tick(now);
    }
    let text = text::state(&world);
    out::stdout(|writer| writer.write_all(text.as_bytes()))?;
    Ok(Exit::Fine)
}
