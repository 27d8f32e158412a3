//! Time zones and calendars, turned into constants that PromQL can compute with.

use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use plimsoll_api::slo::Calendar;

use crate::model::{Correction, Zone};

/// Offset changes are written into the rules for these years; Prometheus has no zone database.
/// The first is before any retention reaches, the last is far enough to be rendered again by then.
const YEARS: (i16, i16) = (2024, 2038);

/// The zone of an IANA name; `None` when there is no such zone.
pub fn zone(name: &str) -> Option<Zone> {
    let tz = find(name)?;
    let first = edge(YEARS.0)?;
    let last = edge(YEARS.1)?;
    let mut offset = i64::from(tz.to_offset(first).seconds());
    let mut zone = Zone { name: name.to_owned(), first: offset, changes: Vec::new() };
    for transition in tz.following(first).take_while(|t| t.timestamp() < last) {
        let next = i64::from(transition.offset().seconds());
        if next != offset {
            zone.changes.push((transition.timestamp().as_second(), next - offset));
            offset = next;
        }
    }
    Some(zone)
}

/// Where the start of a calendar unit, computed with the offset of a later moment of it, is wrong.
pub fn corrections(zone: &Zone, unit: Calendar) -> Vec<Correction> {
    let Some(tz) = find(&zone.name) else { return Vec::new() };
    zone.changes
        .iter()
        .filter_map(|&(from, delta)| {
            let local = Timestamp::from_second(from).ok()?.to_zoned(tz.clone());
            let to = next_start(&local, unit)?.timestamp().as_second();
            Some(Correction { from, to, delta })
        })
        .collect()
}

/// The first moment of the next unit after `local`.
fn next_start(local: &Zoned, unit: Calendar) -> Option<Zoned> {
    let date = local.date();
    let first = match unit {
        Calendar::Week => date.nth_weekday(1, Weekday::Monday).ok()?,
        Calendar::Month => date.first_of_month().checked_add(1.month()).ok()?,
        Calendar::Quarter => quarter(date)?.checked_add(3.months()).ok()?,
        Calendar::Year => date.first_of_year().checked_add(1.year()).ok()?,
    };
    first.to_zoned(local.time_zone().clone()).ok()
}

fn quarter(date: Date) -> Option<Date> {
    let month = (date.month() - 1) / 3 * 3 + 1;
    Date::new(date.year(), month, 1).ok()
}

fn find(name: &str) -> Option<TimeZone> {
    // Only names: a POSIX string or a file path is not portable to other readers.
    let named = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'));
    named.then(|| TimeZone::get(name).ok()).flatten()
}

fn edge(year: i16) -> Option<Timestamp> {
    Some(Date::new(year, 1, 1).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn berlin_changes_twice_a_year() {
        let berlin = zone("Europe/Berlin").expect("Berlin");
        assert_eq!(berlin.first, 3600);
        // 2026-03-29 01:00 UTC and 2026-10-25 01:00 UTC.
        assert!(berlin.changes.contains(&(1_774_746_000, 3600)));
        assert!(berlin.changes.contains(&(1_792_890_000, -3600)));
        assert_eq!(berlin.changes.len(), 28);
        assert!(zone("UTC").expect("UTC").changes.is_empty());
        assert_eq!(zone("Mars/Olympus"), None);
        assert_eq!(zone("../etc/passwd"), None);
    }

    #[test]
    fn corrections_end_with_the_unit() {
        let berlin = zone("Europe/Berlin").expect("Berlin");
        let month = corrections(&berlin, Calendar::Month);
        // 2026-03-31T22:00:00Z is midnight of the first of April in Berlin.
        assert!(month.contains(&Correction { from: 1_774_746_000, to: 1_774_994_400, delta: 3600 }));
    }
}
