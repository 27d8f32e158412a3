//! What holds for every detector, and for the statistical one.

use plimsoll_anomaly::{
    Detector, Sample, Verdict,
    detector::{ALERT, DETECTORS, NEW},
    novelty::Novelty,
};
use proptest::prelude::*;

/// A repeatable number in [0, 1) for each index.
fn noise(i: u64) -> f64 {
    let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x2545_f491_4f6c_dd1d);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Four weeks of a daily wave with noise, every five minutes.
fn wave() -> Vec<Sample> {
    (0..8064u64)
        .map(|i| {
            let time = 1.7e9 + 300.0 * i as f64;
            let day = (time / 86_400.0 * std::f64::consts::TAU).sin();
            Sample { time, value: 100.0 + 30.0 * day + 4.0 * (noise(i) - 0.5) }
        })
        .collect()
}

fn run(detector: &mut dyn Detector, samples: &[Sample]) -> Vec<Verdict> {
    samples.iter().map(|s| detector.step(*s)).collect()
}

fn alerts(verdicts: &[Verdict]) -> Vec<usize> {
    verdicts.iter().enumerate().filter(|(_, v)| v.alert).map(|(i, _)| i).collect()
}

#[test]
fn a_spike_a_dip_and_a_step_are_found_and_nothing_else_is() {
    for (what, change) in [
        ("spike", (|i, v| if i == 6000 { v + 120.0 } else { v }) as fn(usize, f64) -> f64),
        ("dip", |i, v| if (6000..6004).contains(&i) { 5.0 } else { v }),
        ("step", |i, v| if i >= 6000 { v + 90.0 } else { v }),
    ] {
        let mut samples = wave();
        for (i, sample) in samples.iter_mut().enumerate() {
            sample.value = change(i, sample.value);
        }
        let found = alerts(&run(&mut Novelty::default(), &samples));
        assert_eq!(found.first(), Some(&6000), "{what}: {found:?}");
    }
    let quiet = alerts(&run(&mut Novelty::default(), &wave()));
    assert!(quiet.is_empty(), "{quiet:?}");
}

/// A walk that comes back to 100 within a day.
fn walk(step: f64, rows: u64, seed: u64) -> Vec<Sample> {
    let mut away = 0.0;
    (0..rows)
        .map(|i| {
            let even = noise(i + (seed << 32)) + noise(i + (seed << 32) + (1 << 48)) - 1.0;
            away = away * (1.0 - step / 60_000.0) + 2.4 * even * (step / 60.0).sqrt();
            Sample { time: 1.7e9 + step * i as f64, value: 100.0 + away }
        })
        .collect()
}

#[test]
fn the_first_comparison_with_the_week_before_is_no_news() {
    let day_eight = |step: f64, samples: &[Sample]| {
        let day = (86_400.0 / step) as usize;
        let alerts = alerts(&run(&mut Novelty::default(), samples));
        alerts.into_iter().filter(|row| (7 * day..8 * day).contains(row)).count()
    };
    for (step, alarmed) in [(300.0, 1), (3600.0, 1)] {
        let rows = (10.0 * 86_400.0 / step) as u64;
        let of_series: usize = (0..10).map(|seed| day_eight(step, &walk(step, rows, seed))).sum();
        assert!(of_series <= alarmed, "{of_series} in 10 series, every {step} s");
        // A counter, whose residual from the week before is its rise of a week.
        let counter: Vec<Sample> = (0..rows)
            .map(|i| Sample { time: 1.7e9 + step * i as f64, value: 10.0 * i as f64 + (3.0 * noise(i)).round() })
            .collect();
        assert_eq!(day_eight(step, &counter), 0, "every {step} s");
    }
    // A fault on that day is found all the same.
    let mut samples = walk(300.0, 2880, 3);
    samples[2100..2110].iter_mut().for_each(|sample| sample.value += 300.0);
    assert!(alerts(&run(&mut Novelty::default(), &samples)).contains(&2100));
}

