//! Nothing is left running, however a test process ends.
//!
//! The tests start this same program again, which starts servers and then ends in the way it is told.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use plimsoll_e2e::{STACK, Test, Testbed, test};
use plimsoll_testbed::{
    ControlPlane, ControlPlaneOptions, Prometheus, PrometheusOptions, Signal, ensure_binaries, running_children,
    wait_until,
};

/// Tells the child how it is to end, and where to say that its servers run.
const WAY_VARIABLE: &str = "PLIMSOLL_E2E_CHILD_ENDS_BY";
const READY_VARIABLE: &str = "PLIMSOLL_E2E_CHILD_READY";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(STACK, nothing_is_left_after_a_return),
        test(STACK, nothing_is_left_after_a_panic),
        test(STACK, nothing_is_left_after_an_interrupt),
        test(STACK, nothing_is_left_after_kill_9),
    ]
}

async fn nothing_is_left_after_a_return(_: &Testbed) -> Result<()> {
    ends("return", None).await
}

async fn nothing_is_left_after_a_panic(_: &Testbed) -> Result<()> {
    ends("panic", None).await
}

async fn nothing_is_left_after_an_interrupt(_: &Testbed) -> Result<()> {
    ends("signal", Some(Signal::SIGINT)).await
}

async fn nothing_is_left_after_kill_9(_: &Testbed) -> Result<()> {
    ends("signal", Some(Signal::SIGKILL)).await
}

async fn ends(way: &str, signal: Option<Signal>) -> Result<()> {
    const SERVERS: usize = 3;
    let folder = tempfile::tempdir()?;
    let ready = folder.path().join("ready");
    // A shell that starts something in the background has it ignore interrupts, and so has everything below it.
    let mut child = Command::new("env")
        .arg("--default-signal=INT")
        .arg(std::env::current_exe()?)
        .env(WAY_VARIABLE, way)
        .env(READY_VARIABLE, &ready)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let id = child.id();
    let outcome = async {
        wait_until("the child's servers", Duration::from_secs(120), async || Ok(ready.exists().then_some(()))).await?;
        let servers = running_children(id)?;
        ensure!(servers.len() == SERVERS, "{servers:?}");
        match signal {
            Some(signal) => send(signal, id)?,
            // The end of its input tells the child to go on.
            None => drop(child.stdin.take()),
        }
        wait_until("the child to end", Duration::from_secs(60), async || Ok(child.try_wait()?)).await?;
        wait_until("the servers to end", Duration::from_secs(20), async || {
            let left = running_children(id)?;
            if left.is_empty() { Ok(Some(())) } else { bail!("still running: {left:?}") }
        })
        .await
    };
    let outcome = outcome.await;
    child.kill().ok();
    child.wait()?;
    outcome
}

fn send(signal: Signal, id: u32) -> Result<()> {
    let status = Command::new("kill").args([format!("-{}", signal as i32), id.to_string()]).status()?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
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

#[allow(clippy::panic, reason = "a panic is what is tried")]
fn start_and_end(way: &str) -> Result<()> {
    let bin = ensure_binaries()?.required()?;
    let ready = PathBuf::from(std::env::var_os(READY_VARIABLE).context("the parent has not said where")?);
    let runtime = tokio::runtime::Runtime::new()?;
    // Every server is started in the same way, so not all of them are needed here.
    let servers = runtime.block_on(async {
        let control_plane = ControlPlane::start(&bin, ControlPlaneOptions::api_only());
        let prometheus = Prometheus::start(&bin, PrometheusOptions::default());
        tokio::try_join!(control_plane, prometheus)
    })?;
    std::fs::write(ready, "")?;
    std::io::read_to_string(std::io::stdin())?;
    match way {
        "return" => drop(servers),
        "panic" => panic!("as the test wants it"),
        other => bail!("no way to end: {other}"),
    }
    Ok(())
}
