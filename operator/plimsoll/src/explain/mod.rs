//! `plimsoll explain`: what an SLO measures, whether its rules work, and why it is quiet or fires.
//! [`gather`] asks; [`text()`] is a pure function from the facts to words.

pub mod facts;
pub mod gather;
pub mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kube::{Api, Client, api::ListParams};
use plimsoll_api::Slo;

pub use facts::Facts;
pub use text::text;

use crate::prometheus::{Prometheus, http_client};

/// What is explained, and who is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// slo/NAME in the cluster, or a file with one SLO
    #[arg(value_name = "slo/NAME|FILE")]
    pub what: String,
    /// Namespace of slo/NAME. Default: that of the kubeconfig
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The Prometheus to ask
    #[arg(long, value_name = "URL", env = "PLIMSOLL_PROMETHEUS")]
    pub prometheus: Option<String>,
}

/// Finds the SLO and explains it.
///
/// # Errors
/// When there is no such SLO, or the address of Prometheus is none.
pub async fn run(args: &ExplainArgs) -> anyhow::Result<String> {
    let prometheus = prometheus(args.prometheus.as_deref())?;
    match args.what.strip_prefix("slo/").or_else(|| args.what.strip_prefix("slos/")) {
        Some(name) => {
            let client = Client::try_default().await.context("no cluster: there is no usable kubeconfig")?;
            let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
            let api: Api<Slo> = Api::namespaced(client.clone(), &namespace);
            let Some(slo) = api.get_opt(name).await.context("the SLO could not be read")? else {
                bail!("there is no SLO {name} in namespace {namespace}; {}", elsewhere(&client, name).await);
            };
            explain(&slo, prometheus.as_ref(), Some(&client)).await
        }
        None => explain(&read(Path::new(&args.what))?, prometheus.as_ref(), None).await,
    }
}

/// What to do about an SLO that is not where it was looked for.
async fn elsewhere(client: &Client, name: &str) -> String {
    let named = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    // Who may not list all namespaces does not learn of them here either.
    let found = Api::<Slo>::all(client.clone()).list_metadata(&named).await.ok();
    match found.and_then(|list| list.items.into_iter().next()?.metadata.namespace) {
        Some(namespace) => format!("it is in another one: plimsoll explain slo/{name} -n {namespace}"),
        None => "kubectl get slo -A lists all".to_owned(),
    }
}

/// A Prometheus for `--prometheus`.
///
/// # Errors
/// When it is no address.
pub fn prometheus(url: Option<&str>) -> anyhow::Result<Option<Prometheus>> {
    url.map(|url| Prometheus::new(http_client()?, url).map_err(anyhow::Error::msg).context("--prometheus")).transpose()
}

/// Explains an SLO, stored or not.
///
/// # Errors
/// None at present: what cannot be found out is said in the text.
pub async fn explain(slo: &Slo, prometheus: Option<&Prometheus>, cluster: Option<&Client>) -> anyhow::Result<String> {
    Ok(text(&gather::gather(slo, prometheus, cluster).await))
}

fn read(path: &Path) -> anyhow::Result<Slo> {
    let shown = PathBuf::from(path);
    let text = std::fs::read_to_string(path).with_context(|| shown.display().to_string())?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).with_context(|| shown.display().to_string())?;
    if value.get("kind").and_then(serde_json::Value::as_str) != Some("SLO") {
        bail!("{}: this is not an SLO; explain takes a file with one object of kind SLO", shown.display());
    }
    serde_path_to_error::deserialize(value).with_context(|| shown.display().to_string())
}
