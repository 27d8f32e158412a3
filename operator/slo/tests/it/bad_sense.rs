//! Expressions that can be read and are hardly meant.

use serde_json::json;

use crate::bad_inputs::check;

#[test]
fn matchers_that_are_meant_otherwise() {
    let events = |bad: &str, total: &str| json!({"sli": {"events": {"bad": bad, "total": total}}});
    check(&[
        (
            "lists with commas",
            events("a{code=~\"500, 502\",route!~\"/health,x\"}", "t{code!=\"404,5..\",method=~\"GET,POST\",b=\"c,d\"}"),
            &[
                "warning: spec.sli.events.bad: code is compared with a list letter by letter (no code is 500, 502 itself); write code=~\"500|502\"",
                "warning: spec.sli.events.total: code is compared with a list letter by letter (no code is 404,5.. itself); write code!~\"404|5..\"",
                "warning: spec.sli.events.total: method is compared with a list letter by letter (no method is GET,POST itself); write method=~\"GET|POST\"",
            ],
        ),
        (
            "commas that are no list",
            events("a{code=~\"5[0-9]{1,2}\",dn=~\"cn=x,ou=.*\",b=~\"Smith, .*\"}", "t{code=~\"|,500\",c=~\"5,\"}"),
            &[],
        ),
        (
            "classes by a name that codes do not have",
            events("a{code=\"5xx\"}", "t{status!=\"4XX\"}"),
            &[
                "warning: spec.sli.events.bad: code is compared with a class of codes letter by letter (only 5xx itself fits); write code=~\"5..\", or code=~\"5xx\" where that is its name",
                "warning: spec.sli.events.total: status is compared with a class of codes letter by letter (only 4XX itself fits); write status!~\"4..\", or status!~\"4XX\" where that is its name",
            ],
        ),
        (
            "classes by their names",
            events(
                "haproxy_backend_http_responses_total{code=\"5xx\"}",
                "t{code=~\"5xx\",size!=\"3xx\",status=\"xx\"}",
            ),
            &[],
        ),
    ]);
}

fn only(sli: serde_json::Value) -> serde_json::Value {
    let mut sli = sli;
    sli["events"] = serde_json::Value::Null;
    json!({"sli": sli})
}

#[test]
fn conditions_and_ratios() {
    let good = |text: &str| only(json!({"timeSlices": {"good": text, "slice": "1m"}}));
    let errors = |text: &str| only(json!({"ratio": {"errors": text}}));
    let filtered = "warning: spec.sli.ratio.errors: errors compares without bool (where it is less there are no data instead of few errors); write the ratio alone; or a condition, with bool, as sli.timeSlices.good";
    let count = "warning: spec.sli.ratio.errors: errors is a count and no ratio (a ratio is from 0 to 1, and everything above 1 counts as 1); divide it by the same of all events; or write both as sli.events";
    check(&[
        (
            "and",
            good("(a < bool 5) and on () (b > bool 3)"),
            &[
                "warning: spec.sli.timeSlices.good: what stands after and changes nothing (and asks whether it is there, and with bool it is, also as 0); write * instead of and",
            ],
        ),
        (
            "unless",
            good("min((a < bool 5) unless b > bool 3)"),
            &[
                "warning: spec.sli.timeSlices.good: what stands after unless changes nothing (unless asks whether it is there, and with bool it is, also as 0); write * (1 - (…)) instead of unless",
            ],
        ),
        ("a short slice, which is asked as often", only(json!({"timeSlices": {"good": "up", "slice": "10s"}})), &[]),
        (
            "a histogram by a name in quotes",
            only(json!({"latency": {"histogram": "{\"http.server\",job=\"a\"}", "threshold": "1s"}})),
            &[
                "error: spec.sli.latency.histogram: histogram has a name in quotes (the names of its series are derived from plain ones alone); use sli.events with good: '{\"http.server_bucket\",le=\"0.3\"}' and total: '{\"http.server_count\"}'",
            ],
        ),
        ("times, and what is there", good("((a < bool 5) * (b > bool 3)) and c"), &[]),
        ("a ratio that is filtered", errors("(sum(a) / sum(b)) > 0.01"), &[filtered]),
        ("NaN that is filtered", errors("(sum(a) / sum(b)) >= 0"), &[]),
        ("a rate", errors("sum(rate(a{code=~\"5..\"}[$window]))"), &[count]),
        ("a share of the time", errors("avg(rate(down_seconds_total[$window]))"), &[]),
        ("shares, recorded by others", errors("avg(job:errors:ratio$window)"), &[]),
    ]);
}

