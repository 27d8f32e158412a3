//! The operator's configuration file: backends by name, and the Prometheus to ask.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::{Client, api::ApiResource};
use plimsoll_api::Problem;
use serde::Deserialize;

use super::{
    RuleSink, Sinks,
    kubernetes::{self, KubeSink},
    prometheus_rule,
    reading::{self, Mistake},
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
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}", reading::told(path, mistakes))]
    Content {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        mistakes: Vec<Mistake>,
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
        Self::parse(&text).map_err(|mistakes| ConfigError::Content { path: path.to_owned(), mistakes })
    }

    /// Reads the text.
    ///
    /// # Errors
    /// All mistakes, each with line, field and what to do.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        reading::read(text, Self::check)
    }

    /// What the types cannot know.
    fn check(&self, problems: &mut Vec<Problem>) {
        let Self { backends, prometheus, runbooks } = self;
        for (name, backend) in backends {
            if backend.is_outside() {
                check_name(name, problems);
            }
            backend.check(&format!("backends.{name}"), problems);
        }
        if let Some(PrometheusConfig { url, tenant: _, bearer_token_file: _ }) = prometheus {
            address("prometheus.url", url, problems);
        }
        runbooks.check("runbooks", problems);
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

/// Longest name of a backend outside the cluster: that of a finalizer has 63 characters, of which `backend-` is the beginning.
pub(crate) const NAME_MAX: usize = 63 - 8;

/// Notes a name of a backend outside the cluster that no finalizer can bear: the API server would refuse it for every object,
/// and nothing would ever be written there.
fn check_name(name: &str, problems: &mut Vec<Problem>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let message = if name.len() > NAME_MAX {
        format!("{name} is too long for the name of a backend outside the cluster")
    } else if name.chars().all(fits) && name.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return;
    } else {
        format!("\"{name}\" cannot be the name of a backend outside the cluster")
    };
    problems.push(Problem::error(format!("backends.{name}"), message).help(format!(
        "rename it: it stands in the finalizer plimsoll.dev/backend-NAME, so at most {NAME_MAX} letters, digits, -, _ and ., the last one a letter or digit"
    )));
}

impl Backend {
    /// Whether its rules are where only a finalizer sees to it that they go with their object.
    fn is_outside(&self) -> bool {
        match self {
            Backend::PrometheusRule(_) | Backend::VmRule(_) => false,
            Backend::RuleFiles(_) | Backend::RulerApi(_) => true,
        }
    }

    fn check(&self, at: &str, problems: &mut Vec<Problem>) {
        match self {
            Backend::PrometheusRule(_) | Backend::VmRule(_) => {}
            Backend::RuleFiles(Files { directory: _, reload_url }) => {
                if let Some(url) = reload_url {
                    address(&format!("{at}.ruleFiles.reloadUrl"), url, problems);
                }
            }
            Backend::RulerApi(ruler) => {
                if ruler.bearer_token_file.is_some() && ruler.basic_auth.is_some() {
                    let field = format!("{at}.rulerApi.basicAuth");
                    problems.push(
                        Problem::error(field, "bearerTokenFile and basicAuth exclude each other")
                            .help("remove one of them"),
                    );
                }
                address(&format!("{at}.rulerApi.url"), &ruler.url, problems);
            }
        }
    }
}

/// Notes what is wrong with the address in a field.
pub(crate) fn address(field: &str, url: &str, problems: &mut Vec<Problem>) {
    if let Err(message) = check_url(url) {
        let (message, help) = message.split_once("; ").unwrap_or((&message, ""));
        problems.push(Problem::error(field, message).help(help));
    }
}

