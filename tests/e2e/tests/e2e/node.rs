//! Real pods on a real node: what the API server passes on to a kubelet, and a process that is really in trouble.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api, Client, ResourceExt,
    api::{AttachParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams},
    client::Body,
};
use plimsoll_e2e::{NODE, Needs, NodeStack, Test, Testbed, test};
use plimsoll_testbed::{DEBUG_IMAGE, Folder, Program, SAMPLE_IMAGE, wait_until};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::cluster::SOON;

pub(crate) fn tests() -> Vec<Test> {
    let go = Needs { programs: &["go"], ..NODE };
    vec![
        test(NODE, a_deployment_is_ready_and_restarts_one_by_one),
        test(NODE, a_command_runs_over_a_websocket),
        test(NODE, a_container_that_crashes_leaves_its_log),
        test(NODE, an_ephemeral_container_sees_the_processes_of_its_target),
        test(NODE, an_eviction_honours_the_budget),
        test(go, a_heap_profile_names_the_function_that_holds_the_memory),
    ]
}

/// A namespace of one test on the shared node.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: &'static str,
}

impl Place {
    pub(crate) async fn new(stack: &NodeStack, namespace: &'static str) -> Result<Self> {
        stack.control_plane.kubectl(["create", "namespace", namespace]).await?;
        // Without the account no pod is let in.
        let client = stack.control_plane.client().await?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), namespace);
        wait_until("the namespace's account", SOON, async || accounts.get_opt("default").await.map_err(Into::into))
            .await?;
        Ok(Self { client, namespace })
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        Ok(self.api().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// A pod with one container, `app`; given as soon as it is ready.
    pub(crate) async fn pod(&self, name: &str, container: Value) -> Result<Pod> {
        self.create::<Pod>(json!({"metadata": {"name": name}, "spec": pod_spec(container)})).await?;
        let pods: Api<Pod> = self.api();
        wait_until(&format!("pod {name} to be ready"), SOON, async || {
            let pod = pods.get(name).await?;
            Ok(is_ready(&pod).then_some(pod))
        })
        .await
    }

    /// What a port of a pod answers, through the API server.
    pub(crate) async fn through_proxy(&self, method: &str, pod: &str, port: u16, path: &str) -> Result<Vec<u8>> {
        let uri = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy/{path}", self.namespace);
        let request = http::Request::builder().method(method).uri(uri).body(Body::empty())?;
        let response = self.client.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(body.to_vec())
    }

    /// Tells the sample in a pod to misbehave.
    pub(crate) async fn fault(&self, pod: &str, fault: &str, n: u32) -> Result<()> {
        self.through_proxy("POST", pod, 8080, &format!("{fault}?n={n}")).await.map(drop)
    }
}

/// The sample, with a probe that says when it serves.
pub(crate) fn sample() -> Value {
    json!({"name": "app", "image": SAMPLE_IMAGE, "imagePullPolicy": "Never",
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}})
}

fn debug(command: &[&str]) -> Value {
    json!({"name": "app", "image": DEBUG_IMAGE, "imagePullPolicy": "Never", "command": command})
}

fn pod_spec(container: Value) -> Value {
    json!({"containers": [container], "terminationGracePeriodSeconds": 1})
}

fn deployment(name: &str, replicas: u32) -> Value {
    let labels = json!({"app": name});
    json!({"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec(sample())},
    }})
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until exactly this many pods of the newest template are there and available.
async fn rolled_out(deployments: &Api<Deployment>, name: &str, replicas: i32) -> Result<()> {
    wait_until(&format!("deployment {name}"), SOON, async || {
        let deployment = deployments.get(name).await?;
        let status = deployment.status.unwrap_or_default();
        let numbers = [status.replicas, status.updated_replicas, status.available_replicas];
        let seen = status.observed_generation == deployment.metadata.generation;
        Ok((seen && numbers == [Some(replicas); 3]).then_some(()))
    })
    .await
}

