//! A Kubernetes control plane: etcd, API server, controller manager, scheduler.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::binaries::Bin;
use crate::folder::Folder;
use crate::http;
use crate::network::{Network, port_for};
use crate::pki::{self, Authority, Identity};
use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::recipe::Component;
use crate::wait::wait_until;

/// Servers start in seconds; a machine that is busy building takes longer.
const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(10);

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Start the controller manager: garbage collection, namespace deletion, Deployments. On unless turned off.
    pub controller_manager: bool,
    /// Start the scheduler. On unless turned off.
    pub scheduler: bool,
    /// More arguments for the API server.
    pub api_server_arguments: Vec<String>,
    /// Start it inside a network, where a [`crate::Node`] can be added. Its addresses hold outside as well.
    pub network: Option<Arc<Network>>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self { controller_manager: true, scheduler: true, api_server_arguments: Vec::new(), network: None }
    }
}

impl ControlPlaneOptions {
    /// Only etcd and the API server: enough for custom resources, and the quickest to start.
    #[must_use]
    pub fn api_only() -> Self {
        Self { controller_manager: false, scheduler: false, ..Self::default() }
    }

    /// Everything, inside a network.
    #[must_use]
    pub fn within(network: &Arc<Network>) -> Self {
        Self { network: Some(Arc::clone(network)), ..Self::default() }
    }
}

/// A running control plane. RBAC is on; nothing listens on anything but loopback.
pub struct ControlPlane {
    // In this order they are killed: an API server that has lost its etcd fills the log with it.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
    etcd_program: Program,
    etcd_url: String,
    api_server_program: Program,
    url: String,
    programs: PathBuf,
    server_authority: Authority,
    client_authority: Authority,
    admin: Identity,
    kubeconfig: PathBuf,
    network: Option<Arc<Network>>,
    // Last: the programs write into it until they are dead.
    folder: Folder,
}

impl ControlPlane {
    /// Starts it and waits until it is ready.
    pub async fn start(bin: &Bin, options: ControlPlaneOptions) -> Result<Self> {
        http::choose_tls();
        let folder = Folder::new("control-plane")?;
        let pki = folder.join("pki");
        fs::create_dir(&pki)?;
        let server_authority = Authority::new(&pki, "ca")?;
        let client_authority = Authority::new(&pki, "client-ca")?;
        let admin = client_authority.client("admin", Some("system:masters"))?;
        let service_accounts = pki::key_pair(&pki, "service-accounts")?;

        let network = options.network.clone();
        let etcd_url = format!("http://127.0.0.1:{}", port_for(network.as_ref()).await?);
        let etcd_program = etcd_program(bin, &folder, &etcd_url)?.within(network.as_ref());
        let port = port_for(network.as_ref()).await?;
        let url = format!("https://127.0.0.1:{port}");
        let programs = bin.folder(Component::Kubernetes)?.to_owned();
        let api_server_program = api_server_program(ApiServer {
            program: programs.join("kube-apiserver"),
            port,
            url: &url,
            etcd_url: &etcd_url,
            pki: &pki,
            server_authority: &server_authority,
            client_authority: &client_authority,
            service_accounts: &service_accounts,
            more: &options.api_server_arguments,
        })?
        .within(network.as_ref());

        let mut this = Self {
            scheduler: None,
            controller_manager: None,
            api_server: None,
            etcd: None,
            etcd_program,
            etcd_url,
            api_server_program,
            url,
            programs,
            server_authority,
            client_authority,
            admin: admin.clone(),
            kubeconfig: folder.join("kubeconfig"),
            network,
            folder,
        };
        this.write_kubeconfig(&this.kubeconfig, &admin)?;
        this.start_etcd().await?;
        this.start_api_server().await?;
        this.start_controllers(&options, &service_accounts).await?;
        Ok(this)
    }

    async fn start_controllers(&mut self, options: &ControlPlaneOptions, service_accounts: &Identity) -> Result<()> {
        if options.controller_manager {
            let more = [
                "--use-service-account-credentials=true".to_owned(),
                format!("--service-account-private-key-file={}", service_accounts.key.display()),
                format!("--root-ca-file={}", self.server_authority.certificate.display()),
            ];
            self.controller_manager = Some(self.start_controller("kube-controller-manager", &more).await?);
        }
        if options.scheduler {
            self.scheduler = Some(self.start_controller("kube-scheduler", &[]).await?);
        }
        Ok(())
    }

