//! A real node: kubelet, containerd and images of static programs, so that pods are real.
//!
//! It runs beside a [`ControlPlane`] in a [`Network`], and takes root. Its processes share three more namespaces: of
//! mounts, in which `/run`, `/var/lib` and `/var/log` are folders of its own; of process ids, whose first process
//! takes all others with it; of cgroups. So several nodes, and the machine's own containerd, know nothing of each
//! other. What outlives the first process is only the cgroups, and a janitor removes them: a process that waits for
//! this one to end, however it does.
//!
//! Pods have addresses that the network alone reaches: a test goes through the API server (exec, logs,
//! `pods/NAME:PORT/proxy`), through [`Network::connect`], or starts its Prometheus inside. There is no kube-proxy and no
//! DNS, so a pod reaches other pods by their addresses, and no Service but that of the API server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as Object;
use kube::Api;
use serde_json::json;

use crate::binaries::{Bin, Missing, on_path};
use crate::cgroups::{self, Hierarchy};
use crate::control_plane::ControlPlane;
use crate::folder::Folder;
use crate::images::{self, PAUSE_IMAGE};
use crate::network::Network;
use crate::process::{OWNER_VARIABLE, Process, Program};
use crate::recipe::Component;

/// A kubelet waits for caches and for leases; a machine that is busy building takes longer.
const START: Duration = Duration::from_secs(120);

/// The node's name, and its address, which is that of the network's own bridge.
const NAME: &str = "node1";
const ADDRESS: &str = "10.99.0.1";
/// The Service `kubernetes`: the first address of the control plane's range.
const API_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Enters cgroups by their files up to `--`, then becomes the program behind it.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@""#;

