//! Each input that must be refused, with the very words of the refusal.

use serde_json::{Value, json};

use crate::problems;

/// One bad input and all that is said of it.
pub(crate) fn check(cases: &[(&str, Value, &[&str])]) {
    for (what, patch, want) in cases {
        assert_eq!(problems(patch), *want, "{what}");
    }
}

#[test]
fn objective() {
    let line = |label: &str, help: &str| format!("error: spec.objective: objective is a percentage ({label}); {help}");
    for (value, label, help) in [
        ("0.999", "0.999 % would allow 99 of 100 requests to fail", "write \"99.9\""),
        ("0.9995", "0.9995 % would allow 99 of 100 requests to fail", "write \"99.95\""),
        ("1", "1 % would allow 99 of 100 requests to fail", "write it like \"99.95\""),
        ("100", "100 % leaves no error budget", "write less than 100, such as \"99.95\""),
        ("101", "more than 100 %", "write less than 100, such as \"99.95\""),
        ("0", "0 % promises nothing", "write it like \"99.95\""),
        ("-1", "-1 is not a decimal number", "write it like \"99.95\""),
        ("NaN", "NaN is not a decimal number", "write it like \"99.95\""),
        ("1e2", "1e2 is not a decimal number", "write it like \"99.95\""),
        ("99,9", "99,9 has a comma", "write \"99.9\""),
        ("", "it is empty", "write it like \"99.95\""),
        ("99.9 %", "99.9 % has a space", "write \"99.9\""),
        ("99..9", "99..9 is not a decimal number", "write it like \"99.95\""),
        ("99,9 %", "99,9 % has a comma", "write \"99.9\""),
        ("99.5 percent", "99.5 percent is not a decimal number", "write \"99.5\""),
        ("five nines", "five nines is not a decimal number", "write it like \"99.95\""),
        ("99.9 - 99.95", "99.9 - 99.95 is not a decimal number", "write it like \"99.95\""),
        ("99,9,5", "99,9,5 is not a decimal number", "write it like \"99.95\""),
        ("0099.9", "0099.9 has too many digits", "write \"99.9\""),
        (
            "99.12345678901",
            "99.12345678901 has too many digits",
            "use at most 3 digits before the point and 10 after it",
        ),
        ("9995", "more than 100 %", "write less than 100, such as \"99.95\""),
        ("1000000000000000000000000000000", "more than 100 %", "write less than 100, such as \"99.95\""),
        ("0.005", "0.005 % would allow 99.9 of 100 requests to fail", "write it like \"99.95\""),
        ("0.5", "0.5 % would allow 99.5 of 100 requests to fail", "write \"50\""),
    ] {
        assert_eq!(problems(&json!({"objective": value})), [line(label, help)], "{value:?}");
    }
    for value in ["99.95%", "099.1234567890"] {
        assert!(problems(&json!({"objective": value})).is_empty(), "{value}");
    }
}

