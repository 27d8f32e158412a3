//! What a plain YAML scalar means to Kubernetes. `kubectl` reads YAML 1.1, where `NO` and `off` are
//! booleans and `0777` is octal; reading anything else here would accept files that the API server
//! refuses.

use serde_json::{Number, Value};

/// The JSON value that `kubectl` would send for this plain scalar.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
        _ => Value::String(text.to_owned()),
    }
}

/// True when a YAML 1.1 or 1.2 reader may take this plain scalar for something else than a string.
pub fn is_ambiguous(text: &str) -> bool {
    !matches!(resolve(text), Value::String(_)) || float_word(text) || sexagesimal(text)
}

fn number(text: &str) -> Option<Number> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(n) = integer(&plain) {
        return Some(n);
    }
    if !looks_like_float(&plain) {
        return None;
    }
    // Infinity after overflow has no JSON; the field's check then complains about the text.
    plain.parse::<f64>().ok().and_then(Number::from_f64)
}

fn integer(plain: &str) -> Option<Number> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, plain.get(1..)?),
        b'+' => (false, plain.get(1..)?),
        _ => (false, plain),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match (lower.get(..2), digits.get(2..)) {
        (Some("0x"), Some(body)) => (16, body),
        (Some("0o"), Some(body)) => (8, body),
        (Some("0b"), Some(body)) => (2, body),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        _ => (10, digits),
    };
    if !body.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(body, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(Number::from(magnitude)) }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn looks_like_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e)),
        None => (unsigned, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

fn float_word(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan")
}

/// YAML 1.1 reads `12:30` as 750.
fn sexagesimal(text: &str) -> bool {
    text.contains(':') && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'_' | b'+' | b'-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_kubectl_reads() {
        for (text, value) in [
            ("NO", json!(false)),
            ("y", json!(true)),
            ("on", json!(true)),
            ("nO", json!("nO")),
            ("~", json!(null)),
            ("12", json!(12)),
            ("-7", json!(-7)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("017", json!(15)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615u64)),
            ("99.95", json!(99.95)),
            ("1e3", json!(1000.0)),
            ("-.5", json!(-0.5)),
            ("1e999", json!("1e999")),
            (".nan", json!(".nan")),
            ("1.5d", json!("1.5d")),
            ("30d", json!("30d")),
            ("+-5", json!("+-5")),
            ("0x", json!("0x")),
            ("99,9", json!("99,9")),
            ("2026-12-01", json!("2026-12-01")),
            ("089", json!(89.0)),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