/// What the first process does before it is `pause`: `FOLDER PAUSE`, then kind, options and point of each cgroup mount.
const FIRST: &str = r#"set -eu
folder=$1 pause=$2; shift 2
for place in /run /var/lib /var/log; do mkdir -p "$folder$place"; mount --bind "$folder$place" "$place"; done
while [ $# -gt 0 ]; do umount --lazy "$3"; mount -t "$1" ${2:+-o "$2"} cgroup "$3"; shift 3; done
touch "$folder/first"
exec "$pause""#;

/// Waits for the end of its input, then removes cgroups as soon as the last process has left them.
const JANITOR: &str = r#"cat >/dev/null
for try in $(seq 100); do
  left=
  for group in "$@"; do
    if [ -d "$group" ]; then find "$group" -depth -type d -exec rmdir {} \; ; fi
    if [ -d "$group" ]; then left=yes; fi
  done
  if [ -z "$left" ]; then exit 0; fi
  sleep 0.1
done
exit 1"#;

/// Where distributions put the CNI plugins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// A running node; it and everything that runs on it is gone when dropped, and with the process at the latest.
pub struct Node {
    // In this order they are killed, and the cgroups are removed when nothing is left in them.
    kubelet: Option<Process>,
    containerd: Process,
    _first: Process,
    _janitor: Janitor,
    kubelet_program: Program,
    namespaces: Namespaces,
    nodes: Api<Object>,
    images: Vec<(&'static str, String)>,
    // Last: the programs write into it until they are dead.
    folder: Folder,
}

impl Node {
    /// What keeps a node from being started on this machine, if anything does.
    #[must_use]
    pub fn missing() -> Option<Missing> {
        let missing = |what: &str, how: &str| Some(Missing { what: what.to_owned(), how: how.to_owned() });
        if !nix::unistd::geteuid().is_root() {
            return missing(
                "root",
                "a node makes namespaces and mounts; run the tests as root, e.g. in a virtual machine",
            );
        }
        let programs = [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc"), ("ip", "iproute2")];
        for (program, package) in programs {
            if !on_path(program) {
                return missing(program, &format!("install {package}"));
            }
        }
        if plugin_folder().is_none() {
            return missing("the CNI plugin bridge", "install containernetworking-plugins");
        }
        None
    }

    /// The name by digest of one of the images.
    pub fn by_digest(&self, image: &str) -> Result<&str> {
        let found = self.images.iter().find(|(name, _)| *name == image);
        Ok(found.with_context(|| format!("there is no image {image}"))?.1.as_str())
    }

    /// Starts it beside a control plane that is in a network, and waits until pods can run on it.
    pub async fn start(bin: &Bin, control_plane: &ControlPlane) -> Result<Self> {
        let network = control_plane.network().context("a node needs a control plane in a network: set its option")?;
        let folder = Folder::new("node")?;
        // A bridge, since not every kernel has dummy interfaces.
        network.ip("link add node0 type bridge")?;
        network.ip(&format!("addr add {ADDRESS}/24 dev node0"))?;
        network.ip("link set node0 up")?;
        // What kube-proxy would do for the one Service that every client in a pod asks for.
        network.ip(&format!("addr add {API_SERVER}/32 dev node0"))?;
        let port = control_plane.url().rsplit_once(':').context("an address without a port")?.1.parse()?;
        network.relay(SocketAddr::from((API_SERVER, 443)), SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;

        static NODES: AtomicUsize = AtomicUsize::new(0);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let hierarchies = cgroups::create(&format!("{}{number}", cgroups::start_of_name(std::process::id())))?;
        let janitor = Janitor::start(&hierarchies)?;
        let pause = bin.path(Component::Workloads, "pause")?;
        let first = start_first(&pause, network, &hierarchies, &folder).await?;
        let namespaces = Namespaces { of: first.id(), entries: entries(&hierarchies), network: Arc::clone(network) };

        let containerd = start_containerd(&namespaces, &folder).await?;
        let archive = folder.join("images.tar");
        let images = images::write_archive(bin, &archive)?;
        namespaces.ctr(&["images", "import", "--snapshotter=native", &archive.display().to_string()]).await?;

        let kubelet_program = kubelet_program(bin, control_plane, &namespaces, &folder)?;
        let nodes = Api::all(control_plane.client().await?);
        let mut node = Self {
            kubelet: None,
            containerd,
            _first: first,
            _janitor: janitor,
            kubelet_program,
            namespaces,
            nodes,
            images,
            folder,
        };
        node.start_kubelet().await?;
        Ok(node)
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The folder with the logs: `kubelet.log`, `containerd.log`, and those of pods below `var/log/pods`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program of this machine, to run among the node's processes.
    #[must_use]
    pub fn program(&self, path: impl Into<PathBuf>) -> Program {
        self.namespaces.program(path)
    }

    /// Runs `ctr` on the node's containers; gives its output.
    pub async fn ctr(&self, arguments: &[&str]) -> Result<String> {
        self.namespaces.ctr(arguments).await
    }

    /// Makes the images of an OCI archive known to it, for pods with `imagePullPolicy: Never`.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        self.ctr(&["images", "import", "--snapshotter=native", &archive.display().to_string()]).await.map(drop)
    }

    /// containerd's process.
    #[must_use]
    pub fn containerd(&self) -> &Process {
        &self.containerd
    }

    /// Starts the kubelet (again), and waits until the node is ready.
    pub async fn start_kubelet(&mut self) -> Result<()> {
        let mut process = self.kubelet_program.start(&self.folder.join("kubelet.log"))?;
        let nodes = &self.nodes;
        process
            .ready(START, async || {
                let status = nodes.get(NAME).await?.status.unwrap_or_default();
                let conditions = status.conditions.unwrap_or_default();
                let ready =
                    conditions.iter().find(|condition| condition.type_ == "Ready").context("no condition yet")?;
                ensure!(ready.status == "True", "{ready:?}");
                Ok(())
            })
            .await?;
        self.kubelet = Some(process);
        Ok(())
    }
}

/// What the node's processes share, by the process that holds it.
struct Namespaces {
    of: u32,
    entries: Vec<PathBuf>,
    network: Arc<Network>,
}

impl Namespaces {
    fn program(&self, path: impl Into<PathBuf>) -> Program {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let of = self.of;
        Program::new("nsenter")
            .named(&name)
            .within(Some(&self.network))
            .args(
                [("mount", "mnt"), ("cgroup", "cgroup"), ("pid", "pid_for_children")]
                    .map(|(option, namespace)| format!("--{option}=/proc/{of}/ns/{namespace}")),
            )
            .args(["sh", "-c", ENTER, "enter"])
            .args(&self.entries)
            .arg("--")
            .arg(path)
    }

    async fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let program = self.program("ctr").args(["--address", SOCKET, "--namespace", "k8s.io"]).args(arguments);
        let output = program.run("", Duration::from_secs(60)).await?;
        output.success().with_context(|| format!("ctr {}", arguments.join(" ")))
    }
}

/// The files by which programs enter the node's cgroups, as the node sees them.
fn entries(hierarchies: &[Hierarchy]) -> Vec<PathBuf> {
    hierarchies.iter().map(|hierarchy| hierarchy.entry(&hierarchy.point)).collect()
}

/// Makes the namespaces. The process is `unshare`, whose child is the first of the node's processes; it ends with it.
async fn start_first(
    pause: &Path,
    network: &Arc<Network>,
    hierarchies: &[Hierarchy],
    folder: &Folder,
) -> Result<Process> {
    let outside = hierarchies.iter().map(|hierarchy| hierarchy.entry(&hierarchy.folder));
    let mounts = hierarchies.iter().flat_map(|hierarchy| {
        let point = hierarchy.point.display().to_string();
        [hierarchy.file_system().to_owned(), hierarchy.controllers.clone(), point]
    });
    // A cgroup namespace has the cgroup for its root in which it is made; only then may the programs go to a leaf.
    let leaves = hierarchies.iter().filter(|hierarchy| hierarchy.leaves_only);
    let roots = leaves.clone().map(|hierarchy| hierarchy.folder.join("cgroup.procs"));
    let leaves = leaves.map(|hierarchy| hierarchy.entry(&hierarchy.folder));
    let program = Program::new("sh")
        .named("the node's first process")
        .within(Some(network))
        .args(["-c", ENTER, "enter"])
        .args(outside)
        .args(roots)
        .args(["--", "unshare", "--cgroup", "sh", "-c", ENTER, "enter"])
        .args(leaves)
        .args(["--", "unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"])
        .args(["sh", "-c", FIRST, "first"])
        .args([folder.path(), pause])
        .args(mounts);
    let mut process = program.start(&folder.join("first.log"))?;
    let done = folder.join("first");
    process
        .ready(START, async || {
            ensure!(done.exists(), "its mounts are not made yet");
            Ok(())
        })
        .await?;
    Ok(process)
}

async fn start_containerd(namespaces: &Namespaces, folder: &Folder) -> Result<Process> {
    let plugins = plugin_folder().context("the CNI plugins are gone")?;
    let config = folder.join("containerd.toml");
    let cni = folder.join("cni");
    fs::create_dir(&cni)?;
    fs::write(cni.join("pods.conflist"), pod_network().to_string())?;
    let text = CONTAINERD
        .replace("SOCKET", SOCKET)
        .replace("PAUSE_IMAGE", PAUSE_IMAGE)
        .replace("PLUGINS", &plugins.display().to_string())
        .replace("CNI", &cni.display().to_string());
    fs::write(&config, text)?;
    let program = namespaces.program("containerd").arg("--config").arg(&config);
    let mut process = program.start(&folder.join("containerd.log"))?;
    process.ready(START, async || namespaces.ctr(&["version"]).await.map(drop)).await?;
    Ok(process)
}

/// Version 2 of the format, which containerd reads from 1.3 on. The snapshotter that copies works on any file system.
const CONTAINERD: &str = r#"version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "PAUSE_IMAGE"
  # Root need not be allowed to make a process less likely to be killed.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "PLUGINS"
    conf_dir = "CNI"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#;

/// Pods are on a bridge whose gateway is the network's own, so that the API server reaches them.
fn pod_network() -> serde_json::Value {
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.123.0.0/24"}]],
            // Else pods would reach each other alone.
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }]})
}

