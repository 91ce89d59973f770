//! Removing a tree that somebody else made: any depth, any names, no other file system touched.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Removes `name` in `dir` and everything below it. A name that is not there is fine. Symbolic links
/// are removed, not followed. A mount point below is `EXDEV`: what is mounted there is not ours to empty.
///
/// Memory, stack and descriptors are bounded: what lies deeper than [`DEPTH`] is moved up first.
pub(crate) fn remove_all(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match unlinkat(Some(dir.as_raw_fd()), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open_dir(dir, name)?;
    let mut lifted = 0;
    loop {
        let before = lifted;
        empty(&top, &top, 0, &mut lifted)?;
        if lifted == before {
            break;
        }
    }
    Ok(unlinkat(Some(dir.as_raw_fd()), name, UnlinkatFlags::RemoveDir)?)
}

/// How many directories are held open at a time.
const DEPTH: u32 = 64;

/// Empties `dir`. Directories below the depth limit are moved into `top`, which counts them in `lifted`.
fn empty(top: &OwnedFd, dir: &OwnedFd, depth: u32, lifted: &mut u64) -> io::Result<()> {
    let mut entries = Dir::from(dir.try_clone()?)?;
    let at = Some(dir.as_raw_fd());
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        if depth + 1 < DEPTH {
            empty(top, &open_dir(borrowed(dir), name)?, depth + 1, lifted)?;
            unlinkat(at, name, UnlinkatFlags::RemoveDir)?;
        } else {
            lift(at, name, top, lifted)?;
        }
    }
    Ok(())
}

/// Moves a deep directory up to `top`, under a name that is free there.
fn lift(at: Option<i32>, name: &CStr, top: &OwnedFd, lifted: &mut u64) -> io::Result<()> {
    loop {
        *lifted += 1;
        let free = format!(".deep-{lifted}");
        match renameat(at, name, Some(top.as_raw_fd()), free.as_str()) {
            Ok(()) => return Ok(()),
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let fd = openat2(dir.as_raw_fd(), name, how)?;
    // SAFETY: `openat2` just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn borrowed(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

#[cfg(test)]
mod tests {
    use crate::root::RootDir;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_removed_and_their_targets_stay() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("canary")).expect("mkdir");
        let root = RootDir::open(dir.path()).expect("open");
        root.mkdir_all("tree/a/b", 0o755).expect("mkdir");
        symlink(dir.path().join("canary"), dir.path().join("tree/a/link")).expect("link");
        for path in ["tree", "tree", "absent"] {
            root.place(path).and_then(|place| place.remove_all()).expect(path);
        }
        assert!(dir.path().join("canary").is_dir());
        assert!(!dir.path().join("tree").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = RootDir::open(dir.path()).expect("open");
        let mut deepest = root.mkdir_all("deep", 0o755).expect("mkdir");
        for _ in 0..3000 {
            deepest = deepest.mkdir_all("d", 0o755).expect("one deeper");
            deepest.place("f").and_then(|place| place.create(0o600)).expect("file");
        }
        drop(deepest);
        root.place("deep").and_then(|place| place.remove_all()).expect("remove");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }

    #[test]
    fn what_is_mounted_below_is_not_emptied() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = RootDir::open(dir.path()).expect("open");
        root.mkdir_all("tree/mounted", 0o755).expect("mkdir");
        root.mkdir_all("volume/data", 0o755).expect("mkdir");
        let mounted = dir.path().join("tree/mounted");
        let flags = nix::mount::MsFlags::MS_BIND;
        let none = None::<&str>;
        nix::mount::mount(Some(&dir.path().join("volume")), &mounted, none, flags, none).expect("mount");
        let error = root.place("tree").and_then(|place| place.remove_all());
        nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH).expect("unmount");
        assert_eq!(error.map_err(|e| e.raw_os_error()), Err(Some(libc::EXDEV)));
        assert!(dir.path().join("volume/data").is_dir());
        assert!(root.as_fd().try_clone_to_owned().is_ok());
    }
}
