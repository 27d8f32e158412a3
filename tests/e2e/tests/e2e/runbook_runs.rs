//! Runbooks on a real API server: from a post of Alertmanager to what a step does, and what keeps it from that.
//! Prometheus is a server of the test that says that what is asked for holds.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{api::events::v1::Event, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use plimsoll_api::{Runbook, RunbookExecution, RunbookExecutionStatus, execution::Phase};
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, test};
use plimsoll_testbed::{Alertmanager, Component, Prometheus, PrometheusOptions, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::{SOON, may},
    runbook_ground::{Ground, TOKEN, alert, ended, may_scale, post, scaling},
};

const MONITORED: &[Component] =
    &[Component::Etcd, Component::Kubernetes, Component::Prometheus, Component::Alertmanager];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(CONTROL_PLANE, the_same_alert_a_hundred_times_is_one_execution),
        test(CONTROL_PLANE, nobody_gets_rights_by_a_runbook),
        test(CONTROL_PLANE, somebody_else_must_approve),
        test(CONTROL_PLANE, the_kill_switch_holds_across_a_restart),
        test(CONTROL_PLANE, a_runaway_is_stopped),
        test(CONTROL_PLANE, of_many_alerts_none_is_lost),
        test(CONTROL_PLANE, any_replica_takes_alerts_and_the_next_leader_goes_on),
        test(MONITORED, from_prometheus_through_alertmanager_to_what_helps_and_what_does_not),
    ]
}

async fn the_same_alert_a_hundred_times_is_one_execution(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    ground.account("scaler", may_scale()).await?;
    for name in ["acts", "shows"] {
        ground.deployment(name).await?;
    }
    let mut operator = ground.operator(testbed).await?;
    ground.runbook("acts", scaling("Acts", "Auto", "scaler", 3)).await?;
    let mut shows = scaling("Shows", "Auto", "scaler", 3);
    // Who says nothing gets a dry run.
    shows["mode"] = Value::Null;
    if let Some(spec) = shows.as_object_mut() {
        spec.remove("mode");
    }
    ground.runbook("shows", shows).await?;

    let both = post(&[alert("Acts", "acts", 1), alert("Shows", "shows", 2)]);
    ensure!(ground.post("not-the-right-token", &both).await?.0 == 401);
    ensure!(ground.executions().list(&ListParams::default()).await?.items.is_empty());
    let two_alertmanagers = [0, 1].map(|_| async {
        for _ in 0..50 {
            let (code, message) = ground.post(TOKEN, &both).await?;
            ensure!(code == 200, "{code} {message}");
        }
        Ok(())
    });
    let [first, second] = two_alertmanagers;
    let (first, second) = tokio::join!(first, second);
    first.and(second)?;

    let acts = ground.only("acts", ended(Phase::Succeeded)).await?;
    ensure!(ground.replicas("acts").await? == 3);
    let status = acts.status.clone().context("status")?;
    let step = status.steps.first().context("a step")?;
    ensure!(step.effect.attempts == Some(1) && step.effect.intent_time.is_some(), "{step:?}");
    ensure!(acts.spec.traceparent.is_some() && acts.spec.trigger.fingerprint == "0000000000000001");
    let shows = ground.only("shows", ended(Phase::Succeeded)).await?;
    ensure!(shows.status.and_then(|status| status.reason).as_deref() == Some("DryRun"));
    ensure!(ground.replicas("shows").await? == 1);
    // Events are told beside the run, and end with whoever tells them.
    let events: Api<Event> = Api::namespaced(ground.client.clone(), "shop");
    wait_until("the event of the step", SOON, async || {
        let told = events.list(&ListParams::default()).await?.items;
        Ok(told.into_iter().find(|event| event.reason.as_deref() == Some("StepSucceeded")))
    })
    .await?;

    // The same again, after a restart too, is known; another start of the alert is another one, and in its cooldown.
    operator.stop().await?;
    let mut operator = ground.operator(testbed).await?;
    wait_until("the alert to be known again", SOON, async || {
        Ok((ground.post(TOKEN, &both).await?.0 == 200).then_some(()))
    })
    .await?;
    ensure!(ground.of("acts").await?.len() == 1);
    let columns = ground.plane.kubectl(["get", "rbx", "-n", "shop"]).await?;
    ensure!(columns.contains("Succeeded"), "{columns}");
    operator.stop().await?;
    // An account that may not read PodDisruptionBudgets need not; the operator itself lacks nothing.
    let log = operator.log()?;
    ensure!(!log.contains("forbidden"), "{log}");
    Ok(())
}

