//! `plimsoll runbook test --cluster` on a real API server: what it says is what the operator would do, and it changes nothing,
//! as somebody who may write nothing at all.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt as _;
use plimsoll_api::execution::Phase;
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, test};
use plimsoll_testbed::{Program, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::SOON,
    runbook_ground::{Ground, TOKEN, alert, ended, may_scale, post, scaling},
};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(CONTROL_PLANE, a_rehearsal_says_what_would_be_done_and_does_nothing)]
}

/// Sam may read what is in the cluster, and act as one account.
async fn sam(ground: &Ground, account: &str) -> Result<PathBuf> {
    let api = "rbac.authorization.k8s.io/v1";
    let reads = json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": "reads"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [account], "verbs": ["impersonate"]}]});
    ground.plane.apply(&reads.to_string()).await?;
    ground.plane.kubectl(["create", "clusterrolebinding", "reads", "--clusterrole=reads", "--user=sam"]).await?;
    ground.plane.kubeconfig_for("sam", None)
}

/// The exit status and what is said of a runbook in a file.
async fn rehearse(
    ground: &Ground,
    testbed: &Testbed,
    kubeconfig: &Path,
    (name, spec, alerts): (&str, &Value, &Value),
) -> Result<(Option<i32>, String)> {
    let [runbook, message] = ["rehearsed.yaml", "alert.json"].map(|file| ground.folder.join(file));
    let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    std::fs::write(&runbook, object.to_string())?;
    std::fs::write(&message, alerts.to_string())?;
    let program = Program::new(testbed.plimsoll()?).args(["runbook", "test", "--cluster"]).arg(&runbook);
    let program = program.arg("--alert").arg(&message).args(["--operator-namespace", "plimsoll-system"]);
    let ran = program.env("KUBECONFIG", kubeconfig).run("", Duration::from_secs(60)).await?;
    Ok((ran.status.code(), format!("{}{}", ran.stdout, ran.stderr)))
}

/// Everything there, with its version.
async fn everything(ground: &Ground) -> Result<String> {
    let kinds =
        "runbooks,runbookexecutions,runbookapprovals,deployments,pods,events,configmaps,secrets,serviceaccounts";
    let columns = "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name,V:.metadata.resourceVersion";
    ground.plane.kubectl(["get", kinds, "-A", "--no-headers", "-o", columns]).await
}

async fn a_rehearsal_says_what_would_be_done_and_does_nothing(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    ground.account("scaler", may_scale()).await?;
    ground.account("nothing", json!([])).await?;
    ground.deployment("checkout").await?;
    let sam = sam(&ground, "scaler").await?;
    let mut operator = ground.operator(testbed).await?;
    let spec = scaling("Acts", "Auto", "scaler", 3);
    ground.runbook("acts", spec.clone()).await?;
    operator.stop().await?;

    // Nobody but who rehearses is there.
    let before = everything(&ground).await?;
    let one = post(&[alert("Acts", "checkout", 1)]);
    let (code, said) = rehearse(&ground, testbed, &sam, ("acts", &spec, &one)).await?;
    let uid = ground.plane.kubectl(["get", "deployment/checkout", "-n=shop", "-o=jsonpath={.metadata.uid}"]).await?;
    for wanted in [
        "shop/acts matches alert Acts since 2026-01-01T00:00:00Z.\n",
        "The cluster has the same.\n",
        "  workload = Deployment checkout in namespace shop\n",
        &format!("      UID {}, 1 replicas, 0 are ready\n", uid.trim()),
        "Nothing that is known here would hold it back now.\n",
        "→ PATCH /apis/apps/v1/namespaces/shop/deployments/checkout/scale",
        "ServiceAccount shop/scaler has every right that these requests need.\n",
        "The cluster was asked and nothing in it was changed.",
    ] {
        ensure!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
    ensure!(code == Some(0), "{code:?}\n{said}");

    // What the account lacks is all told at once; what sam may not be is looked up as sam.
    let lacks = scaling("Acts", "Auto", "nothing", 3);
    let (code, said) = rehearse(&ground, testbed, &sam, ("acts", &lacks, &one)).await?;
    for wanted in [
        "The cluster has another content of it",
        "(looked up as sam: sam may not act as ServiceAccount shop/nothing)\n",
        "✗ NotAllowed: who wrote the runbook may not use ServiceAccount nothing",
    ] {
        ensure!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
    ensure!(code == Some(1), "{code:?}\n{said}");
    let admin = ground.plane.kubeconfig().to_owned();
    let (code, said) = rehearse(&ground, testbed, &admin, ("acts", &lacks, &one)).await?;
    let rules = "\
ServiceAccount shop/nothing lacks rights that these requests need:
  ✗ bind it to a Role in namespace shop with these rules:
      - {apiGroups: [apps], resources: [deployments], verbs: [get]}
      - {apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}
      - {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list]}
";
    ensure!(said.contains(rules) && code == Some(1), "{code:?}\n{said}");

    // What the operator would not know either.
    let mut verified = spec.clone();
    verified["verify"] = json!({"slo": "gone", "after": "1m", "onFailure": "Rollback"});
    let (code, said) = rehearse(&ground, testbed, &sam, ("acts", &verified, &one)).await?;
    ensure!(said.contains("✗ NotKnown: there is no SLO gone in the runbook's namespace") && code == Some(1), "{said}");

    // What is not there, and what is protected.
    let (code, said) = rehearse(&ground, testbed, &sam, ("acts", &spec, &post(&[alert("Acts", "gone", 1)]))).await?;
    ensure!(said.contains("✗ parameter workload: there is no Deployment gone") && code == Some(1), "{said}");
    ensure!(everything(&ground).await? == before, "something was changed:\n{before}\n{}", everything(&ground).await?);

    // What the operator has done counts, and so does its switch.
    let mut operator = ground.operator(testbed).await?;
    wait_until("the alert to be stored", SOON, async || Ok((ground.post(TOKEN, &one).await?.0 == 200).then_some(())))
        .await?;
    let done = ground.only("acts", ended(Phase::Succeeded)).await?;
    let (code, said) = rehearse(&ground, testbed, &sam, ("acts", &spec, &one)).await?;
    let already = format!("It is not started: execution {} is of this already and is Succeeded.", done.name_any());
    ensure!(said.contains(&already) && code == Some(1), "{said}");
    let paused = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "plimsoll-runbooks", "namespace": "plimsoll-system"},
        "data": {"paused": "true", "reason": "moving"}});
    ground.plane.apply(&paused.to_string()).await?;
    operator.stop().await?;
    let before = everything(&ground).await?;
    let again = post(&[alert("Acts", "checkout", 2)]);
    let (code, said) = rehearse(&ground, testbed, &sam, ("acts", &spec, &again)).await?;
    for wanted in ["✗ Paused: all runbooks are paused: moving\n", "✗ Cooldown: ", "3 replicas"] {
        ensure!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
    ensure!(code == Some(1), "{code:?}\n{said}");
    ensure!(everything(&ground).await? == before, "something was changed");
    ensure!(ground.of("acts").await?.len() == 1 && ground.replicas("checkout").await? == 3);
    let status = done.status.context("status")?;
    ensure!(status.steps.len() == 1, "{status:?}");
    Ok(())
}
