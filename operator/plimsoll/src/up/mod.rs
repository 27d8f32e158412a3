//! `plimsoll up DIR`: the objects of a directory at work without Kubernetes. Files are read as `validate` reads them and
//! kept in their last good versions ([`table`]); they go the controller's own steps into rules ([`rules`]), are scored
//! by the operator's own scorer, and are shown by the same page. Runbooks are run dry, or in earnest where that is allowed
//! and needs no cluster ([`runs`]).

pub mod alerts;
pub mod allowed;
pub mod child;
pub mod configs;
pub mod data;
pub mod drive;
pub mod objects;
pub mod rules;
pub mod runs;
pub mod say;
pub mod servers;
pub mod table;
pub mod watch;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    alerts::Source,
    configs::{Config, Made},
    data::Data,
    objects::{Explaining, Shelf},
    rules::Rules,
    runs::Runs,
    say::Say,
    servers::{ROUTES, Routes, SCRAPES, Scrapes, Servers, configuration, reached},
    table::Table,
};
use crate::{
    alerts_webhook::{access::Tokens, server},
    cli::{
        check::{self, Checked},
        out::{self, Stop},
        report::count,
        up::Up,
        validate,
    },
    operator::{
        gate::{GateLayer, Lease},
        http::{self, Health},
        metrics::Metrics,
        signal,
    },
    page,
    prometheus::{Prometheus, http_client},
    scorer, serving,
    sinks::{RuleSink, config::Ruler, rule_files::RuleFiles},
    source::files::{cause, shown},
};

/// How long a Prometheus that was started may take until it answers.
const READY: Duration = Duration::from_secs(60);
/// What failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);
/// How long what is under way may take at the end.
const END: Duration = Duration::from_secs(5);
/// Series whose expected values and bands are exported.
const BANDS: usize = 20;

/// Runs until SIGTERM or Ctrl-C, or until something ends that must not.
///
/// # Errors
/// Why it cannot be started, or cannot go on.
pub async fn run(args: &Up) -> Result<(), Stop> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut children = JoinSet::new();
    // From here on a signal ends what was begun, whatever it is.
    let mut ended = Box::pin(signal());
    let worked = tokio::select! {
        worked = work(args, &stop, &mut tasks, &mut children) => worked,
        () = &mut ended => Ok(()),
    };
    stop.cancel();
    let _ = timeout(END, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
    // Each has its own patience.
    while children.join_next().await.is_some() {}
    worked
}

/// What was read of the directory.
fn look(args: &Up) -> (u64, Checked) {
    // First the fingerprint: what changes while it is read is read again.
    let seen = watch::fingerprint(&args.directory);
    (seen, check::objects(std::slice::from_ref(&args.directory), &args.namespace))
}

