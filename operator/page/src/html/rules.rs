//! AlertRules as a list of their alerts, and one of them.

use maud::{Markup, html};
use plimsoll_api::slo::Severity;

use super::{
    Frame, Place, charts, copy, document, facts, happened,
    overview::{glyph, told},
    ranges, rule_path, seconds,
    slo::conditions,
    table, trouble,
};
use crate::{
    overview::State,
    rules::{self, AlertRow, Rules, View},
};

/// The list.
pub fn rules(frame: &Frame, view: &Rules) -> String {
    let main = html! {
        div #answer data-live aria-live="polite" { h1 { (view.headline) } (trouble(view.trouble.as_deref())) }
        div #rows data-live {
            @if view.rows.is_empty() {
                @if view.complete { p { "An AlertRule says what is watched beside objectives: "
                    code { "plimsoll validate" } " checks one, and " code { "kubectl apply" } " stores it." } }
            } @else { (alerts(&view.rows, true)) }
        }
    };
    document(frame, Place::Rules, "Alerts", &main)
}

/// One AlertRule.
pub fn rule(frame: &Frame, view: &View) -> String {
    let main = html! {
        div #answer data-live aria-live="polite" class=(view.state.key()) {
            h1 { (view.name) " " small { (view.namespace) } }
            p.answer { i.g aria-hidden="true" { (glyph(view.state)) } " " (view.headline) }
            (trouble(view.trouble.as_deref()))
            (facts(&view.facts))
        }
        div #rows data-live { (alerts(&view.alerts, false)) }
        (ranges(&rule_path(&view.namespace, &view.name), rules::ranges(), view.range))
        section aria-label="Charts" { div #pictures data-live { (charts::of_rule(view)) } }
        div #tables data-live {
            (happened(&view.marks, view.older))
            @if !view.conditions.is_empty() { (conditions(&view.conditions)) }
        }
        (copy("yaml", "Its YAML", &view.yaml))
        (copy("rules", "Its rules", &view.rules))
    };
    document(frame, Place::Rules, &view.name, &main)
}

/// Alerts, with their AlertRule where they are of several.
fn alerts(rows: &[AlertRow], listed: bool) -> Markup {
    let head = html! {
        th scope="col" { "State" } th scope="col" { "Alert" }
        @if listed { th scope="col" { "AlertRule" } th scope="col" { "Owner" } }
        th scope="col" { "Since" } th scope="col" { "Last fired" } th scope="col" { "Watches" }
    };
    let body = html! { @for row in rows { (alert(row, listed)) } };
    let note = Some("Last fired: in the last 7 days; what lasted less than five minutes may be missing.".to_owned())
        .filter(|_| listed);
    table("alerts", "Alerts", note, &head, &body)
}

fn alert(row: &AlertRow, listed: bool) -> Markup {
    let when = |at: Option<i64>| html! { @match at { Some(at) => (seconds(at)), None => "–" } };
    let severity = if row.severity == Severity::Page { "page" } else { "ticket" };
    let name = if row.alert.is_empty() { "unreadable" } else { &row.alert };
    html! {
        tr class=(row.state.key()) {
            td { @if row.pending && row.state == State::Quiet { span.s { i.g aria-hidden="true" { "◇" } "Pending" } } @else { (told(row.state)) } }
            th scope="row" { (name) " " small { (severity) } @if let Some(reason) = &row.reason { p { (reason) } } }
            @if listed {
                td { a href=(rule_path(&row.namespace, &row.rule)) { (row.rule) } " " small { (row.namespace) } }
                td { (row.owner) }
            }
            td { (when(row.since)) } td { (when(row.last)) }
            td.prose { code { (row.expression) } " " small { (row.kind) @if !row.hold.is_empty() { ", for " (row.hold) } } }
        }
    }
}
