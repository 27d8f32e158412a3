//! `cargo xtask playground`, as a person has it: everything works, and whatever ends it ends all of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::{Api, api::ListParams};
use plimsoll_api::{RunbookExecution, execution::Phase};
use plimsoll_e2e::{STACK, Test, Testbed, test};
use plimsoll_testbed::{PROGRAM_VARIABLE, Signal, client_from, running_children, wait_until, xtask};

use crate::{cluster::SOON, testbed_ends::send};

/// A page wants two minutes, on a machine that does other things as well.
const PAGED: Duration = Duration::from_secs(300);
const ENDED: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(STACK, it_works_until_it_is_interrupted),
        test(STACK, it_ends_with_its_operator),
        test(STACK, nothing_is_left_of_it_after_kill_9),
    ]
}

/// A running playground, and what it has printed.
struct Running {
    child: Child,
    said: String,
}

impl Running {
    fn start(testbed: &Testbed) -> Result<Self> {
        // A shell that starts something in the background has it ignore interrupts, and so has everything below it.
        let mut child = Command::new("env")
            .arg("--default-signal=INT")
            .arg(xtask()?)
            .arg("playground")
            .env(PROGRAM_VARIABLE, testbed.plimsoll()?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines();
        let mut running = Self { child, said: String::new() };
        for line in lines {
            let line = line?;
            running.said += &format!("{line}\n");
            if line.starts_with("Ctrl-C") {
                return Ok(running);
            }
        }
        anyhow::bail!("it ended with {}:\n{}", running.child.wait()?, running.said)
    }

    /// The word after a line's first words.
    fn value(&self, name: &str) -> Result<&str> {
        let found = self.said.lines().find_map(|line| line.strip_prefix(name));
        let word = found.and_then(|rest| rest.split_whitespace().next());
        word.with_context(|| format!("{name} is not among\n{}", self.said))
    }

    /// Waits until it has ended, and nothing that it has started runs.
    async fn ended(&mut self) -> Result<bool> {
        let status = wait_until("the playground to end", ENDED, async || Ok(self.child.try_wait()?)).await?;
        wait_until("its servers to end", ENDED, async || {
            let left = running_children(self.child.id())?;
            ensure!(left.is_empty(), "still running: {left:?}");
            Ok(Some(()))
        })
        .await?;
        Ok(status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn read(url: &str) -> Result<String> {
    Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
}

async fn it_works_until_it_is_interrupted(testbed: &Testbed) -> Result<()> {
    let mut playground = Running::start(testbed)?;
    let client = client_from(playground.value("export KUBECONFIG=")?.as_ref()).await?;
    let page = playground.value("the page")?.to_owned();
    // Its objects were Ready before it said anything; the page has them.
    wait_until("quiet SLOs on the page", SOON, async || {
        let view = read(&page).await?;
        ensure!(view.contains("/slo/shop/checkout-availability"), "{view}");
        // Until the budget is first evaluated, that is all that is known.
        let quiet = ["None of 2 SLOs is burning", "Whether any of 2 SLOs is burning is not known"];
        ensure!(quiet.iter().any(|quiet| view.contains(quiet)), "{view}");
        Ok(Some(()))
    })
    .await?;

    // What it says one should try.
    let service = playground.value("     curl -X POST")?.to_owned();
    ensure!(reqwest::Client::new().post(service).send().await?.status().is_success(), "the fault is not taken");
    let executions: Api<RunbookExecution> = Api::namespaced(client, "shop");
    let dry = wait_until("the runbook's dry run", PAGED, async || {
        let all = executions.list(&ListParams::default()).await?.items;
        Ok(all.into_iter().find(|one| one.status.as_ref().is_some_and(|status| status.phase == Phase::Succeeded)))
    })
    .await?;
    let status = dry.status.context("a status")?;
    ensure!(dry.spec.runbook.name == "rollback-on-burn", "{:?}", dry.spec.runbook);
    ensure!(status.reason.as_deref() == Some("DryRun"), "{status:?}");
    // The page asks every few seconds, and Alertmanager has told the operator at once.
    wait_until("burning SLOs on the page", SOON, async || {
        let view = read(&page).await?;
        ensure!(view.contains("1 of 2 SLOs is burning") || view.contains("2 of 2 SLOs are burning"), "{view}");
        Ok(Some(()))
    })
    .await?;

    send(Signal::SIGINT, playground.child.id())?;
    ensure!(playground.ended().await?, "Ctrl-C is no failure");
    Ok(())
}

async fn it_ends_with_its_operator(testbed: &Testbed) -> Result<()> {
    let mut playground = Running::start(testbed)?;
    let operators: BTreeMap<u32, String> = running_children(playground.child.id())?
        .into_iter()
        .filter_map(|id| Some((id, std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?)))
        .filter(|(_, command)| command.split('\0').nth(1) == Some("operator"))
        .collect();
    let operator = operators.keys().next().context("no operator runs")?;
    send(Signal::SIGKILL, *operator)?;
    ensure!(!playground.ended().await?, "an operator that dies is a failure");
    Ok(())
}

async fn nothing_is_left_of_it_after_kill_9(testbed: &Testbed) -> Result<()> {
    let mut playground = Running::start(testbed)?;
    ensure!(!running_children(playground.child.id())?.is_empty(), "nothing runs");
    send(Signal::SIGKILL, playground.child.id())?;
    playground.ended().await.map(drop)
}
