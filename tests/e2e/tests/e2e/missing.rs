//! What is missing is neither good nor bad, and somebody is told.

use std::fmt::Write as _;

use anyhow::{Context, Result, anyhow, ensure};
use plimsoll_api::Slo;
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use plimsoll_slo::names;
use plimsoll_testbed::{Folder, Prometheus, PrometheusOptions, Promtool};
use serde_json::{Value, json};

use crate::traffic::{Simulation, Tick, Traffic, slo};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(PROMETHEUS, idle_slices_are_not_known),
        test(PROMETHEUS, lost_data_and_targets),
        test(PROMETHEUS, bad_events_of_no_group_are_found),
        test(PROMETHEUS, groups_of_before_are_summed),
        test(PROMETHEUS, a_prometheus_that_was_away_makes_nothing_up),
    ]
}

/// Slices of ratios and quantiles: an hour of traffic, three hours without, and an hour in which all is bad.
async fn idle_slices_are_not_known(testbed: &Testbed) -> Result<()> {
    let one = |name: &str, good: &str| {
        slo(
            name,
            &json!({"objective": "99", "period": {"rolling": "6h"}, "sli": {"timeSlices": {"good": good, "slice": "5m"}}}),
        )
    };
    let ratio = "sum(rate(requests_total{job=\"idle\",code=\"200\"}[$window])) / sum(rate(requests_total{job=\"idle\"}[$window])) >= bool 0.99";
    let quantile = "histogram_quantile(0.99, sum by (le) (rate(h_bucket[5m]))) < bool 0.5";
    let slos = [
        one("idle-ratio", ratio),
        one("idle-quantile", quantile),
        one("idle-both", &format!("({ratio}) * ({quantile})")),
        one("idle-guarded", &format!("({ratio}) and sum(rate(requests_total{{job=\"idle\"}}[$window])) > 0")),
        // That it is gone says as much as its ratio, idle or not.
        one("dead", &format!("({ratio}) * (min(alive) > bool 0)")),
    ];
    let traffic = Traffic::new("idle", 300, |minute| match minute {
        0..60 => Tick { good: 1000, bad: 0 },
        60..240 => Tick::default(),
        _ => Tick { good: 0, bad: 1000 },
    });
    let mut simulation = Simulation::new(testbed, "1m", &slos).await?;
    simulation.traffic(&traffic);
    let until = "60x60 3600+0x180 3600+60x60";
    simulation.series("h_bucket{le=\"0.1\"}", "0+60x60 3600+0x240");
    simulation.series("h_bucket{le=\"1\"}", &format!("0+{until}"));
    simulation.series("h_bucket{le=\"+Inf\"}", &format!("0+{until}"));
    simulation.series("alive", &format!("{}{}", "1 ".repeat(90), "0 ".repeat(211)));
    let all = "slo_id=~\"shop/idle-.+\"";
    simulation.expect("50m", &format!("count(slo:slice:bad{{{all}}} == 0) == bool 4"));
    for time in ["70m", "100m", "239m"] {
        simulation.expect_nothing(time, &format!("slo:slice:bad{{{all}}}"));
        simulation.expect_nothing(time, &format!("ALERTS{{alertname=\"SLOErrorBudgetBurn\",{all}}}"));
    }
    simulation.expect("100m", "slo:slice:bad{slo_id=\"shop/dead\"} == bool 1");
    simulation.expect("250m", &format!("count(slo:slice:bad{{{all}}} == 1) == bool 4"));
    simulation
        .expect("300m", &format!("count(ALERTS{{burnrate_tier=\"fast\",alertstate=\"firing\",{all}}}) == bool 4"));
    simulation.run().await
}

