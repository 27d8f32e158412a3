//! Where results go: standard output, or files that are never torn.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::interrupt;
use crate::source::files::{cause, shown};

/// Why a command stops before its end.
#[derive(Debug)]
pub enum Stop {
    /// The reader of standard output went away; there is nobody to tell.
    Quiet,
    /// What happened, and what to do (may be empty).
    Failed(String, String),
}

/// Writes to standard output.
///
/// # Errors
/// [`Stop`], quiet when the reader is gone.
pub fn stdout(write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>) -> Result<(), Stop> {
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout());
    write(&mut out).and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::Quiet;
        }
        Stop::Failed(format!("cannot write to standard output: {}", cause(&error)), String::new())
    })
}

/// Writes to standard output what a command has found: its status says the same to a script whose reader wanted the first
/// lines only.
///
/// # Errors
/// [`Stop`], never quiet.
pub fn verdict(write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>) -> Result<(), Stop> {
    stdout(write).or_else(|stop| if matches!(stop, Stop::Quiet) { Ok(()) } else { Err(stop) })
}

/// Writes to standard error; nothing can be done when that fails.
pub fn stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A directory that files are put into, each whole or not at all.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    written: usize,
    /// Files that are as they are to be, and of how many, where that is known.
    done: usize,
    all: Option<usize>,
}

/// Begins and ends the names of files that are not whole yet.
const TEMPORARY: (&str, &str) = (".plimsoll-", ".tmp");

impl Directory {
    /// Opens or makes a directory, and removes what an interrupted run left in it.
    ///
    /// # Errors
    /// When it can neither be made nor listed.
    pub fn open(path: &Path) -> Result<Self, Stop> {
        fs::create_dir_all(path).map_err(|e| failed("make directory", path, &e))?;
        for entry in fs::read_dir(path).map_err(|e| failed("list", path, &e))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1) {
                remove_stale(&entry.path());
            }
        }
        Ok(Self { path: path.to_owned(), written: 0, done: 0, all: None })
    }

    /// Which will get so many files: that is what is said when it is interrupted.
    #[must_use]
    pub fn of(mut self, all: usize) -> Self {
        self.all = Some(all);
        self
    }

    /// Files that were changed.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Puts a file into the directory: written beside it, forced to disk, then renamed. A file that
    /// has this content already is left alone, so that nobody reloads it for nothing.
    ///
    /// # Errors
    /// When it cannot be written; the file that was there before stays as it was.
    pub fn put(&mut self, name: &str, content: &str) -> Result<(), Stop> {
        self.replace(name, content)?;
        self.done += 1;
        interrupt::undone(self.said(self.done));
        Ok(())
    }

    /// What is said when it is interrupted and so many files are done.
    fn said(&self, done: usize) -> String {
        let of = self.all.map(|all| format!(" of {all}")).unwrap_or_default();
        let place = shown(&self.path);
        format!("{done}{of} files in {place} are as they are to be, each of them whole; run it again for the others")
    }

    fn replace(&mut self, name: &str, content: &str) -> Result<(), Stop> {
        let target = self.path.join(name);
        if fs::read(&target).is_ok_and(|old| old == content.as_bytes()) {
            return Ok(());
        }
        let temporary = self.path.join(format!("{}{}-{name}{}", TEMPORARY.0, std::process::id(), TEMPORARY.1));
        let said = self.said(self.done + 1);
        let result =
            interrupt::temporary(|| Ok((File::create(&temporary)?, temporary.clone()))).and_then(|mut file| {
                // Held until the rename: another run that cleans up sees that this one lives.
                file.try_lock().map_err(io::Error::from)?;
                file.write_all(content.as_bytes())?;
                file.sync_all()?;
                interrupt::whole(said, || fs::rename(&temporary, &target))
            });
        if let Err(error) = result {
            let _ = fs::remove_file(&temporary);
            return Err(failed("write", &target, &error));
        }
        self.written += 1;
        Ok(())
    }

    /// Forces the names to disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(&self) -> Result<(), Stop> {
        if self.written == 0 {
            return Ok(());
        }
        File::open(&self.path).and_then(|d| d.sync_all()).map_err(|e| failed("write", &self.path, &e))
    }
}

/// Removes a temporary file unless its writer still holds it.
fn remove_stale(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) | Err(TryLockError::Error(_)) => {
            let _ = fs::remove_file(path);
        }
    }
}

/// Why the content of a file was not written.
#[derive(Debug)]
pub enum Failure {
    /// The file could not be written.
    Write(io::Error),
    /// There is no content.
    Stop(Stop),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Who may read a file that is written, on Unix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// As any new file: the umask takes away what it takes away.
    Umask,
    /// Its owner alone, whatever the umask is.
    Owner,
}

/// Writes one file: beside it, forced to disk, then renamed, so that it is whole or as it was.
///
/// # Errors
/// When it cannot be written, or there is no content.
pub fn replace(
    path: &Path,
    readers: Readers,
    content: &mut dyn FnMut(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Stop> {
    let write = |error: &io::Error| failed("write", path, error);
    if path.is_dir() {
        let help = "name a file in it".to_owned();
        return Err(Stop::Failed(format!("cannot write {}: it is a directory", shown(path)), help));
    }
    // A pipe or a device has no content to keep and no name to replace.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let mut file = io::BufWriter::new(File::options().write(true).open(path).map_err(|e| write(&e))?);
        return settle(content(&mut file).and_then(|()| Ok(file.flush()?)), path);
    }
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    #[cfg(not(unix))]
    let _ = readers;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = match readers {
            Readers::Umask => 0o666,
            Readers::Owner => 0o600,
        };
        temporary.permissions(fs::Permissions::from_mode(mode));
    }
    interrupt::undone(interrupt::as_it_was(path));
    let file = interrupt::temporary(|| {
        let file = temporary.tempfile_in(directory)?;
        let path = file.path().to_owned();
        Ok((file, path))
    });
    let file = file.map_err(|e| write(&e))?;
    let mut writer = io::BufWriter::with_capacity(64 << 10, file);
    settle(content(&mut writer), path)?;
    let file = writer.into_inner().map_err(|e| write(e.error()))?;
    file.as_file().sync_all().map_err(|e| write(&e))?;
    interrupt::whole(format!("{} is written", shown(path)), || file.persist(path).map_err(|e| e.error))
        .map_err(|e| write(&e))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| write(&e))
}

fn settle(result: Result<(), Failure>, path: &Path) -> Result<(), Stop> {
    result.map_err(|failure| match failure {
        Failure::Write(error) => failed("write", path, &error),
        Failure::Stop(stop) => stop,
    })
}

/// What to say of a file or directory that cannot be written.
pub fn failed(verb: &str, path: &Path, error: &io::Error) -> Stop {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a directory that you may write to"
        }
        io::ErrorKind::NotFound => "make its directory first",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room and run it again; the files that are there are whole"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "name a directory, not a file",
        _ => "",
    };
    Stop::Failed(format!("cannot {verb} {}: {}", shown(path), cause(error)), help.to_owned())
}