async fn nobody_gets_rights_by_a_runbook(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    let mut reads = may_scale();
    reads[1]["verbs"] = json!(["get"]);
    ground.account("reader", reads).await?;
    ground.account("nothing", json!([])).await?;
    ground.account("scaler", may_scale()).await?;
    ground.deployment("checkout").await?;
    let mut operator = ground.operator(testbed).await?;

    // The account may look, but not scale: the step says so.
    ground.runbook("reads", scaling("Reads", "Auto", "reader", 3)).await?;
    ensure!(ground.post(TOKEN, &post(&[alert("Reads", "checkout", 1)])).await?.0 == 200);
    let failed = ground.only("reads", ended(Phase::Failed)).await?;
    let message = failed.status.clone().context("status")?.steps.first().and_then(|step| step.effect.message.clone());
    let message = message.context("a message")?;
    ensure!(message.contains("403") && message.contains("system:serviceaccount:shop:reader"), "{message}");
    let lacks = "; ServiceAccount shop/reader lacks rights; bind it to a Role in namespace shop with the rules \
        {apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}";
    ensure!(message.ends_with(lacks), "{message}");

    // It may not even look: there is nothing to plan, an event says why, and Alertmanager is to send it again.
    ground.runbook("blind", scaling("Blind", "Auto", "nothing", 3)).await?;
    ensure!(ground.post(TOKEN, &post(&[alert("Blind", "checkout", 2)])).await?.0 == 503);
    let events: Api<Event> = Api::namespaced(ground.client.clone(), "shop");
    let told = wait_until("the event", SOON, async || {
        let all = events.list(&ListParams::default()).await?.items;
        Ok(all.into_iter().find(|event| event.reason.as_deref() == Some("NotAllowed")))
    })
    .await?;
    // All that it lacks at once, and not only what it may not do first.
    for rule in ["resources: [deployments], verbs: [get]", "resources: [deployments/scale], verbs: [patch]"] {
        ensure!(told.note.as_deref().is_some_and(|note| note.contains(rule)), "{:?}", told.note);
    }
    ensure!(ground.of("blind").await?.is_empty() && ground.replicas("checkout").await? == 1);

    // Eve may write runbooks, but not act as the account.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "writer"},
        "rules": [{"apiGroups": ["plimsoll.dev"], "resources": ["runbooks", "runbookexecutions", "runbookexecutions/status"], "verbs": ["*"]}]});
    ground.plane.apply(&role.to_string()).await?;
    ground.plane.kubectl(["create", "clusterrolebinding", "writer", "--clusterrole=writer", "--user=eve"]).await?;
    // Her own rights are not what is tried here.
    let kubeconfig = ground.plane.kubeconfig_for("eve", None)?;
    may(&kubeconfig, &["runbooks", "runbookexecutions"].map(|resource| ("create", "plimsoll.dev", resource, "shop")))
        .await?;
    let eve = plimsoll_testbed::client_from(&kubeconfig).await?;
    let runbooks: Api<Runbook> = Api::namespaced(eve.clone(), "shop");
    let hers = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "hers"},
        "spec": scaling("Hers", "Auto", "scaler", 9)});
    let refused = runbooks.create(&PostParams::default(), &serde_json::from_value(hers)?).await;
    let refused = refused.err().context("eve's runbook was stored")?.to_string();
    ensure!(refused.contains("eve may not use ServiceAccount shop/scaler"), "{refused}");
    // Nor can she change somebody's runbook, or make an execution of her own.
    ground.runbook("good", scaling("Good", "DryRun", "scaler", 2)).await?;
    let change = json!({"spec": {"steps": [{"name": "more", "scale": {"workload": "workload", "replicas": 9, "max": 10}}], "mode": "Auto"}});
    ensure!(runbooks.patch("good", &PatchParams::default(), &Patch::Merge(&change)).await.is_err());
    let mut forged = failed_copy(&ground.of("reads").await?)?;
    forged.spec.service_account_name = "scaler".to_owned();
    let executions: Api<RunbookExecution> = Api::namespaced(eve, "shop");
    executions.create(&PostParams::default(), &forged).await?;
    let forged = wait_until("the forged execution", SOON, async || {
        let status = executions.get("forged").await?.status.unwrap_or_default();
        Ok(status.phase.is_terminal().then_some(status))
    })
    .await?;
    // It says that it had begun, which nobody can tell from one whose seal is of a key that is gone.
    ensure!(forged.phase == Phase::Unknown && forged.reason.as_deref() == Some("NotSealed"), "{forged:?}");
    ensure!(ground.replicas("checkout").await? == 1, "nothing is done by it");
    // One that began with its making is not begun again by a copy of it, seal and all.
    let mut copy = RunbookExecution::new(&failed.name_any(), failed.spec.clone());
    copy.metadata.annotations.clone_from(&failed.metadata.annotations);
    ensure!(copy.spec.begun.is_some(), "{copy:?}");
    executions.delete(&failed.name_any(), &DeleteParams::default()).await?;
    executions.create(&PostParams::default(), &copy).await?;
    let copied = wait_until("the copy", SOON, async || {
        let status = executions.get(&failed.name_any()).await?.status.unwrap_or_default();
        Ok(status.phase.is_terminal().then_some(status))
    })
    .await?;
    ensure!(copied.phase == Phase::Unknown && copied.reason.as_deref() == Some("Copied"), "{copied:?}");
    // Nor does what she says of somebody's make it begin: this one was only shown.
    ensure!(ground.post(TOKEN, &post(&[alert("Good", "checkout", 3)])).await?.0 == 200);
    let shown = ground.only("good", ended(Phase::Succeeded)).await?;
    let begun = json!({"status": {"phase": "Running", "startedAt": shown.creation_timestamp(), "finishedAt": null}});
    executions.patch_status(&shown.name_any(), &PatchParams::default(), &Patch::Merge(&begun)).await?;
    // Who leads next looks at all of them.
    operator.stop().await?;
    let mut operator = ground.operator(testbed).await?;
    ground.only("good", |status| status.reason.as_deref() == Some("StatusForged")).await?;
    ensure!(ground.replicas("checkout").await? == 1);
    // Of hers that is none, and yet stored, a run takes the name, and people see all others.
    let resource = ApiResource::erase::<RunbookExecution>(&());
    let hers: Api<DynamicObject> = Api::namespaced_with(executions.clone().into_client(), "shop", &resource);
    let broken = |name: &str| -> Result<DynamicObject> {
        let mut object = serde_json::to_value(RunbookExecution::new(name, shown.spec.clone()))?;
        (object["metadata"]["labels"], object["spec"]["steps"]) = (json!(shown.labels()), json!([{}]));
        Ok(serde_json::from_value(object)?)
    };
    executions.delete(&shown.name_any(), &DeleteParams::default()).await?;
    hers.create(&PostParams::default(), &broken(&shown.name_any())?).await?;
    let (code, message) = ground.post(TOKEN, &post(&[alert("Good", "checkout", 3)])).await?;
    ensure!(code == 200, "{code} {message}");
    ground.only("good", ended(Phase::Succeeded)).await?;
    hers.create(&PostParams::default(), &broken("broken")?).await?;
    let listed = ground.plimsoll(testbed, ground.plane.kubeconfig(), &["list", "-n", "shop"]).await?;
    let wrong = "execution shop/broken cannot be read (Missing field name)";
    ensure!(listed.starts_with(wrong) && listed.contains(&shown.name_any()), "{listed}");
    operator.stop().await
}

