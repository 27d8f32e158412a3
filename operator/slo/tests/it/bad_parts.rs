//! Bad, good and total that are right alone, and hardly meant together.

use serde_json::json;

use crate::{bad_inputs::check, problems};

#[test]
fn parts_that_are_none() {
    let events =
        |part: &str, text: &str, total: &str| json!({"sli": {"events": {"bad": null, part: text, "total": total}}});
    check(&[
        (
            "total is narrower",
            events("bad", "r{code=~\"5..\"}", "r{job=\"shop\"}"),
            &[
                "warning: spec.sli.events.total: total leaves out events that bad counts (only total has job=\"shop\"); remove job=\"shop\" from total, or add it to bad: total counts each of the bad events",
            ],
        ),
        (
            "they exclude each other",
            events("bad", "r{code=~\"5..\"}", "r{code!~\"5..\"}"),
            &[
                "warning: spec.sli.events.total: total leaves out events that bad counts (only total has code!~\"5..\"); remove code!~\"5..\" from total, or add it to bad: total counts each of the bad events",
            ],
        ),
        (
            "good are the failed ones",
            events("good", "r{code=~\"5..\"}", "r"),
            &[
                "warning: spec.sli.events.good: good counts requests that failed (code=~\"5..\"); write it as bad, or select the good ones",
            ],
        ),
        (
            "a count of a window, and one per second",
            events("bad", "increase(r{code=~\"5..\"}[$window])", "rate(r[$window])"),
            &[
                "warning: spec.sli.events.bad: bad counts per window, and total per second (increase is as many times the rate as the window has seconds); write rate instead of increase",
            ],
        ),
        (
            "the same with a counter of which the rate is taken",
            events("good", "r{code=~\"2..\"}", "sum(increase(r[$window]))"),
            &[
                "warning: spec.sli.events.total: total counts per window, and good per second (increase is as many times the rate as the window has seconds); write rate instead of increase",
            ],
        ),
        (
            "counts of a window",
            events("bad", "sum(increase(r{code=~\"5..\"}[$window]))", "sum(increase(r[$window]))"),
            &[
                "warning: spec.sli.events.bad: bad and total count per window (they are taken for events per second: minimumBadEvents counts one as 300); write rate instead of increase, in total too",
            ],
        ),
        (
            "a ratio of a rate",
            events("bad", "sum(rate(r{code=\"500\"}[$window])) / sum(rate(r[$window]))", "sum(rate(r[$window]))"),
            &[
                "warning: spec.sli.events.bad: bad is a ratio, and total is not (total counts events, and bad has to do so too); write the events alone, what stands before the /; or the whole ratio as sli.ratio.errors",
            ],
        ),
        (
            "shares of both",
            events("bad", "sum(increase(r_failed[$window])) / 300 or vector(0)", "sum(rate(r[$window]))"),
            &[],
        ),
        (
            "a job that is not total's",
            events("bad", "r{job=\"auht\",code=~\"5..\"}", "r{job=\"auth\"}"),
            &[
                "warning: spec.sli.events.bad: total leaves out events that bad counts (bad has job=\"auht\", total has job=\"auth\"); write the same job in both, or remove job=\"auth\" from total",
            ],
        ),
        ("of another metric", events("bad", "r_failed{code=~\"5..\"}", "r{job=\"shop\"}"), &[]),
        (
            "a part",
            events("good", "r{code=~\"2..|3..\",job=\"a\"}", "r{code!=\"499\",job=~\"a|b\",app!=\"\",zone=~\".+\"}"),
            &[],
        ),
        ("codes of gRPC", events("bad", "r{code=~\"2|13\"}", "r"), &[]),
    ]);
}

