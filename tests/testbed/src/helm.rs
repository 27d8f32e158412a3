//! Helm, as a person calls it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries::Bin;
use crate::folder::Folder;
use crate::process::Program;
use crate::recipe::Component;

/// Long enough for a chart whose pods are waited for.
const DEADLINE: Duration = Duration::from_secs(180);

/// A helm with folders of its own, so that it knows nothing of the machine's.
pub struct Helm {
    program: PathBuf,
    folder: Folder,
}

impl Helm {
    /// The helm of the testbed.
    pub fn new(bin: &Bin) -> Result<Self> {
        Ok(Self { program: bin.path(Component::Helm, "helm")?, folder: Folder::new("helm")? })
    }

    /// Runs it; gives its output, or an error with its message.
    pub async fn run(&self, arguments: &[&str], kubeconfig: Option<&Path>) -> Result<String> {
        let mut program = Program::new(&self.program).args(arguments);
        for (variable, name) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            program = program.env(variable, self.folder.join(name));
        }
        if let Some(kubeconfig) = kubeconfig {
            program = program.env("KUBECONFIG", kubeconfig);
        }
        let output = program.run("", DEADLINE).await?;
        output.success().with_context(|| format!("helm {}", arguments.join(" ")))
    }
}
