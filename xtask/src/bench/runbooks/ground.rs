//! The servers of the benchmark: an API server, a Prometheus that says yes, a destination that notes when something comes,
//! and the operator with the rights of the manifests.

#![allow(clippy::indexing_slicing, reason = "an index into JSON yields null where there is nothing")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::{Json, Router, extract::State};
use futures::{StreamExt, TryStreamExt, stream};
use kube::core::Request;
use kube::{Client, CustomResourceExt, api::PostParams};
use plimsoll_api::{API_VERSION, RunbookExecution};
use plimsoll_testbed::{
    Bin, ControlPlane, ControlPlaneOptions, Folder, Process, Program, PrometheusOperator, Server, Usage, free_port,
};
use serde_json::{Value, json};

use super::sender::Sender;
use super::{Arrivals, label};

const TOKEN: &str = "the-token-of-alertmanager";
/// The same kind once more, which nobody watches.
const COPIES: &str = "/apis/bench.example/v1alpha1/namespaces/shop/runbookexecutions";

pub(crate) struct Ground {
    operator: Process,
    client: Client,
    listener: Arc<Mutex<Option<Arrivals>>>,
    alerts: String,
    original: Value,
    _servers: [Server; 2],
    _folder: Folder,
    plane: ControlPlane,
}

/// What was used.
pub(crate) struct Used {
    /// By the operator.
    pub(crate) operator: Usage,
    /// Processor time of the API server.
    pub(crate) api_server: Duration,
}

/// The name of a Pod.
pub(crate) fn pod(number: u32) -> String {
    format!("checkout-{number:05}")
}

