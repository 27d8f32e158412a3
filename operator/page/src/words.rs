//! Numbers, times and lists as a person reads them.

/// Keeps a number and its unit on one line.
const SPACE: char = '\u{a0}';

/// A share in percent: `61.3 %`. Never `-0.0`, and never 100 % or 0 % of what is not quite that.
pub fn percent(ratio: f64, decimals: usize) -> String {
    if !ratio.is_finite() {
        return "–".to_owned();
    }
    let unit = 10f64.powi(i32::try_from(decimals).unwrap_or(2));
    let exact = ratio * 100.0 * unit;
    let mut rounded = exact.round();
    // Within the noise of a sum of floats it is the whole.
    let whole = 100.0 * unit;
    if rounded == whole && exact < whole * (1.0 - 1e-9) {
        rounded = whole - 1.0;
    }
    let value = if rounded == 0.0 { 0.0 } else { rounded / unit };
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{:.decimals$}{SPACE}%", value.abs())
}

/// Decimals in which an SLI can be told from its objective: `99.95` wants three.
pub fn decimals(objective: &str) -> usize {
    let digits = objective.trim_end_matches('%').split_once('.').map_or(0, |(_, digits)| digits.len());
    (digits + 1).clamp(2, 6)
}

/// A burn rate: `0.4`, `21.6`, `312`.
pub fn rate(burn: f64) -> String {
    match burn {
        b if !b.is_finite() => "–".to_owned(),
        b if b.abs() >= 100.0 => format!("{b:.0}"),
        b if b.abs() < 0.05 => "0.0".to_owned(),
        b => format!("{b:.1}"),
    }
}

/// Three digits of a number of any size: `8.32`, `0.0123`, `41000`.
pub fn short(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return if value == 0.0 { "0".to_owned() } else { "–".to_owned() };
    }
    // Of a finite number, from -324 to 308.
    let digits = 2 - value.abs().log10().floor() as i32;
    match usize::try_from(digits) {
        Ok(decimals) => format!("{value:.decimals$}"),
        Err(_) => {
            let unit = 10f64.powi(-digits);
            format!("{:.0}", (value / unit).round() * unit)
        }
    }
}

/// A count: `1 204`.
pub fn count(number: f64) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    let digits = format!("{:.0}", number.abs().max(0.0));
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if number <= -0.5 { format!("−{out}") } else { out }
}

/// A length of time in its two largest units: `5 h 20 min`.
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    // Far below where that could fail.
    let mut rest = seconds.abs().round().min(1e12) as u64;
    // Seconds beside minutes say nothing.
    if rest >= 600 {
        rest -= rest % 60;
    }
    let mut parts = Vec::new();
    for (unit, size) in [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)] {
        let n = rest / size;
        rest -= n * size;
        if n > 0 {
            parts.push(format!("{n}{SPACE}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { format!("0{SPACE}s") } else { parts.join(&SPACE.to_string()) }
}

/// How long ago something was: `12 d`, one unit.
pub fn ago(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (n, unit) = match seconds {
        s if s >= 2 * 86_400 => (s / 86_400, "d"),
        s if s >= 2 * 3600 => (s / 3600, "h"),
        s if s >= 120 => (s / 60, "min"),
        s => (s, "s"),
    };
    format!("{n}{SPACE}{unit}")
}

/// Bytes: `2.1 MiB`.
pub fn bytes(bytes: i64) -> String {
    let value = bytes.max(0) as f64;
    let (value, unit) = match value {
        v if v >= 1024.0 * 1024.0 * 1024.0 => (v / (1024.0 * 1024.0 * 1024.0), "GiB"),
        v if v >= 1024.0 * 1024.0 => (v / (1024.0 * 1024.0), "MiB"),
        v if v >= 1024.0 => (v / 1024.0, "KiB"),
        v => return format!("{v:.0}{SPACE}B"),
    };
    format!("{value:.1}{SPACE}{unit}")
}

/// `1 SLO`, `14 SLOs`.
pub fn several(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// A time in UTC as a person writes it: `12 Nov 14:05`.
pub fn moment(time: jiff::Timestamp) -> String {
    time.strftime("%-d %b %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_honest_about_being_nearly_whole() {
        for (value, decimals, wanted) in [
            (0.613, 1, "61.3 %"),
            (-0.08, 1, "−8.0 %"),
            (-0.000_01, 1, "0.0 %"),
            (0.999_999, 2, "99.99 %"),
            (1.0 - 1e-12, 2, "100.00 %"),
            (1.0, 3, "100.000 %"),
            (f64::NAN, 1, "–"),
        ] {
            assert_eq!(percent(value, decimals).replace(SPACE, " "), wanted, "{value}");
        }
        assert_eq!((decimals("99"), decimals("99.9%"), decimals("99.95"), decimals("99.999")), (2, 2, 3, 4));
        assert_eq!(
            (rate(0.42), rate(21.64), rate(312.4), rate(-0.0)),
            ("0.4".into(), "21.6".into(), "312".into(), "0.0".into())
        );
        assert_eq!([8.3243, 0.012_345, 41_234.0, 0.0, f64::NAN].map(short), ["8.32", "0.0123", "41200", "0", "–"]);
        assert_eq!(
            (count(7.0), count(1204.4), count(1e6)),
            ("7".into(), "1\u{202f}204".into(), "1\u{202f}000\u{202f}000".into())
        );
    }

    #[test]
    fn times_have_at_most_two_units() {
        for (seconds, wanted) in [
            (19_230.0, "5 h 20 min"),
            (86_400.0, "1 d"),
            (90_000.0, "1 d 1 h"),
            (86_460.0, "1 d"),
            (75.0, "1 min 15 s"),
            (0.2, "0 s"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(span(seconds).replace(SPACE, " "), wanted, "{seconds}");
        }
        assert_eq!(ago(1_036_800).replace(SPACE, " "), "12 d");
        assert_eq!(ago(-5).replace(SPACE, " "), "0 s");
        assert_eq!(bytes(2_202_009).replace(SPACE, " "), "2.1 MiB");
        assert_eq!((several(1, "SLO"), several(0, "SLO")), ("1 SLO".into(), "0 SLOs".into()));
    }
}