#[test]
fn indicators() {
    let events = |bad: &str, total: &str| json!({"sli": {"events": {"bad": bad, "total": total}}});
    let ok = r#"http_requests_total{job="checkout"}"#;
    let only = |mut sli: Value| {
        sli["events"] = Value::Null;
        json!({"sli": sli})
    };
    check(&[
        (
            "two",
            json!({"sli": {"up": {"series": "up"}}}),
            &[
                "error: spec.sli: sli has exactly one of events, ratio, latency, up, timeSlices, preset, composite (there are events and up); keep one",
            ],
        ),
        (
            "none",
            json!({"sli": {"events": null}}),
            &[
                "error: spec.sli: sli has exactly one of events, ratio, latency, up, timeSlices, preset, composite (there is none); add one",
            ],
        ),
        (
            "three counters",
            json!({"sli": {"events": {"good": "g"}}}),
            &[
                "error: spec.sli.events: events has exactly two of bad, good and total (all three are there); remove good: it is total less bad",
            ],
        ),
        (
            "total is an expression",
            events(ok, "sum(rate(a[5m]))"),
            &[
                "error: spec.sli.events.total: total has a fixed range ([5m]); write [$window] instead of [5m]: sum(rate(a[$window]))",
            ],
        ),
        (
            "total is a number",
            events(ok, "1"),
            &[
                "error: spec.sli.events.total: total is not a bare selector (it is a number); write a bare counter such as 'http_requests_total{job=\"x\"}', or rates of one with [$window] in total",
            ],
        ),
        (
            "total has a range",
            events(ok, "a[5m]"),
            &[
                "error: spec.sli.events.total: total is not a bare selector (it is a selector with a range); write a bare counter such as 'http_requests_total{job=\"x\"}', or rates of one with [$window] in total",
            ],
        ),
        (
            "total has an offset",
            events(ok, "a offset 5m"),
            &[
                "error: spec.sli.events.total: total is not a bare selector (it is a selector with offset or @); write a bare counter such as 'http_requests_total{job=\"x\"}', or rates of one with [$window] in total",
            ],
        ),
        (
            "errors = total",
            events(ok, ok),
            &[
                "error: spec.sli.events.bad: bad and total are the same (every event would be bad); select the bad events only, for example by their status code",
            ],
        ),
        (
            "parenthesis",
            events("sum(rate(a[$window])", ok),
            &["error: spec.sli.events.bad: bad is not valid PromQL (this ( is never closed); close it"],
        ),
        (
            "dashes in a name",
            events("ferry-requests-total{status=~\"5..\"}", "ferry-requests-total"),
            &[
                "error: spec.sli.events.bad: bad is not a bare selector (a dash is a minus); write 'ferry_requests_total{status=~\"5..\"}', or '{\"ferry-requests-total\",status=~\"5..\"}' if its name has dashes",
                "error: spec.sli.events.total: total is not a bare selector (a dash is a minus); write ferry_requests_total, or '{\"ferry-requests-total\"}' if its name has dashes",
            ],
        ),
        (
            "a difference",
            events("a - b", "a{b=\"c\"}-d"),
            &[
                "error: spec.sli.events.bad: bad is not a bare selector (it is an expression); write a bare counter such as 'http_requests_total{job=\"x\"}', or rates of one with [$window] in bad",
                "error: spec.sli.events.total: total is not a bare selector (it is an expression); write a bare counter such as 'http_requests_total{job=\"x\"}', or rates of one with [$window] in total",
            ],
        ),
        (
            "a label's value in order, and a word between matchers",
            events("a{code>=\"500\"}", "a{code=\"x\" and b=\"c\"}"),
            &[
                "error: spec.sli.events.bad: bad is not valid PromQL (unexpected character inside braces: '>'); a label's value is text and has no order: write code=~\"5..\"",
                "error: spec.sli.events.total: total is not valid PromQL (invalid promql query); write a comma instead of and: a series must fit all matchers",
            ],
        ),
        (
            "a backslash alone, and a number beyond all",
            events("a{code=~\"5\\d\\d\"}", "rate(a[$window]) > 1e400"),
            &[
                "error: spec.sli.events.bad: bad is not valid PromQL (unknown escape sequence 'd'); double the backslash: \"5\\\\d\\\\d\"",
                "error: spec.sli.events.total: total has a number that no float can hold (Prometheus would refuse the whole rule file); write a number below 1.8e308, or Inf",
            ],
        ),
        (
            "everything, after a word",
            events("rate(a[$window]) unless {job=~\".*\"}", "rate(a[$window])"),
            &[
                "error: spec.sli.events.bad: bad is not valid PromQL (vector selector must contain at least one non-empty matcher); name a metric before the brace, or what must be there: job=~\".+\"",
            ],
        ),
        (
            "bytes",
            events("a{b=\"\\303\\251\"}", "a"),
            &["error: spec.sli.events.bad: bad has bytes by their numbers (\\303\\251); write é instead"],
        ),
        (
            "or between matchers",
            events("rate(a{b=\"c\" or d=\"e\"}[$window])", ok),
            &[
                "error: spec.sli.events.bad: bad has or between matchers (Prometheus does not know that); write two selectors with or between them",
            ],
        ),
        (
            "experiment",
            events("rate(a[$window]) + fill(0) b", "sum(ts_of_max_over_time(a[$window]))"),
            &[
                "error: spec.sli.events.bad: bad uses fill, which Prometheus has only as an experiment; write (a or b * 0) instead: a Prometheus without that feature flag would refuse the whole rule file",
                "error: spec.sli.events.total: total uses ts_of_max_over_time, which Prometheus has only as an experiment; use another function: a Prometheus without that feature flag would refuse the whole rule file",
            ],
        ),
        (
            "window with a letter too many",
            events("rate(a[$windows])", "rate(a[1h$window])"),
            &[
                "error: spec.sli.events.bad: bad does not have $window alone ([$windows] would become [5ms]); write [$window], with nothing else beside it",
                "error: spec.sli.events.total: total does not have $window alone ([1h$window] would become [1h5m]); write [$window], with nothing else beside it",
            ],
        ),
        (
            "window of a recorded series with a letter too many",
            only(json!({"ratio": {"errors": "job:errors:rate$windows"}})),
            &[
                "error: spec.sli.ratio.errors: errors does not have $window alone ($windows would become 5ms); write $window, with no letter or digit after it",
            ],
        ),
        (
            "regex",
            events("a{b=~\"(\"}", ok),
            &[
                "error: spec.sli.events.bad: bad has a regular expression that Prometheus refuses or reads otherwise (a ( is never closed); close it, or write \\(",
            ],
        ),
        (
            "regex that is none",
            events("a{code=\"5..\"}", "a"),
            &[
                "warning: spec.sli.events.bad: code is compared with a regular expression letter by letter (no code is 5.. itself); write code=~\"5..\"",
            ],
        ),
        (
            "regexes that are none, once each",
            events(
                "sum(rate(a{outcome!=\"jam.*\"}[$window])) + sum(rate(a{outcome!=\"jam.*\",b=\"c|d\"}[$window]))",
                "a",
            ),
            &[
                "warning: spec.sli.events.bad: outcome is compared with a regular expression letter by letter (no outcome is jam.* itself); write outcome!~\"jam.*\"",
                "warning: spec.sli.events.bad: b is compared with a regular expression letter by letter (no b is c|d itself); write b=~\"c|d\"",
            ],
        ),
        (
            "classes with a star",
            events("a{code=\"5*\"}", "a{code!=\"4*\"}"),
            &[
                "warning: spec.sli.events.bad: code is compared with a regular expression letter by letter (no code is 5* itself); write code=~\"5..\"",
                "warning: spec.sli.events.total: code is compared with a regular expression letter by letter (no code is 4* itself); write code!~\"4..\"",
            ],
        ),
        ("dots that are no regex", events("a{version=\"1.2..\",path=\"/x/../y\",b=\"v1.0\"}", "a"), &[]),
        (
            "regex that only others take",
            events("a{b=~\"(?x) 5 .\"}", ok),
            &[
                "error: spec.sli.events.bad: bad has a regular expression that Prometheus refuses or reads otherwise (Prometheus has only the flags i, m, s and U); remove the other flags",
            ],
        ),
        (
            "regex that counts too far",
            events("a{b=~\"c{1001}\"}", ok),
            &[
                "error: spec.sli.events.bad: bad has a regular expression that Prometheus refuses or reads otherwise (it repeats more than 1000 times); repeat at most 1000 times, or use * or +",
            ],
        ),
        (
            "empty",
            events("", ok),
            &[
                "error: spec.sli.events.bad: bad is empty; write a PromQL selector, such as 'http_requests_total{job=\"checkout\"}'",
            ],
        ),
        (
            "both wrong",
            events("a(", "b)"),
            &[
                "error: spec.sli.events.bad: bad is not valid PromQL (this ( is never closed); close it",
                "error: spec.sli.events.total: total is not valid PromQL (this ) closes nothing); remove it, or add the opening one",
            ],
        ),
        (
            "le missing",
            events("h_bucket", ok),
            &[
                "error: spec.sli.events.bad: h_bucket has no le (each request would count once for every bucket); add le=\"0.3\", or use sli.latency with histogram h",
            ],
        ),
        (
            "le word",
            events("h_bucket{le=\"abc\"}", ok),
            &[
                "error: spec.sli.events.bad: le=\"abc\" is no number; use the upper bound of a bucket, such as le=\"0.3\"",
            ],
        ),
        (
            "histogram suffix",
            only(json!({"latency": {"histogram": "h_bucket{a=\"b\"}", "threshold": "1s"}})),
            &[
                "error: spec.sli.latency.histogram: histogram ends in _bucket (its series are found by the name without it); write 'h{a=\"b\"}'",
            ],
        ),
        (
            "histogram suffix and le",
            only(json!({"latency": {"histogram": "h_bucket{a=\"b\",le=\"0.5\"}", "threshold": "1s"}})),
            &[
                "error: spec.sli.latency.histogram: histogram ends in _bucket (its series are found by the name without it); write 'h{a=\"b\"}'",
            ],
        ),
        (
            "histogram le",
            only(json!({"latency": {"histogram": "h{le=\"1\"}", "threshold": "1s"}})),
            &[
                "error: spec.sli.latency.histogram: histogram has a matcher for le (the threshold chooses the bucket); write h",
            ],
        ),
        (
            "threshold",
            only(json!({"latency": {"histogram": "h", "threshold": "300"}})),
            &[
                "error: spec.sli.latency.threshold: threshold is not a duration (300 has no unit); add one: 300ms or 300s",
            ],
        ),
        (
            "slice without bool",
            only(json!({"timeSlices": {"good": "a > 1"}})),
            &[
                "error: spec.sli.timeSlices.good: good compares without bool (a bad slice would be missing instead of 0); write > bool, < bool and so on, and * where you mean and",
            ],
        ),
        (
            "rates over the default slice",
            only(json!({"timeSlices": {"good": "rate(a[$window]) > bool 1"}})),
            &[
                "warning: spec.sli.timeSlices.good: rates over a slice of 1m need a scrape every 30s or more often (else there is no data); write slice: 5m, or slice: 1m where it is so",
            ],
        ),
        (
            "a ratio that looks back an hour, whatever the window",
            only(json!({"ratio": {"errors": "sum(rate(a[1h])) / sum(rate(b[1h]))"}})),
            &[
                "warning: spec.sli.ratio.errors: errors always looks back over 1h (so alerts come late, and stay after the recovery); write [$window]: it is 5m, or the shortest window below that, and a tier's windows are means of it",
            ],
        ),
        ("a ratio of five minutes", only(json!({"ratio": {"errors": "sum(rate(a[5m])) / sum(rate(b[5m]))"}})), &[]),
        (
            "slices that are no condition, of a length that nothing reads",
            only(json!({"timeSlices": {"good": "sum(rate(a[5m])) / sum(rate(b[5m]))", "slice": "7m"}})),
            &[
                "warning: spec.sli.timeSlices.good: good is a number and no condition (a slice is good where it is 1, and bad where it is less); compare it: (…) >= bool 0.99",
                "warning: spec.sli.timeSlices.slice: slice changes nothing (good does not read it: it is asked once a minute); write [$window] where good has a range, or remove slice",
            ],
        ),
        (
            "slices of a condition",
            only(
                json!({"timeSlices": {"good": "(sum(rate(a[$window])) / sum(rate(b[$window]))) >= bool 0.99", "slice": "5m"}}),
            ),
            &[],
        ),
        (
            "a percentage",
            only(json!({"ratio": {"errors": "(sum(rate(a[$window])) / sum(rate(b[$window])) * 100)"}})),
            &[
                "warning: spec.sli.ratio.errors: errors is a percentage (a ratio is from 0 to 1, and everything above 1 counts as 1); remove the * 100",
            ],
        ),
        (
            "a percentage, the number first",
            only(json!({"ratio": {"errors": "100 * job:errors:ratio$window"}})),
            &[
                "warning: spec.sli.ratio.errors: errors is a percentage (a ratio is from 0 to 1, and everything above 1 counts as 1); remove the 100 *",
            ],
        ),
        (
            "a series by itself",
            only(json!({"ratio": {"errors": "rate(a{code=\"500\"}[$window]) / rate(a[$window])"}})),
            &[
                "warning: spec.sli.ratio.errors: errors divides each series by itself (a series has the same labels on both sides: 1, and nothing else); sum both sides: sum(rate(…[$window])) / sum(rate(…[$window]))",
            ],
        ),
        (
            "a ratio of different times",
            only(json!({"ratio": {"errors": "sum(increase(a{code=\"500\"}[$window])) / sum(rate(a[$window]))"}})),
            &[
                "warning: spec.sli.ratio.errors: errors has increase on one side of / and rate on the other (increase is as many times the rate as the window has seconds); write rate on both sides",
            ],
        ),
        (
            "a hundred that makes no percentage",
            only(json!({"ratio": {"errors": "sum(rate(a[$window])) / (sum(rate(b[$window])) * 100)"}})),
            &[],
        ),
        (
            "slice too short",
            only(json!({"timeSlices": {"good": "a > bool 1", "slice": "1s"}})),
            &["error: spec.sli.timeSlices.slice: slice is out of range (1s); use 10s to 1h"],
        ),
        (
            "preset",
            only(json!({"preset": {"name": "grpc-availabilty"}})),
            &["error: spec.sli.preset.name: no preset is called grpc-availabilty; did you mean grpc-availability?"],
        ),
        (
            "preset parameter",
            only(json!({"preset": {"name": "up", "with": {"jop": "x"}}})),
            &[
                "error: spec.sli.preset.with.jop: preset up has no parameter jop; did you mean job?",
                "error: spec.sli.preset.with.job: preset up needs the parameter job; add job: … (the scrape job)",
            ],
        ),
        (
            "part of itself",
            only(json!({"composite": {"worstOf": ["checkout-availability"]}})),
            &["error: spec.sli.composite.worstOf[0]: a composite cannot be a part of itself; name another SLO"],
        ),
        (
            "part twice",
            only(json!({"composite": {"weighted": [{"slo": "a"}, {"slo": "a", "weight": 2}]}})),
            &["error: spec.sli.composite.weighted[1].slo: a is there twice; remove one, or raise its weight"],
        ),
        (
            "weight",
            only(json!({"composite": {"weighted": [{"slo": "a", "weight": 0}]}})),
            &["error: spec.sli.composite.weighted[0].weight: weight is too small; use 1 or more"],
        ),
    ]);
}

