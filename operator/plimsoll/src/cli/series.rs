//! Series of samples in CSV files: a column `timestamp` (seconds since 1970 or ISO 8601), a column `value`, and for
//! the benchmark `label` and `split`. Others are ignored, and so is gzip around it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use csv::StringRecord;
use flate2::bufread::MultiGzDecoder;
use plimsoll_anomaly::Sample;

use super::out::Stop;
use crate::source::files::{cause, shown, unreadable};

/// A clock that is set back, as at the end of summer time, is survived; no row lies farther before the newest of those
/// above it, or a file whose newest row comes first would be one of a clock that is always set back.
const SET_BACK_S: f64 = 3600.0;
/// Seconds of the year 10000.
const LAST_S: f64 = 253_402_300_800.0;

/// Rows of one file, one at a time.
pub struct Series {
    name: String,
    reader: csv::Reader<Box<dyn Read>>,
    record: StringRecord,
    timestamp: usize,
    value: usize,
    label: Option<usize>,
    split: Option<usize>,
    newest: f64,
    rows: usize,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Time and value; the value is NaN when it is empty or none.
    pub sample: Sample,
    /// The time as it is written.
    pub timestamp: &'a str,
    /// The value as it is written.
    pub value: &'a str,
    /// Whether the row is labelled as anomalous; false without such a column.
    pub label: bool,
    /// Whether the row is of the split `test`; false without such a column.
    pub test: bool,
}

