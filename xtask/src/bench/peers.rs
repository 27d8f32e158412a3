//! The rules that other generators make for the same SLO, by their shape: same selectors, windows and intervals.

use std::collections::BTreeMap;

use plimsoll_slo::{Group, Rule, RuleSet};

/// The selectors that all three are about.
pub(crate) const ALL: &str = r#"http_requests_total{job="checkout"}"#;
pub(crate) const BAD: &str = r#"http_requests_total{job="checkout",code=~"5.."}"#;

fn raw_ratio(window: &str) -> String {
    format!("(sum(rate({BAD}[{window}]))) / (sum(rate({ALL}[{window}])))")
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn record(name: impl Into<String>, expr: impl Into<String>, labels: BTreeMap<String, String>) -> Rule {
    Rule { record: Some(name.into()), expr: expr.into(), labels, ..Rule::default() }
}

fn alert(name: &str, expr: impl Into<String>) -> Rule {
    Rule { alert: Some(name.to_owned()), expr: expr.into(), ..Rule::default() }
}

fn group(name: &str, interval: &str, rules: Vec<Rule>) -> Group {
    Group { name: name.to_owned(), interval: interval.to_owned(), limit: None, rules }
}

/// Sloth: three groups at the global interval; the windows are computed from raw series, the period is an average.
pub(crate) fn sloth() -> RuleSet {
    const ID: &str = r#"sloth_id="shop-checkout", sloth_service="shop", sloth_slo="checkout""#;
    const JOIN: &str = "on(sloth_id, sloth_slo, sloth_service) group_left";
    let identity = [("sloth_id", "shop-checkout"), ("sloth_service", "shop"), ("sloth_slo", "checkout")];
    let sli = |window: &str| format!("slo:sli_error:ratio_rate{window}");
    let windowed = |window: &str| {
        let mut labels = labels(&identity);
        labels.insert("sloth_window".to_owned(), window.to_owned());
        labels
    };
    let mut recordings: Vec<Rule> = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
        .iter()
        .map(|window| record(sli(window), raw_ratio(window), windowed(window)))
        .collect();
    let base = sli("5m");
    let period =
        format!("sum_over_time({base}{{{ID}}}[30d]) / ignoring (sloth_window) count_over_time({base}{{{ID}}}[30d])");
    recordings.push(record(sli("30d"), period, windowed("30d")));

    let meta = |name: &str, expr: String| record(name, expr, labels(&identity));
    let burn =
        |window: &str| format!("slo:sli_error:ratio_rate{window}{{{ID}}} / {JOIN} slo:error_budget:ratio{{{ID}}}");
    let metadata = vec![
        meta("slo:objective:ratio", "vector(0.9995)".to_owned()),
        meta("slo:error_budget:ratio", "vector(1-0.9995)".to_owned()),
        meta("slo:time_period:days", "vector(30)".to_owned()),
        meta("slo:current_burn_rate:ratio", burn("5m")),
        meta("slo:period_burn_rate:ratio", burn("30d")),
        meta("slo:period_error_budget_remaining:ratio", format!("1 - slo:period_burn_rate:ratio{{{ID}}}")),
        meta("sloth_slo_info", "vector(1)".to_owned()),
    ];

    let over = |window: &str, factor: &str| {
        format!("max({}{{{ID}}} > ({factor} * 0.0005)) without (sloth_window)", sli(window))
    };
    let both = |short: &str, long: &str, factor: &str| format!("({} and {})", over(short, factor), over(long, factor));
    let alerts = vec![
        alert("page", format!("{} or {}", both("5m", "1h", "14.4"), both("30m", "6h", "6"))),
        alert("ticket", format!("{} or {}", both("2h", "1d", "3"), both("6h", "3d", "1"))),
    ];
    RuleSet {
        groups: vec![group("sli", "30s", recordings), group("meta", "30s", metadata), group("alerts", "30s", alerts)],
    }
}

/// Pyrra: burn rates over seven windows that follow from 30 d, and the increase over the whole period.
/// Its generic rules are off unless asked for, so they are not here.
pub(crate) fn pyrra() -> RuleSet {
    const ID: &str = r#"job="checkout",slo="checkout""#;
    let identity = labels(&[("job", "checkout"), ("slo", "checkout")]);
    let name = |window: &str| format!("http_requests:burnrate{window}");
    let mut burn: Vec<Rule> = ["5m", "32m", "1h4m", "2h9m", "6h26m", "1d1h43m", "4d6h51m"]
        .iter()
        .map(|window| record(name(window), raw_ratio(window), identity.clone()))
        .collect();
    let tiers = [("5m", "1h4m", 14), ("32m", "6h26m", 7), ("2h9m", "1d1h43m", 2), ("6h26m", "4d6h51m", 1)];
    burn.extend(tiers.iter().map(|(short, long, factor)| {
        let over = |window: &str| format!("{}{{{ID}}} > ({factor} * (1-0.9995))", name(window));
        alert("ErrorBudgetBurn", format!("{} and {}", over(short), over(long)))
    }));
    let increase = vec![
        record("http_requests:increase30d", format!("sum by (code) (increase({ALL}[30d]))"), identity),
        alert("SLOMetricAbsent", format!("absent({ALL}) == 1")),
    ];
    RuleSet { groups: vec![group("increase", "150s", increase), group("burnrates", "30s", burn)] }
}

/// No generator's: the ratios alone, in the plainest form over the same two base series; no roll-ups, no budget, no
/// alerts. What rules in this form can cost at least on the machine at hand.
pub(crate) fn plain(id: &str) -> RuleSet {
    let base = |metric: &str| format!("slo:{metric}_events:rate5m{{slo_id=\"{id}\"}}");
    let ratio = |range: &str| {
        let sum = |metric: &str| format!("sum_over_time({}[{range}])", base(metric));
        record("ratio", format!("{} / ({} > 0)", sum("bad"), sum("total")), labels(&[("window", range)]))
    };
    let part = |name: &str, interval: &str, ranges: &[&str]| {
        group(name, interval, ranges.iter().map(|range| ratio(range)).collect())
    };
    let mut fast = part("fast", "30s", &["5m", "30m", "1h"]);
    fast.rules.insert(0, record("total", format!("sum(rate({ALL}[5m]))"), labels(&[])));
    fast.rules.insert(1, record("bad", format!("sum(rate({BAD}[5m])) or 0 * {}", base("total")), labels(&[])));
    let slow = part("slow", "120s", &["2h:2m", "6h:2m"]);
    RuleSet { groups: vec![fast, slow, part("period", "300s", &["1d:5m", "3d:5m", "30d:5m"])] }
}
