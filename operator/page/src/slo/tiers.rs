//! The table of alerts: what fires, what does not, and what would make it.

use plimsoll_api::slo::Severity;
use plimsoll_slo::{Model, names};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use super::{Answers, FIRING, SINCE, ratio_now};
use crate::words;

/// Whether a tier's alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierState {
    /// Since so many seconds since 1970, where that is known.
    Fires {
        /// See above.
        since: Option<i64>,
    },
    /// Both windows are over the threshold, and the alert has not fired yet.
    Over,
    /// One of the windows is below.
    Quiet,
    /// Nothing is known.
    Unknown,
}

/// One tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierRow {
    /// Its name.
    pub name: String,
    /// Whom it wakes.
    pub severity: Severity,
    /// Whether it fires.
    pub state: TierState,
    /// Windows, as they are written: the long and the short one.
    pub windows: [String; 2],
    /// Burn rates of now over them.
    pub burns: [Option<f64>; 2],
    /// It fires above.
    pub threshold: String,
    /// What would make it fire, or end it.
    pub wants: String,
}

pub(super) fn rows(model: &Model, answers: &Answers, now: i64) -> Vec<TierRow> {
    let budget = model.objective.budget();
    let tiers = model.tiers.iter().map(|tier| {
        let burn = |window: &str| Some(ratio_now(answers, window)? / budget.to_f64()?);
        let windows = [tier.long.to_string(), tier.short.to_string()];
        let burns = [burn(&windows[0]), burn(&windows[1])];
        let threshold = tier.burn_rate.to_f64().unwrap_or(f64::INFINITY);
        let over = burns.map(|burn| burn.map(|burn| burn > threshold));
        let state = match (firing(answers, &tier.name, now), over) {
            (Some(since), _) => TierState::Fires { since },
            (None, _) if !answers.is_answered(FIRING) => TierState::Unknown,
            (None, [Some(true), Some(true)]) => TierState::Over,
            (None, [Some(_), Some(_)]) => TierState::Quiet,
            (None, _) => TierState::Unknown,
        };
        // In errors, which a person can count.
        let errors = (tier.burn_rate * budget * Decimal::ONE_HUNDRED).round_dp(4).normalize();
        let [long, short] = &windows;
        let floor = match model.minimum_bad_events {
            0 => String::new(),
            n => format!(", and at least {n} bad events"),
        };
        let wants = match state {
            TierState::Fires { .. } => format!("ends when less than {errors}\u{a0}% is bad over {short} or {long}"),
            TierState::Over => match (tier.hold, model.minimum_bad_events) {
                (Some(hold), _) => format!("fires when it stays so for {hold}{floor}"),
                (None, 0) => "fires at the next evaluation".to_owned(),
                (None, n) => format!("fires with at least {n} bad events over {long}"),
            },
            TierState::Quiet | TierState::Unknown if errors >= Decimal::ONE_HUNDRED => {
                "cannot fire: more than everything would have to be bad".to_owned()
            }
            TierState::Quiet | TierState::Unknown => {
                format!("fires when more than {errors}\u{a0}% is bad over {long} and {short}{floor}")
            }
        };
        TierRow {
            name: tier.name.clone(),
            severity: tier.severity,
            state,
            burns,
            threshold: words::rate(threshold),
            wants,
            windows,
        }
    });
    tiers.collect()
}

/// Whether a tier's alert fires now, and since when.
fn firing(answers: &Answers, tier: &str, now: i64) -> Option<Option<i64>> {
    let is = |line: &crate::ask::Line| line.label(names::TIER) == tier && line.label("alertname") == names::ALERT_BURN;
    answers.now(FIRING).find(|(line, _)| is(line))?;
    let told = answers.now(SINCE).find(|(line, _)| is(line)).map(|(_, since)| since as i64);
    Some(told.filter(|since| *since <= now))
}