#[test]
fn ratios_of_hundred_and_of_successes() {
    let errors = |text: &str| only(json!({"ratio": {"errors": text}}));
    let percentage = |what: &str| {
        format!(
            "warning: spec.sli.ratio.errors: errors is a percentage (a ratio is from 0 to 1, and everything above 1 counts as 1); remove the {what}"
        )
    };
    let (before, after) = (percentage("100 *"), percentage("* 100"));
    let good = "warning: spec.sli.ratio.errors: errors counts requests that succeeded (code=~\"2..\"); write 1 - (…), or select the failed ones before the /";
    let rate = |matcher: &str| format!("sum(rate(r{{{matcher}}}[$window]))");
    let (failed, done, all) = (rate("code=~\"5.*\""), rate("code=~\"2..\""), rate(""));
    check(&[
        ("before all", errors(&format!("100 * {failed} / {all}")), &[&before]),
        ("in brackets", errors(&format!("100 * ({failed} / {all})")), &[&before]),
        ("in the numerator", errors(&format!("({failed} * 100) / {all}")), &[&after]),
        ("behind all", errors(&format!("{failed} / {all} * 100")), &[&after]),
        ("on both sides", errors(&format!("{failed} * 100 / ({all} * 100)")), &[]),
        ("and divided again", errors(&format!("100 * {failed} / 100")), &[]),
        ("successes", errors(&format!("{done} / {all}")), &[good]),
        ("successes in percent", errors(&format!("100 * {done} / {all}")), &[&before, good]),
        ("the rest of successes", errors(&format!("1 - {done} / {all}")), &[]),
        ("all but successes", errors(&format!("({all} - {done}) / {all}")), &[]),
    ]);
    // The place is the factor's, and no star of a pattern.
    let text = format!("{failed} * 100 / {}", rate("path=~\"/a.*\""));
    let found = plimsoll_slo::validate(&crate::slo(&errors(&text))).unwrap().warnings;
    let place = found.iter().find(|problem| problem.message == "errors is a percentage").unwrap().span.clone().unwrap();
    assert_eq!(&text[place], "* 100");
}

#[test]
fn data_that_are_never_missing() {
    let line = |path: &str, field: &str, value: &str, help: &str| {
        format!(
            "warning: spec.sli.{path}: {field} is {value} where nothing is there (or vector({value}): nobody is told of missing data); {help}alerting.noData says what missing data mean"
        )
    };
    let total = |text: &str| json!({"sli": {"events": {"bad": "sum(rate(a[$window])) or vector(0)", "total": text}}});
    let of_total = line("events.total", "total", "0", "remove it: ");
    let of_errors = line("ratio.errors", "errors", "0", "write it beside the errors alone, before the /; ");
    let of_good = line("timeSlices.good", "good", "1", "remove it: ");
    let errors = |text: &str| only(json!({"ratio": {"errors": text}}));
    let good = |text: &str| only(json!({"timeSlices": {"good": text}}));
    check(&[
        ("total", total("sum(rate(b[$window])) or vector(0)"), &[&of_total]),
        ("inside a sum", total("(sum((rate(b[$window]) or on () (vector(0)))))"), &[&of_total]),
        ("errors", errors("sum(a) / sum(b) or vector(0)"), &[&of_errors]),
        ("good", good("a > bool 5 or vector(1)"), &[&of_good]),
        ("a part of it", total("sum(rate(b[$window])) + (sum(rate(c[$window])) or vector(0))"), &[]),
        ("errors that are none yet", errors("(sum(a) or vector(0)) / sum(b)"), &[]),
        ("missing is bad", errors("sum(a) / sum(b) or vector(1)"), &[]),
        ("missing is bad", good("a > bool 5 or vector(0)"), &[]),
        ("another metric", total("sum(rate(b[$window]) or rate(c[$window]))"), &[]),
    ]);
}

