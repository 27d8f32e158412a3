//! The cgroups of a node: one in each hierarchy, below this process's own, which the node sees as its roots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where a cgroup hierarchy is mounted, and the node's cgroup in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// The mount point.
    pub(crate) point: PathBuf,
    /// The controllers of a hierarchy of version 1, as a mount option; nothing for version 2.
    pub(crate) controllers: String,
    /// The node's cgroup.
    pub(crate) folder: PathBuf,
    /// Whether programs must be in a cgroup below: version 2 with controllers lets only leaves have processes.
    pub(crate) leaves_only: bool,
}

/// The leaf for the node's own programs where they cannot be in its root.
const LEAF: &str = "programs";

impl Hierarchy {
    /// The file of the node's cgroup (below `root`) through which its programs enter it.
    pub(crate) fn entry(&self, root: &Path) -> PathBuf {
        if self.leaves_only { root.join(LEAF).join("cgroup.procs") } else { root.join("cgroup.procs") }
    }

    /// The kind of file system.
    pub(crate) fn file_system(&self) -> &'static str {
        if self.controllers.is_empty() { "cgroup2" } else { "cgroup" }
    }

    fn create(&self) -> Result<()> {
        let folder = if self.leaves_only { self.folder.join(LEAF) } else { self.folder.clone() };
        fs::create_dir_all(&folder).with_context(|| format!("creating the cgroup {}", folder.display()))?;
        // A new cpuset of version 1 is empty, and takes no process before it has a processor and memory.
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let file = self.folder.join(name);
            if !self.controllers.is_empty() && file.exists() {
                fs::write(&file, fs::read(self.folder.with_file_name(name))?)?;
            }
        }
        Ok(())
    }
}

/// Makes a cgroup of this name in every hierarchy.
pub(crate) fn create(name: &str) -> Result<Vec<Hierarchy>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("reading this process's cgroups")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading this process's mounts")?;
    let hierarchies = hierarchies(&own, &mounts, name);
    for hierarchy in &hierarchies {
        hierarchy.create()?;
    }
    Ok(hierarchies)
}

/// How the names of the cgroups begin that a process makes for its nodes.
pub(crate) fn start_of_name(owner: u32) -> String {
    format!("plimsoll-testbed-{owner}-")
}

/// The cgroups of nodes that `owner` has started, below this process's own. While one is there, something may run in it.
pub fn cgroups_of_nodes(owner: u32) -> Result<Vec<PathBuf>> {
    let start_of_name = start_of_name(owner);
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for hierarchy in hierarchies(&own, &mounts, "any") {
        let parent = hierarchy.folder.parent().context("a cgroup of a node has a parent")?;
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&start_of_name) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// The hierarchies that are mounted, from `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn hierarchies(own: &str, mounts: &str, name: &str) -> Vec<Hierarchy> {
    let lines: Vec<(&str, &str)> = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
    let mut found = Vec::new();
    for (controllers, path) in &lines {
        let Some((point, root)) = mounts.lines().find_map(|mount| mount_of(mount, controllers)) else { continue };
        // What is mounted need not be the whole tree: in a container it is the container's.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        // Version 2 alone: this process is in its cgroup, which can then have no controllers for those below it.
        let leaves_only = lines.len() == 1 && controllers.is_empty();
        let parent = if leaves_only { PathBuf::from(point) } else { Path::new(point).join(below) };
        found.push(Hierarchy {
            point: point.into(),
            controllers: (*controllers).to_owned(),
            folder: parent.join(name),
            leaves_only,
        });
    }
    found
}

/// The mount point and the root of a line of mountinfo, if it is of this hierarchy.
fn mount_of<'a>(mount: &'a str, controllers: &str) -> Option<(&'a str, &'a str)> {
    let (place, what) = mount.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    let mut what = what.split(' ');
    let (kind, options) = (what.next()?, what.nth(1)?);
    let same = match kind {
        "cgroup2" => controllers.is_empty(),
        "cgroup" => !controllers.is_empty() && controllers.split(',').all(|one| options.split(',').any(|o| o == one)),
        _ => false,
    };
    same.then_some((point, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(point: &str, controllers: &str, folder: &str, leaves_only: bool) -> Hierarchy {
        Hierarchy { point: point.into(), controllers: controllers.to_owned(), folder: folder.into(), leaves_only }
    }

    #[test]
    fn version_1_is_below_the_own_cgroup_of_each_hierarchy() {
        let own = "9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/\n2:pids:/x/y\n0::/\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
            36 31 0:33 /x /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let expected = [
            hierarchy("/sys/fs/cgroup/systemd", "name=systemd", "/sys/fs/cgroup/systemd/n", false),
            hierarchy("/sys/fs/cgroup/memory", "memory", "/sys/fs/cgroup/memory/a/b/n", false),
            hierarchy("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/n", false),
            hierarchy("/sys/fs/cgroup/pids", "pids", "/sys/fs/cgroup/pids/y/n", false),
            hierarchy("/sys/fs/cgroup/unified", "", "/sys/fs/cgroup/unified/n", false),
        ];
        assert_eq!(hierarchies(own, mounts, "n"), expected);
    }

    #[test]
    fn version_2_alone_has_its_programs_in_a_leaf() {
        let own = "0::/user.slice/session-1.scope\n";
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = hierarchies(own, mounts, "n");
        assert_eq!(found, [hierarchy("/sys/fs/cgroup", "", "/sys/fs/cgroup/n", true)]);
        assert_eq!(found[0].entry(&found[0].folder), Path::new("/sys/fs/cgroup/n/programs/cgroup.procs"));
        assert_eq!(found[0].file_system(), "cgroup2");
    }
}
