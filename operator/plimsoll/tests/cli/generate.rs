//! Rules on standard output and in directories.

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn broken_ones_are_reported_and_the_others_generated() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "a.yaml",
        format!("{}---\n{GOOD}", GOOD.replace("name: good", "name: bad").replace("99", "100")),
    );
    let ran = run(directory.path(), &["generate"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("checked 2 objects in 1 file: 1 error, 0 warnings\n"), "{}", ran.stderr);
    assert!(ran.stdout.contains("plimsoll.shop.good.base") && !ran.stdout.contains("shop.bad"));
    let ran = run(directory.path(), &["generate", "-o", "rules"]);
    assert_eq!(ran.code, 1);
    assert_eq!(names(&directory.path().join("rules")), ["plimsoll_shop_good.yaml"]);
}

#[test]
fn every_format_is_yaml_that_reads_back() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for (format, root) in
        [("prometheus", "groups"), ("prometheus-rule", "spec"), ("vmrule", "spec"), ("mimir", "namespace")]
    {
        let ran = run(&examples, &["generate", "--format", format]);
        let left_out = "1 object in LogQL left out: --format loki prints them\n";
        assert_eq!((ran.code, ran.stderr.as_str()), (0, left_out), "{format}");
        assert_eq!(ran.stdout, run(&examples, &["generate", "--format", format]).stdout, "{format}");
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&ran.stdout).unwrap();
        assert_eq!(documents.len(), if format == "prometheus" { 1 } else { objects(&examples) - 1 }, "{format}");
        assert!(documents.iter().all(|d| d.get(root).is_some()), "{format}");
    }
}

/// Number of objects in all files of a directory and those below it.
fn objects(directory: &Path) -> usize {
    let of_entry = |path: PathBuf| {
        if path.is_dir() {
            objects(&path)
        } else {
            fs::read_to_string(path).unwrap().matches("plimsoll.dev/v1alpha1").count()
        }
    };
    fs::read_dir(directory).unwrap().map(|entry| of_entry(entry.unwrap().path())).sum()
}

#[test]
fn the_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let ran = run(&examples, &["validate", "--strict"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
}

#[test]
fn nothing_to_generate() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", "apiVersion: v1\nkind: Pod\n");
    let ran = run(directory.path(), &["generate"]);
    assert_eq!(
        (ran.stderr.as_str(), ran.code),
        ("error: no SLO or AlertRule found in .\n  └ help: name files with kind: SLO or AlertRule\n", 2)
    );
    write(directory.path(), "a.yaml", GOOD.replace("99", "100"));
    let ran = run(directory.path(), &["generate"]);
    // An empty rule file would take away the rules that work.
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 1));
    write(directory.path(), "a.yaml", LINES);
    let ran = run(directory.path(), &["generate"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("groups: []\n", 0));
}

#[test]
fn a_directory_is_changed_only_where_needed_and_cleaned() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "slo/a.yaml", GOOD);
    write(d, "rules/.plimsoll-1-plimsoll_shop_good.yaml.tmp", "gro");
    write(d, "rules/mine.yaml", "groups: []");
    // Held by a run that lives.
    let held = fs::File::create(d.join("rules/.plimsoll-2-plimsoll_shop_good.yaml.tmp")).unwrap();
    held.lock().unwrap();
    let ran = run(d, &["generate", "slo", "--output", "rules"]);
    assert_eq!((ran.stderr.as_str(), ran.code), ("1 file in rules, 1 changed\n", 0));
    assert_eq!(
        names(&d.join("rules")),
        [".plimsoll-2-plimsoll_shop_good.yaml.tmp", "mine.yaml", "plimsoll_shop_good.yaml"]
    );
    let before = fs::metadata(d.join("rules/plimsoll_shop_good.yaml")).unwrap().modified().unwrap();
    let ran = run(d, &["generate", "slo", "--output", "rules"]);
    assert_eq!(ran.stderr, "1 file in rules, 0 changed\n");
    assert_eq!(fs::metadata(d.join("rules/plimsoll_shop_good.yaml")).unwrap().modified().unwrap(), before);
}

