//! One golden for each scenario: what a reader of the rules gets to see.

use plimsoll_slo::{Dialect, render::MAX_GROUPS, render_for, validate};
use serde_json::{Value, json};

use crate::slo;

/// The rules in a form that shows every part of them, line by line.
fn shown(patch: &Value) -> String {
    shown_for(patch, Dialect::Prometheus)
}

fn shown_for(patch: &Value, dialect: Dialect) -> String {
    let valid = validate(&slo(patch)).unwrap();
    let mut out = String::new();
    let rules = render_for(&valid.model, dialect);
    // It follows from everything else.
    let revision = rules.revision().unwrap().to_owned();
    for group in rules.groups {
        let limit = group.limit.map(|limit| format!(", at most {limit} series for each rule")).unwrap_or_default();
        out.push_str(&format!("{} every {}{limit}\n", group.name, group.interval));
        for rule in group.rules {
            let name = rule.record.or(rule.alert).unwrap();
            let labels: Vec<String> = rule.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let expr = rule.expr.replace(&revision, "REVISION");
            out.push_str(&format!("  {name} {{{}}}\n    {expr}\n", labels.join(", ")));
            for (what, value) in [("for", rule.hold), ("keep firing for", rule.keep_firing_for)] {
                if let Some(value) = value {
                    out.push_str(&format!("    {what} {value}\n"));
                }
            }
            for (key, value) in rule.annotations {
                out.push_str(&format!("    @{key} {value}\n"));
            }
        }
    }
    out
}

#[test]
fn shortest() {
    insta::assert_snapshot!(shown(&json!({})));
}

#[test]
fn grouped_latency_by_calendar_month() {
    insta::assert_snapshot!(shown(&json!({
        "description": "Search answers in 300 ms.", "owner": "search", "objective": "99", "groupBy": ["route"],
        "period": {"calendar": "Month", "timeZone": "Europe/Berlin"},
        "sli": {"latency": {"histogram": "http_request_duration_seconds{job=\"search\"}", "threshold": "300ms"}, "events": null},
        "alerting": {"labels": {"pager": "search"}, "annotations": {"dashboard": "https://grafana.example/d/search"}},
        "anomaly": {}, "runbooks": ["search-rollback"]
    })));
}

#[test]
fn weighted_composite() {
    insta::assert_snapshot!(shown(&json!({
        "sli": {"composite": {"weighted": [{"slo": "cart", "weight": 3}, {"slo": "payment"}]}, "events": null},
        "alerting": {"tiers": [{"name": "fast", "burnRate": "14.4", "longWindow": "1h"}]}
    })));
}

#[test]
fn missing_data_is_bad_and_maintenance_is_excluded() {
    insta::assert_snapshot!(shown(&json!({
        "period": {"rolling": "7d"},
        "alerting": {"noData": "Bad", "tiers": [{"name": "slow", "burnRate": "3", "longWindow": "1d", "shortWindow": "2h", "severity": "Ticket"}]},
        "exclusions": [
            {"name": "move", "from": "2026-12-01T22:00:00Z", "to": "2026-12-02T02:00:00Z"},
            {"name": "patches", "every": "Sun 03:00", "for": "2h"}
        ]
    })));
}

#[test]
fn latency_on_victoria_metrics() {
    let rules = shown_for(
        &json!({
            "sli": {"latency": {"histogram": "http_request_duration_seconds{job=\"search\"}", "threshold": "300ms"}, "events": null},
            "alerting": {"tiers": [{"name": "fast", "burnRate": "14.4", "longWindow": "1h"}]}
        }),
        Dialect::VictoriaMetrics,
    );
    // vmalert would read the total of the evaluation before, and MetricsQL has no histogram_count.
    assert!(!rules.contains("histogram_"), "{rules}");
    insta::assert_snapshot!(rules);
}

/// A limit is of series: a rule with a series for each window must take as many groups as the others.
#[test]
fn every_rule_of_a_grouped_slo_takes_as_many_groups() {
    let tiers = json!([{"name": "a", "burnRate": "14.4", "longWindow": "1h"}, {"name": "b", "burnRate": "6", "longWindow": "6h"}]);
    for (period, tiers, windows) in [
        (json!({"rolling": "28d"}), Value::Null, 8),
        (json!({"calendar": "Month"}), Value::Null, 8),
        (json!({"rolling": "28d"}), tiers, 5),
    ] {
        let patch = json!({"groupBy": ["route"], "period": period, "alerting": {"tiers": tiers}});
        let rules = render_for(&validate(&slo(&patch)).unwrap().model, Dialect::Prometheus);
        let named = |name: &str| {
            let all = rules.groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)));
            all.filter(|(_, rule)| rule.record.as_deref() == Some(name)).map(|(group, _)| group).collect::<Vec<_>>()
        };
        assert_eq!(named("slo:error_ratio:window").len(), windows);
        let [burns] = named("slo:burn_rate:window")[..] else { unreachable!("one rule for all windows") };
        for group in &rules.groups {
            let times = if group.name == burns.name { u32::try_from(windows).unwrap() } else { 1 };
            assert_eq!(group.limit, Some(MAX_GROUPS * times), "{}", group.name);
        }
    }
}

/// What the help for a fixed range says of `$window`.
#[test]
fn window_is_five_minutes_or_the_shortest_window_below() {
    for (long, short, ranges) in
        [("1h", "5m", &["5m"][..]), ("6h", "30m", &["5m"]), ("10m", "50s", &["50s", "5m"]), ("3d", "6h", &["5m"])]
    {
        let tier = json!({"name": "a", "burnRate": "3", "longWindow": long, "shortWindow": short});
        let errors = json!({"ratio": {"errors": "sum(rate(a[$window])) / sum(rate(b[$window]))"}, "events": null});
        let valid = validate(&slo(&json!({"sli": errors, "alerting": {"tiers": [tier]}}))).unwrap();
        let mut found: Vec<String> = render_for(&valid.model, Dialect::Prometheus)
            .groups
            .iter()
            .flat_map(|group| &group.rules)
            .flat_map(|rule| rule.expr.split("rate(a[").skip(1).filter_map(|rest| rest.split(']').next()))
            .map(str::to_owned)
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, ranges, "{long} {short}");
    }
}
