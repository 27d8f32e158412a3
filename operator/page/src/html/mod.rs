//! View models as HTML. Everything that comes from outside is escaped by the macro; there is no inline style and no
//! inline script, so that the strictest policy of a browser can be asked for.

mod charts;
mod overview;
mod rules;
mod runs;
mod slo;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use self::{
    overview::overview,
    rules::{rule, rules},
    runs::{run, runs},
    slo::slo,
};
use crate::{
    assets,
    slo::{Mark, Range},
    words,
};

/// What is escaped in a part of a path.
const PART: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'/')
    .add(b'%');

/// Where an SLO is shown.
pub fn slo_path(namespace: &str, name: &str) -> String {
    format!("/slo/{}/{}", utf8_percent_encode(namespace, PART), utf8_percent_encode(name, PART))
}

/// Where an AlertRule is shown.
pub fn rule_path(namespace: &str, name: &str) -> String {
    format!("/alertrules/{}/{}", utf8_percent_encode(namespace, PART), utf8_percent_encode(name, PART))
}

/// Where an execution is shown.
pub fn execution_path(namespace: &str, name: &str) -> String {
    format!("/executions/{}/{}", utf8_percent_encode(namespace, PART), utf8_percent_encode(name, PART))
}

/// Which part of the page a view belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// SLOs.
    Slos,
    /// AlertRules.
    Rules,
    /// Runbooks and executions.
    Runbooks,
}

/// Something that whoever serves the page says on every view, for example that all of it is a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// A sentence.
    pub text: String,
    /// What a button says, and the path that it posts to.
    pub button: Option<(String, String)>,
}

/// What is around every view.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When the view was made.
    pub now: Timestamp,
    /// See [`Notice`].
    pub notice: Option<Notice>,
}

/// The whole document.
pub(crate) fn document(frame: &Frame, place: Place, title: &str, main: &Markup) -> String {
    let link = |to: Place, path: &str, text: &str| {
        html! { a href=(path) aria-current=[(to == place).then_some("page")] { (text) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Plimsoll" }
                link rel="icon" type="image/svg+xml" href=(assets::path("mark.svg"));
                link rel="stylesheet" href=(assets::path("page.css"));
                script src=(assets::path("page.js")) {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { (mark()) "Plimsoll" }
                    nav aria-label="Main" { (link(Place::Slos, "/", "SLOs")) (link(Place::Rules, "/alertrules", "Alerts")) (link(Place::Runbooks, "/runbooks", "Runbooks")) }
                    button #theme type="button" hidden { "Theme" }
                }
                @if let Some(notice) = &frame.notice { (told(notice)) }
                main #main tabindex="-1" { (main) }
                footer { div #foot data-live {
                    p { "As of " (seconds(minute(frame.now))) ". " span #live role="status" {} }
                } }
            }
        }
    }
    .into_string()
}

fn told(notice: &Notice) -> Markup {
    html! {
        aside.notice aria-label="Notice" { div #notice data-live {
            p { (notice.text) }
            @if let Some((text, path)) = &notice.button {
                form method="post" action=(path) { button type="submit" { (text) } }
            }
        } }
    }
}

/// The load line of a ship.
fn mark() -> Markup {
    PreEscaped(
        r#"<svg class="mark" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><circle cx="12" cy="12" r="7.5"/><path d="M1 12h22"/></svg>"#
            .to_owned(),
    )
}

/// A moment: in UTC here, and in the reader's own time where there is a script.
fn time(time: Timestamp) -> Markup {
    html! { time datetime=(time.strftime("%Y-%m-%dT%H:%M:%SZ")) { (words::moment(time)) " UTC" } }
}

/// Its minute, in seconds since 1970: what is shown is as exact, and a view of which nothing changes is the same text.
fn minute(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60) * 60
}

/// A moment in seconds since 1970.
fn seconds(at: i64) -> Markup {
    match Timestamp::from_second(at) {
        Ok(at) => time(at),
        Err(_) => html! { "–" },
    }
}

/// Names and values.
fn facts(facts: &[(&'static str, String)]) -> Markup {
    html! {
        @if !facts.is_empty() {
            dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
        }
    }
}

/// A section that is a table; one that is wider than the view scrolls by itself. The note stands above it.
fn table(id: &str, title: &str, note: Option<String>, head: &Markup, body: &Markup) -> Markup {
    html! {
        section {
            h2 id=(id) { (title) }
            @if let Some(note) = note { p.count { (note) } }
            div.scroll tabindex="0" role="region" aria-labelledby=(id) { table {
                thead { tr { (head) } }
                tbody { (body) }
            } }
        }
    }
}

/// The times that can be shown, as links.
fn ranges(path: &str, all: impl IntoIterator<Item = Range>, chosen: Range) -> Markup {
    html! {
        nav.ranges aria-label="Time shown" {
            @for range in all {
                a href=(format!("{path}?range={}", range.key)) aria-current=[(range == chosen).then_some("true")] { (range.word) }
            }
        }
    }
}

/// Events that are listed below the charts.
const EVENTS: usize = 20;

/// What happened, newest first; and how much more did before.
fn happened(marks: &[Mark], older: usize) -> Markup {
    let mut marks: Vec<_> = marks.iter().collect();
    let older = older + marks.len().saturating_sub(EVENTS);
    // A run is told above the alert of the same second, which has started it.
    marks.sort_by_key(|mark| std::cmp::Reverse((mark.from, mark.kind)));
    html! {
        section {
            h2 { "What happened" }
            @if marks.is_empty() { p.none { "Nothing in the time shown." } } @else {
                ul.events { @for mark in marks.into_iter().take(EVENTS) {
                    li class=(charts::class(mark.kind)) {
                        (seconds(mark.from)) " " i.g aria-hidden="true" { (charts::shape(mark.kind)) } " "
                        @match &mark.href { Some(href) => a href=(href) { (mark.label) }, None => (mark.label) }
                    }
                } }
                @if older > 0 { p.count { (older) " more before these." } }
            }
        }
    }
}

/// A text to copy.
fn copy(id: &str, title: &str, text: &str) -> Markup {
    html! {
        @if !text.is_empty() {
            details id=(id) {
                summary { h2 { (title) } }
                button.copy type="button" data-copy=(format!("{id}-text")) hidden { "Copy" }
                pre id=(format!("{id}-text")) tabindex="0" { code { (text) } }
            }
        }
    }
}

/// Something that is not as it should be.
fn trouble(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.trouble { span.g aria-hidden="true" { "!" } " " (text) } } }
}

/// A view that says that something is not there.
pub fn missing(frame: &Frame, what: &str) -> String {
    let main = html! {
        h1 { (what) }
        p { "It may have been deleted, or its name is written otherwise. " a href="/" { "All SLOs" } ", " a href="/alertrules" { "all alerts" } ", "
            a href="/runbooks" { "all runbooks" } "." }
    };
    document(frame, Place::Slos, "Not found", &main)
}
