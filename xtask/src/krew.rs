//! `cargo xtask krew`: the program as a plugin of kubectl, for krew.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{command::root, image};

const MANIFEST: &str = "manifests/krew/plimsoll.yaml";
/// As the manifest of the repository has them.
const ADDRESS: &str = "https://example.com/plimsoll.tar.gz";
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Where the archive will be found
    #[arg(long, value_name = "URL", default_value = ADDRESS)]
    uri: String,
    /// A program to put into it, instead of a static release build
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let program = match &arguments.program {
        Some(path) => path.clone(),
        None => image::build()?,
    };
    let root = root()?;
    let license = fs::read(root.join("LICENSE"))?;
    let program = fs::read(&program).with_context(|| program.display().to_string())?;
    let archive = archive(&[("kubectl-plimsoll", 0o755, &program), ("LICENSE", 0o644, &license)])?;
    let manifest = manifest(&fs::read_to_string(root.join(MANIFEST))?, &arguments.uri, &hash(&archive))?;
    let folder = root.join("target/krew");
    fs::create_dir_all(&folder)?;
    for (name, content) in [("plimsoll.tar.gz", archive.as_slice()), ("plimsoll.yaml", manifest.as_bytes())] {
        fs::write(folder.join(name), content)?;
        println!("{}", folder.join(name).display());
    }
    Ok(())
}

/// Without times and owners, so that the same program gives the same hash.
fn archive(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(GzBuilder::new().mtime(0).write(Vec::new(), Compression::default()));
    for (name, mode, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content)?;
    }
    let mut compressed = archive.into_inner()?;
    compressed.flush()?;
    Ok(compressed.finish()?)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn manifest(text: &str, uri: &str, hash: &str) -> Result<String> {
    for (name, wanted) in [("address", ADDRESS), ("hash", NO_HASH)] {
        ensure!(text.matches(wanted).count() == 1, "{MANIFEST} has no place for the {name}: write {wanted}");
    }
    let version = concat!("version: v", env!("CARGO_PKG_VERSION"), "\n");
    ensure!(text.contains(version), "{MANIFEST}: write {}", version.trim());
    Ok(text.replace(ADDRESS, uri).replace(NO_HASH, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_what_is_in_the_archive() -> Result<()> {
        let files: [(&str, u32, &[u8]); 2] = [("kubectl-plimsoll", 0o755, b"program"), ("LICENSE", 0o644, b"text")];
        let bytes = archive(&files)?;
        assert_eq!(bytes, archive(&files)?);
        let text = manifest(&fs::read_to_string(root()?.join(MANIFEST))?, "https://here/a.tar.gz", &hash(&bytes))?;
        let plugin: serde_json::Value = serde_saphyr::from_str(&text)?;
        let of = |pointer: &str| plugin.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(of("/metadata/name"), "plimsoll");
        assert_eq!(of("/spec/platforms/0/uri"), "https://here/a.tar.gz");
        assert_eq!(of("/spec/platforms/0/sha256"), hash(&bytes).as_str());
        let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut names = Vec::new();
        for entry in unpacked.entries()? {
            names.push(entry?.path()?.display().to_string());
        }
        let listed = of("/spec/platforms/0/files");
        let listed = listed.as_array().into_iter().flatten().filter_map(|file| file.get("from")?.as_str());
        assert_eq!(listed.collect::<Vec<_>>(), names);
        assert!(names.contains(&of("/spec/platforms/0/bin").as_str().unwrap_or_default().to_owned()));
        assert!(manifest("", "", "").is_err());
        Ok(())
    }
}
