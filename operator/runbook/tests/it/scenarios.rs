//! Runs of one shape each, through crashes, pauses and what comes back.

use jiff::SignedDuration;
use plimsoll_api::execution::{Outcome, Phase, TriggerKind};
use plimsoll_runbook::machine::{Command, What, owes};
use serde_json::{Value, json};

use crate::{
    IMAGE,
    crashes::{Shell, Turn, crash, paused, quiet, run},
    noon, planned,
};

#[test]
fn what_is_done_once_ends_as_unknown_after_a_crash() {
    let exec = json!({"steps": [{"name": "a", "exec": {"pod": "pod", "command": ["touch", "x"]}}]});
    // The check, and one status stored, with the start and the intent; then it dies before or after the effect.
    for (at, times) in [(2, 0), (3, 1)] {
        let turns = [vec![quiet(); 2], vec![crash(at)]].concat();
        let shell = run(&exec, turns);
        let status = shell.load();
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::Unknown, Some("StepUnknown")), "{at}");
        assert_eq!(shell.done.get(&What::Step("a".to_owned())).copied().unwrap_or(0), times);
        assert_eq!(
            status.message.as_deref(),
            Some("step a may have been done; its end was not seen: look, then start another run")
        );
    }
    let repeatable = json!({"steps": [{"name": "a", "evictPod": {"pod": "pod"}}]});
    let shell = run(&repeatable, [vec![quiet(); 2], vec![crash(3)]].concat());
    assert_eq!(shell.load().phase, Phase::Succeeded);
    assert_eq!(shell.load().steps[0].effect.attempts, Some(2));
}

/// The alert may be over because the Pod that had its series is gone: whether the SLO has recovered is another question.
#[test]
fn what_was_done_is_judged_also_when_the_alert_is_resolved() {
    let verify = json!({"slo": "checkout", "after": "5m", "escalateTo": "payments"});
    let steps = json!([{"name": "a", "evictPod": {"pod": "pod"}},
        {"name": "b", "notify": {"destination": "payments", "message": "x"}}]);
    let over = |answer: bool| Turn { resolved: true, answer: Some(answer), ..quiet() };
    let judged = |steps: &Value, before: usize, answer: bool| {
        let patch = json!({"steps": steps, "verify": verify});
        run(&patch, [vec![quiet(); before], vec![over(answer); 30]].concat())
    };
    // While the first step is done, and while things settle after the last one.
    for before in [2, 5, 6, 7] {
        let shell = judged(&steps, before, false);
        let status = shell.load();
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("NotRecovered")), "{before}");
        assert_eq!(shell.done.get(&What::Escalate("payments".to_owned())), Some(&1), "{before}");
        let begun = status.verification.unwrap().intent_time.unwrap().0;
        assert!(shell.now >= begun + SignedDuration::from_mins(5), "things had time to settle");
    }
    let shell = judged(&steps, 2, true);
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Succeeded, Some("Resolved")));
    assert_eq!(status.verification.unwrap().outcome, Some(Outcome::Succeeded));
    assert_eq!(shell.log, [What::Step("a".to_owned()), What::Verify], "what had not begun was not begun");
    // What only looked and told is not judged.
    let shell = judged(&json!([steps[1]]), 4, false);
    assert_eq!((shell.load().phase, shell.log), (Phase::Succeeded, vec![What::Step("b".to_owned())]));
}

/// A Job is found by its name while it is there. When it may have ended and been removed, it is only looked for.
#[test]
fn a_job_is_not_made_again_after_a_long_pause() {
    let patch = json!({"mode": "Auto",
        "steps": [{"name": "a", "job": {"image": IMAGE, "command": ["charge"], "ttl": "1h"}}]});
    for (paused_for, phase) in [(30, Phase::Succeeded), (180, Phase::Unknown)] {
        let mut shell = Shell::new(planned(&patch).unwrap().spec);
        shell.live(&mut [vec![quiet(); 2], vec![crash(3)]].concat().into_iter());
        shell.live(&mut std::iter::once(paused()).chain([paused(), Turn { crash: Some(0), ..paused() }]));
        shell.now += SignedDuration::from_mins(paused_for);
        let last = shell.live(&mut std::iter::repeat_with(quiet).take(50));
        assert_eq!(last, Some(Command::Finished));
        let what = What::Step("a".to_owned());
        assert_eq!((shell.load().phase, shell.done[&what], shell.jobs[&what].0), (phase, 2, 1), "{paused_for}");
    }
    // What had no time lost is made, or found, as before: the first attempt may not have come through.
    let shell = run(&patch, [vec![quiet(); 2], vec![crash(2)]].concat());
    assert_eq!((shell.load().phase, shell.jobs[&What::Step("a".to_owned())].0), (Phase::Succeeded, 1));
}

