//! Time zones and calendars, turned into constants that PromQL can compute with.

use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use plimsoll_api::slo::Calendar;

use crate::model::{Correction, Shift, Span, Zone};

/// Seconds in a week.
pub(crate) const WEEK: i64 = 604_800;
/// Seconds from a Monday to the epoch, a Thursday.
pub(crate) const EPOCH_IN_WEEK: i64 = 259_200;

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

/// Where a weekly exclusion, reckoned with the offset of each moment, is wrong: it lasts as long as it
/// says also when the clock changes meanwhile, and a start that comes twice counts once.
///
/// `starts` are seconds after Monday 00:00, local time.
pub fn shifts(zone: &Zone, starts: &[u32], length: Span) -> Vec<Shift> {
    let Some(tz) = find(&zone.name) else { return Vec::new() };
    let length = i64::try_from(length.as_seconds()).unwrap_or(WEEK);
    let mut shifts: Vec<Shift> = Vec::new();
    let mut offset = zone.first;
    for &(at, by) in &zone.changes {
        offset += by;
        // Nothing that began before the change lasts longer than this, by either reckoning.
        let last = at + length + by.abs();
        let begun = begins(&tz, at, starts);
        let truly = |t: i64| begun.iter().any(|start| (*start..start + length).contains(&t));
        let reckoned = |t: i64| {
            starts.iter().any(|start| (t + offset + EPOCH_IN_WEEK - i64::from(*start)).rem_euclid(WEEK) < length)
        };
        let week = (at + offset + EPOCH_IN_WEEK).div_euclid(WEEK) * WEEK - EPOCH_IN_WEEK - offset;
        let in_new = starts.iter().flat_map(|s| [-WEEK, 0, WEEK].map(|w| week + w + i64::from(*s)));
        let mut edges: Vec<i64> = in_new.chain(begun.iter().copied()).flat_map(|t| [t, t + length]).collect();
        edges.extend([at, last]);
        edges.retain(|t| (at..=last).contains(t));
        edges.sort_unstable();
        edges.dedup();
        for (from, to) in edges.iter().zip(edges.iter().skip(1)).map(|(a, b)| (*a, *b)) {
            let excluded = truly(from);
            if excluded == reckoned(from) {
                continue;
            }
            match shifts.last_mut() {
                Some(previous) if previous.to == from && previous.excluded == excluded => previous.to = to,
                _ => shifts.push(Shift { from, to, excluded }),
            }
        }
    }
    shifts
}

/// Every begin of a weekly exclusion in the weeks around `at`, in Unix seconds.
fn begins(tz: &TimeZone, at: i64, starts: &[u32]) -> Vec<i64> {
    let Ok(moment) = Timestamp::from_second(at) else { return Vec::new() };
    let today = moment.to_zoned(tz.clone()).date();
    let back = i64::from(today.weekday().to_monday_zero_offset());
    let mut begun = Vec::new();
    for weeks in [-2, -1, 0, 1] {
        for start in starts {
            let begin = today
                .checked_add((weeks * 7 - back).days())
                .and_then(|monday| monday.at(0, 0, 0, 0).checked_add(i64::from(*start).seconds()))
                .and_then(|local| local.to_zoned(tz.clone()));
            begun.extend(begin.map(|zoned| zoned.timestamp().as_second()));
        }
    }
    begun
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

pub(crate) fn quarter(date: Date) -> Option<Date> {
    let month = (date.month() - 1) / 3 * 3 + 1;
    Date::new(date.year(), month, 1).ok()
}

/// The zone of an IANA name, for reckoning; `None` when there is no such zone.
pub fn find(name: &str) -> Option<TimeZone> {
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
    fn exclusions_last_as_long_as_they_say() {
        let berlin = zone("Europe/Berlin").expect("Berlin");
        let sunday = 6 * 86_400;
        let hours = |n: u64| Span::seconds(n * 3600);
        // 2026-03-29: from 01:00 CET, 00:00 UTC, three hours to 05:00 CEST; the clock of the moment says 04:00.
        let spring = |shifts: &[Shift]| -> Vec<Shift> {
            shifts.iter().filter(|s| (1_774_700_000..1_774_800_000).contains(&s.from)).copied().collect()
        };
        let of = |start: u32, length: Span| shifts(&berlin, &[sunday + start], length);
        let change = 1_774_746_000;
        assert_eq!(spring(&of(3600, hours(3))), [Shift { from: change + 3600, to: change + 7200, excluded: true }]);
        // 02:30 does not exist that day and means 03:30 CEST; the clock of the moment says from 03:00 to 03:30.
        assert_eq!(
            spring(&of(9000, hours(1))),
            [
                Shift { from: change, to: change + 1800, excluded: false },
                Shift { from: change + 1800, to: change + 5400, excluded: true },
            ]
        );
        // 2026-10-25: 02:30 comes twice; it is the first that counts.
        let change = 1_792_890_000;
        let autumn: Vec<Shift> =
            of(9000, hours(1)).into_iter().filter(|s| (change - 86_400..change + 86_400).contains(&s.from)).collect();
        assert_eq!(
            autumn,
            [
                Shift { from: change, to: change + 1800, excluded: true },
                Shift { from: change + 1800, to: change + 5400, excluded: false },
            ]
        );
        // Far from any change, and where there is none.
        assert_eq!(of(12 * 3600, hours(2)), []);
        assert_eq!(shifts(&zone("UTC").expect("UTC"), &[sunday], hours(5)), []);
    }

    /// The rule's arithmetic with its shifts, against jiff's own, every ten minutes around every change of a clock.
    #[test]
    fn exclusions_are_where_the_calendar_puts_them() {
        const DAY: u32 = 86_400;
        for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo"] {
            let (zone, tz) = (zone(name).expect(name), find(name).expect(name));
            for (starts, hours) in
                [(vec![6 * DAY + 5400, 6 * DAY + 9000], 1_i64), (vec![5 * DAY + 82_800], 6), (vec![9000, 4 * DAY], 50)]
            {
                let length = hours * 3600;
                let shifts = shifts(&zone, &starts, Span::seconds(hours.unsigned_abs() * 3600));
                for &(at, _) in &zone.changes {
                    let begun = begins(&tz, at, &starts);
                    for t in (at - 2 * length..at + 2 * length).step_by(600) {
                        let offset = zone.first + zone.changes.iter().filter(|c| c.0 <= t).map(|c| c.1).sum::<i64>();
                        let reckoned = starts
                            .iter()
                            .any(|s| (t + offset + EPOCH_IN_WEEK - i64::from(*s)).rem_euclid(WEEK) < length);
                        let shift = shifts.iter().find(|s| (s.from..s.to).contains(&t));
                        let excluded = shift.map_or(reckoned, |s| s.excluded);
                        let truly = begun.iter().any(|b| (*b..*b + length).contains(&t));
                        assert_eq!(excluded, truly, "{name} {starts:?} at {t}, {} s after a change", t - at);
                    }
                }
            }
        }
    }

    #[test]
    fn corrections_end_with_the_unit() {
        let berlin = zone("Europe/Berlin").expect("Berlin");
        let month = corrections(&berlin, Calendar::Month);
        // 2026-03-31T22:00:00Z is midnight of the first of April in Berlin.
        assert!(month.contains(&Correction { from: 1_774_746_000, to: 1_774_994_400, delta: 3600 }));
    }
}
