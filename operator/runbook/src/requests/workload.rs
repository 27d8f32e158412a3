//! Actions on workloads, Pods as a whole and Nodes.

use jiff::{SignedDuration, Timestamp};
use plimsoll_api::{
    action::{Cordon, EvictPod, Job, Restart, Rollback, Scale},
    execution::{Earlier, ObjectRef},
    runbook::Step,
};
use plimsoll_slo::model::Span;
use serde_json::{Value, json};

use super::{
    Call, Expect, JSON, JSON_PATCH, MERGE_PATCH, Part, Progress, Request, Run, Until, known, path, path_of, pod, put,
};
use crate::{machine::later, model::seconds, names, validate};

/// Bytes that are kept of what a Job says.
const OUTPUT: u64 = 10 << 20;
/// The container of a Job.
pub(super) const CONTAINER: &str = "job";
/// The annotation by which `kubectl rollout restart` makes a new template.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
const RESTARTED: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// To a number, from what the workload had when the run was planned or what the run itself has set: what somebody has set
/// besides is not overwritten.
fn replicas(run: &Run<'_>, workload: &ObjectRef, to: i64) -> Vec<Call> {
    let scales = run.actions().filter_map(|action| action.scale.as_ref());
    let own = scales.filter(|scale| run.object(&scale.workload).is_ok_and(|object| object.uid == workload.uid));
    let mut from: Vec<i64> = own.filter_map(|scale| scale.replicas).chain(workload.facts.replicas).collect();
    from.sort_unstable();
    from.dedup();
    from.retain(|number| *number != to);
    let mut operations = vec![json!({"op": "test", "path": "/metadata/uid", "value": workload.uid})];
    // Of several numbers only the look before tells which it is. A scale of 0 has no number.
    if let [only] = from[..]
        && only > 0
    {
        operations.push(json!({"op": "test", "path": "/spec/replicas", "value": only}));
    }
    operations.push(json!({"op": "add", "path": "/spec/replicas", "value": to}));
    let request = Request::kubernetes("PATCH", format!("{}/scale", path_of(workload)));
    let patch = request.body(JSON_PATCH, Value::Array(operations));
    let look = known(workload, Part::At("/spec/replicas"), from.into_iter().map(Value::from).collect(), json!(to));
    vec![look, Call::new(format!("set {to} replicas"), patch)]
}

pub(super) fn scale(run: &Run<'_>, scale: &Scale) -> Result<Vec<Call>, String> {
    let wanted = scale.replicas.ok_or("the number of replicas was not planned")?;
    Ok(replicas(run, run.object(&scale.workload)?, wanted))
}

pub(super) fn unscale(run: &Run<'_>, scale: &Scale) -> Result<Vec<Call>, String> {
    let workload = run.object(&scale.workload)?;
    let before = workload.facts.replicas.ok_or("it is not known how many replicas there were")?;
    Ok(replicas(run, workload, before))
}

fn rolled(run: &Run<'_>, workload: &ObjectRef) -> Call {
    let until = Until::RolledOut { since: run.first };
    Call::new("wait for the rollout", Request::get(path_of(workload))).expect(Expect::Until(until))
}

/// `place` seconds after the run was made: the same however often it is done, another one for another restart of the run.
/// What somebody has restarted since then is restarted, and an older time would be a second rollout.
pub(super) fn restart(run: &Run<'_>, restart: &Restart, place: i64) -> Result<Vec<Call>, String> {
    let workload = run.object(&restart.workload)?;
    let at = run.created.saturating_add(SignedDuration::from_secs(place)).unwrap_or(run.created).to_string();
    let body = json!({
        "metadata": {"uid": workload.uid},
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at}}}},
    });
    let patch = Request::kubernetes("PATCH", path_of(workload)).body(MERGE_PATCH, body);
    let look = known(workload, Part::Time(RESTARTED), Vec::new(), json!(at));
    Ok(vec![look, Call::new("begin a rollout of the same template", patch), rolled(run, workload)])
}

