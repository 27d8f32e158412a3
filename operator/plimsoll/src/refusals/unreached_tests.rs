#![allow(clippy::unwrap_used)]
use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::{prometheus::http_client, refusals::chain};

/// Says why nothing comes from there, as the command line does.
async fn told(url: &str) -> String {
    let request = http_client().unwrap().get(url).timeout(Duration::from_secs(5));
    chain(&request.send().await.unwrap_err().without_url())
}

/// A server that says this to whoever connects, and closes the connection.
async fn says(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let _ = stream.write_all(words).await;
        }
    });
    address.to_string()
}

#[tokio::test]
async fn why_a_server_cannot_be_reached_is_told_in_words() {
    assert_eq!(told("http://127.0.0.1:1").await, "connection refused: nothing listens on this port there");
    // Too long a name for any name server to be asked.
    let name = told(&format!("http://{}:9090", "x".repeat(64))).await;
    assert!(name.starts_with("its name cannot be found (") && !name.contains("dns error"), "{name}");
    let plain = says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(told(&format!("https://{plain}")).await, "it does not speak TLS: is it http:// instead of https://?");
    let other = says(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    let wanted = "what it answers is no HTTP: is the port right, and http:// or https://?";
    assert_eq!(told(&format!("http://{other}")).await, wanted);
    let mute = says(b"").await;
    assert_eq!(told(&format!("http://{mute}")).await, "it closes the connection before its answer is whole");
    assert_eq!(told(&format!("https://{mute}")).await, "it closes the connection before its answer is whole");
}

#[tokio::test]
async fn one_that_is_connected_and_says_nothing_takes_too_long() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let request = http_client().unwrap().get(url).timeout(Duration::from_millis(50));
    let error = request.send().await.unwrap_err();
    assert_eq!(chain(&error), "it did not answer in time");
}

#[tokio::test]
async fn a_certificate_is_told_by_what_is_wrong_with_it() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (acceptor, listener) =
        (tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let wanted = "its certificate is of an authority that is not trusted here; SSL_CERT_FILE may name a file with those that are";
    assert_eq!(told(&format!("https://localhost:{port}")).await, wanted);
}

/// What was to be done stays, and what the API server's client says of itself does not.
#[test]
fn what_was_asked_is_told_before() {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let error = anyhow::Error::new(kube::Error::Service(Box::new(refused))).context("the SLO cart could not be read");
    let wanted = "the SLO cart could not be read: connection refused: nothing listens on this port there";
    assert_eq!(crate::refusals::told(error.chain()), wanted);
    // What nobody has words for is told as it is.
    let odd = kube::Error::Service("odd".into());
    assert_eq!(chain(&odd), "ServiceError: odd");
}
