//! Decisions about executions: each is judged once, and told what became of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, Resource as _, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::DeserializeGuard,
};
use plimsoll_api::{
    RunbookApproval, RunbookExecution, approval::Decision, conditions, execution::Decided, runbook::Mode,
};
use plimsoll_runbook::parameters::is_dns_name;
use serde_json::json;

use super::{
    dispatch::WRITTEN_BY,
    proof::{SEAL, Sealer},
    read::readable,
};
use crate::sinks::kubernetes::chain;

/// The condition of an approval.
pub const ACCEPTED: &str = "Accepted";

/// The first valid decision about an execution. All others that are new are told why they are not.
///
/// # Errors
/// When the decisions cannot be read.
pub async fn decision(
    client: &Client,
    sealer: &Sealer,
    execution: &RunbookExecution,
    now: Timestamp,
) -> Result<Option<Decided>, kube::Error> {
    let namespace = execution.namespace().unwrap_or_default();
    let name = execution.name_any();
    // One that cannot be read decides nothing, and keeps nobody else from deciding.
    let guarded: Api<DeserializeGuard<RunbookApproval>> = Api::namespaced(client.clone(), &namespace);
    let mut all = readable(&guarded, &ListParams::default()).await?;
    let api: Api<RunbookApproval> = Api::namespaced(client.clone(), &namespace);
    all.retain(|approval| approval.spec.execution == name);
    all.sort_by_key(|approval| (approval.creation_timestamp().map(|time| time.0), approval.name_any()));
    for approval in &all {
        let judged = judge(sealer, execution, approval, now);
        let (accepted, reason, message) = match &judged {
            Ok(()) => (true, "Valid", "it is what is done".to_owned()),
            Err((reason, message)) => (false, *reason, message.clone()),
        };
        if !is_of_another(execution, approval) {
            adopt(&api, approval, execution).await;
        }
        tell(&api, approval, accepted, reason, &message, now).await;
        if judged.is_ok() {
            return Ok(Some(Decided {
                approval: approval.name_any(),
                decision: approval.spec.decision,
                decider: approval.spec.decider.clone(),
                reason: approval.spec.reason.clone(),
                at: Time(now),
            }));
        }
    }
    Ok(None)
}

/// Why the approval that the status of an execution names is none by now: it has expired or was withdrawn while something
/// held the run back, or nobody has ever given it. `None`: it is one, or the status names none.
///
/// # Errors
/// When it cannot be read.
pub async fn void(
    client: &Client,
    sealer: &Sealer,
    execution: &RunbookExecution,
) -> Result<Option<String>, kube::Error> {
    let decided = execution.status.as_ref().and_then(|status| status.approval.as_ref());
    let Some(decided) = decided.filter(|_| execution.spec.mode == Mode::Approve) else { return Ok(None) };
    let name = &decided.approval;
    let api: Api<RunbookApproval> = Api::namespaced(client.clone(), &execution.namespace().unwrap_or_default());
    // A status is not sealed: what it says is not trusted to be a part of a path.
    let found = if is_dns_name(name) { api.get_opt(name).await? } else { None };
    let Some(approval) = found.filter(|found| found.spec.execution == execution.name_any()) else {
        return Ok(Some(format!("there is no RunbookApproval {name} of it")));
    };
    if approval.spec.decision != Decision::Approve {
        return Ok(Some(format!("RunbookApproval {name} does not approve it")));
    }
    let judged = judge(sealer, execution, &approval, Timestamp::now());
    Ok(judged.err().map(|(_, message)| format!("RunbookApproval {name} is void: {message}")))
}

/// Why a decision is void: a word and a sentence.
fn judge(
    sealer: &Sealer,
    execution: &RunbookExecution,
    approval: &RunbookApproval,
    now: Timestamp,
) -> Result<(), (&'static str, String)> {
    let spec = &approval.spec;
    let namespace = approval.namespace().unwrap_or_default();
    let right = sealer.of_object("approval", &namespace, &approval.name_any(), spec).unwrap_or_default();
    let given = approval.annotations().get(SEAL).map(String::as_str).unwrap_or_default();
    if !Sealer::is(given, &right) {
        return Err((
            "NotSealed",
            "nobody vouches for its decider; write it again, with the operator's webhook on".to_owned(),
        ));
    }
    if is_of_another(execution, approval) {
        return Err(("OtherExecution", "it is about an earlier execution of this name".to_owned()));
    }
    let hash = execution.status.as_ref().and_then(|status| status.spec_hash.as_deref());
    if hash != Some(spec.spec_hash.as_str()) {
        return Err(("OtherSpec", "its specHash is not that of the execution's status".to_owned()));
    }
    if spec.expires.0 <= now {
        return Err(("Expired", format!("it was valid until {}", spec.expires.0)));
    }
    if spec.decision == Decision::Approve {
        let wrote = execution.annotations().get(WRITTEN_BY);
        let asked = execution.spec.trigger.requested_by.as_ref();
        if wrote == Some(&spec.decider) {
            return Err((
                "OwnRunbook",
                format!("{} wrote the runbook, and somebody else must approve it", spec.decider),
            ));
        }
        if asked == Some(&spec.decider) {
            return Err((
                "OwnRequest",
                format!("{} asked for the run, and somebody else must approve it", spec.decider),
            ));
        }
    }
    Ok(())
}

