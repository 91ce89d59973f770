//! Doors to the parsers for fuzz targets. What goes through them is private, so texts come out.

use crate::config::ImageConfig;
use crate::content::Content;
use crate::manifest::Document;
use crate::registry::challenge::{self, Challenge};
use crate::unpack::{self, Resumed, UnpackError, Watch};
use edgelet_sys::root::RootDir;
use edgelet_types::Platform;
use std::io::{self, Read};
use std::path::Path;

/// What a document means, and the entry of an index that would run here.
pub fn document(bytes: &[u8], content_type: Option<&str>) -> Option<String> {
    let document = Document::parse(bytes, content_type).ok()?;
    let chosen = match &document {
        Document::Index(index) => index.choose(&Platform::host()),
        Document::Manifest(_) => None,
    };
    Some(format!("{document:?} {chosen:?}"))
}

/// How many layers an accepted configuration has.
pub fn config(bytes: &[u8], layers: usize) -> Option<usize> {
    ImageConfig::parse(bytes, layers).ok().map(|config| config.diff_ids.len())
}

/// The challenges of a header; for bearer ones realm, service and scope.
pub fn challenges(value: &str) -> Vec<Option<(String, Option<String>, Option<String>)>> {
    let parts = |challenge| match challenge {
        Challenge::Basic => None,
        Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
    };
    challenge::parse(value).into_iter().map(parts).collect()
}

/// Decompresses at most `limit` bytes.
pub fn decode(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    Content::new(bytes).take(limit).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// Unpacks a layer whose files have at most `limit` bytes, and says how many they have.
pub fn unpack(layer: &[u8], root: &Path, limit: u64) -> Result<u64, UnpackError> {
    let write = |source| UnpackError::Write { path: root.to_owned(), source };
    let root = RootDir::open(root).map_err(write)?;
    unpack::unpack(Resumed::default(), 0, Content::new(layer), &root, &mut Limit { left: limit })
}

struct Limit {
    left: u64,
}

impl<R> Watch<R> for Limit {
    fn wrote(&mut self, bytes: u64) -> Result<(), UnpackError> {
        let short = UnpackError::NoSpace { free: self.left, reserve: 0 };
        self.left = self.left.checked_sub(bytes).ok_or(short)?;
        Ok(())
    }
}
