//! What the parser takes and a Prometheus without feature flags does not. It refuses the whole rule file then, with the
//! rules of everybody else in it. And what the two read otherwise.

use std::ops::Range;

use plimsoll_api::Problem;
use promql_parser::parser::{Expr, VectorSelector};

use crate::{slips::unquoted, tree::each};

/// Experiments that the parser does not call so: aggregations have no such mark, and `first_over_time` is none any more
/// in the newest versions alone.
const UNMARKED: [&str; 3] = ["limitk", "limit_ratio", "first_over_time"];

/// The first thing that such a Prometheus refuses, in the expression `text` of the field at `path`.
pub(crate) fn refused(expr: &Expr, text: &str, path: &str) -> Option<Problem> {
    let mut first = None;
    each(expr, &mut |expr| first = first.take().or_else(|| Foreign::of(expr)));
    first.map(|foreign| foreign.problem(text, path))
}

/// The first number that is larger than any float, `1e400`: the parser takes it for infinity.
pub(crate) fn endless(text: &str, path: &str) -> Option<Problem> {
    let mut word = 0..0;
    let mut found = None;
    // A blank at the end, so that each number has something behind it.
    for (at, c, _) in unquoted(text).filter(|(.., depth)| *depth == 0).chain([(text.len(), ' ', 0)]) {
        let written = text.get(word.clone()).unwrap_or_default();
        let number = written.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let goes_on = c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':');
        let signed = number && written.ends_with(['e', 'E']) && matches!(c, '+' | '-');
        if word.end == at && !word.is_empty() && (goes_on || signed) {
            word.end = at + c.len_utf8();
            continue;
        }
        if number && written.parse::<f64>().is_ok_and(f64::is_infinite) {
            found = Some(word.clone());
            break;
        }
        word = if goes_on { at..at + c.len_utf8() } else { at..at };
    }
    let span = found?;
    let field = path.rsplit('.').next().unwrap_or(path);
    Some(
        Problem::error(path, format!("{field} has a number that no float can hold"))
            .label("Prometheus would refuse the whole rule file")
            .help("write a number below 1.8e308, or Inf")
            .span(span),
    )
}

/// Bytes that are written by number in a string, beyond ASCII: Prometheus reads `"\xc3\xa9"` as the two bytes of é, the
/// parser as two characters, which a matcher or a selector that is printed again would then ask for.
pub(crate) fn bytes(text: &str, path: &str) -> Option<Problem> {
    let span = text.contains('\\').then(|| escaped_bytes(text)).flatten()?;
    let field = path.rsplit('.').next().unwrap_or(path);
    let written = text.get(span.clone())?;
    let help = match String::from_utf8(decoded(written)) {
        Ok(meant) if !meant.chars().any(char::is_control) => format!("write {meant} instead"),
        _ => "write the character itself: no label's value has other bytes".to_owned(),
    };
    Some(
        Problem::error(path, format!("{field} has bytes by their numbers"))
            .label(written.to_owned())
            .help(help)
            .span(span),
    )
}

/// The first run of escapes above `\x7f` or `\177` in a string that has escapes.
fn escaped_bytes(text: &str) -> Option<Range<usize>> {
    let mut quote = None;
    let mut run: Option<Range<usize>> = None;
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let mut width = c.len_utf8();
        match quote {
            None => quote = matches!(c, '"' | '\'' | '`').then_some(c),
            Some(q) if c == q => quote = None,
            Some('`') => {}
            Some(_) if c == '\\' => match byte(text.get(at..).unwrap_or_default()) {
                Some((_, long)) => {
                    run = Some(run.map_or(at, |run| run.start)..at + long);
                    at += long;
                    continue;
                }
                // What follows may be a quote that ends nothing.
                None => width += text.get(at + 1..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8),
            },
            Some(_) => {}
        }
        if run.is_some() {
            break;
        }
        at += width;
    }
    run
}

/// The byte above ASCII that an escape at the beginning of the text stands for, and the length of the escape.
fn byte(text: &str) -> Option<(u8, usize)> {
    let (digits, base) = match text.strip_prefix("\\x") {
        Some(_) => (text.get(2..4)?, 16),
        None => (text.get(1..4)?, 8),
    };
    let plain = digits.chars().all(|digit| digit.is_digit(base));
    let value = u8::from_str_radix(digits, base).ok().filter(|value| plain && !value.is_ascii())?;
    Some((value, 4))
}

fn decoded(mut escapes: &str) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((value, long)) = byte(escapes) {
        all.push(value);
        escapes = escapes.get(long..).unwrap_or_default();
    }
    all
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

    #[test]
    fn bytes_by_their_numbers_are_refused() {
        for (text, written, help) in [
            (r#"x{a="\xc3\xa9"} > 1"#, r"\xc3\xa9", "write é instead"),
            (r#"x{a="caf\303\251s"} > 1"#, r"\303\251", "write é instead"),
            (r#"x{a='"\\\xC3\251'} > 1"#, r"\xC3\251", "write é instead"),
            (
                r#"label_replace(x, "a", "\xff", "b", "")"#,
                r"\xff",
                "write the character itself: no label's value has other bytes",
            ),
            (r#"x{a="\xc2\x85"}"#, r"\xc2\x85", "write the character itself: no label's value has other bytes"),
            (r#"x{a="\n\xe2\x82\xac\n\xe2"}"#, r"\xe2\x82\xac", "write € instead"),
        ] {
            let problem = parse(text, "spec.rules[0].expr").expect_err(text);
            assert_eq!(problem.message, "expr has bytes by their numbers", "{text}");
            let place = problem.span.and_then(|span| text.get(span));
            assert_eq!(
                (problem.label.as_str(), place, problem.help.as_str()),
                (written, Some(written), help),
                "{text}"
            );
        }
        for text in [
            r#"x{a="\x41\101\u00e9é\\xc3"} > 1"#,
            r"x{a=`\xc3\xa9`} > 1",
            r#"x{a=~"\\xe9"} > 1"#,
            r#"x{a="\"",b="xc3"} > 1"#,
        ] {
            assert!(parse(text, "x").is_ok(), "{text}");
        }
    }

    #[test]
    fn a_number_beyond_all_is_refused() {
        let huge = "9".repeat(400);
        for (text, written) in [
            ("x > 1e400", "1e400"),
            ("x>1.5E+309 or y", "1.5E+309"),
            ("clamp_max(x{a=\"1e400\"}, 2e999)", "2e999"),
            (&format!("x < {huge}"), &huge),
        ] {
            let problem = parse(text, "spec.rules[0].expr").expect_err(text);
            assert_eq!(problem.message, "expr has a number that no float can hold", "{text}");
            assert_eq!(problem.span.and_then(|span| text.get(span)), Some(written), "{text}");
        }
        for text in ["x > 1e308", "x > -Inf", "x{a=\"1e400\"} > 1e-400", "x1e400 > 0x1e5", "x:1e400:y > .5e3 - 1e3"] {
            assert!(parse(text, "spec.rules[0].expr").is_ok(), "{text}");
        }
    }

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
