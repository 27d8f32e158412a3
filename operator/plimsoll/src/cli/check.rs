//! Everything that can be said about files without a server: each document read, each object checked
//! against its schema and its rules, and the objects against each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use plimsoll_api::{API_VERSION, Kind, Level, Problem, runbook::Mode, shape};
use plimsoll_slo::{AnyModel, SloId};
use serde_json::Value;

pub use super::named::namespace;
use super::{
    classify::{Document, classify},
    graph, help,
    judge::{Usable, judge},
    kinds::{self, AnyKind},
    many, mend,
    named::{NAME_MAX, NAMESPACE_MAX, dns},
    parallel,
    report::{Diagnostic, Lines, Place},
};
use crate::source::{self, Documents, Fault, Input, Node, Pos, Trouble, expand, files::shown, json, path, tree::Data};

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// The usable objects that become rules, in the order of the files.
    pub models: Vec<AnyModel>,
    /// The usable runbooks, in the order of the files: nothing is generated of them.
    pub runbooks: Vec<plimsoll_runbook::Model>,
    /// All problems, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// Files and other texts that were read.
    pub files: usize,
    /// Objects of this API group.
    pub objects: usize,
    /// Objects of other groups, which were left alone.
    pub skipped: usize,
    /// Usable objects that name no namespace.
    pub bare: usize,
    /// True when something that was asked for could not be read.
    pub unread: bool,
    /// What was asked for: `slo, stdin`.
    pub asked: String,
    /// The first object that has the name of a kind of ours and another API: `slo/a.yaml:1 is an SLO of openslo/v1`.
    /// That it is left alone is right, or its author's slip.
    pub namesake: Option<String>,
    /// Every object with a name that becomes rules or runs; only by [`objects`].
    pub found: Vec<Found>,
    /// Files in which an object may be hidden by a mistake, with what is wrong first.
    pub hiding: BTreeMap<Arc<str>, String>,
}

/// An object of a name, usable or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its kind.
    pub kind: AnyKind,
    /// Namespace and name.
    pub id: SloId,
    /// The file that it is in.
    pub file: Arc<str>,
    /// The object, its namespace filled in; or what is wrong with it, with file and line.
    pub object: Result<Value, String>,
}

impl Checked {
    /// Number of problems of a level.
    pub fn count(&self, level: Level) -> usize {
        self.diagnostics.iter().filter(|d| d.level == level).count()
    }
}

/// Files that are read and checked at once, on all cores, while their texts are kept.
const BATCH: usize = 256;
/// Documents of a large file that are checked at once. Fewer, since their trees are all there before the first is
/// checked, and take many times the text.
const TREES: usize = 64;
/// Bytes of text after which a batch is checked though it is not full.
const BATCH_BYTES: usize = 1 << 20;

/// Reads and checks all files behind `paths`. Objects without a namespace get `namespace`.
pub fn check(paths: &[PathBuf], namespace: &str) -> Checked {
    read(paths, How { namespace, keep: false, destinations: None, elsewhere: false }, false)
}

/// Like [`check`], for who asks a server for what a composite is made of.
pub fn check_beside_server(paths: &[PathBuf], namespace: &str) -> Checked {
    read(paths, How { namespace, keep: false, destinations: None, elsewhere: true }, false)
}

/// Like [`check`], also of directories that hold no file any more: for who asks what has gone.
pub fn check_emptied(paths: &[PathBuf], namespace: &str) -> Checked {
    read(paths, How { namespace, keep: false, destinations: None, elsewhere: false }, true)
}

/// Like [`check_emptied`], with the objects themselves: for who goes on serving them. `destinations`: those that Runbooks may
/// name, where they are known.
pub fn objects(paths: &[PathBuf], namespace: &str, destinations: Option<&[String]>) -> Checked {
    read(paths, How { namespace, keep: true, destinations, elsewhere: false }, true)
}

