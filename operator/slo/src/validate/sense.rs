//! What can be read but hardly meant: a unit that the metric's name contradicts, a quantile that there is not.

use plimsoll_api::{Problem, slo::LatencyUnit};
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, LabelModifier, token},
};
use rust_decimal::{Decimal, prelude::FromPrimitive};

use super::{called, parts::STATUS, sides::bare};
use crate::{
    model::Span,
    promql::{self, Parsed},
    render::BASE_RANGE,
};

/// Endings by which metrics name their unit, and the unit that reads them.
const ENDINGS: [(&str, Option<LatencyUnit>); 10] = [
    ("_seconds", Some(LatencyUnit::Seconds)),
    ("_milliseconds", Some(LatencyUnit::Milliseconds)),
    ("_millis", Some(LatencyUnit::Milliseconds)),
    ("_ms", Some(LatencyUnit::Milliseconds)),
    ("_microseconds", None),
    ("_us", None),
    ("_nanoseconds", None),
    ("_ns", None),
    ("_minutes", None),
    ("_bytes", None),
];

/// Warns when a histogram's name says another unit than the one in which its threshold is compared.
pub(super) fn unit(metric: &str, unit: LatencyUnit, path: &str, problems: &mut Vec<Problem>) {
    let Some((ending, meant)) = ENDINGS.into_iter().find(|(ending, _)| metric.ends_with(ending)) else { return };
    if meant == Some(unit) {
        return;
    }
    let help = match meant {
        Some(meant) => format!("write unit: {meant:?}, if the name is right"),
        None => "use a histogram in seconds or milliseconds".to_owned(),
    };
    problems.push(
        Problem::warning(path, format!("histogram ends in {ending}, but its unit is {unit:?}"))
            .label(format!("the threshold is compared in {}", format!("{unit:?}").to_lowercase()))
            .help(help),
    );
}

/// Warns of every quantile outside of 0 to 1: its value is infinite, whatever the samples are.
pub(crate) fn quantiles(expr: &Expr, path: &str, problems: &mut Vec<Problem>) {
    let mut found: Vec<(String, f64)> = Vec::new();
    promql::each(expr, &mut |expr| {
        let (function, quantile) = match expr {
            Expr::Call(call) if matches!(call.func.name, "histogram_quantile" | "quantile_over_time") => {
                (call.func.name, call.args.args.first().map(AsRef::as_ref))
            }
            Expr::Aggregate(aggregate) if aggregate.op.id() == token::T_QUANTILE => {
                ("quantile", aggregate.param.as_deref())
            }
            _ => return,
        };
        let outside = quantile.and_then(number).filter(|q| !(0.0..=1.0).contains(q));
        found.extend(outside.map(|q| (function.to_owned(), q)));
    });
    for (function, quantile) in found {
        let help = if (2.0..=100.0).contains(&quantile) {
            format!("write {} for the {quantile}th percentile", hundredth(quantile))
        } else {
            "write a number from 0 to 1, such as 0.99".to_owned()
        };
        problems.push(
            Problem::warning(path, format!("{function} has a quantile outside of 0 to 1"))
                .label(format!("{quantile} yields {}Inf", if quantile > 1.0 { '+' } else { '-' }))
                .help(help),
        );
    }
}

/// Warns of a ratio with a factor of 100, around it or around what is divided: it is a percentage.
pub(super) fn percentage(parsed: &Parsed, text: &str, path: &str, problems: &mut Vec<Problem>) {
    let mut expr = &parsed.expr;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    let (left, right) = match expr {
        // 100 * a / b is (100 * a) / b. A number there, or the same factor, makes a ratio of it again.
        Expr::Binary(division) if division.op.id() == token::T_DIV => {
            if number(&division.rhs).is_some() || hundred(&division.rhs) != (false, false) {
                return;
            }
            hundred(&division.lhs)
        }
        other => hundred(other),
    };
    if !(left || right) {
        return;
    }
    let mut places = text.match_indices('*').filter_map(|(star, _)| {
        let (before, after) = text.split_at_checked(star)?;
        let after = after.get(1..)?;
        // Of what else has a star, such as a pattern, the number is not next to it.
        if right {
            let blank = after.len() - after.trim_start().len();
            after.trim_start().starts_with("100").then(|| star..star + 1 + blank + 3)
        } else {
            let number = before.trim_end().strip_suffix("100")?;
            Some(number.len()..star + 1)
        }
    });
    let place = if right { places.next_back() } else { places.next() };
    let what = if right { "* 100" } else { "100 *" };
    let problem = Problem::warning(path, "errors is a percentage")
        .label("a ratio is from 0 to 1, and everything above 1 counts as 1")
        .help(format!("remove the {what}"));
    problems.push(match place {
        Some(place) => problem.span(place),
        None => problem,
    });
}

