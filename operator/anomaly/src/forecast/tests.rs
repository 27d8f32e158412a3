//! What holds of the forecaster as a whole.

use super::evaluate::{History, issue, run};
use super::snapshot::Broken;
use super::*;

/// Series of a few kinds: seasonal with noise, counts with zeros, a constant, one with gaps and resets.
fn series(rows: usize) -> Vec<History> {
    let mut random = Random(6);
    let noise = |random: &mut Random| f64::from(random.unit() + random.unit() + random.unit() - 1.5);
    let mut history = |name: &str, value: &mut dyn FnMut(f64, f64) -> f64| {
        let times: Vec<f64> = (0..rows).map(|i| 1.7e9 + 300.0 * i as f64).collect();
        let values = times.iter().map(|t| value(t / 86_400.0, noise(&mut random))).collect();
        History { name: name.into(), anomalous: vec![false; rows], times, values }
    };
    let day = |t: f64| (t * std::f64::consts::TAU).sin();
    vec![
        history("seasonal", &mut |t, e| 100.0 + 40.0 * day(t) + 3.0 * e),
        history("large", &mut |t, e| 1e9 * (5.0 + day(t) + (0.2 + 0.1 * day(t)) * e)),
        history("counts", &mut |_, e| (4.0 * e).floor().max(0.0)),
        history("constant", &mut |_, _| 7.25),
    ]
}

fn settings() -> Settings {
    Settings { hidden: 8, replay: 4.0, stretches: 64, batches: 8, ..Settings::default() }
}

#[test]
fn learns_to_beat_its_first_forecast_and_covers() {
    let series = series(6000);
    let ([before, _], _) = run(&series, settings(), false);
    let ([after, later], forecaster) = run(&series, settings(), true);
    assert!(forecaster.learnt().batches > 50, "{:?}", forecaster.learnt());
    assert!(after.loss() < 0.985 * before.loss(), "{} after, {} before", after.loss(), before.loss());
    for (history, score) in series.iter().zip(after.scores.iter().zip(&later.scores)).take(2) {
        for s in [score.0, score.1] {
            assert!((0.87..0.93).contains(&s.coverage), "{}: {s:?}", history.name);
        }
    }
}

#[test]
fn a_forecast_knows_nothing_of_what_comes_after() {
    let whole = series(1500);
    let mut cut = whole.clone();
    for history in &mut cut {
        history.values[1200..].iter_mut().for_each(|v| *v = -5e3);
    }
    let (whole, _) = issue(&whole, settings(), true);
    let (cut, _) = issue(&cut, settings(), true);
    for (a, b) in whole.iter().zip(&cut) {
        for (a, b, lead) in [(&a[0], &b[0], 1), (&a[1], &b[1], 6)] {
            assert_eq!(format!("{:?}", &a[..1200 + lead]), format!("{:?}", &b[..1200 + lead]));
            assert_ne!(a[1300 + lead], b[1300 + lead]);
        }
    }
}

/// Rows `from..to` of all series into `forecaster`; what it says, in full.
fn feed(forecaster: &mut Forecaster, series: &[History], rows: std::ops::Range<usize>) -> String {
    let mut outlooks = Vec::new();
    for at in rows {
        let rows: Vec<Row> =
            series.iter().enumerate().map(|(i, h)| Row { series: i, time: h.times[at], value: h.values[at] }).collect();
        forecaster.observe(&rows, &mut outlooks);
        forecaster.learn();
    }
    format!("{outlooks:?}")
}

#[test]
fn a_restart_changes_no_bit() {
    let series = series(1600);
    let mut one = Forecaster::new(settings());
    series.iter().for_each(|_| _ = one.add());
    feed(&mut one, &series, 0..1200);
    let bytes = one.snapshot();
    let mut other = Forecaster::restore(&bytes).expect("a snapshot");
    assert_eq!(other.snapshot(), bytes);
    assert_eq!(feed(&mut one, &series, 1200..1600), feed(&mut other, &series, 1200..1600));
    assert_eq!(one.snapshot(), other.snapshot());
    assert!(one.learnt().batches > 0);
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let mut forecaster = Forecaster::new(settings());
    forecaster.add();
    let bytes = forecaster.snapshot();
    assert_eq!(Forecaster::restore(b"something").err(), Some(Broken::Format));
    for cut in [8, 20, bytes.len() / 2, bytes.len() - 1] {
        assert_eq!(Forecaster::restore(&bytes[..cut]).err(), Some(Broken::Damaged), "{cut} of {} bytes", bytes.len());
    }
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 3] ^= 4;
    assert_eq!(Forecaster::restore(&flipped).err(), Some(Broken::Damaged));
    let mut newer = bytes;
    newer[7] += 1;
    assert_eq!(Forecaster::restore(&newer).err(), Some(Broken::Format));
}

