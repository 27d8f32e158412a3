//! What an SLO's alerts would have done in the past, and what others in their place.

use rust_decimal::Decimal;

use super::{ALERTNAME, Engine, Episode, Labels, clock::unit_start, plan::number};
use crate::{
    model::{Model, Objective, Period, Sli, Span},
    names,
    render::clock::longest,
};

/// Objectives that people choose, in percent.
const STEPS: [(i64, u32); 11] =
    [(90, 0), (95, 0), (98, 0), (99, 0), (995, 1), (998, 1), (999, 1), (9995, 2), (9999, 2), (99_995, 3), (99_999, 3)];

/// An objective and how much its tiers' burn rates are multiplied.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The objective.
    pub objective: Objective,
    /// The factor; one for the tiers as they are.
    pub factor: Decimal,
}

/// The SLO as it is, then other objectives (those given, or one step looser and one tighter), then its tiers at half
/// and at double their burn rates.
pub fn cases(model: &Model, others: &[Objective]) -> Vec<Case> {
    let own = model.objective;
    let case = |objective, factor| Case { objective, factor };
    let mut all = vec![case(own, Decimal::ONE)];
    if others.is_empty() {
        let steps: Vec<Objective> =
            STEPS.into_iter().filter_map(|(n, scale)| Objective::from_percent(Decimal::new(n, scale))).collect();
        let looser = steps.iter().rev().find(|step| step.percent() < own.percent());
        let tighter = steps.iter().find(|step| step.percent() > own.percent());
        all.extend(looser.into_iter().chain(tighter).map(|step| case(*step, Decimal::ONE)));
    } else {
        all.extend(others.iter().filter(|other| **other != own).map(|other| case(*other, Decimal::ONE)));
    }
    all.extend([Decimal::new(5, 1), Decimal::TWO].map(|factor| case(own, factor)));
    all
}

/// The SLO with the tiers of all cases at once: windows do not hang on objectives, so one run tells of all.
pub fn widened(model: &Model, cases: &[Case]) -> Model {
    let mut wide = model.clone();
    wide.tiers.clear();
    let budget = model.objective.budget();
    for (place, case) in cases.iter().enumerate() {
        wide.tiers.extend(model.tiers.iter().map(|tier| {
            let mut tier = tier.clone();
            tier.name = format!("{place}/{}", tier.name);
            tier.burn_rate = tier.burn_rate * case.factor * case.objective.budget() / budget;
            tier
        }));
    }
    // Ascending, as validation leaves them.
    wide.tiers.sort_by_key(|tier| tier.long);
    wide
}

/// Once that an alert would have fired.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// The tier, or nothing for missing data.
    pub tier: Option<String>,
    /// Name of the alert.
    pub alert: String,
    /// `page` or `ticket`.
    pub severity: String,
    /// The values of `groupBy`.
    pub group: Labels,
    /// When, in milliseconds since 1970; the highest value is an error ratio.
    pub episode: Episode,
}

/// What a case would have done.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// Bad events of the time / those that the budget allows for it; of the worst group. `None` without traffic.
    pub spent: Option<f64>,
    /// What would have fired, in the order of time. Missing data is the same for all.
    pub fired: Vec<Fired>,
}

/// What all cases would have done after `from` and until `to` (milliseconds since 1970), from an engine that has run
/// over the [`widened`] SLO.
pub fn outcomes(engine: &Engine, id: &str, cases: &[Case], (from, to): (i64, i64)) -> Vec<Outcome> {
    let ratio = error_ratio(engine, id, (from, to));
    let mut all: Vec<Outcome> = cases
        .iter()
        .map(|case| Outcome {
            spent: ratio.map(|ratio| ratio / number(case.objective.budget())),
            case: case.clone(),
            fired: Vec::new(),
        })
        .collect();
    let groups = engine.models().find(|model| model.id.to_string() == id).map_or(&[][..], |model| &model.group_by);
    let began = began(engine, id, to);
    for alert in engine.alerts(id) {
        let (place, tier) = match alert.tier.as_deref().and_then(|name| name.split_once('/')) {
            Some((place, tier)) => (place.parse().ok(), Some(tier.to_owned())),
            None => (None, None),
        };
        let label = |name: &str| alert.labels.get(name).cloned().unwrap_or_default();
        let group = alert.labels.iter().filter(|(name, _)| groups.contains(name));
        let within = |e: &&Episode| e.fired <= to && e.ended.is_none_or(|ended| ended > from);
        // Before its first sample there was nobody to miss it.
        let known = |e: &&Episode| tier.is_some() || began.is_none_or(|began| e.active >= began);
        let fired: Vec<Fired> = alert
            .episodes
            .iter()
            .filter(within)
            .filter(known)
            .map(|episode| Fired {
                tier: tier.clone(),
                alert: label(ALERTNAME),
                severity: label(names::SEVERITY),
                group: group.clone().map(|(k, v)| (k.clone(), v.clone())).collect(),
                episode: *episode,
            })
            .collect();
        for (_, outcome) in all.iter_mut().enumerate().filter(|(at, _)| place.is_none_or(|place: usize| place == *at)) {
            outcome.fired.extend(fired.iter().cloned());
        }
    }
    for outcome in &mut all {
        outcome.fired.sort_by_key(|fired| fired.episode.fired);
    }
    all
}

/// When the first sample of an SLO was, in milliseconds since 1970.
fn began(engine: &Engine, id: &str, to: i64) -> Option<i64> {
    let firsts = engine.select(names::TOTAL, id);
    let first = |found: &super::Found<'_>| found.series.samples(0, to).next().map(|(t, _)| t);
    firsts.iter().filter_map(first).min()
}

/// Since when it counts what happens, for the budget that is left at `to`; both in seconds since 1970.
pub fn counts_since(model: &Model, to: i64) -> i64 {
    let before = |span: Span| to - i64::try_from(span.as_seconds()).unwrap_or(to);
    match &model.period {
        Period::Rolling(span) => before(*span),
        Period::Calendar { unit, zone, corrections } => {
            let start = unit_start(*unit, zone, corrections, to * 1000);
            start.map_or_else(|| before(longest(*unit)), |start| start.div_euclid(1000))
        }
    }
}

/// Bad events / all events over a time, of the worst group; of a composite, that of its period at the end of it.
pub fn error_ratio(engine: &Engine, id: &str, (from, to): (i64, i64)) -> Option<f64> {
    let model = engine.models().find(|model| model.id.to_string() == id)?;
    if matches!(model.sli, Sli::Weighted(_) | Sli::WorstOf(_)) {
        let left = engine.select(names::BUDGET_REMAINING, id).first()?.series.at(to)?;
        return Some((1.0 - left) * number(model.objective.budget()));
    }
    let sums = |name: &str| -> Vec<f64> {
        let sum = |found: &super::Found<'_>| found.series.samples(from, to).map(|(_, v)| v).sum();
        engine.select(name, id).iter().map(sum).collect()
    };
    let ratios = sums(names::BAD).into_iter().zip(sums(names::TOTAL)).filter(|(_, total)| *total > 0.0);
    ratios.map(|(bad, total)| bad / total).reduce(f64::max)
}
