//! `plimsoll`: the command line and the operator in one binary.

use std::io::Write;

use clap::Parser;

#[derive(Parser)]
#[command(name = "plimsoll", version)]
enum Command {
    /// Runs the operator
    Operator(Box<plimsoll::operator::OperatorArgs>),
    /// Says what an SLO measures, whether its rules work, and why it is quiet or fires
    Explain(plimsoll::explain::ExplainArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Operator(args) => plimsoll::operator::run(*args).await,
        Command::Explain(args) => {
            let text = plimsoll::explain::run(&args).await?;
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
    }
}
