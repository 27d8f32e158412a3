//! A network of its own for some of the servers: a network namespace.
//!
//! It has no name, so two cannot collide and nothing of one can be left behind: the kernel removes it with the last
//! thread, process and socket in it. One thread of this process is inside. What it starts is inside as well, and
//! dies with it; a socket that it makes belongs there, whichever thread then uses it. That is all that is needed to
//! let both sides reach each other: a port on loopback inside is the same port outside, by a listener here whose
//! connections go on through sockets of that thread. So an address in a kubeconfig holds on both sides, and a test's
//! clients need not be inside.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::ports::free_port;
use crate::worker::Worker;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A network that only what is started in it shares; gone with the last of these and with this value.
#[derive(Debug)]
pub struct Network {
    worker: Worker,
    forwards: Mutex<Vec<JoinHandle<()>>>,
}

impl Network {
    /// Makes one, with nothing but loopback. It takes root, and `ip` of iproute2.
    pub fn new() -> Result<Arc<Self>> {
        let worker = Worker::start("network", || {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (it takes root)")
        })?;
        let network = Arc::new(Self { worker, forwards: Mutex::default() });
        network.ip("link set lo up")?;
        Ok(network)
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        let output = self.worker.run(move || command.output())?.context("running ip, from iproute2")?;
        ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The thread that is inside.
    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// A connection to an address inside, such as a pod's.
    pub async fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        Ok(socket(&self.worker)?.connect(address).await?)
    }

    /// A port of loopback that is free on both sides, and reaches inside from outside: for a server in here.
    pub async fn port(&self) -> Result<u16> {
        let port = free_port()?;
        self.forward(port, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        Ok(port)
    }

    /// Lets what is outside reach an address inside, under a port of the outside's loopback.
    pub async fn forward(&self, port: u16, to: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        self.keep(tokio::spawn(pass_on(listener, Target::Inside(self.worker.clone(), to))));
        Ok(())
    }

    /// Lets what is inside reach a port of the outside's loopback, under the same port of its own: for a server of
    /// the test itself, such as a webhook.
    pub async fn lend(&self, port: u16) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = self.listen(address)?;
        self.keep(tokio::spawn(pass_on(listener, Target::Outside(address))));
        Ok(())
    }

    /// Lets what is inside reach an address inside under another one: a pod, say, what listens on loopback alone.
    pub fn relay(&self, at: SocketAddr, to: SocketAddr) -> Result<()> {
        let listener = self.listen(at)?;
        self.keep(tokio::spawn(pass_on(listener, Target::Inside(self.worker.clone(), to))));
        Ok(())
    }

    fn listen(&self, at: SocketAddr) -> Result<TcpListener> {
        let socket = socket(&self.worker)?;
        socket.set_reuseaddr(true)?;
        socket.bind(at).with_context(|| format!("{at} is taken inside"))?;
        Ok(socket.listen(BACKLOG)?)
    }

    fn keep(&self, forward: JoinHandle<()>) {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner).push(forward);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for forward in self.forwards.get_mut().unwrap_or_else(PoisonError::into_inner) {
            forward.abort();
        }
    }
}

/// A socket that belongs to the inside.
fn socket(worker: &Worker) -> Result<TcpSocket> {
    Ok(worker.run(TcpSocket::new_v4)??)
}

/// Where connections are passed on to.
#[derive(Clone)]
enum Target {
    Inside(Worker, SocketAddr),
    Outside(SocketAddr),
}

impl Target {
    async fn connect(&self) -> Result<TcpStream> {
        match self {
            Self::Inside(worker, address) => Ok(socket(worker)?.connect(*address).await?),
            Self::Outside(address) => Ok(TcpStream::connect(address).await?),
        }
    }
}

/// Passes each connection on. Where the target does not answer, the caller finds its own closed.
async fn pass_on(listener: TcpListener, target: Target) {
    while let Ok((mut from, _)) = listener.accept().await {
        let target = target.clone();
        tokio::spawn(async move {
            if let Ok(mut to) = target.connect().await {
                // Small requests and answers in turn: waiting for more to send would only add to each.
                drop((from.set_nodelay(true), to.set_nodelay(true)));
                // One side that breaks off is no error of the testbed.
                drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
            }
        });
    }
}

/// A free port for a server that may be inside a network, reachable from both sides.
pub(crate) async fn port_for(network: Option<&Arc<Network>>) -> Result<u16> {
    match network {
        Some(network) => network.port().await,
        None => free_port(),
    }
}
