//! Filling a new memory file system with what it is about to cover (`tmpcopyup`, which engines add to
//! the memory file systems of read-only containers).

use edgelet_sys::root::RootDir;
use edgelet_types::limits;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Copies directories, files and links with their owners and modes. Sockets, pipes and device nodes stay
/// behind: they are made by programs, not by images. How much is copied is bounded by the size of the
/// memory file system (`ENOSPC`), how deep by the limit for images (`ELOOP`).
pub(crate) fn copy_up(from: &RootDir, to: &RootDir) -> io::Result<()> {
    copy_below(from, to, limits::LAYER_DEPTH)
}

fn copy_below(from: &RootDir, to: &RootDir, depth_left: usize) -> io::Result<()> {
    let depth_left = depth_left.checked_sub(1).ok_or(Errno::ELOOP)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(Some(from.as_fd().as_raw_fd()), ".", flags, Mode::empty())?;
    for entry in listing.iter() {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() == b"." || name.as_bytes() == b".." {
            continue;
        }
        copy_one(from, to, Path::new(OsStr::from_bytes(name.as_bytes())), depth_left)?;
    }
    Ok(())
}

fn copy_one(from: &RootDir, to: &RootDir, name: &Path, depth_left: usize) -> io::Result<()> {
    let (source, target) = (from.place(name)?, to.place(name)?);
    let Some(found) = source.stat()? else { return Ok(()) };
    let own = |found: &Metadata| {
        target.set_owner(found.uid(), found.gid())?;
        target.set_mode(found.mode() & 0o7777)
    };
    if found.is_dir() {
        target.mkdir(0o700)?;
        own(&found)?;
        // What became a link meanwhile leads to somewhere below `from`, no further.
        return copy_below(&from.open_dir(name)?, &to.open_dir(name)?, depth_left);
    }
    if found.is_symlink() {
        target.symlink(source.read_link()?)?;
        return target.set_owner(found.uid(), found.gid());
    }
    if found.is_file() {
        let mut file = File::from(source.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?);
        let opened = file.metadata()?;
        if opened.is_file() {
            io::copy(&mut file, &mut target.create(0o600)?)?;
            return own(&opened);
        }
    }
    Ok(())
}