#[test]
fn long_and_deep_expressions_cost_nothing() {
    for text in ["(".repeat(40_000), vec!["a"; 25_600].join(" + ")] {
        let found = problems(&json!({"sli": {"events": {"bad": text}}}));
        assert_eq!(
            found,
            [format!(
                "error: spec.sli.events.bad: bad is too long ({} bytes); use at most 4096 bytes; record a part of it as a rule of its own",
                text.len()
            )]
        );
    }
    let nested = "(".repeat(100) + "a" + &")".repeat(100);
    assert_eq!(
        problems(&json!({"sli": {"events": {"bad": nested}}})),
        [
            "error: spec.sli.events.bad: bad is not valid PromQL (brackets nested more than 64 deep); record a part of it as a rule of its own"
        ]
    );
}

#[test]
fn labels() {
    let long = "x".repeat(300);
    let many = || (0..65).map(|i| (format!("-{i}"), json!("x"))).collect::<serde_json::Map<_, _>>();
    check(&[
        (
            "reserved by Prometheus",
            json!({"groupBy": ["__name__"]}),
            &[
                "error: spec.groupBy[0]: label __name__ is reserved by Prometheus; use a name without leading underscores",
            ],
        ),
        ("too many", json!({"labels": many()}), &["error: spec.labels: labels are too many (65); use at most 64"]),
        (
            "too many on alerts",
            json!({"alerting": {"labels": many(), "annotations": many()}}),
            &[
                "error: spec.alerting.labels: labels are too many (65); use at most 64",
                "error: spec.alerting.annotations: annotations are too many (65); use at most 64",
            ],
        ),
        ("dash", json!({"labels": {"a-b": "x"}}), &["error: spec.labels.a-b: a-b is not a label name; write a_b"]),
        (
            "300 characters",
            json!({"groupBy": [long]}),
            &["error: spec.groupBy[0]: label name is too long (300 characters); use at most 128"],
        ),
        (
            "slo_id",
            json!({"alerting": {"labels": {"slo_id": "mine"}}}),
            &["error: spec.alerting.labels.slo_id: label slo_id is set by Plimsoll; use another name"],
        ),
        (
            "severity",
            json!({"labels": {"severity": "page"}}),
            &["error: spec.labels.severity: label severity is set by Plimsoll; use another name"],
        ),
        (
            "group twice",
            json!({"groupBy": ["a", "a"]}),
            &["error: spec.groupBy[1]: label a is there twice; remove one"],
        ),
        (
            "le",
            json!({"groupBy": ["le"]}),
            &["error: spec.groupBy[0]: le cannot be grouped by; it tells a histogram's buckets apart"],
        ),
        (
            "namespace",
            json!({"alerting": {"labels": {"namespace": "victim"}}}),
            &["error: spec.alerting.labels.namespace: label namespace is that of the SLO; use another name"],
        ),
        (
            "template function",
            json!({"alerting": {"annotations": {"note": "{{ $labels.x | badfunc }}"}}}),
            &[
                "error: spec.alerting.annotations.note: note has a broken template (function badfunc is unknown); use a function of Prometheus' templates",
            ],
        ),
        (
            "group is descriptive",
            json!({"labels": {"team": "payments"}, "groupBy": ["team"]}),
            &[
                "error: spec.groupBy[0]: label team is a descriptive label of this SLO; group by another label, or remove it from spec.labels",
            ],
        ),
        (
            "aggregation drops the group",
            json!({"groupBy": ["route"], "sli": {"events": {"bad": "sum by (job) (rate(a[$window]))"}}}),
            &[
                "error: spec.sli.events.bad: bad has no label route (its aggregation drops route, but groupBy wants it); add route to its by (…)",
            ],
        ),
        (
            "script",
            json!({"alerting": {"annotations": {"runbook_url": "javascript:alert(1)"}}}),
            &[
                "error: spec.alerting.annotations.runbook_url: runbook_url is not a web address (it begins with javascript:); write https://…",
            ],
        ),
        (
            "template",
            json!({"alerting": {"annotations": {"note": "{{ $value"}}}),
            &[
                "error: spec.alerting.annotations.note: note has a broken template (a {{ is never closed); close it by }}",
            ],
        ),
    ]);
}

