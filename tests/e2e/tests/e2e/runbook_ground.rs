//! What the tests of running runbooks share: a control plane with an operator that has the manifests' rights, accounts,
//! runbooks, and posts as Alertmanager's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{Json, Router};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use plimsoll::runbooks::proof::AUTHOR;
use plimsoll_api::{Runbook, RunbookApproval, RunbookExecution, RunbookExecutionStatus, execution::Phase};
use plimsoll_e2e::{NodeStack, Testbed, operator::Operator};
use plimsoll_testbed::{
    Alertmanager, ControlPlane, ControlPlaneOptions, Folder, Network, Node, Program, Server, free_port, wait_until,
};
use serde_json::{Value, json};

use crate::{
    cluster::{SOON, install},
    install::manifests,
};

/// What Alertmanager sends.
pub(crate) const TOKEN: &str = "the-token-of-alertmanager";

/// What a test needs: the kinds, a Prometheus that says yes, files, and where Alertmanager would post.
pub(crate) struct Ground {
    // Ended before its control plane.
    node: Option<Node>,
    pub(crate) plane: ControlPlane,
    _network: Option<Arc<Network>>,
    pub(crate) client: Client,
    _prometheus: Server,
    pub(crate) folder: Folder,
    alerts: String,
    webhook: String,
    prometheus: String,
}

impl Ground {
    pub(crate) async fn new(testbed: &Testbed) -> Result<Self> {
        Self::with(testbed, None, None).await
    }

    /// With a real Prometheus and Alertmanager, by their addresses.
    pub(crate) async fn with(testbed: &Testbed, prometheus: Option<&str>, alertmanager: Option<&str>) -> Result<Self> {
        let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
        Self::over(plane, prometheus, alertmanager, json!({})).await
    }

    /// With a node of its own, and more of the configuration's part `runbooks`.
    pub(crate) async fn on_node(
        stack: NodeStack,
        prometheus: Option<&str>,
        alertmanager: Option<&str>,
        more: Value,
    ) -> Result<Self> {
        let NodeStack { node, control_plane, network } = stack;
        let mut ground = Self::over(control_plane, prometheus, alertmanager, more).await?;
        // The API server is inside, and asks the operator's webhook.
        let (_, port) = ground.webhook.rsplit_once(':').context("a port")?;
        network.lend(port.parse()?).await?;
        (ground.node, ground._network) = (Some(node), Some(network));
        Ok(ground)
    }