#[test]
fn what_was_done_is_undone_last_first() {
    let patch = json!({
        "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "app", "object": "Deployment", "ownerOf": "pod"}],
        "steps": [
            {"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}},
            {"name": "b", "evictPod": {"pod": "pod"}, "compensate": {"notify": {"destination": "payments", "message": "x"}}},
        ],
        "verify": {"slo": "checkout", "after": "1m", "onFailure": "Rollback", "escalateTo": "payments"},
    });
    let sick = Turn { answer: Some(false), ..quiet() };
    let shell = run(&patch, vec![sick; 100]);
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::RolledBack, Some("NotRecovered")));
    assert_eq!(shell.undone(), ["b", "a"]);
    assert_eq!(shell.done.len(), 6, "two steps, the question, somebody told, two undone: {:?}", shell.done);
    let told = shell.log.iter().position(|what| matches!(what, What::Escalate(_)));
    let undone = shell.log.iter().position(|what| matches!(what, What::Undo(_)));
    assert!(told.is_some() && told < undone, "{:?}", shell.log);
}

/// An SLO of which nothing is known is no reason to bring a bad version back: a person decides.
#[test]
fn what_was_done_stays_when_nobody_knows_whether_it_helped() {
    let rollback = json!({"slo": "checkout", "after": "1m", "onFailure": "Rollback", "escalateTo": "payments"});
    let change = json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}});
    let parameters = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "app", "object": "Deployment", "ownerOf": "pod"}]);
    let last = json!({"parameters": parameters, "steps": [change], "verify": rollback});
    let step = json!({"parameters": parameters, "steps": [change, {"name": "b", "verify": rollback}]});
    // The change goes well, then nothing answers, the server fails, or the time is over.
    for (patch, outcome) in [(&last, 0), (&last, 7), (&last, 8), (&step, 0), (&step, 7)] {
        let unknown = Turn { answer: None, ..quiet() };
        let done = vec![unknown.clone(); 4];
        let shell = run(patch, [done, vec![Turn { outcome, seconds: 61, ..unknown }; 5], vec![quiet(); 20]].concat());
        let status = shell.load();
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("RecoveryNotKnown")), "{patch}");
        let why = "it is not known whether SLO checkout has recovered: it was so; nothing is undone for that";
        assert_eq!(status.message.as_deref(), Some(why));
        assert_eq!(shell.undone(), Vec::<String>::new(), "{patch} {outcome}");
        assert_eq!(shell.done.get(&What::Escalate("payments".to_owned())), Some(&1));
        let verified = status.verification.or_else(|| status.steps.last().map(|step| step.effect.clone())).unwrap();
        assert!(matches!(verified.outcome, Some(Outcome::Failed | Outcome::TimedOut)), "{verified:?}");
    }
}

#[test]
fn steps_that_failed_are_named_when_the_others_went_on() {
    let step = |name: &str| json!({"name": name, "evictPod": {"pod": "pod"}, "onFailure": "Continue"});
    let patch = json!({"steps": [step("a"), step("b"), step("c")]});
    let fails = |outcome: u8| Turn { outcome, ..quiet() };
    // A check, the intent and the doing of the first; then of each the intent and the doing.
    let turns = vec![quiet(), quiet(), fails(7), quiet(), fails(8), quiet(), quiet()];
    let status = run(&patch, turns).load();
    let outcomes: Vec<Option<Outcome>> = status.steps.iter().map(|step| step.effect.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Failed), Some(Outcome::TimedOut), Some(Outcome::Succeeded)]);
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Succeeded, Some("DoneInPart")));
    assert_eq!(status.message.as_deref(), Some("done, but 2 of 3 steps failed: a, b"));
    let status = run(&patch, Vec::new()).load();
    assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Done"), Some("all steps are done")));
}

