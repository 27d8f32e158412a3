//! Names, labels and messages are other people's: none of them becomes markup, a link to elsewhere or a broken picture.

use jiff::Timestamp;
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::{
    Kept,
    ask::{History, Line, Reading, Sample},
    html::{self, Frame, Notice},
    overview::{Filter, Overview},
    rules::{self, Rules},
    runs::{Run, Runs, Sent},
    slo::{Answers, Plan, Range, Texts, View},
};
use serde_json::{from_value, json};

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}\u{202e}\0&amp;";
const NOW: i64 = 1_800_000_000;

fn frame() -> Frame {
    let button = Some((HOSTILE.to_owned(), "/x".to_owned()));
    Frame { now: Timestamp::from_second(NOW).unwrap(), notice: Some(Notice { text: HOSTILE.to_owned(), button }) }
}

/// Every `<` begins markup of ours.
fn harmless(text: &str) {
    let found = text.to_lowercase();
    for bad in ["<script>", "<img", "onerror=alert(1)>", "javascript:", "'><", "\"'>"] {
        assert!(!found.contains(bad), "{bad} in {text}");
    }
    assert!(found.contains("&lt;script&gt;"), "it is shown, as text");
    let scripts = found.matches("<script").count();
    assert_eq!(scripts, 1, "one script, and that is ours");
}

fn slo(status: serde_json::Value) -> Kept<Slo> {
    let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": "a", "namespace": "shop", "labels": {"x": HOSTILE}},
        "spec": {"description": HOSTILE, "owner": HOSTILE, "service": HOSTILE, "objective": "99.9", "labels": {"note": HOSTILE},
            "groupBy": ["route"], "runbooks": ["r"],
            "exclusions": [{"name": "e", "from": "2027-01-14T00:00:00Z", "to": "2027-01-16T00:00:00Z", "reason": HOSTILE}],
            "sli": {"events": {"bad": "bad", "total": "all"}}},
        "status": status});
    Kept::new(HOSTILE, HOSTILE, from_value(object).unwrap())
}

fn condition() -> serde_json::Value {
    json!({"conditions": [{"type": "Ready", "status": "False", "reason": HOSTILE, "message": HOSTILE, "lastTransitionTime": "2026-11-01T08:00:00Z"}]})
}

fn execution() -> RunbookExecution {
    from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
        "metadata": {"name": "x", "namespace": "shop", "creationTimestamp": "2027-01-15T00:00:00Z"},
        "spec": {"runbook": {"name": HOSTILE, "uid": "u", "generation": 1}, "mode": "Approve", "serviceAccountName": HOSTILE,
            "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2027-01-15T00:00:00Z", "requestedBy": HOSTILE,
                "labels": {HOSTILE: HOSTILE, "slo_id": format!("{HOSTILE}/{HOSTILE}")}},
            "parameters": {"p": HOSTILE}, "steps": [{"name": HOSTILE, "wait": HOSTILE}], "deadline": "1h", "cooldown": "1h"},
        "status": {"phase": "AwaitingApproval", "message": HOSTILE, "reason": HOSTILE, "specHash": "\"><b>é",
            "steps": [{"name": HOSTILE, "outcome": "Failed", "message": HOSTILE,
                "artifacts": [{"name": HOSTILE, "location": HOSTILE, "bytes": -5, "sha256": HOSTILE}]}]}}))
    .unwrap()
}

#[test]
fn the_list_of_slos() {
    let labels = [("slo_id".to_owned(), format!("{HOSTILE}/{HOSTILE}"))].into();
    let reading = Reading {
        at: None,
        samples: vec![vec![Sample { labels, value: f64::NAN }], Vec::new(), Vec::new()],
        trouble: Some(HOSTILE.to_owned()),
    };
    let filter = || Filter { text: String::new(), label: String::new(), state: HOSTILE.to_owned() };
    let unreadable = Kept { namespace: HOSTILE.to_owned(), name: HOSTILE.to_owned(), object: Err(HOSTILE.to_owned()) };
    let slos = [slo(condition()), unreadable];
    for filter in [Filter::default(), filter()] {
        let view = Overview::new(&slos, true, &reading, &History::default(), filter);
        harmless(&html::overview(&frame(), &view));
    }
    let text = Filter { text: HOSTILE.to_owned(), label: HOSTILE.to_owned(), state: String::new() };
    harmless(&html::overview(&frame(), &Overview::new(&slos, true, &reading, &History::default(), text)));
}

