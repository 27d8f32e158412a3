//! Moments of a schedule, in its time zone.

use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};

/// A schedule that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Seconds after Monday 00:00, local time, sorted.
    pub starts: Vec<u32>,
    /// Its zone.
    pub zone: TimeZone,
    /// How late it may still start, in seconds.
    pub starting_deadline: i64,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The moment that is to be started, the latest of those that are due.
    pub start: Option<Timestamp>,
    /// Moments that are not started any more: another one came since, or it is too late.
    pub missed: usize,
    /// What was looked after by now, for `status.lastSchedule`.
    pub looked_after: Timestamp,
    /// The next moment.
    pub next: Option<Timestamp>,
}

/// The longest time that is looked back; what is older was missed and is not counted.
const BACK: SignedDuration = SignedDuration::from_hours(24 * 8);

impl Schedule {
    /// What is due at `now`, when everything up to `last` was looked after. Without `last`, nothing is due: a schedule
    /// begins when it is seen first.
    pub fn due(&self, last: Option<Timestamp>, now: Timestamp) -> Due {
        // A clock that went back must not start anything again.
        let looked_after = last.map_or(now, |last| last.max(now));
        let from = last.unwrap_or(now).max(now.saturating_sub(BACK).unwrap_or(now));
        let due = self.between(from, now);
        let late = |at: Timestamp| now.duration_since(at) > SignedDuration::from_secs(self.starting_deadline);
        let start = due.last().copied().filter(|at| !late(*at));
        Due { start, missed: due.len() - usize::from(start.is_some()), looked_after, next: self.next(now) }
    }

    /// The first moment after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let until = now.saturating_add(BACK).ok()?;
        self.between(now, until).first().copied()
    }

    /// The moments after `from` up to `to`, in order. One that the clock skips comes when the clock goes on; one that
    /// comes twice counts once.
    fn between(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let mut found = Vec::new();
        let mut day = from.to_zoned(self.zone.clone()).date();
        let last = to.to_zoned(self.zone.clone()).date();
        while day <= last {
            let weekday = u32::try_from(day.weekday().to_monday_zero_offset()).unwrap_or(0);
            for start in self.starts.iter().filter(|start| **start / 86_400 == weekday) {
                let seconds = i64::from(start % 86_400);
                let at = day
                    .at(0, 0, 0, 0)
                    .checked_add(seconds.seconds())
                    .ok()
                    .and_then(|local| local.to_zoned(self.zone.clone()).ok());
                found.extend(at.map(|zoned| zoned.timestamp()).filter(|at| *at > from && *at <= to));
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str, zone: &str) -> Schedule {
        Schedule {
            starts: plimsoll_slo::weekly::starts(text, "schedule").expect(text),
            zone: plimsoll_slo::zone::find(zone).expect(zone),
            starting_deadline: 600,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    #[test]
    fn a_moment_starts_once_and_not_too_late() {
        let monday = schedule("Mon 10:00", "Europe/Berlin");
        let due = |last: &str, now: &str| monday.due(Some(at(last)), at(now));
        // 2026-11-30 is a Monday; Berlin is at +01:00.
        let start = at("2026-11-30T09:00:00Z");
        assert_eq!(due("2026-11-30T08:59:00Z", "2026-11-30T09:00:00Z").start, Some(start));
        assert_eq!(due("2026-11-30T09:00:00Z", "2026-11-30T09:01:00Z").start, None);
        assert_eq!(due("2026-11-20T09:00:00Z", "2026-11-30T09:10:00Z").start, Some(start));
        let late = due("2026-11-30T08:00:00Z", "2026-11-30T09:10:01Z");
        assert_eq!((late.start, late.missed, late.next), (None, 1, Some(at("2026-12-07T09:00:00Z"))));
        assert_eq!(monday.due(None, start).start, None);
        // The clock went back.
        assert_eq!(due("2026-11-30T09:00:00Z", "2026-11-30T08:00:00Z").looked_after, start);
    }

    #[test]
    fn a_long_absence_starts_at_most_one() {
        let often = schedule("03:00", "UTC");
        let due = often.due(Some(at("2020-01-01T00:00:00Z")), at("2026-11-26T03:05:00Z"));
        assert_eq!(due.start, Some(at("2026-11-26T03:00:00Z")));
        assert!((7..=9).contains(&due.missed), "{due:?}");
    }

    #[test]
    fn the_clock_of_the_zone_decides() {
        let night = schedule("Sun 02:30", "Europe/Berlin");
        // 02:30 does not exist on 2026-03-29, and comes twice on 2026-10-25.
        assert_eq!(night.next(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
        let autumn = night.between(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z"));
        assert_eq!(autumn, [at("2026-10-25T00:30:00Z")]);
    }
}
