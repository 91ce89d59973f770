//! A procfs that nobody can stand in front of.
//!
//! A write to `/proc/…` that lands on something else is how labels and settings were lost or misused
//! (CVE-2019-16884, CVE-2025-52881). So a private procfs is mounted without a place in any tree, or,
//! where that is not allowed, `/proc` is checked; below it no link and no mount is crossed.

use crate::mount::{Attributes, NO_DEV, NO_EXEC, NO_SUID, NewFilesystem};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A verified root of a procfs of the caller's process-id namespace.
#[derive(Debug)]
pub struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// Mounts a private one, or else takes `/proc` after checking that it is the root of a procfs.
    pub fn open() -> io::Result<Self> {
        let private = NewFilesystem::open("proc")
            .and_then(|new| new.mount(Attributes::setting(NO_SUID | NO_DEV | NO_EXEC)))
            .map(OwnedFd::from);
        let root = match private {
            Ok(root) => root,
            Err(_) => OwnedFd::from(File::open("/proc")?),
        };
        // The root of every procfs has inode 1 (PROC_ROOT_INO); a bind of a part of one does not.
        let is_root = fstatfs(&root)?.filesystem_type() == PROC_SUPER_MAGIC
            && nix::sys::stat::fstat(root.as_raw_fd())?.st_ino == 1;
        match is_root {
            true => Ok(Self { root }),
            false => Err(Errno::ENOTSUP.into()),
        }
    }

    /// Opens a file by a path relative to the root. Links and mounts on the way are errors (`ELOOP`,
    /// `EXDEV`).
    pub fn open_file(&self, path: impl AsRef<Path>, flags: OFlag) -> io::Result<File> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_XDEV
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_SYMLINKS,
        );
        let fd = openat2(self.root.as_raw_fd(), path.as_ref(), how)?;
        // SAFETY: `openat2` just returned this descriptor, and nobody else has it.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    /// Writes a whole value in one call, as these files want it.
    pub fn write(&self, path: impl AsRef<Path>, value: &str) -> io::Result<()> {
        let mut file = self.open_file(path, OFlag::O_WRONLY)?;
        match file.write(value.as_bytes())? {
            written if written == value.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed() {
        let procfs = Procfs::open().expect("procfs");
        let open =
            |path: &str| procfs.open_file(path, OFlag::O_RDONLY).map(drop).map_err(|e| e.raw_os_error());
        assert_eq!(open("sys/kernel/ostype"), Ok(()));
        assert_eq!(open("self/stat"), Err(Some(libc::ELOOP)));
        assert_eq!(open("../etc/passwd"), Err(Some(libc::EXDEV)));
    }
}
