//! Runbooks, and one execution.

use maud::{Markup, html};
use plimsoll_api::execution::{Outcome, Phase};

use super::{Frame, Place, document, execution_path, facts, table, time};
use crate::{
    runs::{DRY_WORDS, Run, RunRow, RunbookRow, Runs, Sent, StepRow, phase_words},
    words,
};

/// The list.
pub fn runs(frame: &Frame, view: &Runs) -> String {
    let main = html! {
        div #answer data-live aria-live="polite" { h1 { (view.headline) } }
        div #rows data-live {
            @if view.runbooks.is_empty() && view.runs.is_empty() {
                @if view.complete { p { "A runbook says what is done when something happens: "
                    code { "plimsoll validate" } " checks one, and " code { "kubectl apply" } " stores it." } }
            }
            @if !view.runbooks.is_empty() { (runbooks(&view.runbooks)) }
            @if !view.runs.is_empty() { (executions(&view.runs, view.total)) }
        }
    };
    document(frame, Place::Runbooks, "Runbooks", &main)
}

fn runbooks(rows: &[RunbookRow]) -> Markup {
    let head = html! {
        th scope="col" { "Runbook" } th scope="col" { "Mode" } th scope="col" { "Started by" }
        th.n scope="col" { "Steps" } th.n scope="col" { "Runs" }
    };
    let body = html! {
        @for row in rows { tr class=(if row.broken.is_some() { "broken" } else { "quiet" }) {
            th scope="row" { (row.name) " " small { (row.namespace) }
                @if let Some(why) = &row.broken { p { i.g aria-hidden="true" { "✕" } " " (why) } }
                @else if !row.description.is_empty() { p { (row.description) } } }
            td { (format!("{:?}", row.mode)) }
            td.prose { (row.trigger) }
            td.n { (row.steps) } td.n { (row.runs) }
        } }
    };
    table("runbooks", "Runbooks", None, &head, &body)
}

fn executions(rows: &[RunRow], total: usize) -> Markup {
    let note = (total > rows.len()).then(|| format!("The newest {} of {total}.", rows.len()));
    let head = html! {
        th scope="col" { "Execution" } th scope="col" { "Runbook" } th scope="col" { "Mode" }
        th scope="col" { "Phase" } th scope="col" { "Made" } th scope="col" { "Why" }
    };
    let body = html! {
        @for row in rows { tr class=(class(row.phase)) {
            th scope="row" { a href=(execution_path(&row.namespace, &row.name)) { (row.name) } " " small { (row.namespace) } }
            td { (row.runbook) } td { (format!("{:?}", row.mode)) }
            td { (phase(row.phase, row.dry)) }
            td { @match row.made { Some(at) => (time(at)), None => "–" } }
            td.prose { (row.reason) }
        } }
    };
    table("executions", "Executions", note, &head, &body)
}

const fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::AwaitingApproval | Phase::Blocked => "ticket",
        Phase::Failed | Phase::Unknown => "page",
        Phase::Pending | Phase::Running | Phase::Verifying => "under-way",
        Phase::Succeeded | Phase::RolledBack | Phase::Skipped => "quiet",
    }
}

fn phase(phase: Phase, dry: bool) -> Markup {
    if dry {
        return html! { span.s { i.g aria-hidden="true" { "◌" } (DRY_WORDS) } };
    }
    let glyph = match phase {
        Phase::AwaitingApproval => "◆",
        Phase::Blocked => "◇",
        Phase::Failed => "✕",
        Phase::Unknown => "?",
        Phase::Pending => "○",
        Phase::Running | Phase::Verifying => "▶",
        Phase::Succeeded => "✓",
        Phase::RolledBack => "↩",
        Phase::Skipped => "–",
    };
    html! { span.s { i.g aria-hidden="true" { (glyph) } (phase_words(phase)) } }
}

