#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use plimsoll_api::conditions::{READY, REASON_INVALID};
use serde_json::json;

use super::*;
use crate::ask::{Line, Sample};

fn slo(name: &str, change: impl FnOnce(&mut Slo)) -> Kept<Slo> {
    let mut slo: Slo = serde_json::from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"objective": "99.9", "owner": "payments", "labels": {"tier": "one"},
            "sli": {"events": {"bad": "bad", "total": "all"}}}}))
    .unwrap();
    change(&mut slo);
    Kept::new("shop", name, slo)
}

/// Budget left, and error ratio over an hour.
fn reading(numbers: &[(&str, f64, f64)], alerts: &[(&str, &str, &str)]) -> Reading {
    let of = |id: &str, value| Sample { labels: [("slo_id".to_owned(), format!("shop/{id}"))].into(), value };
    let alert = |(id, name, severity): &(&str, &str, &str)| {
        let mut sample = of(id, 1.0);
        sample.labels.insert("alertname".to_owned(), (*name).to_owned());
        sample.labels.insert("severity".to_owned(), (*severity).to_owned());
        sample
    };
    Reading {
        at: Some("2026-11-12T14:05:00Z".parse().unwrap()),
        samples: vec![
            numbers.iter().map(|(id, left, _)| of(id, *left)).collect(),
            numbers.iter().map(|(id, _, ratio)| of(id, *ratio)).collect(),
            alerts.iter().map(alert).collect(),
            numbers.iter().map(|(id, ..)| of(id, 1.0)).collect(),
            Vec::new(),
        ],
        trouble: None,
    }
}

fn view(slos: &[Kept<Slo>], reading: &Reading, filter: Filter) -> Overview {
    Overview::new(slos, true, reading, &History::default(), filter)
}

fn shop() -> (Vec<Kept<Slo>>, Reading) {
    let broken = |slo: &mut Slo| {
        let mut status = plimsoll_api::SloStatus::default();
        c::set(
            &mut status.conditions,
            READY,
            Some(false),
            REASON_INVALID,
            "no receiver",
            None,
            "2026-11-12T14:00:00Z".parse().unwrap(),
        );
        slo.status = Some(status);
    };
    let slos = vec![
        slo("a-quiet", |_| {}),
        slo("b-page", |_| {}),
        slo("c-spent", |_| {}),
        slo("d-broken", broken),
        slo("e-empty", |_| {}),
        slo("f-ticket", |slo| slo.spec.labels = [("team".to_owned(), "search".to_owned())].into()),
        Kept {
            namespace: "shop".to_owned(),
            name: "g-unreadable".to_owned(),
            object: Err("spec.objective: missing".to_owned()),
        },
    ];
    let numbers = [
        ("a-quiet", 0.613, 0.0004),
        ("b-page", 0.4, 0.02),
        ("c-spent", -0.08, 0.0),
        ("d-broken", 0.9, 0.0),
        ("f-ticket", 0.3, 0.0015),
    ];
    let alerts = [
        ("b-page", "SLOErrorBudgetBurn", "ticket"),
        ("b-page", "SLOErrorBudgetBurn", "page"),
        ("f-ticket", "SLOErrorBudgetBurn", "ticket"),
        ("e-empty", "SLONoData", "ticket"),
        ("a-quiet", "SLOAnomaly", "ticket"),
    ];
    (slos, reading(&numbers, &alerts))
}

/// As after a start: Prometheus answers, and its rules were not evaluated since.
#[test]
fn what_is_not_recorded_yet_is_not_known() {
    let of = |present: Option<bool>| {
        slo("a", |slo| {
            let mut status = plimsoll_api::SloStatus::default();
            let at = "2026-11-12T14:00:00Z".parse().unwrap();
            c::set(&mut status.conditions, c::DATA_PRESENT, present, c::REASON_WAITING, "why", None, at);
            slo.status = Some(status);
        })
    };
    for (present, state, headline) in [
        (None, State::Unknown, "Whether the one SLO is burning is not known."),
        (Some(true), State::Unknown, "Whether the one SLO is burning is not known."),
        (Some(false), State::NoData, "The one SLO is not burning; 1 has no data."),
    ] {
        let view = view(&[of(present)], &reading(&[], &[]), Filter::default());
        assert_eq!((view.rows[0].state, view.headline.as_str()), (state, headline), "{present:?}");
    }
    let fires = reading(&[], &[("a", "SLOErrorBudgetBurn", "page")]);
    let view = view(&[of(None)], &fires, Filter::default());
    assert_eq!((view.rows[0].state, view.headline.as_str()), (State::Page, "The one SLO is burning."));
}

