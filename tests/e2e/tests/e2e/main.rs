//! End-to-end tests on real servers. `cargo xtask test` runs them with everything else.

// Indexing a `serde_json::Value` gives `Null` where nothing is; nothing else is indexed here.
#![allow(clippy::indexing_slicing)]
// Figures are for the person who runs the tests.
#![allow(clippy::print_stdout)]

mod alert_rules;
mod alerting;
mod alertmanager;
mod anomaly;
mod argocd;
mod backtest;
mod book;
mod cluster;
mod engine;
mod explain;
mod go_faults;
mod go_tables;
mod in_cluster;
mod install;
mod missing;
mod node;
mod operator;
mod operator_ends;
mod outside;
mod page;
mod page_shop;
mod path;
mod playground;
mod readme;
mod runbook_actions;
mod runbook_crash;
mod runbook_ground;
mod runbook_node;
mod runbook_picks;
mod runbook_rehearsal;
mod runbook_runs;
mod runbook_storm;
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
        missing::tests(),
        up::tests(),
        alerting::tests(),
        alert_rules::tests(),
        alertmanager::tests(),
        anomaly::tests(),
        backtest::tests(),
        book::tests(),
        argocd::tests(),
        operator::tests(),
        operator_ends::tests(),
        outside::tests(),
        page::tests(),
        path::tests(),
        playground::tests(),
        readme::tests(),
        runbook_picks::tests(),
        runbook_rehearsal::tests(),
        runbook_crash::tests(),
        runbook_runs::tests(),
        runbook_storm::tests(),
        runbook_node::tests(),
        runbook_actions::tests(),
        runbooks::tests(),
        victoria::tests(),
        engine::tests(),
        explain::tests(),
        go_faults::tests(),
        go_tables::tests(),
        in_cluster::tests(),
        install::tests(),
        node::tests(),
        webhook::tests(),
    ];
    plimsoll_e2e::run(tables.into_iter().flatten().collect())
}
