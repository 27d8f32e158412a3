//! `/healthz`, `/readyz`, `/metrics` and `/anomaly`. All are read only.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    http::header,
    response::IntoResponse,
    routing::get,
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::serving::{self, Limits};

/// What the endpoints show.
#[derive(Clone, Debug)]
pub struct Health {
    /// Set once everything that serves others is up.
    pub ready: Arc<AtomicBool>,
    /// Shown as text.
    pub metrics: Arc<Metrics>,
}

/// Serves until `stop`.
///
/// # Errors
/// When the address is taken.
pub async fn serve(address: SocketAddr, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
    serving::serve(listener, None, app(health), Limits::default(), stop).await;
    Ok(())
}

/// The routes.
pub fn app(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/anomaly", get(anomaly))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// What `/anomaly` is asked for.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// `NAMESPACE/NAME` of an SLO or AlertRule.
    #[serde(default)]
    watch: String,
    /// Labels that a series has: `pod=a,zone=b`.
    #[serde(default)]
    series: String,
}

async fn anomaly(State(health): State<Health>, Query(wanted): Query<Wanted>) -> impl IntoResponse {
    let Wanted { watch, series } = wanted;
    let labels: Option<Vec<(String, String)>> = series
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())))
        .collect();
    let refuse = |code, text: &str| (code, format!("{text}\n")).into_response();
    let Some(labels) = labels else {
        return refuse(StatusCode::BAD_REQUEST, "series: write labels as pod=a,zone=b");
    };
    if watch.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "watch: name an SLO or AlertRule as ?watch=NAMESPACE/NAME");
    }
    let found = health.metrics.anomalies().look(&watch, &labels);
    if found.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "no such series is scored by this replica");
    }
    Json(found).into_response()
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], health.metrics.text())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::{body::Body, http::Request};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_question_about_anomalies_is_answered_or_says_what_it_lacks() {
        let health = Health { ready: Arc::default(), metrics: Metrics::new() };
        for (method, uri, code, wanted) in [
            ("GET", "/anomaly", 400, "watch: name an SLO or AlertRule as ?watch=NAMESPACE/NAME\n"),
            ("GET", "/anomaly?watch=a/b&series=pod", 400, "series: write labels as pod=a,zone=b\n"),
            ("GET", "/anomaly?watch=a/b&series=pod=a", 404, "no such series is scored by this replica\n"),
            ("POST", "/anomaly?watch=a/b", 405, ""),
            ("DELETE", "/metrics", 405, ""),
        ] {
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
            let answer = app(health.clone()).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), code, "{method} {uri}");
            let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
            assert_eq!(body, wanted, "{method} {uri}");
        }
    }
}