fn read(paths: &[PathBuf], how: How<'_>, emptied: bool) -> Checked {
    let (inputs, mut troubles) = expand(paths);
    troubles.retain(|trouble| !(emptied && trouble.empty));
    let checked = Checked { asked: asked(paths), ..Checked::default() };
    let mut checker = Checker {
        how,
        checked,
        seen: HashMap::new(),
        composites: Vec::new(),
        runbooks: Vec::new(),
        told: HashSet::new(),
        tools: HashSet::new(),
    };
    for trouble in troubles {
        checker.trouble(trouble, 0);
    }
    let mut files = Vec::new();
    let mut bytes = 0;
    for (i, input) in inputs.iter().enumerate() {
        match input.read() {
            Ok(text) => {
                bytes += text.len();
                // What comes through a pipe may be any objects, but there are some.
                let meant = input.is_named() && (*input != Input::Stdin || text.trim().is_empty());
                files.push(File::new(input.name().into(), text, i + 1, (input.is_named(), meant)));
            }
            Err(trouble) => checker.trouble(trouble, i + 1),
        }
        if files.len() >= BATCH || bytes >= BATCH_BYTES {
            checker.files(&files);
            files.clear();
            bytes = 0;
        }
    }
    checker.files(&files);
    checker.finish()
}

/// Paths for a message, the first of many.
fn asked(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = paths.iter().take(SHOWN).map(|path| shown(path)).collect();
    for name in names.iter_mut().filter(|name| *name == "-") {
        *name = Input::Stdin.name();
    }
    if paths.len() > SHOWN {
        names.push(format!("{} more", paths.len() - SHOWN));
    }
    names.join(", ")
}

/// How documents are read.
#[derive(Clone, Copy)]
struct How<'c> {
    /// Of objects that name none.
    namespace: &'c str,
    /// Whether the objects themselves are wanted.
    keep: bool,
    /// The destinations that Runbooks may name, where they are known.
    destinations: Option<&'c [String]>,
    /// Whether somebody else knows the SLOs that are not in the files.
    elsewhere: bool,
}

struct Checker<'c> {
    how: How<'c>,
    checked: Checked,
    /// Where each name was seen first, whether or not the object is usable.
    seen: HashMap<(AnyKind, SloId), (Arc<str>, u32)>,
    composites: Vec<graph::Composite>,
    /// Runbooks that objects name.
    runbooks: Vec<graph::Part>,
    /// Numbers of the files of which something was told, or that hold an object of ours.
    told: HashSet<usize>,
    /// Numbers of the files of which it was told that they are another tool's.
    tools: HashSet<usize>,
}

/// A file that was read.
struct File {
    name: Arc<str>,
    text: String,
    number: usize,
    named: bool,
    /// Whether an object of ours must be in it.
    meant: bool,
    lines: OnceLock<Lines>,
    /// What a reader of JSON refuses in it.
    not_json: OnceLock<Vec<Fault>>,
}

impl File {
    fn new(name: Arc<str>, text: String, number: usize, (named, meant): (bool, bool)) -> Self {
        Self { name, text, number, named, meant, lines: OnceLock::new(), not_json: OnceLock::new() }
    }

    fn place(&self, pos: Pos) -> Place {
        Place::new(&self.name, &self.text, self.lines.get_or_init(|| Lines::new(&self.text)), pos)
    }

    /// Where it is meant as JSON, what is none.
    fn not_json(&self) -> &[Fault] {
        let meant = || json::is_meant(&self.name, &self.text);
        self.not_json.get_or_init(|| if meant() { json::faults(&self.text) } else { Vec::new() })
    }

    fn problem(&self, root: &Node<'_>, mut problem: Problem) -> Diagnostic {
        help::spell(root, &self.text, &mut problem);
        let key = problem.of_key || mend::is_unknown_field(&problem);
        let pos = path::place(root, &self.text, &problem.path, problem.span.as_ref(), key);
        Diagnostic::problem(problem, self.place(pos), (self.number, pos.start))
    }

    fn fault(&self, fault: Fault) -> Diagnostic {
        let pos = fault.pos;
        Diagnostic::fault(fault, self.place(pos), (self.number, pos.start))
    }
}

