//! Finds the volume or the bucket of a runbook.

use std::{os::unix::fs::PermissionsExt, path::Path as File, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use object_store::{ClientOptions, ObjectStore, aws::AmazonS3Builder, local::LocalFileSystem, path::Path};
use plimsoll_api::runbook::{Artifacts, S3};

use super::{
    Archive, ArtifactError, MEMORY,
    config::{ArtifactsConfig, Bucket, Store},
};

/// The keys of a bucket.
struct Keys {
    id: String,
    secret: String,
}

impl Archive {
    /// Opens what a runbook names. A Secret is read with this client, which should be the runbook's ServiceAccount.
    ///
    /// # Errors
    /// When the configuration has no such place, or it cannot be used.
    pub async fn open(
        artifacts: &Artifacts,
        config: &ArtifactsConfig,
        client: &Client,
        namespace: &str,
    ) -> Result<Self, ArtifactError> {
        match (&artifacts.volume, &artifacts.s3) {
            (Some(volume), None) => Self::volume(volume, config),
            (None, Some(s3)) => {
                let keys = match &s3.secret_name {
                    Some(name) => Some(keys(client, namespace, name).await?),
                    None => None,
                };
                Self::bucket(s3, config, keys, namespace)
            }
            _ => Err(ArtifactError::Unknown("exactly one of volume and s3 is wanted".to_owned())),
        }
    }

    /// Opens a volume by its name.
    ///
    /// # Errors
    /// When there is none of the name, or others could read it.
    pub fn volume(name: &str, config: &ArtifactsConfig) -> Result<Self, ArtifactError> {
        let known = || config.volumes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let volume = config.volumes.get(name).ok_or_else(|| {
            ArtifactError::Unknown(format!("the operator's configuration has no volume {name}; it has: {}", known()))
        })?;
        let failed = |message: String| ArtifactError::Volume { name: name.to_owned(), message };
        shut(&volume.directory).map_err(|error| failed(format!("{}: {error}", volume.directory.display())))?;
        let store = LocalFileSystem::new_with_prefix(&volume.directory)
            .map_err(|error| failed(error.to_string()))?
            .with_automatic_cleanup(true)
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            base: Path::default(),
            location: format!("volume://{name}"),
            directory: Some(volume.directory.clone()),
            memory: &MEMORY,
        })
    }

    /// Opens what a store grants with its own keys.
    ///
    /// # Errors
    /// When its keys cannot be read.
    pub fn granted(store: &Store, bucket: &Bucket) -> Result<Self, ArtifactError> {
        let base = Path::parse(&bucket.prefix)
            .map_err(|error| ArtifactError::Unknown(format!("bucket {}: prefix: {error}", bucket.name)))?;
        let location = format!("s3://{}", bucket.name);
        let store = Arc::new(builder(&bucket.name, store, None)?.build()?);
        Ok(Self { store, base, location, directory: None, memory: &MEMORY })
    }

    fn bucket(s3: &S3, config: &ArtifactsConfig, keys: Option<Keys>, namespace: &str) -> Result<Self, ArtifactError> {
        let S3 { bucket, prefix, store, secret_name: _ } = s3;
        let asked = store;
        let store =
            match store {
                Some(name) => config.stores.get(name).cloned().ok_or_else(|| {
                    ArtifactError::Unknown(format!("the operator's configuration has no store {name}"))
                })?,
                None => Store::default(),
            };
        // What is the operator's own, an administrator grants; nobody takes it by writing a name.
        if keys.is_none() && !store.lets(namespace, bucket, prefix.as_deref().unwrap_or_default()) {
            let store = asked.as_ref().map_or_else(|| "no store".to_owned(), |name| format!("store {name}"));
            return Err(ArtifactError::Unknown(format!(
                "runbooks of namespace {namespace} may not write to bucket {bucket} with the operator's own keys ({store}); name a Secret in s3.secretName, or have the store's buckets extended"
            )));
        }
        let base = Path::parse(prefix.as_deref().unwrap_or_default())
            .map_err(|error| ArtifactError::Unknown(format!("s3.prefix: {error}")))?;
        let store: Arc<dyn ObjectStore> = Arc::new(builder(bucket, &store, keys)?.build()?);
        Ok(Self { store, base, location: format!("s3://{bucket}"), directory: None, memory: &MEMORY })
    }
}

fn builder(bucket: &str, store: &Store, keys: Option<Keys>) -> Result<AmazonS3Builder, ArtifactError> {
    let Store { endpoint, region, access_key_id_file, secret_access_key_file, pod_role, buckets: _ } = store;
    let read = |file: &File| {
        let text = std::fs::read_to_string(file);
        text.map(|text| text.trim().to_owned())
            .map_err(|error| ArtifactError::Unknown(format!("{}: {error}", file.display())))
    };
    let keys = match (keys, access_key_id_file, secret_access_key_file) {
        (Some(keys), ..) => Some(keys),
        (None, Some(id), Some(secret)) => Some(Keys { id: read(id)?, secret: read(secret)? }),
        (None, ..) => None,
    };
    let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    let options = ClientOptions::new().with_allow_http(plain);
    // The pod's environment is the operator's own: it is asked only where a store says so, and never mixed with keys.
    let builder = match &keys {
        Some(_) => AmazonS3Builder::new(),
        None if *pod_role => AmazonS3Builder::from_env(),
        None => return Err(ArtifactError::Unknown("the store has neither keys nor podRole".to_owned())),
    };
    let mut builder = builder
        .with_bucket_name(bucket)
        // Not every store knows how to remove several at once, and here each is removed for itself.
        .with_disable_bulk_delete(true)
        .with_region(region.as_deref().unwrap_or("us-east-1"))
        .with_client_options(options);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(Keys { id, secret }) = keys {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    Ok(builder)
}

async fn keys(client: &Client, namespace: &str, name: &str) -> Result<Keys, ArtifactError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |message: String| ArtifactError::Secret(format!("{namespace}/{name}: {message}"));
    let secret = api.get(name).await.map_err(|error| failed(crate::sinks::kubernetes::chain(&error)))?;
    let data = secret.data.unwrap_or_default();
    let text = |key: &str| {
        let text = data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        text.map(|text| text.trim().to_owned()).ok_or_else(|| failed(format!("it has no {key}")))
    };
    Ok(Keys { id: text("accessKeyId")?, secret: text("secretAccessKey")? })
}

/// Others than the owner and the group are kept out.
fn shut(directory: &File) -> std::io::Result<()> {
    let mut permissions = std::fs::metadata(directory)?.permissions();
    if permissions.mode() & 0o007 != 0 {
        permissions.set_mode(permissions.mode() & !0o007);
        std::fs::set_permissions(directory, permissions)?;
    }
    Ok(())
}
