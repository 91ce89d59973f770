//! How large a tree on disk is.

use edgelet_sys::root::{Resolve, RootDir};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, fstatat};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Bytes of disk that the tree at `name` takes, directories included. Nothing there is zero.
pub(crate) fn disk_bytes(parent: &RootDir, name: &OsStr) -> io::Result<u64> {
    // `st_blocks` counts 512 bytes on every file system (stat(2)).
    walk(parent, name, |stat| u64::try_from(stat.st_blocks).unwrap_or_default() * 512)
}

/// Bytes of the regular files of the tree at `name`, holes included, each file once however many names
/// it has.
pub(crate) fn file_bytes(parent: &RootDir, name: &OsStr) -> io::Result<u64> {
    walk(parent, name, |stat| match stat.st_mode & nix::libc::S_IFMT {
        nix::libc::S_IFREG => u64::try_from(stat.st_size).unwrap_or_default(),
        _ => 0,
    })
}

/// Adds up `measure` over every object. One directory is open at a time.
fn walk(parent: &RootDir, name: &OsStr, measure: impl Fn(&FileStat) -> u64) -> io::Result<u64> {
    let Some(top) = parent.place(name)?.stat()? else { return Ok(0) };
    let mut sum = measure(&top);
    let mut seen = HashSet::new();
    let mut left: Vec<PathBuf> = is_directory(&top).then(|| name.into()).into_iter().collect();
    while let Some(path) = left.pop() {
        let directory = parent.open_with(&path, DIRECTORY, 0, Resolve::NoSymlinks)?;
        let at = directory.as_raw_fd();
        for entry in Dir::from(directory.try_clone()?)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match fstatat(Some(at), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if is_directory(&stat) {
                left.push(path.join(OsStr::from_bytes(name.to_bytes())));
            } else if stat.st_nlink > 1 && !seen.insert(stat.st_ino) {
                continue;
            }
            sum += measure(&stat);
        }
    }
    Ok(sum)
}

fn is_directory(stat: &FileStat) -> bool {
    stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW);

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn files_count_once_however_many_names_they_have() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = RootDir::open(dir.path()).expect("open");
        root.mkdir_all("tree/a/b", 0o755).expect("mkdir");
        let file = root.place("tree/a/file").and_then(|place| place.create(0o600)).expect("file");
        std::io::Write::write_all(&mut { file }, &[7; 5000]).expect("write");
        std::fs::hard_link(dir.path().join("tree/a/file"), dir.path().join("tree/a/b/second")).expect("link");
        std::os::unix::fs::symlink("/", dir.path().join("tree/out")).expect("link");
        assert_eq!(file_bytes(&root, OsStr::new("tree")).ok(), Some(5000));
        assert!(disk_bytes(&root, OsStr::new("tree")).expect("walk") >= 5000);
        assert_eq!(disk_bytes(&root, Path::new("absent").as_os_str()).ok(), Some(0));
    }
}
