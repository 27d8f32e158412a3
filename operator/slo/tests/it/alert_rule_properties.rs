//! What holds for every AlertRule.

use std::collections::BTreeMap;

use plimsoll_slo::alerts;
use promql_parser::{
    label::Matcher,
    parser::{self, BinModifier, Expr, LabelModifier, VectorSelector, value::ValueType},
};
use proptest::prelude::*;
use serde_json::json;

use crate::alert_rules::{object, problems, rule, valid};

/// Expressions of every form that the language has, as text.
fn expression() -> impl Strategy<Value = String> {
    let label = prop_oneof![Just("cluster"), Just("job"), Just("\"odd.label\"")];
    let op = prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")];
    let matcher = (label, op, "[a-c]{1,2}").prop_map(|(label, op, value)| format!("{label}{op}\"{value}\""));
    let matchers = prop::collection::vec(matcher, 0..3).prop_map(|m| m.join(","));
    let name = prop_oneof![Just("up"), Just("a:b"), Just("x_total")];
    let modifier =
        prop_oneof![4 => Just(""), 1 => Just(" offset 5m"), 1 => Just(" @ 100"), 1 => Just(" @ end() offset -1m")];
    let selector = (name, matchers).prop_map(|(name, m)| format!("{name}{{{m}}}"));
    let odd = prop_oneof![Just("{__name__=~\"u.*\"}".to_owned()), Just("{\"odd.name\", job='a'}".to_owned())];
    let selector = prop_oneof![6 => selector, 1 => odd];
    let leaf = prop_oneof![
        (selector.clone(), modifier.clone()).prop_map(|(s, m)| s + m),
        (selector, modifier).prop_map(|(s, m)| format!("rate({s}[5m]{m})")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (
                pair.clone(),
                prop_oneof![
                    Just("+"),
                    Just("^"),
                    Just("and"),
                    Just("unless on (job)"),
                    Just("or"),
                    Just("/ ignoring (a) group_left (b)"),
                    Just(">= bool"),
                    Just("!= on ()"),
                    Just("* ignoring ()")
                ]
            )
                .prop_map(|((l, r), op)| format!("({l}) {op} ({r})")),
            pair.prop_map(|(l, r)| format!("{l} - -{r}")),
            (
                inner.clone(),
                prop_oneof![Just("sum by (job)"), Just("max"), Just("count without ()"), Just("avg by ()")]
            )
                .prop_map(|(e, op)| format!("{op} ({e})")),
            inner.clone().prop_map(|e| format!("topk(3, {e})")),
            inner.clone().prop_map(|e| format!("histogram_quantile(0.9, {e})")),
            inner.clone().prop_map(|e| format!("label_replace({e}, \"x\", \"{{$1}}\", \"job\", \"(.*)\")")),
            inner.clone().prop_map(|e| format!("max_over_time(({e})[1h:5m] offset 1d)")),
            inner.prop_map(|e| format!("absent({e})")),
        ]
    })
}

fn matcher_values() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = prop_oneof![
        Just("eu"),
        Just("=~eu|us"),
        Just("!=test"),
        Just("!~a.+"),
        Just("with \"quotes\" and \\"),
        Just("ü")
    ];
    prop::collection::btree_map(
        prop_oneof![Just("cluster"), Just("environment"), Just("job")].prop_map(str::to_owned),
        value.prop_map(str::to_owned),
        1..4,
    )
}

