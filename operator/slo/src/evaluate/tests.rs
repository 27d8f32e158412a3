//! Known truths; that it is what Prometheus does is checked in `tests/e2e`.

use plimsoll_api::slo::NoData;
use proptest::prelude::*;

use super::{
    series::{Grid, Tracked},
    *,
};
use crate::validate;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn model(name: &str, spec: serde_json::Value) -> Model {
    let mut spec = spec;
    if spec.get("sli").is_none() {
        spec["sli"] = serde_json::json!({"events": {"bad": "b_total", "total": "a_total"}});
    }
    let object = serde_json::json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let object = serde_json::from_value(object).expect("an SLO");
    validate(&object).expect("a valid SLO").model
}

/// What is recorded at a time, of the only group.
fn value(engine: &Engine, name: &str, window: Option<&str>, t: i64) -> Option<f64> {
    let id = engine.ids().next().expect("an SLO").to_owned();
    let found = engine.select(name, &id);
    let of = |f: &&Found<'_>| f.labels.get("window").map(String::as_str) == window;
    found.iter().find(of).unwrap_or_else(|| panic!("no {name} {window:?}")).series.at(t)
}

fn run(model: Model, until: i64, sample: impl Fn(i64) -> Sample) -> Engine {
    let id = model.id.to_string();
    let mut engine = Engine::new(vec![model], 0, &Schedule::default());
    let rows: Vec<Sample> = (0..=until / MINUTE).map(|k| sample(k * MINUTE)).collect();
    assert!(engine.feed(&id, &Labels::new(), 0, &rows, &[]));
    engine.run(until);
    engine
}

#[test]
fn a_day_of_traffic_is_told_by_its_events() {
    // Busy and clean by day, a trickle with 10 % errors by night.
    let sample = |t: i64| {
        if (8 * HOUR..20 * HOUR).contains(&(t % DAY)) {
            Sample { total: 100.0, bad: 0.0 }
        } else {
            Sample { total: 1.0, bad: 0.1 }
        }
    };
    let slo = model("nights", serde_json::json!({"objective": "99.9", "period": {"rolling": "7d"}}));
    let engine = run(slo, 7 * DAY, sample);
    let truth = 0.1 / 101.0;
    let ratio = value(&engine, names::ERROR_RATIO, Some("7d"), 7 * DAY).expect("a ratio");
    assert!((ratio / truth - 1.0).abs() < 0.01, "{ratio} {truth}");
    let left = value(&engine, names::BUDGET_REMAINING, None, 7 * DAY).expect("a budget");
    assert!((left - (1.0 - ratio / 0.001)).abs() < 1e-9, "{left}");
    assert_eq!(value(&engine, names::COVERAGE, None, 7 * DAY), Some(1.0));
    assert_eq!(value(&engine, names::OBJECTIVE, None, 7 * DAY), Some(0.999));
}

#[test]
fn a_step_pages_in_the_theoretical_time() {
    let start = 3 * DAY;
    let sample = |t: i64| Sample { total: 100.0, bad: if t > start { 2.0 } else { 0.0 } };
    let engine = run(model("step", serde_json::json!({"objective": "99.9"})), start + 5 * HOUR, sample);
    for (tier, minutes, slack) in [("fast", 43.2, 1.5), ("medium", 108.0, 3.0), ("slow", 216.0, 6.0)] {
        let alert = engine.alerts("shop/step").find(|a| a.tier.as_deref() == Some(tier)).expect(tier);
        let [episode] = alert.episodes.as_slice() else { panic!("{tier}: {:?}", alert.episodes) };
        let after = (episode.fired - start) as f64 / 60_000.0;
        // The rates are a step themselves, not five minutes' means, so what is newest stands for too much.
        assert!((minutes - 3.0 - slack..minutes + slack).contains(&after), "{tier}: {after}");
        assert_eq!((episode.ended, alert.state(start + 5 * HOUR)), (None, State::Firing));
        assert_eq!(alert.state(start), State::Inactive);
    }
}

