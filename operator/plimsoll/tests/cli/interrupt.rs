//! Ctrl-C and SIGTERM: what is not whole goes, what was there before stays, and it is said what was left undone.

use std::{process::Child, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let all = fs::read_dir(directory).into_iter().flatten();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Sends a signal once there is a file of which this holds, and gives what became of the run.
fn interrupted(mut child: Child, directory: &Path, signal: Signal, begun: fn(&str) -> bool) -> Ran {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !names(directory).iter().any(|name| begun(name)) {
        assert!(child.try_wait().unwrap().is_none(), "it has ended before it was interrupted");
        assert!(std::time::Instant::now() < deadline, "nothing was begun");
        std::thread::yield_now();
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    child.wait_with_output().unwrap().into()
}

fn begin(directory: &Path, args: &[&str]) -> Child {
    command(directory, args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn scores_that_are_not_whole_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let mut text = "timestamp,value\n".to_owned();
    for i in 0..400_000_i64 {
        text.push_str(&format!("{},{}\n", 1_700_000_000 + 60 * i, 100 + (i * 7) % 13));
    }
    write(d, "in.csv", text);
    let args = ["detect", "--input", "in.csv", "--output", "out.csv", "--plot", "out.svg"];
    let temporary: fn(&str) -> bool = |name| name.starts_with(".plimsoll-");
    for (signal, code, before, said) in [
        (Signal::SIGINT, 130, None, "interrupted: out.csv was not written\n"),
        (Signal::SIGTERM, 143, Some("old"), "interrupted: out.csv is as it was before; run it again\n"),
    ] {
        if let Some(before) = before {
            write(d, "out.csv", before);
        }
        let ran = interrupted(begin(d, &args), d, signal, temporary);
        assert_eq!((ran.code, ran.stderr.as_str()), (code, said));
        let mut found = names(d);
        found.sort();
        assert_eq!(found, if before.is_some() { vec!["in.csv", "out.csv"] } else { vec!["in.csv"] });
        assert_eq!(fs::read_to_string(d.join("out.csv")).ok().as_deref(), before);
    }
}

#[test]
fn it_is_said_how_many_files_of_a_folder_are_there() {
    const MANY: usize = 2000;
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let all: Vec<String> = (0..MANY).map(|i| GOOD.replace("name: good", &format!("name: s{i}"))).collect();
    write(d, "slo/all.yaml", all.join("---\n"));
    let child = begin(d, &["generate", "slo", "-o", "rules"]);
    let ran = interrupted(child, &d.join("rules"), Signal::SIGINT, |name| name.ends_with(".yaml"));
    let there = names(&d.join("rules"));
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(there.iter().all(|name| name.ends_with(".yaml")), "something temporary is left");
    // The last one may have got its name before it was counted.
    let said = |n: usize| {
        format!(
            "interrupted: {n} of {MANY} files in rules are as they are to be, each of them whole; run it again for the others\n"
        )
    };
    let n = there.len();
    assert!(n < MANY && (ran.stderr == said(n) || ran.stderr == said(n - 1)), "{n}: {}", ran.stderr);
}