/// From one template to another: a newer one that somebody has rolled out since is not taken back.
fn template(run: &Run<'_>, workload: &ObjectRef, from: &Value, to: &Value, what: String) -> Vec<Call> {
    let body = json!([
        {"op": "test", "path": "/metadata/uid", "value": workload.uid},
        {"op": "test", "path": "/spec/template", "value": from},
        {"op": "replace", "path": "/spec/template", "value": to},
    ]);
    let patch = Request::kubernetes("PATCH", path_of(workload)).body(JSON_PATCH, body);
    let look = known(workload, Part::At("/spec/template"), vec![from.clone()], to.clone());
    vec![look, Call::new(what, patch), rolled(run, workload)]
}

/// The templates of before and after a rollback.
fn templates<'r>(run: &Run<'r>, rollback: &Rollback) -> Result<(&'r ObjectRef, &'r Value, &'r Earlier), String> {
    let workload = run.object(&rollback.workload)?;
    let present = workload.facts.template.as_ref().ok_or("it is not known what the template was")?;
    let earlier = workload.facts.earlier.as_ref().ok_or("no earlier revision was planned")?;
    Ok((workload, present, earlier))
}

pub(super) fn rollback(run: &Run<'_>, rollback: &Rollback) -> Result<Vec<Call>, String> {
    let (workload, present, earlier) = templates(run, rollback)?;
    let what = format!("go back to revision {}", earlier.revision);
    Ok(template(run, workload, present, &earlier.template, what))
}

pub(super) fn unrollback(run: &Run<'_>, rollback: &Rollback) -> Result<Vec<Call>, String> {
    let (workload, present, earlier) = templates(run, rollback)?;
    Ok(template(run, workload, &earlier.template, present, "go forward to the template of before".to_owned()))
}

pub(super) fn evict(run: &Run<'_>, evict: &EvictPod) -> Result<Vec<Call>, String> {
    let pod = run.object(&evict.pod)?;
    let mut options = json!({"preconditions": {"uid": pod.uid}});
    if let Some(period) = &evict.grace_period {
        put(&mut options, "gracePeriodSeconds", json!(seconds(Some(period), Span::seconds(30))));
    }
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": options,
    });
    let request = Request::kubernetes("POST", format!("{}/eviction", path_of(pod))).body(JSON, body);
    // 404 and 409: that very Pod is gone already. 429: its PodDisruptionBudget does not let it go now.
    Ok(vec![Call::new("evict the Pod", request).fine(&[404, 409]).again(&[429])])
}

/// To a value, from what the Node had when the run was planned or what the run itself has set, which an annotation says:
/// what somebody else has cordoned since is not let go of.
fn unschedulable(run: &Run<'_>, node: &ObjectRef, value: bool) -> Vec<Call> {
    let before = node.facts.unschedulable.unwrap_or(false);
    let (as_before, other) = (json!(before), Part::own(run.name, !before));
    let (from, to) = if value == before { (other, as_before) } else { (as_before, other) };
    let look = known(node, Part::Unschedulable { by: run.name.to_owned(), before }, vec![from], to);
    let body = json!({
        "metadata": {"uid": node.uid, "annotations": {names::UNSCHEDULABLE_BY: run.name}},
        "spec": {"unschedulable": value},
    });
    let what = if value { "keep new Pods off the Node" } else { "let new Pods come to the Node" };
    vec![look, Call::new(what, Request::kubernetes("PATCH", path_of(node)).body(MERGE_PATCH, body))]
}

pub(super) fn cordon(run: &Run<'_>, cordon: &Cordon) -> Result<Vec<Call>, String> {
    Ok(unschedulable(run, run.object(&cordon.node)?, cordon.undo != Some(true)))
}

pub(super) fn uncordon(run: &Run<'_>, cordon: &Cordon) -> Result<Vec<Call>, String> {
    let node = run.object(&cordon.node)?;
    Ok(unschedulable(run, node, node.facts.unschedulable.unwrap_or(false)))
}