impl Series {
    /// Opens a file, or standard input for `-`. Each chunk read is announced by its bytes.
    ///
    /// # Errors
    /// When it cannot be read, or lacks a column.
    pub fn open(path: &Path, progress: impl Fn(u64) + 'static) -> Result<Self, Stop> {
        let stdin = path.as_os_str() == "-";
        let name = if stdin { "stdin".to_owned() } else { shown(path) };
        let source: Box<dyn Read> = if stdin {
            Box::new(io::stdin())
        } else {
            let file = File::open(path).map_err(|error| {
                let trouble = unreadable(path, &error);
                Stop::Failed(trouble.message, trouble.help)
            })?;
            Box::new(file)
        };
        let mut source = BufReader::with_capacity(64 << 10, Counted { source, progress });
        let head = source.fill_buf().map_err(|error| cannot_read(&name, &error))?;
        let source: Box<dyn Read> =
            if head.starts_with(&[0x1F, 0x8B]) { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(source);
        let headers = reader.headers().map_err(|error| unusable(&name, &error))?.clone();
        let column =
            |wanted: &str| headers.iter().position(|h| h.trim_start_matches('\u{FEFF}').eq_ignore_ascii_case(wanted));
        if headers.is_empty() {
            return Err(failed(
                format!("{name} is empty"),
                "it needs a line `timestamp,value` and a line for each sample",
            ));
        }
        if headers.iter().any(|h| h.contains('\0')) {
            return Err(failed(format!("{name} is a binary file"), "name a CSV file, or one compressed by gzip"));
        }
        let need = |wanted: &str| {
            column(wanted).ok_or_else(|| {
                let has: Vec<&str> = headers.iter().take(8).collect();
                failed(
                    format!("{name}:1: no column {wanted}; there is {}", shorten(&has.join(", "))),
                    "the first line names the columns; two must be called timestamp and value",
                )
            })
        };
        let (timestamp, value) = (need("timestamp")?, need("value")?);
        let (label, split) = (column("label"), column("split"));
        let record = StringRecord::new();
        Ok(Self { name, reader, record, timestamp, value, label, split, newest: f64::NEG_INFINITY, rows: 0 })
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// When the row cannot be read or used; it names the line and the field.
    pub fn read_row(&mut self) -> Result<Option<Row<'_>>, Stop> {
        if !self.reader.read_record(&mut self.record).map_err(|error| unusable(&self.name, &error))? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let field = |column: usize, what: &str| {
            self.record.get(column).ok_or_else(|| {
                failed(format!("{}:{line}: no {what}: the line is cut short", self.name), "complete or remove the line")
            })
        };
        let (timestamp, value) = (field(self.timestamp, "timestamp")?, field(self.value, "value")?);
        let time = time(timestamp).ok_or_else(|| {
            failed(
                format!("{}:{line}: timestamp {} is no time", self.name, quoted(timestamp)),
                "write seconds since 1970, as 1700000000, or ISO 8601, as 2026-01-31T08:00:00Z",
            )
        })?;
        if time.abs() >= LAST_S {
            return Err(failed(
                format!("{}:{line}: timestamp {} lies beyond the year 9999", self.name, quoted(timestamp)),
                "times are seconds since 1970: divide milliseconds by 1000",
            ));
        }
        if time < self.newest - SET_BACK_S {
            return Err(failed(
                format!(
                    "{}:{line}: timestamp {} is over an hour earlier than a line above",
                    self.name,
                    quoted(timestamp)
                ),
                "sort the lines by time, the oldest first",
            ));
        }
        self.newest = self.newest.max(time);
        self.rows += 1;
        let number = number(value).ok_or_else(|| {
            failed(
                format!("{}:{line}: value {} is no number", self.name, quoted(value)),
                "write a number such as 12.5, or nothing where there is no value",
            )
        })?;
        let is = |column: Option<usize>, text: &str| column.and_then(|c| self.record.get(c)).is_some_and(|v| v == text);
        let (label, test) = (is(self.label, "1"), is(self.split, "test"));
        Ok(Some(Row { sample: Sample { time, value: number }, timestamp, value, label, test }))
    }

    /// The file, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Complains when no row came.
    ///
    /// # Errors
    /// When none did.
    pub fn not_empty(&self) -> Result<(), Stop> {
        if self.rows == 0 {
            return Err(failed(format!("{} has no row", self.name), "it needs a line for each sample"));
        }
        Ok(())
    }
}

/// Announces what is read.
struct Counted<F> {
    source: Box<dyn Read>,
    progress: F,
}

impl<F: Fn(u64)> Read for Counted<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

/// Seconds since 1970. A time without a zone is taken as UTC.
fn time(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let at: jiff::Timestamp = match text.parse() {
        Ok(at) => at,
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    Some(at.as_second() as f64 + f64::from(at.subsec_nanosecond()) * 1e-9)
}

/// A number; NaN for nothing.
fn number(text: &str) -> Option<f64> {
    let nothing = ["", "null", "none", "na", "n/a"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if nothing { Some(f64::NAN) } else { text.parse().ok() }
}

fn failed(message: String, help: &str) -> Stop {
    Stop::Failed(message, help.to_owned())
}

fn cannot_read(name: &str, error: &io::Error) -> Stop {
    failed(format!("{name} cannot be read: {}", cause(error)), "")
}

fn unusable(name: &str, error: &csv::Error) -> Stop {
    match error.kind() {
        csv::ErrorKind::Io(error) => {
            let help =
                if error.kind() == io::ErrorKind::UnexpectedEof { "the file is cut short: copy it again" } else { "" };
            failed(format!("{name} cannot be read: {}", cause(error)), help)
        }
        csv::ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(1, csv::Position::line);
            failed(format!("{name}:{line}: a byte that is no UTF-8 text"), "name a CSV file, or one compressed by gzip")
        }
        _ => failed(format!("{name}: {error}"), ""),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shorten(text))
}

/// A text for a message: on one line, not longer than a person reads.
fn shorten(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let mut short: String = clean.clone().take(60).collect();
    if clean.count() > 60 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{number, time};

    #[test]
    fn times_are_seconds_or_iso() {
        for (text, seconds) in [
            ("1491041280", Some(1_491_041_280.0)),
            ("1491041280.5", Some(1_491_041_280.5)),
            ("-5", Some(-5.0)),
            ("2014-04-01 00:00:00", Some(1_396_310_400.0)),
            ("2014-04-01T00:00:00", Some(1_396_310_400.0)),
            ("2014-04-01 00:00:00.250000", Some(1_396_310_400.25)),
            ("2014-04-01T00:00:00Z", Some(1_396_310_400.0)),
            ("2014-04-01T02:00:00+02:00", Some(1_396_310_400.0)),
            ("2014-04-01", Some(1_396_310_400.0)),
            ("2014-13-01", None),
            ("noon", None),
            ("nan", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(time(text), seconds, "{text}");
        }
    }

    #[test]
    fn a_value_may_be_none() {
        for text in ["", "NaN", "nan", "null", "NA"] {
            assert!(number(text).is_some_and(f64::is_nan), "{text}");
        }
        assert_eq!(number("1e3"), Some(1000.0));
        assert_eq!(number("-0.5"), Some(-0.5));
        assert_eq!(number("1,5"), None);
        assert_eq!(number("abc"), None);
    }
}
