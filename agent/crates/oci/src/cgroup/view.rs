//! What a container sees of the cgroup trees, where its configuration mounts them.

use super::trees::{Tree as CgroupTree, Trees, Version};
use super::{Cgroup, failed, find_trees};
use crate::error::SpawnError;
use edgelet_sys::mount::{Attributes, NewFilesystem, READ_ONLY, Tree};
use edgelet_sys::root::RootDir;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The trees and the place in them that a container may see.
#[derive(Debug)]
pub(crate) struct View {
    trees: Trees,
    part: Part,
}

/// What of the trees it is.
#[derive(Debug)]
enum Part {
    /// The container's, which the kernel shows in a namespace.
    OfNamespace,
    /// Only this one of the host's.
    Group(PathBuf),
    /// The host's, to be looked at only: the container has none.
    All,
}

impl View {
    /// To be made while the host's trees are still in sight.
    pub(crate) fn new(cgroup: &Cgroup, own_namespace: bool) -> Result<Self, SpawnError> {
        let part = match own_namespace {
            true => Part::OfNamespace,
            false if cgroup.has_groups() => Part::Group(cgroup.path.clone()),
            false => Part::All,
        };
        let trees = match cgroup.has_groups() {
            true => cgroup.trees.clone(),
            false => find_trees().map_err(failed)?,
        };
        Ok(Self { trees, part })
    }

    /// Mounts the trees on a directory: the one of version 2, or a directory with one per version 1 tree.
    pub(crate) fn mount(&self, target: RootDir, attributes: Attributes) -> io::Result<()> {
        let trees = &self.trees;
        let attributes = match self.part {
            Part::All => Attributes { set: attributes.set | READ_ONLY, ..attributes },
            _ => attributes,
        };
        if let Some(unified) = trees.unified().filter(|_| trees.is_unified()) {
            return self.tree(unified)?.attach_with(target.as_fd(), attributes, false);
        }
        let directory = NewFilesystem::open("tmpfs")?;
        directory.set("mode", Some("755"))?;
        let directory = directory.mount(Attributes { set: attributes.set & !READ_ONLY, clear: 0 })?;
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
        match &self.part {
            Part::OfNamespace => {}
            Part::Group(path) => return Tree::copy_path(&tree.directory(path), true),
            Part::All => return Tree::copy_path(&tree.mount_point, true),
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
