//! A configuration file read with all of its mistakes: each with its line, its field and what to do.

use std::{fmt, path::Path};

use plimsoll_api::{Problem, shape};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use crate::{
    cli::mend,
    source::{Documents, Node, path},
};

/// More mistakes than this are hardly told apart; it bounds the work too.
const MOST: usize = 50;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its line, from one.
    pub line: u32,
    /// The field; empty where the text itself is wrong.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, field, message, help } = self;
        write!(f, "{line}: ")?;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)?;
        if help.is_empty() { Ok(()) } else { write!(f, "; {help}") }
    }
}

/// All mistakes of a file, one a line.
pub(super) fn told(path: &Path, mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("{}:{mistake}", path.display())).collect();
    match lines.as_slice() {
        [one] => one.clone(),
        many => format!("{} mistakes in the configuration\n  {}", many.len(), many.join("\n  ")),
    }
}

/// Reads a text; `check` adds what its type cannot know.
///
/// # Errors
/// All mistakes, in the order of the lines.
pub(super) fn read<T: DeserializeOwned + Default>(
    text: &str,
    check: impl FnOnce(&T, &mut Vec<Problem>),
) -> Result<T, Vec<Mistake>> {
    let mut documents = Documents::new(text).filter(|read| !read.node.as_ref().is_some_and(Node::is_null));
    let Some(document) = documents.next() else { return Ok(T::default()) };
    let mut mistakes: Vec<Mistake> = document
        .faults
        .into_iter()
        .map(|fault| Mistake {
            line: fault.pos.line,
            field: String::new(),
            message: labelled(&fault.message, &fault.label),
            help: fault.help,
        })
        .collect();
    if let Some(second) = documents.next() {
        let line = second.node.map_or(0, |node| node.pos.line);
        let (message, help) = ("a configuration is one document".to_owned(), "remove what follows ---".to_owned());
        mistakes.push(Mistake { line: line.max(1), field: String::new(), message, help });
    }
    let Some(root) = document.node else { return Err(mistakes) };
    let mut problems = Vec::new();
    let value = root.to_json();
    let (config, mended) = if value.is_object() {
        typed(&value, &mut problems)
    } else {
        let help = "write a map: {field: value}";
        problems.push(Problem::error("", "this is no configuration").help(help));
        (None, Vec::new())
    };
    if let Some(config) = &config {
        let mut more = Vec::new();
        check(config, &mut more);
        // What stands in for a wrong value is no mistake of the author's.
        let stands_in = |path: &str| {
            mended
                .iter()
                .filter_map(|field| path.strip_prefix(field))
                .any(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        more.retain(|problem| !stands_in(&problem.path));
        problems.extend(more);
    }
    mistakes.extend(problems.into_iter().map(|problem| {
        let key = mend::is_unknown_field(&problem);
        let line = path::place(&root, text, &problem.path, None, key).line;
        let message = labelled(&problem.message, &problem.label);
        Mistake { line, field: problem.path, message, help: problem.help }
    }));
    mistakes.sort_by_key(|mistake| mistake.line);
    match config.filter(|_| mistakes.is_empty()) {
        Some(config) => Ok(config),
        None => Err(mistakes),
    }
}

fn labelled(message: &str, label: &str) -> String {
    if label.is_empty() { message.to_owned() } else { format!("{message} ({label})") }
}

/// The typed value, with what its type refuses taken out or replaced so that the rest is judged too, and the fields of
/// which that is true.
fn typed<T: DeserializeOwned>(value: &Value, problems: &mut Vec<Problem>) -> (Option<T>, Vec<String>) {
    let mut value = value.clone();
    let mut mended: Vec<String> = Vec::new();
    for _ in 0..2 * MOST {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(config) => return (Some(config), mended),
            Err(error) => error,
        };
        let mut keys = Vec::new();
        for segment in error.path() {
            match segment {
                Segment::Map { key } => keys.push(Step::Key(key.clone())),
                Segment::Enum { variant } => keys.push(Step::Key(variant.clone())),
                Segment::Seq { index } => keys.push(Step::Index(*index)),
                Segment::Unknown => {}
            }
        }
        let words = error.inner().to_string();
        let complaint = Complaint::of(&words);
        if let Some(field) = complaint.field
            && keys.last() != Some(&Step::Key(field.to_owned()))
        {
            keys.push(Step::Key(field.to_owned()));
        }
        let field = spelled(&keys);
        // What is wrong because something below it was taken out has been told.
        if !mended.iter().any(|known| mend::concerns(known, &field)) {
            problems.push(complaint.problem(&field, value_at(&value, &keys)));
        }
        if problems.len() >= MOST || keys.is_empty() {
            break;
        }
        // Something must stand there, and of a list no other entry may change its number.
        let replaced = complaint.missing || matches!(keys.last(), Some(Step::Index(_)));
        let stand_in = (replaced && !mended.contains(&field)).then(|| json!(""));
        mended.push(field);
        put(&mut value, &keys, stand_in);
    }
    (None, mended)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `backends.a.labels[1]`
fn spelled(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Key(key) => {
                out += if out.is_empty() { "" } else { "." };
                out += key;
            }
            Step::Index(index) => out += &format!("[{index}]"),
        }
    }
    out
}

