//! Times that come every week.

use plimsoll_api::Problem;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u32 = 86_400;

/// Seconds after Monday 00:00 of each start: `Sun 03:00`, `Mon-Fri 22:30`, `Tue,Thu 01:00`, `03:00`.
///
/// # Errors
/// The problem with the value of the field at `path`.
pub fn starts(text: &str, path: &str) -> Result<Vec<u32>, Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let bad = |label: &str| {
        Problem::error(path, format!("{field} is not weekdays and a time"))
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
