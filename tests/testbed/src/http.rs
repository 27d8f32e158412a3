//! One HTTP client for all helpers.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;

/// Chooses the TLS implementation for the whole process; all that speak TLS here need one chosen.
pub(crate) fn choose_tls() {
    // An error says that somebody has chosen before, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

pub(crate) fn client() -> Result<Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    choose_tls();
    // Self-signed is what servers on loopback show when only their health is asked for. No connection is kept:
    // one that a runtime has left behind fails in the next, and servers here are killed and come back.
    let client = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(60))
        .build()?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// The response, or an error with its body if it is not a success.
pub(crate) async fn checked(response: Response) -> Result<Response> {
    let (status, url) = (response.status(), response.url().clone());
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    bail!("{url}: {status}: {body}")
}

pub(crate) async fn get(url: &str) -> Result<String> {
    Ok(checked(client()?.get(url).send().await?).await?.text().await?)
}

pub(crate) async fn get_json<T: DeserializeOwned>(url: &str, query: &[(&str, &str)]) -> Result<T> {
    let body = checked(client()?.get(url).query(query).send().await?).await?.text().await?;
    serde_json::from_str(&body).with_context(|| format!("{url}: {body}"))
}

pub(crate) async fn post(url: &str) -> Result<()> {
    checked(client()?.post(url).send().await?).await?;
    Ok(())
}