    async fn start_controller(&self, name: &str, more: &[String]) -> Result<Process> {
        let kubeconfig = self.kubeconfig_for(&format!("system:{name}"), None)?;
        let port = port_for(self.network.as_ref()).await?;
        let program = Program::new(self.programs.join(name))
            .within(self.network.as_ref())
            .args(
                ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"]
                    .map(|flag| format!("{flag}={}", kubeconfig.display())),
            )
            .args([
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                "--leader-elect=false".to_owned(),
            ])
            .args(more);
        let mut process = program.start(&self.folder.join(format!("{name}.log")))?;
        let health = format!("https://127.0.0.1:{port}/healthz");
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        Ok(process)
    }

    /// The API server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// etcd's address.
    #[must_use]
    pub fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder with the logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A kubeconfig for another user, known to the API server by a client certificate; what it may do is RBAC's business.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.client_authority.client(user, group)?;
        let path = self.folder.join(format!("kubeconfig-{}", pki::file_name(user)));
        self.write_kubeconfig(&path, &identity)?;
        Ok(path)
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        client_from(&self.kubeconfig).await
    }

    /// Files for programs that take no kubeconfig: the server's authority, the administrator's certificate and key.
    pub(crate) fn files(&self) -> [&Path; 3] {
        [&self.server_authority.certificate, &self.admin.certificate, &self.admin.key]
    }

    /// The authority that clients' certificates come from, for a server that is to know the API server.
    pub(crate) fn client_authority(&self) -> &Path {
        &self.client_authority.certificate
    }

    /// The network that it runs in, if it is not the machine's own.
    #[must_use]
    pub fn network(&self) -> Option<&Arc<Network>> {
        self.network.as_ref()
    }

    /// Runs kubectl as the administrator; gives its output, or an error with its message.
    pub async fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Runs kubectl with `input` as its standard input, for `-f -`.
    pub async fn kubectl_with_input<const N: usize>(&self, arguments: [&str; N], input: &str) -> Result<String> {
        let output = self.kubectl_program().args(arguments).run(input, Duration::from_secs(120)).await?;
        output.success().with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// kubectl set up for this control plane, for a caller that wants its exit code or gives it more arguments.
    #[must_use]
    pub fn kubectl_program(&self) -> Program {
        let cache = self.folder.join("kubectl-cache");
        Program::new(self.programs.join("kubectl"))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--cache-dir={}", cache.display()))
    }

    /// Applies YAML (server-side, so that large CRDs fit), taking over fields that others own.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_with_input(["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml).await
    }

    /// Applies a folder of CRDs and waits until the API server serves them.
    pub async fn apply_crds(&self, folder: &Path) -> Result<()> {
        let folder = folder.to_str().context("the folder's name is not UTF-8")?;
        self.kubectl(["apply", "--server-side", "--force-conflicts", "-f", folder]).await?;
        // Unlike `apply`, `wait` would look into folders of the folder.
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "--recursive=false", "-f", folder];
        self.kubectl(wait).await?;
        self.knows_kinds().await
    }

    /// Waits until the API server serves all CRDs, and kubectl finds their kinds.
    pub async fn established(&self) -> Result<()> {
        self.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await?;
        self.knows_kinds().await
    }

    /// Waits until kubectl finds the kinds of all CRDs: the API server tells of one a moment after it is established.
    async fn knows_kinds(&self) -> Result<()> {
        let crds = self.kubectl(["get", "crd", "-o", "jsonpath={.items[*].metadata.name}"]).await?;
        wait_until("the API server to tell of its kinds", START, async || {
            let kinds = self.kubectl(["api-resources", "-o", "name"]).await?;
            let missing = crds.split(' ').find(|crd| !kinds.lines().any(|kind| kind == *crd));
            missing.map_or(Ok(Some(())), |crd| bail!("{crd} is not known"))
        })
        .await
    }

    /// Starts the API server (again) and waits until it is ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let mut process = self.api_server_program.start(&self.folder.join("kube-apiserver.log"))?;
        // As anybody: it is ready only when the roles that let anybody ask for this are there.
        let health = format!("{}/readyz", self.url);
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        self.api_server = Some(process);
        Ok(())
    }

    /// Stops the API server; etcd and the controllers stay.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        let Some(mut process) = self.api_server.take() else { return Ok(()) };
        // It waits a minute for watches to end; who restarts it under them does not want to. It is killed then.
        let ended = process.stop(STOP).await;
        if ended.is_err() && process.ended()?.is_none() {
            return ended.map(drop);
        }
        Ok(())
    }

    /// Starts etcd (again), with the data that it had.
    pub async fn start_etcd(&mut self) -> Result<()> {
        let mut process = self.etcd_program.start(&self.folder.join("etcd.log"))?;
        let health = format!("{}/health", self.etcd_url);
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        self.etcd = Some(process);
        Ok(())
    }

    /// Stops etcd. An API server that still runs then answers with errors, and ends only when killed.
    pub async fn stop_etcd(&mut self) -> Result<()> {
        match self.etcd.take() {
            Some(mut process) => process.stop(STOP).await.map(drop),
            None => Ok(()),
        }
    }

    /// Waits until the API server answers and etcd is reached, after one of them was away.
    pub async fn ready_again(&self) -> Result<()> {
        let health = format!("{}/readyz", self.url);
        wait_until("the API server to be ready", START, async || http::get(&health).await.map(Some)).await.map(drop)
    }

    /// The API server's process, when it runs.
    #[must_use]
    pub fn api_server(&self) -> Option<&Process> {
        self.api_server.as_ref()
    }

    fn write_kubeconfig(&self, path: &Path, identity: &Identity) -> Result<()> {
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {"server": self.url, "certificate-authority": self.server_authority.certificate}}],
            "users": [{"name": "user", "user": {"client-certificate": identity.certificate, "client-key": identity.key}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "user"}}],
            "current-context": "testbed",
        });
        fs::write(path, serde_json::to_string_pretty(&config)?)?;
        Ok(())
    }
}

