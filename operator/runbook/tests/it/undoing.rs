//! What was done is undone, and what was borrowed is given back: however long a pause lasts or nobody leads.

use jiff::SignedDuration;
use plimsoll_api::execution::{Effect, Outcome, Phase};
use plimsoll_runbook::machine::{Command, MAX_ATTEMPTS, What, owes};
use serde_json::{Value, json};

use crate::{
    crashes::{Shell, Turn, crash, paused, quiet},
    noon, planned,
};

fn sick() -> Turn {
    Turn { answer: Some(false), ..quiet() }
}

/// A pause in which much time passes.
fn long_pause() -> Turn {
    Turn { seconds: 400, ..paused() }
}

fn undo(name: &str) -> What {
    What::Undo(name.to_owned())
}

fn begun(patch: &Value) -> Shell {
    let mut patch = patch.clone();
    patch["mode"] = json!("Auto");
    Shell::new(planned(&patch).unwrap().spec)
}

fn after_turns(patch: &Value, turns: usize) -> Shell {
    let mut shell = begun(patch);
    shell.live(&mut std::iter::repeat_with(quiet).take(turns));
    shell
}

/// Two steps of which the first is undone when they did not help.
fn rolls_back() -> Value {
    json!({
        "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "app", "object": "Deployment", "ownerOf": "pod"}],
        "steps": [{"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}}],
        "verify": {"slo": "checkout", "after": "1m", "onFailure": "Rollback"},
    })
}

fn measures() -> Value {
    json!({
        "parameters": [{"name": "monitor", "object": "ServiceMonitor", "default": "checkout"}],
        "steps": [{"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug", "for": "20m"}}],
        "artifacts": null,
    })
}

/// It dies when the intent of what undoes the step is stored, before anything is sent.
fn dies_before_undoing() -> Shell {
    (1..50)
        .map(|turns| {
            let mut shell = begun(&rolls_back());
            shell.live(&mut [vec![sick(); turns], vec![crash(1)]].concat().into_iter());
            shell
        })
        .find(|shell| shell.load().steps.iter().any(|entry| entry.compensation.is_some()))
        .unwrap()
}

#[test]
fn a_pause_takes_no_time_from_what_is_under_way() {
    let steps = json!({"steps": [{"name": "a", "evictPod": {"pod": "pod"}, "timeout": "1m"}]});
    let mut shell = begun(&steps);
    shell.live(&mut [vec![quiet(); 2], vec![crash(3)]].concat().into_iter());
    shell.live(&mut std::iter::repeat_with(long_pause).take(6));
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Running, Some("Paused")), "a person sees why");
    assert_eq!(status.steps[0].effect.outcome, None);
    assert_eq!(shell.done.len(), 1, "nothing is begun meanwhile");
    assert_eq!(shell.live(&mut std::iter::repeat_with(quiet).take(20)), Some(Command::Finished));
    let status = shell.load();
    assert_eq!((status.phase, status.steps[0].effect.attempts), (Phase::Succeeded, Some(2)));
    // Nobody led for as long: then its time is over.
    let mut shell = begun(&steps);
    shell.live(&mut [vec![quiet(); 2], vec![crash(3)]].concat().into_iter());
    shell.now += SignedDuration::from_mins(2);
    shell.live(&mut std::iter::repeat_with(quiet).take(20));
    assert_eq!(shell.load().steps[0].effect.outcome, Some(Outcome::TimedOut));
}

/// What is given back during a pause, and tried until it cannot be, is not all that there is.
#[test]
fn what_a_pause_holds_is_gone_on_with_after_what_was_given_back() {
    let steps = json!({"parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"}],
        "steps": [{"name": "closer", "telemetryProfile": {"object": "monitor", "profile": "debug", "for": "10m"}},
            {"name": "a", "exec": {"pod": "pod", "container": "app", "command": ["touch", "x"], "idempotent": true}}]});
    for pauses in 1..16 {
        let mut shell = begun(&steps);
        shell.live(&mut [vec![quiet(); 4], vec![crash(2)]].concat().into_iter());
        assert_eq!(shell.load().steps[1].effect.outcome, None, "it has begun");
        shell.live(&mut std::iter::repeat_with(|| Turn { seconds: 700, ..paused() }).take(pauses));
        assert_eq!(shell.live(&mut std::iter::repeat_with(quiet).take(40)), Some(Command::Finished));
        let status = shell.load();
        assert_eq!(status.steps[1].effect.outcome, Some(Outcome::Succeeded), "{pauses}: {status:?}");
    }
}

