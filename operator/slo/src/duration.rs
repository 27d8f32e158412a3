//! Prometheus durations, with a reason for each that is refused.

use plimsoll_api::Problem;
use rust_decimal::Decimal;

use crate::{
    meant,
    model::{Span, UNITS},
};

/// Parses a Prometheus duration such as `30d`, `1h30m` or `500ms`; never zero.
///
/// # Errors
/// The problem with the value of the field at `path`.
pub fn parse(text: &str, path: &str) -> Result<Span, Problem> {
    read(text, path).map_err(|problem| match meant::duration(text) {
        Some(meant) => problem.help(format!("write {meant}")),
        None => problem,
    })
}

/// The same, without a guess at what is meant.
pub(crate) fn read(text: &str, path: &str) -> Result<Span, Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let bad = |label: String, help: String| {
        Problem::error(path, format!("{field} is not a duration")).label(label).help(help)
    };
    let example = || "write it like 30d, 1h30m or 5m".to_owned();
    let above_zero = || "write a time above zero, such as 300ms, 5m or 30d".to_owned();
    if text.is_empty() {
        return Err(bad("it is empty".to_owned(), example()));
    }
    if text.starts_with('-') {
        return Err(bad("it is negative".to_owned(), example()));
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(bad(format!("{rest} does not begin with a number"), example()));
        }
        if tail.starts_with(['.', ',']) {
            return Err(bad(format!("{text} has a fraction"), without_fraction(rest)));
        }
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() && millis == 0 && number.bytes().all(|b| b == b'0') {
            return Err(bad("it is zero".to_owned(), above_zero()));
        }
        if unit.is_empty() {
            return Err(bad(
                format!("{number} has no unit"),
                match field {
                    "rolling" => format!("write {number}d if days are meant"),
                    "threshold" => format!("add one: {number}ms or {number}s"),
                    _ => format!("add one: {number}s, {number}m, {number}h or {number}d"),
                },
            ));
        }
        let (unit, spaced) = (unit.trim(), unit);
        if unit != spaced && UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(bad(format!("{text} has a space"), example()));
        }
        let Some(&(_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(bad(format!("unit {unit} is unknown"), "use ms, s, m, h, d, w or y".to_owned()));
        };
        if size >= smallest {
            return Err(bad(
                format!("{unit} comes after a smaller unit"),
                "write the largest unit first: 1h30m".to_owned(),
            ));
        }
        smallest = size;
        millis = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(size))
            .and_then(|n| n.checked_add(millis))
            .ok_or_else(|| {
                Problem::error(path, format!("{field} is too long")).label(text.to_owned()).help("use at most 1y")
            })?;
        rest = tail;
    }
    if millis == 0 {
        return Err(bad("it is zero".to_owned(), above_zero()));
    }
    Ok(Span { millis })
}

/// What to write instead of a number with a fraction, with which `rest` begins: `36h for 1.5d`.
fn without_fraction(rest: &str) -> String {
    let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',')).unwrap_or(rest.len());
    let (number, tail) = rest.split_at(end);
    let unit = tail.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
    let whole = || {
        let size = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let millis = number.replace(',', ".").parse::<Decimal>().ok()?.checked_mul(size.into())?;
        let smaller = UNITS.iter().filter(|(_, other)| *other < size);
        let (name, of_it) =
            smaller.map(|(name, size)| (name, millis / Decimal::from(*size))).find(|(_, n)| n.is_integer())?;
        (!of_it.is_zero()).then(|| format!("{}{name}", of_it.normalize()))
    };
    match whole() {
        Some(whole) => format!("use a smaller unit: {whole} for {number}{unit}"),
        None => "write whole numbers: 1h30m, 90s or 300ms".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, seconds, shown) in [
            ("30d", 2_592_000, "30d"),
            ("1h30m", 5400, "1h30m"),
            ("90s", 90, "1m30s"),
            ("1w", 604_800, "7d"),
            ("36h", 129_600, "1d12h"),
            ("57m30s", 3450, "57m30s"),
        ] {
            let span = parse(text, "x").expect(text);
            assert_eq!((span.as_seconds(), span.to_string().as_str()), (seconds, shown));
        }
    }

    #[test]
    fn says_why_not() {
        for (text, line) in [
            ("4t", "x: x is not a duration (unit t is unknown); use ms, s, m, h, d, w or y"),
            ("0s", "x: x is not a duration (it is zero); write a time above zero, such as 300ms, 5m or 30d"),
            ("0", "x: x is not a duration (it is zero); write a time above zero, such as 300ms, 5m or 30d"),
            ("-1w", "x: x is not a duration (it is negative); write it like 30d, 1h30m or 5m"),
            ("1.5d", "x: x is not a duration (1.5d has a fraction); use a smaller unit: 36h for 1.5d"),
            ("0.3s", "x: x is not a duration (0.3s has a fraction); use a smaller unit: 300ms for 0.3s"),
            ("0,5m", "x: x is not a duration (0,5m has a fraction); use a smaller unit: 30s for 0,5m"),
            ("1h2.5m", "x: x is not a duration (1h2.5m has a fraction); use a smaller unit: 150s for 2.5m"),
            ("1.0h", "x: x is not a duration (1.0h has a fraction); use a smaller unit: 60m for 1.0h"),
            ("0.5ms", "x: x is not a duration (0.5ms has a fraction); write whole numbers: 1h30m, 90s or 300ms"),
            ("1.5", "x: x is not a duration (1.5 has a fraction); write whole numbers: 1h30m, 90s or 300ms"),
            ("1.2.3h", "x: x is not a duration (1.2.3h has a fraction); write whole numbers: 1h30m, 90s or 300ms"),
            ("5", "x: x is not a duration (5 has no unit); add one: 5s, 5m, 5h or 5d"),
            ("5min", "x: x is not a duration (unit min is unknown); write 5m"),
            ("5 minute", "x: x is not a duration (unit minute is unknown); write 5m"),
            ("1mo", "x: x is not a duration (unit mo is unknown); use ms, s, m, h, d, w or y"),
            ("1h 30m", "x: x is not a duration (1h 30m has a space); write 1h30m"),
            ("1h 30", "x: x is not a duration (1h 30 has a space); write it like 30d, 1h30m or 5m"),
            ("30m1h", "x: x is not a duration (h comes after a smaller unit); write the largest unit first: 1h30m"),
            ("99999999999999999999y", "x: x is too long (99999999999999999999y); use at most 1y"),
            ("d", "x: x is not a duration (d does not begin with a number); write it like 30d, 1h30m or 5m"),
        ] {
            assert_eq!(parse(text, "x").expect_err(text).to_string(), line);
        }
    }
}