#[test]
fn good_that_holds_the_bad() {
    let events = |bad: &str, good: &str| json!({"sli": {"events": {"bad": bad, "good": good, "total": null}}});
    let line = |help: &str| {
        format!(
            "warning: spec.sli.events.good: good counts the bad events too (it selects all that bad selects); {help}"
        )
    };
    let whole = "warning: spec.sli.events.bad: bad counts the good events too (it selects all that good selects: did you mean total?); write it as total, or leave the good ones out of bad";
    let other = line("write it as total, or leave the bad ones out of good");
    for (bad, good, want) in [
        ("r{code=~\"5..\"}", "r", vec![line("write it as total, or add code!~\"5..\" to good")]),
        ("r{code=\"500\",a=\"b\"}", "r{a=\"b\"}", vec![line("write it as total, or add code!=\"500\" to good")]),
        ("r{code=\"500\",a=\"b\"}", "r{a=~\".+\"}", vec![other.clone()]),
        ("r{code=\"500\"}", "r{code=~\"200|500\"}", vec![line("write it as total, or add code!=\"500\" to good")]),
        ("r{code=~\"5..|4..\"}", "r{code!=\"x\"}", Vec::new()),
        ("r{code=~\"a|b\"}", "r{code!=\"x\"}", vec![line("write it as total, or add code!~\"a|b\" to good")]),
        (
            "sum(rate(r{code=~\"5..\"}[$window]))",
            "sum(rate(r[$window]))",
            vec![line("write it as total, or add code!~\"5..\" to good")],
        ),
        // The other way round.
        ("r{job=\"a\"}", "r{job=\"a\",code=\"200\"}", vec![whole.to_owned()]),
        ("r", "r{code!~\"5..\"}", vec![whole.to_owned()]),
        ("r{code=~\".+\"}", "r{code=\"200\"}", vec![whole.to_owned()]),
        ("sum(rate(r[$window]))", "sum(rate(r{code=\"200\"}[$window]))", vec![whole.to_owned()]),
        // Surely or possibly others.
        ("r{code=~\"5..\"}", "r{code!~\"5..\"}", Vec::new()),
        ("r{code=~\"5..\"}", "r{code=~\"[2-5]..\"}", Vec::new()),
        ("r{code=~\"5..\"}", "r{zone=~\".+\"}", Vec::new()),
        ("r_failed", "r_done", Vec::new()),
        ("r{code=\"500\"}", "r{job=\"a\"}", Vec::new()),
    ] {
        assert_eq!(problems(&events(bad, good)), want, "{bad} {good}");
    }
}

#[test]
fn groups_by_what_tells_bad_from_good() {
    let events =
        |bad: &str, total: &str| json!({"groupBy": ["route", "code"], "sli": {"events": {"bad": bad, "total": total}}});
    let line = "warning: spec.groupBy[1]: code is what tells bad events from others (bad has code=~\"5..\", total has not: a group is all bad or not at all); remove code from groupBy";
    for (bad, total, want) in [
        ("r{code=~\"5..\"}", "r", vec![line]),
        ("r{job=\"a\",code=~\"5..\"}", "r{code!=\"404\",job=\"a\"}", vec![line]),
        ("sum by (code, route) (rate(r{code=~\"5..\"}[$window]))", "sum without (pod) (rate(r[$window]))", vec![line]),
        // There a group may be bad in part.
        ("r{code=~\"5..\",tenant!=\"test\"}", "r", vec![]),
        ("r_failed{code=~\"5..\"}", "r", vec![]),
        ("r{result=\"error\"}", "r", vec![]),
        ("r{code=~\"5..\",result=\"error\"}", "r{code=~\"5..\"}", vec![]),
    ] {
        assert_eq!(problems(&events(bad, total)), want, "{bad} {total}");
    }
    let ratio = |errors: &str| json!({"groupBy": ["code"], "sli": {"events": null, "ratio": {"errors": errors}}});
    let of = |left: &str, right: &str| {
        format!("sum by ({left}) (rate(r{{code=\"500\"}}[$window])) / sum by ({right}) (rate(r[$window]))")
    };
    assert_eq!(
        problems(&ratio(&of("code", "code"))),
        [
            "warning: spec.groupBy[0]: code is what tells bad events from others (the left side has code=\"500\", the right side has not: a group is all bad or not at all); remove code from groupBy"
        ]
    );
    assert!(problems(&ratio(&of("code", "job").replace("/", "/ on () group_left ()"))).is_empty());
    let good = json!({"groupBy": ["code"], "sli": {"events": {"bad": null, "good": "r{code=~\"2..\"}", "total": "r"}}});
    assert_eq!(
        problems(&good),
        [
            "warning: spec.groupBy[0]: code is what tells good events from others (good has code=~\"2..\", total has not: a group is all good or not at all); remove code from groupBy"
        ]
    );
}

#[test]
fn averages_of_rates() {
    let events = |bad: &str, total: &str| json!({"sli": {"events": {"bad": bad, "total": total}}});
    let line = |field: &str, what: &str, or: &str| {
        format!(
            "warning: spec.sli.events.{field}: {field} is {what}, which counts no events (two instances with one event each have two, and not one); write sum{or}"
        )
    };
    let or = |operator: &str| format!("; or {operator} without (replica) (…) where each series is there twice");
    for (bad, total, want) in [
        (
            "avg(rate(r{code=~\"5..\"}[$window]))",
            "max by (job) (rate(r[$window]))",
            vec![line("bad", "an average", &or("avg")), line("total", "a maximum", &or("max"))],
        ),
        (
            "min(rate(b[$window])) or vector(0)",
            "(quantile(0.9, sum by (x) (rate(r[$window]))))",
            vec![line("bad", "a minimum", &or("min")), line("total", "a quantile", "")],
        ),
        // What adds them up, or knows copies.
        ("sum(max by (pod) (rate(b[$window])))", "sum(rate(r[$window]))", vec![]),
        ("max without (prometheus_replica) (rate(b[$window]))", "sum(rate(r[$window]))", vec![]),
    ] {
        assert_eq!(problems(&events(bad, total)), want, "{bad} {total}");
    }
}
