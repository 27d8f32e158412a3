//! What happened, as marks on the axis of time.

use std::cmp::Reverse;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plimsoll_api::{RunbookExecution, Slo, slo::Exclusion};
use plimsoll_slo::{duration, names, weekly, zone};

use crate::{
    Kept,
    ask::{Grid, Line},
    words,
};

/// What a mark is of, in the order of their lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// An alert that woke somebody.
    Page,
    /// Another alert.
    Ticket,
    /// A run of a runbook.
    Execution,
    /// A time that does not count.
    Exclusion,
    /// The SLO began.
    Began,
    /// It was changed.
    Changed,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it is of.
    pub kind: MarkKind,
    /// When, in seconds since 1970.
    pub from: i64,
    /// Until when, where it lasts.
    pub to: Option<i64>,
    /// In words.
    pub label: String,
    /// Where more is said.
    pub href: Option<String>,
}

/// More of them would be a texture and no marks.
const MOST: usize = 200;

pub(super) fn marks(
    slo: &Kept<Slo>,
    grid: &Grid,
    until: i64,
    (alerts, began): (&[Line], &[Line]),
    executions: &[Kept<RunbookExecution>],
) -> (Vec<Mark>, usize) {
    let mut all: Vec<Mark> = alerts.iter().flat_map(|line| of_alert(line, grid, began)).collect();
    all.extend(executions.iter().filter_map(|execution| of_execution(execution, slo)));
    if let Ok(object) = &slo.object {
        let exclusions = object.spec.exclusions.iter();
        all.extend(exclusions.flat_map(|exclusion| of_exclusion(exclusion, grid.from, until)));
        all.extend(changed(&object.metadata));
        all.extend(object.metadata.creation_timestamp.as_ref().map(|time| Mark {
            kind: MarkKind::Began,
            from: time.0.as_second(),
            to: None,
            label: "the SLO was made".to_owned(),
            href: None,
        }));
    }
    all.retain(|mark| mark.from <= until && mark.to.unwrap_or(mark.from) >= grid.from);
    newest(all)
}

/// The newest marks by lane and time, and how many older ones there are besides.
pub(crate) fn newest(mut all: Vec<Mark>) -> (Vec<Mark>, usize) {
    // What still goes on is new, however long ago it began.
    all.sort_by_key(|mark| Reverse((mark.to.unwrap_or(mark.from), mark.from)));
    let older = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    all.sort_by_key(|mark| (mark.kind, mark.from));
    (all, older)
}

/// The last change: the API server keeps for each writer when it has last changed what it owns, and nothing of changes before
/// that.
fn changed(meta: &ObjectMeta) -> Option<Mark> {
    let entries =
        meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.as_deref().is_none_or(str::is_empty));
    let newest = entries.filter_map(|entry| Some((entry.time.as_ref()?.0, entry.manager.as_deref()))).max()?;
    let (at, by) = newest;
    let generation = meta.generation.filter(|generation| *generation > 1)?;
    let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
    let label = format!("the SLO was changed: generation {generation}{by}");
    Some(Mark { kind: MarkKind::Changed, from: at.as_second(), to: None, label, href: None })
}

fn of_alert(line: &Line, grid: &Grid, began: &[Line]) -> Vec<Mark> {
    let tier = line.label(names::TIER);
    let what = match line.label("alertname") {
        names::ALERT_BURN => format!("alert of tier {tier}"),
        names::ALERT_NO_DATA => "alert: no data".to_owned(),
        names::ALERT_ANOMALY => "alert: unusual".to_owned(),
        other => format!("alert {other}"),
    };
    let kind = if line.label(names::SEVERITY) == "page" { MarkKind::Page } else { MarkKind::Ticket };
    let mark = |(from, to)| Mark { kind, from, to: Some(to), label: lasting(&what, from, to), href: None };
    fired(line, grid, began).into_iter().map(mark).collect()
}

/// Something and how long it lasted; what was seen once may have lasted no time at all.
pub(crate) fn lasting(what: &str, from: i64, to: i64) -> String {
    if to > from { format!("{what}, about {}", words::span(to.saturating_sub(from) as f64)) } else { what.to_owned() }
}

