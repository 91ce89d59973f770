//! Room on the data file system, above what is kept in reserve.

use edgelet_sys::fsinfo::FsInfo;
use std::fs::File;
use std::io;
use std::path::Path;

/// The data file system and the part of it that images may not use.
#[derive(Debug)]
pub(crate) struct Room {
    directory: File,
    reserve: u64,
}

/// There is not enough of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{need} B are needed, {free} B are free, and {reserve} B of them are kept in reserve")]
pub struct NoRoom {
    /// Bytes that were asked for.
    pub need: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that are not for images.
    pub reserve: u64,
}

impl Room {
    /// The room on the file system of `directory`.
    pub(crate) fn new(directory: &Path, reserve: u64) -> io::Result<Self> {
        Ok(Self { directory: File::open(directory)?, reserve })
    }

    /// Whether `need` bytes more can be written. A file system that cannot say is not full.
    pub(crate) fn check(&self, need: u64) -> Result<(), NoRoom> {
        let Ok(info) = FsInfo::of(&self.directory) else { return Ok(()) };
        match info.available_bytes >= need.saturating_add(self.reserve) {
            true => Ok(()),
            false => Err(NoRoom { need, free: info.available_bytes, reserve: self.reserve }),
        }
    }
}
