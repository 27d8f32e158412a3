//! What can be read of good, bad and total but hardly meant: parts that their total leaves out, and errors as good ones.

use plimsoll_api::Problem;
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::VectorSelector,
};

use crate::promql;

/// Labels that services give an HTTP status in.
pub(super) const STATUS: [&str; 6] =
    ["code", "status", "status_code", "http_status_code", "response_code", "http_code"];

/// Warns when the selector of `part` counts events that `total` leaves out, so that they are a part of nothing.
pub(super) fn beside(part: (&str, &VectorSelector), total: &VectorSelector, path: &str, problems: &mut Vec<Problem>) {
    let (field, selector) = part;
    if selector.name.is_none() || selector.name != total.name {
        return;
    }
    let own = &selector.matchers.matchers;
    let Some(narrower) = total.matchers.matchers.iter().find(|of_total| leaves_out(of_total, own)) else { return };
    let shown = promql::matcher(narrower);
    let title = format!("total leaves out events that {field} counts");
    let is_value = |matcher: &&Matcher| matcher.name == narrower.name && matcher.op == MatchOp::Equal;
    // Which of the two is a slip nobody can tell; the part is what should be among the whole.
    if let Some(other) = own.iter().find(is_value).filter(|_| narrower.op == MatchOp::Equal) {
        problems.push(
            Problem::warning(format!("{path}.{field}"), title)
                .label(format!("{field} has {}, total has {shown}", promql::matcher(other)))
                .help(format!("write the same {} in both, or remove {shown} from total", narrower.name)),
        );
        return;
    }
    problems.push(
        Problem::warning(format!("{path}.total"), title)
            .label(format!("only total has {shown}"))
            .help(format!("remove {shown} from total, or add it to {field}: total counts each of the {field} events")),
    );
}

/// True when a selector with these matchers surely or probably selects what `of_total` does not.
fn leaves_out(of_total: &Matcher, own: &[Matcher]) -> bool {
    // Selects whatever there is.
    let anything = match &of_total.op {
        MatchOp::Re(_) => [".*", ".+"].contains(&of_total.value.as_str()),
        MatchOp::NotEqual => of_total.value.is_empty(),
        MatchOp::Equal | MatchOp::NotRe(_) => false,
    };
    if anything {
        return false;
    }
    let mut same = own.iter().filter(|matcher| matcher.name == of_total.name).peekable();
    if same.peek().is_none() {
        return true;
    }
    same.any(|matcher| match (&of_total.op, &matcher.op) {
        (MatchOp::Equal, MatchOp::Equal) => of_total.value != matcher.value,
        (MatchOp::Equal, MatchOp::NotEqual)
        | (MatchOp::NotEqual, MatchOp::Equal)
        | (MatchOp::Re(_), MatchOp::NotRe(_))
        | (MatchOp::NotRe(_), MatchOp::Re(_)) => of_total.value == matcher.value,
        _ => false,
    })
}

/// Warns when good events are selected by a status of server errors, or bad ones by one of successes.
pub(super) fn status(field: &str, matchers: &[Matcher], path: &str, problems: &mut Vec<Problem>) {
    let (class, what, other) = if field == "good" { ('5', "failed", "bad") } else { ('2', "succeeded", "good") };
    let of_class = |matcher: &&Matcher| {
        STATUS.contains(&matcher.name.as_str())
            && matches!(matcher.op, MatchOp::Equal | MatchOp::Re(_))
            && matcher.value.split('|').all(|one| {
                let one = one.trim_matches(['(', ')', '^', '$']);
                // Shorter ones are codes of other protocols.
                one.len() >= 3 && one.starts_with(class)
            })
    };
    let Some(matcher) = matchers.iter().find(of_class) else { return };
    let help = if field == "errors" {
        "write 1 - (…), or select the failed ones before the /".to_owned()
    } else {
        format!("write it as {other}, or select the {field} ones")
    };
    problems.push(
        Problem::warning(format!("{path}.{field}"), format!("{field} counts requests that {what}"))
            .label(promql::matcher(matcher))
            .help(help),
    );
}
