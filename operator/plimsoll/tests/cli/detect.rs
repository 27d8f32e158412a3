//! Series in files: what is scored, what is refused and why, and what is left when a run fails.

use super::*;

/// Three days of minutes with one spike, as people write series.
fn series(rows: usize) -> String {
    let mut text = "timestamp,value\n".to_owned();
    for i in 0..rows {
        let value = if i == 3000 { 900 } else { 100 + (i * 7) % 13 };
        text.push_str(&format!("{},{value}\n", 1_700_000_000 + 60 * i));
    }
    text
}

fn detect(directory: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["detect", "--input", "in.csv"];
    args.extend_from_slice(more);
    run(directory, &args)
}

#[test]
fn a_spike_is_the_one_alert_and_the_input_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "in.csv", series(4320));
    let ran = detect(d, &["--output", "out.csv"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let text = fs::read_to_string(d.join("out.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4321, "timestamp,value,anomaly_score,alert"));
    for (line, given) in lines.iter().zip(series(4320).lines()).skip(1) {
        assert!(line.starts_with(&format!("{given},")), "{line}");
        let score: f64 = line.split(',').nth(2).unwrap().parse().unwrap();
        assert!((0.0..=1.0).contains(&score), "{line}");
    }
    let alerts: Vec<&&str> = lines.iter().filter(|l| l.ends_with(",1")).collect();
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].starts_with(&format!("{},900,", 1_700_000_000 + 60 * 3000)), "{alerts:?}");
}

/// What has too few rows to be judged looks like a series in which all is well.
#[test]
fn what_only_teaches_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    for (rows, said) in [
        (1, "1 row, and the first 100 only teach: nothing was judged\n"),
        (100, "100 rows, and the first 100 only teach: nothing was judged\n"),
        (101, ""),
    ] {
        write(d, "in.csv", series(rows));
        let ran = detect(d, &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, said));
        assert_eq!(ran.stdout.lines().count(), rows + 1);
    }
}

#[test]
fn a_shorter_file_has_the_same_scores() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "in.csv", series(4320));
    let whole = detect(d, &[]).stdout;
    let until = detect(d, &["--until", "3500"]).stdout;
    assert_eq!(until.lines().count(), 3501);
    assert!(whole.starts_with(&until));
    write(d, "in.csv", series(3500));
    assert_eq!(detect(d, &[]).stdout, until);
    assert_eq!(detect(d, &["--until", "99999"]).stdout, until);
}

#[test]
fn forms_of_the_same_series() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let plain = series(200);
    write(d, "in.csv", &plain);
    let scores = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|l| l.split(',').skip(2).collect::<Vec<_>>().join(",")).collect()
    };
    let expected = detect(d, &[]).stdout;
    let iso = |text: &str| -> String {
        let mut out = "Timestamp,Value\n".to_owned();
        for line in text.lines().skip(1) {
            let (time, value) = line.split_once(',').unwrap();
            let at = jiff::Timestamp::from_second(time.parse().unwrap()).unwrap();
            out.push_str(&format!("{},{value}\n", at.strftime("%Y-%m-%d %H:%M:%S")));
        }
        out
    };
    let columns: String = plain
        .lines()
        .map(|l| {
            let (a, b) = l.split_once(',').unwrap();
            format!("x,{b},\"y,z\",{a}\r\n")
        })
        .collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(plain.as_bytes()).unwrap();
    let forms: [(&str, Vec<u8>); 4] = [
        ("ISO times", iso(&plain).into_bytes()),
        ("more columns, other order, CRLF", columns.into_bytes()),
        ("a byte order mark, spaces", format!("\u{FEFF}{}", plain.replace(',', " , ")).into_bytes()),
        ("gzip", packed.finish().unwrap()),
    ];
    for (what, bytes) in forms {
        write(d, "in.csv", &bytes);
        let ran = detect(d, &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{what}");
        assert_eq!(scores(&ran.stdout), scores(&expected), "{what}");
    }
    let piped = run_with_input(d, &["detect", "--input", "-"], plain.as_bytes());
    assert_eq!(piped.stdout, expected);
}

