//! Argo CD without its page: the application controller, the repo server, and a Redis in memory, beside a control plane.
//! Repositories are Git folders of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::binaries::Bin;
use crate::control_plane::ControlPlane;
use crate::folder::Folder;
use crate::http;
use crate::ports::free_port;
use crate::process::{Process, Program};
use crate::recipe::{ARGO_CD_CRDS, Component};
use crate::wait::wait_until;

const START: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "argocd";

/// A running Argo CD.
pub struct ArgoCd {
    // In this order they are killed.
    controller: Process,
    _repo_server: Process,
    _redis: Process,
    applications: Api<DynamicObject>,
    // Last: the programs write into it until they are dead.
    folder: Folder,
}

/// What Argo CD says of an Application.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// `Synced` or `OutOfSync`.
    pub sync: String,
    /// The commit that it was compared with last.
    pub revision: String,
    /// `Healthy`, `Degraded` and so on.
    pub health: String,
    /// The objects that it manages, by `Kind/NAME`.
    pub resources: BTreeMap<String, Managed>,
    /// All of it, for a message.
    pub status: Value,
}

/// What Argo CD says of an object that it manages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed {
    /// `Synced` or `OutOfSync`.
    pub sync: String,
    /// `Healthy`, `Degraded` and so on; empty where nobody knows a kind's health.
    pub health: String,
    /// Why.
    pub message: String,
}

impl ArgoCd {
    /// Starts it on a control plane. `settings` are added to those in the ConfigMap `argocd-cm`.
    pub async fn start(bin: &Bin, plane: &ControlPlane, settings: &BTreeMap<String, String>) -> Result<Self> {
        install(bin, plane, settings).await?;
        let folder = Folder::new("argocd")?;
        for name in ["tls", "ssh", "gpg", "tmp", "plugins"] {
            fs::create_dir(folder.join(name))?;
        }
        fs::write(folder.join("ssh/ssh_known_hosts"), "")?;
        let (redis_port, repo_port) = (free_port()?, free_port()?);
        let redis_address = format!("127.0.0.1:{redis_port}");
        let redis = Program::new(bin.path(Component::ArgoCd, "argocd-redis")?).arg(&redis_address);
        let mut redis = redis.start(&folder.join("redis.log"))?;
        redis.ready(START, async || connects(redis_port).await).await?;

        let argocd = |name: &str| -> Result<Program> {
            let mut program = Program::new(bin.path(Component::ArgoCd, "argocd")?)
                .named(name)
                .folder(folder.path())
                .env("ARGOCD_BINARY_NAME", name)
                .env("KUBECONFIG", plane.kubeconfig())
                .env("ARGOCD_GPG_ENABLED", "false")
                // Of the machine's own configuration of Git nothing is to be seen, but whose folders may be read.
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "safe.directory")
                .env("GIT_CONFIG_VALUE_0", "*");
            for (variable, place) in [
                ("ARGOCD_TLS_DATA_PATH", "tls"),
                ("ARGOCD_SSH_DATA_PATH", "ssh"),
                ("ARGOCD_GNUPGHOME", "gpg"),
                ("ARGOCD_PLUGINSOCKFILEPATH", "plugins"),
                ("ARGOCD_ASK_PASS_SOCK", "ask.sock"),
                ("TMPDIR", "tmp"),
            ] {
                program = program.env(variable, folder.join(place));
            }
            Ok(program.args(["--redis", &redis_address, "--logformat", "text"]))
        };
        let repo_server = argocd("argocd-repo-server")?
            .args(["--address", "127.0.0.1", "--port", &repo_port.to_string()])
            .args(["--metrics-address", "127.0.0.1", "--metrics-port", &free_port()?.to_string()])
            // Otherwise a commit is seen minutes later.
            .args(["--disable-tls", "--revision-cache-expiration", "1s"]);
        let mut repo_server = repo_server.start(&folder.join("repo-server.log"))?;
        repo_server.ready(START, async || connects(repo_port).await).await?;