/// What one object yields when it is looked at alone.
#[derive(Default)]
struct Finding {
    diagnostics: Vec<Diagnostic>,
    /// False for objects of other groups; nothing of what is no object.
    ours: Option<bool>,
    /// True when it names no namespace.
    bare: bool,
    id: Option<(AnyKind, SloId, Pos)>,
    usable: Option<Usable>,
    composite: Option<graph::Composite>,
    runbooks: Vec<graph::Part>,
    namesake: Option<String>,
    /// What is said of a document of another SLO tool, once in a file.
    tool: Option<Diagnostic>,
    kept: Option<Found>,
}

impl Checker<'_> {
    fn trouble(&mut self, trouble: Trouble, file: usize) {
        self.checked.unread = true;
        self.checked.diagnostics.push(Diagnostic::trouble(trouble, file));
    }

    fn files(&mut self, files: &[File]) {
        self.read(files);
        for file in files.iter().filter(|file| file.meant && !self.told.contains(&file.number)) {
            let message = format!("{} holds no SLO, AlertRule or Runbook", file.name);
            let help =
                format!("name files with apiVersion: {API_VERSION}, or a directory, in which others are left alone");
            self.checked.diagnostics.push(Diagnostic::trouble(Trouble { message, help, empty: false }, file.number));
        }
        // Other files of a directory are other programs', but nobody means to have one that holds nothing.
        for file in files.iter().filter(|file| !file.meant && is_blank(&file.text)) {
            let message = format!("{} holds no object", file.name);
            let help = "write one into it, or remove it".to_owned();
            let told = Diagnostic::trouble(Trouble { message, help, empty: false }, file.number);
            self.checked.diagnostics.push(Diagnostic { level: Level::Warning, ..told });
        }
    }

    fn read(&mut self, files: &[File]) {
        self.checked.files += files.len();
        let how = self.how;
        if files.len() > 1 && files.iter().map(|file| file.text.len()).sum::<usize>() <= 2 * BATCH_BYTES {
            let read = parallel::map(files, |file| {
                let documents = Documents::new(&file.text).enumerate();
                documents.flat_map(|(number, read)| findings(file, number, &read, how)).collect::<Vec<_>>()
            });
            for (file, findings) in files.iter().zip(read) {
                findings.into_iter().for_each(|finding| self.merge(file, finding));
            }
            return;
        }
        // Some documents at a time: the trees of a large file take many times its size.
        let mut batch = Vec::new();
        for file in files {
            for (number, document) in Documents::new(&file.text).enumerate() {
                batch.push((file, number, document));
                if batch.len() >= TREES {
                    self.batch(&batch);
                    batch.clear();
                }
            }
        }
        self.batch(&batch);
    }

    fn batch(&mut self, batch: &[(&File, usize, source::Document<'_>)]) {
        let how = self.how;
        let found = parallel::map(batch, |(file, number, read)| findings(file, *number, read, how));
        for ((file, ..), findings) in batch.iter().zip(found) {
            findings.into_iter().for_each(|finding| self.merge(file, finding));
        }
    }

    /// Notes that what is wrong may be an object of any name.
    fn hides(&mut self, file: &File, wrong: &[Diagnostic]) {
        if let Some(first) = wrong.iter().find(|one| one.level == Level::Error) {
            self.checked.hiding.entry(file.name.clone()).or_insert_with(|| first.line());
        }
    }

    /// In the order of the files, so that of two objects with one name it is always the second that
    /// is wrong.
    fn merge(&mut self, file: &File, finding: Finding) {
        let Finding { diagnostics, ours, bare, id, mut usable, composite, runbooks, namesake, tool, mut kept } =
            finding;
        self.checked.namesake = self.checked.namesake.take().or(namesake);
        if ours == Some(true) || !diagnostics.is_empty() || tool.is_some() {
            self.told.insert(file.number);
        }
        self.checked.diagnostics.extend(tool.filter(|_| self.tools.insert(file.number)));
        match ours {
            Some(true) => self.checked.objects += 1,
            Some(false) => self.checked.skipped += 1,
            None => {}
        }
        if id.is_none() {
            self.hides(file, &diagnostics);
        }
        self.checked.diagnostics.extend(diagnostics);
        if let Some((kind, id, pos)) = id {
            match self.seen.get(&(kind, id.clone())) {
                Some((name, line)) => {
                    let problem = Problem::error("metadata.name", format!("{kind} {id} is there twice"))
                        .label(format!("first in {name}:{line}"))
                        .help("rename or remove one of them");
                    let diagnostic = Diagnostic::problem(problem, file.place(pos), (file.number, pos.start));
                    self.checked.diagnostics.push(diagnostic);
                    usable = None;
                    kept = None;
                }
                None => {
                    self.seen.insert((kind, id), (file.name.clone(), pos.line));
                }
            }
        }
        self.checked.found.extend(kept);
        match usable {
            Some(Usable::Rules(model)) => {
                self.checked.bare += usize::from(bare);
                self.composites.extend(composite);
                self.runbooks.extend(runbooks);
                self.checked.models.push(model);
            }
            Some(Usable::Runbook(model)) => self.checked.runbooks.push(*model),
            None => {}
        }
    }

    fn finish(mut self) -> Checked {
        let found = graph::check(&self.composites, &self.seen, self.how.elsewhere);
        self.checked.diagnostics.extend(found.diagnostics);
        self.checked.diagnostics.extend(graph::runbooks(&self.runbooks, &self.seen));
        let unfit = graph::unfit(&self.runbooks, &self.checked.models, &self.checked.runbooks);
        self.checked.diagnostics.extend(unfit);
        let now = jiff::Timestamp::now().as_second();
        self.checked.diagnostics.extend(graph::exclusions(&self.composites, &self.checked.models, now));
        self.checked.models.retain(|m| m.kind() != Kind::Slo || !found.broken.contains(m.id()));
        self.checked.diagnostics.sort_by(|a, b| a.order.cmp(&b.order).then(a.level.cmp(&b.level)));
        // One line may break two documents, and is one mistake.
        self.checked.diagnostics.dedup_by(|b, a| a.order == b.order && a.level == b.level && a.line() == b.line());
        self.checked
    }
}

/// Whether a text is nothing but comments and marks between documents.
fn is_blank(text: &str) -> bool {
    let nothing = |line: &str| line.is_empty() || line.starts_with('#') || matches!(line, "---" | "...");
    text.trim_start_matches('\u{feff}').lines().all(|line| nothing(line.trim()))
}

/// What one document yields: an object, or the objects of a List. Of a text with faults it is told what else is wrong,
/// and nothing is used.
fn findings(file: &File, number: usize, read: &source::Document<'_>, how: How<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(node) = read.node.as_ref().filter(|node| !node.is_null()) {
        document(file, node, how, &mut findings);
    }
    let not_json = if read.faults.is_empty() { file.not_json() } else { &[] };
    if !read.faults.is_empty() || !not_json.is_empty() {
        for finding in &mut findings {
            (finding.usable, finding.composite) = (None, None);
        }
        // What the whole file is not is told with its first document.
        let of_file = not_json.iter().filter(|_| number == 0);
        let diagnostics = read.faults.iter().chain(of_file).map(|fault| file.fault(fault.clone())).collect();
        findings.push(Finding { diagnostics, ..Finding::default() });
    }
    findings
}

