//! Takes posts of Alertmanager. It repeats what is answered by 5xx and gives up what is answered by 4xx until its next
//! flush, so whatever may be stored later is a 503, and whatever a 4xx leaves out is counted, logged and asked of
//! Alertmanager itself.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use plimsoll_runbook::alertmanager::{self, Alert, PayloadError, Post};
use tokio::{sync::Semaphore, time::timeout};

use super::access::Tokens;
use crate::{
    operator::metrics::Metrics,
    trace,
    webhook::intake::{Intake, Refused},
};

/// Where Alertmanager posts.
pub const PATH: &str = "/alerts";
/// Alerts that are worked on at the same time, over all posts: what comes beyond is a 503.
pub const ROOM: usize = 5000;
/// Of one post.
const AT_ONCE: usize = 16;
/// Alertmanager waits for 10 s or its own group_interval, whichever a person has set.
const REQUEST: Duration = Duration::from_secs(9);

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is an execution, or several, now.
    Now,
    /// It was one already.
    Before,
    /// No runbook is for it.
    Nothing,
    /// A runbook is for it that cannot be started by it, however often it comes; somebody was told.
    Refused,
    /// It does not fire any more, and its executions know.
    Resolved,
}

impl Stored {
    const fn word(self) -> &'static str {
        match self {
            Self::Now => "stored",
            Self::Before => "known",
            Self::Nothing => "unmatched",
            Self::Refused => "refused",
            Self::Resolved => "resolved",
        }
    }
}

/// It could not be stored now; it may be later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotStored(pub String);

/// Where alerts go.
pub trait Desk: Send + Sync + 'static {
    /// Stores what follows from an alert. The same alert again changes nothing.
    fn accept<'a>(&'a self, alert: &'a Alert, traceparent: &'a str) -> BoxFuture<'a, Result<Stored, NotStored>>;

    /// Something did not come through: all alerts must be asked of Alertmanager itself.
    fn resync(&self);
}

/// What every request needs.
pub struct Shared {
    /// Where alerts go.
    pub desk: Arc<dyn Desk>,
    /// Who may post.
    pub tokens: Tokens,
    /// Counters.
    pub metrics: Arc<Metrics>,
    intake: Intake,
    room: Semaphore,
}

impl Shared {
    /// For these.
    pub fn new(desk: Arc<dyn Desk>, tokens: Tokens, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { desk, tokens, metrics, intake: Intake::default(), room: Semaphore::new(ROOM) })
    }
}

/// The routes, without TLS.
pub fn app(shared: Arc<Shared>) -> Router {
    // The intake has limits of its own.
    Router::new().route(PATH, post(receive)).layer(DefaultBodyLimit::disable()).with_state(shared)
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    let (outcome, code, message) = answer(&shared, &headers, body).await;
    shared.metrics.alerts_posted(outcome);
    let mut response = (code, format!("{message}\n")).into_response();
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}

/// A word for the metric, the code, and a sentence.
async fn answer(shared: &Shared, headers: &HeaderMap, body: Body) -> (&'static str, StatusCode, String) {
    // Before anything is read, and for whoever is refused here nothing is asked of Alertmanager.
    if !shared.tokens.accept(headers) {
        return ("unauthorized", StatusCode::UNAUTHORIZED, "a bearer token is wanted".to_owned());
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if !text(header::CONTENT_TYPE).is_some_and(|value| value.starts_with("application/json")) {
        return ("malformed", StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json".to_owned());
    }
    if text(header::CONTENT_ENCODING).is_some_and(|value| !value.eq_ignore_ascii_case("identity")) {
        return ("malformed", StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it uncompressed".to_owned());
    }
    let traceparent = trace::received(headers.get(trace::TRACEPARENT).and_then(|value| value.to_str().ok()));
    match timeout(REQUEST, take(shared, headers, body, &traceparent)).await {
        Ok(answered) => answered,
        Err(_) => ("not_stored", StatusCode::SERVICE_UNAVAILABLE, "it took too long; try again".to_owned()),
    }
}

async fn take(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    traceparent: &str,
) -> (&'static str, StatusCode, String) {
    let busy = |message: &str| ("busy", StatusCode::SERVICE_UNAVAILABLE, message.to_owned());
    let lost = |code: StatusCode, message: String| {
        tracing::warn!(%message, "a post of Alertmanager was refused; its alerts are asked for instead");
        shared.desk.resync();
        ("malformed", code, message)
    };
    let read = async {
        let taken = shared.intake.read(headers, body).await?;
        shared.intake.work(taken, |body| alertmanager::read(body, Timestamp::now())).await
    };
    let post = match read.await {
        Ok(Ok(post)) => post,
        Ok(Err(error @ PayloadError::Malformed(_))) => return lost(StatusCode::BAD_REQUEST, error.to_string()),
        Ok(Err(error @ PayloadError::TooMany(_))) => {
            shared.desk.resync();
            return busy(&error.to_string());
        }
        Err(Refused::TooLarge) => {
            return lost(StatusCode::PAYLOAD_TOO_LARGE, "the post is larger than 6 MiB; set max_alerts".to_owned());
        }
        Err(Refused::Busy) => return busy("too many large posts at once; try again"),
        // Nobody is there any more to hear this, or a proxy is.
        Err(Refused::Broken) => return busy("the post broke off; try again"),
    };
    let wanted = u32::try_from(post.alerts.len()).unwrap_or(u32::MAX);
    let Ok(_room) = shared.room.try_acquire_many(wanted) else {
        return busy("too many alerts at once; try again");
    };
    store(shared, &post, traceparent).await
}

/// Stores every alert of a post; all of them are stored, or it is no 200.
async fn store(shared: &Shared, post: &Post, traceparent: &str) -> (&'static str, StatusCode, String) {
    let storing: Vec<_> = post.alerts.iter().map(|alert| shared.desk.accept(alert, traceparent)).collect();
    let stored: Vec<_> = stream::iter(storing).buffer_unordered(AT_ONCE).collect().await;
    let mut failed = Vec::new();
    for outcome in stored {
        shared.metrics.alert(outcome.as_ref().map_or("not_stored", |stored| stored.word()));
        failed.extend(outcome.err());
    }
    if post.truncated > 0 {
        tracing::info!(count = post.truncated, "a post leaves alerts out; they are asked of Alertmanager");
        shared.desk.resync();
    }
    for message in &post.malformed {
        shared.metrics.alert("malformed");
        tracing::warn!(%message, "an alert cannot be acted upon");
    }
    if let Some(error) = failed.first() {
        tracing::warn!(%error, count = failed.len(), "alerts could not be stored; Alertmanager sends them again");
        return ("not_stored", StatusCode::SERVICE_UNAVAILABLE, format!("{} not stored: {error}", failed.len()));
    }
    if let Some(message) = post.malformed.first() {
        shared.desk.resync();
        return ("malformed", StatusCode::BAD_REQUEST, message.clone());
    }
    ("stored", StatusCode::OK, "stored".to_owned())
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
