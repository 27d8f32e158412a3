//! The folder with the state of `plimsoll up` and of what it starts. Files in it are whole: written beside, forced to
//! disk, renamed.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use plimsoll_api::RunbookExecution;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    cli::out::{self, Failure, Readers, Stop},
    source::files::{cause, shown},
};

/// The folder, which nobody else uses while this is kept.
#[derive(Debug)]
pub struct Data {
    path: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

/// While there is a file of this name, no runbook does anything.
pub const PAUSED: &str = "paused";

/// The folder of a directory that names none: in `$XDG_STATE_HOME`, or `~/.local/state`.
fn default_path(directory: &Path) -> Result<PathBuf, Stop> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    let Some(state) = state else {
        let message = "there is no state folder: neither XDG_STATE_HOME nor HOME is set".to_owned();
        return Err(Stop::Failed(message, "name a folder with --data".to_owned()));
    };
    let whole = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let hash: String =
        Sha256::digest(whole.as_os_str().as_encoded_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let name = whole.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(state.join("plimsoll").join("up").join(format!("{name}-{hash}")))
}

impl Data {
    /// Opens or makes it. The configurations in it may hold passwords: it is its owner's alone. One that was named
    /// and was there before stays open to whom it was.
    ///
    /// # Errors
    /// When it cannot be written to, or somebody else uses it.
    pub fn open(given: Option<&Path>, directory: &Path) -> Result<Self, Stop> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => default_path(directory)?,
        };
        for folder in [path.clone(), path.join("rules"), path.join("executions")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|error| out::failed("make folder", &folder, &error))?;
        }
        if given.is_none() {
            close(&path).map_err(|error| out::failed("close to others", &path, &error))?;
        }
        // Whoever is started with it needs its whole name.
        let path = fs::canonicalize(&path).map_err(|error| out::failed("open", &path, &error))?;
        let name = path.join("lock");
        let lock = File::create(&name).map_err(|error| out::failed("write", &name, &error))?;
        if lock.try_lock().is_err() {
            let message = format!("another plimsoll up works in {}", shown(&path));
            return Err(Stop::Failed(message, "end it, or name another folder with --data".to_owned()));
        }
        Ok(Self { path, _lock: lock })
    }

    /// Something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only its owner reads: configurations of servers hold passwords.
    ///
    /// # Errors
    /// When it cannot be written; then it is as it was.
    pub fn write(&self, name: impl AsRef<Path>, text: &str) -> Result<(), Stop> {
        let path = self.join(name);
        let closed = fs::metadata(&path).is_ok_and(|meta| meta.mode() & OTHERS == 0);
        if closed && fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        out::replace(&path, Readers::Owner, &mut |writer| writer.write_all(text.as_bytes()).map_err(Failure::from))
    }

    /// A file's text; nothing when there is none.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<String>, Stop> {
        match fs::read_to_string(self.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(out::failed("read", &self.join(name), &error)),
        }
    }

    /// A file that only its owner reads, made with a secret when there is none: a token of 64 characters.
    ///
    /// # Errors
    /// When it cannot be written, or the system gives no random numbers.
    pub fn token(&self) -> Result<PathBuf, Stop> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.join("token");
        if fs::read_to_string(&path).is_ok_and(|text| text.len() >= 64) {
            return Ok(path);
        }
        let mut bytes = [0u8; 32];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| Stop::Failed("the system gives no random numbers".to_owned(), String::new()))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let failed = |error: &std::io::Error| out::failed("write", &path, error);
        let _ = fs::remove_file(&path);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(|e| failed(&e))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| failed(&e))?;
        Ok(path)
    }

    /// Stores an execution; gives it as it is stored, which is what the next start reads: times have whole seconds.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store(&self, execution: &RunbookExecution) -> Result<RunbookExecution, String> {
        let text = json(execution)?;
        self.write(Path::new("executions").join(file_of(execution)), &text).map_err(|stop| match stop {
            Stop::Failed(message, _) => message,
            Stop::Quiet => String::new(),
        })?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Whether there is a file of this name, be it readable or not.
    pub fn has(&self, execution: &RunbookExecution) -> bool {
        // What cannot be seen may be there.
        self.join("executions").join(file_of(execution)).try_exists().unwrap_or(true)
    }

    /// Whether somebody has paused all runbooks by a file of the name [`PAUSED`]; `None` when that cannot be known.
    pub fn is_paused(&self) -> Option<bool> {
        self.join(PAUSED).try_exists().ok()
    }

    /// Removes an execution.
    pub fn remove(&self, execution: &RunbookExecution) {
        // What cannot be removed is read again at the next start, and removed then.
        let _ = fs::remove_file(self.join("executions").join(file_of(execution)));
    }

    /// All executions, and what is wrong with files that are none.
    pub fn executions(&self) -> (Vec<RunbookExecution>, Vec<String>) {
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        let folder = self.join("executions");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => return (all, vec![format!("{}: {}", shown(&folder), cause(&error))]),
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    wrong.push(format!("{}: {}", shown(&folder), cause(&error)));
                    continue;
                }
            };
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read = fs::read_to_string(&path).map_err(|error| cause(&error));
            match read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())) {
                Ok(execution) => all.push(execution),
                Err(why) => wrong.push(format!("{}: {why}", shown(&path))),
            }
        }
        (all, wrong)
    }
}

