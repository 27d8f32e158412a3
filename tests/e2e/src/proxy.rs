//! A way to the API server on which the operator can be killed at an exact place.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use plimsoll_testbed::{ControlPlane, Folder, Process, Server, free_port, wait_until};
use serde_json::json;

/// Bodies of the operator's requests are small.
const MAX_BODY: usize = 8 << 20;
const START: std::time::Duration = std::time::Duration::from_secs(30);

/// What is done after a write; when it says no, no further write is let through.
type Hook = Box<dyn FnMut() -> bool + Send>;

struct Shared {
    upstream: String,
    client: reqwest::Client,
    writes: AtomicU64,
    /// Held during a write, so that there is one at a time.
    after_write: tokio::sync::Mutex<Option<Hook>>,
    open: AtomicBool,
}

/// A proxy that counts writes and calls a hook when the API server has done one, before the answer is passed on.
pub struct Proxy {
    // In this order they are ended.
    server: Server,
    _kubectl: Process,
    folder: Folder,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts it in front of a control plane, with the rights of its administrator.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let folder = Folder::new("proxy")?;
        let port = free_port()?;
        let kubectl = control_plane
            .kubectl_program()
            .args(["proxy", "--accept-hosts=.*", "--reject-methods=^$", &format!("--port={port}")])
            .start(&folder.join("kubectl.log"))?;
        let upstream = format!("http://127.0.0.1:{port}");
        let client = reqwest::Client::new();
        wait_until("kubectl proxy", START, async || {
            let answer = client.get(format!("{upstream}/readyz")).send().await;
            Ok(answer.is_ok_and(|a| a.status().is_success()).then_some(()))
        })
        .await?;
        let shared = Arc::new(Shared {
            upstream,
            client,
            writes: AtomicU64::new(0),
            after_write: tokio::sync::Mutex::default(),
            open: AtomicBool::new(true),
        });
        let server = Server::start(Router::new().fallback(forward).with_state(Arc::clone(&shared))).await?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": server.url()}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}]
        });
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
        Ok(Self { server, _kubectl: kubectl, folder, shared })
    }

    /// A kubeconfig that leads through it.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// Lets writes through again and calls `hook` after each, in place of what was called before.
    pub async fn after_write(&self, hook: impl FnMut() -> bool + Send + 'static) {
        *self.shared.after_write.lock().await = Some(Box::new(hook));
        self.shared.open.store(true, Ordering::SeqCst);
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let answer = pass_on(&shared, request).await;
    answer.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
}

async fn pass_on(shared: &Shared, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().context("a path")?;
    let body = to_bytes(body, MAX_BODY).await?;
    let mut headers = parts.headers;
    for name in ["host", "accept-encoding", "connection"] {
        headers.remove(name);
    }
    let url = format!("{}{path}", shared.upstream);
    let request = shared.client.request(parts.method.clone(), url).headers(headers).body(body);
    let answer = if [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method) {
        request.send().await?
    } else {
        let mut hook = shared.after_write.lock().await;
        ensure!(shared.open.load(Ordering::SeqCst), "no further write is let through");
        let answer = request.send().await?;
        if answer.status().is_success() {
            shared.writes.fetch_add(1, Ordering::SeqCst);
            let go_on = hook.as_mut().is_none_or(|hook| hook());
            shared.open.store(go_on, Ordering::SeqCst);
        }
        answer
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in
        answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding" && *name != "connection")
    {
        response = response.header(name, value);
    }
    // As a stream, since watches never end.
    Ok(response.body(Body::from_stream(answer.bytes_stream()))?)
}
