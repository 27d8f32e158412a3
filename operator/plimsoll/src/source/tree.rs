//! YAML and JSON as trees of values that know where they stand in the text.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{
    ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle, options,
};

use super::{layout, scalar, unquoted};

/// Values that one document may have. A Kubernetes object is far smaller: etcd takes 1.5 MiB.
pub const MAX_VALUES: usize = 500_000;
/// Values that the aliases of one document may add. More is an alias bomb.
pub const MAX_ALIAS_VALUES: usize = 20_000;
/// Bytes of text that the aliases of one document may add.
const MAX_ALIAS_BYTES: usize = 1 << 20;
/// Faults of one document that are told. More are counted: to look for the words of each costs the length of its line.
const MAX_FAULTS: usize = 100;

/// Where something stands: bytes of the file, and the line, counted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
    /// Line of the first byte, from one.
    pub line: u32,
}

impl Pos {
    fn new(span: &Span) -> Self {
        let range = span.byte_range().unwrap_or_default();
        Self { start: clamp(range.start), end: clamp(range.end), line: clamp(span.start.line()).max(1) }
    }
}

/// Files over 16 MiB are refused, so positions fit by far.
pub(super) fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The value.
    pub data: Data<'a>,
    /// Its text; of a block collection only the first byte is meant.
    pub pos: Pos,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Data<'a> {
    /// Text, a number, a boolean or nothing, as written.
    Scalar {
        /// After unescaping and folding.
        text: Cow<'a, str>,
        /// How it is written.
        style: ScalarStyle,
        /// True when quotes, a block or a tag make it a string whatever it looks like.
        string: bool,
    },
    /// A list.
    List(Vec<Node<'a>>),
    /// A map, in the order of the file.
    Map(Vec<Entry<'a>>),
}

/// One key of a map.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// Where the key stands.
    pub pos: Pos,
    /// Its value.
    pub value: Node<'a>,
}

/// What is to be different from what is written.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Places of values that are taken as strings.
    pub strings: HashSet<Pos>,
    /// Places of keys that are left out.
    pub removed: HashSet<Pos>,
}

/// Text that is not a usable document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub pos: Pos,
    /// What is wrong.
    pub message: String,
    /// What this text does; may be empty.
    pub label: String,
    /// What to do; may be empty.
    pub help: String,
}

impl Fault {
    fn new(pos: Pos, message: impl Into<String>, label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { pos, message: message.into(), label: label.into(), help: help.into() }
    }
}

impl<'a> Node<'a> {
    /// The value of a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entry(key).map(|e| &e.value)
    }

    /// The key and its value, when this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// The text, when this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, string, .. } if *string || matches!(scalar::resolve(text), Value::String(_)) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// True for an empty document or a key without a value.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, string: false, .. } if scalar::resolve(text).is_null())
    }

    /// As `kubectl` would send it.
    pub fn to_json(&self) -> Value {
        self.to_json_with(&Changes::default())
    }

    /// Like [`Self::to_json`], but with some values changed.
    pub fn to_json_with(&self, changes: &Changes) -> Value {
        match &self.data {
            Data::Scalar { text, string, .. } if *string || changes.strings.contains(&self.pos) => {
                Value::String(text.clone().into_owned())
            }
            Data::Scalar { text, .. } => scalar::resolve(text),
            Data::List(items) => Value::Array(items.iter().map(|item| item.to_json_with(changes)).collect()),
            Data::Map(entries) => {
                let mut map = Map::new();
                for entry in entries.iter().filter(|e| !changes.removed.contains(&e.pos)) {
                    map.insert(entry.key.clone().into_owned(), entry.value.to_json_with(changes));
                }
                Value::Object(map)
            }
        }
    }

    /// Values and bytes of text in this tree.
    fn size(&self) -> (usize, usize) {
        match &self.data {
            Data::Scalar { text, .. } => (1, text.len()),
            Data::List(items) => items.iter().map(Node::size).fold((1, 0), add),
            Data::Map(entries) => entries.iter().map(|e| add(e.value.size(), (0, e.key.len()))).fold((1, 0), add),
        }
    }
}

fn add(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0 + b.0, a.1 + b.1)
}