#[test]
fn rows_without_a_value_survive() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let plain = series(300);
    let holed: String = plain
        .lines()
        .enumerate()
        .map(|(i, l)| {
            let (time, value) = l.split_once(',').unwrap();
            match i {
                150 => format!("{time},\n"),
                151 => format!("{time},NaN\n"),
                152 => format!("{time},inf\n"),
                _ => format!("{time},{value}\n"),
            }
        })
        .collect();
    write(d, "in.csv", &holed);
    let ran = detect(d, &[]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 301), "{}", ran.stderr);
    for (line, value) in [(150, ""), (151, "NaN"), (152, "inf")] {
        let line = ran.stdout.lines().nth(line).unwrap();
        assert!(line.ends_with(&format!(",{value},0.000000000,0")), "{line}");
    }
}

/// Local times at the end of summer time: an alert in the hour that comes twice hides none in its second run.
#[test]
fn an_outage_after_the_clock_was_set_back_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let mut text = "timestamp,value\n".to_owned();
    for i in 0..6000 {
        // Row 5000 is the first of the hour that comes again; alerts are 10 minutes before it and 40 after.
        let time = 1_700_000_000 + 60 * (if i < 5000 { i } else { i - 60 });
        let value = match i {
            4990 => 900,
            5040..5065 => 2000,
            _ => 100 + (i * 7) % 13,
        };
        text.push_str(&format!("{time},{value}\n"));
    }
    write(d, "in.csv", text);
    let ran = detect(d, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let alerts: Vec<usize> =
        ran.stdout.lines().skip(1).enumerate().filter(|(_, l)| l.ends_with(",1")).map(|(i, _)| i).collect();
    assert!(alerts.contains(&4990) && alerts.contains(&5040), "{alerts:?}");
}

