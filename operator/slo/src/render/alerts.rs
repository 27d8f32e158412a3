//! Alerts: one for each tier, one for missing data.

use std::collections::BTreeMap;

use plimsoll_api::slo::{NoData, Severity};
use rust_decimal::Decimal;

use super::{
    BASE_RANGE, Context, HOUR, PRESENCE, ROLLUP, clock, id_matcher, period,
    windows::{self, Reading, Way},
};
use crate::{
    model::{Period, Sli, Span, Targets, Tier},
    names,
    rules::Rule,
};

/// A deploy or a restart of everything is over by then; an outage is not.
pub const NO_DATA_FOR: Span = Span::seconds(900);

/// From here on a tier's floor is counted by roll-ups.
const DAY: Span = Span::seconds(86_400);
/// How often it is looked at whether targets were told apart.
const SEEN_STEP: Span = Span::seconds(1800);

/// Counts are sums of fractions, whose rounding may leave two events a little below two.
const TOLERANCE: Decimal = Decimal::from_parts(1, 0, 0, false, 3);

/// The alert of one tier: both windows burn faster than its rate, and not for a handful of events.
pub(crate) fn burn(cx: &Context<'_>, tier: &Tier) -> Rule {
    let threshold = threshold(cx, tier);
    let over = |window: Span| format!("{} > {threshold}", cx.windowed(names::ERROR_RATIO, &window.to_string()));
    let mut expr = format!("{} and ignoring (window) {}", over(tier.long), over(tier.short));
    if cx.model.minimum_bad_events > 0 {
        let on = if cx.single() { String::new() } else { cx.identity() };
        let least = least(cx);
        // A young SLO has no half hour yet.
        let plus = |[sums, open]: [String; 2]| format!("(({sums} or vector(0)) + ({open} or vector(0)))");
        let enough: Vec<String> = counts(cx, tier.long, plus).iter().map(|n| format!("{n} >= {least}")).collect();
        expr.push_str(&format!(" and on ({on}) ({})", enough.join(" or ")));
    }
    let mut labels = labels(cx, tier.severity);
    labels.insert(names::TIER.to_owned(), tier.name.clone());
    Rule {
        alert: Some(names::ALERT_BURN.to_owned()),
        expr,
        hold: tier.hold.map(|h| h.to_string()),
        keep_firing_for: Some(tier.keep_firing_for.to_string()),
        labels,
        annotations: annotations(cx, tier),
        ..Rule::default()
    }
}

/// The error ratio above which a tier burns.
pub(crate) fn threshold(cx: &Context<'_>, tier: &Tier) -> Decimal {
    (tier.burn_rate * cx.model.objective.budget()).normalize()
}

/// The count of bad events from which on somebody is told.
pub(crate) fn least(cx: &Context<'_>) -> Decimal {
    Decimal::from(cx.model.minimum_bad_events) - TOLERANCE
}

/// A count of events in whole ones: as many as the alert takes it for.
pub fn whole(events: f64) -> f64 {
    (events + 0.001).floor()
}

/// How the bad events of a window are counted, beside those of the base range: its newest rate knows them all, and a
/// window that is no longer than that has no others ([`Way::Newest`]).
///
/// In a sum of the rates, a bad event of the last minutes counts by as many of its five rates as are recorded. What is
/// missing is made good as in the ratio: over a step, the newest rate stands for two of them. A day and more are read
/// from half-hourly sums, where that is nothing.
pub(crate) fn counting(cx: &Context<'_>, window: Span) -> Reading {
    let fine = cx.fine.filter(|_| cx.is_fine(window));
    let range = at_once(cx, window);
    let step = match window {
        _ if fine.is_some() => cx.interval,
        w if w <= HOUR => Span::seconds(60),
        _ => BASE_RANGE,
    };
    let way = match window {
        w if w <= range => Way::Newest,
        w if w >= DAY && cx.keep.is_none() && cx.single() && period::records_sums(cx) => Way::Rollups(w),
        w => windows::corrected(w, range.millis.saturating_sub(step.millis) / 2, step),
    };
    Reading { fine: fine.is_some(), way }
}

/// The range of the rates that a window's bad events are counted by.
pub(crate) fn at_once(cx: &Context<'_>, window: Span) -> Span {
    cx.fine.filter(|_| cx.is_fine(window)).unwrap_or(BASE_RANGE)
}

