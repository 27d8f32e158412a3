//! Matchers of labels, as Alertmanager writes them: `alertname="PodRestarting"`, `pod=~"checkout-.*"`.

use std::{collections::BTreeMap, fmt};

use plimsoll_api::Problem;
use plimsoll_slo::{
    promql,
    re2::{complaint, matches_everything},
};
use promql_parser::{
    label::{MatchOp, Matcher as Compiled},
    parser::token,
};

/// A matcher that can be asked. Regular expressions match the whole value.
#[derive(Clone, Debug, PartialEq)]
pub struct Matcher(Compiled);

impl Matcher {
    /// Reads one matcher, the value of the field at `path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, path: &str) -> Result<Self, Problem> {
        let bad = |label: &str| {
            Problem::error(path, "this is not a matcher")
                .label(label.to_owned())
                .help(r#"write it like alertname="PodRestarting" or pod=~"checkout-.*""#)
        };
        let trimmed = text.trim();
        let operator = trimmed.find(['=', '!']).ok_or_else(|| bad("it has none of =, !=, =~, !~"))?;
        let (label, rest) = trimmed.split_at(operator);
        let label = label.trim();
        if !promql::is_label(label) {
            return Err(bad(if label.is_empty() { "it names no label" } else { "its label has other characters" }));
        }
        let (op, rest) =
            [("=~", token::T_EQL_REGEX), ("!~", token::T_NEQ_REGEX), ("!=", token::T_NEQ), ("=", token::T_EQL)]
                .into_iter()
                .find_map(|(sign, op)| rest.strip_prefix(sign).map(|rest| (op, rest.trim())))
                .ok_or_else(|| bad("! is not an operator"))?;
        let value = unquote(rest).ok_or_else(|| bad("its value is not in double quotes"))?;
        let is_regex = op == token::T_EQL_REGEX || op == token::T_NEQ_REGEX;
        if is_regex {
            if let Some(complaint) = complaint(&value) {
                return Err(Problem::error(path, format!("matcher {label} has a broken regular expression"))
                    .label(complaint.message)
                    .help(complaint.help));
            }
            if matches_everything(&value) {
                return Err(Problem::error(path, format!("matcher {label} tells nothing apart"))
                    .label("it matches everything, or excludes everything")
                    .help("name what is meant, or remove it"));
            }
        }
        Compiled::new_matcher(op, label.to_owned(), value).map(Self).map_err(|_| {
            Problem::error(path, format!("matcher {label} has a broken regular expression"))
                .label("it grows too large")
                .help("use a shorter one")
        })
    }

    /// A matcher by equality.
    pub fn equal(label: &str, value: &str) -> Self {
        Self(Compiled::new(MatchOp::Equal, label, value))
    }

    /// True when the labels match. A label that is not there has the value `""`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.is_match(labels.get(&self.0.name).map_or("", String::as_str))
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.0.name
    }

    /// Its value, as it was written.
    pub fn value(&self) -> &str {
        &self.0.value
    }

    /// True for `=` with a value.
    pub fn is_equality(&self) -> bool {
        self.0.op == MatchOp::Equal && !self.0.value.is_empty()
    }

    /// `isRegex` and `isEqual`, as Alertmanager's API has them.
    pub fn flags(&self) -> (bool, bool) {
        match self.0.op {
            MatchOp::Equal => (false, true),
            MatchOp::NotEqual => (false, false),
            MatchOp::Re(_) => (true, true),
            MatchOp::NotRe(_) => (true, false),
        }
    }
}

/// As it is written.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.name, self.0.op, promql::quote(&self.0.value))
    }
}

/// The value between double quotes, escapes resolved.
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                '"' => out.push('"'),
                '\\' => out.push('\\'),
                // As Alertmanager reads it: a backslash before anything else is a backslash.
                other => out.extend(['\\', other]),
            },
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_compared_as_alertmanager_does() {
        let labels = BTreeMap::from([("pod".to_owned(), "checkout-7f".to_owned())]);
        for (text, want) in [
            (r#"pod="checkout-7f""#, true),
            (r#"pod="checkout""#, false),
            (r#"pod=~"checkout""#, false),
            (r#" pod =~ "checkout-.*" "#, true),
            (r#"pod=~"cart|checkout-\\d.""#, true),
            (r#"pod!~"checkout-.*""#, false),
            (r#"pod!="cart""#, true),
            (r#"route="""#, true),
            (r#"route!="""#, false),
        ] {
            let matcher = Matcher::parse(text, "x").expect(text);
            assert_eq!(matcher.matches(&labels), want, "{text}");
            assert_eq!(Matcher::parse(&matcher.to_string(), "x"), Ok(matcher));
        }
    }

    #[test]
    fn says_why_not() {
        for (text, line) in [
            ("", "it has none of =, !=, =~, !~"),
            (r#"="a""#, "it names no label"),
            (r#"a-b="a""#, "its label has other characters"),
            ("a=b", "its value is not in double quotes"),
            (r#"a!b"#, "! is not an operator"),
            (r#"a="b", c="d""#, "its value is not in double quotes"),
        ] {
            assert_eq!(Matcher::parse(text, "x").expect_err(text).label, line, "{text}");
        }
        assert_eq!(Matcher::parse(r#"a=~".*""#, "x").expect_err(".*").message, "matcher a tells nothing apart");
    }
}
