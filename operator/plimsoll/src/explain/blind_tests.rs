#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::{
    blind::Doubt,
    facts::{Facts, Loaded, Selector},
    tests::{explained, knows, of},
    text,
};
use crate::limits::Excess;

const WORKS: &str = "cart could not be examined wholly: Prometheus refuses to answer.\n";

/// What of a service that never failed looks like a name that is misspelt.
#[tokio::test]
async fn bad_events_that_nobody_counts_are_told() {
    let metrics = |names: &[&str]| ("/api/v1/label/__name__/values", json!(names));
    let login = metrics(&["login_total", "up"]);
    let outcomes = ("/api/v1/label/outcome/values", json!(["err", "ok"]));
    let codes = ("/api/v1/label/code/values", json!(["200", "404"]));
    let jobs = |of: &[&str]| ("/api/v1/label/job/values", json!(of));
    let good = "login_total{job=\"auth\"}";
    for (bad, answers, others, headline, line, last) in [
        // A job that nobody scrapes, and that nobody pushes.
        (
            "login_total{job=\"auht\",outcome=\"err\"}",
            &[("job=\"auht\"", ""), ("group by (job) (up)", "1"), ("resets(", "")][..],
            vec![login.clone(), jobs(&[])],
            "cart counts no bad events: Prometheus scrapes no target of job=\"auht\".\n",
            "  ✗ bad: login_total{job=\"auht\",outcome=\"err\"} matches nothing: Prometheus scrapes no target of job=\"auht\"\n",
            "the jobs that it scrapes are cart",
        ),
        (
            "pushed_total{job=\"auht\",outcome=\"err\"}",
            &[
                ("pushed_total{job=\"auht\",outcome=\"err\"}", ""),
                ("count(up{job=\"auht\"})", ""),
                ("group by (job) (up)", "1"),
                ("resets(", ""),
            ],
            vec![jobs(&["auht"])],
            WORKS,
            "  ✓ bad: pushed_total{job=\"auht\",outcome=\"err\"} matches nothing, which counts as no bad events\n",
            "",
        ),
        // The job of the others is right, whatever `up` says.
        (
            "login_total{job=\"auth\",outcome=\"err\"}",
            &[("outcome=\"err\"", ""), ("up{job=\"auth\"}", ""), ("resets(", "")],
            vec![jobs(&[])],
            WORKS,
            "  ✓ bad: login_total{job=\"auth\",outcome=\"err\"} matches nothing, which counts as no bad events\n",
            "",
        ),
        // A metric that is misspelt, and one that only failures make.
        (
            "logn_total{job=\"auth\"}",
            &[("logn_total", ""), ("resets(", "")],
            vec![login.clone()],
            "cart counts no bad events: there is no metric logn_total.\n",
            "  ✗ bad: logn_total{job=\"auth\"} matches nothing: there is no metric logn_total, but login_total\n",
            "did you mean login_total?",
        ),
        (
            "login_errors_total{job=\"auth\"}",
            &[("login_errors_total", ""), ("resets(", "")],
            vec![login.clone()],
            WORKS,
            "  ! bad: login_errors_total{job=\"auth\"} matches nothing: there is no metric login_errors_total so far, which counts as no bad events\n",
            "",
        ),
        // A value that is none, and one that there was none of so far.
        (
            "login_total{job=\"auth\",outcome=\"error\"}",
            &[("outcome=\"error\"", ""), ("resets(", "")],
            vec![outcomes.clone()],
            WORKS,
            "  ! bad: login_total{job=\"auth\",outcome=\"error\"} matches nothing, which counts as no bad events; outcome is one of err, ok; did you mean outcome=\"err\"?\n",
            "",
        ),
        (
            "login_total{job=\"auth\",outcome=\"denied\"}",
            &[("outcome=\"denied\"", ""), ("resets(", "")],
            vec![outcomes],
            WORKS,
            "  ✓ bad: login_total{job=\"auth\",outcome=\"denied\"} matches nothing, which counts as no bad events; outcome is one of err, ok\n",
            "",
        ),
        (
            "login_total{job=\"auth\",code=~\"5..\"}",
            &[("code=~\"5..\"", ""), ("resets(", "")],
            vec![codes],
            WORKS,
            "  ✓ bad: login_total{job=\"auth\",code=~\"5..\"} matches nothing, which counts as no bad events; code is one of 200, 404\n",
            "",
        ),
        // Two names of one metric, of which one is gone.
        (
            "sum(rate(logn_total{job=\"auth\"}[$window]) or rate(login_total{job=\"auth\"}[$window]))",
            &[("logn_total", ""), ("resets(", "")],
            vec![login],
            WORKS,
            "  ✓ bad: logn_total{job=\"auth\"} matches nothing, which counts as no bad events; did you mean login_total?\n",
            "",
        ),
    ] {
        let server = knows(answers, &others).await;
        let text = explained(&server, &of(json!({"events": {"bad": bad, "total": good}}))).await;
        assert!(text.contains(line), "{line} in\n{text}");
        assert!(text.starts_with(headline), "{headline} in\n{text}");
        assert!(text.trim_end().ends_with(last), "{text}");
    }
}

#[tokio::test]
async fn a_misspelt_label_of_group_by_has_its_neighbour_told() {
    let spec = json!({"objective": "99.9", "groupBy": ["jbo"], "sli": {"events": {"bad": "errors_total", "total": "requests_total"}}});
    let slo = plimsoll_api::Slo::new("cart", serde_json::from_value(spec).unwrap());
    let model = plimsoll_slo::AnyModel::Slo(Box::new(plimsoll_slo::validate(&slo).unwrap().model));
    let server = knows(&[("jbo!=", ""), ("topk(1, ", "1"), ("resets(", "")], &[]).await;
    let text = explained(&server, &model).await;
    assert!(text.starts_with("cart cannot be grouped by jbo: "), "{text}");
    assert!(text.trim_end().ends_with("use series that have it: errors_total; did you mean job?"), "{text}");
}

#[test]
fn what_may_never_be_counted_goes_before_what_is_kept_too_short() {
    let selector =
        |doubt| Selector { role: "bad", text: "login_total".into(), series: Some(0), doubt, ..Selector::default() };
    let with = |doubt: Option<Doubt>| {
        let excess = Excess { headline: "its period is kept too short.", what: "short".into(), remedy: "wait".into() };
        let facts = Facts {
            name: "cart".into(),
            loaded: Loaded::Yes { url: "http://prometheus:9090".into() },
            data: Some(true),
            selectors: vec![selector(doubt)],
            excess: vec![excess],
            ..Facts::default()
        };
        let text = text(&facts);
        (text.lines().next().unwrap().to_owned(), text.lines().last().unwrap().trim_start().to_owned())
    };
    let value = Doubt::Value { matcher: "outcome=\"error\"".into(), meant: "outcome=\"err\"".into() };
    let metric = Doubt::Metric { name: "login_errors_total".into(), meant: None };
    for (doubt, headline, next) in [
        (None, "cart works, but its period is kept too short.", ""),
        (
            Some(value),
            "cart works, but may count no bad events: no series has outcome=\"error\".",
            "→ check the value in login_total: did you mean outcome=\"err\"?",
        ),
        (
            Some(metric),
            "cart works, but nothing bad was ever counted: there is no metric login_errors_total so far.",
            "→ check its name, unless the service writes login_errors_total only with its first failure",
        ),
    ] {
        let (first, last) = with(doubt);
        assert_eq!(first, headline);
        assert!(last.starts_with(next), "{last}");
    }
}
