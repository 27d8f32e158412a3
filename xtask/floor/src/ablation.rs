//! What each part of the scorer adds: A (novelty and moves), B (drift from the forecaster's day and week), C (the joint
//! residual), on series of which the truth is known.

use anyhow::Result;
use plimsoll_anomaly::evaluate::events::{Tally, Truth, curve, recall_at};
use plimsoll_anomaly::evaluate::synthetic::{Case, Fault, SPLIT, TOGETHER, case, joint};
use plimsoll_anomaly::forecast::{Row, Settings};
use plimsoll_anomaly::group::Joint;
use plimsoll_anomaly::novelty::Novelty;
use plimsoll_anomaly::{Detector as _, Sample, Verdict, Watch};
use serde_json::{Value, json};

/// False alarms per series-week at which recalls are compared.
const EQUAL: f64 = 0.5;

/// One method's rows for one series or group.
#[derive(Clone, Default)]
struct Said {
    fires: Vec<bool>,
    scores: Vec<f64>,
}

impl Said {
    fn add(&mut self, verdict: Verdict) {
        self.fires.push(verdict.alert);
        self.scores.push(verdict.score);
    }

    /// Of a group: any alert counts, and the highest score.
    fn join(&mut self, other: &Self) {
        self.fires.iter_mut().zip(&other.fires).for_each(|(a, b)| *a |= b);
        self.scores.iter_mut().zip(&other.scores).for_each(|(a, b)| *a = a.max(*b));
    }
}

pub(crate) fn run(rounds: u64) -> Result<()> {
    println!("{}", json!({"single": single(rounds), "joint": together(rounds)}));
    Ok(())
}

/// Faults of single series, each kind with series of its own, and clean series.
fn single(rounds: u64) -> Value {
    let kinds = [None].into_iter().chain(Fault::ALL.map(Some));
    let cases: Vec<(Option<Fault>, Case)> = (0..)
        .zip(kinds)
        .flat_map(|(k, fault)| (0..rounds).map(move |round| (fault, case(fault, 10_000 * k + round))))
        .collect();
    let all: Vec<&Case> = cases.iter().map(|(_, case)| case).collect();
    let [a, ab] = run_watch(&all);
    let truths: Vec<Truth> = all.iter().map(|case| truth(case)).collect();
    let clean = |i: &usize| cases.get(*i).is_some_and(|(fault, _)| fault.is_none());
    let of = |said: &[Said]| {
        let mut rows = serde_json::Map::new();
        for fault in Fault::ALL {
            let faulty = |i: &usize| cases.get(*i).is_some_and(|(f, _)| *f == Some(fault));
            rows.insert(fault.name().into(), measured(&truths, said, &faulty, &clean));
        }
        rows.insert("clean".into(), json!(tally(&truths, said, &clean).quality().false_per_series_week));
        Value::Object(rows)
    };
    json!({"A": of(&a), "A+B": of(&ab)})
}

