//! What the webhook answers, and its TLS; [`crate::serving`] bounds what a client can hold.

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
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::time::timeout;

use super::{
    PATH,
    admission::{Verdict, answer},
    intake::{Intake, Refused},
};
use crate::{
    operator::metrics::Metrics,
    runbooks::author::{self, Authority},
    serving::again,
};

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
    let answered = within(&headers, async {
        let taken = intake.read(&headers, body).await?;
        let reader = authority.clone();
        let asked = intake.work(taken, move |bytes| reader.read(bytes)).await?.map_err(Unanswered::Malformed)?;
        Ok(authority.answer(asked).await)
    });
    let answered = answered.await.map(|review| {
        let allowed = review.pointer("/response/allowed").and_then(serde_json::Value::as_bool) == Some(true);
        (review, if allowed { Verdict::Allowed } else { Verdict::Denied })
    });
    respond(metrics, answered)
}

async fn validate(State((metrics, intake)): State<(Arc<Metrics>, Intake)>, headers: HeaderMap, body: Body) -> Response {
    let answered = within(&headers, async {
        let taken = intake.read(&headers, body).await?;
        intake.work(taken, |bytes| answer(bytes, Timestamp::now())).await?.map_err(Unanswered::Malformed)
    });
    respond(&metrics, answered.await)
}

/// Why a review has no answer.
#[derive(Debug, PartialEq, Eq)]
enum Unanswered {
    /// It does not say that it is JSON.
    NotJson,
    /// It was not taken.
    Refused(Refused),
    /// It is no review.
    Malformed(String),
    /// It came too slowly.
    Slow,
}

impl From<Refused> for Unanswered {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Answers JSON alone, and in time.
async fn within<T>(headers: &HeaderMap, answer: impl Future<Output = Result<T, Unanswered>>) -> Result<T, Unanswered> {
    let json = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !json.is_some_and(|value| value.trim_start().starts_with("application/json")) {
        return Err(Unanswered::NotJson);
    }
    timeout(REQUEST, answer).await.unwrap_or(Err(Unanswered::Slow))
}

/// The one place where it is decided how what has no answer is answered. After a 503 that says when, the API server asks
/// again, as long as its own time for the webhook lasts.
fn respond(metrics: &Metrics, answered: Result<(serde_json::Value, Verdict), Unanswered>) -> Response {
    let (outcome, code, message) = match answered {
        Ok((review, verdict)) => {
            metrics.admitted(match verdict {
                Verdict::Allowed => "allowed",
                Verdict::Denied => "denied",
            });
            return axum::Json(review).into_response();
        }
        Err(Unanswered::NotJson) => {
            ("bad_request", StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json".to_owned())
        }
        Err(Unanswered::Refused(Refused::TooLarge)) => {
            ("bad_request", StatusCode::PAYLOAD_TOO_LARGE, "the review is larger than 6 MiB".to_owned())
        }
        Err(Unanswered::Refused(Refused::Busy)) => {
            metrics.admitted("busy");
            return again("too many large reviews at once; try again");
        }
        Err(Unanswered::Refused(Refused::Broken)) => {
            ("bad_request", StatusCode::BAD_REQUEST, "the review broke off".to_owned())
        }
        Err(Unanswered::Malformed(message)) => ("bad_request", StatusCode::BAD_REQUEST, message),
        Err(Unanswered::Slow) => ("bad_request", StatusCode::REQUEST_TIMEOUT, "the review came too slowly".to_owned()),
    };
    metrics.admitted(outcome);
    (code, format!("{message}\n")).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        runbooks::proof::Sealer,
        testing::FakeApi,
        webhook::intake::{LARGEST, SMALL},
    };

    fn routes() -> Router {
        let authority = Authority { client: FakeApi::default().client(), sealer: Sealer::new([1; 32]) };
        app(Metrics::new(), Some(authority))
    }

    /// Both ways in answer alike what has no answer.
    #[tokio::test]
    async fn only_reviews_are_taken() {
        let json = "application/json; charset=utf-8";
        let broken = || {
            Body::from_stream(futures::stream::iter([
                Ok(axum::body::Bytes::from_static(b"{")),
                Err(std::io::Error::other("gone")),
            ]))
        };
        for path in [PATH, author::PATH] {
            for (method, kind, body, wanted) in [
                ("GET", json, Body::empty(), StatusCode::METHOD_NOT_ALLOWED),
                ("POST", "text/plain", "{}".into(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
                ("POST", json, "{".into(), StatusCode::BAD_REQUEST),
                ("POST", json, broken(), StatusCode::BAD_REQUEST),
                ("POST", json, vec![b' '; LARGEST + 1].into(), StatusCode::PAYLOAD_TOO_LARGE),
                ("POST", json, r#"{"request": {"uid": "x"}}"#.into(), StatusCode::OK),
            ] {
                let request = Request::builder().method(method).uri(path).header("content-type", kind);
                let answer = routes().oneshot(request.body(body).unwrap()).await.unwrap();
                assert_eq!(answer.status(), wanted, "{method} {path} {kind}");
            }
        }
    }

    /// What a large review is read into can be many times its size, for either way in.
    #[tokio::test]
    async fn large_reviews_are_read_one_at_a_time() {
        let (intake, metrics) = (Intake::default(), Metrics::new());
        let authority = Authority { client: FakeApi::default().client(), sealer: Sealer::new([1; 32]) };
        let body = || format!(r#"{{"request": {{"uid": "x"}}, "more": "{}"}}"#, "x".repeat(SMALL));
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let taken = intake.read(&headers, body().into()).await.unwrap();
        let ((begun, begins), (end, ends)) = (tokio::sync::oneshot::channel(), std::sync::mpsc::channel::<()>());
        let worker = intake.clone();
        let working = tokio::spawn(async move {
            let work = move |_: &[u8]| {
                begun.send(()).unwrap();
                ends.recv().unwrap();
            };
            worker.work(taken, work).await
        });
        begins.await.unwrap();
        let second = author(&authority, &metrics, &intake, headers.clone(), body().into());
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending(), "another one is being worked on");
        let small = author(&authority, &metrics, &intake, headers, r#"{"request": {"uid": "x"}}"#.into());
        assert_eq!(small.await.status(), StatusCode::OK, "a small one passes beside them");
        end.send(()).unwrap();
        assert_eq!(working.await.unwrap(), Ok(()));
        assert_eq!(second.await.status(), StatusCode::OK);
    }

    /// The API server asks again only where it is told when.
    #[test]
    fn what_may_be_answered_later_is_a_503_that_says_when() {
        let answer = |unanswered| {
            let answer = respond(&Metrics::new(), Err(unanswered));
            (answer.status(), answer.headers().get(header::RETRY_AFTER).map(|at| at.to_str().unwrap().to_owned()))
        };
        assert_eq!(answer(Refused::Busy.into()), (StatusCode::SERVICE_UNAVAILABLE, Some("1".to_owned())));
        assert_eq!(answer(Unanswered::Slow), (StatusCode::REQUEST_TIMEOUT, None));
    }
}
