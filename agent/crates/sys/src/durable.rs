//! Files that are either old or new after a cut, never between.
//!
//! The protocol is the usual one: write a temporary file, make it durable, rename it over the old one,
//! make the rename durable. All calls block until the storage says that it is done.

use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes `dir/name` hold exactly `bytes`, with exactly `mode`. After it returns the new content survives
/// a power cut; until then a cut leaves the old content or the new. A cut, or a killed process, may leave a
/// temporary file behind; see [`remove_leftovers`].
pub fn publish(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(dir, name, bytes, mode, true)?;
    rename_or_remove(&temporary, &dir.join(name))?;
    sync_dir(dir)
}

/// As [`publish`], for what need not survive a reboot (`/run`): readers see the old content or the new,
/// and nothing is flushed.
pub fn publish_volatile(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(dir, name, bytes, mode, false)?;
    rename_or_remove(&temporary, &dir.join(name))
}

/// Removes temporary files that interrupted calls of [`publish`] left in `dir`. For the owner of the
/// directory, at a time when nobody publishes there, such as its start.
pub fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if is_temporary(name.as_bytes()) {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

/// Makes the entries of a directory durable: names added, renamed and removed so far.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes everything written to the file system of `fd` durable (`syncfs`). One call instead of one per
/// file; it also waits for what others wrote.
pub fn sync_filesystem(fd: impl AsFd) -> io::Result<()> {
    Ok(nix::unistd::syncfs(fd.as_fd().as_raw_fd())?)
}

/// Renames `old_dir/old` to `new_dir/new`; `EEXIST` if there is something by that name. Durable only
/// after [`sync_dir`] of both directories.
pub fn rename_noreplace(
    old_dir: impl AsFd,
    old: impl AsRef<OsStr>,
    new_dir: impl AsFd,
    new: impl AsRef<OsStr>,
) -> io::Result<()> {
    let c_string = |name: &OsStr| std::ffi::CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL);
    let (old, new) = (c_string(old.as_ref())?, c_string(new.as_ref())?);
    // SAFETY: both descriptors are open for the length of the call and both names are C strings that
    // outlive it. The raw call is used because not every libc that we build with has a wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            old_dir.as_fd().as_raw_fd(),
            old.as_ptr(),
            new_dir.as_fd().as_raw_fd(),
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    Errno::result(result)?;
    Ok(())
}

fn write_temporary(dir: &Path, name: &str, bytes: &[u8], mode: u32, durable: bool) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".{name}.{}.{number}.tmp", std::process::id()));
    let write = || {
        // Truncates: a process with our number that died here may have left one.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => {
            remove_quietly(&path);
            Err(error)
        }
    }
}

/// `.name.PID.NUMBER.tmp`, as made above.
fn is_temporary(name: &[u8]) -> bool {
    let mut parts = name.rsplit(|byte| *byte == b'.');
    let is_number = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    name.starts_with(b".")
        && parts.next() == Some(b"tmp")
        && is_number(parts.next())
        && is_number(parts.next())
        && parts.next().is_some_and(|name| !name.is_empty())
}

fn rename_or_remove(temporary: &Path, target: &Path) -> io::Result<()> {
    std::fs::rename(temporary, target).inspect_err(|_| remove_quietly(temporary))
}

/// The error that led here is the one to report.
fn remove_quietly(path: &Path) {
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_replaces_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary directory");
        publish(dir.path(), "state", b"one", 0o600).expect("first");
        publish_volatile(dir.path(), "state", b"two", 0o644).expect("second");
        assert_eq!(std::fs::read(dir.path().join("state")).expect("read"), b"two");
        let mode = std::fs::metadata(dir.path().join("state")).expect("stat").permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn leftovers_are_told_from_files_that_only_look_similar() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let names =
            [".state.12.0.tmp", ".a.b.3.4.tmp", "state.12.0.tmp", ".state.x.0.tmp", ".12.0.tmp", ".tmp"];
        for name in names {
            File::create(dir.path().join(name)).expect("create");
        }
        remove_leftovers(dir.path()).expect("remove");
        let kept = names.map(|name| dir.path().join(name).exists());
        assert_eq!(kept, [false, false, true, true, true, true]);
    }

    #[test]
    fn a_failed_publish_keeps_the_old_and_cleans_up() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("state")).expect("in the way");
        publish(dir.path(), "state", b"new", 0o600).expect_err("a directory is in the way");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn rename_noreplace_does_not_replace() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let fd = File::open(dir.path()).expect("open");
        for name in ["a", "b"] {
            std::fs::create_dir(dir.path().join(name)).expect("mkdir");
        }
        let error = rename_noreplace(&fd, "a", &fd, "b").expect_err("b exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        rename_noreplace(&fd, "a", &fd, "c").expect("c is free");
        assert!(dir.path().join("c").is_dir() && !dir.path().join("a").exists());
        sync_filesystem(&fd).expect("syncfs");
    }
}
