#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::*;
use crate::ask::Sample;

const NOW: i64 = 1_800_000_000;

fn rule(name: &str, rules: &Value, status: &Value) -> Kept<AlertRule> {
    let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "AlertRule", "status": status,
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"owner": "payments", "rules": rules}});
    Kept::new("shop", name, serde_json::from_value(object).unwrap())
}

fn all() -> Vec<Kept<AlertRule>> {
    let invalid = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Invalid",
        "message": "it is not PromQL", "lastTransitionTime": "2026-11-01T08:00:00Z"}]});
    vec![
        rule("broken", &json!([{"alert": "Odd", "expr": "up =="}]), &invalid),
        rule(
            "pods",
            &json!([
                {"alert": "Quiet", "expr": "up == 0"},
                {"alert": "Down", "expr": "up{job=\"a\"} == 0", "for": "1m", "severity": "Page"},
                {"alert": "Odd", "anomaly": {"query": "sum(rate(x_total[5m]))"}}
            ]),
            &json!({}),
        ),
    ]
}

fn labels(alert: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = [(names::ALERT_RULE, "shop/pods"), (NAME, alert), (names::ALERT, alert)];
    own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `Down` fires for an hour, `Odd` of the same AlertRule is pending.
fn reading() -> Reading {
    let sample = |alert, value| Sample { labels: labels(alert, &[]), value };
    let since = vec![sample("Down", (NOW - 3600) as f64), sample("Odd", (NOW - 60) as f64)];
    Reading { at: None, samples: vec![vec![sample("Down", 1.0)], vec![sample("Odd", 1.0)], since], trouble: None }
}

#[test]
fn the_list_has_every_alert_worst_first() {
    let grid = past_grid(NOW);
    let mut values = vec![None; grid.count];
    values[10] = Some(1.0);
    let past = History { lines: vec![Line { labels: labels("Quiet", &[]), values }], ..History::default() };
    let reading = Reading { at: jiff::Timestamp::from_second(NOW).ok(), ..reading() };
    let view = Rules::new(&all(), true, &reading, &past, grid);
    let rows: Vec<_> =
        view.rows.iter().map(|row| (row.rule.as_str(), row.alert.as_str(), row.state, row.pending)).collect();
    assert_eq!(
        rows,
        [
            ("pods", "Down", State::Page, false),
            // An alert of the same name, of another AlertRule.
            ("broken", "Odd", State::Broken, false),
            ("pods", "Odd", State::Quiet, true),
            ("pods", "Quiet", State::Quiet, false),
        ]
    );
    assert_eq!(view.headline, "1 of 4 alerts fires; Down pages; 1 pending; 1 is broken.");
    assert_eq!((view.rows[0].since, view.rows[0].last), (Some(NOW - 3600), None));
    assert_eq!(view.rows[3].last, Some(grid.from + 10 * grid.step));
    assert_eq!((view.rows[2].kind, view.rows[2].expression.as_str()), ("anomaly", "sum(rate(x_total[5m]))"));
    assert_eq!(view.rows[1].reason.as_deref(), Some("it is not PromQL"));
}

#[test]
fn what_nobody_answers_is_not_called_quiet() {
    let nobody = Reading { at: None, samples: Vec::new(), trouble: Some("nobody".to_owned()) };
    let view = Rules::new(&all()[1..], true, &nobody, &History::default(), past_grid(NOW));
    assert!(view.rows.iter().all(|row| row.state == State::Unknown), "{:?}", view.rows);
    assert_eq!(view.headline, "Whether an alert fires is not known.");
    assert!(view.trouble.unwrap().contains("nobody"));
    // Nobody asks Loki; of the others it is known.
    let answered = Reading { at: jiff::Timestamp::from_second(NOW).ok(), ..Reading::default() };
    let logs = rule(
        "logs",
        &json!([{"alert": "Panics", "logql": "sum(rate({app=\"a\"} |= \"panic\" [5m])) > 0"}]),
        &json!({}),
    );
    let view = Rules::new(&[logs, all()[1].clone()], true, &answered, &History::default(), past_grid(NOW));
    assert_eq!((view.rows[0].alert.as_str(), view.rows[0].state), ("Panics", State::Unknown));
    assert_eq!(view.headline, "None of 4 alerts fires; 1 is not known.");
    let none = Rules::new(&[], true, &nobody, &History::default(), past_grid(NOW));
    assert_eq!(none.headline, "There is no AlertRule yet.");
    let unreadable = Kept { namespace: "shop".to_owned(), name: "x".to_owned(), object: Err("no rules".to_owned()) };
    let view = Rules::new(&[unreadable], true, &reading(), &History::default(), past_grid(NOW));
    assert_eq!((view.rows[0].state, view.rows[0].reason.as_deref()), (State::Broken, Some("no rules")));
}

#[test]
fn one_of_them_has_its_past_and_the_bands_of_its_anomalies() {
    let plan = Plan::new(range("1d"), NOW);
    assert_eq!((range("").key, range("period").key), ("7d", "7d"));
    let mut values = vec![None; plan.looks.count];
    values[100..103].fill(Some(1.0));
    let fired = History { lines: vec![Line { labels: labels("Down", &[]), values }], ..History::default() };
    let first = plan.looks.from + 100 * plan.looks.step;
    // Prometheus knows to the second since when; the first look was later.
    let since = vec![Some((first - 7) as f64); plan.looks.count];
    let began = History { lines: vec![Line { labels: labels("Down", &[]), values: since }], ..History::default() };
    let line = |labels, value: f64| Line { labels, values: vec![Some(value); plan.grid.count] };
    let of = |name, value| {
        let own = labels("Odd", &[("queue", name), ("__name__", "x"), ("job", "plimsoll")]);
        line(own, value)
    };
    let history = |lines| History { lines, ..History::default() };
    let over = vec![
        history(vec![line(labels("Odd", &[]), 0.7)]),
        history(vec![of("a", 2.0), of("b", 20.0)]),
        history(vec![of("b", 10.0), of("a", 1.0)]),
        history(vec![of("b", 30.0), of("a", 3.0)]),
        history(vec![of("b", 99.0), of("a", 2.5)]),
    ];
    let now = Reading { at: jiff::Timestamp::from_second(NOW).ok(), ..reading() };
    let answers = Answers { now, fired, began, over };
    let view = View::new(&all()[1], &plan, &answers, ["kind: AlertRule".to_owned(), "groups:".to_owned()]);
    assert_eq!((view.state, view.headline.as_str()), (State::Page, "1 of 3 alerts fires; Down pages; 1 pending."));
    let times: Vec<_> = view.marks.iter().map(|mark| (mark.kind, mark.from, mark.to)).collect();
    assert_eq!(times, [(MarkKind::Page, first - 7, Some(first + 2 * plan.looks.step))]);
    let watched = &view.watched[0];
    assert_eq!((view.watched.len(), watched.alert.as_str(), watched.score[0]), (1, "Odd", Some(0.7)));
    let bands: Vec<_> = watched.bands.iter().map(|b| (b.of.as_str(), b.lower[0], b.expected[0], b.upper[0])).collect();
    assert_eq!(watched.bands.iter().map(|band| band.seen[0]).collect::<Vec<_>>(), [Some(2.5), Some(99.0)]);
    assert!((watched.alarms - 0.4).abs() < 1e-9, "an alert of medium sensitivity begins with a sudden move");
    let some = |low, middle, high| (Some(low), Some(middle), Some(high));
    let wanted = [("Odd of queue=a", some(1.0, 2.0, 3.0)), ("Odd of queue=b", some(10.0, 20.0, 30.0))];
    assert_eq!(bands, wanted.map(|(of, (low, middle, high))| (of, low, middle, high)));
}
