//! Writes YAML that readers of YAML 1.1 (Prometheus, kubectl) and 1.2 understand alike. The shapes
//! are few and fixed and a thousand SLOs are megabytes, so this writes straight into one buffer.

use plimsoll_slo::{Group, Rule};
use serde_json::Value;

use crate::source::scalar::is_ambiguous;

/// Appends `- name: …` entries of a rule file's `groups`, indented by `indent`.
pub fn groups(out: &mut String, groups: &[Group], indent: usize) {
    for group in groups {
        let Group { name, interval, limit, rules } = group;
        line(out, indent, "- name: ");
        string(out, name, indent + 2);
        if !interval.is_empty() {
            line(out, indent + 2, "interval: ");
            string(out, interval, indent + 2);
        }
        if let Some(limit) = limit {
            line(out, indent + 2, "limit: ");
            out.push_str(&limit.to_string());
        }
        line(out, indent + 2, if rules.is_empty() { "rules: []" } else { "rules:" });
        for r in rules {
            rule(out, r, indent + 2);
        }
    }
}

fn rule(out: &mut String, rule: &Rule, indent: usize) {
    let Rule { record, alert, expr, hold, keep_firing_for, labels, annotations } = rule;
    let fields = [
        ("record: ", record.as_deref()),
        ("alert: ", alert.as_deref()),
        ("expr: ", Some(expr.as_str())),
        ("for: ", hold.as_deref()),
        ("keep_firing_for: ", keep_firing_for.as_deref()),
    ];
    let mut first = true;
    for (key, value) in fields {
        let Some(value) = value else { continue };
        line(out, indent, if std::mem::take(&mut first) { "- " } else { "  " });
        out.push_str(key);
        string(out, value, indent + 2);
    }
    for (key, map) in [("labels:", labels), ("annotations:", annotations)] {
        if map.is_empty() {
            continue;
        }
        line(out, indent + 2, key);
        for (key, value) in map {
            line(out, indent + 4, "");
            self::key(out, key);
            out.push_str(": ");
            string(out, value, indent + 4);
        }
    }
}

/// Ends the line before and begins one, indented.
fn line(out: &mut String, indent: usize, text: &str) {
    const SPACES: &str = "                                ";
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let mut left = indent;
    while left > 0 {
        let n = left.min(SPACES.len());
        out.push_str(SPACES.get(..n).unwrap_or_default());
        left -= n;
    }
    out.push_str(text);
}

/// Appends any JSON value as a block, indented by `indent`; for definitions and schemas.
pub fn value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, item) in map {
                line(out, indent, "");
                self::key(out, key);
                out.push(':');
                item_after_key(out, item, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line(out, indent, "-");
                match item {
                    Value::Object(map) if !map.is_empty() => entries_after_dash(out, map, indent + 2),
                    Value::Array(inner) if !inner.is_empty() => self::value(out, item, indent + 2),
                    _ => {
                        out.push(' ');
                        leaf(out, item, indent + 2);
                    }
                }
            }
        }
        _ => leaf(out, value, indent),
    }
}

fn item_after_key(out: &mut String, item: &Value, indent: usize) {
    match item {
        Value::Object(map) if !map.is_empty() => value(out, item, indent + 2),
        // A list may stand at its key's indentation, which keeps long files narrow.
        Value::Array(items) if !items.is_empty() => value(out, item, indent),
        _ => {
            out.push(' ');
            leaf(out, item, indent + 2);
        }
    }
}

fn entries_after_dash(out: &mut String, map: &serde_json::Map<String, Value>, indent: usize) {
    for (i, (key, item)) in map.iter().enumerate() {
        if i == 0 {
            out.push(' ');
        } else {
            line(out, indent, "");
        }
        self::key(out, key);
        out.push(':');
        item_after_key(out, item, indent);
    }
}

fn leaf(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) => string(out, text, indent),
        other => out.push_str(&other.to_string()),
    }
}

/// Appends a key, which stands on one line.
fn key(out: &mut String, text: &str) {
    if matches!(style(text), Style::Block) { double(out, text) } else { string(out, text, 0) }
}

