//! Selectors without a metric's name. A rate drops the name: of two series that differ in nothing else it would make one, for which
//! Prometheus fails the rule, at every evaluation and only there.

use plimsoll_api::Problem;
use promql_parser::{
    label::MatchOp,
    parser::{Expr, VectorSelector},
};

use crate::promql::{self, Parsed};

/// Functions of a range that keep the name of each series, or make no series of them.
const KEEP: [&str; 3] = ["last_over_time", "first_over_time", "absent_over_time"];

/// Whether a selector fixes the name, also one in quotes.
fn is_named(selector: &VectorSelector) -> bool {
    let fixes =
        |name: &str, op: &MatchOp, value: &str| name == "__name__" && *op == MatchOp::Equal && !value.is_empty();
    selector.name.is_some() || selector.matchers.matchers.iter().any(|m| fixes(&m.name, &m.op, &m.value))
}

/// Refuses a field that is a selector alone and fixes no name; false when it is refused.
pub(super) fn must(selector: &VectorSelector, path: &str, example: &str, problems: &mut Vec<Problem>) -> bool {
    let named = is_named(selector);
    if !named {
        let field = path.rsplit('.').next().unwrap_or(path);
        problems.push(
            Problem::error(path, format!("{field} has no metric name"))
                .label("it selects every metric with these labels, and Prometheus fails a rate or sum over time of two of them")
                .help(format!("write a metric name with labels, such as {example}")),
        );
    }
    named
}

/// Warns of a rate, or another function of a range, over a selector that fixes no name. It is right where one metric alone has
/// these labels, which nobody but the author knows.
pub(super) fn ranges(parsed: &Parsed, path: &str, problems: &mut Vec<Problem>) {
    let mut found: Option<&str> = None;
    promql::each(&parsed.expr, &mut |expr| {
        let Expr::Call(call) = expr else { return };
        let drops = call
            .args
            .args
            .iter()
            .any(|argument| matches!(argument.as_ref(), Expr::MatrixSelector(matrix) if !is_named(&matrix.vs)));
        if drops && !KEEP.contains(&call.func.name) && found.is_none() {
            found = Some(call.func.name);
        }
    });
    let Some(function) = found else { return };
    let field = path.rsplit('.').next().unwrap_or(path);
    let article = if function.starts_with(['a', 'i']) { "an" } else { "a" };
    problems.push(
        Problem::warning(path, format!("{field} has {article} {function} of a selector without a metric name"))
            .label("where two metrics have these labels, Prometheus fails the rules")
            .help("write a metric name with labels"),
    );
}
