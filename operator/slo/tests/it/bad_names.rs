//! Names that are missing: of a metric, and fields that are left empty.

use serde_json::{Value, json};

use crate::{bad_inputs::check, problems};

fn only(sli: Value) -> Value {
    let mut sli = sli;
    sli["events"] = Value::Null;
    json!({"sli": sli})
}

#[test]
fn selectors_without_a_metric_name() {
    let events = |bad: &str, total: &str| json!({"sli": {"events": {"bad": bad, "total": total}}});
    let up = |series: &str| only(json!({"up": {"series": series}}));
    let line = |path: &str, field: &str, example: &str| {
        format!(
            "error: spec.sli.{path}: {field} has no metric name (it selects every metric with these labels, and Prometheus fails a rate or sum over time of two of them); write a metric name with labels, such as '{example}{{job=\"x\"}}'"
        )
    };
    let (bad, total) =
        (line("events.bad", "bad", "http_requests_total"), line("events.total", "total", "http_requests_total"));
    let of_up = line("up.series", "series", "up");
    check(&[
        ("labels alone", events("{job=\"a\",outcome=\"err\"}", "{job=\"a\"}"), &[&bad, &total]),
        ("a pattern", events("e", "{__name__=~\"e_.*\"}"), &[&total]),
        ("any but one", events("{__name__!=\"e\",job=\"a\"}", "e"), &[&bad]),
        ("up", up("{job=\"a\"}"), &[&of_up]),
        ("up by a pattern", up("{__name__=~\"up|probe_success\"}"), &[&of_up]),
        ("names in other places", events("{__name__=\"e\",outcome=\"err\"}", "{\"e.total\"}"), &[]),
        ("one without labels", events("e{}", "t{}"), &[]),
        ("up by its name", up("{__name__=\"up\"}"), &[]),
    ]);
}

#[test]
fn rates_without_a_metric_name() {
    let rate = |text: &str| json!({"sli": {"events": {"bad": "sum(rate(e[$window]))", "total": text}}});
    let errors = |text: &str| only(json!({"ratio": {"errors": text}}));
    let good = |text: &str| only(json!({"timeSlices": {"good": text, "slice": "5m"}}));
    let line = |path: &str, what: &str| {
        format!(
            "warning: spec.sli.{path}: {what} of a selector without a metric name (where two metrics have these labels, Prometheus fails the rules); write a metric name with labels"
        )
    };
    let (total, of_errors) = (line("events.total", "total has a rate"), line("ratio.errors", "errors has an increase"));
    let of_good = line("timeSlices.good", "good has an avg_over_time");
    check(&[
        ("total", rate("sum(rate({__name__=~\"e_.*\"}[$window]))"), &[&total]),
        ("errors", errors("sum(increase({job=\"a\"}[$window])) / sum(increase(t[$window]))"), &[&of_errors]),
        ("good", good("avg_over_time({job=\"a\"}[$window]) > bool 5"), &[&of_good]),
        // These hold the series apart, or the name fixes them.
        ("no rate", errors("sum({__name__=~\"e_.*\"}) / sum(t)"), &[]),
        ("the last values", good("sum(last_over_time({job=\"a\"}[$window])) > bool 5"), &[]),
        ("a name in quotes", rate("sum(rate({\"e.total\",job=\"a\"}[$window]))"), &[]),
    ]);
}

#[test]
fn fields_that_are_empty() {
    let line = |path: &str| {
        let field = path.rsplit('.').next().unwrap();
        format!("error: spec.{path}: {field} is empty; give it a value, or remove {field}")
    };
    assert_eq!(problems(&json!({"service": "", "owner": ""})), [line("service"), line("owner")]);
    assert_eq!(problems(&json!({"labels": {"team": ""}})), [line("labels.team")]);
    check(&[
        (
            "backend",
            json!({"backend": ""}),
            &["error: spec.backend: backend is empty; name a backend, or remove backend: then it is default"],
        ),
        (
            "zone of a period",
            json!({"period": {"calendar": "Month", "timeZone": ""}}),
            &[
                "error: spec.period.timeZone: timeZone is empty; use an IANA name, such as Europe/Berlin, or remove timeZone: then it is UTC",
            ],
        ),
    ]);
}