/// Appends a string: plain where no reader can take it for something else, in a block where it has
/// lines, in quotes otherwise. `indent` is that of the line it stands on.
pub fn string(out: &mut String, text: &str, indent: usize) {
    match style(text) {
        Style::Plain => out.push_str(text),
        Style::Single => {
            out.push('\'');
            let mut parts = text.split('\'');
            out.push_str(parts.next().unwrap_or_default());
            for part in parts {
                out.push_str("''");
                out.push_str(part);
            }
            out.push('\'');
        }
        Style::Block => {
            out.push_str("|-");
            for part in text.split('\n') {
                out.push('\n');
                if !part.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent + 2));
                    out.push_str(part);
                }
            }
        }
        Style::Double => double(out, text),
    }
}

enum Style {
    Plain,
    Single,
    Block,
    Double,
}

const CONTROL: u8 = 1;
const LINE: u8 = 2;
const BEYOND: u8 = 4;
const COLON: u8 = 8;
const HASH: u8 = 16;

/// What each byte means for the style of a scalar.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut b = 0;
    while b < 256 {
        #[allow(clippy::indexing_slicing, reason = "b is below the length")]
        {
            classes[b] = match b {
                0x0A => LINE,
                0x00..0x20 | 0x7F => CONTROL,
                0x3A => COLON,
                0x23 => HASH,
                0x80.. => BEYOND,
                _ => 0,
            };
        }
        b += 1;
    }
    classes
};

fn style(text: &str) -> Style {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return Style::Single };
    // Megabytes go through here, so a byte costs one look into a table.
    let classes = bytes.iter().fold(0, |all, &b| all | CLASSES.get(usize::from(b)).copied().unwrap_or(CONTROL));
    if classes & CONTROL != 0 || (classes & BEYOND != 0 && text.chars().any(|c| c != '\n' && !printable(c))) {
        return Style::Double;
    }
    let lines = classes & LINE != 0;
    let plain = (first.is_ascii_alphanumeric() || matches!(first, b'_' | b'(' | b'/' | b'$'))
        && !matches!(last, b' ' | b':')
        && classes & BEYOND == 0
        && !(classes & COLON != 0 && text.contains(": "))
        && !(classes & HASH != 0 && text.contains(" #"));
    if lines {
        // A block begins with text and ends with it, so that no indentation or break is guessed.
        let edge = |b: u8| matches!(b, b' ' | b'\n');
        return if edge(*first) || edge(*last) || classes & BEYOND != 0 { Style::Double } else { Style::Block };
    }
    if !plain {
        return Style::Single;
    }
    // Words and numbers that a reader may take for a boolean, a number, a date or nothing.
    let short = text.len() <= 5 && is_ambiguous(text);
    let digit = first.is_ascii_digit() && !is_duration(bytes);
    if short || digit { Style::Single } else { Style::Plain }
}

/// `5m`, `1d12h`: digits and unit letters in turn are never a number.
fn is_duration(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let tail = rest.get(digits..).unwrap_or_default();
        let unit = match tail {
            [b'm', b's', ..] => 2,
            [b's' | b'm' | b'h' | b'd' | b'w' | b'y', ..] => 1,
            _ => return false,
        };
        if digits == 0 {
            return false;
        }
        rest = tail.get(unit..).unwrap_or_default();
    }
    true
}

