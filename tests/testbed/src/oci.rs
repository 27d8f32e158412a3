//! Images in the OCI image layout, in one archive: no registry, no container builder. The same content gives the same
//! bytes, so an image's digest says what is in it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The one layer of an image: a tar archive, without times and owners.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Adds a folder; its path ends in a slash.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        Ok(self.0.append_data(&mut header(EntryType::Directory, mode, 0), path, std::io::empty())?)
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        add(&mut self.0, path, mode, content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) -> Result<()> {
        Ok(self.0.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, to)?)
    }
}

/// An image for this machine's architecture.
pub(crate) struct Image<'a> {
    /// Its name with its tag: `localhost/sample:1`.
    pub(crate) name: &'a str,
    /// How it is run: the `config` of the image's configuration.
    pub(crate) config: Value,
    /// What is in it.
    pub(crate) layer: Layer,
    /// Whether its layer is compressed.
    pub(crate) compressed: bool,
    /// Whether it bears a second name, by its digest, as if it had been pulled by that.
    pub(crate) pinned: bool,
}

/// The name by digest of an image that has a name with a tag.
pub(crate) fn pinned(name: &str, digest: &str) -> String {
    format!("{}@{digest}", name.rsplit_once(':').map_or(name, |(repository, _)| repository))
}

/// By this annotation, containerd names what it imports.
const NAME: &str = "io.containerd.image.name";

/// Writes an archive of images, as `ctr images import`, `podman load` and `skopeo` take it; gives the digests of their
/// manifests.
pub(crate) fn write_archive(images: Vec<Image<'_>>, into: &Path) -> Result<Vec<String>> {
    let file = fs::File::create(into).with_context(|| format!("creating {}", into.display()))?;
    let mut archive = Builder::new(std::io::BufWriter::new(file));
    add(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut manifests = Vec::new();
    let mut digests = Vec::new();
    for image in images {
        let (name, again) = (image.name, image.pinned);
        let entry = add_image(&mut archive, image)?;
        let digest = entry["digest"].as_str().unwrap_or_default().to_owned();
        manifests.push(entry.clone());
        if again {
            let mut entry = entry;
            entry["annotations"][NAME] = json!(pinned(name, &digest));
            manifests.push(entry);
        }
        digests.push(digest);
    }
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    add(&mut archive, "index.json", 0o644, index.to_string().as_bytes())?;
    archive.into_inner()?.flush()?;
    Ok(digests)
}

/// Adds what an image consists of; gives its entry in the index.
fn add_image<W: Write>(archive: &mut Builder<W>, image: Image<'_>) -> Result<Value> {
    let Image { name, config, layer: Layer(layer), compressed, pinned: _ } = image;
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer.into_inner()?);
    let diff_id = layer.digest.clone();
    let layer = if compressed {
        Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&layer.content)?)
    } else {
        layer
    };
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::new(MANIFEST, manifest.to_string().into_bytes());
    for blob in [&layer, &config, &manifest] {
        add(archive, &format!("blobs/{}", blob.digest.replace(':', "/")), 0o644, &blob.content)?;
    }
    let mut entry = manifest.descriptor();
    entry["platform"] = json!({"os": "linux", "architecture": architecture()});
    // By the first, containerd names what it imports; by the second, others do.
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] = json!({NAME: name, "org.opencontainers.image.ref.name": tag});
    Ok(entry)
}

/// Without a time and a name, so that the same bytes give the same bytes.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn add<W: Write>(archive: &mut Builder<W>, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    Ok(archive.append_data(&mut header(EntryType::Regular, mode, content.len()), name, content)?)
}

/// Without times and owners, so that the same content gives the same bytes.
fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What an archive holds under its digest, which is reckoned once: layers are large.
struct Blob {
    media_type: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        let hash = Sha256::digest(&content);
        let digest = hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"));
        Self { media_type, digest, content }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.content.len()})
    }
}

/// This machine's, as Go and so the image format call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
