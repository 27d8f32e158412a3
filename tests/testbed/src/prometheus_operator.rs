//! The real prometheus-operator between the API server and a Prometheus.
//!
//! It runs outside a pod, and the pods that it would start need nodes. So it does all its work up to the `ConfigMap`
//! with the rule files, and this module takes the place of the pod: it copies them into the rule folder of the
//! testbed's Prometheus and has it reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::binaries::Bin;
use crate::control_plane::ControlPlane;
use crate::folder::{Folder, write_whole};
use crate::http;
use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::prometheus::Prometheus;
use crate::recipe::{Component, PROMETHEUS_OPERATOR_CRDS};
use crate::wait::wait_until;

const START: Duration = Duration::from_secs(60);

/// A map that is away for longer was not only replaced.
const REPLACED: Duration = Duration::from_secs(2);

/// The namespace of the `Prometheus` object and of its rule files.
pub const MONITORING_NAMESPACE: &str = "monitoring";

/// The label by which prometheus-operator marks the `ConfigMap`s with rule files.
const RULE_FILES: &str = "prometheus-name=testbed";

/// A running prometheus-operator; every `PrometheusRule` of every namespace reaches the Prometheus that it was started with.
pub struct PrometheusOperator {
    process: Process,
    mirror: JoinHandle<()>,
    _folder: Folder,
}

impl PrometheusOperator {
    /// Installs the CRDs alone: enough for a test that looks at the objects only.
    pub async fn install_crds(bin: &Bin, control_plane: &ControlPlane) -> Result<()> {
        control_plane.apply_crds(&bin.path(Component::PrometheusOperator, PROMETHEUS_OPERATOR_CRDS)?).await
    }

    /// Installs the CRDs, starts it, and makes it the way from `PrometheusRule`s to a Prometheus.
    pub async fn start(bin: &Bin, control_plane: &ControlPlane, prometheus: Arc<Prometheus>) -> Result<Self> {
        Self::install_crds(bin, control_plane).await?;
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING_NAMESPACE}},
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "Prometheus",
                "metadata": {"name": "testbed", "namespace": MONITORING_NAMESPACE},
                "spec": {"ruleSelector": {}, "ruleNamespaceSelector": {}},
            },
        ]});
        control_plane.apply(&objects.to_string()).await?;

        let folder = Folder::new("prometheus-operator")?;
        let port = free_port()?;
        let [authority, certificate, key] = control_plane.files();
        let program = Program::new(bin.path(Component::PrometheusOperator, "prometheus-operator")?)
            .arg(format!("--apiserver={}", control_plane.url()))
            .arg(format!("--ca-file={}", authority.display()))
            .arg(format!("--cert-file={}", certificate.display()))
            .arg(format!("--key-file={}", key.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = program.start(&folder.join("prometheus-operator.log"))?;
        let health = format!("http://127.0.0.1:{port}/healthz");
        process.ready(START, async || http::get(&health).await.map(drop)).await?;
        let rule_files: Api<ConfigMap> = Api::namespaced(control_plane.client().await?, MONITORING_NAMESPACE);
        // Its first look at the Prometheus makes one, of no rules: without it no rule would ever come.
        let selected = ListParams::default().labels(RULE_FILES);
        wait_until("the first ConfigMap of prometheus-operator", START, async || {
            Ok((!rule_files.list(&selected).await?.items.is_empty()).then_some(()))
        })
        .await
        .with_context(|| process.log_tail(20))?;
        let mirror = tokio::spawn(mirror(rule_files, prometheus));
        Ok(Self { process, mirror, _folder: folder })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for PrometheusOperator {
    fn drop(&mut self) {
        self.mirror.abort();
    }
}

/// Does what the kubelet and the configuration reloader of a Prometheus pod do. Ends never; a failure is told and tried
/// again at the next change.
async fn mirror(rule_files: Api<ConfigMap>, prometheus: Arc<Prometheus>) {
    let mut changes = watcher(rule_files.clone(), watcher::Config::default().labels(RULE_FILES)).boxed();
    let mut known = Known::default();
    loop {
        // prometheus-operator deletes all of the maps and makes them anew; of one that is away for a moment, the volume
        // in a pod keeps the files.
        let outcome = match tokio::time::timeout(REPLACED, changes.next()).await {
            Ok(Some(Ok(_))) => copy(&rule_files, &prometheus, &mut known, false).await,
            // The watcher comes back by itself from an API server that is restarted.
            Ok(Some(Err(_))) => continue,
            Ok(None) => return,
            Err(_) if known.awaited => copy(&rule_files, &prometheus, &mut known, true).await,
            Err(_) => continue,
        };
        if let Err(error) = outcome {
            eprintln!("testbed: copying the rule files to Prometheus: {error:#}");
        }
    }
}

/// What the pod would have.
#[derive(Default)]
struct Known {
    /// Names of the maps.
    maps: BTreeSet<String>,
    /// Their files.
    files: BTreeMap<PathBuf, String>,
    /// A map is away, perhaps for good.
    awaited: bool,
}

/// Copies what has changed; without `for_good`, not while a map is away.
async fn copy(rule_files: &Api<ConfigMap>, prometheus: &Prometheus, known: &mut Known, for_good: bool) -> Result<()> {
    let folder = prometheus.rule_folder();
    let (mut maps, mut wanted) = (BTreeSet::new(), BTreeMap::new());
    for map in rule_files.list(&ListParams::default().labels(RULE_FILES)).await? {
        maps.insert(map.name_any());
        wanted.extend(map.data.into_iter().flatten().map(|(file, text)| (folder.join(file), text)));
    }
    known.awaited = !for_good && !known.maps.is_subset(&maps);
    if known.awaited {
        return Ok(());
    }
    known.maps = maps;
    let written = &mut known.files;
    if *written == wanted {
        return Ok(());
    }
    let _files = prometheus.rule_files().await;
    // Only what came from here is removed: a test may have files of its own beside it.
    for gone in written.keys().filter(|path| !wanted.contains_key(*path)) {
        fs::remove_file(gone)?;
    }
    for (path, text) in &wanted {
        write_whole(path, text)?;
    }
    *written = wanted;
    prometheus.reload().await
}
