//! Plimsoll's operator as a process.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::control_plane::ControlPlane;
use crate::folder::Folder;
use crate::http;
use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::usage::Usage;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(40);

/// A running operator; killed when dropped.
pub struct Operator {
    process: Process,
    url: String,
    folder: Folder,
}

impl Operator {
    /// Starts it without leader election, and waits until it serves.
    pub async fn start(program: &Path, control_plane: &ControlPlane, arguments: &[&str]) -> Result<Self> {
        let mut all = vec!["--no-leader-election"];
        all.extend(arguments);
        Self::start_with(program, control_plane.kubeconfig(), &all).await
    }

    /// Starts it with exactly these arguments.
    pub async fn start_with(program: &Path, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_with_victim(program, kubeconfig, arguments, |_| {}).await
    }

    /// The same; `started` learns the process's number before it can have done anything.
    pub async fn start_with_victim(
        program: &Path,
        kubeconfig: &Path,
        arguments: &[&str],
        started: impl FnOnce(u32),
    ) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        Self::start_at(program, kubeconfig, &address, arguments, started).await
    }

    /// The same, with its health and metrics at an address that somebody knows already.
    pub async fn start_at(
        program: &Path,
        kubeconfig: &Path,
        address: &str,
        arguments: &[&str],
        started: impl FnOnce(u32),
    ) -> Result<Self> {
        let folder = Folder::new("operator")?;
        let mut process = Program::new(program)
            .arg("operator")
            .arg("--listen")
            .arg(address)
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .start(&folder.join("operator.log"))?;
        started(process.id());
        let url = format!("http://{address}");
        let ready = format!("{url}/readyz");
        process.ready(START, async || http::get(&ready).await.map(drop)).await?;
        Ok(Self { process, url, folder })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_some())
    }

    /// `host:port` of its metrics, for a Prometheus to scrape.
    #[must_use]
    pub fn target(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("operator.log"))?)
    }

    /// One of its metrics; zero while it is not there.
    pub async fn metric(&self, series: &str) -> Result<u64> {
        let text = http::get(&format!("{}/metrics", self.url)).await?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        Ok(value.unwrap_or(0))
    }

    /// All its writes to the API server so far, of whatever outcome.
    pub async fn writes(&self) -> Result<u64> {
        let text = http::get(&format!("{}/metrics", self.url)).await?;
        let values = text.lines().filter(|line| line.starts_with("plimsoll_api_writes_total{"));
        values.map(|line| Ok(line.rsplit(' ').next().context("value")?.parse::<u64>()?)).sum()
    }

    /// Its memory and processor time.
    pub fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// The folder with its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it as a cluster does.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(STOP).await?;
        ensure!(status.success(), "the operator ended with {status}:\n{}", self.process.log_tail(20));
        Ok(())
    }

    /// The same; one that needs longer is killed, which is an error.
    pub async fn stop_within(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.process.stop(grace).await
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }
}