async fn a_deployment_is_ready_and_restarts_one_by_one(testbed: &Testbed) -> Result<()> {
    let place = Place::new(testbed.node().await?, "rolling").await?;
    let deployments: Api<Deployment> = place.api();
    let pods: Api<Pod> = place.api();
    place.create::<Deployment>(deployment("web", 2)).await?;
    rolled_out(&deployments, "web", 2).await?;
    let ids = async || -> Result<BTreeSet<String>> {
        let all = pods.list(&ListParams::default().labels("app=web")).await?;
        // Those that are on their way out are none.
        Ok(all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(ResourceExt::uid).collect())
    };
    let before = ids().await?;
    ensure!(before.len() == 2, "{before:?}");
    deployments.restart("web").await?;
    rolled_out(&deployments, "web", 2).await?;
    let after = ids().await?;
    ensure!(after.len() == 2 && before.is_disjoint(&after), "{before:?} became {after:?}");
    Ok(())
}

async fn a_command_runs_over_a_websocket(testbed: &Testbed) -> Result<()> {
    let place = Place::new(testbed.node().await?, "exec").await?;
    place.pod("tools", debug(&["wait"])).await?;
    let pods: Api<Pod> = place.api();
    for (command, wanted, status) in [
        (["ps", ""], "wait", "Success"),
        (["ls", "/bin"], "debug", "Success"),
        (["cat", "/absent"], "no such file", "Failure"),
    ] {
        let arguments = command.into_iter().filter(|argument| !argument.is_empty());
        let mut process = pods.exec("tools", arguments, &AttachParams::default()).await?;
        let told = process.take_status().context("a status")?;
        let (mut output, mut errors) = (process.stdout().context("stdout")?, process.stderr().context("stderr")?);
        let mut text = String::new();
        output.read_to_string(&mut text).await?;
        errors.read_to_string(&mut text).await?;
        ensure!(text.contains(wanted), "{command:?}: {text}");
        let told = told.await.context("no status came")?;
        ensure!(told.status.as_deref() == Some(status), "{command:?}: {told:?}");
    }
    Ok(())
}

async fn a_container_that_crashes_leaves_its_log(testbed: &Testbed) -> Result<()> {
    let place = Place::new(testbed.node().await?, "crashes").await?;
    place.pod("app", sample()).await?;
    // The answer is cut off by what was asked for.
    drop(place.fault("app", "exit", 3).await);
    let pods: Api<Pod> = place.api();
    let code = wait_until("the container to be started again", SOON, async || {
        let status = pods.get("app").await?.status.unwrap_or_default();
        let container = status.container_statuses.and_then(|all| all.into_iter().next()).context("no container yet")?;
        let ended = container.last_state.and_then(|state| state.terminated);
        Ok(ended.filter(|_| container.ready && container.restart_count == 1).map(|ended| ended.exit_code))
    })
    .await?;
    ensure!(code == 3, "exit code {code}");
    let log = async |previous| pods.logs("app", &LogParams { previous, ..LogParams::default() }).await;
    let (before, now) = (log(true).await?, log(false).await?);
    let last_words = "exiting with code 3, as told";
    ensure!(before.contains(last_words) && !now.contains(last_words), "before:\n{before}\nnow:\n{now}");
    Ok(())
}

