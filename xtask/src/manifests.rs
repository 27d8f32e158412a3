//! `cargo xtask manifests`: what is installed in a cluster, made of the chart, which is the one place where it is written. Copies
//! that the chart needs within itself come from where they belong; `rbac.yaml`, `install.yaml` and the others are what Helm
//! makes of the chart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use plimsoll_testbed::{Binaries, Component, ensure_components};

use crate::command::{output, program, root};

const CHART: &str = "manifests/helm/plimsoll";
const DASHBOARDS: &str = "manifests/grafana";
const CUSTOMIZATIONS: &str = "manifests/argocd/resource_customizations/plimsoll.dev";
const NAMESPACE: &str = "plimsoll-system";
/// Only what is generated is in these folders, so that what is no longer generated does not stay.
const GENERATED_FOLDERS: [&str; 2] = ["manifests/helm/plimsoll/definitions", "manifests/helm/plimsoll/dashboards"];

/// Texts by their path from the root.
type Files = BTreeMap<PathBuf, String>;

/// Makes all of them anew.
pub(crate) fn write() -> Result<()> {
    let copies = copies()?;
    for folder in GENERATED_FOLDERS {
        fs::remove_dir_all(root()?.join(folder)).ok();
    }
    store(&copies)?;
    match helm()? {
        Ok(helm) => store(&rendered(&helm)?),
        Err(missing) => bail!("what Helm makes of the chart is not made anew: {missing}"),
    }
}

/// Fails when one of them is not what it would be made. What needs Helm is skipped where there is none, but not in CI.
pub(crate) fn check() -> Result<()> {
    let mut differing = differing(&copies()?)?;
    let copied: BTreeSet<PathBuf> = copies()?.into_keys().collect();
    for folder in GENERATED_FOLDERS {
        let found = files_in(folder)?;
        differing.extend(found.into_iter().filter(|path| !copied.contains(path)));
    }
    match helm()? {
        Ok(helm) => differing.extend(self::differing(&rendered(&helm)?)?),
        Err(missing) if std::env::var("CI").as_deref() == Ok("true") => bail!("{missing}"),
        Err(missing) => println!("check: manifests: what Helm makes of the chart [skipped: {missing}]"),
    }
    if !differing.is_empty() {
        bail!("{differing:?} differ from what the chart makes: run `cargo xtask manifests`");
    }
    Ok(())
}

fn helm() -> Result<Result<PathBuf, String>> {
    match ensure_components(&[Component::Helm])? {
        Binaries::Ready(bin) => Ok(Ok(bin.path(Component::Helm, "helm")?)),
        Binaries::Missing(missing) => Ok(Err(missing.to_string())),
    }
}

