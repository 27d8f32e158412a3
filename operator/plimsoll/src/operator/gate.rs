//! The one place where writes pass, to the Kubernetes API as to rulers and rule files: each is counted,
//! and none passes while another process may lead.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use super::metrics::Metrics;

/// Values of the metric's label: what the operator writes.
pub const KINDS: [&str; 21] = [
    "slos",
    "slos/status",
    "alertrules",
    "alertrules/status",
    "alertmanagerconfigs",
    "prometheusrules",
    "vmrules",
    "events",
    "leases",
    "configmaps",
    "secrets",
    RULER,
    RULE_FILE,
    "runbooks",
    "runbooks/status",
    "runbookexecutions",
    "runbookexecutions/status",
    "runbookapprovals/status",
    AS_ACCOUNT,
    OUTSIDE,
    "other",
];
/// A rule group in a ruler.
pub const RULER: &str = "ruler";
/// A file with rules.
pub const RULE_FILE: &str = "rulefile";

/// What a step of a runbook does as the runbook's ServiceAccount.
pub const AS_ACCOUNT: &str = "account";
/// What a step of a runbook does outside the cluster: a silence, a message, an annotation.
pub const OUTSIDE: &str = "outside";

/// A write was attempted by a process that does not lead.
#[derive(Debug, thiserror::Error)]
#[error("this process does not hold the lease, so it writes nothing")]
pub struct NotLeading;

/// Until when this process may write.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    held: Arc<Mutex<Held>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    until: Option<Instant>,
    /// Counts how often it was taken: between two, another process may have led.
    term: u64,
}

impl Held {
    fn at(self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

impl Lease {
    /// Held for ever: for a process that needs no election.
    pub fn forever() -> Self {
        let lease = Self::default();
        lease.hold(Duration::from_secs(100 * 365 * 86_400), Instant::now());
        lease
    }

    /// Held from `now` for `time`.
    pub fn hold(&self, time: Duration, now: Instant) {
        let mut held = self.lock();
        // While it is held, it is renewed. The answer may be older than the moment it comes at.
        let renewed = held.at(Instant::now()).is_some();
        *held = Held { until: Some(now + time), term: held.term + u64::from(!renewed) };
    }

    /// Not held any more.
    pub fn release(&self) {
        self.lock().until = None;
    }

    /// Whether it is held.
    pub fn is_held(&self, now: Instant) -> bool {
        self.lock().at(now).is_some()
    }

    /// When it ends by itself.
    pub fn until(&self) -> Option<Instant> {
        self.lock().until
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes [`Gate`]s.
#[derive(Clone, Debug)]
pub struct GateLayer {
    /// Checked before each write.
    pub lease: Lease,
    /// Counts them.
    pub metrics: Arc<Metrics>,
}

impl GateLayer {
    /// Held open for ever: for a process that needs no election.
    pub fn open() -> Self {
        Self { lease: Lease::forever(), metrics: Metrics::new() }
    }

    /// Does one write outside the Kubernetes API, unless another process may lead. One that outlasts the lease is given up;
    /// while that is renewed, it may last.
    ///
    /// # Errors
    /// [`NotLeading`], or whatever `write` says.
    pub async fn outside<T, E: From<NotLeading>>(
        &self,
        kind: &'static str,
        write: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Held { until, term } = self.enter(kind)?;
        tokio::pin!(write);
        let mut until = until;
        let done = loop {
            let Some(end) = until else { break Err(NotLeading.into()) };
            if let Ok(done) = tokio::time::timeout_at(end, &mut write).await {
                break done;
            }
            let held = *self.lease.lock();
            until = held.at(Instant::now()).filter(|_| held.term == term);
        };
        self.leave(kind, &done);
        done
    }

    /// The same for a write that waits for nobody.
    ///
    /// # Errors
    /// [`NotLeading`], or whatever `write` says.
    pub fn at_once<T, E: From<NotLeading>>(
        &self,
        kind: &'static str,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.enter(kind)?;
        let done = write();
        self.leave(kind, &done);
        done
    }

    /// The lease of a write that begins now.
    fn enter(&self, kind: &'static str) -> Result<Held, NotLeading> {
        let held = *self.lease.lock();
        if held.at(Instant::now()).is_none() {
            self.metrics.wrote(kind, "dropped");
            return Err(NotLeading);
        }
        Ok(held)
    }

    fn leave<T, E>(&self, kind: &'static str, done: &Result<T, E>) {
        self.metrics.wrote(kind, if done.is_ok() { "ok" } else { "failed" });
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, rules: self.clone() }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Gate<S> {
    inner: S,
    rules: GateLayer,
}

impl<S, B> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        // A program is begun by a GET, and changes whatever it likes.
        let runs = path.ends_with("/exec");
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && !runs {
            // A watch goes on for as long as it likes; kube ends it when nothing comes. A profile takes as long as
            // it was asked to.
            let lasts = path.contains("/proxy/")
                || request
                    .uri()
                    .query()
                    .is_some_and(|query| query.split('&').any(|part| part == "watch=true" || part == "watch=1"));
            let answer = self.inner.call(request);
            return Box::pin(
                async move { if lasts { answer.await.map_err(Into::into) } else { in_time(answer).await } },
            );
        }
        let kind = if request.headers().contains_key("impersonate-user") { AS_ACCOUNT } else { kind(path) };
        let metrics = Arc::clone(&self.rules.metrics);
        if !self.rules.lease.is_held(Instant::now()) {
            metrics.wrote(kind, "dropped");
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = in_time(answer).await;
            metrics.wrote(
                kind,
                match &answer {
                    Ok(response) if response.status().is_success() || response.status() == SWITCHING => "ok",
                    Ok(response) if response.status().is_client_error() => "refused",
                    Ok(_) | Err(_) => "failed",
                },
            );
            answer
        })
    }
}

/// A WebSocket was opened.
const SWITCHING: http::StatusCode = http::StatusCode::SWITCHING_PROTOCOLS;

/// The API server's own limit for a request is a minute.
const ANSWER: Duration = Duration::from_secs(60);

/// An API server that takes a request and never answers must not hold everything else up.
async fn in_time<B, E: Into<BoxError>>(
    answer: impl Future<Output = Result<Response<B>, E>>,
) -> Result<Response<B>, BoxError> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(format!("no answer from the API server in {} s", ANSWER.as_secs()).into()),
    }
}