/// Only what Plimsoll has written for objects that are gone is named, and removed when that is asked for.
#[test]
fn files_of_objects_that_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let named = |name: &str| GOOD.replace("name: good", &format!("name: {name}"));
    write(d, "slo/a.yaml", named("a"));
    write(d, "slo/b.yaml", named("b"));
    write(d, "slo/alerts.yaml", ALERTS);
    for format in ["prometheus", "loki", "prometheus-rule", "alertmanager"] {
        run(d, &["generate", "slo", "--format", format, "-o", &format!("rules/{format}")]);
        // Of others: another name, another content, another object's comment.
        let path = format!("rules/{format}");
        write(d, &format!("{path}/mine.yaml"), "groups:\n# shop/b: 99 % over 30d, 1 rule\n");
        write(d, &format!("{path}/plimsoll_shop_c.yaml"), "groups: []\n");
        write(d, &format!("{path}/plimsoll_shop_d.yaml"), "groups:\n# shop/b: 99 % over 30d, 1 rule\n");
        fs::create_dir(d.join(format!("{path}/plimsoll_shop_e.yaml"))).unwrap();
    }
    let others = ["mine.yaml", "plimsoll_shop_c.yaml", "plimsoll_shop_d.yaml", "plimsoll_shop_e.yaml"];
    fs::remove_file(d.join("slo/b.yaml")).unwrap();
    fs::remove_file(d.join("slo/alerts.yaml")).unwrap();
    let args = ["generate", "slo", "-o", "rules/prometheus"];
    let ran = run(d, &args);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            0,
            "\
warning: rules/prometheus has files of objects that are not among those given any more
  plimsoll.alertrule_shop_checkout.yaml
  plimsoll_shop_b.yaml
  └ help: remove them with --prune