/// The documents of a text, one after another; a broken one never stops the next.
pub struct Documents<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node<'a>>,
    faults: Vec<Fault>,
    /// Faults beyond those.
    more: usize,
    /// The first merge conflict of the text, once it was looked for.
    conflict: Option<Option<Fault>>,
    /// Its first line that a chart's template alone has, once it was looked for.
    chart: Option<Option<Fault>>,
    values: usize,
    alias_size: (usize, usize),
    /// What was read is not what was meant: a template, for example.
    garbled: bool,
    /// It was told that this is a template.
    template: bool,
    done: bool,
}

impl<'a> Documents<'a> {
    /// Documents of this text.
    pub fn new(text: &'a str) -> Self {
        let mut options: Options = options! {};
        options.set_emit_comments(false);
        Self {
            text,
            parser: Parser::new_from_str_with_options(text, options),
            anchors: HashMap::new(),
            faults: Vec::new(),
            more: 0,
            conflict: None,
            chart: None,
            values: 0,
            alias_size: (0, 0),
            garbled: false,
            template: false,
            done: false,
        }
    }

    /// Notes a fault, or that there is one more.
    fn fault(&mut self, fault: impl FnOnce() -> Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault());
        } else {
            self.more += 1;
        }
    }

    /// The parser's error in the words of the person who wrote the file.
    fn explain(&mut self, error: &ScanError) -> Fault {
        let text = self.text;
        // It is one of the whole text, in which any other line may be an error.
        let conflict = self.conflict.get_or_insert_with(|| layout::conflict(text)).clone();
        conflict.unwrap_or_else(|| {
            let fault = at_place(text, error);
            layout::template(text, fault.pos).or_else(|| self.chart()).unwrap_or(fault)
        })
    }

    /// Where the text is a chart's template, a fault that says so.
    fn chart(&mut self) -> Option<Fault> {
        let text = self.text;
        self.chart.get_or_insert_with(|| layout::chart(text)).clone()
    }

    /// What was noted.
    fn noted(&mut self) -> Vec<Fault> {
        let (mut faults, more) = (std::mem::take(&mut self.faults), std::mem::take(&mut self.more));
        // Whoever renders it has mended all of it, in whichever lines YAML stumbled.
        if let Some(template) = faults.iter().position(|fault| fault.help == layout::RENDER) {
            let template = faults.swap_remove(template);
            return if std::mem::replace(&mut self.template, true) { Vec::new() } else { vec![template] };
        }
        if let Some(last) = faults.last().filter(|_| more > 0) {
            let message = format!("{more} more mistakes in this document");
            faults.push(Fault::new(last.pos, message, "", "mend those above first"));
        }
        faults
    }

    /// `None` stands for a fault that was noted, after which the document cannot be read on.
    fn event(&mut self) -> Option<(Event<'a>, Pos)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let pos = Pos::new(&span);
                Some((event, pos))
            }
            Some(Err(error)) => {
                let fault = self.explain(&error);
                self.fault(|| fault);
                None
            }
            None => {
                self.done = true;
                None
            }
        }
    }

    fn document(&mut self) -> Option<Node<'a>> {
        let (event, pos) = self.event()?;
        let node = self.node(event, pos)?;
        match self.event()? {
            (Event::DocumentEnd, _) => Some(node),
            _ => None,
        }
    }

    fn node(&mut self, event: Event<'a>, pos: Pos) -> Option<Node<'a>> {
        self.values += 1;
        if self.values > MAX_VALUES {
            self.fault(|| {
                let message = format!("this document has more than {MAX_VALUES} values");
                Fault::new(pos, message, "", "split it into several files")
            });
            return None;
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let core = tag.as_deref().and_then(|t| t.core_suffix());
                let string = match core {
                    Some("str") => true,
                    Some(_) => false,
                    None => style != ScalarStyle::Plain || tag.is_some(),
                };
                // The parser gives a key without a value the text `~` at an empty place.
                let text = if pos.start == pos.end && style == ScalarStyle::Plain { Cow::Borrowed("") } else { text };
                (Node { data: Data::Scalar { text, style, string }, pos }, anchor)
            }
            Event::SequenceStart(style, anchor, _) => {
                let mut items = Vec::new();
                let mut whole = pos;
                loop {
                    let (event, at) = self.event()?;
                    if event == Event::SequenceEnd {
                        whole.end = if style == StructureStyle::Flow { at.end } else { pos.end };
                        break;
                    }
                    items.push(self.node(event, at)?);
                }
                (Node { data: Data::List(items), pos: whole }, anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let mut whole = pos;
                let entries = self.entries(&mut whole, style)?;
                (Node { data: Data::Map(entries), pos: whole }, anchor)
            }
            Event::Alias(id) => return self.alias(id, pos),
            _ => return None,
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn entries(&mut self, whole: &mut Pos, style: StructureStyle) -> Option<Vec<Entry<'a>>> {
        let mut entries = Entries::default();
        let mut merged: Vec<Node<'a>> = Vec::new();
        loop {
            let (event, pos) = self.event()?;
            if event == Event::MappingEnd {
                if style == StructureStyle::Flow {
                    whole.end = pos.end;
                }
                break;
            }
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match self.node(event, pos)? {
                Node { data: Data::Scalar { text, .. }, .. } => Some(text),
                _ => {
                    let (text, chart) = (self.text, self.chart());
                    let fault = || Fault::new(pos, "a key is a word, not a list or a map", "", layout::BRACES);
                    self.fault(|| layout::template(text, pos).or(chart).unwrap_or_else(fault));
                    self.garbled = true;
                    None
                }
            };
            let (event, at) = self.event()?;
            let value = self.node(event, at)?;
            if merge {
                merged.push(value);
                continue;
            }
            let Some(key) = key else { continue };
            if let Some(line) = entries.line_of(&key) {
                self.fault(|| {
                    let (message, label) = (format!("{key} is there twice"), format!("first on line {line}"));
                    Fault::new(pos, message, label, "remove one of them")
                });
                continue;
            }
            entries.push(Entry { key, pos, value });
        }
        for node in merged {
            self.merge(&mut entries, node);
        }
        Some(entries.list)
    }

    /// `<<: *defaults`: keys that are there already win.
    fn merge(&mut self, entries: &mut Entries<'a>, node: Node<'a>) {
        match node.data {
            Data::Map(more) => {
                for entry in more {
                    if entries.line_of(&entry.key).is_none() {
                        entries.push(entry);
                    }
                }
            }
            Data::List(items) => items.into_iter().for_each(|item| self.merge(entries, item)),
            Data::Scalar { .. } => self.fault(|| {
                Fault::new(node.pos, "<< takes the keys of another map", "this is no map", "write <<: *anchor")
            }),
        }
    }

    fn alias(&mut self, id: usize, pos: Pos) -> Option<Node<'a>> {
        let Some(target) = self.anchors.get(&id) else {
            self.fault(|| Fault::new(pos, "this alias stands inside of what it repeats", "", "write the value out"));
            return None;
        };
        // Measured before it is copied: the copy is what an alias bomb is after.
        self.alias_size = add(self.alias_size, target.size());
        if self.alias_size.0 > MAX_ALIAS_VALUES || self.alias_size.1 > MAX_ALIAS_BYTES {
            self.fault(|| {
                let label = format!("more than {MAX_ALIAS_VALUES} values or 1 MiB of text with this one");
                Fault::new(pos, "aliases make this document too large", label, "write the values out")
            });
            return None;
        }
        self.values += target.size().0;
        Some(target.clone())
    }
}