/// The last rates of an excluded time reach past its end, when they are nearly all that an hour has.
#[test]
fn what_is_excluded_pages_at_no_time() {
    let (from, to) = (2 * HOUR, 3 * HOUR);
    let outage = |t: i64| mean(t, from, 0.0, 100.0) - mean(t, to, 0.0, 100.0);
    let sample = |t: i64| Sample { total: 100.0, bad: outage(t) };
    let once = serde_json::json!({"name": "x", "from": "1970-01-01T02:00:00Z", "to": "1970-01-01T03:00:00Z"});
    let weekly = serde_json::json!({"name": "x", "every": "Thu 02:00", "for": "1h"});
    for exclusions in [vec![once], vec![weekly]] {
        let spec = serde_json::json!({"objective": "99.9", "exclusions": exclusions});
        let engine = run(model("excluded", spec), 7 * HOUR, sample);
        let fired: Vec<_> = engine.alerts("shop/excluded").filter(|alert| !alert.episodes.is_empty()).collect();
        assert!(fired.is_empty(), "{:?}", fired.iter().map(|alert| &alert.tier).collect::<Vec<_>>());
        assert_eq!(value(&engine, names::ERROR_RATIO, Some("6h"), 6 * HOUR), Some(0.0));
    }
    let engine = run(model("excluded", serde_json::json!({"objective": "99.9"})), 7 * HOUR, sample);
    assert!(engine.alerts("shop/excluded").any(|alert| !alert.episodes.is_empty()), "it would have paged");
}

/// What does not count is recorded as 0, and missing time is not as busy as that: an outage that begins in excluded time and
/// outlasts it counts from its end on, with what was usual before.
#[test]
fn an_outage_that_outlasts_what_is_excluded_counts() {
    let weekly = |every: &str, length: &str| serde_json::json!({"name": "x", "every": every, "for": length});
    let once = |from: &str, to: &str| serde_json::json!({"name": "y", "from": format!("1970-01-{from}:00Z"), "to": format!("1970-01-{to}:00Z")});
    // 1970-01-01 is a Thursday.
    for (what, exclusions, dead, ends) in [
        ("a weekend", vec![weekly("Sat 00:00", "2d")], 3 * DAY + 22 * HOUR, 4 * DAY),
        ("a night", vec![weekly("20:00", "12h")], 2 * DAY + 6 * HOUR, 2 * DAY + 8 * HOUR),
        ("a week", vec![once("03T00:00", "11T12:00")], 10 * DAY, 10 * DAY + 12 * HOUR),
        ("a day and the weekend", vec![weekly("Sat 00:00", "2d"), once("02T00:00", "03T00:00")], 3 * DAY, 4 * DAY),
    ] {
        let until = ends + 2 * DAY + 3 * HOUR;
        let sample = |t: i64| if t < dead { Sample { total: 100.0, bad: 0.0 } } else { Sample::NONE };
        let spec = serde_json::json!({"objective": "99.9", "exclusions": exclusions, "alerting": {"noData": "Bad"}});
        let engine = run(model("dead", spec), until, sample);
        let of = |name: &str, t: i64| value(&engine, name, None, t).unwrap_or(f64::NAN);
        // The five minutes after it do not count either.
        assert_eq!(of(names::TOTAL, ends + 4 * MINUTE), 0.0, "{what}");
        let counts = |t: &i64| clock::keep(&engine.models().next().expect("a model").exclusions, *t) > 0.0;
        let times: Vec<i64> = (ends..=until).step_by(7 * MINUTE as usize).filter(counts).collect();
        assert!(times.len() > 200, "{what}");
        for t in times {
            let (total, bad) = (of(names::TOTAL, t), of(names::BAD, t));
            assert!(
                (total - 100.0).abs() < 1e-9 && bad == total,
                "{what}: {bad} of {total} after {} min",
                (t - ends) / MINUTE
            );
        }
        let fast = engine.alerts("shop/dead").find(|alert| alert.tier.as_deref() == Some("fast")).expect("a tier");
        let fired = fast.episodes.iter().map(|episode| (episode.fired - ends) / MINUTE).find(|after| *after > 0);
        assert_eq!(fired, Some(5), "{what}");
    }
}