1 file in rules/prometheus, 0 changed
"
        )
    );
    // What is broken may be what such a file belongs to.
    write(d, "slo/b.yaml", named("b").replace("99", "100"));
    assert!(!run(d, &args).stderr.contains("--prune"));
    let ran = run(d, &[&args[..], &["--prune"]].concat());
    assert_eq!(ran.code, 1);
    let refusal = "nothing removed, because an object has an error: 2 files of rules/prometheus may be its own\n";
    assert!(ran.stderr.ends_with(&format!("{refusal}1 file in rules/prometheus, 0 changed\n")), "{}", ran.stderr);
    fs::remove_file(d.join("slo/b.yaml")).unwrap();
    let ran = run(d, &[&args[..], &["--prune"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "1 file in rules/prometheus, 0 changed, 2 removed\n"));
    let mut kept = [&others[..], &["plimsoll_shop_a.yaml"]].concat();
    kept.sort_unstable();
    assert_eq!(names(&d.join("rules/prometheus")), kept);
    for (format, removed) in [("loki", 1), ("prometheus-rule", 2), ("alertmanager", 1)] {
        let path = format!("rules/{format}");
        let ran = run(d, &["generate", "slo", "--format", format, "-o", &path, "--prune"]);
        assert!(ran.stderr.ends_with(&format!(" changed, {removed} removed\n")), "{format}: {}", ran.stderr);
        assert!(others.iter().all(|name| d.join(&path).join(name).exists()), "{format}");
    }
    let ran = run(d, &["generate", "slo", "--prune"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--output <DIR>"), "{}", ran.stderr);
}

/// What is gone is known of what is read: nobody else's files are touched.
#[test]
fn only_what_the_same_inputs_wrote_is_pruned() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let named = |name: &str| GOOD.replace("name: good", &format!("name: {name}"));
    for name in ["a1", "a2", "b1"] {
        write(d, &format!("team-{}/{name}.yaml", &name[..1]), named(name));
    }
    let generate = |args: &[&str]| run(d, &[&["generate", "-o", "rules"], args].concat());
    assert_eq!(generate(&["team-a"]).stderr, "2 files in rules, 2 changed\n");
    let text = fs::read_to_string(d.join("rules/plimsoll_shop_a1.yaml")).unwrap();
    assert!(text.starts_with("# inputs: [\"../team-a\"]\ngroups:\n# shop/a1: "), "{text}");
    let other = generate(&["team-b", "--prune"]);
    assert_eq!((other.code, other.stderr.as_str()), (0, "1 file in rules, 1 changed, 0 removed, 2 of other inputs\n"));
    // Another namespace, another place of the same name, a part.
    fs::create_dir_all(d.join("elsewhere/team-a")).unwrap();
    write(d, "elsewhere/team-a/x.yaml", named("x"));
    for args in [&["team-a/a1.yaml"][..], &["elsewhere/team-a"], &["team-a/a1.yaml", "team-b"], &["team-b", "-n", "x"]]
    {
        generate(&[args, &["--prune"]].concat());
        assert_eq!(
            names(&d.join("rules")).iter().filter(|name| !name.contains("_x.")).count(),
            3,
            "{args:?}: {:?}",
            names(&d.join("rules"))
        );
    }
    // The same ones, however they are written.
    generate(&["team-a"]);
    fs::remove_file(d.join("team-a/a2.yaml")).unwrap();
    let ran = generate(&["./team-a/", "--prune"]);
    assert_eq!(ran.stderr, "1 file in rules, 0 changed, 1 removed, 2 of other inputs\n");
    assert!(!d.join("rules/plimsoll_shop_a2.yaml").exists());
}

#[test]
fn the_last_object_of_a_directory_is_pruned_too() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    for rest in [None, Some("apiVersion: v1\nkind: ConfigMap\n")] {
        write(d, "slo/a.yaml", GOOD);
        run(d, &["generate", "slo", "-o", "rules"]);
        fs::remove_file(d.join("slo/a.yaml")).unwrap();
        if let Some(rest) = rest {
            write(d, "slo/rest.yaml", rest);
        }
        let ran = run(d, &["generate", "slo", "-o", "rules"]);
        assert_eq!(ran.code, 2, "without --prune it is a mistake: {}", ran.stderr);
        let ran = run(d, &["generate", "slo", "-o", "rules", "--prune"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, "0 files in rules, 0 changed, 1 removed\n"));
        assert_eq!(names(&d.join("rules")), [""; 0]);
    }
    // One that is not there is another matter.
    write(d, "slo/a.yaml", GOOD);
    run(d, &["generate", "slo", "-o", "rules"]);
    fs::remove_dir_all(d.join("slo")).unwrap();
    let ran = run(d, &["generate", "slo", "-o", "rules", "--prune"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert_eq!(names(&d.join("rules")), ["plimsoll_shop_good.yaml"]);
}

/// Whatever may hide an object removes nothing.
#[test]
fn doubts_remove_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let args = ["generate", "slo", "-o", "rules", "--prune"];
    for (broken, why) in [
        (GOOD.replace("plimsoll.dev/v1alpha1", "plimsoll.com/v2"), "an object has an error"),
        (GOOD.replace("plimsoll.dev/v1alpha1", "openslo/v1"), "slo/a.yaml:1 is an SLO of openslo/v1"),
        (GOOD.replace("\"99\"", "{value: 99}"), "an object has an error"),
        (GOOD.replace("apiVersion: plimsoll.dev/v1alpha1\n", ""), "an object has an error"),
    ] {
        write(d, "slo/a.yaml", GOOD);
        run(d, &args);
        assert_eq!(names(&d.join("rules")), ["plimsoll_shop_good.yaml"]);
        write(d, "slo/a.yaml", &broken);
        let ran = run(d, &args);
        let words = format!("nothing removed, because {why}: 1 file of rules may be its own\n");
        assert!(ran.stderr.contains(&words), "{}", ran.stderr);
        assert_eq!(names(&d.join("rules")), ["plimsoll_shop_good.yaml"], "{broken}");
    }
    let piped = run_with_input(d, &["generate", "-", "-o", "piped"], GOOD.as_bytes());
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    let other = GOOD.replace("name: good", "name: other");
    let piped = run_with_input(d, &["generate", "-", "-o", "piped", "--prune"], other.as_bytes());
    assert!(piped.stderr.starts_with("nothing removed, since standard input"), "{}", piped.stderr);
    assert_eq!(names(&d.join("piped")), ["plimsoll_shop_good.yaml", "plimsoll_shop_other.yaml"]);
}

/// Two forms may share a directory: what one leaves out is the other's.
#[test]
fn an_object_of_another_form_is_not_gone() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "slo/all.yaml", format!("{GOOD}---\n{ALERTS}"));
    run(d, &["generate", "slo", "--format", "mimir", "-o", "rules"]);
    let ran = run(d, &["generate", "slo", "--format", "loki", "-o", "rules", "--prune"]);
    let left_out = "2 objects in PromQL left out: the other forms print them\n";
    assert_eq!(ran.stderr, format!("{left_out}1 file in rules, 1 changed, 0 removed\n"));
}