/// Whether a product has a factor of 100 on its left, and on its right.
fn hundred(expr: &Expr) -> (bool, bool) {
    let is = |side| number(side).is_some_and(|value| value == 100.0);
    match bare(expr) {
        Expr::Binary(product) if product.op.id() == token::T_MUL => (is(&product.lhs), is(&product.rhs)),
        _ => (false, false),
    }
}

/// Warns of an error ratio that always looks back further than the shortest windows of the usual tiers: an alert would come and
/// go by so much later.
pub(super) fn looks_back(parsed: &Parsed, path: &str, problems: &mut Vec<Problem>) {
    let mut longest = 0;
    promql::each(&parsed.expr, &mut |expr| {
        if let Expr::MatrixSelector(matrix) = expr {
            longest = longest.max(matrix.range.as_secs());
        }
    });
    if parsed.windowed || longest <= BASE_RANGE.as_seconds() {
        return;
    }
    problems.push(
        Problem::warning(path, format!("errors always looks back over {}", Span::seconds(longest)))
            .label("so alerts come late, and stay after the recovery")
            .help("write [$window]: it is 5m, or the shortest window below that, and a tier's windows are means of it"),
    );
}

/// Warns of a number where there should be a condition: whatever is below 1 would be bad.
pub(super) fn no_condition(parsed: &Parsed, path: &str, problems: &mut Vec<Problem>) {
    let mut expr = &parsed.expr;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    if !called::is_amount(expr) {
        return;
    }
    let mut compares = false;
    promql::each(expr, &mut |expr| compares |= matches!(expr, Expr::Binary(b) if b.op.is_comparison_operator()));
    if !compares {
        let help = match expr {
            Expr::Binary(_) => "compare it: (…) >= bool 0.99",
            _ => "compare it: … <= bool 50, with the largest value of a good slice",
        };
        problems.push(
            Problem::warning(path, "good is a number and no condition")
                .label("a slice is good where it is 1, and bad where it is less")
                .help(help),
        );
    }
}

/// Warns of an error ratio of which only high values are left: where it is low there would be no data.
pub(super) fn filtered(parsed: &Parsed, path: &str, problems: &mut Vec<Problem>) {
    let Expr::Binary(comparison) = bare(&parsed.expr) else { return };
    let filters = [token::T_GTR, token::T_GTE].contains(&comparison.op.id()) && !comparison.return_bool();
    if filters && number(&comparison.rhs).is_some_and(|least| least > 0.0) {
        problems.push(
            Problem::warning(path, "errors compares without bool")
                .label("where it is less there are no data instead of few errors")
                .help("write the ratio alone; or a condition, with bool, as sli.timeSlices.good"),
        );
    }
}

/// Warns of a value that is there whatever is missing, `or vector(…)`; of any number where `value` is empty.
pub(super) fn made_up(parsed: &Parsed, value: &str, path: &str, problems: &mut Vec<Problem>) {
    let mut expr = bare(&parsed.expr);
    while let Expr::Aggregate(aggregate) = expr {
        expr = bare(&aggregate.expr);
    }
    let Expr::Binary(or) = expr else { return };
    let Expr::Call(call) = bare(&or.rhs) else { return };
    let made_up = call.args.args.first().and_then(|value| number(value)).map(|value| value.to_string());
    let Some(made_up) = made_up.filter(|made_up| value.is_empty() || value == made_up) else { return };
    if or.op.id() != token::T_LOR || call.func.name != "vector" {
        return;
    }
    let field = path.rsplit('.').next().unwrap_or(path);
    let help = if field == "errors" {
        "write it beside the errors alone, before the /; alerting.noData says what missing data mean"
    } else {
        "remove it: alerting.noData says what missing data mean"
    };
    problems.push(
        Problem::warning(path, format!("{field} is {made_up} where nothing is there"))
            .label(format!("or vector({made_up}): nobody is told of missing data"))
            .help(help),
    );
}

