//! Free loopback ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Below the range that the kernel takes for outgoing connections, so that no connection can take
/// the port of a server that is being restarted.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback port that nothing listens on and that this process has not handed out before.
pub fn free_port() -> Result<u16> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let range = LAST - FIRST;
    // Two test processes at once start at different places.
    let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(range))?;
    let candidates = (0..range).map(|offset| FIRST + (start + offset) % range);
    let port = candidates
        .filter(|port| !taken.contains(port))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free loopback port")?;
    taken.insert(port);
    Ok(port)
}