/// A copy of an execution under another name, seal and all.
fn failed_copy(all: &[RunbookExecution]) -> Result<RunbookExecution> {
    let original = all.first().context("an execution")?;
    let mut copy = RunbookExecution::new("forged", original.spec.clone());
    copy.metadata.annotations.clone_from(&original.metadata.annotations);
    Ok(copy)
}

async fn somebody_else_must_approve(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    ground.account("scaler", may_scale()).await?;
    ground.deployment("checkout").await?;
    let mut operator = ground.operator(testbed).await?;
    let mut spec = scaling("Asks", "Approve", "scaler", 3);
    spec["safety"] = json!({"cooldown": "1s"});
    ground.runbook("asks", spec).await?;
    let admin = ground.plane.kubeconfig().to_owned();
    let bob = ground.plane.kubeconfig_for("bob", Some("system:masters"))?;
    let run = ["run", "asks", "-n", "shop", "--parameter", "workload=checkout"];
    let waits = |status: &RunbookExecutionStatus| status.phase == Phase::AwaitingApproval;

    let told = ground.plimsoll(testbed, &admin, &run).await?;
    let name = told.lines().next().context("a name")?.to_owned();
    let waiting = ground.only("asks", waits).await?;
    ensure!(waiting.name_any() == name, "{told}");
    // Whoever wrote it may not approve it.
    let own = ground.plimsoll(testbed, &admin, &["approve", &name, "-n", "shop"]).await;
    let own = format!("{:#}", own.err().context("the author approved it")?);
    ensure!(own.contains("somebody else must approve it"), "{own}");
    ensure!(ground.replicas("checkout").await? == 1);
    let approved = ground.plimsoll(testbed, &bob, &["approve", &name, "-n", "shop", "--reason", "CHG-1"]).await?;
    ensure!(approved.starts_with("bob approved"), "{approved}");
    let done = ground.only("asks", ended(Phase::Succeeded)).await?;
    let decided = done.status.and_then(|status| status.approval).context("who approved")?;
    ensure!(decided.decider == "bob" && decided.reason.as_deref() == Some("CHG-1"), "{decided:?}");
    ensure!(ground.replicas("checkout").await? == 3);
    let shown = ground.plimsoll(testbed, &bob, &["show", &name, "-n", "shop"]).await?;
    ensure!(shown.contains("- more: Succeeded"), "{shown}");

    // A no is a no, whoever says it.
    let told = ground.plimsoll(testbed, &bob, &run).await?;
    let name = told.lines().next().context("a name")?.to_owned();
    wait_until("the second to wait", SOON, async || {
        let status = ground.executions().get(&name).await?.status.unwrap_or_default();
        ensure!(waits(&status), "{status:?}");
        Ok(Some(()))
    })
    .await?;
    ground.plimsoll(testbed, &bob, &["deny", &name, "-n", "shop"]).await?;
    let status = wait_until("the denial", SOON, async || {
        let status = ground.executions().get(&name).await?.status.unwrap_or_default();
        Ok(status.phase.is_terminal().then_some(status))
    })
    .await?;
    ensure!(status.phase == Phase::Skipped && status.reason.as_deref() == Some("Denied"), "{status:?}");
    // What the runbook does not know is told to whoever asks.
    let wrong = ["run", "asks", "-n", "shop", "--parameter", "workload=nowhere"];
    let wrong = ground.plimsoll(testbed, &bob, &wrong).await;
    let wrong = format!("{:#}", wrong.err().context("it was started")?);
    ensure!(wrong.contains("there is no Deployment nowhere"), "{wrong}");
    // Not what was told of the mistake before, though it is a mistake of the same kind.
    let other = ["run", "asks", "-n", "shop", "--parameter", "workload=elsewhere"];
    let other = ground.plimsoll(testbed, &bob, &other).await;
    let other = format!("{:#}", other.err().context("it was started")?);
    ensure!(other.contains("there is no Deployment elsewhere"), "{other}");
    // Two at once are two runs, each told to whoever asked for it.
    let before = ground.executions().list(&ListParams::default()).await?.items.len();
    let asks = || ground.plimsoll(testbed, &bob, &run);
    let (one, two) = tokio::join!(asks(), asks());
    let first_line = |told: String| told.lines().next().map(str::to_owned);
    let (one, two) = (first_line(one?), first_line(two?));
    ensure!(one.is_some() && one != two, "{one:?} is {two:?}");
    ensure!(ground.executions().list(&ListParams::default()).await?.items.len() == before + 2);
    operator.stop().await
}