/// Metrics that have another name by now, and targets of a shared job that are gone for more than a day.
async fn lost_data_and_targets(testbed: &Testbed) -> Result<()> {
    const STEPS: usize = 34 * 30;
    let spec = |labels: &str| {
        json!({"objective": "99.9", "sli": {"events": {
            "bad": format!("requests_total{{{labels},code=\"500\"}}"), "total": format!("requests_total{{{labels}}}")}}})
    };
    let traffic = |name: &str, until: usize| {
        Traffic::new(name, STEPS, |_| Tick { good: 99, bad: 1 }).unseen(until..STEPS + 1, 0.0)
    };
    let slos = [
        slo("renamed", &spec("job=\"renamed\"")),
        slo("quiet", &spec("job=\"quiet\"")),
        slo("gone", &spec("job=\"pods\",app=\"checkout\"")),
        // The namespace is that of what is spoken of, and no target's.
        slo("honoured", &spec("job=\"kube-state-metrics\",namespace=\"shop\"")),
    ];
    let mut simulation = Simulation::new(testbed, "2m", &slos).await?;
    simulation.traffic(&traffic("renamed", 90));
    simulation.series("up{job=\"renamed\"}", &format!("1x{STEPS}"));
    simulation.series("requests_total{job=\"quiet\",code=\"200\"}", &format!("7x{STEPS}"));
    simulation.series("up{job=\"quiet\"}", &format!("1x{STEPS}"));
    simulation.series("requests_total{job=\"pods\",app=\"checkout\",code=\"200\"}", "0+99x90");
    simulation.series("up{job=\"pods\",app=\"checkout\"}", "1x90");
    simulation.series("up{job=\"pods\",app=\"cart\"}", &format!("1x{STEPS}"));
    simulation.series("requests_total{job=\"kube-state-metrics\",namespace=\"shop\",code=\"200\"}", "0+99x90");
    simulation.series("up{job=\"kube-state-metrics\"}", &format!("1x{STEPS}"));
    let firing = |name: &str, severity: &str| {
        format!(
            "ALERTS{{alertname=\"SLONoData\",alertstate=\"firing\",slo_id=\"shop/{name}\",severity=\"{severity}\"}}"
        )
    };
    for time in ["4h", "5h", "12h", "30h", "33h"] {
        simulation.expect_nothing(time, &firing("quiet", ".*"));
        simulation.expect_nothing(time, &firing("quiet", "ticket"));
        for name in ["renamed", "honoured"] {
            simulation.expect_nothing(time, &firing(name, "page"));
        }
        simulation.expect(time, &format!("{} == bool 1", firing("gone", "page")));
    }
    for name in ["renamed", "honoured"] {
        simulation.expect_nothing("8h40m", &firing(name, "ticket"));
        for time in ["12h", "33h"] {
            simulation.expect(time, &firing(name, "ticket"));
        }
    }
    simulation.run().await
}

/// Errors that lack the label by which the SLO is grouped count in no group: the operator's question finds them.
async fn bad_events_of_no_group_are_found(testbed: &Testbed) -> Result<()> {
    let of = |name: &str, bad: &str| {
        slo(name, &json!({"objective": "99.9", "groupBy": ["route"], "sli": {"events": {"bad": bad, "total": "t"}}}))
    };
    let (lacking, having) = (of("lacking", "e"), of("having", "b"));
    let question = |slo: &Value| -> Result<String> {
        let (_, question) = plimsoll_slo::render::apart(&model(slo)?).pop().context("a question")?;
        Ok(question)
    };
    let (lacks, has) = (question(&lacking)?, question(&having)?);
    let mut simulation = Simulation::new(testbed, "1m", &[lacking, having]).await?;
    simulation.series("t{route=\"a\"}", "0+60x60");
    simulation.series("e", "0+60x60");
    simulation.series("b{route=\"a\"}", "0+60x60");
    simulation.expect("30m", &lacks);
    simulation.expect_nothing("30m", &has);
    simulation.run().await
}

