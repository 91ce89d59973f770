//! Paths that the program must not see or not change (OCI runtime-spec 1.3, config-linux.md,
//! "Masked Paths" and "Readonly Paths"). A path that does not exist needs no protection.

use crate::rootfs::{is_root, kind_of};
use edgelet_sys::mount::{Attributes, NewFilesystem, READ_ONLY, Tree};
use edgelet_sys::root::RootDir;
use nix::fcntl::OFlag;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Covers paths, with little work for each.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    /// The directory that covers directories, once there was one to cover. It is attached by then, so it can be
    /// copied.
    empty: Option<Tree>,
}

impl Masks {
    /// Covers a file with the container's null device and a directory with an empty one.
    pub(crate) fn mask(&mut self, root: &RootDir, path: &Path) -> io::Result<()> {
        let Some(target) = find(root, path)? else { return Ok(()) };
        if is_root(root, target.as_fd())? {
            return Err(io::Error::other("the root itself cannot be masked"));
        }
        if kind_of(target.as_fd())? != libc::S_IFDIR {
            return Tree::copy_fd(null_device(root)?.as_fd(), false)?.attach(target.as_fd());
        }
        match &self.empty {
            Some(empty) => Tree::copy_fd(empty.as_fd(), false)?.attach(target.as_fd()),
            None => self.empty.insert(empty_directory()?).attach(target.as_fd()),
        }
    }
}

fn empty_directory() -> io::Result<Tree> {
    let empty = NewFilesystem::open("tmpfs")?;
    empty.set("size", Some("0"))?;
    empty.mount(Attributes::setting(READ_ONLY))
}

/// Forbids writes to what is at a path, by a read-only mount of it over itself. False for the root, over which nothing
/// can be mounted: whoever looks for a path begins below.
pub(crate) fn make_read_only(root: &RootDir, path: &Path) -> io::Result<bool> {
    let Some(target) = find(root, path)? else { return Ok(true) };
    if is_root(root, target.as_fd())? {
        return Ok(false);
    }
    let tree = Tree::copy_fd(target.as_fd(), true)?;
    tree.attach_with(target.as_fd(), Attributes::setting(READ_ONLY), false).map(|()| true)
}

fn find(root: &RootDir, path: &Path) -> io::Result<Option<OwnedFd>> {
    match root.open_at(path, OFlag::O_PATH, 0) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The container's `/dev/null`, after making sure that it is one: a link there would make the mask
/// show a file of the attacker's choice (CVE-2025-31133).
fn null_device(root: &RootDir) -> io::Result<OwnedFd> {
    let null = root.open_path("dev/null")?;
    let stat = nix::sys::stat::fstat(null.as_raw_fd())?;
    match stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3) {
        true => Ok(null),
        false => Err(io::Error::other("the container's /dev/null is not the null device")),
    }
}