/// Whether a decision is about another execution of the same name and spec, which was before: one that is older than the
/// execution, by the API server's own clock, or that went with another one.
fn is_of_another(execution: &RunbookExecution, approval: &RunbookApproval) -> bool {
    let (made, decided) = (execution.creation_timestamp(), approval.creation_timestamp());
    let is_older = made.zip(decided).is_some_and(|(made, decided)| decided.0 < made.0);
    let kind = RunbookExecution::kind(&());
    let mut owners = approval.owner_references().iter().filter(|owner| owner.kind == kind);
    is_older || owners.any(|owner| Some(&owner.uid) != execution.metadata.uid.as_ref())
}

/// Stores the judgement. One that cannot be stored decides all the same.
async fn tell(
    api: &Api<RunbookApproval>,
    approval: &RunbookApproval,
    accepted: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let mut all = approval.status.clone().unwrap_or_default().conditions;
    let before = all.clone();
    conditions::set(&mut all, ACCEPTED, Some(accepted), reason, message, approval.metadata.generation, now);
    if all == before {
        return;
    }
    let patch = json!({"metadata": {"uid": approval.uid()}, "status": {"conditions": all}});
    if let Err(error) = api.patch_status(&approval.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        tracing::warn!(error = %chain(&error), approval = %approval.name_any(), "a judgement was not stored");
    }
}

