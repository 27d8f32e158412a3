//! Programs that are started and kept running: started again when they end, ended when we do.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::say::Say;
use crate::{
    cli::out::{self, Stop},
    source::files::shown,
};

/// The first wait before one is started again; it doubles up to the last.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
/// What ran for so long did not fail at its start.
const STEADY: Duration = Duration::from_secs(60);
/// How long one may take to end.
const GRACE: Duration = Duration::from_secs(20);
/// Lines of its log that are shown when it fails, and bytes that are read for them.
const TAIL: usize = 10;
const TAIL_BYTES: usize = 8 << 10;

/// A program to keep running.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is called in messages.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// How it is started.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Where its number is noted while it runs.
    pub pid: PathBuf,
}

/// Finds a program on the `PATH`.
///
/// # Errors
/// How to install it.
pub fn find(name: &'static str) -> Result<PathBuf, Stop> {
    use std::os::unix::fs::PermissionsExt as _;
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(is_program);
    found.map(|path| fs::canonicalize(&path).unwrap_or(path)).ok_or_else(|| {
        let message = format!("{name} is not on the PATH");
        let option = if name == "prometheus" { "--prometheus URL --rules DIR" } else { "--alertmanager URL" };
        let help = format!(
            "install it (apt install prometheus prometheus-alertmanager, brew install prometheus alertmanager, or \
             https://prometheus.io/download), or name one that runs already: {option}"
        );
        Stop::Failed(message, help)
    })
}

impl Program {
    /// Empties the log, and ends what a run before this one has left behind.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn prepare(&self) -> Result<(), Stop> {
        self.end_leftover().await;
        File::create(&self.log).map(drop).map_err(|error| out::failed("write", &self.log, &error))
    }

    /// One that outlived the process that started it, as after a crash, holds the data folder.
    async fn end_leftover(&self) {
        let Ok(noted) = fs::read_to_string(&self.pid) else { return };
        let _ = fs::remove_file(&self.pid);
        let mut words = noted.split_whitespace();
        let (Some(pid), Some(began)) = (words.next().and_then(|pid| pid.parse::<i32>().ok()), words.next()) else {
            return;
        };
        // Another process may have the number by now.
        let lives = || beginning(pid).is_some_and(|since| since == began);
        let until = Instant::now() + GRACE;
        let mut signal = Signal::SIGTERM;
        while lives() {
            let _ = kill(Pid::from_raw(pid), signal);
            tokio::time::sleep(Duration::from_millis(200)).await;
            if Instant::now() >= until {
                signal = Signal::SIGKILL;
            }
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C goes to the whole group of the terminal: it is for us to say when this one ends.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        if let Some((pid, began)) = pid(&child).and_then(|pid| Some((pid, beginning(pid)?))) {
            fs::write(&self.pid, format!("{pid} {began}\n"))?;
        }
        Ok(child)
    }

    /// Keeps it running until `stop`, then ends it.
    pub async fn keep(self, say: Say, stop: CancellationToken) {
        let mut wait = FIRST;
        loop {
            let started = Instant::now();
            let why = match self.start() {
                Ok(mut child) => {
                    let ended = stop.run_until_cancelled(child.wait()).await;
                    let Some(ended) = ended else {
                        self.end(child).await;
                        return;
                    };
                    let _ = fs::remove_file(&self.pid);
                    said(ended)
                }
                Err(error) => format!("cannot be started: {error}"),
            };
            if started.elapsed() >= STEADY {
                wait = FIRST;
            }
            let tail = tail(&self.log);
            let tail = if tail.is_empty() { String::new() } else { format!("\n{tail}") };
            say.trouble(&format!(
                "{} {why}; it is started again in {} s. The end of {}:{tail}",
                self.name,
                wait.as_secs(),
                shown(&self.log)
            ));
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(LAST);
        }
    }

    async fn end(&self, mut child: Child) {
        if let Some(pid) = pid(&child) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(GRACE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        let _ = fs::remove_file(&self.pid);
    }
}

fn pid(child: &Child) -> Option<i32> {
    child.id().and_then(|pid| i32::try_from(pid).ok())
}

fn said(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("is lost: {error}"),
    }
}

/// When a process began, in the kernel's own count; nothing when there is none, or where the system does not tell.
fn beginning(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then_some(())?;
    fields.nth(18).map(str::to_owned)
}

/// The last lines of a log, indented.
pub fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let end = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
    last.iter()
        .map(|line| format!("  │ {}", line.chars().filter(|c| !c.is_control()).collect::<String>()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A script as a program.
    fn program(folder: &Path, script: &str) -> Program {
        let path = folder.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Program {
            name: "program",
            path,
            arguments: vec!["argument".into()],
            log: folder.join("program.log"),
            pid: folder.join("program.pid"),
        }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn what_dies_is_started_again_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "echo broken $1 >&2; exit 3");
        program.prepare().await.unwrap();
        let (say, told) = Say::to_test();
        let stop = CancellationToken::new();
        let (log, kept) = (program.log.clone(), tokio::spawn(program.keep(say, stop.clone())));
        until("two starts", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= 2)).await;
        stop.cancel();
        kept.await.unwrap();
        let told = told.lock().unwrap().join("\n");
        assert!(told.contains("program ended with exit status: 3; it is started again in 1 s."), "{told}");
        assert!(told.contains("  │ broken argument"), "{told}");
    }

    #[tokio::test]
    async fn it_is_ended_with_us_and_may_put_its_house_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'echo orderly; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let program = program(folder.path(), script);
        program.prepare().await.unwrap();
        let (log, noted) = (program.log.clone(), program.pid.clone());
        let (say, told) = Say::to_test();
        let stop = CancellationToken::new();
        let kept = tokio::spawn(program.keep(say, stop.clone()));
        let logged = || fs::read_to_string(&log).unwrap_or_default();
        until("the start", || logged().contains("up") && noted.exists()).await;
        stop.cancel();
        kept.await.unwrap();
        assert!(logged().ends_with("orderly\n") && !noted.exists());
        assert!(told.lock().unwrap().is_empty(), "an end that was asked for is no news");
    }

    #[tokio::test]
    async fn what_a_crash_has_left_is_ended_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "exec sleep 600");
        program.prepare().await.unwrap();
        let mut orphan = program.start().unwrap();
        assert!(program.pid.exists());
        let (prepared, ended) = tokio::join!(program.prepare(), orphan.wait());
        prepared.unwrap();
        assert!(!ended.unwrap().success());
        // A number that another process has by now is left alone.
        let other = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        fs::write(&program.pid, format!("{} 1\n", other.id().unwrap())).unwrap();
        program.prepare().await.unwrap();
        assert!(beginning(pid(&other).unwrap()).is_some());
    }

    #[test]
    fn what_is_not_there_is_told_with_how_to_get_it() {
        let Err(Stop::Failed(message, help)) = find("no-such-program") else { unreachable!("it is there") };
        assert_eq!(message, "no-such-program is not on the PATH");
        assert!(help.contains("https://prometheus.io/download"));
    }
}
