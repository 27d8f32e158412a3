//! Charts over one axis of time, as SVG. What is drawn stretches with the page and what is written does not: texts are
//! placed by percent, and paths are in a picture of their own without proportions.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use crate::{
    ask::Grid,
    rules::View,
    slo::{Band, Charts, Mark, MarkKind, TierChart},
    words,
};

/// Width and height of the picture that stretches.
const WIDE: f64 = 1000.0;
const HIGH: f64 = 100.0;

/// The axis that all charts share.
struct Axis {
    from: i64,
    to: i64,
    now: i64,
    grid: Grid,
}

impl Axis {
    fn of(charts: &Charts) -> Self {
        let grid = charts.grid;
        Self { from: grid.from, to: grid.to() + charts.ahead, now: grid.to(), grid }
    }

    /// From 0 to 1.
    fn share(&self, at: i64) -> f64 {
        let length = (self.to - self.from).max(1) as f64;
        ((at - self.from) as f64 / length).clamp(0.0, 1.0)
    }

    fn percent(&self, at: i64) -> String {
        format!("{:.2}%", self.share(at) * 100.0)
    }

    fn x(&self, place: usize) -> f64 {
        self.share(self.grid.from + self.grid.step * i64::try_from(place).unwrap_or(0)) * WIDE
    }

    /// Moments at which something is written, in seconds since 1970.
    fn ticks(&self) -> Vec<i64> {
        const STEPS: [i64; 14] =
            [300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY];
        let length = self.to - self.from;
        let step = STEPS.into_iter().find(|step| length / step <= 7).unwrap_or(30 * DAY);
        let first = self.from + (-self.from).rem_euclid(step);
        let mut all: Vec<i64> = (0..8).map(|n| first + n * step).filter(|at| *at < self.to).collect();
        // The first would be cut at the edge.
        all.retain(|at| self.share(*at) > 0.02 && self.share(*at) < 0.97);
        all
    }
}

const DAY: i64 = 86_400;

/// From a value to a height: from the highest at the top to the lowest at the bottom.
#[derive(Clone, Copy)]
struct Height {
    low: f64,
    high: f64,
    log: bool,
}

/// Beyond it a number is no measurement, and its square may be none at all.
const FAR: f64 = 1e12;

impl Height {
    fn new(low: f64, high: f64, log: bool) -> Self {
        let near = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(-FAR, FAR) };
        let (low, high) = (near(low), near(high));
        Self { low, high: if high > low { high } else { low + 1.0 }, log }
    }

    fn y(&self, value: f64) -> f64 {
        let Self { low, high, log } = *self;
        let value = if value.is_nan() { low } else { value };
        let at = |value: f64| if log { value.max(1e-9).ln() } else { value };
        let share = (at(value.clamp(low, high)) - at(low)) / (at(high) - at(low));
        (1.0 - share) * HIGH
    }

    fn percent(&self, value: f64) -> String {
        format!("{:.2}%", self.y(value) / HIGH * 100.0)
    }
}

/// All charts of an SLO.
pub(super) fn charts(charts: &Charts) -> Markup {
    let axis = Axis::of(charts);
    let Grid { from, step, count } = charts.grid;
    html! {
        div.charts #charts data-from=(from) data-step=(step) data-count=(count) data-share=(format!("{:.5}", axis.share(axis.now))) {
            (lanes(&axis, &charts.marks))
            (budget(&axis, charts))
            (sli(&axis, charts))
            @for tier in &charts.tiers { (burn(&axis, tier, &charts.marks)) }
            @if charts.score.iter().any(Option::is_some) { (score(&axis, &charts.score, charts.alarms, "", &charts.marks)) }
            @if let Some(band) = &charts.band { (seen(&axis, band, &charts.marks)) }
            (times(&axis))
            (scrub(count))
        }
    }
}

/// The charts of an AlertRule: when its alerts fired, and what the scorer says of those that are anomalies.
pub(super) fn of_rule(view: &View) -> Markup {
    let Grid { from, step, count } = view.grid;
    let to = view.grid.to();
    let axis = Axis { from, to, now: to, grid: view.grid };
    html! {
        div.charts #charts data-from=(from) data-step=(step) data-count=(count) data-share="1" {
            (lanes(&axis, &view.marks))
            @for watched in &view.watched {
                @if watched.score.iter().any(Option::is_some) { (score(&axis, &watched.score, watched.alarms, &watched.alert, &view.marks)) }
                @for band in &watched.bands { (seen(&axis, band, &view.marks)) }
            }
            (times(&axis))
            (scrub(count))
        }
    }
}

/// The slider by which all charts are read at one time.
fn scrub(count: usize) -> Markup {
    let last = count.saturating_sub(1);
    html! {
        label.scrub hidden { span { "Time" } input #scrub type="range" min="0" max=(last) value=(last) step="1"; }
    }
}

/// One chart: what stretches, and what does not.
struct Plot<'a> {
    title: Markup,
    said: String,
    high: u32,
    drawn: String,
    written: Markup,
    marks: &'a [Mark],
}

