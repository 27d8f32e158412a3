//! Whatever the traffic's shape, the rules say what happened.

use std::f64::consts::TAU;

use anyhow::{Context, Result, anyhow};
use plimsoll_api::Slo;
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use serde_json::{Value, json};

use crate::traffic::{Simulation, Tick, Traffic, slo};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(PROMETHEUS, every_shape_over_a_day),
        test(PROMETHEUS, long_periods_from_rollups),
        test(PROMETHEUS, every_indicator),
        test(PROMETHEUS, alerts_say_how_long_the_budget_lasts),
        test(PROMETHEUS, one_nan_spoils_nothing),
        test(PROMETHEUS, exclusions_work_for_the_past),
        test(PROMETHEUS, missing_data),
        test(PROMETHEUS, an_outage_that_outlasts_an_exclusion),
    ]
}

/// Requests a minute by the hour of the day, a few of them failing all day long.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small positive numbers"
)]
fn diurnal(minute: usize) -> Tick {
    let phase = (minute % 1440) as f64 / 1440.0;
    let all = (6000.0 * (1.05 + (phase * TAU).sin())) as u64;
    let bad = all / 500;
    Tick { good: all - bad, bad }
}

/// Busy and clean by day, a trickle with 10 % errors by night: what an average of ratios gets wrong.
fn bad_nights(minute: usize) -> Tick {
    if (480..1200).contains(&(minute % 1440)) { Tick { good: 6000, bad: 0 } } else { Tick { good: 54, bad: 6 } }
}

/// Nothing at all for one hour: what turns into NaN.
fn idle_hour(minute: usize) -> Tick {
    if (180..240).contains(&(minute % 1440)) { Tick::default() } else { Tick { good: 997, bad: 3 } }
}

/// One request in ten minutes, each fourth of them failing.
fn sparse(minute: usize) -> Tick {
    match (minute % 10, (minute / 10) % 4) {
        (0, 3) => Tick { good: 0, bad: 1 },
        (0, _) => Tick { good: 1, bad: 0 },
        _ => Tick::default(),
    }
}

