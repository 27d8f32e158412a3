//! A client of the Kubernetes API that does nothing but write.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};

const CONCURRENCY: usize = 8;

/// One object to apply, or one status to patch.
#[derive(Deserialize)]
struct Write {
    /// The resource: `/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL`.
    path: String,
    name: String,
    body: Value,
    #[serde(default)]
    status: bool,
}

#[tokio::main]
pub(crate) async fn run(kubeconfig: &str, files: &[&str]) -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("TLS was chosen before"))?;
    let phases = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    let config = Kubeconfig::read_from(kubeconfig)?;
    let client = Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)?;
    let mut seconds = Vec::new();
    for writes in &phases {
        let started = Instant::now();
        stream::iter(writes)
            .map(|write| send(&client, write))
            .buffer_unordered(CONCURRENCY)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    println!("{}", json!({"seconds": seconds}));
    Ok(())
}

fn read(file: &str) -> Result<Vec<Write>> {
    serde_json::from_slice(&fs::read(file)?).with_context(|| file.to_owned())
}

async fn send(client: &Client, write: &Write) -> Result<()> {
    let request = Request::new(&write.path);
    let request = if write.status {
        request.patch_subresource("status", &write.name, &PatchParams::default(), &Patch::Merge(&write.body))
    } else {
        request.patch(&write.name, &PatchParams::apply("bench"), &Patch::Apply(&write.body))
    };
    client.request_text(request?).await.map(drop).with_context(|| write.name.clone())
}