#[test]
fn the_worst_is_first_and_broken_ones_are_rows_too() {
    let (slos, reading) = shop();
    let view = view(&slos, &reading, Filter::default());
    let rows: Vec<(&str, State)> = view.rows.iter().map(|row| (row.name.as_str(), row.state)).collect();
    assert_eq!(
        rows,
        [
            ("b-page", State::Page),
            ("f-ticket", State::Ticket),
            ("d-broken", State::Broken),
            ("g-unreadable", State::Broken),
            ("c-spent", State::Spent),
            ("e-empty", State::NoData),
            ("a-quiet", State::Quiet),
        ]
    );
    // 0.4 of 30 days at twenty times the rate.
    assert_eq!(
        view.headline.replace('\u{a0}', " "),
        "2 of 7 SLOs are burning; b-page runs out in 14 h 24 min; 2 are broken; 1 has spent its budget; 1 has no data."
    );
    let row = |name: &str| view.rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!(row("d-broken").reason.as_deref(), Some("no receiver"));
    assert_eq!(row("g-unreadable").reason.as_deref(), Some("spec.objective: missing"));
    assert_eq!(row("e-empty").reason.as_deref(), Some("alert: its data is missing"));
    assert!(row("a-quiet").reason.as_deref().unwrap().contains("unusually"));
    assert!((row("a-quiet").sli.unwrap() - 0.999_613).abs() < 1e-12);
    assert!((row("b-page").burn.unwrap() - 20.0).abs() < 1e-9);
    assert_eq!(row("a-quiet").lasts, None, "it goes on for ever");
    assert_eq!(row("a-quiet").service, "a-quiet");
}

