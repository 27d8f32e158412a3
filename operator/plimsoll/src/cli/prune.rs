//! Files of rules whose object is gone: named, or removed where that is wanted. What is gone is known only of the
//! inputs that are read, so each file says in its first line which ones it was made of.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

use plimsoll_api::Kind;
use plimsoll_slo::SloId;

use super::{
    Paths,
    out::{self, Stop, failed},
    report::count,
};
use crate::{sinks, source::files::shown};

/// Bytes in which the comments stand that name the inputs and the object.
const HEAD: u64 = 4096;
/// Names that a warning lists.
const LISTED: usize = 10;
/// Begins the first line of a file.
const INPUTS: &str = "# inputs: ";
/// Characters of the inputs; longer ones end in a hash of all.
const INPUTS_MAX: usize = 300;

/// What a run reads, as the files tell that it writes: two runs with the same inputs know of the same objects.
#[derive(Debug)]
pub struct Inputs {
    text: String,
    /// False where nobody can tell whether a later run reads the same.
    lasting: bool,
}

impl Inputs {
    /// The paths relative to the directory that is written into, so that both may move together, and the namespace of
    /// objects that name none.
    pub fn of(directory: &Path, paths: &Paths) -> Self {
        let from = fs::canonicalize(directory).ok();
        let mut lasting = from.is_some();
        let mut all: Vec<String> = Vec::new();
        for path in &paths.paths {
            let real = if path.as_os_str() == "-" { None } else { fs::canonicalize(path).ok() };
            lasting &= real.is_some();
            let relative = real.zip(from.as_deref()).map(|(to, from)| relative(from, &to));
            all.push(shown(relative.as_deref().unwrap_or(path)));
        }
        all.sort();
        all.dedup();
        let mut text = serde_json::Value::from(all).to_string();
        if let Some(namespace) = &paths.namespace {
            let _ = write!(text, " -n {namespace}");
        }
        Self { text: sinks::shorten(&text, INPUTS_MAX), lasting }
    }

    /// The first line of a file.
    pub fn head(&self) -> String {
        format!("{INPUTS}{}\n", self.text)
    }
}

/// The way from one place to another; both are absolute and without links.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(shared)).collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

/// Removes the files of `directory` that were written for objects of the same inputs not among `produced`, or warns
/// of them. Returns what the report adds, such as `, 2 removed`.
///
/// With a `doubt`, any file may be that of an object which is there.
///
/// # Errors
/// When the directory cannot be listed, or a file cannot be removed.
pub fn prune(
    directory: &Path,
    produced: &HashSet<String>,
    inputs: &Inputs,
    remove: bool,
    doubt: Option<&str>,
) -> Result<String, Stop> {
    if doubt.is_some() && !remove {
        return Ok(String::new());
    }
    let (mut left, mut others) = (Vec::new(), 0);
    for entry in fs::read_dir(directory).map_err(|e| failed("list", directory, &e))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if produced.contains(&name) {
            continue;
        }
        match written_of(&entry.path(), &name) {
            Some(of) if inputs.lasting && of == inputs.text => left.push(name),
            Some(_) => others += 1,
            None => {}
        }
    }
    left.sort();
    let mut told = String::new();
    match (left.is_empty(), remove, doubt) {
        (true, false, _) | (true, true, Some(_)) => {}
        (false, true, Some(why)) => out::stderr(&format!(
            "nothing removed, because {why}: {} of {} may be its own\n",
            count(left.len(), "file"),
            shown(directory)
        )),
        (false, false, _) => out::stderr(&warning(directory, &left)),
        (_, true, None) => {
            for name in &left {
                let path = directory.join(name);
                fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))?;
            }
            if !left.is_empty() {
                File::open(directory).and_then(|d| d.sync_all()).map_err(|e| failed("write", directory, &e))?;
            }
            let _ = write!(told, ", {} removed", left.len());
        }
    }
    if remove && others > 0 && !inputs.lasting {
        let why = "standard input and pipes are not known again";
        out::stderr(&format!("nothing removed, since {why}: name files or directories\n"));
    }
    if others > 0 {
        let _ = write!(told, ", {others} of other inputs");
    }
    Ok(told)
}

fn warning(directory: &Path, left: &[String]) -> String {
    let directory = shown(directory);
    let (has, them) = if left.len() == 1 { ("a file", "it") } else { ("files", "them") };
    let mut text = format!("warning: {directory} has {has} of objects that are not among those given any more\n");
    for name in left.iter().take(LISTED) {
        let _ = writeln!(text, "  {name}");
    }
    if left.len() > LISTED {
        let _ = writeln!(text, "  and {} more", left.len() - LISTED);
    }
    let _ = writeln!(text, "  └ help: remove {them} with --prune");
    text
}

/// The inputs of a file that `generate` has written, empty where it says nothing of them: it begins with a comment that
/// names an object, and has the name that this object's file has.
fn written_of(path: &Path, name: &str) -> Option<String> {
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)).ok()?;
    let text = String::from_utf8_lossy(&head);
    let (inputs, text) = match text.strip_prefix(INPUTS).and_then(|rest| rest.split_once('\n')) {
        Some((inputs, rest)) => (inputs, rest),
        None => ("", &*text),
    };
    let id = object(text)?;
    Kind::ALL.into_iter().any(|kind| sinks::file_name(kind, &id) == name).then(|| inputs.to_owned())
}

/// The object of `# shop/checkout-availability: 99.95 % over 30d, 23 rules` in one of the first two lines.
fn object(text: &str) -> Option<SloId> {
    let comment = text.lines().take(2).find_map(|line| line.strip_prefix("# "))?;
    let (id, _) = comment.split_once(": ")?;
    let (namespace, name) = id.split_once('/')?;
    Some(SloId { namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_an_input_is_the_same_wherever_both_are() {
        for (from, to, way) in [
            ("/r/rules", "/r/slo", "../slo"),
            ("/r/rules", "/r/rules", "."),
            ("/r/rules", "/r/rules/slo/a.yaml", "slo/a.yaml"),
            ("/r/a/rules", "/r", "../.."),
            ("/shared", "/a/slo", "../a/slo"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(way));
        }
    }
}
