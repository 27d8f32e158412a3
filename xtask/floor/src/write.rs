//! A client of the Kubernetes API that does nothing but write.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, header};
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};

const CONCURRENCY: usize = 8;
/// Asks for an object's metadata only.
const METADATA: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

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
pub(crate) async fn run(kubeconfig: &str, files: &[&str], sparing: bool) -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("TLS was chosen before"))?;
    let phases = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    let config = Kubeconfig::read_from(kubeconfig)?;
    let client = Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)?;
    let mut seconds = Vec::new();
    for writes in &phases {
        let started = Instant::now();
        stream::iter(writes)
            .map(|write| send(&client, write, sparing))
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

/// One write; a `sparing` one asks the API server for no warnings and for no more than the metadata of what came of it.
async fn send(client: &Client, write: &Write, sparing: bool) -> Result<()> {
    let request = Request::new(&write.path);
    let field_validation = sparing.then_some(ValidationDirective::Ignore);
    let mut request = if write.status {
        let params = PatchParams { field_validation, ..PatchParams::default() };
        request.patch_subresource("status", &write.name, &params, &Patch::Merge(&write.body))
    } else {
        let params = PatchParams { field_validation, ..PatchParams::apply("bench") };
        request.patch(&write.name, &params, &Patch::Apply(&write.body))
    }?;
    if sparing {
        request.headers_mut().insert(header::ACCEPT, METADATA);
    }
    client.request_text(request).await.map(drop).with_context(|| write.name.clone())
}
