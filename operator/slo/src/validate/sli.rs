//! The indicator.

use plimsoll_api::{Problem, slo};
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, VectorSelector, token, value::ValueType},
};
use rust_decimal::Decimal;

use super::{buckets, called, dns_name, named, parts, sense, sides, units};
use crate::{
    duration, meant,
    model::{Counter, Selector, Sli, SloId, Span, Targets},
    presets,
    promql::{self, Parsed},
    re2,
};

/// An indicator and the targets that expose it.
pub(super) struct Built {
    pub(super) sli: Sli,
    pub(super) targets: Option<Targets>,
}

/// Labels that a scrape gives to every series of a target, and so to its `up` as well.
const TARGET_LABELS: [&str; 4] = ["job", "namespace", "cluster", "instance"];

/// Of these, the ones that no series of a target may have of its own, as those of kube-state-metrics have `namespace`.
const JOB_LABELS: [&str; 2] = ["job", "cluster"];

/// Labels that a scrape often gives to every series of a target.
const OFTEN_TARGET_LABELS: [&str; 9] = [
    "app",
    "service",
    "pod",
    "container",
    "component",
    "app_kubernetes_io_name",
    "app_kubernetes_io_instance",
    "app_kubernetes_io_component",
    "node",
];

pub(super) fn sli(spec: &slo::Sli, id: &SloId, group_by: &[String], problems: &mut Vec<Problem>) -> Option<Built> {
    let slo::Sli { events, ratio, latency, up, time_slices, preset, composite } = spec;
    const PATH: &str = "spec.sli";
    let given: Vec<&str> = [
        ("events", events.is_some()),
        ("ratio", ratio.is_some()),
        ("latency", latency.is_some()),
        ("up", up.is_some()),
        ("timeSlices", time_slices.is_some()),
        ("preset", preset.is_some()),
        ("composite", composite.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect();
    if given.len() != 1 {
        let label =
            if given.is_empty() { "there is none".to_owned() } else { format!("there are {}", given.join(" and ")) };
        problems.push(
            Problem::error(PATH, "sli has exactly one of events, ratio, latency, up, timeSlices, preset, composite")
                .label(label)
                .help(if given.is_empty() { "add one" } else { "keep one" }),
        );
        return None;
    }
    if let Some(events) = events {
        return self::events(events, group_by, problems);
    }
    if let Some(slo::Ratio { errors }) = ratio {
        let parsed = vector(errors, "spec.sli.ratio.errors", problems)?;
        keeps(&parsed, group_by, "spec.sli.ratio.errors", problems)?;
        named::ranges(&parsed, "spec.sli.ratio.errors", problems);
        called::inverted(&parsed, "spec.sli.ratio.errors", problems);
        sense::percentage(&parsed, errors, "spec.sli.ratio.errors", problems);
        sense::looks_back(&parsed, "spec.sli.ratio.errors", problems);
        sides::ratio(&parsed.expr, group_by, "spec.sli.ratio.errors", problems);
        units::division(&parsed.expr, "spec.sli.ratio.errors", problems);
        sense::filtered(&parsed, "spec.sli.ratio.errors", problems);
        sense::made_up(&parsed, "0", "spec.sli.ratio.errors", problems);
        let targets = targets(&parsed.selectors());
        return Some(Built { sli: Sli::Ratio(parsed.template()), targets });
    }
    if let Some(latency) = latency {
        return self::latency(latency, problems);
    }
    if let Some(slo::Up { series }) = up {
        let path = "spec.sli.up.series";
        let parsed = parsed(series, path, problems)?;
        let Some(selector) = parsed.selector() else {
            // The one series that an expression is about is most often meant.
            let help = match parsed.selectors().as_slice() {
                [one] if one.name.is_some() => {
                    let alone = meant::written(&promql::split(one).to_string());
                    format!("write the series alone: {alone}; a condition belongs into sli.timeSlices.good")
                }
                _ => "write a metric name with labels, such as 'up{job=\"x\"}'".to_owned(),
            };
            problems.push(not_a_selector(&parsed, path, &help));
            return None;
        };
        if !named::must(selector, path, "'up{job=\"x\"}'", problems) {
            return None;
        }
        return Some(Built { sli: Sli::Up(promql::split(selector)), targets: targets(&parsed.selectors()) });
    }
    if let Some(slices) = time_slices {
        return self::time_slices(slices, group_by, problems);
    }
    if let Some(preset) = preset {
        return match presets::expand(preset, "spec.sli.preset") {
            Ok(expanded) => {
                let mut inner = Vec::new();
                let built = sli(&expanded, id, group_by, &mut inner);
                // The author wrote the preset's parameters, not the fields that they became.
                problems.extend(inner.into_iter().map(|p| Problem { path: preset_path(&p.path), span: None, ..p }));
                built
            }
            Err(found) => {
                problems.extend(found);
                None
            }
        };
    }
    composite.as_ref().and_then(|c| self::composite(c, id, problems))
}

fn preset_path(path: &str) -> String {
    if path.ends_with(".threshold") {
        "spec.sli.preset.with.threshold".to_owned()
    } else {
        "spec.sli.preset".to_owned()
    }
}

fn events(spec: &slo::Events, group_by: &[String], problems: &mut Vec<Problem>) -> Option<Built> {
    let slo::Events { bad, good, total } = spec;
    let path = "spec.sli.events";
    let n = [bad, good, total].into_iter().flatten().count();
    if n != 2 {
        let problem = Problem::error(path, "events has exactly two of bad, good and total");
        problems.push(match n {
            3 => problem.label("all three are there").help("remove good: it is total less bad"),
            1 => {
                let help = if total.is_some() { "add bad or good" } else { "add total" };
                problem.label("only one is there").help(help)
            }
            _ => problem.label("none is there").help("add bad and total"),
        });
    }
    let mut read = |text: &Option<String>, field: &str| {
        let path = format!("{path}.{field}");
        text.as_ref().map(|text| counter(text, &path, group_by, problems))
    };
    let bad = read(bad, "bad");
    let good = read(good, "good");
    let total = read(total, "total");
    if n != 2 {
        return None;
    }
    if let (Some(Some(a)), Some(Some(b))) = (bad.as_ref().or(good.as_ref()), total.as_ref().or(good.as_ref()))
        && a.0 == b.0
    {
        let field = if bad.is_some() { "bad" } else { "good" };
        let other = if total.is_some() { "total" } else { "good" };
        problems.push(
            Problem::error(format!("{path}.{field}"), format!("{field} and {other} are the same"))
                .label(format!("every event would be {field}"))
                .help(format!("select the {field} events only, for example by their status code")),
        );
        return None;
    }
    compare([&bad, &good, &total].map(|read| Some(&read.as_ref()?.as_ref()?.1)), group_by, path, problems);
    let mut selectors = Vec::new();
    let mut take = |c: Option<Option<(Counter, Parsed)>>| match c {
        None => Some(None),
        Some(None) => None,
        Some(Some((counter, parsed))) => {
            selectors.extend(parsed.selectors());
            Some(Some(counter))
        }
    };
    if let Some(Some((_, parsed))) = &total {
        sense::made_up(parsed, "", &format!("{path}.total"), problems);
    }
    // Total first: its targets are the ones to watch.
    let total = take(total);
    let bad = take(bad);
    let good = take(good);
    let (bad, good, total) = (bad?, good?, total?);
    Some(Built { sli: Sli::Events { bad, good, total }, targets: targets(&selectors) })
}

/// Warns of what is seen when bad, good and total, of which two are there, are read side by side.
fn compare([bad, good, total]: [Option<&Parsed>; 3], group_by: &[String], path: &str, problems: &mut Vec<Problem>) {
    for (field, part) in [("bad", bad), ("good", good)] {
        let Some(part) = part else { continue };
        if let Some(selector) = part.selector() {
            parts::status(field, &selector.matchers.matchers, path, problems);
            if field == "bad" {
                buckets::fast(selector, path, problems);
            }
            if let Some(of_total) = total.and_then(Parsed::selector) {
                parts::beside((field, selector), of_total, path, problems);
            }
        }
        let Some(total) = total else { continue };
        sides::groups((field, &part.expr), ("total", &total.expr), group_by, problems);
        units::compare((field, &part.expr), ("total", &total.expr), path, problems);
    }
    if let (Some(bad), Some(good)) = (bad, good) {
        sides::overlap(&bad.expr, &good.expr, path, problems);
        units::compare(("bad", &bad.expr), ("good", &good.expr), path, problems);
    }
}

fn counter(text: &str, path: &str, group_by: &[String], problems: &mut Vec<Problem>) -> Option<(Counter, Parsed)> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let parsed = parsed(text, path, problems)?;
    for selector in &parsed.selectors() {
        buckets::one(selector, path, problems);
    }
    if let Some(selector) = parsed.selector() {
        let counter = Counter::Series(promql::split(selector));
        return named::must(selector, path, "'http_requests_total{job=\"x\"}'", problems).then_some((counter, parsed));
    }
    if let Some(range) = fixed_range(&parsed).filter(|_| !parsed.windowed) {
        let windowed = parsed.text.replace(&range, "[$window]");
        problems.push(
            Problem::error(path, format!("{field} has a fixed range"))
                .label(range.clone())
                .help(format!("write [$window] instead of {range}: {windowed}")),
        );
        return None;
    }
    if !parsed.windowed || parsed.expr.value_type() != ValueType::Vector {
        let help = format!(
            "write a bare counter such as 'http_requests_total{{job=\"x\"}}', or rates of one with [$window] in {field}"
        );
        problems.push(not_a_selector(&parsed, path, &help));
        return None;
    }
    keeps(&parsed, group_by, path, problems)?;
    named::ranges(&parsed, path, problems);
    units::average(&parsed.expr, path, problems);
    Some((Counter::Rate(parsed.template()), parsed))
}

/// The one range of rates, as the author wrote it; nothing where it has several, or none but a subquery's.
fn fixed_range(parsed: &Parsed) -> Option<String> {
    let mut any = false;
    promql::each(&parsed.expr, &mut |expr| any |= matches!(expr, Expr::MatrixSelector(_)));
    if !any || parsed.expr.value_type() != ValueType::Vector {
        return None;
    }
    let mut ranges: Vec<&str> = parsed
        .text
        .match_indices('[')
        .filter_map(|(at, _)| {
            let rest = parsed.text.get(at..)?;
            rest.get(..=rest.find(']')?)
        })
        .filter(|range| crate::duration::parse(range.trim_matches(['[', ']']), "").is_ok())
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    match ranges.as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    }
}