fn plot(axis: &Axis, plot: Plot<'_>) -> Markup {
    let Plot { title, said, high, drawn, written, marks } = plot;
    html! {
        figure.chart {
            figcaption { (title) }
            svg.plot width="100%" height=(high) role="img" aria-label=(said) {
                @for mark in marks.iter().filter(|mark| mark.kind == MarkKind::Exclusion) {
                    rect.ex x=(axis.percent(mark.from)) y="0" height="100%"
                        width=(format!("{:.2}%", (axis.share(mark.to.unwrap_or(mark.from)) - axis.share(mark.from)) * 100.0)) {}
                }
                @for tick in axis.ticks() { line.tick x1=(axis.percent(tick)) x2=(axis.percent(tick)) y1="0" y2="100%" {} }
                line.now x1=(axis.percent(axis.now)) x2=(axis.percent(axis.now)) y1="0" y2="100%" {}
                svg viewBox=(format!("0 0 {WIDE} {HIGH}")) preserveAspectRatio="none" width="100%" height="100%" { (PreEscaped(drawn)) }
                (written)
                line.cur x1="0" x2="0" y1="0" y2="100%" visibility="hidden" {}
            }
        }
    }
}

/// Values for the script that reads all charts at one time.
fn read(name: &str, values: &[Option<f64>], unit: &str, now: String) -> Markup {
    let mut list = String::new();
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            list.push(',');
        }
        if let Some(value) = value {
            let _ = write!(list, "{}", short(*value));
        }
    }
    html! { span.r { (name) " " b data-values=(list) data-unit=(unit) { (now) } } }
}

/// Five digits say what a screen can show.
fn short(value: f64) -> f64 {
    if value.abs() < 1e-12 || !value.is_finite() {
        return 0.0;
    }
    let digits = 10f64.powi(5 - 1 - value.abs().log10().floor() as i32);
    (value * digits).round() / digits
}

fn latest(values: &[Option<f64>]) -> Option<f64> {
    values.iter().rev().find_map(|value| *value)
}

fn written(values: &[Option<f64>], word: impl Fn(f64) -> String) -> String {
    latest(values).map_or_else(|| "–".to_owned(), word)
}

/// A line with its gaps.
fn line(axis: &Axis, height: Height, values: &[Option<f64>], class: &str) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value else {
            drawing = false;
            continue;
        };
        let _ = write!(path, "{}{:.1} {:.1}", if drawing { 'L' } else { 'M' }, axis.x(place), height.y(*value));
        if !drawing && values.get(place + 1).is_none_or(Option::is_none) {
            // A point alone would not be seen.
            path.push_str("h2");
        }
        drawing = true;
    }
    format!(r#"<path class="{class}" d="{path}"/>"#)
}