/// One execution. `open` says whether decisions are taken here.
pub fn run(frame: &Frame, view: &Run, open: bool, refused: Option<&str>) -> String {
    let main = html! {
        div #answer data-live aria-live="polite" class=(class(view.phase)) {
            h1 { (view.name) " " small { (view.namespace) } }
            p.answer { (phase(view.phase, view.dry)) (view.headline) }
            (facts(&view.facts))
        }
        @if let Some(why) = refused { p.trouble role="alert" { span.g aria-hidden="true" { "!" } " Nothing was decided: " (why) } }
        div #decide data-live { @if let Some(hash) = &view.decide { (decide(view, hash, open)) } }
        div #steps data-live {
            section { h2 { "Steps" } ol.steps { @for step in &view.steps { (step_line(step)) } } }
            @if !view.objects.is_empty() {
                section { h2 { "Objects" } ul { @for object in &view.objects { li { (object) } } } }
            }
            @if !view.evidence.is_empty() {
                section { h2 { "What started it" }
                    dl.facts { @for (name, value) in &view.evidence { div { dt { (name) } dd { (value) } } } } }
            }
        }
    };
    document(frame, Place::Runbooks, &view.name, &main)
}

fn step_line(step: &StepRow) -> Markup {
    let (glyph, class) = match (step.outcome, step.state.as_str()) {
        (Some(Outcome::Succeeded), _) => ("✓", "done"),
        (Some(Outcome::Failed | Outcome::TimedOut), _) => ("✕", "page"),
        (Some(Outcome::Unknown), _) => ("?", "page"),
        (Some(Outcome::Skipped), _) => ("–", "quiet"),
        (None, "begun") => ("▶", "under-way"),
        (None, _) => ("○", "quiet"),
    };
    html! {
        li class=(class) {
            p { i.g aria-hidden="true" { (glyph) } " " strong { (step.name) } " " small { (step.action) } " – " (step.state)
                @if let Some(took) = step.took { " in " (words::span(took)) }
                @if step.attempts > 1 { ", " (step.attempts) " attempts" } }
            @if let Some(intent) = step.intent { p.intent { "intent stored " (time(intent)) } }
            @if !step.sends.is_empty() { (sends(&step.sends)) }
            @else if !step.what.is_empty() { p.what { code { (step.what) } } }
            @if !step.undoes.is_empty() { p.what { "to undo it:" } (sends(&step.undoes)) }
            @if !step.message.is_empty() { p { (step.message) } }
            @if !step.artifacts.is_empty() { ul.artifacts { @for kept in &step.artifacts {
                li { strong { (kept.name) } " " (kept.size) " " code { (kept.location) } " " small { "sha256 " (kept.sha256) } }
            } } }
        }
    }
}

fn sends(all: &[Sent]) -> Markup {
    html! { ul.artifacts { @for one in all {
        li { code { (one.request) } " " small { (one.what) } @if let Some(body) = &one.body { br; code.what { (body) } } }
    } } }
}

fn decide(view: &Run, hash: &str, open: bool) -> Markup {
    let path = execution_path(&view.namespace, &view.name);
    html! {
        section.decide {
            h2 { "Decide" }
            @if open {
                p { "What you decide about is the spec " code { (hash.get(..12).unwrap_or(hash)) } ", whose steps are below." }
                form method="post" action=(format!("{path}/decision")) autocomplete="off" {
                    input type="hidden" name="spec_hash" value=(hash);
                    label { span { "Why" } input #reason name="reason" required maxlength="1024" placeholder="CHG-4711: agreed with the team"; }
                    label { span { "Your bearer token" } input #token type="password" name="token" required autocomplete="off" aria-describedby="token-help"; }
                    p.help #token-help { "A token by which the Kubernetes API server knows you. The decision is stored as you, and the token is kept nowhere." }
                    button type="submit" name="decision" value="Approve" { "Approve" }
                    button type="submit" name="decision" value="Deny" { "Deny" }
                }
            } @else {
                p { "On the command line: " code { "plimsoll runbook approve " (view.name) " -n " (view.namespace) } }
            }
        }
    }
}
