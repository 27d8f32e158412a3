//! The operator dies at each write that it sends to a real API server, and the next one goes on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use axum::Router;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use plimsoll_api::execution::Phase;
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, test};
use plimsoll_testbed::{Server, wait_until};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    cluster::SOON,
    runbook_ground::{Ground, TOKEN, alert, may_scale, post, scaling},
};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(CONTROL_PLANE, killed_at_every_write_nothing_is_done_twice)]
}

/// A way to the API server that is cut after a number of writes, as in a crash: the last one has happened, but its
/// answer never arrives. Programs that are begun are counted, and never end.
#[derive(Clone)]
struct Cut {
    client: Client,
    left: Arc<watch::Sender<usize>>,
    /// Writes that have come, whether or not it is known that they have happened.
    come: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

impl Cut {
    /// Cuts it after so many writes from now on.
    fn after(&self, writes: usize) {
        self.come.store(0, Ordering::SeqCst);
        self.left.send_replace(writes);
    }

    /// Ends when it is cut.
    async fn reached(&self) {
        // The sender is here.
        let _ = self.left.subscribe().wait_for(|left| *left == 0).await;
    }

    async fn pass(self, request: axum::extract::Request) -> Result<axum::response::Response, String> {
        let runs = request.uri().path().ends_with("/exec");
        let path = request.uri().path();
        // Of the operator's own surroundings nothing is counted.
        let write = request.method() != axum::http::Method::GET
            && path.contains("/namespaces/shop/")
            && !path.contains("/events")
            && !path.ends_with("/runbooks/asks/status");
        let (mut parts, body) = request.into_parts();
        parts.headers.remove("host");
        let body = axum::body::to_bytes(body, 16 << 20).await.map_err(|error| error.to_string())?;
        if runs {
            self.begun.fetch_add(1, Ordering::SeqCst);
        }
        if write || runs {
            self.come.fetch_add(1, Ordering::SeqCst);
            if *self.left.borrow() == 0 {
                std::future::pending::<()>().await;
            }
        }
        let passed = async {
            let request = axum::http::Request::from_parts(parts, body.to_vec().into());
            self.client.send(request).await.map_err(|error| error.to_string())
        };
        // A program that was begun, and whose end nobody sees.
        let response = if runs { None } else { Some(passed.await?) };
        let counted = |left: &mut usize| {
            let is_last = *left == 1;
            *left = left.saturating_sub(1);
            is_last
        };
        if (write || runs) && self.left.send_if_modified(counted) {
            std::future::pending::<()>().await;
        }
        match response {
            Some(response) => Ok(response.map(axum::body::Body::new)),
            None => std::future::pending().await,
        }
    }
}

async fn killed_at_every_write_nothing_is_done_twice(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    let mut rules = may_scale();
    let more = json!({"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get", "create"]});
    rules.as_array_mut().context("rules")?.push(more);
    ground.account("scaler", rules).await?;
    ground.deployment("checkout").await?;
    ground.pod("checkout", "scaler").await?;
    // The runbooks are written while an undisturbed operator is there.
    let mut writer = ground.operator(testbed).await?;
    let mut spec = scaling("Repeats", "Auto", "scaler", 3);
    spec["safety"] = json!({"cooldown": "1s", "budget": {"runs": 100, "per": "1h"}, "circuitBreaker": {"failures": 100, "openFor": "1m"}});
    spec["parameters"] = json!([{"name": "workload", "object": "Deployment", "fromLabel": "deployment"},
        {"name": "pod", "object": "Pod", "fromLabel": "deployment"}]);
    spec["steps"] = json!([
        {"name": "more", "scale": {"workload": "workload", "replicas": 3, "max": 10}},
        {"name": "once", "exec": {"pod": "pod", "container": "app", "command": ["payout"]}, "timeout": "5s"},
    ]);
    spec["artifacts"] = json!({"volume": "evidence"});
    ground.runbook("asks", spec).await?;
    writer.stop().await?;

    let cut = Cut { client: ground.client.clone(), left: Arc::default(), come: Arc::default(), begun: Arc::default() };
    let passing = cut.clone();
    let proxy = Server::start(Router::new().fallback(move |request| passing.clone().pass(request))).await?;
    let kubeconfig = ground.kubeconfig_of(&proxy.url())?;

    let mut phases = Vec::new();
    for writes in 1_usize.. {
        cut.after(usize::MAX);
        cut.begun.store(0, Ordering::SeqCst);
        ground.plane.kubectl(["scale", "deployment/checkout", "-n", "shop", "--replicas=1"]).await?;
        let mut operator = ground.operator_by(testbed, &kubeconfig).await?;
        let mut one = alert("Repeats", "checkout", 100 + u64::try_from(writes)?);
        one["startsAt"] = json!(Timestamp::now().to_string());
        cut.after(writes);
        let over = async || {
            let before = phases.len();
            wait_until("the run to end", SOON, async || {
                let all = ground.of("asks").await?;
                ensure!(all.len() > before, "{} of {before}", all.len());
                let newest = all.into_iter().max_by_key(|one| one.spec.trigger.starts_at.0).context("an execution")?;
                let status = newest.status.unwrap_or_default();
                ensure!(status.phase.is_terminal(), "{status:?}");
                Ok(Some(status))
            })
            .await
        };
        // The post itself may be what is cut off.
        let message = post(&[one]);
        let posted = tokio::select! {
            posted = ground.post(TOKEN, &message) => Some(posted?.0),
            () = cut.reached() => None,
        };
        let killed = match posted {
            None => true,
            Some(code) => {
                ensure!(code == 200, "{code}");
                tokio::select! {
                    () = cut.reached() => true,
                    // The end can be seen before the answer to the write that brought it has come through here.
                    ended = over() => { ended?; cut.come.load(Ordering::SeqCst) >= writes }
                }
            }
        };
        operator.kill()?;
        cut.after(usize::MAX);
        let mut again = ground.operator_by(testbed, &kubeconfig).await?;
        wait_until("the alert to be taken", SOON, async || {
            Ok((ground.post(TOKEN, &message).await?.0 == 200).then_some(()))
        })
        .await?;
        let status = over().await?;
        again.stop().await?;
        let begun = cut.begun.load(Ordering::SeqCst);
        ensure!(begun <= 1, "killed after {writes} writes, the program was begun {begun} times");
        // Nothing is lost: it ended, and what nobody saw the end of is said to be so.
        ensure!(ground.replicas("checkout").await? == 3, "killed after {writes} writes");
        ensure!(status.phase == Phase::Unknown, "killed after {writes} writes: {status:?}");
        phases.push(status.phase);
        if !killed {
            break;
        }
    }
    // The creation with the start and the first intent, what each step does, the first outcome with the next intent, and the
    // last outcome: five at least, and once none is the last that was sent.
    ensure!(phases.len() > 5, "only {} writes were seen", phases.len());
    let all = ground.of("asks").await?;
    ensure!(all.iter().any(|one| one.spec.begun.is_some()), "none began with its making, so that was not tried");
    Ok(())
}
