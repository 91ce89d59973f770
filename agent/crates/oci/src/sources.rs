//! Where the sources of bind mounts are opened.

use crate::error::{During, SpawnError};
use crate::holder::Holder;
use crate::mounts::{Kind as MountKind, MountPlan};
use crate::namespaces::Namespaces;
use caps::{CapSet, Capability};
use edgelet_sys::mount::Tree;
use edgelet_sys::namespace::{self, Kind};
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The machine's mounts as a container's own users get them.
///
/// What a mount forbids is locked there: whoever has all rights in the container's user namespace cannot allow it again.
/// The kernel makes such copies for a namespace of less privileged users (mount_namespaces(7), "Restrictions on mount
/// namespaces"), and a copy that the creator makes for itself is none. The creator enters them with its own rights,
/// because a source may be where the container's users cannot go.
#[derive(Debug)]
pub(crate) enum Sources {
    /// The creator's: the container's users are the same, or the creator has no rights over mounts, and the new process
    /// opens its sources by itself.
    Own,
    /// A copy in which everything is locked.
    Locked(OwnedFd),
    /// There is none, for a creator that may not make one.
    Unlocked,
}

impl Sources {
    /// Those for a container with these namespaces and mounts.
    pub(crate) fn of(namespaces: &Namespaces, mounts: &[MountPlan]) -> Result<Self, SpawnError> {
        let has_binds = mounts.iter().any(|mount| matches!(mount.kind, MountKind::Bind { .. }));
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        if !has_binds || !namespaces.has(Kind::User) || !may(Capability::CAP_SYS_ADMIN) {
            return Ok(Self::Own);
        }
        // Whoever is root of a user namespace alone has no rights over the mounts that it is in, nor a way back.
        let own = Detour::begin().during("open own mounts")?;
        if !may(Capability::CAP_SYS_CHROOT) || own.leave().is_err() {
            return Ok(Self::Own);
        }
        // In a chroot nobody makes user namespaces.
        let holder = Holder::start(&[Kind::User, Kind::Mount]);
        Ok(match holder.and_then(|holder| holder.open(Kind::Mount)) {
            Ok(mounts) => Self::Locked(mounts),
            Err(_) => Self::Unlocked,
        })
    }

    /// A copy of what is at `source`, detached.
    pub(crate) fn copy(&self, source: &Path, recursive: bool) -> io::Result<Tree> {
        let mounts = match self {
            Self::Own => return Tree::copy_path(source, recursive),
            Self::Unlocked => return copy_unlocked(source, recursive),
            Self::Locked(mounts) => mounts,
        };
        match copy_in(mounts, source, recursive) {
            // It is reached through the mounts of a process, which a link in /proc leads to, or of the caller.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let found = open_for_reference(source)?;
                let plain = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
                match copy_in(mounts, &plain, recursive) {
                    Ok(tree) if is_same(&tree, &found)? => Ok(tree),
                    // What is mounted below is locked, too: it hides what those users are not to see.
                    _ => copy_unlocked(source, recursive),
                }
            }
            other => other,
        }
    }
}

fn copy_in(mounts: &OwnedFd, source: &Path, recursive: bool) -> io::Result<Tree> {
    // What the calling process has open is in its own mounts.
    if source.starts_with("/proc/self") || source.starts_with("/proc/thread-self") {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // Errors of the way are not those of the source.
    let lost = |error: io::Error| io::Error::other(format!("enter mounts for a user namespace: {error}"));
    let detour = Detour::begin().map_err(lost)?;
    namespace::enter(mounts.as_fd(), Kind::Mount).map_err(lost)?;
    let tree = Tree::copy_path(source, recursive);
    detour.leave().map_err(lost)?;
    tree
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

fn is_same(tree: &Tree, found: &File) -> io::Result<bool> {
    let identity = |fd: i32| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    Ok(identity(tree.as_fd().as_raw_fd())? == identity(found.as_raw_fd())?)
}

fn open_for_reference(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)
}

/// The way back from other mounts: whoever enters them stands in their root.
struct Detour {
    mounts: OwnedFd,
    root: File,
    directory: File,
}

impl Detour {
    fn begin() -> io::Result<Self> {
        let mounts = namespace::open(Path::new("/proc/self/ns/mnt"), Kind::Mount)?;
        Ok(Self { mounts, root: open_for_reference("/")?, directory: open_for_reference(".")? })
    }

    fn leave(self) -> io::Result<()> {
        namespace::enter(self.mounts.as_fd(), Kind::Mount)?;
        nix::unistd::fchdir(self.root.as_raw_fd())?;
        nix::unistd::chroot(".")?;
        Ok(nix::unistd::fchdir(self.directory.as_raw_fd())?)
    }
}
