//! `cargo xtask …`: what is done to the project rather than by it.

// Its output is for the person who called it.
#![allow(clippy::print_stdout)]

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
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Testbed(task) => testbed::run(&task),
    }
}
