//! Waiting for a condition, with a deadline: what tests do instead of sleeping.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(25);

/// Polls until `look` gives a value, and gives that.
///
/// `look` says `Ok(None)` for "not yet". An error is "not yet" too, since a server that is coming up refuses
/// connections; the last one is part of the error that comes when the deadline has passed.
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut last = None;
    loop {
        // The look itself is bounded: a server that accepts and never answers must not outlast the deadline.
        let left = deadline.saturating_sub(started.elapsed()).max(INTERVAL);
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = Some(error),
            // What it said before tells more.
            Err(_) => _ = last.get_or_insert_with(|| anyhow!("no look was answered in time")),
        }
        if started.elapsed() >= deadline {
            let last = last.unwrap_or_else(|| anyhow!("the condition never held"));
            return Err(last.context(format!("waited {deadline:?} in vain for {what}")));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