/// Bad events in the window, counted in up to two ways; neither counts more than there were of a failure that goes on, so
/// the higher one is it. By subqueries, so that no number depends on the group's interval. `plus` adds what the full half
/// hours have, and the one that is open.
fn counts(cx: &Context<'_>, window: Span, plus: impl Fn([String; 2]) -> String) -> Vec<String> {
    let Reading { fine, way } = counting(cx, window);
    let series = cx.series(if fine { names::BAD_FINE } else { names::BAD });
    let newest = match &cx.keep {
        Some(keep) => format!("({series} * ({keep}))"),
        None => series,
    };
    let sum = |rest: Span, step: Span| format!("sum_over_time({newest}[{rest}:{step}])");
    let all = match way {
        Way::Newest | Way::Samples(..) => None,
        Way::Steps(rest, step, weight) if weight.is_zero() => {
            Some(format!("{} * {}", sum(rest, step), step.as_seconds()))
        }
        // In a scrape gap there is no newest one.
        Way::Steps(rest, step, weight) if cx.single() => Some(format!(
            "(sum({}) + ({weight} * sum({newest}) or vector(0))) * {}",
            sum(rest, step),
            step.as_seconds()
        )),
        // The sum is the dear part, and written once; another label keeps both until they are added.
        Way::Steps(rest, step, weight) => Some(format!(
            "sum by ({}) ({} or {}) * {}",
            cx.identity(),
            sum(rest, step),
            apart(&format!("{weight} * {newest}")),
            step.as_seconds()
        )),
        Way::Rollups(window) => Some(format!("{} * {}", plus(sums(cx, window)), super::ROLLUP_STEP.as_seconds())),
    };
    let range = at_once(cx, window).as_seconds();
    all.into_iter().chain([format!("{newest} * {range}")]).collect()
}

/// The higher count for a person who is told how many there are: no value where none was counted so far.
pub(super) fn counted(cx: &Context<'_>, window: Span) -> String {
    let counts = counts(cx, window, |[sums, open]| super::plus(&sums, &open));
    match counts.as_slice() {
        [all, newest] => format!("{all} or {}", apart(newest)),
        _ => counts.concat(),
    }
}

/// A vector with a label that no series of an SLO's windows has.
fn apart(vector: &str) -> String {
    format!("label_replace({vector}, \"{}\", \"newest\", \"\", \"\")", names::WINDOW)
}

/// The half-hourly sums of a window, and what has come since.
fn sums(cx: &Context<'_>, window: Span) -> [String; 2] {
    [
        format!("sum(sum_over_time({}[{window}:{ROLLUP}]))", cx.series(names::BAD_ROLLUP)),
        format!("sum({})", cx.series(names::BAD_OPEN)),
    ]
}

/// How often the bad events of a window are counted anew.
pub(super) fn count_interval(cx: &Context<'_>, window: Span) -> Span {
    match counting(cx, window).way {
        Way::Rollups(_) => cx.interval_of(super::Part::Period),
        Way::Steps(_, step, _) => step,
        Way::Newest | Way::Samples(..) => cx.interval,
    }
}

/// The alert of missing data, unless it means nothing or is counted as bad; and of parts of a composite that nobody else
/// would miss.
pub(crate) fn no_data(cx: &Context<'_>) -> Option<Rule> {
    let asked = cx.model.no_data == NoData::Alert;
    // Whom a ticket tells of missing data, the same one tells of lost ones.
    let lost = lost(cx).filter(|_| no_data_severity(cx) == Severity::Ticket);
    let of_all = match &lost {
        _ if !vouched(cx) => "for 15 minutes, and the indicator names no job whose targets could be up".to_owned(),
        None => "for 15 minutes, and no target is known to be up".to_owned(),
        Some(_) => format!("for 15 minutes, and no target is known to be up; or for {BLIND_AFTER}, though targets are"),
    };
    let whole = asked.then(|| {
        let up = targets_up(cx).map(|up| format!(" unless on () {up} > 0")).unwrap_or_default();
        format!("vector(1) unless on () {}{up}", cx.series(names::TOTAL))
    });
    let parts = cx.model.parts();
    let all: Vec<String> = whole.into_iter().chain(lost).chain(parts.iter().map(|part| not_loaded(cx, part))).collect();
    let expr = match all.as_slice() {
        [] => return None,
        [one] => one.clone(),
        many if cx.keep.is_some() => format!("({})", many.join(" or ")),
        many => many.join(" or "),
    };
    // Of what is still watched, nobody is woken who did not ask for it.
    let severity = if asked { no_data_severity(cx) } else { Severity::Ticket };
    let name = &cx.model.id;
    let (what, why) = if parts.is_empty() {
        ("has no data".to_owned(), format!("The indicator's series have been missing {of_all}."))
    } else {
        let of_part = |part: String, whole: &str| {
            format!("{{{{ with $labels.{} }}}}{part}{{{{ else }}}}{whole}{{{{ end }}}}", names::PART)
        };
        let gone = format!(
            "No SLO {}/{{{{ . }}}} has been loaded for 15 minutes, and until one is, nothing of it counts as bad. Apply it, or mend its name in spec.sli.composite.",
            name.namespace
        );
        (
            of_part("misses its part {{ . }}".to_owned(), "has no data"),
            of_part(gone, "No part has had data for 15 minutes."),
        )
    };
    let summary = format!("{name} {what}: nobody knows whether the objective holds");
    Some(of_missing(cx, expr, severity, summary, &why))
}

