//! The list of all SLOs.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::{Frame, Place, document, slo_path, trouble};
use crate::{
    overview::{Overview, Row, State},
    words,
};

/// The view.
pub fn overview(frame: &Frame, view: &Overview) -> String {
    let burning: usize = view.states.iter().filter(|(state, _)| state.is_burning()).map(|(_, n)| n).sum();
    let title = if burning > 0 { format!("{burning} burning") } else { "SLOs".to_owned() };
    let main = html! {
        div #answer data-live aria-live="polite" { h1 { (view.headline) } (trouble(view.trouble.as_deref())) }
        @if view.total == 0 {
            div #rows data-live { @if view.complete { (first()) } }
        } @else {
            (filter(view))
            div #rows data-live { (table(view)) }
        }
    };
    document(frame, Place::Slos, &title, &main)
}

/// The three commands that make the first SLO.
fn first() -> Markup {
    html! {
        section.first {
            p { "Three commands make one:" }
            ol {
                li { "Write it. Everything that is not here has a default."
                    pre tabindex="0" { code {
"cat > slo.yaml <<'END'
apiVersion: plimsoll.dev/v1alpha1
kind: SLO
metadata: {name: checkout-availability, namespace: shop}
spec:
  objective: \"99.95\"
  sli: {events: {bad: 'http_requests_total{job=\"checkout\",code=~\"5..\"}', total: 'http_requests_total{job=\"checkout\"}'}}
END" } } }
                li { "Check it; no server is asked." pre tabindex="0" { code { "plimsoll validate slo.yaml" } } }
                li { "Apply it. It is here as soon as it is stored." pre tabindex="0" { code { "kubectl apply -f slo.yaml" } } }
            }
        }
    }
}

fn filter(view: &Overview) -> Markup {
    let of = |state: State| view.states.get(&state).copied().unwrap_or(0);
    let burning = of(State::Page) + of(State::Ticket);
    let filter = &view.filter;
    html! {
        form #filter role="search" method="get" action="/" aria-label="Filter" {
            label { span { "Find" } input #q type="search" name="q" value=(filter.text) placeholder="name, service, owner" autocomplete="off"; }
            label { span { "Label" } input #label type="search" name="label" value=(filter.label) placeholder="team=payments" autocomplete="off"; }
            label { span { "State" } select #state name="state" {
                option value="" selected[filter.state.is_empty()] { "all (" (view.total) ")" }
                option value="burning" selected[filter.state == "burning"] { "burning (" (burning) ")" }
                @for state in State::ALL {
                    option value=(state.key()) selected[filter.state == state.key()] { (state.word().to_lowercase()) " (" (of(state)) ")" }
                }
            } }
            button type="submit" { "Show" }
        }
    }
}

fn table(view: &Overview) -> Markup {
    if view.rows.is_empty() {
        return html! { p.none { "None of " (words::several(view.total, "SLO")) " is like that. " a href="/" { "Show all" } "." } };
    }
    html! {
        @if view.rows.len() < view.total {
            p.count { (view.rows.len()) " of " (words::several(view.total, "SLO")) " shown. " a href="/" { "Show all" } }
        }
        table.slos {
            caption.off { "SLOs, worst first" }
            thead { tr {
                th scope="col" { "State" }
                th scope="col" { "SLO" }
                th.wide scope="col" { "Service" }
                th.wide scope="col" { "Owner" }
                th.n.mid scope="col" { "Objective" }
                th.n.mid scope="col" { abbr title="good of all, over the period" { "SLI" } }
                th scope="col" { "Budget left" }
                th.mid scope="col" { "30 days" }
                th.n scope="col" { "Burn 1\u{a0}h" }
                th.n.mid scope="col" { abbr title="when the budget is spent, at the rate of the last hour" { "Runs out" } }
            } }
            tbody { @for row in &view.rows { (line(row)) } }
        }
    }
}

/// The shape beside a state's word.
pub(super) fn glyph(state: State) -> &'static str {
    match state {
        State::Page => "▲",
        State::Ticket => "◆",
        State::Broken => "✕",
        State::Spent => "▁",
        State::NoData => "○",
        State::Unknown => "?",
        State::Quiet => "·",
    }
}

/// A state as shape and word.
pub(super) fn told(state: State) -> Markup {
    html! { span.s { i.g aria-hidden="true" { (glyph(state)) } (state.word()) } }
}

fn line(row: &Row) -> Markup {
    let decimals = words::decimals(&row.objective);
    let dash = || "–".to_owned();
    html! {
        tr class=(row.state.key()) {
            td { (told(row.state)) }
            th scope="row" {
                a href=(slo_path(&row.namespace, &row.name)) { (row.name) } " " small { (row.namespace) }
                @if let Some(reason) = &row.reason { p { (cut(reason)) } }
            }
            td.wide { (row.service) }
            td.wide { (row.owner) }
            td.n.mid { @if !row.objective.is_empty() { (row.objective) "\u{a0}%" } }
            td.n.mid { (row.sli.map_or_else(dash, |sli| words::percent(sli, decimals))) }
            td.b { span { (row.budget.map_or_else(dash, |left| words::percent(left, 1))) } (bar(row.budget)) }
            td.mid { (spark(&row.spark)) }
            td.n { (row.burn.map_or_else(dash, words::rate)) }
            td.n.mid { (row.lasts.map_or_else(dash, words::span)) }
        }
    }
}

/// A reason on one line; all of it is on the SLO's own view.
fn cut(reason: &str) -> String {
    let mut characters = reason.chars();
    let start: String = characters.by_ref().take(160).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}

/// The load line: how full the budget is, and below the line by how much it is overspent. The number is beside it.
fn bar(left: Option<f64>) -> Markup {
    let Some(left) = left.filter(|left| left.is_finite()) else { return html! {} };
    let filled = (left.clamp(0.0, 1.0) * 80.0).round();
    let over = ((-left).clamp(0.0, 0.2) * 80.0).ceil();
    let mut svg = String::from(r#"<svg class="bar" viewBox="0 0 98 12" width="98" height="12" aria-hidden="true">"#);
    // Writing into a string does not fail.
    let _ = write!(svg, r#"<path class="o" d="M17.5 2.5h80v7h-80z"/>"#);
    if filled > 0.0 {
        let _ = write!(svg, r#"<path class="f" d="M17 2h{filled}v8h-{filled}z"/>"#);
    }
    if over > 0.0 {
        let _ = write!(svg, r#"<path class="v" d="M17 2h-{over}v8h{over}z"/>"#);
    }
    svg.push_str(r#"<path class="l" d="M17 0v12"/></svg>"#);
    PreEscaped(svg)
}

/// The budget of thirty days in the smallest path that shows it.
fn spark(values: &[Option<f64>]) -> Markup {
    if values.iter().filter(|value| value.is_some()).count() < 2 {
        return html! {};
    }
    // From 100 % at the top to 20 % overspent at the bottom.
    let y = |value: f64| ((1.0 - value.clamp(-0.2, 1.0)) / 1.2 * 28.0 + 2.0).round();
    let mut path = String::new();
    let mut before: Option<f64> = None;
    for (place, value) in values.iter().enumerate() {
        let Some(now) = value.map(y) else {
            before = None;
            continue;
        };
        let _ = match before {
            None => write!(path, "M{} {now}", place * 2),
            Some(before) => write!(path, "l2 {}", now - before),
        };
        before = Some(now);
    }
    PreEscaped(format!(
        r#"<svg class="k" viewBox="0 0 {} 32" preserveAspectRatio="none" width="90" height="16" aria-hidden="true"><path class="l" d="M0 25h99"/><path d="{path}"/></svg>"#,
        (values.len().max(2) - 1) * 2
    ))
}
