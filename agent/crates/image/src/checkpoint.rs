//! How far a layer has come, as a file from which another process goes on.
//!
//! The file is ours, and may be damaged all the same: its own digest is checked, and everything in it is bounded by its
//! length. What it says is not trusted either: a layer is published only when both its digests are right.

use crate::content::{DecoderPoint, Point};
use crate::layer::Expected;
use crate::unpack::{Halt, Resumed};
use edgelet_sys::inflate::Boundary;
use edgelet_types::{Digest, Verifier};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// All that is needed beside the files on disk.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    /// From where the content is read again.
    pub(crate) point: Point,
    /// The unpacked stream so far; it is at or behind the point.
    pub(crate) unpacked: Verifier,
    pub(crate) place: Resumed,
}

const MAGIC: &[u8] = b"edgelet layer checkpoint 1\n";

/// Writes what [`decode`] reads.
pub(crate) fn encode(expected: &Expected, point: &Point, unpacked: &Verifier, halt: &Halt<'_>) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    out.bytes(&identity(expected));
    out.bytes(&point.content);
    out.number(point.content_bytes);
    out.number(point.unpacked_bytes);
    match &point.decoder {
        DecoderPoint::Plain => out.number(PLAIN),
        DecoderPoint::Zstd => out.number(ZSTD),
        DecoderPoint::Gzip(None) => out.number(GZIP_MEMBER),
        DecoderPoint::Gzip(Some(boundary)) => {
            out.number(GZIP_BLOCK);
            out.number(u64::from(boundary.bits));
            out.number(u64::from(boundary.bit_count));
            out.bytes(&boundary.window);
        }
    }
    out.bytes(&unpacked.state());
    out.number(halt.entries);
    out.bytes(&halt.headers.concat());
    out.number(halt.written.map_or(0, |written| written + 1));
    out.number(halt.directories.len() as u64);
    for (path, (seconds, nanos)) in halt.directories {
        out.bytes(path.as_os_str().as_bytes());
        out.number(seconds.cast_unsigned());
        out.number(u64::from(*nanos));
    }
    let digest = Digest::of(&out.0);
    out.0.extend_from_slice(digest.as_bytes());
    out.0
}

const PLAIN: u64 = 0;
const ZSTD: u64 = 1;
const GZIP_MEMBER: u64 = 2;
const GZIP_BLOCK: u64 = 3;

/// Reads one; `None` when it is damaged, of another version, or of another layer.
pub(crate) fn decode(file: &[u8], expected: &Expected) -> Option<Checkpoint> {
    let (file, digest) = file.split_last_chunk::<32>()?;
    if Digest::of(file).as_bytes() != digest {
        return None;
    }
    let mut input = Reader(file.strip_prefix(MAGIC)?);
    if input.bytes()? != identity(expected) {
        return None;
    }
    let (content, content_bytes, unpacked_bytes) =
        (input.bytes()?.to_vec(), input.number()?, input.number()?);
    let decoder = match input.number()? {
        PLAIN => DecoderPoint::Plain,
        ZSTD => DecoderPoint::Zstd,
        GZIP_MEMBER => DecoderPoint::Gzip(None),
        GZIP_BLOCK => DecoderPoint::Gzip(Some(Boundary {
            bits: input.number()?.try_into().ok()?,
            bit_count: input.number()?.try_into().ok()?,
            window: input.bytes()?.to_vec(),
        })),
        _ => return None,
    };
    let unpacked = Verifier::from_state(input.bytes()?)?;
    let (entries, headers) = (input.number()?, input.bytes()?.to_vec());
    let written = input.number()?.checked_sub(1);
    let mut directories = Vec::new();
    for _ in 0..input.number()? {
        let path = PathBuf::from(OsString::from_vec(input.bytes()?.to_vec()));
        directories.push((path, (input.number()?.cast_signed(), input.number()?.try_into().ok()?)));
    }
    let point = Point { content, content_bytes, unpacked_bytes, decoder };
    let place = Resumed { entries, headers, written, directories };
    let is_whole = input.0.is_empty() && point.unpacked_bytes <= unpacked.bytes();
    is_whole.then_some(Checkpoint { point, unpacked, place })
}

/// What is being made, and of what.
fn identity(expected: &Expected) -> Vec<u8> {
    let content =
        expected.content.map(|blob| [blob.digest.as_bytes(), &blob.size.to_le_bytes()[..]].concat());
    [expected.diff_id.as_bytes().to_vec(), content.unwrap_or_default()].concat()
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Blob;

    fn expected() -> Expected {
        let content = Some(Blob { digest: Digest::of(b"content"), size: 7 });
        Expected { diff_id: Digest::of(b"layer"), content }
    }

    fn file(written: Option<u64>) -> Vec<u8> {
        let mut unpacked = Verifier::new();
        unpacked.update(&[7; 2000]);
        let boundary = Boundary { bits: 5, bit_count: 3, window: vec![9; 100] };
        let decoder = DecoderPoint::Gzip(Some(boundary));
        let content = Verifier::new().state();
        let point = Point { content, content_bytes: 1000, unpacked_bytes: 1900, decoder };
        let directories = [(PathBuf::from("a/b"), (-1, 5)), (PathBuf::from("c"), (1 << 40, 0))];
        let halt = Halt { entries: 3, headers: [b"all", b"own"], written, directories: &directories };
        encode(&expected(), &point, &unpacked, &halt)
    }

    #[test]
    fn what_is_written_is_read() {
        for written in [None, Some(0), Some(1 << 40)] {
            let read = decode(&file(written), &expected()).expect("sound");
            assert_eq!(read.place.written, written);
            assert_eq!(read.place.headers, b"allown");
            assert_eq!(read.place.directories[0], (PathBuf::from("a/b"), (-1, 5)));
            assert_eq!(
                (read.point.content_bytes, read.unpacked.bytes(), read.place.entries),
                (1000, 2000, 3)
            );
            let DecoderPoint::Gzip(Some(boundary)) = read.point.decoder else { panic!("another decoder") };
            assert_eq!((boundary.bits, boundary.bit_count, boundary.window.len()), (5, 3, 100));
        }
    }

    #[test]
    fn what_is_damaged_or_of_something_else_is_none() {
        let good = file(Some(1));
        for at in 0..good.len() {
            assert!(decode(&good[..at], &expected()).is_none());
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decode(&bad, &expected()).is_none());
        }
        let other = Expected { diff_id: Digest::of(b"other"), ..expected() };
        assert!(decode(&good, &other).is_none());
    }

    /// Sealed anew, so that the digest is right and what it seals is not.
    #[test]
    fn what_makes_no_sense_is_none() {
        let good = file(Some(1));
        let body = &good[..good.len() - 32];
        for at in MAGIC.len()..body.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bad = body.to_vec();
                bad[at] = value;
                let digest = Digest::of(&bad);
                bad.extend_from_slice(digest.as_bytes());
                // It may be read or not; it must not panic, nor take memory that is not there.
                let _ = decode(&bad, &expected());
            }
        }
    }
}
