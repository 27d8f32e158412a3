//! The same program as `kubectl plimsoll`.

use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use super::{GOOD, Ran, write};

/// Runs it as kubectl does.
fn run(directory: &Path, args: &[&str]) -> Ran {
    let plugin = directory.join("kubectl-plimsoll");
    if !plugin.exists() {
        symlink(env!("CARGO_BIN_EXE_plimsoll"), &plugin).unwrap();
    }
    Command::new(plugin).current_dir(directory).args(args).stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn help_names_what_was_typed() {
    let directory = tempfile::tempdir().unwrap();
    for (args, wanted) in [
        (&["--help"][..], "Usage: kubectl plimsoll <COMMAND>"),
        (&["--help"], "  kubectl plimsoll validate slo/"),
        (&["explain", "--help"], "Usage: kubectl plimsoll explain"),
        (&["explain", "--help"], "| kubectl plimsoll explain -"),
        (&["runbook", "run", "--help"], "Usage: kubectl plimsoll runbook run"),
        (&["runbook", "run", "--help"], "  kubectl plimsoll runbook run crashloop-capture"),
    ] {
        let ran = run(directory.path(), args);
        assert!(ran.code == 0 && ran.stdout.contains(wanted), "{args:?}: {}{}", ran.stdout, ran.stderr);
    }
    let ran = run(directory.path(), &["explian"]);
    assert!(ran.code == 2 && ran.stderr.contains("Usage: kubectl plimsoll"), "{}", ran.stderr);
    let own = super::run(directory.path(), &["explain", "--help"]);
    assert!(
        own.stdout.contains("Usage: plimsoll explain") && !own.stdout.contains("kubectl plimsoll"),
        "{}",
        own.stdout
    );
}

#[test]
fn it_does_what_the_program_does() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "slo.yaml", GOOD);
    let (plugin, own) =
        (run(directory.path(), &["generate", "slo.yaml"]), super::run(directory.path(), &["generate", "slo.yaml"]));
    assert!(plugin.code == 0 && plugin.stdout.contains("slo:error_ratio:window"), "{}", plugin.stderr);
    assert_eq!(plugin.stdout, own.stdout);
}
