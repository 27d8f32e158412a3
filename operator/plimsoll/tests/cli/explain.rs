//! Files explained without a server; what servers answer is tested end to end.

use super::*;

fn two() -> String {
    format!("{GOOD}---\n{}", GOOD.replace("name: good", "name: other"))
}

fn lines_of<'t>(text: &'t str, begin: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.trim_start().starts_with(begin)).collect()
}

/// A run that finds no cluster and no Prometheus of this machine.
fn explain(directory: &Path, args: &[&str]) -> Ran {
    command(directory, &[&["explain"], args].concat())
        .env("KUBECONFIG", directory.join("none"))
        .env_remove("PLIMSOLL_PROMETHEUS")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into()
}

#[test]
fn every_object_is_explained_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "slo/all.yaml", two());
    write(
        d,
        "slo/pods.yml",
        "apiVersion: plimsoll.dev/v1alpha1\nkind: AlertRule\nmetadata: {name: pods, namespace: shop}\nspec: {rules: [{alert: Down, expr: up == 0}]}\n",
    );
    let ran = explain(d, &["slo"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let parts: Vec<&str> = ran.stdout.split("\n\n").collect();
    assert_eq!(parts.len(), 3, "{}", ran.stdout);
    for (part, name) in parts.iter().zip(["good", "other"]) {
        assert!(part.starts_with(&format!("{name} is valid; nobody was asked about its data.\n")), "{part}");
        assert!(part.ends_with("    series: up\n  → give --prometheus URL to see them"), "{part}");
    }
    assert_eq!(
        parts[2],
        "pods is valid; nobody was asked about its alerts.\n  ✓ valid, rendered to 1 alert\n  · Down: up\n  → give --prometheus URL to see its alerts\n"
    );
    assert_eq!(explain(d, &["slo/all.yaml", "slo/pods.yml"]).stdout, ran.stdout);
    // Of several namespaces, where names alone tell too little.
    write(d, "far/all.yaml", GOOD.replace("namespace: shop", "namespace: far"));
    let both = explain(d, &["far", "slo"]);
    for name in ["far/good", "shop/good", "shop/other", "shop/pods"] {
        assert_eq!(lines_of(&both.stdout, &format!("{name} is valid; ")).len(), 1, "{name} in {}", both.stdout);
    }
    let piped = run_with_input(d, &["explain", "-"], two().as_bytes());
    assert_eq!(piped.stdout, format!("{}\n\n{}\n", parts[0], parts[1]));
}

#[test]
fn what_is_wrong_is_said_as_by_validate() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "a.yaml", two().replacen("99", "0.9995", 1));
    let ran = explain(d, &["a.yaml"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "\
error: objective is a percentage
  ┌ a.yaml:4:19
4 │ spec: {objective: \"0.9995\", sli: {up: {series: up}}}
  │                   ^^^^^^^^ 0.9995 % would allow 99 of 100 requests to fail
  └ help: write \"99.95\"

"
    );
    assert!(ran.stdout.starts_with("other is valid; "), "{}", ran.stdout);
    // A warning is told once, with its place.
    write(d, "a.yaml", GOOD.replace("up: {series: up}", "latency: {histogram: x_milliseconds, threshold: 300ms}"));
    let ran = explain(d, &["a.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("warning: histogram ends in _milliseconds"), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("good is valid; ") && !ran.stdout.contains("_milliseconds,"), "{}", ran.stdout);
}

#[test]
fn what_is_not_there_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "slo/pod.yaml", "apiVersion: v1\nkind: Pod\n");
    write(
        d,
        "slo/runbook.yaml",
        "apiVersion: plimsoll.dev/v1alpha1\nkind: Runbook\nmetadata: {name: a}\nspec: {serviceAccountName: a, trigger: {manual: {}}, steps: [{name: rest, wait: 1m}]}\n",
    );
    for (args, message) in [
        (&["slo/nosuch.yaml"][..], "error: slo/nosuch.yaml does not exist\n  └ help: check the path\n"),
        (
            &["nosuch", "-n", "shop"],
            "error: nosuch does not exist\n  └ help: check the path; of the cluster, name slo/nosuch or alertrule/nosuch\n",
        ),
        (
            &["runbook/restart"],
            "error: runbook/restart is no file, and no kind that is explained\n  └ help: name files or directories, slo/NAME or alertrule/NAME; of a Runbook plimsoll runbook test FILE says what it would do\n",
        ),
        (
            &["slo/runbook.yaml"],
            "error: no SLO or AlertRule found in slo/runbook.yaml\n  └ help: nothing is explained of the other kinds; plimsoll runbook test FILE says what a Runbook would do\n",
        ),
    ] {
        let ran = explain(d, args);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (2, "", message), "{args:?}");
    }
    let ran = explain(d, &["slo/checkout"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert_eq!(
        ran.stderr,
        format!(
            "error: no kubeconfig: {}: No such file or directory (os error 2)\n  └ help: set KUBECONFIG to the file that names the cluster; files are explained without one: plimsoll explain slo/*.yaml --prometheus URL\n",
            d.join("none").display()
        )
    );
}

#[test]
fn an_api_server_that_is_not_there_is_told_in_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(
        d,
        "none",
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: a, user: {}}]\n",
    );
    let ran = explain(d, &["slo/checkout"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("error: the API server does not answer: connection refused: "), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("; see that the cluster runs and can be reached: kubectl get --raw /readyz"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_prometheus_that_does_not_answer_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    write(d, "a.yaml", two());
    let ran = explain(d, &["a.yaml", "--prometheus", "http://127.0.0.1:1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""));
    assert_eq!(ran.stdout.matches("127.0.0.1:1").count(), 1, "{}", ran.stdout);
    for name in ["good", "other"] {
        let headline = format!("{name} could not be examined: Prometheus does not answer.");
        assert_eq!(lines_of(&ran.stdout, name), [headline], "{}", ran.stdout);
    }
    let next = lines_of(&ran.stdout, "→");
    assert_eq!(
        next[0],
        "  → see that it runs and can be reached from here, or give another address with --prometheus URL: http://127.0.0.1:1 does not answer: connection refused: nothing listens on this port there"
    );
    assert_eq!(next[1], "  → see above; it was not asked again");
    let ran = explain(d, &["a.yaml", "--prometheus", "nowhere"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("error: --prometheus: "), "{}", ran.stderr);
}
