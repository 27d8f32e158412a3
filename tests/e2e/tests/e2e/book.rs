//! What the book has people type at a cluster, as far as an API server without nodes can answer it.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use plimsoll_testbed::{Component, ControlPlane, Folder, Program, Promtool};

use crate::{
    cluster::slo,
    install::{self, NAMESPACE, SERVERS},
};

const PROGRAMS: &[Component] = &[Component::Kubernetes, Component::Helm];
const COMMAND: Duration = Duration::from_secs(90);
/// The API server now and then needs minutes to end a definition: its condition `Terminating` says meanwhile that the
/// storage is initializing.
const END_OF_DEFINITIONS: Duration = Duration::from_secs(480);
/// What waits for pods, speaks with them, or has no end.
const NEED_PODS: [&str; 5] = [" rollout status ", " port-forward ", "kubectl logs ", "curl ", "plimsoll operator "];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(PROGRAMS, kubectl_and_helm_know_every_command),
        test(PROMETHEUS, the_test_of_rules_passes_as_written),
        test(SERVERS, the_chart_comes_changes_and_goes_as_written),
        test(SERVERS, the_manifests_come_and_go_as_written),
    ]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One line of a block `sh cluster`, whole, with the heading above it.
struct Line {
    heading: String,
    text: String,
}

fn lines(page: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let text = text.replace("\\\n", " ");
    let (mut heading, mut block, mut lines) = (String::new(), None, Vec::new());
    for line in text.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(fence) };
        } else if block == Some("sh cluster") {
            let (command, _comment) = line.split_once(" #").unwrap_or((line, ""));
            lines.push(Line { heading: heading.clone(), text: command.trim().to_owned() });
        } else if block.is_none() && line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
    }
    Ok(lines)
}

/// All pages below a folder.
fn pages(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            pages(&path, into)?;
        } else if path.extension().is_some_and(|end| end == "md") {
            into.push(path);
        }
    }
    Ok(())
}

/// A folder as a reader has it, with `plimsoll`, `kubectl` and `helm` on the path.
struct Reader {
    folder: Folder,
    /// There is none at this path where there is no cluster.
    kubeconfig: PathBuf,
    path: String,
}

impl Reader {
    fn new(testbed: &Testbed, plane: Option<&ControlPlane>) -> Result<Self> {
        let folder = Folder::new("book")?;
        let kubeconfig = plane.map_or_else(|| folder.join("kubeconfig"), |plane| plane.kubeconfig().to_owned());
        let programs = folder.join("bin");
        std::fs::create_dir(&programs)?;
        symlink(testbed.plimsoll()?, programs.join("plimsoll"))?;
        symlink(testbed.bin().path(Component::Kubernetes, "kubectl")?, programs.join("kubectl"))?;
        symlink(testbed.bin().path(Component::Helm, "helm")?, programs.join("helm"))?;
        for name in ["manifests", "examples", "runbooks", "crds"] {
            symlink(root().join(name).canonicalize()?, folder.join(name))?;
        }
        std::fs::write(folder.join("slo.yaml"), slo("checkout").to_string())?;
        let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
        Ok(Self { folder, kubeconfig, path })
    }

    async fn run(&self, command: &str) -> Result<String> {
        let program = Program::new("bash")
            .args(["-euo", "pipefail", "-c", command])
            .folder(self.folder.path())
            .env("PATH", &self.path)
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig);
        let patience = if command.contains("crds | kubectl delete ") { END_OF_DEFINITIONS } else { COMMAND };
        let said = program.run("", patience).await.and_then(|said| said.success());
        said.with_context(|| format!("{command}, as written in the book"))
    }

    /// Runs what a page has under a heading, but for what needs pods.
    async fn follow(&self, page: &str, heading: &str) -> Result<()> {
        let mut ran = 0;
        for line in lines(&root().join("docs").join(page))?.iter().filter(|line| line.heading == heading) {
            if NEED_PODS.iter().any(|part| line.text.contains(part)) {
                continue;
            }
            // Nothing ends a namespace here: that is work of a controller.
            let wait = if line.text.starts_with("kubectl delete namespace ") { " --wait=false" } else { "" };
            let command = format!("{}{wait}", line.text);
            println!("$ {command}\n{}", self.run(&command).await.with_context(|| format!("{page}: {heading}"))?);
            ran += 1;
        }
        ensure!(ran > 0, "docs/{page} has nothing to type under {heading:?}");
        Ok(())
    }
}

