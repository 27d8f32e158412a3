//! Files that are made from the code: `crds/` and `docs/reference/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use plimsoll_testbed::plimsoll;

use crate::command::{root, succeed};
use crate::reference;

const CRDS: &str = "crds";
const REFERENCE: &str = "docs/reference";

/// Makes them anew.
pub(crate) fn write() -> Result<()> {
    let root = root()?;
    for folder in [CRDS, REFERENCE].map(|folder| root.join(folder)) {
        if folder.exists() {
            // What is no longer generated must not stay.
            fs::remove_dir_all(&folder)?;
        }
    }
    generate(&root)
}

/// Fails when they are not what the code makes.
pub(crate) fn check() -> Result<()> {
    let (root, fresh) = (root()?, tempfile::tempdir()?);
    generate(fresh.path())?;
    for folder in [CRDS, REFERENCE] {
        let (wanted, found) = (contents(&fresh.path().join(folder))?, contents(&root.join(folder))?);
        let names: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
        let differing: Vec<_> = names.into_iter().filter(|name| wanted.get(*name) != found.get(*name)).collect();
        if !differing.is_empty() {
            bail!("{differing:?} in {folder}/ differ from what the code makes: run `cargo xtask crds`");
        }
    }
    Ok(())
}

/// Makes both folders below another one.
fn generate(below: &Path) -> Result<()> {
    let (crds, program) = (below.join(CRDS), plimsoll(false)?);
    let mut command = Command::new(&program);
    command.args(["crds", "--output"]).arg(&crds);
    succeed(command)?;
    reference::write(&below.join(REFERENCE), &crds, &program)
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