/// An alert of data that are missing, outside of time that is excluded.
fn of_missing(cx: &Context<'_>, mut expr: String, severity: Severity, summary: String, why: &str) -> Rule {
    if let Some(keep) = &cx.keep {
        expr.push_str(&format!(" and on () vector({keep}) > 0"));
    }
    let name = &cx.model.id;
    let next = format!(
        "Next: plimsoll explain slo/{} -n {}, or plimsoll explain with the file of the SLO.",
        name.name, name.namespace
    );
    let mut annotations =
        BTreeMap::from([("summary".to_owned(), summary), ("description".to_owned(), format!("{why} {next}"))]);
    own_annotations(cx, &mut annotations);
    Rule {
        alert: Some(names::ALERT_NO_DATA.to_owned()),
        expr,
        hold: Some(NO_DATA_FOR.to_string()),
        labels: no_data_labels(cx, severity),
        annotations,
        ..Rule::default()
    }
}

/// A value while no rules of a part are evaluated: it is misspelt or deleted, and counts as good. A part whose rules are
/// there, and which has no data, has a policy of its own for that.
fn not_loaded(cx: &Context<'_>, part: &str) -> String {
    let id = id_matcher(&format!("{}/{part}", cx.model.id.namespace));
    let gone = format!("vector(1) unless on () {}{{{id}}}", names::INFO);
    format!("label_replace({gone}, \"{}\", \"{part}\", \"\", \"\")", names::PART)
}

/// Whom missing data wake. Nobody where what is merely idle looks the same.
fn no_data_severity(cx: &Context<'_>) -> Severity {
    cx.model.tiers.iter().map(|t| t.severity).min().filter(|_| vouched(cx)).unwrap_or(Severity::Ticket)
}

/// Whether missing data are told from idle time: by targets that can be asked for, or since a gauge is never idle.
fn vouched(cx: &Context<'_>) -> bool {
    cx.model.targets.is_some() || matches!(cx.model.sli, Sli::Up(_)) || cx.composite()
}

/// A value where an indicator has lost its series while its targets are up: a metric or a bucket has another name by now. An
/// idle service keeps its series; one that was restarted since has none for as long as nobody asks it anything, hence so late.
fn lost(cx: &Context<'_>) -> Option<String> {
    let up = targets_up(cx).filter(|_| cx.model.no_data == NoData::Alert)?;
    let present = cx.series(names::PRESENT_ROLLUP);
    let (recent, once) = (format!("{BLIND_RECENT}:{BLIND_STEP}"), format!("{}:{PRESENCE}", memory(cx)));
    Some(format!(
        "vector(1) and on () {up} > 0 unless on () present_over_time({present}[{recent}]) and on () present_over_time({present}[{once}])"
    ))
}

/// The ticket of lost data, where the alert of missing ones is a page.
pub(crate) fn blind(cx: &Context<'_>) -> Option<Rule> {
    let expr = lost(cx).filter(|_| no_data_severity(cx) != Severity::Ticket)?;
    let summary = format!("{} has lost its data: its budget speaks of the time before", cx.model.id);
    let why = format!(
        "The indicator's series have been missing for {BLIND_AFTER}, though targets are up: a metric, a label or a bucket may have another name by now, or nobody has asked anything since a restart."
    );
    Some(of_missing(cx, expr, Severity::Ticket, summary, &why))
}

