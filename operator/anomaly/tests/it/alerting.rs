//! When alerts begin, stay and end. The detector is real; its verdicts are not made up.

use plimsoll_anomaly::{
    Detector, Sample, Verdict,
    alerting::{Alert, Alerting, Policy, Side},
    novelty::Novelty,
};
use proptest::prelude::*;

const POLICY: Policy = Policy { side: Side::Both, score: None, least: f64::NEG_INFINITY, accept: 3600.0 };
const STEP: f64 = 30.0;
/// The row at which something happens; before it a day of calm.
const AT: usize = 2880;

fn calm(row: usize) -> f64 {
    10.0 + ((row * 7) % 10) as f64 / 10.0
}

fn run(policy: &Policy, samples: impl IntoIterator<Item = Sample>) -> Vec<Alert> {
    let (mut detector, mut alerting) = (Novelty::default(), Alerting::default());
    let mut step = |sample: Sample| {
        let verdict = detector.step(sample);
        alerting.step(policy, sample, verdict)
    };
    samples.into_iter().map(&mut step).collect()
}

/// Rows `AT..`, after calm ones; `None` is no sample.
fn after(policy: &Policy, rows: usize, value: impl Fn(usize) -> Option<f64>) -> Vec<Alert> {
    let sample = |row: usize| {
        let value = if row < AT { Some(calm(row)) } else { value(row - AT) };
        Some(Sample { time: 1.8e9 + STEP * row as f64, value: value? })
    };
    let alerts = run(policy, (0..AT + rows).filter_map(sample));
    let (before, after) = alerts.split_at(AT);
    assert!(before.iter().all(|alert| !alert.on), "calm");
    after.to_vec()
}

/// Rows at which an alert begins, and stretches over which one stays.
fn stretches(alerts: &[Alert]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let begins = alerts.iter().enumerate().filter(|(_, alert)| alert.begins).map(|(row, _)| row).collect();
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (row, _) in alerts.iter().enumerate().filter(|(_, alert)| alert.on) {
        match all.last_mut().filter(|(_, end)| *end + 1 == row) {
            Some((_, end)) => *end = row,
            None => all.push((row, row)),
        }
    }
    (begins, all)
}

#[test]
fn an_alert_stays_as_long_as_the_series_is_not_where_it_was() {
    type Change = fn(usize) -> f64;
    for (what, change, begins, stays) in [
        ("a spike", (|row| if row == 0 { 90.0 } else { calm(row) }) as Change, vec![0], vec![(0, 2)]),
        ("ten minutes", |row| if row < 20 { 90.0 } else { calm(row) }, vec![0], vec![(0, 21)]),
        ("ten minutes below", |row| if row < 20 { 0.0 } else { calm(row) }, vec![0], vec![(0, 21)]),
        ("a level that stays is accepted after an hour", |row| 90.0 + calm(row), vec![0], vec![(0, 119)]),
        // From 90 it falls to 40, which is far from where it was, too.
        ("half way back is not back", |row| if row < 5 { 90.0 } else { 40.0 }, vec![0], vec![(0, 119)]),
        (
            "what comes back within half an hour is the same alert",
            |row| if row < 5 || (20..25).contains(&row) { 90.0 } else { calm(row) },
            vec![0],
            vec![(0, 6), (20, 26)],
        ),
        ("one sample on the way is no return", |row| if row == 3 { 10.5 } else { 90.0 }, vec![0], vec![(0, 119)]),
    ] {
        let alerts = after(&POLICY, 240, |row| Some(change(row)));
        assert_eq!(stretches(&alerts), (begins, stays), "{what}");
        assert!(alerts.iter().all(|alert| alert.on == (alert.peak > 0.0)), "{what}");
    }
}

#[test]
fn the_peak_is_that_of_the_whole_alert() {
    let alerts = after(&POLICY, 20, |row| Some(if row < 3 { 20.0 } else { 500.0 }));
    assert!(alerts.windows(2).all(|pair| pair[0].peak <= pair[1].peak));
    assert!(alerts[3].peak > alerts[0].peak, "{alerts:?}");
}

#[test]
fn only_the_side_that_is_asked_for_alerts() {
    for (side, up, down) in [(Side::Both, true, true), (Side::Up, true, false), (Side::Down, false, true)] {
        let policy = Policy { side, ..POLICY };
        for (value, wanted) in [(90.0, up), (-70.0, down)] {
            let alerts = after(&policy, 5, |_| Some(value));
            assert_eq!(alerts[0].begins, wanted, "{side:?} {value}");
            assert_eq!(alerts.iter().any(|alert| alert.on), wanted, "{side:?} {value}");
        }
    }
}

#[test]
fn a_return_from_the_other_side_is_none_to_this_side() {
    type Change = fn(usize) -> f64;
    for (what, change, begins) in [
        ("three minutes", (|row| if row < 6 { 5.0 } else { calm(row) }) as Change, vec![]),
        ("twenty minutes", |row| if row < 40 { 5.0 } else { calm(row) }, vec![]),
        ("there and back in steps", |row| calm(row) - 0.6 * row.min(40usize.saturating_sub(row)).min(8) as f64, vec![]),
        ("twice", |row| if row < 6 || (30..36).contains(&row) { 2.0 } else { calm(row) }, vec![]),
        ("and beyond", |row| if row < 6 { 5.0 } else { 60.0 }, vec![6]),
        (
            "and an hour later beyond",
            |row| {
                if row < 6 {
                    5.0
                } else if row < 130 {
                    calm(row)
                } else {
                    40.0
                }
            },
            vec![130],
        ),
        (
            "a level that was accepted is one to rise from",
            |row| if row < 400 { 5.0 } else { calm(row) + 1.0 },
            vec![400],
        ),
    ] {
        for (side, sign) in [(Side::Up, 1.0), (Side::Down, -1.0)] {
            let sample = |row: usize| Sample {
                time: 1.8e9 + STEP * row as f64,
                value: sign * if row < AT { calm(row) } else { change(row - AT) },
            };
            let alerts = run(&Policy { side, ..POLICY }, (0..AT + 500).map(sample));
            let (begun, _) = stretches(&alerts[AT..]);
            assert_eq!(begun, begins, "{what}, {side:?}");
        }
    }
}

