//! What messages say to write.

use serde_json::{Value, json};

use crate::{problems, slo};

/// Whoever does what a help says is not refused again.
#[test]
fn what_help_says_is_accepted() {
    let written = |help: &str| -> Vec<String> {
        let Some(text) = help.strip_prefix("write ") else { return Vec::new() };
        let all = text.strip_suffix(" if its name has dashes").unwrap_or(text).split(", or ");
        // As a reader of YAML takes it.
        let single = |one: &str| Some(one.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"));
        all.map(|one| single(one).unwrap_or_else(|| one.trim_matches('"').to_owned())).collect()
    };
    let events = |bad: &str| json!({"sli": {"events": {"bad": bad}}});
    let histogram = |text: &str| json!({"sli": {"events": null, "latency": {"histogram": text, "threshold": "1s"}}});
    let threshold = |text: &str| json!({"sli": {"events": null, "latency": {"histogram": "h", "threshold": text}}});
    let label = |text: &str| json!({"labels": {text: "x"}});
    type Patch<'p> = &'p dyn Fn(&str) -> Value;
    let cases: [(Patch<'_>, &[&str]); 7] = [
        (
            &|text| json!({"objective": text}),
            &[
                "0.9995",
                "0099.9",
                "0.5",
                "99,9",
                "99,9 %",
                "99.5 percent",
                "99.5pct",
                "99.9 %",
                "five nines",
                "0.005",
                "1e2",
                "99,9,5",
                "99.9 - 99.95",
            ],
        ),
        (
            &|text| json!({"period": {"rolling": text}}),
            &["30 days", "4 weeks", "4w 2d", "30D", "30m 1h", "1h 30", "5M", "1mo"],
        ),
        (&threshold, &["300 ms", "300MS", "1 second", "1sec", "0.0 s"]),
        (&events, &["ferry-requests-total{code=\"5\"}", "ferry-requests-total", "a-b-c{}", "a - b", "ferry-5-total"]),
        (&histogram, &["h_bucket{a=\"b\",le=\"0.5\"}", "h{le=\"0.5\"}", "h_bucket", "my-latency-seconds{a=\"b\"}"]),
        (&label, &["a-b", "slo-id", "--x", "severity.", "a b"]),
        (&|text| json!({"groupBy": [text]}), &["a-b", "slo-id", "--x"]),
    ];
    let mut followed = 0;
    for (patch, texts) in cases {
        for text in texts {
            let found = plimsoll_slo::validate(&slo(&patch(text))).expect_err(text);
            for meant in found.iter().flat_map(|problem| written(&problem.help)).filter(|meant| !meant.contains(' ')) {
                assert_eq!(problems(&patch(&meant)), Vec::<String>::new(), "{text}: {meant}");
                followed += 1;
            }
        }
    }
    assert_eq!(followed, 32);
}