async fn the_kill_switch_holds_across_a_restart(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    ground.account("scaler", may_scale()).await?;
    ground.deployment("checkout").await?;
    let (mut operator, address) = ground.replica(testbed, "first").await?;
    let mut spec = scaling("Slow", "Auto", "scaler", 3);
    spec["steps"] = json!([{"name": "first", "wait": "10s"}, {"name": "more", "scale": {"workload": "workload", "replicas": 3, "max": 10}}]);
    ground.runbook("slow", spec).await?;
    let admin = ground.plane.kubeconfig().to_owned();
    // Where no operator is, nobody obeys, and that is said.
    let nobody = ground.plimsoll(testbed, &admin, &["pause", "--operator-namespace", "default"]).await;
    let said = nobody.err().context("a pause that nobody obeys is none")?.to_string();
    ensure!(said.contains("NOT PAUSED") && said.contains("an operator leads in plimsoll-system"), "{said}");
    ensure!(operator.metric("plimsoll_runbooks_paused").await? == 0);
    ensure!(ground.post_to(&address, TOKEN, &post(&[alert("Slow", "checkout", 1)])).await?.0 == 200);
    ground.only("slow", |status| !status.steps.is_empty()).await?;
    // It waits by now; it takes up to two seconds and the start of a program until a pause is known.
    let waits = Instant::now();
    let said = ground.plimsoll(testbed, &admin, &["pause", "--reason", "a test"]).await?;
    ensure!(said.contains("says the operator first in namespace plimsoll-system"), "{said}");
    // It is done when it is said, and that was before the wait was over: what was begun before that proves nothing.
    ensure!(operator.metric("plimsoll_runbooks_paused").await? == 1);
    // The wait is over, and what comes after it is not begun; nor after a restart.
    operator.stop().await?;
    let (mut operator, _) = ground.replica(testbed, "second").await?;
    wait_until("the wait to be over", SOON, async || Ok((waits.elapsed() > Duration::from_secs(12)).then_some(())))
        .await?;
    wait_until("the operator to see it again", SOON, async || {
        Ok((operator.metric("plimsoll_runbooks_paused").await? == 1).then_some(()))
    })
    .await?;
    let status = ground.only("slow", |status| !status.phase.is_terminal()).await?.status.context("status")?;
    ensure!(status.steps.iter().all(|step| step.name == "first"), "{status:?}");
    ensure!(ground.replicas("checkout").await? == 1);
    // Another one is held back by its guard, and says so.
    ground.plimsoll(testbed, &admin, &["resume"]).await?;
    ground.only("slow", ended(Phase::Succeeded)).await?;
    ensure!(ground.replicas("checkout").await? == 3);
    operator.stop().await
}

