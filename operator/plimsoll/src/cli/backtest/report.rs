//! What is told, as a table and as JSON.

use std::fmt::Write as _;

use jiff::Timestamp;
use plimsoll_slo::{
    evaluate::{
        Labels,
        backtest::{Case, Fired, Outcome},
    },
    model::Span,
};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde_json::{Value, json};

use super::{Period, Report};

/// `2026-11-12 14:03`, from milliseconds since 1970.
fn minute(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

/// `1h12m`, from milliseconds.
fn length(millis: i64) -> String {
    let minutes = u64::try_from((millis + 30_000) / 60_000).unwrap_or(0);
    if minutes == 0 { "<1m".to_owned() } else { Span::seconds(minutes * 60).to_string() }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

/// How long an alert fired within the time, in milliseconds.
fn lasted(fired: &Fired, period: Period) -> i64 {
    let (from, to) = period.millis();
    fired.episode.ended.unwrap_or(to).min(to) - fired.episode.fired.max(from)
}

fn count(outcome: &Outcome, severity: &str) -> usize {
    outcome.fired.iter().filter(|fired| fired.severity == severity).count()
}

fn name(case: &Case, own: &Case) -> String {
    let percent = case.objective.percent();
    if case == own {
        return format!("{percent} (as written)");
    }
    if case.objective == own.objective {
        let times = if case.factor < Decimal::ONE { "half the" } else { "double the" };
        return format!("{percent}, tiers at {times} burn rates");
    }
    let way = if case.objective.percent() < own.objective.percent() { "looser" } else { "tighter" };
    format!("{percent} ({way})")
}

/// Rows as columns of equal width.
fn aligned(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "  {}", cells.join("   ").trim_end());
    }
}

fn group(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// For people.
pub(super) fn table(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        if !text.is_empty() {
            text.push('\n');
        }
        one(&mut text, report);
    }
    text
}

fn one(text: &mut String, report: &Report) {
    let Report { model, period, coverage, outcomes, left, .. } = report;
    let Some(own) = outcomes.first() else { return };
    let (from, to) = period.millis();
    let _ = writeln!(
        text,
        "{}   objective {} %   {} to {} UTC   {} of it with data",
        model.id,
        model.objective.percent(),
        minute(from),
        minute(to),
        percent(Some(*coverage))
    );
    let time = if model.parts().is_empty() { "this time" } else { "its period" };
    let left = match left {
        Ok(left) => {
            left.map_or_else(String::new, |left| format!("{} left at the end, by the rules", percent(Some(left))))
        }
        Err(why) => format!("what is left at the end is not known: {why}"),
    };
    let parts = [format!("{} of the budget of {time} spent", percent(own.spent)), left];
    let said: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let _ = writeln!(text, "  {}\n", said.join("; "));
    if own.fired.is_empty() {
        text.push_str("  no alert would have fired\n");
    } else {
        let grouped = !model.group_by.is_empty();
        let head = ["ALERT", "SEVERITY", "FIRED (UTC)", "LASTED", "WORST BURN"].map(str::to_owned);
        let mut rows = vec![head.to_vec()];
        if grouped && let Some(head) = rows.first_mut() {
            head.push("GROUP".to_owned());
        }
        let budget = model.objective.budget().to_f64().unwrap_or(f64::NAN);
        for fired in &own.fired {
            let still = fired.episode.ended.is_none_or(|ended| ended > to);
            let mut row = vec![
                fired.tier.clone().unwrap_or_else(|| "no data".to_owned()),
                fired.severity.clone(),
                minute(fired.episode.fired),
                length(lasted(fired, *period)) + if still { ", firing" } else { "" },
                fired.tier.as_ref().map_or_else(|| "-".to_owned(), |_| format!("{:.1}", fired.episode.peak / budget)),
            ];
            if grouped {
                row.push(group(&fired.group));
            }
            rows.push(row);
        }
        aligned(text, &rows);
    }
    text.push('\n');
    let head = ["WHAT IF", "BUDGET SPENT", "PAGES", "TICKETS", "FIRING FOR"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for outcome in outcomes {
        let firing: i64 = outcome.fired.iter().filter(|f| f.tier.is_some()).map(|f| lasted(f, *period)).sum();
        rows.push(vec![
            name(&outcome.case, &own.case),
            percent(outcome.spent),
            count(outcome, "page").to_string(),
            count(outcome, "ticket").to_string(),
            if firing == 0 { "-".to_owned() } else { length(firing) },
        ]);
    }
    aligned(text, &rows);
}

/// For programs.
pub(super) fn json(reports: &[Report], period: Period) -> String {
    let time = |millis: i64| Timestamp::from_millisecond(millis).map(|at| at.to_string()).unwrap_or_default();
    let fired = |fired: &Fired| {
        json!({
            "alert": fired.alert, "tier": fired.tier, "severity": fired.severity, "group": fired.group,
            "activeAt": time(fired.episode.active), "firedAt": time(fired.episode.fired),
            "endedAt": fired.episode.ended.map(time), "seconds": lasted(fired, period) / 1000,
            "highestErrorRatio": fired.tier.as_ref().map(|_| fired.episode.peak),
        })
    };
    let case = |outcome: &Outcome| {
        json!({
            "objective": outcome.case.objective.percent().to_string(),
            "burnRateFactor": outcome.case.factor.to_string(),
            "budgetSpent": outcome.spent,
            "alerts": outcome.fired.iter().map(fired).collect::<Vec<_>>(),
        })
    };
    let slo = |report: &Report| {
        json!({
            "slo": report.model.id.to_string(), "coverage": report.coverage,
            "budgetRemaining": report.left.as_ref().ok().copied().flatten(), "notKnown": report.left.as_ref().err(),
            "cases": report.outcomes.iter().map(case).collect::<Vec<_>>(),
        })
    };
    let (from, to) = period.millis();
    let all: Value = json!({"from": time(from), "to": time(to), "slos": reports.iter().map(slo).collect::<Vec<_>>()});
    format!("{all:#}\n")
}