fn kubelet_program(
    bin: &Bin,
    control_plane: &ControlPlane,
    namespaces: &Namespaces,
    folder: &Folder,
) -> Result<Program> {
    let kubeconfig = control_plane.kubeconfig_for(&format!("system:node:{NAME}"), Some("system:nodes"))?;
    let config = folder.join("kubelet.yaml");
    // JSON is YAML.
    let text = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": control_plane.client_authority()},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        // A container that ends at once is started again every second, rather than every five minutes in the end.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        // Positive, or it is refused; and hardly anything, for a machine whose disk is nearly full.
        "evictionHard": {
            "memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        // There is no DNS, and what the machine has may be a link into its own /run.
        "resolvConf": "",
        "volumePluginDir": folder.join("volume-plugins"),
    });
    fs::write(&config, text.to_string())?;
    let kubelet = bin.path(Component::Kubernetes, "kubelet")?;
    Ok(namespaces.program(kubelet).args([
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NAME}"),
        format!("--node-ip={ADDRESS}"),
        format!("--cert-dir={}", folder.join("certificates").display()),
    ]))
}

fn plugin_folder() -> Option<&'static Path> {
    PLUGIN_FOLDERS.iter().map(Path::new).find(|folder| folder.join("bridge").is_file())
}

/// Removes the node's cgroups after the node, in a process of its own that outlives this one by that.
struct Janitor(Child);

impl Janitor {
    fn start(hierarchies: &[Hierarchy]) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", JANITOR, "janitor"]).args(hierarchies.iter().map(|hierarchy| &hierarchy.folder));
        command.env(OWNER_VARIABLE, std::process::id().to_string());
        // The other end of its input is this process's alone. A group of its own, since Ctrl-C is not meant for it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self(command.spawn().context("starting the janitor of a node's cgroups")?))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        match self.0.wait() {
            Ok(status) if status.success() => {}
            outcome => eprintln!("testbed: cgroups of a node are left, something still runs in them: {outcome:?}"),
        }
    }
}
