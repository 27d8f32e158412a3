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