async fn every_shape_over_a_day(testbed: &Testbed) -> Result<()> {
    const DAY: usize = 1440;
    let steady = |_| Tick { good: 990, bad: 10 };
    let traffic = [
        Traffic::new("diurnal", DAY, diurnal),
        Traffic::new("bad-nights", DAY, bad_nights),
        Traffic::new("idle-hour", DAY, idle_hour),
        Traffic::new("sparse", DAY, sparse),
        Traffic::new("restarts", DAY, diurnal).restarting(360),
        Traffic::new("gap", DAY, steady).unseen(700..720, 0.01),
        Traffic::new("no-errors", DAY, diurnal).without_error_series(),
        Traffic::new("outage", DAY, |minute| {
            if minute > 1000 { Tick { good: 0, bad: 100 } } else { Tick { good: 100, bad: 0 } }
        }),
    ];
    let spec = json!({"objective": "99.9", "period": {"rolling": "1d"}, "alerting": {"tiers": []}});
    let mut slos: Vec<_> = traffic.iter().map(|t| t.slo(spec.clone())).collect();
    // Two objectives on overlapping series must not see each other.
    let mut overlapping = traffic[0]
        .slo(json!({"objective": "90", "period": {"rolling": "1d"}, "alerting": {"tiers": []}, "groupBy": ["code"]}));
    overlapping["metadata"]["name"] = json!("overlapping");
    slos.push(overlapping);
    // Nor must two of one name.
    let outage = traffic.last().context("outage")?;
    let mut namesake = outage.slo(spec.clone());
    namesake["metadata"] = json!({"name": "diurnal", "namespace": "other"});
    slos.push(namesake);
    // One of two pods goes, and its series end with stale markers.
    let mut stale = spec.clone();
    stale["sli"] = json!({"events": {"bad": "pods_total{code=\"500\"}", "total": "pods_total"}});
    slos.push(slo("stale", &stale));
    let mut simulation = Simulation::new(testbed, "1m", &slos).await?;
    for t in &traffic {
        simulation.traffic(t);
    }
    simulation.series("pods_total{pod=\"a\",code=\"200\"}", "0+90x720 stale");
    simulation.series("pods_total{pod=\"a\",code=\"500\"}", "0+10x720 stale");
    simulation.series("pods_total{pod=\"b\",code=\"200\"}", "0+100x1440");
    simulation.expect_ratio("1d", "stale", "1d", 7200.0 / 216_000.0);
    let namesake = "slo:error_ratio:window{slo_id=\"other/diurnal\",window=\"1d\"}";
    simulation.expect("1d", &format!("abs({namesake} / {} - 1) < bool 0.01", outage.truth));
    for (t, slo) in traffic.iter().zip(&slos) {
        let name = slo["metadata"]["name"].as_str().unwrap_or_default();
        simulation.expect_ratio("1d", name, "1d", t.truth);
        let budget = format!("slo:error_budget:remaining_ratio{{slo_id=\"shop/{name}\"}}");
        simulation.expect(
            "1d",
            &format!("abs({budget} - (1 - {} / 0.001)) < bool 0.01 * {}", t.truth, (t.truth / 0.001).max(0.01)),
        );
    }
    // No NaN anywhere: NaN is the only value that differs from itself.
    for metric in
        ["slo:error_ratio:window", "slo:burn_rate:window", "slo:bad_events:rate5m", "slo:error_budget:remaining_ratio"]
    {
        for time in ["1h", "4h", "12h", "1d"] {
            simulation
                .expect_nothing(time, &format!("({metric} != {metric}) or (count_over_time({metric}[1d:10m]) < 0)"));
        }
    }
    simulation.expect("1d", "slo:error_ratio:window{slo_id=\"shop/overlapping\",code=\"500\",window=\"1d\"} == bool 1");
    simulation.run().await
}

async fn long_periods_from_rollups(testbed: &Testbed) -> Result<()> {
    // A little more than four days, every two minutes: long enough for half-hourly roll-ups.
    const STEPS: usize = 100 * 30;
    let traffic = Traffic::new("rolled", STEPS, |i| bad_nights(2 * i));
    let late = Traffic::new("late", STEPS, |i| {
        if i > STEPS - 10 { Tick { good: 0, bad: 6000 } } else { Tick { good: 6000, bad: 0 } }
    });
    let steady = Traffic::new("steady", STEPS, |_| Tick { good: 495, bad: 5 });
    let quiet = json!({"objective": "99.9", "period": {"rolling": "100h"}, "alerting": {"tiers": []}});
    let month = json!({"objective": "99.9", "period": {"calendar": "Month", "timeZone": "Europe/Berlin"}, "alerting": {"tiers": []}});
    let mut calendar = traffic.slo(month);
    calendar["metadata"]["name"] = json!("calendar");
    let composite = |name: &str, of: serde_json::Value| {
        slo(
            name,
            &json!({"objective": "99.9", "period": {"rolling": "100h"}, "alerting": {"tiers": []}, "sli": {"composite": of}}),
        )
    };
    let slos = [
        traffic.slo(quiet.clone()),
        late.slo(quiet.clone()),
        steady.slo(quiet),
        calendar,
        composite("weighted", json!({"weighted": [{"slo": "rolled", "weight": 3}, {"slo": "steady"}]})),
        composite("worst", json!({"worstOf": ["rolled", "steady"]})),
        // A composite may be a part of another.
        composite("inner", json!({"worstOf": ["steady"]})),
        composite("outer", json!({"worstOf": ["inner"]})),
    ];
    let mut simulation = Simulation::new(testbed, "2m", &slos).await?;
    simulation.traffic(&traffic);
    simulation.traffic(&late);
    simulation.traffic(&steady);
    simulation.expect_ratio("100h", "rolled", "4d4h", traffic.truth);
    // What happened a few minutes ago is in the budget already, though no roll-up has seen it: half of it at least.
    let ratio = "slo:error_ratio:window{slo_id=\"shop/late\",window=\"4d4h\"}";
    simulation.expect("100h", &format!("{ratio} > bool {}", late.truth * 0.6));
    simulation.expect_ratio("100h", "calendar", "month", traffic.truth);
    simulation.expect("100h", "slo:period:start_timestamp_seconds{slo_id=\"shop/calendar\"} == bool -3600");
    simulation.expect_ratio("100h", "weighted", "4d4h", (3.0 * traffic.truth + steady.truth) / 4.0);
    simulation.expect_ratio("100h", "worst", "4d4h", steady.truth);
    simulation.expect_ratio("100h", "outer", "4d4h", steady.truth);
    simulation.expect("100h", "abs(slo:coverage:ratio{slo_id=\"shop/rolled\"} - 1) < bool 0.01");
    simulation.run().await
}

