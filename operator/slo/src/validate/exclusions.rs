//! Times that do not count.

use jiff::{Timestamp, civil::Date};
use plimsoll_api::{Problem, slo};

use super::zone_of;
use crate::{
    duration,
    model::{Exclusion, Model, Period, Span},
    render::BASE_RANGE,
    weekly, zone,
};

const DAY: u32 = 86_400;

pub(super) fn exclusions(specs: &[slo::Exclusion], problems: &mut Vec<Problem>) -> Vec<Exclusion> {
    let mut built = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("spec.exclusions[{i}]");
        if specs.iter().take(i).any(|e| e.name == spec.name) {
            problems.push(
                Problem::error(format!("{path}.name"), format!("exclusion {} is there twice", spec.name))
                    .help("rename one"),
            );
        }
        built.extend(exclusion(spec, &path, problems));
    }
    built
}

fn exclusion(spec: &slo::Exclusion, path: &str, problems: &mut Vec<Problem>) -> Option<Exclusion> {
    let slo::Exclusion { name: _, from, to, every, r#for, time_zone, reason: _ } = spec;
    match (from, to, every, r#for) {
        (Some(from), Some(to), None, None) => {
            let mut read =
                |text: &str, field: &str| moment(text, &format!("{path}.{field}")).map_err(|p| problems.push(p)).ok();
            let (from, to) = (read(from, "from"), read(to, "to"));
            let (from, to) = (from?, to?);
            if from >= to {
                problems.push(Problem::error(format!("{path}.to"), "to is not after from").help("swap them"));
                return None;
            }
            if time_zone.is_some() {
                problems.push(
                    Problem::warning(format!("{path}.timeZone"), "timeZone is not used beside from and to")
                        .label("each of them says its own")
                        .help("remove it, or write the offset into both, like 2026-12-01T22:00:00+01:00"),
                );
            }
            Some(Exclusion::Once { from, to: to.saturating_add(after()) })
        }
        (None, None, Some(every), Some(length)) => {
            let starts = weekly::starts(every, &format!("{path}.every")).map_err(|p| problems.push(p)).ok();
            let length_path = format!("{path}.for");
            let length = duration::parse(length, &length_path).map_err(|p| problems.push(p)).ok();
            let zone = zone_of(time_zone.as_deref(), &format!("{path}.timeZone"), problems);
            let (starts, written, zone) = (starts?, length?, zone?);
            let length = Span { millis: written.millis.saturating_add(BASE_RANGE.millis) };
            if length >= Span::seconds(7 * 86_400) {
                problems.push(
                    Problem::error(length_path, "the exclusion never ends")
                        .label(written.to_string())
                        .help("use less than 6d23h55m"),
                );
                return None;
            }
            let gaps =
                starts.iter().zip(starts.iter().cycle().skip(1)).map(|(a, b)| (b + 7 * DAY - a - 1) % (7 * DAY) + 1);
            if gaps.max().is_some_and(|gap| u64::from(gap) <= length.as_seconds()) {
                problems.push(
                    Problem::error(length_path, "the exclusion never ends")
                        .label(written.to_string())
                        .help("shorten it: the 5m after it do not count either"),
                );
                return None;
            }
            let shifts = zone::shifts(&zone, &starts, length);
            Some(Exclusion::Weekly { starts, length, zone, shifts })
        }
        _ => {
            problems.push(
                Problem::error(path, "an exclusion has from and to, or every and for")
                    .help("keep one of the pairs, whole"),
            );
            None
        }
    }
}

/// Warns of exclusions that ended more than five years before the period, or begin more than a year from now: their year
/// is hardly meant. What ended later may well be left where it is.
pub fn distant_exclusions(model: &Model, now: Timestamp) -> Vec<Problem> {
    const YEAR: i64 = 366 * DAY as i64;
    let period = match &model.period {
        Period::Rolling(span) => i64::try_from(span.as_seconds()).unwrap_or(YEAR),
        Period::Calendar { .. } => YEAR,
    };
    let (begin, ahead) =
        (now.as_second().saturating_sub((5 * YEAR).saturating_add(period)), now.as_second().saturating_add(YEAR));
    let once = model.exclusions.iter().enumerate().filter_map(|(i, exclusion)| match exclusion {
        Exclusion::Once { from, to } => Some((i, *from, *to)),
        Exclusion::Weekly { .. } => None,
    });
    let warnings = once.filter_map(|(i, from, to)| {
        let (field, what) = if to < begin {
            ("to", "ended more than five years before the period")
        } else if from > ahead {
            ("from", "begins more than a year from now")
        } else {
            return None;
        };
        Some(
            Problem::warning(format!("spec.exclusions[{i}].{field}"), format!("the exclusion {what}"))
                .help("check the year, or remove the exclusion"),
        )
    });
    warnings.collect()
}

/// A sample speaks of the base range before it: of those after the end, some would still hold what was excluded, and
/// be nearly all that the windows have.
fn after() -> i64 {
    i64::try_from(BASE_RANGE.as_seconds()).unwrap_or(0)
}

fn moment(text: &str, path: &str) -> Result<i64, Problem> {
    text.parse::<Timestamp>().map(|t| t.as_second()).map_err(|_| {
        let field = path.rsplit('.').next().unwrap_or(path);
        Problem::error(path, format!("{field} is not a moment"))
            .label(text.to_owned())
            .help(nonexistent(text).unwrap_or_else(|| "write it like 2026-12-01T22:00:00Z".to_owned()))
    })
}

/// What there is instead of a day or a time that does not exist; nothing of what is not written as one.
fn nonexistent(text: &str) -> Option<String> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let number = |text: Option<&str>| text?.parse::<i16>().ok();
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next())?, number(parts.next())?, number(parts.next())?);
    if !(1..=12).contains(&month) {
        return Some(format!("a year has the months 01 to 12, not {month:02}"));
    }
    let first = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
    let days = i16::from(first.days_in_month());
    if !(1..=days).contains(&day) {
        return Some(format!("{} has {days} days", first.strftime("%B %Y")));
    }
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next())?, number(parts.next())?);
    let is_one = (0..24).contains(&hour) && (0..60).contains(&minute);
    (!is_one).then(|| "a day has the times 00:00 to 23:59".to_owned())
}
