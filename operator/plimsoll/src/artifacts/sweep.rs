//! Removes what has come to its end.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::{Archive, ArtifactError, LARGEST_MANIFEST, MANIFEST, Manifest, Place};

/// A file of an upload that nobody finished is that of a crash after this time.
const UNFINISHED: Duration = Duration::from_secs(86_400);

/// Whose artifacts are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'w> {
    /// Everybody's in the place itself.
    All,
    /// One namespace's in the place itself.
    Namespace(&'w str),
    /// Those of these namespaces, of all where there is none, in the place and however deep below it: runbooks have
    /// prefixes of their own there.
    Below(&'w [String]),
}

impl Archive {
    /// Removes the artifacts whose time is over. What is there says so itself, whatever became of its execution. Gives the
    /// number of steps.
    ///
    /// # Errors
    /// When the store cannot be read; what could be removed is removed.
    pub async fn sweep(&self, whose: Whose<'_>, now: Timestamp) -> Result<usize, ArtifactError> {
        let under = match whose {
            Whose::Namespace(namespace) => self.base.clone().join(namespace),
            Whose::All | Whose::Below(_) => self.base.clone(),
        };
        let manifests: Vec<Path> = self
            .store
            .list(Some(&under))
            .try_filter(|object| {
                let is = object.location.filename() == Some(MANIFEST) && object.size <= LARGEST_MANIFEST;
                std::future::ready(is)
            })
            .map_ok(|object| object.location)
            .try_collect()
            .await?;
        let mut removed = 0;
        for path in manifests {
            // What is no manifest of ours is somebody else's.
            let Ok(text) = self.store.get(&path).await?.bytes().await else { continue };
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { continue };
            if manifest.expires <= now && self.is_its_own(&path, &manifest.place, whose) {
                self.remove(&path).await?;
                removed += 1;
            }
        }
        self.unfinished();
        Ok(removed)
    }

    /// Whether a manifest speaks of the place at which it is.
    fn is_its_own(&self, path: &Path, place: &Place, whose: Whose<'_>) -> bool {
        let base = match whose {
            Whose::All | Whose::Namespace(_) => self.base.clone(),
            Whose::Below(namespaces) => {
                if !namespaces.is_empty() && !namespaces.contains(&place.namespace) {
                    return false;
                }
                // Four names and the manifest's own are what comes after a runbook's prefix.
                let parts: Vec<_> = path.parts().collect();
                parts.iter().take(parts.len().saturating_sub(5)).cloned().collect()
            }
        };
        *path == place.path(&base).join(MANIFEST)
    }

    /// Removes what is beside a manifest, and last the manifest, without which nobody would come again.
    async fn remove(&self, manifest: &Path) -> Result<(), ArtifactError> {
        let Some(step) = manifest.parent() else { return Ok(()) };
        let objects: Vec<Path> = self.store.list(Some(&step)).map_ok(|object| object.location).try_collect().await?;
        for object in objects.iter().filter(|object| *object != manifest).chain([manifest]) {
            match self.store.delete(object).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Files of a volume that an upload left in a crash: `heap.hprof#1`.
    fn unfinished(&self) {
        let Some(directory) = &self.directory else { return };
        for entry in walkdir::WalkDir::new(directory).into_iter().flatten() {
            let name = entry.file_name().to_string_lossy();
            let is_part = name.rsplit_once('#').is_some_and(|(_, n)| n.parse::<u32>().is_ok());
            let changed = entry.metadata().ok().and_then(|data| data.modified().ok());
            let age = changed.and_then(|at| SystemTime::now().duration_since(at).ok());
            if is_part && age.is_some_and(|age| age > UNFINISHED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
