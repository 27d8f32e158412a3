//! What is said of data that may be missing.

use serde_json::{Value, json};

use crate::problems;

/// Missing data of what names no job look like an idle service; who says what they mean has thought of it.
#[test]
fn indicators_without_a_job() {
    let sli = |name: &str, of: Value| json!({"sli": {"events": null, name: of}});
    let with = |path: &str, help: &str| {
        let field = path.rsplit('.').next().unwrap_or_default();
        format!(
            "warning: {path}: {field} names no job (whether targets are up cannot be told: while nothing is asked of them, SLONoData is a ticket); {help}"
        )
    };
    let selectors = "add job=\"…\" to its selectors; or set alerting.noData, to Alert where that is meant";
    let nginx = |more: Value| {
        let mut with = json!({"ingress": "shop", "namespace": "shop"});
        crate::merge(&mut with, &more);
        sli("preset", json!({"name": "nginx-ingress-availability", "with": with}))
    };
    for (patch, path, help) in [
        (
            json!({"sli": {"events": {"bad": "b_total", "total": "a_total{job=~\".+\"}"}}}),
            "spec.sli.events.total",
            selectors,
        ),
        (sli("ratio", json!({"errors": "errors:ratio"})), "spec.sli.ratio.errors", selectors),
        (sli("latency", json!({"histogram": "h_seconds", "threshold": "1s"})), "spec.sli.latency.histogram", selectors),
        (sli("timeSlices", json!({"good": "a > bool 1"})), "spec.sli.timeSlices.good", selectors),
        (nginx(json!({})), "spec.sli.preset.with", "add job: … (the scrape job); or set alerting.noData"),
    ] {
        assert_eq!(crate::all_problems(&patch), [with(path, help)]);
        for policy in ["Alert", "Bad", "Ignore"] {
            let mut patch = patch.clone();
            patch["alerting"] = json!({"noData": policy});
            assert_eq!(crate::all_problems(&patch), Vec::<String>::new());
        }
    }
    assert_eq!(crate::all_problems(&nginx(json!({"job": "ingress-nginx"}))), Vec::<String>::new());
    // A gauge is never idle.
    assert_eq!(crate::all_problems(&sli("up", json!({"series": "probe_success"}))), Vec::<String>::new());
}

/// Who guards a condition of time slices is heard: what stands after and only says when it counts.
#[test]
fn guarded_time_slices() {
    for (good, fine) in [
        ("a / b >= bool 0.9 and b > 0", true),
        ("(a > bool 1) unless b > 3", true),
        ("a > 1 and b > bool 0", false),
        ("a > bool 1 or b > 0", false),
    ] {
        let found = problems(&json!({"sli": {"events": null, "timeSlices": {"good": good}}}));
        assert_eq!(
            !found.iter().any(|problem| problem.contains("good compares without bool")),
            fine,
            "{good}: {found:?}"
        );
    }
}