/// Three days of a month, in the last hour of which 2 % are bad: what the alert says then, and what becomes of it when that goes on.
async fn alerts_say_how_long_the_budget_lasts(testbed: &Testbed) -> Result<()> {
    let traffic = Traffic::new("lasting", 76 * 60, |minute| {
        if minute > 71 * 60 { Tick { good: 980, bad: 20 } } else { Tick { good: 1000, bad: 0 } }
    });
    let rolling = traffic.slo(json!({"objective": "99.9"}));
    let mut calendar = traffic.slo(json!({"objective": "99.9", "period": {"calendar": "Month"}}));
    calendar["metadata"]["name"] = json!("calendar");
    let asked = |slo: &Value, after: &str| -> Result<String> {
        let slo: Slo = serde_json::from_value(slo.clone())?;
        let valid = plimsoll_slo::validate(&slo).map_err(|problems| anyhow!("{problems:?}"))?;
        let rules = plimsoll_slo::render(&valid.model);
        let mut said =
            rules.groups.iter().flat_map(|group| &group.rules).filter_map(|r| r.annotations.get("description"));
        let query = said.find_map(|text| text.split_once(&format!("{after} {{{{ with query "))?.1.split_once(" }}"));
        Ok(serde_json::from_str(query.context("an alert that says it")?.0)?)
    };
    let (of_rolling, of_calendar) = (asked(&rolling, "it lasts")?, asked(&calendar, "it lasts")?);
    let used_up = asked(&calendar, "):")?;
    let mut simulation = Simulation::new(testbed, "1m", &[rolling, calendar]).await?;
    simulation.traffic(&traffic);
    let known = 72.0 * 3600.0;
    let left = 1.0 - 60.0 * 20.0 / (72.0 * 60.0 * 1000.0) / 0.001;
    for (query, truth) in [(of_calendar, left * known / 19.0), (of_rolling, left * known / 20.0)] {
        simulation.expect("72h", &format!("abs(({query}) / {truth} - 1) < bool 0.03"));
    }
    // It was spent after 2 h 44 min.
    simulation.expect_nothing("74h35m", &used_up);
    simulation.expect("74h55m", &format!("{used_up} < bool 0"));
    simulation.run().await
}

async fn one_nan_spoils_nothing(testbed: &Testbed) -> Result<()> {
    let spec = json!({"objective": "99.9", "period": {"rolling": "4h"}, "alerting": {"tiers": []},
        "sli": {"events": {"bad": "b", "total": "a"}}});
    let mut simulation = Simulation::new(testbed, "1m", &[slo("spoilt", &spec)]).await?;
    simulation.series("a", "0+30x60 NaN 1890+30x60 +Inf 3780+30x200");
    simulation.series("b", "0+3x60 NaN 189+3x60 +Inf 378+3x200");
    simulation.expect_ratio("5h", "spoilt", "4h", 0.1);
    simulation.expect_nothing("5h", "{slo_id=\"shop/spoilt\"} == Inf");
    simulation.run().await
}