/// After so long without data a service whose targets are up is not merely idle.
const BLIND_AFTER: Span = Span::seconds(6 * 3600);
/// The roll-up of presence knows of the last two hours; so long before there must have been none.
pub(crate) const BLIND_RECENT: Span = Span::seconds(BLIND_AFTER.as_seconds() - PRESENCE.as_seconds());
/// How often it is looked at for that.
pub(crate) const BLIND_STEP: Span = Span::seconds(600);

/// How far back lost data are looked for, where they are told of.
pub(crate) fn remembers(cx: &Context<'_>) -> Option<Span> {
    lost(cx).map(|_| memory(cx))
}

/// How far back it is looked for what there once was: the period, and a day at least.
fn memory(cx: &Context<'_>) -> Span {
    match &cx.model.period {
        Period::Rolling(span) => (*span).max(DAY),
        Period::Calendar { unit, .. } => clock::longest(*unit),
    }
}

/// How many targets are up, where any are. Targets that are up but have no series of the indicator yet have merely
/// not been used since their start. Other targets of a shared job do not vouch for these, if these were ever told apart.
pub(super) fn targets_up(cx: &Context<'_>) -> Option<String> {
    let Targets(all) = cx.model.targets.as_ref()?;
    let [narrowest, rest @ ..] = all.as_slice() else { return None };
    if rest.is_empty() {
        return Some(format!("count({narrowest} == 1)"));
    }
    // A day and no longer, and not each sample: what tells so for longer is the alert, which goes on until they are up.
    let id = id_matcher(&cx.model.id.to_string());
    let (alert, severity) = (names::ALERT_NO_DATA, severity_name(no_data_severity(cx)));
    let fires = format!(
        "present_over_time(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\",severity=\"{severity}\",{id}}}[{HOUR}])"
    );
    let seen = |up: &String| format!("(count(count_over_time({up}[{DAY}:{SEEN_STEP}])) or {fires})");
    let rest = rest.iter().zip(all).map(|(up, narrower)| format!("(count({up} == 1) unless on () {})", seen(narrower)));
    let levels: Vec<String> = std::iter::once(format!("count({narrowest} == 1)")).chain(rest).collect();
    Some(format!("({})", levels.join(" or ")))
}

/// The ticket of an indicator that the scorer finds unusual; Alertmanager holds it back while the same
/// SLO burns. Never a page: unusual is not yet broken.
pub(super) fn anomaly(cx: &Context<'_>) -> Option<Rule> {
    let hold = crate::alerts::sensitivity(cx.model.anomaly?).hold;
    let name = &cx.model.id;
    let groups: String = cx.model.group_by.iter().map(|g| format!(" {g}={{{{ $labels.{g} }}}}")).collect();
    let mut annotations = BTreeMap::from([
        ("summary".to_owned(), format!("{name}{groups} behaves unusually")),
        (
            "description".to_owned(),
            "The anomaly score is {{ $value | printf \"%.2f\" }} of 1. The error budget need not suffer; it is worth a look before it does.".to_owned(),
        ),
    ]);
    own_annotations(cx, &mut annotations);
    Some(Rule {
        alert: Some(names::ALERT_ANOMALY.to_owned()),
        expr: format!("max by ({}) ({}) > 0", cx.identity(), cx.series(names::ANOMALY_STATE)),
        hold: hold.map(|span| span.to_string()),
        keep_firing_for: Some(crate::alerts::ANOMALY_KEEP_FIRING.to_string()),
        labels: labels(cx, Severity::Ticket),
        annotations,
        ..Rule::default()
    })
}

/// Without groups, whatever the SLO has: all of them are missing.
fn no_data_labels(cx: &Context<'_>, severity: Severity) -> BTreeMap<String, String> {
    let mut labels = labels(cx, severity);
    labels.insert(names::NAMESPACE.to_owned(), cx.model.id.namespace.clone());
    labels
}

/// Static labels: an edit of a descriptive one changes the alerts and no recorded series.
fn labels(cx: &Context<'_>, severity: Severity) -> BTreeMap<String, String> {
    let own = cx.model.labels.iter().chain(&cx.model.alert_labels);
    let mut labels: BTreeMap<String, String> = own.map(|(name, value)| (name.clone(), escape(value))).collect();
    labels.insert(names::SLO_ID.to_owned(), cx.model.id.to_string());
    labels.insert(names::SLO.to_owned(), cx.model.id.name.clone());
    if !cx.model.group_by.iter().any(|g| g == names::NAMESPACE) {
        labels.insert(names::NAMESPACE.to_owned(), cx.model.id.namespace.clone());
    }
    labels.insert(names::SEVERITY.to_owned(), severity_name(severity).to_owned());
    labels
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Page => "page",
        Severity::Ticket => "ticket",
    }
}

