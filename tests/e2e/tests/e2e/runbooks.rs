//! The runbooks' kinds on a real API server: what it takes, what it refuses, and that an execution never changes. The
//! alerts of those that ship, on the engine of Prometheus: when they fire and when not.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use kube::CustomResourceExt;
use plimsoll_api::{Runbook, RunbookApproval, RunbookExecution};
use plimsoll_e2e::{CONTROL_PLANE, PROMETHEUS, Test, Testbed, test};
use plimsoll_testbed::{ControlPlane, ControlPlaneOptions, Folder, Program, Promtool};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(CONTROL_PLANE, the_api_server_checks_runbooks),
        test(PROMETHEUS, the_alerts_of_ready_runbooks_fire_when_they_should),
        test(PROMETHEUS, a_rollout_is_taken_back_while_it_is_young),
    ]
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

/// Each folder's `alert_tests.yaml`, as its users run it: series of usual exporters with what is for the runbook in them,
/// and healthy ones. What fires has the labels that `alert.json` has, and so those that the runbook takes its parameters of.
async fn the_alerts_of_ready_runbooks_fire_when_they_should(testbed: &Testbed) -> Result<()> {
    let promtool = Promtool::new(testbed.bin())?;
    let mut tried = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../runbooks"))? {
        let shipped = entry?.path();
        let rules = shipped.join("alert_rules.yaml");
        if !rules.exists() {
            continue;
        }
        let name = shipped.display();
        let folder = Folder::new("alerts")?;
        let tests = folder.join("alert_tests.yaml");
        std::fs::copy(shipped.join("alert_tests.yaml"), &tests).with_context(|| format!("{name}: alert_tests.yaml"))?;
        let generate = Program::new(testbed.plimsoll()?).arg("generate").args([&rules]);
        let generated = generate.run("", Duration::from_secs(60)).await?.success()?;
        std::fs::write(folder.join("rules.yaml"), generated)?;
        promtool.check_rules(&[&folder.join("rules.yaml")]).await?;
        promtool.test_rules(&[&tests]).await.with_context(|| format!("{name}"))?;

        let (fired, quiet) = asked(&tests)?;
        ensure!(!fired.is_empty() && quiet > 2, "{name}: {} cases fire, {quiet} do not", fired.len());
        let wanted = labels(&shipped)?;
        ensure!(fired.iter().all(|names| *names == wanted), "{name}: {fired:?} for {wanted:?}");
        std::fs::write(folder.join("rules.yaml"), json!({"groups": []}).to_string())?;
        ensure!(promtool.test_rules(&[&tests]).await.is_err(), "{name}: its alert fires without its rule");
        tried += 1;
    }
    ensure!(tried >= 8, "{tried} runbooks");
    Ok(())
}

/// The names of the labels of each alert that a file of tests expects to fire, and how often it expects none.
fn asked(tests: &Path) -> Result<(Vec<BTreeSet<String>>, usize)> {
    let tests: Value = serde_saphyr::from_str(&std::fs::read_to_string(tests)?)?;
    let all = tests["tests"].as_array().into_iter().flatten();
    let (mut fired, mut quiet) = (Vec::new(), 0);
    for asked in all.flat_map(|test| test["promql_expr_test"].as_array().into_iter().flatten()) {
        let samples = asked["exp_samples"].as_array().map(Vec::as_slice).unwrap_or_default();
        quiet += usize::from(samples.is_empty());
        for sample in samples {
            let labels = sample["labels"].as_str().context("labels")?.trim_matches(['{', '}']);
            let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.trim().to_owned()));
            fired.push(names.collect());
        }
    }
    Ok((fired, quiet))
}

/// The names of the labels by which a runbook's example names what the alert is about.
fn labels(shipped: &Path) -> Result<BTreeSet<String>> {
    let message: Value = serde_json::from_str(&std::fs::read_to_string(shipped.join("alert.json"))?)?;
    let all = message["alerts"][0]["labels"].as_object().context("no labels")?;
    let of_the_rule = ["alertname", "alertrule", "severity"];
    let names: BTreeSet<String> = all.keys().filter(|name| !of_the_rule.contains(&name.as_str())).cloned().collect();
    let runbook: Value = serde_saphyr::from_str(&std::fs::read_to_string(shipped.join("runbook.yaml"))?)?;
    for parameter in runbook["spec"]["parameters"].as_array().into_iter().flatten() {
        let label = parameter["fromLabel"].as_str();
        ensure!(label.is_none_or(|label| names.contains(label)), "{}: no label {label:?}", shipped.display());
    }
    Ok(names)
}

/// The query by which `rollback-on-burn` goes on, with two replicas of kube-state-metrics.
async fn a_rollout_is_taken_back_while_it_is_young(testbed: &Testbed) -> Result<()> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runbooks/rollback-on-burn/runbook.yaml");
    let runbook: Value = serde_saphyr::from_str(&std::fs::read_to_string(shipped)?)?;
    let expr = runbook["spec"]["steps"][0]["query"]["expr"].as_str().context("the first step asks")?;
    let expr = expr.replace("$(workload)", "checkout");
    let set = |name: &str, of: &str, created: &str, pods: &str| {
        let at = |metric: &str, labels: &str, values: &str| {
            ["a", "b"].map(|replica| {
                let series = format!(
                    "{metric}{{namespace=\"shop\",replicaset=\"{name}\"{labels},job=\"kube-state-metrics\",instance=\"{replica}\"}}"
                );
                json!({"series": series, "values": values})
            })
        };
        let owner = format!(",owner_kind=\"Deployment\",owner_name=\"{of}\"");
        [
            at("kube_replicaset_created", "", created),
            at("kube_replicaset_owner", &owner, "1x300"),
            at("kube_replicaset_spec_replicas", "", pods),
        ]
        .concat()
    };
    // One that was rolled out at 60 s, one from before it, one that was taken back later, and another Deployment's.
    let series = [
        set("new", "checkout", "_ 60x300", "_ 3x300"),
        set("old", "checkout", "0x300", "3 0x300"),
        set("taken-back", "checkout", "_x20 1200x280", "_x20 0x280"),
        set("other", "cart", "_x30 1800x270", "_x30 1x270"),
    ]
    .concat();
    let young = json!([{"labels": "{}", "value": 3540}]);
    let folder = Folder::new("young")?;
    let tests = folder.join("tests.yaml");
    let all = json!({"evaluation_interval": "1m", "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [
        {"expr": expr, "eval_time": "1h", "exp_samples": young}, {"expr": expr, "eval_time": "62m"}]}]});
    std::fs::write(&tests, all.to_string())?;
    Promtool::new(testbed.bin())?.test_rules(&[&tests]).await.map(drop)
}