/// The keys of one map, with the line of each. Most maps are short, where a scan beats hashing; a
/// long one must not cost its length squared.
#[derive(Default)]
struct Entries<'a> {
    list: Vec<Entry<'a>>,
    lines: HashMap<Cow<'a, str>, u32>,
}

impl<'a> Entries<'a> {
    const SCANNED: usize = 32;

    fn line_of(&self, key: &str) -> Option<u32> {
        if self.list.len() <= Self::SCANNED {
            self.list.iter().find(|e| e.key == key).map(|e| e.pos.line)
        } else {
            self.lines.get(key).copied()
        }
    }

    fn push(&mut self, entry: Entry<'a>) {
        self.list.push(entry);
        if self.list.len() > Self::SCANNED {
            // All of them when the limit is passed, afterwards the new one only.
            let known = self.lines.len();
            self.lines.extend(self.list.iter().skip(known).map(|e| (e.key.clone(), e.pos.line)));
        }
    }
}

/// One document as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Document<'a> {
    /// Its values; nothing where it could not be read to its end.
    pub node: Option<Node<'a>>,
    /// What is wrong with its text. With some, what was read shows more mistakes, but is not to be used.
    pub faults: Vec<Fault>,
}

impl<'a> Iterator for Documents<'a> {
    type Item = Document<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        loop {
            match self.event() {
                Some((Event::DocumentStart(..), _)) => break,
                Some((Event::StreamEnd, _)) => {
                    self.done = true;
                    return None;
                }
                Some(_) => {}
                None if self.done => return None,
                None => return Some(Document { node: None, faults: self.recover() }),
            }
        }
        self.anchors.clear();
        self.values = 0;
        self.alias_size = (0, 0);
        self.garbled = false;
        Some(match self.document() {
            // Read to its end: the parser stands before the next document already.
            node @ Some(_) => Document { node: node.filter(|_| !self.garbled), faults: self.noted() },
            None => Document { node: None, faults: self.recover() },
        })
    }
}

