//! PromQL whose quotes are missing, or end too early: its braces, brackets and quotes are those of YAML too.

use plimsoll_slo::meant;

use super::tree::{Fault, Pos, clamp};

/// A selector or another expression without quotes, in whose middle a map or list of YAML cannot go on at byte `at`.
pub fn value(text: &str, at: usize, number: u32) -> Option<Fault> {
    let (start, line) = line_of(text, at)?;
    let bracket = line.get(at - start..)?;
    let inner = bracket.get(1..)?.split([']', '}']).next()?;
    let promql = match bracket.chars().next()? {
        '{' => inner.contains('='),
        '[' => !inner.is_empty() && !inner.contains([',', ' ']),
        _ => false,
    };
    if !promql {
        return None;
    }
    let (from, end) = begins(line, at - start).find_map(|from| {
        let first = line.get(from..)?.chars().next()?;
        let plain = first.is_alphabetic() || matches!(first, '_' | ':' | '(' | '-');
        // What a comma ends may be between brackets that the value has open.
        let inner = line.get(..from)?.trim_end().ends_with(',');
        let length = ends(line.get(from..)?, inner)?;
        (plain && from + length > at - start).then_some((from, from + length))
    })?;
    let value = line.get(from..end)?.trim_end();
    let what = if is_selector(value) { "selector" } else { "expression" };
    let of = if bracket.starts_with('{') { "{ as the beginning of a map" } else { "[ as the beginning of a list" };
    Some(Fault {
        pos: Pos { start: clamp(start + from), end: clamp(start + from + value.len()), line: number },
        message: format!("this {what} is not in quotes"),
        label: format!("YAML reads its {of}"),
        help: format!("quote the whole {what}: {}", meant::quoted(value)),
    })
}

/// What to write for PromQL in quotes that hold the same quotes, at the byte where text follows what closes them: `"up{job="x"}"`.
pub fn requoted(text: &str, at: usize) -> Option<String> {
    let (start, line) = line_of(text, at)?;
    delimiters(line, at - start).find_map(|(_, from)| {
        let quote = line.get(from..)?.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let inner = line.get(from + 1..)?;
        let mut depth = 0_usize;
        let end = inner.char_indices().find_map(|(i, c)| {
            match c {
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (c == quote && depth == 0).then_some(i)
        })?;
        let value = inner.get(..end)?;
        let selects = value.contains('{') && value.contains('=') && from + 1 + end > at - start;
        // Those that were written as they must be need that no more.
        let plain = if quote == '"' { value.replace("\\\"", "\"") } else { value.replace(quote, "\"") };
        selects.then(|| meant::quoted(&plain))
    })
}

/// Bytes that are looked at on both sides of a fault: a line may be megabytes, and an expression is shorter.
const NEAR: usize = 4096;

/// The line of a byte, as far as it is near, and where it begins.
fn line_of(text: &str, at: usize) -> Option<(usize, &str)> {
    let boundary = |at: usize| (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let start = text.get(..at)?.rfind('\n').map_or(0, |i| i + 1).max(boundary(at.saturating_sub(NEAR)));
    Some((start, text.get(start..boundary(at.saturating_add(NEAR)))?.lines().next()?))
}

/// What stands before a value that may go on to byte `at` of this line, with the value's first byte; the nearest first.
fn delimiters(line: &str, at: usize) -> impl Iterator<Item = (char, usize)> + '_ {
    let head = line.get(..at).unwrap_or_default();
    let all = head.char_indices().rev().filter(|(i, c)| {
        matches!(c, ',' | '{' | '[') || matches!(c, ':' | '-') && head.get(i + 1..).is_some_and(|r| r.starts_with(' '))
    });
    all.map(|(i, c)| (c, head.len() - head.get(i + 1..).unwrap_or_default().trim_start().len()))
}

/// Where a value without quotes may begin: after commas, as far back as what else can stand before it.
fn begins(line: &str, at: usize) -> impl Iterator<Item = usize> + '_ {
    let mut over = false;
    let as_far = delimiters(line, at).take_while(move |(c, _)| {
        let first = !over;
        over |= *c != ',';
        first
    });
    as_far.map(|(_, from)| from)
}