/// The resource in `/apis/GROUP/VERSION/namespaces/NS/RESOURCE/NAME/SUBRESOURCE`.
fn kind(path: &str) -> &'static str {
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces").skip(2);
    let resource = parts.next().unwrap_or_default();
    let status = parts.nth(1) == Some("status");
    KINDS
        .into_iter()
        .find(|known| match known.strip_suffix("/status") {
            Some(main) => status && main == resource,
            None => !status && *known == resource,
        })
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn kinds_come_from_the_path() {
        for (path, wanted) in [
            ("/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/a", "slos"),
            ("/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/a/status", "slos/status"),
            ("/apis/monitoring.coreos.com/v1/namespaces/shop/prometheusrules/b", "prometheusrules"),
            ("/apis/events.k8s.io/v1/namespaces/shop/events", "events"),
            ("/api/v1/namespaces/x/pods/y", "other"),
            ("/version", "other"),
        ] {
            assert_eq!(kind(path), wanted, "{path}");
        }
    }

    #[tokio::test]
    async fn without_the_lease_reads_pass_and_writes_do_not() {
        let lease = Lease::default();
        let metrics = Metrics::new();
        let layer = GateLayer { lease: lease.clone(), metrics: Arc::clone(&metrics) };
        let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(Body::empty())) });
        let service = layer.layer(inner);
        let send = |method: Method| {
            let path = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/a/status";
            service.clone().oneshot(Request::builder().method(method).uri(path).body(Body::empty()).unwrap())
        };
        assert!(send(Method::GET).await.is_ok());
        assert!(send(Method::PATCH).await.unwrap_err().is::<NotLeading>());
        let exec = Request::get("/api/v1/namespaces/shop/pods/a/exec?command=rm").body(Body::empty()).unwrap();
        assert!(service.clone().oneshot(exec).await.unwrap_err().is::<NotLeading>());
        lease.hold(Duration::from_secs(10), Instant::now());
        assert!(send(Method::PATCH).await.is_ok());
        lease.hold(Duration::ZERO, Instant::now());
        assert!(send(Method::PATCH).await.is_err());
        assert_eq!((metrics.writes("ok"), metrics.writes("dropped")), (1, 3));
    }

    /// A lease that ends in a test, and not before what is to begin under it has begun, on a machine that is busy.
    const SHORT: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_write_outside_ends_with_the_lease() {
        let gate = GateLayer { lease: Lease::default(), metrics: Metrics::new() };
        let write = async || gate.outside(RULER, async { Ok::<_, NotLeading>(()) }).await;
        assert!(write().await.is_err());
        gate.lease.hold(Duration::from_secs(10), Instant::now());
        assert!(write().await.is_ok());
        gate.lease.hold(SHORT, Instant::now());
        assert!(gate.outside(RULER, std::future::pending::<Result<(), NotLeading>>()).await.is_err());
        assert!(!gate.lease.is_held(Instant::now()), "it was given up when the lease ended");
        let counts = ["ok", "failed", "dropped"].map(|outcome| gate.metrics.writes(outcome));
        assert_eq!(counts, [1, 1, 1]);
    }

    /// A ruler may be slower than a lease is long, as long as that is renewed. After another process may have led, it is not
    /// the same lease.
    #[tokio::test]
    async fn a_write_outside_lasts_as_long_as_the_lease_is_renewed() {
        let gate = GateLayer { lease: Lease::default(), metrics: Metrics::new() };
        let hour = Duration::from_secs(3600);
        for (lost, lasts) in [(false, true), (true, false)] {
            gate.lease.release();
            gate.lease.hold(SHORT, Instant::now());
            let end = gate.lease.until().unwrap();
            let slow = async {
                if lost {
                    gate.lease.release();
                }
                gate.lease.hold(hour, Instant::now());
                // The ruler answers after what was the end.
                tokio::time::sleep_until(end + Duration::from_millis(20)).await;
                Ok::<_, NotLeading>(())
            };
            assert_eq!(gate.outside(RULER, slow).await.is_ok(), lasts, "lost meanwhile: {lost}");
            assert!(gate.lease.is_held(Instant::now()));
        }
    }
}