async fn work(
    args: &Up,
    stop: &CancellationToken,
    tasks: &mut JoinSet<Result<&'static str, Stop>>,
    children: &mut JoinSet<()>,
) -> Result<(), Stop> {
    is_directory(&args.directory, "name a directory with files of SLOs, AlertRules or Runbooks")?;
    if let Some(folder) = &args.rules {
        is_directory(folder, "name the directory of rule_files in Prometheus' configuration")?;
    }
    let allowed = args.runbooks.as_deref().map(allowed::read).transpose()?;
    let say = Say::default();
    let data = Arc::new(Data::open(args.data.as_deref(), &args.directory)?);
    log_to(&data)?;
    let http = http_client().map_err(|error| Stop::Failed(format!("HTTP client: {error}"), String::new()))?;
    let listener = TcpListener::bind(args.listen).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (listen, listener) = listener.map_err(|error| {
        let help = "name another one, such as --listen 127.0.0.1:0 for any that is free".to_owned();
        Stop::Failed(format!("--listen {}: {}", args.listen, cause(&error)), help)
    })?;
    let servers = Servers::new(args, &data)?;
    let prometheus = Prometheus::new(http.clone(), &servers.prometheus)
        .map_err(|why| Stop::Failed(format!("--prometheus: {why}"), String::new()))?;

    let metrics = Metrics::new();
    let state = data.join("scorer");
    std::fs::create_dir_all(&state).map_err(|error| out::failed("make folder", &state, &error))?;
    scorer::check(&state).map_err(|why| Stop::Failed(why, "name another folder with --data".to_owned()))?;
    metrics.anomalies().configure(scorer::Options { state: Some(state), bands: BANDS });
    let gate = GateLayer { lease: Lease::forever(), metrics: Arc::clone(&metrics) };
    let outside = allowed::outside(http.clone(), gate.clone(), &servers, allowed.as_ref());
    let sink = sink(args, &data, &http, gate, &prometheus, &say).await;

    let shelf = Arc::<Shelf>::default();
    let runs =
        Arc::new(Runs::new(Arc::clone(&data), Arc::clone(&shelf), prometheus.clone(), outside, allowed, say.clone()));
    let table = stored_table(&data, &say)?;
    let (touched, mut touches) = mpsc::unbounded_channel();
    let rules = Rules::new(table, sink, prometheus.clone(), Arc::clone(&metrics), Arc::clone(&shelf), say.clone());
    let own = |server, name, url: Option<&str>| {
        url.map(|url| Config::new((server, name, url), &args.directory, &http, &data, &say))
    };
    let mut work = Work {
        directory: args.directory.clone(),
        data: Arc::clone(&data),
        alertmanager: servers.alertmanager.clone(),
        listen,
        scraping: own("Prometheus", SCRAPES, servers.own_prometheus.then_some(&*servers.prometheus)),
        routing: own("Alertmanager", ROUTES, servers.alertmanager.as_deref().filter(|_| servers.own_alertmanager)),
        say: say.clone(),
        rules,
        runs: Arc::clone(&runs),
        said: String::new(),
    };

    let (seen, mut checked) = look(args);
    work.report(&checked);
    let changes = work.rules.take(&mut checked);
    work.know_runbooks();
    work.configure().await?;

    // The page is there before the servers are.
    let site = site(prometheus.clone(), Arc::clone(&shelf), stop.child_token());
    let desk = servers.own_alertmanager.then(|| -> Result<_, Stop> {
        let tokens =
            Tokens::read(vec![data.token()?]).map_err(|error| Stop::Failed(format!("{error:#}"), String::new()))?;
        Ok(server::app(server::Shared::new(Arc::clone(&runs) as Arc<dyn server::Desk>, tokens, Arc::clone(&metrics))))
    });
    let health = Health { ready: Arc::new(AtomicBool::new(true)), metrics: Arc::clone(&metrics) };
    let mut app = page::app(Arc::new(site)).merge(http::app(health));
    if let Some(desk) = desk.transpose()? {
        app = app.merge(desk);
    }
    let token = stop.clone();
    tasks.spawn(async move {
        serving::serve(listener, None, page::host::guarded(app, listen), page::LIMITS, token).await;
        Ok("the server of the page")
    });
    for program in servers.programs.clone() {
        program.prepare().await?;
        children.spawn(program.keep(say.clone(), stop.clone()));
    }
    say.news(&format!("page: http://{}/", reached(listen)));
    work.introduce(&servers, &data);
    work.await_prometheus().await;

    let source = match (&servers.alertmanager, servers.own_alertmanager) {
        (_, true) => Source::Posted,
        (Some(url), false) => Source::Alertmanager(url.clone()),
        (None, false) => Source::Prometheus,
    };
    let token = stop.clone();
    tasks.spawn(async move {
        runs.run(source, token).await;
        Ok("the watch of alerts")
    });
    work.rules.watch(tasks, &touched, stop);
    let stores = work.rules.stores();
    let (scoring, counted, token) = (prometheus.clone(), Arc::clone(&metrics), stop.clone());
    tasks.spawn(async move {
        scorer::alone(scoring, stores, counted, token).await;
        Ok("the scorer")
    });
    let (counted, sender, token) = (Arc::clone(&metrics), touched.clone(), stop.clone());
    tasks.spawn(async move {
        token.run_until_cancelled(scorer::tell(counted, sender)).await;
        Ok("the scorer's news")
    });

    work.bring_about(&changes, true).await;
    let (sender, mut changed) = mpsc::channel(1);
    let (directory, token) = (args.directory.clone(), stop.clone());
    tasks.spawn(async move {
        watch::run(directory, seen, sender, token).await;
        Ok("the watch of the directory")
    });
    loop {
        let again = work.rules.is_behind();
        tokio::select! {
            Some(()) = changed.recv() => {
                checked = blocking(args).await;
                work.report(&checked);
                let changes = work.rules.take(&mut checked);
                work.know_runbooks();
                if let Err(Stop::Failed(why, _)) = work.configure().await {
                    say.trouble(&why);
                }
                work.bring_about(&changes, false).await;
            }
            Some(touch) = touches.recv() => {
                let mut all = vec![touch];
                while let Ok(touch) = touches.try_recv() {
                    all.push(touch);
                }
                work.rules.touch(all).await;
            }
            () = tokio::time::sleep(AGAIN), if again => {
                work.rules.catch_up().await;
                work.keep();
            }
            Some(ended) = tasks.join_next() => {
                let what = ended.unwrap_or_else(|error| Err(Stop::Failed(error.to_string(), String::new())))?;
                return Err(Stop::Failed(format!("{what} ended"), String::new()));
            }
        }
    }
}

