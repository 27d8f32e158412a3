//! `plimsoll bench` on small data whose result is known.

use super::*;

/// Four weeks of five minutes; a value per row.
fn rows(value: impl Fn(usize) -> f64, line: impl Fn(usize, i64, f64) -> String) -> String {
    (0..8064).map(|i| line(i, 1_700_000_000 + 300 * i as i64, value(i))).collect()
}

fn noisy(i: usize) -> f64 {
    100.0 + ((i * 7919) % 101) as f64 / 10.0
}

#[test]
fn labelled_series() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let series = |spikes: &'static [usize], events: &'static [usize]| {
        let value = move |i| if spikes.contains(&i) { 500.0 } else { noisy(i) };
        let line = move |i, time, value| {
            let split = if i < 4032 { "train" } else { "test" };
            format!("{time},{value},{},{split}\n", u8::from(events.contains(&i)))
        };
        format!("timestamp,value,label,split\n{}", rows(value, line))
    };
    write(d, "kpi/one.csv", series(&[5000, 6000], &[5000, 6000]));
    write(d, "kpi/two.csv", series(&[5500], &[7000]));
    let ran = run(d, &["bench", "aiops", "kpi", "--splits", "1", "--settings", "2"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("2 series, 4.0 series-weeks, 3 events in the test split\n"), "{}", ran.stdout);
    // Two of three alerts are true, two of three events are found.
    assert!(
        ran.stdout.contains("default       3      0.667   0.667  0.667              0.250  0 s\n"),
        "{}",
        ran.stdout
    );
    for method in ["novelty", "static threshold", "windowed Gaussian", "random", "null"] {
        assert!(ran.stdout.contains(&format!("\n{method}\n")), "{method}: {}", ran.stdout);
    }
    assert!(ran.stdout.contains("one of 2 settings of all constants chosen on the other half: F1 "), "{}", ran.stdout);
}

#[test]
fn the_numenta_benchmark() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let file = |spike: usize| {
        let value = move |i| if i == spike { 500.0 } else { noisy(i) };
        let stamp = |time| jiff::Timestamp::from_second(time).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
        (
            format!("timestamp,value\n{}", rows(value, |_, time, value| format!("{},{value}\n", stamp(time)))),
            [stamp(1_700_000_000 + 300 * spike as i64), stamp(1_700_000_000 + 300 * (spike as i64 + 300))],
        )
    };
    let (one, two) = (file(5000), file(6000));
    write(d, "nab/data/real/one.csv", one.0);
    write(d, "nab/data/real/two.csv", two.0);
    let window = |w: &[String; 2]| format!("[[\"{}.000000\", \"{}.000000\"]]", w[0], w[1]);
    let labels = format!("{{\"real/one.csv\": {}, \"real/two.csv\": {}}}", window(&one.1), window(&two.1));
    write(d, "nab/labels/combined_windows.json", labels);
    let ran = run(d, &["bench", "nab", "nab"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("2 files, 2 windows;"), "{}", ran.stdout);
    // Each spike is the first row of its window, and nothing else is found.
    let line = |name: &str| ran.stdout.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    assert!(line("novelty").contains("    100.00    100.00    100.00"), "{}", ran.stdout);
    assert!(line("  its alerts").contains("    100.00    100.00    100.00"), "{}", ran.stdout);
    assert!(line("null").contains("      0.00      0.00      0.00"), "{}", ran.stdout);
}

#[test]
fn folders_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    fs::create_dir(d.join("empty")).unwrap();
    write(d, "nolabel/a.csv", "timestamp,value\n1,2\n");
    write(d, "bad/labels/combined_windows.json", "[1]");
    write(d, "gone/labels/combined_windows.json", r#"{"a.csv": []}"#);
    write(d, "off/labels/combined_windows.json", r#"{"a.csv": [["2020-01-01 00:00:00", "2020-01-02 00:00:00"]]}"#);
    write(d, "off/data/a.csv", "timestamp,value\n1,2\n");
    for (set, folder, message) in [
        ("aiops", "empty", "error: empty holds no series\n  └ help: put files NAME.csv or NAME.csv.gz into it\n"),
        ("aiops", "none", "error: none does not exist\n  └ help: check the path\n"),
        ("aiops", "nolabel", "error: nolabel/a.csv: no rows of the split test, or train after test\n"),
        ("nab", "empty", "error: empty/labels/combined_windows.json does not exist\n"),
        ("nab", "bad", "error: bad/labels/combined_windows.json: invalid type"),
        ("nab", "gone", "error: gone/data/a.csv does not exist\n"),
        ("nab", "off", "error: off/labels/combined_windows.json: a.csv has no row at 2020-01-01 00:00:00\n"),
    ] {
        let ran = run(d, &["bench", set, folder]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{folder}");
        assert!(ran.stderr.starts_with(message), "{folder}: {}", ran.stderr);
    }
}
