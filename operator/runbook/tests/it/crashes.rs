//! The state machine under crashes at any point, outcomes of any kind, and anything that may happen meanwhile.
//!
//! A shell is played that follows the contract of `machine`: it stores under a version, acts, and can die before or
//! after each of these. What holds is checked against a ledger of what was really done.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{
    RunbookExecutionSpec, RunbookExecutionStatus,
    approval::Decision,
    execution::{Decided, Outcome, Phase},
};
use plimsoll_runbook::{
    Act, Class,
    guards::{Guard, Refusal},
    machine::{Awaits, Checked, Command, Event, MAX_ATTEMPTS, Report, What, World, begins, recalled, step},
    requests::{self, Run},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{IMAGE, noon, planned};

/// What the world does in one turn.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Where the operator dies: before storing, after it, before acting, after it.
    pub(crate) crash: Option<u8>,
    /// How an act ends.
    pub(crate) outcome: u8,
    /// The answer of a query or verification.
    pub(crate) answer: Option<bool>,
    /// Whether the condition holds, and a guard refuses.
    pub(crate) holds: Option<bool>,
    pub(crate) refused: bool,
    /// Somebody decides so.
    pub(crate) decision: Option<bool>,
    pub(crate) paused: Option<bool>,
    pub(crate) resolved: bool,
    /// Seconds that pass.
    pub(crate) seconds: i64,
}

pub(crate) fn turn() -> impl Strategy<Value = Turn> {
    let rarely = |n: u32| proptest::bool::weighted(1.0 / f64::from(n));
    (
        (proptest::option::weighted(0.2, 0u8..4), 0u8..10, proptest::option::weighted(0.9, any::<bool>())),
        (prop_oneof![8 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)], rarely(5)),
        (
            proptest::option::weighted(0.5, proptest::bool::weighted(0.8)),
            prop_oneof![9 => Just(Some(false)), 1 => Just(Some(true)), 1 => Just(None)],
        ),
        (rarely(40), prop_oneof![5 => 0i64..5, 2 => 5i64..700, 1 => 700i64..9000]),
    )
        .prop_map(|((crash, outcome, answer), (holds, refused), (decision, paused), (resolved, seconds))| Turn {
            crash,
            outcome,
            answer,
            holds,
            refused,
            decision,
            paused,
            resolved,
            seconds,
        })
}