fn value_at<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// Puts something at a place, or takes away what is there, or the nearest above it that is.
fn put(value: &mut Value, steps: &[Step], new: Option<Value>) {
    let there = |n: &usize| new.is_some() || steps.get(..*n).is_some_and(|steps| value_at(value, steps).is_some());
    let Some(depth) = (1..=steps.len()).rev().find(there) else { return };
    let Some((step, way)) = steps.get(..depth).and_then(<[Step]>::split_last) else { return };
    let parent = way.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(*index),
    });
    match (step, parent, new) {
        (Step::Key(key), Some(Value::Object(map)), Some(new)) => drop(map.insert(key.clone(), new)),
        (Step::Key(key), Some(Value::Object(map)), None) => drop(map.remove(key)),
        (Step::Index(index), Some(Value::Array(items)), new) if *index < items.len() => {
            items.splice(*index..=*index, new).for_each(drop);
        }
        _ => {}
    }
}

/// What a type says of a value that it refuses.
struct Complaint<'w> {
    words: &'w str,
    /// The field below the place that is told, if one is meant.
    field: Option<&'w str>,
    /// True when it is not there.
    missing: bool,
    /// What could be written instead.
    choices: Vec<&'w str>,
}

impl<'w> Complaint<'w> {
    fn of(words: &'w str) -> Self {
        let mut quoted = words.split('`').skip(1).step_by(2);
        let unknown = words.starts_with("unknown field") || words.starts_with("unknown variant");
        let missing = words.starts_with("missing field");
        let field = if unknown || missing { quoted.next() } else { None };
        Self { words, field, missing, choices: if unknown { quoted.collect() } else { Vec::new() } }
    }

    fn problem(&self, path: &str, value: Option<&Value>) -> Problem {
        let name = path.rsplit('.').next().unwrap_or(path);
        let shown = |name: &str| if name.is_empty() { "the configuration".to_owned() } else { name.to_owned() };
        match self.field {
            Some(field) if self.missing => Problem::error(path, format!("{field} is missing")).help("add it"),
            Some(field) => {
                let help = match self.choices.as_slice() {
                    [] => "remove it".to_owned(),
                    choices => shape::suggest(field, choices),
                };
                Problem::error(path, format!("unknown field {field}")).help(help)
            }
            None if value.is_some_and(Value::is_null) => {
                Problem::error(path, format!("{} is empty", shown(name))).help("give it a value or remove the field")
            }
            None => {
                let (found, wanted) = self.words.split_once(", expected ").unwrap_or((self.words, ""));
                let found = found.split_once(": ").map_or(found, |(_, found)| found);
                let help = match wanted {
                    "" => String::new(),
                    "a string" if value.is_some_and(|value| value.is_number() || value.is_boolean()) => {
                        value.map(|value| format!("write \"{value}\" in quotes")).unwrap_or_default()
                    }
                    // The words of the type are those of Rust.
                    wanted if wanted.starts_with("struct") || wanted.contains("enum") || wanted == "a map" => {
                        "write a map: {field: value}".to_owned()
                    }
                    "u16" => "write a whole number".to_owned(),
                    "a sequence" => "write a list: [a, b]".to_owned(),
                    wanted => format!("write {wanted}"),
                };
                Problem::error(path, format!("{} is of a wrong kind", shown(name))).label(found).help(help)
            }
        }
    }
}
