//! One name in one open directory: where file-system objects are made, changed and removed without
//! ever walking a path again.

use crate::xattr;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A name in an open directory. The name is a single component and is never followed if it turns out
/// to be a symbolic link. Made by [`RootDir::place`](crate::root::RootDir::place).
#[derive(Debug)]
pub struct Place {
    dir: OwnedFd,
    name: CString,
}

/// What sort of device node or pipe to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A character device with major and minor number.
    Char(u64, u64),
    /// A block device with major and minor number.
    Block(u64, u64),
}

impl Place {
    /// A name that is known to be one component.
    pub(crate) fn new(dir: OwnedFd, name: CString) -> Self {
        Self { dir, name }
    }

    /// The last component.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// The open parent directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// What is there, not followed; `None` when nothing is.
    pub fn stat(&self) -> io::Result<Option<Metadata>> {
        match self.open(OFlag::O_PATH, 0) {
            // The standard library's call has 64-bit fields on every target.
            Ok(fd) => Ok(Some(File::from(fd).metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a directory. The umask applies; follow with [`Place::set_mode`] where the bits matter.
    pub fn mkdir(&self, mode: u32) -> io::Result<()> {
        Ok(nix::sys::stat::mkdirat(self.at(), self.name(), Mode::from_bits_truncate(mode))?)
    }

    /// Makes a new, empty file open for reading and writing; `EEXIST` if anything is there.
    pub fn create(&self, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(File::from(self.open(flags, mode)?))
    }

    /// Opens what is there, not followed. `O_CLOEXEC` and `O_NOFOLLOW` are always added.
    pub fn open(&self, flags: OFlag, mode: u32) -> io::Result<OwnedFd> {
        let flags = with_large_files(flags) | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = nix::fcntl::openat(self.at(), self.name(), flags, Mode::from_bits_truncate(mode))?;
        // SAFETY: `openat` just returned this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Makes a symbolic link with any target text; it is not looked at.
    pub fn symlink(&self, target: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(nix::unistd::symlinkat(target.as_ref(), self.at(), self.name())?)
    }

    /// The text of a symbolic link.
    pub fn read_link(&self) -> io::Result<OsString> {
        let fd = self.dir.as_raw_fd();
        Ok(nix::fcntl::readlinkat(Some(fd), self.name())?)
    }

    /// Makes a device node or pipe with exactly `mode`.
    pub fn mknod(&self, node: Node, mode: u32) -> io::Result<()> {
        let (kind, device) = match node {
            Node::Fifo => (SFlag::S_IFIFO, 0),
            Node::Char(major, minor) => (SFlag::S_IFCHR, nix::sys::stat::makedev(major, minor)),
            Node::Block(major, minor) => (SFlag::S_IFBLK, nix::sys::stat::makedev(major, minor)),
        };
        nix::sys::stat::mknodat(self.at(), self.name(), kind, Mode::from_bits_truncate(mode), device)?;
        self.set_mode(mode)
    }

    /// Makes this place a second name of the object at `original`, which is not followed.
    pub fn link_from(&self, original: &Place) -> io::Result<()> {
        Ok(nix::unistd::linkat(original.at(), original.name(), self.at(), self.name(), LinkatFlags::empty())?)
    }

    /// Moves what is here to `target`, replacing a file or an empty directory there.
    pub fn rename_to(&self, target: &Place) -> io::Result<()> {
        Ok(nix::fcntl::renameat(self.at(), self.name(), target.at(), target.name())?)
    }

    /// Removes a name that is not a directory.
    pub fn unlink(&self) -> io::Result<()> {
        Ok(nix::unistd::unlinkat(self.at(), self.name(), UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes whatever is here, with everything below it; nothing there is fine. Links are removed,
    /// not followed, and the depth does not matter. Other mounts are not entered: `EXDEV`.
    pub fn remove_all(&self) -> io::Result<()> {
        crate::remove::remove_all(self.dir(), self.name())
    }

    /// Sets the owner, without following.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        Ok(nix::unistd::fchownat(self.at(), self.name(), uid, gid, flags)?)
    }

    /// Sets permission bits, including set-id and sticky bits. `EOPNOTSUPP` on a symbolic link.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let fd = self.open(OFlag::O_PATH, 0)?;
        if File::from(fd.try_clone()?).metadata()?.is_symlink() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        // An O_PATH descriptor takes no fchmod, and opening a device or a pipe properly has effects.
        let path = proc_path(fd.as_fd());
        let mode = Mode::from_bits_truncate(mode);
        Ok(nix::sys::stat::fchmodat(None, path.as_str(), mode, nix::sys::stat::FchmodatFlags::FollowSymlink)?)
    }

    /// Sets access and modification time to the same moment, without following. A time that the target's
    /// `time_t` cannot hold becomes 1970.
    // `time_t` and `c_long` are 32 bits wide on some targets, and the same as ours on the others.
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
    pub fn set_mtime(&self, seconds: i64, nanos: u32) -> io::Result<()> {
        let nanos = nanos.min(999_999_999).try_into().unwrap_or_default();
        let time = TimeSpec::new(seconds.try_into().unwrap_or_default(), nanos);
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(nix::sys::stat::utimensat(self.at(), self.name(), &time, &time, flags)?)
    }

    /// Sets an extended attribute on what is here, without following.
    pub fn set_xattr(&self, name: &CStr, value: &[u8]) -> io::Result<()> {
        let fd = self.open(OFlag::O_PATH, 0)?;
        xattr::set(fd.as_fd(), name, value)
    }

    fn at(&self) -> Option<RawFd> {
        Some(self.dir.as_raw_fd())
    }
}

/// On 32-bit targets a file of 2 GiB needs a flag to be opened; it is no flag of reference-only descriptors.
pub(crate) fn with_large_files(flags: OFlag) -> OFlag {
    match flags.contains(OFlag::O_PATH) {
        true => flags,
        false => flags | OFlag::O_LARGEFILE,
    }
}

/// The path by which the kernel finds exactly the object behind a descriptor, links not followed.
pub fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the directory at a path of ours for use as an anchor (`O_PATH`), last component not followed.
pub fn open_anchor(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path, flags, Mode::empty())?;
    // SAFETY: `open` just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::RootDir;
    use std::os::unix::fs::MetadataExt;

    fn places(names: [&str; 3]) -> (tempfile::TempDir, [Place; 3]) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = RootDir::open(dir.path()).expect("open");
        let places = names.map(|name| root.place(name).expect(name));
        (dir, places)
    }

    #[test]
    fn a_link_at_the_place_is_never_followed() {
        let (dir, [file, link, other]) = places(["file", "link", "other"]);
        file.create(0o600).expect("create");
        link.symlink("file").expect("link");
        link.set_owner(12, 34).expect("owner of the link");
        link.set_mtime(5, 6).expect("time of the link");
        assert_eq!(link.set_mode(0o777).map_err(|e| e.raw_os_error()), Err(Some(libc::EOPNOTSUPP)));
        assert_eq!(
            link.open(OFlag::O_RDONLY, 0).map(drop).map_err(|e| e.raw_os_error()),
            Err(Some(libc::ELOOP))
        );
        assert_eq!(link.create(0o600).map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::AlreadyExists));
        other.link_from(&link).expect("a second name of the link");
        assert_eq!(other.read_link().expect("a link"), "file");
        let meta = std::fs::metadata(dir.path().join("file")).expect("stat");
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (0, 0, 0o600));
        assert_ne!(meta.mtime(), 5);
    }

    #[test]
    fn devices_and_pipes_have_the_mode_that_was_asked_for_and_are_not_opened() {
        let (dir, [fifo, null, moved]) = places(["fifo", "null", "moved"]);
        fifo.mknod(Node::Fifo, 0o666).expect("a pipe");
        fifo.set_xattr(c"trusted.edgelet", b"x").expect("nobody at the other end, and no wait for one");
        null.mknod(Node::Char(1, 3), 0o4777).expect("a device");
        null.rename_to(&moved).expect("rename");
        let meta = |name: &str| std::fs::metadata(dir.path().join(name)).expect(name);
        assert_eq!(meta("fifo").mode(), libc::S_IFIFO | 0o666);
        assert_eq!((meta("moved").mode(), meta("moved").rdev()), (libc::S_IFCHR | 0o4777, 0x103));
        assert!(null.stat().expect("stat").is_none());
    }
}