/// The finer rates of a tier with a short window have no value where targets are scraped seldom.
#[test]
fn a_tier_of_short_windows_takes_no_other_one_with_it() {
    let tier = |name: &str, rate: &str, long: &str, short: &str| serde_json::json!({"name": name, "burnRate": rate, "longWindow": long, "shortWindow": short});
    let tiers =
        [tier("instant", "100", "10m", "50s"), tier("fast", "14.4", "1h", "5m"), tier("medium", "6", "6h", "30m")];
    let slo = model("fine", serde_json::json!({"objective": "99.9", "alerting": {"tiers": tiers}}));
    let mut engine = Engine::new(vec![slo], 0, &Schedule::default());
    let (first, interval) = engine.base_turn("shop/fine").expect("a turn");
    let start = 2 * HOUR;
    let rows: Vec<Sample> = (0..=4 * HOUR / interval)
        .map(|k| Sample { total: 100.0, bad: mean(first + k * interval, start, 0.0, 50.0) })
        .collect();
    assert!(engine.feed("shop/fine", &Labels::new(), first, &rows, &[]), "no finer rates");
    engine.run(4 * HOUR);
    let fired: Vec<_> =
        engine.alerts("shop/fine").filter(|a| !a.episodes.is_empty()).filter_map(|a| a.tier.clone()).collect();
    assert_eq!(fired, ["fast", "medium"]);
}

/// What a counter that grows by `high` a second from `start` on, and by `low` before, is over five minutes.
fn mean(t: i64, start: i64, low: f64, high: f64) -> f64 {
    let share = ((t - start) as f64 / 300_000.0).clamp(0.0, 1.0);
    low + (high - low) * share
}

/// When the alert of the fastest tier first fires after `start`, in minutes.
fn pages(name: &str, objective: &str, start: i64, phase: i64, sample: &dyn Fn(i64) -> Sample) -> Option<f64> {
    let slo = model(name, serde_json::json!({"objective": objective}));
    let id = slo.id.to_string();
    let base = Turn { interval: None, phase };
    let mut engine = Engine::new(vec![slo], 0, &Schedule { base, ..Schedule::default() });
    let (first, interval) = engine.base_turn(&id).expect("a turn");
    let until = start + HOUR;
    let rows: Vec<Sample> = (0..=until / interval).map(|k| sample(first + k * interval)).collect();
    engine.feed(&id, &Labels::new(), first, &rows, &[]);
    engine.run(until);
    let alert = engine.alerts(&id).find(|a| a.tier.as_deref() == Some("fast")).expect("a tier");
    let first = alert.episodes.first()?;
    Some((first.fired - start) as f64 / 60_000.0)
}

/// An hour crosses 14.4 after 14.4 / burn of itself. What is newest of a mean over five minutes is known less well: of
/// a burn that takes less than that, all is told within a minute more.
#[test]
fn a_page_comes_at_the_evaluation_after_its_time_and_not_before() {
    let start = 2 * HOUR;
    for (objective, budget) in [("99", 0.01), ("99.9", 0.001), ("99.95", 0.0005)] {
        for burn in [16.0, 20.0, 50.0, 100.0, 150.0, 400.0, 2000.0_f64] {
            let share = (burn * budget).min(1.0);
            let due = 60.0 * 14.4 * budget / share;
            let late = if due < 5.0 { 2.0 } else { 1.0 };
            for phase in [0, 1, 7000, 30_000, 59_999] {
                let sample = |t: i64| Sample { total: 100.0, bad: mean(t, start, 0.0, 100.0 * share) };
                let after = pages("step", objective, start, phase, &sample).expect("a page");
                assert!((due - 0.02..=due + late).contains(&after), "{objective}, {burn}, {phase}: {after} of {due}");
            }
        }
    }
}

