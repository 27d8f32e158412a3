//! Rules as files in a directory that Prometheus reads (`rule_files: [DIRECTORY/*.yaml]`), and a
//! request that makes it read them again.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use plimsoll_slo::RuleSet;

use super::{RuleSink, SinkError, Target, Written, file_name, kubernetes::chain};
use crate::operator::gate::{GateLayer, RULE_FILE};

/// First line of every file; kind and id of the object follow. A file without it is not ours.
const HEADER: &str = "# Written by Plimsoll, do not edit. ";

/// How long a reload may take: with thousands of groups Prometheus reads them for half a minute and more, and whoever gives
/// up earlier asks for the same again.
const RELOAD: Duration = Duration::from_secs(120);

/// A directory of rule files.
#[derive(Debug)]
pub struct RuleFiles {
    directory: PathBuf,
    reload: Option<Reload>,
    /// Held for reading by whoever writes or removes a file: a reload waits for those that have begun.
    writing: tokio::sync::RwLock<()>,
    gate: GateLayer,
}

#[derive(Debug)]
struct Reload {
    client: reqwest::Client,
    url: String,
    /// Counts changes. A reload covers all changes before its start and waits for those under way, so many writers
    /// share one.
    changed: AtomicU64,
    /// Counts reloads that have begun.
    begun: AtomicU64,
    /// Held while one is under way.
    last: tokio::sync::Mutex<Last>,
}

/// The reload that has ended last.
#[derive(Debug, Default)]
struct Last {
    /// Which it was, counted from 1.
    number: u64,
    /// So many changes Prometheus has read.
    covered: u64,
    /// Why it failed. So it did for all who asked before it began; otherwise each of them would wait for one of its own.
    failed: Option<Failure>,
}

/// Why a reload failed, and what to do.
#[derive(Clone, Debug)]
struct Failure {
    cause: String,
    remedy: &'static str,
}

/// Where nothing there reloads.
const ADDRESS: &str = "correct reloadUrl, and start Prometheus with --web.enable-lifecycle";
/// Where Prometheus has read its files, and refused one of them: its answer does not say which.
const REFUSED: &str = "Prometheus goes on with the rules it had: its log names the file that it refuses, of this object or of another; \
                       correct that one, promtool check rules tells the same";
const SLOW: &str = "wait: it is asked again";

impl RuleFiles {
    /// A backend that writes into `directory` and then posts to `reload_url`.
    pub fn new(directory: PathBuf, reload_url: Option<String>, client: reqwest::Client, gate: GateLayer) -> Arc<Self> {
        let reload = reload_url.map(|url| Reload {
            client,
            url,
            // One change is assumed at the start: the process may have ended between a write and its reload.
            changed: AtomicU64::new(1),
            begun: AtomicU64::new(0),
            last: tokio::sync::Mutex::default(),
        });
        Arc::new(Self { directory, reload, writing: tokio::sync::RwLock::default(), gate })
    }

    fn path(&self, target: &Target) -> PathBuf {
        self.directory.join(file_name(target.kind, &target.slo_id()))
    }

    async fn apply(&self, target: &Target, rules: &RuleSet) -> Result<Written, SinkError> {
        let path = self.path(target);
        let text =
            contents(target, rules).map_err(|cause| SinkError::Refused { what: self.describe(target), cause })?;
        let what = self.describe(target);
        let id = owner(target);
        let gate = self.gate.clone();
        let begun = self.writing.read().await;
        let written = blocking(what.clone(), move || write(&path, &id, &text, &what, &gate)).await;
        // One that failed may have come as far as to put the file there, which is found unchanged then.
        if matches!(written, Ok(Written::Changed) | Err(SinkError::Unavailable { .. })) {
            self.changed();
        }
        drop(begun);
        let written = written?;
        self.reload(target, "written").await?;
        Ok(written)
    }

    async fn remove(&self, target: &Target) -> Result<Written, SinkError> {
        let path = self.path(target);
        let what = self.describe(target);
        let id = owner(target);
        let gate = self.gate.clone();
        let begun = self.writing.read().await;
        let written = blocking(what.clone(), move || remove(&path, &id, &what, &gate)).await?;
        if written == Written::Changed {
            self.changed();
        }
        drop(begun);
        self.reload(target, "removed").await?;
        Ok(written)
    }