/// What only waits is held as well: what comes after it is meant for so much later than what was before.
#[test]
fn a_pause_takes_no_time_from_what_only_waits() {
    let wait = json!({"steps": [{"name": "a", "wait": "10m"}, {"name": "b", "evictPod": {"pod": "pod"}}]});
    let mut after = wait.clone();
    after["steps"] = json!([{"name": "b", "evictPod": {"pod": "pod"}}]);
    after["verify"] = json!({"slo": "checkout", "after": "10m", "escalateTo": "payments"});
    for (patch, next) in [(wait, What::Step("b".to_owned())), (after, What::Verify)] {
        let waits = |shell: &Shell| {
            let status = shell.load();
            let is_open = |effect: &Effect| effect.intent_time.is_some() && effect.outcome.is_none();
            let waiting = status.verification.clone().or(status.steps.first().map(|step| step.effect.clone()));
            waiting.is_some_and(|effect| is_open(&effect) && effect.attempts.is_none())
        };
        let mut shell = (1..20).map(|turns| after_turns(&patch, turns)).find(waits).unwrap();
        shell.live(&mut std::iter::repeat_with(long_pause).take(6));
        let status = shell.load();
        assert_eq!(status.reason.as_deref(), Some("Paused"), "{patch}");
        assert!(waits(&shell), "its time does not go on: {status:?}");
        // That it cannot be read for a moment ends no pause.
        shell.live(&mut std::iter::once(Turn { paused: None, ..quiet() }));
        assert_eq!(shell.load().reason.as_deref(), Some("Paused"));
        let resumed = shell.now;
        assert_eq!(shell.live(&mut std::iter::repeat_with(quiet).take(40)), Some(Command::Finished));
        assert!(shell.now >= resumed + SignedDuration::from_mins(10), "{patch}");
        let status = shell.load();
        assert_eq!((status.phase, shell.done.get(&next)), (Phase::Succeeded, Some(&1)), "{status:?}");
    }
}

#[test]
fn between_two_steps_a_pause_is_shown_too() {
    let steps = json!({"steps": [{"name": "a", "wait": "1m"}, {"name": "b", "evictPod": {"pod": "pod"}}]});
    let waits = |shell: &Shell| !shell.load().steps.is_empty();
    let mut shell = (1..20).map(|turns| after_turns(&steps, turns)).find(waits).unwrap();
    shell.now += SignedDuration::from_mins(2);
    let unreadable = || Turn { paused: None, ..quiet() };
    shell.live(&mut std::iter::repeat_with(unreadable).take(8));
    let status = shell.load();
    assert_eq!((status.steps.len(), status.reason.as_deref()), (1, Some("Paused")), "{status:?}");
    assert_eq!(shell.live(&mut std::iter::repeat_with(quiet).take(40)), Some(Command::Finished));
    assert_eq!(shell.load().reason.as_deref(), Some("Done"));
}

#[test]
fn what_undoes_a_step_is_tried_however_late_it_is() {
    for is_paused in [false, true] {
        let mut shell = dies_before_undoing();
        assert!(!shell.done.contains_key(&undo("a")));
        if is_paused {
            shell.live(&mut std::iter::repeat_with(long_pause).take(6));
            assert!(!shell.done.contains_key(&undo("a")), "it was not borrowed, so it waits");
        } else {
            shell.now += SignedDuration::from_hours(9);
        }
        assert_eq!(shell.live(&mut std::iter::repeat_with(quiet).take(20)), Some(Command::Finished));
        let status = shell.load();
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::RolledBack, Some("NotRecovered")), "{is_paused}");
        assert_eq!(shell.done[&undo("a")], 1);
    }
}

/// A server that does not answer for minutes is no reason to measure closely for ever.
#[test]
fn what_was_borrowed_is_tried_again_later() {
    let often = usize::try_from(MAX_ATTEMPTS).unwrap();
    for (slow, deleted, tried, phase) in [
        (2, false, 3, Phase::Succeeded),
        (2, true, 3, Phase::Failed),
        (often - 1, false, often, Phase::Succeeded),
        (99, false, often, Phase::Failed),
    ] {
        let mut shell = begun(&measures());
        shell.live(&mut std::iter::repeat_with(quiet).take(4));
        assert!(owes(&shell.spec, &shell.load()));
        (shell.slow_undos, shell.deleted) = (slow, deleted);
        // Everything is paused, which does not keep it from being given back. It is tried once, and waits.
        shell.live(&mut std::iter::repeat_with(paused).take(5));
        assert_eq!(shell.done[&undo("a")], 1);
        assert!(owes(&shell.spec, &shell.load()), "it is held until it is given back");
        assert_eq!(shell.live(&mut std::iter::repeat_with(paused).take(200)), Some(Command::Finished));
        let status = shell.load();
        assert_eq!((shell.done[&undo("a")], status.phase), (tried, phase), "{slow}");
        let reason = if deleted {
            "Deleted"
        } else if tried < slow {
            "UndoFailed"
        } else {
            "Done"
        };
        assert_eq!(status.reason.as_deref(), Some(reason));
        assert!(!owes(&shell.spec, &status));
        let last = status.steps[0].compensation.as_ref().unwrap().intent_time.as_ref().unwrap().0;
        let first = if deleted { noon() } else { noon() + SignedDuration::from_mins(20) };
        assert!(last >= first + SignedDuration::from_mins(3), "the waits become longer: {last}");
    }
    // Whatever else is undone is done once: it changes what somebody may be looking after by now.
    let mut shell = begun(&rolls_back());
    shell.slow_undos = 1;
    shell.live(&mut std::iter::repeat_with(sick).take(50));
    assert_eq!((shell.done[&undo("a")], shell.load().reason.as_deref()), (1, Some("UndoFailed")));
}