/// An address must be complete, or every later message would be about something else.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    // One that cannot be read may hold credentials all the same: `user:password@prometheus:9090`.
    let shown = match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    };
    match reqwest::Url::parse(url) {
        // It would be shown in statuses, events and logs.
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            Err("the address holds credentials; use basicAuth or bearerTokenFile".to_owned())
        }
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(()),
        Ok(_) => Err(format!("{shown} is not an http or https address; write it like http://host:9090")),
        Err(error) => Err(format!("{shown} is not an address ({error}); write it like http://host:9090")),
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
    fn no_password_is_told() {
        for url in [
            "http://u:s3cret@prometheus:9090",
            "u:s3cret@prometheus:9090",
            "u:s3@cret@prometheus",
            "http://u:s3cret@[::1",
        ] {
            let told = check_url(url).unwrap_err();
            assert!(!told.contains("s3") && !told.contains("cret"), "{told}");
        }
        assert!(check_url("prometheus").unwrap_err().starts_with("prometheus is not an address ("));
    }

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
            ("backend: {}", "1: backend: unknown field backend; did you mean backends?"),
            (
                "backends: {a: {vmRule: {lables: {}}}}",
                "1: backends.a.vmRule.lables: unknown field lables; did you mean labels?",
            ),
            (
                "backends: {a: {rulerApi: {url: 'mimir'}}}",
                "1: backends.a.rulerApi.url: mimir is not an address (relative URL without a base); write it like http://host:9090",
            ),
            ("backends:\n  a: {ruleFiles: {}}", "2: backends.a.ruleFiles.directory: directory is missing; add it"),
            (
                "prometheus: {url: 'ftp://x'}",
                "1: prometheus.url: ftp://x is not an http or https address; write it like http://host:9090",
            ),
            (
                "backends: {a: {mimir: {}}}",
                "1: backends.a.mimir: unknown field mimir; use one of prometheusRule, vmRule, ruleFiles, rulerApi",
            ),
            (
                "backends: {a: {prometheusRule: }}",
                "1: backends.a.prometheusRule: prometheusRule is empty; give it a value or remove the field",
            ),
            (
                "backends: {a: {vmRule: {labels: {a: yes}}}}",
                "1: backends.a.vmRule.labels.a: a is of a wrong kind (boolean `true`); write \"true\" in quotes",
            ),
            ("backends: []", "1: backends: backends is of a wrong kind (sequence); write a map: {field: value}"),
            ("- a", "1: this is no configuration; write a map: {field: value}"),
            (
                "prometheus: {url: 'http://a'}\nprometheus: {url: 'http://b'}",
                "2: prometheus is there twice (first on line 1); remove one of them",
            ),
            ("prometheus:\n\turl: a", "2: a tab indents this line; YAML wants spaces: replace the tab"),
            ("{}\n---\n{}", "3: a configuration is one document; remove what follows ---"),
            (
                "backends:\n  mimir/eu: {rulerApi: {url: 'http://mimir'}}",
                "2: backends.mimir/eu: \"mimir/eu\" cannot be the name of a backend outside the cluster; rename it: it stands in the finalizer plimsoll.dev/backend-NAME, so at most 55 letters, digits, -, _ and ., the last one a letter or digit",
            ),
            (
                "runbooks: {keepDays: 0}",
                "1: runbooks.keepDays: keepDays is 0, less than a week; write 7 or more: budgets, cooldowns and circuit breakers count executions for up to 7 days",
            ),
            (
                "runbooks: {mostExecutions: 9}",
                "1: runbooks.mostExecutions: mostExecutions is 9, less than the alerts of one outage may start; write 1000 or more; what one runbook may do is its safety.budget",
            ),
            (
                "runbooks: {keepDays: 100000}",
                "1: runbooks.keepDays: keepDays is of a wrong kind (integer `100000`); write a whole number",
            ),
            (
                "runbooks: {images: [debug]}",
                "1: runbooks.images[0]: debug names no registry; end it where any image may follow, like registry.example/debug/",
            ),
            (
                "runbooks: {grafana: {url: x}}",
                "1: runbooks.grafana.url: x is not an address (relative URL without a base); write it like http://host:9090",
            ),
            (
                "runbooks: {artifacts: {stores: {m: {accessKeyIdFile: /id, buckets: [{name: b}]}}}}",
                "1: runbooks.artifacts.stores.m: accessKeyIdFile and secretAccessKeyFile belong together; add secretAccessKeyFile",
            ),
        ] {
            let found: Vec<String> = Config::parse(text).unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(found, [wanted], "{text}");
        }
    }

    /// What the API server takes of `plimsoll.dev/backend-NAME`, which only what is outside the cluster needs.
    #[test]
    fn a_backend_outside_has_a_name_for_a_finalizer() {
        let (longest, longer) = ("x".repeat(NAME_MAX), "x".repeat(NAME_MAX + 1));
        for (name, fits) in [
            ("mimir", true),
            ("Mimir_2.eu", true),
            ("-mimir", true),
            (longest.as_str(), true),
            (longer.as_str(), false),
            ("mimir/eu", false),
            ("mimir eu", false),
            ("mimir-", false),
            ("mimír", false),
            ("", false),
        ] {
            for (kind, outside) in [
                ("prometheusRule: {}", false),
                ("vmRule: {}", false),
                ("ruleFiles: {directory: /rules}", true),
                ("rulerApi: {url: 'http://mimir'}", true),
            ] {
                let read = Config::parse(&format!("backends: {{\"{name}\": {{{kind}}}}}"));
                assert_eq!(read.is_ok(), fits || !outside, "{name} {kind}: {read:?}");
            }
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "\
backends:
  default: {prometheusRule: {lables: {a: b}}}
  files:
    ruleFiles:
      reloadUrl: prometheus:9090
  mimir:
    rulerApi:
      url: http://mimir:8080
      tenant: 5
      bearerTokenFile: /token
      basicAuth: {username: a}
  loki: {rulerAPI: {}}
prometheus: {url: nowhere, timeout: 5s}
runbooks: {keepDays: many, images: [a, b/]}
";
        let error = ConfigError::Content { path: "operator.yaml".into(), mistakes: Config::parse(text).unwrap_err() };
        assert_eq!(
            error.to_string(),
            "\
11 mistakes in the configuration
  operator.yaml:2: backends.default.prometheusRule.lables: unknown field lables; did you mean labels?
  operator.yaml:4: backends.files.ruleFiles.directory: directory is missing; add it
  operator.yaml:5: backends.files.ruleFiles.reloadUrl: prometheus:9090 is not an http or https address; write it like http://host:9090
  operator.yaml:9: backends.mimir.rulerApi.tenant: tenant is of a wrong kind (integer `5`); write \"5\" in quotes
  operator.yaml:11: backends.mimir.rulerApi.basicAuth.passwordFile: passwordFile is missing; add it
  operator.yaml:11: backends.mimir.rulerApi.basicAuth: bearerTokenFile and basicAuth exclude each other; remove one of them
  operator.yaml:12: backends.loki.rulerAPI: unknown field rulerAPI; did you mean rulerApi?
  operator.yaml:13: prometheus.timeout: unknown field timeout; use one of url, tenant, bearerTokenFile
  operator.yaml:13: prometheus.url: nowhere is not an address (relative URL without a base); write it like http://host:9090
  operator.yaml:14: runbooks.keepDays: keepDays is of a wrong kind (string \"many\"); write a whole number
  operator.yaml:14: runbooks.images[0]: a names no registry; end it where any image may follow, like registry.example/debug/"
        );
        let missing = Config::read(Path::new("/nowhere/operator.yaml")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/operator.yaml cannot be read: No such file"), "{missing}");
    }
}
