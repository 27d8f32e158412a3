//! What an administrator decides for all runbooks: the servers and stores that steps may speak to, and the images
//! that they may start. A runbook has only their names.

use std::collections::BTreeMap;

use plimsoll_api::Problem;
use plimsoll_runbook::plan::Settings;
use serde::Deserialize;

use crate::{actions::Endpoint, artifacts::ArtifactsConfig, sinks::config::address};

/// The section `runbooks` of the configuration file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunbooksConfig {
    /// Asked for alerts that did not come, and for silences.
    #[serde(default)]
    pub alertmanager: Option<Endpoint>,
    /// The receiver of Alertmanager that posts here: only its alerts are asked for. Default: all active alerts.
    #[serde(default)]
    pub receiver: Option<String>,
    /// For annotations.
    #[serde(default)]
    pub grafana: Option<Endpoint>,
    /// For messages, by the names that runbooks use.
    #[serde(default)]
    pub destinations: BTreeMap<String, Endpoint>,
    /// What the images of debug containers and Jobs may begin with: `registry.example/debug/`. Default: none.
    #[serde(default)]
    pub images: Vec<String>,
    /// Where evidence may go.
    #[serde(default)]
    pub artifacts: ArtifactsConfig,
    /// How many days an execution is kept after its end, a week at least; longer while what started it holds.
    /// Default: 30.
    #[serde(default = "thirty")]
    pub keep_days: u16,
    /// How many executions there may be in the cluster: while there are more, alerts are answered 503 and nothing is
    /// started. Default: 100000.
    #[serde(default = "hundred_thousand")]
    pub most_executions: u64,
}

impl Default for RunbooksConfig {
    fn default() -> Self {
        Self {
            alertmanager: None,
            receiver: None,
            grafana: None,
            destinations: BTreeMap::new(),
            images: Vec::new(),
            artifacts: ArtifactsConfig::default(),
            keep_days: thirty(),
            most_executions: hundred_thousand(),
        }
    }
}

/// Days for which a guard may count an execution.
const COUNTED: u16 = 7;

/// Fewer may come within the minute of an outage.
const LEAST: u64 = 1000;

const fn thirty() -> u16 {
    30
}

/// Of 2.5 KB each in the leader's memory.
const fn hundred_thousand() -> u64 {
    100_000
}

impl RunbooksConfig {
    /// Notes what is wrong with it; `at` is where it stands.
    pub fn check(&self, at: &str, problems: &mut Vec<Problem>) {
        let Self { alertmanager, receiver, grafana, destinations, images, artifacts, keep_days, most_executions } =
            self;
        if receiver.is_some() && alertmanager.is_none() {
            problems.push(
                Problem::error(format!("{at}.receiver"), "there is no Alertmanager whose receiver it could be")
                    .help(format!("add {at}.alertmanager, or remove it")),
            );
        }
        let named = [("alertmanager", alertmanager.as_ref()), ("grafana", grafana.as_ref())];
        for (name, endpoint) in named.into_iter().filter_map(|(name, endpoint)| Some((name, endpoint?))) {
            address(&format!("{at}.{name}.url"), &endpoint.url, problems);
        }
        for (name, endpoint) in destinations {
            address(&format!("{at}.destinations.{name}.url"), &endpoint.url, problems);
        }
        for (i, prefix) in images.iter().enumerate().filter(|(_, prefix)| !prefix.contains('/')) {
            problems.push(
                Problem::error(format!("{at}.images[{i}]"), format!("{prefix} names no registry"))
                    .help("end it where any image may follow, like registry.example/debug/"),
            );
        }
        if *keep_days < COUNTED {
            problems.push(
                Problem::error(format!("{at}.keepDays"), format!("keepDays is {keep_days}, less than a week"))
                    .help("write 7 or more: budgets, cooldowns and circuit breakers count executions for up to 7 days"),
            );
        }
        if *most_executions < LEAST {
            let message = format!("mostExecutions is {most_executions}, less than the alerts of one outage may start");
            problems.push(
                Problem::error(format!("{at}.mostExecutions"), message)
                    .help(format!("write {LEAST} or more; what one runbook may do is its safety.budget")),
            );
        }
        artifacts.check(&format!("{at}.artifacts"), problems);
    }

    /// What planning needs of it.
    pub fn settings(&self, operator_namespace: &str) -> Settings {
        Settings {
            operator_namespace: operator_namespace.to_owned(),
            images: self.images.clone(),
            destinations: self.destinations.keys().cloned().collect(),
            volumes: self.artifacts.volumes.keys().cloned().collect(),
        }
    }
}
