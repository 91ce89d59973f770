//! Walking through directories that somebody else made, of which there may be more, and deeper ones, than a path or
//! a table of descriptors has room for. One is open at a time, and the way back is by `..`: the tree must be one in
//! which directories do not move, such as a cgroup tree.

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Shows every directory from `top` on, each before those below it. What goes away meanwhile is passed over; a `top`
/// that is not there is fine.
pub fn each(top: &Path, mut see: impl FnMut(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    walk(top, &mut |dir| see(dir), &mut |_, _| Ok(()))
}

/// Removes every directory below `top` that can be removed; the others stay. The files in them need not be.
pub fn remove_below(top: &Path) -> io::Result<()> {
    walk(top, &mut |_| Ok(()), &mut |parent, name| match unlinkat(
        Some(parent.as_raw_fd()),
        name,
        UnlinkatFlags::RemoveDir,
    ) {
        Ok(()) | Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error.into()),
    })
}

/// Reads a file in a directory.
pub fn read_in(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(Some(dir.as_raw_fd()), name, flags, Mode::empty())?;
    let mut text = String::new();
    // SAFETY: `openat` just returned this descriptor, and nobody else has it.
    unsafe { File::from_raw_fd(file) }.read_to_string(&mut text)?;
    Ok(text)
}

fn walk(
    top: &Path,
    see: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    let mut at: OwnedFd = match File::open(top) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.into(),
    };
    see(at.as_fd())?;
    // The names that are left to look at, and those of the way down.
    let mut left = vec![below(&at)?];
    let mut way: Vec<CString> = Vec::new();
    loop {
        let Some(names) = left.last_mut() else { return Ok(()) };
        match names.pop() {
            Some(name) => match open(&at, &name) {
                Err(error) if is_gone(&error) => {}
                other => {
                    at = other?;
                    see(at.as_fd())?;
                    left.push(below(&at)?);
                    way.push(name);
                }
            },
            None => {
                left.pop();
                let Some(name) = way.pop() else { return Ok(()) };
                at = match open(&at, c"..") {
                    // Somebody else has removed it; what is left is seen by whoever comes again.
                    Err(error) if is_gone(&error) => return Ok(()),
                    other => other?,
                };
                leave(at.as_fd(), &name)?;
            }
        }
    }
}

/// The names of the directories in this one.
fn below(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    let again = open(dir, c".")?;
    for entry in Dir::from(again)?.iter() {
        let entry = match entry {
            // It is being removed.
            Err(error) if is_gone(&error) => break,
            other => other?,
        };
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn open(dir: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(Some(dir.as_raw_fd()), name, flags, Mode::empty())?;
    // SAFETY: `openat` just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn is_gone(error: &Errno) -> bool {
    matches!(error, Errno::ENOENT | Errno::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::RootDir;

    #[test]
    fn directories_deeper_than_any_path_are_seen_and_removed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = RootDir::open(dir.path()).expect("open");
        let mut deepest = root.mkdir_all("side", 0o755).expect("mkdir");
        for _ in 0..1500 {
            deepest = deepest.mkdir_all("name", 0o755).expect("one deeper");
        }
        drop(deepest);
        let mut seen = 0;
        each(dir.path(), |_| {
            seen += 1;
            Ok(())
        })
        .expect("walk");
        assert_eq!(seen, 1502);
        remove_below(dir.path()).expect("remove");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
        each(Path::new("/does/not/exist"), |_| Err(io::ErrorKind::Other.into())).expect("nothing");
    }

    #[test]
    fn what_cannot_be_removed_stays_and_the_rest_goes() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for path in ["a/b/c", "a/d"] {
            std::fs::create_dir_all(dir.path().join(path)).expect("mkdir");
        }
        File::create(dir.path().join("a/b/file")).expect("create");
        remove_below(dir.path()).expect("remove");
        assert!(dir.path().join("a/b").exists());
        assert!(!dir.path().join("a/b/c").exists() && !dir.path().join("a/d").exists());
    }
}
