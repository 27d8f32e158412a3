//! What an administrator decides for all runbooks: the servers and stores that steps may speak to, and the images
//! that they may start. A runbook has only their names.

use std::collections::BTreeMap;

use plimsoll_runbook::plan::Settings;
use serde::Deserialize;

use crate::{actions::Endpoint, artifacts::ArtifactsConfig};

/// The section `runbooks` of the configuration file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunbooksConfig {
    /// Asked for alerts that did not come, and for silences.
    #[serde(default)]
    pub alertmanager: Option<Endpoint>,
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
    /// How many days an execution is kept after its end; longer where its cooldown is. Default: 30.
    #[serde(default = "thirty")]
    pub keep_days: u16,
}

impl Default for RunbooksConfig {
    fn default() -> Self {
        Self {
            alertmanager: None,
            grafana: None,
            destinations: BTreeMap::new(),
            images: Vec::new(),
            artifacts: ArtifactsConfig::default(),
            keep_days: thirty(),
        }
    }
}

const fn thirty() -> u16 {
    30
}

impl RunbooksConfig {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A sentence that begins with the field.
    pub fn check(&self) -> Result<(), String> {
        let Self { alertmanager, grafana, destinations, images, artifacts, keep_days } = self;
        let named = [("alertmanager", alertmanager.as_ref()), ("grafana", grafana.as_ref())];
        for (name, endpoint) in named.into_iter().filter_map(|(name, endpoint)| Some((name, endpoint?))) {
            endpoint.check().map_err(|message| format!("{name}.url: {message}"))?;
        }
        for (name, endpoint) in destinations {
            endpoint.check().map_err(|message| format!("destinations.{name}.url: {message}"))?;
        }
        if images.iter().any(|prefix| !prefix.contains('/')) {
            return Err(
                "images: each must name a registry and end where any image may follow, like registry.example/debug/"
                    .to_owned(),
            );
        }
        if *keep_days == 0 {
            return Err("keepDays: at least 1, or budgets and cooldowns would be forgotten".to_owned());
        }
        artifacts.check().map_err(|message| format!("artifacts.{message}"))
    }

    /// What planning needs of it.
    pub fn settings(&self, operator_namespace: &str) -> Settings {
        Settings {
            operator_namespace: operator_namespace.to_owned(),
            images: self.images.clone(),
            destinations: self.destinations.keys().cloned().collect(),
        }
    }
}