/// Every selector of a tree, and the tree with all of them emptied.
fn taken_apart(text: &str) -> (Vec<VectorSelector>, Expr) {
    fn walk(expr: &mut Expr, found: &mut Vec<VectorSelector>) {
        match expr {
            Expr::VectorSelector(s) => found.push(std::mem::take(s)),
            Expr::MatrixSelector(m) => found.push(std::mem::take(&mut m.vs)),
            Expr::Aggregate(a) => {
                // `by ()` and nothing mean the same.
                if matches!(&a.modifier, Some(LabelModifier::Include(l)) if l.is_empty()) {
                    a.modifier = None;
                }
                a.param.iter_mut().for_each(|p| walk(p, found));
                walk(&mut a.expr, found);
            }
            Expr::Unary(u) => walk(&mut u.expr, found),
            Expr::Binary(b) => {
                if let Some(m) = &mut b.modifier
                    && matches!(&m.matching, Some(LabelModifier::Exclude(l)) if l.is_empty())
                {
                    m.matching = None;
                }
                if b.modifier == Some(BinModifier::default()) {
                    b.modifier = None;
                }
                walk(&mut b.lhs, found);
                walk(&mut b.rhs, found);
            }
            Expr::Paren(p) => walk(&mut p.expr, found),
            Expr::Subquery(s) => walk(&mut s.expr, found),
            Expr::Call(c) => c.args.args.iter_mut().for_each(|a| walk(a, found)),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }
    let mut tree = parser::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut found = Vec::new();
    walk(&mut tree, &mut found);
    (found, tree)
}

/// Label names and values that a selector asks for, the metric's name among them, sorted.
fn asked(selector: &VectorSelector, added: &[String]) -> Vec<String> {
    let name = selector.name.iter().map(|name| format!("__name__=\"{name}\""));
    let own = selector.matchers.matchers.iter().map(Matcher::to_string);
    let mut all: Vec<String> = name.chain(own).chain(added.iter().cloned()).collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every selector of the result asks for what it asked for before and for the matchers, and nothing
    /// else; the tree is otherwise equal. So it selects exactly the matching subset.
    #[test]
    fn injection_adds_the_matchers_to_every_selector_and_changes_nothing_else(expr in expression(), matchers in matcher_values()) {
        prop_assume!(parser::parse(&expr).is_ok_and(|e| e.value_type() == ValueType::Vector));
        let valid = valid(&json!({"matchers": matchers, "rules": [{"alert": "A", "expr": expr}]}));
        let injected = &alerts::render(&valid.model).groups[0].rules[0].expr.clone();
        let added: Vec<String> = valid.model.matchers.iter().map(ToString::to_string).collect();
        let ((before, tree), (after, new_tree)) = (taken_apart(&expr), taken_apart(injected));
        prop_assert_eq!(tree, new_tree, "{}", injected);
        prop_assert_eq!(before.len(), after.len());
        for (old, new) in before.iter().zip(&after) {
            prop_assert_eq!(asked(new, &[]), asked(old, &added), "{}", injected);
            prop_assert_eq!((&old.offset, &old.at), (&new.offset, &new.at));
        }
    }

    /// Without matchers the expression is the author's own text.
    #[test]
    fn without_matchers_nothing_changes(expr in expression()) {
        prop_assume!(parser::parse(&expr).is_ok_and(|e| e.value_type() == ValueType::Vector));
        let valid = valid(&json!({"rules": [{"alert": "A", "expr": expr}]}));
        prop_assert_eq!(&alerts::render(&valid.model).groups[0].rules[0].expr, &expr);
    }

    /// No text that a user can write makes validation panic, and what is valid renders the same twice.
    #[test]
    fn any_text_is_survived(a in ".{0,60}", b in "[-a-z0-9(){}\\[\\]\"'=~!,.$| <>#`+*]{0,60}") {
        let all = json!({
            "owner": a, "matchers": {a.clone(): b, "cluster": format!("=~{b}"), "zone": format!("!~{a}")}, "interval": b, "backend": a,
            "rules": [
                {"alert": a, "expr": b, "for": a, "labels": {b.clone(): a}, "annotations": {"x_url": b, "y": format!("[[{a}]]"), "z": format!("{{{{ {b} }}}}")}},
                {"alert": b, "logql": format!("rate({{{b}}} [5m])")},
                {"alert": "C", "logql": b},
                {"alert": "D", "anomaly": {"query": a}},
                {"alert": "E", "expr": "up == 0", "annotations": {"y": format!("[[ {b} ]]")}}
            ],
            "route": {"receiver": a, "groupBy": [b], "inhibitedBy": [b], "groupWait": a}
        });
        prop_assert!(!problems(&all).is_empty());
        for one in [json!({"matchers": {"cluster": format!("=~{b}")}}), rule(json!({"expr": b})), rule(json!({"annotations": {"y": a}})), rule(json!({"expr": null, "logql": b}))] {
            if let Ok(valid) = alerts::validate(&object(&one)) {
                prop_assert_eq!(alerts::render(&valid.model), alerts::render(&valid.model.clone()));
            }
        }
    }
}
