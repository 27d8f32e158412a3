//! The operator's configuration file: backends by name, and the Prometheus to ask.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::{Client, api::ApiResource};
use serde::Deserialize;

use super::{
    RuleSink, Sinks,
    kubernetes::{self, KubeSink},
    prometheus_rule,
    rule_files::RuleFiles,
    ruler_api::{Credentials, RulerApi},
    vm_rule,
};
use crate::{operator::gate::GateLayer, runbooks::config::RunbooksConfig};

/// The whole file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Backends by the name that SLOs use.
    #[serde(default = "default_backends")]
    pub backends: BTreeMap<String, Backend>,
    /// The Prometheus that loads the rules.
    #[serde(default)]
    pub prometheus: Option<PrometheusConfig>,
    /// What runbooks may use.
    #[serde(default)]
    pub runbooks: RunbooksConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self { backends: default_backends(), prometheus: None, runbooks: RunbooksConfig::default() }
    }
}

fn default_backends() -> BTreeMap<String, Backend> {
    [("default".to_owned(), Backend::PrometheusRule(Objects::default()))].into()
}

/// One backend.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// `PrometheusRule` objects for prometheus-operator.
    PrometheusRule(Objects),
    /// `VMRule` objects for the VictoriaMetrics operator.
    VmRule(Objects),
    /// Files in a directory.
    RuleFiles(Files),
    /// A ruler's API.
    RulerApi(Ruler),
}

/// Rule objects.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objects {
    /// Labels for every object, for example those that a Prometheus selects.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Rule files.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Files {
    /// Where they go. It must exist.
    pub directory: PathBuf,
    /// What is posted to after a change: `http://prometheus:9090/-/reload`.
    #[serde(default)]
    pub reload_url: Option<String>,
}

/// A ruler.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ruler {
    /// Its address: `http://mimir:8080`.
    pub url: String,
    /// Path of its rules API. Default: Mimir's. Loki's is `/loki/api/v1/rules`.
    #[serde(default = "mimir_path")]
    pub path: String,
    /// The header `X-Scope-OrgID`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Begins the name of every ruler namespace. Give each cluster its own when they share a tenant.
    #[serde(default = "plimsoll")]
    pub namespace_prefix: String,
    /// A file with a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// A user and a file with the password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
}

/// User and password.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// A file with the password.
    pub password_file: PathBuf,
}

/// The Prometheus to ask.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Its address, also that of a compatible server: `http://prometheus:9090`.
    pub url: String,
    /// The header `X-Scope-OrgID`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// A file with a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
}

fn mimir_path() -> String {
    "/prometheus/config/v1/rules".to_owned()
}

fn plimsoll() -> String {
    "plimsoll".to_owned()
}

/// Why a configuration file is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What, with line and field.
        message: String,
    },
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the file, the line and the field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|message| ConfigError::Content { path: path.to_owned(), message })
    }

    /// Reads the text.
    ///
    /// # Errors
    /// A message with line and field.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for (name, backend) in &config.backends {
            backend.check().map_err(|message| format!("backends.{name}: {message}"))?;
        }
        if let Some(prometheus) = &config.prometheus {
            check_url(&prometheus.url).map_err(|message| format!("prometheus.url: {message}"))?;
        }
        config.runbooks.check().map_err(|message| format!("runbooks.{message}"))?;
        Ok(config)
    }

    /// Makes the backends, and the kinds of rule objects that must be watched for them. `kube` has its own gate;
    /// what is outside writes through `gate`.
    pub fn sinks(
        &self,
        kube: &Client,
        http: &reqwest::Client,
        gate: &GateLayer,
    ) -> (Sinks, Vec<Arc<kubernetes::Objects>>) {
        let mut kinds: Vec<Arc<kubernetes::Objects>> = Vec::new();
        let mut objects = |resource: ApiResource, labels: &BTreeMap<String, String>| -> Arc<dyn RuleSink> {
            let known = kinds.iter().find(|kind| *kind.resource() == resource).cloned();
            let kind = known.unwrap_or_else(|| {
                let kind = kubernetes::Objects::new(kube.clone(), resource);
                kinds.push(Arc::clone(&kind));
                kind
            });
            KubeSink::new(kind, labels.clone())
        };
        let sinks = self
            .backends
            .iter()
            .map(|(name, backend)| {
                let sink: Arc<dyn RuleSink> = match backend {
                    Backend::PrometheusRule(Objects { labels }) => objects(prometheus_rule::resource(), labels),
                    Backend::VmRule(Objects { labels }) => objects(vm_rule::resource(), labels),
                    Backend::RuleFiles(Files { directory, reload_url }) => {
                        RuleFiles::new(directory.clone(), reload_url.clone(), http.clone(), gate.clone())
                    }
                    Backend::RulerApi(ruler) => ruler.sink(http.clone(), gate.clone()),
                };
                (name.clone(), sink)
            })
            .collect();
        (sinks, kinds)
    }
}

