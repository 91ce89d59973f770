//! Small file systems of a test's own, unmounted at the end.

use crate::run;
use edgelet_sys::fsinfo::FsInfo;
use nix::mount::{MntFlags, MsFlags};
use std::path::PathBuf;
use std::process::Command;

/// A mounted file system.
pub struct Disk {
    /// Where it is mounted.
    pub path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Disk {
    /// In memory, of a size and number of inodes that `options` say.
    pub fn tmpfs(options: &str) -> Self {
        let disk = Self::unmounted();
        let none = MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &disk.path, Some("tmpfs"), none, Some(options)).expect("mount");
        disk
    }

    /// What a device has: a file system with a journal, which flushes on its own.
    pub fn ext4(mib: u64) -> Self {
        let disk = Self::unmounted();
        let image = disk._directory.path().join("image");
        let file = std::fs::File::create(&image).expect("create");
        file.set_len(mib << 20).expect("size");
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk.path));
        std::fs::remove_dir(disk.path.join("lost+found")).expect("rmdir");
        disk
    }

    fn unmounted() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("disk");
        std::fs::create_dir(&path).expect("mkdir");
        Self { path, _directory: directory }
    }

    /// Gives a tmpfs another size.
    pub fn resize(&self, options: &str) {
        let none = None::<&str>;
        nix::mount::mount(none, &self.path, none, MsFlags::MS_REMOUNT, Some(options)).expect("remount");
    }

    /// Bytes that are free.
    pub fn available(&self) -> u64 {
        FsInfo::of(std::fs::File::open(&self.path).expect("open")).expect("statfs").available_bytes
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A disk that was never mounted is left by a test that has failed already.
        let _ = nix::mount::umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
