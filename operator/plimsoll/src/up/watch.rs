//! When the files of a directory have changed: looked at again and again, so that it works on every file system and no
//! event can be lost. A change counts once nothing changes any more, so that a checkout of hundreds of files is one.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::source::{Input, expand};

/// How often it is looked while nothing changes.
const LOOK: Duration = Duration::from_millis(700);
/// How often while something does: so long nothing may change.
const QUIET: Duration = Duration::from_millis(200);
/// What changes for longer is taken as it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Git's lock while it changes the working tree. One that is left behind by a crash is not waited for longer.
const GIT_PATIENCE: Duration = Duration::from_secs(30);

/// A number that changes with the names, sizes, times and inodes of all files that are read. What is hidden is not,
/// `.git` neither.
pub fn fingerprint(directory: &Path) -> u64 {
    let (inputs, troubles) = expand(&[directory.to_owned()]);
    let mut hasher = DefaultHasher::new();
    for trouble in troubles {
        trouble.message.hash(&mut hasher);
    }
    for input in inputs {
        let Input::File { path, .. } = input else { continue };
        path.hash(&mut hasher);
        if let Ok(meta) = fs::metadata(&path) {
            (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
                .hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Whether a change that began then is over.
#[derive(Clone, Copy, Debug)]
struct Change {
    since: Instant,
    last: u64,
}

/// Decides from what is seen when a change is worth to be read.
#[derive(Debug)]
pub struct Watcher {
    /// What was read.
    read: u64,
    change: Option<Change>,
}

impl Watcher {
    /// After what has this fingerprint was read.
    pub fn new(read: u64) -> Self {
        Self { read, change: None }
    }

    /// Takes what is seen now; true when it is to be read. `busy`: Git is at work in the directory.
    pub fn sees(&mut self, seen: u64, busy: bool, now: Instant) -> bool {
        let Some(change) = self.change else {
            if seen != self.read {
                self.change = Some(Change { since: now, last: seen });
            }
            return false;
        };
        let waited = now.duration_since(change.since);
        let quiet = seen == change.last;
        if busy && waited < GIT_PATIENCE || !quiet && waited < PATIENCE {
            self.change = Some(Change { last: seen, ..change });
            return false;
        }
        self.change = None;
        // What is back as it was is nothing to read.
        std::mem::replace(&mut self.read, seen) != seen
    }

    /// When it is to be looked again.
    pub fn pause(&self) -> Duration {
        if self.change.is_some() { QUIET } else { LOOK }
    }
}

/// Whether Git changes the working tree that the directory is in.
fn git_is_busy(directory: &Path) -> bool {
    let Ok(directory) = fs::canonicalize(directory) else { return false };
    directory.ancestors().find_map(git_of).is_some_and(|git| git.join("index.lock").exists())
}

/// Where Git has the index of a working tree with this root. In a worktree and in a submodule, `.git` is a file with the
/// line `gitdir: PATH`.
fn git_of(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    Some(root.join(text.strip_prefix("gitdir:")?.trim()))
}

/// Sends a word for each change, until `stop`. `read` is the fingerprint of what was read first.
pub async fn run(directory: PathBuf, read: u64, changed: tokio::sync::mpsc::Sender<()>, stop: CancellationToken) {
    let mut watcher = Watcher::new(read);
    while stop.run_until_cancelled(tokio::time::sleep(watcher.pause())).await.is_some() {
        let folder = directory.clone();
        let looked = tokio::task::spawn_blocking(move || (fingerprint(&folder), git_is_busy(&folder)));
        let Ok((seen, busy)) = looked.await else { continue };
        if watcher.sees(seen, busy, Instant::now()) && changed.send(()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_counts_when_it_is_over() {
        let (mut watcher, start) = (Watcher::new(1), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(!watcher.sees(1, false, at(0)));
        // Hundreds of files, one after the other, are one change.
        assert!(!watcher.sees(2, false, at(100)));
        assert!(!watcher.sees(3, false, at(300)));
        assert!(watcher.sees(3, false, at(500)));
        assert!(!watcher.sees(3, false, at(700)));
        // There and back again is none.
        assert!(!watcher.sees(4, false, at(800)));
        assert!(!watcher.sees(3, false, at(1000)));
        assert!(!watcher.sees(3, false, at(1200)));
    }

    #[test]
    fn what_never_ends_is_read_all_the_same_and_git_is_waited_for() {
        let (mut watcher, start) = (Watcher::new(0), Instant::now());
        let read = |watcher: &mut Watcher, busy: bool, from: u64| {
            (0..400).find(|&i| {
                let (number, passed) = (from + i, Duration::from_millis(200 * i));
                watcher.sees(number, busy, start + Duration::from_secs(1000 * from) + passed)
            })
        };
        assert_eq!(read(&mut watcher, false, 1), Some(25), "5 s");
        assert_eq!(read(&mut watcher, true, 1000), Some(150), "30 s: a lock that a crash has left");
        // As long as Git is at work, also a pause of it is no end.
        let mut watcher = Watcher::new(0);
        assert!(!watcher.sees(1, true, start) && !watcher.sees(1, true, start + QUIET));
        assert!(watcher.sees(1, false, start + QUIET * 2));
    }

    #[test]
    fn every_kind_of_change_is_seen_and_git_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut last = fingerprint(folder.path());
        let mut differs = |what: &str| {
            let now = fingerprint(folder.path());
            assert_ne!(std::mem::replace(&mut last, now), now, "{what}");
        };
        fs::write(path("a.yaml"), "a").unwrap();
        differs("a new file");
        fs::write(path(".b"), "b").unwrap();
        fs::rename(path(".b"), path("a.yaml")).unwrap();
        differs("another file of the same size in its place");
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/c.yml"), "c").unwrap();
        differs("in a folder");
        fs::remove_file(path("a.yaml")).unwrap();
        differs("a deletion");
        fs::create_dir(path(".git")).unwrap();
        fs::write(path(".git/c.yaml"), "c").unwrap();
        fs::write(path("README.md"), "c").unwrap();
        assert_eq!(fingerprint(folder.path()), last);
        assert!(!git_is_busy(&path("sub")));
        fs::write(path(".git/index.lock"), "").unwrap();
        assert!(git_is_busy(&path("sub")));
    }

    #[test]
    fn git_is_seen_where_its_folder_is_somewhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (tree, git, link) in [
            (
                "worktree/slo",
                "main/.git/worktrees/worktree",
                path("main/.git/worktrees/worktree").display().to_string(),
            ),
            ("super/module/slo", "super/.git/modules/module", "../.git/modules/module".to_owned()),
        ] {
            fs::create_dir_all(path(tree)).unwrap();
            fs::create_dir_all(path(git)).unwrap();
            fs::write(path(tree).parent().unwrap().join(".git"), format!("gitdir: {link}\n")).unwrap();
            assert!(!git_is_busy(&path(tree)), "{tree}");
            fs::write(path(git).join("index.lock"), "").unwrap();
            assert!(git_is_busy(&path(tree)), "{tree}");
        }
        // What is at work around a submodule changes nothing in it.
        fs::remove_file(path("super/.git/modules/module/index.lock")).unwrap();
        fs::write(path("super/.git/index.lock"), "").unwrap();
        assert!(!git_is_busy(&path("super/module/slo")) && git_is_busy(&path("super")));
    }
}