fn annotations(cx: &Context<'_>, tier: &Tier) -> BTreeMap<String, String> {
    let name = &cx.model.id;
    // Of the ratio: burn rates for screens are recorded less often than an alert may fire.
    let burn =
        format!("{} / {}", query(cx, names::ERROR_RATIO, Some(&tier.long.to_string())), cx.model.objective.budget());
    let rate = lookup(cx, &burn, "printf \"%.1f\"", "?");
    let share = lookup(cx, &query(cx, names::BUDGET_REMAINING, None), "humanizePercentage", "an unknown share");
    // What is recorded is a share of the budget of the events until now: of a young service and of a calendar period that has
    // just begun it is less than that of the whole period, and in the latter each new event brings its own.
    let left = format!("({} > 0)", query(cx, names::BUDGET_REMAINING, None));
    let coverage = cx.series(names::COVERAGE);
    let until = match &cx.model.period {
        Period::Rolling(span) => {
            let known = format!("{coverage} * {}", span.as_seconds());
            format!("{left} * on () group_left () ({known}) / ignoring (window) ({burn} > 0)")
        }
        Period::Calendar { .. } => {
            let known = format!("{coverage} * (time() - {})", cx.series(names::PERIOD_START));
            format!("{left} * on () group_left () ({known}) / ignoring (window) ({burn} - 1 > 0)")
        }
    };
    let until = lookup(cx, &until, "humanizeDuration", "no known time");
    // By how much it is overdrawn is no share that a person reads: -180 times the budget would be "-1.8e+04%".
    let gone = format!("{} <= 0", query(cx, names::BUDGET_REMAINING, None));
    let left = choose(cx, &gone, "none, it is used up", &format!("{share}; at this rate it lasts {until}"));
    let groups: String = cx.model.group_by.iter().map(|g| format!(" {g}={{{{ $labels.{g} }}}}")).collect();
    let mut all = BTreeMap::from([
        ("summary".to_owned(), format!("{name}{groups} burns its error budget {rate} times too fast")),
        (
            "description".to_owned(),
            format!(
                "{{{{ $value | humanizePercentage }}}} was bad over {}, the objective of {} % allows {} %. Budget left ({}): {left}.",
                tier.long,
                cx.model.objective.percent(),
                (cx.model.objective.budget() * Decimal::ONE_HUNDRED).normalize(),
                period::window(cx),
            ),
        ),
    ]);
    if let Some(description) = &cx.model.description {
        all.insert("objective".to_owned(), escape(description));
    }
    own_annotations(cx, &mut all);
    all
}

fn own_annotations(cx: &Context<'_>, all: &mut BTreeMap<String, String>) {
    if !cx.model.runbooks.is_empty() {
        all.insert("runbooks".to_owned(), cx.model.runbooks.join(", "));
    }
    all.extend(cx.model.alert_annotations.clone());
}

/// A selector in a template: the group's labels are filled in when the alert fires.
fn query(cx: &Context<'_>, metric: &str, window: Option<&str>) -> String {
    let mut matchers = cx.id.clone();
    if let Some(window) = window {
        matchers.push_str(&format!(",{}=\"{window}\"", names::WINDOW));
    }
    for group in &cx.model.group_by {
        matchers.push_str(&format!(",{group}=%q"));
    }
    format!("{metric}{{{matchers}}}")
}

/// A template that prints the first value of a query.
fn lookup(cx: &Context<'_>, query: &str, format: &str, otherwise: &str) -> String {
    choose(cx, query, &format!("{{{{ . | first | value | {format} }}}}"), otherwise)
}

/// A template that is one thing where a query has a value, and another where it has none.
fn choose(cx: &Context<'_>, query: &str, some: &str, otherwise: &str) -> String {
    let quoted = crate::promql::quote(query);
    let n = query.matches("%q").count();
    let query = if n == 0 {
        format!("query {quoted}")
    } else {
        let groups: Vec<String> = cx.model.group_by.iter().map(|g| format!("$labels.{g}")).collect();
        let arguments = vec![groups.join(" "); n / groups.len().max(1)].join(" ");
        format!("query (printf {quoted} {arguments})")
    };
    format!("{{{{ with {query} }}}}{some}{{{{ else }}}}{otherwise}{{{{ end }}}}")
}

/// Keeps a user's prose from being read as a template.
fn escape(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}
