//! Calendars and exclusions as PromQL over `time()`. Everything is a scalar, so it works at any
//! moment inside a subquery as well, which is what makes exclusions reach into the past.

use plimsoll_api::slo::Calendar;

use crate::{
    model::{Correction, Exclusion, Shift, Span, Zone},
    zone::{EPOCH_IN_WEEK, WEEK},
};

/// A factor that is 0 in excluded time and 1 else.
pub(super) fn keep(exclusions: &[Exclusion]) -> String {
    exclusions.iter().map(|e| format!("(1 - {})", excluded(e))).collect::<Vec<_>>().join(" * ")
}

/// 1 in the excluded time, 0 else.
fn excluded(exclusion: &Exclusion) -> String {
    match exclusion {
        Exclusion::Once { from, to } => between(*from, *to),
        Exclusion::Weekly { starts, length, zone, shifts } => {
            let local = local(zone);
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

/// 1 from `from` until `to`, 0 else.
fn between(from: i64, to: i64) -> String {
    format!("(time() >= bool {from}) * (time() < bool {to})")
}

/// Seconds of local time since 1970.
fn local(zone: &Zone) -> String {
    let changes: String = zone.changes.iter().map(|(at, by)| format!("{}(time() >= bool {at})", term(*by))).collect();
    format!("(time(){}{changes})", offset(zone.first))
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

/// Unix time at which the calendar unit of now began, as a vector.
pub(super) fn unit_start(unit: Calendar, zone: &Zone, corrections: &[Correction]) -> String {
    let local = local(zone);
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
