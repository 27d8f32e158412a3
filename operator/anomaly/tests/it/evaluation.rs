//! Scores of alerts and detections on small data whose result is known.

use plimsoll_anomaly::evaluate::{
    baselines,
    events::{BUDGETS, Tally, Truth, curve, recall_at},
    halves::halves,
    nab::{self, PROFILES, Sweep},
    vus::vus_pr,
};

/// A day of minutes, of which the second half counts, with events at these rows.
fn day(events: &[std::ops::Range<usize>]) -> Truth {
    let times: Vec<f64> = (0..1440).map(|i| 60.0 * f64::from(i)).collect();
    let labels: Vec<bool> = (0..1440).map(|i| events.iter().any(|e| e.contains(&i))).collect();
    Truth::new(&times, &labels, 720)
}

fn tally(truth: &Truth, fires: &[usize]) -> Tally {
    let mut tally = Tally::default();
    tally.add(truth, (0..1440).map(|i| fires.contains(&i)));
    tally
}

#[test]
fn alerts_are_counted_once_and_may_be_ten_minutes_off() {
    let truth = day(&[100..110, 800..810, 1000..1200]);
    assert_eq!(truth.events(), 2, "an event before the split does not count");
    for (what, fires, alerts, precision, recall, delay) in [
        ("nothing", vec![], 0, 1.0, 0.0, None),
        ("before the split", vec![105], 0, 1.0, 0.0, None),
        ("in the event", vec![803], 1, 1.0, 0.5, Some(180.0)),
        ("ten minutes early", vec![790], 1, 1.0, 0.5, Some(-600.0)),
        ("eleven minutes early", vec![789], 1, 0.0, 0.0, None),
        ("ten minutes late", vec![819], 1, 1.0, 0.5, Some(1140.0)),
        ("eleven minutes late", vec![820], 1, 0.0, 0.0, None),
        ("within half an hour is one alert", vec![803, 833], 1, 1.0, 0.5, Some(180.0)),
        ("later is another", vec![803, 834], 2, 0.5, 0.5, Some(180.0)),
        ("twice in a long event", vec![1010, 1100], 2, 1.0, 0.5, Some(600.0)),
        ("both", vec![800, 1000], 2, 1.0, 1.0, Some(0.0)),
    ] {
        let quality = tally(&truth, &fires).quality();
        assert_eq!((quality.alerts, quality.median_delay), (alerts, delay), "{what}");
        assert!((quality.precision - precision).abs() < 1e-12, "{what}: {quality:?}");
        assert!((quality.recall - recall).abs() < 1e-12, "{what}: {quality:?}");
        let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        assert!((quality.f1 - f1).abs() < 1e-12, "{what}: {quality:?}");
        let weeks = 720.0 / 10_080.0;
        let falsely = (alerts as f64 * (1.0 - precision)).round() / weeks;
        assert!((quality.false_per_series_week - falsely).abs() < 1e-9, "{what}: {quality:?}");
    }
}

#[test]
fn tallies_add_up() {
    let truth = day(&[800..810]);
    let mut sum = tally(&truth, &[800]);
    sum.merge(&tally(&truth, &[900]));
    let quality = sum.quality();
    assert_eq!((quality.alerts, quality.precision, quality.recall), (2, 0.5, 0.5));
}

#[test]
fn a_budget_sets_the_threshold_without_labels() {
    // Before the split one row stands out each hour, in the part that counts the events do.
    let truth = day(&[800..805, 1000..1005]);
    let scores: Vec<f64> = (0..1440)
        .map(|i| match i {
            300 => 5.0,
            400 => 3.0,
            800 | 1000 => 6.0,
            1300 => 4.0,
            _ => f64::from(i % 10) / 10.0,
        })
        .collect();
    let threshold = truth.threshold(&scores, 0.1);
    assert!((3.0..=5.0).contains(&threshold), "one alert is always allowed: {threshold}");
    let curve = curve(&[(&truth, &scores)]);
    assert_eq!(curve.len(), BUDGETS.len());
    let (_, strict) = curve[0];
    assert_eq!(strict.recall, 1.0);
    assert!(recall_at(&curve, 1e9).is_none(), "no budget reaches that many");
    let flat = vec![0.5; 1440];
    assert!(truth.threshold(&flat, 1.0) <= 0.5_f64.next_up());
}