/// How long the value is that begins here, as PromQL has brackets and quotes; none where one is open at its end, or where it is
/// `inner` and closes one that it has not opened.
fn ends(text: &str, inner: bool) -> Option<usize> {
    let (mut depth, mut open) = (0_usize, None);
    for (i, c) in text.char_indices() {
        match (open, c) {
            (Some(quote), _) if c == quote => open = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => open = Some(c),
            (None, '“' | '„') => open = Some('”'),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')') if depth == 0 && inner => return None,
            (None, ')') if depth == 0 => {}
            (None, '}' | ']' | ',') if depth == 0 => return Some(i),
            (None, ')' | ']' | '}') => depth -= 1,
            _ => {}
        }
    }
    (depth == 0 && open.is_none()).then_some(text.len())
}

/// A name with matchers, and nothing else.
fn is_selector(value: &str) -> bool {
    let name = value.split('{').next().unwrap_or_default().trim_end();
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
        && value.ends_with('}')
        && value.matches('{').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_value_is_quoted() {
        for (line, mark, want) in [
            ("sli: {up: {series: up{job=\"x\"}}}", "{job", Some("selector: 'up{job=\"x\"}'")),
            (
                "bad: errors{job=\"x\",code=~\"5..\"}, total: y",
                "{job",
                Some("selector: 'errors{job=\"x\",code=~\"5..\"}'"),
            ),
            ("series: up{job=“x”}}", "{job", Some("selector: 'up{job=\"x\"}'")),
            (
                "series: up{job=\"x\",site=\"Joe’s “bar”\"}}",
                "{job",
                Some("selector: 'up{job=\"x\",site=\"Joe’s “bar”\"}'"),
            ),
            ("series: up{job='a}b'}}", "{job", Some("selector: 'up{job=''a}b''}'")),
            ("{series: up{job=\"x\"} == 1}", "{job", Some("expression: 'up{job=\"x\"} == 1'")),
            ("{errors: sum by (a, b) (rate(x[5m])) / 3}", "[5m", Some("expression: 'sum by (a, b) (rate(x[5m])) / 3'")),
            ("{errors: max(a, b[5m])}", "[5m", Some("expression: 'max(a, b[5m])'")),
            ("{ratio: {errors: sum(rate(a[5m]))) }}", "[5m", Some("expression: 'sum(rate(a[5m])))'")),
            // Where a comma is missing indeed, or nobody knows where the value ends.
            ("{up: {series: up} {a: b}}", "{a", None),
            ("{a: b [c, d]}", "[c", None),
            ("{series: up{job=\"x\"", "{job", None),
        ] {
            let found = value(line, line.find(mark).unwrap(), 1).map(|fault| fault.help);
            assert_eq!(found, want.map(|want| format!("quote the whole {want}")), "{line}");
        }
    }

    #[test]
    fn quotes_in_the_same_quotes_become_others() {
        for (line, mark, want) in [
            ("series: \"up{job=\"x\"}\"", "x\"", Some("'up{job=\"x\"}'")),
            ("{up: {series: 'up{job='x'}'}}", "x'", Some("'up{job=\"x\"}'")),
            ("  - \"rate(a{b=\"c\"}[5m]) > 1\"", "c\"", Some("'rate(a{b=\"c\"}[5m]) > 1'")),
            ("series: \"up{job=\\\"x\\\",a=\"y\"}\"", "y\"", Some("'up{job=\"x\",a=\"y\"}'")),
            ("summary: \"it is \"a\" b\"", "a\"", None),
        ] {
            assert_eq!(requoted(line, line.find(mark).unwrap()).as_deref(), want, "{line}");
        }
    }
}
