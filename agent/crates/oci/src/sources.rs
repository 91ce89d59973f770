//! Where the sources of bind mounts are opened.

use crate::error::{During, SpawnError};
use crate::holder::Holder;
use crate::mounts::{Kind as Mounted, MountPlan};
use crate::namespaces::Namespaces;
use caps::{CapSet, Capability};
use edgelet_sys::mount::Tree;
use edgelet_sys::namespace::{self, Kind};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// The machine's mounts as a container's own users get them.
///
/// What a mount forbids is locked there: whoever has all rights in the container's user namespace cannot allow it again.
/// The kernel makes such copies for a namespace of less privileged users (mount_namespaces(7), "Restrictions on mount
/// namespaces"), and a copy that the creator makes for itself is none. The creator enters them with its own rights,
/// because a source may be where the container's users cannot go.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// `None` where the container's users are the creator's.
    locked: Option<OwnedFd>,
}

impl Sources {
    /// Those for a container with these namespaces and mounts. For a creator without rights over mounts there are none:
    /// the new process opens its sources by itself.
    pub(crate) fn of(namespaces: &Namespaces, mounts: &[MountPlan]) -> Result<Self, SpawnError> {
        let has_binds = mounts.iter().any(|mount| matches!(mount.kind, Mounted::Bind { .. }));
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let may_enter = may(Capability::CAP_SYS_ADMIN) && may(Capability::CAP_SYS_CHROOT);
        if !has_binds || !namespaces.has(Kind::User) || !may_enter {
            return Ok(Self::default());
        }
        let holder = Holder::start(&[Kind::User, Kind::Mount]);
        let locked = holder.and_then(|holder| holder.open(Kind::Mount));
        Ok(Self { locked: Some(locked.during("copy mounts for a user namespace")?) })
    }

    /// A copy of what is at `source`, detached.
    pub(crate) fn copy(&self, source: &Path, recursive: bool) -> io::Result<Tree> {
        let Some(mounts) = &self.locked else { return Tree::copy_path(source, recursive) };
        // What the calling process has open is in its own mounts.
        if source.starts_with("/proc/self") || source.starts_with("/proc/thread-self") {
            return copy_unlocked(source, recursive);
        }
        let detour = Detour::enter(mounts)?;
        let tree = Tree::copy_path(source, recursive);
        detour.leave()?;
        match tree {
            // What is mounted below is locked, too: it hides what those users are not to see.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !recursive => {
                copy_unlocked(source, recursive)
            }
            other => other,
        }
    }
}

/// A copy of what has nothing to be locked.
fn copy_unlocked(source: &Path, recursive: bool) -> io::Result<Tree> {
    let tree = Tree::copy_path(source, recursive)?;
    let forbidding = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
    match fstatvfs(&tree)?.flags().intersects(forbidding) {
        true => Err(io::Error::other(
            "the container's users could lift what its mount forbids; bind a path of its own, with all below it (rbind)",
        )),
        false => Ok(tree),
    }
}

/// The way back from other mounts: whoever enters them stands in their root.
struct Detour {
    mounts: OwnedFd,
    root: File,
    directory: File,
}

impl Detour {
    fn enter(mounts: &OwnedFd) -> io::Result<Self> {
        let own = namespace::open(Path::new("/proc/self/ns/mnt"), Kind::Mount)?;
        let detour = Self { mounts: own, root: File::open("/")?, directory: File::open(".")? };
        let root = fs::read_link("/proc/self/root")?;
        namespace::enter(mounts.as_fd(), Kind::Mount)?;
        // Names begin where they began.
        match nix::unistd::chroot(&root) {
            Ok(()) => Ok(detour),
            Err(error) => detour.leave().and(Err(error.into())),
        }
    }

    fn leave(self) -> io::Result<()> {
        namespace::enter(self.mounts.as_fd(), Kind::Mount)?;
        nix::unistd::fchdir(self.root.as_raw_fd())?;
        nix::unistd::chroot(".")?;
        Ok(nix::unistd::fchdir(self.directory.as_raw_fd())?)
    }
}
