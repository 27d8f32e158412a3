//! Files that are missing, huge, binary, unreadable; standard input; forms of the report.

use super::*;

#[test]
fn paths_that_yield_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "good.yaml", GOOD);
    write(d, "zero.yaml", b"a\0b");
    write(d, "latin.yaml", b"a: 1\nb: \xE4\n");
    write(d, "utf16.yaml", b"\xFF\xFEa\0");
    write(d, "empty/readme.md", "");
    let huge = fs::File::create(d.join("huge.yaml")).unwrap();
    huge.set_len((16 << 20) + 1).unwrap();
    for (path, message) in [
        ("missing.yaml", "error: missing.yaml does not exist\n  └ help: check the path\n"),
        ("zero.yaml", "error: zero.yaml is a binary file\n  └ help: name YAML or JSON files only\n"),
        ("latin.yaml", "error: latin.yaml is not UTF-8 text: line 2 has a wrong byte\n  └ help: save it as UTF-8\n"),
        ("utf16.yaml", "error: utf16.yaml is UTF-16 text\n  └ help: save it as UTF-8\n"),
        ("huge.yaml", "error: huge.yaml is larger than 16 MiB\n  └ help: split it into several files\n"),
        (
            "empty",
            "error: empty has no .yaml, .yml or .json file\n  └ help: name a directory with files of SLOs, AlertRules or Runbooks, or the files themselves\n",
        ),
        ("good.yaml/x", "error: good.yaml/x cannot be read: not a directory\n"),
    ] {
        // The good file is still checked.
        let ran = run(d, &["validate", path, "good.yaml"]);
        assert_eq!(ran.stdout, format!("{message}checked 1 object in 1 file: 1 error, 0 warnings\n"), "{path}");
        assert_eq!((ran.code, ran.stderr.as_str()), (2, ""), "{path}");
        let ran = run(d, &["generate", path, "good.yaml"]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.starts_with(message), "{}", ran.stderr);
        assert!(ran.stdout.contains("plimsoll.shop.good.base"), "{path}");
    }
}

#[test]
fn a_file_of_many_values_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "big.yaml", "- a\n".repeat(600_000));
    let ran = run(directory.path(), &["validate", "big.yaml"]);
    assert_eq!(
        ran.stdout,
        "\
error: this document has more than 500000 values
       ┌ big.yaml:500000:3
500000 │ - a
       │   ^
       └ help: split it into several files
checked 0 objects in 1 file: 1 error, 0 warnings
"
    );
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "flow.yaml", "[".repeat(100_000));
    write(directory.path(), "block.yaml", "- ".repeat(100_000));
    write(
        directory.path(),
        "promql.yaml",
        GOOD.replace("series: up", &format!("series: '{}up{}'", "(".repeat(40_000), ")".repeat(40_000))),
    );
    let ran = run(directory.path(), &["validate"]);
    assert_eq!(ran.code, 1);
    let messages: Vec<&str> = ran.stdout.lines().filter(|l| l.starts_with("error")).collect();
    assert_eq!(
        messages,
        ["error: nested deeper than 255 levels", "error: nested deeper than 255 levels", "error: series is too long"]
    );
}

#[test]
fn one_line_of_megabytes_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let item =
        r#"{"apiVersion":"plimsoll.dev/v1alpha1","kind":"SLO","metadata":{"name":"N"},"spec":{"objective":"0"}},"#;
    let items: String = (0..500).map(|i| item.replace('N', &format!("n{i}"))).collect();
    let text = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.trim_end_matches(','));
    write(directory.path(), "list.json", text);
    let ran = run(directory.path(), &["validate"]);
    assert!(ran.stdout.ends_with("checked 500 objects in 1 file: 1000 errors, 0 warnings\n"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|l| l.chars().count() < 130));
}

#[test]
fn links_are_followed_but_not_in_circles() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    // As a mounted ConfigMap looks.
    write(d, "..data/good.yaml", GOOD);
    std::os::unix::fs::symlink("..data/good.yaml", d.join("good.yaml")).unwrap();
    std::os::unix::fs::symlink(".", d.join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", d.join("dangling.txt")).unwrap();
    let ran = run(d, &["validate", ".", "good.yaml", "loop"]);
    assert_eq!(ran.stdout, "checked 1 object in 1 file: 0 errors, 0 warnings\n");
    std::os::unix::fs::symlink("nowhere", d.join("dangling.yaml")).unwrap();
    let ran = run(d, &["validate"]);
    assert!(ran.stdout.starts_with("error: dangling.yaml is a link to nothing\n"), "{}", ran.stdout);
}