/// Waits until something is true.
pub(crate) async fn until(what: &str, most: Duration, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        let failure = match done().await {
            Ok(true) => return Ok(()),
            Ok(false) => anyhow::anyhow!("it is not so"),
            Err(error) => error,
        };
        if started.elapsed() > most {
            return Err(failure.context(format!("waiting for {what}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Ground {
    pub(crate) async fn start(bin: &Bin, plimsoll: &Path) -> Result<Self> {
        let plane = ControlPlane::start(bin, ControlPlaneOptions::api_only()).await?;
        PrometheusOperator::install_crds(bin, &plane).await?;
        let crds = Program::new(plimsoll).arg("crds").run("", Duration::from_secs(10)).await?;
        plane.apply(&crds.success()?).await?;
        let mut copy = serde_json::to_value(RunbookExecution::crd())?;
        copy["metadata"]["name"] = json!("runbookexecutions.bench.example");
        copy["spec"]["group"] = json!("bench.example");
        copy["spec"]["names"]["shortNames"] = json!([]);
        copy["spec"]["names"]["categories"] = json!([]);
        plane.apply(&copy.to_string()).await?;
        plane.established().await?;
        for namespace in ["shop", "plimsoll-system"] {
            plane.kubectl(["create", "namespace", namespace]).await?;
        }
        for manifest in ["rbac.yaml", "runbooks.yaml", "webhook.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(manifest);
            plane.apply(&std::fs::read_to_string(path)?).await?;
        }
        account(&plane).await?;

        let one = json!({"status": "success", "data": {"resultType": "vector",
            "result": [{"metric": {}, "value": [0, "1"]}]}});
        let prometheus = Server::start(Router::new().fallback(move || async move { Json(one) })).await?;
        let listener: Arc<Mutex<Option<Arrivals>>> = Arc::default();
        let noting = Router::new().fallback(note).with_state(Arc::clone(&listener));
        let destination = Server::start(noting).await?;
        let folder = Folder::new("bench-runbooks")?;
        let config = json!({"runbooks": {"destinations": {"bench": {"url": destination.url()}}}});
        std::fs::write(folder.join("config.yaml"), config.to_string())?;
        std::fs::write(folder.join("token"), TOKEN)?;
        let [alerts, webhook, listen] = [free_port()?, free_port()?, free_port()?].map(|p| format!("127.0.0.1:{p}"));
        let kubeconfig = plane.kubeconfig_for("system:serviceaccount:plimsoll-system:plimsoll", None)?;
        let program = operator(plimsoll, &folder, [&alerts, &webhook, &listen], &prometheus.url(), &kubeconfig);
        let process = program.start(&folder.join("operator.log"))?;
        let client = plane.client().await?;
        let original = Value::Null;
        let servers = [prometheus, destination];
        let mut ground =
            Self { operator: process, client, listener, alerts, original, _servers: servers, _folder: folder, plane };
        ground.write().await.with_context(|| ground.operator.log_tail(20))?;
        Ok(ground)
    }

    /// Writes runbooks, and takes an execution as what is copied.
    async fn write(&mut self) -> Result<()> {
        let parameters = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"}]);
        let tell = json!([{"name": "tell", "notify": {"destination": "bench", "message": "$(pod) is in trouble"}}]);
        // Bounds that never hold anything back, so that every run does something.
        let wide = json!({"cooldown": "1s", "maxConcurrent": 100, "budget": {"runs": 1000, "per": "1d"}});
        let usual = json!({});
        for (name, alert, safety) in
            [("steady", "Steady", &wide), ("storm", "Storm", &usual), ("groups", "Groups", &usual)]
        {
            let spec = json!({"mode": "Auto", "serviceAccountName": "looker", "parameters": parameters, "steps": tell,
                "safety": safety, "trigger": {"alert": [format!("alertname=\"{alert}\"")]}});
            let body = json!({"apiVersion": API_VERSION, "kind": "Runbook", "metadata": {"name": name}, "spec": spec});
            let path = format!("/apis/{API_VERSION}/namespaces/shop/runbooks");
            let stored = async || self.create(&path, &body).await.map(|_| true);
            until("the runbook to be stored", Duration::from_secs(60), stored).await?;
            let ready = async || {
                let runbook = self.get(&format!("{path}/{name}")).await?;
                let condition = |field: &str| runbook["status"]["conditions"][0][field].as_str();
                if condition("reason") == Some("AuthorUnknown") {
                    // The API server did not know the webhook yet that notes who writes it.
                    let params = kube::api::DeleteParams::default();
                    let _: Value = self.client.request(Request::new(&path).delete(name, &params)?).await?;
                    self.create(&path, &body).await?;
                }
                ensure!(condition("status") == Some("True"), "{}", runbook["status"]);
                Ok(true)
            };
            until("the runbook to be ready", Duration::from_secs(60), ready).await?;
        }
        // One run, as any other.
        self.pods(1).await?;
        let sender = self.sender().await?;
        let path = format!("/apis/{API_VERSION}/namespaces/shop/runbookexecutions");
        let mut found = Value::Null;
        // A runbook that was written a moment ago may not be known yet to what takes alerts.
        until("an execution", Duration::from_secs(60), async || {
            sender.deliver(&[super::alert("Steady", &pod(0), 999_999)]).await?;
            let list = self.get(&path).await?;
            found = list.pointer("/items/0").context("none")?.clone();
            Ok(true)
        })
        .await?;
        let labels = found.pointer("/metadata/labels").cloned();
        self.original = json!({"apiVersion": "bench.example/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"labels": labels, "annotations": found.pointer("/metadata/annotations")},
            "spec": found["spec"]});
        Ok(())
    }

    async fn create(&self, path: &str, body: &Value) -> Result<Value> {
        let request = Request::new(path).create(&PostParams::default(), serde_json::to_vec(body)?)?;
        Ok(self.client.request(request).await?)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let (path, name) = path.rsplit_once('/').context("a path")?;
        Ok(self.client.request(Request::new(path).get(name, &kube::api::GetParams::default())?).await?)
    }

    /// Makes an object like an execution, which nobody watches; gives what that took.
    pub(crate) async fn copy(&self, name: &str) -> Result<Duration> {
        let mut body = self.original.clone();
        body["metadata"]["name"] = json!(name);
        let started = Instant::now();
        self.create(COPIES, &body).await?;
        Ok(started.elapsed())
    }

    /// Makes Pods, those that are not there yet.
    pub(crate) async fn pods(&self, count: u32) -> Result<()> {
        stream::iter(0..count)
            .map(|number| async move {
                let spec = json!({"serviceAccountName": "looker", "automountServiceAccountToken": false,
                    "containers": [{"name": "app", "image": "registry.example/app"}]});
                let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod(number)}, "spec": spec});
                let made = self.create("/api/v1/namespaces/shop/pods", &body).await;
                let there = made.as_ref().err().and_then(|error| error.downcast_ref::<kube::Error>());
                if matches!(there, Some(kube::Error::Api(status)) if status.code == 409) {
                    Ok(())
                } else {
                    made.map(drop)
                }
            })
            .buffer_unordered(16)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    /// Notes what comes from now on.
    pub(crate) async fn listen(&self, arrivals: Arrivals) -> Result<()> {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrivals);
        Ok(())
    }

    /// Who posts as Alertmanager does.
    pub(crate) async fn sender(&self) -> Result<Sender> {
        let secret = self.get("/api/v1/namespaces/plimsoll-system/secrets/plimsoll-alerts").await?;
        let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret)?;
        let authority = secret.data.and_then(|mut data| data.remove("ca.crt")).context("ca.crt")?.0;
        let http = reqwest::Client::builder()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&authority)?)
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Sender { http, url: format!("https://{}/alerts", self.alerts), token: TOKEN.to_owned() })
    }

    /// Fingerprints of the executions of a runbook.
    pub(crate) async fn stored(&self, runbook: &str) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        let mut params = kube::api::ListParams::default().limit(2000);
        loop {
            let request =
                Request::new(format!("/apis/{API_VERSION}/namespaces/shop/runbookexecutions")).list(&params)?;
            let list: Value = self.client.request(request).await?;
            for item in list["items"].as_array().context("items")? {
                if item.pointer("/spec/runbook/name").and_then(Value::as_str) == Some(runbook) {
                    all.insert(label(item, "plimsoll.dev/fingerprint")?);
                }
            }
            match list.pointer("/metadata/continue").and_then(Value::as_str).filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token.to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// What was used so far.
    pub(crate) fn used(&self) -> Result<Used> {
        let api_server = self.plane.api_server().context("an API server")?.usage()?.cpu;
        Ok(Used { operator: self.operator.usage()?, api_server })
    }
}