/// Total and bad are of one moment: however suddenly traffic begins, with as many errors in it as ever, nobody is told.
#[test]
fn traffic_that_begins_is_no_burst_of_errors() {
    let start = 2 * HOUR;
    for (before, after) in [(0.0, 4000.0), (0.1, 4000.0), (10.0, 1000.0), (100.0, 1.0)] {
        for phase in [0, 1, 7000, 30_000, 59_999] {
            let sample = |t: i64| {
                let total = mean(t, start, before, after);
                Sample { total, bad: total * 0.1 }
            };
            assert_eq!(pages("surge", "99", start, phase, &sample), None, "{before} to {after}, {phase}");
        }
    }
}

/// A probe every half minute. Its samples are its events: a floor of ten took eight minutes of an outage.
#[test]
fn an_outage_of_one_target_pages_within_minutes_and_a_blip_wakes_nobody() {
    const SCRAPE: i64 = 30_000;
    let sli = serde_json::json!({"preset": {"name": "probe", "with": {"job": "blackbox"}}});
    let start = 2 * HOUR;
    for (objective, failed, due) in [("99.9", 600, Some(2.0)), ("99.95", 600, Some(2.0)), ("99.95", 1, None)] {
        for phase in [0, 1, 7000, 30_000, 59_999] {
            let slo = model("probe", serde_json::json!({"objective": objective, "sli": sli}));
            let base = Turn { interval: None, phase };
            let mut engine = Engine::new(vec![slo], 0, &Schedule { base, ..Schedule::default() });
            let (first, interval) = engine.base_turn("shop/probe").expect("a turn");
            // Scrapes of the last five minutes that failed, of ten.
            let fails = |at: i64| (0..failed).contains(&(at - start).div_euclid(SCRAPE));
            let sample = |t: i64| {
                let bad = (0..10).filter(|k| fails(t - t % SCRAPE - k * SCRAPE)).count();
                Sample { total: 1.0 / 30.0, bad: bad as f64 / 300.0 }
            };
            let rows: Vec<Sample> = (0..120 + HOUR / interval).map(|k| sample(first + k * interval)).collect();
            engine.feed("shop/probe", &Labels::new(), first, &rows, &[]);
            engine.run(start + HOUR);
            let alert = engine.alerts("shop/probe").find(|a| a.tier.as_deref() == Some("fast")).expect("a tier");
            let after = alert.episodes.first().map(|episode| (episode.fired - start) as f64 / 60_000.0);
            match (after, due) {
                (None, None) => {}
                (Some(after), Some(due)) => assert!(after <= due, "{objective}, {phase}: {after}"),
                other => panic!("{objective}, {failed} failed, {phase}: {other:?}"),
            }
        }
    }
}

