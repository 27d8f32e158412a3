//! Buckets of classic histograms that are read as events.

use plimsoll_api::Problem;
use promql_parser::{label::MatchOp, parser::VectorSelector};

use crate::promql::quote;

/// The bucket that holds all.
const ALL: &str = "+Inf";

/// Buckets are cumulative: with more than one `le`, each event would count once for every bucket.
pub(super) fn one(selector: &VectorSelector, path: &str, problems: &mut Vec<Problem>) {
    let name = selector.name.as_deref().unwrap_or_default();
    let Some(base) = name.strip_suffix("_bucket") else { return };
    let instead = format!("use sli.latency with histogram {base}");
    let Some(le) = selector.matchers.matchers.iter().find(|m| m.name == "le") else {
        problems.push(
            Problem::error(path, format!("{name} has no le"))
                .label("each request would count once for every bucket")
                .help(format!("add le=\"0.3\", or {instead}")),
        );
        return;
    };
    let is_one = match &le.op {
        MatchOp::Equal if le.value == ALL => true,
        MatchOp::Equal if le.value.parse::<f64>().is_err() => {
            problems.push(
                Problem::error(path, format!("le=\"{}\" is no number", le.value))
                    .help("use the upper bound of a bucket, such as le=\"0.3\""),
            );
            return;
        }
        MatchOp::Equal => true,
        MatchOp::Re(_) => may_be_one(&le.value),
        MatchOp::NotEqual | MatchOp::NotRe(_) => false,
    };
    if !is_one {
        problems.push(
            Problem::error(path, format!("{name} has more than one le"))
                .label("each request would count once for every bucket")
                .help(format!("write one, such as le=\"0.3\", or {instead}")),
        );
    } else if let Some(whole) = whole(&le.value).filter(|_| matches!(le.op, MatchOp::Equal)) {
        let written = quote(&format!("{whole}|{whole}\\.0"));
        problems.push(
            Problem::warning(path, format!("le=\"{whole}\" is le=\"{whole}.0\" in Prometheus 3"))
                .label("and what the client writes in older ones")
                .help(format!("write le=~{written}, or {instead}")),
        );
    }
}

/// `5`, also of `5.0`.
fn whole(le: &str) -> Option<&str> {
    let digits = le.strip_suffix(".0").unwrap_or(le);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

/// False for a regular expression that surely matches several numbers.
fn may_be_one(pattern: &str) -> bool {
    let numbers = pattern.split('|').map(|one| one.trim_matches(['(', ')']).replace('\\', ""));
    let mut numbers: Vec<f64> = numbers.filter_map(|one| one.parse().ok()).collect();
    numbers.dedup();
    numbers.len() < 2 && !matches!(pattern, ".*" | ".+")
}

/// Warns of a bucket as the bad events: it holds those that were fast enough.
pub(super) fn fast(selector: &VectorSelector, path: &str, problems: &mut Vec<Problem>) {
    let of_bucket = selector.name.as_deref().is_some_and(|name| name.ends_with("_bucket"));
    let le = selector.matchers.matchers.iter().find(|m| m.name == "le" && m.op == MatchOp::Equal);
    let bounded = |value: &str| value.parse::<f64>().is_ok_and(f64::is_finite);
    if let Some(le) = le.filter(|le| of_bucket && bounded(&le.value)) {
        problems.push(
            Problem::warning(format!("{path}.bad"), "bad counts requests that were fast enough")
                .label(format!("a bucket holds all up to its le, here {}", le.value))
                .help("write it as good"),
        );
    }
}
