//! The runbooks' kinds on a real API server: what it takes, what it refuses, and that an execution never changes.

use anyhow::{Context, Result, ensure};
use kube::CustomResourceExt;
use plimsoll_api::{Runbook, RunbookApproval, RunbookExecution};
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, test};
use plimsoll_testbed::{ControlPlane, ControlPlaneOptions};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(CONTROL_PLANE, the_api_server_checks_runbooks)]
}

fn runbook(patch: &Value) -> Value {
    let mut spec = json!({
        "serviceAccountName": "evidence",
        "trigger": {"alert": ["alertname=\"PodRestarting\""]},
        "parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"}],
        "steps": [{"name": "last-words", "logs": {"pod": "pod", "previous": true}}],
        "artifacts": {"volume": "evidence"},
    });
    for (key, value) in patch.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("Runbook", &spec)
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": kind, "metadata": {"name": "a", "namespace": "default"}, "spec": spec})
}

async fn the_api_server_checks_runbooks(testbed: &Testbed) -> Result<()> {
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    for definition in [Runbook::crd(), RunbookExecution::crd(), RunbookApproval::crd()] {
        plane.apply(&serde_json::to_string(&definition)?).await?;
        let name = format!("crd/{}", definition.metadata.name.context("name")?);
        plane.kubectl(["wait", "--for=condition=Established", "--timeout=60s", &name]).await?;
    }

    plane.apply(&runbook(&json!({})).to_string()).await?;
    for (patch, words) in [
        (
            json!({"trigger": {"schedule": "03:00", "manual": {}}}),
            "trigger has exactly one of alert, slo, anomaly, query, schedule, manual",
        ),
        (json!({"steps": [{"name": "a", "wait": "5s", "cordon": {"node": "pod"}}]}), "a step has exactly one action"),
        (json!({"steps": [{"name": "a"}]}), "a step has exactly one action"),
        (json!({"steps": [{"name": "a", "wait": "5s", "compensate": {}}]}), "a step has exactly one action"),
        (json!({"deadline": "1.5h"}), "this is not a duration; write it like 30d, 1h30m or 5m"),
        (
            json!({"parameters": [{"name": "pod", "object": "Pod", "string": "a"}]}),
            "a parameter has exactly one of string, integer, enum and object",
        ),
        (json!({"artifacts": {"volume": "a", "s3": {"bucket": "abc"}}}), "artifacts has exactly one of volume and s3"),
    ] {
        let refusal = plane.apply(&runbook(&patch).to_string()).await;
        let said = refusal.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains(words), "{patch} was answered: {said}");
    }

    let template = |image: &str| json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    let execution = |image: &str| {
        object(
            "RunbookExecution",
            &json!({
                "runbook": {"name": "a", "uid": "u", "generation": 1},
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-11-26T12:00:00Z"},
                "mode": "Auto",
                "serviceAccountName": "evidence",
                "objects": [{"parameter": "app", "kind": "Deployment", "namespace": "default", "name": "app", "uid": "u",
                    "facts": {"template": template(image)}}],
                "steps": [{"name": "a", "wait": "5s"}],
                "deadline": "1h",
                "cooldown": "30m",
            }),
        )
    };
    plane.apply(&execution("app:1").to_string()).await?;
    plane.apply(&execution("app:1").to_string()).await?;
    // Also what is of another API's shape.
    let refusal = plane.apply(&execution("app:2").to_string()).await;
    let said = refusal.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains("an execution never changes; start another one"), "it was answered: {said}");
    let shown = plane.kubectl(["get", "rbx", "a", "-o", "jsonpath={.spec.objects[0].facts.template}"]).await?;
    ensure!(serde_json::from_str::<Value>(&shown)? == template("app:1"), "it holds {shown}");
    Ok(())
}
