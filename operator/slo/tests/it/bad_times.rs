//! Windows, periods and exclusions that are none.

use serde_json::{Value, json};

use crate::{bad_inputs::check, problems, slo};

#[test]
fn windows() {
    let tier = |long: &str, short: &str, rate: &str| json!({"alerting": {"tiers": [{"name": "t", "burnRate": rate, "longWindow": long, "shortWindow": short}]}});
    check(&[
        (
            "unit",
            json!({"period": {"rolling": "4t"}}),
            &["error: spec.period.rolling: rolling is not a duration (unit t is unknown); use ms, s, m, h, d, w or y"],
        ),
        (
            "a default that needs many scrapes",
            json!({"alerting": {"tiers": [{"name": "t", "burnRate": "100", "longWindow": "10m"}]}}),
            &[
                "warning: spec.alerting.tiers[0].longWindow: tier t has a shortWindow of 50s (a twelfth of longWindow); write shortWindow: 2m, or shortWindow: 50s where targets are scraped every 25s or more often",
            ],
        ),
        ("the same, as somebody wants it", tier("10m", "50s", "100"), &[]),
        (
            "zero",
            json!({"period": {"rolling": "0s"}}),
            &[
                "error: spec.period.rolling: rolling is not a duration (it is zero); write a time above zero, such as 300ms, 5m or 30d",
            ],
        ),
        (
            "negative",
            json!({"period": {"rolling": "-1w"}}),
            &["error: spec.period.rolling: rolling is not a duration (it is negative); write it like 30d, 1h30m or 5m"],
        ),
        (
            "fraction",
            json!({"period": {"rolling": "1.5d"}}),
            &[
                "error: spec.period.rolling: rolling is not a duration (1.5d has a fraction); use a smaller unit: 36h for 1.5d",
            ],
        ),
        (
            "centuries",
            json!({"period": {"rolling": "200y"}}),
            &["error: spec.period.rolling: rolling is too long (200y); use at most 366d"],
        ),
        (
            "both",
            json!({"period": {"rolling": "30d", "calendar": "Month"}}),
            &[
                "error: spec.period: period has exactly one of rolling and calendar; write {rolling: 30d} or {calendar: Month}",
            ],
        ),
        (
            "zone",
            json!({"period": {"calendar": "Month", "timeZone": "Mars/Olympus"}}),
            &[
                "error: spec.period.timeZone: no time zone is called Mars/Olympus; use an IANA name, such as Europe/Berlin",
            ],
        ),
        (
            "long below short",
            tier("5m", "1h", "14.4"),
            &[
                "error: spec.alerting.tiers[0].longWindow: longWindow is not longer than shortWindow (5m against 1h); swap them, or leave shortWindow out",
            ],
        ),
        (
            "factor 0",
            tier("1h", "5m", "0"),
            &["error: spec.alerting.tiers[0].burnRate: burnRate is not a positive decimal (0); write it like \"14.4\""],
        ),
        (
            "factor word",
            tier("1h", "5m", "fast"),
            &[
                "error: spec.alerting.tiers[0].burnRate: burnRate is not a positive decimal (fast); write it like \"14.4\"",
            ],
        ),
        (
            "unreachable",
            json!({"objective": "90", "alerting": {"tiers": [{"name": "fast", "burnRate": "14.4", "longWindow": "1h"}]}}),
            &[
                "warning: spec.alerting.tiers[0].burnRate: tier fast can never fire (at 90 % the highest burn rate is 10); use less than 10",
            ],
        ),
        (
            "beyond the period",
            json!({"period": {"rolling": "1d"}, "alerting": {"tiers": [{"name": "t", "burnRate": "2", "longWindow": "3d"}]}}),
            &["warning: spec.alerting.tiers[0].longWindow: longWindow is longer than the period (3d); shorten it"],
        ),
        (
            "windows of a composite",
            json!({
                "sli": {"events": null, "composite": {"worstOf": ["a", "b"]}},
                "alerting": {"tiers": [
                    {"name": "a", "burnRate": "2", "longWindow": "4m"},
                    {"name": "b", "burnRate": "2", "longWindow": "30m", "shortWindow": "2m30s"},
                    {"name": "c", "burnRate": "2", "longWindow": "30m"},
                    {"name": "d", "burnRate": "2", "longWindow": "30m", "shortWindow": "5m"},
                    {"name": "e", "burnRate": "2", "longWindow": "1h"}
                ]}
            }),
            &[
                "error: spec.alerting.tiers[0].longWindow: a composite's windows are at least 5m; alert on the parts instead, or use 5m or more",
                "error: spec.alerting.tiers[1].shortWindow: a composite's windows are at least 5m; alert on the parts instead, or use 5m or more",
                "error: spec.alerting.tiers[2].longWindow: a composite's windows are at least 5m (shortWindow is a twelfth of it, 2m30s, unless it is written); write shortWindow: 5m, or alert on the parts instead",
            ],
        ),
        (
            "negative floor",
            json!({"alerting": {"minimumBadEvents": -1}}),
            &["error: spec.alerting.minimumBadEvents: minimumBadEvents is negative; use 0 or more"],
        ),
    ]);
}

