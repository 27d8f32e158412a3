//! Prometheus' templates in annotations: enough of their grammar to find what it would refuse.

use plimsoll_api::{Problem, shape::suggest};

/// Functions of Prometheus' templates, and Go's own.
const FUNCTIONS: [&str; 56] = [
    "query",
    "first",
    "value",
    "label",
    "strvalue",
    "sortByLabel",
    "args",
    "tmpl",
    "safeHtml",
    "match",
    "title",
    "toUpper",
    "toLower",
    "graphLink",
    "tableLink",
    "parseDuration",
    "stripPort",
    "stripDomain",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "pathPrefix",
    "externalURL",
    "reReplaceAll",
    "urlQueryEscape",
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "call",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "true",
    "false",
    "nil",
    "if",
    "with",
    "range",
    "else",
];

/// Variables that Prometheus sets before every template; others are declared by `:=`.
const VARIABLES: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

/// Checks a text with templates.
///
/// # Errors
/// The first thing that Prometheus would refuse.
pub(crate) fn check(text: &str, path: &str) -> Result<(), Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let bad = |label: String, help: String| {
        Err(Problem::error(path, format!("{field} has a broken template")).label(label).help(help))
    };
    let (mut rest, mut open) = (text, 0_usize);
    let mut variables = VARIABLES.to_vec();
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest[start..].find("}}") else {
            return bad("a {{ is never closed".to_owned(), "close it by }}".to_owned());
        };
        let action = &rest[start + 2..start + length];
        let (declared, _) = action.split_once(":=").unwrap_or(("", action));
        variables.extend(words(declared).into_iter().filter(|word| word.starts_with('$')));
        for word in words(action) {
            match word {
                variable if variable.starts_with('$') => {
                    if !variables.contains(&variable) {
                        return bad(format!("variable {variable} is unknown"), suggest(variable, &VARIABLES));
                    }
                }
                "end" => match open.checked_sub(1) {
                    Some(left) => open = left,
                    None => return bad("an end ends nothing".to_owned(), "remove it".to_owned()),
                },
                "if" | "with" | "range" => open += 1,
                known if FUNCTIONS.contains(&known) => {}
                unknown => {
                    let near = suggest(unknown, &FUNCTIONS);
                    let help = if near.starts_with("use one of") {
                        "use a function of Prometheus' templates".to_owned()
                    } else {
                        near
                    };
                    return bad(format!("function {unknown} is unknown"), help);
                }
            }
        }
        rest = &rest[start + length + 2..];
    }
    if open > 0 {
        return bad("a block has no end".to_owned(), "add {{ end }}".to_owned());
    }
    Ok(())
}

/// The first thing in a text with templates that is another with each value of the alert, or at each evaluation, as it is
/// written there. In a label it would make another alert each time.
pub(crate) fn changing(text: &str) -> Option<&str> {
    // Of each open block, whether the dot in it is still all that the template was given, the value included.
    let mut dots = Vec::new();
    let mut rest = text;
    while let Some((_, from)) = rest.split_once("{{") {
        let (action, after) = from.split_once("}}")?;
        rest = after;
        let operands = operands(action);
        let mut words = operands.iter().copied();
        let first = words.next();
        if first == Some("else") {
            dots.pop();
        }
        let whole = dots.last().copied().unwrap_or(true);
        if let Some(found) = operands.iter().copied().find(|operand| changes(operand, whole)) {
            return Some(found);
        }
        match first {
            Some("with" | "range") => dots.push(false),
            Some("if") => dots.push(whole),
            Some("else") => dots.push(whole && words.next() != Some("with")),
            Some("end") => {
                dots.pop();
            }
            _ => {}
        }
    }
    None
}

/// Whether a variable, a field or a function is another each time; `whole` says that the dot is all there is.
fn changes(operand: &str, whole: bool) -> bool {
    let (root, fields) = operand.split_once('.').unwrap_or((operand, ""));
    match (root, fields) {
        ("$value", _) | ("$" | "value" | "now", "") => true,
        ("", "") => whole,
        // A label may be called so.
        ("$labels" | "$externalLabels", _) => false,
        (_, field) => field == "Value" || field.starts_with("Value."),
    }
}

