//! Alerts fire when they must, and only then.

use anyhow::Result;
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use serde_json::json;

use crate::traffic::{Simulation, Tick, Traffic, slo};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(PROMETHEUS, a_step_pages_in_the_theoretical_time),
        test(PROMETHEUS, every_tier_fires_and_stays_quiet),
        test(PROMETHEUS, a_handful_of_errors_wakes_nobody),
        test(PROMETHEUS, an_outage_of_a_probe_pages_with_the_second_failure),
        test(PROMETHEUS, low_objectives_can_page),
    ]
}

fn firing(name: &str, tier: &str) -> String {
    format!(
        "ALERTS{{alertname=\"SLOErrorBudgetBurn\",alertstate=\"firing\",slo_id=\"shop/{name}\",burnrate_tier=\"{tier}\"}}"
    )
}

/// 10,000 requests a minute, failing at `burn` times the budget of 99.9 %.
fn burning(burn: u64) -> Tick {
    Tick { good: 10_000 - 10 * burn, bad: 10 * burn }
}

async fn a_step_pages_in_the_theoretical_time(testbed: &Testbed) -> Result<()> {
    // Three clean days fill every window; then the budget burns 20 times too fast.
    const CLEAN: usize = 3 * 1440;
    let traffic = Traffic::new("step", CLEAN + 260, |m| burning(if m > CLEAN { 20 } else { 0 }));
    let mut simulation = Simulation::new(testbed, "1m", &[traffic.slo(json!({"objective": "99.9"}))]).await?;
    simulation.traffic(&traffic);
    // A window of length W crosses a tier's rate R after W * R / 20.
    for (tier, minutes) in [("fast", 43.2), ("medium", 108.0), ("slow", 216.0), ("trickle", 216.0)] {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive numbers")]
        let due = CLEAN + minutes as usize;
        // Windows of a day and more are read every five minutes.
        let slack = if minutes > 200.0 { 4 } else { 2 };
        simulation.expect_nothing(&format!("{}m", due - slack), &firing("step", tier));
        simulation.expect(&format!("{}m", due + slack), &firing("step", tier));
    }
    // Before the step, nothing has ever fired.
    simulation.expect_nothing(&format!("{CLEAN}m"), "last_over_time(ALERTS{alertstate=\"firing\"}[3d])");
    simulation.run().await
}

async fn every_tier_fires_and_stays_quiet(testbed: &Testbed) -> Result<()> {
    let tiers = ["trickle", "slow", "medium", "fast"];
    // Ten times the burn rate, and how many of the tiers fire at it.
    let levels = [(9, 0), (11, 1), (28, 1), (32, 2), (57, 2), (63, 3), (140, 3), (148, 4)];
    let traffic: Vec<Traffic> = levels
        .iter()
        .map(|(tenths, _)| {
            Traffic::new(&format!("burn-{tenths}"), 120, move |_| Tick { good: 10_000 - tenths, bad: *tenths })
        })
        .collect();
    let slos: Vec<_> = traffic.iter().map(|t| t.slo(json!({"objective": "99.9"}))).collect();
    let mut simulation = Simulation::new(testbed, "1m", &slos).await?;
    for (t, (tenths, count)) in traffic.iter().zip(levels) {
        simulation.traffic(t);
        for (i, tier) in tiers.iter().enumerate() {
            let alert = firing(&format!("burn-{tenths}"), tier);
            if i < count {
                simulation.expect("2h", &alert);
            } else {
                simulation.expect_nothing("2h", &alert);
            }
        }
    }
    simulation.run().await
}

async fn a_handful_of_errors_wakes_nobody(testbed: &Testbed) -> Result<()> {
    // One request a minute; at 99.95 % a single failure is far over every tier's rate.
    let few = Traffic::new("few", 360, |m| {
        if m == 200 || m == 230 { Tick { good: 0, bad: 1 } } else { Tick { good: 1, bad: 0 } }
    });
    let many =
        Traffic::new("many", 360, |m| if m >= 300 { Tick { good: 0, bad: 1 } } else { Tick { good: 1, bad: 0 } });
    let spec = json!({"objective": "99.95"});
    let mut simulation = Simulation::new(testbed, "1m", &[few.slo(spec.clone()), many.slo(spec)]).await?;
    simulation.traffic(&few);
    simulation.traffic(&many);
    for time in ["202m", "232m", "4h", "6h"] {
        simulation.expect_nothing(time, "ALERTS{slo_id=\"shop/few\"}");
    }
    // The first of them fails at 300 minutes, the tenth at 309.
    simulation.expect_nothing("308m", &firing("many", "fast"));
    simulation.expect("310m", &firing("many", "fast"));
    simulation.run().await
}

async fn an_outage_of_a_probe_pages_with_the_second_failure(testbed: &Testbed) -> Result<()> {
    let probe = |name: &str, more: serde_json::Value| {
        let mut spec = more;
        spec["objective"] = json!("99.9");
        spec["sli"] = json!({"up": {"series": "probe_success"}});
        slo(name, &spec)
    };
    let all = ["probe", "grouped", "patient"];
    let slos = [
        probe(all[0], json!({})),
        probe(all[1], json!({"groupBy": ["instance"]})),
        probe(all[2], json!({"alerting": {"minimumBadEvents": 20}})),
    ];
    // The minute in which twenty have failed.
    for (scrapes, every, patient) in [("1m", 60, 20), ("30s", 30, 10), ("15s", 15, 5)] {
        let mut simulation = Simulation::new(testbed, "1m", &slos).await?.scraped(scrapes);
        let a_minute = 60 / every;
        // Three good hours, and a blip of one failure an hour before the end of them.
        let good = |minutes: usize| minutes * a_minute;
        let values = format!("1x{} 0 1x{} 0x{}", good(120) - 1, good(60) - 1, good(40));
        simulation.series("probe_success{instance=\"x\"}", &values);
        for name in all {
            simulation.expect_nothing("3h", &format!("last_over_time(ALERTS{{slo_id=\"shop/{name}\"}}[3h])"));
        }
        for name in &all[..2] {
            // One failure, and an hour of which 1 % is bad.
            simulation.expect_nothing("181m", &firing(name, "fast"));
            simulation.expect("182m", &firing(name, "fast"));
        }
        simulation.expect_nothing(&format!("{}m", 180 + patient - 1), &firing(all[2], "fast"));
        simulation.expect(&format!("{}m", 180 + patient), &firing(all[2], "fast"));
        simulation.run().await?;
    }
    Ok(())
}

async fn low_objectives_can_page(testbed: &Testbed) -> Result<()> {
    // At 80 % even a total outage burns only five times too fast.
    let traffic =
        Traffic::new("low", 300, |m| if m > 200 { Tick { good: 0, bad: 100 } } else { Tick { good: 90, bad: 10 } });
    let mut simulation = Simulation::new(testbed, "1m", &[traffic.slo(json!({"objective": "80"}))]).await?;
    simulation.traffic(&traffic);
    simulation.expect_nothing("200m", "ALERTS");
    simulation.expect("275m", &firing("low", "fast"));
    simulation.run().await
}
