//! `plimsoll runbook test`: what a runbook would do, in words and requests.

use std::fs;

use super::{GOOD, run, write};

const RUNBOOK: &str = "\
apiVersion: plimsoll.dev/v1alpha1
kind: Runbook
metadata: {name: crashloop, namespace: shop}
spec:
  serviceAccountName: evidence
  trigger: {alert: ['alertname=\"PodRestarting\"']}
  parameters:
  - {name: pod, object: Pod, fromLabel: pod}
  - {name: container, string: '[a-z0-9-]{1,63}', fromLabel: container}
  steps:
  - {name: last-words, logs: {pod: pod, container: container, previous: true}}
  - {name: again, evictPod: {pod: pod}, onFailure: Continue}
  artifacts: {volume: evidence}
";

fn message(alerts: &str) -> String {
    format!(r#"{{"version": "4", "status": "firing", "alerts": [{alerts}]}}"#)
}

const ALERT: &str = r#"{"status": "firing", "labels": {"alertname": "PodRestarting", "namespace": "shop", "pod": "checkout-1", "container": "app"}, "startsAt": "2026-11-26T12:00:00Z", "fingerprint": "f1"}"#;

#[test]
fn says_what_it_would_send() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    write(directory.path(), "alert.json", message(ALERT));
    let ran = run(directory.path(), &["runbook", "test", "rb.yaml", "--alert", "alert.json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for line in [
        "shop/crashloop matches alert PodRestarting since 2026-11-26T12:00:00Z.",
        "  pod = Pod checkout-1 in namespace shop",
        "  container = \"app\"",
        "  - does it still hold? ALERTS{alertname=\"PodRestarting\",alertstate=\"firing\",container=\"app\",pod=\"checkout-1\",namespace=~\"shop|\"}",
        "  - did a run for the same target end less than 30m ago?",
        "  - are at least 1 other Pods ready, and does the PodDisruptionBudget agree?",
        "Mode DryRun: an execution is made that says this; nothing is sent.",
        "1. last-words (logs), at most 5m, on failure: Stop",
        "   is done again after a crash: reading changes nothing",
        "   → GET /api/v1/namespaces/shop/pods/checkout-1/log?container=app&timestamps=true&previous=true",
        "2. again (evictPod), at most 5m, on failure: Continue",
        "   → POST /api/v1/namespaces/shop/pods/checkout-1/eviction (application/json)",
        "  UID-OF-POD stands for what the cluster says",
    ] {
        assert!(ran.stdout.lines().any(|found| found == line), "{line}\n--- in\n{}", ran.stdout);
    }
}

#[test]
fn says_why_it_is_not_started() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    for (alert, wanted) in [
        (
            ALERT.replace("PodRestarting", "Other"),
            "shop/crashloop is not started by alert Other since 2026-11-26T12:00:00Z: the alert does not match alertname=\"PodRestarting\": it has \"Other\".\n",
        ),
        (
            ALERT.replace("\"firing\"", "\"resolved\""),
            "shop/crashloop is not started by alert PodRestarting since 2026-11-26T12:00:00Z: the alert is resolved.\n",
        ),
        (
            ALERT.replace("checkout-1", "../secrets"),
            "shop/crashloop matches alert PodRestarting since 2026-11-26T12:00:00Z.\nIt is not started, since parameters are missing or wrong:\n  ✗ pod: \"../secrets\" is no name of a Pod\n",
        ),
    ] {
        write(directory.path(), "alert.json", message(&alert));
        let ran = run(directory.path(), &["runbook", "test", "rb.yaml", "--alert", "alert.json"]);
        assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), (1, "", wanted));
    }
}

#[test]
fn runs_by_hand_with_parameters() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    let arguments = ["runbook", "test", "rb.yaml", "--parameter", "pod=cart-7", "--parameter", "container=app"];
    let ran = run(directory.path(), &arguments);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("shop/crashloop matches a run by hand.\n"), "{}", ran.stdout);
    let wrong = run(directory.path(), &["runbook", "test", "rb.yaml", "--parameter", "node=a"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.contains("  ✗ node: the runbook has no such parameter\n"), "{}", wrong.stdout);
}

/// The second would silently be the one that counts.
#[test]
fn a_parameter_is_given_once() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    for arguments in [["runbook", "test", "rb.yaml"], ["runbook", "run", "crashloop"]] {
        let arguments = [&arguments[..], &["-p", "pod=a", "-p", "pod=b"]].concat();
        let ran = run(directory.path(), &arguments);
        assert_eq!((ran.code, ran.stderr.lines().next()), (2, Some("error: pod is given twice")), "{}", ran.stderr);
    }
}

