//! Texts with parameters: `$(pod)`.
//!
//! Values never change what a text is: in a message they are text, in a command a whole entry, in PromQL a whole
//! string literal.

use std::{collections::BTreeMap, ops::Range};

use plimsoll_slo::promql;

/// Every `$(name)` of a text: its name and where it stands.
pub fn references(text: &str) -> Vec<(&str, Range<usize>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find("$(")).map(|at| from + at) {
        let Some(end) = text.get(start..).and_then(|rest| rest.find(')')).map(|at| start + at) else { break };
        if let Some(name) = text.get(start + 2..end) {
            found.push((name, start..end + 1));
        }
        from = end + 1;
    }
    found
}

/// Templates of other tools: `{{ … }}`, `${name}`, `$name`, each as it is written, and the name that it ends with.
pub fn foreign(text: &str) -> Vec<(&str, Option<&str>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find('$')).min() {
        rest = rest.get(at..).unwrap_or_default();
        let (length, name) = if rest.starts_with("{{") {
            let Some(end) = rest.find("}}") else { break };
            let inner = rest.get(2..end).unwrap_or_default().trim();
            (end + 2, inner.rsplit(|c| !is_word(c)).next())
        } else if rest.starts_with("${") {
            let Some(end) = rest.find('}') else { break };
            (end + 1, rest.get(2..end))
        } else {
            let word = rest.get(1..).unwrap_or_default();
            let length = word.find(|c| !is_word(c)).unwrap_or(word.len());
            (1 + length, word.get(..length))
        };
        let name = name.filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
        let written = rest.get(..length).unwrap_or_default();
        // An amount of money and a dollar by itself are none.
        if written.len() > 2 && (name.is_some() || written.starts_with("{{")) || name.is_some() {
            found.push((written, name));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// The parameter that a text is as a whole: `$(pod)`.
pub fn whole(text: &str) -> Option<&str> {
    match references(text).as_slice() {
        [(name, range)] if *range == (0..text.len()) => Some(name),
        _ => None,
    }
}

/// A text with the values put in. A name without a value stays as it is; validation has refused those.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    replace(text, |name| values.get(name).cloned())
}

/// PromQL with the values put in, each as the literal that it stands in.
pub fn fill_promql(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (name, range) in references(text) {
        let (Some(value), Some(before)) = (values.get(name), text.get(at..range.start.saturating_sub(1))) else {
            continue;
        };
        out.push_str(before);
        out.push_str(&promql::quote(value));
        at = range.end + 1;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Where a reference is no whole string literal in PromQL; the parser cannot tell, so it is told by the quotes.
pub fn not_literal(text: &str) -> Option<Range<usize>> {
    references(text).into_iter().map(|(_, range)| range).find(|range| {
        let around = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at));
        let (before, after) = (around(range.start.checked_sub(1)), around(Some(range.end)));
        !matches!((before, after), (Some(b'"'), Some(b'"')) | (Some(b'\''), Some(b'\'')))
    })
}

fn replace(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (name, range) in references(text) {
        let Some(value) = value(name) else { continue };
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&value);
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<String, String> {
        [("pod", "a\"} or vector(1) #"), ("n", "$(pod)")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn values_are_put_in_once() {
        assert_eq!(fill("$(n) and $(other) $(", &values()), "$(pod) and $(other) $(");
        assert_eq!(whole("$(pod)"), Some("pod"));
        assert_eq!(whole("--pod=$(pod)"), None);
    }

    #[test]
    fn templates_of_other_tools_are_seen() {
        let text = "${num} {{ .Labels.x }} $num {{ $labels.pod }} $(num) $5 $ {{ end }} {{ x";
        let wanted = [
            ("${num}", Some("num")),
            ("{{ .Labels.x }}", Some("x")),
            ("$num", Some("num")),
            ("{{ $labels.pod }}", Some("pod")),
            ("{{ end }}", Some("end")),
        ];
        assert_eq!(foreign(text), wanted);
    }

    #[test]
    fn promql_stays_what_it_is() {
        let text = r#"up{pod="$(pod)", n='$(n)'} > 0"#;
        assert_eq!(not_literal(text), None);
        let filled = fill_promql(text, &values());
        assert_eq!(filled, r#"up{pod="a\"} or vector(1) #", n="$(pod)"} > 0"#);
        assert!(promql::parse(&filled, "expr").is_ok());
        for text in ["up > $(n)", r#"up{pod="a-$(pod)"}"#, r#"up{pod='$(pod)"}"#] {
            assert!(not_literal(text).is_some(), "{text}");
        }
    }
}
