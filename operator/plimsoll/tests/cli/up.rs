//! `plimsoll up`, where it cannot be started.

use std::fs;

use super::{command, run};

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("slo")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    fs::write(path.join("wrong.yaml"), "runbooks:\n  destinations: {on-call: {url: nowhere}}\n").unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--data", "data"];
    for (arguments, message, help) in [
        (&["up", "away"][..], "away does not exist", "name a directory with files of SLOs"),
        (&["up", "file"], "file is no directory", "name a directory with files of SLOs"),
        (&["up", "slo", "--runbooks", "away.yaml"], "--runbooks: away.yaml cannot be read", ""),
        (
            &["up", "slo", "--runbooks", "wrong.yaml"],
            "--runbooks: wrong.yaml:2: runbooks.destinations.on-call.url",
            "http://",
        ),
        (&["up", "slo"], "prometheus is not on the PATH", "--prometheus URL --rules DIR"),
        (
            &["up", "slo", "--prometheus", "localhost:9090", "--rules", "slo"],
            "--prometheus: ",
            "write it like http://host:9090",
        ),
        (
            &["up", "slo", "--prometheus", "http://localhost:9090", "--rules", "away"],
            "away does not exist",
            "rule_files",
        ),
    ] {
        let all: Vec<&str> = arguments.iter().chain(&listen).copied().collect();
        let output = command(path, &all).env("PATH", path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(message) && said.contains(help), "{arguments:?}: {said}");
    }
    // Rules must have a place.
    let ran = run(path, &["up", "slo", "--prometheus", "http://localhost:9090"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--rules") && ran.stderr.contains("--ruler"), "{}", ran.stderr);
}
