//! An execution in words, for whoever looks at what it did or decides whether it may.

use jiff::Unit;
use kube::ResourceExt;
use plimsoll_api::{
    RunbookExecution,
    execution::{ArtifactRef as Artifact, Effect, ObjectRef as Object, Phase},
    runbook::Mode,
};
use plimsoll_runbook::{
    plan,
    requests::{self, Run as Planned},
};

use super::{
    report::one_line,
    runbook::{calls, last},
};
use crate::runbooks::tasks;

/// An execution in words.
pub(super) fn told(execution: &RunbookExecution, namespace: &str) -> String {
    let (spec, status) = (&execution.spec, execution.status.clone().unwrap_or_default());
    let name = execution.name_any();
    let mut text = String::new();
    let reason = status.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    line(
        &mut text,
        format!(
            "{name} is {}{reason}: {}",
            status.phase.name(),
            status.message.as_deref().unwrap_or("nobody has looked at it yet")
        ),
    );
    let trigger = &spec.trigger;
    let by = trigger.requested_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    line(
        &mut text,
        format!(
            "  runbook {} of generation {}, mode {:?}, as ServiceAccount {}",
            spec.runbook.name, spec.runbook.generation, spec.mode, spec.service_account_name
        ),
    );
    line(&mut text, format!("  started by {:?}{by}, since {}", trigger.kind, trigger.starts_at.0));
    for (name, value) in &trigger.labels {
        line(&mut text, format!("    {name}={value:?}"));
    }
    for object in &spec.objects {
        let place = object.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let Object { parameter, kind, name, uid, .. } = object;
        line(&mut text, format!("  {parameter} = {} {place}{name} ({uid})", kind.name()));
    }
    for (name, value) in &spec.parameters {
        if !spec.objects.iter().any(|object| object.parameter == *name) {
            line(&mut text, format!("  {name} = {value:?}"));
        }
    }
    for note in plan::keepers(spec) {
        line(&mut text, format!("  ! {note}"));
    }
    // What has not begun is told as it would be done, so that nobody approves blindly.
    let is_open = !status.phase.is_terminal() || spec.mode == Mode::DryRun;
    let uid = execution.uid().unwrap_or_default();
    let created = tasks::created(execution);
    let run = Planned { namespace, name: &name, uid: &uid, created, begun: created, first: created, spec };
    for step in &spec.steps {
        let known = status.steps.iter().find(|known| known.name == step.name);
        match known {
            None => {
                line(&mut text, format!("  - {}: not begun", step.name));
                if is_open {
                    calls(&mut text, "      ", requests::of(&run, step));
                }
            }
            Some(known) => {
                effect(&mut text, &step.name, &known.effect);
                if let Some(undone) = &known.compensation {
                    effect(&mut text, &format!("{} undone", step.name), undone);
                }
            }
        }
    }
    match (&status.verification, &spec.verify) {
        (Some(verification), _) => effect(&mut text, "verification", verification),
        (None, Some(verify)) if is_open => {
            line(&mut text, format!("  - {}", last(verify)));
            calls(&mut text, "      ", Ok(requests::verification(&run, verify)));
        }
        _ => {}
    }
    if status.phase == Phase::AwaitingApproval {
        line(&mut text, format!("→ decide with:  plimsoll runbook approve {name} -n {namespace}"));
    }
    text
}

fn effect(text: &mut String, name: &str, effect: &Effect) {
    let sign = match effect.outcome {
        Some(outcome) => outcome.name(),
        None => "begun",
    };
    let took = match (&effect.intent_time, &effect.finished_at) {
        (Some(from), Some(to)) => {
            let seconds = to.0.duration_since(from.0).round(Unit::Second).map_or(0, |time| time.as_secs());
            format!(" in {seconds} s")
        }
        _ => String::new(),
    };
    // Of what has just begun nobody has said anything.
    let said = effect.message.as_deref().filter(|message| !message.is_empty());
    let said = said.map(|message| format!(": {message}")).unwrap_or_default();
    line(text, format!("  - {name}: {sign}{took}{said}"));
    for artifact in &effect.artifacts {
        let cut = if artifact.truncated == Some(true) { ", cut off" } else { "" };
        let Artifact { location, bytes, sha256, .. } = artifact;
        line(text, format!("      {location} ({bytes} bytes{cut}, sha256 {sha256})"));
    }
}