#[test]
fn standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run_with_input(directory.path(), &["validate", "-"], GOOD.as_bytes());
    assert_eq!((ran.stdout.as_str(), ran.code), ("checked 1 object in 1 file: 0 errors, 0 warnings\n", 0));
    let ran = run_with_input(directory.path(), &["validate", "-"], GOOD.replace("99", "7e1").as_bytes());
    assert!(ran.stdout.contains("┌ stdin:4:19\n"), "{}", ran.stdout);
    let ran = run_with_input(directory.path(), &["validate", "-"], b"- 1\n");
    assert_eq!(
        ran.stdout,
        "\
error: this is a list, not a Kubernetes object
  ┌ stdin:1:1
1 │ - 1
  │ ^^^
  └ help: begin with apiVersion: plimsoll.dev/v1alpha1 and kind: SLO, AlertRule or Runbook
checked 1 object in 1 file: 1 error, 0 warnings
"
    );
}

/// Nothing of ours in a file that was named is a mistake; in a directory, and in a pipe, others are left alone.
#[test]
fn a_named_file_holds_something_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
    write(d, "pod.yaml", pod);
    write(d, "empty.yaml", "");
    write(d, "comment.yaml", "# later\n---\n");
    write(d, "both.yaml", format!("{pod}---\n{GOOD}"));
    let help = "name files with apiVersion: plimsoll.dev/v1alpha1, or a directory, in which others are left alone";
    for (name, skipped) in [("pod.yaml", " (1 of other kinds skipped)"), ("empty.yaml", ""), ("comment.yaml", "")] {
        let error = format!("error: {name} holds no SLO, AlertRule or Runbook\n  └ help: {help}\n");
        let ran = run(d, &["validate", name]);
        let summary = format!("checked 0 objects in 1 file: 1 error, 0 warnings{skipped}\n");
        assert_eq!((ran.code, ran.stdout), (1, format!("{error}{summary}")), "{name}");
        for command in ["generate", "explain"] {
            let ran = run(d, &[command, name]);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command} {name}");
            assert!(ran.stderr.starts_with(&error), "{command} {name}: {}", ran.stderr);
        }
    }
    // In a directory, where others' files stand too, one that holds nothing at all is still nobody's.
    let nothing = |name: &str| format!("warning: {name} holds no object\n  └ help: write one into it, or remove it\n");
    let told = format!("{}\n{}", nothing("comment.yaml"), nothing("empty.yaml"));
    let ran = run(d, &["validate"]);
    let summary = "checked 1 object in 4 files: 0 errors, 2 warnings (2 of other kinds skipped)\n";
    assert_eq!((ran.code, ran.stdout), (0, format!("{told}{summary}")));
    let ran = run(d, &["generate"]);
    assert_eq!((ran.code, ran.stderr), (0, told));
    for name in ["comment.yaml", "empty.yaml"] {
        fs::remove_file(d.join(name)).unwrap();
    }
    for paths in [&["both.yaml"][..], &["."]] {
        let ran = run(d, &[&["validate", "--strict"], paths].concat());
        assert_eq!(ran.code, 0, "{paths:?}: {}", ran.stdout);
    }
    for (piped, code) in [(pod, 0), ("", 1), (" \n", 1)] {
        let ran = run_with_input(d, &["validate", "-"], piped.as_bytes());
        assert_eq!(ran.code, code, "{piped:?}: {}", ran.stdout);
    }
}