/// The times in which an alert fired: of each since when, and the last moment at which it was seen. `began` are the lines of
/// since when; without one it is the first moment at which it was seen, which may be a step later.
pub(crate) fn fired(line: &Line, grid: &Grid, began: &[Line]) -> Vec<(i64, i64)> {
    let since = began.iter().find(|other| other.labels == line.labels);
    // Nothing has fired before 1970, whatever a series says.
    let mut before = 0;
    let exact = |(from, to): (i64, i64)| {
        let place = usize::try_from((from - grid.from) / grid.step.max(1)).ok();
        let known = place.and_then(|place| since?.values.get(place).copied().flatten());
        // Times of alerts are far below where that could fail.
        let known = known.filter(|at| at.is_finite()).map(|at| at as i64).filter(|at| (before..=from).contains(at));
        before = to;
        (known.unwrap_or(from), to)
    };
    seen(line, grid).into_iter().map(exact).collect()
}

/// The times in which a line has values: the first and the last moment of each.
fn seen(line: &Line, grid: &Grid) -> Vec<(i64, i64)> {
    let at = |place: usize| grid.from + grid.step * i64::try_from(place).unwrap_or(0);
    let mut times = Vec::new();
    let mut begun = None;
    for (place, value) in line.values.iter().map(Some).chain([None]).enumerate() {
        match (value.copied().flatten(), begun) {
            (Some(_), None) => begun = Some(at(place)),
            (None, Some(from)) => {
                times.push((from, at(place) - grid.step));
                begun = None;
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    times
}

fn of_execution(execution: &Kept<RunbookExecution>, slo: &Kept<Slo>) -> Option<Mark> {
    let object = execution.object.as_ref().ok()?;
    let about = object.spec.trigger.labels.get(names::SLO_ID)?;
    if *about != slo.id() {
        return None;
    }
    let status = object.status.as_ref();
    let began = status.and_then(|status| status.started_at.as_ref());
    let from = began.or(object.metadata.creation_timestamp.as_ref()).unwrap_or(&object.spec.trigger.starts_at);
    Some(Mark {
        kind: MarkKind::Execution,
        from: from.0.as_second(),
        to: None,
        label: format!("runbook {}: {}", object.spec.runbook.name, crate::runs::told(object)),
        href: Some(crate::html::execution_path(&execution.namespace, &execution.name)),
    })
}

fn of_exclusion(exclusion: &Exclusion, from: i64, until: i64) -> Vec<Mark> {
    let label = match &exclusion.reason {
        Some(reason) => format!("excluded: {} ({reason})", exclusion.name),
        None => format!("excluded: {}", exclusion.name),
    };
    let mark =
        |from: i64, to: i64| Mark { kind: MarkKind::Exclusion, from, to: Some(to), label: label.clone(), href: None };
    let moment = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok().map(Timestamp::as_second);
    if let (Some(from), Some(to)) = (moment(&exclusion.from), moment(&exclusion.to)) {
        return vec![mark(from, to)];
    }
    let weekly = || {
        let starts = weekly::starts(exclusion.every.as_deref()?, "every").ok()?;
        let length = duration::parse(exclusion.r#for.as_deref()?, "for").ok()?;
        let zone = match exclusion.time_zone.as_deref() {
            Some(name) => zone::find(name)?,
            None => TimeZone::UTC,
        };
        let length = i64::try_from(length.as_seconds()).ok()?;
        Some(occurrences(&starts, &zone, from - length, until).into_iter().map(|at| mark(at, at + length)).collect())
    };
    weekly().unwrap_or_default()
}

/// Every start between two times, in local time of the zone.
fn occurrences(starts: &[u32], zone: &TimeZone, from: i64, until: i64) -> Vec<i64> {
    let (Ok(first), Ok(last)) = (Timestamp::from_second(from), Timestamp::from_second(until)) else {
        return Vec::new();
    };
    let mut day = first.to_zoned(zone.clone()).date();
    let end = last.to_zoned(zone.clone()).date();
    let mut found = Vec::new();
    // A year has as many as it has days.
    while day <= end {
        // From Monday, as the starts count.
        let weekday = i64::from(day.weekday().to_monday_zero_offset());
        for start in starts.iter().map(|start| i64::from(*start)).filter(|start| start / 86_400 == weekday) {
            let time = day.to_datetime(jiff::civil::Time::midnight()).checked_add((start % 86_400).seconds());
            let at = time.ok().and_then(|time| time.to_zoned(zone.clone()).ok());
            found.extend(at.map(|at| at.timestamp().as_second()).filter(|at| (from..=until).contains(at)));
        }
        match day.tomorrow() {
            Ok(next) => day = next,
            Err(_) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn weekly_exclusions_follow_the_clock_on_the_wall() {
        let zone = zone::find("Europe/Berlin").unwrap();
        let starts = weekly::starts("Sun 03:30", "x").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        let found = occurrences(&starts, &zone, at("2026-10-17T00:00:00Z"), at("2026-11-02T00:00:00Z"));
        // The clock goes back on the 25th.
        let wanted = ["2026-10-18T01:30:00Z", "2026-10-25T02:30:00Z", "2026-11-01T02:30:00Z"];
        assert_eq!(found, wanted.map(at));
    }

    /// It flaps: seven pages a day for a month, and today a runbook ran.
    #[test]
    fn of_many_marks_the_newest_are_kept() {
        let hour = 3600;
        let mark = |kind, from, to| Mark { kind, from, to, label: String::new(), href: None };
        let mut all: Vec<Mark> = (0..210).map(|n| mark(MarkKind::Page, n * hour, Some(n * hour + 60))).collect();
        all.push(mark(MarkKind::Execution, 209 * hour, None));
        all.push(mark(MarkKind::Exclusion, 5, Some(300 * hour)));
        let (kept, older) = newest(all);
        assert_eq!((kept.len(), older), (MOST, 12));
        let of = |kind| kept.iter().filter(move |mark| mark.kind == kind).map(|mark| mark.from);
        assert_eq!((of(MarkKind::Page).min(), of(MarkKind::Page).max()), (Some(12 * hour), Some(209 * hour)));
        assert_eq!((of(MarkKind::Execution).count(), of(MarkKind::Exclusion).count()), (1, 1));
        assert!(kept.is_sorted_by_key(|mark| (mark.kind, mark.from)));
    }

    #[test]
    fn the_last_change_is_a_mark() {
        let meta = |generation: i64| -> ObjectMeta {
            serde_json::from_value(serde_json::json!({"name": "a", "generation": generation, "managedFields": [
                {"manager": "kubectl", "operation": "Apply", "time": "2026-11-20T08:00:00Z"},
                {"manager": "argocd", "operation": "Apply", "time": "2026-11-21T08:00:00Z"},
                {"manager": "plimsoll", "operation": "Apply", "time": "2026-11-22T08:00:00Z", "subresource": "status"}]}))
            .unwrap()
        };
        let mark = changed(&meta(7)).unwrap();
        assert_eq!(mark.from, "2026-11-21T08:00:00Z".parse::<Timestamp>().unwrap().as_second());
        assert_eq!(mark.label, "the SLO was changed: generation 7, by argocd");
        assert_eq!(changed(&meta(1)), None, "it was only made");
        assert_eq!(changed(&ObjectMeta::default()), None);
    }

    #[test]
    fn an_alert_is_as_long_as_it_was_seen() {
        let grid = Grid { from: 0, step: 60, count: 6 };
        let one = Some(1.0);
        let labels = [("alertname", names::ALERT_BURN), (names::TIER, "fast"), (names::SEVERITY, "page")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let line = Line { labels, values: vec![None, one, one, None, None, one] };
        let marks = of_alert(&line, &grid, &[]);
        let times: Vec<_> = marks.iter().map(|mark| (mark.kind, mark.from, mark.to)).collect();
        assert_eq!(times, [(MarkKind::Page, 60, Some(120)), (MarkKind::Page, 300, Some(300))]);
        // Since when it is known to the second, as in the table of alerts; what cannot be is left alone.
        for (second, wanted) in
            [(Some(241.0), 241), (Some(301.0), 300), (Some(60.0), 300), (Some(f64::NAN), 300), (None, 300)]
        {
            let began = Line { values: vec![None, Some(7.0), Some(7.0), None, None, second], ..line.clone() };
            let from: Vec<i64> = of_alert(&line, &grid, &[began]).iter().map(|mark| mark.from).collect();
            assert_eq!(from, [7, wanted], "{second:?}");
        }
    }
}
