//! Child processes that cannot outlive this one.
//!
//! Three nets, since a test can end in three ways. [`Process`] kills its process group when dropped: that is a test
//! that returns or panics. The kernel kills the child when its parent dies (`PR_SET_PDEATHSIG`): that is Ctrl-C and
//! `kill -9`. And between its fork and that request the child would miss the parent's death, so it looks, after the
//! request, whether its parent is still the one that it was started by.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::network::Network;
use crate::wait::wait_until;
use crate::worker::Worker;

/// Set in the environment of every child to the id of the process that started it, so that a person, or a test, can find them.
pub const OWNER_VARIABLE: &str = "PLIMSOLL_TESTBED_OWNER";

/// A program to start.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    network: Option<Arc<Network>>,
}

impl Program {
    /// A program by its path; its messages call it by the file's name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, path, arguments: Vec::new(), environment: Vec::new(), folder: None, network: None }
    }

    /// What its messages call it, where the file is only what starts it.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Starts it inside a network, if one is given.
    #[must_use]
    pub fn within(mut self, network: Option<&Arc<Network>>) -> Self {
        self.network = network.cloned();
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Starts it, with its standard output and standard error going to the end of a file.
    pub fn start(&self, log: &Path) -> Result<Process> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        let child = self.spawn(Stdio::null(), file.try_clone()?, file)?;
        Ok(Process { name: self.name.clone(), log: log.to_owned(), child, ended: None })
    }

    /// Runs it to its end, with `input` as its standard input.
    ///
    /// The streams are files: no pipe can fill up, and nothing has to read while the program writes.
    pub async fn run(&self, input: &str, deadline: Duration) -> Result<Output> {
        let (mut stdin, mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?, tempfile::tempfile()?);
        stdin.write_all(input.as_bytes())?;
        stdin.rewind()?;
        let child = self.spawn(stdin.into(), stdout.try_clone()?, stderr.try_clone()?)?;
        let mut process = Process { name: self.name.clone(), log: PathBuf::new(), child, ended: None };
        let status = process.wait(deadline).await?;
        Ok(Output { status, stdout: read_all(&mut stdout)?, stderr: read_all(&mut stderr)? })
    }

    fn spawn(&self, stdin: Stdio, stdout: File, stderr: File) -> Result<Child> {
        let owner = std::process::id().to_string();
        // `setpriv` asks for the signal, the shell makes sure that the request did not come too late; both exec, so
        // that the process started here is the program in the end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", r#"[ "$PPID" = "$0" ] || exit 125; exec "$@""#]);
        command.arg(&owner).arg(&self.path).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).env(OWNER_VARIABLE, owner);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(stdin).stdout(stdout).stderr(stderr).process_group(0);
        let child = match &self.network {
            Some(network) => network.worker().run(move || command.spawn())?,
            None => lasting_thread()?.run(move || command.spawn())?,
        };
        child.with_context(|| format!("starting {} (with setpriv, from util-linux)", self.path.display()))
    }
}

fn read_all(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A thread that lives as long as the process, to start commands from.
///
/// The kernel's "parent" of a child is the thread that started it: with the thread of one test, everything
/// that this test was the first to need would die at its end.
fn lasting_thread() -> Result<&'static Worker> {
    static STARTER: OnceLock<Worker> = OnceLock::new();
    match STARTER.get() {
        Some(worker) => Ok(worker),
        None => {
            let worker = Worker::start("starter", || Ok(()))?;
            Ok(STARTER.get_or_init(|| worker))
        }
    }
}

/// A running program; killed, with its children, when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file with its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Polls until `probe` succeeds. An error has the end of the program's log.
    pub async fn ready(&mut self, deadline: Duration, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        // The end of the process is a result, not a reason to go on polling.
        let outcome = wait_until(&what, deadline, async || match self.ended()? {
            Some(status) => Ok(Some(Err(anyhow!("{} ended: {status}", self.name)))),
            None => probe().await.map(|()| Some(Ok(()))),
        });
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => {
                Err(error.context(format!("the end of {}:\n{}", self.log.display(), self.log_tail(20))))
            }
        }
    }

    /// Sends a signal to the process and to its children.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none() {
            killpg(self.group()?, signal).with_context(|| format!("sending {signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits; kills it and fails when the time is up.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let what = format!("{} to end on SIGTERM", self.name);
        let ended = wait_until(&what, grace, async || self.ended()).await;
        if ended.is_err() {
            self.kill()?;
        }
        ended
    }

    /// Waits for it to end by itself.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, deadline, async || self.ended()).await
    }

    /// Kills it at once (SIGKILL), as a power cut would.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        let status = match self.ended {
            Some(status) => status,
            None => self.child.wait()?,
        };
        self.ended = Some(status);
        Ok(status)
    }

    /// What it has used up to now.
    pub fn usage(&self) -> Result<crate::usage::Usage> {
        crate::usage::Usage::of(self.id())
    }

    fn group(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("testbed: {} is not killed: {error:#}", self.name);
        }
    }
}

/// The processes that `owner` started (itself or through a child) and that still run.
///
/// Found by their environment, so that one that has lost its parent is found too.
pub fn running_children(owner: u32) -> Result<Vec<u32>> {
    let mark = format!("{OWNER_VARIABLE}={owner}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Unreadable: it has just ended, or it is not ours. A zombie's is empty.
        let Ok(environment) = fs::read(entry.path().join("environ")) else {
            continue;
        };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            found.push(id);
        }
    }
    Ok(found)
}

/// The output of a program that ran to its end.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output, or an error with everything that the program said if it failed.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("{}\n{}{}", self.status, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}