/// Until a day ago it had groups, of which one failed altogether: the budget is of all of it, and there is one.
async fn groups_of_before_are_summed(testbed: &Testbed) -> Result<()> {
    const MINUTES: usize = 26 * 60;
    let tier =
        json!([{"name": "week", "burnRate": "1", "longWindow": "5d", "shortWindow": "1h", "severity": "Ticket"}]);
    let spec = json!({"objective": "99", "alerting": {"tiers": tier}});
    let traffic = Traffic::new("regrouped", MINUTES / 2, |_| Tick { good: 300, bad: 0 });
    let mut simulation = Simulation::new(testbed, "2m", &[traffic.slo(spec)]).await?;
    simulation.traffic(&traffic);
    for (route, bad) in [("a", 90), ("b", 0)] {
        for (name, value) in [(names::BAD_ROLLUP, bad), (names::TOTAL_ROLLUP, 90)] {
            let series = format!("{name}{{slo_id=\"shop/regrouped\",route=\"{route}\"}}");
            simulation.series(&series, &format!("{value}x60 stale"));
        }
    }
    for name in ["slo:error_budget:remaining_ratio", "slo:bad_events:sum_closed", "slo:bad_events:sum_open"] {
        simulation.expect("25h50m", &format!("count({name}{{slo_id=\"shop/regrouped\"}}) == bool 1"));
    }
    for window in ["30d", "5d"] {
        let ratio = format!("slo:error_ratio:window{{slo_id=\"shop/regrouped\",window=\"{window}\"}}");
        simulation.expect("25h50m", &format!("count({ratio}) == bool 1"));
        simulation.expect("25h50m", &format!("{ratio} > bool 0.01"));
    }
    simulation.run().await
}

fn model(object: &Value) -> Result<plimsoll_slo::Model> {
    let object: Slo = serde_json::from_value(object.clone())?;
    Ok(plimsoll_slo::validate(&object).map_err(|problems| anyhow!("{problems:?}"))?.model)
}

/// Missing time is bad, but not the time that Prometheus itself was away, nor the first minutes after: until there are two
/// samples, nothing is known.
async fn a_prometheus_that_was_away_makes_nothing_up(testbed: &Testbed) -> Result<()> {
    const START: i64 = 1_774_706_400;
    let object = slo(
        "away",
        &json!({"objective": "99.9", "alerting": {"noData": "Bad"},
        "sli": {"events": {"bad": "b_total", "total": "a_total"}}}),
    );
    let rules = plimsoll_slo::render(&model(&object)?);
    let expression = |name: &str| {
        let mut rules = rules.groups.iter().flat_map(|group| &group.rules);
        rules.find(|rule| rule.record.as_deref() == Some(name)).map(|rule| rule.expr.clone()).context("a rule")
    };
    let (total, bad) = (expression(names::TOTAL)?, expression(names::BAD)?);
    // Two hours of evaluations, once a minute; then none for so long, and some more.
    for (away, again, made_up) in
        [(5, 0, false), (5, 1, false), (4, 2, false), (30, 2, false), (30, 5, true), (0, 0, true)]
    {
        let minutes = (0..=120).chain((121 + away)..(121 + away + again));
        let now = 121 + away + again;
        let mut text = String::new();
        for minute in minutes.clone() {
            writeln!(text, "{}{{slo_id=\"shop/away\"}} 0.999 {}", names::OBJECTIVE, START + minute * 60)?;
        }
        writeln!(text, "{}{{slo_id=\"shop/away\"}} 0.999 {}", names::OBJECTIVE, START + now * 60)?;
        for minute in minutes.filter(|minute| *minute <= 120) {
            writeln!(text, "{}{{slo_id=\"shop/away\"}} 7 {}", names::TOTAL, START + minute * 60)?;
        }
        text.push_str("# EOF\n");
        let folder = Folder::new("away")?;
        std::fs::write(folder.join("history.txt"), text)?;
        let blocks = folder.join("blocks");
        Promtool::new(testbed.bin())?.create_blocks(&folder.join("history.txt"), &blocks).await?;
        let options = PrometheusOptions { blocks: Some(blocks), ..PrometheusOptions::default() };
        let server = Prometheus::start(testbed.bin(), options).await?;
        let at = (START + now * 60) as f64;
        let found = server.query_at(&total, at).await?;
        let value = found.first().and_then(plimsoll_testbed::Series::value);
        ensure!(value == made_up.then_some(7.0), "{away} minutes away, {again} later: {value:?}\n{total}");
        // Beside a total of before nothing is bad that nobody has seen.
        let found = server.query_at(&bad, at).await?;
        ensure!(made_up || found.is_empty(), "{away} minutes away, {again} later: {found:?}\n{bad}");
    }
    Ok(())
}
