//! A container's root file system: the image's layers with a writable one on top, by overlayfs.

use crate::store::ImageStore;
use edgelet_sys::fsinfo::FsInfo;
use edgelet_sys::mount::Tree;
use edgelet_sys::place::{open_anchor, proc_path};
use edgelet_sys::root::RootDir;
use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, Fault, Reason};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a root file system could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// A layer of the image is not there. Somebody removed it behind our back; pulling the image again
    /// brings it back.
    #[error("layer {digest}")]
    Layer {
        /// Which one, by its unpacked content.
        digest: Digest,
        /// Why it cannot be opened.
        #[source]
        source: io::Error,
    },
    /// The container's own directories could not be made.
    #[error("{path:?}")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The data file system cannot show other owners than it has.
    #[error("map owners of files on the data file system")]
    Owners {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("mount overlay at {target:?}")]
    Mount {
        /// Where.
        target: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to take it away.
    #[error("unmount {target:?}")]
    Unmount {
        /// Where.
        target: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl From<MountError> for Fault {
    fn from(error: MountError) -> Fault {
        let reason = match &error {
            MountError::Directory { source, .. } => Reason::of_storage(source, Reason::Storage),
            MountError::Layer { .. } => Reason::Storage,
            // The kernel makes directories of its own for an overlay.
            MountError::Owners { source }
            | MountError::Mount { source, .. }
            | MountError::Unmount { source, .. } => Reason::of_storage(source, Reason::CreateFailed),
        };
        Fault::chain(reason, &error)
    }
}

impl ImageStore {
    /// Mounts `image` at `target`, an existing directory. What the container writes goes to `scratch/upper`,
    /// on the data file system; `scratch` is made if it is missing, and what is in it from before is seen
    /// again.
    ///
    /// Options, and why: `index=off` because layers are shared by many mounts and no file handles are
    /// exported; `metacopy=off` and `redirect_dir=off` because both make overlayfs follow attributes in
    /// layers, which is only safe when nobody else could have written them, and because an upper directory
    /// without them stays readable by other means. All three are named, since kernels differ in defaults.
    pub fn mount(
        &self,
        image: &ImageRecord,
        scratch: &Path,
        target: &Path,
        access: Access<'_>,
    ) -> Result<(), MountError> {
        let Access { read_only, users } = access;
        let mut lower = self.open_layers(image)?;
        let dirs = Scratch::open(scratch, lower.first(), users.map_or(0, |users| users.first))?;
        if let Some(users) = users {
            let mapped: io::Result<_> =
                lower.iter().map(|layer| map_owners(layer, users.namespace)).collect();
            lower = mapped.map_err(|source| MountError::Owners { source })?;
        }
        let mount = |source: io::Error| MountError::Mount { target: target.to_owned(), source };
        let anchor = open_anchor(target).map_err(mount)?;
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        let options = options(&lower, &dirs);
        let at = proc_path(anchor.as_fd());
        nix::mount::mount(Some("overlay"), at.as_str(), Some("overlay"), flags, Some(options.as_str()))
            .map_err(|error| mount(refused(error, users.is_some())))?;
        if !read_only && is_read_only(target).map_err(mount)? {
            // What is wrong with the scratch is the failure to tell.
            let _ = unmount(target);
            return Err(dirs.why_unwritable(scratch, target));
        }
        Ok(())
    }

    /// The layers from the top down, each once: overlayfs does not take a directory twice, and all that a
    /// lower occurrence could show, the higher one shows over it.
    fn open_layers(&self, image: &ImageRecord) -> Result<Vec<OwnedFd>, MountError> {
        let mut seen = BTreeSet::new();
        let distinct = image.layers.iter().rev().filter(|layer| seen.insert(layer.diff_id));
        distinct
            .map(|layer| {
                let digest = layer.diff_id;
                open_anchor(&self.layout.layer(&digest))
                    .map_err(|source| MountError::Layer { digest, source })
            })
            .collect()
    }
}

/// What is mounted for whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access<'a> {
    /// The mount takes no writes.
    pub read_only: bool,
    /// Who owns the files, where these are not those who own them in the image.
    pub users: Option<Users<'a>>,
}

/// Owners of files that are not those on disk.
#[derive(Debug, Clone, Copy)]
pub struct Users<'a> {
    /// Their user namespace. An overlay on layers that show its users takes Linux 6.15.
    pub namespace: BorrowedFd<'a>,
    /// Who stands for user and group 0 of the image. What is written belongs on disk to those, because the kernel
    /// makes files of its own beside them and is none of the users.
    pub first: u32,
}

