//! The whole of Plimsoll on real servers, for a person to play with.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

use crate::binaries::Bin;
use crate::control_plane::ControlPlane;
use crate::folder::Folder;
use crate::operator::Operator;
use crate::ports::free_port;
use crate::sample::SampleService;
use crate::stack::Stack;
use crate::wait::wait_until;

/// Of this repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const NAMESPACE: &str = "plimsoll-system";
/// What Alertmanager sends the operator.
const TOKEN: &str = "the-token-of-the-playground";
const SOON: Duration = Duration::from_secs(90);

/// A shop's service on a [`Stack`], with the operator over it: webhook, scorer, runbooks in dry run and page, and an SLO, an
/// AlertRule and a Runbook that are Ready.
pub struct Playground {
    // In this order they are ended.
    operator: Operator,
    /// The servers.
    pub stack: Stack,
    /// The service; Prometheus scrapes it as job `checkout`.
    pub shop: SampleService,
    page: String,
    _folder: Folder,
}

impl Playground {
    /// Starts everything with a build of plimsoll, and waits until its objects are Ready: about half a minute.
    pub async fn start(bin: &Bin, program: &Path) -> Result<Self> {
        let shop = SampleService::shop().await?;
        let [metrics, page, alerts, webhook] =
            [free_port()?, free_port()?, free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
        let stack = Stack::with_jobs(bin, &[("checkout", shop.target()), ("plimsoll", metrics.clone())]).await?;
        let plane = &stack.control_plane;
        install(plane).await?;
        let folder = Folder::new("playground")?;
        let [config, token] = ["config.yaml", "token"].map(|file| folder.join(file));
        // Only a dry run would be told there, and nothing is.
        let destinations = json!({"on-call": {"url": stack.webhook.url()}});
        let runbooks = json!({"alertmanager": {"url": stack.alertmanager.url()}, "destinations": destinations});
        fs::write(&config, json!({"runbooks": runbooks}).to_string())?;
        fs::write(&token, TOKEN)?;
        let (config, token) = (config.display().to_string(), token.display().to_string());
        let webhook_url = format!("https://{webhook}");
        // With the rights of the manifests, and no others.
        let kubeconfig = plane.kubeconfig_for(&format!("system:serviceaccount:{NAMESPACE}:plimsoll"), None)?;
        let arguments = [
            ["--namespace", NAMESPACE],
            ["--prometheus", stack.prometheus.url()],
            ["--config", &config],
            ["--page-listen", &page],
            ["--webhook-listen", &webhook],
            ["--webhook-url", &webhook_url],
            ["--alerts-listen", &alerts],
            ["--alerts-name", "127.0.0.1"],
            ["--alerts-token-file", &token],
        ];
        let arguments = [arguments.as_flattened(), &["--runbooks", "--no-leader-election"][..]].concat();
        let operator = Operator::start_at(program, &kubeconfig, &metrics, &arguments, |_| {}).await?;
        let secrets: Api<Secret> = Api::namespaced(plane.client().await?, NAMESPACE);
        let authority = wait_until("the certificate for Alertmanager", SOON, async || {
            Ok(secrets.get("plimsoll-alerts").await?.data.and_then(|mut data| data.remove("ca.crt")))
        })
        .await?;
        stack.alertmanager.post_to(&format!("https://{alerts}/alerts"), TOKEN, &authority.0).await?;
        populate(plane).await?;
        Ok(Self { operator, stack, shop, page: format!("http://{page}/"), _folder: folder })
    }

    /// The page's address.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The operator.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Comes back, with an error, when the operator ends by itself.
    pub async fn broken(&mut self) -> Result<()> {
        loop {
            if self.operator.ended()? {
                bail!("the operator ended; its last lines:\n{}", self.operator.process().log_tail(20));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Ends it as a cluster would, and then everything else.
    pub async fn stop(mut self) -> Result<()> {
        self.operator.stop().await
    }
}

fn read(file: &str) -> Result<String> {
    let path = Path::new(ROOT).join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What `docs/install.md` applies without Helm, but for the Deployment.
async fn install(plane: &ControlPlane) -> Result<()> {
    let crds = ["slo", "alertrule", "runbook", "runbookexecution", "runbookapproval"];
    for name in crds {
        plane.apply(&read(&format!("crds/{name}.yaml"))?).await?;
    }
    plane.established().await?;
    for namespace in ["shop", NAMESPACE] {
        plane.kubectl(["create", "namespace", namespace]).await?;
    }
    for manifest in ["rbac.yaml", "runbooks.yaml", "webhook.yaml"] {
        plane.apply(&read(&format!("manifests/{manifest}"))?).await?;
    }
    Ok(())
}

/// Applies the objects, once the webhook is there to note who writes the runbook, and waits until they are Ready.
async fn populate(plane: &ControlPlane) -> Result<()> {
    let webhooks =
        ["get", "mutatingwebhookconfiguration", "plimsoll", "-o", "jsonpath={.webhooks[*].clientConfig.url}"];
    wait_until("the webhook to be registered", SOON, async || {
        Ok((!plane.kubectl(webhooks).await?.is_empty()).then_some(()))
    })
    .await?;
    let files = ["runbooks/rollback-on-burn/rbac.yaml", "runbooks/rollback-on-burn/runbook.yaml"];
    let mut objects = include_str!("playground.yaml").to_owned();
    // The rollout before the one that runs: to it the runbook would go back.
    let (deployment, _) = objects.split_once("---\n").context("a Deployment comes first")?;
    plane.apply(&deployment.replace("checkout:2", "checkout:1")).await?;
    wait_until("the first ReplicaSet", SOON, async || {
        Ok((!plane.kubectl(["get", "replicasets", "-n", "shop", "-o", "name"]).await?.is_empty()).then_some(()))
    })
    .await?;
    for file in files {
        objects += &format!("---\n{}", read(file)?);
    }
    wait_until("the objects to be taken", SOON, async || plane.apply(&objects).await.map(Some)).await?;
    let ready = ["wait", "--for=condition=Ready", "--timeout=90s", "-n", "shop", "--all", "slo,alertrule,runbook"];
    plane.kubectl(ready).await?;
    Ok(())
}