async fn every_indicator(testbed: &Testbed) -> Result<()> {
    let one = |name: &str, sli: serde_json::Value| {
        slo(name, &json!({"objective": "99.9", "period": {"rolling": "2h"}, "alerting": {"tiers": []}, "sli": sli}))
    };
    let mut grouped = one("group-apart", json!({"events": {"bad": "e", "total": "r"}}));
    grouped["spec"]["groupBy"] = json!(["code"]);
    let latency = |selector: &str, threshold: &str| json!({"latency": {"histogram": selector, "threshold": threshold}});
    let slos = [
        one("good-total", json!({"events": {"good": "r{code=\"200\"}", "total": "r"}})),
        one("good-bad", json!({"events": {"good": "r{code=\"200\"}", "bad": "sum(rate(r{code=\"500\"}[$window]))"}})),
        one("never-good", json!({"events": {"good": "r{code=\"418\"}", "total": "r"}})),
        one("ratio", json!({"ratio": {"errors": "sum(rate(r{code=\"500\"}[$window])) / sum(rate(r[$window]))"}})),
        one(
            "idle-ratio",
            json!({"ratio": {"errors": "sum(rate(r{code=\"500\"}[$window])) / (0 * sum(rate(r[$window])))"}}),
        ),
        one("classic", latency("h_seconds", "300ms")),
        one("classic-integer", latency("h_seconds", "1s")),
        one("no-such-bucket", latency("h_seconds", "250ms")),
        one("new-buckets", latency("d_seconds", "300ms")),
        one("native", latency("n_seconds", "1s")),
        one("up", json!({"up": {"series": "probe"}})),
        one("slices", json!({"timeSlices": {"good": "avg(probe) > bool 0.9", "slice": "1m"}})),
        one("preset", json!({"preset": {"name": "probe", "with": {"job": "p"}}})),
        one("more-good", json!({"events": {"good": "g", "total": "r"}})),
        grouped,
    ];
    let mut simulation = Simulation::new(testbed, "1m", &slos).await?;
    simulation.series("r{code=\"200\"}", "0+99x200");
    simulation.series("r{code=\"500\"}", "0+1x200");
    simulation.series("g", "0+150x200");
    simulation.series("e", "0+5x200");
    simulation.series("h_seconds_count", "0+100x200");
    simulation.series("h_seconds_bucket{le=\"0.3\"}", "0+95x200");
    simulation.series("h_seconds_bucket{le=\"1.0\"}", "0+98x200");
    simulation.series("h_seconds_bucket{le=\"+Inf\"}", "0+100x200");
    // Buckets change: of the new Pod's requests nobody knows how many took less than 300 ms.
    for (pod, bound, fast) in [("old", "0.3", 95), ("new", "0.25", 90)] {
        simulation.series(&format!("d_seconds_count{{pod=\"{pod}\"}}"), "0+100x200");
        simulation.series(&format!("d_seconds_bucket{{pod=\"{pod}\",le=\"{bound}\"}}"), &format!("0+{fast}x200"));
        simulation.series(&format!("d_seconds_bucket{{pod=\"{pod}\",le=\"+Inf\"}}"), "0+100x200");
    }
    // Schema 0: boundaries at 1, 2, 4; nine of ten observations are at most 1.
    simulation.series(
        "n_seconds",
        "{{schema:0 sum:0 count:0 buckets:[0 0 0]}}+{{schema:0 sum:12 count:10 buckets:[9 1 0]}}x200",
    );
    for series in ["probe", "probe_success{job=\"p\"}"] {
        simulation.series(series, &"1 1 0 ".repeat(67));
    }
    for (name, truth) in [
        ("good-total", 0.01),
        ("good-bad", 0.01),
        ("never-good", 1.0),
        ("ratio", 0.01),
        ("classic", 0.05),
        ("classic-integer", 0.02),
        ("new-buckets", 0.05),
        ("native", 0.1),
        ("up", 1.0 / 3.0),
        ("slices", 1.0 / 3.0),
        ("preset", 1.0 / 3.0),
        // More good events than events: none is bad, and none less than none.
        ("more-good", 0.0),
        // Errors that are of no group belong to none; `explain` says so.
        ("group-apart", 0.0),
    ] {
        simulation.expect_ratio("3h", name, "2h", truth);
    }
    simulation.expect("3h", "count(slo:error_ratio:window{slo_id=\"shop/group-apart\",window=\"2h\"}) == bool 2");
    simulation.expect_nothing("3h", "{slo_id=\"shop/group-apart\",code=\"\",__name__=~\"slo:.+events.+\"}");
    // Nothing can be said of these, and nothing is: neither good nor bad.
    for name in ["no-such-bucket", "idle-ratio", "no-ratio"] {
        simulation.expect_nothing("3h", &format!("slo:error_ratio:window{{slo_id=\"shop/{name}\"}}"));
    }
    simulation.run().await
}