#[test]
fn one_slo() {
    let texts = || Texts { explanation: Some(HOSTILE.to_owned()), yaml: HOSTILE.to_owned(), rules: HOSTILE.to_owned() };
    let slo = slo(condition());
    harmless(&html::slo(&frame(), &View::without_charts(&slo, texts())));
    let model = plimsoll_slo::validate(slo.object.as_ref().unwrap()).unwrap().model;
    let plan = Plan::new(&model, Range::of(HOSTILE), NOW);
    let labels = [
        ("alertname", HOSTILE),
        ("burnrate_tier", HOSTILE),
        ("severity", "page"),
        ("route", HOSTILE),
        ("signal", HOSTILE),
    ];
    let labels: std::collections::BTreeMap<_, _> =
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for value in [f64::MAX, f64::MIN, 0.0, 1e-300, -3.5] {
        let history = |count| History {
            lines: vec![Line { labels: labels.clone(), values: vec![Some(value); count] }],
            at: Timestamp::from_second(NOW).ok(),
            trouble: Some(HOSTILE.to_owned()),
        };
        let answers = Answers {
            over: plan.over.iter().map(|_| history(plan.grid.count)).collect(),
            now: plan.now.iter().map(|_| history(1)).collect(),
            watched: Some(history(plan.grid.count)),
        };
        let executions = [Kept::new(HOSTILE, HOSTILE, execution())];
        let view = View::new(&slo, &model, &plan, &answers, &executions, texts(), NOW);
        let text = html::slo(&frame(), &view);
        harmless(&text);
        for drawn in text.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(drawn.starts_with('M') || drawn.is_empty(), "{drawn}");
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{value:e}: {drawn}");
        }
    }
}

#[test]
fn runbooks_and_executions() {
    let runbook: Runbook = from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"description": HOSTILE, "serviceAccountName": "s", "trigger": {"query": HOSTILE}, "steps": []},
        "status": condition()}))
    .unwrap();
    let executions = [Kept::new(HOSTILE, HOSTILE, execution())];
    let view = Runs::new(&[Kept::new(HOSTILE, HOSTILE, runbook)], &executions, true);
    harmless(&html::runs(&frame(), &view));
    let sent = || vec![Sent { request: HOSTILE.to_owned(), body: Some(HOSTILE.to_owned()), what: HOSTILE.to_owned() }];
    let run = Run::new(HOSTILE, HOSTILE, &execution()).with_requests(|_| [sent(), sent()]);
    for open in [true, false] {
        harmless(&html::run(&frame(), &run, open, Some(HOSTILE)));
    }
    harmless(&html::missing(&frame(), HOSTILE));
}

#[test]
fn links_stay_on_the_page() {
    for (namespace, name) in [("//evil.example", "a"), ("..", ".."), ("a b", "c?d#e"), ("<", "\""), ("%2f", "ü")] {
        for path in [html::slo_path(namespace, name), html::execution_path(namespace, name)] {
            assert_eq!(path.matches('/').count(), 3, "{path}");
            assert!(path.is_ascii() && !path.contains(['?', '#', ' ', '"', '<']), "{path}");
        }
    }
}

#[test]
fn alerts_of_all_and_of_one() {
    let labels = [("alertrule", HOSTILE), ("alertname", HOSTILE), ("alert", HOSTILE), (HOSTILE, HOSTILE)];
    let labels: std::collections::BTreeMap<String, String> =
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let sample = || vec![Sample { labels: labels.clone(), value: f64::NAN }];
    let reading = Reading { at: None, samples: vec![sample(), sample(), sample()], trouble: Some(HOSTILE.to_owned()) };
    let object: AlertRule = from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "AlertRule",
        "metadata": {"name": "a", "namespace": "shop"}, "status": condition(),
        "spec": {"owner": HOSTILE, "matchers": {HOSTILE: HOSTILE}, "interval": HOSTILE, "backend": HOSTILE, "route": {"receiver": HOSTILE},
            "rules": [{"alert": HOSTILE, "expr": HOSTILE, "for": HOSTILE}, {"alert": "b", "anomaly": {"query": HOSTILE}}]}}))
    .unwrap();
    let unreadable = Kept { namespace: HOSTILE.to_owned(), name: HOSTILE.to_owned(), object: Err(HOSTILE.to_owned()) };
    let plan = rules::Plan::new(rules::range(HOSTILE), NOW);
    let history = |count| {
        let line = Line { labels: labels.clone(), values: vec![Some(f64::INFINITY); count] };
        History { lines: vec![line], at: None, trouble: Some(HOSTILE.to_owned()) }
    };
    let over = (0..4).map(|_| history(plan.grid.count)).collect();
    let answers = rules::Answers {
        now: reading.clone(),
        fired: history(plan.looks.count),
        began: history(plan.looks.count),
        over,
    };
    for rule in [Kept::new(HOSTILE, HOSTILE, object), unreadable] {
        let texts = || [HOSTILE.to_owned(), HOSTILE.to_owned()];
        harmless(&html::rule(&frame(), &rules::View::new(&rule, &plan, &answers, texts())));
        let view = Rules::new(&[rule], true, &reading, &history(rules::past_grid(NOW).count), rules::past_grid(NOW));
        harmless(&html::rules(&frame(), &view));
    }
}