/// Reads the directory on a thread that may wait.
async fn blocking(args: &Up) -> Checked {
    let args = args.clone();
    let looked = tokio::task::spawn_blocking(move || look(&args).1).await;
    // A fault of ours removes nothing.
    looked.unwrap_or_else(|_| Checked { unread: true, ..Checked::default() })
}

fn is_directory(path: &Path, help: &str) -> Result<(), Stop> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Stop::Failed(format!("{} is no directory", shown(path)), help.to_owned())),
        Err(error) => Err(Stop::Failed(crate::source::files::unreadable(path, &error).message, help.to_owned())),
    }
}

/// Warnings of the parts that are the operator's go into a file: the terminal has few lines.
fn log_to(data: &Data) -> Result<(), Stop> {
    use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let path = data.join("plimsoll.log");
    let file = std::fs::File::create(&path).map_err(|error| out::failed("write", &path, &error))?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Arc::new(file));
    let targets = Targets::new().with_default(tracing::Level::WARN);
    // A second subscriber in one process (tests) is no error that matters.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
    Ok(())
}

/// Where rules go. What keeps a Prometheus from reading them is said at once.
async fn sink(
    args: &Up,
    data: &Data,
    http: &reqwest::Client,
    gate: GateLayer,
    prometheus: &Prometheus,
    say: &Say,
) -> Arc<dyn RuleSink> {
    if let Some(url) = &args.ruler {
        return Ruler::at(url).sink(http.clone(), gate);
    }
    let reload = format!("{}/-/reload", prometheus.url().trim_end_matches('/'));
    let Some(directory) = &args.rules else {
        return RuleFiles::new(data.join("rules"), Some(reload), http.clone(), gate);
    };
    let reloads = prometheus.takes_reloads().await;
    if !reloads {
        say.trouble(&format!(
            "{} takes no /-/reload: it works with what is written to {} when somebody reloads it; to have it done, start it with --web.enable-lifecycle",
            prometheus.url(),
            shown(directory)
        ));
    }
    // By either of its names.
    let names = [std::fs::canonicalize(directory), std::path::absolute(directory)];
    let mut reads = Vec::new();
    for name in names.into_iter().flatten() {
        reads.push(prometheus.reads_rules(&name.join("plimsoll_a_b.yaml")).await);
    }
    if reads.iter().all(|reads| *reads == Some(false)) {
        say.trouble(&format!(
            "{} reads no rules from {}: add {}/*.yaml to rule_files in its configuration, by the path that it sees where that is another",
            prometheus.url(),
            shown(directory),
            shown(directory)
        ));
    }
    RuleFiles::new(directory.clone(), reloads.then_some(reload), http.clone(), gate)
}

/// The last good versions of a run before this one.
fn stored_table(data: &Data, say: &Say) -> Result<Table, Stop> {
    let Some(text) = data.read(OBJECTS)? else { return Ok(Table::default()) };
    Ok(Table::read(&text).unwrap_or_else(|error| {
        say.trouble(&format!("{}: {error}; the files alone are gone by", shown(&data.join(OBJECTS))));
        Table::default()
    }))
}

fn site(prometheus: Prometheus, shelf: Arc<Shelf>, stop: CancellationToken) -> page::Site {
    let recorded = page::Answers::new(Some(prometheus.clone()));
    let mut site = page::Site::new(Arc::new(recorded), shelf, stop);
    site.explains = Some(Arc::new(Explaining::new(&prometheus)));
    site
}

/// The file with the last good versions.
const OBJECTS: &str = "objects.json";

/// What a file says, with its text. Of one that cannot be read nothing is taken; at the start that is as if there were none.
fn read<T: Default>(
    say: &Say,
    config: &Config,
    found: Result<(T, String), String>,
    before: &str,
) -> Option<(T, String)> {
    found.map_or_else(
        |why| {
            say.trouble(&format!("{why}; {before} before goes on"));
            config.is_new().then(Default::default)
        },
        Some,
    )
}

