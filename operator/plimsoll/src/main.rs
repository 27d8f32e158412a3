//! `plimsoll`: the command line and the operator in one binary.

use clap::Parser;

#[derive(Parser)]
#[command(name = "plimsoll", version)]
enum Command {
    /// Runs the operator
    Operator(plimsoll::operator::OperatorArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Operator(args) => plimsoll::operator::run(args).await,
    }
}