#[test]
fn a_person_is_told_when_it_did_not_help() {
    let patch = json!({"verify": {"slo": "checkout", "after": "1m", "escalateTo": "payments"}});
    let shell = run(&patch, vec![Turn { answer: Some(false), ..quiet() }; 100]);
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("NotRecovered")));
    assert_eq!(status.message.as_deref(), Some("SLO checkout has not recovered: it was so"));
    assert_eq!(shell.done.get(&What::Escalate("payments".to_owned())), Some(&1));
}

#[test]
fn a_telemetry_profile_is_put_back_when_its_time_is_over() {
    let patch = json!({
        "parameters": [{"name": "monitor", "object": "ServiceMonitor", "default": "checkout"}],
        "steps": [{"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug", "for": "20m"}}],
        "artifacts": null,
    });
    let shell = run(&patch, Vec::new());
    let status = shell.load();
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!(shell.done.get(&What::Undo("a".to_owned())), Some(&1));
    let put_back = status.steps[0].compensation.as_ref().unwrap().finished_at.clone().unwrap().0;
    assert!(put_back >= noon() + SignedDuration::from_mins(20), "{put_back}");
}

/// The kill switch ends a fault that is under way, and is no reason to go on measuring closely.
#[test]
fn what_is_borrowed_is_given_back_while_all_is_paused() {
    let patch = json!({
        "mode": "Auto",
        "steps": [
            {"name": "a", "chaos": {"object": "pod", "duration": "30s", "networkChaos": {"loss": 5}}, "onFailure": "Continue"},
            {"name": "b", "evictPod": {"pod": "pod"}},
        ],
    });
    let mut shell = Shell::new(planned(&patch).unwrap().spec);
    // It dies while the fault lasts, or is told to let go, which is the same; whoever goes on finds everything paused.
    shell.live(&mut [vec![quiet(); 2], vec![crash(3)]].concat().into_iter());
    assert_eq!(shell.log, [What::Step("a".to_owned())]);
    let last = shell.live(&mut std::iter::repeat_with(paused).take(50));
    assert_eq!(last, Some(Command::Finished));
    assert_eq!(shell.log, [What::Step("a".to_owned()), What::Undo("a".to_owned())]);
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("Paused")));

    let patch = json!({
        "mode": "Auto",
        "parameters": [
            {"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"},
        ],
        "steps": [
            {"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug", "for": "20m"}},
            {"name": "b", "evictPod": {"pod": "pod"}, "timeout": "40m"},
            {"name": "c", "notify": {"destination": "payments", "message": "x"}},
        ],
    });
    let mut shell = Shell::new(planned(&patch).unwrap().spec);
    // The second step is begun, and its end not seen.
    shell.live(&mut [vec![quiet(); 4], vec![crash(3)]].concat().into_iter());
    let done = [What::Step("a".to_owned()), What::Step("b".to_owned())];
    assert_eq!(shell.log, done);
    shell.live(&mut std::iter::repeat_with(paused).take(55));
    assert_eq!(shell.log[2..], [What::Undo("a".to_owned())], "nothing else is done");
    let put_back = shell.load().steps[0].compensation.as_ref().unwrap().intent_time.clone().unwrap().0;
    assert!(put_back >= noon() + SignedDuration::from_mins(20) && put_back < noon() + SignedDuration::from_mins(22));
    // Then it goes on where it was.
    let last = shell.live(&mut std::iter::repeat_with(quiet).take(50));
    assert_eq!(last, Some(Command::Finished));
    assert_eq!(shell.log.last(), Some(&What::Step("c".to_owned())));
    assert_eq!(shell.done[&What::Undo("a".to_owned())], 1);
}

/// Whether an SLO burns or nobody knows it any more: the step has failed, and what comes next does not wait in a fault.
#[test]
fn a_fault_that_was_broken_off_is_removed_before_the_next_step() {
    let patch = json!({"steps": [
        {"name": "a", "chaos": {"object": "pod", "duration": "30s", "networkChaos": {"loss": 5}}, "onFailure": "Continue"},
        {"name": "b", "notify": {"destination": "payments", "message": "x"}},
    ]});
    for outcome in [7, 8] {
        let shell = run(&patch, vec![quiet(), quiet(), Turn { outcome, ..quiet() }]);
        let done = [What::Step("a".to_owned()), What::Undo("a".to_owned()), What::Step("b".to_owned())];
        assert_eq!(shell.log, done, "{outcome}");
        let status = shell.load();
        assert_eq!((status.phase, status.reason.as_deref()), (Phase::Succeeded, Some("DoneInPart")));
    }
    // One that came to its end has put everything back itself.
    assert_eq!(run(&patch, Vec::new()).undone(), Vec::<String>::new());
}

