//! `plimsoll operator`: the controllers, the webhook, and what a cluster expects of them.

pub mod address;
pub mod drain;
pub mod election;
pub mod gate;
pub mod http;
mod log;
pub mod metrics;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use kube::{Api, Client, client::ClientBuilder};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    election::{Office, Terms},
    gate::{GateLayer, Lease},
    http::Health,
    metrics::Metrics,
};
use crate::{
    actions::{Endpoint, Outside},
    controller::{self, Setup},
    page,
    prometheus::{Prometheus, http_client},
    runbooks::{
        self, Front,
        author::Authority,
        dispatch::Dispatcher,
        proof::Sealer,
        switch::{OBEYS, Obeyed},
    },
    scorer,
    sinks::{Config, config::PrometheusConfig},
    webhook,
};

/// The leader's lease.
pub const LEASE: &str = "plimsoll-operator";

/// How the operator runs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  plimsoll operator --prometheus http://prometheus:9090
  plimsoll operator --prometheus http://prometheus:9090 --page-listen 127.0.0.1:8082

Without a pod around it, it works on the cluster and in the namespace of the kubeconfig. manifests/ has it with its rights.

Exit status: 0 ended by Ctrl-C or SIGTERM, 2 it cannot be started or go on, and wrong usage")]
pub struct OperatorArgs {
    /// File with backends and Prometheus. Without it there is one backend, `default`, of PrometheusRule objects
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    pub config: Option<PathBuf>,
    /// The Prometheus that loads the rules; overrides the file
    #[arg(long, value_name = "URL", env = "PLIMSOLL_PROMETHEUS")]
    pub prometheus: Option<String>,
    /// Where /healthz, /readyz and /metrics are served; a port alone is one of every address
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", value_parser = address::parse)]
    pub listen: SocketAddr,
    /// Where the web page is served: SLOs, runbooks and executions, readable for whoever reaches the address. Without it there is none
    #[arg(long, value_name = "ADDRESS", env = "PLIMSOLL_PAGE_LISTEN", value_parser = address::parse)]
    pub page_listen: Option<SocketAddr>,
    /// Run without leader election: only for a single replica that is never started twice
    #[arg(long)]
    pub no_leader_election: bool,
    /// Namespace of the lease, of the webhook's certificates and of the ConfigMap that pauses runbooks. Default: that of the kubeconfig
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// This process in the election. Default: the host's name, which is the pod's
    #[arg(long, value_name = "NAME", env = "HOSTNAME")]
    pub identity: Option<String>,
    /// Seconds after which another replica takes over from one that is gone
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=600))]
    pub lease_seconds: u16,
    /// Folder on a volume in which the anomaly scorer's state outlives the process. Without it a start reads the last day anew
    #[arg(long, value_name = "FOLDER", env = "PLIMSOLL_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Shards of the anomaly scorer, shared among the replicas: more than one where one replica is not enough
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(scorer::MOST)))]
    pub anomaly_shards: u32,
    /// Series whose expected value and band are exported: the most unusual ones
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub anomaly_bands: u16,
    /// The webhook
    #[command(flatten)]
    pub webhook: crate::webhook::WebhookArgs,
    /// Run runbooks. The webhook notes who wrote them, so it must be on
    #[arg(long, requires = "webhook_listen")]
    pub runbooks: bool,
    /// Alertmanager's posts
    #[command(flatten)]
    pub alerts: crate::alerts_webhook::AlertsArgs,
}

/// What runs.
struct Begun {
    stop: CancellationToken,
    /// What ends at `stop`; nothing of it ends before.
    tasks: tokio::task::JoinSet<anyhow::Result<&'static str>>,
    /// Ends the leader's election.
    election: CancellationToken,
    elected: tokio::task::JoinSet<()>,
}