#[test]
fn recall_is_read_between_points() {
    let truth = day(&[800..805, 1000..1005]);
    let quality = |fires: &[usize]| tally(&truth, fires).quality();
    let points = [(0.1, quality(&[800])), (1.0, quality(&[800, 1000, 900]))];
    let rate = points[1].1.false_per_series_week;
    assert!((recall_at(&points, 0.0).unwrap() - 0.5).abs() < 1e-12);
    assert!((recall_at(&points, rate / 2.0).unwrap() - 0.75).abs() < 1e-12);
    assert!((recall_at(&points, rate).unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(recall_at(&points, rate + 0.1), None);
}

/// A file of 1000 rows with one window, of which the first 150 are probation.
fn file() -> nab::Truth {
    nab::Truth::new(1000, &[(500, 599)])
}

fn scores(detections: &[usize]) -> Vec<f64> {
    (0..1000).map(|i| if detections.contains(&i) { 1.0 } else { 0.0 }).collect()
}

#[test]
fn nab_gives_early_detections_all_and_none_nothing() {
    let sigmoid = |y: f64| 2.0 / (1.0 + (5.0 * y).exp()) - 1.0;
    let [standard, low_fp, low_fn] = PROFILES;
    let truth = file();
    for (what, detections, profile, expected) in [
        ("nothing", vec![], standard, 0.0),
        ("the left edge", vec![500], standard, 100.0),
        ("the left edge and later", vec![500, 550, 599], standard, 100.0),
        ("in probation", vec![0, 149], standard, 0.0),
        // Raw: the gain less the null's -1, over perfect 1 less -1.
        ("the right edge", vec![599], standard, 100.0 * (sigmoid(-0.01) / sigmoid(-1.0) + 1.0) / 2.0),
        ("a false one far off costs its weight", vec![200, 500], standard, 100.0 * (2.0 - 0.11) / 2.0),
        ("and twice that", vec![200, 500], low_fp, 100.0 * (2.0 - 0.22) / 2.0),
        ("a miss costs twice", vec![200, 500], low_fn, 100.0 * (3.0 - 0.11) / 3.0),
        ("less soon after a window", vec![500, 619], standard, 100.0 * (2.0 + 0.11 * sigmoid(20.0 / 99.0)) / 2.0),
    ] {
        let scores = scores(&detections);
        let at = Sweep::new([(&truth, scores.as_slice())]).at(profile, 0.5);
        assert!((at - expected).abs() < 1e-9, "{what}: {at} is not {expected}");
    }
}

#[test]
fn nab_finds_the_best_threshold() {
    let truth = file();
    let mut scores = scores(&[]);
    scores[500] = 0.9;
    scores[200] = 0.8;
    let [standard, ..] = PROFILES;
    let best = Sweep::new([(&truth, scores.as_slice())]).best(standard);
    assert!((best.score - 100.0).abs() < 1e-9 && best.threshold == 0.9, "{best:?}");
    scores[200] = 0.95;
    let best = Sweep::new([(&truth, scores.as_slice())]).best(standard);
    assert!((best.score - 94.5).abs() < 1e-9 && best.threshold == 0.9, "{best:?}");
}

#[test]
fn a_window_in_probation_is_neither_hit_nor_missed() {
    let truth = nab::Truth::new(1000, &[(10, 20), (500, 599)]);
    let [standard, ..] = PROFILES;
    let sweep = |s: &[f64]| Sweep::new([(&truth, s)]).at(standard, 0.5);
    assert!(sweep(&scores(&[])).abs() < 1e-9);
    // As the benchmark does, such a window still counts in what is perfect.
    assert!((sweep(&scores(&[500])) - 100.0 * 2.0 / 3.0).abs() < 1e-9);
}

#[test]
fn vus_pr_is_one_for_the_truth_and_the_share_of_anomalies_for_chance() {
    let labels: Vec<bool> = (0..4000).map(|i| (1000..1100).contains(&i) || (3000..3100).contains(&i)).collect();
    let truth: Vec<f64> = labels.iter().map(|l| f64::from(u8::from(*l))).collect();
    let best = vus_pr(&labels, &truth, 0).unwrap();
    assert!(best > 0.99 && best <= 1.0, "{best}");
    // The buffers around both anomalies are positive too, and only half of each is to be found.
    let buffered = vus_pr(&labels, &truth, 20).unwrap();
    assert!(buffered > 0.9 && buffered <= 1.0, "{buffered}");
    let chance = vus_pr(&labels, &baselines::uniform(4000, 7), 0).unwrap();
    assert!((0.02..0.12).contains(&chance), "{chance}");
    let inverse: Vec<f64> = truth.iter().map(|s| -s).collect();
    assert!(vus_pr(&labels, &inverse, 0).unwrap() < chance);
    // A score that comes some rows late is worth more with a buffer than without.
    let late: Vec<f64> = (0..4000usize).map(|i| truth[i.saturating_sub(60)]).collect();
    assert!(vus_pr(&labels, &late, 100).unwrap() > vus_pr(&labels, &late, 0).unwrap());
    assert_eq!(vus_pr(&[false; 10], &[0.0; 10], 5), None);
}

#[test]
fn baselines_know_what_they_say() {
    let values: Vec<f64> = (0..7000).map(|i| if i == 6500 { 100.0 } else { f64::from(i % 7) }).collect();
    let top = |scores: &[f64]| (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    let fixed = baselines::static_threshold(&values, 1000);
    assert_eq!((top(&fixed), fixed[3], fixed[0]), (6500, 0.0, 3.0));
    let gaussian = baselines::windowed_gaussian(&values);
    // But for the first hundred rows, which are compared with the first value alone.
    assert_eq!(top(&gaussian[100..]) + 100, 6500);
    // Mean 3 and deviation 2 of 0 to 6.
    assert!((gaussian[6500] - 48.5).abs() < 0.1, "{}", gaussian[6500]);
    assert!(baselines::uniform(1000, 3).iter().all(|s| (0.0..1.0).contains(s)));
    assert_ne!(baselines::uniform(10, 3), baselines::uniform(10, 4));
    assert_eq!(baselines::null(3), [0.0; 3]);
    let unknown = baselines::windowed_gaussian(&[f64::NAN, 1.0, f64::INFINITY]);
    assert_eq!((unknown[0], unknown[2]), (0.0, 0.0));
}

#[test]
fn halves_part_the_collection() {
    let parts = halves(15, 6);
    assert_eq!(parts.len(), 12);
    for (fit, test) in &parts {
        let mut all: Vec<usize> = fit.iter().chain(test).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..15).collect::<Vec<_>>());
    }
    assert_eq!(parts[0].0, parts[1].1);
    assert_ne!(parts[0].0, parts[2].0);
}
