//! Calendars and exclusions as PromQL over `time()`. Everything is a scalar, so it works at any
//! moment inside a subquery as well, which is what makes exclusions reach into the past.

use std::collections::BTreeSet;

use plimsoll_api::slo::Calendar;

use crate::{
    model::{Correction, Exclusion, Shift, Span, Zone},
    zone::{EPOCH_IN_WEEK, WEEK},
};

/// The moment at which an expression is evaluated.
pub(super) const NOW: &str = "time()";

/// A factor that is 0 where the moment `now` is excluded, and 1 else.
pub(super) fn keep(exclusions: &[Exclusion], now: &str) -> String {
    exclusions.iter().map(|e| format!("(1 - {})", excluded(e, now))).collect::<Vec<_>>().join(" * ")
}

/// 1 in the excluded time, 0 else.
fn excluded(exclusion: &Exclusion, now: &str) -> String {
    let between = |from: i64, to: i64| format!("({now} >= bool {from}) * ({now} < bool {to})");
    match exclusion {
        Exclusion::Once { from, to } => between(*from, *to),
        Exclusion::Weekly { starts, length, zone, shifts } => {
            let local = local(zone, now);
            let mut terms: Vec<String> = starts
                .iter()
                .map(|start| {
                    // Positive for any time after 1970, so that % is the distance since the last start.
                    let shift = EPOCH_IN_WEEK + WEEK - i64::from(*start);
                    format!("(({local} + {shift}) % {WEEK} < bool {})", length.as_seconds())
                })
                .collect();
            let (more, less): (Vec<&Shift>, Vec<&Shift>) = shifts.iter().partition(|shift| shift.excluded);
            terms.extend(more.iter().map(|shift| between(shift.from, shift.to)));
            // Starts may overlap each other, so the terms are joined by "or", not added.
            let any = match terms.as_slice() {
                [term] => term.clone(),
                _ => format!("(({}) > bool 0)", terms.join(" + ")),
            };
            let but: String = less.iter().map(|shift| format!(" * (1 - {})", between(shift.from, shift.to))).collect();
            any + &but
        }
    }
}

/// Seconds of local time since 1970.
fn local(zone: &Zone, now: &str) -> String {
    let changes: String = zone.changes.iter().map(|(at, by)| format!("{}({now} >= bool {at})", term(*by))).collect();
    format!("({now}{}{changes})", offset(zone.first))
}

fn offset(seconds: i64) -> String {
    match seconds {
        0 => String::new(),
        s if s < 0 => format!(" - {}", s.unsigned_abs()),
        s => format!(" + {s}"),
    }
}

fn term(factor: i64) -> String {
    if factor < 0 { format!(" - {} * ", factor.unsigned_abs()) } else { format!(" + {factor} * ") }
}

/// The longest time that is excluded at a stretch, by one exclusion or by several that go over into each other. A change
/// of the clock may move two of them apart or together by an hour.
pub(crate) fn longest_excluded(exclusions: &[Exclusion]) -> Span {
    let mut all = Vec::new();
    // What comes every week is the same in any, and else matters where it may go on with what comes once.
    let mut weeks = BTreeSet::from([0]);
    for exclusion in exclusions {
        if let Exclusion::Once { from, to } = exclusion {
            all.push((*from, *to));
            weeks.extend([from.div_euclid(WEEK), to.div_euclid(WEEK)]);
        }
    }
    let weeks: BTreeSet<i64> = weeks.into_iter().flat_map(|week| week - 2..=week + 2).collect();
    for exclusion in exclusions {
        if let Exclusion::Weekly { starts, length, zone, shifts: _ } = exclusion {
            let length = i64::try_from(length.as_seconds()).unwrap_or(WEEK);
            let begins = weeks.iter().flat_map(|week| {
                let monday = week * WEEK - EPOCH_IN_WEEK;
                starts.iter().map(move |start| monday + i64::from(*start) - zone.offset(monday))
            });
            all.extend(begins.map(|begin| (begin, begin + length)));
        }
    }
    all.sort_unstable();
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for (from, to) in all {
        match stretches.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => stretches.push((from, to)),
        }
    }
    let longest = stretches.iter().map(|(from, to)| to - from).max();
    Span::seconds(longest.and_then(|longest| u64::try_from(longest).ok()).unwrap_or(0))
}