#[test]
fn places_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "slo/a.yaml", GOOD);
    write(d, "file", "");
    let ran = run(d, &["generate", "slo", "-o", "file"]);
    assert_eq!(
        (ran.stderr.as_str(), ran.code),
        ("error: cannot make directory file: file exists\n  └ help: name a directory, not a file\n", 2)
    );
    // Read-only even for root.
    let ran = run(d, &["generate", "slo", "-o", "/proc/self/rules"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: cannot make directory /proc/self/rules: "), "{}", ran.stderr);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(d, &["generate", "slo"]).stdout(full).output().unwrap();
    assert_eq!(
        (String::from_utf8(output.stderr).unwrap().as_str(), output.status.code()),
        ("error: cannot write to standard output: no space left on device\n", Some(2))
    );
}

/// A limit on the size of files stands for a full disk: the write fails half-way.
#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "slo/a.yaml", GOOD);
    write(d, "rules/plimsoll_shop_good.yaml", "groups: []\n");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" generate slo -o rules", env!("CARGO_BIN_EXE_plimsoll")])
        .current_dir(d)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cannot write rules/plimsoll_shop_good.yaml: file too large\n  └ help: make room and run it again; the files that are there are whole\n"
    );
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(names(&d.join("rules")), ["plimsoll_shop_good.yaml"]);
    assert_eq!(fs::read_to_string(d.join("rules/plimsoll_shop_good.yaml")).unwrap(), "groups: []\n");
}

/// Killed at any moment, every file is whole, and the next run leaves nothing behind.
#[test]
fn a_killed_run_tears_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    for i in 0..60 {
        write(d, &format!("slo/{i}.yaml"), GOOD.replace("name: good", &format!("name: s{i}")));
    }
    run(d, &["generate", "slo", "-o", "whole"]);
    for delay in [1, 3, 5, 8, 12, 20] {
        let mut child = command(d, &["generate", "slo", "-o", "rules"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in fs::read_dir(d.join("rules")).into_iter().flatten().map(|e| e.unwrap().file_name()) {
            if name.as_encoded_bytes().ends_with(b".yaml") {
                assert_eq!(
                    fs::read(d.join("rules").join(&name)).unwrap(),
                    fs::read(d.join("whole").join(&name)).unwrap()
                );
            }
        }
        fs::remove_dir_all(d.join("rules")).ok();
    }
    fs::create_dir(d.join("rules")).unwrap();
    run(d, &["generate", "slo", "-o", "rules"]);
    assert_eq!(names(&d.join("rules")), names(&d.join("whole")));
}

/// `plimsoll generate | head` is no error.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut child = command(&examples, &["generate"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.stderr.as_str(), ran.code), ("1 object in LogQL left out: --format loki prints them\n", 0));

    // What was found to be wrong is so all the same.
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", format!("{GOOD}---\n{}", GOOD.replace("\"99\"", "\"0.99\"")));
    for asked in ["validate", "generate"] {
        let mut asked_for = command(directory.path(), &[asked]);
        let mut child = asked_for.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(1), "{asked}");
    }
}

