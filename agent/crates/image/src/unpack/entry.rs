//! One entry of a layer on disk: its content and its attributes.

use super::{UnpackError, invalid, write};
use crate::tar::{Extent, Kind, Member, TarReader};
use edgelet_sys::place::{Node, Place};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    Directory,
    /// A character device 0:0, which is how overlayfs hides a name.
    Whiteout,
    File {
        bytes: u64,
        links: u64,
        inode: u64,
    },
    /// A link, device or pipe.
    Other {
        inode: u64,
    },
}

impl Existing {
    pub(super) fn at(place: &Place) -> io::Result<Self> {
        let Some(meta) = place.stat()? else { return Ok(Existing::Nothing) };
        let (kind, inode) = (meta.file_type(), meta.ino());
        Ok(match () {
            () if kind.is_dir() => Existing::Directory,
            () if kind.is_char_device() && meta.rdev() == 0 => Existing::Whiteout,
            () if kind.is_file() => Existing::File { bytes: meta.len(), links: meta.nlink(), inode },
            () => Existing::Other { inode },
        })
    }

    /// Whether both are the same object on disk; a layer is on one file system.
    pub(super) fn is_same_file(&self, other: &Existing) -> bool {
        let inode = |existing: &Existing| match existing {
            Existing::File { inode, .. } | Existing::Other { inode } => Some(*inode),
            _ => None,
        };
        inode(self).is_some() && inode(self) == inode(other)
    }
}

/// Told after each write how many bytes it was, and how many of the file are on disk by now, where that is all that
/// there is to say.
pub(super) type Wrote<'a, R> = dyn FnMut(&TarReader<R>, u64, Option<u64>) -> Result<(), UnpackError> + 'a;

/// Writes the content of a regular file from that byte on, and says how long the file is, holes included. A sparse one
/// is written from the beginning.
pub(super) fn content<R: Read>(
    file: &File,
    member: &Member,
    from: u64,
    archive: &mut TarReader<R>,
    wrote: &mut Wrote<'_, R>,
    buffer: &mut [u8],
) -> Result<u64, UnpackError> {
    let whole = [Extent { offset: from, length: member.size.saturating_sub(from) }];
    let extents = member.sparse.as_deref().unwrap_or(&whole);
    for extent in extents {
        let (mut offset, end) = (extent.offset, extent.offset + extent.length);
        while offset < end {
            let most = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            let count = fill(archive, &mut buffer[..most])?;
            file.write_all_at(&buffer[..count], offset).map_err(write(member))?;
            offset += count as u64;
            wrote(archive, count as u64, member.sparse.is_none().then_some(offset))?;
        }
    }
    if member.sparse.is_some() {
        // A hole at the end has no data that would make the file long enough.
        file.set_len(member.size).map_err(write(member))?;
    }
    Ok(member.size)
}

/// Fills the buffer, or as much of it as the member has.
fn fill(archive: &mut TarReader<impl Read>, buffer: &mut [u8]) -> Result<usize, UnpackError> {
    let mut done = 0;
    while done < buffer.len() {
        match archive.read(&mut buffer[done..])? {
            0 => break,
            count => done += count,
        }
    }
    match done {
        0 => Err(crate::tar::TarError::Truncated.into()),
        done => Ok(done),
    }
}

/// Makes anything that has no content.
pub(super) fn node(place: &Place, member: &Member) -> Result<(), UnpackError> {
    let made = match member.kind {
        Kind::Directory => place.mkdir(0o700),
        Kind::Symlink if member.link.is_empty() => {
            return Err(invalid(member, "a symbolic link to nothing"));
        }
        Kind::Symlink => place.symlink(OsStr::from_bytes(&member.link)),
        Kind::Fifo => place.mknod(Node::Fifo, member.mode),
        Kind::Char(major, minor) => place.mknod(Node::Char(major.into(), minor.into()), member.mode),
        Kind::Block(major, minor) => place.mknod(Node::Block(major.into(), minor.into()), member.mode),
        Kind::File | Kind::HardLink => return Err(invalid(member, "no node")),
    };
    made.map_err(write(member))
}

/// Owner, mode, extended attributes, time: in this order, because the kernel drops set-id bits and
/// capabilities when the owner changes.
pub(super) fn set_attributes(place: &Place, member: &Member) -> Result<(), UnpackError> {
    place.set_owner(member.uid, member.gid).map_err(write(member))?;
    if member.kind != Kind::Symlink {
        place.set_mode(member.mode).map_err(write(member))?;
    }
    for (name, value) in xattrs(member)? {
        place.set_xattr(name, value).map_err(write(member))?;
    }
    let (seconds, nanos) = member.mtime;
    place.set_mtime(seconds, nanos).map_err(write(member))
}

/// The attributes that an image may set. Those of overlayfs would let it show and hide what it likes in
/// layers that are not its own, so an image that has them is refused.
fn xattrs(member: &Member) -> Result<impl Iterator<Item = (&std::ffi::CStr, &[u8])>, UnpackError> {
    let reserved = |name: &std::ffi::CStr| {
        let name = name.to_bytes();
        name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
    };
    match member.xattrs.iter().find(|(name, _)| reserved(name)) {
        Some((name, _)) => {
            let cause = format!("an image may not set {}", name.to_string_lossy());
            Err(invalid(member, &cause))
        }
        None => Ok(member.xattrs.iter().map(|(name, value)| (name.as_c_str(), value.as_slice()))),
    }
}