/// People see what else there is; programs get all of it.
#[test]
fn a_warning_of_many_is_told_a_few_times() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let slo = |n: usize| {
        GOOD.replace("good", &format!("s{n}"))
            .replace("{up: {series: up}}", "{events: {bad: bad_total, total: all_total}}")
    };
    let told = "total names no job";
    for (many, few, more) in
        [(5, 5, ""), (6, 4, "… and 3 more of this kind: total names no job"), (2000, 4, "… and 1997 more of this kind")]
    {
        write(d, "slo.yaml", (0..many).map(slo).collect::<Vec<_>>().join("---\n"));
        for (command, code) in [("validate", 0), ("generate", 0)] {
            let ran = run(d, &[command]);
            let text = if command == "validate" { &ran.stdout } else { &ran.stderr };
            assert_eq!((ran.code, text.matches(told).count()), (code, few), "{command} {many}: {text}");
            assert!(text.contains(more), "{command} {many}: {text}");
        }
        assert!(run(d, &["validate"]).stdout.ends_with(&format!("0 errors, {many} warnings\n")));
        for form in ["json", "github"] {
            assert_eq!(run(d, &["validate", "--output", form]).stdout.matches(told).count(), many, "{form}");
        }
    }
}

/// Files of other SLO tools, as those who move have them.
#[test]
fn the_files_of_other_tools_are_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let help = "write it as an SLO: docs/recipes/migrate.md says which field becomes which";
    for (name, text, tool, mark) in [
        (
            "crd.yaml",
            "apiVersion: sloth.slok.dev/v1\nkind: PrometheusServiceLevel\nmetadata: {name: a}\nspec: {service: a, slos: []}\n",
            "a Sloth",
            "apiVersion: sloth.slok.dev/v1\n  │             ^^^^^^^^^^^^^^^^^\n",
        ),
        (
            "plain.yml",
            "version: prometheus/v1\nservice: a\nslos:\n- {name: b, objective: 99.9}\n",
            "a Sloth",
            "version: prometheus/v1\n  │          ^^^^^^^^^^^^^\n",
        ),
        (
            "latency.yaml",
            "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: a}\nspec: {target: '99', window: 4w}\n",
            "a Pyrra",
            "apiVersion: pyrra.dev/v1alpha1\n  │             ^^^^^^^^^^^^^^^^^^\n",
        ),
        (
            "two.yaml",
            "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: openslo/v1\nkind: SLI\nmetadata: {name: b}\n",
            "an OpenSLO",
            "apiVersion: openslo/v1\n  │             ^^^^^^^^^^\n",
        ),
        (
            "alpha.yaml",
            "apiVersion: openslo.com/v2alpha\nkind: SLO\nmetadata: {name: a}\n",
            "an OpenSLO",
            "apiVersion: openslo.com/v2alpha\n  │             ^^^^^^^^^^^^^^^^^^^\n",
        ),
    ] {
        let path = format!("slo/{name}");
        write(d, &path, text);
        let told = |level: &str| format!("{level}: this is {tool} file, which Plimsoll does not read\n  ┌ {path}:1:");
        // Named itself it was meant, and every command says so.
        for command in ["validate", "generate", "explain"] {
            let ran = run(d, &[command, &path]);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.starts_with(&told("error")), "{command}: {said}");
            assert!(said.contains(mark) && said.contains(help), "{command}: {said}");
            assert_eq!((ran.code, said.matches("error: ").count()), (1, 1), "{command}: {said}");
        }
        // In a directory it may lie beside ours while both are at work.
        let ran = run(d, &["validate", "slo"]);
        assert!(ran.stdout.starts_with(&told("warning")), "{}", ran.stdout);
        assert_eq!((ran.code, ran.stdout.matches("warning: ").count()), (0, 1), "{}", ran.stdout);
        assert_eq!(run(d, &["validate", "--strict", "slo"]).code, 1);
        fs::remove_file(d.join(&path)).unwrap();
    }
    // Of another program, whatever its fields are called.
    write(d, "slo/compose.yaml", "version: '3'\nservices: {}\nslos: []\n");
    let ran = run(d, &["validate", "slo"]);
    assert_eq!(ran.stdout, "checked 0 objects in 1 file: 0 errors, 0 warnings (1 of other kinds skipped)\n");
}