/// When a tier over an hour that waits for nothing but bad events first fires, as everything fails that there is:
/// `bad` are those of the five minutes before.
fn told(least: u64, phase: i64, until: i64, bad: &dyn Fn(i64) -> f64) -> Option<i64> {
    let slo = model("floor", serde_json::json!({"objective": "99.9", "alerting": {"minimumBadEvents": least}}));
    let base = Turn { interval: None, phase };
    let mut engine = Engine::new(vec![slo], 0, &Schedule { base, ..Schedule::default() });
    let (first, interval) = engine.base_turn("shop/floor").expect("a turn");
    let rate = |t: i64| bad(t) / 300.0;
    let sample = |t: i64| Sample { total: rate(t).max(1e-9), bad: rate(t) };
    let rows: Vec<Sample> = (0..=until / interval).map(|k| sample(first + k * interval)).collect();
    engine.feed("shop/floor", &Labels::new(), first, &rows, &[]);
    engine.run(until);
    let alert = engine.alerts("shop/floor").find(|a| a.tier.as_deref() == Some("fast")).expect("a tier");
    alert.episodes.first().map(|episode| episode.fired)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of a failure that goes on, no bad event is counted before it was there. The first five minutes are counted as they
    /// are, and later ones up to a minute late: subqueries read what was recorded a minute ago.
    #[test]
    fn a_failure_that_goes_on_is_counted_as_it_is(
        least in 1u64..2000, minutes in 0.2f64..50.0, phase in prop_oneof![Just(0), 0i64..60_000],
    ) {
        let start = 2 * HOUR;
        let due = start as f64 + minutes * 60_000.0;
        let rate = least as f64 / minutes;
        let bad = |t: i64| ((t - start) as f64 / 60_000.0).clamp(0.0, 5.0) * rate;
        let fired = told(least, phase, start + HOUR + 5 * MINUTE, &bad).expect("a page") as f64;
        let late = if minutes <= 5.0 { 1.0 } else { 2.0 } * 60_000.0;
        // The tolerance is a thousandth of an event.
        let early = 60.0 / rate + 1.0;
        prop_assert!((due - early..=due + late).contains(&fired), "{} of {}", (fired - due) / 60_000.0, minutes);
    }

    /// However they come, what five minutes have is counted at once. And no more is than there were, but for two fifths of
    /// what these five minutes had: what is newest is taken for a failure that has gone on, and goes on.
    #[test]
    fn bursts_are_counted_at_once_and_hardly_twice(
        events in prop::collection::vec(prop_oneof![3 => Just(0u32), 1 => 1u32..200], 60),
    ) {
        prop_assume!(events.iter().any(|n| *n > 0));
        let start = 2 * HOUR;
        // Those of each minute, one after the other.
        let of = |from: i64, to: i64| -> f64 {
            let within = |k: &usize| (from..to).contains(&i64::try_from(*k).expect("small"));
            events.iter().enumerate().filter(|(k, _)| within(k)).map(|(_, n)| f64::from(*n)).sum()
        };
        let five = |t: i64| { let k = (t - start).div_euclid(MINUTE); of(k - 5, k) };
        let all = |t: i64| of(0, (t - start).div_euclid(MINUTE));
        let times: Vec<i64> = (0..=70).map(|k| start + k * MINUTE).collect();
        let most = times.iter().map(|t| five(*t)).fold(0.0, f64::max);
        let first = times.iter().find(|t| five(**t) == most).copied();
        let fired = told(most as u64, 0, start + 70 * MINUTE, &five);
        prop_assert!(fired.is_some() && fired <= first, "{fired:?} for {first:?}");
        let bound = times.iter().map(|t| all(*t) + 0.4 * five(*t)).fold(0.0, f64::max);
        prop_assert_eq!(told(bound.floor() as u64 + 1, 0, start + 70 * MINUTE, &five), None);
    }
}

#[test]
fn an_alert_waits_and_fires_on() {
    let rule = crate::Rule { alert: Some("A".to_owned()), ..crate::Rule::default() };
    let (hold, keep) = (Some(Span::seconds(60)), Some(Span::seconds(120)));
    let mut alert = Alert::new(&rule, &Labels::new(), hold, keep, Series::new(0, 30_000));
    let condition = [0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1];
    let states = [0, 1, 0, 1, 1, 2, 2, 2, 2, 2, 0, 1];
    for (t, on) in (0..).map(|k| k * 30_000).zip(condition) {
        alert.step(t, (on == 1).then_some(0.5));
    }
    let told = |t: i64| match alert.state(t) {
        State::Inactive => 0,
        State::Pending => 1,
        State::Firing => 2,
    };
    assert_eq!((0..12).map(|k| told(k * 30_000)).collect::<Vec<_>>(), states);
    assert_eq!(alert.episodes, [Episode { active: 90_000, fired: 150_000, ended: Some(300_000), peak: 0.5 }]);
    let (labels, firing) = alert.series(State::Firing);
    assert_eq!(labels.get(ALERTSTATE).map(String::as_str), Some("firing"));
    assert_eq!(firing.samples(-1, DAY).count(), 5);
}

#[test]
fn missing_data_alerts_unless_targets_are_up() {
    for (up, alerts) in [(false, 1), (true, 0)] {
        let slo = model("gone", serde_json::json!({"objective": "99.9"}));
        let mut engine = Engine::new(vec![slo], 0, &Schedule::default());
        engine.feed("shop/gone", &Labels::new(), 0, &[Sample { total: 1.0, bad: 0.0 }; 60], &[]);
        engine.feed_targets("shop/gone", 0, &[up; 60]);
        engine.run(2 * HOUR);
        let alert = engine.alerts("shop/gone").find(|a| a.tier.is_none()).expect("an alert of missing data");
        assert_eq!(alert.episodes.len(), alerts);
    }
}