#[test]
fn a_prometheus_is_asked_with_a_cluster_alone() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    let ran = run(directory.path(), &["runbook", "test", "rb.yaml", "--prometheus", "http://localhost:9090"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--cluster"), "{}", ran.stderr);
}

/// Of a list of Alertmanager's API one is silenced: that is told, and the others are.
#[test]
fn a_silenced_alert_keeps_no_other_back() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    let of = |state: &str| ALERT.replace("\"status\": \"firing\"", &format!(r#""status": {{"state": "{state}"}}"#));
    let test = |alerts: String| {
        write(directory.path(), "alert.json", alerts);
        run(directory.path(), &["runbook", "test", "rb.yaml", "--alert", "alert.json"])
    };
    let silenced = "shop/crashloop is not started by alert PodRestarting since 2026-11-26T12:00:00Z: it is silenced or inhibited.\n";
    let ran = test(format!("[{}, {}]", of("suppressed"), of("active")));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let both = format!("{silenced}\nshop/crashloop matches alert PodRestarting");
    assert!(ran.stdout.starts_with(&both), "{}", ran.stdout);
    let ran = test(of("suppressed"));
    assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), (1, "", silenced));
}

#[test]
fn says_what_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    write(directory.path(), "slo.yaml", GOOD);
    for (content, wanted) in [
        ("{", "error: alert.json: this is no JSON: EOF while parsing an object at line 1 column 1\n"),
        (
            r#"{"version": "3", "alerts": []}"#,
            "error: alert.json: this is no message of Alertmanager: version: \"3\" is not known; Alertmanager sends \"4\"\n",
        ),
        ("[]", "error: alert.json: it holds no alert\n"),
    ] {
        fs::write(directory.path().join("alert.json"), content).unwrap();
        let ran = run(directory.path(), &["runbook", "test", "rb.yaml", "--alert", "alert.json"]);
        assert_eq!(ran.code, 2, "{content}");
        assert!(ran.stderr.starts_with(wanted), "{}", ran.stderr);
    }
    let ran = run(directory.path(), &["runbook", "test", "rb.yaml", "--alert", "none.json"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: cannot read none.json: "), "{}", ran.stderr);
    let ran = run(directory.path(), &["runbook", "test", "slo.yaml"]);
    assert_eq!((ran.code, ran.stderr.lines().next()), (2, Some("error: slo.yaml holds no Runbook")));
}

/// A runbook is checked, and nothing is generated of it.
#[test]
fn a_runbook_is_validated_and_not_generated() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    let ran = run(directory.path(), &["validate", "rb.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "checked 1 object in 1 file: 0 errors, 0 warnings\n"));
    write(directory.path(), "slo.yaml", GOOD);
    let ran = run(directory.path(), &["generate", "."]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stdout.contains("crashloop"), "{}", ran.stdout);
}

/// An alert that names a runbook starts it, or whoever writes both is told why not.
#[test]
fn an_alert_is_held_against_the_runbook_that_it_names() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "rb.yaml", RUNBOOK);
    let rule = |alert: &str, expr: &str| {
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: AlertRule\nmetadata: {{name: restarts, namespace: shop}}\nspec:\n  rules:\n  - {{alert: {alert}, expr: '{expr}', for: 1m, severity: Page, runbooks: [crashloop]}}\n"
        )
    };
    let by = "sum by (pod, container) (increase(restarts_total[10m])) > 5";
    for (alert, expr, wanted) in [
        ("PodRestarting", by, None),
        // It may have any label.
        ("PodRestarting", "increase(restarts_total[10m]) > 5", None),
        ("PodRestarted", by, Some("warning: alert PodRestarted does not start Runbook shop/crashloop")),
        (
            "PodRestarting",
            "(sum by (pod) (increase(restarts_total[10m]))) > 5",
            Some("warning: alert PodRestarting has no label container, which Runbook shop/crashloop wants"),
        ),
    ] {
        write(directory.path(), "rule.yaml", rule(alert, expr));
        let ran = run(directory.path(), &["validate", "."]);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        let told = ran.stdout.lines().find(|line| line.starts_with("warning: alert "));
        assert_eq!(told, wanted, "{}", ran.stdout);
    }
}
