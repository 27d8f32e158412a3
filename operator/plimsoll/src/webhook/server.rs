//! HTTPS for the webhook, with a bound on everything that a client can make large or slow.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    PATH,
    admission::{Verdict, answer},
    intake::{Intake, Refused},
};
use crate::{
    operator::metrics::Metrics,
    runbooks::author::{self, Authority},
};

const CONNECTIONS: usize = 128;
const HANDSHAKE: Duration = Duration::from_secs(5);
const HEADERS: Duration = Duration::from_secs(5);
/// An idle API server keeps its connection; it opens another one when this one is closed.
const CONNECTION: Duration = Duration::from_secs(600);
const REQUEST: Duration = Duration::from_secs(10);

/// The certificate that is served; it can be replaced at any time.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    current: Arc<RwLock<Option<Arc<CertifiedKey>>>>,
}

impl Identity {
    /// Serves this certificate from now on.
    ///
    /// # Errors
    /// When certificate and key are unreadable or do not belong together.
    pub fn set(&self, certificate: &str, key: &str) -> anyhow::Result<()> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// TLS with this certificate, which may be replaced at any time. With authorities, only clients that have a
/// certificate of one of them are let in.
///
/// # Errors
/// When TLS is not possible with these.
pub fn tls(identity: &Identity, clients: Option<RootCertStore>) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Some(authorities) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build()?,
        ),
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(builder.with_cert_resolver(Arc::new(identity.clone()))))
}

/// Serves until `stop`, then finishes what is under way.
pub async fn serve(listener: TcpListener, config: Arc<ServerConfig>, app: Router, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(config);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let tracker = TaskTracker::new();
    loop {
        let accepted = stop.run_until_cancelled(async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        });
        let Some((accepted, permit)) = accepted.await else { break };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a client that left: neither ends the server.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, app, stop) = (acceptor.clone(), app.clone(), stop.clone());
        tracker.spawn(async move {
            let _permit = permit;
            let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
            let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
            tokio::pin!(connection);
            let whole = async {
                tokio::select! {
                    _ = connection.as_mut() => {}
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.await;
                    }
                }
            };
            let _ = timeout(CONNECTION, whole).await;
        });
    }
    tracker.close();
    let _ = timeout(REQUEST, tracker.wait()).await;
}

/// The routes, without TLS. With an authority, it notes the authors of runbooks.
pub fn app(metrics: Arc<Metrics>, authority: Option<Authority>) -> Router {
    let state = (metrics, Intake::default());
    let mut routes = Router::new().route(PATH, post(validate));
    if let Some(authority) = authority {
        let authors = move |State((metrics, intake)): State<(Arc<Metrics>, Intake)>, headers: HeaderMap, body: Body| {
            let authority = authority.clone();
            async move { author(&authority, &metrics, &intake, headers, body).await }
        };
        routes = routes.route(author::PATH, post(authors));
    }
    // The intake has limits of its own.
    routes.layer(DefaultBodyLimit::disable()).with_state(state)
}

async fn author(authority: &Authority, metrics: &Metrics, intake: &Intake, headers: HeaderMap, body: Body) -> Response {
    let answered = timeout(REQUEST, async {
        let taken = intake.read(&headers, body).await.map_err(|_| "the review could not be read".to_owned())?;
        authority.answer(&taken.bytes).await
    });
    match answered.await {
        Ok(Ok(review)) => {
            let allowed = review.pointer("/response/allowed").and_then(serde_json::Value::as_bool) == Some(true);
            metrics.admitted(if allowed { "allowed" } else { "denied" });
            axum::Json(review).into_response()
        }
        Ok(Err(message)) => {
            metrics.admitted("bad_request");
            (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response()
        }
        Err(_) => {
            metrics.admitted("bad_request");
            (StatusCode::REQUEST_TIMEOUT, "the review came too slowly\n").into_response()
        }
    }
}

async fn validate(State((metrics, intake)): State<(Arc<Metrics>, Intake)>, headers: HeaderMap, body: Body) -> Response {
    let json = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !json.is_some_and(|value| value.trim_start().starts_with("application/json")) {
        metrics.admitted("bad_request");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json\n").into_response();
    }
    let answered = timeout(REQUEST, async {
        let taken = intake.read(&headers, body).await?;
        intake.work(taken, answer).await
    });
    let (outcome, code, message) = match answered.await {
        Ok(Ok(answered)) => return answered_with(&metrics, answered),
        Ok(Err(Refused::TooLarge)) => {
            ("bad_request", StatusCode::PAYLOAD_TOO_LARGE, "the review is larger than 6 MiB\n")
        }
        Ok(Err(Refused::Busy)) => {
            ("busy", StatusCode::SERVICE_UNAVAILABLE, "too many large reviews at once; try again\n")
        }
        Ok(Err(Refused::Broken)) => ("bad_request", StatusCode::BAD_REQUEST, "the review broke off\n"),
        Err(_) => ("bad_request", StatusCode::REQUEST_TIMEOUT, "the review came too slowly\n"),
    };
    metrics.admitted(outcome);
    (code, message).into_response()
}

fn answered_with(metrics: &Metrics, answered: Result<(serde_json::Value, Verdict), String>) -> Response {
    match answered {
        Ok((review, verdict)) => {
            metrics.admitted(match verdict {
                Verdict::Allowed => "allowed",
                Verdict::Denied => "denied",
            });
            axum::Json(review).into_response()
        }
        Err(message) => {
            metrics.admitted("bad_request");
            (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::webhook::intake::LARGEST;

    #[tokio::test]
    async fn only_reviews_are_taken() {
        let send = |method: &str, kind: &str, body: Vec<u8>| {
            let request = Request::builder().method(method).uri(PATH).header("content-type", kind);
            app(Metrics::new(), None).oneshot(request.body(Body::from(body)).unwrap())
        };
        let json = "application/json; charset=utf-8";
        for (method, kind, body, wanted) in [
            ("GET", json, Vec::new(), StatusCode::METHOD_NOT_ALLOWED),
            ("POST", "text/plain", b"{}".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("POST", json, b"{".to_vec(), StatusCode::BAD_REQUEST),
            ("POST", json, vec![b' '; LARGEST + 1], StatusCode::PAYLOAD_TOO_LARGE),
            ("POST", json, br#"{"request": {"uid": "x"}}"#.to_vec(), StatusCode::OK),
        ] {
            assert_eq!(send(method, kind, body).await.unwrap().status(), wanted, "{method} {kind}");
        }
    }
}