async fn an_ephemeral_container_sees_the_processes_of_its_target(testbed: &Testbed) -> Result<()> {
    let place = Place::new(testbed.node().await?, "ephemeral").await?;
    place.pod("app", sample()).await?;
    let pods: Api<Pod> = place.api();
    let profile = ["get", "http://127.0.0.1:6060/debug/pprof/goroutine?debug=1"];
    // The second sees the target's network, in which its profiler listens.
    for (name, command, wanted) in
        [("processes", &["ps", "-A"][..], "/bin/sample"), ("profile", &profile[..], "main.main")]
    {
        let mut container = debug(command);
        container["name"] = json!(name);
        container["targetContainerName"] = json!("app");
        let patch = json!({"spec": {"ephemeralContainers": [container]}});
        pods.patch_ephemeral_containers("app", &PatchParams::default(), &Patch::Strategic(patch)).await?;
        let code = wait_until("the ephemeral container to end", SOON, async || {
            let status = pods.get("app").await?.status.unwrap_or_default();
            let all = status.ephemeral_container_statuses.unwrap_or_default();
            let own = all.into_iter().find(|status| status.name == name).context("no status yet")?;
            Ok(own.state.and_then(|state| state.terminated).map(|ended| ended.exit_code))
        })
        .await?;
        let parameters = LogParams { container: Some(name.to_owned()), ..LogParams::default() };
        let output = pods.logs("app", &parameters).await?;
        ensure!(code == 0 && output.contains(wanted), "{name} ended with {code}: {output}");
    }
    Ok(())
}

async fn an_eviction_honours_the_budget(testbed: &Testbed) -> Result<()> {
    let place = Place::new(testbed.node().await?, "budget").await?;
    let (deployments, pods, budgets): (Api<Deployment>, Api<Pod>, Api<PodDisruptionBudget>) =
        (place.api(), place.api(), place.api());
    let budget = |least: u32| {
        json!({"metadata": {"name": "web"},
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}}})
    };
    place.create::<PodDisruptionBudget>(budget(1)).await?;
    place.create::<Deployment>(deployment("web", 1)).await?;
    rolled_out(&deployments, "web", 1).await?;
    let counted = async |allowed| {
        wait_until("the budget to be counted", SOON, async || {
            let budget = budgets.get("web").await?;
            let status = budget.status.unwrap_or_default();
            let seen = status.observed_generation == budget.metadata.generation;
            Ok((seen && status.current_healthy == 1 && status.disruptions_allowed == allowed).then_some(()))
        })
        .await
    };
    counted(0).await?;
    let pod = pods.list(&ListParams::default().labels("app=web")).await?.items.pop().context("a pod")?;
    let name = pod.name_any();
    let refused = pods.evict(&name, &EvictParams::default()).await;
    let Err(kube::Error::Api(refusal)) = refused else { anyhow::bail!("not refused: {refused:?}") };
    ensure!(refusal.code == 429 && refusal.message.contains("disruption budget"), "{refusal:?}");
    ensure!(pods.get(&name).await?.metadata.deletion_timestamp.is_none(), "it is deleted all the same");

    budgets.patch("web", &PatchParams::default(), &Patch::Merge(budget(0))).await?;
    counted(1).await?;
    pods.evict(&name, &EvictParams::default()).await?;
    wait_until("the pod to be gone", SOON, async || Ok(pods.get_opt(&name).await?.is_none().then_some(()))).await?;
    rolled_out(&deployments, "web", 1).await
}

async fn a_heap_profile_names_the_function_that_holds_the_memory(testbed: &Testbed) -> Result<()> {
    let place = Place::new(testbed.node().await?, "heap").await?;
    place.pod("app", sample()).await?;
    let folder = Folder::new("heap")?;
    let top = async |name: &str| -> Result<String> {
        let file = folder.join(name);
        std::fs::write(&file, place.through_proxy("GET", "app", 6060, "debug/pprof/heap").await?)?;
        let program = Program::new("go").args(["tool", "pprof", "-top", "-unit=MB", "-sample_index=inuse_space"]);
        program.arg(file).run("", Duration::from_secs(120)).await?.success()
    };
    let before = top("before").await?;
    ensure!(!before.contains("fillCartCache"), "{before}");
    place.fault("app", "hold", 64).await?;
    let after = top("after").await?;
    // `flat flat% sum% cum cum% function`, the largest first.
    let largest = after.lines().skip_while(|line| !line.contains("flat%")).nth(1).context("no functions")?;
    let held = largest.trim().split_once("MB").and_then(|(number, _)| number.parse::<f64>().ok());
    ensure!(largest.ends_with("main.fillCartCache") && held.is_some_and(|held| held > 48.0), "{after}");
    Ok(())
}
