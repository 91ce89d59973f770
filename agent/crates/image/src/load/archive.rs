//! Files of an archive by name, wherever the archive is.

use crate::content::Content;
use crate::layer::Surroundings;
use crate::manifest::Blob;
use crate::pull::PullCause;
use crate::staging::Staging;
use crate::tar::{Kind, TarError, TarReader};
use edgelet_sys::root::{Resolve, RootDir};
use edgelet_types::{Digest, Reason, limits};
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Why a file is no archive of images, or a damaged one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("read")]
    Read(#[source] io::Error),
    /// It cannot be unpacked to the data file system.
    #[error("unpack to the data file system")]
    Spool(#[source] io::Error),
    /// It is no tar file.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// It has neither `index.json` nor `manifest.json`.
    #[error("neither an OCI layout nor a docker archive")]
    Unknown,
    /// It refers to a file that is not in it.
    #[error("{0:?} is missing")]
    Missing(String),
    /// More than the named limit.
    #[error("{what} above the limit of {limit}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// The bytes are not the promised ones.
    #[error("digest of {name:?} is {found}")]
    Digest {
        /// Which file.
        name: String,
        /// What it hashes to.
        found: Digest,
    },
    /// A name for an image that is none.
    #[error("{0}")]
    Name(#[from] edgelet_types::reference::ReferenceError),
}

impl ArchiveError {
    /// The stable reason for callers.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Read(error) if error.kind() == io::ErrorKind::NotFound => Reason::NotFound,
            Self::Read(_) => Reason::InvalidInput,
            Self::Spool(error) => Reason::of_storage(error, Reason::Storage),
            Self::Digest { .. } => Reason::DigestMismatch,
            _ => Reason::ImageInvalid,
        }
    }
}

impl From<ArchiveError> for PullCause {
    fn from(error: ArchiveError) -> Self {
        PullCause::Archive(error)
    }
}

/// An open archive.
pub(super) enum Archive {
    Directory(RootDir),
    Tar(Indexed),
}

/// A tar file and where its members are.
pub(super) struct Indexed {
    file: Arc<File>,
    members: BTreeMap<String, Member>,
    /// Keeps a decompressed copy for as long as it is read.
    _spool: Option<Staging>,
}

enum Member {
    Data {
        offset: u64,
        size: u64,
    },
    /// Docker once stored a layer that several images share as links to one of them.
    Link(String),
}

/// Names in either format are shorter; longer ones are not looked up and so not remembered.
const NAME_BYTES: usize = 512;
/// How many links to links are followed.
const LINKS: usize = 4;

impl Archive {
    pub(super) fn open(path: &Path, around: &Surroundings<'_>) -> Result<Self, PullCause> {
        // Without O_NONBLOCK a pipe by that name would hold us until somebody writes to it.
        let mut options = File::options();
        options.read(true).custom_flags(nix::libc::O_NONBLOCK);
        let file = options.open(path).map_err(ArchiveError::Read)?;
        let kind = file.metadata().map_err(ArchiveError::Read)?.file_type();
        if kind.is_dir() {
            return Ok(Archive::Directory(RootDir::from_fd(file.into()).map_err(ArchiveError::Read)?));
        }
        if !kind.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a directory");
            return Err(ArchiveError::Read(error).into());
        }
        let mut content = Content::new(file);
        if content.is_plain().map_err(ArchiveError::Read)? {
            return Ok(Archive::Tar(Indexed::new(File::open(path), None)?));
        }
        let (file, spool) = spool(content, around)?;
        Ok(Archive::Tar(Indexed::new(Ok(file), Some(spool))?))
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, name: &str) -> Result<bool, ArchiveError> {
        match self.open_file(name) {
            Ok(_) => Ok(true),
            Err(ArchiveError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a file and says how large it is.
    pub(super) fn open_file(&self, name: &str) -> Result<(Box<dyn Read + Send>, u64), ArchiveError> {
        match self {
            Archive::Directory(root) => {
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                let file = match root.open_with(name, flags, 0, Resolve::InRoot) {
                    Ok(file) => File::from(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(ArchiveError::Missing(name.to_owned()));
                    }
                    Err(error) => return Err(ArchiveError::Read(error)),
                };
                let metadata = file.metadata().map_err(ArchiveError::Read)?;
                match metadata.is_file() {
                    true => Ok((Box::new(file), metadata.len())),
                    false => Err(ArchiveError::Missing(name.to_owned())),
                }
            }
            Archive::Tar(indexed) => indexed.open_file(name),
        }
    }

    /// Reads a small file whole.
    pub(super) fn read(&self, name: &str, what: &'static str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let (source, size) = self.open_file(name)?;
        if size > limit {
            return Err(ArchiveError::TooMuch { what, limit });
        }
        let mut bytes = Vec::new();
        source.take(limit).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        Ok(bytes)
    }

    /// Reads a small blob of an OCI layout and checks it.
    pub(super) fn blob(&self, blob: &Blob, what: &'static str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let name = blob_name(&blob.digest);
        let bytes = self.read(&name, what, limit)?;
        match Digest::of(&bytes) {
            found if found == blob.digest => Ok(bytes),
            found => Err(ArchiveError::Digest { name, found }),
        }
    }
}

/// Where a blob is (OCI image-spec 1.1, image-layout.md, "Blobs").
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.to_hex())
}

