//! The validating webhook: the same messages as the command line, before anything is stored.

pub mod admission;
pub mod certificates;
pub mod intake;
mod registration;
pub mod server;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::{EndpointConditions, EndpointSlice},
};
use kube::{Api, Client, api::ListParams};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio_util::sync::CancellationToken;

use self::{
    certificates::LOOK,
    registration::{Unkept, Wanted},
    server::Identity,
};
use crate::{
    operator::metrics::Metrics,
    runbooks::author::Authority,
    serving::{self, Limits},
};

/// Where reviews are posted.
pub const PATH: &str = "/validate";

/// How the webhook is served.
#[derive(Clone, Debug, clap::Args)]
pub struct WebhookArgs {
    /// Serve the validating webhook here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::operator::address::parse)]
    pub webhook_listen: Option<SocketAddr>,
    /// Its certificate, PEM; without it the operator makes one and renews it
    #[arg(long, value_name = "FILE", requires = "webhook_key")]
    pub webhook_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "webhook_cert")]
    pub webhook_key: Option<PathBuf>,
    /// The authorities by which the API server is to know that certificate, PEM. Default: what another one, such as
    /// cert-manager's CA injector, writes into the registration, or those of the API server's own system
    #[arg(long, value_name = "FILE", requires = "webhook_cert")]
    pub webhook_ca: Option<PathBuf>,
    /// The Service by which the API server finds the webhook
    #[arg(long, value_name = "NAME", default_value = "plimsoll-webhook")]
    pub webhook_service: String,
    /// The address by which the API server finds the webhook, instead of a Service
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// Name of the registration that is kept up to date: a ValidatingWebhookConfiguration, and with --runbooks a
    /// MutatingWebhookConfiguration
    #[arg(long, value_name = "NAME", default_value = "plimsoll")]
    pub webhook_configuration: String,
}

impl WebhookArgs {
    /// Whether there is one.
    pub fn enabled(&self) -> bool {
        self.webhook_listen.is_some()
    }

    /// Refuses a start after which the API server would ask a webhook that it cannot reach: nobody could write a Runbook any
    /// more. In a Pod the Service of the manifests leads here; what another process registers must be known to.
    /// `named`: the namespace was given, and not just taken from the kubeconfig.
    ///
    /// # Errors
    /// When no way leads here, or that cannot be known, with what to do.
    pub async fn reachable(&self, client: &Client, namespace: &str, named: bool, in_pod: bool) -> anyhow::Result<()> {
        if !self.enabled() || self.webhook_url.is_some() || in_pod {
            return Ok(());
        }
        let service = &self.webhook_service;
        let help = "outside of a Pod give --webhook-url with an https address at which the API server reaches this process, and \
                    --namespace with the operator's namespace, such as plimsoll-system";
        if !named {
            bail!(
                "--webhook-listen: the API server would look for the webhook at Service {service} in namespace {namespace}, that of \
                 the kubeconfig; {help}"
            );
        }
        let place = format!("Service {namespace}/{service}, by which the API server would look for the webhook");
        let unknown = || format!("--webhook-listen: it cannot be known whether {place}, leads anywhere; {help}");
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        if services.get_opt(service).await.with_context(unknown)?.is_none() {
            bail!("--webhook-listen: there is no {place}; {help}");
        }
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let of = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = slices.list(&of).await.with_context(unknown)?;
        let mut endpoints = slices.items.iter().flat_map(|slice| slice.endpoints.iter());
        let ready = |conditions: &EndpointConditions| conditions.ready != Some(false);
        if !endpoints.any(|endpoint| endpoint.conditions.as_ref().is_none_or(ready)) {
            bail!("--webhook-listen: nothing is behind {place}; {help}");
        }
        Ok(())
    }

    /// The files of a certificate and its key.
    fn given(&self) -> Option<(&Path, &Path)> {
        self.webhook_cert.as_deref().zip(self.webhook_key.as_deref())
    }

    /// Names under which the API server calls.
    fn names(&self, namespace: &str) -> anyhow::Result<Vec<String>> {
        match &self.webhook_url {
            Some(url) => {
                let url = reqwest::Url::parse(url).with_context(|| format!("--webhook-url {url}"))?;
                if url.scheme() != "https" {
                    bail!("--webhook-url {url}: the API server calls https only");
                }
                Ok(vec![url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()])
            }
            None => Ok(vec![
                format!("{}.{namespace}.svc", self.webhook_service),
                format!("{}.{namespace}.svc.cluster.local", self.webhook_service),
            ]),
        }
    }
}