fn document(file: &File, node: &Node<'_>, how: How<'_>, findings: &mut Vec<Finding>) {
    let wrong =
        |problem| Finding { diagnostics: vec![file.problem(node, problem)], ours: Some(true), ..Finding::default() };
    let namesake = |kind: AnyKind, api: &str| {
        let article = if matches!(kind, AnyKind::Rules(_)) { "an" } else { "a" };
        Some(format!("{}:{} is {article} {kind} of {api}", file.name, node.pos.line))
    };
    findings.push(match classify(node, file.named) {
        Document::Foreign => Finding { ours: Some(false), ..Finding::default() },
        Document::Namesake(kind, api) => {
            Finding { namesake: namesake(kind, &api), ours: Some(false), ..Finding::default() }
        }
        Document::Tool(problem) => {
            let tool = Some(file.problem(node, problem));
            // Its name may be a slip all the same.
            let named = |key| node.get(key).and_then(Node::as_str);
            let kind = named("kind").and_then(AnyKind::parse);
            let namesake = kind.and_then(|kind| namesake(kind, named("apiVersion").unwrap_or_default()));
            Finding { tool, namesake, ours: Some(false), ..Finding::default() }
        }
        Document::Wrong(problem) => wrong(problem),
        Document::List => match node.get("items").map(|n| &n.data) {
            Some(Data::List(items)) => {
                return items.iter().for_each(|item| document(file, item, how, findings));
            }
            _ => wrong(Problem::error("items", "a List has items").help("add items: [...]")),
        },
        Document::Object(kind) => object(file, node, kind, how),
    });
}

