//! What the parts of an indicator count: events per second, events of a window, or a share of them. What does not fit is told only
//! where both are known.

use plimsoll_api::Problem;
use promql_parser::parser::{BinaryExpr, Expr, LabelModifier, token};

use super::sides::bare;
use crate::{promql, render::BASE_RANGE};

/// What an expression counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// `rate`, and a counter of which Plimsoll takes it.
    PerSecond,
    /// `increase`
    PerWindow,
    /// One by the other.
    Ratio,
}

/// Deeper than people write; what is below it is not known.
const MAX_DEPTH: usize = 64;

/// Functions that change values, and not what they count.
const ALIKE: [&str; 12] = [
    "abs",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "floor",
    "histogram_count",
    "label_join",
    "label_replace",
    "round",
    "sort",
    "sort_desc",
];

fn unit(expr: &Expr, depth: usize) -> Option<Unit> {
    let depth = depth.checked_sub(1)?;
    match expr {
        Expr::Paren(paren) => unit(&paren.expr, depth),
        Expr::Call(call) => match call.func.name {
            "rate" | "irate" => Some(Unit::PerSecond),
            "increase" => Some(Unit::PerWindow),
            name if ALIKE.contains(&name) => unit(call.args.args.first()?, depth),
            _ => None,
        },
        Expr::Aggregate(aggregate) => {
            let alike = [token::T_SUM, token::T_MIN, token::T_MAX, token::T_AVG, token::T_TOPK, token::T_BOTTOMK];
            alike.contains(&aggregate.op.id()).then(|| unit(&aggregate.expr, depth)).flatten()
        }
        Expr::Binary(binary) => of_two(binary, depth),
        _ => None,
    }
}

fn of_two(binary: &BinaryExpr, depth: usize) -> Option<Unit> {
    let of = |side| unit(side, depth);
    let (left, right) = (&binary.lhs, &binary.rhs);
    match binary.op.id() {
        token::T_DIV => of(left).filter(|unit| of(right) == Some(*unit)).map(|_| Unit::Ratio),
        token::T_MUL => match (of(left)?, of(right)?) {
            (Unit::Ratio, other) | (other, Unit::Ratio) => Some(other),
            _ => None,
        },
        token::T_ADD | token::T_SUB | token::T_LOR => {
            let unit = if is_number(left) { of(right) } else { of(left) };
            let fits = is_number(left) || is_number(right) || of(right) == unit;
            unit.filter(|_| fits)
        }
        token::T_LAND | token::T_LUNLESS => of(left),
        _ => None,
    }
}

/// A number, or `vector(0)`.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::NumberLiteral(_) => true,
        Expr::Paren(paren) => is_number(&paren.expr),
        Expr::Unary(unary) => is_number(&unary.expr),
        Expr::Call(call) => call.func.name == "vector",
        _ => false,
    }
}

/// What a field counts, of which a counter without rate gets one.
fn of_field(expr: &Expr) -> Option<Unit> {
    if matches!(expr, Expr::VectorSelector(_)) { Some(Unit::PerSecond) } else { unit(expr, MAX_DEPTH) }
}

/// Warns when one of two fields counts something else than the other, so that the first is no part of the second.
pub(super) fn compare(part: (&str, &Expr), whole: (&str, &Expr), path: &str, problems: &mut Vec<Problem>) {
    let (Some(of_part), Some(of_whole)) = (of_field(part.1), of_field(whole.1)) else { return };
    let problem = match (of_part, of_whole) {
        (Unit::Ratio, Unit::PerSecond | Unit::PerWindow) => ratio(part.0, whole.0, path),
        (Unit::PerSecond | Unit::PerWindow, Unit::Ratio) => ratio(whole.0, part.0, path),
        (Unit::PerWindow, Unit::PerSecond) => increase(part.0, whole.0, path),
        (Unit::PerSecond, Unit::PerWindow) => increase(whole.0, part.0, path),
        (Unit::PerWindow, Unit::PerWindow) => increases(part.0, whole.0, path),
        _ => return,
    };
    problems.push(problem);
}

fn ratio(field: &str, other: &str, path: &str) -> Problem {
    Problem::warning(format!("{path}.{field}"), format!("{field} is a ratio, and {other} is not"))
        .label(format!("{other} counts events, and {field} has to do so too"))
        .help("write the events alone, what stands before the /; or the whole ratio as sli.ratio.errors")
}

fn increase(field: &str, other: &str, path: &str) -> Problem {
    Problem::warning(format!("{path}.{field}"), format!("{field} counts per window, and {other} per second"))
        .label("increase is as many times the rate as the window has seconds")
        .help("write rate instead of increase")
}

/// Their ratio is right, and no number of events is.
fn increases(field: &str, other: &str, path: &str) -> Problem {
    Problem::warning(format!("{path}.{field}"), format!("{field} and {other} count per window"))
        .label(format!(
            "they are taken for events per second: minimumBadEvents counts one as {}",
            BASE_RANGE.as_seconds()
        ))
        .help(format!("write rate instead of increase, in {other} too"))
}