/// What an action causes starts the same runbook again and again: the guards end that, and an event says which.
async fn a_runaway_is_stopped(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    ground.account("scaler", may_scale()).await?;
    for i in 0..4 {
        ground.deployment(&format!("d{i}")).await?;
    }
    let mut operator = ground.operator(testbed).await?;
    let mut spec = scaling("Again", "Auto", "scaler", 2);
    spec["safety"] = json!({"cooldown": "1h", "budget": {"runs": 2, "per": "1h"}, "maxConcurrent": 5});
    ground.runbook("again", spec).await?;
    // The same target, by another start of the alert: cooldown.
    ensure!(ground.post(TOKEN, &post(&[alert("Again", "d0", 1)])).await?.0 == 200);
    ground.only("again", ended(Phase::Succeeded)).await?;
    let mut later = alert("Again", "d0", 1);
    later["startsAt"] = json!("2026-01-01T00:05:00Z");
    ensure!(ground.post(TOKEN, &post(&[later])).await?.0 == 200);
    // Other targets: budget.
    for i in 1..4 {
        ensure!(ground.post(TOKEN, &post(&[alert("Again", &format!("d{i}"), 10 + i)])).await?.0 == 200);
    }
    let reasons = wait_until("every run to be held back or done", SOON, async || {
        let all = ground.of("again").await?;
        let mut reasons: Vec<String> = all.iter().filter_map(|one| one.status.as_ref()?.reason.clone()).collect();
        reasons.sort();
        ensure!(all.len() == 5 && reasons.len() == 5, "{reasons:?}");
        ensure!(
            all.iter()
                .all(|one| one.status.as_ref().is_some_and(|s| matches!(s.phase, Phase::Blocked | Phase::Succeeded))),
            "{reasons:?}"
        );
        Ok(Some(reasons))
    })
    .await?;
    ensure!(reasons == ["Budget", "Budget", "Cooldown", "Done", "Done"], "{reasons:?}");
    let events: Api<Event> = Api::namespaced(ground.client.clone(), "shop");
    for reason in ["Budget", "Cooldown"] {
        wait_until(&format!("the event {reason}"), SOON, async || {
            let all = events.list(&ListParams::default()).await?.items;
            Ok(all.into_iter().find(|event| event.reason.as_deref() == Some(reason)))
        })
        .await?;
    }
    // What is resolved does not wait any longer.
    let mut over = alert("Again", "d0", 1);
    over["startsAt"] = json!("2026-01-01T00:05:00Z");
    over["status"] = json!("resolved");
    over["endsAt"] = json!(Timestamp::now().to_string());
    ensure!(ground.post(TOKEN, &post(&[over])).await?.0 == 200);
    wait_until("the resolved one to be skipped", SOON, async || {
        let all = ground.of("again").await?;
        Ok(all.iter().find(|one| one.status.as_ref().is_some_and(|s| s.reason.as_deref() == Some("Resolved"))).cloned())
    })
    .await?;
    operator.stop().await
}