/// Characters that may stand in single quotes for every reader: no controls, no line breaks of YAML
/// 1.1, no byte order mark, none outside of Unicode's text.
fn printable(c: char) -> bool {
    !matches!(c, '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

fn double(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if printable(c) => out.push(c),
            c => {
                let _ = match u32::from(c) {
                    n @ 0..=0xFF => write!(out, "\\x{n:02x}"),
                    n @ 0x100..=0xFFFF => write!(out, "\\u{n:04x}"),
                    n => write!(out, "\\U{n:08x}"),
                };
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use plimsoll_slo::RuleSet;
    use proptest::prelude::*;

    use super::*;
    use crate::source::Documents;

    /// Texts that readers like to take for something else, and any others.
    fn text() -> impl Strategy<Value = String> {
        let tricky = [
            "",
            " ",
            "NO",
            "y",
            "on",
            "null",
            "~",
            "1",
            "1e3",
            "0x1f",
            "12:30",
            "1_000",
            ".nan",
            "-",
            "- a",
            "? a",
            "a: b",
            "a #b",
            "#",
            "a:",
            "|",
            ">",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "'",
            "\"",
            "a'b",
            "{a}",
            "[a]",
            "=",
            "<<",
            "---",
            "...",
            "2026-12-01",
            "1d12h",
            "5m",
            "1h30",
            "+1",
            "1y",
            "\\",
            "a\nb",
            "\na",
            "a\n",
            "a\n\n b",
            " a\nb",
            "a\tb",
            "\u{85}",
            "\u{2028}",
            "\u{feff}a",
            "Ä",
            "🧀",
            "a\u{a0}",
            "\r\n",
            "\u{7f}",
            "Yes",
            "0o7",
            "1.",
            "(a) / b",
            "$x",
        ];
        prop_oneof![
            proptest::sample::select(tricky.to_vec()).prop_map(str::to_owned),
            "[ -~\\n\\t\u{e4}\u{1F9C0}\u{85}\u{2029}\u{fffe}]{0,40}",
            "\\PC{0,20}",
            any::<String>(),
        ]
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let map = || proptest::collection::btree_map(text(), text(), 0..3);
        let some = || proptest::option::of(text());
        (some(), some(), text(), some(), some(), map(), map()).prop_map(
            |(record, alert, expr, hold, keep_firing_for, labels, annotations)| Rule {
                record,
                alert,
                expr,
                hold,
                keep_firing_for,
                labels,
                annotations,
            },
        )
    }

    fn set() -> impl Strategy<Value = RuleSet> {
        let group = (text(), text(), proptest::option::of(1..9000u32), proptest::collection::vec(rule(), 0..4))
            .prop_map(|(name, interval, limit, rules)| Group { name, interval, limit, rules });
        proptest::collection::vec(group, 1..3).prop_map(|groups| RuleSet { groups })
    }

    /// As a reader of YAML 1.1 sees it, of which `Documents` takes the words for booleans.
    fn read(text: &str) -> Value {
        let node = {
            let read = Documents::new(text).next().unwrap();
            read.node.unwrap_or_else(|| panic!("{:?} in\n{text}", read.faults))
        };
        node.to_json()
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(set in set(), indent in 0usize..3) {
            let mut out = format!("{}groups:", " ".repeat(indent));
            groups(&mut out, &set.groups, indent);
            out.push('\n');
            let mut expected = serde_json::to_value(&set).unwrap();
            for group in expected["groups"].as_array_mut().unwrap() {
                if group["interval"] == "" {
                    group.as_object_mut().unwrap().remove("interval");
                }
            }
            prop_assert_eq!(read(&out), expected.clone(), "\n{}", out);
            let other: Value = serde_saphyr::from_str(&out).unwrap();
            prop_assert_eq!(other, expected, "\n{}", out);
        }

        #[test]
        fn any_value_reads_back(texts in proptest::collection::vec(text(), 1..8), n in any::<i64>()) {
            let mut map = serde_json::Map::new();
            for (i, text) in texts.iter().enumerate() {
                map.insert(text.clone(), serde_json::json!([text, {"a": text, "b": [[n, true], {}], "c": null}, []]));
                map.insert(format!("n{i}"), serde_json::json!({"x": {"y": text}}));
            }
            let value_ = Value::Object(map);
            let mut out = String::new();
            value(&mut out, &value_, 0);
            out.push('\n');
            prop_assert_eq!(read(&out), value_, "\n{}", out);
        }
    }

    #[test]
    fn plain_where_it_is_safe() {
        for (text, written) in [
            ("sum by (a) (rate(x{job=\"b\"}[5m]))", "sum by (a) (rate(x{job=\"b\"}[5m]))"),
            ("5m", "5m"),
            ("1e3", "'1e3'"),
            ("no", "'no'"),
            ("99.95", "'99.95'"),
            ("a: b", "'a: b'"),
            ("it's #1 here", "'it''s #1 here'"),
            ("a\tb", "\"a\\tb\""),
            ("sum(\n  a\n)", "|-\n  sum(\n    a\n  )"),
        ] {
            let mut out = String::new();
            string(&mut out, text, 0);
            assert_eq!(out, written);
        }
    }
}
