//! Pauses between questions of one step.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause and the longest.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(3);

/// Waits that become longer, until it is too late.
pub(super) struct Waits {
    next: Duration,
    deadline: Instant,
}

impl Waits {
    /// Until then.
    pub(super) fn new(deadline: Instant) -> Self {
        Self { next: SOON, deadline }
    }

    /// Waits; false when there is no time for that any more.
    pub(super) async fn next(&mut self) -> bool {
        let at = Instant::now() + self.next;
        if at >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(at).await;
        self.next = (self.next * 3 / 2).min(LATER);
        true
    }
}