/// Warns of conditions that are joined by `and` or `unless`: they ask whether the right side is there, and it is, also as 0.
pub(super) fn unheard(parsed: &Parsed, path: &str, problems: &mut Vec<Problem>) {
    let mut found = None;
    promql::each(&parsed.expr, &mut |expr| {
        let Expr::Binary(joined) = expr else { return };
        let condition =
            matches!(bare(&joined.rhs), Expr::Binary(b) if b.op.is_comparison_operator() && b.return_bool());
        match joined.op.id() {
            token::T_LAND if condition => found = Some(("and", "write * instead of and")),
            token::T_LUNLESS if condition => found = Some(("unless", "write * (1 - (…)) instead of unless")),
            _ => {}
        }
    });
    if let Some((word, help)) = found {
        problems.push(
            Problem::warning(path, format!("what stands after {word} changes nothing"))
                .label(format!("{word} asks whether it is there, and with bool it is, also as 0"))
                .help(help),
        );
    }
}

/// Warns of a quantile over buckets of which an aggregation has dropped `le`: it yields nothing, ever. Native histograms have no `le`
/// and no name that ends in `_bucket`.
pub(crate) fn buckets(expr: &Expr, path: &str, problems: &mut Vec<Problem>) {
    let mut found = Vec::new();
    promql::each(expr, &mut |expr| {
        let Expr::Call(call) = expr else { return };
        let mut inner = match (call.func.name, call.args.args.get(1)) {
            ("histogram_quantile", Some(inner)) => inner.as_ref(),
            _ => return,
        };
        while let Expr::Paren(paren) = inner {
            inner = &paren.expr;
        }
        let Expr::Aggregate(aggregate) = inner else { return };
        // These pick series, with all their labels.
        if [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id()) {
            return;
        }
        let named = |labels: &[String]| labels.iter().any(|label| label == "le");
        let dropped = match &aggregate.modifier {
            None => true,
            Some(LabelModifier::Include(labels)) => !named(&labels.labels),
            Some(LabelModifier::Exclude(labels)) => named(&labels.labels),
        };
        if dropped && of_buckets(&aggregate.expr) {
            found.push(aggregate.op.to_string());
        }
    });
    for operator in found {
        problems.push(
            Problem::warning(path, "histogram_quantile gets no buckets")
                .label(format!("{operator} drops the label le, so that it yields nothing"))
                .help(format!("keep it: {operator} by (le) (…), with the other labels that are needed")),
        );
    }
}

fn of_buckets(expr: &Expr) -> bool {
    let mut all = Vec::new();
    promql::each(expr, &mut |expr| match expr {
        Expr::VectorSelector(selector) => all.extend(selector.name.as_deref()),
        Expr::MatrixSelector(matrix) => all.extend(matrix.vs.name.as_deref()),
        _ => {}
    });
    all.iter().any(|name| name.ends_with("_bucket"))
}

/// In decimal, as a person divides: 99.9 becomes 0.999.
fn hundredth(percent: f64) -> String {
    Decimal::from_f64(percent).map_or_else(
        || (percent / 100.0).to_string(),
        |percent| (percent / Decimal::ONE_HUNDRED).normalize().to_string(),
    )
}

/// What stands in regular expressions and hardly ever in a label's value.
const PATTERN: [&str; 7] = [".*", ".+", "|", "[0-9]", "[a-z]", "\\d", "\\w"];

/// Whose metrics have classes of codes as they are called: `code="5xx"`.
const CLASSES: [&str; 3] = ["haproxy_", "nginx_vts_", "nginxplus_"];

