//! `cargo xtask bench`: what Plimsoll costs, always beside something measured in the same run.
//!
//! `docs/performance.md` holds the figures and says how they came about.

mod ablation;
mod anomaly;
mod generate;
mod history;
mod lead;
mod peers;
mod reads;
mod reconcile;
mod release;
mod rules;
mod runbooks;
mod table;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this one; without it, all of them.
    #[command(subcommand)]
    which: Option<Which>,
    /// Fail when a target is missed.
    #[arg(long, global = true)]
    check: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Subcommand)]
enum Which {
    /// What one SLO's rules cost Prometheus in an hour.
    Rules,
    /// `plimsoll generate` with 1,000 SLOs.
    Generate,
    /// What scoring 10,000 series costs.
    Anomaly,
    /// What each part of the scorer finds on series of which the truth is known.
    Ablation,
    /// How much earlier than the burn-rate alerts the anomaly alerts of a synthetic service come.
    Lead,
    /// The operator with 2,000 SLOs on a real API server.
    Reconcile,
    /// Runbooks: from an alert to the first action, and a storm of alerts of which none may be lost.
    Runbooks(runbooks::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |which| arguments.which.is_none_or(|only| only == which);
    println!("{}", table::machine());
    let mut targets = Vec::new();
    if wanted(Which::Rules) {
        targets.extend(rules::run()?);
    }
    if wanted(Which::Generate) {
        targets.extend(generate::run()?);
    }
    if wanted(Which::Anomaly) {
        targets.extend(anomaly::run()?);
    }
    if wanted(Which::Ablation) {
        ablation::run()?;
    }
    if wanted(Which::Lead) {
        lead::run()?;
    }
    if wanted(Which::Reconcile) {
        targets.extend(reconcile::run()?);
    }
    match arguments.which {
        None => targets.extend(runbooks::run(runbooks::Arguments::default())?),
        Some(Which::Runbooks(arguments)) => targets.extend(runbooks::run(arguments)?),
        Some(_) => {}
    }
    println!();
    for target in &targets {
        println!("{target}");
    }
    let missed = targets.iter().filter(|target| !target.met()).count();
    ensure!(!arguments.check || missed == 0, "{missed} of {} targets missed", targets.len());
    Ok(())
}