#[test]
fn the_namespace_is_filled_in() {
    let directory = tempfile::tempdir().unwrap();
    let bare = GOOD.replace(", namespace: shop", "");
    let ran = run_with_input(directory.path(), &["generate", "-"], bare.as_bytes());
    assert!(ran.stdout.contains("plimsoll.default.good.base"), "{}", ran.stdout);
    let ran = run_with_input(directory.path(), &["generate", "-n", "team", "-"], bare.as_bytes());
    assert!(ran.stdout.contains("plimsoll.team.good.base"), "{}", ran.stdout);
    let two = format!("{bare}---\n{}", bare.replace("name: good", "name: other"));
    for (text, args, note) in [
        (&bare, &["generate"][..], ""),
        (&bare, &["validate"], ""),
        (&bare, &["generate", "--format", "prometheus-rule", "-n", "team"], ""),
        (
            &bare,
            &["generate", "--format", "prometheus-rule"],
            "1 object names no namespace: taken as default; give -n NAMESPACE\n",
        ),
        (
            &two,
            &["generate", "--format", "mimir"],
            "2 objects name no namespace: taken as default; give -n NAMESPACE\n",
        ),
        (&GOOD.to_owned(), &["generate", "--format", "vmrule"], ""),
    ] {
        let ran = run_with_input(directory.path(), &[args, &["-"]].concat(), text.as_bytes());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, note), "{args:?}");
    }
    for command in ["validate", "generate", "explain"] {
        let ran = run(directory.path(), &[command, "-n", "Foo_", "-"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command}");
        let message = "error: invalid value 'Foo_' for '--namespace <NAMESPACE>': namespace is no Kubernetes name (only a-z, 0-9 and - between them); write foo\n";
        assert!(ran.stderr.starts_with(message), "{}", ran.stderr);
    }
}

#[test]
fn reports_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a,b.yaml", GOOD.replace("99", "0.9995"));
    let ran = run(directory.path(), &["validate", "--output", "github"]);
    assert_eq!(
        ran.stdout,
        "\
::error title=objective is a percentage,file=a%2Cb.yaml,line=4,col=19,endColumn=27::0.9995 %25 would allow 99 of 100 requests to fail; write \"99.95\"
checked 1 object in 1 file: 1 error, 0 warnings
"
    );
    let ran = run(directory.path(), &["validate", "--output", "json"]);
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        found,
        serde_json::json!({
            "files": 1, "objects": 1, "skipped": 0, "errors": 1, "warnings": 0,
            "problems": [{
                "level": "error", "message": "objective is a percentage",
                "label": "0.9995 % would allow 99 of 100 requests to fail", "help": "write \"99.95\"",
                "file": "a,b.yaml", "line": 4, "column": 19, "endColumn": 27, "path": "spec.objective",
            }],
        })
    );
    assert_eq!(ran.code, 1);
}

/// A composite reads what its parts had recorded before their exclusions were added.
#[test]
fn exclusions_that_parts_have_alone_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let past =
        "objective: \"99\", exclusions: [{name: move, from: \"2026-01-02T02:00:00Z\", to: \"2026-01-02T03:00:00Z\"}],";
    let part = GOOD.replace("objective: \"99\",", past);
    let whole = GOOD.replace("name: good", "name: whole").replace("up: {series: up}", "composite: {worstOf: [good]}");
    let alike = whole.replace("name: whole", "name: alike").replace("objective: \"99\",", past);
    write(directory.path(), "a.yaml", [part.as_str(), &whole, &alike].join("\n---\n"));
    let ran = run(directory.path(), &["validate"]);
    let said = ran.stdout.matches("shop/good excludes time that this SLO does not").count();
    assert_eq!((ran.code, said), (0, 1), "{}", ran.stdout);
}

