//! The shop's state in the terminal.

use std::fmt::Write as _;

use jiff::Timestamp;
use plimsoll_slo::{Model, names};
use rust_decimal::prelude::ToPrimitive;

use super::World;

/// One SLO on one line.
fn row(world: &World, model: &Model) -> [String; 6] {
    let id = model.id.to_string();
    let t = world.now * 1000;
    let worst = |name: &str, window: Option<&str>, fold: fn(f64, f64) -> f64| {
        let found = world.engine.select(name, &id);
        let of = |labels: &plimsoll_slo::evaluate::Labels| labels.get(names::WINDOW).map(String::as_str) == window;
        found.iter().filter(|found| of(&found.labels)).filter_map(|found| found.series.at(t)).reduce(fold)
    };
    let budget = model.objective.budget().to_f64().unwrap_or(f64::NAN);
    let left = worst(names::BUDGET_REMAINING, None, f64::min);
    let burn = worst(names::ERROR_RATIO, Some("1h"), f64::max).map(|ratio| ratio / budget);
    let mut firing: Vec<&str> = world
        .firing()
        .into_iter()
        .filter(|(of, _)| *of == id)
        .map(|(_, alert)| alert.labels.get(names::SEVERITY).map_or("", String::as_str))
        .collect();
    firing.sort_unstable();
    let shown = |value: Option<f64>, text: fn(f64) -> String| value.map_or_else(|| "-".to_owned(), text);
    [
        id,
        model.objective.percent().to_string(),
        shown(left, |left| format!("{:.1}%", left * 100.0)),
        shown(burn, |burn| format!("{burn:.1}")),
        firing.first().map_or_else(|| "-".to_owned(), |severity| (*severity).to_owned()),
        model.description.clone().unwrap_or_default(),
    ]
}

/// Everything at once.
pub fn state(world: &World) -> String {
    let mut rows: Vec<(f64, [String; 6])> = world
        .engine
        .models()
        .map(|model| {
            let found = world.engine.select(names::BUDGET_REMAINING, &model.id.to_string());
            let left = found.iter().filter_map(|found| found.series.at(world.now * 1000)).fold(f64::INFINITY, f64::min);
            (left, row(world, model))
        })
        .collect();
    // What wakes somebody first, as on the page.
    let urgency = |alert: &str| ["page", "ticket"].iter().position(|severity| alert == *severity).unwrap_or(usize::MAX);
    rows.sort_by(|(a, [.., page_a, _]), (b, [.., page_b, _])| {
        urgency(page_a).cmp(&urgency(page_b)).then(a.total_cmp(b))
    });
    let head = ["SLO", "OBJECTIVE", "BUDGET", "BURN", "ALERT", "WHAT IT PROMISES"].map(str::to_owned);
    let mut text = String::new();
    for [id, objective, budget, burn, alert, what] in std::iter::once(head).chain(rows.into_iter().map(|row| row.1)) {
        let _ = writeln!(text, "{id:<28}{objective:<11}{budget:<9}{burn:<7}{alert:<8}{what}");
    }
    if let Some(row) = world.band.rows.last()
        && let Some([middle, lower, upper]) = row.band
    {
        let _ = writeln!(
            text,
            "\nThe scorer expected {middle:.0} requests a second at the checkout ({lower:.0} to {upper:.0}) and sees {:.0}: score {:.2}.",
            row.value, row.score
        );
    }
    if !world.executions.is_empty() {
        text.push_str("\nWhat runbooks would have done (mode DryRun: nothing is sent):\n");
    }
    for execution in world.executions.iter().rev().take(5) {
        let made =
            execution.metadata.creation_timestamp.as_ref().map(|time| time.0.strftime("%Y-%m-%d %H:%M").to_string());
        let message = execution.status.as_ref().and_then(|status| status.message.clone());
        let _ = writeln!(
            text,
            "  {} UTC  {:<26}{}",
            made.unwrap_or_default(),
            execution.spec.runbook.name,
            message.unwrap_or_default()
        );
    }
    if let Some(dry_run) = world.dry_run() {
        let _ = writeln!(text, "\nThe newest of them in full:\n\n{dry_run}");
    }
    let now = Timestamp::from_second(world.now).map(|now| now.strftime("%Y-%m-%d %H:%M:%S").to_string());
    let _ = writeln!(text, "As of {} UTC. Everything here is simulated.", now.unwrap_or_default());
    text
}