/// While alerts come in, nothing can be stored for a while: what is not stored is a 503, and sent again as
/// Alertmanager does. A post of which a part was stored is one execution for each alert all the same.
async fn of_many_alerts_none_is_lost(testbed: &Testbed) -> Result<()> {
    const POSTS: u64 = 12;
    const EACH: u64 = 50;
    let mut ground = Ground::new(testbed).await?;
    ground.account("nobody", json!([])).await?;
    let mut operator = ground.operator(testbed).await?;
    let spec = json!({"serviceAccountName": "nobody", "trigger": {"alert": ["alertname=\"Many\""]},
        "steps": [{"name": "a", "wait": "1s"}]});
    ground.runbook("many", spec).await?;
    let (http, url) = (ground.alertmanager().await?, ground.alerts_url());
    let (started, refused) = (Instant::now(), AtomicUsize::new(0));
    // Half of the posts come when nothing can be stored: however quick the operator is, there is something to refuse.
    let (away, is_away) = tokio::sync::watch::channel(false);
    let sending = futures::future::try_join_all((0..POSTS).map(|i| {
        let alerts: Vec<Value> = (0..EACH).map(|j| alert("Many", "none", i * EACH + j)).collect();
        let (message, refused, http, url) = (post(&alerts), &refused, &http, &url);
        let mut is_away = is_away.clone();
        async move {
            if i >= POSTS / 2 {
                is_away.wait_for(|away| *away).await?;
            }
            wait_until("a post to be stored", SOON * 2, async || {
                let answer = http.post(url).bearer_auth(TOKEN).json(&message).send().await?;
                match answer.status().as_u16() {
                    200 => Ok(Some(())),
                    503 => {
                        refused.fetch_add(1, Ordering::SeqCst);
                        Ok(None)
                    }
                    code => anyhow::bail!("{code}"),
                }
            })
            .await
        }
    }));
    let disturbing = async {
        let away = away;
        wait_until("some to be stored", SOON, async || Ok((ground.of("many").await?.len() >= 20).then_some(())))
            .await?;
        ground.plane.stop_etcd().await?;
        away.send_replace(true);
        wait_until("a post to be refused", SOON, async || Ok((refused.load(Ordering::SeqCst) > 0).then_some(())))
            .await?;
        ground.plane.start_etcd().await
    };
    let (sent, disturbed) = tokio::join!(sending, disturbing);
    disturbed?;
    sent?;
    let took = started.elapsed();
    let stored = ground.of("many").await?.len();
    ensure!(stored == usize::try_from(POSTS * EACH)?, "{stored} are stored");
    let peak = operator.usage()?.resident_peak >> 20;
    // A figure, not a condition: other tests run beside this one.
    println!(
        "{stored} alerts stored in {took:.1?}, {} posts answered 503, peak memory {peak} MiB",
        refused.load(Ordering::SeqCst)
    );
    ensure!(peak < 512, "{peak} MiB");
    operator.stop().await
}

