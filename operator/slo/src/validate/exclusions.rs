//! Times that do not count.

use jiff::Timestamp;
use plimsoll_api::{Problem, slo};

use super::zone_of;
use crate::{
    duration,
    model::{Exclusion, Span},
    zone,
};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
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
            Some(Exclusion::Once { from, to })
        }
        (None, None, Some(every), Some(length)) => {
            let starts = starts(every, &format!("{path}.every")).map_err(|p| problems.push(p)).ok();
            let length_path = format!("{path}.for");
            let length = duration::parse(length, &length_path).map_err(|p| problems.push(p)).ok();
            let zone = zone_of(time_zone.as_deref(), &format!("{path}.timeZone"), problems);
            let (starts, length, zone) = (starts?, length?, zone?);
            if length >= Span::seconds(7 * 86_400) {
                problems.push(
                    Problem::error(length_path, "the exclusion never ends")
                        .label(length.to_string())
                        .help("use less than 7d"),
                );
                return None;
            }
            let gaps =
                starts.iter().zip(starts.iter().cycle().skip(1)).map(|(a, b)| (b + 7 * DAY - a - 1) % (7 * DAY) + 1);
            if gaps.max().is_some_and(|gap| u64::from(gap) <= length.as_seconds()) {
                problems.push(
                    Problem::error(length_path, "the exclusion never ends")
                        .label(length.to_string())
                        .help("shorten it"),
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

fn moment(text: &str, path: &str) -> Result<i64, Problem> {
    text.parse::<Timestamp>().map(|t| t.as_second()).map_err(|_| {
        let field = path.rsplit('.').next().unwrap_or(path);
        Problem::error(path, format!("{field} is not a moment"))
            .label(text.to_owned())
            .help("write it like 2026-12-01T22:00:00Z")
    })
}

/// Seconds after Monday 00:00 of each start: `Sun 03:00`, `Mon-Fri 22:30`, `Tue,Thu 01:00`, `03:00`.
fn starts(text: &str, path: &str) -> Result<Vec<u32>, Problem> {
    let bad = |label: &str| {
        Problem::error(path, "every is not weekdays and a time")
            .label(label.to_owned())
            .help("write it like Sun 03:00, Mon-Fri 22:30 or 03:00")
    };
    let (days, time) = match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        [time] => ("Mon-Sun".to_owned(), (*time).to_owned()),
        [days, time] => ((*days).to_owned(), (*time).to_owned()),
        _ => return Err(bad(text)),
    };
    let (hour, minute) = time.split_once(':').ok_or_else(|| bad(&time))?;
    let part =
        |text: &str, below: u32| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten().filter(|n| *n < below);
    let (Some(hour), Some(minute)) = (part(hour, 24), part(minute, 60)) else { return Err(bad(&time)) };
    let day = |name: &str| DAYS.iter().position(|d| d.eq_ignore_ascii_case(name)).and_then(|i| u32::try_from(i).ok());
    let mut chosen = Vec::new();
    for item in days.split(',') {
        match item.split_once('-') {
            Some((a, b)) => {
                let (Some(a), Some(b)) = (day(a), day(b)) else { return Err(bad(item)) };
                // Fri-Mon goes over the weekend.
                let n = (b + 7 - a) % 7;
                chosen.extend((0..=n).map(|k| (a + k) % 7));
            }
            None => chosen.push(day(item).ok_or_else(|| bad(item))?),
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen.into_iter().map(|d| d * DAY + hour * 3600 + minute * 60).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_seconds_of_the_week() {
        for (text, want) in [
            ("Sun 03:00", vec![6 * DAY + 10_800]),
            ("Tue,Thu 01:30", vec![DAY + 5400, 3 * DAY + 5400]),
            ("Sat-Mon 00:00", vec![0, 5 * DAY, 6 * DAY]),
            ("03:00", (0..7).map(|d| d * DAY + 10_800).collect()),
        ] {
            assert_eq!(starts(text, "x").expect(text), want, "{text}");
        }
        for text in ["", "Son 03:00", "Sun 3:00", "Sun 24:00", "Sun 03:00 UTC", "0 3 * * 0"] {
            assert!(starts(text, "x").is_err(), "{text}");
        }
    }
}
