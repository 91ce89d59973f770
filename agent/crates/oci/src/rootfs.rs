//! The root file system: mounted, furnished and entered. Everything below it is reached through
//! descriptors, because whoever made the image chose every name in it.

use crate::config::Config;
use crate::error::{During, SpawnError};
use crate::masks::{self, Masks};
use crate::{cgroup, devices, mounts};
use edgelet_sys::mount::{self, Attributes, Propagation, Tree};
use edgelet_sys::namespace::Kind;
use edgelet_sys::new_root;
use edgelet_sys::root::RootDir;
use nix::fcntl::OFlag;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The root of a container that is being furnished, mounted but not yet entered.
#[derive(Debug)]
pub(crate) struct Rootfs {
    /// None where mounts are the host's own, and are left as they are.
    tree: Option<Tree>,
    /// The same directory, to resolve paths from.
    root: RootDir,
}

/// How a process comes into its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// The old root goes away.
    Pivot,
    /// The old root, in which the new one is at this path, stays below: where it cannot go away.
    Move(PathBuf),
}

impl Rootfs {
    /// Mounts the root over itself, with everything the configuration lists and the device nodes.
    /// The calling process is in the container's namespaces, and still sees the host's files; `prepared` is, for
    /// each of the mounts, what the creator opened, and `devices` what it made. Without a mount namespace nothing is
    /// mounted: the host would have it, too.
    pub(crate) fn furnish(
        config: &Config,
        cgroup: &cgroup::View,
        prepared: Vec<Option<Tree>>,
        devices: Option<Tree>,
    ) -> Result<Self, SpawnError> {
        if !config.namespaces.has(Kind::Mount) {
            log::warn!("nothing is mounted without a mount namespace: the container has what is in its root");
            let root = RootDir::open(&config.root).during(format!("open root {}", config.root.display()))?;
            return Ok(Self { tree: None, root });
        }
        // Nothing that is mounted here may travel to the host; what the host unmounts must go away here.
        mount::set_propagation(Path::new("/"), Propagation::Slave, true)
            .during("separate mounts from the host")?;
        let step = || format!("mount root {}", config.root.display());
        let path = match config.namespaces.begin_in_root() {
            true => PathBuf::from("."),
            // Links on the way to the root are the configuration's, which is trusted.
            false => config.root.canonicalize().during(step())?,
        };
        let below = RootDir::open(&path).during(step())?;
        let tree = Tree::copy_fd(below.as_fd(), true).during(step())?;
        tree.attach(below.as_fd()).during(step())?;
        let root = tree.as_fd().try_clone_to_owned().and_then(reopened).during(step())?;
        let mut mounted = mounts::Mounted::new();
        for (mount, prepared) in config.mounts.iter().zip(prepared) {
            mount.carry_out(&root, cgroup, prepared.as_ref(), &mut mounted)?;
        }
        if !config.mounts.iter().any(mounts::MountPlan::brings_host_devices) {
            devices::make(&root, config, devices)?;
        }
        root.mkdir_all(&config.program.cwd, 0o755)
            .during(format!("make {}", config.program.cwd.display()))?;
        Ok(Self { tree: Some(tree), root })
    }

    /// Whether something can be mounted in it.
    pub(crate) fn takes_mounts(&self) -> bool {
        self.tree.is_some()
    }

    /// The root directory.
    pub(crate) fn dir(&self) -> &RootDir {
        &self.root
    }

    /// Covers and locks what the configuration names, and the root itself.
    pub(crate) fn protect(&self, config: &Config) -> Result<(), SpawnError> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let mut read_only = config.read_only();
        for path in config.linux.readonly_paths.iter().flatten() {
            let made = masks::make_read_only(&self.root, Path::new(path));
            read_only |= !made.during(format!("make {path} read-only"))?;
        }
        let mut masks = Masks::default();
        for path in config.linux.masked_paths.iter().flatten() {
            masks.mask(&self.root, Path::new(path)).during(format!("mask {path}"))?;
        }
        if read_only {
            let attributes = Attributes::setting(mount::READ_ONLY);
            tree.change(attributes, false).during("make root read-only")?;
        }
        Ok(())
    }

    /// Makes it the root of the calling process and of its mount namespace.
    pub(crate) fn enter(self, way: &Way, propagation: Option<(Propagation, bool)>) -> Result<(), SpawnError> {
        if self.tree.is_none() {
            return new_root::change_to(self.root.as_fd()).during("change root");
        }
        match way {
            Way::Pivot => new_root::pivot_to(self.root.as_fd()).during("pivot to root")?,
            Way::Move(path) => {
                new_root::move_over_root(self.root.as_fd(), path).during("move root over the host's")?;
            }
        }
        match propagation {
            Some((propagation, all)) => {
                mount::set_propagation(Path::new("/"), propagation, all).during("set root propagation")
            }
            None => Ok(()),
        }
    }
}

/// The descriptor of a mount is for reference only; this one can be read from.
fn reopened(fd: OwnedFd) -> io::Result<RootDir> {
    RootDir::from_fd(fd)?.open_dir(".")
}

/// Whether this is the root itself, and not another mount of the same directory.
pub(crate) fn is_root(root: &RootDir, found: BorrowedFd<'_>) -> io::Result<bool> {
    let identity = |fd: BorrowedFd<'_>| {
        let stat = nix::sys::stat::fstat(fd.as_raw_fd())?;
        Ok::<_, io::Error>((mount::id(fd)?, stat.st_dev, stat.st_ino))
    };
    Ok(identity(root.as_fd())? == identity(found)?)
}

/// The type of what is open, as `S_IFMT` bits.
pub(crate) fn kind_of(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(nix::sys::stat::fstat(fd.as_raw_fd())?.st_mode & libc::S_IFMT)
}

/// Something at `path` that a file can be mounted on, made if nothing is there; for reference only.
pub(crate) fn file_at(root: &RootDir, path: &Path) -> io::Result<OwnedFd> {
    match root.open_at(path, OFlag::O_PATH, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if let Some(parent) = path.parent() {
        root.mkdir_all(parent, 0o755)?;
    }
    // Without O_EXCL, so that a link whose target is missing leads to a new file inside.
    root.open_at(path, OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NONBLOCK, 0o644)?;
    root.open_at(path, OFlag::O_PATH, 0)
}