#[test]
fn what_has_no_alert() {
    let end = "write alerting.tiers with shorter windows, or take a longer period";
    let line = |what: &str| vec![format!("warning: spec.period.rolling: {what}; {end}")];
    for (period, want) in [
        ("5m", line("no burn-rate alert (the period of 5m is shorter than twice every tier's long window)")),
        ("1h", line("no burn-rate alert (the period of 1h is shorter than twice every tier's long window)")),
        (
            "6h",
            line(
                "no alert of the tiers medium, slow, trickle (the period of 6h is shorter than twice their long windows)",
            ),
        ),
        ("7d", Vec::new()),
    ] {
        assert_eq!(problems(&json!({"period": {"rolling": period}})), want, "{period}");
    }
    check(&[(
        "no tiers",
        json!({"alerting": {"tiers": []}, "period": {"rolling": "5m"}}),
        &[
            "warning: spec.alerting.tiers: no burn-rate alert (tiers is empty); remove tiers for the default ones, or write your own",
        ],
    )]);
}

#[test]
fn a_fixed_range_is_no_window() {
    check(&[(
        "range",
        json!({"sli": {"events": {"bad": "sum(rate(x[5m]))"}}}),
        &[
            "error: spec.sli.events.bad: bad has a fixed range ([5m]); write [$window] instead of [5m]: sum(rate(x[$window]))",
        ],
    )]);
}

