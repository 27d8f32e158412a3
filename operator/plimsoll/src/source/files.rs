//! Which files are meant, and their text.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Larger files are refused.
pub const MAX_BYTES: u64 = 16 << 20;

/// One text to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File {
        /// Where it is, as given or found.
        path: PathBuf,
        /// True when it was named itself, not found in a directory.
        named: bool,
    },
}

/// A path that yields nothing, or a text that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong; names the file.
    pub message: String,
    /// What to do.
    pub help: String,
    /// True for a directory that was read and holds no file of ours: that may be meant.
    pub empty: bool,
}

impl Trouble {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), empty: false }
    }
}

/// Files behind paths: directories are searched for `*.yaml`, `*.yml` and `*.json`, hidden entries
/// left out, each file once, in a fixed order. Every path that yields nothing is a trouble.
pub fn expand(paths: &[PathBuf]) -> (Vec<Input>, Vec<Trouble>) {
    let (mut inputs, mut troubles) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut stdin = false;
    for path in paths {
        if path.as_os_str() == "-" {
            if !std::mem::replace(&mut stdin, true) {
                inputs.push(Input::Stdin);
            }
            continue;
        }
        match fs::metadata(path) {
            Err(error) => troubles.push(unreadable(path, &error)),
            Ok(meta) if meta.is_dir() => directory(path, &mut seen, &mut inputs, &mut troubles),
            // A file that is no regular one, like `<(…)` of a shell, has no other name.
            Ok(_) => {
                if fs::canonicalize(path).map_or(true, |real| seen.insert(real)) {
                    inputs.push(Input::File { path: path.clone(), named: true });
                }
            }
        }
    }
    (inputs, troubles)
}

fn directory(root: &Path, seen: &mut BTreeSet<PathBuf>, inputs: &mut Vec<Input>, troubles: &mut Vec<Trouble>) {
    let mut any = false;
    let mut folder = Folder::default();
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let wanted = |path: &Path| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    // Links are followed, because a mounted ConfigMap is made of them.
    let walk = walkdir::WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|e| e.depth() == 0 || !hidden(e.file_name())) {
        let entry = match entry {
            Ok(entry) => entry,
            // A link that leads back up shows nothing new.
            Err(error) if error.loop_ancestor().is_some() => continue,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) && !wanted(&path) {
                    continue;
                }
                let cause = error.into_io_error().unwrap_or_else(|| io::Error::other("cannot be listed"));
                troubles.push(unreadable(&path, &cause));
                any = true;
                continue;
            }
        };
        if !wanted(entry.path()) || !entry.file_type().is_file() {
            continue;
        }
        any = true;
        if folder.real(&entry).map_or(true, |real| seen.insert(real)) {
            inputs.push(Input::File { path: entry.into_path(), named: false });
        }
    }
    if !any {
        let message = format!("{} has no .yaml, .yml or .json file", shown(root));
        let help = "name a directory with files of SLOs, AlertRules or Runbooks, or the files themselves".to_owned();
        troubles.push(Trouble { message, help, empty: true });
    }
}

/// Where the last folder really is: its files follow each other, and each would be asked for all parts of its path.
#[derive(Default)]
struct Folder(Option<(PathBuf, PathBuf)>);

impl Folder {
    /// Where a file really is.
    fn real(&mut self, entry: &walkdir::DirEntry) -> io::Result<PathBuf> {
        let Some(parent) = entry.path().parent().filter(|_| !entry.path_is_symlink() && entry.depth() > 0) else {
            return fs::canonicalize(entry.path());
        };
        match &self.0 {
            Some((path, real)) if path == parent => Ok(real.join(entry.file_name())),
            _ => {
                let real = fs::canonicalize(parent)?;
                let file = real.join(entry.file_name());
                self.0 = Some((parent.to_owned(), real));
                Ok(file)
            }
        }
    }
}

impl Input {
    /// As it stands in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File { path, .. } => shown(path),
        }
    }

    /// True when it was named itself, so that everything in it is meant.
    pub fn is_named(&self) -> bool {
        !matches!(self, Self::File { named: false, .. })
    }

    /// The whole text.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is no text.
    pub fn read(&self) -> Result<String, Trouble> {
        let name = self.name();
        let bytes = match self {
            Self::Stdin => bounded(io::stdin().lock()),
            Self::File { path, .. } => fs::File::open(path).and_then(bounded),
        };
        let bytes = match (bytes, self) {
            (Ok(bytes), _) => bytes,
            (Err(error), Self::File { path, .. }) => return Err(unreadable(path, &error)),
            (Err(error), Self::Stdin) => {
                return Err(Trouble::new(format!("cannot read standard input: {}", cause(&error)), ""));
            }
        };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Trouble::new(format!("{name} is larger than 16 MiB"), "split it into several files"));
        }
        text(bytes, &name).map(|text| if is_json(&text) { without_tabs(text) } else { text })
    }
}

/// One byte more than allowed shows that there is too much, without reading all of it.
fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    // Room for nearly every file, so that one is read by two calls and not by six.
    let mut bytes = Vec::with_capacity(4 << 10);
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>, name: &str) -> Result<String, Trouble> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Trouble::new(format!("{name} is UTF-16 text"), "save it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(Trouble::new(format!("{name} is a binary file"), "name YAML or JSON files only"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(good).filter(|b| **b == b'\n').count() + 1;
        Trouble::new(format!("{name} is not UTF-8 text: line {line} has a wrong byte"), "save it as UTF-8")
    })
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// JSON may be indented with tabs, which YAML forbids. No string of JSON holds a bare tab, so each
/// can become one space, and every position stays.
fn without_tabs(text: String) -> String {
    if text.contains('\t') { text.replace('\t', " ") } else { text }
}

/// What to say of a path that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    let name = shown(path);
    match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            Trouble::new(format!("{name} is a link to nothing"), "mend or remove the link")
        }
        io::ErrorKind::NotFound => Trouble::new(format!("{name} does not exist"), "check the path"),
        io::ErrorKind::PermissionDenied => {
            Trouble::new(format!("{name} cannot be read: permission denied"), format!("allow it with: chmod +r {name}"))
        }
        _ => Trouble::new(format!("{name} cannot be read: {}", cause(error)), ""),
    }
}

/// The operating system's words without its number.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let short = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = short.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

/// A path for a message: readable, on one line.
pub fn shown(path: &Path) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.display().to_string().chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
