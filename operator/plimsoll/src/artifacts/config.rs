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
    /// A file with the access key's id. Without it, and without `podRole`, runbooks bring keys of their own.
    #[serde(default)]
    pub access_key_id_file: Option<PathBuf>,
    /// A file with the secret access key.
    #[serde(default)]
    pub secret_access_key_file: Option<PathBuf>,
    /// Whether the pod's own role is used, as AWS gives it.
    #[serde(default)]
    pub pod_role: bool,
    /// What runbooks without keys of their own may write to with those of the store. Default: nothing.
    #[serde(default)]
    pub buckets: Vec<Bucket>,
}

/// A bucket, or a part of one, that the operator's own keys may be used for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the keys begin with, whole names between slashes. Default: any.
    #[serde(default)]
    pub prefix: String,
    /// The namespaces whose runbooks may. Default: all.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

impl Store {
    /// Whether a runbook of a namespace may use the store's own keys for a bucket and prefix.
    pub(super) fn lets(&self, namespace: &str, bucket: &str, prefix: &str) -> bool {
        let names = |text: &str| -> Vec<String> {
            text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        self.buckets.iter().any(|allowed| {
            allowed.name == bucket
                && (allowed.namespaces.is_empty() || allowed.namespaces.iter().any(|name| name == namespace))
                && names(prefix).starts_with(&names(&allowed.prefix))
        })
    }
}

impl ArtifactsConfig {
    /// Notes what is wrong with it; `at` is where it stands.
    pub fn check(&self, at: &str, problems: &mut Vec<Problem>) {
        for (name, store) in &self.stores {
            let Store { endpoint, region: _, access_key_id_file, secret_access_key_file, pod_role, buckets } = store;
            if let Some(endpoint) = endpoint {
                address(&format!("{at}.stores.{name}.endpoint"), endpoint, problems);
            }
            let own = access_key_id_file.is_some() || *pod_role;
            let wrong = if access_key_id_file.is_some() && *pod_role {
                Some(("podRole", "keys and podRole exclude each other", "take one of them away"))
            } else if own && buckets.is_empty() {
                Some(("buckets", "the store's own keys may be used for no bucket", "write buckets: [{name: evidence}]"))
            } else if !own && !buckets.is_empty() {
                Some(("buckets", "the store has no keys for them", "add the files with its keys, or podRole: true"))
            } else {
                None
            };
            if let Some((field, message, help)) = wrong {
                problems.push(Problem::error(format!("{at}.stores.{name}.{field}"), message).help(help));
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