/// A decision goes with the execution that it is about, however it was written. One that cannot be adopted decides all the
/// same.
async fn adopt(api: &Api<RunbookApproval>, approval: &RunbookApproval, execution: &RunbookExecution) {
    let Some(owner) = execution.owner_ref(&()) else { return };
    let mut owners = approval.owner_references().to_vec();
    if owners.iter().any(|other| other.uid == owner.uid) {
        return;
    }
    owners.push(owner);
    // Owners of others are a part of the same list, so it is written over what was read or not at all.
    let patch = json!({"metadata":
        {"uid": approval.uid(), "resourceVersion": approval.resource_version(), "ownerReferences": owners}});
    match api.patch_metadata(&approval.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => {}
        // It is gone, or somebody else has just written it.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => {
            tracing::warn!(error = %chain(&error), approval = %approval.name_any(), "a decision was not tied to its execution");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::{Value, from_value};

    use super::*;

    fn given(change: impl FnOnce(&mut Value, &mut Value)) -> Result<(), (&'static str, String)> {
        let sealer = Sealer::new([1; 32]);
        let mut execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"name": "x", "namespace": "shop", "annotations": {WRITTEN_BY: "ann"}},
            "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Approve", "serviceAccountName": "s",
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z", "requestedBy": "bob"},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
            "status": {"specHash": "h".repeat(64)}});
        let mut approval = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookApproval",
            "metadata": {"name": "ok", "namespace": "shop"},
            "spec": {"execution": "x", "specHash": "h".repeat(64), "decision": "Approve", "decider": "eve",
                "expires": "2026-01-01T01:00:00Z"}});
        change(&mut execution, &mut approval);
        let execution: RunbookExecution = from_value(execution).unwrap();
        let mut approval: RunbookApproval = from_value(approval).unwrap();
        let seal = sealer.of_object("approval", "shop", "ok", &approval.spec).unwrap();
        approval.annotations_mut().entry(SEAL.to_owned()).or_insert(seal);
        judge(&sealer, &execution, &approval, "2026-01-01T00:30:00Z".parse().unwrap())
    }

    #[test]
    fn a_decision_is_of_this_spec_in_time_and_by_somebody_else() {
        assert_eq!(given(|_, _| {}), Ok(()));
        let reason = |change: fn(&mut Value, &mut Value)| given(change).unwrap_err().0;
        fn owner(uid: &str) -> Value {
            json!([{"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution", "name": "x", "uid": uid}])
        }
        assert_eq!(reason(|_, a| a["metadata"]["annotations"] = json!({SEAL: "made up"})), "NotSealed");
        assert_eq!(reason(|_, a| a["spec"]["specHash"] = json!("g".repeat(64))), "OtherSpec");
        assert_eq!(reason(|x, _| x["status"] = Value::Null), "OtherSpec");
        assert_eq!(reason(|_, a| a["metadata"]["ownerReferences"] = owner("of-before")), "OtherExecution");
        let old = |x: &mut Value, a: &mut Value| {
            x["metadata"]["creationTimestamp"] = json!("2026-01-01T00:10:01Z");
            a["metadata"]["creationTimestamp"] = json!("2026-01-01T00:10:00Z");
        };
        assert_eq!(reason(old), "OtherExecution", "the same, made anew");
        let young = |x: &mut Value, a: &mut Value| {
            (x["metadata"]["uid"], a["metadata"]["ownerReferences"]) = (json!("u-x"), owner("u-x"));
            x["metadata"]["creationTimestamp"] = json!("2026-01-01T00:10:00Z");
            a["metadata"]["creationTimestamp"] = json!("2026-01-01T00:10:00Z");
        };
        assert_eq!(given(young), Ok(()));
        assert_eq!(reason(|_, a| a["spec"]["expires"] = json!("2026-01-01T00:30:00Z")), "Expired");
        assert_eq!(reason(|_, a| a["spec"]["decider"] = json!("ann")), "OwnRunbook");
        assert_eq!(reason(|_, a| a["spec"]["decider"] = json!("bob")), "OwnRequest");
        // Anybody may say no.
        let deny = |who: &'static str| {
            given(move |_, a| {
                a["spec"]["decider"] = json!(who);
                a["spec"]["decision"] = json!("Deny");
            })
        };
        assert_eq!((deny("ann"), deny("bob")), (Ok(()), Ok(())));
    }

    /// What a status says is believed only as far as the approval that it names says so still.
    #[tokio::test]
    async fn an_approval_is_looked_at_again_when_the_run_begins() {
        let (sealer, now) = (Sealer::new([1; 32]), Timestamp::now());
        let ask = async |change: fn(&mut Value, &mut Value)| {
            let api = crate::testing::FakeApi::default();
            let at = |name: &str| format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookapprovals/{name}");
            let hash = "h".repeat(64);
            let mut execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
                "metadata": {"name": "x", "namespace": "shop", "annotations": {WRITTEN_BY: "ann"}},
                "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Approve", "serviceAccountName": "s",
                    "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                    "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
                "status": {"phase": "Pending", "specHash": hash, "approval":
                    {"approval": "ok", "decision": "Approve", "decider": "eve", "at": "2026-01-01T00:10:00Z"}}});
            let expires = now + jiff::SignedDuration::from_mins(1);
            let mut approval = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookApproval",
                "metadata": {"name": "ok", "namespace": "shop"}, "spec": {"execution": "x", "specHash": hash,
                    "decision": "Approve", "decider": "eve", "expires": expires.to_string()}});
            change(&mut execution, &mut approval);
            let mut approval: RunbookApproval = from_value(approval).unwrap();
            let seal = sealer.of_object("approval", "shop", "ok", &approval.spec).unwrap();
            approval.annotations_mut().entry(SEAL.to_owned()).or_insert(seal);
            api.put(&at("ok"), serde_json::to_value(&approval).unwrap());
            void(&api.client(), &sealer, &from_value(execution).unwrap()).await.unwrap()
        };
        assert_eq!(ask(|_, _| {}).await, None);
        assert_eq!(ask(|x, _| x["status"]["approval"] = Value::Null).await, None, "nobody has decided yet");
        let why = async |change: fn(&mut Value, &mut Value)| ask(change).await.unwrap();
        for (change, wanted) in [
            (
                (|x, _| x["status"]["approval"]["approval"] = json!("made-up")) as fn(&mut Value, &mut Value),
                "there is no",
            ),
            (|x, _| x["status"]["approval"]["approval"] = json!("../runbooks/ok"), "there is no"),
            (|_, a| a["spec"]["execution"] = json!("y"), "there is no"),
            (|_, a| a["spec"]["decision"] = json!("Deny"), "does not approve it"),
            (|_, a| a["spec"]["expires"] = json!("2026-01-01T00:30:00Z"), "it was valid until"),
            (|_, a| a["metadata"]["annotations"] = json!({SEAL: "made up"}), "nobody vouches"),
            (|_, a| a["spec"]["decider"] = json!("ann"), "ann wrote the runbook"),
        ] {
            let message = why(change).await;
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[tokio::test]
    async fn a_decision_goes_with_its_execution() {
        let api = crate::testing::FakeApi::default();
        let at = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookapprovals/no";
        let approval = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookApproval",
            "metadata": {"name": "no", "namespace": "shop"},
            "spec": {"execution": "x", "specHash": "h".repeat(64), "decision": "Deny", "decider": "eve",
                "expires": "2026-01-01T01:00:00Z"}});
        // The API server asks of a time only that it looks like one.
        let mut broken = approval.clone();
        broken["metadata"]["name"] = json!("broken");
        broken["spec"]["expires"] = json!("2026-01-01T01:00:00+99:00");
        api.put("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookapprovals/broken", broken);
        api.put(at, approval);
        let execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"name": "x", "namespace": "shop", "uid": "u-x"},
            "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Approve", "serviceAccountName": "s",
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}});
        let execution: RunbookExecution = from_value(execution).unwrap();
        let now = "2026-01-01T00:30:00Z".parse().unwrap();
        for _ in 0..2 {
            decision(&api.client(), &Sealer::new([1; 32]), &execution, now).await.unwrap();
        }
        let owners = api.get(at).unwrap()["metadata"]["ownerReferences"].clone();
        let owner =
            json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution", "name": "x", "uid": "u-x"});
        assert_eq!(owners, json!([owner]));
        assert_eq!(api.writes().iter().filter(|write| **write == format!("PATCH {at}")).count(), 1);
    }
}
