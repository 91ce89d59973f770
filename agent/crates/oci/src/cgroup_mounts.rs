//! What a container sees of the cgroup trees, where its configuration mounts them.

use crate::cgroup::{Cgroup, Hierarchy, hierarchies, is_unified};
use edgelet_sys::mount::{Attributes, NewFilesystem, Tree};
use edgelet_sys::root::RootDir;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The trees and the place in them that a container may see.
#[derive(Debug)]
pub(crate) struct View {
    cgroup: Cgroup,
    hierarchies: Vec<Hierarchy>,
    unified: bool,
    /// With a namespace of its own the kernel shows the right part; without one only that part of the
    /// host's trees is mounted.
    own_namespace: bool,
}

impl View {
    /// To be made while the host's trees are still in sight.
    pub(crate) fn new(cgroup: Cgroup, own_namespace: bool) -> io::Result<Self> {
        Ok(Self { cgroup, hierarchies: hierarchies()?, unified: is_unified(), own_namespace })
    }

    /// Mounts the trees on a directory: the one of version 2, or a directory with one per version 1 tree.
    pub(crate) fn mount(&self, target: RootDir, attributes: Attributes) -> io::Result<()> {
        if self.unified {
            let tree = self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.is_empty());
            let tree = tree.ok_or_else(|| io::Error::other("no cgroup2 tree is mounted"))?;
            return self.tree(tree)?.attach_with(target.as_fd(), attributes, false);
        }
        let directory = NewFilesystem::open("tmpfs")?;
        directory.set("mode", Some("755"))?;
        let directory =
            directory.mount(Attributes { set: attributes.set & !edgelet_sys::mount::READ_ONLY, clear: 0 })?;
        directory.attach(target.as_fd())?;
        let root = RootDir::from_fd(directory.as_fd().try_clone_to_owned()?)?;
        let version_1 = self.hierarchies.iter().filter(|hierarchy| !hierarchy.controllers.is_empty());
        // In a tree where it has no group it would see the host's whole tree.
        for hierarchy in version_1.filter(|hierarchy| self.group(hierarchy).is_dir()) {
            let name = hierarchy.controllers.trim_start_matches("name=");
            let inside = root.mkdir_all(name, 0o755)?;
            self.tree(hierarchy)?.attach_with(inside.as_fd(), attributes, false)?;
            for alias in name.split(',').filter(|alias| *alias != name) {
                root.place(alias)?.symlink(name)?;
            }
        }
        directory.change(attributes, false)
    }

    fn tree(&self, hierarchy: &Hierarchy) -> io::Result<Tree> {
        if self.own_namespace {
            let version = if hierarchy.controllers.is_empty() { "cgroup2" } else { "cgroup" };
            let new = NewFilesystem::open(version)?;
            for option in hierarchy.controllers.split(',').filter(|option| !option.is_empty()) {
                match option.split_once('=') {
                    Some((key, value)) => new.set(key, Some(value))?,
                    None => new.set(option, None)?,
                }
            }
            return new.mount(Attributes::default());
        }
        Tree::copy_path(&self.group(hierarchy), true)
    }

    fn group(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mount_point.join(self.cgroup.path().strip_prefix("/").unwrap_or(Path::new("")))
    }
}