#[test]
fn buckets() {
    let events = |field: &str, text: &str| json!({"sli": {"events": {"bad": null, field: text, "total": "h_count"}}});
    let many = "error: spec.sli.events.good: h_bucket has more than one le (each request would count once for every bucket); write one, such as le=\"0.3\", or use sli.latency with histogram h";
    let whole = "warning: spec.sli.events.good: le=\"5\" is le=\"5.0\" in Prometheus 3 (and what the client writes in older ones); write le=~\"5|5\\\\.0\", or use sli.latency with histogram h";
    check(&[
        ("all but one", events("good", "h_bucket{le!=\"+Inf\"}"), &[many]),
        ("two", events("good", "sum(rate(h_bucket{le=~\"(0.1|5)\"}[$window]))"), &[many]),
        ("any", events("good", "h_bucket{le=~\".+\"}"), &[many]),
        ("a whole number", events("good", "h_bucket{le=\"5\"}"), &[whole]),
        ("the same of Prometheus 3", events("good", "h_bucket{le=\"5.0\"}"), &[whole]),
        ("both spellings", events("good", "h_bucket{le=~\"5|5\\\\.0\"}"), &[]),
        ("in another way", events("good", "h_bucket{le=~\"5(\\\\.0)?\"}"), &[]),
        ("a fraction", events("good", "h_bucket{le=\"0.5\"}"), &[]),
        (
            "the fast ones",
            events("bad", "h_bucket{le=\"0.5\"}"),
            &[
                "warning: spec.sli.events.bad: bad counts requests that were fast enough (a bucket holds all up to its le, here 0.5); write it as good",
            ],
        ),
        ("all of them", json!({"sli": {"events": {"bad": "h_failed", "total": "h_bucket{le=\"+Inf\"}"}}}), &[]),
    ]);
}

#[test]
fn slices_of_amounts() {
    let good = |text: &str| only(json!({"timeSlices": {"good": text, "slice": "1m"}}));
    let amount = "warning: spec.sli.timeSlices.good: good is a number and no condition (a slice is good where it is 1, and bad where it is less); compare it: … <= bool 50, with the largest value of a good slice";
    for text in [
        "avg(queue_length)",
        "(sum by (queue) (queue_length))",
        "quantile(0.9, latency_seconds)",
        "count(queue_length)",
        "rate(errors_total[$window])",
        "max(sum by (pod) (increase(errors_total[$window])))",
        "histogram_quantile(0.99, sum by (le) (rate(h_bucket[$window])))",
        "avg(avg_over_time(queue_length[$window]))",
        "avg(node_filesystem_avail_bytes)",
        "sum(kafka_consumergroup_lag)",
        "quantile(0.9, rabbitmq_queue_messages)",
        "avg(go_goroutines)",
    ] {
        check(&[(text, good(text), &[amount])]);
    }
    let ratio = amount.replace("… <= bool 50, with the largest value of a good slice", "(…) >= bool 0.99");
    for text in ["1 - job:error_ratio:rate5m", "1 - avg(errors_total / requests_total)", "1 - avg(cache_hit_ratio)"] {
        check(&[(text, good(text), &[&ratio])]);
    }
    // A gauge that is 0 or 1, or what only its author knows.
    for text in [
        "probe_success",
        "up{job=\"a\"}",
        "min(up)",
        "avg(up)",
        "sum(probe_success)",
        "max(queue_length)",
        "queue_length",
        "min by (pod) (kube_pod_status_ready)",
        "avg(min_over_time(probe_success[$window]))",
        "avg(shop:checkout:within_bounds)",
        "sum(queue_length) <= bool 50",
        "avg(queue_length <= bool 50)",
        "clamp_max(a, 1)",
        "absent(a) * 0",
        "avg(gotk_reconcile_condition{type=\"Ready\",status=\"True\"})",
        "avg(argocd_app_info{health_status=\"Healthy\"})",
        "min(vault_core_unsealed)",
        "avg(vault_core_unsealed)",
        "sum(patroni_primary)",
        "avg(bgp_session_established)",
        "avg(avg_over_time(synthetics_check_passed[$window]))",
        "avg(node_network_carrier)",
        "avg(has_connections)",
        "1 - max(checkout_maintenance)",
    ] {
        check(&[(text, good(text), &[])]);
    }
}

