//! Problems as a person, a program or GitHub reads them.

use std::{fmt::Write as _, sync::Arc};

use plimsoll_api::{Level, Problem};
use serde_json::{Map, Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::source::{Fault, Pos, Trouble};

/// Columns that a quoted line and its label may take.
const WIDTH: usize = 110;

/// Bytes of a line that are kept before and after what is meant; a file of JSON may be one line of
/// megabytes.
const KEPT: usize = 4 * WIDTH;

/// A place in a file together with its line, so that the file's text need not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: Arc<str>,
    /// Line, from one.
    pub line: u32,
    /// Column of the first character, from one, counted in characters.
    pub column: usize,
    /// Column after the last character.
    pub end_column: usize,
    /// The line, or as much of it as is kept.
    text: Box<str>,
    /// Bytes of `text` to underline.
    start: usize,
    end: usize,
}

/// Where in its line each part of a text begins, so that no place in a line of megabytes is counted from its beginning.
#[derive(Debug, Default)]
pub struct Lines(Vec<(usize, usize)>);

impl Lines {
    /// Bytes of a part.
    const PART: usize = 1024;

    /// Of this text.
    pub fn new(text: &str) -> Self {
        let (mut parts, mut from) = (vec![(0, 0)], 0);
        for at in (Self::PART..=text.len()).step_by(Self::PART) {
            let at = floor(text, at);
            let (begin, before) = parts.last().copied().unwrap_or_default();
            parts.push(Self::on(text, (begin, before), from, at));
            from = at;
        }
        Self(parts)
    }

    /// Where the line of byte `at` begins, and how many of its characters stand before it.
    fn of(&self, text: &str, at: usize) -> (usize, usize) {
        let part = at / Self::PART;
        let known = self.0.get(part).copied().unwrap_or_default();
        Self::on(text, known, floor(text, part * Self::PART), at)
    }

    /// The same, where it is known of byte `from`.
    fn on(text: &str, (begin, before): (usize, usize), from: usize, at: usize) -> (usize, usize) {
        let between = text.get(from..at).unwrap_or_default();
        match between.rfind('\n').max(between.rfind('\r')) {
            Some(end) => (from + end + 1, between.get(end + 1..).unwrap_or_default().chars().count()),
            None => (begin, before + between.chars().count()),
        }
    }
}

impl Place {
    /// The place of `pos` in the text of `file`, whose lines are these.
    pub fn new(file: &Arc<str>, text: &str, lines: &Lines, pos: Pos) -> Self {
        let start = floor(text, pos.start as usize);
        let (begin, before) = lines.of(text, start);
        // More is not kept of a line, nor meant.
        let far = floor(text, (pos.end as usize).max(start.saturating_add(KEPT)));
        let rest = text.get(start..far).unwrap_or_default();
        let line_end = start + rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end = floor(text, (pos.end as usize).clamp(start, line_end));
        let column = before + 1;
        let kept_from = floor(text, start.saturating_sub(KEPT)).max(begin);
        let kept_to = floor(text, line_end.min(start + KEPT));
        let kept_end = end.min(kept_to);
        Self {
            file: file.clone(),
            line: pos.line,
            column,
            end_column: column + text.get(start..end).map_or(0, |t| t.chars().count()),
            text: text.get(kept_from..kept_to).unwrap_or_default().into(),
            start: start - kept_from,
            end: kept_end - kept_from,
        }
    }
}

/// The last boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One problem with all that is needed to print it.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// What this value does; may be empty.
    pub label: String,
    /// What to do; may be empty.
    pub help: String,
    /// Where; none when a whole file is meant, which the message names.
    pub place: Option<Place>,
    /// The field; may be empty.
    pub path: String,
    /// Number of the file, and byte: the order of the report.
    pub order: (usize, u32),
}

impl Diagnostic {
    /// From a problem of an object.
    pub fn problem(problem: Problem, place: Place, order: (usize, u32)) -> Self {
        let Problem { level, path, span: _, of_key: _, message, label, help } = problem;
        Self { level, message, label, help, place: Some(place), path, order }
    }