    /// The node.
    pub(crate) fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("there is no node")
    }

    /// Over a control plane, with more of the configuration's part `runbooks`.
    pub(crate) async fn over(
        plane: ControlPlane,
        prometheus: Option<&str>,
        alertmanager: Option<&str>,
        more: Value,
    ) -> Result<Self> {
        let client = install(&plane).await?;
        for definition in [Runbook::crd(), RunbookExecution::crd(), RunbookApproval::crd()] {
            plane.apply(&serde_json::to_string(&definition)?).await?;
        }
        let (runbooks, approvals): (Api<Runbook>, Api<RunbookApproval>) =
            (Api::all(client.clone()), Api::all(client.clone()));
        let executions: Api<RunbookExecution> = Api::all(client.clone());
        wait_until("the kinds of runbooks", SOON, async || {
            approvals.list(&ListParams::default()).await?;
            executions.list(&ListParams::default()).await?;
            Ok(Some(runbooks.list(&ListParams::default()).await?))
        })
        .await?;
        plane.kubectl(["create", "namespace", "shop"]).await?;
        plane.kubectl(["create", "namespace", "plimsoll-system"]).await?;
        for manifest in ["rbac.yaml", "runbooks.yaml", "webhook.yaml"] {
            plane.apply(&std::fs::read_to_string(manifests(manifest))?).await?;
        }
        let one = json!({"status": "success", "data": {"resultType": "vector",
            "result": [{"metric": {}, "value": [0, "1"]}]}});
        let yes = Server::start(Router::new().fallback(move || async move { Json(one) })).await?;
        let folder = Folder::new("runbooks")?;
        std::fs::write(folder.join("token"), TOKEN)?;
        std::fs::create_dir(folder.join("evidence"))?;
        let mut config =
            json!({"runbooks": {"artifacts": {"volumes": {"evidence": {"directory": folder.join("evidence")}}}}});
        if let Some(url) = alertmanager {
            config["runbooks"]["alertmanager"] = json!({"url": url});
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            config["runbooks"][name] = value.clone();
        }
        std::fs::write(folder.join("config.yaml"), config.to_string())?;
        let alerts = format!("127.0.0.1:{}", free_port()?);
        let webhook = format!("127.0.0.1:{}", free_port()?);
        let url = prometheus.map_or_else(|| yes.url(), str::to_owned);
        let (node, network) = (None, None);
        Ok(Self { node, plane, _network: network, client, _prometheus: yes, folder, alerts, webhook, prometheus: url })
    }

    /// An operator with the rights of the manifests, and no others.
    pub(crate) async fn operator(&self, testbed: &Testbed) -> Result<Operator> {
        let user = "system:serviceaccount:plimsoll-system:plimsoll";
        self.operator_by(testbed, &self.plane.kubeconfig_for(user, None)?).await
    }

    pub(crate) async fn operator_by(&self, testbed: &Testbed, kubeconfig: &Path) -> Result<Operator> {
        let operator = self.start(testbed, kubeconfig, &self.alerts, &self.webhook, &["--no-leader-election"]).await?;
        self.takes_alerts(&self.alerts).await?;
        Ok(operator)
    }

    /// One of several operators, of which one leads, and where it takes alerts.
    pub(crate) async fn replica(&self, testbed: &Testbed, identity: &str) -> Result<(Operator, String)> {
        let user = "system:serviceaccount:plimsoll-system:plimsoll";
        self.replica_by(testbed, identity, &self.plane.kubeconfig_for(user, None)?).await
    }

    pub(crate) async fn replica_by(
        &self,
        testbed: &Testbed,
        identity: &str,
        kubeconfig: &Path,
    ) -> Result<(Operator, String)> {
        let (operator, alerts) = self.beginning_replica(testbed, identity, kubeconfig).await?;
        self.takes_alerts(&alerts).await?;
        Ok((operator, alerts))
    }

    /// One that need not know any runbook yet.
    pub(crate) async fn beginning_replica(
        &self,
        testbed: &Testbed,
        identity: &str,
        kubeconfig: &Path,
    ) -> Result<(Operator, String)> {
        let [alerts, webhook] = [free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
        let election = ["--identity", identity, "--lease-seconds", "3"];
        Ok((self.start(testbed, kubeconfig, &alerts, &webhook, &election).await?, alerts))
    }

    /// A Pod that nothing runs; no controller makes the account that one has when it names none.
    pub(crate) async fn pod(&self, name: &str, account: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"serviceAccountName": account, "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "registry.example/app"}]}});
        self.plane.apply(&object.to_string()).await.map(drop)
    }

    /// A kubeconfig for a server that stands before the API server.
    pub(crate) fn kubeconfig_of(&self, url: &str) -> Result<PathBuf> {
        let file = self.folder.join("kubeconfig");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": url}}], "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]});
        std::fs::write(&file, config.to_string())?;
        Ok(file)
    }

    async fn start(
        &self,
        testbed: &Testbed,
        kubeconfig: &Path,
        alerts: &str,
        webhook: &str,
        more: &[&str],
    ) -> Result<Operator> {
        let url = format!("https://{webhook}");
        let [token, config] = ["token", "config.yaml"].map(|file| self.folder.join(file).display().to_string());
        let mut arguments = vec!["--namespace", "plimsoll-system", "--runbooks", "--prometheus", &self.prometheus];
        arguments.extend(["--config", &config, "--webhook-listen", webhook, "--webhook-url", &url]);
        arguments.extend(["--alerts-listen", alerts, "--alerts-name", "127.0.0.1", "--alerts-token-file", &token]);
        arguments.extend(more);
        Operator::start_with(testbed.plimsoll()?, kubeconfig, &arguments).await
    }

    /// Waits until an operator answers alerts: it is ready as soon as it listens, and until its watch has told of the runbooks
    /// it answers every one by 503.
    async fn takes_alerts(&self, address: &str) -> Result<()> {
        let nobodys = post(&[alert("Nobodys", "nothing", 0)]);
        wait_until("the operator to take alerts", SOON, async || {
            let (code, message) = self.post_to(address, TOKEN, &nobodys).await?;
            ensure!(code == 200, "{code} {message}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until one of several operators knows the runbook that an alert of this name starts: a runbook is Ready as soon as
    /// the one that leads knows it, and to another it may be nobody's alert still. One that is over starts nothing.
    pub(crate) async fn known_to(&self, (operator, address): (&Operator, &str), name: &str) -> Result<()> {
        let series = "plimsoll_alerts_total{outcome=\"resolved\"}";
        let before = operator.metric(series).await?;
        let mut over = alert(name, "nothing", 0);
        over["status"] = json!("resolved");
        over["endsAt"] = json!("2026-01-01T00:01:00Z");
        wait_until(&format!("a replica to know the runbook of {name}"), SOON, async || {
            let (code, message) = self.post_to(address, TOKEN, &post(&[over.clone()])).await?;
            ensure!(code == 200, "{code} {message}");
            Ok((operator.metric(series).await? > before).then_some(()))
        })
        .await
    }

    /// A ServiceAccount with rights in the namespace, which the operator may be.
    pub(crate) async fn account(&self, name: &str, rules: Value) -> Result<()> {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}});
        self.plane.apply(&account.to_string()).await?;
        let be = json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [name], "verbs": ["impersonate"]}]);
        for (role, rules, subject, of) in
            [(name.to_owned(), rules, name, "shop"), (format!("be-{name}"), be, "plimsoll", "plimsoll-system")]
        {
            let meta = json!({"name": role, "namespace": "shop"});
            let api = "rbac.authorization.k8s.io/v1";
            let binding = json!({"apiVersion": api, "kind": "RoleBinding", "metadata": meta,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": of}]});
            let role = json!({"apiVersion": api, "kind": "Role", "metadata": meta, "rules": rules});
            for object in [role, binding] {
                self.plane.apply(&object.to_string()).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn deployment(&self, name: &str) -> Result<()> {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/app"}]}}}});
        self.plane.apply(&object.to_string()).await.map(drop)
    }

    pub(crate) async fn replicas(&self, name: &str) -> Result<i32> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), "shop");
        api.get(name).await?.spec.and_then(|spec| spec.replicas).context("replicas")
    }

    /// Writes a runbook, once the webhook is there to note who does.
    pub(crate) async fn runbook(&self, name: &str, spec: Value) -> Result<Runbook> {
        let api: Api<Runbook> = Api::namespaced(self.client.clone(), "shop");
        let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": name}, "spec": spec});
        wait_until(&format!("runbook {name} to be stored"), SOON, async || {
            let stored = api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
            // The API server asks the webhook as soon as its own watch has told of the registration.
            ensure!(stored.annotations().contains_key(AUTHOR), "nobody has noted who wrote it");
            Ok(Some(stored))
        })
        .await?;
        wait_until(&format!("runbook {name} to be ready"), SOON, async || {
            let runbook = api.get(name).await?;
            let conditions = runbook.status.clone().unwrap_or_default().conditions;
            match conditions.iter().find(|condition| condition.type_ == "Ready") {
                // What was there before may have been Ready.
                Some(ready) if ready.status == "True" && ready.observed_generation == runbook.metadata.generation => {
                    Ok(Some(runbook))
                }
                other => anyhow::bail!("{name} is {other:?}"),
            }
        })
        .await
    }

    /// What Alertmanager trusts, PEM.
    pub(crate) async fn authority(&self) -> Result<Vec<u8>> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "plimsoll-system");
        let secret = secrets.get("plimsoll-alerts").await?;
        Ok(secret.data.and_then(|mut data| data.remove("ca.crt")).context("ca.crt")?.0)
    }

    /// Where Alertmanager posts.
    pub(crate) fn alerts_url(&self) -> String {
        format!("https://{}/alerts", self.alerts)
    }

    /// Has this Alertmanager post all alerts to the operator.
    pub(crate) async fn hears(&self, alertmanager: &Alertmanager) -> Result<()> {
        alertmanager.post_to(&self.alerts_url(), TOKEN, &self.authority().await?).await
    }

    /// A client that trusts what Alertmanager trusts.
    pub(crate) async fn alertmanager(&self) -> Result<reqwest::Client> {
        let authority = reqwest::Certificate::from_pem_bundle(&self.authority().await?)?;
        Ok(reqwest::Client::builder().tls_certs_only(authority).build()?)
    }

    /// Posts a message as Alertmanager does; gives the code and the answer.
    pub(crate) async fn post(&self, token: &str, body: &Value) -> Result<(u16, String)> {
        self.post_to(&self.alerts, token, body).await
    }

    /// The same to one of several operators.
    pub(crate) async fn post_to(&self, address: &str, token: &str, body: &Value) -> Result<(u16, String)> {
        let client = self.alertmanager().await?;
        let answer = client.post(format!("https://{address}/alerts")).bearer_auth(token).json(body).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    pub(crate) fn executions(&self) -> Api<RunbookExecution> {
        Api::namespaced(self.client.clone(), "shop")
    }

    pub(crate) async fn of(&self, runbook: &str) -> Result<Vec<RunbookExecution>> {
        let all = self.executions().list(&ListParams::default()).await?.items;
        Ok(all.into_iter().filter(|execution| execution.spec.runbook.name == runbook).collect())
    }

    /// Waits until the only execution of a runbook is as it should be.
    pub(crate) async fn only(
        &self,
        runbook: &str,
        wanted: impl Fn(&RunbookExecutionStatus) -> bool,
    ) -> Result<RunbookExecution> {
        wait_until(&format!("the execution of {runbook}"), SOON, async || {
            let all = self.of(runbook).await?;
            ensure!(all.len() == 1, "{} executions", all.len());
            let found = all.into_iter().next().context("an execution")?;
            ensure!(found.status.as_ref().is_some_and(&wanted), "it is otherwise: {:#?}", found.status);
            Ok(Some(found))
        })
        .await
        .map_err(|error| error.context(runbook.to_owned()))
    }

    /// Runs the command line as a user; gives its output, or its error.
    pub(crate) async fn plimsoll(&self, testbed: &Testbed, kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
        let program = Program::new(testbed.plimsoll()?).arg("runbook").args(arguments).env("KUBECONFIG", kubeconfig);
        program.run("", Duration::from_secs(60)).await?.success()
    }
}

pub(crate) fn alert(name: &str, workload: &str, fingerprint: u64) -> Value {
    json!({"status": "firing", "labels": {"alertname": name, "namespace": "shop", "deployment": workload},
        "annotations": {}, "startsAt": "2026-01-01T00:00:00.123Z", "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": format!("{fingerprint:016x}")})
}

pub(crate) fn post(alerts: &[Value]) -> Value {
    json!({"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "plimsoll", "alerts": alerts})
}

pub(crate) fn scaling(alert: &str, mode: &str, account: &str, replicas: i64) -> Value {
    json!({"mode": mode, "serviceAccountName": account, "trigger": {"alert": [format!("alertname=\"{alert}\"")]},
        "parameters": [{"name": "workload", "object": "Deployment", "fromLabel": "deployment"}],
        "steps": [{"name": "more", "scale": {"workload": "workload", "replicas": replicas, "max": 10}}]})
}

/// What scaling needs; an autoscaler is looked for first.
pub(crate) fn may_scale() -> Value {
    json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list"]}])
}

pub(crate) fn ended(phase: Phase) -> impl Fn(&RunbookExecutionStatus) -> bool {
    move |status| status.phase == phase
}
