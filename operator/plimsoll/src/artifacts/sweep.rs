//! Removes what has come to its end.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::{Archive, ArtifactError, LARGEST_MANIFEST, MANIFEST, Manifest};

/// A file of an upload that nobody finished is that of a crash after this time.
const UNFINISHED: Duration = Duration::from_secs(86_400);

impl Archive {
    /// Removes the artifacts whose time is over; of one namespace, or of all. Gives the number of steps.
    ///
    /// # Errors
    /// When the store cannot be read; what could be removed is removed.
    pub async fn sweep(&self, namespace: Option<&str>, now: Timestamp) -> Result<usize, ArtifactError> {
        let under = namespace.map_or(self.base.clone(), |namespace| self.base.clone().join(namespace));
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
            if manifest.expires <= now && path == manifest.place.path(&self.base).join(MANIFEST) {
                self.remove(&path).await?;
                removed += 1;
            }
        }
        self.unfinished();
        Ok(removed)
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
