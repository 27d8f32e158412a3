//! The validating webhook: the same messages as the command line, before anything is stored.

pub mod admission;
pub mod certificates;
pub mod intake;
pub mod server;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{
            MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, ValidatingWebhook,
            ValidatingWebhookConfiguration, WebhookClientConfig,
        },
        core::v1::Secret,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use plimsoll_api::Kind;
use tokio_util::sync::CancellationToken;

use self::{
    certificates::{Certificates, LOOK},
    server::Identity,
};
use crate::{
    operator::metrics::Metrics,
    runbooks::author::{self, Authority},
    serving::{self, Limits},
    sinks::kubernetes::FIELD_MANAGER,
};

/// Where reviews are posted.
pub const PATH: &str = "/validate";

/// How the webhook is served.
#[derive(Clone, Debug, clap::Args)]
pub struct WebhookArgs {
    /// Serve the validating webhook here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::operator::address::parse)]
    pub webhook_listen: Option<SocketAddr>,
    /// Its certificate, PEM; without it the operator makes one, renews it, and registers the webhook
    #[arg(long, value_name = "FILE", requires = "webhook_key")]
    pub webhook_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "webhook_cert")]
    pub webhook_key: Option<PathBuf>,
    /// The Service by which the API server finds the webhook
    #[arg(long, value_name = "NAME", default_value = "plimsoll-webhook")]
    pub webhook_service: String,
    /// The address by which the API server finds the webhook, instead of a Service
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// Name of the ValidatingWebhookConfiguration that is kept up to date
    #[arg(long, value_name = "NAME", default_value = "plimsoll")]
    pub webhook_configuration: String,
}

