//! Prints how the operator compares to a bare client: `PLIMSOLL_BIN=… cargo run --example reconciling -- 2000`.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result};
use plimsoll_testbed::ensure_binaries;

#[tokio::main]
async fn main() -> Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(2000), |n| n.parse())?;
    let program = std::env::var_os("PLIMSOLL_BIN").context("PLIMSOLL_BIN names the program")?;
    let figures = plimsoll_e2e::reconciling::measure(&ensure_binaries()?.required()?, program.as_ref(), count).await?;
    println!("{figures:#?}\nratio {:.2}", figures.ratio());
    Ok(())
}