pub(super) fn job(run: &Run<'_>, step: &Step, job: &Job, name: &str) -> Vec<Call> {
    let timeout = seconds(step.timeout.as_deref(), validate::DEFAULT_TIMEOUT);
    // Whatever the step's timeout, the Job outlives it: what is begun again in time finds it.
    let ttl = seconds(job.ttl.as_deref(), Span::seconds(86_400)).max(timeout.saturating_mul(2));
    let env = job.env.iter().map(|(name, value)| json!({"name": name, "value": pod::literal(value)}));
    let env: Vec<Value> = env.collect();
    let command: Vec<String> = job.command.iter().map(|entry| pod::literal(entry)).collect();
    let body = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": run.metadata(name),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": timeout,
            "ttlSecondsAfterFinished": ttl,
            "template": {
                "metadata": {"labels": run.labels()},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "serviceAccountName": run.spec.service_account_name,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": CONTAINER,
                        "image": job.image,
                        "command": command,
                        "env": env,
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]},
                            "privileged": false,
                            "readOnlyRootFilesystem": true,
                        },
                    }],
                },
            },
        },
    });
    let jobs = path("batch/v1", Some(run.namespace), "jobs", "");
    let this = format!("{jobs}/{name}");
    let pods = path("v1", Some(run.namespace), "pods", "");
    let list = Request::get(format!("{pods}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{name}"));
    let mut pick = Call::new("find its Pod", list).expect(Expect::Until(Until::PodOfJob));
    pick.pick = Some(super::Pick {
        list: "/items",
        entry: None,
        take: "/metadata/name",
        optional: false,
        only: None,
        each: false,
    });
    // One that was made at the first attempt may have ended and been removed before this one is over: a second creation
    // would not be refused.
    let may_be_gone = later(run.begun, timeout) >= later(run.first, ttl);
    let first = if may_be_gone {
        let what = format!("look for the Job {name}, which may have been made, have ended and been removed since");
        Call::new(what, Request::get(this.clone())).unknown(&[404])
    } else {
        Call::new(format!("make the Job {name}"), Request::kubernetes("POST", jobs).body(JSON, body)).fine(&[409])
    };
    vec![
        first,
        Call::new("see that it is of this run", Request::get(this.clone())).expect(Expect::Ours(run.name.to_owned())),
        Call::new("wait for its end", Request::get(this)).expect(Expect::Until(Until::JobEnded)),
        pick,
        Call::new("keep its output", Request::get(pod::output(&format!("{pods}/{{picked}}"), CONTAINER, OUTPUT)))
            .keep("output.txt", Some(OUTPUT)),
    ]
}

/// Whether a Deployment, StatefulSet or DaemonSet has all Pods of its newest template. That a rollout does not get on is
/// said of one that was begun after `since`: what a Deployment says of the one before stays until a Pod of the new one is
/// seen, also when its controller has seen the change, and it is that of just the version that a rollback takes away.
pub(super) fn rolled_out(object: &Value, since: Timestamp) -> Progress {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Progress::Waiting("its controller has not seen the change".to_owned());
    }
    let has_stalled = |condition: &Value| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str);
        let said =
            text("lastUpdateTime").or(text("lastTransitionTime")).and_then(|time| time.parse::<Timestamp>().ok());
        text("reason") == Some("ProgressDeadlineExceeded") && said.is_some_and(|said| said > since)
    };
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    if conditions.into_iter().any(has_stalled) {
        return Progress::Never("the rollout does not get on (ProgressDeadlineExceeded)".to_owned());
    }
    let daemon_set = number("/status/desiredNumberScheduled");
    let wanted = daemon_set.or(number("/spec/replicas")).unwrap_or(1);
    let (updated, available) = match daemon_set {
        Some(_) => (number("/status/updatedNumberScheduled"), number("/status/numberAvailable")),
        None => (number("/status/updatedReplicas"), number("/status/availableReplicas")),
    };
    let (updated, available) = (updated.unwrap_or(0), available.unwrap_or(0));
    // Pods of the old template count as replicas until they are gone.
    let old = daemon_set.map_or_else(|| number("/status/replicas").unwrap_or(0) - updated, |_| 0);
    if updated >= wanted && available >= wanted && old <= 0 {
        return Progress::Done;
    }
    Progress::Waiting(format!("{updated} of {wanted} Pods are new, {available} are available"))
}
