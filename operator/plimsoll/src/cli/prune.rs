//! Files of rules whose object is gone: named, or removed where that is wanted.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::{self, File},
    io::Read,
    path::Path,
};

use plimsoll_api::Kind;
use plimsoll_slo::SloId;

use super::{
    out::{self, Stop, failed},
    report::count,
};
use crate::{sinks, source::files::shown};

/// Bytes in which the comment stands that names the object.
const HEAD: u64 = 1024;
/// Names that a warning lists.
const LISTED: usize = 10;

/// Removes the files of `directory` that were written for objects not among `produced`, or warns of them.
/// Returns what the report adds, such as `, 2 removed`.
///
/// With `broken`, an object of this run could not be read, and any file may be that object's.
///
/// # Errors
/// When the directory cannot be listed, or a file cannot be removed.
pub fn prune(directory: &Path, produced: &HashSet<String>, remove: bool, broken: bool) -> Result<String, Stop> {
    if broken && !remove {
        return Ok(String::new());
    }
    let mut left = Vec::new();
    for entry in fs::read_dir(directory).map_err(|e| failed("list", directory, &e))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !produced.contains(&name) && is_ours(&entry.path(), &name) {
            left.push(name);
        }
    }
    left.sort();
    match (left.is_empty(), remove) {
        (true, _) => {}
        (false, true) if broken => out::stderr(&format!(
            "nothing removed, because an object has an error: {} of {} may be its own\n",
            count(left.len(), "file"),
            shown(directory)
        )),
        (false, true) => {
            for name in &left {
                let path = directory.join(name);
                fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))?;
            }
            File::open(directory).and_then(|d| d.sync_all()).map_err(|e| failed("write", directory, &e))?;
        }
        (false, false) => out::stderr(&warning(directory, &left)),
    }
    Ok(if remove && !broken { format!(", {} removed", left.len()) } else { String::new() })
}

fn warning(directory: &Path, left: &[String]) -> String {
    let directory = shown(directory);
    let (has, them) = if left.len() == 1 { ("a file", "it") } else { ("files", "them") };
    let mut text = format!("warning: {directory} has {has} of objects that are not there any more\n");
    for name in left.iter().take(LISTED) {
        let _ = writeln!(text, "  {name}");
    }
    if left.len() > LISTED {
        let _ = writeln!(text, "  and {} more", left.len() - LISTED);
    }
    let _ = writeln!(text, "  └ help: remove {them} with --prune");
    text
}

/// True for a file that `generate` has written: it begins with a comment that names an object, and has the
/// name that this object's file has.
fn is_ours(path: &Path, name: &str) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && object(&String::from_utf8_lossy(&head)).is_some_and(|id| names(&id).any(|own| own == name))
}

/// The object of `# shop/checkout-availability: 99.95 % over 30d, 23 rules` in one of the first two lines.
fn object(text: &str) -> Option<SloId> {
    let comment = text.lines().take(2).find_map(|line| line.strip_prefix("# "))?;
    let (id, _) = comment.split_once(": ")?;
    let (namespace, name) = id.split_once('/')?;
    Some(SloId { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn names(id: &SloId) -> impl Iterator<Item = String> {
    Kind::ALL.into_iter().map(move |kind| sinks::file_name(kind, id))
}
