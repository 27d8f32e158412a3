//! `plimsoll explain`: what an SLO or AlertRule watches, whether its rules work, and why it is quiet or fires.
//! [`gather`] asks; [`text()`] is a pure function from the facts to words.

pub mod alert_rule;
pub mod facts;
pub mod gather;
pub mod text;

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use kube::{Api, Client, Resource, api::ListParams, core::NamespaceResourceScope};
use plimsoll_api::{Kind, Slo};
use serde::de::DeserializeOwned;

pub use facts::Facts;
pub use text::text;

use crate::{
    controller::stored::Object,
    prometheus::{Prometheus, http_client},
};

/// What is explained, and who is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// slo/NAME or alertrule/NAME in the cluster, or a file with one of them
    #[arg(value_name = "slo/NAME|alertrule/NAME|FILE")]
    pub what: String,
    /// Namespace of what is in the cluster. Default: that of the kubeconfig
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The Prometheus to ask
    #[arg(long, value_name = "URL", env = "PLIMSOLL_PROMETHEUS")]
    pub prometheus: Option<String>,
}

/// Finds the object and explains it.
///
/// # Errors
/// When there is no such object, or the address of Prometheus is none.
pub async fn run(args: &ExplainArgs) -> anyhow::Result<String> {
    let prometheus = prometheus(args.prometheus.as_deref())?;
    // A folder may be called slo.
    let named = args.what.split_once('/').filter(|_| !Path::new(&args.what).exists());
    let Some((kind, name)) = named.and_then(|(kind, name)| Some((kind_of(kind)?, name))) else {
        return read(Path::new(&args.what))?.explain(prometheus.as_ref(), None).await;
    };
    let client = Client::try_default().await.context("no cluster: there is no usable kubeconfig")?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let found = match kind {
        Kind::Slo => Object::Slo(Box::new(find(&client, kind, name, &namespace).await?)),
        Kind::AlertRule => Object::AlertRule(Box::new(find(&client, kind, name, &namespace).await?)),
    };
    found.explain(prometheus.as_ref(), Some(&client)).await
}

/// As kubectl takes the names of kinds: `slo`, `slos`, `alr`, `alertrule`, `alertrules`.
fn kind_of(text: &str) -> Option<Kind> {
    let short = |kind| if kind == Kind::AlertRule { "alr" } else { "slo" };
    Kind::ALL.into_iter().find(|kind| [kind.plural(), short(*kind), &kind.name().to_lowercase()].contains(&text))
}

/// The stored object.
async fn find<K>(client: &Client, kind: Kind, name: &str, namespace: &str) -> anyhow::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let found = Api::<K>::namespaced(client.clone(), namespace).get_opt(name).await;
    if let Some(object) = found.with_context(|| format!("the {kind} could not be read"))? {
        return Ok(object);
    }
    let short = kind.name().to_lowercase();
    let named = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    // Who may not list all namespaces does not learn of them here either.
    let all = Api::<K>::all(client.clone()).list_metadata(&named).await.ok();
    let elsewhere = match all.and_then(|list| list.items.into_iter().next()?.metadata.namespace) {
        Some(namespace) => format!("it is in another one: plimsoll explain {short}/{name} -n {namespace}"),
        None => format!("kubectl get {short} -A lists all"),
    };
    bail!("there is no {kind} {name} in namespace {namespace}; {elsewhere}");
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

impl Object {
    async fn explain(&self, prometheus: Option<&Prometheus>, cluster: Option<&Client>) -> anyhow::Result<String> {
        match self {
            Object::Slo(slo) => explain(slo, prometheus, cluster).await,
            Object::AlertRule(rule) => Ok(alert_rule::text(&alert_rule::gather(rule, prometheus, cluster).await)),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Object> {
    let shown = PathBuf::from(path);
    let text = std::fs::read_to_string(path).with_context(|| shown.display().to_string())?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).with_context(|| shown.display().to_string())?;
    let kind = value.get("kind").and_then(serde_json::Value::as_str).and_then(Kind::parse);
    Ok(match kind {
        Some(Kind::Slo) => {
            Object::Slo(Box::new(serde_path_to_error::deserialize(value).with_context(|| shown.display().to_string())?))
        }
        Some(Kind::AlertRule) => Object::AlertRule(Box::new(
            serde_path_to_error::deserialize(value).with_context(|| shown.display().to_string())?,
        )),
        None => bail!(
            "{}: this is not an SLO; explain takes a file with one object of kind SLO or AlertRule",
            shown.display()
        ),
    })
}
