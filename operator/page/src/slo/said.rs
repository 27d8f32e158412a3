//! What is said of an SLO in words.

use plimsoll_slo::{
    Model,
    model::{Period, Sli},
};

use super::{Answers, CLOSED, OPEN, error_budget, sentence};
use crate::{
    Kept, Spell,
    overview::{self, State},
    words,
};

/// What the answer is made of.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    /// Share of the budget.
    pub(super) left: Option<f64>,
    /// Over an hour.
    pub(super) burn: Option<f64>,
    /// The time of which the budget is.
    pub(super) spell: Option<Spell>,
    /// Whether there were answers to what decides.
    pub(super) answered: bool,
}

/// The answer, in a sentence.
pub(super) fn headline(slo: &Kept<plimsoll_api::Slo>, model: &Model, state: State, numbers: Numbers) -> String {
    let Numbers { left, burn, spell, answered } = numbers;
    let known = left.is_some();
    let lasts = spell.and_then(|spell| spell.lasts(left?, burn?));
    let left = match left {
        Some(left) if left <= 0.0 => format!("the budget is spent, {} of it", words::percent(1.0 - left, 0)),
        Some(left) => {
            let outage = spell.map(|spell| words::span(spell.outage(left, error_budget(model))));
            let outage = outage.map(|outage| format!(" ({outage} of full outage)")).unwrap_or_default();
            format!("{} of the budget is left{outage}", words::percent(left, 1))
        }
        None => "its budget is not known".to_owned(),
    };
    let runs_out = lasts.map(|seconds| format!(" and runs out in {}", words::span(seconds))).unwrap_or_default();
    let burn = burn.map(|burn| format!("; burn {} over 1 h", words::rate(burn))).unwrap_or_default();
    match state {
        State::Page => format!("Burning, page: {left}{runs_out}{burn}."),
        State::Ticket => format!("Burning, ticket: {left}{runs_out}{burn}."),
        State::Broken => format!("Broken: {}", sentence(&overview::broken(slo).unwrap_or_default())),
        State::Spent => format!("Spent: {left}{burn}."),
        State::NoData => "No data: nothing is recorded of it yet.".to_owned(),
        State::Unknown if answered => "Not known yet: the first evaluations of its rules are awaited.".to_owned(),
        State::Unknown if known => format!("Whether it is burning is not known: {left}{runs_out}{burn}."),
        State::Unknown => "Not known: nobody who has its numbers answers.".to_owned(),
        State::Quiet => format!("Quiet: {left}{runs_out}{burn}."),
    }
}

/// What it promises, and what of that is left.
pub(super) fn facts(
    model: &Model,
    answers: &Answers,
    left: Option<f64>,
    spell: Option<Spell>,
) -> Vec<(&'static str, String)> {
    let label = |name: &str| model.labels.get(name).cloned();
    let percent = model.objective.percent();
    let over = match &model.period {
        Period::Rolling(span) => format!("{span}, rolling"),
        Period::Calendar { unit, zone, .. } => format!("the calendar {unit:?} in {}", zone.name),
    };
    let budget = error_budget(model);
    let mut facts = vec![("Objective", format!("{percent}\u{a0}% over {over}"))];
    if let Some(left) = left {
        let decimals = words::decimals(&percent.to_string());
        facts.push(("SLI", format!("{} over the period", words::percent(1.0 - (1.0 - left) * budget, decimals))));
        let mut text = words::percent(left, 1);
        if let Some(spell) = spell {
            let [rest, whole] = [left.max(0.0), 1.0].map(|left| words::span(spell.outage(left, budget)));
            text.push_str(&format!(" = {rest} of {whole} of full outage"));
        }
        // A sum of a rate once a minute.
        let sum = |question| answers.now(question).map(|(_, sum)| sum).sum::<f64>();
        let events = (sum(CLOSED) + sum(OPEN)) * 60.0;
        if matches!(model.sli, Sli::Events { .. } | Sli::Latency { .. }) && model.group_by.is_empty() && events > 0.0 {
            let bad = left.max(0.0) * budget * events;
            text.push_str(&format!(", or {} bad events", words::count(bad)));
        }
        if let Some(known) = spell.and_then(|spell| spell.part()) {
            text.push_str(&format!("; of the {} of the period that are known", words::span(known)));
        }
        facts.push(("Budget left", text));
    }
    for (name, value) in [("Service", label("service")), ("Owner", label("owner"))] {
        facts.extend(value.map(|value| (name, value)));
    }
    let others = model.labels.iter().filter(|(name, _)| !["service", "owner"].contains(&name.as_str()));
    let others: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    if !others.is_empty() {
        facts.push(("Labels", others.join(", ")));
    }
    if !model.runbooks.is_empty() {
        facts.push(("Runbooks", model.runbooks.join(", ")));
    }
    facts
}
