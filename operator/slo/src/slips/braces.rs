//! Slips between the matchers of a selector, and in their quotes.

use std::ops::Range;

use super::{after, before, unquoted, words};

/// What stands between matchers that PromQL does not have there, `>=`, `and`, or nothing: its place, and what helps.
pub(crate) fn between_matchers(text: &str) -> Option<(Range<usize>, String)> {
    let mut before_it = 0;
    unquoted(text).filter(|(.., depth)| *depth > 0).find_map(|(at, c, _)| {
        let begins = before_it != at;
        before_it = at + c.len_utf8();
        match c {
            '<' | '>' => Some(order(text, at)),
            '&' => Some((at..text.len() - after(text, at).trim_start_matches('&').len(), and("&&"))),
            _ if begins || text.get(..at).is_some_and(|left| left.ends_with(char::is_whitespace)) => word(text, at),
            _ => None,
        }
    })
}

/// A comparison of a label's value.
fn order(text: &str, at: usize) -> (Range<usize>, String) {
    let sign = if after(text, at + 1).starts_with('=') { at..at + 2 } else { at..at + 1 };
    let label = words(before(text, at)).last().map_or("code", |(_, word)| word);
    let value = after(text, sign.end).trim_start().trim_start_matches(['"', '\'']);
    let number = value.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok());
    let least = match text.get(sign.clone()) {
        Some(">=") => number,
        Some(">") => number.and_then(|number| number.checked_add(1)),
        _ => None,
    };
    let meant = match least {
        Some(400) => format!("write {label}=~\"[45]..\""),
        Some(500) => format!("write {label}=~\"5..\""),
        _ => format!("write the values, {label}=~\"…|…\""),
    };
    (sign, format!("a label's value is text and has no order: {meant}"))
}

/// A word right after the value of a matcher.
fn word(text: &str, at: usize) -> Option<(Range<usize>, String)> {
    let (_, word) = words(after(text, at)).next().filter(|(start, _)| *start == 0)?;
    let help = if word.eq_ignore_ascii_case("and") { and(word) } else { format!("put a comma before {word}") };
    before(text, at).trim_end().ends_with(['"', '\'', '`']).then(|| (at..at + word.len(), help))
}

fn and(written: &str) -> String {
    format!("write a comma instead of {written}: a series must fit all matchers")
}

/// The first string with an escape that PromQL does not know, as `"5\\d"`: its place, and what to write.
pub(crate) fn escapes(text: &str) -> Option<(Range<usize>, String)> {
    let mut chars = text.char_indices();
    while let Some((open, quote)) = chars.next() {
        if !matches!(quote, '"' | '\'' | '`') {
            continue;
        }
        let (mut meant, mut unknown) = (String::from(quote), false);
        while let Some((at, c)) = chars.next() {
            meant.push(c);
            if c == quote {
                if unknown {
                    return Some((open..at + 1, format!("double the backslash: {meant}")));
                }
                break;
            }
            if c == '\\' && quote != '`' {
                let (_, escaped) = chars.next()?;
                let known = escaped == quote || matches!(escaped, '\\' | '0'..='7') || "abfnrtvxuU".contains(escaped);
                if !known {
                    unknown = true;
                    meant.push('\\');
                }
                meant.push(escaped);
            }
        }
    }
    None
}
