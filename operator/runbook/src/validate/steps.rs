//! `spec.steps`: order, times, what undoes what.

use std::collections::BTreeSet;

use plimsoll_api::{
    Action, Level, Problem,
    gate::{Branch, OnUnverified, Verify},
    runbook::{ObjectKind, OnFailure, Step},
    shape::nearest,
};
use plimsoll_slo::{duration, model::Span};

use super::{Context, DEFAULT_AFTER, DEFAULT_TIMEOUT, actions};
use crate::Act;

/// The longest time that one step may take.
const LONGEST: Span = Span::seconds(86_400);

/// The steps with every default filled in, or `None` when one cannot be used.
pub(super) fn steps(steps: &[Step], deadline: Option<Span>, context: &mut Context<'_>) -> Option<Vec<Step>> {
    if steps.is_empty() {
        context.error("spec.steps", "there is no step", "", "add one, such as {name: tell, notify: {...}}");
        return None;
    }
    let mut built = Vec::new();
    let mut total = 0;
    for (i, step) in steps.iter().enumerate() {
        let path = format!("spec.steps[{i}]");
        name(step, steps, i, &path, context);
        if let Some((step, timeout)) = self::step(step, &path, context) {
            total += timeout.as_seconds();
            built.push(step);
        }
    }
    branches(steps, context);
    let fine = context.problems.iter().all(|problem| problem.level == Level::Warning);
    if let Some(deadline) = deadline.filter(|deadline| fine && total > deadline.as_seconds()) {
        context.problems.push(
            Problem::warning("spec.deadline", "the steps may take longer than the deadline")
                .label(format!("their timeouts add up to {}, the deadline is {deadline}", Span::seconds(total)))
                .help("raise the deadline, or shorten the timeouts"),
        );
    }
    (built.len() == steps.len()).then_some(built)
}

fn name(step: &Step, steps: &[Step], i: usize, path: &str, context: &mut Context<'_>) {
    let path = format!("{path}.name");
    if !crate::parameters::is_dns_label(&step.name) {
        context.error(&path, format!("{:?} is no name of a step", step.name), "", "use a-z, 0-9 and - between them");
    } else if steps.iter().take(i).any(|other| other.name == step.name) {
        context.error(&path, format!("step {} is there twice", step.name), "", "rename one");
    }
}

fn step(step: &Step, path: &str, context: &mut Context<'_>) -> Option<(Step, Span)> {
    let Step { name, timeout, on_failure, compensate, action } = step;
    let act = action_of(action, path, context);
    let least = Span::seconds(1);
    let timeout = match timeout {
        Some(text) => context.span(text, &format!("{path}.timeout"), least, LONGEST),
        None => Some(default_timeout(act)),
    };
    let action = act.and_then(|act| actions::action(act, action, timeout, path, context));
    let compensate = match compensate {
        Some(undo) => {
            let path = format!("{path}.compensate");
            let undo_act = action_of(undo, &path, context);
            let undo = undo_act.and_then(|act| actions::action(act, undo, timeout, &path, context));
            if act.is_some_and(Act::is_borrowed) {
                context.error(&path, "this step is put back by itself", "", "remove compensate");
            }
            if undo_act.is_some_and(|act| matches!(act, Act::Query(_) | Act::Verify(_) | Act::Wait(_) | Act::Chaos(_)))
            {
                context.error(&path, "this undoes nothing", "", "name an action that changes something back");
            }
            Some(Box::new(undo?))
        }
        None => None,
    };
    let on_failure = on_failure.unwrap_or_default();
    if on_failure == OnFailure::Compensate && matches!(act, Some(Act::Verify(_))) {
        let help = "write onFailure: Rollback in verify";
        context.error(format!("{path}.onFailure"), "a verification says itself what follows", "", help);
    }
    let timeout = timeout?;
    let built = Step {
        name: name.clone(),
        timeout: Some(timeout.to_string()),
        on_failure: Some(on_failure),
        compensate,
        action: action?,
    };
    Some((built, timeout))
}

fn action_of<'a>(action: &'a Action, path: &str, context: &mut Context<'_>) -> Option<Act<'a>> {
    let kinds = action.kinds();
    if kinds.len() != 1 {
        let named: Vec<&str> = kinds.iter().map(|kind| kind.field()).collect();
        let label = if named.is_empty() { "it has none".to_owned() } else { format!("it has {}", named.join(" and ")) };
        let help = if named.is_empty() { "add one, such as logs: {pod: pod}" } else { "make a step of each" };
        context.error(path, "a step has exactly one action", &label, help);
    }
    Act::of(action)
}