#[test]
fn a_filter_takes_text_labels_and_state_together() {
    let (slos, reading) = shop();
    let names = |text: &str, label: &str, state: &str| {
        let filter = Filter { text: text.to_owned(), label: label.to_owned(), state: state.to_owned() };
        let found = view(&slos, &reading, filter);
        assert_eq!(found.total, 7);
        found.rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(names("", "", "burning"), ["b-page", "f-ticket"]);
    assert_eq!(names("", "team=search", ""), ["f-ticket"]);
    assert_eq!(names("", "team", ""), ["f-ticket"]);
    assert_eq!(names("PAYMENTS quiet", "", ""), ["a-quiet"]);
    assert_eq!(names("", "tier=\"one\", owner=payments", "page"), ["b-page"]);
    assert!(names("nothing like it", "", "").is_empty() && names("", "", "made-up").is_empty());
}

#[test]
fn nothing_and_little_is_said_as_such() {
    let said = |slos: &[Kept<Slo>], complete, reading: &Reading| {
        Overview::new(slos, complete, reading, &History::default(), Filter::default()).headline
    };
    let nothing = Reading::default();
    assert_eq!(said(&[], true, &nothing), "There is no SLO yet.");
    assert_eq!(said(&[], false, &nothing), "Still reading what there is.");
    let one = [slo("a", |_| {})];
    assert_eq!(said(&one, true, &reading(&[("a", 1.0, 0.0)], &[])), "The one SLO is not burning.");
    assert_eq!(said(&one, true, &reading(&[], &[])), "The one SLO is not burning; 1 has no data.");
    // Nobody has answered yet: then it is not the SLO that has no data.
    assert_eq!(said(&one, true, &nothing), "Whether the one SLO is burning is not known.");
    assert_eq!(view(&one, &nothing, Filter::default()).rows[0].state, State::Unknown);
    let two = [slo("a", |_| {}), slo("b", |_| {})];
    let spent = reading(&[("a", -0.5, 0.1), ("b", 1.0, 0.0)], &[("a", "SLOErrorBudgetBurn", "page")]);
    assert_eq!(said(&two, true, &spent), "1 of 2 SLOs is burning; a has spent its budget.");
}

/// The question about alerts hangs, on the first look: what was answered to the others is no all-clear.
#[test]
fn without_an_answer_about_alerts_nobody_knows_whether_something_burns() {
    let (slos, mut reading) = shop();
    reading.samples[2].retain(|sample| sample.label("slo_id") == "shop/f-ticket");
    (reading.at, reading.trouble) = (None, Some("no answer".to_owned()));
    let view = view(&slos, &reading, Filter::default());
    assert_eq!(view.trouble.as_deref(), Some("Not all numbers are known yet: no answer"));
    let state = |name: &str| view.rows.iter().find(|row| row.name == name).unwrap().state;
    let states = ["f-ticket", "d-broken", "a-quiet", "b-page", "c-spent", "e-empty"].map(state);
    assert_eq!(states[..2], [State::Ticket, State::Broken], "what is known is said");
    assert!(states[2..].iter().all(|state| *state == State::Unknown), "{states:?}");
    assert!(view.headline.starts_with("1 of 7 SLOs is burning; of 4 it is not known; "), "{}", view.headline);
}

#[test]
fn last_known_values_stay_with_their_time() {
    let (slos, mut reading) = shop();
    reading.trouble = Some("http://prometheus:9090 does not answer".to_owned());
    let view = view(&slos, &reading, Filter::default());
    assert_eq!(view.rows[0].budget, Some(0.4));
    let said = view.trouble.unwrap();
    assert_eq!(said, "These are the last known numbers, of 12 Nov 14:05 UTC: http://prometheus:9090 does not answer");
}

/// Half the budget of what there is until now, at 20 times the rate.
#[test]
fn what_lasts_is_of_the_time_that_is_known() {
    let calendar = |slo: &mut Slo| slo.spec.period = serde_json::from_value(json!({"calendar": "Month"})).unwrap();
    let lasts = |slo: Kept<Slo>, coverage: f64, days: Option<f64>| {
        let mut reading = reading(&[("a", 0.5, 0.02)], &[]);
        let of = |value| vec![Sample { labels: [("slo_id".to_owned(), "shop/a".to_owned())].into(), value }];
        reading.samples[3] = of(coverage);
        let now = reading.at.unwrap().as_second() as f64;
        reading.samples[4] = days.map(|days| of(now - days * DAY)).unwrap_or_default();
        view(&[slo], &reading, Filter::default()).rows[0].lasts.map(|seconds| (seconds / 60.0).round())
    };
    assert_eq!(lasts(slo("a", |_| {}), 1.0, None), Some(18.0 * 60.0));
    assert_eq!(lasts(slo("a", |_| {}), 0.1, None), Some(1.8 * 60.0), "three days of it are known");
    // Of the third day of a month: 0.5 * 3 days / (20 - 1).
    assert_eq!(lasts(slo("a", calendar), 1.0, Some(3.0)), Some(114.0));
    assert_eq!(lasts(slo("a", calendar), 1.0, Some(29.5)), None, "a new month begins before");
    assert_eq!(lasts(slo("a", calendar), 1.0, None), None, "nobody knows when it began");
}

#[test]
fn sparks_are_of_their_slo() {
    let (slos, reading) = shop();
    let line = Line {
        labels: [("slo_id".to_owned(), "shop/b-page".to_owned())].into(),
        values: vec![Some(1.0), None, Some(0.4)],
    };
    let sparks = History { lines: vec![line], ..History::default() };
    let view = Overview::new(&slos, true, &reading, &sparks, Filter::default());
    assert_eq!(view.rows[0].spark, [Some(1.0), None, Some(0.4)]);
    assert!(view.rows[1].spark.is_empty());
}