#[test]
fn nothing_that_comes_breaks_it() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-300, 1e300, -1e29, 1e29, f64::MIN_POSITIVE];
    let mut random = Random(12);
    let mut forecaster = Forecaster::new(settings());
    (0..6).for_each(|_| _ = forecaster.add());
    let mut outlooks = Vec::new();
    let mut time = 0.0;
    for at in 0..4000 {
        // Gaps, repeated times and steps back, a series that is reset, one that is not there.
        time += if random.below(100) == 0 { 9e5 } else { [60.0, 60.0, 60.0, 0.0, -120.0][random.below(5)] };
        let value = |random: &mut Random| {
            if random.below(4) == 0 { odd[random.below(odd.len())] } else { f64::from(random.unit()) }
        };
        let rows: Vec<Row> = (0..7).map(|series| Row { series, time, value: value(&mut random) }).collect();
        forecaster.observe(&rows, &mut outlooks);
        forecaster.learn();
        if at % 500 == 499 {
            forecaster.reset(at / 500 % 6);
        }
    }
    assert!(forecaster.learnt().batches > 0);
    assert!(forecaster.network().parameters().iter().all(|p| p.iter().all(|v| v.is_finite())));
    assert!(outlooks.len() > 4000);
    for o in outlooks {
        for q in [o.next, o.later] {
            assert!(q.iter().all(|v| v.is_finite()) && q.is_sorted(), "{o:?}");
        }
    }
}

#[test]
fn a_constant_is_forecast_exactly_and_a_change_of_it_surprises() {
    let mut forecaster = Forecaster::new(settings());
    let series = forecaster.add();
    let mut outlooks = Vec::new();
    for at in 0..400 {
        let value = if at == 399 { 8.0 } else { 7.25 };
        outlooks.clear();
        forecaster.observe(&[Row { series, time: f64::from(at) * 15.0, value }], &mut outlooks);
        if at < 399 {
            assert_eq!(outlooks[0].next, [7.25; LEVELS]);
        }
    }
    assert!(outlooks[0].surprise > 10.0, "{:?}", outlooks[0]);
}

#[test]
fn a_slow_drift_within_old_values_is_seen() {
    // By day 100 ± 40; the nights rise by 3 a day after two weeks, to values that every morning has as well.
    let watch = |rise: f64| {
        let mut random = Random(21);
        let mut forecaster = Forecaster::new(settings());
        let series = forecaster.add();
        let (mut outlooks, mut most, mut range) = (Vec::new(), [0.0f64; 2], (f64::MAX, f64::MIN));
        for at in 0..288 * 24 {
            let day = f64::from(at) / 288.0;
            let wave = (day * std::f64::consts::TAU).sin();
            let lift = if wave < 0.0 { rise * (day - 14.0).max(0.0) * -wave } else { 0.0 };
            let value =
                100.0 + 40.0 * wave + lift + 3.0 * f64::from(random.unit() + random.unit() + random.unit() - 1.5);
            outlooks.clear();
            forecaster.observe(&[Row { series, time: 1.7e9 + 300.0 * f64::from(at), value }], &mut outlooks);
            if day < 14.0 {
                range = (range.0.min(value), range.1.max(value));
            } else {
                assert!((range.0 - 2.0..range.1 + 2.0).contains(&value), "every value is an old one");
            }
            let part = usize::from(day >= 14.0);
            if day >= 4.0 {
                most[part] = most[part].max(outlooks[0].drift.abs());
            }
        }
        most
    };
    let [before, after] = watch(3.0);
    let [_, without] = watch(0.0);
    assert!(before < 0.5 && without < 0.5, "no drift: {before}, {without}");
    assert!(after > 0.8, "drift: {after}");
}
