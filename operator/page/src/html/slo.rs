//! One SLO.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use maud::{Markup, html};
use plimsoll_api::slo::Severity;

use super::{
    Frame, Place, charts, copy, document, facts, happened, overview::glyph, ranges, seconds, slo_path, table, time,
    trouble,
};
use crate::{
    slo::{GroupRow, RANGES, TierRow, TierState, View},
    words,
};

/// The view.
pub fn slo(frame: &Frame, view: &View) -> String {
    let main = html! {
        div #answer data-live aria-live="polite" class=(view.state.key()) {
            h1 { (view.name) " " small { (view.namespace) } }
            p.answer { i.g aria-hidden="true" { (glyph(view.state)) } " " (view.headline) }
            (trouble(view.trouble.as_deref()))
            @if let Some(description) = &view.description { p.prose { (description) } }
            (facts(&view.facts))
        }
        @if let Some(shown) = &view.charts {
            (ranges(&slo_path(&view.namespace, &view.name), RANGES, view.range))
            section aria-label="Charts" { div #pictures data-live { (charts::charts(shown)) } }
        }
        div #tables data-live {
            @if !view.tiers.is_empty() { (tiers(&view.tiers)) }
            @if view.groups.1 > 0 { (groups(&view.groups.0, view.groups.1)) }
            @if let Some(shown) = &view.charts { (happened(&shown.marks, shown.older)) }
            @if let Some(text) = &view.explanation {
                section { h2 #why { (if view.state.is_burning() { "Why it fires" } else { "Why it is as it is" }) }
                    pre.explain tabindex="0" aria-labelledby="why" { (text) } }
            }
            @if !view.conditions.is_empty() { (conditions(&view.conditions)) }
        }
        (copy("yaml", "Its YAML", &view.yaml))
        (copy("rules", "Its rules", &view.rules))
    };
    document(frame, Place::Slos, &view.name, &main)
}

fn tiers(rows: &[TierRow]) -> Markup {
    let head = html! {
        th scope="col" { "Tier" } th scope="col" { "State" } th scope="col" { "Since" }
        th.n scope="col" { "Burn, long" } th.n scope="col" { "Burn, short" } th.n scope="col" { "Threshold" }
        th scope="col" { "What it takes" }
    };
    table("alerts", "Alerts", None, &head, &html! { @for row in rows { (tier(row)) } })
}

fn tier(row: &TierRow) -> Markup {
    let class = match (row.state, row.severity) {
        (TierState::Fires { .. }, Severity::Page) => "page",
        (TierState::Fires { .. }, Severity::Ticket) | (TierState::Over, _) => "ticket",
        (TierState::Quiet | TierState::Unknown, _) => "quiet",
    };
    let (glyph, word) = match (row.state, row.severity) {
        (TierState::Fires { .. }, Severity::Page) => ("▲", "fires"),
        (TierState::Fires { .. }, Severity::Ticket) => ("◆", "fires"),
        (TierState::Over, _) => ("◇", "over"),
        (TierState::Quiet, _) => ("·", "quiet"),
        (TierState::Unknown, _) => ("○", "not known"),
    };
    let since = match row.state {
        TierState::Fires { since } => since,
        TierState::Over | TierState::Quiet | TierState::Unknown => None,
    };
    let burn = |n: usize| {
        let burn = row.burns.get(n).copied().flatten().map_or_else(|| "–".to_owned(), words::rate);
        html! { (burn) " " small { (row.windows.get(n).map_or("", String::as_str)) } }
    };
    html! {
        tr class=(class) {
            th scope="row" { (row.name) " " small { (if row.severity == Severity::Page { "page" } else { "ticket" }) } }
            td { span.s { i.g aria-hidden="true" { (glyph) } (word) } }
            td { @match since { Some(at) => (seconds(at)), None => "–" } }
            td.n { (burn(0)) } td.n { (burn(1)) } td.n { (row.threshold) }
            td { (row.wants) }
        }
    }
}

fn groups(rows: &[GroupRow], all: usize) -> Markup {
    let note = (all > rows.len()).then(|| format!("The {} of {all} groups with the least budget.", rows.len()));
    let head = html! {
        th scope="col" { "Group" } th.n scope="col" { "Errors, 1\u{a0}h" } th.n scope="col" { "Burn, 1\u{a0}h" }
        th.n scope="col" { "Budget left" }
    };
    let body = html! {
        @for row in rows { tr {
            th scope="row" { (row.name) }
            td.n { (row.errors.map_or_else(|| "–".to_owned(), |errors| words::percent(errors, 3))) }
            td.n { (row.burn.map_or_else(|| "–".to_owned(), words::rate)) }
            td.n { (words::percent(row.budget, 1)) }
        } }
    };
    table("groups", "Errors by group", note, &head, &body)
}

pub(super) fn conditions(all: &[Condition]) -> Markup {
    let head = html! {
        th scope="col" { "Condition" } th scope="col" { "Status" } th scope="col" { "Reason" }
        th scope="col" { "Since" } th scope="col" { "Message" }
    };
    let body = html! {
        @for one in all { tr {
            th scope="row" { (one.type_) } td { (one.status) } td { (one.reason) }
            td { (time(one.last_transition_time.0)) } td.prose { (one.message) }
        } }
    };
    table("conditions", "Conditions", None, &head, &body)
}
