//! What holds for every SLO.

use std::collections::BTreeSet;

use plimsoll_slo::{RuleSet, names, render, revision, validate};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::visitor::{ExprVisitor, walk_expr};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::slo;

fn sli() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"events": {"bad": "e{c=\"5\"}", "total": "e"}})),
        Just(json!({"events": {"good": "e{c=\"2\"}", "total": "e{job=\"x\"}"}})),
        Just(json!({"events": {"bad": "sum by (route, pod) (rate(b[$window]))", "good": "g"}})),
        Just(json!({"ratio": {"errors": "r$window"}})),
        ("[1-9][0-9]{0,3}", prop_oneof![Just("ms"), Just("s")])
            .prop_map(|(n, u)| json!({"latency": {"histogram": "h{a=\"\\\"\"}", "threshold": n + u}})),
        Just(json!({"up": {"series": "probe_success"}})),
        Just(json!({"timeSlices": {"good": "rate(a[$window]) > bool 1", "slice": "1m"}})),
        Just(json!({"preset": {"name": "http-latency", "with": {"job": "a\"} or vector(1) #", "threshold": "1s"}}})),
        Just(json!({"composite": {"weighted": [{"slo": "a.b", "weight": 3}, {"slo": "b"}]}})),
        Just(json!({"composite": {"worstOf": ["a", "b"]}})),
    ]
}

fn spec() -> impl Strategy<Value = Value> {
    let objective = (2u32..100, 0u32..10_000).prop_map(|(a, b)| format!("{a}.{b:04}"));
    let period = prop_oneof![
        Just(Value::Null),
        (1u32..90).prop_map(|d| json!({"rolling": format!("{d}d")})),
        (1u32..300).prop_map(|m| json!({"rolling": format!("{m}m")})),
        prop_oneof![Just("Week"), Just("Month"), Just("Quarter"), Just("Year")]
            .prop_map(|u| json!({"calendar": u, "timeZone": "America/New_York"})),
    ];
    let tiers = prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        (2u64..4000, 1u64..400).prop_map(|(long, burn)| json!([{"name": "t", "burnRate": format!("0.{burn}"), "longWindow": format!("{long}s"), "shortWindow": format!("{}s", long / 2)}])),
    ];
    let exclusions = prop_oneof![
        Just(json!([])),
        Just(
            json!([{"name": "a", "from": "2026-12-01T22:00:00Z", "to": "2026-12-02T02:00:00+02:00"}, {"name": "b", "every": "Fri-Mon 23:30", "for": "2h", "timeZone": "Europe/Berlin"}])
        ),
    ];
    let no_data = prop_oneof![Just("Alert"), Just("Bad"), Just("Ignore")];
    (objective, period, sli(), tiers, exclusions, no_data, any::<bool>()).prop_map(
        |(objective, period, sli, tiers, exclusions, no_data, grouped)| {
            let composite = sli.get("composite").is_some();
            let mut spec =
                json!({"objective": objective, "sli": sli, "exclusions": exclusions, "alerting": {"noData": no_data}});
            if !period.is_null() {
                spec["period"] = period;
            }
            if !tiers.is_null() && !composite {
                spec["alerting"]["tiers"] = tiers;
            }
            if grouped && !composite {
                spec["groupBy"] = json!(["route", "pod"]);
            }
            spec
        },
    )
}

fn rendered(spec: &Value) -> RuleSet {
    let mut object = slo(&json!({}));
    object.spec = serde_json::from_value(spec.clone()).unwrap();
    let valid = validate(&object).unwrap_or_else(|p| panic!("{spec}: {p:?}"));
    render(&valid.model)
}

struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;
    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(s) => self.0.push(s.clone()),
            Expr::MatrixSelector(m) => self.0.push(m.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every rule parses; every recorded series is read with the SLO's identity, so that two SLOs
    /// never contaminate each other; and it is read only when it is recorded by the same rules.
    #[test]
    fn rules_are_valid_and_stay_among_themselves(spec in spec()) {
        let rules = rendered(&spec);
        let composite = spec["sli"].get("composite").is_some();
        let all: Vec<_> = rules.groups.iter().flat_map(|g| &g.rules).collect();
        let recorded: BTreeSet<&str> = all.iter().filter_map(|r| r.record.as_deref()).collect();
        for rule in &all {
            let expr = parser::parse(&rule.expr).map_err(|e| TestCaseError::fail(format!("{}: {e}", rule.expr)))?;
            let mut found = Selectors(Vec::new());
            let Ok(_) = walk_expr(&mut found, &expr);
            for selector in found.0 {
                let name = selector.name.clone().unwrap_or_default();
                if !name.starts_with("slo:") {
                    continue;
                }
                let id = selector.matchers.matchers.iter().find(|m| m.name == "slo_id");
                prop_assert!(id.is_some(), "{name} without slo_id in {}", rule.expr);
                if !composite {
                    prop_assert_eq!(id.map(|m| m.value.as_str()), Some("shop/checkout-availability"));
                    prop_assert!(recorded.contains(name.as_str()), "{} is read but not recorded: {}", name, rule.expr);
                }
            }
            prop_assert!(rule.record.is_some() != rule.alert.is_some());
        }
    }

    /// All events and the bad ones among them are recorded one after the other: a total of another moment than the
    /// bad events beside it would turn a change of traffic into one of the error ratio.
    #[test]
    fn total_and_bad_are_of_one_moment(spec in spec()) {
        let rules = rendered(&spec);
        for (total, bad) in [(names::TOTAL, names::BAD), (names::TOTAL_FINE, names::BAD_FINE)] {
            let places = |name: &str| -> Vec<(usize, usize)> {
                let each = rules.groups.iter().enumerate();
                let all = each.flat_map(|(g, group)| group.rules.iter().enumerate().map(move |(r, rule)| ((g, r), rule)));
                all.filter(|(_, rule)| rule.record.as_deref() == Some(name)).map(|(place, _)| place).collect()
            };
            let after: Vec<_> = places(total).into_iter().map(|(group, rule)| (group, rule + 1)).collect();
            prop_assert_eq!(places(bad), after);
        }
        prop_assert!(rules.groups.iter().flat_map(|g| &g.rules).any(|r| r.record.as_deref() == Some(names::TOTAL)));
    }

    /// Same input, same bytes; no two rules record the same series; group names are unique.
    #[test]
    fn rendering_is_a_function(spec in spec()) {
        let rules = rendered(&spec);
        prop_assert_eq!(serde_json::to_string(&rules).unwrap(), serde_json::to_string(&rendered(&spec)).unwrap());
        let mut seen = BTreeSet::new();
        for rule in rules.groups.iter().flat_map(|g| &g.rules) {
            prop_assert!(seen.insert((rule.record.clone(), rule.alert.clone(), rule.labels.clone())), "{:?} twice", rule);
        }
        let names: BTreeSet<&str> = rules.group_names().collect();
        prop_assert_eq!(names.len(), rules.groups.len());
    }

    /// An edit of anything gives other rules another revision, and equal rules the same; the mark comes last.
    #[test]
    fn a_revision_is_of_all_there_is(a in spec(), b in spec(), team in "[a-z]{1,8}") {
        let (one, other) = (rendered(&a), rendered(&b));
        prop_assert!(one.revision().is_some_and(|revision| revision.len() == 12));
        prop_assert_eq!(one.revision() == other.revision(), one == other);
        let mut described = a.clone();
        described["labels"] = json!({"team": team});
        let described = rendered(&described);
        prop_assert_ne!(described.revision(), one.revision());
        let last = one.groups.last().and_then(|group| group.rules.iter().rfind(|rule| rule.record.is_some()));
        prop_assert_eq!(last.and_then(|rule| revision::read(&rule.expr)), one.revision());
    }

    /// Editing what describes an SLO changes no recorded series but `slo_info`.
    #[test]
    fn descriptions_never_break_history(spec in spec(), owner in "[a-z]{1,8}") {
        let mut other = spec.clone();
        other["owner"] = json!(owner);
        other["labels"] = json!({"team": owner});
        let series = |spec: &Value| -> Vec<_> {
            rendered(spec).groups.into_iter().flat_map(|g| g.rules).filter(|r| r.record.as_deref().is_some_and(|n| n != "slo_info")).collect()
        };
        prop_assert_eq!(series(&spec), series(&other));
    }

    /// No text that a user can write makes validation panic.
    #[test]
    fn any_text_is_survived(a in ".{0,60}", b in "[-a-z0-9(){}\\[\\]\"'=~!,.$ ]{0,60}") {
        let patch = json!({
            "objective": a, "period": {"rolling": b}, "groupBy": [b], "labels": {a.clone(): b},
            "sli": {"events": {"bad": b, "total": a}},
            "alerting": {"tiers": [{"name": a, "burnRate": b, "longWindow": a, "for": b}], "annotations": {"x_url": b}},
            "exclusions": [{"name": a, "every": b, "for": a, "timeZone": b}]
        });
        prop_assert!(!crate::problems(&patch).is_empty());
    }
}