/// Variables with their fields, fields and functions in an action, one after the other, without strings and comments.
fn operands(action: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = action;
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
    while let Some(at) = rest.find(|c: char| part(c) || matches!(c, '"' | '`' | '\'' | '/')) {
        rest = rest.get(at..).unwrap_or_default();
        let length = match rest.chars().next() {
            Some('/') => rest.find("*/").map_or(1, |end| end + 2),
            Some(quote @ ('"' | '`' | '\'')) => quoted(rest, quote),
            _ => {
                let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
                found.extend(rest.get(..length));
                length
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// The length of a string literal at the beginning.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Functions and variables (with their `$`) in an action: words that are neither a field, a string nor a number.
fn words(action: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut chars = action.char_indices().peekable();
    let mut previous = ' ';
    while let Some((start, c)) = chars.next() {
        if matches!(c, '"' | '`' | '\'') {
            while let Some((_, d)) = chars.next() {
                if d == '\\' && c != '`' {
                    chars.next();
                } else if d == c {
                    break;
                }
            }
        } else if c.is_alphabetic() || c == '_' {
            let mut end = start + c.len_utf8();
            while let Some((at, d)) = chars.peek().copied().filter(|(_, d)| d.is_alphanumeric() || *d == '_') {
                end = at + d.len_utf8();
                chars.next();
            }
            // The word after `else` may be another `if`, which opens no block of its own.
            let word = &action[start..end];
            let named = previous == '.' || previous.is_ascii_digit();
            if previous == '$' {
                found.push(&action[start - 1..end]);
            } else if !named && (word != "if" || found.last() != Some(&"else")) {
                found.push(word);
            }
        }
        previous = c;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_prometheus_refuses() {
        for fine in [
            "plain",
            "{{ $value | humanizePercentage }} of {{ $labels.pod }}",
            "{{ with query \"a{b='}'}\" }}{{ . | first | value | printf \"%.1f\" }}{{ else }}none{{ end }}",
            "{{ if gt $value 0.5 }}much{{ else if eq 1 2 }}some{{ else }}little{{ end }}",
            "{{- $x := 1 -}}{{ $x }}",
            "{{ range $i, $s := query \"up\" }}{{ $i }} {{ $s.Labels.job }}{{ end }}{{ $externalURL }} {{ $ }}",
        ] {
            assert_eq!(check(fine, "x"), Ok(()), "{fine}");
        }
        for (broken, label) in [
            ("{{ $value", "a {{ is never closed"),
            ("}} {{", "a {{ is never closed"),
            ("{{ $labels.x | badfunc }}", "function badfunc is unknown"),
            ("{{ $label.pod }}", "variable $label is unknown"),
            ("{{ $x }}{{ $x := 1 }}", "variable $x is unknown"),
            ("{{ if $value }}x", "a block has no end"),
            ("{{ end }}", "an end ends nothing"),
        ] {
            assert_eq!(check(broken, "x").expect_err(broken).label, label);
        }
    }

    /// Seen with `promtool test rules` on a series that changes: with these in a label and a `for`, no alert ever fires.
    #[test]
    fn finds_what_is_another_each_time() {
        for (text, what) in [
            ("{{ $value }}", "$value"),
            ("{{ .Value }}", ".Value"),
            ("{{ with $ }}{{ .Value }}{{ end }}", "$"),
            ("{{ $.Value | printf \"%f\" }}", "$.Value"),
            ("{{ printf \"%v\" $ }}", "$"),
            ("{{ printf \"%v\" . }}", "."),
            ("{{- $x := . -}}{{ $x.Value }}", "."),
            ("{{ range query \"up\" }}{{ .Value }}{{ end }}", ".Value"),
            ("{{ range $i, $s := query \"up\" }}{{ $s.Value }}{{ end }}", "$s.Value"),
            ("{{ (query \"up\" | first).Value }}", ".Value"),
            ("{{ query \"up\" | first | value }}", "value"),
            ("{{ with $labels.a }}{{ . }}{{ else }}{{ . }}{{ end }}", "."),
            ("{{ if $labels.a }}{{ . }}{{ end }}", "."),
            ("{{ with $labels.a }}{{ . }}{{ end }}{{ . }}", "."),
            ("{{ if gt $value 5.0 }}much{{ end }}", "$value"),
            ("{{ now }}", "now"),
        ] {
            assert_eq!(changing(text), Some(what), "{text}");
        }
        for text in [
            "$value .Value",
            "{{ $labels.pod }}{{ .Labels.pod }}{{ $.Labels.Value }}{{ $labels.Value }}",
            "{{ with $labels.pod }}{{ . }}{{ end }}",
            "{{ with $labels.a }}1{{ else with $labels.b }}{{ . }}{{ end }}",
            "{{ if $labels.a }}{{ with .Labels }}{{ .pod }}{{ end }}{{ end }}",
            "{{ with query \"up\" }}{{ . | first | label \"job\" }}{{ end }}",
            "{{ \"{{\" }} $value",
            "{{ \"$value \\\" .Value\" }}{{ `$value` }}{{/* $value */}}{{ $values := 1.5 }}{{ $values }}",
        ] {
            assert_eq!(changing(text), None, "{text}");
        }
    }
}
