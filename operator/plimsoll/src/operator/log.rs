//! What the operator logs: a line of JSON for each record, whatever its words are made of.

use std::io::{self, Write};

use anyhow::Context as _;
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged unless `RUST_LOG` says otherwise, in the form `level,module=level`.
const LOG: &str = "info,kube=warn,hyper=warn";

/// From now on everything is logged to standard error.
///
/// # Errors
/// When `RUST_LOG` cannot be read.
pub(super) fn as_json() -> anyhow::Result<()> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let targets: Targets =
        wanted.as_deref().unwrap_or(LOG).parse().context("RUST_LOG: write it like info,kube=warn")?;
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(OneLine(io::stderr));
    // A second subscriber in one process (tests) is no error that matters.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
    Ok(())
}

/// Words of several lines become one line: whoever reads logs with `grep` and `jq -r` sees a record as one.
struct OneLine<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = Joined<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Joined(self.0.make_writer())
    }
}

struct Joined<W>(W);

impl<W: Write> Write for Joined<W> {
    /// Each record comes as one piece.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write_all(&joined(record))?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A record of JSON whose texts have no line break any more. In JSON one is written as `\n`.
fn joined(record: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(record.len());
    let mut rest = record;
    while let Some((first, after)) = rest.split_first() {
        match (first, after.split_first()) {
            (b'\\', Some((b'n' | b'r', after))) => {
                while out.last() == Some(&b' ') {
                    out.pop();
                }
                rest = beyond(after);
                // At the end of a text a break joins nothing.
                let ends = rest.first() == Some(&b'"');
                match out.as_slice() {
                    _ if ends => {}
                    [.., b'\\', b'"'] => out.extend_from_slice(b"; "),
                    // The text has only begun.
                    [.., b'"'] => {}
                    [.., b':' | b';' | b',' | b'.' | b'{' | b'[' | b'('] => out.push(b' '),
                    _ => out.extend_from_slice(b"; "),
                }
            }
            (b'\\', Some((next, after))) => {
                out.extend([*first, *next]);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// What comes after further breaks and the indentation of the next line.
fn beyond(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b' ', after @ ..] | [b'\\', b'n' | b'r' | b't', after @ ..] => after,
            _ => return rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_lines_are_one() {
        let line = |text: &str| {
            let record = serde_json::json!({"error": text, "n": 1}).to_string();
            let joined = joined(record.as_bytes());
            let read: serde_json::Value = serde_json::from_slice(&joined).unwrap_or_default();
            assert_eq!(read["n"], 1, "{}", String::from_utf8_lossy(&joined));
            read["error"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(line("one"), "one");
        assert_eq!(line("wrong:\n    a\n\n  b, \nc\r\n"), "wrong: a; b, c");
        assert_eq!(line("\nfirst\n"), "first");
        assert_eq!(line("a \"word\"\nb"), "a \"word\"; b");
        // What only looks like a break stays: C:\new and a quote.
        assert_eq!(line(r#"C:\new "x" \\n"#), r#"C:\new "x" \\n"#);
    }

    #[test]
    fn the_end_of_a_record_stays() {
        assert_eq!(joined(b"{\"a\":\"b\"}\n"), b"{\"a\":\"b\"}\n");
    }
}
