//! The one loop by which everything is served, with a bound on what a client can hold without asking for anything.
//!
//! Places are few. When all are taken, the connection on which nothing has been answered for the longest time is closed
//! for the one that comes: whoever sends a request at once is answered, however many others hang. So a probe of the
//! kubelet never waits long for somebody who is silent. Who has only just come has half a second to say something: in a
//! burst of requests nobody is closed unheard.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// What is under way at the end may take so long.
const END: Duration = Duration::from_secs(10);
/// So long a connection may be silent before its place is given to another one.
const GRACE: Duration = Duration::from_millis(500);
/// What is kept of a connection before it is understood, in bytes: 16 KiB of headers are usual at most.
const BUFFER: usize = 64 << 10;

/// What a client can hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Until TLS is agreed upon, and until the headers of a request are there; an idle connection is closed after it.
    pub headers: Duration,
    /// Until a request is answered, its body included.
    pub answer: Duration,
    /// Until a connection is closed, whatever it does: whoever needs it opens another one.
    pub connection: Duration,
}

impl Limits {
    /// For so many connections at the same time.
    pub const fn of(connections: usize) -> Self {
        Self {
            connections,
            headers: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            connection: Duration::from_secs(600),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(128)
    }
}

/// Serves until `stop`, then finishes what is under way; by TLS where there is a configuration for it.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    app: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Places::new(limits.connections));
    let tracker = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a client that left: neither ends the server.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = stop.run_until_cancelled(places.take()).await else { break };
        let (acceptor, app, stop) = (acceptor.clone(), app.clone(), stop.clone());
        tracker.spawn(async move {
            let lost = place.lost.clone();
            let whole = async {
                match acceptor {
                    None => talk(stream, app, limits, place, stop).await,
                    Some(acceptor) => {
                        // Who has not said anything yet keeps nobody from ending.
                        let agreed = stop.run_until_cancelled(timeout(limits.headers, acceptor.accept(stream)));
                        if let Some(Ok(Ok(stream))) = agreed.await {
                            talk(stream, app, limits, place, stop).await;
                        }
                    }
                }
            };
            let _ = lost.run_until_cancelled(timeout(limits.connection, whole)).await;
        });
    }
    tracker.close();
    let _ = timeout(END, tracker.wait()).await;
}

/// Answers what comes over a connection.
async fn talk<S>(stream: S, app: Router, limits: Limits, place: Arc<Place>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (app, answering) = (app.clone(), Answering::at(Arc::clone(&place)));
        async move {
            let answer = timeout(limits.answer, app.oneshot(request)).await.unwrap_or_else(|_| Ok(slow()))?;
            Ok::<_, Infallible>(answer.map(|body| Sent { body, answering: Some(answering) }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(BUFFER);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn slow() -> Response {
    again("it took too long; try again")
}

/// A 503 to whoever may ask again in a second. The API server does only where it is told when.
pub fn again(message: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], format!("{message}\n")).into_response()
}

/// The places of a server.
struct Places {
    room: Arc<Semaphore>,
    silent: Mutex<Silent>,
    /// Somebody was answered, so that there is somebody who can be closed.
    answered: Notify,
}

/// Connections on which nothing is being answered, by the turn since when: the first are so for the longest time.
#[derive(Default)]
struct Silent {
    turn: u64,
    since: BTreeMap<u64, (Instant, CancellationToken)>,
}

impl Places {
    fn new(connections: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(connections)), silent: Mutex::default(), answered: Notify::new() }
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of whoever is silent for the longest time is free for others, if that is long enough; or when it will be.
    fn let_go(&self) -> Result<CancellationToken, Option<Instant>> {
        let mut silent = self.silent();
        let Some(first) = silent.since.first_entry() else { return Err(None) };
        let due = first.get().0 + GRACE;
        if due > Instant::now() { Err(Some(due)) } else { Ok(first.remove().1) }
    }

    /// A place, if need be that of somebody who is silent. While everybody is being answered, or has only just come, it
    /// waits.
    async fn take(self: &Arc<Self>) -> Arc<Place> {
        let room = || Arc::clone(&self.room);
        let permit = loop {
            if let Ok(permit) = room().try_acquire_owned() {
                break Some(permit);
            }
            let due = match self.let_go() {
                Ok(lost) => {
                    lost.cancel();
                    break room().acquire_owned().await.ok();
                }
                Err(due) => due,
            };
            let until = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                permit = room().acquire_owned() => break permit.ok(),
                () = self.answered.notified() => {}
                () = until => {}
            }
        };
        let place = Place {
            places: Arc::clone(self),
            turn: AtomicU64::default(),
            lost: CancellationToken::new(),
            _permit: permit,
        };
        place.is_silent();
        Arc::new(place)
    }
}

/// The place of a connection; given back when it is dropped.
struct Place {
    places: Arc<Places>,
    /// Its turn among those that are silent.
    turn: AtomicU64,
    /// Somebody else has it now.
    lost: CancellationToken,
    /// None only for a semaphore that is closed, which is never done.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    fn is_silent(&self) {
        let mut silent = self.places.silent();
        silent.turn += 1;
        let turn = silent.turn;
        self.turn.store(turn, Ordering::Relaxed);
        silent.since.insert(turn, (Instant::now(), self.lost.clone()));
        drop(silent);
        self.places.answered.notify_one();
    }

    fn is_heard(&self) {
        self.places.silent().since.remove(&self.turn.load(Ordering::Relaxed));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_heard();
    }
}

/// As long as it lives, nobody else gets the place.
struct Answering(Arc<Place>);

impl Answering {
    fn at(place: Arc<Place>) -> Self {
        place.is_heard();
        Self(place)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.is_silent();
    }
}

/// The body of an answer. Its connection is being answered until all of it that there is at present is handed over:
/// what goes on for ever, like a page's news, keeps no place from others.
struct Sent {
    body: axum::body::Body,
    answering: Option<Answering>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            self.answering = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