#[test]
fn rules_stay_small() {
    let exclusions: Vec<Value> = (0..50)
        .map(|i| json!({"name": format!("e{i}"), "every": format!("03:{i:02}"), "for": "1m", "timeZone": "Europe/Berlin"}))
        .collect();
    let found = problems(&json!({"exclusions": exclusions}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error: spec.exclusions: the rules become too large ("), "{found:?}");
    assert!(found[0].ends_with("use fewer exclusions, or ones without a time zone: at most 512 KiB"), "{found:?}");
    let found = problems(&json!({"alerting": {"annotations": {"playbook": "x".repeat(350 << 10)}}}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error: spec.alerting.annotations: the rules become too large (21"), "{found:?}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = problems(&json!({
        "objective": "100", "period": {"rolling": "4t"}, "groupBy": ["a-b"],
        "sli": {"events": {"bad": "a(", "total": "b)"}},
        "alerting": {"tiers": [{"name": "x", "burnRate": "0", "longWindow": "5"}]},
        "exclusions": [{"name": "a"}], "runbooks": ["Bad Name"]
    }));
    let fields: Vec<&str> = found.iter().filter_map(|p| p.split(": ").nth(1)).collect();
    assert_eq!(
        fields,
        [
            "spec.objective",
            "spec.period.rolling",
            "spec.sli.events.bad",
            "spec.sli.events.total",
            "spec.groupBy[0]",
            "spec.alerting.tiers[0].longWindow",
            "spec.alerting.tiers[0].burnRate",
            "spec.exclusions[0]",
            "spec.runbooks[0]"
        ]
    );
}