/// Series that were asked for and are not there any more are what a resolved alert is.
#[test]
fn what_has_gone_is_said_in_words_of_its_own() {
    let patch = json!({"mode": "Auto", "steps": [{"name": "a", "evictPod": {"pod": "pod"}},
        {"name": "b", "notify": {"destination": "payments", "message": "x"}}]});
    let over = || Turn { resolved: true, ..quiet() };
    let query = |turns: Vec<Turn>, kind: TriggerKind| {
        let mut shell = Shell::new(planned(&patch).unwrap().spec);
        shell.spec.trigger.kind = kind;
        shell.live(&mut turns.into_iter().chain(std::iter::repeat_with(over).take(50)));
        let status = shell.load();
        (status.phase, status.reason.unwrap(), status.message.unwrap(), shell.log.len())
    };
    let (gone, resolved) = ("what started it does not hold any more", "the alert was resolved");
    let later = "; what had not begun was not begun";
    for (kind, reason, before, words) in [
        (TriggerKind::Query, "ConditionGone", gone.to_owned(), gone),
        (TriggerKind::Anomaly, "ConditionGone", gone.to_owned(), gone),
        (TriggerKind::Slo, "Resolved", format!("{resolved} before anything was done"), resolved),
    ] {
        assert_eq!(query(vec![over()], kind), (Phase::Skipped, reason.to_owned(), before, 0));
        let meanwhile = query(vec![quiet(), quiet()], kind);
        assert_eq!(meanwhile, (Phase::Succeeded, "Resolved".to_owned(), format!("{words}{later}"), 1));
    }
}

/// An execution that is deleted begins nothing more, gives back what it has borrowed, and then owes nothing.
#[test]
fn what_is_borrowed_is_given_back_before_an_execution_goes() {
    let patch = json!({
        "mode": "Auto",
        "parameters": [
            {"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"},
        ],
        "steps": [
            {"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug", "for": "20m"}},
            {"name": "b", "evictPod": {"pod": "pod"}},
            {"name": "c", "notify": {"destination": "payments", "message": "x"}},
        ],
    });
    // Before anything is done, when the first step is done, and when the second one is under way.
    for (turns, log, phase) in [
        (vec![crash(0)], &[][..], Phase::Skipped),
        ([vec![quiet(); 2], vec![crash(3)]].concat(), &["a", "-a"], Phase::Failed),
        ([vec![quiet(); 4], vec![crash(3)]].concat(), &["a", "b", "-a"], Phase::Failed),
    ] {
        let mut shell = Shell::new(planned(&patch).unwrap().spec);
        shell.live(&mut turns.into_iter());
        assert_eq!(owes(&shell.spec, &shell.load()), !log.is_empty());
        shell.deleted = true;
        // Also while all is paused.
        let last = shell.live(&mut std::iter::repeat_with(paused).take(50));
        let status = shell.load();
        assert_eq!((last, status.phase, status.reason.as_deref()), (Some(Command::Finished), phase, Some("Deleted")));
        assert!(!owes(&shell.spec, &status));
        let done = shell.log.iter().map(|what| match what {
            What::Step(name) => name.clone(),
            What::Undo(name) => format!("-{name}"),
            other => format!("{other:?}"),
        });
        assert_eq!(done.collect::<Vec<_>>(), log);
    }
}

#[test]
fn a_spec_that_was_changed_does_nothing() {
    let patch =
        json!({"mode": "Auto", "steps": [{"name": "a", "wait": "5m"}, {"name": "b", "evictPod": {"pod": "pod"}}]});
    let mut shell = Shell::new(planned(&patch).unwrap().spec);
    // Until it waits, then it dies.
    assert!(shell.live(&mut [vec![quiet(); 3], vec![crash(0)]].concat().into_iter()).is_some());
    shell.spec.objects[0].uid = "another".to_owned();
    shell.live(&mut std::iter::repeat_with(quiet).take(50));
    let status = shell.load();
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("SpecChanged")));
    assert!(shell.done.is_empty());
}