    /// From text that is no document.
    pub fn fault(fault: Fault, place: Place, order: (usize, u32)) -> Self {
        let Fault { pos: _, message, label, help } = fault;
        Self { level: Level::Error, message, label, help, place: Some(place), path: String::new(), order }
    }

    /// From a file that cannot be used.
    pub fn trouble(trouble: Trouble, file: usize) -> Self {
        let Trouble { message, help, empty: _ } = trouble;
        Self {
            level: Level::Error,
            message,
            label: String::new(),
            help,
            place: None,
            path: String::new(),
            order: (file, 0),
        }
    }

    /// On one line: `slo/a.yaml:5: spec.objective: 100 leaves no error budget; write 99.9`.
    pub fn line(&self) -> String {
        let mut line = self.place.as_ref().map(|place| format!("{}:{}: ", place.file, place.line)).unwrap_or_default();
        if !self.path.is_empty() {
            let _ = write!(line, "{}: ", self.path);
        }
        line.push_str(&self.message);
        for (before, more, after) in [(" (", &self.label, ")"), ("; ", &self.help, "")] {
            if !more.is_empty() {
                let _ = write!(line, "{before}{more}{after}");
            }
        }
        line
    }

    /// In the form for people, with ANSI colours if wanted; ends with a line break.
    pub fn text(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let level = match self.level {
            Level::Error => paint("1;31", "error"),
            Level::Warning => paint("1;33", "warning"),
        };
        let mut out = format!("{level}: {}\n", paint("1", &one_line(&self.message)));
        let Some(place) = &self.place else {
            if !self.help.is_empty() {
                let _ = writeln!(out, "  {} help: {}", paint("34", "└"), one_line(&self.help));
            }
            return out;
        };
        let number = place.line.to_string();
        let pad = " ".repeat(number.len());
        let _ = writeln!(out, "{pad} {} {}:{}:{}", paint("34", "┌"), place.file, place.line, place.column);
        let excerpt = Excerpt::new(place);
        let _ = writeln!(out, "{} {}", paint("34", &format!("{number} │")), excerpt.line);
        let bar = paint("34", "│");
        let code = if self.level == Level::Error { "31" } else { "33" };
        let carets = paint(code, &"^".repeat(excerpt.width));
        let indent = " ".repeat(excerpt.indent);
        let label = one_line(&self.label);
        let end = excerpt.indent + excerpt.width + 1;
        if label.is_empty() {
            let _ = writeln!(out, "{pad} {bar} {indent}{carets}");
        } else if end + label.width() <= WIDTH {
            let _ = writeln!(out, "{pad} {bar} {indent}{carets} {}", paint(code, &label));
        } else {
            let left = " ".repeat(excerpt.indent.min(WIDTH.saturating_sub(label.width())));
            let _ = writeln!(out, "{pad} {bar} {indent}{carets}\n{pad} {bar} {left}{}", paint(code, &label));
        }
        if !self.help.is_empty() {
            let _ = writeln!(out, "{pad} {} help: {}", paint("34", "└"), one_line(&self.help));
        }
        out
    }

    /// As one object for programs.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| {
            if value != "" {
                object.insert(key.to_owned(), value);
            }
        };
        put("level", json!(self.level.to_string()));
        put("message", json!(self.message));
        put("label", json!(self.label));
        put("help", json!(self.help));
        put("path", json!(self.path));
        if let Some(place) = &self.place {
            put("file", json!(*place.file));
            put("line", json!(place.line));
            put("column", json!(place.column));
            put("endColumn", json!(place.end_column));
        }
        Value::Object(object)
    }

    /// As a workflow command of GitHub Actions; ends with a line break.
    pub fn github(&self) -> String {
        let mut out = format!("::{} title={}", self.level, property(&self.message));
        if let Some(place) = &self.place {
            let _ = write!(
                out,
                ",file={},line={},col={},endColumn={}",
                property(&place.file),
                place.line,
                place.column,
                place.end_column
            );
        }
        let body: Vec<&str> =
            [&self.label, &self.help].into_iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
        let body = if body.is_empty() { self.message.clone() } else { body.join("; ") };
        let _ = writeln!(out, "::{}", data(&body));
        out
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Values stand in messages; none may move the cursor or begin a line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(printable).collect()
}

