//! Whether a run starts, by what its status says and what the guards say.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{
    RunbookExecutionSpec, RunbookExecutionStatus,
    approval::Decision,
    execution::{Decided, Phase},
    runbook::Mode,
};
use plimsoll_runbook::{
    guards::{Guard, Refusal},
    machine::{Checked, Command, Event, What, World, begins, recalled, step},
    matching::{Occurrence, matches},
    parameters,
    plan::plan,
};
use serde_json::{Value, json};

use crate::{model, noon, planned, settings};

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
    let world = World { now, paused: Some(false), resolved_at: None, deleted: false, lowered: None, created: noon() };
    step(spec, status, event, &world)
}

fn checked(holds: bool) -> Event {
    Event::Checked(Checked { holds: Some(holds), refusals: Vec::new(), void: None })
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

/// What is made as a run that has begun is the same as one that began after it was made, and is never checked again.
#[test]
fn a_run_may_begin_with_its_making() {
    let planned = spec();
    let (status, what) = begins(&planned, noon()).unwrap();
    assert_eq!(
        (status.clone(), Command::Store(Some(what.clone()))),
        after(0, &planned, &Default::default(), &checked(true))
    );
    assert_eq!(what, What::Step("last-words".to_owned()));

    let spec = RunbookExecutionSpec { begun: Some(Time(noon())), ..planned.clone() };
    let made = recalled(&spec, None).unwrap();
    assert_eq!((made.phase, &made.started_at, &made.steps), (Phase::Running, &status.started_at, &status.steps));
    // Whoever made it does it; whoever finds it takes it for something whose end nobody saw.
    let (same, command) = after(1, &spec, &Default::default(), &Event::Stored(Some(what.clone())));
    assert!(same == made && matches!(command, Command::Act(_)), "{command:?}");
    let (again, command) = after(1, &spec, &Default::default(), &Event::Loaded);
    assert_eq!((again.steps[0].effect.attempts, command), (Some(2), Command::Store(Some(what))));
    // What was stored since counts.
    assert_eq!(recalled(&spec, Some(&again)), None);
    assert_eq!(recalled(&planned, None), None);
}

#[test]
fn what_waits_or_borrows_at_first_does_not_begin_with_its_making() {
    let monitor = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"},
        {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"}]);
    let telemetry = json!({"telemetryProfile": {"object": "monitor", "profile": "debug", "for": "10m"}, "name": "a"});
    for patch in [
        json!({"mode": "Approve"}),
        json!({"mode": "DryRun"}),
        json!({"mode": "Auto", "steps": [{"name": "a", "wait": "1s"}]}),
        json!({"mode": "Auto", "steps": [{"name": "a", "verify": {"slo": "checkout", "escalateTo": "payments"}}]}),
        json!({"mode": "Auto", "parameters": monitor, "steps": [telemetry]}),
    ] {
        assert_eq!(begins(&planned(&patch).unwrap().spec, noon()), None, "{patch}");
    }
    let late = by_schedule("Auto");
    assert_eq!(begins(&late, late.start_by.as_ref().unwrap().0 + SignedDuration::from_secs(1)), None);
}

fn held_back() -> Event {
    let message = "SLO checkout has 40 % of its error budget left, a fault wants 50 %".to_owned();
    let refusal = Refusal { guard: Guard::SloAtRisk, message, until: None };
    Event::Checked(Checked { holds: Some(true), refusals: vec![refusal], void: None })
}

/// A run that was meant for a moment, as it is planned.
fn meant_for(occurrence: &Occurrence, patch: &Value) -> RunbookExecutionSpec {
    let model = model(patch);
    let evidence = matches(&model, occurrence, noon()).unwrap();
    let values = parameters::resolve(&model, &evidence.labels, &Default::default()).unwrap();
    plan(&model, &settings(), evidence, &values.values, Vec::new(), None).unwrap().spec
}

fn by_schedule(mode: &str) -> RunbookExecutionSpec {
    let steps = json!([{"name": "a", "wait": "1s"}]);
    let trigger = json!({"alert": null, "schedule": "Thu 12:00", "timeZone": "UTC", "startingDeadline": "15m"});
    let patch = json!({"mode": mode, "trigger": trigger, "parameters": null, "steps": steps, "artifacts": null});
    meant_for(&Occurrence::Moment(noon()), &patch)
}

/// What was held back on a Wednesday morning does not begin by itself in the night of a Saturday.
#[test]
fn what_was_meant_for_a_moment_does_not_begin_long_after_it() {
    let schedule = by_schedule("Auto");
    assert_eq!(schedule.start_by, Some(Time(noon() + SignedDuration::from_mins(15))));
    let asked = Occurrence::Asked { id: "1".to_owned(), by: "ann".to_owned(), groups: Vec::new(), at: noon() };
    let patch = json!({"mode": "Auto", "parameters": null, "steps": [{"name": "a", "wait": "1s"}], "artifacts": null});
    let by_hand = meant_for(&asked, &patch);
    assert_eq!(by_hand.start_by, Some(Time(noon() + SignedDuration::from_mins(10))));
    for (spec, last) in [(&schedule, 900), (&by_hand, 600)] {
        let (blocked, _) = after(0, spec, &RunbookExecutionStatus::default(), &held_back());
        assert_eq!(blocked.phase, Phase::Blocked);
        assert_eq!(after(last, spec, &blocked, &checked(true)).0.phase, Phase::Running, "in time it begins");
        // Also when nobody looked meanwhile, as in a pause or an outage.
        for (before, event) in
            [(&blocked, Event::Woken), (&blocked, checked(true)), (&Default::default(), Event::Loaded)]
        {
            let (missed, _) = after(last + 1, spec, before, &event);
            assert_eq!((missed.phase, missed.reason.as_deref()), (Phase::Skipped, Some("Missed")), "{event:?}");
        }
        let message = after(last + 1, spec, &blocked, &Event::Woken).0.message.unwrap();
        assert!(message.ends_with("SLO checkout has 40 % of its error budget left, a fault wants 50 %"), "{message}");
    }
    // An alert has no moment: it begins as long as it fires.
    assert_eq!(spec().start_by, None);
}

#[test]
fn an_approval_is_meant_for_when_it_was_given() {
    let spec = by_schedule("Approve");
    assert_eq!(spec.mode, Mode::Approve);
    let (asked, _) = after(0, &spec, &RunbookExecutionStatus::default(), &checked(true));
    assert_eq!(asked.phase, Phase::AwaitingApproval);
    let decided = Decided {
        approval: "a".to_owned(),
        decision: Decision::Approve,
        decider: "sre".to_owned(),
        reason: None,
        at: Time(noon() + SignedDuration::from_mins(50)),
    };
    let (approved, _) = after(3000, &spec, &asked, &Event::Decided(decided));
    assert_eq!(after(3000 + 900, &spec, &approved, &checked(true)).0.phase, Phase::Running);
    assert_eq!(after(3000 + 901, &spec, &approved, &checked(true)).0.reason.as_deref(), Some("Missed"));
}

/// What was approved and then held back until that was void is approved anew, or not done.
#[test]
fn an_approval_that_is_void_by_now_is_asked_for_again() {
    let spec = planned(&json!({"mode": "Approve"})).unwrap().spec;
    let decided = |at: i64| Decided {
        approval: "a".to_owned(),
        decision: Decision::Approve,
        decider: "sre".to_owned(),
        reason: None,
        at: Time(noon() + SignedDuration::from_secs(at)),
    };
    let (asked, _) = after(0, &spec, &RunbookExecutionStatus::default(), &checked(true));
    let (approved, _) = after(10, &spec, &asked, &Event::Decided(decided(10)));
    let (blocked, _) = after(11, &spec, &approved, &held_back());
    let why = "RunbookApproval a is void: it was valid until 13:00".to_owned();
    let void = |refusals| Event::Checked(Checked { holds: Some(true), refusals, void: Some(why.clone()) });
    let (again, _) = after(36_000, &spec, &blocked, &void(Vec::new()));
    assert_eq!(
        (again.phase, again.approval.as_ref(), again.started_at.as_ref()),
        (Phase::AwaitingApproval, None, None)
    );
    assert_eq!(again.message.as_deref(), Some(&*format!("somebody must approve it anew: {why}")));
    // Nobody is asked while something else holds it back; then there is time to decide again.
    let Event::Checked(Checked { refusals, .. }) = held_back() else { unreachable!() };
    assert_eq!(after(36_000, &spec, &blocked, &void(refusals)).0.phase, Phase::Blocked);
    let (_, command) = after(36_001, &spec, &again, &Event::Stored(None));
    assert!(waits_until(&command) > noon() + SignedDuration::from_secs(36_060));
    let (approved, _) = after(36_010, &spec, &again, &Event::Decided(decided(36_010)));
    assert_eq!(after(36_011, &spec, &approved, &checked(true)).0.phase, Phase::Running);
}
