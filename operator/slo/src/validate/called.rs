//! What the names of metrics say against the field that they stand in.

use plimsoll_api::Problem;
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{BinaryExpr, Expr, VectorSelector, token},
};

use super::sides::bare;
use crate::{
    meant,
    model::Span,
    promql::{self, Parsed},
};

/// Words for what went well.
const GOOD: [&str; 7] = ["success", "successes", "successful", "succeeded", "availability", "uptime", "goodput"];

/// Beginnings of words, in names and in labels' values, for what did not.
const BAD: [&str; 28] = [
    "err", "fail", "bad", "un", "non", "not", "5", "0", "false", "down", "loss", "lost", "miss", "timeout", "drop",
    "reject", "degrad", "violat", "slow", "burn", "budget", "broken", "abort", "den", "invalid", "exceed", "revers",
    "wrong",
];

/// Words in the names of gauges that say how much there is of something: units, and what is counted or measured.
const MEASURES: [&str; 44] = [
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "ms",
    "minutes",
    "hours",
    "days",
    "bytes",
    "kilobytes",
    "megabytes",
    "bits",
    "celsius",
    "volts",
    "watts",
    "amperes",
    "hertz",
    "percent",
    "percentage",
    "ratio",
    "usage",
    "utilization",
    "utilisation",
    "length",
    "depth",
    "size",
    "lag",
    "latency",
    "duration",
    "age",
    "delay",
    "backlog",
    "count",
    "total",
    "number",
    "requests",
    "connections",
    "messages",
    "errors",
    "failures",
    "items",
    "goroutines",
    "throughput",
    "temperature",
];

/// Words in the names of gauges that are 0 or 1, and of what may well be.
const FLAGS: [&str; 28] = [
    "is",
    "has",
    "up",
    "success",
    "successful",
    "ok",
    "ready",
    "readiness",
    "healthy",
    "health",
    "alive",
    "live",
    "available",
    "availability",
    "reachable",
    "connected",
    "good",
    "leader",
    "active",
    "status",
    "state",
    "online",
    "running",
    "synced",
    "valid",
    "enabled",
    "probe",
    "slo",
];

/// Functions that yield how much there is of something, and no condition.
const AMOUNTS: [&str; 12] = [
    "rate",
    "irate",
    "increase",
    "delta",
    "idelta",
    "deriv",
    "predict_linear",
    "histogram_quantile",
    "histogram_count",
    "histogram_sum",
    "histogram_avg",
    "histogram_fraction",
];

/// The longest that anybody waits for an answer, in seconds: proxies give up by then.
const PATIENCE: u64 = 60;

fn words(name: &str) -> impl Iterator<Item = String> + '_ {
    name.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_lowercase)
}

/// Warns of an error ratio whose name is that of a share of good events, or whose upper side is.
pub(super) fn inverted(parsed: &Parsed, path: &str, problems: &mut Vec<Problem>) {
    let expr = bare(&parsed.expr);
    let (upper, lower) = match expr {
        Expr::Binary(division) if division.op.id() == token::T_DIV => (&*division.lhs, Some(&*division.rhs)),
        other => (other, None),
    };
    let Some(name) = good(upper).filter(|_| lower.is_none_or(|lower| good(lower).is_none())) else { return };
    let (name, help) = if parsed.selector().is_some() {
        // As it is written, with $window.
        let name = parsed.text.split('{').next().unwrap_or_default().trim();
        (name, format!("write {}", meant::written(&format!("1 - {}", parsed.text))))
    } else {
        (name.as_str(), "write 1 - (…) around it".to_owned())
    };
    problems.push(
        Problem::warning(path, format!("errors is called {name}, as the share of good events is"))
            .label("what goes well would use up the error budget")
            .help(format!("{help}; or leave it if the name is wrong")),
    );
}