async fn any_replica_takes_alerts_and_the_next_leader_goes_on(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    ground.account("scaler", may_scale()).await?;
    ground.deployment("checkout").await?;
    let (mut first, _) = ground.replica(testbed, "first").await?;
    wait_until("the first to lead", SOON, async || Ok((first.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    let (mut second, alerts) = ground.replica(testbed, "second").await?;
    let mut spec = scaling("Slow", "Auto", "scaler", 3);
    let scale = spec["steps"][0].clone();
    spec["steps"] = json!([{"name": "first", "wait": "8s"}, scale]);
    ground.runbook("slow", spec).await?;
    let one = post(&[alert("Slow", "checkout", 1)]);
    wait_until("the second to know the runbook", SOON, async || {
        let (code, message) = ground.post_to(&alerts, TOKEN, &one).await?;
        ensure!(code == 200, "{code} {message}");
        Ok((!ground.of("slow").await?.is_empty()).then_some(()))
    })
    .await?;
    ground.only("slow", |status| !status.steps.is_empty()).await?;
    ensure!(second.metric("plimsoll_leader").await? == 0);
    first.kill()?;
    ground
        .only("slow", |status| !status.phase.is_terminal() && status.steps.iter().all(|step| step.name == "first"))
        .await
        .context("the first has done all of it")?;
    let done = ground.only("slow", ended(Phase::Succeeded)).await?;
    ensure!(ground.replicas("checkout").await? == 3);
    wait_until("the second to lead", SOON, async || Ok((second.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    ensure!(done.status.is_some_and(|status| status.steps.len() == 2));
    second.stop().await
}

/// Two alerts of a real Prometheus, by a real Alertmanager: after one run the SLO burns slowly enough, after the other
/// it does not, so what was done is undone.
async fn from_prometheus_through_alertmanager_to_what_helps_and_what_does_not(testbed: &Testbed) -> Result<()> {
    let alertmanager =
        Alertmanager::start(testbed.bin(), &json!({"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}))
            .await?;
    let options =
        PrometheusOptions { alertmanager: Some(alertmanager.url().to_owned()), ..PrometheusOptions::default() };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    let ground = Ground::with(testbed, Some(prometheus.url()), Some(alertmanager.url())).await?;
    ground.account("scaler", may_scale()).await?;
    for name in ["helped", "hurt"] {
        ground.deployment(name).await?;
    }
    let mut operator = ground.operator(testbed).await?;
    for (name, alert, on_failure) in [("helped", "Helped", "Escalate"), ("hurt", "Hurt", "Rollback")] {
        let mut spec = scaling(alert, "Auto", "scaler", 3);
        spec["verify"] = json!({"slo": name, "after": "10s", "onFailure": on_failure});
        if let Some(steps) = spec["steps"].as_array_mut().filter(|_| name == "helped") {
            let silence =
                json!({"matchers": ["alertname=\"Helped\""], "for": "1h", "comment": "it is being looked at"});
            steps.push(json!({"name": "quiet", "silence": silence}));
        }
        ground.runbook(name, spec).await?;
    }
    ground.hears(&alertmanager).await?;

    let alert = |name: &str, workload: &str| json!({"alert": name, "expr": "vector(1)", "labels": {"namespace": "shop", "deployment": workload}});
    let burn = |slo: &str, rate: &str| json!({"record": "slo:burn_rate:window", "expr": format!("vector({rate})"), "labels": {"slo_id": format!("shop/{slo}"), "window": "5m"}});
    let rules = [alert("Helped", "helped"), alert("Hurt", "hurt"), burn("helped", "0.5"), burn("hurt", "20")];
    prometheus.load_rules("rules.yml", &json!({"groups": [{"name": "test", "rules": rules}]}).to_string()).await?;

    let helped = ground.only("helped", ended(Phase::Succeeded)).await?;
    ensure!(ground.replicas("helped").await? == 3);
    let verified = helped.status.and_then(|status| status.verification?.message).unwrap_or_default();
    ensure!(verified.contains("burns at 0.5"), "{verified}");
    let silences = alertmanager.amtool(["silence", "query", "-o", "json"]).await?;
    ensure!(silences.contains(&format!("plimsoll shop/{}/quiet", helped.metadata.name.context("name")?)), "{silences}");

    let hurt = ground.only("hurt", ended(Phase::RolledBack)).await?;
    let status = hurt.status.context("status")?;
    ensure!(status.reason.as_deref() == Some("NotRecovered"), "{status:?}");
    ensure!(ground.replicas("hurt").await? == 1, "it was not put back");
    operator.stop().await
}
