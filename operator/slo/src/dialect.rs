//! What the parser takes and a Prometheus without feature flags does not. It refuses the whole rule file then, with the
//! rules of everybody else in it.

use plimsoll_api::Problem;
use promql_parser::parser::{Expr, VectorSelector};

use crate::tree::each;

/// Experiments that the parser does not call so: aggregations have no such mark, and `first_over_time` is none any more
/// in the newest versions alone.
const UNMARKED: [&str; 3] = ["limitk", "limit_ratio", "first_over_time"];

/// The first thing that such a Prometheus refuses, in the expression `text` of the field at `path`.
pub(crate) fn refused(expr: &Expr, text: &str, path: &str) -> Option<Problem> {
    let mut first = None;
    each(expr, &mut |expr| first = first.take().or_else(|| Foreign::of(expr)));
    first.map(|foreign| foreign.problem(text, path))
}

/// What only others know.
enum Foreign {
    /// A function or an aggregation, by its name.
    Function(String),
    /// `fill`, between the two sides of an operator.
    Fill,
    /// `or` within braces.
    Or,
}

impl Foreign {
    /// What this node is of it, its children aside.
    fn of(expr: &Expr) -> Option<Self> {
        let or = |selector: &VectorSelector| (!selector.matchers.or_matchers.is_empty()).then_some(Self::Or);
        match expr {
            Expr::Call(call) if call.func.experimental || UNMARKED.contains(&call.func.name) => {
                Some(Self::Function(call.func.name.to_owned()))
            }
            Expr::Aggregate(aggregate) => {
                let name = aggregate.op.to_string();
                UNMARKED.contains(&name.as_str()).then_some(Self::Function(name))
            }
            Expr::Binary(binary) => {
                let fill = &binary.modifier.as_ref()?.fill_values;
                (fill.lhs.is_some() || fill.rhs.is_some()).then_some(Self::Fill)
            }
            Expr::VectorSelector(selector) => or(selector),
            Expr::MatrixSelector(matrix) => or(&matrix.vs),
            _ => None,
        }
    }

    fn problem(&self, text: &str, path: &str) -> Problem {
        let field = path.rsplit('.').next().unwrap_or(path);
        let experiment = |name: &str, instead: &str| {
            Problem::error(path, format!("{field} uses {name}, which Prometheus has only as an experiment"))
                .help(format!("{instead}: a Prometheus without that feature flag would refuse the whole rule file"))
        };
        let (problem, token) = match self {
            Self::Function(name) => (experiment(name, "use another function"), name.as_str()),
            Self::Fill => (experiment("fill", "write (a or b * 0) instead"), "fill"),
            Self::Or => (
                Problem::error(path, format!("{field} has or between matchers"))
                    .label("Prometheus does not know that")
                    .help("write two selectors with or between them"),
                " or ",
            ),
        };
        match crate::promql::find(text, token) {
            // A word stands between spaces, which are not a part of it.
            Some(span) if token.starts_with(' ') => problem.span(span.start + 1..span.end - 1),
            Some(span) => problem.span(span),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::promql::parse;

    /// What `promtool check rules` of Prometheus 3.15 says of each.
    #[test]
    fn what_prometheus_refuses_is_refused_and_nothing_else() {
        for text in [
            "x > end()",
            "x > start()",
            "x > step()",
            "x > range()",
            "x > max_of(1, 2)",
            "x > min_of(1, 2)",
            "histogram_quantiles(x, \"q\", 0.5, 0.9)",
            "info(x)",
            "integral(x[5m])",
            "double_exponential_smoothing(x[5m], 0.5, 0.5)",
            "mad_over_time(x[5m])",
            "ts_of_first_over_time(x[5m])",
            "ts_of_last_over_time(x[5m])",
            "ts_of_max_over_time(x[5m])",
            "ts_of_min_over_time(x[5m])",
            "start_timestamp(x)",
            "sort_by_label(x, \"a\")",
            "sort_by_label_desc(x, \"a\")",
            "limitk(1, x)",
            "limit_ratio(0.1, x)",
            "sum(x) + fill(0) y",
            "sum(rate(x[5m])) / fill_left(0) y",
            "x + on (a) fill_right(0) y",
            "x{a=\"b\" or c=\"d\"}",
            "rate(x{a=\"b\" or a=\"d\"}[5m])",
        ] {
            let problem = parse(text, "spec.sli.events.bad").expect_err(text);
            let place = problem.span.clone().map(|span| &text[span]).unwrap_or_default();
            assert!(!place.is_empty() && !place.contains(' '), "{text}: {place:?}");
            assert!(problem.message.starts_with("bad "), "{text}: {problem}");
        }
        for text in [
            "x @ start() or x @ end()",
            "fill or range or x{step=\"start\"}",
            "x or on (fill) y",
            "x{a=\"b or c\"} or y{fill=\"or\"}",
            "absent_over_time(x[5m]) or present_over_time(x[5m]) or last_over_time(x[5m])",
            "histogram_quantile(0.9, x) or histogram_fraction(0, 1, x) or histogram_avg(x)",
            "histogram_stddev(x) or histogram_stdvar(x) or predict_linear(x[1h], 60)",
            "sort_desc(x) or quantile_over_time(0.9, x[5m]) or timestamp(x)",
            "sum by (a) (x atan2 y) or group(x) or count_values(\"a\", x) or topk(3, x)",
            "label_join(x, \"d\", \"-\", \"a\") or clamp(x, 0, 1) > pi()",
        ] {
            assert_eq!(
                parse(text, "x").map(|parsed| parsed.text).map_err(|problem| problem.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}