/// `None` when an aggregation surely drops a label that is grouped by.
fn keeps(parsed: &Parsed, group_by: &[String], path: &str, problems: &mut Vec<Problem>) -> Option<()> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let Some(label) = group_by.iter().find(|label| drops(&parsed.expr, label)) else { return Some(()) };
    problems.push(
        Problem::error(path, format!("{field} has no label {label}"))
            .label(format!("its aggregation drops {label}, but groupBy wants it"))
            .help(format!("add {label} to its by (…)")),
    );
    None
}

/// True when the outermost aggregation surely drops the label.
fn drops(expr: &Expr, label: &str) -> bool {
    use promql_parser::parser::LabelModifier;
    match expr {
        Expr::Paren(p) => drops(&p.expr, label),
        // A comparison or a ratio has the labels that both sides have.
        Expr::Binary(b) => drops(&b.lhs, label) && drops(&b.rhs, label),
        Expr::Aggregate(a) => match &a.modifier {
            Some(LabelModifier::Include(labels)) => !labels.labels.iter().any(|l| l == label),
            Some(LabelModifier::Exclude(labels)) => labels.labels.iter().any(|l| l == label),
            None => true,
        },
        _ => false,
    }
}

fn latency(spec: &slo::Latency, problems: &mut Vec<Problem>) -> Option<Built> {
    let slo::Latency { histogram, threshold, unit } = spec;
    let path = "spec.sli.latency.histogram";
    let span = duration::parse(threshold, "spec.sli.latency.threshold").map_err(|p| problems.push(p)).ok();
    let parsed = parsed(histogram, path, problems)?;
    let Some(selector) = parsed.selector() else {
        let help = "write the histogram's name and labels, such as 'http_request_duration_seconds{job=\"x\"}'";
        problems.push(not_a_selector(&parsed, path, help));
        return None;
    };
    let split = promql::split(selector);
    let without_le = || {
        let mut selector = selector.clone();
        selector.matchers.matchers.retain(|matcher| matcher.name != "le");
        promql::split(&selector).matchers
    };
    let write = |metric: &str| {
        let selector = Selector { metric: metric.to_owned(), matchers: without_le() };
        format!("write {}", meant::written(&selector.to_string()))
    };
    if split.metric.is_empty() {
        let quoted = selector.matchers.matchers.iter().find(|m| m.name == "__name__" && m.op == MatchOp::Equal);
        problems.push(match quoted {
            // OpenTelemetry's own names, with dots.
            Some(Matcher { value: name, .. }) => Problem::error(path, "histogram has a name in quotes")
                .label("the names of its series are derived from plain ones alone")
                .help(format!(
                    "use sli.events with good: '{{\"{name}_bucket\",le=\"0.3\"}}' and total: '{{\"{name}_count\"}}'"
                )),
            None => Problem::error(path, "histogram has no metric name")
                .help("name one: its series _bucket and _count are derived from it"),
        });
        return None;
    }
    for suffix in ["_bucket", "_count", "_sum"] {
        if let Some(base) = split.metric.strip_suffix(suffix) {
            problems.push(
                Problem::error(path, format!("histogram ends in {suffix}"))
                    .label("its series are found by the name without it")
                    .help(write(base)),
            );
            return None;
        }
    }
    if selector.matchers.matchers.iter().any(|m| m.name == "le") {
        problems.push(
            Problem::error(path, "histogram has a matcher for le")
                .label("the threshold chooses the bucket")
                .help(write(&split.metric)),
        );
        return None;
    }
    let place = if unit.is_some() { "spec.sli.latency.unit" } else { path };
    let unit = unit.unwrap_or(slo::LatencyUnit::Seconds);
    sense::unit(&split.metric, unit, place, problems);
    let span = span?;
    called::patience(&split.metric, threshold, span, "spec.sli.latency.threshold", problems);
    let millis = Decimal::from(span.millis);
    let threshold = match unit {
        slo::LatencyUnit::Seconds => millis / Decimal::ONE_THOUSAND,
        slo::LatencyUnit::Milliseconds => millis,
    };
    Some(Built {
        sli: Sli::Latency { histogram: split, threshold: threshold.normalize(), unit },
        targets: targets(&parsed.selectors()),
    })
}