async fn exclusions_work_for_the_past(testbed: &Testbed) -> Result<()> {
    // The simulation begins at Thursday 1970-01-01T00:00:00Z. From 2:00 to 3:00 everything fails.
    let traffic = |name: &str| {
        Traffic::new(name, 360, |m| {
            if (120..180).contains(&m) { Tick { good: 0, bad: 100 } } else { Tick { good: 99, bad: 1 } }
        })
    };
    let spec = |exclusion: serde_json::Value| json!({"objective": "99.9", "period": {"rolling": "6h"}, "exclusions": [exclusion]});
    let once = traffic("once")
        .slo(spec(json!({"name": "move", "from": "1970-01-01T02:00:00Z", "to": "1970-01-01T03:00:00Z"})));
    let weekly = traffic("weekly")
        .slo(spec(json!({"name": "patches", "every": "Wed,Thu 03:00", "for": "1h", "timeZone": "Europe/Berlin"})));
    let other = traffic("other").slo(spec(json!({"name": "patches", "every": "Fri 02:00", "for": "1h"})));
    // Of the outage itself nothing is left in any window, as soon as it is over.
    let mut simulation = Simulation::new(testbed, "1m", &[once, weekly, other]).await?;
    for name in ["once", "weekly", "other"] {
        simulation.traffic(&traffic(name));
    }
    simulation.expect_ratio("6h", "once", "6h", 0.01);
    simulation.expect_ratio("6h", "weekly", "6h", 0.01);
    simulation.expect("6h", "slo:error_ratio:window{slo_id=\"shop/other\",window=\"6h\"} > bool 0.1");
    simulation.expect_nothing("150m", "slo:error_ratio:window{slo_id=\"shop/once\",window=\"5m\"}");
    for time in ["180m", "181m", "184m", "186m", "190m", "200m"] {
        simulation
            .expect_nothing(time, "slo:error_ratio:window{slo_id=~\"shop/(once|weekly)\",window!=\"6h\"} > 0.011");
    }
    // Applied to what was recorded without it: the rules' own expression over the other SLO's base series.
    simulation.expect(
        "6h",
        "(sum_over_time((slo:bad_events:rate5m{slo_id=\"shop/other\"} * (1 - (time() >= bool 6900) * (time() < bool 11400)))[6h:1m]) / sum_over_time((slo:total_events:rate5m{slo_id=\"shop/other\"} * (1 - (time() >= bool 6900) * (time() < bool 11400)))[6h:1m])) < bool 0.0101",
    );
    simulation.run().await
}