fn object(file: &File, node: &Node<'_>, kind: AnyKind, how: How<'_>) -> Finding {
    let mut value = node.to_json();
    let mut problems = Vec::new();
    envelope(kind, &value, &mut problems);
    match value.get("spec") {
        Some(spec) => {
            let before = problems.len();
            shape::check(spec, kinds::spec_schema(kind), "spec", &mut problems);
            for problem in problems.iter_mut().skip(before).filter(|p| mend::is_unknown_field(p)) {
                if problem.path.strip_prefix("spec.").is_some_and(|field| has(kinds::metadata_schema(), field)) {
                    problem.help = "move it: it belongs under metadata".to_owned();
                }
            }
        }
        None if value.pointer("/metadata/spec").is_some() => {}
        None => {
            let fields: Vec<&str> = mend::required(kinds::spec_schema(kind)).collect();
            let help = match fields.as_slice() {
                [] => "add it".to_owned(),
                fields => format!("add spec with {}", fields.join(" and ")),
            };
            problems.push(Problem::error("spec", "spec is missing").help(help));
        }
    }
    let mut more = many::cut(&mut problems);
    let mut mended = Vec::new();
    if !problems.is_empty() {
        let required: Vec<&str> = mend::required(kinds::spec_schema(kind)).collect();
        problems.iter_mut().for_each(|problem| help::improve(problem, &value, &required));
        (value, mended) = mend::mend(node, kind, &problems);
    }
    let bare = value.pointer("/metadata/namespace").is_none();
    let id = identify(&mut value, how.namespace)
        .map(|id| (kind, id, path::place(node, &file.text, "metadata.name", None, false)));
    let mut finding = Finding { ours: Some(true), bare, id, ..Finding::default() };
    finding.usable = judge(kind, &value, &mut problems, &mended);
    help::once(&mut problems);
    if let (Some(Usable::Runbook(model)), Some(known)) = (&finding.usable, how.destinations) {
        problems.extend(unknown_destinations(model, known));
    }
    if let Some(Usable::Rules(model)) = &finding.usable {
        finding.composite = composite(file, node, model);
        finding.runbooks = runbooks(file, node, model, &value);
    }
    more += many::cut(&mut problems);
    many::tell(more, &mut problems);
    finding.diagnostics = problems.into_iter().map(|p| file.problem(node, p)).collect();
    if let Some((_, id, _)) = finding.id.as_ref().filter(|_| how.keep && kind.is_served()) {
        let wrong: Vec<String> =
            finding.diagnostics.iter().filter(|one| one.level == Level::Error).map(Diagnostic::line).collect();
        let object = if wrong.is_empty() { Ok(value) } else { Err(wrong.join("; ")) };
        finding.kept = Some(Found { kind, id: id.clone(), file: file.name.clone(), object });
    }
    finding
}