fn time_slices(spec: &slo::TimeSlices, group_by: &[String], problems: &mut Vec<Problem>) -> Option<Built> {
    let slo::TimeSlices { good, slice } = spec;
    let path = "spec.sli.timeSlices.slice";
    let length = match slice.as_deref().map(|text| duration::parse(text, path)) {
        None => Some(Span::seconds(60)),
        Some(Ok(span)) if span < Span::seconds(10) || span > Span::seconds(3600) => {
            problems.push(Problem::error(path, "slice is out of range").label(span.to_string()).help("use 10s to 1h"));
            None
        }
        Some(Ok(span)) => Some(span),
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
    };
    let parsed = vector(good, "spec.sli.timeSlices.good", problems)?;
    if filters(&parsed.expr) {
        problems.push(
            Problem::error("spec.sli.timeSlices.good", "good compares without bool")
                .label("a bad slice would be missing instead of 0")
                .help("write > bool, < bool and so on, and * where you mean and"),
        );
        return None;
    }
    keeps(&parsed, group_by, "spec.sli.timeSlices.good", problems)?;
    named::ranges(&parsed, "spec.sli.timeSlices.good", problems);
    sense::no_condition(&parsed, "spec.sli.timeSlices.good", problems);
    sense::unheard(&parsed, "spec.sli.timeSlices.good", problems);
    sense::made_up(&parsed, "1", "spec.sli.timeSlices.good", problems);
    // A shorter one is asked as often as it ends.
    if length.is_some_and(|length| length > Span::seconds(60)) && !parsed.windowed {
        problems.push(
            Problem::warning(path, "slice changes nothing")
                .label("good does not read it: it is asked once a minute")
                .help("write [$window] where good has a range, or remove slice"),
        );
    }
    // The default slice is less than two scrapes of most targets.
    if slice.is_none() && parsed.needs_two() && good.contains("$window") {
        problems.push(
            Problem::warning(
                "spec.sli.timeSlices.good",
                "rates over a slice of 1m need a scrape every 30s or more often",
            )
            .label("else there is no data")
            .help("write slice: 5m, or slice: 1m where it is so"),
        );
    }
    let targets = targets(&parsed.selectors());
    Some(Built { sli: Sli::TimeSlices { good: parsed.template(), slice: length? }, targets })
}