/// Runs until SIGTERM or Ctrl-C, or until something ends that must not.
///
/// # Errors
/// Names what could not be started.
pub async fn run(args: OperatorArgs) -> anyhow::Result<()> {
    log::as_json()?;
    // From the first moment: the first process of a container is ended by no signal that it does not listen for, and a
    // start may take as long as the API server lets it.
    let told = signal();
    tokio::pin!(told);
    let begun = tokio::select! {
        biased;
        () = &mut told => {
            tracing::info!("stopping before everything was started");
            return Ok(());
        }
        begun = begin(args) => begun?,
    };
    let Begun { stop, mut tasks, election, mut elected } = begun;
    let ended = tokio::select! {
        () = &mut told => { tracing::info!("stopping"); Ok(()) }
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(what)) => Err(anyhow::anyhow!("{what} ended")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    // What is under way is finished while the lease is still held; then it is given back.
    stop.cancel();
    let finished = tokio::time::timeout(Duration::from_secs(25), async { while tasks.join_next().await.is_some() {} });
    if finished.await.is_err() {
        tracing::warn!("not everything under way could be finished");
    }
    election.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(5), async { while elected.join_next().await.is_some() {} }).await;
    ended
}

async fn begin(args: OperatorArgs) -> anyhow::Result<Begun> {
    let outside = http_client().context("HTTP client")?;
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(url) = &args.prometheus {
        let (tenant, bearer_token_file) =
            config.prometheus.take().map_or((None, None), |p| (p.tenant, p.bearer_token_file));
        config.prometheus = Some(PrometheusConfig { url: url.clone(), tenant, bearer_token_file });
    }
    let prometheus = match &config.prometheus {
        Some(PrometheusConfig { url, tenant, bearer_token_file }) => Some(
            Prometheus::new(outside.clone(), url)
                .map_err(anyhow::Error::msg)
                .context("--prometheus")?
                .with_access(tenant.clone(), bearer_token_file.clone()),
        ),
        None => None,
    };
    let mut kube_config = kube::Config::infer()
        .await
        .context("no cluster: set KUBECONFIG to the file that names one, or run in a pod with a service account")?;
    // Long watches end by themselves; a server that is gone is noticed sooner.
    kube_config.connect_timeout = Some(Duration::from_secs(5));
    // The client's own repetitions would happen behind the gate, where nobody looks at the lease any more; and
    // every caller here tries again by itself.
    kube_config.default_retry = false;
    let namespace = args.namespace.clone().unwrap_or_else(|| kube_config.default_namespace.clone());
    let metrics = Metrics::new();
    if let Some(folder) = &args.state_dir {
        scorer::check(folder).map_err(anyhow::Error::msg).context("--state-dir")?;
    }
    let options = scorer::Options { state: args.state_dir.clone(), bands: usize::from(args.anomaly_bands) };
    metrics.anomalies().configure(options);
    let stop = CancellationToken::new();
    let ready = Arc::new(AtomicBool::new(false));
    let mut tasks: tokio::task::JoinSet<anyhow::Result<&'static str>> = tokio::task::JoinSet::new();

    let health = Health { ready: Arc::clone(&ready), metrics: Arc::clone(&metrics) };
    let (address, token) = (args.listen, stop.clone());
    tasks.spawn(async move {
        http::serve(address, health, token).await.with_context(|| format!("--listen {address}"))?;
        Ok("the server of health and metrics")
    });

    let plain = Client::try_from(kube_config.clone()).context("client of the Kubernetes API")?;
    let (named, in_pod) = (args.namespace.is_some(), webhook::in_pod());
    args.webhook.reachable(&plain, &namespace, named, in_pod).await?;
    if !named && !in_pod {
        tracing::info!(%namespace, "no --namespace is given: lease, certificates and Secrets are in the kubeconfig's");
    }
    let lease = if args.no_leader_election { Lease::forever() } else { Lease::default() };
    let gate = GateLayer { lease: lease.clone(), metrics: Arc::clone(&metrics) };
    let outside_of = Outside {
        http: outside.clone(),
        gate: gate.clone(),
        prometheus: config.prometheus.clone().map(|p| {
            let PrometheusConfig { url, tenant, bearer_token_file } = p;
            Endpoint { url, tenant, bearer_token_file }
        }),
        alertmanager: config.runbooks.alertmanager.clone(),
        grafana: config.runbooks.grafana.clone(),
        destinations: config.runbooks.destinations.clone(),
    };
    let mut authority = None;
    let mut runbooks = None;
    let obeyed = Obeyed::default();
    if args.runbooks {
        let sealer = Sealer::shared(&Api::namespaced(plain.clone(), &namespace)).await.context("--runbooks")?;
        authority = Some(Authority { client: plain.clone(), sealer: sealer.clone() });
        let (metrics, outside) = (Arc::clone(&metrics), outside_of.clone());
        let front = Front::new(plain.clone(), &namespace, &config.runbooks, sealer, metrics.clone(), outside);
        let dispatcher = Arc::clone(&front.dispatcher);
        if args.alerts.alerts_listen.is_some() {
            let desk = Arc::clone(&dispatcher);
            let (plain, metrics) = (plain.clone(), Arc::clone(&metrics));
            let alerts = crate::alerts_webhook::start(&args.alerts, plain, &namespace, desk, metrics, stop.clone());
            tasks.spawn(alerts.await.context("webhook for alerts")?);
        }
        let (outside, token) = (outside_of.clone(), stop.clone());
        tasks.spawn(async move {
            front.run(outside, token).await;
            Ok("the watch of runbooks")
        });
        let has_alerts = args.alerts.alerts_listen.is_some() || config.runbooks.alertmanager.is_some();
        let (namespace, obeyed) = (namespace.clone(), Arc::clone(&obeyed));
        runbooks = Some(Runbooks { dispatcher, outside: outside_of, namespace, has_alerts, obeyed });
    }
    if args.webhook.enabled() {
        let (plain, metrics) = (plain.clone(), Arc::clone(&metrics));
        let webhook = crate::webhook::start(&args.webhook, plain, &namespace, metrics, authority, stop.clone());
        tasks.spawn(webhook.await.context("webhook")?);
    }

    if let Some(address) = args.page_listen {
        let cluster = kube_config.clone();
        let (site, watches) = page_of(cluster, plain.clone(), prometheus.clone(), args.runbooks, stop.clone());
        let token = stop.clone();
        tasks.spawn(async move {
            watches.run(token).await;
            Ok("the watch of the page's objects")
        });
        tasks.spawn(async move {
            page::serve(address, site).await.with_context(|| format!("--page-listen {address}"))?;
            Ok("the server of the page")
        });
    }

    let gated = ClientBuilder::try_from(kube_config).context("client of the Kubernetes API")?.with_layer(&gate).build();
    ready.store(true, Ordering::Relaxed);

    let identity = args.identity.clone().unwrap_or_else(|| format!("plimsoll-{}", std::process::id()));
    let duration = Duration::from_secs(u64::from(args.lease_seconds));
    let candidate = (!args.no_leader_election).then_some((identity, duration));
    if let Some(prometheus) = &prometheus {
        let setup = scorer::Setup {
            prometheus: prometheus.clone(),
            client: plain.clone(),
            namespace: namespace.clone(),
            election: candidate.clone(),
            shards: args.anomaly_shards,
            metrics: Arc::clone(&metrics),
        };
        let token = stop.clone();
        tasks.spawn(async move {
            scorer::serve(setup, token).await;
            Ok("the anomaly scorer")
        });
    }
    let election = CancellationToken::new();
    let mut elected = tokio::task::JoinSet::new();
    let mut heard = None;
    if let Some((identity, duration)) = candidate {
        let listens = prometheus.is_some();
        heard =
            listens.then(|| Heard { client: plain.clone(), namespace: namespace.clone(), shards: args.anomaly_shards });
        let terms = Terms { identity, namespace, names: vec![LEASE.to_owned()], duration };
        let (client, held, until) = (plain, [lease.clone()], election.clone());
        let office = Leadership::new(Arc::clone(&metrics), &obeyed);
        elected.spawn(async move { election::run(client, terms, &held, &office, until).await });
    } else {
        metrics.leads(true);
    }

    let token = stop.clone();
    tasks.spawn(async move {
        let outside = (outside, runbooks);
        lead(&config, gated, outside, prometheus, heard, gate, token).await;
        Ok("the controller")
    });

    Ok(Begun { stop, tasks, election, elected })
}