#[test]
fn definitions_and_schemas() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let ran = run(d, &["crds", "--output", "crds"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        names(&d.join("crds")),
        ["alertrule.yaml", "runbook.yaml", "runbookapproval.yaml", "runbookexecution.yaml", "schemas", "slo.yaml"]
    );
    let crd: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(d.join("crds/slo.yaml")).unwrap()).unwrap();
    assert_eq!(crd, serde_json::to_value(<plimsoll_api::Slo as kube::CustomResourceExt>::crd()).unwrap());
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(d.join("crds/schemas/slo.json")).unwrap()).unwrap();
    assert_eq!(schema["properties"]["kind"]["const"], "SLO");
    assert_eq!(schema["properties"]["spec"]["additionalProperties"], false);
    assert_eq!(schema.to_string().matches("x-kubernetes").count(), 0);
    let all: serde_json::Value = serde_json::from_str(&run(d, &["schemas"]).stdout).unwrap();
    assert_eq!(all["allOf"][0]["then"]["properties"], schema["properties"]);
    assert_eq!(all["allOf"].as_array().unwrap().len(), plimsoll_api::AnyKind::ALL.len());
}

const LINES: &str = "\
apiVersion: plimsoll.dev/v1alpha1
kind: AlertRule
metadata: {name: lines, namespace: shop}
spec: {matchers: {cluster: prod-eu}, rules: [{alert: Errors, logql: 'sum(rate({app=\"x\"}[1m])) > 1'}]}
";

const ALERTS: &str = "\
apiVersion: plimsoll.dev/v1alpha1
kind: AlertRule
metadata: {name: checkout, namespace: shop}
spec:
  matchers: {cluster: prod-eu}
  rules:
  - {alert: Down, expr: up == 0, severity: Page}
  - {alert: Slow, expr: latency > 1}
  route: {receiver: pager, inhibitedBy: [Down], groupBy: [job]}
---
apiVersion: plimsoll.dev/v1alpha1
kind: AlertRule
metadata: {name: lines, namespace: shop}
spec: {matchers: {cluster: prod-eu}, rules: [{alert: Errors, logql: 'sum(rate({app=\"x\"}[1m])) > 1'}]}
";

/// Every form takes the objects of its language, and says what it leaves out.
#[test]
fn alert_rules_are_generated_beside_slos() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "all.yaml", format!("{GOOD}---\n{ALERTS}"));
    let prometheus = run(folder.path(), &["generate", "all.yaml"]);
    assert_eq!(prometheus.code, 0, "{}", prometheus.stderr);
    assert!(prometheus.stdout.contains("up{cluster=\"prod-eu\"} == 0"), "{}", prometheus.stdout);
    assert!(prometheus.stdout.contains("slo:total_events:rate5m"));
    assert!(!prometheus.stdout.contains("app=") && prometheus.stderr.contains("1 object in LogQL left out"));
    let loki = run(folder.path(), &["generate", "--format", "loki", "all.yaml"]);
    assert!(loki.stdout.contains("namespace: plimsoll.alertrule_shop.lines"), "{}", loki.stdout);
    assert!(loki.stdout.contains("{app=\"x\", cluster=\"prod-eu\"}"), "{}", loki.stdout);
    let objects = run(folder.path(), &["generate", "--format", "prometheus-rule", "all.yaml"]);
    assert!(objects.stdout.contains("name: plimsoll.alertrule-checkout"), "{}", objects.stdout);
    let routes = run(folder.path(), &["generate", "--format", "alertmanager", "all.yaml"]);
    let routes: serde_json::Value = serde_saphyr::from_str(&routes.stdout).unwrap();
    assert_eq!(routes["route"]["routes"][0]["receiver"], "pager");
    assert_eq!(routes["inhibit_rules"][0]["target_matchers"][1], "alertname!~\"Down\"");
}