#[test]
fn a_week_after_an_incident_the_usual_value_is_no_news() {
    // From the third week on: some hours, around a change of hour or within one, above and below.
    for (begin, rows, factor) in [(4435, 29, 3.0), (4435, 29, 50.0), (4700, 13, 0.1), (5003, 100, 10.0), (5100, 6, 0.3)]
    {
        let mut samples = wave();
        samples[begin..begin + rows].iter_mut().for_each(|sample| sample.value *= factor);
        let found = alerts(&run(&mut Novelty::default(), &samples));
        assert_eq!(found.first(), Some(&begin), "{begin} {factor}: {found:?}");
        let later: Vec<usize> = found.into_iter().filter(|row| *row > begin + rows + 12).collect();
        assert!(later.is_empty(), "{begin} {factor}: {later:?}");
    }
}

#[test]
fn a_sample_of_another_unit_makes_blind_to_nothing() {
    let with = |factor: f64, rows: usize| {
        let mut samples = wave();
        samples[1440..1440 + rows].iter_mut().for_each(|sample| sample.value *= factor);
        // Far above all that was, for a day; and later threefold.
        samples[4150..4438].iter_mut().for_each(|sample| sample.value += 60.0);
        samples[5880..6168].iter_mut().for_each(|sample| sample.value *= 3.0);
        let verdicts = run(&mut Novelty::default(), &samples);
        [1440, 4150, 5880].map(|row| (verdicts[row].alert, verdicts[row].score))
    };
    for (factor, rows) in [(10.0, 1), (100.0, 1), (1e4, 1), (1e6, 1), (-1e6, 1), (0.0, 1), (1e6, 3)] {
        let [glitch, faults @ ..] = with(factor, rows);
        assert!(glitch.0, "{factor} {rows}");
        // New values, not only moves, however large the wrong sample was.
        assert!(faults.iter().all(|(alert, score)| *alert && *score >= NEW), "{factor} {rows}: {faults:?}");
    }
}

/// What `plimsoll detect` writes of samples: nobody who changes something else may change this. Where a change is meant, the
/// figures of detection are to be measured anew and written down with it.
#[test]
fn the_default_says_what_it_said_before() {
    let faulty = wave().into_iter().enumerate().map(|(i, sample)| match i {
        3000 => Sample { value: 260.0, ..sample },
        5000..5040 => Sample { value: sample.value + 45.0, ..sample },
        6000..6003 => Sample { value: 20.0, ..sample },
        7000.. => Sample { value: sample.value - 25.0, ..sample },
        _ => sample,
    });
    // Heavy tails, whose moves raise the level of alarm.
    let tailed = (0..8064u64).map(|i| {
        let value = 1.0 / (noise(i) + 0.001) + if i % 288 < 12 { 300.0 } else { 0.0 };
        Sample { time: 1.7e9 + 60.0 * i as f64, value }
    });
    let series: [Vec<Sample>; 2] = [faulty.collect(), tailed.collect()];
    let said = series.map(|samples| {
        let verdicts = run(&mut Novelty::default(), &samples);
        let text: String = verdicts.iter().map(|v| format!("{:.6},{}\n", v.score, u8::from(v.alert))).collect();
        (alerts(&verdicts), plimsoll_anomaly::journal::checksum(text.as_bytes()))
    });
    // The rise that comes every 288 rows, in the second series, is no news after the first.
    let tails = vec![145, 271, 1552, 1971, 3228, 6201, 7594];
    let before = [(vec![3000, 5000, 5040, 6000, 7000], 0x73ed_36e8_b141_52e4), (tails, 0xdcb3_9e44_686c_c1b3)];
    assert_eq!(said, before);
}

