//! From bytes of a scalar's value to bytes of the file: PromQL may stand in quotes with escapes, or
//! in a block that is indented and folded.

use std::ops::Range;

use serde_saphyr::granit_parser::ScalarStyle;

use super::tree::{Data, Node, Pos};

/// White space of YAML; that of Unicode is content.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The place of `span`, bytes of the scalar's value. None when the value cannot be followed through
/// its notation, for example because an alias or a tag made it.
pub fn place(node: &Node<'_>, text: &str, span: &Range<usize>) -> Option<Pos> {
    let Data::Scalar { text: value, style, .. } = &node.data else { return None };
    let source = text.get(node.pos.start as usize..node.pos.end as usize)?;
    let offsets = match style {
        ScalarStyle::Plain => folded(source, value, Quote::None),
        ScalarStyle::SingleQuoted => folded(source, value, Quote::Single),
        ScalarStyle::DoubleQuoted => folded(source, value, Quote::Double),
        ScalarStyle::Literal | ScalarStyle::Folded => block(source, value),
    }?;
    let end = span.end.min(value.len());
    let start = span.start.min(end);
    let first = *offsets.get(start)?;
    // One past the last byte that is meant, so that a closing quote is not underlined.
    let last = if end > start { previous_end(source, value, &offsets, end)? } else { first };
    let line = node.pos.line + u32::try_from(source.get(..first)?.matches('\n').count()).ok()?;
    let at = |offset: usize| u32::try_from(offset).ok().map(|o| node.pos.start + o);
    Some(Pos { start: at(first)?, end: at(last)?, line })
}

/// The whole scalar, but of several lines the first only.
pub fn first_line(node: &Node<'_>, text: &str) -> Pos {
    let source = text.get(node.pos.start as usize..node.pos.end as usize).unwrap_or_default();
    let line = source.lines().next().unwrap_or_default().trim_end();
    Pos { end: node.pos.start + u32::try_from(line.len()).unwrap_or(0), ..node.pos }
}