/// What lies between a line and a limit, on the worse side of it.
fn beyond(axis: &Axis, height: Height, values: &[Option<f64>], limit: f64, above: bool) -> String {
    let edge = height.y(limit);
    let mut path = String::new();
    let mut open: Option<f64> = None;
    for (place, value) in values.iter().enumerate() {
        let x = axis.x(place);
        let y = value.map(|value| if above { height.y(value).min(edge) } else { height.y(value).max(edge) });
        match (y, open) {
            (Some(y), None) => {
                let _ = write!(path, "M{x:.1} {edge:.1}L{x:.1} {y:.1}");
            }
            (Some(y), Some(_)) => {
                let _ = write!(path, "L{x:.1} {y:.1}");
            }
            (None, Some(last)) => {
                let _ = write!(path, "L{last:.1} {edge:.1}Z");
            }
            (None, None) => {}
        }
        open = y.map(|_| x);
    }
    if let Some(last) = open {
        let _ = write!(path, "L{last:.1} {edge:.1}Z");
    }
    format!(r#"<path class="over" d="{path}"/>"#)
}

fn level(height: Height, value: f64, class: &str) -> String {
    format!(r#"<path class="{class}" d="M0 {:.1}H{WIDE}"/>"#, height.y(value))
}

/// A text at the left edge, at a height.
fn note(height: Height, value: f64, text: &str, below: bool) -> Markup {
    html! { text.note x="4" y=(height.percent(value)) dy=(if below { "12" } else { "-4" }) { (text) } }
}

fn budget(axis: &Axis, charts: &Charts) -> Markup {
    let values = &charts.budget;
    // What is to come may be far below, and must not make what has been flat.
    let then = charts.projection.map(|projection| projection.then.max(-0.15));
    let lowest = values.iter().flatten().copied().chain(then).fold(0.0, f64::min);
    let low = if lowest < 0.0 { (lowest * 1.1).max(-1.0) } else { -0.04 };
    let height = Height::new(low, 1.04, false);
    let mut drawn = level(height, 1.0, "grid") + &level(height, 0.5, "grid") + &level(height, 0.0, "zero");
    drawn += &beyond(axis, height, values, 0.0, false);
    drawn += &line(axis, height, values, "main");
    let (mut ahead, mut at) = (String::new(), None);
    if let Some(projection) = charts.projection {
        let share = (projection.left - low) / (projection.left - projection.then).max(1e-12);
        let end = axis.share(axis.now) + (axis.share(projection.at) - axis.share(axis.now)) * share.clamp(0.0, 1.0);
        let _ = write!(
            drawn,
            r#"<path class="ahead" d="M{:.1} {:.1}L{:.1} {:.1}"/>"#,
            axis.share(axis.now) * WIDE,
            height.y(projection.left),
            end * WIDE,
            height.y(projection.then),
        );
        at = projection.spent_at.and_then(|at| Timestamp::from_second(at).ok());
        if let Some(at) = at {
            ahead = format!("at the rate of the last hour it is spent on {} UTC", words::moment(at));
        }
    }
    let now = written(values, |left| words::percent(left, 1));
    let said = format!(
        "Budget left over time, now {now}; {}",
        if ahead.is_empty() { "it is not about to be spent" } else { &ahead }
    );
    let notes = html! {
        (note(height, 1.0, "100 %", true)) (note(height, 0.0, "0 %", false))
    };
    let title = html! { strong { "Budget left" } (read("", values, "percent", now)) @if let Some(at) = at { span.r { "at the rate of the last hour it is spent " (super::time(at)) } } };
    plot(axis, Plot { title, said, high: 150, drawn, written: notes, marks: &charts.marks })
}

fn sli(axis: &Axis, charts: &Charts) -> Markup {
    let Charts { sli: values, objective, .. } = charts;
    let worst = values.iter().flatten().copied().fold(*objective, f64::min);
    let room = (1.0 - worst).max(1e-9);
    let height = Height::new(worst - 0.15 * room, 1.0 + 0.08 * room, false);
    let mut drawn = level(height, *objective, "limit");
    drawn += &beyond(axis, height, values, *objective, false);
    drawn += &line(axis, height, values, "main");
    let decimals = words::decimals(format!("{:.6}", objective * 100.0).trim_end_matches('0'));
    let wanted = words::percent(*objective, decimals.saturating_sub(1));
    let now = written(values, |sli| words::percent(sli, decimals));
    let said = format!("SLI over {} over time, now {now}; the objective is {wanted}", charts.sli_window);
    let below = height.y(*objective) < 50.0;
    let notes = note(height, *objective, &format!("objective {wanted}"), below);
    let title =
        html! { strong { "SLI" } " over " (charts.sli_window) (read("", values, &format!("percent{decimals}"), now)) };
    plot(axis, Plot { title, said, high: 90, drawn, written: notes, marks: &charts.marks })
}

fn burn(axis: &Axis, tier: &TierChart, marks: &[Mark]) -> Markup {
    let highest = tier.long.iter().chain(&tier.short).flatten().copied().fold(tier.threshold * 3.0, f64::max);
    let low = 0.1f64.min(tier.threshold / 10.0);
    let height = Height::new(low, highest.max(low * 100.0), true);
    let mut drawn = level(height, tier.threshold, "limit");
    drawn += &line(axis, height, &tier.short, "thin");
    drawn += &beyond(axis, height, &tier.long, tier.threshold, true);
    drawn += &line(axis, height, &tier.long, "main");
    let [long, short] = &tier.windows;
    let [now, newest] = [&tier.long, &tier.short].map(|values| written(values, words::rate));
    let limit = words::rate(tier.threshold);
    let said = format!(
        "Burn rate of tier {} over time, log scale: {now} over {long}, {newest} over {short}; it fires above {limit}",
        tier.name
    );
    let title = html! {
        strong { "Burn" } " tier " (tier.name)
        (read(long, &tier.long, "rate", now)) (read(short, &tier.short, "rate", newest))
    };
    let notes = note(height, tier.threshold, &limit, height.y(tier.threshold) < 35.0);
    plot(axis, Plot { title, said, high: 54, drawn, written: notes, marks })
}

fn score(axis: &Axis, values: &[Option<f64>], alarms: f64, of: &str, marks: &[Mark]) -> Markup {
    let height = Height::new(0.0, 1.02, false);
    let drawn = level(height, alarms, "limit")
        + &beyond(axis, height, values, alarms, true)
        + &line(axis, height, values, "main");
    let now = written(values, |score| format!("{score:.2}"));
    let said = format!("Anomaly score {of} over time, from 0 to 1, now {now}; an alert may begin from {alarms} on");
    let title = html! { strong { "Anomaly score" } " " (of) (read("", values, "score", now)) };
    let notes = note(height, alarms, &alarms.to_string(), false);
    plot(axis, Plot { title, said, high: 54, drawn, written: notes, marks })
}

fn seen(axis: &Axis, band: &Band, marks: &[Mark]) -> Markup {
    let all = || [&band.seen, &band.expected, &band.lower, &band.upper].into_iter().flatten().flatten().copied();
    let (low, high) = (all().fold(0.0, f64::min), all().fold(1e-9, f64::max));
    let height = Height::new(low, high * 1.08, false);
    let mut shape = String::new();
    let edge = |values: &[Option<f64>]| -> Vec<(f64, f64)> {
        let points = values.iter().enumerate().filter_map(|(place, value)| Some((axis.x(place), height.y((*value)?))));
        points.collect()
    };
    let back = edge(&band.lower);
    for (x, y) in edge(&band.upper).into_iter().chain(back.into_iter().rev()) {
        let _ = write!(shape, "{}{x:.1} {y:.1}", if shape.is_empty() { 'M' } else { 'L' });
    }
    let mut drawn = format!(r#"<path class="band" d="{shape}"/>"#);
    drawn += &line(axis, height, &band.expected, "thin");
    // Of times before the scorer told the value as well, there is only what was expected.
    let known = band.seen.iter().any(Option::is_some);
    drawn += &line(axis, height, &band.seen, "main");
    let number = |value: f64| words::short(value);
    let [now, expected] = [&band.seen, &band.expected].map(|values| written(values, number));
    let told = if known { format!("{now} now, ") } else { String::new() };
    let said = format!("{} over time: {told}{expected} expected, with the band of 90 %", band.of);
    let title = html! {
        strong { "Expected band" } " " (band.of)
        @if known { (read("seen", &band.seen, "number", now)) }
        (read("expected", &band.expected, "number", expected))
    };
    plot(axis, Plot { title, said, high: 80, drawn, written: html! {}, marks })
}

/// What is read before a mark.
pub(super) const fn shape(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Page => "▲",
        MarkKind::Ticket => "◆",
        MarkKind::Execution => "▶",
        MarkKind::Exclusion => "▨",
        MarkKind::Began => "+",
        MarkKind::Changed => "Δ",
    }
}

/// The class of a mark.
pub(super) const fn class(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Page => "page",
        MarkKind::Ticket => "ticket",
        MarkKind::Execution | MarkKind::Exclusion | MarkKind::Began | MarkKind::Changed => "plain",
    }
}

/// What happened, in a strip above the charts.
fn lanes(axis: &Axis, marks: &[Mark]) -> Markup {
    let shown: Vec<&Mark> =
        marks.iter().filter(|mark| (axis.from..=axis.to).contains(&mark.from) || mark.to.is_some()).collect();
    if shown.is_empty() {
        return html! {};
    }
    html! {
        figure.chart.lanes {
            figcaption { strong { "Events" } }
            svg.plot width="100%" height="32" role="group" aria-label="Events; the list below has them as text" {
                @for mark in shown {
                    @let y = match mark.kind { MarkKind::Page => 0, MarkKind::Ticket => 11, MarkKind::Execution | MarkKind::Exclusion | MarkKind::Began | MarkKind::Changed => 22 };
                    @let width = (axis.share(mark.to.unwrap_or(mark.from)) - axis.share(mark.from)) * 100.0;
                    g class=(class(mark.kind)) {
                        title { (mark.label) }
                        @if width > 0.0 { rect x=(axis.percent(mark.from)) y=(y + 4) height="3" width=(format!("{width:.2}%")) {} }
                        @match &mark.href {
                            Some(href) => a href=(href) aria-label=(mark.label) { text x=(axis.percent(mark.from)) y=(y + 9) { (shape(mark.kind)) } },
                            None => text x=(axis.percent(mark.from)) y=(y + 9) aria-hidden="true" { (shape(mark.kind)) },
                        }
                    }
                }
                line.cur x1="0" x2="0" y1="0" y2="100%" visibility="hidden" {}
            }
        }
    }
}

/// The times below the charts.
fn times(axis: &Axis) -> Markup {
    let long = axis.to - axis.from > 2 * DAY;
    let word = |at: i64| {
        Timestamp::from_second(at)
            .map(|time| time.strftime(if long { "%-d %b" } else { "%H:%M" }).to_string())
            .unwrap_or_default()
    };
    html! {
        svg.axis width="100%" height="18" aria-hidden="true" {
            @for tick in axis.ticks() {
                text x=(axis.percent(tick)) y="13" text-anchor="middle" data-time=(tick) data-form=(if long { "day" } else { "hour" }) { (word(tick)) }
            }
        }
        p.at { output #at hidden {} }
    }
}
