//! Prometheus' templates in labels and annotations: what it would refuse is told here. One that it refuses takes away all
//! that is loaded with it.

mod lex;
mod parse;

use plimsoll_api::Problem;

use self::lex::{Kind, Token, tokens};

/// Functions of Prometheus' templates, and Go's own.
const FUNCTIONS: [&str; 48] = [
    "query",
    "first",
    "value",
    "label",
    "strvalue",
    "sortByLabel",
    "args",
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
];

/// Variables that Prometheus sets before every template; others are declared by `:=`.
const VARIABLES: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

/// Longest part of a text that is shown.
const SHOWN: usize = 60;

/// Why a text is no template.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    label: String,
    help: String,
}

impl Fault {
    fn new(label: &str, help: &str) -> Self {
        Self { label: label.to_owned(), help: help.to_owned() }
    }

    /// In the action that begins at `at`, which is shown.
    fn within(text: &str, at: usize, label: &str, help: &str) -> Self {
        let action = text.get(at..).unwrap_or_default();
        let end = action.find("}}").map_or(action.len(), |end| end + 2);
        let action = action.get(..end).unwrap_or_default().replace(['\n', '\r', '\t'], " ");
        let mut shown: String = action.chars().take(SHOWN).collect();
        if shown.len() < action.len() {
            shown.push('…');
        }
        Self::new(&format!("{label}: {shown}"), help)
    }
}

/// Checks a text with templates.
///
/// # Errors
/// The first thing that Prometheus would refuse.
pub(crate) fn check(text: &str, path: &str) -> Result<(), Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    tokens(text).and_then(|tokens| parse::parse(text, &tokens)).map_err(|Fault { label, help }| {
        Problem::error(path, format!("{field} has a broken template")).label(label).help(help)
    })
}

/// The first thing in a text with templates that is another with each value of the alert, or at each evaluation, as it is
/// written there. In a label it would make another alert each time. Of what is no template nothing is said.
pub(crate) fn changing(text: &str) -> Option<&str> {
    // Of each open block, whether the dot in it is still all that the template was given, the value included.
    let mut dots = Vec::new();
    let tokens = tokens(text).ok()?;
    for action in tokens.split(|token| token.kind == Kind::Right) {
        let operands = operands(text, action);
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

/// Variables with their fields, fields and words in an action, one after the other.
fn operands<'a>(text: &'a str, action: &[Token<'a>]) -> Vec<&'a str> {
    let named = |kind| matches!(kind, Kind::Word | Kind::Variable | Kind::Field | Kind::Dot);
    let mut found = Vec::new();
    let mut rest = action;
    while let [first, after @ ..] = rest {
        let fields = after.iter().take_while(|token| token.kind == Kind::Field).count();
        let end = after.get(..fields).and_then(<[_]>::last).unwrap_or(first);
        if named(first.kind) {
            found.extend(text.get(first.at..end.at + end.text.len()));
            rest = after.get(fields..).unwrap_or_default();
        } else {
            rest = after;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+ TEMPLATE`, or `- TEMPLATE` with what is said below it.
    const TABLE: &str = include_str!("../../tests/go/templates.txt");

    #[test]
    fn finds_what_prometheus_refuses() {
        let label = |text: &str| check(&text.replace('⏎', "\n"), "x").err().map(|problem| problem.label);
        let mut lines = TABLE.lines();
        let mut seen = [0, 0];
        while let Some(line) = lines.next() {
            if let Some(fine) = line.strip_prefix("+ ") {
                assert_eq!(label(fine), None, "{fine}");
                seen[0] += 1;
            } else if let Some(broken) = line.strip_prefix("- ") {
                assert_eq!(label(broken).as_deref(), lines.next().map(str::trim), "{broken}");
                seen[1] += 1;
            }
        }
        assert!(seen[0] > 10 && seen[1] > 50, "{seen:?}");
    }

    /// Prometheus would take these; nobody can read the first one, and the others belong to no single text.
    #[test]
    fn what_has_no_sense_in_an_annotation_is_refused() {
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
        let label = |text: &str| check(text, "x").expect_err(text).label;
        assert!(label(&deep).starts_with("too many parentheses within each other"), "{}", label(&deep));
        assert_eq!(check(&format!("{{{{ {}1{} }}}}", "(".repeat(32), ")".repeat(32)), "x"), Ok(()));
        for named in ["define", "block", "template"] {
            assert_eq!(label(&format!("{{{{ {named} \"x\" . }}}}")), format!("function {named} is unknown"));
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
