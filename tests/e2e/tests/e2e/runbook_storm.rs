//! Many alerts while the leader is killed: nothing is lost, and what is done once is not done twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use axum::Router;
use kube::Client;
use plimsoll_api::execution::Phase;
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, test};
use plimsoll_testbed::{Server, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::SOON,
    runbook_ground::{Ground, TOKEN, alert, may_scale, post, scaling},
};

/// Alerts about a Pod of their own, in whose container a program is run: that is done once.
const PAYS: u64 = 24;
/// Alerts about a Deployment of their own, which is scaled: that may be done again.
const SCALES: u64 = 8;
/// Alerts in a post.
const EACH: usize = 4;

pub(crate) fn tests() -> Vec<Test> {
    vec![test(CONTROL_PLANE, a_leader_that_is_killed_in_a_storm_loses_nothing_and_repeats_nothing)]
}

/// Stands before the API server: programs in containers are counted by their Pod, and nobody sees their end. Everything
/// else passes.
#[derive(Clone)]
struct Counts {
    client: Client,
    begun: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Counts {
    fn begun(&self) -> BTreeMap<String, usize> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn pass(self, request: axum::extract::Request) -> Result<axum::response::Response, String> {
        if let Some(path) = request.uri().path().strip_suffix("/exec") {
            let pod = path.rsplit('/').next().unwrap_or_default().to_owned();
            *self.begun.lock().unwrap_or_else(PoisonError::into_inner).entry(pod).or_default() += 1;
            std::future::pending::<()>().await;
        }
        let (mut parts, body) = request.into_parts();
        parts.headers.remove("host");
        let body = axum::body::to_bytes(body, 16 << 20).await.map_err(|error| error.to_string())?;
        let request = axum::http::Request::from_parts(parts, body.to_vec().into());
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        Ok(response.map(axum::body::Body::new))
    }
}

async fn a_leader_that_is_killed_in_a_storm_loses_nothing_and_repeats_nothing(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    let mut rules = may_scale();
    let run = json!({"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get", "create"]});
    rules.as_array_mut().context("rules")?.push(run);
    ground.account("payer", rules).await?;
    let names = |of: &str, count: u64| (0..count).map(|i| format!("{of}-{i}")).collect::<Vec<String>>();
    for name in names("pays", PAYS) {
        ground.pod(&name, "payer").await?;
    }
    for name in names("scales", SCALES) {
        ground.deployment(&name).await?;
    }
    let counts = Counts { client: ground.client.clone(), begun: Arc::default() };
    let passing = counts.clone();
    let before = Server::start(Router::new().fallback(move |request| passing.clone().pass(request))).await?;
    let kubeconfig = ground.kubeconfig_of(&before.url())?;
    let (mut first, to_first) = ground.replica_by(testbed, "first", &kubeconfig).await?;
    wait_until("the first to lead", SOON, async || Ok((first.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    let (mut second, to_second) = ground.replica_by(testbed, "second", &kubeconfig).await?;

    let safety = json!({"cooldown": "1s", "maxConcurrent": 100, "budget": {"runs": 1000, "per": "1d"},
        "circuitBreaker": {"failures": 100, "openFor": "1m"}});
    let mut pays = scaling("Pays", "Auto", "payer", 3);
    pays["parameters"] = json!([{"name": "pod", "object": "Pod", "fromLabel": "deployment"}]);
    pays["steps"] = json!([{"name": "once", "timeout": "4s",
        "exec": {"pod": "pod", "container": "app", "command": ["payout"]}}]);
    pays["artifacts"] = json!({"volume": "evidence"});
    let mut scales = scaling("Scales", "Auto", "payer", 3);
    (pays["safety"], scales["safety"]) = (safety.clone(), safety);
    ground.runbook("pays", pays).await?;
    ground.runbook("scales", scales).await?;
    for name in ["Pays", "Scales"] {
        ground.known_to((&second, &to_second), name).await?;
    }

    let of = |what: &str, alertname: &str, count: u64, from: u64| -> Vec<Value> {
        (0..count).map(|i| alert(alertname, &format!("{what}-{i}"), from + i)).collect()
    };
    let (pays, scales) = (of("pays", "Pays", PAYS, 1000), of("scales", "Scales", SCALES, 2000));
    // Of both kinds in every part of the storm.
    let share = pays.len() / scales.len();
    let all: Vec<Value> =
        pays.chunks(share).zip(scales).flat_map(|(pays, scale)| pays.iter().cloned().chain([scale])).collect();
    ensure!(all.len() as u64 == PAYS + SCALES);
    let addresses = [&to_first, &to_second];
    let sending = async {
        for (i, alerts) in all.chunks(EACH).enumerate() {
            let (message, mut turn) = (post(alerts), i);
            // To one replica, then to the other, until one has stored all of it.
            wait_until("a post to be stored", SOON, async || {
                turn += 1;
                let address = addresses.into_iter().cycle().nth(turn % 2).context("an address")?;
                let (code, message) = ground.post_to(address, TOKEN, &message).await?;
                ensure!(code == 200, "{code} {message}");
                Ok(Some(()))
            })
            .await?;
        }
        anyhow::Ok(())
    };
    let killing = async {
        wait_until("some programs to run", SOON, async || Ok((counts.begun().len() >= 4).then_some(()))).await?;
        first.kill()
    };
    let (sent, killed) = tokio::join!(sending, killing);
    killed?;
    sent?;

    let phases = async |runbook: &str| -> Result<Vec<(String, Phase)>> {
        let all = ground.of(runbook).await?;
        let target = |one: &plimsoll_api::RunbookExecution| one.spec.objects.first().map(|o| o.name.clone());
        let mut phases: Vec<(String, Phase)> = all
            .iter()
            .filter_map(|one| Some((target(one)?, one.status.as_ref().map(|status| status.phase).unwrap_or_default())))
            .collect();
        phases.sort();
        Ok(phases)
    };
    let every = |of: &str, count: u64, phase: Phase| {
        let mut all: Vec<_> = names(of, count).into_iter().map(|name| (name, phase)).collect();
        all.sort();
        all
    };
    for (runbook, count, phase) in [("pays", PAYS, Phase::Unknown), ("scales", SCALES, Phase::Succeeded)] {
        let wanted = every(runbook, count, phase);
        wait_until(&format!("every run of {runbook} to end"), SOON * 2, async || {
            let seen = phases(runbook).await?;
            ensure!(seen == wanted, "{seen:?}");
            Ok(Some(()))
        })
        .await?;
    }
    wait_until("the second to lead", SOON, async || Ok((second.metric("plimsoll_leader").await? == 1).then_some(())))
        .await?;
    for name in names("scales", SCALES) {
        ensure!(ground.replicas(&name).await? == 3, "{name}");
    }
    let begun = counts.begun();
    ensure!(begun.values().all(|times| *times == 1), "{begun:?}");
    // Of those that the first had not begun, the second began every one.
    ensure!(begun.len() as u64 > PAYS / 2, "{begun:?}");
    second.stop().await
}