/// True when the expression's value is one that a comparison let through, instead of 0 or 1.
fn filters(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(p) => filters(&p.expr),
        Expr::Aggregate(a) => filters(&a.expr),
        Expr::Binary(b) if b.op.is_comparison_operator() => !b.return_bool(),
        // What stands after them only says when the condition counts.
        Expr::Binary(b) if [token::T_LAND, token::T_LUNLESS].contains(&b.op.id()) => filters(&b.lhs),
        Expr::Binary(b) => filters(&b.lhs) || filters(&b.rhs),
        _ => false,
    }
}

fn composite(spec: &slo::Composite, id: &SloId, problems: &mut Vec<Problem>) -> Option<Built> {
    let slo::Composite { weighted, worst_of } = spec;
    let path = "spec.sli.composite";
    let parts: Vec<(String, String)> = match (weighted, worst_of) {
        (Some(parts), None) => {
            parts.iter().enumerate().map(|(i, p)| (format!("{path}.weighted[{i}].slo"), p.slo.clone())).collect()
        }
        (None, Some(names)) => {
            names.iter().enumerate().map(|(i, n)| (format!("{path}.worstOf[{i}]"), n.clone())).collect()
        }
        _ => {
            problems.push(Problem::error(path, "composite has exactly one of weighted and worstOf").help("keep one"));
            return None;
        }
    };
    let before = problems.len();
    if parts.is_empty() {
        problems.push(Problem::error(path, "composite has no parts").help("name at least one SLO of the namespace"));
    }
    for (i, (path, name)) in parts.iter().enumerate() {
        if !dns_name(name, path, problems) {
        } else if *name == id.name {
            problems.push(Problem::error(path, "a composite cannot be a part of itself").help("name another SLO"));
        } else if parts.iter().take(i).any(|(_, n)| n == name) {
            problems
                .push(Problem::error(path, format!("{name} is there twice")).help("remove one, or raise its weight"));
        }
    }
    let mut weights = Vec::new();
    for (i, part) in weighted.iter().flatten().enumerate() {
        match u64::try_from(part.weight.unwrap_or(1)) {
            Ok(weight) if weight > 0 => weights.push((part.slo.clone(), weight)),
            _ => problems.push(
                Problem::error(format!("{path}.weighted[{i}].weight"), "weight is too small").help("use 1 or more"),
            ),
        }
    }
    if problems.len() > before {
        return None;
    }
    let sli = match worst_of {
        Some(names) => Sli::WorstOf(names.clone()),
        None => Sli::Weighted(weights),
    };
    Some(Built { sli, targets: None })
}

