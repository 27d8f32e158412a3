//! The webhook that Alertmanager posts to: what it says becomes executions of runbooks before it is answered.

pub mod access;
pub mod server;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_util::sync::CancellationToken;

use self::{
    access::Tokens,
    server::{Desk, Shared},
};
use crate::{
    operator::metrics::Metrics,
    serving::{Limits, serve},
    webhook::{
        certificates, read_given,
        server::{Identity, tls},
    },
};

/// The Secret with the certificate that the operator makes; Alertmanager trusts its `ca.crt`.
const SECRET: &str = "plimsoll-alerts";
/// How often tokens and certificates are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// How Alertmanager's posts are served.
#[derive(Clone, Debug, clap::Args)]
pub struct AlertsArgs {
    /// Take alerts from Alertmanager here, by HTTPS; --runbooks is needed for that
    #[arg(long, value_name = "ADDRESS", requires = "runbooks", value_parser = crate::operator::address::parse)]
    pub alerts_listen: Option<SocketAddr>,
    /// A file with a token of at least 16 characters that Alertmanager must send; several while one is replaced by another
    #[arg(long, value_name = "FILE")]
    pub alerts_token_file: Vec<PathBuf>,
    /// Authorities of client certificates, PEM: Alertmanager must have one
    #[arg(long, value_name = "FILE")]
    pub alerts_client_ca: Option<PathBuf>,
    /// The certificate, PEM; without it the operator makes one and renews it, in the Secret plimsoll-alerts
    #[arg(long, value_name = "FILE", requires = "alerts_key")]
    pub alerts_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "alerts_cert")]
    pub alerts_key: Option<PathBuf>,
    /// The Service by which Alertmanager finds it, for the certificate's names
    #[arg(long, value_name = "NAME", default_value = "plimsoll-alerts")]
    pub alerts_service: String,
    /// Another name or address by which Alertmanager finds it, for the certificate
    #[arg(long, value_name = "NAME")]
    pub alerts_name: Vec<String>,
}

impl AlertsArgs {
    fn names(&self, namespace: &str) -> Vec<String> {
        let service = &self.alerts_service;
        let mut names = vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")];
        names.extend(self.alerts_name.iter().cloned());
        names
    }
}

/// Starts to listen, and gives the future that serves until `stop`.
///
/// # Errors
/// When everybody could post, when there is no certificate, or when the address is taken.
pub async fn start(
    args: &AlertsArgs,
    client: Client,
    namespace: &str,
    desk: Arc<dyn Desk>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<&'static str>> + Send + 'static> {
    let address = args.alerts_listen.context("--alerts-listen")?;
    if args.alerts_token_file.is_empty() && args.alerts_client_ca.is_none() {
        bail!(
            "--alerts-listen {address}: everybody could start runbooks; give --alerts-token-file or --alerts-client-ca"
        );
    }
    let tokens = Tokens::read(args.alerts_token_file.clone()).context("--alerts-token-file")?;
    let clients = args.alerts_client_ca.as_deref().map(authorities).transpose().context("--alerts-client-ca")?;
    let identity = Identity::default();
    let keeper = Keeper {
        given: args.alerts_cert.clone().zip(args.alerts_key.clone()),
        secrets: Api::namespaced(client, namespace),
        names: args.names(namespace),
    };
    keeper.look(&identity).await?;
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("--alerts-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "taking alerts");
    let config = tls(&identity, clients)?;
    let app = server::app(Shared::new(desk, tokens.clone(), metrics));
    Ok(async move {
        let looking = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Err(error) = keeper.look(&identity).await {
                    tracing::warn!(error = %format!("{error:#}"), "the certificate for alerts could not be renewed; the old one stays");
                }
                if let Err(error) = tokens.read_again() {
                    tracing::warn!(error = %format!("{error:#}"), "the tokens for alerts could not be read; the old ones stay");
                }
            }
        };
        tokio::select! {
            () = serve(listener, Some(config), app, Limits::default(), stop) => {}
            () = looking => {}
        }
        Ok("the webhook for alerts")
    })
}

fn authorities(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let name = || file.display().to_string();
    for certificate in CertificateDer::pem_file_iter(file).with_context(name)? {
        store.add(certificate.with_context(name)?).with_context(name)?;
    }
    if store.is_empty() {
        bail!("{}: there is no certificate in it", file.display());
    }
    Ok(store)
}

/// Keeps the certificate up to date.
struct Keeper {
    given: Option<(PathBuf, PathBuf)>,
    secrets: Api<Secret>,
    names: Vec<String>,
}

impl Keeper {
    async fn look(&self, identity: &Identity) -> anyhow::Result<()> {
        match &self.given {
            Some((certificate, key)) => read_given(identity, certificate, key),
            None => {
                let current = certificates::shared(&self.secrets, SECRET, &self.names, Timestamp::now()).await?;
                identity.set(&current.certificate, &current.key)
            }
        }
    }
}
