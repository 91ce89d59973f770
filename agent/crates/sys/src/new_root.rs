//! Entering a new root directory for good.

use crate::mount;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount as old_mount, umount2};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Makes the mount that `root` refers to the root of this mount namespace, and lets go of the old one, none of whose
/// mounts may be shared with another namespace: they are unmounted. The current directory is the new root afterwards.
pub fn pivot_to(root: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = mount::id(root)?;
    fchdir(root.as_raw_fd())?;
    // pivot_root(2), NOTES: with both paths the same, the old root is mounted on top of the new one.
    pivot_root(".", ".")?;
    // And on top of that may be what was mounted over it. Whoever joins the namespace later begins at the very top,
    // which is what the parent of a root is.
    for _ in 0..STACK {
        let top = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("..")?;
        if mount::id(top.as_fd())? == wanted {
            return Ok(chdir("/")?);
        }
        umount2("..", MntFlags::MNT_DETACH)?;
    }
    Err(io::Error::other("the old root does not go away"))
}

/// More mounts on top of each other nobody has.
const STACK: u32 = 64;

/// Shuts the calling process in a directory of the mount namespace that it shares with others. The current directory
/// is the new root afterwards.
pub fn change_to(root: BorrowedFd<'_>) -> io::Result<()> {
    fchdir(root.as_raw_fd())?;
    chroot(".")?;
    Ok(chdir("/")?)
}

/// Moves the mount that `root` refers to over the root of this mount namespace, and shuts the calling process in
/// there: for a machine whose root is what the kernel unpacked at its start, which pivot_root(2) does not leave.
/// `path` is where that mount is now; every other one is taken away first, because the old root stays below. What it
/// is mounted in stays there, too.
pub fn move_over_root(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    fchdir(root.as_raw_fd())?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let others = places.filter(|place| !path.starts_with(place) && !place.starts_with(path));
    // What is mounted on what comes later in the list, and goes first.
    for place in others.collect::<Vec<_>>().iter().rev() {
        take_away(place)?;
    }
    old_mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
    chroot(".")?;
    Ok(chdir("/")?)
}

/// A mount that the caller may not remove, because it came with the namespace of somebody with more rights, is covered.
fn take_away(place: &Path) -> io::Result<()> {
    match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EINVAL | Errno::EPERM) if place.is_dir() => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            Ok(old_mount(Some("none"), place, Some("tmpfs"), flags, Some("size=0,mode=0"))?)
        }
        // It is below one that is gone already, or hidden.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// A path as proc(5) writes it, with blanks and the like as `\` and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

const NONE: Option<&str> = None;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        for (text, path) in
            [("/a\\040b", "/a b"), ("/a\\134\\011", "/a\\\t"), ("/a\\04", "/a\\04"), ("/", "/")]
        {
            assert_eq!(unescaped(text), Path::new(path));
        }
    }
}
