//! What a person got wrong in the layout of a YAML file: the scanner names the token that did not fit, but the
//! mistake is most often the indentation of its line, or the line above it.

use std::ops::Range;

use super::{
    tree::{Fault, Pos},
    unquoted,
};

/// A line that is neither empty nor a comment.
#[derive(Clone, Copy, Debug)]
struct Line<'t> {
    number: u32,
    /// Its first byte in the text.
    start: usize,
    text: &'t str,
}

/// A column at which a line of this block may begin, and a line that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    indent: usize,
    line: u32,
}

/// The fault behind the scanner's words at byte `at` of line `number`; none where nothing better than these
/// words can be said.
pub fn fault(text: &str, at: usize, number: u32, words: &str) -> Option<Fault> {
    let head = text.get(..at)?;
    let start = head.rfind('\n').map_or(0, |i| i + 1);
    let line = Line { number, start, text: text.get(start..)?.lines().next()? };
    let above = || above(text, line);
    let first = head.get(start..)?.trim_start_matches([' ', '-']).is_empty();
    match words {
        "did not find expected key" | "did not find expected '-' indicator" if first => {
            misplaced(line, &levels(above()), words)
        }
        "mapping values are not allowed in this context" => {
            let before = head.get(start..)?;
            if let Some(colon) = before.find(": ") {
                return Some(inner_colon(line, colon));
            }
            let previous = above().next()?;
            let (indent, own) = (line.indent(), previous.indents().next()?);
            if indent > own {
                let level = Level { indent: own, line: previous.number };
                return Some(line.fault("this line is indented too deep", spaces(indent), &[level]));
            }
            no_colon(previous)
        }
        // The scanner tells of it where the key would have had to end, which may be the next line.
        words if words.contains("simple key") => {
            let keyless = std::iter::once(line).chain(above()).take(2).find(|line| !has_colon(line.content()))?;
            below_block(text, keyless).or_else(|| no_colon(keyless))
        }
        words if words.contains("expected ',' or '") => {
            if let Some(fault) = unquoted::value(text, at, number) {
                return Some(fault);
            }
            let bracket = if words.contains('}') { '}' } else { ']' };
            let help = if first {
                "close the bracket that is open above, or put a comma at the end of the line above"
            } else {
                "put it there, or quote the value before it"
            };
            let start = u32::try_from(at).ok()?;
            let message = format!("a comma or {bracket} is missing before this");
            let pos = Pos { start, end: start, line: number };
            Some(Fault { pos, message, label: String::new(), help: help.to_owned() })
        }
        _ => None,
    }
}

/// The first merge conflict of a text that cannot be read.
pub fn conflict(text: &str) -> Option<Fault> {
    const SIDES: [&str; 2] = ["<<<<<<< ", ">>>>>>> "];
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if SIDES.iter().any(|side| line.starts_with(side)) {
            let at = u32::try_from(start).ok()?;
            let pos = Pos { start: at, end: at + u32::try_from(line.trim_end().len()).ok()?, line: number };
            let help =
                "resolve it: keep what is right of both sides, and remove the lines <<<<<<<, ======= and >>>>>>>";
            let message = "a merge conflict".to_owned();
            return Some(Fault { pos, message, label: String::new(), help: help.to_owned() });
        }
        start += line.len();
    }
    None
}

/// What helps with the template of a chart.
pub const RENDER: &str = "render the template first: helm template chart/ | plimsoll validate -";

/// What helps with braces that stand for a key.
pub const BRACES: &str = "quote the value if it begins with { or [";

/// The first line of a chart's template in a text that cannot be read.
pub fn chart(text: &str) -> Option<Fault> {
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let begin = start;
        start += line.len();
        let line = line.trim_end();
        if let Some(pos) = (Line { number, start: begin, text: line }).action() {
            return Some(unrendered(pos));
        }
    }
    None
}

fn unrendered(pos: Pos) -> Fault {
    let message = "a template that was not rendered".to_owned();
    Fault { pos, message, label: String::new(), help: RENDER.to_owned() }
}