/// Where the notation of the last character before `end` ends; line breaks after it do not count.
fn previous_end(source: &str, value: &str, offsets: &[usize], end: usize) -> Option<usize> {
    let (at, last) = value.get(..end)?.char_indices().next_back()?;
    let (begin, next) = (*offsets.get(at)?, *offsets.get(end)?);
    let notation = source.get(begin..next)?;
    if !notation.contains(['\n', '\r']) {
        return Some(next);
    }
    let trimmed = notation.trim_end_matches(WHITE);
    Some(begin + if trimmed.is_empty() { last.len_utf8() } else { trimmed.len() })
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Flow scalars. Yields for each byte of the value, and its end, the byte of the source.
fn folded(source: &str, value: &str, quote: Quote) -> Option<Vec<usize>> {
    let mut walk = Walk::new(source, value);
    let mut at = usize::from(quote != Quote::None);
    while !walk.done() {
        let rest = source.get(at..)?;
        let c = rest.chars().next()?;
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let after = rest.get(blank..)?;
        if after.starts_with(['\n', '\r']) {
            at = walk.fold(at, blank)?;
            continue;
        }
        match (quote, c) {
            (Quote::Single, '\'') => {
                walk.take("'", at)?;
                at += 2;
            }
            (Quote::Double, '\\') => at = walk.escape(at)?,
            _ => {
                walk.take(c.encode_utf8(&mut [0; 4]), at)?;
                at += c.len_utf8();
            }
        }
    }
    Some(walk.finish(at))
}

/// Block scalars: the first line's indentation is before the source, the others' is stripped as far
/// as the value shows that it was.
fn block(source: &str, value: &str) -> Option<Vec<usize>> {
    let mut walk = Walk::new(source, value);
    let mut at = 0;
    while !walk.done() {
        let Some(c) = source.get(at..)?.chars().next() else {
            // The file ends without a line break, which the value has.
            if walk.value.get(walk.done..)? == "\n" {
                walk.take("\n", at)?;
                break;
            }
            return None;
        };
        if matches!(c, '\n' | '\r') {
            at = walk.fold(at, 0)?;
        } else {
            walk.take(c.encode_utf8(&mut [0; 4]), at)?;
            at += c.len_utf8();
        }
    }
    Some(walk.finish(at))
}

/// A walk through source and value at once; the value decides what a line break stands for.
struct Walk<'a> {
    source: &'a str,
    value: &'a str,
    done: usize,
    offsets: Vec<usize>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a str, value: &'a str) -> Self {
        Self { source, value, done: 0, offsets: Vec::with_capacity(value.len() + 1) }
    }

    fn done(&self) -> bool {
        self.done >= self.value.len()
    }

    fn finish(mut self, at: usize) -> Vec<usize> {
        self.offsets.push(at);
        self.offsets
    }

    /// The next piece of the value is `piece`, and stands at `at`.
    fn take(&mut self, piece: &str, at: usize) -> Option<()> {
        self.value.get(self.done..)?.starts_with(piece).then(|| {
            self.offsets.extend(std::iter::repeat_n(at, piece.len()));
            self.done += piece.len();
        })
    }

    /// Line breaks with the blanks around them: the value has a space, or line breaks, or nothing.
    fn fold(&mut self, at: usize, blank: usize) -> Option<usize> {
        let rest = self.source.get(at + blank..)?;
        let next = at + blank + (rest.len() - rest.trim_start_matches(WHITE).len());
        let run = self.source.get(at..next)?;
        let breaks = run.matches('\n').count().max(usize::from(run.contains('\r')));
        let tail = self.value.get(self.done..)?;
        let newlines = tail.len() - tail.trim_start_matches('\n').len();
        let mut end = next;
        if newlines == 0 && breaks == 1 && tail.starts_with(' ') {
            self.take(" ", at + blank)?;
        } else {
            // Each is put at its own break as far as there are as many.
            let places: Vec<usize> = run.match_indices('\n').map(|(i, _)| at + i).collect();
            for i in 0..newlines {
                let place = places.get(i + places.len().saturating_sub(newlines)).or(places.last()).copied()?;
                self.take("\n", place)?;
            }
        }
        // Blanks of the value are the last of the blanks in the source, after the indentation.
        let tail = self.value.get(self.done..)?;
        let kept = tail.len() - tail.trim_start_matches([' ', '\t']).len();
        end = end.checked_sub(kept)?;
        Some(end)
    }

    /// An escape in double quotes.
    fn escape(&mut self, at: usize) -> Option<usize> {
        let rest = self.source.get(at + 1..)?;
        let c = rest.chars().next()?;
        let hex = |digits: usize, from: usize| u32::from_str_radix(rest.get(from..from + digits)?, 16).ok();
        let (piece, len) = match c {
            '\n' | '\r' => {
                // The line goes on; the next one's indentation does not count.
                let skipped = rest.len() - rest.trim_start_matches(WHITE).len();
                return Some(at + 1 + skipped);
            }
            'x' => (char::from_u32(hex(2, 1)?)?, 3),
            'u' => match hex(4, 1)? {
                high @ 0xD800..=0xDBFF => {
                    let low = hex(4, 7)?;
                    (char::from_u32(0x10000 + ((high - 0xD800) << 10) + low.checked_sub(0xDC00)?)?, 11)
                }
                code => (char::from_u32(code)?, 5),
            },
            'U' => (char::from_u32(hex(8, 1)?)?, 9),
            '0' => ('\0', 1),
            'a' => ('\x07', 1),
            'b' => ('\x08', 1),
            't' | '\t' => ('\t', 1),
            'n' => ('\n', 1),
            'v' => ('\x0b', 1),
            'f' => ('\x0c', 1),
            'r' => ('\r', 1),
            'e' => ('\x1b', 1),
            'N' => ('\u{85}', 1),
            '_' => ('\u{a0}', 1),
            'L' => ('\u{2028}', 1),
            'P' => ('\u{2029}', 1),
            other => (other, other.len_utf8()),
        };
        self.take(piece.encode_utf8(&mut [0; 4]), at)?;
        Some(at + 1 + len)
    }
}