    fn changed(&self) {
        if let Some(reload) = &self.reload {
            reload.changed.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn reload(&self, target: &Target, done: &'static str) -> Result<(), SinkError> {
        let Some(reload) = &self.reload else { return Ok(()) };
        let failed = |Failure { cause, remedy }| {
            let (what, url) = (self.describe(target), reload.url.clone());
            SinkError::Unread { what, done, url, cause, remedy }
        };
        let needed = reload.changed.load(Ordering::SeqCst);
        let asked = reload.begun.load(Ordering::SeqCst);
        let mut last = reload.last.lock().await;
        if last.covered >= needed {
            return Ok(());
        }
        if let Some(cause) = last.failed.as_ref().filter(|_| last.number > asked) {
            return Err(failed(cause.clone()));
        }
        drop(self.writing.write().await);
        let number = reload.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let covers = reload.changed.load(Ordering::SeqCst);
        let done = reload.post().await;
        let covered = if done.is_ok() { covers } else { last.covered };
        *last = Last { number, covered, failed: done.clone().err() };
        done.map_err(failed)
    }
}

impl Reload {
    async fn post(&self) -> Result<(), Failure> {
        let answer = match self.client.post(&self.url).timeout(RELOAD).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() && !error.is_connect() => {
                let cause = format!("no answer within {} s; it may still be reading", RELOAD.as_secs());
                return Err(Failure { cause, remedy: SLOW });
            }
            Err(error) => return Err(Failure { cause: chain(&error.without_url()), remedy: ADDRESS }),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = crate::prometheus::bounded_text(answer, 2048).await;
        let cause = format!("{status} {}", body.trim()).trim_end().to_owned();
        let remedy = if status == reqwest::StatusCode::INTERNAL_SERVER_ERROR { REFUSED } else { ADDRESS };
        Err(Failure { cause, remedy })
    }
}

async fn blocking<T: Send + 'static>(
    what: String,
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(SinkError::Unavailable { what, cause: error.to_string() }))
}

fn contents(target: &Target, rules: &RuleSet) -> Result<String, String> {
    let yaml = serde_saphyr::to_string(rules).map_err(|e| e.to_string())?;
    Ok(format!("{HEADER}{}\n{yaml}", owner(target)))
}

/// `SLO: shop/checkout`
fn owner(target: &Target) -> String {
    format!("{}: {}", target.kind, target.id())
}

/// What stands in the file, `None` when there is none.
fn read(path: &Path, id: &str, what: &str) -> Result<Option<String>, SinkError> {
    let failed = |cause: String| SinkError::Unavailable { what: what.to_owned(), cause };
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    match text.lines().next().and_then(|line| line.strip_prefix(HEADER)) {
        Some(owner) if owner == id => Ok(Some(text)),
        Some(owner) => Err(SinkError::NotOurs { what: what.to_owned(), owner: format!("is of {owner}") }),
        None => Err(SinkError::NotOurs { what: what.to_owned(), owner: "was not written by Plimsoll".to_owned() }),
    }
}

fn write(path: &Path, id: &str, text: &str, what: &str, gate: &GateLayer) -> Result<Written, SinkError> {
    if read(path, id, what)?.is_some_and(|old| old == text) {
        return Ok(Written::Unchanged);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    // Written beside, made durable, then renamed: a reader sees the old file or the new one.
    let replace = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".plimsoll").suffix(".tmp").tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Prometheus runs as another user.
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        std::fs::File::open(directory)?.sync_all()
    };
    gate.at_once(RULE_FILE, || {
        replace().map_err(|error| SinkError::Unavailable { what: what.to_owned(), cause: error.to_string() })
    })?;
    Ok(Written::Changed)
}

fn remove(path: &Path, id: &str, what: &str, gate: &GateLayer) -> Result<Written, SinkError> {
    match read(path, id, what) {
        Ok(Some(_)) => {}
        // Somebody else's file stays, and nothing of ours is left.
        Ok(None) | Err(SinkError::NotOurs { .. }) => return Ok(Written::Unchanged),
        Err(error) => return Err(error),
    }
    gate.at_once(RULE_FILE, || match std::fs::remove_file(path) {
        Ok(()) => Ok(Written::Changed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Written::Unchanged),
        Err(error) => Err(SinkError::Unavailable { what: what.to_owned(), cause: error.to_string() }),
    })
}

impl RuleSink for RuleFiles {
    fn describe(&self, target: &Target) -> String {
        format!("file {}", self.path(target).display())
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }

    fn advice(&self) -> Option<String> {
        Some(format!("see that rule_files in its configuration has {}/*.yaml, and its log", self.directory.display()))
    }

    /// Files are small, and all that are written at a time share a reload.
    fn at_once(&self) -> usize {
        1000
    }

    fn is_reloading(&self) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.last.try_lock().is_err())
    }

    fn is_outside(&self) -> bool {
        true
    }

    fn write<'a>(&'a self, target: &'a Target, rules: &'a RuleSet) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.apply(target, rules))
    }

    fn delete<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.remove(target))
    }
}