/// One of five series that follow one load breaks away within its range; and groups that do not.
fn together(rounds: u64) -> Value {
    let groups: Vec<_> = (0..2 * rounds).map(|seed| joint(seed % 2 == 1, seed)).collect();
    let all: Vec<&Case> = groups.iter().flat_map(|group| &group.series).collect();
    let [a, ab] = run_watch(&all).map(|said| {
        let merged = said.chunks(TOGETHER).filter_map(|group| {
            let (first, rest) = group.split_first()?;
            let mut merged = first.clone();
            rest.iter().for_each(|other| merged.join(other));
            Some(merged)
        });
        merged.collect::<Vec<_>>()
    });
    let (mut c, mut named, mut rows_named) = (Vec::new(), 0usize, 0usize);
    for group in &groups {
        let (mut joint, mut said) = (Joint::new(TOGETHER), Said::default());
        let fault = group.series.iter().map(|case| case.fault.clone()).find(|fault| !fault.is_empty()).unwrap_or(0..0);
        for row in 0..group.series.first().map_or(0, |case| case.values.len()) {
            let values: Vec<f64> = group.series.iter().filter_map(|case| case.values.get(row).copied()).collect();
            let verdict = joint.step(&values);
            if fault.contains(&row) && verdict.strength >= 1.0 {
                rows_named += 1;
                named += usize::from(verdict.series == group.broken);
            }
            said.add(verdict.verdict());
        }
        c.push(said);
    }
    let abc: Vec<Said> = ab
        .iter()
        .zip(&c)
        .map(|(ab, c)| {
            let mut both = ab.clone();
            both.join(c);
            both
        })
        .collect();
    let truths: Vec<Truth> = groups
        .iter()
        .filter_map(|group| {
            let broken = group.series.get(group.broken)?;
            Some(truth(broken))
        })
        .collect();
    let of = |said: &[Said]| {
        let clean = tally(&truths, said, &|i| i % 2 == 0).quality().false_per_series_week;
        json!({"broken": measured(&truths, said, &|i| i % 2 == 1, &|i| i % 2 == 0), "clean": clean})
    };
    json!({"A": of(&a), "A+B": of(&ab), "C": of(&c), "A+B+C": of(&abc), "named": named as f64 / rows_named.max(1) as f64})
}

fn truth(case: &Case) -> Truth {
    let labels: Vec<bool> = (0..case.times.len()).map(|row| case.fault.contains(&row)).collect();
    Truth::new(&case.times, &labels, SPLIT)
}

/// What A says of every series, and A with B, which all series share.
fn run_watch(cases: &[&Case]) -> [Vec<Said>; 2] {
    let mut watch = Watch::new(Settings { replay: 1.0, batches: 1000, ..Settings::default() });
    let mut alone = vec![Novelty::default(); cases.len()];
    cases.iter().for_each(|_| _ = watch.add());
    let mut said = [(); 2].map(|()| vec![Said::default(); cases.len()]);
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for at in 0..cases.iter().map(|case| case.values.len()).max().unwrap_or(0) {
        rows.clear();
        verdicts.clear();
        for (series, case) in cases.iter().enumerate() {
            if let (Some(time), Some(value)) = (case.times.get(at), case.values.get(at)) {
                rows.push(Row { series, time: *time, value: *value });
            }
        }
        watch.observe(&rows, &mut verdicts);
        watch.learn();
        let [a, ab] = &mut said;
        for (row, verdict) in rows.iter().zip(&verdicts) {
            if let (Some(detector), Some(a), Some(ab)) =
                (alone.get_mut(row.series), a.get_mut(row.series), ab.get_mut(row.series))
            {
                a.add(detector.step(Sample { time: row.time, value: row.value }));
                ab.add(*verdict);
            }
        }
    }
    said
}

fn tally(truths: &[Truth], said: &[Said], keep: &impl Fn(&usize) -> bool) -> Tally {
    let mut tally = Tally::default();
    for (_, (truth, said)) in truths.iter().zip(said).enumerate().filter(|(i, _)| keep(i)) {
        tally.add(truth, said.fires.iter().copied());
    }
    tally
}

/// Recall, false alarms and delay at its own alerts; recall at equal false alarms, with a threshold for each series that
/// is set on the weeks before without labels, clean series counted in.
fn measured(
    truths: &[Truth],
    said: &[Said],
    faulty: &impl Fn(&usize) -> bool,
    clean: &impl Fn(&usize) -> bool,
) -> Value {
    let own = tally(truths, said, faulty).quality();
    let pairs: Vec<(&Truth, &[f64])> = truths
        .iter()
        .zip(said)
        .enumerate()
        .filter(|(i, _)| faulty(i) || clean(i))
        .map(|(_, (truth, said))| (truth, said.scores.as_slice()))
        .collect();
    json!({
        "recall": own.recall,
        "false": own.false_per_series_week,
        "delay": own.median_delay,
        "equal": recall_at(&curve(&pairs), EQUAL),
    })
}