impl Indexed {
    /// Reads through the headers once, passing over all data.
    fn new(file: io::Result<File>, spool: Option<Staging>) -> Result<Self, ArchiveError> {
        let file = file.map_err(ArchiveError::Read)?;
        let mut again = file.try_clone().map_err(ArchiveError::Read)?;
        again.rewind().map_err(ArchiveError::Read)?;
        let mut tar = TarReader::new(BufReader::with_capacity(4096, again));
        let mut members = BTreeMap::new();
        let mut entries = 0;
        while let Some(member) = tar.next()? {
            entries += 1;
            if entries > limits::ARCHIVE_ENTRIES {
                let limit = limits::ARCHIVE_ENTRIES;
                return Err(ArchiveError::TooMuch { what: "members", limit });
            }
            let offset = tar.seek_past_data()?;
            let found = match member.kind {
                Kind::File if member.sparse.is_none() => Member::Data { offset, size: member.size },
                Kind::Symlink => Member::Link(beside(&member.path, &member.link)),
                Kind::HardLink => Member::Link(normal(&member.link)),
                _ => continue,
            };
            let name = normal(&member.path);
            if name.len() <= NAME_BYTES {
                members.insert(name, found);
            }
        }
        Ok(Self { file: Arc::new(file), members, _spool: spool })
    }

    fn open_file(&self, name: &str) -> Result<(Box<dyn Read + Send>, u64), ArchiveError> {
        let mut wanted = name;
        for _ in 0..=LINKS {
            match self.members.get(wanted) {
                Some(Member::Data { offset, size }) => {
                    let range = Range {
                        file: self.file.clone(),
                        position: *offset,
                        end: offset.saturating_add(*size),
                    };
                    return Ok((Box::new(range), *size));
                }
                Some(Member::Link(target)) => wanted = target,
                None => break,
            }
        }
        Err(ArchiveError::Missing(name.to_owned()))
    }
}

/// `./a//b` is `a/b`, and `a/../b` is `b`. Names only select members, so nothing can be left.
fn normal(name: &[u8]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let name = String::from_utf8_lossy(name);
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a link target means for a link at `name`.
fn beside(name: &[u8], target: &[u8]) -> String {
    let end = name.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    normal(&[&name[..end], b"/", target].concat())
}

/// Part of a file that several readers share.
struct Range {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Decompresses a whole archive into staging, within the limits of one layer.
fn spool(mut source: impl Read, around: &Surroundings<'_>) -> Result<(File, Staging), PullCause> {
    let staging = Staging::create(around.layout).map_err(ArchiveError::Spool)?;
    let place = staging.root().place("archive.tar").map_err(ArchiveError::Spool)?;
    let mut file = place.create(0o600).map_err(ArchiveError::Spool)?;
    let mut buffer = vec![0; 128 << 10];
    let mut bytes = 0;
    loop {
        if around.cancel.is_cancelled() {
            return Err(PullCause::Cancelled);
        }
        let count = source.read(&mut buffer).map_err(ArchiveError::Read)?;
        if count == 0 {
            return Ok((file, staging));
        }
        bytes += count as u64;
        if bytes > limits::LAYER_UNPACKED_BYTES {
            let limit = limits::LAYER_UNPACKED_BYTES;
            return Err(ArchiveError::TooMuch { what: "unpacked bytes", limit }.into());
        }
        around.room.check(count as u64).map_err(PullCause::NoRoom)?;
        file.write_all(&buffer[..count]).map_err(ArchiveError::Spool)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_comparable() {
        let cases = [("./a//b", "a/b"), ("/a", "a"), ("a/../b", "b"), ("../../a", "a"), ("", "")];
        for (name, want) in cases {
            assert_eq!(normal(name.as_bytes()), want, "{name}");
        }
        assert_eq!(beside(b"one/layer.tar", b"../two/layer.tar"), "two/layer.tar");
        assert_eq!(beside(b"top", b"x"), "x");
    }
}
