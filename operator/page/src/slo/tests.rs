#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use plimsoll_api::conditions as c;
use serde_json::json;

use super::*;
use crate::{ask::Line, words};

const NOW: i64 = 1_800_000_000;

fn slo() -> Kept<Slo> {
    let slo = serde_json::from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"objective": "99.9", "groupBy": ["route"], "sli": {"events": {"bad": "bad", "total": "all"}}}}))
    .unwrap();
    Kept::new("shop", "a", slo)
}

fn model(slo: &Kept<Slo>) -> Model {
    plimsoll_slo::validate(slo.object.as_ref().unwrap()).unwrap().model
}

fn line(labels: &[(&str, &str)], values: Vec<Option<f64>>) -> Line {
    Line { labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), values }
}

fn history(lines: Vec<Line>) -> History {
    History { lines, at: jiff::Timestamp::from_second(NOW).ok(), trouble: None }
}

/// Asked, and nobody answered.
fn unanswered() -> History {
    History { trouble: Some("no answer".to_owned()), ..History::default() }
}

#[test]
fn a_range_is_no_longer_than_what_is_known() {
    let model = model(&slo());
    // Answered from so many seconds ago on.
    let shorter = |range: &str, known: i64| {
        let plan = Plan::new(&model, Range::of(range), NOW);
        let at = |place: usize| plan.grid.from + plan.grid.step * i64::try_from(place).unwrap();
        let values = (0..plan.grid.count).map(|place| (at(place) >= NOW - known).then_some(0.5)).collect();
        plan.shorter(&[history(vec![line(&[], values)])]).map(|range| range.key)
    };
    let day = 86_400;
    for (range, known, wanted) in [
        ("period", 30 * day, None),
        ("period", 8 * day, None),
        ("period", 6 * day, Some("7d")),
        ("period", 3600, Some("6h")),
        // The moment of the period's grid that is known may be of any time before.
        ("6h", 600, Some("1h")),
        ("1h", 60, None),
    ] {
        assert_eq!(shorter(range, known), wanted, "{range} {known}");
    }
    assert_eq!(Plan::new(&model, Range::of(""), NOW).shorter(&[history(Vec::new())]), None);
}

/// What is answered when the fast tier fires: half of the budget is left, at 20 times the rate.
fn answers(plan: &Plan) -> Answers {
    let count = plan.grid.count;
    let all = |value: f64| vec![Some(value); count];
    let ratios = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];
    let ratios = ratios
        .map(|window| line(&[("window", window)], all(if ["5m", "1h"].contains(&window) { 0.02 } else { 0.001 })));
    let mut firing = vec![None; plan.alerts.count];
    firing.iter_mut().rev().take(3).for_each(|value| *value = Some(1.0));
    let alert = [("alertname", names::ALERT_BURN), (names::TIER, "fast"), (names::SEVERITY, "page")];
    let now = |lines| history(lines);
    Answers {
        over: vec![
            history(vec![line(&[], all(0.5))]),
            history(ratios.clone().map(|line| Line { values: all(0.05), ..line }).to_vec()),
            history(vec![line(&alert, firing)]),
            History::default(),
            History::default(),
            History::default(),
            History::default(),
        ],
        now: vec![
            now(vec![line(&alert, vec![Some(1.0)])]),
            now(vec![line(&[("route", "/b")], vec![Some(0.9)]), line(&[("route", "/a")], vec![Some(0.5)])]),
            now(vec![line(&[("route", "/a")], vec![Some(0.02)])]),
            now(ratios.map(|line| Line { values: vec![line.values[0]], ..line }).to_vec()),
            now(vec![line(&alert, vec![Some((NOW - 600) as f64)])]),
            now(Vec::new()),
            now(Vec::new()),
            now(vec![line(&[], vec![Some(1.0)])]),
        ],
        watched: None,
    }
}

fn view(change: impl FnOnce(&mut Answers)) -> View {
    let slo = slo();
    let model = model(&slo);
    let plan = Plan::new(&model, Range::of("1d"), NOW);
    let mut answers = answers(&plan);
    change(&mut answers);
    View::new(&slo, &model, &plan, &answers, &[], Texts::default(), NOW)
}