/// Whoever sends an alert chooses its labels: nothing of them begins a line of its own, or moves the cursor.
fn line(text: &mut String, line: String) {
    text.push_str(&one_line(&line));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_execution_is_told_with_what_each_step_did() {
        let execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution", "metadata": {"name": "crash-1"},
            "spec": {"runbook": {"name": "crash", "uid": "u", "generation": 2}, "mode": "Approve", "serviceAccountName": "s",
                "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z", "labels": {"pod": "a"}},
                "parameters": {"who": "b", "app": "checkout"}, "objects": [{"parameter": "app", "kind": "Deployment", "namespace": "shop",
                    "name": "checkout", "uid": "d", "facts": {"managedBy": "Argo CD", "replicas": 3}}],
                "verify": {"slo": "checkout", "after": "5m", "onFailure": "Rollback"},
                "steps": [{"name": "log", "wait": "1s"}, {"name": "next", "scale": {"workload": "app", "replicas": 5, "max": 9}}], "deadline": "1h", "cooldown": "1h"},
            "status": {"phase": "AwaitingApproval", "reason": "Asked", "message": "somebody must approve it", "steps": [
                {"name": "log", "intentTime": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:03Z", "outcome": "Succeeded",
                    "message": "kept", "artifacts": [{"name": "l", "location": "volume://v/l", "bytes": 3, "sha256": "abc", "truncated": true}]}]}});
        let text = told(&serde_json::from_value(execution).unwrap(), "shop");
        let wanted = "\
crash-1 is AwaitingApproval (Asked): somebody must approve it
  runbook crash of generation 2, mode Approve, as ServiceAccount s
  started by Alert, since 2026-01-01T00:00:00Z
    pod=\"a\"
  app = Deployment shop/checkout (d)
  who = \"b\"
  ! step next: Argo CD keeps Deployment checkout as it is in Git and may undo the change
  - log: Succeeded in 3 s: kept
      volume://v/l (3 bytes, cut off, sha256 abc)
  - next: not begun
      → GET /apis/apps/v1/namespaces/shop/deployments/checkout
        see that the Deployment is as it was
      → PATCH /apis/apps/v1/namespaces/shop/deployments/checkout/scale (application/json-patch+json)
        set 5 replicas
        [{\"op\":\"test\",\"path\":\"/metadata/uid\",\"value\":\"d\"},{\"op\":\"test\",\"path\":\"/spec/replicas\",\"value\":3},{\"op\":\"add\",\"path\":\"/spec/replicas\",\"value\":5}]
  - At last, after 5m: SLO checkout must burn slower than 1, else: Rollback
      → Prometheus: GET /api/v1/query?query=slo%3Aburn%5Frate%3Awindow%7Bslo%5Fid%3D%22shop%2Fcheckout%22%2Cwindow%3D%225m%22%7D
        ask how fast SLO checkout burns
→ decide with:  plimsoll runbook approve crash-1 -n shop
";
        assert_eq!(text, wanted);
    }

    /// What an approver reads is not written by whoever sends the alert.
    #[test]
    fn a_label_writes_no_line() {
        let execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution", "metadata": {"name": "crash-1"},
            "spec": {"runbook": {"name": "crash", "uid": "u", "generation": 2}, "mode": "Approve", "serviceAccountName": "s",
                "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z",
                    "labels": {"a": "x\n  - next: not begun\n      \u{1b}[2A\u{202e}", "b\nc": "y"}},
                "steps": [{"name": "log", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
            "status": {"phase": "Failed", "reason": "StepFailed", "message": "a\nb", "steps": [
                {"name": "log", "outcome": "Failed", "message": "c\r\nd"}], "verification": {"intentTime": "2026-01-01T00:00:00Z"}}});
        let text = told(&serde_json::from_value(execution).unwrap(), "shop");
        let wanted = r#"crash-1 is Failed (StepFailed): a b
  runbook crash of generation 2, mode Approve, as ServiceAccount s
  started by Alert, since 2026-01-01T00:00:00Z
    a="x\n  - next: not begun\n      \u{1b}[2A\u{202e}"
    b c="y"
  - log: Failed: c  d
  - verification: begun
"#;
        assert_eq!(text, wanted);
    }
}