#[test]
fn a_handful_is_not_told_however_new_it_is() {
    for (least, wanted) in [(f64::NEG_INFINITY, true), (90.0, true), (90.1, false)] {
        let alerts = after(&Policy { least, ..POLICY }, 5, |_| Some(90.0));
        assert_eq!((alerts[0].begins, alerts[0].asked), (wanted, wanted), "{least}");
    }
}

#[test]
fn a_policy_with_a_score_begins_there() {
    let verdict = Verdict { score: 0.55, alarming: false, alert: false };
    let begins = |score: Option<f64>, verdict: Verdict| {
        let mut alerting = Alerting::default();
        let mut last = Alert::default();
        for row in 0..40 {
            let verdict = if row == 39 { verdict } else { Verdict::default() };
            last =
                alerting.step(&Policy { score, ..POLICY }, Sample { time: f64::from(row) * STEP, value: 1.0 }, verdict);
        }
        last.begins
    };
    assert!(!begins(None, verdict));
    assert!(begins(None, Verdict { alarming: true, ..verdict }));
    assert!(begins(Some(0.55), verdict));
    assert!(!begins(Some(0.56), verdict));
}

#[test]
fn a_gap_is_no_move_and_ends_what_nobody_saw_go_on() {
    // A slow rise, unseen for two hours: within known values, but far from the last one.
    let wave = |row: usize| 100.0 + 50.0 * (row as f64 * STEP / 86_400.0 * std::f64::consts::TAU).sin();
    let seen = |gap: std::ops::Range<usize>| {
        let rows = (0..4 * AT).filter(move |row| !gap.contains(row));
        run(&POLICY, rows.map(|row| Sample { time: 1.8e9 + STEP * row as f64, value: wave(row) }))
    };
    let alerts = seen(3 * AT + 100..3 * AT + 800);
    assert_eq!(stretches(&alerts), (vec![], vec![]), "no move across a gap");
    // It goes up, and is not seen for twenty minutes.
    let alerts = after(&POLICY, 100, |row| if (10..50).contains(&row) { None } else { Some(90.0) });
    assert_eq!(stretches(&alerts), (vec![0], vec![(0, 9)]));
    // Four minutes are no gap.
    let alerts = after(&POLICY, 100, |row| if (10..18).contains(&row) { None } else { Some(90.0) });
    assert!(alerts.iter().all(|alert| alert.on));
}

#[test]
fn what_is_no_news_changes_nothing() {
    let mut alerting = Alerting::default();
    let verdict = Verdict { score: 0.9, alarming: true, alert: true };
    for row in 0..4 {
        alerting.step(&POLICY, Sample { time: f64::from(row) * STEP, value: 1.0 }, Verdict::default());
    }
    let before = alerting.clone();
    for (time, value) in [(90.0, 5.0), (60.0, 5.0), (120.0, f64::NAN), (f64::NAN, 5.0), (120.0, f64::INFINITY)] {
        assert!(!alerting.step(&POLICY, Sample { time, value }, verdict).begins);
        assert_eq!(alerting, before, "{time} {value}");
    }
}

/// Anything, most of it on a grid.
fn hostile() -> impl Strategy<Value = Vec<(Sample, Verdict)>> {
    let value =
        prop_oneof![6 => -1e3..1e3f64, 1 => Just(f64::NAN), 1 => Just(f64::MAX), 1 => Just(-f64::MAX), 2 => Just(0.0)];
    let gap = prop_oneof![8 => Just(30.0), 1 => Just(0.0), 1 => Just(-60.0), 1 => 0.0..1e5f64];
    prop::collection::vec((value, gap, 0.0..1.0f64, any::<bool>()), 0..300).prop_map(|rows| {
        let mut time = 0.0;
        let row = |(value, gap, score, alarming)| {
            time += gap;
            (Sample { time, value }, Verdict { score, alarming, alert: false })
        };
        rows.into_iter().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn alerts_are_scarce_and_a_restart_goes_on_bit_by_bit(rows in hostile(), cut in 0usize..300) {
        let policy = Policy { accept: 600.0, ..POLICY };
        let (mut one, mut last, mut newest) = (Alerting::default(), f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (i, (sample, verdict)) in rows.iter().enumerate() {
            if i == cut {
                one = postcard::from_bytes(&postcard::to_allocvec(&one).unwrap()).unwrap();
            }
            let mut other: Alerting = postcard::from_bytes(&postcard::to_allocvec(&one).unwrap()).unwrap();
            let alert = one.step(&policy, *sample, *verdict);
            prop_assert_eq!(alert, other.step(&policy, *sample, *verdict));
            prop_assert!(!alert.begins || (alert.on && verdict.alarming));
            prop_assert_eq!(alert.on, one.since().is_some());
            if alert.begins {
                prop_assert!(sample.time - last > 1860.0, "{} after {}", sample.time, last);
                last = sample.time;
            }
            if sample.value.is_finite() && sample.time > newest {
                newest = sample.time;
                prop_assert!(!alert.on || sample.time - one.since().unwrap() < 600.0);
            }
        }
    }
}
