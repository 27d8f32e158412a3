//! The command line as a person or a script meets it: files in, text and exit status out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

#[path = "cli/backtest.rs"]
mod backtest;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/book.rs"]
mod book;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/detect.rs"]
mod detect;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/generate.rs"]
mod generate;
#[path = "cli/helps.rs"]
mod helps;
#[path = "cli/interrupt.rs"]
mod interrupt;
#[path = "cli/plugin.rs"]
mod plugin;
#[path = "cli/runbook.rs"]
mod runbook;
#[path = "cli/runbooks.rs"]
mod runbooks;
#[path = "cli/schemas.rs"]
mod schemas;
#[path = "cli/up.rs"]
mod up;

/// What a run yielded.
struct Ran {
    stdout: String,
    stderr: String,
    code: i32,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.current_dir(directory).args(args).env_remove("NO_COLOR");
    command
}

fn run(directory: &Path, args: &[&str]) -> Ran {
    command(directory, args).stdin(Stdio::null()).output().unwrap().into()
}

fn run_with_input(directory: &Path, args: &[&str], input: &[u8]) -> Ran {
    let mut child =
        command(directory, args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

const GOOD: &str = "\
apiVersion: plimsoll.dev/v1alpha1
kind: SLO
metadata: {name: good, namespace: shop}
spec: {objective: \"99\", sli: {up: {series: up}}}
";

/// Every case of `bad_inputs.txt`.
#[test]
fn bad_inputs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_inputs.txt");
    let text = fs::read_to_string(&path).unwrap();
    let mut cases = text.split("\n#### ");
    let mut found = cases.next().unwrap().to_owned();
    for case in cases {
        let (title, rest) = case.split_at(case.find('\n').unwrap());
        let (input, expected) = rest.split_once("\n---- exit ").unwrap();
        let _ = expected;
        let directory = tempfile::tempdir().unwrap();
        for file in input.split("\n---- ").skip(1) {
            let (name, content) = file.split_once('\n').unwrap_or((file, ""));
            write(directory.path(), name, content);
        }
        let ran = run(directory.path(), &["validate"]);
        assert_eq!(ran.stderr, "", "{title}");
        found += &format!("\n#### {title}{input}\n---- exit {}\n{}", ran.code, ran.stdout);
    }
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(&path, &found).unwrap();
    }
    if found != text {
        let different = found
            .lines()
            .zip(text.lines())
            .position(|(a, b)| a != b)
            .unwrap_or(text.lines().count().min(found.lines().count()));
        let around = |t: &str| t.lines().skip(different.saturating_sub(5)).take(15).collect::<Vec<_>>().join("\n");
        panic!(
            "line {} differs\n----- expected\n{}\n----- found\n{}\n(UPDATE=1 accepts)",
            different + 1,
            around(&text),
            around(&found)
        );
    }
}
