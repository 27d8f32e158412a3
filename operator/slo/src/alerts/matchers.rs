//! `spec.matchers`: which series of the expressions are meant.

use std::{collections::BTreeMap, fmt};

use plimsoll_api::Problem;
use promql_parser::{label, parser::token};

use crate::{promql, re2, validate};

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Matches => "=~",
            Op::MatchesNot => "!~",
        })
    }
}

/// One matcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// `cluster="prod-eu"`, as PromQL and LogQL write it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.label, self.op, promql::quote(&self.value))
    }
}

impl Matcher {
    /// As the parser has it; `None` for a regular expression that it does not take.
    pub(super) fn parsed(&self) -> Option<label::Matcher> {
        let token = match self.op {
            Op::Equal => token::T_EQL,
            Op::NotEqual => token::T_NEQ,
            Op::Matches => token::T_EQL_REGEX,
            Op::MatchesNot => token::T_NEQ_REGEX,
        };
        let mut matcher = label::Matcher::new_matcher(token, self.label.clone(), self.value.clone()).ok()?;
        promql::uncompile(&mut matcher);
        Some(matcher)
    }
}

/// The matchers, sorted by label.
pub(super) fn matchers(spec: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Vec<Matcher> {
    let mut all = Vec::new();
    for (label, written) in spec {
        let path = format!("spec.matchers.{label}");
        let before = problems.len();
        if !validate::label_syntax(label, &path, problems) || !validate::label_value(written, &path, problems) {
            continue;
        }
        let (op, value) = match written.get(..2) {
            Some("=~") => (Op::Matches, &written[2..]),
            Some("!~") => (Op::MatchesNot, &written[2..]),
            Some("!=") => (Op::NotEqual, &written[2..]),
            _ => (Op::Equal, written.as_str()),
        };
        let start = written.len() - value.len();
        match op {
            Op::Equal if value.is_empty() => problems.push(
                Problem::error(&path, format!("matcher {label} is empty"))
                    .label(format!("only series without {label} would be seen"))
                    .help("give it a value, or remove it"),
            ),
            Op::Equal | Op::NotEqual => {}
            Op::Matches | Op::MatchesNot => match re2::complaint(value) {
                Some(complaint) => problems.push(
                    Problem::error(&path, format!("matcher {label} has a broken regular expression"))
                        .label(complaint.message)
                        .help(complaint.help)
                        .span(start..written.len()),
                ),
                None if re2::matches_everything(value) => {
                    let (label_, help) = if op == Op::Matches {
                        (
                            "it matches everything, as if it were not there",
                            format!("name what is meant, such as {label}: prod-eu; or remove it"),
                        )
                    } else {
                        (
                            "it excludes everything, so that no alert can fire",
                            "name what is not meant, or remove it".to_owned(),
                        )
                    };
                    problems.push(
                        Problem::error(&path, format!("matcher {label} tells nothing apart"))
                            .label(label_)
                            .help(help)
                            .span(start..written.len()),
                    );
                }
                None => {}
            },
        }
        let matcher = Matcher { label: label.clone(), op, value: value.to_owned() };
        if problems.len() == before && matcher.parsed().is_none() {
            problems.push(
                Problem::error(&path, format!("matcher {label} has a broken regular expression"))
                    .label("it grows too large")
                    .help("use a shorter one"),
            );
        }
        if problems.len() == before {
            all.push(matcher);
        }
    }
    all
}
