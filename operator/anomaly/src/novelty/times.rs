//! Times of the day at which a series often moves: backups, jobs, opening hours.

use serde::{Deserialize, Serialize};

/// Parts of a day, and the seconds of each.
const PARTS: usize = 48;
const PART_S: f64 = 86_400.0 / PARTS as f64;
/// Days that are looked back upon, and on how many of them a time is one of moves: on more than half.
const DAYS: usize = 7;
const MOST: u32 = DAYS as u32 / 2 + 1;

/// On which of the last days each part of the day saw a move: bit 0 is the last that began, bit 1 the day before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Times {
    halves: [[u8; PARTS / 2]; 2],
}

impl Default for Times {
    fn default() -> Self {
        Self { halves: [[0; PARTS / 2]; 2] }
    }
}

impl Times {
    /// Begins the parts of the day that lie after `before`, up to the one of `time`.
    pub(super) fn pass(&mut self, before: f64, time: f64) {
        let (before, now) = (part(before), part(time));
        // All is forgotten after so long; no more parts than that are to be passed.
        let first = before.max(now.saturating_sub((PARTS * (DAYS + 1)) as i64)).saturating_add(1);
        for at in first..=now {
            if let Some(days) = self.halves.as_flattened_mut().get_mut(place(at)) {
                *days <<= 1;
            }
        }
    }

    /// Whether the series has moved on most of the last seven days at this time, half an hour sooner or later at most.
    pub(super) fn often(&self, time: f64) -> bool {
        let now = part(time);
        let days = |at: i64| self.halves.as_flattened().get(place(at)).copied().unwrap_or_default();
        // What has begun last is a day ago in parts that lie ahead, and the present day in the others.
        let late = (time / PART_S).rem_euclid(1.0) >= 0.5;
        let near = if late { days(now.saturating_add(1)) } else { days(now.saturating_sub(1)) >> 1 };
        ((days(now) >> 1 | near) & ((1 << DAYS) - 1)).count_ones() >= MOST
    }

    /// Notes a move at this time.
    pub(super) fn note(&mut self, time: f64) {
        if let Some(days) = self.halves.as_flattened_mut().get_mut(place(part(time))) {
            *days |= 1;
        }
    }
}

/// The part of the day, counted from 1970 on.
fn part(time: f64) -> i64 {
    (time / PART_S).floor() as i64
}

fn place(part: i64) -> usize {
    part.rem_euclid(PARTS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    /// Times that have seen a move at these, and then time until this one.
    fn after(moves: &[f64], until: f64) -> Times {
        let mut times = Times::default();
        let mut before = moves.first().copied().unwrap_or(until);
        for time in moves {
            times.pass(before, *time);
            times.note(*time);
            before = *time;
        }
        times.pass(before, until);
        times
    }

    #[test]
    fn a_time_is_known_after_most_of_seven_days_and_an_hour_beside_is_not() {
        // Midnight, noon, and both sides of the edge of a part.
        for at in [0.0, 10.0, 12.0 * 3600.0, 1790.0, 1810.0, DAY - 5.0] {
            let days = |n: i32| (0..n).map(|day| f64::from(day) * DAY + at).collect::<Vec<_>>();
            for beside in [0.0, 600.0, -600.0] {
                assert!(after(&days(4), 4.0 * DAY + at + beside).often(4.0 * DAY + at + beside), "{at} {beside}");
                assert!(!after(&days(3), 3.0 * DAY + at + beside).often(3.0 * DAY + at + beside), "{at} {beside}");
            }
            for beside in [3700.0, -3700.0, DAY / 2.0] {
                assert!(!after(&days(4), 4.0 * DAY + at + beside).often(4.0 * DAY + at + beside), "{at} {beside}");
            }
            assert!(!after(&days(7), 11.0 * DAY + at).often(11.0 * DAY + at), "four days without one");
        }
    }

    #[test]
    fn working_days_are_most_of_a_week_and_moves_of_one_day_are_not() {
        let working: Vec<f64> = (0..5).map(|day| f64::from(day) * DAY).collect();
        assert!(after(&working, 7.0 * DAY).often(7.0 * DAY), "Monday");
        let one: Vec<f64> = (0..40).map(|i| f64::from(i) * 30.0).collect();
        assert!(!after(&one, DAY).often(DAY));
    }

    #[test]
    fn no_time_is_too_far() {
        for until in [f64::MAX, 1e18, 1e10] {
            let mut times = after(&[0.0, DAY, 2.0 * DAY, 3.0 * DAY], until);
            assert!(!times.often(until));
            times.pass(until, -until);
            times.note(-until);
        }
    }
}