/// A line of a chart's template that is no YAML, `{{- if .Values.slo }}`, at this fault; or, where a document cannot go on
/// after one, above it.
pub fn template(text: &str, at: Pos) -> Option<Fault> {
    let start = text.get(..at.start as usize)?.rfind('\n').map_or(0, |i| i + 1);
    let line = Line { number: at.line, start, text: text.get(start..)?.lines().next()? };
    let is_control = |line: &Line<'_>| {
        let content = line.content();
        content.starts_with("{{-")
            || content.starts_with("{{/*")
            || content.starts_with("{{") && of_chart(content).is_some()
    };
    let outer = above(text, line).next().filter(|above| line.indent() == 0 && above.indent() == 0);
    let control = [Some(line), outer].into_iter().flatten().find(is_control);
    let whole = control.map(|line| line.pos(line.start + line.indent(), line.content().len()));
    whole.or_else(|| line.action()).map(unrendered)
}

/// Where a text has braces that a chart would fill in. Prometheus' own templates begin with a variable or a function, and what
/// stands beside them is prose, which may include any word.
pub fn of_chart(text: &str) -> Option<Range<usize>> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find("{{")?;
        let rest = text.get(start..)?;
        let action = rest.find("}}").and_then(|end| rest.get(..end + 2)).unwrap_or(rest);
        from = start + action.len();
        if [".Values", ".Release", ".Chart", "include "].iter().any(|word| action.contains(word)) {
            return Some(start..from);
        }
    }
}

/// The lines above, nearest first, as far as the document goes.
fn above<'t>(text: &'t str, line: Line<'t>) -> impl Iterator<Item = Line<'t>> {
    let mut end = line.start;
    let mut number = line.number;
    std::iter::from_fn(move || {
        let before = text.get(..end.checked_sub(1)?)?;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        end = start;
        number = number.checked_sub(1)?;
        Some(Line { number, start, text: before.get(start..)?.trim_end() })
    })
    .take_while(|line| !line.text.starts_with("---"))
    .filter(|line| !line.content().is_empty() && !line.content().starts_with('#'))
}

/// The columns at which the blocks begin that are open below these lines, deepest first.
fn levels<'t>(above: impl Iterator<Item = Line<'t>>) -> Vec<Level> {
    let mut all: Vec<Level> = Vec::new();
    for line in above {
        for indent in line.indents() {
            if all.last().is_none_or(|level| indent < level.indent) {
                all.push(Level { indent, line: line.number });
            }
        }
        if all.last().is_some_and(|level| level.indent == 0) {
            break;
        }
    }
    all
}

/// A line that begins where none can.
fn misplaced(line: Line<'_>, levels: &[Level], words: &str) -> Option<Fault> {
    let indent = line.indent();
    if levels.iter().any(|level| level.indent == indent) {
        let entry = line.content().starts_with("- ");
        return match (words.contains('-'), entry) {
            (true, false) => Some(line.told(
                "a key stands among the entries of a list",
                String::new(),
                "begin it with a dash, or indent it like the key of the list".to_owned(),
            )),
            (false, true) => Some(line.told(
                "an entry of a list stands among keys",
                String::new(),
                "put the list under a key of its own, or remove the dash".to_owned(),
            )),
            _ => None,
        };
    }
    let deeper = levels.iter().rev().find(|level| level.indent > indent);
    let outer = levels.iter().find(|level| level.indent < indent);
    let message = if deeper.is_none() { "this line is indented too deep" } else { "this line fits no line above" };
    let fits: Vec<Level> = deeper.into_iter().chain(outer).copied().collect();
    (!fits.is_empty()).then(|| line.fault(message, spaces(indent), &fits))
}

