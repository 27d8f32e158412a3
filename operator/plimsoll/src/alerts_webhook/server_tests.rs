#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::http::Request;
use futures::FutureExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::webhook::intake::LARGEST;

const TOKEN: &str = "a-token-of-some-length";

#[derive(Default)]
struct Ledger {
    stored: Mutex<Vec<(String, String)>>,
    resyncs: AtomicUsize,
    away: AtomicBool,
    never: AtomicBool,
    begun: AtomicUsize,
}

impl Desk for Ledger {
    fn accept<'a>(&'a self, alert: &'a Alert, traceparent: &'a str) -> BoxFuture<'a, Result<Stored, NotStored>> {
        async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            if self.never.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.away.load(Ordering::SeqCst) {
                return Err(NotStored("etcd is away".to_owned()));
            }
            self.stored.lock().unwrap().push((alert.fingerprint.clone(), traceparent.to_owned()));
            Ok(Stored::Now)
        }
        .boxed()
    }

    fn resync(&self) {
        self.resyncs.fetch_add(1, Ordering::SeqCst);
    }
}

struct Given {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    app: Router,
    _folder: tempfile::TempDir,
}

fn given() -> Given {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let (ledger, metrics) = (Arc::<Ledger>::default(), Metrics::new());
    let tokens = Tokens::read(vec![file]).unwrap();
    let app = app(Shared::new(ledger.clone(), tokens, Arc::clone(&metrics)));
    Given { ledger, metrics, app, _folder: folder }
}

fn payload(count: usize) -> Value {
    let alert = |i: usize| {
        json!({"status": "firing", "labels": {"alertname": "A", "i": i.to_string()}, "startsAt": "2026-01-01T00:00:00Z",
            "fingerprint": format!("{i:016x}")})
    };
    json!({"version": "4", "alerts": (0..count).map(alert).collect::<Vec<_>>()})
}

impl Given {
    async fn send(&self, method: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(PATH);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.app.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let code = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, body: impl Into<Body>) -> (StatusCode, String) {
        let token = format!("Bearer {TOKEN}");
        self.send("POST", &[("content-type", "application/json"), ("authorization", &token)], body).await
    }

