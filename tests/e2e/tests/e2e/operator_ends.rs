//! The operator ends soon after SIGTERM, whatever it is waiting for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use axum::{Router, body::Body, extract::Request, response::Response};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use plimsoll_e2e::{Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{Component, Program, Server, wait_until};

use crate::{cluster::SOON, runbook_ground::Ground};

/// It takes half a second. A wait that nobody has thought of takes 25 s, until the operator gives up, or for ever.
const END: Duration = Duration::from_secs(10);

const SERVERS: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![test(SERVERS, it_ends_soon_whatever_it_waits_for)]
}

/// What is not let through the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shut {
    Nothing,
    Lists,
    Everything,
}

/// A way to the API server on which requests can be held for ever.
#[derive(Clone)]
struct Door {
    client: Client,
    /// What is held, and the paths of those that were.
    state: Arc<Mutex<(Shut, Vec<String>)>>,
}

impl Door {
    fn shut(&self, what: Shut) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (what, Vec::new());
    }

    /// Waits until a request of such a path is held.
    async fn holds(&self, path: &str) -> Result<()> {
        wait_until(&format!("a request of {path} to be held"), SOON, async || {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(state.1.iter().any(|held| held.contains(path)).then_some(()))
        })
        .await
    }

    async fn pass(self, request: Request) -> Result<Response, String> {
        let is_held = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let query = request.uri().query().unwrap_or_default();
            let lists = query.contains("limit=") && !query.contains("watch=");
            let is_held = state.0 == Shut::Everything || state.0 == Shut::Lists && lists;
            if is_held {
                state.1.push(request.uri().path().to_owned());
            }
            is_held
        };
        if is_held {
            std::future::pending::<()>().await;
        }
        let (mut parts, body) = request.into_parts();
        parts.headers.remove("host");
        let body = axum::body::to_bytes(body, 16 << 20).await.map_err(|e| e.to_string())?;
        let request = axum::http::Request::from_parts(parts, body.to_vec().into());
        self.client.send(request).await.map(|answer| answer.map(Body::new)).map_err(|e| e.to_string())
    }
}

async fn it_ends_soon_whatever_it_waits_for(testbed: &Testbed) -> Result<()> {
    let ground = Ground::new(testbed).await?;
    let door = Door { client: ground.client.clone(), state: Arc::new(Mutex::new((Shut::Everything, Vec::new()))) };
    let passing = door.clone();
    let proxy = Server::start(Router::new().fallback(move |request: Request| passing.clone().pass(request))).await?;
    let kubeconfig = ground.kubeconfig_of(&proxy.url())?;

    // Before it serves anything: no answer of the API server has come.
    let log = ground.folder.join("early.log");
    let mut early = Program::new(testbed.plimsoll()?)
        .args(["operator", "--listen", "127.0.0.1:0", "--namespace", "plimsoll-system", "--runbooks"])
        .args(["--webhook-listen", "127.0.0.1:0", "--webhook-url", "https://127.0.0.1:1"])
        .env("KUBECONFIG", &kubeconfig)
        .start(&log)?;
    door.holds("/secrets/").await?;
    let status = early.stop(END).await?;
    ensure!(status.success(), "at its start it ended with {status}:\n{}", early.log_tail(20));

    // While another replica leads.
    door.shut(Shut::Nothing);
    let leases: Api<Lease> = Api::namespaced(ground.client.clone(), "plimsoll-system");
    let other = Lease {
        metadata: ObjectMeta { name: Some("plimsoll-operator".to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some("other".to_owned()),
            lease_duration_seconds: Some(3600),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    leases.create(&PostParams::default(), &other).await?;
    let (mut operator, _) = ground.replica_by(testbed, "stands-by", &kubeconfig).await?;
    wait_until("it to stand by", SOON, async || Ok(operator.log()?.contains("stands by").then_some(()))).await?;
    ends(&mut operator, "another one leads").await?;
    leases.delete("plimsoll-operator", &DeleteParams::default()).await?;

    // While nothing is listed: of what the leader works on, and of what every replica knows.
    door.shut(Shut::Lists);
    let (mut operator, _) = ground.beginning_replica(testbed, "lists", &kubeconfig).await?;
    for kind in ["/slos", "/alertrules", "/runbooks", "/runbookexecutions"] {
        door.holds(kind).await?;
    }
    leads(&operator).await?;
    ends(&mut operator, "it lists").await?;

    // While it leads and has nothing to do.
    door.shut(Shut::Nothing);
    let (mut operator, _) = ground.replica_by(testbed, "leads", &kubeconfig).await?;
    leads(&operator).await?;
    ends(&mut operator, "it leads").await?;

    // While the API server does not answer.
    let (mut operator, _) = ground.replica_by(testbed, "waits", &kubeconfig).await?;
    leads(&operator).await?;
    door.shut(Shut::Everything);
    door.holds("/leases/plimsoll-operator").await?;
    ends(&mut operator, "nobody answers").await?;

    // While there is no API server.
    door.shut(Shut::Nothing);
    let (mut operator, _) = ground.replica_by(testbed, "alone", &kubeconfig).await?;
    leads(&operator).await?;
    drop(proxy);
    wait_until("it to notice", SOON, async || Ok(operator.log()?.contains("lease could not be").then_some(()))).await?;
    ends(&mut operator, "there is no API server").await
}

async fn leads(operator: &Operator) -> Result<()> {
    wait_until("it to lead", SOON, async || Ok((operator.metric("plimsoll_leader").await? == 1).then_some(()))).await
}

async fn ends(operator: &mut Operator, when: &str) -> Result<()> {
    let begun = Instant::now();
    let status = operator.stop_within(END).await?;
    println!("while {when} it ended after {:.1} s", begun.elapsed().as_secs_f64());
    ensure!(status.success(), "while {when} it ended with {status}:\n{}", operator.log()?);
    Ok(())
}
