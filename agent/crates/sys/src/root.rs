//! A directory that paths from strangers cannot leave.
//!
//! A container's root is hostile: any name in it may be a symbolic link, and may become one while we
//! look. So there are no string paths into a root file system. A path is resolved by the kernel
//! against a descriptor (`openat2`, Linux 5.6), and what was opened is used through its descriptor.

use crate::place::{Place, with_large_files};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// A directory below which everything is resolved. The default is chroot-like: `/`, `..` and the
/// targets of symbolic links all mean something inside ([`Resolve::InRoot`]).
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
}

/// How names are followed below a [`RootDir`]. Magic links (`/proc/*/fd/*`) are never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// As if chrooted: absolute links and `..` stay inside.
    InRoot,
    /// Links are followed, but one that points outside is an error (`EXDEV`).
    Beneath,
    /// Any symbolic link on the way is an error (`ELOOP`).
    NoSymlinks,
}

impl RootDir {
    /// Opens a directory of ours. The path is trusted except for its last component, which must be
    /// a directory and not a link to one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())?;
        // SAFETY: `open` just returned this descriptor, and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Takes an open directory as root; `ENOTDIR` when it is something else.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        match File::from(fd.try_clone()?).metadata()?.is_dir() {
            true => Ok(Self { fd }),
            false => Err(Errno::ENOTDIR.into()),
        }
    }

    /// A second handle on the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Opens `path` chroot-like. `O_CLOEXEC` is always added; `mode` counts with `O_CREAT` only.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlag, mode: u32) -> io::Result<OwnedFd> {
        self.open_with(path, flags, mode, Resolve::InRoot)
    }

    /// Opens `path` with a choice of how links are followed. Retries while the kernel cannot decide
    /// whether a concurrent rename led outside (`EAGAIN`), a bounded number of times.
    pub fn open_with(
        &self,
        path: impl AsRef<Path>,
        flags: OFlag,
        mode: u32,
        resolve: Resolve,
    ) -> io::Result<OwnedFd> {
        let path = match path.as_ref().as_os_str().is_empty() {
            true => Path::new("."),
            false => path.as_ref(),
        };
        let mode = match flags.intersects(OFlag::O_CREAT | OFlag::O_TMPFILE) {
            true => Mode::from_bits_truncate(mode),
            false => Mode::empty(),
        };
        let how = OpenHow::new()
            .flags(with_large_files(flags) | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(resolve.flags() | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut attempts = 0;
        loop {
            match openat2(self.fd.as_raw_fd(), path, how) {
                // SAFETY: `openat2` just returned this descriptor, and nobody else has it.
                Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
                Err(Errno::EAGAIN | Errno::EINTR) if attempts < RETRIES => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens a directory below as a root of its own.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> io::Result<RootDir> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        Ok(Self { fd: self.open_at(path, flags, 0)? })
    }

    /// Opens a file for reading, following links inside.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        Ok(File::from(self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, 0)?))
    }

    /// Opens `path` for reference only (`O_PATH`), the last component not followed.
    pub fn open_path(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)
    }

    /// The place that `path` names: its parent directory, resolved and open, and its last component,
    /// not looked at. The parent must exist. `EINVAL` for a path that ends in `..` or names the root.
    pub fn place(&self, path: impl AsRef<Path>) -> io::Result<Place> {
        let path = path.as_ref();
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => c_string(name)?,
            _ => return Err(Errno::EINVAL.into()),
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        Ok(Place::new(self.open_at(parent, flags, 0)?, name))
    }

    /// The root directory itself as a place, to change its owner, mode, times and attributes.
    pub fn itself(&self) -> io::Result<Place> {
        Ok(Place::new(self.fd.try_clone()?, c".".to_owned()))
    }

    /// Makes `path` and what is missing above it, and opens it. Existing directories keep their mode;
    /// links on the way are followed inside. `ENOTDIR` when something else is in the way.
    ///
    /// `..` is resolved step by step and so stays inside as well.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<RootDir> {
        let path = path.as_ref();
        if let Ok(found) = self.open_dir(path) {
            return Ok(found);
        }
        let mut made = std::path::PathBuf::from(".");
        for component in path.components() {
            match component {
                Component::Normal(name) => made.push(name),
                Component::ParentDir => {
                    made.push("..");
                    continue;
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => continue,
            }
            match self.place(&made)?.mkdir(mode) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.open_dir(path)
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<RootDir> for OwnedFd {
    fn from(root: RootDir) -> OwnedFd {
        root.fd
    }
}

/// `EAGAIN` from `openat2` means that a rename or mount raced with `..`; an attacker can cause it at
/// will, so it is not retried for ever.
const RETRIES: u32 = 64;

impl Resolve {
    fn flags(self) -> ResolveFlag {
        match self {
            Resolve::InRoot => ResolveFlag::RESOLVE_IN_ROOT,
            Resolve::Beneath => ResolveFlag::RESOLVE_BENEATH,
            Resolve::NoSymlinks => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
        }
    }
}

fn c_string(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, RootDir) {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("root")).expect("root");
        std::fs::create_dir(dir.path().join("outside")).expect("outside");
        let root = RootDir::open(&dir.path().join("root")).expect("open root");
        (dir, root)
    }

    #[test]
    fn links_and_dots_mean_something_inside() {
        let (dir, root) = root();
        root.mkdir_all("etc/x", 0o755).expect("mkdir");
        symlink("/etc", dir.path().join("root/absolute")).expect("link");
        symlink("../../../../etc", dir.path().join("root/relative")).expect("link");
        for path in ["absolute/x", "relative/x", "/etc/x", "../../etc/x", "etc/../etc/x"] {
            root.open_dir(path).expect(path);
        }
        root.mkdir_all("absolute/made/deeper", 0o755).expect("mkdir through a link");
        assert!(dir.path().join("root/etc/made/deeper").is_dir());
        assert!(!Path::new("/etc/made").exists());
    }

    #[test]
    fn the_stricter_ways_refuse_links() {
        let (dir, root) = root();
        root.mkdir_all("etc", 0o755).expect("mkdir");
        symlink("etc", dir.path().join("root/inside")).expect("link");
        symlink("../outside", dir.path().join("root/out")).expect("link");
        let open = |path: &str, resolve| {
            root.open_with(path, OFlag::O_PATH, 0, resolve).map(drop).map_err(|e| e.raw_os_error())
        };
        assert_eq!(open("inside", Resolve::Beneath), Ok(()));
        assert_eq!(open("out", Resolve::Beneath), Err(Some(libc::EXDEV)));
        assert_eq!(open("inside", Resolve::NoSymlinks), Err(Some(libc::ELOOP)));
    }

    #[test]
    fn magic_links_are_never_followed() {
        let root = RootDir::open(Path::new("/proc")).expect("proc");
        let error = root.open_at("self/cwd", OFlag::O_PATH, 0).expect_err("magic link");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_place_needs_a_name() {
        let (_dir, root) = root();
        for path in ["", "/", ".", "..", "a/.."] {
            assert_eq!(root.place(path).map(drop).map_err(|e| e.raw_os_error()), Err(Some(libc::EINVAL)));
        }
    }
}