impl Documents<'_> {
    /// Goes to the next `---` and hands out what was noted.
    fn recover(&mut self) -> Vec<Fault> {
        match self.parser.proceed_next_document() {
            Ok(more) => self.done |= !more,
            Err(error) => {
                let fault = self.explain(&error);
                // One conflict of a merge may be several faults.
                if self.faults.last() != Some(&fault) {
                    self.fault(|| fault);
                }
                self.done = true;
            }
        }
        self.noted()
    }
}

/// The parser's error, by its place alone.
fn at_place(text: &str, error: &ScanError) -> Fault {
    let marker = error.marker();
    let start = clamp(marker.byte_offset().unwrap_or(0));
    let tab = matches!(
        error.kind(),
        ErrorKind::TabInIndentation
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabNotAllowed
    );
    // Of a tab the scanner tells where it ends.
    let start = start.saturating_sub(u32::from(tab && marker.col() > 0));
    let pos = Pos { start, end: start, line: clamp(marker.line()).max(1) };
    let (message, label, help) = match error.kind() {
        _ if tab => ("a tab indents this line", String::new(), "YAML wants spaces: replace the tab"),
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("a quote is never closed", "opened here".to_owned(), "close it at the end of the value")
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            let help = match unquoted::requoted(text, start as usize) {
                Some(meant) => format!("put it in single quotes, with double ones inside: {meant}"),
                None => "close the quote that is open before it, or escape this one inside the value".to_owned(),
            };
            return Fault::new(pos, "text follows a closed quote", "", help);
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            ("a bracket is never closed", format!("{open} opened here"), "close it, or quote the value")
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            ("brackets do not match", format!("{close} closes {open}"), "close them in the order they were opened")
        }
        ErrorKind::RecursionLimitExceeded => ("nested deeper than 255 levels", String::new(), "flatten it"),
        ErrorKind::UnknownAnchor => (
            "this alias has no anchor",
            String::new(),
            "define it before with &name, or quote a value that begins with *",
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "unknown escape in double quotes",
            String::new(),
            "use single quotes, where a backslash is an ordinary character",
        ),
        ErrorKind::UnexpectedCharacter { character } => {
            ("this character cannot begin a value", format!("{character}"), "quote the value")
        }
        _ => {
            let words = reason(&error.info());
            return layout::fault(text, start as usize, pos.line, &words).unwrap_or_else(|| {
                let help = "quote values that hold ': ', ' #' or begin with a special character";
                Fault::new(pos, "this is not YAML", words, help)
            });
        }
    };
    Fault::new(pos, message, label, help)
}

/// `while parsing a flow mapping, did not find …`: what it was doing helps only its author.
fn reason(info: &str) -> String {
    let short = info.strip_prefix("while ").and_then(|rest| rest.split_once(", ")).map_or(info, |(_, what)| what);
    short.to_owned()
}
