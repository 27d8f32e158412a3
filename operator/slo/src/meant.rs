//! What somebody means who writes a value in a form that is not read: the same in the form that is. A help names it, and
//! whatever is named here is accepted when it is written.

use rust_decimal::Decimal;

use crate::{
    duration,
    model::{Objective, Span},
    validate::PERIODS,
};

/// Words behind a number of percent.
const PERCENT: [&str; 4] = ["%", "percent", "per cent", "pct"];

/// Words for the units of time, which Prometheus shortens.
const UNITS: [(&str, &[&str]); 7] = [
    ("ms", &["ms", "msec", "millis", "millisecond", "milliseconds"]),
    ("s", &["s", "sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["h", "hr", "hrs", "hour", "hours"]),
    ("d", &["d", "day", "days"]),
    ("w", &["w", "week", "weeks"]),
    ("y", &["y", "year", "years"]),
];

/// Periods of the calendar, as they are written and as people call them.
const CALENDAR: [(&str, &str); 4] =
    [("Week", "weekly"), ("Month", "monthly"), ("Quarter", "quarterly"), ("Year", "yearly")];

/// How many digits an objective may have before its point, and after it: the API server takes no more.
pub(crate) const DIGITS: (usize, usize) = (3, 10);

/// A number of percent as an objective is written: digits with a point between them, and not too many.
pub(crate) fn percent(text: &str) -> Option<Decimal> {
    let (whole, decimals) = digits(text)?;
    let few = whole.len() <= DIGITS.0 && decimals.len() <= DIGITS.1;
    few.then(|| text.parse::<Decimal>().ok()).flatten()
}

/// The digits before the point of a decimal number, and those after it, if any.
pub(crate) fn digits(text: &str) -> Option<(&str, &str)> {
    let all = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, decimals)) => (all(whole) && all(decimals)).then_some((whole, decimals)),
        None => all(text).then_some((text, "")),
    }
}

/// A quote of a typesetter, as programs for letters make one of each that is typed.
pub fn is_curly(c: char) -> bool {
    matches!(c, '“' | '”' | '„' | '‘' | '’' | '‚')
}

/// The text with straight quotes instead. Those between straight ones belong to a value.
pub fn straight(text: &str) -> String {
    // Which quote is open, and whether it was a curly one.
    let (mut open, mut escaped) = (None, false);
    let straight = |c: char| {
        let quote = match c {
            '‘' | '’' | '‚' => '\'',
            c if is_curly(c) => '"',
            c => c,
        };
        let shown = match open {
            Some((_, false)) if is_curly(c) => c,
            _ => quote,
        };
        open = match open {
            None => matches!(quote, '"' | '\'' | '`').then_some((quote, is_curly(c))),
            Some((quote, _)) if quote == shown && !escaped => None,
            open => open,
        };
        escaped = c == '\\' && !escaped;
        shown
    };
    text.chars().map(straight).collect()
}

/// A text as YAML has it in single quotes, with straight ones inside.
pub fn quoted(text: &str) -> String {
    format!("'{}'", straight(text).replace('\'', "''"))
}

/// An expression as it can be written into a file, also between the braces of YAML.
pub fn written(expr: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | ' ' | '-' | '(' | ')' | '/');
    if expr.chars().all(safe) && !expr.contains(": ") { expr.to_owned() } else { quoted(expr) }
}

/// A number without the zeros that make it too long.
fn shortened(number: String) -> String {
    let Some((whole, decimals)) = digits(&number) else { return number };
    let whole = if whole.len() > DIGITS.0 { whole.trim_start_matches('0') } else { whole };
    let decimals = if decimals.len() > DIGITS.1 { decimals.trim_end_matches('0') } else { decimals };
    if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") }
}