#[test]
fn warnings_fail_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", GOOD.replace("up: {series: up}", "composite: {worstOf: [gone]}"));
    let ran = run(directory.path(), &["validate"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stdout,
        "\
warning: no SLO shop/gone in these files
  ┌ a.yaml:4:53
4 │ spec: {objective: \"99\", sli: {composite: {worstOf: [gone]}}}
  │                                                     ^^^^ this SLO has no data until there is one
  └ help: check the name, or check these files together with its file
checked 1 object in 1 file: 0 errors, 1 warning
"
    );
    assert_eq!(run(directory.path(), &["validate", "--strict"]).code, 1);
    let half = "composite: {worstOf: [gone, half]}";
    write(directory.path(), "b.yaml", GOOD.replace("up: {series: up}", half).replace("good", "other"));
    let ran = run(directory.path(), &["validate", "b.yaml"]);
    assert_eq!(ran.stdout.matches("this SLO has no data until there is one").count(), 2, "{}", ran.stdout);
    write(directory.path(), "half.yaml", GOOD.replace("good", "half"));
    let ran = run(directory.path(), &["validate", "b.yaml", "half.yaml"]);
    assert_eq!(ran.stdout.matches("^^^^ counts as good until there is one").count(), 1, "{}", ran.stdout);
    // Who is asked for data knows of parts that are in no file.
    let explained = |more: &[&str]| run(directory.path(), &[&["explain", "a.yaml"], more].concat());
    assert!(explained(&[]).stderr.contains("no SLO shop/gone in these files"));
    let ran = explained(&["--prometheus", "http://127.0.0.1:9"]);
    assert!(!ran.stderr.contains("in these files") && ran.stdout.contains("gone"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    for args in [&["frobnicate"][..], &["validate", "--colour"], &["generate", "--format", "xml"], &[]] {
        assert_eq!(run(directory.path(), args).code, 2, "{args:?}");
    }
    let ran = run(directory.path(), &["presets", "nothing-like-it"]);
    assert_eq!(
        ran.stderr,
        "error: no preset has nothing-like-it in its name\n  └ help: list all with: plimsoll presets\n"
    );
}

#[test]
fn every_command_explains_itself() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["validate", "generate", "explain", "crds", "schemas", "presets", "completions"] {
        let ran = run(directory.path(), &[name, "--help"]);
        assert!(ran.stdout.contains("Example"), "{name}: {}", ran.stdout);
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(directory.path(), &["completions", shell]).stdout.contains("plimsoll"));
    }
    assert!(run(directory.path(), &["--version"]).stdout.starts_with("plimsoll 0."));
    for text in ["grpc-av", "GRPC-Av"] {
        assert!(run(directory.path(), &["presets", text]).stdout.starts_with("grpc-availability\n  "), "{text}");
    }
}

/// Whoever pipes something and names nothing is told that the files here were read, and how to read what was piped.
#[test]
fn what_is_piped_and_not_asked_for_is_told() {
    const UNREAD: &str = "warning: standard input is not read, but the files of this directory: no PATH is given\n  └ help: to read standard input, give - as PATH: plimsoll ";
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let other = GOOD.replace("name: good", "name: piped");
    for command in ["generate", "validate"] {
        let (help, piped) = (format!("{UNREAD}{command} -\n"), || run_with_input(d, &[command], other.as_bytes()));
        let _ = fs::remove_file(d.join("a.yaml"));
        let nothing = piped();
        assert!(nothing.stderr.starts_with(&help) && nothing.code == 2, "{}", nothing.stderr);
        write(d, "a.yaml", GOOD);
        let here = piped();
        assert_eq!((here.code, here.stderr.as_str()), (0, help.as_str()));
        assert!(!here.stdout.contains("piped"), "{}", here.stdout);
        for named in [".", "-", "a.yaml"] {
            assert_eq!(run_with_input(d, &[command, named], other.as_bytes()).stderr, "", "{command} {named}");
        }
        // As programs start programs: with nothing, or with a pipe that is closed at once.
        assert_eq!(run(d, &[command]).stderr, "");
        assert_eq!(run_with_input(d, &[command], b"").stderr, "", "{command}");
        let file = fs::File::open(write(d, "piped.txt", &other)).unwrap();
        let from_file: Ran = super::command(d, &[command]).stdin(file).output().unwrap().into();
        assert_eq!(from_file.stderr, help);
    }
}

#[test]
fn completions_say_of_which_shells_there_are_and_how_they_are_installed() {
    let directory = tempfile::tempdir().unwrap();
    let none = run(directory.path(), &["completions"]);
    assert_eq!((none.code, none.stdout.as_str()), (2, ""));
    for wanted in [
        "[possible values: bash, elvish, fish, powershell, zsh]",
        "  plimsoll completions bash > ~/.local/share/bash-completion/completions/plimsoll\n",
        "  plimsoll completions zsh > ~/.zfunc/_plimsoll\n",
        "  plimsoll completions fish > ~/.config/fish/completions/plimsoll.fish\n",
    ] {
        assert!(none.stderr.contains(wanted), "{wanted} in\n{}", none.stderr);
    }
    assert_eq!(run(directory.path(), &["completions", "--help"]).stdout, none.stderr);
}
