//! The cgroup trees of this machine, and which of them has a controller (cgroups(7)).

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, Statfs, statfs};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every tree that the calling process can see: one of version 2, some of version 1, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trees(Vec<Tree>);

/// A mounted tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) mount_point: PathBuf,
    /// The controllers or the name of a version 1 tree, with commas, as in `/proc/PID/cgroup`; empty for
    /// version 2.
    pub(crate) controllers: String,
}

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Where every distribution mounts them.
const ROOT: &str = "/sys/fs/cgroup";

impl Trees {
    /// Looks where the trees are mounted.
    pub(crate) fn find() -> io::Result<Self> {
        // The table of mounts is long on a machine with many containers, and tells nothing more here.
        if statfs(ROOT).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC) {
            let unified = Tree { mount_point: PathBuf::from(ROOT), controllers: String::new() };
            return Ok(Self(vec![unified]));
        }
        let is_group =
            |found: Statfs| [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&found.filesystem_type());
        // A mount may be covered by another one.
        let mut trees = parse(&fs::read_to_string("/proc/self/mountinfo")?);
        trees.retain(|tree| statfs(&tree.mount_point).is_ok_and(is_group));
        Ok(Self::each_once(trees))
    }

    /// A later mount of the same tree elsewhere is the same tree.
    fn each_once(mut trees: Vec<Tree>) -> Self {
        let mut seen = BTreeSet::new();
        trees.retain(|tree| seen.insert(tree.controllers.clone()));
        Self(trees)
    }

    /// In the order in which they were mounted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tree> {
        self.0.iter()
    }

    /// The tree of version 2.
    pub(crate) fn unified(&self) -> Option<&Tree> {
        self.iter().find(|tree| tree.version() == Version::Two)
    }

    /// Whether there is no other version.
    pub(crate) fn is_unified(&self) -> bool {
        !self.0.is_empty() && self.iter().all(|tree| tree.version() == Version::Two)
    }

    /// The tree that has a controller: the kernel gives each to one tree only.
    pub(crate) fn with(&self, controller: &str) -> Option<&Tree> {
        let version_1 = self.iter().find(|tree| tree.names().any(|name| name == controller));
        version_1.or_else(|| self.unified().filter(|tree| tree.offers(controller)))
    }
}

impl Tree {
    pub(crate) fn version(&self) -> Version {
        match self.controllers.is_empty() {
            true => Version::Two,
            false => Version::One,
        }
    }

    /// The controllers of a tree of version 1, each by itself.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.controllers.split(',').filter(|name| !name.is_empty())
    }

    /// The directory of a group, whose path begins with a slash.
    pub(crate) fn directory(&self, group: &Path) -> PathBuf {
        self.mount_point.join(group.strip_prefix("/").unwrap_or(group))
    }

    /// Whether version 2 has the controller at its root.
    fn offers(&self, controller: &str) -> bool {
        let offered = fs::read_to_string(self.mount_point.join("cgroup.controllers")).unwrap_or_default();
        // What belongs to no controller (`cgroup.max.depth`) is there for every group.
        controller == "cgroup" || offered.split_whitespace().any(|name| name == controller)
    }
}

/// Which cgroup version this machine has: `v1`, `v2` or `hybrid`; `None` when none is mounted.
pub fn mode() -> Option<&'static str> {
    let trees = Trees::find().ok()?;
    match (trees.unified().is_some(), trees.iter().any(|tree| tree.version() == Version::One)) {
        (true, false) => Some("v2"),
        (false, true) => Some("v1"),
        (true, true) => Some("hybrid"),
        (false, false) => None,
    }
}

/// proc(5), mountinfo: fields up to a lone dash, then type, source and options of the file system.
fn parse(mountinfo: &str) -> Vec<Tree> {
    const NOT_CONTROLLERS: &[&str] =
        &["rw", "ro", "seclabel", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"];
    let mut found: Vec<Tree> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, system)) = line.split_once(" - ") else { continue };
        let (Some(mount_point), mut system) = (mount.split(' ').nth(4), system.split(' ')) else { continue };
        let kind = system.next();
        let options = system.nth(1).unwrap_or_default();
        let controllers = match kind {
            Some("cgroup2") => String::new(),
            Some("cgroup") => {
                let is_controller =
                    |word: &&str| !NOT_CONTROLLERS.contains(word) && !word.starts_with("release_agent");
                options.split(',').filter(is_controller).collect::<Vec<_>>().join(",")
            }
            _ => continue,
        };
        found.push(Tree { mount_point: PathBuf::from(mount_point), controllers });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tree_is_found_once_and_knows_its_controllers() {
        let trees = Trees::each_once(parse(
            "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,seclabel,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
50 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct
",
        ));
        let controllers: Vec<_> = trees.iter().map(|tree| tree.controllers.as_str()).collect();
        assert_eq!(controllers, ["cpu,cpuacct", "name=systemd", ""]);
        let of = |controller| trees.with(controller).map(|tree| tree.mount_point.as_path());
        assert_eq!(of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(of("memory"), None);
        assert!(!trees.is_unified() && trees.unified().is_some());
    }
}
