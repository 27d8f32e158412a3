//! What a test is given.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Result;
use plimsoll_testbed::{Bin, ControlPlane, ControlPlaneOptions, Network, Node, Stack};
use tokio::sync::OnceCell;

/// What all tests of the process share.
#[derive(Default)]
pub(crate) struct Shared {
    stack: OnceCell<Stack>,
    node: OnceCell<NodeStack>,
    namespaces: AtomicUsize,
    program: OnceLock<PathBuf>,
}

/// A control plane with a real node.
pub struct NodeStack {
    // In this order they are ended.
    /// The node.
    pub node: Node,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// What both are in.
    pub network: Arc<Network>,
}

impl NodeStack {
    /// Starts it and waits until pods can run: about 15 seconds.
    pub async fn start(bin: &Bin) -> Result<Self> {
        let network = Network::new()?;
        let mut options = ControlPlaneOptions::within(&network);
        // Without kube-proxy a Service has no address; with this the API server asks the pods behind it, for webhooks.
        options.api_server_arguments.push("--enable-aggregator-routing=true".to_owned());
        let control_plane = ControlPlane::start(bin, options).await?;
        let node = Node::start(bin, &control_plane).await?;
        Ok(Self { node, control_plane, network })
    }
}

/// One test's view of the servers.
pub struct Testbed {
    bin: Bin,
    shared: Arc<Shared>,
    namespaces: Mutex<Vec<String>>,
}

impl Testbed {
    pub(crate) fn new(bin: Bin, shared: Arc<Shared>) -> Self {
        Self { bin, shared, namespaces: Mutex::default() }
    }

    /// The servers' programs (those that the test has said it needs), to start one's own.
    #[must_use]
    pub fn bin(&self) -> &Bin {
        &self.bin
    }

    /// The servers that tests share, started by the first that asks. They must not be stopped.
    pub async fn shared(&self) -> Result<&Stack> {
        self.shared.stack.get_or_try_init(|| Stack::start(&self.bin)).await
    }

    /// The node that tests share, with a control plane of its own. It must not be stopped.
    pub async fn node(&self) -> Result<&NodeStack> {
        self.shared.node.get_or_try_init(|| NodeStack::start(&self.bin)).await
    }

    /// A new namespace on the shared control plane, deleted after the test.
    pub async fn namespace(&self, purpose: &str) -> Result<String> {
        let number = self.shared.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{purpose}-{number}");
        self.shared().await?.control_plane.kubectl(["create", "namespace", &name]).await?;
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        Ok(name)
    }

    /// The program under test: what `PLIMSOLL_BIN` names, else built now, so that it is never an old one.
    pub fn plimsoll(&self) -> Result<&Path> {
        if let Some(program) = self.shared.program.get() {
            return Ok(program);
        }
        let program = plimsoll_testbed::plimsoll(false)?;
        Ok(self.shared.program.get_or_init(|| program))
    }

    /// Removes what the test has left, so that the next does not pay for its rules.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let namespaces = std::mem::take(&mut *self.namespaces.lock().unwrap_or_else(PoisonError::into_inner));
        for namespace in namespaces {
            self.shared().await?.control_plane.kubectl(["delete", "namespace", &namespace, "--wait=false"]).await?;
        }
        Ok(())
    }
}
