//! What a process uses, from `/proc`: for benchmarks, and for tests that hold a bound.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel tells processor time in hundredths of a second on every platform that Kubernetes runs on.
const TICK: Duration = Duration::from_millis(10);

/// A process's memory and processor time at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory resident now, in bytes.
    pub resident: u64,
    /// The most that was ever resident, in bytes.
    pub resident_peak: u64,
    /// Processor time of all its threads, in user and kernel mode.
    pub cpu: Duration,
}

impl Usage {
    /// Reads it for a process that runs.
    pub fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process has ended")?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the process has ended")?;
        Ok(Self { resident: bytes(&status, "VmRSS:")?, resident_peak: bytes(&status, "VmHWM:")?, cpu: cpu(&stat)? })
    }
}

fn bytes(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB")).with_context(|| format!("no {field}"))?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}

fn cpu(stat: &str) -> Result<Duration> {
    // The second field is the program's name, in parentheses, and may have spaces and parentheses itself.
    let (_, after_name) = stat.rsplit_once(')').context("no name in stat")?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next().context("no utime")?.parse()?;
    let system: u32 = fields.next().context("no stime")?.parse()?;
    Ok(TICK * user + TICK * system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_spaces_and_parentheses() -> Result<()> {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 200 3 4 150 25 6 7 20 0 9 0 12345";
        assert_eq!(cpu(stat)?, Duration::from_millis(1750));
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((bytes(status, "VmHWM:")?, bytes(status, "VmRSS:")?), (2 << 20, 1 << 20));
        Ok(())
    }

    #[test]
    fn this_process_has_a_size() -> Result<()> {
        let usage = Usage::of(std::process::id())?;
        assert!(usage.resident > 0 && usage.resident_peak >= usage.resident, "{usage:?}");
        Ok(())
    }
}