fn parsed(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<Parsed> {
    let parsed = promql::parse(text, path).map_err(|p| problems.push(p)).ok()?;
    sense::quantiles(&parsed.expr, path, problems);
    sense::patterns(&parsed.expr, text, path, problems);
    Some(parsed)
}

fn vector(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<Parsed> {
    let parsed = parsed(text, path, problems)?;
    if parsed.expr.value_type() == ValueType::Vector {
        return Some(parsed);
    }
    let field = path.rsplit('.').next().unwrap_or(path);
    problems.push(
        Problem::error(path, format!("{field} is not an instant vector"))
            .label(format!("it is {}", promql::kind(&parsed.expr)))
            .help("write an expression that yields series with values"),
    );
    None
}

fn not_a_selector(parsed: &Parsed, path: &str, help: &str) -> Problem {
    let field = path.rsplit('.').next().unwrap_or(path);
    let problem = Problem::error(path, format!("{field} is not a bare selector"));
    if let Some((plain, quoted)) = dashed(parsed) {
        // The names of a histogram's series are made of its own.
        let quoted = if field == "histogram" { String::new() } else { format!(", or {quoted} if its name has dashes") };
        return problem.label("a dash is a minus").help(format!("write {plain}{quoted}"));
    }
    let is = match &parsed.expr {
        Expr::VectorSelector(_) => "a selector with offset or @",
        Expr::MatrixSelector(_) => "a selector with a range",
        Expr::Call(_) => "a function call",
        Expr::Aggregate(_) => "an aggregation",
        Expr::NumberLiteral(_) => "a number",
        Expr::StringLiteral(_) => "a string",
        _ => "an expression",
    };
    problem.label(format!("it is {is}")).help(help)
}

/// What to write for `ferry-requests-total{…}`, a name with dashes that is read as a difference: without them, and with.
fn dashed(parsed: &Parsed) -> Option<(String, String)> {
    let (name, matchers) = parsed.text.split_once('{').unwrap_or((&parsed.text, ""));
    let is_name = name.contains('-')
        && name.split('-').all(|word| !word.is_empty() && promql::is_metric(&format!("_{word}")))
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    let matchers = match matchers {
        "" => None,
        text => Some(text.strip_suffix('}').filter(|inner| !inner.contains(['{', '}']))?.trim()),
    };
    let among = matchers.filter(|inner| !inner.is_empty()).map(|inner| format!(",{inner}")).unwrap_or_default();
    let behind = matchers.map(|inner| format!("{{{inner}}}")).unwrap_or_default();
    let plain = name.replace('-', "_");
    is_name.then(|| (meant::written(&format!("{plain}{behind}")), meant::written(&format!("{{\"{name}\"{among}}}"))))
}

/// `up{…}` with the target labels of the first selector that names its job.
fn targets(selectors: &[VectorSelector]) -> Option<Targets> {
    let names_job = |m: &Matcher| match &m.op {
        MatchOp::Equal => !m.value.is_empty(),
        // Any other target would vouch for these.
        MatchOp::Re(_) => !re2::matches_everything(&format!("(?:{})|", m.value)),
        MatchOp::NotEqual | MatchOp::NotRe(_) => false,
    };
    let selector = selectors.iter().find(|s| s.matchers.matchers.iter().any(|m| m.name == "job" && names_job(m)))?;
    let by = |labels: &[&[&str]]| {
        let mut kept = selector.clone();
        kept.name = Some("up".to_owned());
        kept.matchers.matchers.retain(|m| labels.iter().any(|labels| labels.contains(&m.name.as_str())));
        promql::split(&kept).to_string()
    };
    let mut all = vec![by(&[&TARGET_LABELS, &OFTEN_TARGET_LABELS]), by(&[&TARGET_LABELS]), by(&[&JOB_LABELS])];
    all.dedup();
    Some(Targets(all))
}