/// A matcher whose value is meant otherwise than it is compared.
struct Slip {
    /// What it is compared with.
    with: &'static str,
    /// The matcher that is meant.
    instead: String,
    /// And what else it may be.
    or: String,
}

/// Warns of a regular expression after `=` or `!=`, which compare letter by letter, and of a list with commas: it matches
/// nothing, or all.
pub(crate) fn patterns(expr: &Expr, text: &str, path: &str, problems: &mut Vec<Problem>) {
    let mut found: Vec<(Matcher, Slip)> = Vec::new();
    promql::each(expr, &mut |expr| {
        let selector = match expr {
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(matrix) => &matrix.vs,
            _ => return,
        };
        let all = selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
        for matcher in all {
            let slip = slip(matcher, selector.name.as_deref().unwrap_or_default());
            if let Some(slip) = slip.filter(|_| !found.iter().any(|(known, _)| known == matcher)) {
                found.push((matcher.clone(), slip));
            }
        }
    });
    for (matcher, Slip { with, instead, or }) in found {
        let Matcher { name, value, .. } = &matcher;
        let label =
            if or.is_empty() { format!("no {name} is {value} itself") } else { format!("only {value} itself fits") };
        let problem = Problem::warning(path, format!("{name} is compared with {with} letter by letter"))
            .label(label)
            .help(format!("write {instead}{or}"));
        problems.push(match promql::find(text, &matcher.value) {
            Some(span) => problem.span(span),
            None => problem,
        });
    }
}

fn slip(matcher: &Matcher, metric: &str) -> Option<Slip> {
    let (name, value) = (&matcher.name, &matcher.value);
    let (operator, literal) = match matcher.op {
        MatchOp::Equal => ("=~", true),
        MatchOp::NotEqual => ("!~", true),
        MatchOp::Re(_) => ("=~", false),
        MatchOp::NotRe(_) => ("!~", false),
    };
    let is_status = STATUS.contains(&name.as_str());
    let written = |pattern: &str| format!("{name}{operator}{}", promql::quote(pattern));
    let slip = |with, pattern: &str, or| Some(Slip { with, instead: written(pattern), or });
    if let Some(words) = list(value).filter(|_| is_status || !literal) {
        return slip("a list", &words.join("|"), String::new());
    }
    if !literal {
        return None;
    }
    if let Some(class) = class(value) {
        return slip("a regular expression", &class, String::new());
    }
    if let Some(class) = called(value).filter(|_| is_status && !CLASSES.iter().any(|who| metric.starts_with(who))) {
        return slip("a class of codes", &class, format!(", or {} where that is its name", written(value)));
    }
    let is_pattern = PATTERN.iter().any(|part| value.contains(part));
    if is_pattern { slip("a regular expression", value, String::new()) } else { None }
}

/// A class of status codes as a pattern, `5..`, also of `5*`.
fn class(value: &str) -> Option<String> {
    let digit = value.strip_suffix("..").or(value.strip_suffix('*'))?;
    (digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit())).then(|| format!("{digit}.."))
}

/// The same of `5xx`. Some services call their classes so.
fn called(value: &str) -> Option<String> {
    let lower = value.to_ascii_lowercase();
    class(&format!("{}..", lower.strip_suffix("xx")?))
}

/// What stands between commas, where each is a word or begins as one: `500,502`. There is a comma in hardly any label's
/// value, and in a regular expression it is no more than that.
fn list(value: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = value.split(',').map(str::trim).collect();
    let is_word = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '+'))
    };
    (words.len() > 1 && words.iter().all(is_word)).then_some(words)
}

/// The value of a number, however it is wrapped.
fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::NumberLiteral(number) => Some(number.val),
        Expr::Paren(paren) => number(&paren.expr),
        Expr::Unary(unary) => number(&unary.expr).map(|value| -value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn percentiles_become_ratios_without_noise() {
        for (percent, ratio) in
            [(99.9, "0.999"), (99.0, "0.99"), (99.99, "0.9999"), (50.0, "0.5"), (100.0, "1"), (2.5, "0.025")]
        {
            assert_eq!(super::hundredth(percent), ratio);
        }
    }
}