#[test]
fn exclusions() {
    let one = |e: Value| json!({"exclusions": [e]});
    check(&[
        (
            "backwards",
            one(json!({"name": "a", "from": "2026-12-02T00:00:00Z", "to": "2026-12-01T00:00:00Z"})),
            &["error: spec.exclusions[0].to: to is not after from; swap them"],
        ),
        (
            "no zone",
            one(json!({"name": "a", "from": "2026-12-02", "to": "2026-12-03T00:00:00Z"})),
            &["error: spec.exclusions[0].from: from is not a moment (2026-12-02); write it like 2026-12-01T22:00:00Z"],
        ),
        (
            "a zone that nothing reads",
            one(
                json!({"name": "a", "from": "2026-12-02T00:00:00Z", "to": "2026-12-03T00:00:00Z", "timeZone": "Europe/Berlin"}),
            ),
            &[
                "warning: spec.exclusions[0].timeZone: timeZone is not used beside from and to (each of them says its own); remove it, or write the offset into both, like 2026-12-01T22:00:00+01:00",
            ],
        ),
        (
            "half a pair",
            one(json!({"name": "a", "from": "2026-12-02T00:00:00Z", "for": "2h"})),
            &[
                "error: spec.exclusions[0]: an exclusion has from and to, or every and for; keep one of the pairs, whole",
            ],
        ),
        (
            "cron",
            one(json!({"name": "a", "every": "0 3 * * 0", "for": "2h"})),
            &[
                "error: spec.exclusions[0].every: every is not weekdays and a time (0 3 * * 0); write it like Sun 03:00, Mon-Fri 22:30 or 03:00",
            ],
        ),
        (
            "for ever",
            one(json!({"name": "a", "every": "Sun 03:00", "for": "7d"})),
            &["error: spec.exclusions[0].for: the exclusion never ends (7d); use less than 6d23h55m"],
        ),
    ]);
}

#[test]
fn moments_that_there_are_not() {
    for (text, help) in [
        ("2026-02-30T10:00:00Z", "February 2026 has 28 days"),
        ("2028-02-30T10:00:00+01:00", "February 2028 has 29 days"),
        ("2026-04-00T10:00:00Z", "April 2026 has 30 days"),
        ("2026-13-01T10:00:00Z", "a year has the months 01 to 12, not 13"),
        ("2026-12-01T24:10:00Z", "a day has the times 00:00 to 23:59"),
        ("2026-12-01T10:00:00", "write it like 2026-12-01T22:00:00Z"),
        ("tomorrow", "write it like 2026-12-01T22:00:00Z"),
    ] {
        let one = json!({"exclusions": [{"name": "a", "from": text, "to": "2036-12-03T00:00:00Z"}]});
        let line = format!("error: spec.exclusions[0].from: from is not a moment ({text}); {help}");
        assert_eq!(problems(&one), [line], "{text}");
    }
}

#[test]
fn exclusions_of_another_year() {
    let now: jiff::Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
    let end = "; check the year, or remove the exclusion";
    for (from, to, period, said) in [
        (
            "2016-12-01T22:00:00Z",
            "2016-12-02T02:00:00Z",
            "30d",
            Some("to: the exclusion ended more than five years before the period"),
        ),
        ("2021-11-01T22:00:00Z", "2021-11-02T02:00:00Z", "30d", None),
        (
            "2021-10-01T22:00:00Z",
            "2021-10-02T02:00:00Z",
            "30d",
            Some("to: the exclusion ended more than five years before the period"),
        ),
        ("2021-10-01T22:00:00Z", "2021-10-02T02:00:00Z", "90d", None),
        ("2027-11-01T22:00:00Z", "2027-11-02T02:00:00Z", "30d", None),
        (
            "2062-12-01T22:00:00Z",
            "2062-12-02T02:00:00Z",
            "30d",
            Some("from: the exclusion begins more than a year from now"),
        ),
    ] {
        let patch = json!({"period": {"rolling": period}, "exclusions": [
            {"name": "weekly", "every": "Sun 03:00", "for": "2h"}, {"name": "once", "from": from, "to": to}]});
        let model = plimsoll_slo::validate(&slo(&patch)).unwrap().model;
        let found = plimsoll_slo::validate::distant_exclusions(&model, now);
        let said: Vec<String> = said.iter().map(|said| format!("spec.exclusions[1].{said}{end}")).collect();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), said, "{from}");
    }
}
