//! Images made of static programs, in the OCI image layout: no registry, no container builder.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::binaries::Bin;
use crate::recipe::Component;

/// Does nothing, and holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/pause:1";
/// A Go service that misbehaves when told to: `modules/workloads/sample/main.go` says how.
///
/// The service and `/metrics` on port 8080, net/http/pprof on 6060.
pub const SAMPLE_IMAGE: &str = "localhost/sample:1";
/// `ps`, `ls`, `cat`, `get` and `wait` without a shell, for ephemeral containers.
pub const DEBUG_IMAGE: &str = "localhost/debug:1";

/// By this annotation, containerd names what it imports.
const NAME: &str = "io.containerd.image.name";

struct Image {
    name: &'static str,
    program: &'static str,
    /// Other names of the program, which looks at what it was called.
    links: &'static [&'static str],
}

const IMAGES: [Image; 3] = [
    Image { name: PAUSE_IMAGE, program: "pause", links: &[] },
    Image { name: SAMPLE_IMAGE, program: "sample", links: &[] },
    Image { name: DEBUG_IMAGE, program: "debug", links: &["ps", "ls", "cat", "get", "wait"] },
];

/// Writes an archive with all images, as `ctr images import` takes it; gives the names of each, the second by digest.
pub(crate) fn write_archive(bin: &Bin, into: &Path) -> Result<Vec<(&'static str, String)>> {
    let file = fs::File::create(into).with_context(|| format!("creating {}", into.display()))?;
    let mut archive = Builder::new(file);
    let (mut manifests, mut names) = (Vec::new(), Vec::new());
    for image in &IMAGES {
        let program = fs::read(bin.path(Component::Workloads, image.program)?)?;
        let entry = add_image(&mut archive, image, &program)?;
        let (repository, _) = image.name.rsplit_once(':').context("an image has a tag")?;
        let by_digest = format!("{repository}@{}", entry["digest"].as_str().unwrap_or_default());
        // As if it had been pulled by its digest: there is no registry that could be asked for it.
        let mut again = entry.clone();
        again["annotations"][NAME] = json!(by_digest);
        manifests.extend([entry, again]);
        names.push((image.name, by_digest));
    }
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    add(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", 0o644, index.to_string().as_bytes())?;
    archive.into_inner()?;
    Ok(names)
}

/// Adds what an image consists of; gives its entry in the index.
fn add_image(archive: &mut Builder<fs::File>, image: &Image, program: &[u8]) -> Result<Value> {
    let layer = layer(image, program)?;
    let layer_digest = digest(&layer);
    let platform = json!({"os": "linux", "architecture": architecture()});
    let mut config = json!({
        "config": {"Entrypoint": [format!("/bin/{}", image.program)], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "os": platform["os"],
    });
    config["architecture"] = platform["architecture"].clone();
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    for blob in [&layer, &config, &manifest] {
        add(archive, &format!("blobs/{}", digest(blob).replace(':', "/")), 0o644, blob)?;
    }
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = platform;
    entry["annotations"] = json!({NAME: image.name});
    Ok(entry)
}

fn layer(image: &Image, program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for (folder, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        let mut header = header(EntryType::Directory, mode, 0);
        layer.append_data(&mut header, folder, std::io::empty())?;
    }
    add(&mut layer, "etc/passwd", 0o644, b"root:x:0:0::/:/bin/false\n")?;
    add(&mut layer, &format!("bin/{}", image.program), 0o755, program)?;
    for link in image.links {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{link}"), image.program)?;
    }
    Ok(layer.into_inner()?)
}

fn add<W: std::io::Write>(archive: &mut Builder<W>, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode, content.len());
    archive.append_data(&mut header, name, content)?;
    Ok(())
}

/// Without times and owners, so that the same programs give the same bytes.
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

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// This machine's, as Go and so the image format call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