#[test]
fn what_is_fed_before_the_start_is_dropped_and_gaps_have_no_data() {
    let slo = model("late", serde_json::json!({"objective": "99.9"}));
    let mut engine = Engine::new(vec![slo], HOUR, &Schedule::default());
    let rows: Vec<Sample> = (0..120).map(|k| Sample { total: f64::from(k), bad: 0.0 }).collect();
    engine.feed("shop/late", &Labels::new(), 0, &rows, &[]);
    engine.feed("shop/late", &Labels::new(), 3 * HOUR, &rows, &[]);
    engine.run(4 * HOUR);
    let total = |t: i64| value(&engine, names::TOTAL, None, t);
    assert_eq!((total(HOUR - 1), total(HOUR), total(HOUR + MINUTE)), (None, Some(60.0), Some(61.0)));
    assert_eq!((total(2 * HOUR), total(3 * HOUR), total(3 * HOUR + 61_000)), (None, Some(0.0), Some(1.0)));
    assert!(!engine.feed("shop/other", &Labels::new(), 0, &rows, &[]));
}

#[test]
fn a_composite_reads_its_parts_whatever_their_order() {
    let part = |name: &str| model(name, serde_json::json!({"objective": "99"}));
    let of = serde_json::json!({"composite": {"weighted": [{"slo": "a", "weight": 3}, {"slo": "b"}]}});
    let both = model("both", serde_json::json!({"objective": "99", "sli": of}));
    let mut engine = Engine::new(vec![both, part("a"), part("b")], 0, &Schedule::default());
    engine.feed("shop/a", &Labels::new(), 0, &vec![Sample { total: 10.0, bad: 1.0 }; 301], &[]);
    engine.feed("shop/b", &Labels::new(), 0, &vec![Sample { total: 1000.0, bad: 0.0 }; 301], &[]);
    assert!(!engine.feed("shop/both", &Labels::new(), 0, &[Sample::NONE], &[]));
    engine.run(5 * HOUR);
    let found = engine.select(names::ERROR_RATIO, "shop/both");
    assert_eq!(found.len(), 8);
    for found in found {
        let ratio = found.series.at(5 * HOUR).expect("a ratio");
        assert!((ratio - 0.075).abs() < 1e-9, "{:?} {ratio}", found.labels);
    }
}

/// A part that is misspelt or deleted has no policy of its own, and nothing of it counts as bad. Parts that are loaded together with
/// their composite are missed by nobody, with or without data: they have one.
#[test]
fn a_part_that_is_not_loaded_is_told_whatever_the_policy() {
    let kinds = [
        serde_json::json!({"worstOf": ["a", "gone"]}),
        serde_json::json!({"weighted": [{"slo": "gone"}, {"slo": "a", "weight": 3}]}),
    ];
    let policies = [(None, "ticket"), (Some("Ignore"), "ticket"), (Some("Bad"), "ticket"), (Some("Alert"), "page")];
    for (of, (policy, severity)) in kinds.iter().flat_map(|of| policies.map(|policy| (of, policy))) {
        for loaded in [false, true] {
            let spec = |sli| serde_json::json!({"objective": "99", "sli": sli, "alerting": {"noData": policy}});
            let group = |name: &str| {
                let mut part = model(name, serde_json::json!({"objective": "99", "groupBy": ["route"]}));
                part.no_data = NoData::Ignore;
                part
            };
            let mut models = vec![model("both", spec(serde_json::json!({"composite": of}))), group("a")];
            models.extend(loaded.then(|| group("gone")));
            let mut engine = Engine::new(models, 0, &Schedule::default());
            let route = Labels::from([("route".to_owned(), "x".to_owned())]);
            engine.feed("shop/a", &route, 0, &vec![Sample { total: 10.0, bad: 0.0 }; 121], &[]);
            engine.run(2 * HOUR);
            let fired: Vec<(&str, &str, i64)> = engine
                .alerts("shop/both")
                .flat_map(|alert| alert.episodes.iter().map(move |episode| (alert, episode)))
                .map(|(alert, episode)| {
                    assert_eq!(alert.labels[ALERTNAME], names::ALERT_NO_DATA);
                    let label = |name| alert.labels.get(name).map_or("", String::as_str);
                    (label(names::PART), label(names::SEVERITY), episode.fired / MINUTE)
                })
                .collect();
            let want: &[_] = if loaded { &[] } else { &[("gone", severity, 16)] };
            assert_eq!(fired, want, "{of} {policy:?}");
        }
    }
}