/// Warns of bad, good or total whose outermost aggregation picks or weighs rates instead of adding them up.
pub(super) fn average(expr: &Expr, path: &str, problems: &mut Vec<Problem>) {
    let mut expr = bare(expr);
    // What stands after `or` is for when nothing is there.
    while let Expr::Binary(or) = expr
        && or.op.id() == token::T_LOR
    {
        expr = bare(&or.lhs);
    }
    let Expr::Aggregate(aggregate) = expr else { return };
    let (is, may_be_copies) = match aggregate.op.id() {
        token::T_AVG => ("an average", true),
        token::T_MIN => ("a minimum", true),
        token::T_MAX => ("a maximum", true),
        token::T_QUANTILE => ("a quantile", false),
        _ => return,
    };
    // Of what several collect, one is all.
    let copies = matches!(&aggregate.modifier, Some(LabelModifier::Exclude(labels))
        if labels.labels.iter().any(|label| label.contains("replica")));
    let counts = matches!(unit(&aggregate.expr, MAX_DEPTH), Some(Unit::PerSecond | Unit::PerWindow));
    if !counts || (may_be_copies && copies) {
        return;
    }
    let field = path.rsplit('.').next().unwrap_or(path);
    let or = if may_be_copies {
        format!("; or {} without (replica) (…) where each series is there twice", aggregate.op)
    } else {
        String::new()
    };
    problems.push(
        Problem::warning(path, format!("{field} is {is}, which counts no events"))
            .label("two instances with one event each have two, and not one")
            .help(format!("write sum{or}")),
    );
}

/// Warns of an error ratio with `increase` on one side and `rate` on the other, or that is none.
pub(super) fn division(expr: &Expr, path: &str, problems: &mut Vec<Problem>) {
    let mut expr = expr;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    let counted = unit(expr, MAX_DEPTH).filter(|unit| *unit != Unit::Ratio);
    // Seconds of downtime in a second are a share of the time.
    if counted.is_some_and(|unit| unit == Unit::PerWindow || !of_seconds(expr)) {
        problems.push(
            Problem::warning(path, "errors is a count and no ratio")
                .label("a ratio is from 0 to 1, and everything above 1 counts as 1")
                .help("divide it by the same of all events; or write both as sli.events"),
        );
        return;
    }
    let Expr::Binary(division) = expr else { return };
    let sides = (unit(&division.lhs, MAX_DEPTH), unit(&division.rhs, MAX_DEPTH));
    let mixed = matches!(
        sides,
        (Some(Unit::PerWindow), Some(Unit::PerSecond)) | (Some(Unit::PerSecond), Some(Unit::PerWindow))
    );
    if division.op.id() == token::T_DIV && mixed {
        problems.push(
            Problem::warning(path, "errors has increase on one side of / and rate on the other")
                .label("increase is as many times the rate as the window has seconds")
                .help("write rate on both sides"),
        );
    }
}

/// Whether a counter is one of seconds, by its name.
fn of_seconds(expr: &Expr) -> bool {
    let mut found = false;
    promql::each(expr, &mut |expr| {
        if let Expr::MatrixSelector(matrix) = expr {
            found |= matrix.vs.name.as_deref().is_some_and(|name| name.contains("seconds"));
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn what_an_expression_counts() {
        for (text, want) in [
            ("sum(rate(a[$window]))", Some(Unit::PerSecond)),
            ("a", Some(Unit::PerSecond)),
            ("sum by (x) (increase(a[$window])) or vector(0)", Some(Unit::PerWindow)),
            ("0 * rate(b[$window]) or rate(a[$window])", None),
            ("(sum(rate(a[$window]))) / sum(rate(b[$window]))", Some(Unit::Ratio)),
            ("1 - sum(rate(a[$window])) / sum(rate(b[$window]))", Some(Unit::Ratio)),
            ("sum(rate(a[$window])) / sum(rate(b[$window])) * sum(rate(b[$window]))", Some(Unit::PerSecond)),
            ("sum(rate(b[$window])) - sum(rate(a[$window]))", Some(Unit::PerSecond)),
            ("clamp_min(sum(rate(b[$window])) - sum(rate(a[$window])), 0)", Some(Unit::PerSecond)),
            ("rate(a[$window]) unless on (x) b", Some(Unit::PerSecond)),
            // Whatever these are.
            ("sum(increase(a[$window])) / 300", None),
            ("rate(a[$window]) * 60", None),
            ("rate(a[$window]) * on (pod) group_left () info", None),
            ("count(rate(a[$window]))", None),
            ("rate(a[$window]) > bool 5", None),
            ("sum(a)", None),
            ("sum_over_time(a[$window])", None),
        ] {
            let parsed = parse(text, "spec.sli.events.bad").unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(of_field(&parsed.expr), want, "{text}");
        }
        let long = vec!["rate(a[1m])"; 300].join("+");
        assert_eq!(of_field(&parse(&long, "x").expect("long").expr), None);
    }
}
