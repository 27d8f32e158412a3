//! Evidence: logs, profiles, dumps. They may hold secrets, so they go to a volume or a bucket and nowhere else; what is
//! kept of them in the cluster is a name, a size and a hash.
//!
//! Everything of a step is under `NAMESPACE/RUNBOOK/EXECUTION/STEP/`, names that Kubernetes has checked and that no
//! label can choose, beside a `manifest.json` that is written first: whatever crashes, what is there has an end.

pub mod config;
pub mod open;
pub mod sweep;

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, LazyLock},
};

use axum::body::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayloadMut, path::Path};
use plimsoll_api::execution::ArtifactRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::config::ArtifactsConfig;
use crate::shares::{Share, Shares};

/// What is read before it is written: a part of an upload in parts must have 5 MiB.
const PART: usize = 8 << 20;
/// What all steps hold in memory of what is to be kept, and what those of one namespace hold: the pod has some 256 MiB.
const HELD: u32 = 64 << 20;
const HELD_BY_ONE: u32 = HELD / 2;
static MEMORY: LazyLock<Shares> = LazyLock::new(|| Shares::new(HELD, HELD_BY_ONE));
/// A piece that is not copied.
const PIECE: usize = 64 << 10;
/// The file that says what there is.
const MANIFEST: &str = "manifest.json";
/// A manifest is small; a larger one is none.
const LARGEST_MANIFEST: u64 = 1 << 20;

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The configuration has no such volume or store.
    #[error("spec.artifacts: {0}")]
    Unknown(String),
    /// The Secret with the keys cannot be used.
    #[error("spec.artifacts.s3.secretName: {0}")]
    Secret(String),
    /// A volume cannot be used.
    #[error("artifacts volume {name}: {message}")]
    Volume {
        /// Its name.
        name: String,
        /// Why.
        message: String,
    },
    /// It is larger than it may be.
    #[error("it is larger than {0} bytes, so nothing of it was kept")]
    TooLarge(u64),
    /// There is no room.
    #[error("the artifacts of this runbook take {used} of {quota} bytes; raise spec.artifacts.quota or shorten ttl")]
    Full {
        /// What is taken.
        used: u64,
        /// What there is.
        quota: u64,
    },
    /// What was to be kept broke off.
    #[error("it could not be read to its end: {0}")]
    Read(String),
    /// The store failed.
    #[error("it could not be stored: {}", crate::sinks::kubernetes::chain(.0))]
    Store(#[from] object_store::Error),
}

/// Whose artifacts these are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Of the runbook.
    pub namespace: String,
    /// The runbook.
    pub runbook: String,
    /// The execution.
    pub execution: String,
    /// The step.
    pub step: String,
}

impl Place {
    fn path(&self, base: &Path) -> Path {
        let Self { namespace, runbook, execution, step } = self;
        [namespace, runbook, execution, step].into_iter().fold(base.clone(), |path, part| path.join(part.as_str()))
    }
}

/// What becomes of content that is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It is cut off after so many bytes.
    Cut(u64),
    /// Its last bytes are kept, so many; they are held in memory.
    End(u64),
    /// Nothing of it is kept.
    Refuse(u64),
}

impl Limit {
    /// What is held in memory at most while it is kept: its end, or a part that is not written yet.
    fn held(self) -> u32 {
        match self {
            Self::End(most) => u32::try_from(most).unwrap_or(u32::MAX),
            Self::Cut(most) | Self::Refuse(most) => u32::try_from(most.min(PART as u64)).unwrap_or(u32::MAX),
        }
    }
}

/// The file beside the artifacts of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Of this form: 1.
    pub version: u32,
    /// Whose they are.
    #[serde(flatten)]
    pub place: Place,
    /// When it began.
    pub created: Timestamp,
    /// When all of it is removed.
    pub expires: Timestamp,
    /// What there is.
    pub artifacts: Vec<Kept>,
}

/// One artifact of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The file's name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// When it was stored.
    pub stored: Timestamp,
    /// True when it was cut off.
    pub truncated: bool,
}

