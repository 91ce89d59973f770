//! One member of an archive, put together from its header and everything said before it.

use super::pax::Records;
use super::sparse::{self, Extent};
use super::{TarError, malformed};
use edgelet_types::limits;
use std::ffi::CString;

/// One member. Names are bytes, as they are on disk; they are not checked beyond length and zero bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Of links: what they point at.
    pub(crate) link: Vec<u8>,
    /// Of files: size once unpacked, holes included.
    pub(crate) size: u64,
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(CString, Vec<u8>)>,
    /// Of sparse files: where the data goes, in order.
    pub(crate) sparse: Option<Vec<Extent>>,
    /// The map stands in front of the data (sparse format 1.0).
    pub(super) sparse_map_in_data: bool,
}

/// What sort of thing a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    /// Major and minor number.
    Char(u32, u32),
    /// Major and minor number.
    Block(u32, u32),
}

/// What extension headers said about the member that follows them.
#[derive(Default)]
pub(super) struct Extensions {
    pub(super) pax: Option<Records>,
    /// GNU long name.
    pub(super) name: Option<Vec<u8>>,
    /// GNU long link target.
    pub(super) link: Option<Vec<u8>>,
    /// Size of all of them.
    pub(super) bytes: u64,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// Builds the member, and says how many bytes of data follow its header.
///
/// PAX records beat GNU long names, which beat the header; the member's own records beat global ones.
pub(super) fn build(
    header: &tar::Header,
    global: &Records,
    extensions: Extensions,
) -> Result<(Member, u64), TarError> {
    let mut records = global.clone();
    records.merge(extensions.pax.unwrap_or_default());
    let header_path = extensions.name.unwrap_or_else(|| header.path_bytes().into_owned());
    let header_link = || header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let path = records.sparse_name.take().or(records.path.take()).unwrap_or(header_path);
    let link = records.link.take().or(extensions.link).unwrap_or_else(header_link);
    check_name("a path", &path)?;
    check_name("a link target", &link)?;

    let kind = kind(header, &path)?;
    let stored = match kind {
        // The size of others is not the size of anything; some writers copy it from the original.
        Kind::File => match records.size {
            Some(size) => size,
            None => header.entry_size().map_err(malformed)?,
        },
        _ => 0,
    };
    let sparse_map_in_data = records.sparse_version == Some((1, 0));
    let sparse = sparse::from_records(&records)?;
    let is_sparse = sparse.is_some() || sparse_map_in_data;
    if is_sparse && kind != Kind::File {
        return Err(TarError::Malformed("a sparse map on something that is not a file".to_owned()));
    }
    let mtime = match records.mtime {
        Some(time) => time,
        None => (i64::try_from(header.mtime().map_err(malformed)?).unwrap_or(i64::MAX), 0),
    };
    let member = Member {
        path,
        kind,
        link,
        size: if is_sparse { records.sparse_size.unwrap_or(stored) } else { stored },
        mode: header.mode().map_err(malformed)? & 0o7777,
        uid: owner(records.uid.map_or_else(|| header.uid(), Ok).map_err(malformed)?)?,
        gid: owner(records.gid.map_or_else(|| header.gid(), Ok).map_err(malformed)?)?,
        mtime,
        xattrs: records.xattrs.into_iter().collect(),
        sparse,
        sparse_map_in_data,
    };
    Ok((member, stored))
}

fn kind(header: &tar::Header, path: &[u8]) -> Result<Kind, TarError> {
    let device = || -> Result<(u32, u32), TarError> {
        let major = header.device_major().map_err(malformed)?.unwrap_or_default();
        let minor = header.device_minor().map_err(malformed)?.unwrap_or_default();
        Ok((major, minor))
    };
    match header.entry_type().as_byte() {
        // In V7 archives a directory is a file whose name ends in a slash.
        b'0' | b'\0' if path.ends_with(b"/") => Ok(Kind::Directory),
        b'0' | b'\0' | b'7' | b'S' => Ok(Kind::File),
        b'1' => Ok(Kind::HardLink),
        b'2' => Ok(Kind::Symlink),
        b'3' => device().map(|(major, minor)| Kind::Char(major, minor)),
        b'4' => device().map(|(major, minor)| Kind::Block(major, minor)),
        b'5' => Ok(Kind::Directory),
        b'6' => Ok(Kind::Fifo),
        other => Err(TarError::Unsupported(char::from(other))),
    }
}

/// The highest number means "leave as it is" to the kernel, which would make the file ours.
fn owner(id: u64) -> Result<u32, TarError> {
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(TarError::Malformed(format!("owner {id} is out of range"))),
    }
}

fn check_name(what: &'static str, name: &[u8]) -> Result<(), TarError> {
    if name.len() > limits::LAYER_PATH_BYTES {
        return Err(TarError::TooMuch { what, limit: limits::LAYER_PATH_BYTES as u64 });
    }
    match name.contains(&0) {
        true => Err(TarError::Malformed(format!("{what} with a zero byte"))),
        false => Ok(()),
    }
}