/// An overlay on mounts that show other owners, and are in no namespace, is a thing of newer kernels.
fn refused(error: Errno, has_users: bool) -> io::Error {
    match error {
        Errno::EINVAL if has_users => io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel refuses mapped owners; Linux 6.15 does not",
        ),
        error => error.into(),
    }
}

/// The same directory in a mount by itself that shows other owners.
fn map_owners(directory: &OwnedFd, users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let tree = Tree::copy_fd(directory.as_fd(), false)?;
    tree.set_id_map(users, false)?;
    Ok(tree.into())
}

/// Takes the mount at `target` away, at once for new users and for the rest when they are done. Nothing
/// mounted there, or nothing there, is fine.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    match nix::mount::umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(MountError::Unmount { target: target.to_owned(), source: error.into() }),
    }
}

/// The directories of one container.
struct Scratch {
    upper: OwnedFd,
    work: OwnedFd,
    /// Stands in for the layers of an image that has none.
    empty: OwnedFd,
}

impl Scratch {
    fn open(path: &Path, top_layer: Option<&OwnedFd>, first_id: u32) -> Result<Self, MountError> {
        let bad = |source| MountError::Directory { path: path.to_owned(), source };
        let make = || -> io::Result<Scratch> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            let root = RootDir::open(path)?;
            let upper = root.place("upper")?;
            if upper.stat()?.is_none() {
                upper.mkdir(0o755)?;
                // The upper directory is what the container sees as its root, owner and mode included.
                let (mode, uid, gid) = attributes(top_layer)?;
                upper.set_owner(first_id.saturating_add(uid), first_id.saturating_add(gid))?;
                upper.set_mode(mode)?;
            }
            let open = |name: &str| -> io::Result<OwnedFd> { Ok(root.mkdir_all(name, 0o700)?.into()) };
            Ok(Scratch { upper: open("upper")?, work: open("work")?, empty: open("empty")? })
        };
        make().map_err(bad)
    }

    /// Finds the cause that the kernel did not say, by doing what it failed to do.
    fn why_unwritable(&self, path: &Path, target: &Path) -> MountError {
        let probe =
            || RootDir::from_fd(self.work.try_clone()?)?.place("probe").map(|probe| (probe.mkdir(0), probe));
        match probe() {
            Err(source) | Ok((Err(source), _)) => MountError::Directory { path: path.to_owned(), source },
            Ok((Ok(()), probe)) => {
                // Whatever it was has passed; a directory that stays here goes with the scratch.
                let _ = probe.remove_all();
                let source = io::ErrorKind::ReadOnlyFilesystem.into();
                MountError::Mount { target: target.to_owned(), source }
            }
        }
    }
}

/// The kernel mounts an overlay read-only, and says so in its log only, when it cannot prepare the work
/// directory: for want of space, or of inodes.
fn is_read_only(target: &Path) -> io::Result<bool> {
    Ok(FsInfo::of(open_anchor(target)?)?.read_only)
}

fn attributes(layer: Option<&OwnedFd>) -> io::Result<(u32, u32, u32)> {
    let Some(layer) = layer else { return Ok((0o755, 0, 0)) };
    let meta = File::from(layer.try_clone()?).metadata()?;
    Ok((meta.mode() & 0o7777, meta.uid(), meta.gid()))
}

/// Directories are named by descriptor: no name has to be escaped, none can change meaning between look and
/// use, and 127 of them fit into the one page that mount(2) takes.
fn options(lower: &[OwnedFd], scratch: &Scratch) -> String {
    let lower = if lower.is_empty() { std::slice::from_ref(&scratch.empty) } else { lower };
    let lower: Vec<String> = lower.iter().map(|layer| proc_path(layer.as_fd())).collect();
    let (upper, work) = (proc_path(scratch.upper.as_fd()), proc_path(scratch.work.as_fd()));
    let lower = lower.join(":");
    format!("lowerdir={lower},upperdir={upper},workdir={work},index=off,metacopy=off,redirect_dir=off")
}