async fn note(State(listener): State<Arc<Mutex<Option<Arrivals>>>>, Json(body): Json<Value>) {
    let now = Instant::now();
    let arrivals = listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let (Some(arrivals), Some(pod)) = (arrivals, body.pointer("/labels/pod").and_then(Value::as_str)) {
        arrivals.lock().unwrap_or_else(PoisonError::into_inner).entry(pod.to_owned()).or_insert(now);
    }
}

fn operator(
    plimsoll: &Path,
    folder: &Folder,
    [alerts, webhook, listen]: [&str; 3],
    prometheus: &str,
    kubeconfig: &Path,
) -> Program {
    Program::new(plimsoll)
        .args(["operator", "--no-leader-election", "--namespace", "plimsoll-system", "--runbooks"])
        .args(["--listen", listen, "--prometheus", prometheus, "--webhook-listen", webhook])
        .args(["--webhook-url", &format!("https://{webhook}"), "--alerts-listen", alerts, "--alerts-name", "127.0.0.1"])
        .arg("--config")
        .arg(folder.join("config.yaml"))
        .arg("--alerts-token-file")
        .arg(folder.join("token"))
        .env("KUBECONFIG", kubeconfig)
}

/// A ServiceAccount that may look at Pods, and that the operator may be.
async fn account(plane: &ControlPlane) -> Result<()> {
    let meta = |name: &str| json!({"name": name, "namespace": "shop"});
    plane.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("looker")}).to_string()).await?;
    let look = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let be = json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["looker"], "verbs": ["impersonate"]}]);
    for (name, rules, subject, of) in [("looker", look, "looker", "shop"), ("be", be, "plimsoll", "plimsoll-system")] {
        let api = "rbac.authorization.k8s.io/v1";
        let binding = json!({"apiVersion": api, "kind": "RoleBinding", "metadata": meta(name),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": of}]});
        let role = json!({"apiVersion": api, "kind": "Role", "metadata": meta(name), "rules": rules});
        for object in [role, binding] {
            plane.apply(&object.to_string()).await?;
        }
    }
    Ok(())
}
