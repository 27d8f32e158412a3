//! Whether a run starts, by what its status says and what the guards say.

use jiff::{SignedDuration, Timestamp};
use plimsoll_api::{RunbookExecutionSpec, RunbookExecutionStatus, execution::Phase};
use plimsoll_runbook::machine::{Checked, Command, Event, World, step};
use serde_json::json;

use crate::{noon, planned};

fn spec() -> RunbookExecutionSpec {
    planned(&json!({"mode": "Auto"})).unwrap().spec
}

/// What is stored when the machine is asked some seconds after the execution was made, and what it waits for.
fn after(
    seconds: i64,
    spec: &RunbookExecutionSpec,
    status: &RunbookExecutionStatus,
    event: &Event,
) -> (RunbookExecutionStatus, Command) {
    let now = noon() + SignedDuration::from_secs(seconds);
    let world = World { now, paused: Some(false), resolved_at: None, deleted: false, created: noon() };
    step(spec, status, event, &world)
}

fn checked(holds: bool) -> Event {
    Event::Checked(Checked { holds: Some(holds), refusals: Vec::new() })
}

fn waits_until(command: &Command) -> Timestamp {
    let Command::Wait { until: Some(until), .. } = command else { panic!("{command:?}") };
    *until
}

/// One Prometheus of two has sent the alert, and the other one evaluates later: that it does not see it yet is not its end.
#[test]
fn what_is_not_seen_yet_is_asked_again() {
    let spec = spec();
    let (blocked, command) = after(0, &spec, &RunbookExecutionStatus::default(), &checked(false));
    assert_eq!((blocked.phase, blocked.reason.as_deref()), (Phase::Blocked, Some("NotSeenYet")));
    assert_eq!(command, Command::Store(None));
    let (same, command) = after(0, &spec, &blocked, &Event::Stored(None));
    assert_eq!((same, waits_until(&command)), (blocked.clone(), noon() + SignedDuration::from_secs(10)));
    assert_eq!(after(10, &spec, &blocked, &Event::Woken).1, Command::Check);
    assert_eq!(after(119, &spec, &blocked, &checked(false)).0.reason.as_deref(), Some("NotSeenYet"));
    assert_eq!(after(10, &spec, &blocked, &checked(true)).0.phase, Phase::Running);
    // It had the time to be seen.
    let (gone, _) = after(120, &spec, &blocked, &checked(false));
    assert_eq!((gone.phase, gone.reason.as_deref()), (Phase::Skipped, Some("ConditionGone")));
}