/// `description: a: b`, `sli: events: {…}` and `objective: 99.9:`
fn inner_colon(line: Line<'_>, colon: usize) -> Fault {
    let key = line.text.get(..colon).unwrap_or_default().trim_start_matches([' ', '-']);
    let value = line.text.get(colon + 1..).unwrap_or_default();
    let start = line.start + colon + 1 + (value.len() - value.trim_start().len());
    let value = value.trim();
    let quoted = format!("write '{}'", value.replace('\'', "''"));
    let fault = |message: &str, label: &str, help: String| Fault {
        pos: line.pos(start, value.len()),
        message: message.to_owned(),
        label: label.to_owned(),
        help,
    };
    let (inner, rest) = match value.split_once(": ") {
        Some((inner, rest)) => (inner, rest.trim_start()),
        None => (value.strip_suffix(':').unwrap_or(value), ""),
    };
    let is_field = inner.starts_with(|c: char| c.is_ascii_lowercase()) && inner.chars().all(char::is_alphanumeric);
    let holds = "this value holds ': '";
    let read = "what stands before it is read as a key";
    if value.starts_with(['\'', '"']) {
        return fault(holds, read, "end the value at its closing quote".to_owned());
    }
    let own_line = format!("put {inner} on a line of its own, indented deeper than {key}");
    match (is_field, rest.starts_with(['{', '[', '"', '\'', '|', '>']) || rest.is_empty()) {
        (true, true) => fault("a key stands in the value of another", "", own_line),
        (true, false) => fault(holds, read, format!("{own_line}; if it is text, {quoted}")),
        (false, _) if rest.is_empty() && !inner.contains(": ") => {
            fault("this value ends with a colon", "", format!("write {inner}, or all of it in quotes: '{value}'"))
        }
        (false, _) => fault(holds, read, quoted),
    }
}

fn has_colon(content: &str) -> bool {
    content.contains(": ") || content.ends_with(':')
}

/// A line that should belong to the text of a `|` or `>` above it and is not indented like it.
fn below_block(text: &str, line: Line<'_>) -> Option<Fault> {
    let indent = line.indent();
    let mut body = None;
    for above in above(text, line) {
        if above.indent() > indent {
            body = Some(Level { indent: above.indent(), line: above.number });
            continue;
        }
        let mark = above.content().rsplit_once(": ")?.1.trim_end_matches(['-', '+', '1', '2', '4']);
        let level = body.filter(|_| ["|", ">"].contains(&mark))?;
        return Some(line.fault("this line has left the text above it", spaces(indent), &[level]));
    }
    None
}

/// `objective "99"` and `objective:"99"`, on which the next line's key cannot follow.
fn no_colon(line: Line<'_>) -> Option<Fault> {
    let content = line.content().trim_start_matches("- ");
    // A bracket begins a value, and no key.
    if has_colon(content) || content.starts_with('{') {
        return None;
    }
    let (message, key, value) = match content.split_once(':') {
        Some((key, value)) => ("a colon needs a space after it", key, value),
        None => match content.split_once(' ') {
            Some((key, value)) => ("this line has no colon", key, value.trim_start()),
            None => ("this line has no colon", content, "…"),
        },
    };
    Some(line.told(message, String::new(), format!("write {key}: {value}")))
}

impl Line<'_> {
    fn content(&self) -> &str {
        self.text.trim()
    }

    fn indent(&self) -> usize {
        self.text.len() - self.text.trim_start_matches(' ').len()
    }

    /// Where what this line holds begins, innermost first: a dash begins an entry, and what follows is a block too.
    fn indents(&self) -> impl Iterator<Item = usize> {
        let mut all = vec![self.indent()];
        let mut at = self.indent();
        while let Some(rest) = self.text.get(at..).and_then(|text| text.strip_prefix("- ")) {
            at += 2 + (rest.len() - rest.trim_start_matches(' ').len());
            all.push(at);
        }
        all.into_iter().rev()
    }

    /// Where it has something that a chart would fill in.
    fn action(&self) -> Option<Pos> {
        let action = of_chart(self.text).filter(|_| !self.content().starts_with('#'))?;
        Some(self.pos(self.start + action.start, action.len()))
    }

    fn pos(&self, start: usize, len: usize) -> Pos {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos { start: clamp(start), end: clamp(start + len), line: self.number }
    }

    /// A fault of the whole line, its key underlined.
    fn told(&self, message: &str, label: String, help: String) -> Fault {
        let content = self.content();
        let len = content.find(": ").unwrap_or(content.len());
        Fault { pos: self.pos(self.start + self.indent(), len), message: message.to_owned(), label, help }
    }

    /// A fault of its indentation.
    fn fault(&self, message: &str, label: String, fits: &[Level]) -> Fault {
        let like = |level: &Level| format!("{} like line {}", spaces(level.indent), level.line);
        self.told(
            message,
            label,
            format!("indent it by {}", fits.iter().map(like).collect::<Vec<_>>().join(", or by ")),
        )
    }
}

fn spaces(n: usize) -> String {
    match n {
        0 => "no space".to_owned(),
        1 => "1 space".to_owned(),
        n => format!("{n} spaces"),
    }
}
