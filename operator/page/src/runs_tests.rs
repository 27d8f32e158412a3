#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn execution(status: Value) -> RunbookExecution {
    serde_json::from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": {"runbook": {"name": "r", "uid": "u", "generation": 0}, "mode": "DryRun", "serviceAccountName": "s",
            "trigger": {"kind": "Slo", "fingerprint": "f", "startsAt": "2027-01-15T00:00:00Z"},
            "steps": [{"name": "a", "wait": "1s"}, {"name": "b", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
        "status": status}))
    .unwrap()
}

#[test]
fn a_dry_run_has_not_succeeded_in_anything() {
    let done = json!({"phase": "Succeeded", "reason": "DryRun", "message": "it would have been done: a, b",
        "startedAt": "2027-01-15T00:00:00Z", "specHash": "h"});
    let dry = execution(done);
    let sent = |request: &str| Sent { request: request.to_owned(), body: None, what: String::new() };
    let run = Run::new("shop", "x", &dry).with_requests(|step| [vec![sent(step)], Vec::new()]);
    assert_eq!((run.dry, run.headline.as_str(), told(&dry)), (true, ": it would have been done: a, b", "Dry run"));
    assert!(run.wants_requests());
    let steps: Vec<_> = run.steps.iter().map(|step| (step.state.as_str(), step.sends.clone())).collect();
    assert_eq!(steps, [("would be done", vec![sent("a")]), ("would be done", vec![sent("b")])]);
    let facts: Vec<&str> = run.facts.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(facts[0], "r");
    assert_eq!(facts[3], "an SLO that burns, since 15 Jan 00:00 UTC");
    let listed = Runs::new(&[], &[Kept::new("shop", "x", dry)], true);
    assert!(listed.runs[0].dry);
}

#[test]
fn what_would_have_been_held_back_would_not_have_begun() {
    let held = json!({"phase": "Succeeded", "reason": "DryRun", "message": "it would have been held back: cooldown"});
    let run = Run::new("shop", "x", &execution(held));
    assert!(run.dry);
    assert!(run.steps.iter().all(|step| step.state == "not begun"));
    let mut real = execution(json!({"phase": "Succeeded", "reason": "Done"}));
    real.spec.mode = Mode::Auto;
    assert_eq!(told(&real), "Succeeded");
    assert!(!Run::new("shop", "x", &real).wants_requests());
}