/// What the loop has in its hands.
struct Work {
    directory: std::path::PathBuf,
    data: Arc<Data>,
    alertmanager: Option<String>,
    listen: std::net::SocketAddr,
    /// Of a Prometheus of our own.
    scraping: Option<Config>,
    /// Of an Alertmanager of our own.
    routing: Option<Config>,
    say: Say,
    rules: Rules,
    runs: Arc<Runs>,
    /// The problems that were told last.
    said: String,
}

impl Work {
    /// Tells problems, unless they are those of before.
    fn report(&mut self, checked: &Checked) {
        let text = validate::text(checked, crate::cli::colour(&std::io::stderr()));
        if text != self.said {
            if text.is_empty() {
                self.say.news("no problems any more");
            } else {
                self.say.plain(&text);
            }
            self.said = text;
        }
    }

    fn know_runbooks(&self) {
        let (models, named) = self.rules.runbooks(self.runs.acts());
        self.runs.know(models, named);
    }

    /// What was found, and who works on it.
    fn introduce(&self, servers: &Servers, data: &Data) {
        let [slos, rules, runbooks] = self.rules.counts();
        self.say.news(&format!(
            "{}: {}, {}, {}",
            shown(&self.directory),
            count(slos, "SLO"),
            count(rules, "AlertRule"),
            count(runbooks, "Runbook")
        ));
        let of = |ours| if ours { "of our own" } else { "given" };
        let alertmanager = servers.alertmanager.as_ref();
        let alerts = alertmanager.map_or("alerts are asked of Prometheus".to_owned(), |url| {
            format!("Alertmanager {} ({url})", of(servers.own_alertmanager))
        });
        self.say.news(&format!("Prometheus {} ({}); {alerts}", of(servers.own_prometheus), servers.prometheus));
        self.say.news(&format!("state and logs: {}", shown(&data.join(""))));
        if self.runs.acts() {
            let file = shown(&data.join(data::PAUSED));
            self.say.news(&format!("runbooks may act; to pause all of them: touch {file}"));
        }
    }

    /// Brings what the directory says about scraping and about who is told to servers of our own.
    async fn configure(&mut self) -> Result<(), Stop> {
        if let Some(config) = &mut self.scraping
            && let Some((scrapes, source)) = read(&self.say, config, Scrapes::read(&self.directory), "what was scraped")
        {
            let file = config.file();
            let lacks = format!("nothing is scraped: write scrape_configs, as Prometheus has them, into {file}");
            let lacks = if scrapes.is_empty() { lacks } else { String::new() };
            let taken = format!("{} scraped", count(scrapes.len(), "job"));
            let all = configuration(&scrapes, &self.data, self.listen, self.alertmanager.as_deref());
            config.bring(Made { config: all, source, taken, lacks }).await;
        }
        if let Some(config) = &mut self.routing
            && let Some((routes, source)) = read(&self.say, config, Routes::read(&self.directory), "who was told")
        {
            let file = config.file();
            let lacks =
                format!("nobody is told of alerts: write route and receivers, as Alertmanager has them, into {file}");
            let lacks = if routes.is_empty() { lacks } else { String::new() };
            let taken =
                if routes.is_empty() { "it tells nobody" } else { "alerts go where its route leads" }.to_owned();
            let all = routes.configuration(self.listen, &self.data.token()?)?;
            config.bring(Made { config: all, source, taken, lacks }).await;
        }
        Ok(())
    }

    /// Waits until a Prometheus of our own answers, or for so long that something is wrong, which is told elsewhere.
    async fn await_prometheus(&mut self) {
        let Some(config) = &mut self.scraping else { return };
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if config.is_ready().await {
                config.works();
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Tells what has changed, brings it about, and keeps it.
    async fn bring_about(&mut self, changes: &table::Changes, first: bool) {
        if !first {
            changes.edited.iter().for_each(|key| self.say.news(&format!("{key}: read")));
            changes.mended.iter().for_each(|key| self.say.news(&format!("{key}: good again")));
            changes.removed.iter().for_each(|(key, _)| self.say.news(&format!("{key}: removed")));
        }
        for key in &changes.broken {
            let words = if self.rules.is_served(key) { "goes on as it was" } else { "cannot be used" };
            self.say.trouble(&format!("{key} {words}: {}", self.rules.why(key)));
        }
        self.rules.bring_about(changes, first).await;
        self.keep();
    }

    /// Keeps the last good versions, unless what is gone has left rules behind: then it is gone again after a restart.
    fn keep(&self) {
        if let Some(Err(Stop::Failed(why, _))) = self.rules.text().map(|text| self.data.write(OBJECTS, &text)) {
            self.say.trouble(&format!("{why}; a restart would go on from the versions before"));
        }
    }
}
