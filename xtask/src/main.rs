//! `cargo xtask …`: what is done to the project rather than by it.

// Its output is for the person who called it.
#![allow(clippy::print_stdout)]

mod bench;
mod check;
mod command;
mod deny;
mod files;
mod generated;
mod image;
mod krew;
mod manifests;
mod reference;
mod test;
mod testbed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, documentation, generated files, dependencies, tracked files.
    Check,
    /// Makes `crds/` and `docs/reference/` anew from the code.
    Crds,
    /// Makes what is installed anew from the chart: `manifests/*.yaml`, the chart's copies, Argo CD's settings.
    Manifests,
    /// Plimsoll's image as an OCI archive, made without a container builder.
    Image(image::Arguments),
    /// Plimsoll as a plugin of kubectl: an archive and its manifest for krew.
    Krew(krew::Arguments),
    /// Every test, the end-to-end ones on real servers; the last line is `N passed, N failed, N skipped`.
    Test(test::Arguments),
    /// Real servers for tests and for trying things.
    #[command(subcommand)]
    Testbed(testbed::Task),
    /// Plimsoll on real servers, with a service to break: prints a kubeconfig, addresses and what to try; until Ctrl-C.
    Playground,
    /// What Plimsoll costs, beside its peers or a floor, measured in the same run.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::run(),
        Task::Crds => generated::write(),
        Task::Manifests => manifests::write(),
        Task::Image(arguments) => image::run(&arguments),
        Task::Krew(arguments) => krew::run(&arguments),
        Task::Test(arguments) => return test::run(&arguments),
        Task::Testbed(task) => testbed::run(&task),
        Task::Playground => testbed::playground(),
        Task::Bench(arguments) => bench::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