/// What a group and all others may do.
const OTHERS: u32 = 0o077;

/// Takes a folder from everybody but its owner.
fn close(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & OTHERS == 0 {
        return Ok(());
    }
    permissions.set_mode(permissions.mode() & !OTHERS);
    fs::set_permissions(path, permissions)
}

/// Neither a namespace nor a name has an underscore.
fn file_of(execution: &RunbookExecution) -> String {
    let metadata = &execution.metadata;
    format!(
        "{}_{}.json",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    )
}

fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn one_at_a_time_and_the_token_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(Some(folder.path()), Path::new(".")).unwrap();
        let Err(Stop::Failed(message, help)) = Data::open(Some(folder.path()), Path::new(".")) else {
            unreachable!("two have it")
        };
        assert!(message.starts_with("another plimsoll up works in ") && help.contains("--data"), "{message}");
        let token = fs::read_to_string(data.token().unwrap()).unwrap();
        assert_eq!(token.len(), 64);
        drop(data);
        let data = Data::open(Some(folder.path()), Path::new(".")).unwrap();
        assert_eq!(fs::read_to_string(data.token().unwrap()).unwrap(), token);
        assert_eq!(data.read("nothing").unwrap(), None);
    }

    #[test]
    fn nobody_else_reads_what_may_hold_a_password() {
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("data");
        let data = Data::open(Some(&new), Path::new(".")).unwrap();
        data.write("alertmanager.yml", "smtp_auth_password: hunter2").unwrap();
        assert_eq!((mode(&new), mode(&data.join("alertmanager.yml"))), (0o700, 0o600));
        // Also what an earlier version has left open, with the same text.
        fs::set_permissions(data.join("alertmanager.yml"), fs::Permissions::from_mode(0o644)).unwrap();
        data.write("alertmanager.yml", "smtp_auth_password: hunter2").unwrap();
        assert_eq!(mode(&data.join("alertmanager.yml")), 0o600);
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        drop(data);
        // What somebody has made and named is theirs; it may hold more than ours.
        drop(Data::open(Some(&new), Path::new(".")).unwrap());
        assert_eq!(mode(&new), 0o755);
        close(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
    }

    #[test]
    fn a_file_that_is_no_execution_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(Some(folder.path()), Path::new(".")).unwrap();
        let spec = serde_json::json!({"runbook": {"name": "a", "uid": "u", "generation": 1},
            "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": "2026-11-26T12:00:00Z"},
            "mode": "DryRun", "serviceAccountName": "a", "deadline": "1h", "cooldown": "1h",
            "steps": [{"name": "wait", "wait": "1m"}]});
        let mut execution = RunbookExecution::new("a-1", serde_json::from_value(spec).unwrap());
        execution.metadata.namespace = Some("shop".to_owned());
        assert!(!data.has(&execution));
        assert_eq!(data.store(&execution).unwrap(), execution);
        assert!(data.has(&execution));
        fs::write(data.join("executions/b.json"), "{").unwrap();
        let (all, wrong) = data.executions();
        assert_eq!(all, std::slice::from_ref(&execution));
        assert!(wrong.len() == 1 && wrong[0].contains("b.json"), "{wrong:?}");
        data.remove(&execution);
        assert!(data.executions().0.is_empty());
    }
}