#[test]
fn ratios_of_what_went_well() {
    let errors = |text: &str| only(json!({"ratio": {"errors": text}}));
    for (text, name, help) in [
        ("job:success_ratio", "job:success_ratio", "write 1 - job:success_ratio"),
        (
            "job:success:ratio_rate$window{job=\"a\"}",
            "job:success:ratio_rate$window",
            "write '1 - job:success:ratio_rate$window{job=\"a\"}'",
        ),
        ("avg(checkout_availability)", "checkout_availability", "write 1 - (…) around it"),
        ("avg(checkout_availability{path!=\"/healthz\"})", "checkout_availability", "write 1 - (…) around it"),
        (
            "sum(rate(http_success_total[$window])) / sum(rate(http_requests_total[$window]))",
            "http_success_total",
            "write 1 - (…) around it",
        ),
    ] {
        let told = format!(
            "warning: spec.sli.ratio.errors: errors is called {name}, as the share of good events is (what goes well would use up the error budget); {help}; or leave it if the name is wrong"
        );
        check(&[(text, errors(text), &[&told])]);
    }
    for text in [
        "1 - job:success_ratio",
        "job:unsuccessful_ratio",
        "job:availability_errors:ratio",
        "job:error_ratio",
        "sum(rate(failed_total[$window])) / sum(rate(success_total[$window]))",
        "sum(rate(success_total{result=\"failure\"}[$window])) / sum(rate(success_total[$window]))",
        "avg(probe_success == bool 0)",
        "sum(rate(login_success_total{success=\"false\"}[$window])) / sum(rate(logins_total[$window]))",
        "sum(rate(availability_checks_total{result=\"down\"}[$window])) / sum(rate(checks_total[$window]))",
        "sum(rate(grpc_success_total{code!=\"OK\"}[$window])) / sum(rate(grpc_calls_total[$window]))",
        "service:availability_loss:ratio",
        "slo:availability_burn:ratio",
        "job:availability_violations:ratio",
        "(sum(rate(all_total[$window])) - sum(rate(success_total[$window]))) / sum(rate(all_total[$window]))",
    ] {
        check(&[(text, errors(text), &[])]);
    }
}

#[test]
fn answers_that_nobody_waits_for() {
    let latency =
        |histogram: &str, threshold: &str| only(json!({"latency": {"histogram": histogram, "threshold": threshold}}));
    check(&[
        (
            "seconds for milliseconds",
            latency("http_request_duration_seconds", "300s"),
            &[
                "warning: spec.sli.latency.threshold: threshold is 5m, longer than anybody waits for an answer (whatever is faster counts as good); write 300ms if milliseconds are meant",
            ],
        ),
        ("a minute", latency("http_request_duration_seconds", "60s"), &[]),
        (
            "more seconds than there are",
            latency("http_request_duration_seconds", "18446744073709551615s"),
            &["error: spec.sli.latency.threshold: threshold is too long (18446744073709551615s); use at most 1y"],
        ),
        ("minutes, named as such", latency("http_upload_seconds", "5m"), &[]),
        ("a batch", latency("backup_duration_seconds", "300s"), &[]),
    ]);
}

#[test]
fn the_series_alone() {
    let series = |text: &str| only(json!({"up": {"series": text}}));
    let alone =
        |is: &str, help: &str| format!("error: spec.sli.up.series: series is not a bare selector (it is {is}); {help}");
    let one = "write the series alone: 'up{job=\"a\"}'; a condition belongs into sli.timeSlices.good";
    let any = "write a metric name with labels, such as 'up{job=\"x\"}'";
    check(&[
        ("an aggregation", series("min(up{job=\"a\"})"), &[&alone("an aggregation", one)]),
        ("a comparison", series("up{job=\"a\"} == 1"), &[&alone("an expression", one)]),
        ("several", series("up{job=\"a\"} * probe_success"), &[&alone("an expression", any)]),
    ]);
    let rolling = json!({"period": {"rolling": "30"}});
    let days = "error: spec.period.rolling: rolling is not a duration (30 has no unit); write 30d if days are meant";
    check(&[("a period without a unit", rolling, &[days])]);
}