/// What a step may take that does not say so.
fn default_timeout(act: Option<Act<'_>>) -> Span {
    let read = |text: Option<&str>, default: Span| text.map_or(default, |t| duration::parse(t, "").unwrap_or(default));
    let longer = |by: Span| Span { millis: by.millis.saturating_add(DEFAULT_TIMEOUT.millis) };
    match act {
        Some(Act::Verify(verify)) => longer(read(verify.after.as_deref(), DEFAULT_AFTER)),
        Some(Act::Wait(text)) => longer(read(Some(text), DEFAULT_TIMEOUT)),
        Some(Act::Chaos(chaos)) => longer(read(Some(&chaos.duration), DEFAULT_TIMEOUT)),
        _ => DEFAULT_TIMEOUT,
    }
}

/// Faults that are held back however many Pods there are, but for so few that one is the share.
pub(super) fn shares(steps: &[Step], most: i64, context: &mut Context<'_>) {
    for (i, step) in steps.iter().enumerate() {
        let Some(chaos) = &step.action.chaos else { continue };
        let of_workload = !matches!(context.kind(&chaos.object), None | Some(ObjectKind::Pod));
        let percent = chaos.pods.and_then(|pods| pods.percent).filter(|percent| of_workload && *percent > most);
        if let Some(percent) = percent {
            context.problems.push(
                Problem::warning(format!("spec.steps[{i}].chaos.pods.percent"), "percent is above maxTargetsPercent")
                    .label(format!("{percent} against {most}"))
                    .help("raise spec.safety.maxTargetsPercent, or hit fewer: else the run is held back where that is more than one Pod"),
            );
        }
    }
}

/// What goes back where no step up to there has anything to undo.
pub(super) fn nothing_to_undo(steps: &[Step], verify: Option<&Verify>, context: &mut Context<'_>) {
    let rolls_back = |verify: &Verify| verify.on_failure == Some(OnUnverified::Rollback);
    let mut paths = Vec::new();
    let mut undoable = false;
    for (i, step) in steps.iter().enumerate() {
        undoable |= step.compensate.is_some() || Act::of(&step.action).is_some_and(Act::undoes_itself);
        if undoable {
            break;
        }
        if step.on_failure == Some(OnFailure::Compensate) {
            paths.push((format!("spec.steps[{i}].onFailure"), "Compensate"));
        }
        if step.action.verify.as_ref().is_some_and(rolls_back) {
            paths.push((format!("spec.steps[{i}].verify.onFailure"), "Rollback"));
        }
    }
    if !undoable && verify.is_some_and(rolls_back) {
        paths.push(("spec.verify.onFailure".to_owned(), "Rollback"));
    }
    for (path, word) in paths {
        context.problems.push(
            Problem::warning(path, format!("{word} undoes nothing here"))
                .label("no step up to there undoes itself or has a compensate")
                .help("add compensate to a step, or remove onFailure"),
        );
    }
}

/// Where queries lead: only forward, so that every run ends.
fn branches(steps: &[Step], context: &mut Context<'_>) {
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    for (i, step) in steps.iter().enumerate() {
        seen.insert(step.name.as_str());
        let Some(query) = &step.action.query else { continue };
        let path = format!("spec.steps[{i}].query.goTo");
        let wanted = [query.found, query.empty].contains(&Some(Branch::GoTo));
        let later: Vec<&str> = names.iter().skip(i + 1).copied().collect();
        let name_one = match later.as_slice() {
            [] => "add a step after this one".to_owned(),
            [only] => format!("name the later step {only}"),
            several => format!("name a later step: {}", several.join(", ")),
        };
        match &query.go_to {
            None if wanted => {
                context.error(&path, "goTo is missing", "found or empty says GoTo", &name_one);
            }
            Some(_) if !wanted => {
                context.error(&path, "nothing goes there", "neither found nor empty says GoTo", "remove goTo");
            }
            Some(to) if seen.contains(to.as_str()) => {
                let label = "steps could go round in a ring";
                context.error(&path, format!("step {to} does not come later"), label, &name_one);
            }
            Some(to) if !names.contains(&to.as_str()) => {
                let near = nearest(to, later.iter().copied(), 1);
                let help = match near.first() {
                    Some(near) if later.len() > 1 => format!("did you mean {near}? Else {name_one}"),
                    Some(near) => format!("did you mean {near}?"),
                    None => name_one,
                };
                context.error(&path, format!("there is no step {to}"), "", &help);
            }
            _ => {}
        }
    }
}
