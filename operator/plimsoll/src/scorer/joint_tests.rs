#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeMap;

use plimsoll_anomaly::lstm::Random;
use plimsoll_api::anomaly::Direction;

use super::{
    table::{Samples, Table},
    tests::{NOW, labels, take, watch},
    watches::{Labels, Watch},
    *,
};
use crate::operator::metrics::Metrics;

const DAY: u64 = 86_400;
const BEGIN: u64 = NOW - 2 * DAY;

/// Pods that follow one load with noise of their own; from `fault` on, the second shows what it should have six hours before:
/// values that it has every day.
fn load(pod: usize, time: u64, fault: u64) -> f64 {
    let shift = if pod == 1 && time >= fault { 21_600 } else { 0 };
    let phase = (time - shift) as f64 / DAY as f64 * std::f64::consts::TAU;
    let noise = Random(time * 31 + pod as u64).unit() - Random(time * 37 + pod as u64).unit();
    (pod + 1) as f64 * (10.0 + 4.0 * phase.sin() + 0.5 * f64::from(noise))
}

fn pod(watch: &Watch, pod: usize) -> Labels {
    watch.exported(&BTreeMap::from([("pod".to_owned(), format!("p{pod}"))]))
}

/// The pods' samples from one time up to another, hour after hour, as the loop reads them.
fn read(table: &mut Table, watch: &Watch, pods: std::ops::Range<usize>, from: u64, to: u64, fault: u64) {
    for begin in (from..to).step_by(3600) {
        let end = (begin + 3600).min(to);
        let found = pods.clone().map(|n| {
            let samples: Samples = (begin..end).step_by(30).map(|time| (time as f64, load(n, time, fault))).collect();
            (pod(watch, n), samples)
        });
        take(table, watch, end as f64, found.collect::<Vec<_>>());
    }
}

/// Score, state, and the pod that leaves the others.
fn joint(table: &Table, now: u64) -> Option<(f64, f64, String)> {
    let (labels, together) = table.joint(now as f64).next()?;
    assert!(labels.contains(&("signal".to_owned(), "joint".to_owned())));
    let leaves = together.leaves().unwrap().0.iter().find(|(name, _)| name == "pod").unwrap().1.clone();
    Some((together.score, together.alert.peak, leaves))
}

#[test]
fn a_series_that_leaves_the_others_is_told_though_all_its_values_are_known() {
    let watch = watch(Direction::Both);
    let fault = BEGIN + DAY + DAY / 2;
    let mut table = Table::default();
    read(&mut table, &watch, 0..5, BEGIN, fault, fault);
    let (score, state, _) = joint(&table, fault).unwrap();
    assert!(score < 0.4 && state == 0.0, "{score} {state}");
    let (mut told, mut restored) = (None, false);
    for now in (fault..fault + 4 * 3600).step_by(300) {
        read(&mut table, &watch, 0..5, now, now + 300, fault);
        let (_, state, leaves) = joint(&table, now + 300).unwrap();
        if state > 0.0 && told.is_none() {
            told = Some((now + 300 - fault, leaves));
            // A restart in the middle of it.
            table = Table::restore(&table.bytes()).unwrap();
            restored = joint(&table, now + 300).unwrap().1 == state;
        }
    }
    let (after, leaves) = told.unwrap();
    assert!(after <= 2 * 3600, "{after} s");
    assert_eq!(leaves, "p1");
    assert!(restored);
    assert!(table.fresh((fault + 4 * 3600) as f64).count() == 5);
}

#[test]
fn series_that_go_and_come_alert_nobody() {
    let watch = watch(Direction::Both);
    let mut table = Table::default();
    read(&mut table, &watch, 0..5, BEGIN, BEGIN + DAY, u64::MAX);
    assert_eq!(joint(&table, BEGIN + DAY).unwrap().1, 0.0);
    let mut at = BEGIN + DAY;
    // One goes, all but two go, others come.
    for (pods, hours, seen) in [(1..5, 2, true), (3..5, 2, false), (3..9, 3, true), (3..11, 8, true)] {
        for _ in 0..hours * 12 {
            read(&mut table, &watch, pods.clone(), at, at + 300, u64::MAX);
            at += 300;
            assert_eq!(joint(&table, at).map_or(0.0, |found| found.1), 0.0, "{pods:?}");
        }
        assert_eq!(joint(&table, at).is_some(), seen, "{pods:?}");
    }
}

#[test]
fn what_is_away_as_a_whole_is_not_learnt_anew() {
    let watch = watch(Direction::Both);
    let mut table = Table::default();
    let (gone, back) = (BEGIN + DAY, BEGIN + DAY + 7 * 3600);
    read(&mut table, &watch, 0..5, BEGIN, gone, u64::MAX);
    read(&mut table, &watch, 0..0, gone, back, u64::MAX);
    assert_eq!(joint(&table, back), None, "nothing is said of it meanwhile");
    read(&mut table, &watch, 0..5, back, back + 1200, u64::MAX);
    assert_eq!(joint(&table, back + 1200).map(|(_, state, _)| state), Some(0.0));
}

#[test]
fn it_is_of_the_side_that_is_asked_for_and_of_what_has_a_common_course() {
    let fault = BEGIN + DAY + DAY / 2;
    // Where the fault begins, at 20:00, the load is lower than six hours before; the two cross at 21:00.
    for (direction, wanted) in [(Direction::Up, true), (Direction::Down, false)] {
        let (watch, mut table, mut told) = (watch(direction), Table::default(), false);
        read(&mut table, &watch, 0..5, BEGIN, fault, fault);
        for now in (fault..fault + 2400).step_by(300) {
            read(&mut table, &watch, 0..5, now, now + 300, fault);
            told |= joint(&table, now + 300).unwrap().1 > 0.0;
        }
        assert_eq!(told, wanted, "{direction:?}");
    }
    let of = |signal: &str| Watch {
        labels: labels(&[("slo_id", "shop/checkout"), ("signal", signal)]),
        ..watch(Direction::Both)
    };
    assert_eq!(of("total").joint_labels(), Some(labels(&[("slo_id", "shop/checkout"), ("signal", "joint")])));
    assert_eq!(of("bad").joint_labels(), None);
}

#[test]
fn it_is_exported_and_told_on_demand() {
    let metrics = Metrics::default();
    let watch = watch(Direction::Both);
    let now = now();
    let begin = (now - DAY).next_multiple_of(300);
    metrics.anomalies().with(0, |shard| read(&mut shard.table, &watch, 0..4, begin, now, u64::MAX));
    let text = metrics.text();
    let wanted = "plimsoll_anomaly_state{alertrule=\"shop/checkout\",alert=\"Odd\",signal=\"joint\",container=\"\"";
    assert_eq!(text.lines().filter(|line| line.starts_with(wanted)).count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("plimsoll_anomaly_state{")).count(), 5);
    let looked = serde_json::to_value(metrics.anomalies().look("shop/checkout", &[])).unwrap();
    let one = &looked["joint"][0];
    assert_eq!(one["labels"]["signal"], "joint");
    assert!(one["leaves"]["pod"].is_string() && one["strength"].as_f64() < Some(1.0), "{one}");
}
