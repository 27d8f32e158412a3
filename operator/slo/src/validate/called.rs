//! What the names of metrics say against the field that they stand in.

use plimsoll_api::Problem;
use promql_parser::{
    label::Matcher,
    parser::{Expr, VectorSelector, token},
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
const BAD: [&str; 7] = ["err", "fail", "bad", "un", "non", "not", "5"];

/// Words in the names of gauges that are 0 or 1, and of what may well be.
const FLAGS: [&str; 26] = [
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
    let of_bad = |matcher: &Matcher| words(&matcher.value).any(|word| is_bad(&word));
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
        Expr::Binary(outer) => [token::T_DIV, token::T_ADD, token::T_SUB].contains(&outer.op.id()),
        Expr::Call(call) => AMOUNTS.contains(&call.func.name),
        Expr::Aggregate(aggregate) => match aggregate.op.id() {
            token::T_COUNT | token::T_STDDEV | token::T_STDVAR => true,
            token::T_SUM | token::T_AVG | token::T_QUANTILE => {
                is_amount(&aggregate.expr) || !may_be_flag(&aggregate.expr)
            }
            token::T_MIN | token::T_MAX => is_amount(&aggregate.expr),
            _ => false,
        },
        _ => false,
    }
}

/// Whether what is aggregated may be a gauge that is 0 or 1, by its name; nothing is known of what a rule records.
fn may_be_flag(expr: &Expr) -> bool {
    let flag = |name: Option<&String>| {
        name.is_none_or(|name| name.contains(':') || words(name).any(|word| FLAGS.contains(&word.as_str())))
    };
    match bare(expr) {
        Expr::VectorSelector(selector) => flag(selector.name.as_ref()),
        Expr::MatrixSelector(matrix) => flag(matrix.vs.name.as_ref()),
        Expr::Call(call) if call.func.name.ends_with("_over_time") => {
            call.args.args.last().is_none_or(|inner| may_be_flag(inner))
        }
        Expr::Aggregate(aggregate) => may_be_flag(&aggregate.expr),
        _ => true,
    }
}
