//! `plimsoll up`: the objects of a directory at work, without Kubernetes.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{Exit, check, out::Stop};

/// Runs the SLOs, AlertRules and Runbooks of a directory without Kubernetes: rules, anomaly scores, runbooks, a web page.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  plimsoll up slo/                                     with a prometheus and an alertmanager of its own, from the PATH
  plimsoll up slo/ --prometheus http://localhost:9090 --rules /etc/prometheus/rules
  plimsoll up slo/ --prometheus http://mimir:8080/prometheus --ruler http://mimir:8080
  plimsoll up slo/ --runbooks plimsoll.yaml            runbooks may silence, tell and annotate

DIR is read as by validate, and again whenever a file changes. An object whose file becomes invalid goes on as it
was last, and the page says why it is not as the file has it. What the Prometheus of its own scrapes is said in
DIR/prometheus.yml, by scrape_configs as Prometheus has them. Nobody is paged until DIR/alertmanager.yml says who, by
route and receivers as Alertmanager has them.

Runbooks that alerts start are run dry: what they would do is planned, stored and shown; nothing is sent. With --runbooks,
those in mode Auto whose every step needs no cluster (silence, notify, annotate, wait, query, verify) do what they say;
all are paused while there is a file named paused in the folder of --data.

Exit status: 0 ended by Ctrl-C or SIGTERM, 2 it cannot be started or go on, and wrong usage")]
pub struct Up {
    /// The directory, such as a working tree of Git
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Namespace of objects that name none
    #[arg(long, short, value_name = "NAMESPACE", default_value = "default", value_parser = check::namespace)]
    pub namespace: String,
    /// A Prometheus that runs already; needs --rules or --ruler, which say how it gets its rules. Without it, one is started
    #[arg(long, value_name = "URL", requires = "sink")]
    pub prometheus: Option<String>,
    /// Where that Prometheus reads rule files (rule_files: [FOLDER/*.yaml])
    #[arg(long, value_name = "FOLDER", requires = "prometheus", group = "sink")]
    pub rules: Option<PathBuf>,
    /// The ruler that takes its rules, such as Mimir
    #[arg(long, value_name = "URL", requires = "prometheus", group = "sink")]
    pub ruler: Option<String>,
    /// An Alertmanager that runs already, to be asked for alerts. Without it, one is started, or the Prometheus given is asked
    #[arg(long, value_name = "URL")]
    pub alertmanager: Option<String>,
    /// Lets runbooks act, with the servers in this file: the operator's configuration, of which `runbooks` is read
    #[arg(long, value_name = "FILE")]
    pub runbooks: Option<PathBuf>,
    /// Where its own state, and that of what it starts, is kept. Default: a folder for DIR in the user's state folder
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Where the page, /metrics and the webhook for alerts are served. Whoever reaches it can read everything
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9110")]
    pub listen: SocketAddr,
}

/// Runs it until it is told to end.
///
/// # Errors
/// Why it cannot be started, or cannot go on.
pub fn run(args: &Up) -> Result<Exit, Stop> {
    super::runtime()?.block_on(crate::up::run(args)).map(|()| Exit::Fine)
}