/// As after a start: Prometheus answers, and the rules were not evaluated since.
#[test]
fn what_is_not_recorded_yet_is_not_known() {
    let mut object = slo().object.as_ref().unwrap().as_ref().clone();
    let mut status = plimsoll_api::SloStatus::default();
    let (reason, at) = (c::REASON_WAITING, "2026-11-12T14:00:00Z".parse().unwrap());
    c::set(&mut status.conditions, c::DATA_PRESENT, None, reason, "awaited", None, at);
    object.status = Some(status);
    let slo = Kept::new("shop", "a", object);
    let model = model(&slo);
    let plan = Plan::new(&model, Range::of("1d"), NOW);
    let of = |trouble: bool| {
        let now = if trouble { unanswered() } else { history(Vec::new()) };
        let answers = Answers { now: vec![now; 7], ..Answers::default() };
        let view = View::new(&slo, &model, &plan, &answers, &[], Texts::default(), NOW);
        (view.state, view.headline)
    };
    let awaited = "Not known yet: the first evaluations of its rules are awaited.".to_owned();
    assert_eq!(of(false), (State::Unknown, awaited));
    let away = "Not known: nobody who has its numbers answers.".to_owned();
    assert_eq!(of(true), (State::Unknown, away));
}

fn plain(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

#[test]
fn what_burns_says_when_it_runs_out_and_what_fires_since_when() {
    let view = view(|_| {});
    assert_eq!(view.state, State::Page);
    assert_eq!(
        plain(&view.headline),
        "Burning, page: 50.0 % of the budget is left (21 min 0 s of full outage) and runs out in 18 h; burn 20.0 over 1 h."
            .replace("21 min 0 s", "21 min")
    );
    let fast = view.tiers.first().unwrap();
    assert_eq!((fast.name.as_str(), fast.state), ("fast", TierState::Fires { since: Some(NOW - 600) }));
    assert_eq!(fast.burns.map(|burn| burn.map(words::rate)), [Some("20.0".to_owned()), Some("20.0".to_owned())]);
    assert_eq!(plain(&fast.wants), "ends when less than 1.44 % is bad over 5m or 1h");
    let quiet = view.tiers.get(1).unwrap();
    assert_eq!(quiet.state, TierState::Quiet);
    assert_eq!(plain(&quiet.wants), "fires when more than 0.6 % is bad over 6h and 30m, and at least 10 bad events");
    let charts = view.charts.unwrap();
    let projection = charts.projection.unwrap();
    assert_eq!(projection.spent_at, Some(NOW + 18 * 3600));
    assert_eq!(charts.marks.first().map(|mark| mark.kind), Some(MarkKind::Page));
    let burns = &charts.tiers[0].long;
    assert_eq!(
        (words::rate(burns[0].unwrap()), words::rate(burns.last().unwrap().unwrap())),
        ("50.0".into(), "20.0".into())
    );
}

/// On the third day of a month: of the month's minutes of a full outage only those are known that it has had until now.
#[test]
fn a_calendar_budget_is_of_what_has_gone_by() {
    let mut object = slo().object.as_ref().unwrap().as_ref().clone();
    object.spec.period = serde_json::from_value(json!({"calendar": "Month"})).unwrap();
    let slo = Kept::new("shop", "a", object);
    let model = model(&slo);
    let plan = Plan::new(&model, Range::of("1d"), NOW);
    assert_eq!((plan.now[COVERAGE].name, plan.now[START].name), (names::COVERAGE, names::PERIOD_START));
    let of = |days: i64| {
        let mut answers = answers(&plan);
        answers.now.push(history(vec![line(&[], vec![Some((NOW - days * 86_400) as f64)])]));
        View::new(&slo, &model, &plan, &answers, &[], Texts::default(), NOW)
    };
    let third = of(3);
    assert_eq!(
        plain(&third.headline),
        "Burning, page: 50.0 % of the budget is left (2 min 10 s of full outage) and runs out in 1 h 53 min; burn 20.0 over 1 h."
    );
    let left = &third.facts.iter().find(|(name, _)| *name == "Budget left").unwrap().1;
    let said = "50.0 % = 2 min 10 s of 4 min 19 s of full outage; of the 3 d of the period that are known";
    assert_eq!(plain(left), said);
    let projection = third.charts.unwrap().projection.unwrap();
    assert_eq!(projection.spent_at, Some(NOW + 3 * 86_400 / 2 / 19));
    // The month ends before, and within the time shown.
    let last = of(30);
    assert!(!last.headline.contains("runs out"), "{}", last.headline);
    let projection = last.charts.unwrap().projection.unwrap();
    assert_eq!((projection.then, projection.at, projection.spent_at), (0.5, plan.grid.to(), None));
}

#[test]
fn what_lasts_is_not_known_before_it_is_known_how_much_data_there_is() {
    let view = view(|answers| answers.now[COVERAGE] = history(Vec::new()));
    assert_eq!(plain(&view.headline), "Burning, page: 50.0 % of the budget is left; burn 20.0 over 1 h.");
    assert_eq!(view.charts.unwrap().projection, None);
    let left = view.facts.iter().find(|(name, _)| *name == "Budget left").unwrap();
    assert_eq!(plain(&left.1), "50.0 %");
}

#[test]
fn an_alert_that_is_over_is_a_mark_and_no_state_however_long_the_time_shown() {
    let slo = slo();
    let model = model(&slo);
    for range in RANGES {
        let plan = Plan::new(&model, range, NOW);
        let mut answers = answers(&plan);
        // It fired for five minutes, until ten minutes ago.
        let ago = |seconds: i64| plan.alerts.place(NOW - seconds).unwrap();
        let (from, to) = (ago(900), ago(600));
        answers.over[2].lines[0].values =
            (0..plan.alerts.count).map(|i| (from..=to).contains(&i).then_some(1.0)).collect();
        (answers.now[SINCE], answers.now[FIRING]) = (history(Vec::new()), history(Vec::new()));
        answers.now[RATIOS].lines.iter_mut().for_each(|line| line.values = vec![Some(0.0)]);
        let view = View::new(&slo, &model, &plan, &answers, &[], Texts::default(), NOW);
        assert_eq!((view.state, view.tiers[0].state), (State::Quiet, TierState::Quiet), "{}", range.key);
        let page = view.charts.unwrap().marks.into_iter().find(|mark| mark.kind == MarkKind::Page).unwrap();
        assert!(
            (page.from - (NOW - 900)).abs() <= 300 && page.to.unwrap() - page.from <= 600,
            "{}: {page:?}",
            range.key
        );
    }
}

#[test]
fn groups_are_the_worst_first() {
    let view = view(|_| {});
    let names: Vec<&str> = view.groups.0.iter().map(|row| row.name.as_str()).collect();
    assert_eq!((names, view.groups.1), (vec!["route=/a", "route=/b"], 2));
    assert_eq!(view.groups.0.first().and_then(|row| row.burn).map(words::rate).as_deref(), Some("20.0"));
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let empty = view(|answers| *answers = Answers { now: vec![history(Vec::new()); 7], ..Answers::default() });
    assert_eq!((empty.state, empty.headline.as_str()), (State::NoData, "No data: nothing is recorded of it yet."));
    let silent = view(|answers| *answers = Answers { now: vec![unanswered(); 7], ..Answers::default() });
    assert_eq!(silent.state, State::Unknown);
    assert_eq!(silent.trouble.as_deref(), Some("No numbers are known yet: no answer"));
    assert!(empty.tiers.iter().all(|tier| tier.state == TierState::Unknown));
    assert_eq!(empty.charts.unwrap().projection, None);
    // Nobody answers: that is no finding about the SLO, and what was known stays.
    let away =
        view(|answers| answers.now.iter_mut().for_each(|history| history.trouble = Some("no answer".to_owned())));
    let said = "These are the last known numbers, of 15 Jan 08:00 UTC: no answer";
    assert_eq!(away.trouble.as_deref(), Some(said));
    assert_eq!(away.state, State::Page);
}

/// Prometheus is busy: the budget was answered, and whether an alert fires was not.
#[test]
fn without_an_answer_about_alerts_nobody_knows_whether_it_burns() {
    let view = view(|answers| answers.now[FIRING] = unanswered());
    assert_eq!(view.state, State::Unknown);
    assert!(view.headline.starts_with("Whether it is burning is not known: 50.0"), "{}", view.headline);
    assert_eq!(view.trouble.as_deref(), Some("Not all numbers are known yet: no answer"));
    assert!(view.tiers.iter().all(|tier| tier.state == TierState::Unknown));
}

#[test]
fn spent_is_told_as_such() {
    let view = view(|answers| {
        answers.now[FIRING] = history(Vec::new());
        answers.now[LEFT] = history(vec![line(&[], vec![Some(-0.08)])]);
        answers.now[ERRORS] = history(vec![line(&[], vec![Some(0.0)])]);
    });
    assert_eq!(view.state, State::Spent);
    assert_eq!(plain(&view.headline), "Spent: the budget is spent, 108 % of it; burn 0.0 over 1 h.");
}

#[test]
fn the_window_of_the_sli_leaves_nothing_out() {
    let model = model(&slo());
    for (range, wanted) in [("1h", "5m"), ("1d", "30m"), ("7d", "1h"), ("period", "6h")] {
        let plan = Plan::new(&model, Range::of(range), NOW);
        assert_eq!(window(&model, plan.grid.step).to_string(), wanted, "{range}, every {} s", plan.grid.step);
    }
}

#[test]
fn the_series_that_is_watched_is_that_of_the_band() {
    let mut over = vec![History::default(); 7];
    assert_eq!(watched(&over), None);
    over[4] = history(vec![line(
        &[("slo_id", "shop/a"), ("signal", "bad"), ("route", "/pay"), ("job", "plimsoll")],
        Vec::new(),
    )]);
    let question = watched(&over).unwrap();
    assert_eq!(question.promql(Some("shop/a")), "slo:bad_events:rate5m{slo_id=\"shop/a\",route=\"/pay\"}");
}
