//! Temporary folders of test runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result};
use tempfile::TempDir;

const START_OF_NAME: &str = "plimsoll-testbed-";

/// Set to keep the folders, for a look at the logs of a failed test.
pub const KEEP_VARIABLE: &str = "TESTBED_KEEP";

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Makes one. The first in a process also removes those of processes that were killed.
    pub fn new(what: &str) -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let prefix = format!("{START_OF_NAME}{}-{what}-", std::process::id());
        let mut folder = tempfile::Builder::new().prefix(&prefix).tempdir().context("making a temporary folder")?;
        folder.disable_cleanup(std::env::var_os(KEEP_VARIABLE).is_some());
        Ok(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path inside it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}

/// Writes a file in one step, so that no program that reads it just then sees half of it, or nothing.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, path).with_context(|| format!("writing {}", path.display()))
}

/// A killed process cannot remove its folders, so the next one does.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(START_OF_NAME)).and_then(|rest| rest.split('-').next());
        let ended = owner.is_some_and(|id| !Path::new("/proc").join(id).exists());
        if ended && std::env::var_os(KEEP_VARIABLE).is_none() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}
