#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize},
};

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use super::*;
use crate::{
    operator::{http, metrics::Metrics},
    page::{self, Answers, Site},
    up::objects::Shelf,
};

/// Nothing here takes so long.
const LONG: Duration = Duration::from_secs(600);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn server_of(app: Router, limits: Limits, tls: Option<Arc<ServerConfig>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    Server { address, stop: stop.clone(), serving: tokio::spawn(serve(listener, tls, app, limits, stop)) }
}

impl Server {
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// The status and body of an answer.
    async fn get(&self, path: &str) -> (u16, String) {
        read(self.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await).await
    }
}

async fn read(mut stream: TcpStream) -> (u16, String) {
    let mut text = Vec::new();
    timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await.expect("no answer").unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits until the server closes a connection, however that is told.
async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ =
        timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await.expect("the connection is still open");
}

const HALF: &str = "GET /healthz HTTP/1.1\r\nhost: a\r\nx-long: ";

fn tls() -> Arc<ServerConfig> {
    let names = ["127.0.0.1".to_owned()];
    let made = crate::webhook::certificates::make(&names, None, jiff::Timestamp::now()).unwrap();
    let identity = crate::webhook::server::Identity::default();
    identity.set(&made.certificate, &made.key).unwrap();
    crate::webhook::server::tls(&identity, None).unwrap()
}

#[tokio::test]
async fn who_does_not_finish_what_it_begins_is_closed() {
    let short = Limits { headers: Duration::from_millis(30), ..Limits::default() };
    for tls in [None, Some(tls())] {
        let server = server_of(Router::new(), short, tls).await;
        for begun in ["", "G", HALF] {
            is_closed(&mut server.send(begun).await).await;
        }
    }
}

/// What the operator serves without TLS, with a few places, all of which are taken by who says nothing to the end.
#[tokio::test]
async fn probes_metrics_and_the_page_are_answered_however_many_hang() {
    let health = http::Health { ready: Arc::new(AtomicBool::new(true)), metrics: Metrics::new() };
    let shelf: Arc<Shelf> = Arc::default();
    let site = Site::new(Arc::new(Answers::default()), shelf, CancellationToken::new());
    let app = http::app(health).merge(page::app(Arc::new(site)));
    let few = Limits { connections: 4, headers: LONG, ..Limits::default() };
    let server = server_of(app, few, None).await;
    let mut hanging = Vec::new();
    for _ in 0..20 {
        hanging.push(server.send(HALF).await);
    }
    assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
    // Those that hang for the longest time have made room; the last one has not, and may go on.
    let mut last = hanging.pop().unwrap();
    last.write_all(b"x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(read(last).await, (200, "ok\n".to_owned()));
    for stream in &mut hanging[..16] {
        is_closed(stream).await;
    }
    // Readers that listen for ever take no place from others either.
    let mut listening = Vec::new();
    for path in ["/readyz", "/metrics", "/", "/runbooks"] {
        for _ in 0..4 {
            let mut stream = server.send("GET /live HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let mut answer = [0; 12];
            timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await.expect("no answer").unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            listening.push(stream);
        }
        let (status, body) = server.get(path).await;
        assert!(status == 200 && !body.is_empty(), "{path}: {status} {body}");
    }
}

/// Nobody who is being answered loses the place: who comes then waits.
#[tokio::test]
async fn no_more_are_answered_at_once_than_there_are_places() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (gate, now, most) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (gate, most) = (Arc::clone(&gate), Arc::clone(&most));
        move || async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            begun.send(()).unwrap();
            gate.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            "done"
        }
    };
    let server = server_of(Router::new().route("/", get(handler)), Limits::of(2), None).await;
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        // Without `connection: close`, so that the places are those of who was answered, not of nobody.
        let mut stream = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.spawn(async move {
            let mut answer = [0; 12];
            timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await.expect("no answer").unwrap();
            (answer, stream)
        });
    }
    for _ in 0..6 {
        begins.recv().await.unwrap();
        gate.add_permits(1);
    }
    let mut kept = Vec::new();
    while let Some(answered) = clients.join_next().await {
        let (answer, stream) = answered.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        kept.push(stream);
    }
    assert_eq!((kept.len(), most.load(Ordering::SeqCst)), (6, 2));
}

#[tokio::test]
async fn what_is_never_answered_is_given_up_and_what_is_under_way_is_finished() {
    let gate = Arc::new(Semaphore::new(0));
    let (begun, mut begins) = mpsc::unbounded_channel();
    let waiting = {
        let gate = Arc::clone(&gate);
        move || async move {
            begun.send(()).unwrap();
            gate.acquire().await.unwrap().forget();
            "done"
        }
    };
    let app = Router::new().route("/", get(waiting.clone()));
    let server = server_of(app.clone(), Limits { answer: Duration::from_millis(30), ..Limits::default() }, None).await;
    assert_eq!(server.get("/").await, (503, "it took too long; try again\n".to_owned()));
    assert_eq!(slow().headers()[header::RETRY_AFTER], "1", "when to come again");
    begins.recv().await.unwrap();

    let server = server_of(app, Limits::default(), None).await;
    let client = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    begins.recv().await.unwrap();
    server.stop.cancel();
    gate.add_permits(1);
    assert_eq!(read(client).await, (200, "done".to_owned()));
    server.serving.await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_from_ending() {
    let long = Limits { headers: LONG, ..Limits::default() };
    for tls in [None, Some(tls())] {
        let server = server_of(Router::new(), long, tls).await;
        let mut silent = server.send("").await;
        // The one after it was taken in as well, so the first one is being waited for.
        let mut second = server.send("").await;
        server.stop.cancel();
        is_closed(&mut silent).await;
        is_closed(&mut second).await;
        server.serving.await.unwrap();
    }
}
