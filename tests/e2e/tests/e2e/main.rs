//! End-to-end tests on real servers. `cargo xtask test` runs them with everything else.

// Indexing a `serde_json::Value` gives `Null` where nothing is; nothing else is indexed here.
#![allow(clippy::indexing_slicing)]
// Figures are for the person who runs the tests.
#![allow(clippy::print_stdout)]

mod alert_rules;
mod alerting;
mod alertmanager;
mod anomaly;
mod cluster;
mod explain;
mod go_faults;
mod node;
mod operator;
mod outside;
mod page;
mod page_shop;
mod path;
mod readme;
mod runbook_ground;
mod runbook_runs;
mod runbooks;
mod testbed;
mod testbed_ends;
mod traffic;
mod truth;
mod up;
mod victoria;
mod webhook;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = testbed_ends::child() {
        return code;
    }
    let tables = [
        testbed::tests(),
        testbed_ends::tests(),
        truth::tests(),
        up::tests(),
        alerting::tests(),
        alert_rules::tests(),
        alertmanager::tests(),
        anomaly::tests(),
        operator::tests(),
        outside::tests(),
        page::tests(),
        path::tests(),
        readme::tests(),
        runbook_runs::tests(),
        runbooks::tests(),
        victoria::tests(),
        explain::tests(),
        go_faults::tests(),
        node::tests(),
        webhook::tests(),
    ];
    plimsoll_e2e::run(tables.into_iter().flatten().collect())
}
