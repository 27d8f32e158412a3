//! Files that are made from the code: `crds/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use plimsoll_testbed::cargo;

use crate::command::{root, succeed};

const FOLDER: &str = "crds";

/// Makes `crds/` anew.
pub(crate) fn write() -> Result<()> {
    let folder = root()?.join(FOLDER);
    if folder.exists() {
        // What is no longer generated must not stay.
        fs::remove_dir_all(&folder)?;
    }
    generate(&folder)
}

/// Fails when `crds/` is not what the code makes.
pub(crate) fn check() -> Result<()> {
    let fresh = tempfile::tempdir()?;
    generate(fresh.path())?;
    let (wanted, found) = (contents(fresh.path())?, contents(&root()?.join(FOLDER))?);
    let names: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differing: Vec<_> = names.into_iter().filter(|name| wanted.get(*name) != found.get(*name)).collect();
    if !differing.is_empty() {
        bail!("{differing:?} in {FOLDER}/ differ from what the code makes: run `cargo xtask crds`");
    }
    Ok(())
}

fn generate(folder: &Path) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--package", "plimsoll", "--", "crds", "--output"]);
    command.arg(folder);
    succeed(command)
}

/// The files of a folder by their path in it; none when it is not there.
fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        if !current.exists() {
            continue;
        }
        for entry in fs::read_dir(&current)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(files)
}
