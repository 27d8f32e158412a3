//! Nothing is left running, however a test process ends.
//!
//! The tests start this same program again, which starts servers and then ends in the way it is told.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use plimsoll_e2e::{NODE, NodeStack, STACK, Test, Testbed, test};
use plimsoll_testbed::{
    ControlPlane, ControlPlaneOptions, PAUSE_IMAGE, Prometheus, PrometheusOptions, Signal, cgroups_of_nodes,
    ensure_binaries, ensure_components, running_children, wait_until,
};

/// Tells the child how it is to end, and where to say that its servers run.
const WAY_VARIABLE: &str = "PLIMSOLL_E2E_CHILD_ENDS_BY";
/// Set when the servers are to be a control plane with a node.
const NODE_VARIABLE: &str = "PLIMSOLL_E2E_CHILD_STARTS_A_NODE";
const READY_VARIABLE: &str = "PLIMSOLL_E2E_CHILD_READY";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(STACK, nothing_is_left_after_a_return),
        test(STACK, nothing_is_left_after_a_panic),
        test(STACK, nothing_is_left_after_an_interrupt),
        test(STACK, nothing_is_left_after_kill_9),
        test(NODE, nothing_is_left_of_a_node_after_a_return),
        test(NODE, nothing_is_left_of_a_node_after_a_panic),
        test(NODE, nothing_is_left_of_a_node_after_an_interrupt),
        test(NODE, nothing_is_left_of_a_node_after_kill_9),
    ]
}

async fn nothing_is_left_after_a_return(_: &Testbed) -> Result<()> {
    ends("return", None, false).await
}

async fn nothing_is_left_after_a_panic(_: &Testbed) -> Result<()> {
    ends("panic", None, false).await
}

async fn nothing_is_left_after_an_interrupt(_: &Testbed) -> Result<()> {
    ends("signal", Some(Signal::SIGINT), false).await
}

async fn nothing_is_left_after_kill_9(_: &Testbed) -> Result<()> {
    ends("signal", Some(Signal::SIGKILL), false).await
}

async fn nothing_is_left_of_a_node_after_a_return(_: &Testbed) -> Result<()> {
    ends("return", None, true).await
}

async fn nothing_is_left_of_a_node_after_a_panic(_: &Testbed) -> Result<()> {
    ends("panic", None, true).await
}

async fn nothing_is_left_of_a_node_after_an_interrupt(_: &Testbed) -> Result<()> {
    ends("signal", Some(Signal::SIGINT), true).await
}

async fn nothing_is_left_of_a_node_after_kill_9(_: &Testbed) -> Result<()> {
    ends("signal", Some(Signal::SIGKILL), true).await
}

async fn ends(way: &str, signal: Option<Signal>, node: bool) -> Result<()> {
    const SERVERS: usize = 3;
    let folder = tempfile::tempdir()?;
    let ready = folder.path().join("ready");
    // A shell that starts something in the background has it ignore interrupts, and so has everything below it.
    let mut child = Command::new("env")
        .arg("--default-signal=INT")
        .arg(std::env::current_exe()?)
        .env(WAY_VARIABLE, way)
        .env(READY_VARIABLE, &ready)
        .envs(node.then_some((NODE_VARIABLE, "")))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let id = child.id();
    let outcome = async {
        wait_until("the child's servers", Duration::from_secs(120), async || Ok(ready.exists().then_some(()))).await?;
        let servers = running_children(id)?;
        if node {
            // Containers have no mark, but are in its cgroups.
            ensure!(!cgroups_of_nodes(id)?.is_empty(), "the node has no cgroups");
        } else {
            ensure!(servers.len() == SERVERS, "{servers:?}");
        }
        match signal {
            Some(signal) => send(signal, id)?,
            // The end of its input tells the child to go on.
            None => drop(child.stdin.take()),
        }
        wait_until("the child to end", Duration::from_secs(60), async || Ok(child.try_wait()?)).await?;
        wait_until("the servers to end", Duration::from_secs(60), async || {
            let (left, cgroups, mounts) = (running_children(id)?, cgroups_of_nodes(id)?, mounts_of(id)?);
            ensure!(left.is_empty(), "still running: {left:?}");
            ensure!(cgroups.is_empty() && mounts.is_empty(), "left: {cgroups:?} {mounts:?}");
            Ok(Some(()))
        })
        .await
    };
    let outcome = outcome.await;
    child.kill().ok();
    child.wait()?;
    outcome
}

pub(crate) fn send(signal: Signal, id: u32) -> Result<()> {
    let status = Command::new("kill").args([format!("-{}", signal as i32), id.to_string()]).status()?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
}

/// The mounts that name a folder of a process's testbed.
fn mounts_of(id: u32) -> Result<Vec<String>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mark = format!("plimsoll-testbed-{id}-");
    Ok(mounts.lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect())
}

/// What the child does; nothing when this process is none.
pub(crate) fn child() -> Option<ExitCode> {
    let way = std::env::var(WAY_VARIABLE).ok()?;
    match start_and_end(&way) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error:#}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn start_and_end(way: &str) -> Result<()> {
    let ready = PathBuf::from(std::env::var_os(READY_VARIABLE).context("the parent has not said where")?);
    let runtime = tokio::runtime::Runtime::new()?;
    if std::env::var_os(NODE_VARIABLE).is_some() {
        end(way, &ready, runtime.block_on(start_node())?)
    } else {
        end(way, &ready, runtime.block_on(start_servers())?)
    }
}

/// Every server is started in the same way, so not all of them are needed here.
async fn start_servers() -> Result<impl Sized> {
    let bin = ensure_binaries()?.required()?;
    let control_plane = ControlPlane::start(&bin, ControlPlaneOptions::api_only());
    let prometheus = Prometheus::start(&bin, PrometheusOptions::default());
    tokio::try_join!(control_plane, prometheus)
}

/// A node with a pod on it.
async fn start_node() -> Result<impl Sized> {
    let stack = NodeStack::start(&ensure_components(NODE.components)?.required()?).await?;
    let image = format!("--image={PAUSE_IMAGE}");
    let plane = &stack.control_plane;
    // Not before the account of the namespace is there.
    wait_until("a pod to be taken", Duration::from_secs(60), async || {
        plane.kubectl(["run", "app", &image, "--image-pull-policy=Never"]).await.map(Some)
    })
    .await?;
    plane.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", "pod/app"]).await?;
    Ok(stack)
}

#[allow(clippy::panic, reason = "a panic is what is tried")]
fn end(way: &str, ready: &Path, servers: impl Sized) -> Result<()> {
    std::fs::write(ready, "")?;
    std::io::read_to_string(std::io::stdin())?;
    match way {
        "return" => drop(servers),
        "panic" => panic!("as the test wants it"),
        other => bail!("no way to end: {other}"),
    }
    Ok(())
}
