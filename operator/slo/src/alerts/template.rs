//! Annotations have two templates in one text: `[[ owner ]]` is filled in when a rule is rendered, by
//! tera; `{{ $labels.pod }}` is left for Prometheus.

use std::{collections::BTreeMap, io::Write, sync::LazyLock};

use plimsoll_api::Problem;
use serde::Serialize;
use tera::{Context, Delimiters, ErrorKind, Kwargs, State, Tera, Value};

/// Longest text before it is filled in, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Longest text after it was filled in, in bytes.
const MAX_OUTPUT: usize = 4 * MAX_TEXT;

/// What a template can name.
#[derive(Clone, Debug, Serialize)]
pub struct Values<'a> {
    /// Name of the AlertRule.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Name of the alert.
    pub alert: &'a str,
    /// `page` or `ticket`.
    pub severity: &'a str,
    /// The team; missing where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
    /// The matchers as they are written.
    pub matchers: &'a BTreeMap<String, String>,
    /// Names of the alert's runbooks with commas; missing where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbooks: Option<String>,
}

/// Filters that cannot make a text grow; the others are refused, since chained they could.
const FILTERS: [&str; 13] = [
    "default",
    "upper",
    "lower",
    "capitalize",
    "title",
    "trim",
    "trim_start",
    "trim_end",
    "truncate",
    "first",
    "last",
    "length",
    "get",
];
/// Filters and functions of tera that are not offered.
const WITHOUT: [&str; 24] = [
    "safe",
    "wordcount",
    "escape",
    "escape_html",
    "escape_xml",
    "newlines_to_br",
    "pluralize",
    "replace",
    "indent",
    "str",
    "int",
    "float",
    "reverse",
    "split",
    "abs",
    "round",
    "nth",
    "join",
    "sort",
    "unique",
    "values",
    "keys",
    "pairs",
    "group_by",
];

/// Only expressions: blocks and comments would begin with characters that no text has, so that there
/// are no loops and a text's length bounds the work.
static ENGINE: LazyLock<Option<Tera>> = LazyLock::new(|| {
    let mut tera = Tera::default();
    tera.set_delimiters(Delimiters {
        variable_start: "[[".into(),
        variable_end: "]]".into(),
        block_start: "\u{1}\u{2}".into(),
        block_end: "\u{2}\u{1}".into(),
        comment_start: "\u{1}\u{3}".into(),
        comment_end: "\u{3}\u{1}".into(),
    })
    .ok()?;
    for name in WITHOUT {
        tera.register_filter(name, move |_: Value, _: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            Err(tera::Error::message(format!("filter {name} is not offered here; use one of {}", FILTERS.join(", "))))
        });
    }
    for name in ["range", "throw"] {
        tera.register_function(name, move |_: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            Err(tera::Error::message(format!("function {name} is not offered here")))
        });
    }
    tera.set_escape_fn(escape);
    Some(tera)
});

/// A value is no template: Prometheus must not expand it.
fn escape(text: &str, out: &mut dyn Write) -> std::io::Result<()> {
    out.write_all(text.replace("{{", "{{ \"{{\" }}").as_bytes())
}

/// Fills in `[[ … ]]`.
///
/// # Errors
/// What is wrong with the text, which is the value of the field at `path`.
pub fn fill(text: &str, values: &Values<'_>, path: &str) -> Result<String, Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    if text.len() > MAX_TEXT {
        return Err(Problem::error(path, format!("{field} is too long"))
            .label(format!("{} bytes", text.len()))
            .help(format!("use at most {MAX_TEXT} bytes; link to the rest")));
    }
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return Err(Problem::error(path, format!("{field} has a control character"))
            .help("remove it")
            .span(at..at + 1));
    }
    if !text.contains("[[") {
        return Ok(text.to_owned());
    }
    let broken = |label: String, help: String| {
        Problem::error(path, format!("{field} has a broken template")).label(label).help(help)
    };
    let Some(engine) = ENGINE.as_ref() else {
        return Err(broken("the template engine did not start".to_owned(), "report this".to_owned()));
    };
    let context =
        Context::from_serialize(values).map_err(|error| broken(error.to_string(), "report this".to_owned()))?;
    let mut out = Bounded(Vec::new());
    if let Err(error) = engine.render_str_to(text, &context, true, &mut out) {
        let problem = match error.kind() {
            ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
                broken(say(report.message()), help(report.message(), values)).span(report.span().range.clone())
            }
            _ => broken(say(&error.to_string()), help(&error.to_string(), values)),
        };
        return Err(problem);
    }
    String::from_utf8(out.0).map_err(|_| broken("its result is no text".to_owned(), "report this".to_owned()))
}

/// The engine's message in one line.
fn say(message: &str) -> String {
    let first = message.lines().find(|line| !line.trim().is_empty()).unwrap_or(message).trim();
    let first = first.trim_start_matches("error: ");
    // The help names the variables in our own words.
    first.split(". Available").next().unwrap_or(first).trim_end_matches('.').to_owned()
}

fn help(message: &str, values: &Values<'_>) -> String {
    if message.contains("is not offered") {
        return "remove it".to_owned();
    }
    let mut names = vec!["name", "namespace", "alert", "severity", "matchers.LABEL"];
    if values.owner.is_some() {
        names.push("owner");
    }
    if values.runbooks.is_some() {
        names.push("runbooks");
    }
    format!("[[ ]] knows {}; what is known only when the alert fires stands in {{{{ }}}}", names.join(", "))
}

/// Takes no more than an annotation may hold.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(std::io::Error::other(format!("the filled in text is longer than {MAX_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter of a newer tera that nobody has looked at could make texts grow.
    #[test]
    fn every_filter_of_the_engine_is_known() {
        let known = FILTERS.len() + WITHOUT.len();
        let engine = format!("{:?}", ENGINE.as_ref().expect("the engine"));
        assert!(engine.contains(&format!("filters: {known},")), "{engine}");
        assert!(engine.contains("functions: 2,"), "{engine}");
    }

    #[test]
    fn the_work_is_bounded_by_the_length() {
        let matchers = BTreeMap::new();
        let values = Values {
            name: "n",
            namespace: "shop",
            alert: "A",
            severity: "page",
            owner: Some("payments"),
            matchers: &matchers,
            runbooks: None,
        };
        let filled = |text: &str| fill(text, &values, "x");
        assert_eq!(filled("[[ owner | upper ]] {{ $value }}").as_deref(), Ok("PAYMENTS {{ $value }}"));
        assert_eq!(filled("[[ runbooks | default(value=\"none\") ]]").as_deref(), Ok("none"));
        for refused in [
            "[[ range(end=1000000000) ]]",
            "[[ \"a\" | replace(from=\"\", to=\"aaaaaaaaaa\") ]]",
            "[[ owner | split(pat=\"\") | join(sep=\"aaaaaaaa\") ]]",
            "[[ owner | indent(width=1000000000) ]]",
            "[[ throw(message=\"x\") ]]",
        ] {
            let label = filled(refused).expect_err(refused).label;
            assert!(label.contains("is not offered here"), "{refused}: {label}");
        }
        // Blocks are plain text: there are no loops.
        assert_eq!(filled("{% for a in b %}[[ name ]]").as_deref(), Ok("{% for a in b %}n"));
        assert!(filled(&"[[ name ]]".repeat(500)).expect_err("long").message.contains("too long"));
    }
}