/// The name of the one selector, where it is one of what went well and nothing is calculated of it.
fn good(expr: &Expr) -> Option<String> {
    let (mut selectors, mut plain) = (Vec::<VectorSelector>::new(), true);
    promql::each(expr, &mut |expr| match expr {
        Expr::VectorSelector(selector) => selectors.push(selector.clone()),
        Expr::MatrixSelector(matrix) => selectors.push(matrix.vs.clone()),
        Expr::Binary(_) | Expr::Unary(_) => plain = false,
        Expr::Call(call) => plain &= !call.func.name.starts_with("absent"),
        _ => {}
    });
    let [selector] = selectors.as_slice() else { return None };
    let name = selector.name.clone()?;
    let is_bad = |word: &str| BAD.iter().any(|bad| word.starts_with(bad));
    let is_fine = |word: &str| FLAGS.contains(&word) || word == "true" || word.starts_with('2');
    // `code!="OK"` selects what did not go well.
    let of_bad = |matcher: &Matcher| {
        let but = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRe(_));
        words(&matcher.value).any(|word| if but { is_fine(&word) } else { is_bad(&word) })
    };
    let good = words(&name).any(|word| GOOD.contains(&word.as_str())) && !words(&name).any(|word| is_bad(&word));
    (plain && good && !selector.matchers.matchers.iter().any(of_bad)).then_some(name)
}

/// Warns of seconds where milliseconds must be meant: of a request that may take minutes nobody waits for the answer. Of what is
/// no request, a batch or a backup, nobody knows.
pub(super) fn patience(metric: &str, threshold: &str, span: Span, path: &str, problems: &mut Vec<Problem>) {
    let asked = words(metric).any(|word| ["http", "grpc", "rpc"].contains(&word.as_str()));
    let Some(seconds) = threshold.strip_suffix('s').and_then(|number| number.parse::<u64>().ok()) else { return };
    if asked && seconds > PATIENCE {
        problems.push(
            Problem::warning(path, format!("threshold is {span}, longer than anybody waits for an answer"))
                .label("whatever is faster counts as good")
                .help(format!("write {seconds}ms if milliseconds are meant")),
        );
    }
}

/// Whether the value is surely an amount and no condition, in an expression that compares nothing.
pub(super) fn is_amount(expr: &Expr) -> bool {
    match bare(expr) {
        // Of a gauge that is 0 or 1 this is the other one: `1 - max(maintenance)`.
        Expr::Binary(BinaryExpr { op, lhs, rhs, modifier: _ }) if op.id() == token::T_SUB && is_one(lhs) => {
            is_amount(rhs) || measures(rhs)
        }
        Expr::Binary(outer) => [token::T_DIV, token::T_ADD, token::T_SUB].contains(&outer.op.id()),
        Expr::Call(call) => AMOUNTS.contains(&call.func.name),
        Expr::Aggregate(aggregate) => match aggregate.op.id() {
            token::T_COUNT | token::T_STDDEV | token::T_STDVAR => true,
            token::T_SUM | token::T_AVG | token::T_QUANTILE => is_amount(&aggregate.expr) || measures(&aggregate.expr),
            token::T_MIN | token::T_MAX => is_amount(&aggregate.expr),
            _ => false,
        },
        _ => false,
    }
}

fn is_one(expr: &Expr) -> bool {
    matches!(bare(expr), Expr::NumberLiteral(number) if number.val == 1.0)
}

/// Whether the name of what is aggregated is that of a measure. Of any other one only its author knows whether it is 0 or 1:
/// nobody can list all words for what is as it should be.
fn measures(expr: &Expr) -> bool {
    let measure = |name: Option<&String>| {
        let among = |list: &[&str]| name.is_some_and(|name| words(name).any(|word| list.contains(&word.as_str())));
        among(&MEASURES) && !among(&FLAGS)
    };
    match bare(expr) {
        Expr::VectorSelector(selector) => measure(selector.name.as_ref()),
        Expr::MatrixSelector(matrix) => measure(matrix.vs.name.as_ref()),
        Expr::Call(call) if call.func.name.ends_with("_over_time") => {
            call.args.args.last().is_some_and(|inner| measures(inner))
        }
        Expr::Aggregate(aggregate) => measures(&aggregate.expr),
        _ => false,
    }
}
