//! What can be read of two counters side by side but hardly meant: groups that are all bad or all good, bad events that count as
//! good ones too, a series that is divided by itself. It is told only where both are written as a selector, a rate of one or
//! a sum of that, so that nothing else explains them.

use std::time::Duration;

use plimsoll_api::Problem;
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, LabelModifier, VectorSelector, token},
};

use super::parts;
use crate::{promql, re2};

/// A counter as it is mostly written.
struct Plain<'e> {
    name: &'e str,
    matchers: &'e [Matcher],
    /// The rate that is taken of it, and over which time.
    rate: Option<(&'e str, Duration)>,
    /// Whether it is summed, and by what.
    sum: Option<Option<&'e LabelModifier>>,
}

impl<'e> Plain<'e> {
    fn of(expr: &'e Expr) -> Option<Self> {
        match bare(expr) {
            Expr::Aggregate(sum) if sum.op.id() == token::T_SUM => {
                let inner = Self::rate(bare(&sum.expr))?;
                Some(Self { sum: Some(sum.modifier.as_ref()), ..inner })
            }
            other => Self::rate(other),
        }
    }

    fn rate(expr: &'e Expr) -> Option<Self> {
        match expr {
            Expr::VectorSelector(selector) => Self::series(selector, None),
            Expr::Call(call) if ["rate", "increase", "irate"].contains(&call.func.name) => {
                match bare(call.args.args.first()?) {
                    Expr::MatrixSelector(matrix) => Self::series(&matrix.vs, Some((call.func.name, matrix.range))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn series(selector: &'e VectorSelector, rate: Option<(&'e str, Duration)>) -> Option<Self> {
        let plain = selector.offset.is_none() && selector.at.is_none() && selector.matchers.or_matchers.is_empty();
        let name = selector.name.as_deref().filter(|_| plain)?;
        Some(Self { name, matchers: &selector.matchers.matchers, rate, sum: None })
    }

    /// Whether both are the same but for matchers, and by what they are summed.
    fn is_like(&self, other: &Self) -> bool {
        self.name == other.name && self.rate == other.rate && self.sum.is_some() == other.sum.is_some()
    }

    fn keeps(&self, label: &str) -> bool {
        let among = |labels: &[String]| labels.iter().any(|one| one == label);
        match self.sum {
            None => true,
            Some(None) => false,
            Some(Some(LabelModifier::Include(labels))) => among(&labels.labels),
            Some(Some(LabelModifier::Exclude(labels))) => !among(&labels.labels),
        }
    }

    /// Its matchers that the other has not.
    fn beyond(&self, other: &Self) -> Vec<&'e Matcher> {
        self.matchers.iter().filter(|matcher| !other.matchers.contains(matcher)).collect()
    }
}

pub(super) fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// Warns when a label is grouped by that alone tells the part from the whole: each group is then all of it, or nothing.
pub(super) fn groups(part: (&str, &Expr), whole: (&str, &Expr), group_by: &[String], problems: &mut Vec<Problem>) {
    // Most have no groups, and need no look at all.
    if group_by.is_empty() {
        return;
    }
    let ((field, own), (of, all)) = (part, whole);
    let (Some(own), Some(all)) = (Plain::of(own), Plain::of(all)) else { return };
    let grouped = |matcher: &&Matcher| group_by.contains(&matcher.name);
    let beyond = own.beyond(&all);
    let Some(teller) = beyond.iter().find(|matcher| own.keeps(&matcher.name) && all.keeps(&matcher.name)) else {
        return;
    };
    let Some(at) = group_by.iter().position(|label| *label == teller.name) else { return };
    if !own.is_like(&all) || !beyond.iter().chain(&all.beyond(&own)).all(grouped) {
        return;
    }
    let is = if field == "good" { "good" } else { "bad" };
    problems.push(
        Problem::warning(
            format!("spec.groupBy[{at}]"),
            format!("{} is what tells {is} events from others", teller.name),
        )
        .label(format!("{field} has {}, {of} has not: a group is all {is} or not at all", promql::matcher(teller)))
        .help(format!("remove {} from groupBy", teller.name)),
    );
}

/// Warns when good events are selected so that the bad ones are among them.
pub(super) fn overlap(bad: &Expr, good: &Expr, path: &str, problems: &mut Vec<Problem>) {
    let (Some(bad), Some(good)) = (Plain::of(bad), Plain::of(good)) else { return };
    if !bad.is_like(&good) {
        return;
    }
    if bad.matchers.iter().all(|of_bad| good.matchers.iter().any(|m| implies(m, of_bad))) {
        problems.push(
            Problem::warning(format!("{path}.bad"), "bad counts the good events too")
                .label("it selects all that good selects: did you mean total?")
                .help("write it as total, or leave the good ones out of bad"),
        );
        return;
    }
    if !good.matchers.iter().all(|of_good| bad.matchers.iter().any(|m| implies(m, of_good))) {
        return;
    }
    let help = match bad.beyond(&good).as_slice() {
        [one] => format!("write it as total, or add {} to good", promql::matcher(&negated(one))),
        _ => "write it as total, or leave the bad ones out of good".to_owned(),
    };
    problems.push(
        Problem::warning(format!("{path}.good"), "good counts the bad events too")
            .label("it selects all that bad selects")
            .help(help),
    );
}

/// True when what the first lets through is surely let through by the second.
fn implies(first: &Matcher, second: &Matcher) -> bool {
    if first.name != second.name {
        return false;
    }
    if first == second {
        return true;
    }
    let literal = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | ' '));
    let is_there = |first: &Matcher| match &first.op {
        MatchOp::Equal => !first.value.is_empty(),
        MatchOp::Re(_) => !re2::may_be_empty(&first.value),
        MatchOp::NotEqual | MatchOp::NotRe(_) => false,
    };
    match (&first.op, &second.op) {
        (_, MatchOp::Re(_)) if second.value == ".+" => is_there(first),
        (_, MatchOp::NotEqual) if second.value.is_empty() => is_there(first),
        (MatchOp::Equal, MatchOp::Re(_)) => {
            literal(&first.value) && words(&second.value).is_some_and(|words| words.contains(&first.value.as_str()))
        }
        (MatchOp::Re(_), MatchOp::Re(_)) => match (words(&first.value), words(&second.value)) {
            (Some(own), Some(all)) => own.iter().all(|word| all.contains(word)),
            _ => false,
        },
        (MatchOp::Equal, MatchOp::NotEqual) => first.value != second.value,
        (MatchOp::Re(_), MatchOp::NotEqual) => {
            words(&first.value).is_some_and(|words| words.iter().all(|word| literal(word) && *word != second.value))
        }
        _ => false,
    }
}

/// The words between the bars of a pattern; of one with brackets or escapes nothing is known.
fn words(pattern: &str) -> Option<Vec<&str>> {
    (!pattern.contains(['(', '[', '\\'])).then(|| pattern.split('|').collect())
}

fn negated(matcher: &Matcher) -> Matcher {
    let op = match &matcher.op {
        MatchOp::Equal => MatchOp::NotEqual,
        MatchOp::NotEqual => MatchOp::Equal,
        MatchOp::Re(pattern) => MatchOp::NotRe(pattern.clone()),
        MatchOp::NotRe(pattern) => MatchOp::Re(pattern.clone()),
    };
    Matcher { op, ..matcher.clone() }
}

/// What a factor stands before or after; an expression without one is itself.
fn scaled(expr: &Expr) -> &Expr {
    match bare(expr) {
        Expr::Binary(product) if product.op.id() == token::T_MUL => match (bare(&product.lhs), bare(&product.rhs)) {
            (Expr::NumberLiteral(_), other) | (other, Expr::NumberLiteral(_)) => other,
            _ => expr,
        },
        other => other,
    }
}

/// Warns of an error ratio whose left side counts successes, or whose two sides are one series, or one group of them.
pub(super) fn ratio(expr: &Expr, group_by: &[String], path: &str, problems: &mut Vec<Problem>) {
    let Expr::Binary(division) = bare(expr) else { return };
    let one_to_one = division.modifier.as_ref().is_none_or(|modifier| modifier.matching.is_none());
    if division.op.id() != token::T_DIV || !one_to_one {
        return;
    }
    groups(("the left side", &division.lhs), ("the right side", &division.rhs), group_by, problems);
    if let Some(errors) = Plain::of(scaled(&division.lhs)) {
        parts::status("errors", errors.matchers, path.trim_end_matches(".errors"), problems);
    }
    let (Some(left), Some(right)) = (Plain::of(&division.lhs), Plain::of(&division.rhs)) else { return };
    if left.sum.is_none() && left.is_like(&right) && right.beyond(&left).is_empty() {
        problems.push(
            Problem::warning(path, "errors divides each series by itself")
                .label("a series has the same labels on both sides: 1, and nothing else")
                .help("sum both sides: sum(rate(…[$window])) / sum(rate(…[$window]))"),
        );
    }
}
