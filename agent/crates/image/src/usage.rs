//! How large a tree on disk is.

use edgelet_sys::root::{Resolve, RootDir};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Bytes of disk that the tree at `name` takes, directories included. Nothing there is zero.
pub(crate) fn disk_bytes(parent: &RootDir, name: &OsStr) -> io::Result<u64> {
    // Blocks are of 512 bytes here on every file system (stat(2)).
    walk(parent, name, |meta| meta.blocks() * 512)
}

/// Bytes of the regular files of the tree at `name`, holes included, each file once however many names
/// it has.
pub(crate) fn file_bytes(parent: &RootDir, name: &OsStr) -> io::Result<u64> {
    walk(parent, name, |meta| if meta.is_file() { meta.len() } else { 0 })
}

/// Adds up `measure` over every object. One directory is open at a time.
fn walk(parent: &RootDir, name: &OsStr, measure: impl Fn(&Metadata) -> u64) -> io::Result<u64> {
    let mut sum = 0;
    let mut seen = HashSet::new();
    let mut left = vec![PathBuf::from(name)];
    while let Some(path) = left.pop() {
        let Some(meta) = parent.place(&path)?.stat()? else { continue };
        if meta.is_dir() {
            let directory = parent.open_with(&path, OFlag::O_DIRECTORY, 0, Resolve::NoSymlinks)?;
            for entry in Dir::from(directory)?.iter() {
                let entry = entry?;
                match entry.file_name().to_bytes() {
                    b"." | b".." => {}
                    name => left.push(path.join(OsStr::from_bytes(name))),
                }
            }
        } else if meta.nlink() > 1 && !seen.insert(meta.ino()) {
            continue;
        }
        sum += measure(&meta);
    }
    Ok(sum)
}

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