async fn missing_data(testbed: &Testbed) -> Result<()> {
    let until = |name: &str, from: usize, to: usize| {
        Traffic::new(name, 300, |_| Tick { good: 99, bad: 1 }).unseen(from..to, 0.0)
    };
    let traffic = [
        until("outage", 120, 301),
        until("deploy", 120, 128),
        until("idle", 120, 301),
        until("counted-as-bad", 120, 301),
        until("ignored", 120, 301),
        until("excluded", 120, 301),
    ];
    let spec =
        |no_data: &str| json!({"objective": "99.9", "period": {"rolling": "5h"}, "alerting": {"noData": no_data}});
    let mut excluded = spec("Alert");
    excluded["exclusions"] = json!([{"name": "move", "from": "1970-01-01T01:00:00Z", "to": "1970-01-01T10:00:00Z"}]);
    let slos = [
        traffic[0].slo(spec("Alert")),
        traffic[1].slo(spec("Alert")),
        traffic[2].slo(spec("Alert")),
        traffic[3].slo(spec("Bad")),
        traffic[4].slo(spec("Ignore")),
        traffic[5].slo(excluded),
    ];
    let mut simulation = Simulation::new(testbed, "1m", &slos).await?;
    for t in &traffic {
        simulation.traffic(t);
    }
    // The targets of `idle` are up: nobody has asked them anything since their restart.
    simulation.series("up{job=\"idle\"}", "1x300");
    simulation.series("up{job=\"outage\"}", &format!("{}{}", "1 ".repeat(120), "0 ".repeat(181)));
    let firing = |name: &str| format!("ALERTS{{alertname=\"SLONoData\",alertstate=\"firing\",slo_id=\"shop/{name}\"}}");
    simulation.expect_nothing("135m", &firing("outage"));
    simulation.expect("145m", &firing("outage"));
    for name in ["deploy", "idle", "counted-as-bad", "ignored", "excluded"] {
        for time in ["2h", "150m", "5h"] {
            simulation.expect_nothing(time, &firing(name));
        }
    }
    // Three of five hours are missing, all of it bad, as busy as before.
    simulation
        .expect("5h", "abs(slo:error_ratio:window{slo_id=\"shop/counted-as-bad\",window=\"5h\"} - 0.6) < bool 0.02");
    simulation.expect("150m", "slo:error_ratio:window{slo_id=\"shop/counted-as-bad\",window=\"5m\"} == bool 1");
    simulation.run().await
}

/// Traffic on Thursday, then more than a day that does not count, in which it ends, and what is told of the time after that.
async fn an_outage_that_outlasts_an_exclusion(testbed: &Testbed) -> Result<()> {
    const DEAD: usize = 44 * 60;
    const END: usize = 53 * 60;
    let traffic = Traffic::new("dead", END, |_| Tick { good: 600, bad: 0 }).unseen(DEAD..END + 1, 0.0);
    let tier = json!({"name": "fast", "burnRate": "14.4", "longWindow": "1h"});
    let spec = json!({"objective": "99.9", "period": {"rolling": "3d"}, "alerting": {"noData": "Bad", "tiers": [tier]},
        "exclusions": [{"name": "move", "every": "Fri 00:00", "for": "26h"}]});
    let mut simulation = Simulation::new(testbed, "1m", &[traffic.slo(spec)]).await?;
    simulation.traffic(&traffic);
    let page = "ALERTS{alertname=\"SLOErrorBudgetBurn\",alertstate=\"firing\"}";
    // The five minutes after it do not count either.
    simulation.expect_nothing("50h4m", "slo:total_events:rate5m{slo_id=\"shop/dead\"} != 0");
    simulation.expect_nothing("50h4m", page);
    for time in ["50h5m", "51h", "53h"] {
        for events in ["slo:total_events:rate5m", "slo:bad_events:rate5m"] {
            simulation.expect(time, &format!("abs({events}{{slo_id=\"shop/dead\"}} - 10) < bool 1e-6"));
        }
    }
    simulation.expect("50h6m", &format!("count({page})"));
    simulation.expect_ratio("52h", "dead", "1h", 1.0);
    // A day without errors and nearly three hours of nothing else, both read every five minutes.
    let truth = 175.0 / (24.0 * 60.0 + 175.0);
    let ratio = "slo:error_ratio:window{slo_id=\"shop/dead\",window=\"3d\"}";
    simulation.expect("53h", &format!("abs({ratio} / {truth} - 1) < bool 0.05"));
    simulation.run().await
}
