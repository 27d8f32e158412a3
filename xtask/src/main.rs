//! `cargo xtask …`: what is done to the project rather than by it.

// Its output is for the person who called it.
#![allow(clippy::print_stdout)]

mod bench;
mod testbed;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Real servers for tests and for trying things.
    #[command(subcommand)]
    Testbed(testbed::Task),
    /// What Plimsoll costs, beside its peers or a floor, measured in the same run.
    Bench(bench::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Testbed(task) => testbed::run(&task),
        Task::Bench(arguments) => bench::run(&arguments),
    }
}
