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
}
