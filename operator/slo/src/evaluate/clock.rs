//! Calendars and exclusions, as `render::clock` writes them, computed. Times are milliseconds since 1970.

use jiff::{Timestamp, tz::TimeZone};
use plimsoll_api::slo::Calendar;

use crate::{
    model::{Correction, Exclusion, Zone},
    zone::{EPOCH_IN_WEEK, WEEK},
};

/// 0 in excluded time and 1 else.
pub(super) fn keep(exclusions: &[Exclusion], t: i64) -> f64 {
    if is_excluded(exclusions, t) { 0.0 } else { 1.0 }
}

/// Whether `t`, in milliseconds since 1970, does not count.
pub fn is_excluded(exclusions: &[Exclusion], t: i64) -> bool {
    exclusions.iter().any(|exclusion| excluded(exclusion, t))
}

/// The end of the excluded time that `t` is in, both in milliseconds since 1970; nothing where `t` counts. What is excluded
/// every week ends with a minute. Exclusions that together leave no time are followed for two weeks.
pub fn excluded_until(exclusions: &[Exclusion], t: i64) -> Option<i64> {
    const MINUTE: i64 = 60_000;
    let mut end = t;
    while end < t + 2 * WEEK * 1000 {
        match exclusions.iter().find(|exclusion| excluded(exclusion, end)) {
            Some(Exclusion::Once { from: _, to }) => end = to * 1000,
            Some(Exclusion::Weekly { .. }) => end = (end / MINUTE + 1) * MINUTE,
            None => break,
        }
    }
    (end > t).then_some(end)
}

fn excluded(exclusion: &Exclusion, t: i64) -> bool {
    match exclusion {
        Exclusion::Once { from, to } => between(t, *from, *to),
        Exclusion::Weekly { starts, length, zone, shifts } => {
            let local = local(zone, t);
            let length = i64::try_from(length.as_seconds()).unwrap_or(WEEK) * 1000;
            let since = |start: u32| (local + (EPOCH_IN_WEEK + WEEK - i64::from(start)) * 1000).rem_euclid(WEEK * 1000);
            let shifted = |excluded: bool| shifts.iter().any(|s| s.excluded == excluded && between(t, s.from, s.to));
            (starts.iter().any(|start| since(*start) < length) || shifted(true)) && !shifted(false)
        }
    }
}

fn between(t: i64, from: i64, to: i64) -> bool {
    t >= from * 1000 && t < to * 1000
}

fn local(zone: &Zone, t: i64) -> i64 {
    t + zone.offset(t.div_euclid(1000)) * 1000
}

/// When the calendar unit of `t` began.
pub(super) fn unit_start(unit: Calendar, zone: &Zone, corrections: &[Correction], t: i64) -> Option<i64> {
    let local = local(zone, t);
    let date = Timestamp::from_millisecond(local).ok()?.to_zoned(TimeZone::UTC).date();
    let first = match unit {
        Calendar::Week => None,
        Calendar::Month => Some(date.first_of_month()),
        Calendar::Quarter => crate::zone::quarter(date),
        Calendar::Year => Some(date.first_of_year()),
    };
    let into = match first {
        None => (local + EPOCH_IN_WEEK * 1000).rem_euclid(WEEK * 1000),
        Some(first) => local - first.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond(),
    };
    let made_good: i64 = corrections.iter().filter(|c| between(t, c.from, c.to)).map(|c| c.delta).sum();
    Some(t + made_good * 1000 - into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    #[test]
    fn excluded_time_ends_when_nothing_excludes_it() {
        let at = |text: &str| text.parse::<Timestamp>().map(Timestamp::as_millisecond).unwrap_or_default();
        let once = |from: &str, to: &str| Exclusion::Once { from: at(from) / 1000, to: at(to) / 1000 };
        let utc = Zone { name: "UTC".to_owned(), first: 0, changes: Vec::new() };
        // Every Monday from 02:00 for an hour; 2026-11-30 is one.
        let weekly =
            Exclusion::Weekly { starts: vec![7200], length: Span::seconds(3600), zone: utc, shifts: Vec::new() };
        let all = [
            once("2026-11-26T18:10:00Z", "2026-11-26T18:22:00Z"),
            once("2026-11-30T02:59:30Z", "2026-11-30T03:20:10Z"),
            weekly,
        ];
        for (now, end) in [
            ("2026-11-26T18:09:59Z", None),
            ("2026-11-26T18:17:25Z", Some("2026-11-26T18:22:00Z")),
            ("2026-11-26T18:22:00Z", None),
            // One goes over into another.
            ("2026-11-30T02:00:30Z", Some("2026-11-30T03:20:10Z")),
            ("2026-12-07T02:00:30Z", Some("2026-12-07T03:00:00Z")),
        ] {
            assert_eq!(excluded_until(&all, at(now)), end.map(at), "{now}");
        }
    }
}