/// Runbooks of many shapes.
pub(crate) fn spec() -> impl Strategy<Value = RunbookExecutionSpec> {
    let action = prop_oneof![
        Just(json!({"logs": {"pod": "pod"}})),
        Just(json!({"exec": {"pod": "pod", "command": ["touch", "x"]}})),
        Just(json!({"exec": {"pod": "pod", "command": ["touch", "x"], "idempotent": true}})),
        Just(json!({"scale": {"workload": "app", "by": 1, "max": 10}})),
        Just(json!({"wait": "30s"})),
        Just(json!({"query": {"expr": "up"}})),
        Just(json!({"query": {"expr": "up", "found": "Stop", "empty": "Continue"}})),
        Just(json!({"verify": {"slo": "checkout", "after": "1m", "onFailure": "Rollback"}})),
        Just(json!({"verify": {"slo": "checkout", "after": "1m", "escalateTo": "payments"}})),
        Just(json!({"telemetryProfile": {"object": "monitor", "profile": "debug", "for": "10m"}})),
        Just(json!({"chaos": {"object": "pod", "duration": "30s", "networkChaos": {"loss": 5}}})),
        Just(json!({"evictPod": {"pod": "pod"}})),
        Just(json!({"job": {"image": IMAGE, "command": ["charge"], "ttl": "1h"}})),
    ];
    let step = (action, prop_oneof![Just("Stop"), Just("Continue"), Just("Compensate")], 0u8..5);
    let mode = prop_oneof![4 => Just("Auto"), 2 => Just("Approve"), 1 => Just("DryRun")];
    (prop::collection::vec(step, 1..6), mode, any::<bool>()).prop_map(|(steps, mode, verify)| {
        let steps: Vec<Value> = steps
            .into_iter()
            .enumerate()
            .map(|(i, (mut step, on_failure, undo))| {
                let asks = step.get("verify").is_some();
                let borrowed = step.get("telemetryProfile").is_some() || step.get("chaos").is_some();
                step["name"] = json!(format!("s{i}"));
                if !asks {
                    step["onFailure"] = json!(on_failure);
                }
                match undo {
                    _ if borrowed => {}
                    0 => step["compensate"] = json!({"exec": {"pod": "pod", "command": ["rm", "x"]}}),
                    2 => step["compensate"] = json!({"job": {"image": IMAGE, "command": ["refund"], "ttl": "1h"}}),
                    1 => step["compensate"] = json!({"scale": {"workload": "app", "by": -1, "max": 10}}),
                    _ => {}
                }
                step
            })
            .collect();
        let mut patch = json!({
            "mode": mode,
            "parameters": [
                {"name": "pod", "object": "Pod", "fromLabel": "pod"},
                {"name": "app", "object": "Deployment", "ownerOf": "pod"},
                {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"},
            ],
            "steps": steps,
        });
        if verify {
            patch["verify"] = json!({"slo": "checkout", "after": "2m", "onFailure": "Rollback"});
        }
        planned(&patch).unwrap_or_else(|wrong| panic!("{patch}: {wrong:?}")).spec
    })
}

/// The world outside the state machine.
pub(crate) struct Shell {
    pub(crate) spec: RunbookExecutionSpec,
    /// What the API server has, as it has it.
    stored: String,
    pub(crate) now: Timestamp,
    resolved_at: Option<Timestamp>,
    pub(crate) deleted: bool,
    pub(crate) lowered: Option<&'static str>,
    /// How often what undoes a step has no answer in its time.
    pub(crate) slow_undos: usize,
    /// How often each thing was really done.
    pub(crate) done: BTreeMap<What, usize>,
    /// In which order.
    pub(crate) log: Vec<What>,
    /// Of each Job how often it was made, and when the last one is removed: it ends as soon as it is made.
    pub(crate) jobs: BTreeMap<What, (usize, Timestamp)>,
    /// What the making of the execution has begun, until somebody goes on with it.
    begun: Option<What>,
}

impl Shell {
    pub(crate) fn new(spec: RunbookExecutionSpec) -> Self {
        Self {
            spec,
            stored: serde_json::to_string(&RunbookExecutionStatus::default()).unwrap(),
            now: noon(),
            resolved_at: None,
            deleted: false,
            lowered: None,
            slow_undos: 0,
            done: BTreeMap::new(),
            log: Vec::new(),
            jobs: BTreeMap::new(),
            begun: None,
        }
    }

    /// The execution is made as one that has begun, where it may be; whoever made it dies before it does anything, or not.
    fn made_as_begun(mut spec: RunbookExecutionSpec, dies: bool) -> Self {
        let what = begins(&spec, noon()).map(|(_, what)| what);
        spec.begun = what.is_some().then(|| Time(noon()));
        Self { begun: what.filter(|_| !dies), ..Self::new(spec) }
    }

    pub(crate) fn load(&self) -> RunbookExecutionStatus {
        let status: RunbookExecutionStatus = serde_json::from_str(&self.stored).unwrap();
        assert_eq!(serde_json::to_string(&status).unwrap(), self.stored, "the state survives being stored");
        recalled(&self.spec, Some(&status)).unwrap_or(status)
    }

    /// The class of what is done, by the action that does it.
    fn class(&self, what: &What) -> Class {
        let (What::Step(name) | What::Undo(name)) = what else { return Class::Repeatable };
        let step = self.spec.steps.iter().find(|step| step.name == *name).unwrap();
        let undo = matches!(what, What::Undo(_)).then_some(step.compensate.as_deref()).flatten();
        Act::of(undo.unwrap_or(&step.action)).unwrap().class()
    }

    /// What the API server does when a Job is asked for; `None`: it is there, or there is none to ask for.
    fn job(&mut self, what: &What, status: &RunbookExecutionStatus) -> Option<Report> {
        let (What::Step(name) | What::Undo(name)) = what else { return None };
        let of = self.spec.steps.iter().find(|step| step.name == *name).unwrap();
        let entry = status.steps.iter().find(|entry| entry.name == *name).unwrap();
        let (undo, effect) = match what {
            What::Undo(_) => (true, entry.compensation.as_ref().unwrap()),
            _ => (false, &entry.effect),
        };
        let action = if undo { of.compensate.as_deref().unwrap_or(&of.action) } else { &of.action };
        action.job.as_ref()?;
        let begun = effect.intent_time.as_ref().unwrap().0;
        let first = effect.first_intent_time.as_ref().map_or(begun, |time| time.0);
        let run = Run { namespace: "shop", name: "x", uid: "u", created: noon(), begun, first, spec: &self.spec };
        let calls = if undo { requests::undo(&run, of) } else { requests::of(&run, of) }.unwrap();
        let (made, gone) = self.jobs.get(what).copied().unwrap_or((0, self.now));
        let is_there = made > 0 && self.now < gone;
        match &calls[0].request.body {
            Some(_) if is_there => None,
            Some(body) => {
                let ttl = body["spec"]["ttlSecondsAfterFinished"].as_i64().unwrap();
                self.jobs.insert(what.clone(), (made + 1, self.now + SignedDuration::from_secs(ttl)));
                None
            }
            None if is_there => None,
            None => {
                assert_eq!(calls[0].unknown, [404]);
                Some(Report { outcome: Outcome::Unknown, ..report(&quiet()) })
            }
        }
    }

    /// The operator runs until it dies or waits; `turns` say what happens. What it waits for at last.
    pub(crate) fn live(&mut self, turns: &mut impl Iterator<Item = Turn>) -> Option<Command> {
        let mut status = self.load();
        let mut event = self.begun.take().map_or(Event::Loaded, |what| Event::Stored(Some(what)));
        loop {
            let turn = turns.next()?;
            self.now += SignedDuration::from_secs(turn.seconds);
            if turn.resolved {
                self.resolved_at.get_or_insert(self.now);
            }
            let (resolved_at, deleted, lowered) = (self.resolved_at, self.deleted, self.lowered);
            let world = World { now: self.now, paused: turn.paused, resolved_at, deleted, lowered, created: noon() };
            let (next, command) = step(&self.spec, &status, &event, &world);
            let again = step(&self.spec, &status, &event, &world);
            assert_eq!((&next, &command), (&again.0, &again.1), "a step is a function");
            event = match &command {
                Command::Store(begins) => {
                    assert_ne!(next, status, "nothing is stored for nothing");
                    match turn.crash {
                        Some(0) => return Some(command),
                        crash => {
                            self.stored = serde_json::to_string(&next).unwrap();
                            if crash == Some(1) {
                                return Some(command);
                            }
                        }
                    }
                    status = self.load();
                    Event::Stored(begins.clone())
                }
                Command::Act(doing) => {
                    assert_eq!(next, status);
                    self.intended(&doing.what, &status);
                    assert_eq!(event, Event::Stored(Some(doing.what.clone())), "only what was stored just now is done");
                    if turn.crash == Some(2) {
                        return Some(command);
                    }
                    *self.done.entry(doing.what.clone()).or_default() += 1;
                    self.log.push(doing.what.clone());
                    let unknown = self.job(&doing.what, &status);
                    if turn.crash == Some(3) {
                        return Some(command);
                    }
                    if let Some(unknown) = unknown {
                        Event::Done(unknown)
                    } else if matches!(doing.what, What::Undo(_)) && self.slow_undos > 0 {
                        self.slow_undos -= 1;
                        Event::Done(report(&Turn { outcome: 8, ..turn }))
                    } else {
                        Event::Done(report(&turn))
                    }
                }
                Command::Check => {
                    let refusal = Refusal { guard: Guard::Cooldown, message: "it cools down".to_owned(), until: None };
                    let refusals = if turn.refused { vec![refusal] } else { Vec::new() };
                    Event::Checked(Checked { holds: turn.holds, refusals, void: None })
                }
                Command::Wait { until, awaits } => {
                    assert_eq!(next, status);
                    assert!(until.is_some_and(|until| until > self.now), "{awaits:?} until {until:?}");
                    if turn.crash.is_some() {
                        return Some(command);
                    }
                    // Sometimes nothing happens until then.
                    if turn.outcome < 5 {
                        self.now = until.unwrap();
                    }
                    match (awaits, turn.decision) {
                        (Awaits::Approval, Some(yes)) => Event::Decided(Decided {
                            approval: "a".to_owned(),
                            decision: if yes { Decision::Approve } else { Decision::Deny },
                            decider: "sre".to_owned(),
                            reason: None,
                            at: Time(self.now),
                        }),
                        _ => Event::Woken,
                    }
                }
                Command::Finished => {
                    assert!(status.phase.is_terminal());
                    return Some(command);
                }
            };
        }
    }

    /// The steps that were undone, in order.
    pub(crate) fn undone(&self) -> Vec<String> {
        let undone =
            self.log.iter().filter_map(|what| if let What::Undo(name) = what { Some(name.clone()) } else { None });
        let mut names: Vec<String> = undone.collect();
        names.dedup();
        names
    }

    /// Intent before effect: what the API server has says that just this will be done.
    fn intended(&self, what: &What, status: &RunbookExecutionStatus) {
        assert_eq!(self.load(), *status);
        let entry = |name: &String| status.steps.iter().find(|entry| entry.name == *name).unwrap();
        let effect = match what {
            What::Step(name) => entry(name).effect.clone(),
            What::Undo(name) => entry(name).compensation.clone().unwrap(),
            What::Verify => status.verification.clone().unwrap(),
            What::Escalate(_) => status.escalation.clone().unwrap(),
        };
        assert!(
            effect.intent_time.is_some() && effect.attempts.is_some() && effect.outcome.is_none(),
            "{what:?}: {effect:?}"
        );
        let before = self.done.get(what).copied().unwrap_or(0);
        assert!(before < usize::try_from(effect.attempts.unwrap()).unwrap(), "{what:?} is done without an attempt");
    }
}

fn report(turn: &Turn) -> Report {
    let outcome = match turn.outcome {
        0..=6 => Outcome::Succeeded,
        7 => Outcome::Failed,
        8 => Outcome::TimedOut,
        _ => Outcome::Unknown,
    };
    Report { outcome, message: "it was so".to_owned(), artifacts: Vec::new(), answer: turn.answer }
}

/// A turn in which all goes well and nothing dies.
pub(crate) fn quiet() -> Turn {
    Turn {
        crash: None,
        outcome: 0,
        answer: Some(true),
        holds: Some(true),
        refused: false,
        decision: Some(true),
        paused: Some(false),
        resolved: false,
        seconds: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// For any crash points, outcomes and events: what is done once is never done twice, nothing is done without its
    /// stored intent, and in quiet times every run ends. A pause in between may be longer than any step's time.
    #[test]
    fn whatever_crashes(
        spec in spec(),
        turns in prop::collection::vec(turn(), 0..80),
        pause in 0usize..20,
        seconds in 0i64..1000,
        begun in proptest::option::of(any::<bool>()),
    ) {
        let mut shell = match begun {
            Some(dies) => Shell::made_as_begun(spec, dies),
            None => Shell::new(spec),
        };
        let mut turns = turns.into_iter().peekable();
        while turns.peek().is_some() {
            if shell.live(&mut turns) == Some(Command::Finished) {
                break;
            }
        }
        shell.live(&mut std::iter::repeat_with(|| Turn { seconds, ..paused() }).take(pause));
        let last = shell.live(&mut std::iter::repeat_with(quiet).take(400));
        prop_assert_eq!(last, Some(Command::Finished));
        let status = shell.load();
        prop_assert!(status.phase.is_terminal());
        prop_assert!(status.finished_at.is_some() && status.reason.is_some() && status.message.is_some());
        for (what, times) in &shell.done {
            if shell.class(what) == Class::Once {
                prop_assert!(*times <= 1, "{:?} was done {} times", what, times);
            }
        }
        for (what, (times, _)) in &shell.jobs {
            prop_assert!(*times <= 1, "the Job of {:?} was made {} times", what, times);
        }
        // Nothing is left open, and what was done is known or said to be unknown.
        for entry in &status.steps {
            prop_assert!(entry.effect.outcome.is_some(), "{entry:?}");
            let undone = entry.compensation.as_ref();
            prop_assert!(undone.is_none_or(|effect| effect.outcome.is_some()), "{entry:?}");
            if entry.effect.outcome == Some(Outcome::Unknown) {
                prop_assert!(matches!(status.phase, Phase::Unknown), "{:?} {entry:?}", status.phase);
            }
        }
        // Steps are begun in their order, and undone in the other.
        let order: Vec<&str> = status.steps.iter().map(|entry| entry.name.as_str()).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(order, sorted);
        // What was borrowed is given back also while all else is paused, and so before its turn.
        let borrowed = |name: &String| {
            let step = shell.spec.steps.iter().find(|step| step.name == *name).unwrap();
            Act::of(&step.action).unwrap().is_borrowed()
        };
        let mut undone = shell.undone();
        undone.retain(|name| !borrowed(name));
        undone.dedup();
        let mut reversed = undone.clone();
        reversed.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert_eq!(undone, reversed);
        // What is borrowed is put back, or it is said that it could not be.
        for entry in &status.steps {
            let step = shell.spec.steps.iter().find(|step| step.name == entry.name).unwrap();
            if step.action.telemetry_profile.is_some() && entry.effect.outcome == Some(Outcome::Succeeded) {
                prop_assert!(entry.compensation.is_some(), "{entry:?}");
            }
            // What undoes a step is not given up before it was tried; what was borrowed, not before it was tried often.
            let Some(undone) = &entry.compensation else { continue };
            let tried = shell.done.contains_key(&What::Undo(entry.name.clone())) || undone.attempts >= Some(MAX_ATTEMPTS);
            let given_up = matches!(undone.outcome, Some(Outcome::Failed | Outcome::TimedOut));
            prop_assert!(tried || !given_up, "{entry:?}");
            // A fault that came to its end has put everything back itself.
            let is_over = step.action.chaos.is_some() && entry.effect.outcome == Some(Outcome::Succeeded);
            let late = borrowed(&entry.name) && !is_over && undone.outcome == Some(Outcome::TimedOut);
            prop_assert!(!late || undone.attempts >= Some(MAX_ATTEMPTS), "{entry:?}");
        }
        // A dry run does nothing.
        if shell.spec.mode == plimsoll_api::runbook::Mode::DryRun {
            prop_assert!(shell.done.is_empty());
        }
    }

    /// However often the operator dies while a Job runs, and however long the pauses and outages are after which its end
    /// was not seen: no Job is made twice, neither that of a step nor that of what undoes it.
    #[test]
    fn a_job_is_made_once(
        lives in prop::collection::vec((0usize..9, 2u8..4, any::<bool>(), 0i64..9000), 1..8),
    ) {
        let job = |what: &str| json!({"image": IMAGE, "command": [what], "ttl": "1h"});
        let patch = json!({
            "mode": "Auto",
            "steps": [{"name": "a", "job": job("charge"), "compensate": {"job": job("refund")}}],
            "verify": {"slo": "checkout", "after": "2m", "onFailure": "Rollback"},
        });
        let mut shell = Shell::new(planned(&patch).unwrap().spec);
        let sick = |turn: Turn| Turn { answer: Some(false), ..turn };
        for (turns, at, held, seconds) in lives {
            shell.live(&mut std::iter::repeat_with(|| sick(quiet())).take(turns).chain([sick(crash(at))]));
            if held {
                shell.live(&mut std::iter::repeat_with(|| sick(paused())).take(3));
            }
            shell.now += SignedDuration::from_secs(seconds);
        }
        prop_assert_eq!(shell.live(&mut std::iter::repeat_with(|| sick(quiet())).take(200)), Some(Command::Finished));
        for (what, (times, _)) in &shell.jobs {
            prop_assert!(*times <= 1, "the Job of {:?} was made {} times", what, times);
        }
    }

    /// Once it is known that the alert is resolved, no step is begun.
    #[test]
    fn resolved_alerts_begin_nothing(spec in spec(), turns in prop::collection::vec(turn(), 1..40)) {
        let mut shell = Shell::new(spec);
        shell.live(&mut turns.into_iter());
        let begun: BTreeSet<String> = shell.load().steps.iter().filter(|e| e.effect.intent_time.is_some()).map(|e| e.name.clone()).collect();
        shell.resolved_at.get_or_insert(shell.now);
        shell.live(&mut std::iter::repeat_with(quiet).take(400));
        for entry in shell.load().steps {
            prop_assert!(begun.contains(&entry.name) || entry.effect.attempts.is_none(), "{entry:?}");
        }
    }
}

/// A machine that stands still between the store and the act, for longer than the Job of the attempt before is kept.
#[test]
fn a_job_is_not_made_again_after_a_standstill() {
    let patch = json!({"steps": [{"name": "a", "job": {"image": IMAGE, "command": ["charge"], "ttl": "1h"}}]});
    let still = Turn { seconds: 3600, ..quiet() };
    let shell = run(&patch, vec![quiet(), quiet(), crash(3), quiet(), still]);
    let made: Vec<usize> = shell.jobs.values().map(|(made, _)| *made).collect();
    assert_eq!(made, [1]);
    assert_eq!(shell.load().steps[0].effect.outcome, Some(Outcome::TimedOut));
}

pub(crate) fn run(patch: &Value, turns: Vec<Turn>) -> Shell {
    let mut patch = patch.clone();
    patch["mode"] = json!("Auto");
    let mut shell = Shell::new(planned(&patch).unwrap().spec);
    let mut turns = turns.into_iter().chain(std::iter::repeat_with(quiet).take(200));
    while shell.live(&mut turns).is_some_and(|command| command != Command::Finished) {}
    shell
}

pub(crate) fn crash(at: u8) -> Turn {
    Turn { crash: Some(at), ..quiet() }
}

pub(crate) fn paused() -> Turn {
    Turn { paused: Some(true), ..quiet() }
}
