//! The README's tour, as a newcomer types it.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use plimsoll_e2e::{STACK, Test, Testbed, test};
use plimsoll_testbed::{Component, Folder, Process, Program, free_port, wait_until};

use crate::cluster::SOON;

/// The address that the README writes for whoever has another.
const PROMETHEUS: &str = "http://prometheus:9090";
const COMMAND: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    vec![test(STACK, the_tour_works_as_written)]
}

/// A fenced block: its language and its text.
type Block<'t> = (&'t str, &'t str);

fn blocks(text: &str) -> Vec<Block<'_>> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// A shell in a folder of its own, where `plimsoll` and `kubectl` are on the path.
struct Shell {
    folder: Folder,
    path: String,
    kubeconfig: PathBuf,
    prometheus: String,
    operator: Option<Process>,
}

impl Shell {
    fn program(&self, line: &str) -> Program {
        let line = line.replace(PROMETHEUS, &self.prometheus);
        Program::new("bash")
            .args(["-euo", "pipefail", "-c", &line])
            .folder(self.folder.path())
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
    }

    /// Runs one line; the operator goes on running.
    async fn run(&mut self, line: &str) -> Result<String> {
        if line.starts_with("plimsoll operator") {
            let (command, _comment) = line.split_once('#').unwrap_or((line, ""));
            let line = format!("exec {} --listen 127.0.0.1:{}", command.trim(), free_port()?);
            self.operator = Some(self.program(&line).start(&self.folder.join("operator.log"))?);
            return Ok(String::new());
        }
        self.program(line).run("", COMMAND).await?.success().with_context(|| line.to_owned())
    }
}

async fn the_tour_works_as_written(testbed: &Testbed) -> Result<()> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md"))?;
    let (_, tour) = readme.split_once("## The tour").context("README.md has no tour")?;
    let (tour, _) = tour.split_once("\n## ").context("nothing follows the tour")?;
    let stack = testbed.shared().await?;
    let folder = Folder::new("readme")?;
    let programs = folder.join("bin");
    std::fs::create_dir(&programs)?;
    symlink(testbed.plimsoll()?, programs.join("plimsoll"))?;
    symlink(testbed.bin().path(Component::Kubernetes, "kubectl")?, programs.join("kubectl"))?;
    let mut shell = Shell {
        path: format!("{}:{}", programs.display(), std::env::var("PATH")?),
        kubeconfig: stack.control_plane.kubeconfig().to_owned(),
        prometheus: stack.prometheus.url().to_owned(),
        operator: None,
        folder,
    };
    let blocks = blocks(tour);
    let (_, slo) = blocks.iter().find(|(language, _)| *language == "yaml").context("the tour has no SLO")?;
    std::fs::create_dir(shell.folder.join("slo"))?;
    let file = shell.folder.join("slo/checkout.yaml");
    std::fs::write(&file, slo.replace("99.95", "0.9995"))?;
    let said = shell.program("plimsoll validate slo/").run("", COMMAND).await?;
    let (_, shown) = blocks.iter().find(|(_, text)| text.starts_with("error: ")).context("the tour has no error")?;
    ensure!(said.stdout + &said.stderr == *shown, "the README shows\n{shown}");
    std::fs::write(&file, slo)?;

    let (_, table) = blocks.iter().find(|(_, text)| text.starts_with("NAME ")).context("the tour has no table")?;
    let head = |table: &str| -> Vec<String> {
        table.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let lines: Vec<&str> =
        blocks.iter().filter(|(language, _)| *language == "sh").flat_map(|(_, text)| text.lines()).collect();
    ensure!(lines.len() >= 8, "a tour of {lines:?}");
    for line in lines {
        let out = if line.starts_with("kubectl get") {
            // What the README shows comes as soon as Prometheus has the rules.
            let shell = &mut shell;
            wait_until("the columns that the README shows", SOON, async || {
                let out = shell.program(line).run("", COMMAND).await?.success()?;
                let mut rows = out.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
                let ready = rows.any(|row| matches!(*row, ["checkout-availability", "True", _, "99.95", ..]));
                Ok(ready.then_some(out))
            })
            .await?
        } else {
            shell.run(line).await?
        };
        println!("$ {line}\n{out}");
        ensure!(!line.starts_with("kubectl get") || head(&out) == head(table), "the README shows\n{table}");
        if line.starts_with("plimsoll explain") {
            ensure!(out.starts_with("checkout-availability"), "{out}");
        }
    }
    let operator = shell.operator.as_mut().context("the tour starts no operator")?;
    ensure!(operator.ended()?.is_none(), "the operator ended:\n{}", operator.log_tail(20));
    stack.control_plane.kubectl(["delete", "namespace", "shop", "--wait=false"]).await?;
    Ok(())
}
