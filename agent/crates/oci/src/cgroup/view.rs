//! What a container sees of the cgroup trees, where its configuration mounts them.

use super::Cgroup;
use super::trees::{Tree as CgroupTree, Version};
use edgelet_sys::mount::{Attributes, NewFilesystem, Tree};
use edgelet_sys::root::RootDir;
use std::io;
use std::os::fd::AsFd;

/// The trees and the place in them that a container may see.
#[derive(Debug)]
pub(crate) struct View {
    cgroup: Cgroup,
    /// With a namespace of its own the kernel shows the right part; without one only that part of the
    /// host's trees is mounted.
    own_namespace: bool,
}

impl View {
    /// To be made while the host's trees are still in sight.
    pub(crate) fn new(cgroup: Cgroup, own_namespace: bool) -> Self {
        Self { cgroup, own_namespace }
    }

    /// Mounts the trees on a directory: the one of version 2, or a directory with one per version 1 tree.
    pub(crate) fn mount(&self, target: RootDir, attributes: Attributes) -> io::Result<()> {
        let trees = &self.cgroup.trees;
        if let Some(unified) = trees.unified().filter(|_| trees.is_unified()) {
            return self.tree(unified)?.attach_with(target.as_fd(), attributes, false);
        }
        let directory = NewFilesystem::open("tmpfs")?;
        directory.set("mode", Some("755"))?;
        let directory =
            directory.mount(Attributes { set: attributes.set & !edgelet_sys::mount::READ_ONLY, clear: 0 })?;
        directory.attach(target.as_fd())?;
        let root = RootDir::from_fd(directory.as_fd().try_clone_to_owned()?)?;
        for tree in trees.iter().filter(|tree| tree.version() == Version::One) {
            let name = tree.controllers.trim_start_matches("name=");
            let inside = root.mkdir_all(name, 0o755)?;
            self.tree(tree)?.attach_with(inside.as_fd(), attributes, false)?;
            for alias in name.split(',').filter(|alias| *alias != name) {
                root.place(alias)?.symlink(name)?;
            }
        }
        directory.change(attributes, false)
    }

    fn tree(&self, tree: &CgroupTree) -> io::Result<Tree> {
        if !self.own_namespace {
            return Tree::copy_path(&tree.directory(&self.cgroup.path), true);
        }
        let new = NewFilesystem::open(match tree.version() {
            Version::One => "cgroup",
            Version::Two => "cgroup2",
        })?;
        for option in tree.names() {
            match option.split_once('=') {
                Some((key, value)) => new.set(key, Some(value))?,
                None => new.set(option, None)?,
            }
        }
        new.mount(Attributes::default())
    }
}
