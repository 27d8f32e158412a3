//! W3C trace context: from the alert through the execution to each request that is made.

use std::fmt::Write as _;

/// The header.
pub const TRACEPARENT: &str = "traceparent";

/// The trace context of a request, or a new one when it has none that is valid.
pub fn received(header: Option<&str>) -> String {
    match header.filter(|text| is_valid(text)) {
        Some(text) => text.to_owned(),
        None => format!("00-{}-{}-01", random(16), random(8)),
    }
}

/// The same trace, with a span of its own for one request.
pub fn child(parent: &str) -> Option<String> {
    let trace = is_valid(parent).then(|| parent.get(..36))??;
    let flags = parent.get(52..)?;
    Some(format!("{trace}{}{flags}", random(8)))
}

/// `00-TRACE-SPAN-FLAGS` in lower-case hexadecimal digits; zeros alone stand for nothing.
fn is_valid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return false };
    let digits = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let set = |part: &str| part.bytes().any(|b| b != b'0');
    version == "00" && digits(trace, 32) && set(trace) && digits(span, 16) && set(span) && digits(flags, 2)
}

fn random(bytes: usize) -> String {
    let mut buffer = [0; 16];
    // Without randomness the system is in a state in which a trace matters least.
    let _ = rustls::crypto::ring::default_provider().secure_random.fill(&mut buffer);
    buffer.iter().take(bytes).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_trace_goes_on_and_nonsense_begins_a_new_one() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(received(Some(given)), given);
        let next = child(given).unwrap();
        assert!(is_valid(&next) && next != given && next.get(..36) == given.get(..36) && next.ends_with("-01"));
        for bad in ["", "00-0-0-00", &given.to_uppercase(), &format!("{given}-x"), &"0".repeat(55)] {
            assert!(is_valid(&received(Some(bad))), "{bad}");
            assert_eq!(child(bad), None);
        }
        assert_ne!(received(None), received(None));
    }
}