/// Warns of destinations that the configuration lacks: of a Runbook that would do something, and will not.
fn unknown_destinations(model: &plimsoll_runbook::Model, known: &[String]) -> Vec<Problem> {
    if matches!(model.mode, Mode::Off | Mode::DryRun) {
        return Vec::new();
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let lacking = model.destinations().into_iter().filter(|(_, name)| !names.contains(name));
    let warnings = lacking.map(|(path, name)| {
        let near =
            shape::nearest(name, names.iter().copied(), 1).first().map(|near| format!("did you mean {near}? Else "));
        let add = "add it to runbooks.destinations of that file, and start again";
        Problem::warning(path, format!("the file of --runbooks has no destination {name}"))
            .help(format!("{}{add}", near.unwrap_or_default()))
    });
    warnings.collect()
}

/// The object's name; its namespace is filled in.
fn identify(value: &mut Value, namespace: &str) -> Option<SloId> {
    let metadata = value.get_mut("metadata")?.as_object_mut()?;
    let namespace = metadata.entry("namespace").or_insert_with(|| namespace.into()).as_str()?.to_owned();
    // Empty stands for one that is no name.
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?.to_owned();
    Some(SloId { namespace, name })
}

fn composite(file: &File, node: &Node<'_>, model: &AnyModel) -> Option<graph::Composite> {
    let names = model.parts();
    if names.is_empty() {
        return None;
    }
    let weighted = path::find(node, "spec.sli.composite.weighted").exact;
    let part = |(i, name): (usize, &str)| {
        let at = if weighted {
            format!("spec.sli.composite.weighted[{i}].slo")
        } else {
            format!("spec.sli.composite.worstOf[{i}]")
        };
        mention(file, node, model, at, name)
    };
    Some(graph::Composite { id: model.id().clone(), parts: names.into_iter().enumerate().map(part).collect() })
}

/// The Runbooks that an object names.
fn runbooks(file: &File, node: &Node<'_>, model: &AnyModel, value: &Value) -> Vec<graph::Part> {
    let list = |path: String, holder: &Value| -> Vec<(String, String)> {
        let names = holder.get("runbooks").and_then(Value::as_array).into_iter().flatten();
        let named =
            names.enumerate().filter_map(|(i, name)| Some((format!("{path}.runbooks[{i}]"), name.as_str()?.into())));
        named.collect()
    };
    let Some(spec) = value.get("spec") else { return Vec::new() };
    let rules = spec.get("rules").and_then(Value::as_array).into_iter().flatten().enumerate();
    let of_rules = rules.flat_map(|(i, rule)| list(format!("spec.rules[{i}]"), rule));
    let all = list("spec".to_owned(), spec).into_iter().chain(of_rules);
    all.map(|(path, name)| mention(file, node, model, path, &name)).collect()
}

/// One mention of an object in the same namespace.
fn mention(file: &File, node: &Node<'_>, model: &AnyModel, path: String, name: &str) -> graph::Part {
    let pos = path::place(node, &file.text, &path, None, false);
    graph::Part {
        by: model.id().clone(),
        id: SloId { namespace: model.id().namespace.clone(), name: name.to_owned() },
        path,
        place: file.place(pos),
        order: (file.number, pos.start),
    }
}

/// Whether a map of this schema has a field of this name.
fn has(schema: &Value, field: &str) -> bool {
    schema.get("properties").and_then(|properties| properties.get(field)).is_some()
}

/// The part of an object that every kind shares.
fn envelope(kind: AnyKind, value: &Value, problems: &mut Vec<Problem>) {
    const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in value.as_object().into_iter().flat_map(|m| m.keys()).filter(|k| !FIELDS.contains(&k.as_str())) {
        let help = if has(kinds::spec_schema(kind), key) {
            "indent it: it belongs under spec".to_owned()
        } else if has(kinds::metadata_schema(), key) {
            format!("it belongs under metadata: write metadata: {{{key}: ...}}")
        } else {
            shape::suggest(key, &FIELDS)
        };
        problems.push(Problem::error(key.as_str(), format!("unknown field {key}")).help(help));
    }
    let Some(metadata) = value.get("metadata") else {
        problems.push(Problem::error("metadata", "metadata is missing").help("add metadata: {name: ...}"));
        return;
    };
    shape::check(metadata, kinds::metadata_schema(), "metadata", problems);
    for problem in problems.iter_mut().filter(|p| mend::is_unknown_field(p)) {
        match problem.path.strip_prefix("metadata.") {
            Some("spec") => problem.help = "indent it like metadata".to_owned(),
            Some(field) if has(kinds::spec_schema(kind), field) => {
                problem.help = "move it: it belongs under spec".to_owned();
            }
            _ => {}
        }
    }
    let text = |key: &str| metadata.get(key).and_then(Value::as_str);
    if let Some(name) = text("name") {
        dns(name, "name", NAME_MAX, true, problems);
    }
    if let Some(namespace) = text("namespace") {
        dns(namespace, "namespace", NAMESPACE_MAX, false, problems);
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