        let metrics = free_port()?;
        let controller = argocd("argocd-application-controller")?
            // The cluster of the kubeconfig stands for the one that it would run in.
            .env("ARGOCD_FAKE_IN_CLUSTER", "true")
            .args([
                "--namespace",
                NAMESPACE,
                "--repo-server",
                &format!("127.0.0.1:{repo_port}"),
                "--repo-server-plaintext",
            ])
            .args(["--metrics-port", &metrics.to_string(), "--app-resync", "5", "--app-resync-jitter", "0"])
            .args(["--self-heal-timeout-seconds", "1", "--self-heal-backoff-timeout-seconds", "0"])
            // Of single objects; else only the whole's is in the status.
            .arg("--persist-resource-health");
        let mut controller = controller.start(&folder.join("controller.log"))?;
        let health = format!("http://127.0.0.1:{metrics}/healthz");
        controller.ready(START, async || http::get(&health).await.map(drop)).await?;
        let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application");
        let resource = ApiResource::from_gvk_with_plural(&kind, "applications");
        let applications = Api::namespaced_with(plane.client().await?, NAMESPACE, &resource);
        Ok(Self { controller, _repo_server: repo_server, _redis: redis, applications, folder })
    }

    /// Makes an Application that keeps a namespace as the Git folder says: synced by itself, drift repaired, what is gone removed.
    pub async fn application(&self, name: &str, repository: &Path, namespace: &str) -> Result<()> {
        let application = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "project": "default",
                "source": {
                    "repoURL": format!("file://{}", repository.display()), "path": ".", "targetRevision": "HEAD",
                    "directory": {"recurse": true},
                },
                "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                "syncPolicy": {
                    "automated": {"prune": true, "selfHeal": true},
                    // A failed sync would be tried again with the commit that failed.
                    "retry": {"limit": 3, "refresh": true, "backoff": {"duration": "1s", "factor": 2, "maxDuration": "5s"}},
                },
            },
        });
        self.applications.create(&PostParams::default(), &serde_json::from_value(application)?).await?;
        Ok(())
    }

    /// Has it look at the repository now rather than in some seconds.
    pub async fn refresh(&self, name: &str) -> Result<()> {
        let mark = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}});
        self.applications.patch(name, &PatchParams::default(), &Patch::Merge(mark)).await?;
        Ok(())
    }

    /// What it says of an Application.
    pub async fn look(&self, name: &str) -> Result<Application> {
        let status = self.applications.get(name).await?.data["status"].take();
        let text = |pointer: &str| text_at(&status, pointer);
        let resources = status["resources"].as_array().into_iter().flatten().map(|resource| {
            let name = format!("{}/{}", text_at(resource, "/kind"), text_at(resource, "/name"));
            let managed = Managed {
                sync: text_at(resource, "/status"),
                health: text_at(resource, "/health/status"),
                message: text_at(resource, "/health/message"),
            };
            (name, managed)
        });
        Ok(Application {
            sync: text("/sync/status"),
            revision: text("/sync/revision"),
            health: text("/health/status"),
            resources: resources.collect(),
            status: status.clone(),
        })
    }

    /// Runs Argo CD's command line on the machine's files; gives its output, or an error with its message.
    pub async fn cli(bin: &Bin, arguments: &[&str]) -> Result<String> {
        let program = Program::new(bin.path(Component::ArgoCd, "argocd")?).env("ARGOCD_BINARY_NAME", "argocd");
        let output = program.args(arguments).run("", Duration::from_secs(60)).await?;
        output.success().with_context(|| format!("argocd {}", arguments.join(" ")))
    }

    /// The end of the controller's log, for a message.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.controller.log_tail(lines)
    }

    /// The folder with the logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn connects(port: u16) -> Result<()> {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    Ok(())
}

/// What its installation makes, without accounts, Deployments and Services.
async fn install(bin: &Bin, plane: &ControlPlane, settings: &BTreeMap<String, String>) -> Result<()> {
    let crds = bin.path(Component::ArgoCd, ARGO_CD_CRDS)?;
    for (file, plural) in [("application-crd.yaml", "applications"), ("appproject-crd.yaml", "appprojects")] {
        plane.apply(&fs::read_to_string(crds.join(file))?).await?;
        let path = format!("/apis/argoproj.io/v1alpha1/{plural}");
        wait_until(&format!("the kind of {plural}"), START, async || {
            plane.kubectl(["get", "--raw", &path]).await.map(Some)
        })
        .await?;
    }
    let of_argo = |kind: &str, name: &str, data: Value| {
        let labels = json!({"app.kubernetes.io/part-of": "argocd", "app.kubernetes.io/name": name});
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "data": data})
    };
    let names = [
        "argocd-cmd-params-cm",
        "argocd-rbac-cm",
        "argocd-gpg-keys-cm",
        "argocd-ssh-known-hosts-cm",
        "argocd-tls-certs-cm",
    ];
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        of_argo("ConfigMap", "argocd-cm", json!(settings)),
        // It signs sessions of a page that nobody has: any bytes will do.
        of_argo("Secret", "argocd-secret", json!({"server.secretkey": "MDEyMzQ1Njc4OWFiY2RlZg=="})),
    ];
    items.extend(names.map(|name| of_argo("ConfigMap", name, json!({}))));
    items.push(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default", "namespace": NAMESPACE},
        "spec": {
            "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }));
    // One by one: the namespace has to be there before what is in it.
    for item in items {
        plane.apply(&item.to_string()).await?;
    }
    Ok(())
}