#[test]
fn calendars_begin_where_the_calendar_says() {
    for (unit, t, start) in [
        // 2026-04-01T00:30 in Berlin, after the clock's change on 29 March.
        ("Month", 1_774_996_200, 1_774_994_400),
        // 2026-03-31T23:30 in Berlin: March began in winter time.
        ("Month", 1_774_992_600, 1_772_319_600),
        ("Week", 1_774_992_600, 1_774_821_600),
        ("Quarter", 1_774_992_600, 1_767_222_000),
        ("Year", 1_774_992_600, 1_767_222_000),
    ] {
        let spec = serde_json::json!({"objective": "99", "period": {"calendar": unit, "timeZone": "Europe/Berlin"}});
        let slo = model("calendar", spec);
        let mut engine = Engine::new(vec![slo], t * 1000, &Schedule::default());
        engine.run(t * 1000 + 300_000);
        let began = value(&engine, names::PERIOD_START, None, t * 1000 + 300_000);
        assert_eq!(began, Some(start as f64), "{unit} at {t}");
    }
}

proptest! {
    /// Sums by prefixes are the sums, over any gaps and any mixture of large and small.
    #[test]
    fn sums_are_sums(
        values in prop::collection::vec(prop::option::of(prop_oneof![Just(0.0), 1e-6..1e-3, 1.0..1e9]), 1..200),
        (phase, after, length) in (0_i64..30_000, 0_i64..6_000_000, 0_i64..6_000_000),
    ) {
        let mut tracked = Tracked::late(phase, 30_000, 0);
        values.iter().for_each(|v| tracked.push(*v));
        let until = after + length;
        let naive = |points: Vec<f64>| (!points.is_empty()).then(|| (points.len(), points.iter().sum::<f64>()));
        let same = |a: Option<(f64, f64)>, b: Option<(usize, f64)>| match (a, b) {
            (None, None) => true,
            (Some((n, a)), Some((m, b))) => n == m as f64 && (a - b).abs() <= 1e-12 * b.abs(),
            _ => false,
        };
        let inside = |t: i64| t > after && t <= until;
        let times = (0..).map(|k| phase + k * 30_000);
        let points = times.zip(&values).filter(|(t, _)| inside(*t)).filter_map(|(_, v)| *v).collect();
        prop_assert!(same(tracked.over(after, until), naive(points)));

        let mut grid = Grid::new(60_000, phase);
        grid.extend(until, |t| tracked.series.at(t));
        let ends = phase + 30_000 * (values.len() as i64 - 1) + LOOKBACK;
        let points = (0..=until / 60_000).map(|k| k * 60_000).filter(|t| inside(*t) && *t < ends);
        let points = points.filter_map(|t| tracked.series.at(t)).collect();
        prop_assert!(same(grid.over(after, until), naive(points)));
    }

    /// One run to the end, or many small steps with the data as it comes, are the same.
    #[test]
    fn the_way_there_does_not_matter(steps in prop::collection::vec(1_i64..2 * HOUR, 1..12), seed in 0_u32..1000) {
        let sample = |k: i64| {
            let x = f64::from(seed + 1) * k as f64;
            if x.sin() > 0.9 { Sample::NONE } else { Sample { total: 10.0 + x.cos(), bad: (x * 0.01).sin() } }
        };
        let until: i64 = steps.iter().sum();
        let nightly = serde_json::json!([{"name": "x", "every": "02:00", "for": "3h"}]);
        let exclusions = if seed % 2 == 0 { nightly } else { serde_json::json!([]) };
        let spec = serde_json::json!({"objective": "99.9", "exclusions": exclusions, "alerting": {"noData": "Bad"}});
        let slo = || model("way", spec.clone());
        let rows: Vec<Sample> = (0..=until / MINUTE).map(sample).collect();
        let mut once = Engine::new(vec![slo()], 0, &Schedule::default());
        once.feed("shop/way", &Labels::new(), 0, &rows, &[]);
        once.run(until);
        let mut often = Engine::new(vec![slo()], 0, &Schedule::default());
        let mut now = 0;
        for step in steps {
            let (next, _) = often.base_turn("shop/way").expect("a turn");
            now += step;
            let more: Vec<Sample> = (next / MINUTE..=now / MINUTE).map(sample).collect();
            often.feed("shop/way", &Labels::new(), next, &more, &[]);
            often.run(now);
        }
        for name in [names::TOTAL, names::BAD, names::ERROR_RATIO, names::BUDGET_REMAINING, ALERTS] {
            let of = |engine: &Engine| -> Vec<Vec<(i64, f64)>> {
                engine.select(name, "shop/way").iter().map(|f| f.series.samples(-1, until).collect()).collect()
            };
            prop_assert_eq!(of(&once), of(&often), "{}", name);
        }
    }
}