fn store(files: &Files) -> Result<()> {
    for (path, text) in files {
        let path = root()?.join(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn differing(files: &Files) -> Result<Vec<PathBuf>> {
    let root = root()?;
    let differs = |path: &Path, text: &str| fs::read_to_string(root.join(path)).ok().as_deref() != Some(text);
    Ok(files.iter().filter(|(path, text)| differs(path, text)).map(|(path, _)| path.clone()).collect())
}

/// The files of a folder, sorted, by their path from the root.
fn files_in(folder: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let full = root()?.join(folder);
    if full.exists() {
        for entry in fs::read_dir(full)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(Path::new(folder).join(entry.file_name()));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(root()?.join(path)).with_context(|| path.display().to_string())
}

/// What is made without Helm.
fn copies() -> Result<Files> {
    let mut files = Files::new();
    let chart = Path::new(CHART);
    for (path, text) in definitions()? {
        let name = path.file_name().context("a file has a name")?;
        files.insert(chart.join("definitions").join(name), kept(&text).with_context(|| path.display().to_string())?);
    }
    for path in files_in(DASHBOARDS)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let name = path.file_name().context("a file has a name")?;
        files.insert(chart.join("dashboards").join(name), read(&path)?);
    }
    files.insert(PathBuf::from("manifests/argocd/argocd-cm.yaml"), argocd_settings()?);
    let metadata = read(&chart.join("Chart.yaml"))?;
    for field in ["version", "appVersion"] {
        let line = format!("{field}: {}", env!("CARGO_PKG_VERSION"));
        ensure!(metadata.lines().any(|found| found == line), "{CHART}/Chart.yaml: write `{line}`");
    }
    Ok(files)
}

fn definitions() -> Result<Files> {
    let paths = files_in("crds")?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths.map(|path| Ok((path.clone(), read(&path)?))).collect()
}

/// A definition that Helm leaves alone when the chart is removed: with it would go every object of its kind.
fn kept(definition: &str) -> Result<String> {
    const METADATA: &str = "\nmetadata:\n";
    ensure!(definition.matches(METADATA).count() == 1, "not a definition as `cargo xtask crds` writes it");
    Ok(definition.replacen(METADATA, &format!("{METADATA}  annotations:\n    helm.sh/resource-policy: keep\n"), 1))
}

/// The health checks as settings of Argo CD, for whose version does not have them yet.
fn argocd_settings() -> Result<String> {
    let mut kinds = Vec::new();
    for entry in fs::read_dir(root()?.join(CUSTOMIZATIONS))? {
        kinds.push(entry?.file_name().to_string_lossy().into_owned());
    }
    kinds.sort();
    let mut text = "\
# Health checks for Argo CD: kubectl -n argocd patch configmap argocd-cm --patch-file manifests/argocd/argocd-cm.yaml
data:
"
    .to_owned();
    for kind in kinds {
        writeln!(text, "  resource.customizations.health.plimsoll.dev_{kind}: |")?;
        for line in read(&Path::new(CUSTOMIZATIONS).join(&kind).join("health.lua"))?.lines() {
            writeln!(text, "{}", format!("    {line}").trim_end())?;
        }
    }
    Ok(text)
}

/// A file made of the chart: which templates are in it, and with which values.
struct Rendering {
    path: &'static str,
    templates: &'static [&'static str],
    values: &'static [&'static str],
}

const RENDERINGS: [Rendering; 3] = [
    Rendering {
        path: "manifests/rbac.yaml",
        templates: &["serviceaccount", "rbac"],
        values: &[
            r#"config={"backends":{"default":{"prometheusRule":{}},"ruler":{"rulerApi":{}},"victoria":{"vmRule":{}}}}"#,
        ],
    },
    Rendering {
        path: "manifests/runbooks.yaml",
        templates: &["runbooks"],
        values: &[r#"runbooks={"enabled":true,"alertTokenSecrets":["plimsoll-alertmanager"]}"#],
    },
    Rendering { path: "manifests/webhook.yaml", templates: &["webhook"], values: &[] },
];

/// What Helm makes of the chart.
fn rendered(helm: &Path) -> Result<Files> {
    let mut files = Files::new();
    for Rendering { path, templates, values } in RENDERINGS {
        let body = template(helm, templates, values)?;
        files.insert(PathBuf::from(path), format!("{HEADER}{body}"));
    }
    let namespace = read(Path::new("manifests/kustomize/namespace.yaml"))?;
    let definitions: Vec<String> = definitions()?.into_values().collect();
    let definitions = definitions.join("---\n");
    let operator = template(helm, &[], &[r#"crds={"install":false}"#])?;
    files.insert(
        PathBuf::from("manifests/install.yaml"),
        format!("{HEADER}# kubectl apply --server-side -f manifests/install.yaml\n{namespace}---\n{definitions}---\n{operator}"),
    );
    files.insert(PathBuf::from("manifests/kustomize/crds.yaml"), format!("{HEADER}{definitions}"));
    files.insert(PathBuf::from("manifests/kustomize/operator.yaml"), format!("{HEADER}{operator}"));
    Ok(files)
}

const HEADER: &str = "# Made of manifests/helm/plimsoll by `cargo xtask manifests`.\n";

/// Some templates of the chart (or all) with some values, as one file.
fn template(helm: &Path, templates: &[&str], values: &[&str]) -> Result<String> {
    let mut command = program(helm)?;
    // What it takes for the cluster's version unless it is told would be too old for the chart.
    command.args(["template", "plimsoll", CHART, "--namespace", NAMESPACE, "--kube-version", "1.36.0"]);
    for value in values {
        command.args(["--set-json", value]);
    }
    for template in templates {
        command.args(["--show-only", &format!("templates/{template}.yaml")]);
    }
    Ok(tidied(&output(command)?))
}

/// Without what Helm says of where a document is from, and without blank lines between documents.
fn tidied(text: &str) -> String {
    let documents = text.split("---\n").map(|document| {
        let lines = document.lines().filter(|line| !line.starts_with("# Source: "));
        lines.collect::<Vec<_>>().join("\n").trim().to_owned()
    });
    let documents: Vec<String> = documents.filter(|document| !document.is_empty()).map(|text| text + "\n").collect();
    documents.join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_joined_without_their_origin() {
        let text = "---\n# Source: plimsoll/templates/a.yaml\n# why\na: 1\n\n---\n# Source: plimsoll/templates/b.yaml\n\n---\nb: 2\n";
        assert_eq!(tidied(text), "# why\na: 1\n---\nb: 2\n");
    }

    #[test]
    fn a_definition_is_kept_and_otherwise_the_same() -> Result<()> {
        let kept = kept("kind: A\nmetadata:\n  name: a\nspec: {}\n")?;
        assert_eq!(
            kept,
            "kind: A\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n  name: a\nspec: {}\n"
        );
        assert!(self::kept("kind: A\n").is_err());
        Ok(())
    }
}