fn printable(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') => '\u{FFFD}',
        c => c,
    }
}

/// The part of a line that is shown, and where the carets stand under it.
struct Excerpt {
    line: String,
    indent: usize,
    width: usize,
}

impl Excerpt {
    fn new(place: &Place) -> Self {
        let part = |from: usize, to: usize| one_line(place.text.get(from..to).unwrap_or_default());
        let (before, meant, after) =
            (part(0, place.start), part(place.start, place.end), part(place.end, place.text.len()));
        let (before, meant, after) = if before.width() + meant.width() + after.width() <= WIDTH {
            (before, meant, after)
        } else {
            // A long line: some text before, then as much as fits.
            let before = if before.width() > WIDTH / 3 { format!("…{}", tail(&before, WIDTH / 3)) } else { before };
            let room = WIDTH.saturating_sub(before.width());
            let cut = meant.width() > room;
            let meant = head(&meant, room);
            // What follows is left out by the same dots.
            let after = if cut { String::new() } else { head(&after, room.saturating_sub(meant.width())) };
            (before, meant, after)
        };
        Self {
            indent: before.width(),
            width: meant.width().max(1),
            line: format!("{before}{meant}{after}").trim_end().to_owned(),
        }
    }
}

fn head(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let mut kept: String = text
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect();
    kept.push('…');
    kept
}

fn tail(text: &str, width: usize) -> String {
    let mut used = 0;
    let kept: Vec<char> = text
        .chars()
        .rev()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used < width
        })
        .collect();
    kept.into_iter().rev().collect()
}

/// `1 error`, `2 errors`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_long_line_is_what_counting_says() {
        let long = "é".repeat(1500);
        for text in [
            "",
            "a",
            "\nä: b\r\nc",
            &format!("a: {long}\nb: c{long}\r\n{long}"),
            &format!("{}\n{long}\n", "x".repeat(1023)),
            &format!("{}\n{long}", "x".repeat(1024)),
        ] {
            let lines = Lines::new(text);
            for start in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                let begin = text.get(..start).and_then(|before| before.rfind(['\n', '\r'])).map_or(0, |at| at + 1);
                let counted = text.get(begin..start).map_or(0, |before| before.chars().count());
                assert_eq!(lines.of(text, start), (begin, counted), "byte {start}");
            }
        }
    }

    /// To count from the beginning of the line each time, or to look for its end, takes minutes.
    #[test]
    fn a_place_costs_the_same_wherever_it_is_in_its_line() {
        let text = "é,".repeat(5 << 20);
        let (file, lines) = (Arc::from("a.json"), Lines::new(&text));
        for at in (0..text.len()).step_by(500) {
            let at = floor(&text, at);
            let pos = Pos { start: clamp(at), end: clamp(at + 1), line: 1 };
            let Place { column, start, end, .. } = Place::new(&file, &text, &lines, pos);
            assert_eq!(column, at / 3 * 2 + usize::from(!at.is_multiple_of(3)) + 1);
            assert!(start <= KEPT + 1 && end - start <= 1);
        }
    }

    #[test]
    fn what_is_left_out_of_a_line_has_one_mark() {
        let file = Arc::from("a.yaml");
        for (before, meant, after, dots) in
            [(0, 300, 20, 1), (0, 300, 0, 1), (0, 20, 300, 1), (0, 110, 20, 1), (60, 90, 9, 2)]
        {
            let text = ["b".repeat(before), "m".repeat(meant), "a".repeat(after)].concat();
            let pos = Pos { start: clamp(before), end: clamp(before + meant), line: 1 };
            let line = Excerpt::new(&Place::new(&file, &text, &Lines::new(&text), pos)).line;
            assert_eq!(line.matches('…').count(), dots, "{line}");
            assert!(!line.contains("……") && line.width() <= WIDTH + 1, "{line}");
        }
    }

    fn clamp(at: usize) -> u32 {
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}