/// What a page has people put into a file.
fn file(page: &str, name: &str) -> Result<String> {
    let text = std::fs::read_to_string(root().join("docs").join(page))?;
    let (_, from) = text.split_once(&format!("\n```yaml {name}\n")).with_context(|| format!("{page} has no {name}"))?;
    let (block, _) = from.split_once("```").context("a block without an end")?;
    Ok(block.to_owned())
}

async fn the_test_of_rules_passes_as_written(testbed: &Testbed) -> Result<()> {
    let folder = Folder::new("ci")?;
    let tests = file("recipes/ci.md", "tests/checkout.yaml")?;
    for (name, text) in [("slo", file("quickstart.md", "slo/checkout.yaml")?), ("tests", tests.clone())] {
        std::fs::create_dir(folder.join(name))?;
        std::fs::write(folder.join(name).join("checkout.yaml"), text)?;
    }
    let generate = ["generate", "slo/checkout.yaml", "--output", "rules/"];
    Program::new(testbed.plimsoll()?).args(generate).folder(folder.path()).run("", COMMAND).await?.success()?;
    let (promtool, right) = (Promtool::new(testbed.bin())?, folder.join("tests").join("checkout.yaml"));
    promtool.test_rules(&[&right]).await?;
    let wrong = folder.join("tests").join("wrong.yaml");
    std::fs::write(&wrong, tests.replace("6+6x60", "0+0x60"))?;
    ensure!(promtool.test_rules(&[&wrong]).await.is_err(), "it fires without errors");
    Ok(())
}

/// With `--help` behind it, a command is read and not done: a flag or a command that is not known is an error.
async fn kubectl_and_helm_know_every_command(testbed: &Testbed) -> Result<()> {
    let reader = Reader::new(testbed, None)?;
    ensure!(reader.run("kubectl get slo --al --help").await.is_err(), "an unknown flag is taken");
    let mut all = vec![root().join("README.md")];
    for folder in ["docs", "runbooks"] {
        pages(&root().join(folder), &mut all)?;
    }
    let mut known = 0;
    for page in all {
        for line in lines(&page)? {
            let of_others = |command: &String| {
                command.starts_with("helm ")
                    || command.starts_with("kubectl ") && !command.starts_with("kubectl plimsoll")
            };
            let commands = line.text.split(" | ").flat_map(|part| part.split(" && "));
            let bare = |command: &'_ str| command.split(['>', '&']).next().unwrap_or_default().trim().to_owned();
            for command in commands.map(bare).filter(of_others) {
                let said =
                    reader.run(&format!("{command} --help")).await.with_context(|| page.display().to_string())?;
                // The help of a group of commands is the answer to a command that is not in it.
                let group = said.contains("Available Commands:") && !command.starts_with("kubectl apply ");
                if group || !said.contains("Usage:") {
                    bail!("{}: {command} is no command:\n{said}", page.display());
                }
                known += 1;
            }
        }
    }
    ensure!(known > 25, "{known} commands");
    Ok(())
}