impl Backend {
    fn check(&self) -> Result<(), String> {
        match self {
            Backend::PrometheusRule(_) | Backend::VmRule(_) => Ok(()),
            Backend::RuleFiles(Files { directory: _, reload_url }) => {
                reload_url.as_deref().map_or(Ok(()), check_url).map_err(|m| format!("reloadUrl: {m}"))
            }
            Backend::RulerApi(ruler) => {
                if ruler.bearer_token_file.is_some() && ruler.basic_auth.is_some() {
                    return Err("bearerTokenFile and basicAuth exclude each other".to_owned());
                }
                check_url(&ruler.url).map_err(|m| format!("url: {m}"))
            }
        }
    }
}

/// An address must be complete, or every later message would be about something else.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    match reqwest::Url::parse(url) {
        // It would be shown in statuses, events and logs.
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            Err("the address holds credentials; use basicAuth or bearerTokenFile".to_owned())
        }
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(()),
        Ok(_) => Err(format!("{url} is not an http or https address; write it like http://host:9090")),
        Err(error) => Err(format!("{url} is not an address ({error}); write it like http://host:9090")),
    }
}

impl Ruler {
    /// Mimir's API at this address, without credentials.
    pub fn at(url: &str) -> Self {
        let (path, namespace_prefix) = (mimir_path(), plimsoll());
        Self { url: url.to_owned(), path, tenant: None, namespace_prefix, bearer_token_file: None, basic_auth: None }
    }

    pub(crate) fn sink(&self, client: reqwest::Client, gate: GateLayer) -> Arc<RulerApi> {
        let Self { url, path, tenant, namespace_prefix, bearer_token_file, basic_auth } = self;
        let credentials = match (bearer_token_file, basic_auth) {
            (Some(file), _) => Credentials::Bearer(file.clone()),
            (None, Some(BasicAuth { username, password_file })) => {
                Credentials::Basic(username.clone(), password_file.clone())
            }
            (None, None) => Credentials::None,
        };
        let base = format!("{}/{}", url.trim_end_matches('/'), path.trim_matches('/'));
        RulerApi::new(client, &base, tenant.clone(), credentials, namespace_prefix.clone(), gate)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_every_backend() {
        let config = Config::parse(
            "backends:
  default: {prometheusRule: {labels: {release: main}}}
  files: {ruleFiles: {directory: /rules, reloadUrl: 'http://prometheus:9090/-/reload'}}
  mimir: {rulerApi: {url: 'http://mimir:8080', tenant: shop, bearerTokenFile: /token}}
  vm: {vmRule: {}}
prometheus: {url: 'http://prometheus:9090'}
",
        )
        .unwrap();
        assert_eq!(config.backends.len(), 4);
        assert!(matches!(config.backends.get("mimir"), Some(Backend::RulerApi(r)) if r.path == mimir_path()));
        assert_eq!(Config::parse("").unwrap(), Config::default());
        assert_eq!(Config::parse("{}").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, wanted) in [
            ("backend: {}", "backend"),
            ("backends: {a: {vmRule: {lables: {}}}}", "lables"),
            ("backends: {a: {rulerApi: {url: 'mimir'}}}", "backends.a: url: mimir is not an address"),
            ("backends: {a: {ruleFiles: {}}}", "directory"),
            ("prometheus: {url: 'ftp://x'}", "prometheus.url"),
            ("backends: {a: {mimir: {}}}", "mimir"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
