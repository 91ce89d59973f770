//! What a file system is and how much room it has.

use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::io;
use std::os::fd::AsFd;

/// A file system at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsInfo {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Bytes that an ordinary user may still write; what root keeps back is not in it.
    pub available_bytes: u64,
    /// Inodes that may still be made; `u64::MAX` where the file system has no fixed number of them.
    pub available_inodes: u64,
    /// Mounted read-only, or made so by the kernel after an error.
    pub read_only: bool,
    /// The kernel's magic number of its type, such as [`FsInfo::PROC`].
    pub magic: u64,
}

impl FsInfo {
    /// `magic` of procfs.
    pub const PROC: u64 = 0x9fa0;
    /// `magic` of sysfs.
    pub const SYSFS: u64 = 0x6265_6572;
    /// `magic` of tmpfs.
    pub const TMPFS: u64 = 0x0102_1994;
    /// `magic` of overlayfs.
    pub const OVERLAY: u64 = 0x794c_7630;
    /// `magic` of cgroup version 2.
    pub const CGROUP2: u64 = 0x6367_7270;

    /// Asks the file system that `fd` is on. Does not block on storage.
    // The fields are narrower on 32-bit targets, and the conversion only looks useless on the others.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)]
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        let sizes = fstatvfs(&fd)?;
        let kind = nix::sys::statfs::fstatfs(&fd)?;
        let fragment = u64::from(sizes.fragment_size());
        let inodes = u64::from(sizes.files_available());
        Ok(Self {
            total_bytes: u64::from(sizes.blocks()).saturating_mul(fragment),
            available_bytes: u64::from(sizes.blocks_available()).saturating_mul(fragment),
            available_inodes: if u64::from(sizes.files()) == 0 { u64::MAX } else { inodes },
            read_only: sizes.flags().contains(FsFlags::ST_RDONLY),
            // The same 32 bits everywhere, in a type that differs in width and sign.
            magic: kind.filesystem_type().0 as u64 & 0xffff_ffff,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn proc_is_proc_and_the_temporary_directory_has_room() {
        let proc = FsInfo::of(File::open("/proc").expect("open")).expect("statfs");
        assert_eq!(proc.magic, FsInfo::PROC);
        let temporary = FsInfo::of(File::open(std::env::temp_dir()).expect("open")).expect("statfs");
        assert!(!temporary.read_only);
        assert!(0 < temporary.available_bytes && temporary.available_bytes <= temporary.total_bytes);
    }
}