#[test]
fn what_is_refused_and_why() {
    let columns = "the first line names the columns; two must be called timestamp and value";
    let times = "write seconds since 1970, as 1700000000, or ISO 8601, as 2026-01-31T08:00:00Z";
    let cases: [(&[u8], &str, &str); 18] = [
        (b"", "in.csv is empty", "it needs a line `timestamp,value` and a line for each sample"),
        (b"timestamp,value\n", "in.csv has no row", "it needs a line for each sample"),
        (b"time,value\n1,2\n", "in.csv:1: no column timestamp; there is time, value", columns),
        (b"timestamp,latency\n1,2\n", "in.csv:1: no column value; there is timestamp, latency", columns),
        (b"1700000000,5\n1700000060,6\n", "in.csv:1: no column timestamp; there is 1700000000, 5", columns),
        (
            b"timestamp,value\n1,2\n2,abc\n",
            "in.csv:3: value \"abc\" is no number",
            "write a number such as 12.5, or nothing where there is no value",
        ),
        (
            b"timestamp,value\n1,\"1,5\"\n",
            "in.csv:2: value \"1,5\" is no number",
            "write a number such as 12.5, or nothing where there is no value",
        ),
        (b"timestamp,value\nnoon,2\n", "in.csv:2: timestamp \"noon\" is no time", times),
        (b"timestamp,value\n,2\n", "in.csv:2: timestamp \"\" is no time", times),
        (b"timestamp,value\nNaN,2\n", "in.csv:2: timestamp \"NaN\" is no time", times),
        (b"timestamp,value\n2026-02-30 00:00:00,2\n", "in.csv:2: timestamp \"2026-02-30 00:00:00\" is no time", times),
        (
            b"timestamp,value\n1700000000000,2\n",
            "in.csv:2: timestamp \"1700000000000\" lies beyond the year 9999",
            "times are seconds since 1970: divide milliseconds by 1000",
        ),
        (
            b"timestamp,value\n9000,1\n9060,1\n5000,1\n",
            "in.csv:4: timestamp \"5000\" is over an hour earlier than a line above",
            "sort the lines by time, the oldest first",
        ),
        (
            b"timestamp,value\n9000,1\n7200,1\n5400,1\n5340,1\n",
            "in.csv:5: timestamp \"5340\" is over an hour earlier than a line above",
            "sort the lines by time, the oldest first",
        ),
        (b"timestamp,value\n1,2\n2\n", "in.csv:3: no value: the line is cut short", "complete or remove the line"),
        (b"\x7fELF\0\0\0\n", "in.csv is a binary file", "name a CSV file, or one compressed by gzip"),
        (
            b"timestamp,value\n1,2\n2,\xff\n",
            "in.csv:3: a byte that is no UTF-8 text",
            "name a CSV file, or one compressed by gzip",
        ),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x2b", "in.csv cannot be read: ", "the file is cut short: copy it again"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "out.csv", "before");
    for (bytes, message, help) in cases {
        write(d, "in.csv", bytes);
        let ran = detect(d, &["--output", "out.csv"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{message}");
        assert!(ran.stderr.starts_with(&format!("error: {message}")), "{message}: {}", ran.stderr);
        assert!(ran.stderr.ends_with(&format!("  └ help: {help}\n")), "{message}: {}", ran.stderr);
        assert_eq!(fs::read_to_string(d.join("out.csv")).unwrap(), "before", "{message}");
    }
    let left: Vec<_> = fs::read_dir(d).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_clock_set_back_an_hour_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "in.csv", "timestamp,value\n9000,1\n9000,1\n5400,1\n5460,2\n");
    let ran = detect(directory.path(), &[]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 5), "{}", ran.stderr);
}

#[test]
fn paths_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "in.csv", series(10));
    fs::create_dir(d.join("folder")).unwrap();
    for (args, message) in [
        (&["--input", "none.csv"][..], "error: none.csv does not exist\n  └ help: check the path\n"),
        (&["--input", "folder"], "error: folder cannot be read: is a directory\n"),
        (
            &["--input", "in.csv", "--output", "folder"],
            "error: cannot write folder: it is a directory\n  └ help: name a file in it\n",
        ),
        (
            &["--input", "in.csv", "--output", "none/out.csv"],
            "error: cannot write none/out.csv: no such file or directory\n  └ help: make its directory first\n",
        ),
        (
            &["--input", "in.csv", "--output", "/dev/full"],
            "error: cannot write /dev/full: no space left on device\n  └ help: make room and run it again; the files that are there are whole\n",
        ),
        (
            &["--input", "in.csv", "--output", "out.csv", "--plot", "none/plot.svg"],
            "error: cannot write none/plot.svg: no such file or directory\n  └ help: make its directory first\n",
        ),
        (
            &["--input", "in.csv", "--output", "folder/../in.csv"],
            "error: --output folder/../in.csv is the file of --input too\n  └ help: name another file\n",
        ),
        (
            &["--input", "in.csv", "--output", "new.svg", "--plot", "new.svg"],
            "error: --plot new.svg is the file of --output too\n  └ help: name another file\n",
        ),
    ] {
        let ran = run(d, &[&["detect"], args].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (2, message), "{args:?}");
    }
    let ran = run(d, &["detect", "--input", "in.csv", "--plot", "plot.jpg"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("a plot is an SVG or a PNG: end its name in .svg or .png"), "{}", ran.stderr);
}

#[test]
fn a_plot_shows_the_alert() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "in.csv", series(4320));
    let ran = detect(d, &["--output", "out.csv", "--plot", "plot.svg"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let text = fs::read_to_string(d.join("plot.svg")).unwrap();
    assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    assert_eq!(text.matches("<circle").count(), 1, "one alert");
    assert!(text.contains("in.csv") && text.matches("<polyline").count() >= 2);
    let labels: Vec<&str> = text.lines().map(str::trim).filter(|l| l.starts_with("11-1")).collect();
    // 2023-11-14 22:13:20 and three days more, twice.
    let hours = ["11-15, 00:00", "11-15, 12:00", "11-16, 00:00", "11-16, 12:00", "11-17, 00:00", "11-17, 12:00"];
    assert_eq!(labels, [hours, hours].concat(), "{text}");
    assert!(text.contains("time, UTC"));
    assert!(text.contains("<polygon"), "the band");
    let ran = detect(d, &["--output", "again.csv", "--plot", "plot.PNG"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(fs::read(d.join("plot.PNG")).unwrap().starts_with(b"\x89PNG\r\n"));
    let [scored, again] = ["out.csv", "again.csv"].map(|name| fs::read(d.join(name)).unwrap());
    assert!(scored == again, "a drawing changes no score");
}