/// The page of a cluster. It holds a client that needs no lease: with the operator's own rights it only reads.
fn page_of(
    cluster: kube::Config,
    client: Client,
    prometheus: Option<Prometheus>,
    runbooks: bool,
    stop: CancellationToken,
) -> (page::Site, page::stores::Watches) {
    let (stores, watches) = page::stores::Stores::new(client.clone(), runbooks);
    let recorded = page::Answers::new(prometheus.clone());
    let mut site = page::Site::new(Arc::new(recorded), Arc::new(stores), stop);
    site.explains = Some(Arc::new(page::stores::Explaining::new(prometheus, client)));
    if runbooks {
        site.decides = Some(Arc::new(page::decide::Sender::new(cluster)));
    }
    (site, watches)
}

/// The leader's office: what it does follows from the gate.
pub(crate) struct Leadership {
    metrics: Arc<Metrics>,
    obeyed: watch::Receiver<Option<String>>,
    /// One receiver for all turns: what changes while a lease is written is news after that.
    news: tokio::sync::Mutex<watch::Receiver<Option<String>>>,
}

impl Leadership {
    /// Which says on its lease what is known of the kill switch.
    pub(crate) fn new(metrics: Arc<Metrics>, obeyed: &Obeyed) -> Self {
        Self { metrics, obeyed: obeyed.subscribe(), news: tokio::sync::Mutex::new(obeyed.subscribe()) }
    }
}