    fn state(&self) -> (usize, usize) {
        (self.ledger.stored.lock().unwrap().len(), self.ledger.resyncs.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn who_may_not_post_is_not_read_and_asks_for_nothing() {
    let given = given();
    let json = ("content-type", "application/json");
    let token = format!("Bearer {TOKEN}");
    let good = ("authorization", token.as_str());
    let body = || payload(1).to_string();
    for (method, headers, code) in [
        ("POST", &[json][..], StatusCode::UNAUTHORIZED),
        ("POST", &[json, ("authorization", "Bearer a-token-of-some-lengt")], StatusCode::UNAUTHORIZED),
        ("GET", &[json, good], StatusCode::METHOD_NOT_ALLOWED),
        ("POST", &[good, ("content-type", "text/plain")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("POST", &[good], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        // A bomb is not unpacked.
        ("POST", &[good, json, ("content-encoding", "gzip")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        assert_eq!(given.send(method, headers, body()).await.0, code, "{method} {headers:?}");
    }
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(given.send("POST", &[json], never).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(given.state(), (0, 0));
    assert_eq!(given.post(body()).await.0, StatusCode::OK);
    assert_eq!(given.state(), (1, 0));
}

#[tokio::test]
async fn a_200_is_given_when_all_is_stored() {
    let given = given();
    assert_eq!(given.post(payload(100).to_string()).await.0, StatusCode::OK);
    assert_eq!(given.state(), (100, 0));
    given.ledger.away.store(true, Ordering::SeqCst);
    let (code, message) = given.post(payload(2).to_string()).await;
    assert_eq!((code, message.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "2 not stored: etcd is away\n"));
    assert_eq!(given.state(), (100, 0));
    let text = given.metrics.text();
    assert!(text.contains("plimsoll_alerts_total{outcome=\"not_stored\"} 2"), "{text}");
    assert!(text.contains("plimsoll_alert_posts_total{outcome=\"stored\"} 1"), "{text}");
}

/// What a 4xx leaves out is asked of Alertmanager itself, so nothing is lost in silence.
#[tokio::test]
async fn what_cannot_be_taken_is_asked_for() {
    let large = "9".repeat(LARGEST + 1);
    let mut one_bad = payload(2);
    one_bad["alerts"][0]["startsAt"] = json!("soon");
    let mut truncated = payload(1);
    truncated["truncatedAlerts"] = json!(3);
    let mut version = payload(1);
    version["version"] = json!("5");
    for (body, code, stored) in [
        ("{".to_owned(), StatusCode::BAD_REQUEST, 0),
        (version.to_string(), StatusCode::BAD_REQUEST, 0),
        (large, StatusCode::PAYLOAD_TOO_LARGE, 0),
        (one_bad.to_string(), StatusCode::BAD_REQUEST, 1),
        (truncated.to_string(), StatusCode::OK, 1),
        // Never half accepted.
        (payload(alertmanager::MOST_ALERTS + 1).to_string(), StatusCode::SERVICE_UNAVAILABLE, 0),
    ] {
        let given = given();
        let start: String = body.chars().take(40).collect();
        assert_eq!(given.post(body).await.0, code, "{start}");
        assert_eq!(given.state(), (stored, 1), "{start}");
    }
}

#[tokio::test]
async fn the_trace_of_the_post_goes_on() {
    let given = given();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let token = format!("Bearer {TOKEN}");
    let headers = [("content-type", "application/json"), ("authorization", &token), ("traceparent", trace)];
    assert_eq!(given.send("POST", &headers, payload(1).to_string()).await.0, StatusCode::OK);
    assert_eq!(given.ledger.stored.lock().unwrap()[0].1, trace);
}

/// However many come, there is work for so many at once, and the rest is a 503 at once.
#[tokio::test]
async fn alerts_at_once_are_bounded() {
    let given = given();
    given.ledger.never.store(true, Ordering::SeqCst);
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (app, token) = (given.app.clone(), format!("Bearer {TOKEN}"));
        let body = payload(ROOM / 4).to_string();
        posts.spawn(async move {
            let request = Request::post(PATH).header("content-type", "application/json").header("authorization", token);
            app.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status()
        });
    }
    let begun = async {
        while given.ledger.begun.load(Ordering::SeqCst) < 4 * AT_ONCE {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), begun).await.unwrap();
    let (code, message) = given.post(payload(1).to_string()).await;
    assert_eq!((code, message.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "too many alerts at once; try again\n"));
    // Clients that leave give their room back.
    posts.shutdown().await;
    given.ledger.never.store(false, Ordering::SeqCst);
    assert_eq!(given.post(payload(1).to_string()).await.0, StatusCode::OK);
}

/// With authorities of clients, whoever has no certificate of theirs does not even get a connection.
#[tokio::test]
async fn without_a_client_certificate_there_is_no_connection() {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    let given = given();
    let names = ["127.0.0.1".to_owned()];
    let certificates = crate::webhook::certificates::make(&names, None, Timestamp::now()).unwrap();
    let identity = crate::webhook::server::Identity::default();
    identity.set(&certificates.certificate, &certificates.key).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["alertmanager".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();

    let config = crate::webhook::server::tls(&identity, Some(super::super::authorities(&file).unwrap())).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}{PATH}", listener.local_addr().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let limits = crate::serving::Limits::default();
    let serving = tokio::spawn(crate::serving::serve(listener, Some(config), given.app.clone(), limits, stop.clone()));
    crate::prometheus::http_client().unwrap();
    let post = async |identity: Option<reqwest::Identity>| {
        let trusted = reqwest::Certificate::from_pem_bundle(certificates.authorities.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().tls_certs_only(trusted);
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        let request = builder.build().unwrap().post(&url).bearer_auth(TOKEN);
        let request = request.header("content-type", "application/json").body(payload(1).to_string());
        request.send().await.map(|answer| answer.status().as_u16())
    };
    assert!(post(None).await.is_err());
    assert_eq!(given.state(), (0, 0));
    let pem = format!("{}{}", key.serialize_pem(), client.pem());
    assert_eq!(post(Some(reqwest::Identity::from_pem(pem.as_bytes()).unwrap())).await.unwrap(), 200);
    assert_eq!(given.state(), (1, 0));
    stop.cancel();
    serving.await.unwrap();
}
