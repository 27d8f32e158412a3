//! End-to-end tests on real servers. `cargo xtask test` runs them with everything else.

mod testbed;
mod testbed_ends;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = testbed_ends::child() {
        return code;
    }
    let tables = [testbed::tests(), testbed_ends::tests()];
    plimsoll_e2e::run(tables.into_iter().flatten().collect())
}
