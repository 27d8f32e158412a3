//! Where evidence may go: volumes and object stores of the operator's configuration.

use std::{collections::BTreeMap, path::PathBuf};

use plimsoll_api::Problem;
use serde::Deserialize;

use crate::sinks::config::address;

/// Volumes and stores by the names that runbooks use.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactsConfig {
    /// Directories of the operator, of a PersistentVolumeClaim in a cluster.
    #[serde(default)]
    pub volumes: BTreeMap<String, Volume>,
    /// Object stores that speak S3.
    #[serde(default)]
    pub stores: BTreeMap<String, Store>,
}

/// A directory.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// It must exist. Others than its owner and group are kept out of it.
    pub directory: PathBuf,
}

/// An object store.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Its address: `https://minio.storage:9000`. Default: that of AWS.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Its region. Default: us-east-1.
    #[serde(default)]
    pub region: Option<String>,
    /// A file with the access key's id. Default: the pod's own role, as AWS gives it.
    #[serde(default)]
    pub access_key_id_file: Option<PathBuf>,
    /// A file with the secret access key.
    #[serde(default)]
    pub secret_access_key_file: Option<PathBuf>,
}

impl ArtifactsConfig {
    /// Notes what is wrong with it; `at` is where it stands.
    pub fn check(&self, at: &str, problems: &mut Vec<Problem>) {
        for (name, store) in &self.stores {
            let Store { endpoint, region: _, access_key_id_file, secret_access_key_file } = store;
            if let Some(endpoint) = endpoint {
                address(&format!("{at}.stores.{name}.endpoint"), endpoint, problems);
            }
            let lacking = match (access_key_id_file, secret_access_key_file) {
                (Some(_), None) => "secretAccessKeyFile",
                (None, Some(_)) => "accessKeyIdFile",
                _ => continue,
            };
            problems.push(
                Problem::error(
                    format!("{at}.stores.{name}"),
                    "accessKeyIdFile and secretAccessKeyFile belong together",
                )
                .help(format!("add {lacking}")),
            );
        }
    }
}