/// A volume or a bucket.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    /// Before every path.
    base: Path,
    /// What begins a location: `s3://bucket`, `volume://evidence`.
    location: String,
    /// Of a volume: where it is.
    directory: Option<std::path::PathBuf>,
    /// What may be held of it.
    pub(crate) memory: &'static Shares,
}

impl Archive {
    /// How many bytes the artifacts of a runbook take.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn used(&self, namespace: &str, runbook: &str) -> Result<u64, ArtifactError> {
        let under = self.base.clone().join(namespace).join(runbook);
        let sizes = self.store.list(Some(&under)).map_ok(|object| object.size);
        Ok(sizes.try_fold(0_u64, async |all, size| Ok(all.saturating_add(size))).await?)
    }

    /// Waits until there is memory for what is kept for a namespace; to be dropped when it is.
    pub async fn memory(&self, namespace: &str, limit: Limit) -> Share<'static> {
        self.memory.take(namespace, limit.held()).await
    }

    /// Begins to keep artifacts of a step: from now on they have an end.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub async fn shelf(
        &self,
        place: Place,
        quota: u64,
        created: Timestamp,
        expires: Timestamp,
    ) -> Result<Shelf<'_>, ArtifactError> {
        let manifest = Manifest { version: 1, place, created, expires, artifacts: Vec::new() };
        let shelf = Shelf { archive: self, manifest, quota };
        shelf.write().await?;
        Ok(shelf)
    }
}

/// The artifacts of one step.
#[derive(Debug)]
pub struct Shelf<'a> {
    archive: &'a Archive,
    manifest: Manifest,
    quota: u64,
}

