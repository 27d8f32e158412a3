//! The servers outside the Kubernetes API that steps speak to. Their addresses come from the operator's configuration
//! alone; a runbook says at most a name.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use plimsoll_runbook::requests::{Request, Server};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::{
    operator::gate::{GateLayer, NotLeading, OUTSIDE},
    prometheus::bounded_bytes,
    sinks::kubernetes::chain,
    trace,
};

/// The largest answer that is read.
const MAX_BYTES: usize = 4 << 20;
/// The largest list of Alertmanager's alerts: tens of thousands, since a storm is when they are asked for.
const MAX_ALERTS_BYTES: usize = 32 << 20;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A server's address and access.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Its address: `http://alertmanager:9093`; of a destination what is posted to.
    pub url: String,
    /// The header `X-Scope-OrgID`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// A file with a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Sends.
    pub http: reqwest::Client,
    /// What changes something passes here.
    pub gate: GateLayer,
    /// The Prometheus that is asked.
    pub prometheus: Option<Endpoint>,
    /// For silences.
    pub alertmanager: Option<Endpoint>,
    /// For annotations.
    pub grafana: Option<Endpoint>,
    /// For messages.
    pub destinations: BTreeMap<String, Endpoint>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The configuration has no such server.
    #[error("the configuration has no {0}")]
    Unknown(String),
    /// It is for the API server, and there is none.
    #[error("there is no cluster here")]
    NoCluster,
    /// This process does not lead, so nothing was sent.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// It does not answer, or broke off.
    #[error("{0}")]
    Broken(String),
}

impl Outside {
    /// Sends one request; one that changes something passes the gate.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, request: &Request, path: &str, traceparent: Option<&str>) -> Result<Answer, SendError> {
        let reads = request.method == "GET" || request.to == Server::Prometheus;
        let send = self.sent(request, path, traceparent);
        if reads { send.await } else { self.gate.outside(OUTSIDE, send).await }
    }

    fn endpoint(&self, server: &Server) -> Result<&Endpoint, SendError> {
        let endpoint = match server {
            Server::Kubernetes => None,
            Server::Prometheus => self.prometheus.as_ref(),
            Server::Alertmanager => self.alertmanager.as_ref(),
            Server::Grafana => self.grafana.as_ref(),
            Server::Destination(name) => self.destinations.get(name),
        };
        endpoint.ok_or_else(|| SendError::Unknown(name(server)))
    }

    async fn sent(&self, request: &Request, path: &str, traceparent: Option<&str>) -> Result<Answer, SendError> {
        let Endpoint { url, tenant, bearer_token_file } = self.endpoint(&request.to)?;
        let server = name(&request.to);
        let broken = |message: String| SendError::Broken(format!("{server}: {message}"));
        let path = path.trim_start_matches('/');
        let whole = if path.is_empty() { url.clone() } else { format!("{}/{path}", url.trim_end_matches('/')) };
        let whole = Url::parse(&whole).map_err(|error| broken(error.to_string()))?;
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| broken(error.to_string()))?;
        let mut sent = self.http.request(method, whole).timeout(TIMEOUT);
        if let Some(body) = &request.body {
            sent = sent.json(body);
        }
        if let Some(tenant) = tenant {
            sent = sent.header("X-Scope-OrgID", tenant);
        }
        if let Some(file) = bearer_token_file {
            let token = tokio::fs::read_to_string(file).await;
            let token = token.map_err(|error| broken(format!("{}: {error}", file.display())))?;
            sent = sent.bearer_auth(token.trim());
        }
        if let Some(traceparent) = traceparent.and_then(trace::child) {
            sent = sent.header(trace::TRACEPARENT, traceparent);
        }
        // An address may hold a token, so errors never show it.
        let answer = sent.send().await.map_err(|error| broken(chain(&error.without_url())))?;
        let code = answer.status().as_u16();
        let alerts = request.to == Server::Alertmanager && path.starts_with("api/v2/alerts");
        let most = if alerts { MAX_ALERTS_BYTES } else { MAX_BYTES };
        let body = bounded_bytes(answer, most).await.map_err(|error| broken(error.to_string()))?;
        Ok(Answer { code, body })
    }
}

/// The field of the configuration that has the server.
fn name(server: &Server) -> String {
    match server {
        Server::Kubernetes => "kubernetes".to_owned(),
        Server::Prometheus => "prometheus".to_owned(),
        Server::Alertmanager => "runbooks.alertmanager".to_owned(),
        Server::Grafana => "runbooks.grafana".to_owned(),
        Server::Destination(name) => format!("runbooks.destinations.{name}"),
    }
}
