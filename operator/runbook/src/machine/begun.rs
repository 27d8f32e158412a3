//! A run that nothing holds back is made as one that has begun: its start and the intent of its first step are in the
//! spec with which it is made (`begun`), so nothing need be stored between the making and the first request. Its first
//! status follows from that wherever nobody has stored one yet.

use jiff::Timestamp;
use plimsoll_api::{RunbookExecutionSpec, RunbookExecutionStatus, execution::Phase};

use super::{Checked, Command, Event, Machine, What, World, owes};

/// The first status of a run that begins at a moment, and its first step. `None` when it cannot begin with its making:
/// somebody must approve it, it only waits at first, or it borrows something, which wants a finalizer before.
pub fn begins(spec: &RunbookExecutionSpec, at: Timestamp) -> Option<(RunbookExecutionStatus, What)> {
    let world = World { now: at, paused: Some(false), resolved_at: None, deleted: false, lowered: None, created: at };
    let mut machine = Machine { spec, status: RunbookExecutionStatus::default(), world };
    let free = Checked { holds: Some(true), refusals: Vec::new(), void: None };
    match machine.next(&Event::Checked(free)) {
        Command::Store(Some(what @ What::Step(_)))
            if machine.effect(&what).attempts.is_some() && !owes(spec, &machine.status) =>
        {
            Some((machine.status, what))
        }
        _ => None,
    }
}

/// When an execution began that was made as one that has begun, where no status was stored since; else `None`.
pub fn unsaid(spec: &RunbookExecutionSpec, status: Option<&RunbookExecutionStatus>) -> Option<Timestamp> {
    let stored = status.is_some_and(|status| status.spec_hash.is_some() || status.phase != Phase::Pending);
    spec.begun.as_ref().filter(|_| !stored).map(|begun| begun.0)
}

/// The status of such an execution.
pub fn recalled(
    spec: &RunbookExecutionSpec,
    status: Option<&RunbookExecutionStatus>,
) -> Option<RunbookExecutionStatus> {
    begins(spec, unsaid(spec, status)?).map(|(status, _)| status)
}