/// An SLO whose metric has another name by now says 100 % for ever, and its targets are up.
#[test]
fn data_that_are_lost_while_targets_are_up_become_a_ticket_and_idle_time_does_not() {
    let sli = |job: &str| serde_json::json!({"objective": "99.9", "sli": {"events": {"bad": format!("b_total{{{job}}}"), "total": format!("a_total{{{job}}}")}}});
    let lost = 10 * HOUR;
    let known = |t: i64| t <= lost;
    let fired = |job: &str, rate: f64, up: bool, known: &dyn Fn(i64) -> bool| {
        let until = 2 * DAY;
        let mut engine = Engine::new(vec![model("lost", sli(job))], 0, &Schedule::default());
        let sample = |t: i64| if known(t) { Sample { total: rate, bad: 0.0 } } else { Sample::NONE };
        let rows: Vec<Sample> = (0..=until / MINUTE).map(|k| sample(k * MINUTE)).collect();
        engine.feed("shop/lost", &Labels::new(), 0, &rows, &[]);
        engine.feed_targets("shop/lost", 0, &vec![up; 2 * 24 * 15 + 1]);
        engine.run(until);
        let of = |alert: &Alert| {
            let severity = alert.labels.get(names::SEVERITY).cloned().unwrap_or_default();
            alert.episodes.iter().map(|e| (severity.clone(), (e.fired - lost) / MINUTE, e.ended)).collect::<Vec<_>>()
        };
        engine.alerts("shop/lost").flat_map(of).collect::<Vec<_>>()
    };
    let job = "job=\"a\"";
    for (what, job, rate, up, known, want) in [
        (
            "lost while targets are up",
            job,
            1.0,
            true,
            &known as &dyn Fn(i64) -> bool,
            Some(("ticket", 6 * 60..8 * 60 + 30)),
        ),
        ("lost with its targets", job, 1.0, false, &known, Some(("page", 15..25))),
        ("nobody knows its targets", "", 1.0, false, &known, Some(("ticket", 15..25))),
        ("idle", job, 0.0, true, &|_| true, None),
        ("idle since its start", job, 0.0, true, &|_| false, None),
    ] {
        let found = fired(job, rate, up, known);
        match (found.as_slice(), want) {
            ([], None) => {}
            ([(severity, after, None)], Some((want, range))) => {
                assert!(severity == want && range.contains(after), "{what}: {found:?}");
            }
            _ => panic!("{what}: {found:?}"),
        }
    }
}
