//! Plimsoll's own image: the program, and the few files that it reads. A static program needs nothing else; a dynamic one
//! brings its libraries along.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::oci::{Image, Layer, write_archive};

/// What the image is called, and its labels.
#[derive(Clone, Debug)]
pub struct PlimsollImage<'a> {
    /// The program.
    pub program: &'a Path,
    /// The image's name with its tag.
    pub name: &'a str,
    /// The version, for a label.
    pub version: &'a str,
    /// The commit that it was built from, for a label.
    pub revision: Option<&'a str>,
    /// Whether its layer is compressed.
    pub compressed: bool,
}

/// Who runs it: nobody that the machine knows. Not root, and the number is the one that distroless images have.
const USER: u32 = 65532;

/// Where the authorities are that HTTPS trusts, on the usual distributions.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

impl PlimsollImage<'_> {
    /// Writes it as an OCI archive; gives the digest of its manifest. The same program gives the same bytes.
    ///
    /// # Errors
    /// When a file that belongs into it cannot be found.
    pub fn write(&self, into: &Path) -> Result<String> {
        let mut labels = json!({
            "org.opencontainers.image.title": "plimsoll",
            "org.opencontainers.image.description": "SLOs as code for Kubernetes",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.version": self.version,
        });
        if let Some(revision) = self.revision {
            labels["org.opencontainers.image.revision"] = json!(revision);
        }
        let config = json!({
            "User": format!("{USER}:{USER}"),
            "Entrypoint": ["/usr/bin/plimsoll"],
            "Env": ["PATH=/usr/bin"],
            "Labels": labels,
        });
        let image = Image { name: self.name, config, layer: self.layer()?, compressed: self.compressed, pinned: false };
        write_archive(vec![image], into)?.pop().context("an archive without an image")
    }

    fn layer(&self) -> Result<Layer> {
        let program = fs::read(self.program).with_context(|| self.program.display().to_string())?;
        let mut files: Vec<(String, u32, Vec<u8>)> = vec![
            ("etc/passwd".to_owned(), 0o644, format!("plimsoll:x:{USER}:{USER}::/:/sbin/nologin\n").into_bytes()),
            ("etc/group".to_owned(), 0o644, format!("plimsoll:x:{USER}:\n").into_bytes()),
            // What the C library asks, of which a static one has no default.
            ("etc/nsswitch.conf".to_owned(), 0o644, b"hosts: files dns\n".to_vec()),
            ("etc/ssl/certs/ca-certificates.crt".to_owned(), 0o644, authorities()?),
            ("usr/bin/plimsoll".to_owned(), 0o755, program),
        ];
        for library in libraries(self.program)? {
            let path = library.to_string_lossy().trim_start_matches('/').to_owned();
            files.push((path, 0o755, fs::read(&library).with_context(|| library.display().to_string())?));
        }
        let mut layer = Layer::new();
        for folder in folders(files.iter().map(|(path, ..)| path.as_str())) {
            layer.folder(&folder, 0o755)?;
        }
        for (path, mode, content) in &files {
            layer.file(path, *mode, content)?;
        }
        Ok(layer)
    }
}

/// All folders above these paths, those above before those below.
fn folders<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeSet<String> {
    let above = paths.flat_map(|path| path.match_indices('/').map(|(at, _)| path.split_at(at + 1).0.to_owned()));
    above.collect()
}

fn authorities() -> Result<Vec<u8>> {
    let Some(path) = AUTHORITIES.iter().find(|path| Path::new(path).is_file()) else {
        bail!("none of {AUTHORITIES:?} is there, and without authorities nothing is trusted: install ca-certificates");
    };
    fs::read(path).context(*path)
}

/// The files that a dynamic program needs, at the paths where it looks for them; none of a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("running ldd, of the C library")?;
    let (told, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if told.contains("statically linked") || complaint.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    ensure!(output.status.success(), "ldd {}: {told}{complaint}", program.display());
    let mut libraries = Vec::new();
    for line in told.lines() {
        // `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` of the loader, and what the kernel brings.
        ensure!(!line.contains("not found"), "{}: {}", program.display(), line.trim());
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.trim().split_once(' ').map_or(path.trim(), |(path, _)| path);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    ensure!(!libraries.is_empty(), "ldd names no library of {}: {told}", program.display());
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(program: &Path) -> PlimsollImage<'_> {
        PlimsollImage { program, name: "localhost/plimsoll:1", version: "1", revision: None, compressed: false }
    }

    #[test]
    fn the_same_program_is_the_same_image() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let program = std::env::current_exe()?;
        let image = image(&program);
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let digests = [image.write(&one)?, image.write(&two)?];
        assert_eq!(digests[0], digests[1]);
        assert!(fs::read(&one)? == fs::read(&two)?, "two archives of the same program differ");
        let other = PlimsollImage { version: "2", ..image };
        assert_ne!(other.write(&two)?, digests[0]);
        Ok(())
    }

    #[test]
    fn it_is_nobodys_and_has_what_the_program_needs() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let program = std::env::current_exe()?;
        let image = image(&program);
        let path = folder.path().join("image");
        image.write(&path)?;
        let mut blobs = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(fs::File::open(&path)?).entries()? {
            let mut entry = entry?;
            let name = entry.path()?.display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content)?;
            blobs.insert(name, content);
        }
        let blob = |digest: &serde_json::Value| {
            let name = format!("blobs/{}", digest.as_str().unwrap_or_default().replace(':', "/"));
            blobs.get(&name).with_context(|| name.clone())
        };
        let index: serde_json::Value = serde_json::from_slice(blobs.get("index.json").context("index.json")?)?;
        let manifest: serde_json::Value = serde_json::from_slice(blob(&index["manifests"][0]["digest"])?)?;
        let config: serde_json::Value = serde_json::from_slice(blob(&manifest["config"]["digest"])?)?;
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let mut names = BTreeSet::new();
        for entry in tar::Archive::new(blob(&manifest["layers"][0]["digest"])?.as_slice()).entries()? {
            let entry = entry?;
            assert_eq!((entry.header().uid()?, entry.header().mtime()?), (0, 0));
            names.insert(entry.path()?.display().to_string());
        }
        for wanted in ["usr/bin/plimsoll", "etc/ssl/certs/ca-certificates.crt", "etc/nsswitch.conf"] {
            assert!(names.contains(wanted), "{wanted} is not among {names:?}");
        }
        assert!(!names.iter().any(|name| name.starts_with("tmp")), "{names:?}");
        // Of a test program, which is dynamic.
        assert!(names.iter().any(|name| name.contains("libc.so")), "{names:?}");
        Ok(())
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let found: Vec<String> = folders(["usr/bin/a", "etc/b"].into_iter()).into_iter().collect();
        assert_eq!(found, ["etc/", "usr/", "usr/bin/"]);
    }
}