impl Shelf<'_> {
    /// How many bytes there is room for under a name: at least one.
    ///
    /// # Errors
    /// When there is no room, or the store cannot be read.
    pub async fn room(&self, name: &str) -> Result<u64, ArtifactError> {
        let Place { namespace, runbook, .. } = &self.manifest.place;
        let replaced = match self.archive.store.head(&self.path(name)).await {
            Ok(object) => object.size,
            Err(object_store::Error::NotFound { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        let used = self.archive.used(namespace, runbook).await?.saturating_sub(replaced);
        match self.quota.saturating_sub(used) {
            0 => Err(ArtifactError::Full { used, quota: self.quota }),
            room => Ok(room),
        }
    }

    fn path(&self, name: &str) -> Path {
        self.manifest.place.path(&self.archive.base).join(name)
    }

    /// Keeps content under a name, which must be one of the operator's own. The same name again replaces it.
    ///
    /// # Errors
    /// When it is too large, breaks off or cannot be stored; nothing is left then.
    pub async fn put<E: std::fmt::Display>(
        &mut self,
        name: &str,
        content: impl Stream<Item = Result<Bytes, E>>,
        limit: Limit,
    ) -> Result<ArtifactRef, ArtifactError> {
        let path = self.path(name);
        let room = self.room(name).await?;
        let used = self.quota.saturating_sub(room);
        let (Limit::Cut(most) | Limit::End(most) | Limit::Refuse(most)) = limit;
        let most = most.min(room);
        let store = &*self.archive.store;
        let written = match limit {
            Limit::Cut(_) => write(store, &path, content, most, true).await,
            Limit::Refuse(_) => write(store, &path, content, most, false).await,
            Limit::End(_) => {
                let (end, truncated) = end_of(content, most).await?;
                let parts = (0..end.len()).step_by(PART).map(|at| end.slice(at..(at + PART).min(end.len())));
                let content = futures::stream::iter(parts.map(Ok::<_, std::convert::Infallible>));
                write(store, &path, content, most, false).await.map(|written| Written { truncated, ..written })
            }
        };
        let Written { bytes, sha256, truncated } = match written {
            Err(ArtifactError::TooLarge(_)) if most == room => {
                return Err(ArtifactError::Full { used, quota: self.quota });
            }
            other => other?,
        };
        let kept = Kept { name: name.to_owned(), bytes, sha256: sha256.clone(), stored: Timestamp::now(), truncated };
        self.manifest.artifacts.retain(|old| old.name != name);
        self.manifest.artifacts.push(kept);
        self.write().await?;
        Ok(ArtifactRef {
            name: name.to_owned(),
            location: format!("{}/{path}", self.archive.location),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            sha256,
            truncated: truncated.then_some(true),
            expires: Some(Time(self.manifest.expires)),
        })
    }

    async fn write(&self) -> Result<(), ArtifactError> {
        let path = self.manifest.place.path(&self.archive.base).join(MANIFEST);
        let text = serde_json::to_vec_pretty(&self.manifest).map_err(|error| ArtifactError::Read(error.to_string()))?;
        self.archive.store.put(&path, text.into()).await?;
        Ok(())
    }
}

struct Written {
    bytes: u64,
    sha256: String,
    truncated: bool,
}

/// The last bytes of content, so many at most, and whether there was more.
async fn end_of<E: std::fmt::Display>(
    content: impl Stream<Item = Result<Bytes, E>>,
    most: u64,
) -> Result<(Bytes, bool), ArtifactError> {
    pin_mut!(content);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut end, mut truncated) = (VecDeque::new(), false);
    while let Some(chunk) = content.next().await {
        let mut chunk = chunk.map_err(|error| ArtifactError::Read(error.to_string()))?;
        let before = chunk.len().saturating_sub(most);
        let chunk = chunk.split_off(before);
        let over = (end.len() + chunk.len()).saturating_sub(most);
        truncated |= before > 0 || over > 0;
        end.drain(..over);
        end.extend(chunk.iter());
    }
    Ok((Bytes::from(Vec::from(end)), truncated))
}

/// Writes content as one object that appears whole or not at all.
async fn write<E: std::fmt::Display>(
    store: &dyn ObjectStore,
    path: &Path,
    content: impl Stream<Item = Result<Bytes, E>>,
    most: u64,
    cut: bool,
) -> Result<Written, ArtifactError> {
    let mut upload: Option<Box<dyn MultipartUpload>> = None;
    let written = parts(store, path, content, most, cut, &mut upload).await;
    match (written, upload) {
        (Ok(written), None) => Ok(written),
        (Ok(written), Some(mut upload)) => {
            upload.complete().await?;
            Ok(written)
        }
        (Err(error), None) => Err(error),
        (Err(error), Some(mut upload)) => {
            if let Err(left) = upload.abort().await {
                tracing::warn!(error = %left, "parts of an artifact could not be removed");
            }
            Err(error)
        }
    }
}

async fn parts<E: std::fmt::Display>(
    store: &dyn ObjectStore,
    path: &Path,
    content: impl Stream<Item = Result<Bytes, E>>,
    most: u64,
    cut: bool,
    upload: &mut Option<Box<dyn MultipartUpload>>,
) -> Result<Written, ArtifactError> {
    pin_mut!(content);
    let (mut sha, mut bytes, mut truncated) = (Sha256::new(), 0_u64, false);
    let mut buffer = PutPayloadMut::new();
    while let Some(chunk) = content.next().await {
        let mut chunk = chunk.map_err(|error| ArtifactError::Read(error.to_string()))?;
        let room = usize::try_from(most - bytes).unwrap_or(usize::MAX);
        if chunk.len() > room {
            if !cut {
                return Err(ArtifactError::TooLarge(most));
            }
            chunk.truncate(room);
            truncated = true;
        }
        sha.update(&chunk);
        bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        // What has a size of its own is not copied; of small ones each would take more than it is.
        if chunk.len() < PIECE {
            buffer.extend_from_slice(&chunk);
        } else {
            buffer.push(chunk);
        }
        if buffer.content_length() >= PART {
            let upload = match upload {
                Some(upload) => upload,
                None => upload.insert(store.put_multipart(path).await?),
            };
            upload.put_part(std::mem::take(&mut buffer).into()).await?;
        }
        if truncated {
            break;
        }
    }
    match upload {
        None => {
            store.put(path, buffer.into()).await?;
        }
        Some(upload) if !buffer.is_empty() => upload.put_part(buffer.into()).await?,
        Some(_) => {}
    }
    let sha256 = sha.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(Written { bytes, sha256, truncated })
}

#[cfg(test)]
mod tests;