#[test]
fn new_values_rank_above_moves_among_known_ones() {
    // A wave that no hour of the week knows: every value is known at every time, but it moves slowly.
    let mut samples: Vec<Sample> = (0..8064u64)
        .map(|i| {
            let time = 1.7e9 + 300.0 * i as f64;
            Sample { time, value: 100.0 + 30.0 * (time / 97_000.0 * std::f64::consts::TAU).sin() + noise(i) }
        })
        .collect();
    let low = (6500..6900).min_by(|a, b| samples[*a].value.total_cmp(&samples[*b].value)).unwrap();
    samples[low].value += 25.0;
    samples[7000].value = 1000.0;
    let verdicts = run(&mut Novelty::default(), &samples);
    assert!(verdicts[7000].score >= NEW && verdicts[7000].alert);
    assert!((ALERT..NEW).contains(&verdicts[low].score) && verdicts[low].alert, "{:?}", verdicts[low]);
}

#[test]
fn a_bounded_number_of_alerts_whatever_happens() {
    let samples: Vec<Sample> =
        (0..20_000u64).map(|i| Sample { time: 60.0 * i as f64, value: (30.0 * noise(i)).exp() }).collect();
    for entry in DETECTORS {
        let count = alerts(&run(&mut *(entry.make)(), &samples)).len();
        assert!(count <= 20_000 / 30, "{}: {count}", entry.name);
    }
}

#[test]
fn a_state_is_small() {
    let mut detector = Novelty::default();
    let samples: Vec<Sample> =
        (0..20_000u64).map(|i| Sample { time: 60.0 * i as f64, value: noise(i) * i as f64 }).collect();
    run(&mut detector, &samples);
    // Room for another 256 bytes within 4 KiB.
    assert!(detector.bytes() <= (4 << 10) - 256, "{} bytes", detector.bytes());
}

/// Values that break arithmetic: none, huge, equal, jumping; times that stand still or skip.
fn hostile() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        6 => -1e3..1e3f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::MAX),
        1 => Just(-f64::MAX),
        1 => Just(f64::MIN_POSITIVE),
        2 => Just(0.0),
    ];
    let gap = prop_oneof![6 => Just(60.0), 1 => Just(0.0), 1 => Just(-3600.0), 1 => 0.0..1e9f64];
    prop::collection::vec((value, gap), 0..600).prop_map(|rows| {
        rows.into_iter()
            .scan(0.0, |time, (value, gap)| {
                *time += gap;
                Some(Sample { time: *time, value })
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scores_are_in_range_and_alerts_have_a_score(samples in hostile()) {
        for entry in DETECTORS {
            for verdict in run(&mut *(entry.make)(), &samples) {
                prop_assert!((0.0..=1.0).contains(&verdict.score), "{}: {verdict:?}", entry.name);
                prop_assert!(!verdict.alert || verdict.score >= ALERT, "{}: {verdict:?}", entry.name);
            }
        }
    }

    #[test]
    fn what_comes_later_changes_no_score(samples in hostile(), cut in 0usize..600) {
        let cut = cut.min(samples.len());
        for entry in DETECTORS {
            let whole = run(&mut *(entry.make)(), &samples);
            let part = run(&mut *(entry.make)(), &samples[..cut]);
            prop_assert_eq!(&whole[..cut], &part[..], "{}", entry.name);
        }
    }

    #[test]
    fn a_restart_from_the_state_goes_on_bit_by_bit(samples in hostile(), cut in 0usize..600) {
        let cut = cut.min(samples.len());
        let mut one = Novelty::default();
        run(&mut one, &samples[..cut]);
        let mut other: Novelty = postcard::from_bytes(&postcard::to_allocvec(&one).unwrap()).unwrap();
        let bits = |verdicts: Vec<Verdict>| -> Vec<(u64, bool)> {
            verdicts.into_iter().map(|v| (v.score.to_bits(), v.alert)).collect()
        };
        prop_assert_eq!(bits(run(&mut one, &samples[cut..])), bits(run(&mut other, &samples[cut..])));
        prop_assert_eq!(postcard::to_allocvec(&one).unwrap(), postcard::to_allocvec(&other).unwrap());
    }
}
