//! Images made of static programs, for the pods of a node.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::binaries::Bin;
use crate::oci::{Image, Layer, pinned, write_archive as write_images};
use crate::recipe::Component;

/// Does nothing, and holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/pause:1";
/// A Go service that misbehaves when told to: `modules/workloads/sample/main.go` says how.
///
/// The service and `/metrics` on port 8080, net/http/pprof on 6060.
pub const SAMPLE_IMAGE: &str = "localhost/sample:1";
/// `ps`, `ls`, `cat`, `get` and `wait` without a shell, for ephemeral containers.
pub const DEBUG_IMAGE: &str = "localhost/debug:1";

struct Workload {
    name: &'static str,
    program: &'static str,
    /// Other names of the program, which looks at what it was called.
    links: &'static [&'static str],
}

const WORKLOADS: [Workload; 3] = [
    Workload { name: PAUSE_IMAGE, program: "pause", links: &[] },
    Workload { name: SAMPLE_IMAGE, program: "sample", links: &[] },
    Workload { name: DEBUG_IMAGE, program: "debug", links: &["ps", "ls", "cat", "get", "wait"] },
];

/// Writes an archive with all images, as `ctr images import` takes it; gives the names of each, the second by digest.
pub(crate) fn write_archive(bin: &Bin, into: &Path) -> Result<Vec<(&'static str, String)>> {
    let images = WORKLOADS.iter().map(|workload| {
        let program = fs::read(bin.path(Component::Workloads, workload.program)?)?;
        let config = json!({"Entrypoint": [format!("/bin/{}", workload.program)], "Env": ["PATH=/bin"]});
        // They stay on this machine: it would be only work to compress them.
        // There is no registry that could be asked for one by its digest.
        let layer = layer(workload, &program)?;
        Ok(Image { name: workload.name, config, layer, compressed: false, pinned: true })
    });
    let digests = write_images(images.collect::<Result<_>>()?, into)?;
    Ok(WORKLOADS
        .iter()
        .map(|workload| workload.name)
        .zip(digests)
        .map(|(name, digest)| (name, pinned(name, &digest)))
        .collect())
}

fn layer(workload: &Workload, program: &[u8]) -> Result<Layer> {
    let mut layer = Layer::new();
    for (folder, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        layer.folder(folder, mode)?;
    }
    layer.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/false\n")?;
    layer.file(&format!("bin/{}", workload.program), 0o755, program)?;
    for link in workload.links {
        layer.link(&format!("bin/{link}"), workload.program)?;
    }
    Ok(layer)
}
