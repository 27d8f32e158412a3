#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use clap::Parser;
use plimsoll_slo::{
    evaluate::{Labels, Sample},
    render,
};
use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    backtest: Backtest,
}

const DAY: i64 = 86_400;
/// A Sunday, at noon.
const NOW: i64 = 1_795_953_600;

fn model(name: &str, spec: Value) -> Model {
    let slo = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "SLO",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    plimsoll_slo::validate(&serde_json::from_value(slo).unwrap()).unwrap().model
}

fn events(name: &str, period: Value) -> Model {
    model(
        name,
        json!({"objective": "99.9", "period": period,
            "sli": {"events": {"bad": "bad_total", "total": "all_total"}}}),
    )
}

/// Ten events a second for twelve days until now. Eight days ago a tenth of them fails for two hours.
fn measured(at: i64) -> Sample {
    let outage = NOW - 8 * DAY..NOW - 8 * DAY + 7200;
    match at {
        at if at < NOW - 12 * DAY => Sample::NONE,
        at => Sample { total: 10.0, bad: if outage.contains(&at) { 1.0 } else { 0.0 } },
    }
}

/// What is told of the first of some SLOs, by a server that keeps so many days.
fn told(models: &[Model], from: i64, keeps: i64) -> Report {
    told_of(models, from, keeps, measured)
}

/// The same of other samples.
fn told_of(models: &[Model], from: i64, keeps: i64, measured: fn(i64) -> Sample) -> Report {
    let args = Line::try_parse_from(["plimsoll", "--prometheus", "http://127.0.0.1:9090"]).unwrap().backtest;
    let (period, reach) = (Period { from: NOW - from * DAY, to: NOW }, NOW - keeps * DAY);
    let read = |engine: &mut Engine, id: &str, lead: i64| {
        let raw = engine.models().find(|model| model.id.to_string() == id).and_then(render::raw);
        let Some(raw) = raw else { return Ok(false) };
        let (first, interval) = engine.base_turn(id).unwrap();
        let after = |from: i64| first + ((from * 1000 - first).max(0) + interval - 1) / interval * interval;
        let first = after(lead.max(reach));
        let samples: Vec<Sample> =
            (0..).map(|n| (first + n * interval) / 1000).take_while(|at| *at <= NOW).map(measured).collect();
        let fine = if raw.fine.is_some() { samples.clone() } else { Vec::new() };
        engine.feed(id, &Labels::new(), first, &samples, &fine);
        Ok(true)
    };
    one(&args, &models[0], models, period, reach, &read).unwrap().unwrap().0
}

#[test]
fn what_is_not_kept_is_refused_where_it_was_asked_for_and_said_where_it_was_not() {
    let (reach, month) = (NOW - 15 * DAY, Period { from: NOW - 30 * DAY, to: NOW });
    let mut period = month;
    let Err(Stop::Failed(why, help)) = period.within(reach, Some("30d"), NOW, "http://p") else {
        panic!("it is taken")
    };
    assert_eq!(why, "http://p keeps samples for 15d, and --from asks for 30d");
    assert!(help.starts_with("use --from 15d"), "{help}");
    let said = period.within(reach, None, NOW, "http://p").unwrap().unwrap();
    assert_eq!(said, "http://p keeps samples for 15d: this is of that time, not of the usual 30d\n");
    assert_eq!((period.from, period.to), (reach, NOW));
    // Who keeps enough is not spoken of, and of nothing nothing is said.
    let mut period = month;
    assert!(period.within(0, None, NOW, "http://p").unwrap().is_none() && period.from == month.from);
    assert!(Period { to: reach, ..month }.within(reach, None, NOW, "http://p").is_err());
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 0.005, "{found} instead of {wanted}");
}

#[test]
fn what_is_left_at_the_end_does_not_hang_on_when_one_begins_to_look() {
    let rolling = [events("web", json!({"rolling": "10d"}))];
    // Two hours of ten days at 10 %, of 0.1 %.
    let wanted = 1.0 - 2.0 / 240.0 * 0.1 / 0.001;
    for from in [1, 9, 11] {
        let report = told(&rolling, from, 365);
        near(report.left.clone().unwrap().unwrap(), wanted);
        let spent = report.outcomes[0].spent.unwrap();
        near(spent, if from == 1 { 0.0 } else { 2.0 / (from as f64 * 24.0) * 0.1 / 0.001 });
        let text = report::table(&[report]);
        assert!(
            text.contains("of the budget of this time spent; ") && text.contains("% left at the end, by the rules"),
            "{text}"
        );
    }
    // This month, of which the outage was a part eight days ago, and this week, of which it was none.
    let of = |unit: &str| told(&[events("web", json!({"calendar": unit}))], 1, 365).left.unwrap().unwrap();
    assert!(of("Month") < 0.9, "{}", of("Month"));
    near(of("Week"), 1.0);
}

#[test]
fn nobody_misses_what_has_not_begun_and_what_is_missed_counts_whatever_the_objective() {
    let missed = |report: &Report, case: usize| report.outcomes[case].fired.iter().filter(|f| f.tier.is_none()).count();
    // The first sample is of twelve days ago.
    let report = told(&[events("web", json!({"rolling": "10d"}))], 13, 365);
    assert!((0..report.outcomes.len()).all(|case| missed(&report, case) == 0), "{:?}", report.outcomes);
    // Of another, nothing comes for six hours in the middle.
    let gap =
        |at: i64| if (NOW - 2 * DAY..NOW - 2 * DAY + 6 * 3600).contains(&at) { Sample::NONE } else { measured(at) };
    let report = told_of(&[events("web", json!({"rolling": "10d"}))], 3, 365, gap);
    assert!(report.outcomes.len() > 3 && (0..report.outcomes.len()).all(|case| missed(&report, case) == 1));
}

#[test]
fn what_is_left_is_not_told_where_too_little_is_kept() {
    let report = told(&[events("web", json!({"rolling": "10d"}))], 1, 5);
    assert_eq!(
        report.left.clone().unwrap_err(),
        "it is of the 10d before --to, of which the first 5d are kept no more"
    );
    near(report.outcomes[0].spent.unwrap(), 0.0);
    let printed: Value = serde_json::from_str(&report::json(&[report], Period { from: NOW - DAY, to: NOW })).unwrap();
    assert_eq!(printed["slos"][0]["budgetRemaining"], Value::Null);
    assert!(printed["slos"][0]["notKnown"].as_str().unwrap().contains("kept no more"), "{printed}");
    // As much as is wanted, be it that no more is kept.
    assert!(told(&[events("web", json!({"rolling": "10d"}))], 1, 10).left.is_ok());
}

#[test]
fn a_composite_has_spent_what_its_period_says_or_nobody_knows() {
    let whole = model(
        "whole",
        json!({"objective": "99.9", "period": {"rolling": "10d"}, "sli": {"composite": {"worstOf": ["web", "other"]}}}),
    );
    let models = [whole, events("web", json!({"rolling": "10d"})), events("other", json!({"rolling": "10d"}))];
    let report = told(&models, 1, 365);
    near(report.outcomes[0].spent.unwrap(), 2.0 / 240.0 * 0.1 / 0.001);
    assert!(report::table(&[report]).contains("% of the budget of its period spent; "));
    let report = told(&models, 1, 5);
    assert_eq!((report.outcomes[0].spent, report.left.is_err()), (None, true));
    assert!(
        report::table(&[report]).contains("- of the budget of its period spent; what is left at the end is not known")
    );
}