impl WebhookArgs {
    /// Whether there is one.
    pub fn enabled(&self) -> bool {
        self.webhook_listen.is_some()
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
/// When there is no certificate or the address is taken.
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
    let given = args.webhook_cert.clone().zip(args.webhook_key.clone());
    let keeper =
        Keeper { args: args.clone(), client, namespace: namespace.to_owned(), names, authors: authority.is_some() };
    match &given {
        Some((certificate, key)) => read_given(&identity, certificate, key)?,
        None => keeper.look(&identity).await?,
    }
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("--webhook-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving the webhook");
    let tls = server::tls(&identity, None)?;
    Ok(async move {
        let looking = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let looked = match &given {
                    // Files are renewed in place, for example by cert-manager.
                    Some((certificate, key)) => read_given(&identity, certificate, key),
                    None => keeper.look(&identity).await,
                };
                if let Err(error) = looked {
                    tracing::warn!(error = %format!("{error:#}"), "certificates could not be renewed; the old ones stay");
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

pub(crate) fn read_given(identity: &Identity, certificate: &PathBuf, key: &PathBuf) -> anyhow::Result<()> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    identity.set(&read(certificate)?, &read(key)?).with_context(|| certificate.display().to_string())
}

/// Keeps the certificates and the registration up to date.
struct Keeper {
    args: WebhookArgs,
    client: Client,
    namespace: String,
    names: Vec<String>,
    /// Authors of runbooks are noted.
    authors: bool,
}

impl Keeper {
    async fn look(&self, identity: &Identity) -> anyhow::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let current = certificates::shared(&secrets, "plimsoll-webhook", &self.names, Timestamp::now()).await?;
        // First the authorities, which hold the old one too: no call must meet a certificate that nobody vouches for.
        self.register(&current).await?;
        identity.set(&current.certificate, &current.key)
    }

    /// Server-side apply, and only when something differs.
    async fn register(&self, certificates: &Certificates) -> anyhow::Result<()> {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = &self.args.webhook_configuration;
        let wanted = self.configuration(certificates);
        let failed = || format!("ValidatingWebhookConfiguration {name}");
        let stored = api.get_opt(name).await.with_context(failed)?;
        let same = stored.and_then(|s| s.webhooks).is_some_and(|webhooks| {
            let config = |all: &[ValidatingWebhook]| all.first().map(|w| (w.client_config.clone(), w.rules.clone()));
            let (Some(stored), Some(wanted)) = (config(&webhooks), wanted.webhooks.as_deref().and_then(config)) else {
                return false;
            };
            stored.0.ca_bundle == wanted.0.ca_bundle
                && stored.0.url == wanted.0.url
                && stored.0.service == wanted.0.service
                && resources(&stored.1) == resources(&wanted.1)
        });
        if !same {
            let params = PatchParams::apply(FIELD_MANAGER).force();
            api.patch(name, &params, &Patch::Apply(&wanted)).await.with_context(failed)?;
        }
        if self.authors {
            self.register_authors(certificates).await?;
        }
        Ok(())
    }

    /// The same for the webhook that notes authors. What it has not seen is not acted upon, so that it is away keeps
    /// people from writing runbooks.
    async fn register_authors(&self, certificates: &Certificates) -> anyhow::Result<()> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = &self.args.webhook_configuration;
        let failed = || format!("MutatingWebhookConfiguration {name}");
        let client_config = self.client_config(certificates, author::PATH);
        let stored = api.get_opt(name).await.with_context(failed)?.and_then(|stored| stored.webhooks);
        if stored.and_then(|all| all.into_iter().next()).is_some_and(|stored| stored.client_config == client_config) {
            return Ok(());
        }
        let wanted = MutatingWebhookConfiguration {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            webhooks: Some(vec![MutatingWebhook {
                name: "author.plimsoll.dev".to_owned(),
                admission_review_versions: vec!["v1".to_owned()],
                client_config,
                failure_policy: Some("Fail".to_owned()),
                match_policy: Some("Equivalent".to_owned()),
                side_effects: "None".to_owned(),
                timeout_seconds: Some(5),
                rules: Some(vec![rule(vec!["runbooks".to_owned(), "runbookapprovals".to_owned()])]),
                ..MutatingWebhook::default()
            }]),
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(name, &params, &Patch::Apply(&wanted)).await.with_context(failed)?;
        Ok(())
    }

    fn client_config(&self, certificates: &Certificates, path: &str) -> WebhookClientConfig {
        let service = ServiceReference {
            name: self.args.webhook_service.clone(),
            namespace: self.namespace.clone(),
            path: Some(path.to_owned()),
            port: Some(443),
        };
        let url = self.args.webhook_url.as_deref().map(|url| format!("{}{path}", url.trim_end_matches('/')));
        WebhookClientConfig {
            ca_bundle: Some(ByteString(certificates.authorities.clone().into_bytes())),
            service: url.is_none().then_some(service),
            url,
        }
    }

    fn configuration(&self, certificates: &Certificates) -> ValidatingWebhookConfiguration {
        let mut resources: Vec<String> = Kind::ALL.into_iter().map(|kind| kind.plural().to_owned()).collect();
        if self.authors {
            resources.push("runbooks".to_owned());
        }
        ValidatingWebhookConfiguration {
            metadata: ObjectMeta { name: Some(self.args.webhook_configuration.clone()), ..ObjectMeta::default() },
            webhooks: Some(vec![ValidatingWebhook {
                name: "slo.plimsoll.dev".to_owned(),
                admission_review_versions: vec!["v1".to_owned()],
                client_config: self.client_config(certificates, PATH),
                // The shape is checked by the CRD and everything by the controller: a webhook that is away
                // must not keep anybody from changing an SLO.
                failure_policy: Some("Ignore".to_owned()),
                match_policy: Some("Equivalent".to_owned()),
                side_effects: "None".to_owned(),
                timeout_seconds: Some(5),
                rules: Some(vec![rule(resources)]),
                ..ValidatingWebhook::default()
            }]),
        }
    }
}

/// Writes of some of our resources.
fn rule(resources: Vec<String>) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![plimsoll_api::GROUP.to_owned()]),
        api_versions: Some(vec![plimsoll_api::VERSION.to_owned()]),
        operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
        resources: Some(resources),
        scope: Some("Namespaced".to_owned()),
    }
}

/// The resources that a registration is for.
fn resources(rules: &Option<Vec<RuleWithOperations>>) -> Vec<&String> {
    rules.iter().flatten().flat_map(|rule| rule.resources.iter().flatten()).collect()
}
