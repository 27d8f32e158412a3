//! Output: tables, targets and the machine in one line.

use std::fmt;
use std::fs;

/// A figure, and the most that it may be.
pub(crate) struct Target {
    what: &'static str,
    figure: f64,
    most: f64,
    unit: &'static str,
}

impl Target {
    /// Something that is to be at most `most`.
    pub(crate) const fn at_most(what: &'static str, figure: f64, most: f64, unit: &'static str) -> Self {
        Self { what, figure, most, unit }
    }

    pub(crate) fn met(&self) -> bool {
        self.figure <= self.most
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met() { "met   " } else { "MISSED" };
        let Self { what, figure, most, unit } = self;
        // A share of a peer's cost reads better as 1/600 than as 0.0017.
        match *unit {
            "share" => write!(f, "{verdict} {what}: 1/{:.0} (target 1/{:.0})", 1.0 / figure, 1.0 / most),
            _ => write!(f, "{verdict} {what}: {} {unit} (target {} {unit})", short(*figure), short(*most)),
        }
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Prints rows in columns: the first is set left, the others right.
pub(crate) fn print(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A count with a space at each thousand.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Cores, memory and processor of this machine.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores, {:.0} GiB, {processor}, load {} at the start",
        memory.unwrap_or(0.0) / f64::from(1 << 20),
        load.split(' ').next().unwrap_or("unknown")
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The middle one.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