/// Unix time at which the calendar unit of now began, as a vector.
pub(super) fn unit_start(unit: Calendar, zone: &Zone, corrections: &[Correction]) -> String {
    let local = local(zone, NOW);
    let now = format!("vector({local})");
    let into = match unit {
        Calendar::Week => format!("({now} + {EPOCH_IN_WEEK}) % {WEEK}"),
        Calendar::Month => format!("(day_of_month({now}) - 1) * 86400 + {now} % 86400"),
        Calendar::Quarter => {
            // Days of the year before the quarter; every fourth year is a leap year until 2100.
            let before = format!(
                "(90 * (month({now}) >= bool 4) + 91 * (month({now}) >= bool 7) + 92 * (month({now}) >= bool 10) + (year({now}) % 4 == bool 0) * (month({now}) >= bool 4))"
            );
            format!("(day_of_year({now}) - 1 - {before}) * 86400 + {now} % 86400")
        }
        Calendar::Year => format!("(day_of_year({now}) - 1) * 86400 + {now} % 86400"),
    };
    // Start in UTC with the offset of now; where an offset change lies between, it is made good.
    let made_good: String = corrections
        .iter()
        .map(|c| format!("{}(time() >= bool {}) * (time() < bool {})", term(c.delta), c.from, c.to))
        .collect();
    format!("vector(time(){made_good}) - ({into})")
}

/// Longest length of a unit, with an hour for the clock's change.
pub(crate) const fn longest(unit: Calendar) -> Span {
    let days = match unit {
        Calendar::Week => 7,
        Calendar::Month => 31,
        Calendar::Quarter => 92,
        Calendar::Year => 366,
    };
    Span::seconds(days * 86_400 + 3600)
}

/// The `window` label of a calendar period.
pub(super) const fn unit_name(unit: Calendar) -> &'static str {
    match unit {
        Calendar::Week => "week",
        Calendar::Month => "month",
        Calendar::Quarter => "quarter",
        Calendar::Year => "year",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::zone;

    #[test]
    fn exclusions_that_meet_are_one_stretch() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        // 2026-12-21T00:00:00Z, a Monday.
        const MONDAY: i64 = 1_797_811_200;
        let weekly = |starts: &[i64], hours: i64, name: &str| Exclusion::Weekly {
            starts: starts.iter().map(|start| u32::try_from(*start).expect("within a week")).collect(),
            length: Span::seconds((hours * HOUR).unsigned_abs()),
            zone: zone(name).expect(name),
            shifts: Vec::new(),
        };
        let once = |from: i64, to: i64| Exclusion::Once { from: MONDAY + from, to: MONDAY + to };
        let nights: Vec<i64> = (0..7).map(|day| day * DAY + 20 * HOUR).collect();
        let weekend = || weekly(&[5 * DAY], 48, "UTC");
        for (what, exclusions, hours) in [
            ("none", vec![], 0),
            ("nights", vec![weekly(&nights, 12, "UTC")], 12),
            ("a weekend", vec![weekend()], 48),
            ("over the end of the week", vec![weekly(&[6 * DAY], 30, "UTC")], 30),
            ("days in a row", vec![weekly(&[4 * DAY, 5 * DAY, 6 * DAY], 24, "UTC")], 72),
            ("a weekend and its Monday", vec![weekly(&[0], 6, "UTC"), weekend()], 54),
            ("a Monday elsewhere", vec![weekly(&[0], 6, "Asia/Tokyo"), weekend()], 48),
            (
                "the first half of what Tokyo goes on with",
                vec![weekly(&[6 * DAY], 15, "UTC"), weekly(&[0], 20, "Asia/Tokyo")],
                35,
            ),
            ("once", vec![once(0, 3 * HOUR), once(DAY, 30 * HOUR)], 6),
            ("once within another", vec![once(0, 30 * HOUR), once(HOUR, 2 * HOUR)], 30),
            ("from a weekend until the next", vec![weekend(), once(0, 5 * DAY)], 9 * 24),
            ("apart from the weekend", vec![weekend(), once(DAY, 4 * DAY)], 72),
            ("before 1970", vec![Exclusion::Once { from: -9 * DAY, to: -7 * DAY }], 48),
        ] {
            assert_eq!(longest_excluded(&exclusions), Span::seconds((hours * HOUR).unsigned_abs()), "{what}");
        }
        let ever = Exclusion::Once { from: -377_705_023_201, to: 253_402_207_200 };
        assert!(longest_excluded(&[ever, weekend()]) > Span::seconds(10_000 * 365 * 86_400));
    }
}