async fn the_chart_comes_changes_and_goes_as_written(testbed: &Testbed) -> Result<()> {
    let plane = install::bare(testbed).await?;
    let reader = Reader::new(testbed, Some(&plane))?;
    let deployed = async |what: &str| {
        plane.kubectl(["-n", NAMESPACE, "get", "deployment", "plimsoll", "-o", &format!("jsonpath={what}")]).await
    };
    reader.follow("install.md", "With Helm").await?;
    let image = deployed("{.spec.template.spec.containers[0].image}").await?;
    ensure!(image == concat!("registry.example/plimsoll:", env!("CARGO_PKG_VERSION")), "{image}");
    let config = plane.kubectl(["-n", NAMESPACE, "get", "configmap", "plimsoll-config", "-o", "yaml"]).await?;
    ensure!(config.contains("url: http://prometheus-operated.monitoring:9090"), "{config}");
    // Whoever types is slower than the API server.
    plane.established().await?;
    reader.follow("install.md", "Is it there?").await?;

    // What was set stays, and what is set comes to it.
    reader.follow("install.md", "Upgrade").await?;
    reader.follow("page.md", "In the cluster").await?;
    ensure!(deployed("{.spec.template.spec.containers[0].image}").await? == image);
    let arguments = deployed("{.spec.template.spec.containers[0].args}").await?;
    ensure!(arguments.contains("--page-listen") && arguments.contains("--config"), "{arguments}");
    plane.kubectl(["-n", NAMESPACE, "get", "service", "plimsoll-page"]).await?;

    plane.kubectl(["create", "namespace", "argocd"]).await?;
    plane.kubectl(["-n", "argocd", "create", "configmap", "argocd-cm"]).await?;
    reader.follow("install.md", "Argo CD and Flux").await?;
    let settings = plane.kubectl(["-n", "argocd", "get", "configmap", "argocd-cm", "-o", "yaml"]).await?;
    ensure!(settings.contains("resource.customizations.health.plimsoll.dev_SLO"), "{settings}");

    let (first, second) = uninstalls()?;
    println!("$ {first}\n{}", reader.run(&first).await?);
    let slos = plane.kubectl(["get", "slo", "-A", "-o", "name"]).await?;
    ensure!(slos.contains("checkout"), "the SLO went with the chart: {slos}");
    let again = "helm install plimsoll manifests/helm/plimsoll -n plimsoll-system";
    reader.run(again).await?;
    for command in second {
        println!("$ {command}\n{}", reader.run(&command).await?);
    }
    let left = plane.kubectl(["get", "crd,clusterrole,validatingwebhookconfiguration", "-o", "name"]).await?;
    ensure!(!left.contains("plimsoll"), "{left}");
    Ok(())
}

/// The two ways to remove the chart: alone, and with everything.
fn uninstalls() -> Result<(String, Vec<String>)> {
    let lines = lines(&root().join("docs/install.md"))?;
    let mut all = lines.into_iter().filter(|line| line.heading == "Uninstall").map(|line| line.text);
    let first = all.next().context("docs/install.md does not say how the chart is removed")?;
    let wait = |command: String| match command.starts_with("kubectl delete namespace ") {
        true => format!("{command} --wait=false"),
        false => command,
    };
    let second: Vec<String> = all.map(wait).collect();
    ensure!(first.starts_with("helm uninstall ") && second.len() > 2, "{first}, {second:?}");
    Ok((first, second))
}

async fn the_manifests_come_and_go_as_written(testbed: &Testbed) -> Result<()> {
    let plane = install::bare(testbed).await?;
    let reader = Reader::new(testbed, Some(&plane))?;
    reader.follow("install.md", "With kustomize, or with kubectl alone").await?;
    let env = "jsonpath={.spec.template.spec.containers[0].env}";
    let env = plane.kubectl(["-n", NAMESPACE, "get", "deployment", "plimsoll", "-o", env]).await?;
    ensure!(env.contains("PLIMSOLL_PROMETHEUS"), "{env}");
    // Whoever types is slower than the API server.
    plane.established().await?;
    reader.follow("install.md", "Is it there?").await?;
    reader.follow("operations/upgrade.md", "Upgrade").await?;
    plane.kubectl(["-n", NAMESPACE, "create", "secret", "generic", "plimsoll-seal", "--from-literal=key=a"]).await?;
    reader.follow("operations/upgrade.md", "What state is where").await?;
    let saved = std::fs::read_to_string(reader.folder.join("seal.yaml"))?;
    ensure!(saved.contains("kind: Secret"), "{saved}");
    reader.follow("operations/upgrade.md", "Remove it").await?;
    let left = plane.kubectl(["get", "slo,clusterrole,validatingwebhookconfiguration", "-A", "-o", "name"]).await?;
    ensure!(!left.contains("plimsoll"), "{left}");
    Ok(())
}