impl Office for Leadership {
    fn held(&self, held: &[bool]) {
        self.metrics.leads(held == [true]);
    }

    fn says(&self) -> Option<(&'static str, Option<String>)> {
        Some((OBEYS, self.obeyed.borrow().clone()))
    }

    async fn news(&self) {
        if self.news.lock().await.changed().await.is_err() {
            // Nobody is there any more who could say something.
            std::future::pending::<()>().await;
        }
    }

    async fn leave(&self, _: usize) {
        // What is under way was finished before the election ends.
    }
}

/// Where the leader hears what the scorers of all replicas see.
struct Heard {
    client: Client,
    namespace: String,
    shards: u32,
}

/// What the leader needs to run runbooks.
struct Runbooks {
    dispatcher: Arc<Dispatcher>,
    outside: Outside,
    namespace: String,
    has_alerts: bool,
    obeyed: Obeyed,
}

/// Runs the controllers whenever this process leads.
async fn lead(
    config: &Config,
    client: Client,
    (outside, runbooks): (reqwest::Client, Option<Runbooks>),
    prometheus: Option<Prometheus>,
    heard: Option<Heard>,
    gate: GateLayer,
    stop: CancellationToken,
) {
    let lease = &gate.lease;
    while !stop.is_cancelled() {
        if stop.run_until_cancelled(until(lease, true)).await.is_none() {
            return;
        }
        tracing::info!("leading");
        let (sinks, kinds) = config.sinks(&client, &outside, &gate);
        let (prometheus, metrics) = (prometheus.clone(), Arc::clone(&gate.metrics));
        let term = stop.child_token();
        let of_runbooks = runbooks.as_ref().map(|runbooks| {
            let Runbooks { dispatcher, outside, namespace, has_alerts, obeyed } = runbooks;
            runbooks::Setup {
                client: client.clone(),
                dispatcher: Arc::clone(dispatcher),
                outside: outside.clone(),
                config: config.runbooks.clone(),
                namespace: namespace.clone(),
                prometheus: prometheus.clone(),
                has_alerts: *has_alerts,
                metrics: Arc::clone(&metrics),
                obeyed: Arc::clone(obeyed),
            }
        });
        let told = Arc::clone(&metrics);
        let setup = Setup { client: client.clone(), sinks, kinds, prometheus, metrics };
        let running = async {
            let runbooks = async {
                if let Some(setup) = of_runbooks {
                    runbooks::lead(setup, term.clone()).await;
                }
            };
            let hears = async {
                if let Some(Heard { client, namespace, shards }) = &heard {
                    let hears = scorer::follow(client.clone(), namespace, *shards, &told);
                    term.run_until_cancelled(hears).await;
                }
            };
            tokio::join!(controller::run(setup, term.clone()), runbooks, hears);
        };
        tokio::pin!(running);
        tokio::select! {
            () = &mut running => {}
            () = until(lease, false) => {
                // Writes fail from now on; what waits for an answer is not waited for.
                tracing::warn!("not leading any more");
                term.cancel();
                let _ = tokio::time::timeout(Duration::from_secs(10), &mut running).await;
            }
        }
    }
}

/// Waits until the lease is held, or is not.
async fn until(lease: &Lease, held: bool) {
    while lease.is_held(Instant::now()) != held {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be listened for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
