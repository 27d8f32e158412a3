//! A runbook that is turned off while one of its runs is under way: nothing more is begun, and what was borrowed is given
//! back.

use plimsoll_api::{
    execution::{Outcome, Phase},
    runbook::Mode,
};
use plimsoll_runbook::machine::{Command, Event, Report, What, World, lowered, step};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    crashes::{Shell, Turn, crash, quiet, spec, turn},
    noon, planned,
};

const OFF: Option<&str> = Some("the runbook's mode is Off by now");

fn begun(steps: &Value) -> Shell {
    let patch = json!({
        "mode": "Auto",
        "parameters": [
            {"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "app", "object": "Deployment", "ownerOf": "pod"},
            {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"},
        ],
        "steps": steps,
    });
    Shell::new(planned(&patch).unwrap().spec)
}

/// Turns until nothing more is to be done.
fn ends(shell: &mut Shell) {
    assert_eq!(shell.live(&mut std::iter::repeat_with(quiet).take(50)), Some(Command::Finished));
}

#[test]
fn the_lower_mode_holds() {
    let off = |planned, now| lowered(planned, now).is_some();
    assert!(off(Mode::Auto, None) && off(Mode::Approve, Some(Mode::Off)) && off(Mode::Auto, Some(Mode::DryRun)));
    assert!(off(Mode::Approve, Some(Mode::DryRun)));
    // What has begun needed no approval, or had it.
    assert!(!off(Mode::Auto, Some(Mode::Approve)) && !off(Mode::Approve, Some(Mode::Auto)));
    assert!(!off(Mode::Auto, Some(Mode::Auto)));
}

#[test]
fn a_run_that_waits_ends_at_once() {
    let undoable = json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}});
    let borrowed = json!({"name": "b", "telemetryProfile": {"object": "monitor", "profile": "debug"}});
    let wait = json!({"name": "c", "wait": "1h"});
    let evict = json!({"name": "d", "evictPod": {"pod": "pod"}, "onFailure": "Compensate"});
    let mut shell = begun(&json!([undoable, borrowed, wait, evict]));
    shell.live(&mut std::iter::repeat_with(|| Turn { outcome: 6, ..quiet() }).take(20));
    assert_eq!(shell.load().step.as_deref(), Some("c"), "it waits");
    let at = shell.now;
    shell.lowered = OFF;
    ends(&mut shell);
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("ModeLowered")));
    assert_eq!(status.message.as_deref(), Some("the runbook's mode is Off by now; what had not begun was not begun"));
    assert_eq!(shell.undone(), ["b"], "what is borrowed is given back, and nothing else is undone");
    assert!(!shell.done.contains_key(&What::Step("d".to_owned())));
    assert_eq!(shell.now, at, "it does not wait for the end of the step");
    let outcomes: Vec<Option<Outcome>> = status.steps.iter().map(|entry| entry.effect.outcome).collect();
    let (done, not) = (Some(Outcome::Succeeded), Some(Outcome::Skipped));
    assert_eq!(outcomes, [done, done, not, not]);
}

/// What is under way comes to its end, and its failure undoes nothing.
#[test]
fn the_present_act_goes_on_to_its_end() {
    let steps = json!([
        {"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}, "onFailure": "Compensate"},
        {"name": "b", "evictPod": {"pod": "pod"}},
    ]);
    for (outcome, reason) in [(Outcome::Succeeded, "ModeLowered"), (Outcome::Failed, "StepFailed")] {
        let mut shell = begun(&steps);
        shell.live(&mut [quiet(), crash(1)].into_iter());
        let stored = shell.load();
        let world = World {
            now: shell.now,
            paused: Some(false),
            resolved_at: None,
            deleted: false,
            lowered: OFF,
            created: noon(),
        };
        let report = Report { outcome, message: "so".to_owned(), artifacts: Vec::new(), answer: None };
        let (status, _) = step(&shell.spec, &stored, &Event::Done(report), &world);
        assert_eq!(status.steps[0].effect.outcome, Some(outcome));
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some(reason)));
        assert!(status.steps.iter().all(|entry| entry.compensation.is_none()), "{:?}", status.steps);
    }
}

/// Only what had something to undo is rolled back.
#[test]
fn nothing_is_rolled_back_where_nothing_was_to_undo() {
    let restart = json!({"name": "b", "restart": {"workload": "app"}, "onFailure": "Compensate"});
    let scale = json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}});
    let tell = json!({"name": "a", "notify": {"destination": "payments", "message": "so"}});
    for (first, phase) in [(scale, Phase::RolledBack), (tell, Phase::Failed)] {
        let failed = (1..9).find_map(|turns| {
            let mut shell = begun(&json!([first, restart]));
            let fails = Turn { outcome: 7, ..quiet() };
            let turns = std::iter::repeat_with(quiet).take(turns).chain([fails]);
            shell.live(&mut turns.chain(std::iter::repeat_with(quiet).take(50)));
            let status = shell.load();
            let failed =
                status.steps.iter().any(|step| step.name == "b" && step.effect.outcome == Some(Outcome::Failed));
            failed.then_some(status)
        });
        let status = failed.unwrap();
        assert_eq!((status.phase, status.reason.as_deref()), (phase, Some("StepFailed")));
    }
}

/// One whose steps all had their turn has done what it should.
#[test]
fn a_run_that_is_done_is_done() {
    let mut shell = begun(&json!([{"name": "b", "telemetryProfile": {"object": "monitor", "profile": "debug"}}]));
    shell.live(&mut std::iter::repeat_with(quiet).take(4));
    shell.lowered = OFF;
    ends(&mut shell);
    assert_eq!((shell.load().phase, shell.undone()), (Phase::Succeeded, vec!["b".to_owned()]));
}

proptest! {
    /// Once it is known that the runbook is off, no step and no attempt of one is begun, whatever came before.
    #[test]
    fn nothing_is_begun_after_off(spec in spec(), turns in prop::collection::vec(turn(), 1..40)) {
        let mut shell = Shell::new(spec);
        shell.live(&mut turns.into_iter());
        let (before, was) = (shell.log.len(), shell.load());
        let rolls_back = was.ending.as_ref().is_some_and(|ending| ending.phase == Phase::RolledBack);
        shell.lowered = OFF;
        let last = shell.live(&mut std::iter::repeat_with(quiet).take(400));
        prop_assert_eq!(last, Some(Command::Finished));
        for what in &shell.log[before..] {
            prop_assert!(matches!(what, What::Undo(_) | What::Escalate(_)), "{what:?}");
            let What::Undo(name) = what else { continue };
            let begun = was.steps.iter().find(|entry| entry.name == *name);
            let borrowed = shell.spec.steps.iter().any(|step| {
                step.name == *name && (step.action.telemetry_profile.is_some() || step.action.chaos.is_some())
            });
            prop_assert!(begun.is_some() && (borrowed || rolls_back), "{what:?}");
        }
        for entry in shell.load().steps {
            let attempts = was.steps.iter().find(|old| old.name == entry.name).and_then(|old| old.effect.attempts);
            prop_assert!(entry.effect.attempts == attempts, "{entry:?}");
        }
    }
}