/// A client with the rights that a kubeconfig gives.
pub async fn client_from(kubeconfig: &Path) -> Result<kube::Client> {
    http::choose_tls();
    let config = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(config, &options).await?;
    // A test wants the server's answer. The default client asks again after a 503 or 504, for up to ten minutes.
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

fn etcd_program(bin: &Bin, folder: &Folder, url: &str) -> Result<Program> {
    Ok(Program::new(bin.path(Component::Etcd, "etcd")?)
        .arg(format!("--data-dir={}", folder.join("etcd").display()))
        .args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")])
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()?))
        // The data live as long as the test: nothing is to be saved from a power cut.
        .args(["--unsafe-no-fsync=true", "--log-level=warn"]))
}

struct ApiServer<'a> {
    program: PathBuf,
    port: u16,
    url: &'a str,
    etcd_url: &'a str,
    pki: &'a Path,
    server_authority: &'a Authority,
    client_authority: &'a Authority,
    service_accounts: &'a Identity,
    more: &'a [String],
}

fn api_server_program(given: ApiServer<'_>) -> Result<Program> {
    let server = given.server_authority.server("apiserver")?;
    let proxy_authority = Authority::new(given.pki, "proxy-ca")?;
    let proxy = proxy_authority.client("front-proxy", None)?;
    let kubelet_client = given.client_authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    let files = [
        ("--client-ca-file", &given.client_authority.certificate),
        ("--tls-cert-file", &server.certificate),
        ("--tls-private-key-file", &server.key),
        ("--requestheader-client-ca-file", &proxy_authority.certificate),
        ("--proxy-client-cert-file", &proxy.certificate),
        ("--proxy-client-key-file", &proxy.key),
        ("--kubelet-client-certificate", &kubelet_client.certificate),
        ("--kubelet-client-key", &kubelet_client.key),
        ("--service-account-key-file", &given.service_accounts.certificate),
        ("--service-account-signing-key-file", &given.service_accounts.key),
    ];
    Ok(Program::new(given.program)
        .arg(format!("--etcd-servers={}", given.etcd_url))
        .arg(format!("--secure-port={}", given.port))
        .arg(format!("--service-account-issuer={}", given.url))
        .args(files.map(|(flag, file)| format!("{flag}={}", file.display())))
        .args([
            "--bind-address=127.0.0.1",
            // Without these two it looks for a default route, which a sandbox need not have.
            "--endpoint-reconciler-type=none",
            "--advertise-address=10.99.0.1",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            // A node's name is in no DNS.
            "--kubelet-preferred-address-types=InternalIP",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ])
        .args(given.more))
}