/// Starts to listen, and gives the future that serves until `stop`.
///
/// # Errors
/// When there is no certificate or the address is taken. Not when nobody is told of the webhook: a registration that somebody
/// has taken away must not stop what else the operator does.
pub async fn start(
    args: &WebhookArgs,
    client: Client,
    namespace: &str,
    metrics: Arc<Metrics>,
    authority: Option<Authority>,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<&'static str>> + Send + 'static> {
    let address = args.webhook_listen.context("--webhook-listen")?;
    let names = args.names(namespace)?;
    let identity = Identity::default();
    let keeper =
        Keeper { args: args.clone(), client, namespace: namespace.to_owned(), names, authors: authority.is_some() };
    keeper.begin(&identity).await?;
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("--webhook-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving the webhook");
    let tls = server::tls(&identity, None)?;
    Ok(async move {
        let looking = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Err(error) = keeper.look(&identity).await {
                    let error = format!("{error:#}");
                    tracing::warn!(%error, "the webhook's certificate or registration could not be renewed; the old ones stay");
                }
            }
        };
        tokio::select! {
            () = serving::serve(listener, Some(tls), server::app(metrics, authority), Limits::default(), stop) => {}
            () = looking => {}
        }
        Ok("the webhook")
    })
}

/// Whether this process is in a Pod: the kubelet tells each container where the API server is, and gives most a token.
pub fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        || Path::new("/var/run/secrets/kubernetes.io/serviceaccount/namespace").exists()
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

pub(crate) fn read_given(identity: &Identity, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    identity.set(&read(certificate)?, &read(key)?).with_context(|| certificate.display().to_string())
}

/// The authorities of a file. The API server would refuse what is no certificate, or trust its own ones instead of none.
fn read_authorities(path: &Path) -> anyhow::Result<String> {
    let text = read(path)?;
    let name = || path.display().to_string();
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().with_context(name)?;
    if all.is_empty() {
        bail!("{}: there is no certificate in it", path.display());
    }
    Ok(text)
}

/// Keeps the certificates and the registrations up to date.
struct Keeper {
    args: WebhookArgs,
    client: Client,
    namespace: String,
    names: Vec<String>,
    /// Authors of runbooks are noted.
    authors: bool,
}

/// How often the certificate and the registrations are looked at, in words.
const AGAIN: &str = "it is tried again every 60 s";

impl Keeper {
    /// The first look: without a certificate nothing can be served.
    async fn begin(&self, identity: &Identity) -> anyhow::Result<()> {
        if let Err(Unkept { why, .. }) = self.keep(identity, true).await? {
            let error = format!("{why:#}");
            tracing::warn!(%error, "the webhook is not registered as it should be; {AGAIN}");
        }
        Ok(())
    }

    async fn look(&self, identity: &Identity) -> anyhow::Result<()> {
        self.keep(identity, false).await?.map_err(|Unkept { why, .. }| why)
    }

    /// Takes the certificate, and registers its authorities; gives what is wrong with a registration by itself. One that is
    /// not there does not keep a certificate from being renewed, nor does any at the beginning.
    async fn keep(&self, identity: &Identity, begins: bool) -> anyhow::Result<Result<(), Unkept>> {
        // Files are renewed in place, for example by cert-manager.
        if let Some((certificate, key)) = self.args.given() {
            read_given(identity, certificate, key)?;
            let authorities =
                self.args.webhook_ca.as_deref().map(read_authorities).transpose().context("--webhook-ca")?;
            return Ok(self.register(authorities.as_deref()).await);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let current = certificates::shared(&secrets, "plimsoll-webhook", &self.names, Timestamp::now()).await?;
        // First the authorities, which hold the old one too: no call must meet a certificate that nobody vouches for.
        let registered = self.register(Some(&current.authorities)).await;
        if begins || registered.as_ref().err().is_none_or(|unkept| unkept.missing) {
            identity.set(&current.certificate, &current.key)?;
        }
        Ok(registered)
    }

    /// Both registrations, each whatever became of the other.
    async fn register(&self, authorities: Option<&str>) -> Result<(), Unkept> {
        let Self { args, namespace, .. } = self;
        let wanted = Wanted {
            name: &args.webhook_configuration,
            service: &args.webhook_service,
            namespace,
            url: args.webhook_url.as_deref(),
            authorities,
        };
        let validating = registration::keep(&self.client, &wanted.validating(self.authors)).await;
        if !self.authors {
            return validating;
        }
        let authors = registration::keep(&self.client, &wanted.authors()).await;
        match (validating, authors) {
            // Of two, that which holds up a renewal.
            (Err(first), Err(second)) => Err(if first.missing { second } else { first }),
            (first, second) => first.and(second),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