/// An objective: `99.9` of `99,9 %`, of `99.9 percent` and of `0.999`. Nothing where it would be a guess.
pub fn objective(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let number = PERCENT.iter().find_map(|word| text.strip_suffix(word)).unwrap_or(&text);
    let number = shortened(number.trim_end().replace(',', "."));
    let percent = percent(&number)?;
    if Objective::from_percent(percent).is_some() {
        return Some(number);
    }
    let scaled = (percent * Decimal::ONE_HUNDRED).normalize();
    (percent < Decimal::ONE && Objective::from_percent(scaled).is_some()).then(|| scaled.to_string())
}

/// A duration: `1h30m` of `1h 30m`, `30d` of `30 days`. Nothing of `5M`, which may be minutes or months.
pub fn duration(text: &str) -> Option<String> {
    let together: String = text.split_whitespace().collect();
    if duration::read(&together, "").is_ok() {
        return Some(together);
    }
    let (number, word) = together.split_at(together.find(|c: char| !c.is_ascii_digit())?);
    let lower = word.to_lowercase();
    let (unit, _) = UNITS.iter().find(|(_, words)| words.contains(&lower.as_str()))?;
    let meant = format!("{number}{unit}");
    duration::read(&meant, "").is_ok().then_some(meant)
}

/// A period: `{rolling: 14d}` of `14 days`, `{calendar: Month}` of `monthly`.
pub fn period(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let named = CALENDAR.iter().find(|(unit, often)| unit.to_lowercase() == lower || *often == lower);
    if let Some((unit, _)) = named {
        return Some(format!("{{calendar: {unit}}}"));
    }
    let length = duration(text)?;
    let span: Span = duration::read(&length, "").ok()?;
    PERIODS.contains(&span).then(|| format!("{{rolling: {length}}}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_of_a_value_stay() {
        for (text, straight) in [
            ("a{b=“c”}", "a{b=\"c\"}"),
            ("a{b=„c”,d=‘e’} > 1", "a{b=\"c\",d='e'} > 1"),
            ("a{b=\"Joe’s “bar”\"}", "a{b=\"Joe’s “bar”\"}"),
            ("a{b=\"\\\"’\"} + b{c=”d”}", "a{b=\"\\\"’\"} + b{c=\"d\"}"),
            ("’", "'"),
        ] {
            assert_eq!(super::straight(text), straight, "{text}");
        }
    }

    #[test]
    fn a_value_is_named_or_none() {
        for (text, meant) in [
            ("99.5 percent", Some("99.5")),
            ("99.5PCT", Some("99.5")),
            (" 99,9 % ", Some("99.9")),
            ("0.9995", Some("99.95")),
            ("0.005", None),
            ("0099.9", Some("99.9")),
            ("99.90000000000", Some("99.9")),
            ("0099.00000000000", Some("99")),
            ("099.1234567890", Some("099.1234567890")),
            ("99.12345678901", None),
            ("five nines", None),
            ("99.9 - 99.95", None),
            ("99,9,5", None),
            ("1,000", None),
            ("100", None),
            ("-99", None),
            ("", None),
        ] {
            assert_eq!(super::objective(text).as_deref(), meant, "{text}");
        }
        for (text, meant) in [
            ("30 days", Some("30d")),
            ("1h 30m", Some("1h30m")),
            ("2W", Some("2w")),
            ("300MS", Some("300ms")),
            ("5M", None),
            ("1mo", None),
            ("1h 30", None),
            ("30m 1h", None),
            ("0 days", None),
            ("days", None),
            ("30", None),
        ] {
            assert_eq!(super::duration(text).as_deref(), meant, "{text}");
        }
        for (text, meant) in [
            ("2w", Some("{rolling: 2w}")),
            ("28 days", Some("{rolling: 28d}")),
            ("Monthly", Some("{calendar: Month}")),
            ("quarter", Some("{calendar: Quarter}")),
            ("400d", None),
            ("1s", None),
            ("daily", None),
        ] {
            assert_eq!(super::period(text).as_deref(), meant, "{text}");
        }
    }
}
