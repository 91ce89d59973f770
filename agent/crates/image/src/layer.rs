//! One layer from its bytes to its directory below `layers/`.
//!
//! The protocol: unpack into a directory of its own in `partial/`, check every digest, flush the file
//! system, rename to `layers/<diffID>`, flush `layers/`. So a directory below `layers/` is complete and
//! verified by construction, and whoever finds one there need not ask. A cut at any point leaves either
//! that or something in `partial/`, from which the next attempt goes on.

use crate::checkpoint::{self, Checkpoint};
use crate::content::Content;
use crate::partial::Partial;
use crate::progress::{CancelToken, Progress};
use crate::registry::RegistryError;
use crate::space::Room;
use crate::stream::{Incoming, Interruption, Unpacked};
use crate::tar::TarError;
use crate::unpack::{self, Halt, Resumed, UnpackError, Watch};
use edgelet_types::{Digest, Layout, Verifier};
use std::cell::Cell;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// What a layer's bytes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Digest of the unpacked archive.
    pub(crate) diff_id: Digest,
    /// Digest and size as transferred; absent in archives that do not say.
    pub(crate) content: Option<crate::manifest::Blob>,
}

/// A layer that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) unpacked_bytes: u64,
    pub(crate) content_bytes: u64,
}

/// Why a layer does not stand. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The registry that sends the bytes failed, for good or too often.
    #[error("transfer")]
    Registry(#[source] RegistryError),
    /// The bytes could not be read from where they are.
    #[error("transfer")]
    Transfer(#[source] io::Error),
    /// The transfer ended too early.
    #[error("transfer ended after {arrived} of {size} B")]
    Truncated {
        /// Bytes that arrived.
        arrived: u64,
        /// Bytes that were promised.
        size: u64,
    },
    /// The transfer did not end where it should.
    #[error("transfer is longer than the promised {0} B")]
    TooLong(u64),
    /// The bytes are not the promised ones.
    #[error("{what} is {found}")]
    Digest {
        /// `content` as transferred, or `unpacked content`.
        what: &'static str,
        /// What the bytes hash to.
        found: Digest,
    },
    /// The compressed stream is damaged although its digest is right, or wants too much memory.
    #[error("decompress")]
    Codec(#[source] io::Error),
    /// It unpacks to more than any honest layer.
    #[error("{0}")]
    Bomb(String),
    /// What is in it cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The finished layer could not be made durable.
    #[error("publish")]
    Publish(#[source] io::Error),
    /// We were told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl LayerError {
    /// Whether another attempt may go on from where this one failed: nothing that has arrived was wrong.
    fn may_pass(&self) -> bool {
        match self {
            Self::Registry(_) | Self::Transfer(_) | Self::Truncated { .. } | Self::Cancelled => true,
            Self::Unpack(error) => matches!(error, UnpackError::NoSpace { .. } | UnpackError::Write { .. }),
            Self::Publish(_) => true,
            Self::TooLong(_) | Self::Digest { .. } | Self::Codec(_) | Self::Bomb(_) => false,
        }
    }
}

/// What the making of layers needs to know about its surroundings.
pub(crate) struct Surroundings<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) room: &'a Room,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a CancelToken,
    /// How much of the time that a layer takes may be lost by a power cut.
    pub(crate) keep_every: Duration,
}

/// Makes a layer out of what `open` gives from a byte on. Blocks until it is durable. After a failure that may pass,
/// what was made stays for the next attempt.
pub(crate) fn make<R: Read>(
    open: impl Fn(u64) -> io::Result<R>,
    expected: &Expected,
    around: &Surroundings<'_>,
) -> Result<Standing, LayerError> {
    loop {
        let (partial, checkpoint) = Partial::open(around.layout, expected).map_err(LayerError::Publish)?;
        let was_resumed = checkpoint.is_some();
        match unpack_verified(&open, expected, around, &partial, checkpoint) {
            Ok(standing) => {
                partial.publish(&expected.diff_id, around.layout).map_err(LayerError::Publish)?;
                return Ok(standing);
            }
            Err(error) if error.may_pass() => {
                partial.leave();
                return Err(error);
            }
            Err(error) => {
                partial.discard();
                if !was_resumed {
                    return Err(error);
                }
                // What was there of it may have been damaged meanwhile.
                log::warn!("a layer begins again layer={} cause={error}", expected.diff_id);
            }
        }
    }
}

fn unpack_verified<R: Read>(
    open: &impl Fn(u64) -> io::Result<R>,
    expected: &Expected,
    around: &Surroundings<'_>,
    partial: &Partial,
    checkpoint: Option<Checkpoint>,
) -> Result<Standing, LayerError> {
    let from = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.point.content_bytes);
    let arrived = Cell::new(from);
    let size = expected.content.map(|blob| blob.size);
    let source = open(from).map_err(LayerError::Transfer)?;
    let incoming = Incoming::new(source, size, &arrived, expected.diff_id, around.progress, around.cancel);
    let mut content = match &checkpoint {
        Some(checkpoint) => Content::at(incoming, &checkpoint.point).map_err(LayerError::Codec)?,
        None => Content::new(incoming),
    };
    let (unpacked_bytes, diff_id) =
        match unpack_stream(&mut content, &arrived, expected, around, partial, checkpoint) {
            Ok(unpacked) => unpacked,
            Err(error) => return Err(blame(error, content, expected)),
        };
    let content_bytes = check_content(content, expected)?;
    check("unpacked content", diff_id, Some(expected.diff_id))?;
    Ok(Standing { unpacked_bytes, content_bytes })
}

fn unpack_stream(
    content: &mut Content<impl Read>,
    arrived: &Cell<u64>,
    expected: &Expected,
    around: &Surroundings<'_>,
    partial: &Partial,
    checkpoint: Option<Checkpoint>,
) -> Result<(u64, Digest), LayerError> {
    let (verifier, place, file_bytes) = match checkpoint {
        Some(checkpoint) => {
            let known = checkpoint.unpacked.bytes() - checkpoint.point.unpacked_bytes;
            io::copy(&mut content.take(known), &mut io::sink()).map_err(stream_error)?;
            let on_disk = partial.file_bytes().map_err(LayerError::Publish)?;
            (checkpoint.unpacked, checkpoint.place, on_disk)
        }
        None => (Verifier::new(), Resumed::default(), 0),
    };
    let noted = content.point().map_or(0, |point| point.content_bytes);
    let mut stream = Unpacked::new(content, verifier, arrived);
    let mut keeper =
        Keeper { around, expected, partial, unchecked: 0, noted, kept: Instant::now(), is_final: false };
    let unpacked = unpack::unpack(place, file_bytes, &mut stream, partial.root(), &mut keeper);
    let bytes = unpacked.map_err(|error| match error {
        UnpackError::Archive(TarError::Read(error)) => stream_error(error),
        other => LayerError::Unpack(other),
    })?;
    Ok((bytes, stream.finish().map_err(stream_error)?))
}

/// Reads the rest, and says how much all of it is.
fn check_content(content: Content<impl Read>, expected: &Expected) -> Result<u64, LayerError> {
    let (digest, arrived) = content.finish().map_err(stream_error)?;
    match expected.content {
        Some(blob) if arrived < blob.size => Err(LayerError::Truncated { arrived, size: blob.size }),
        promised => check("content", digest, promised.map(|blob| blob.digest)).map(|()| arrived),
    }
}

/// Bytes that make no sense are most often damaged ones. When the rest of them can still be read, their
/// digest tells damage on the way from a bad image, which are different people's business.
fn blame(error: LayerError, content: Content<impl Read>, expected: &Expected) -> LayerError {
    let senseless = matches!(
        error,
        LayerError::Codec(_) | LayerError::Unpack(UnpackError::Archive(_) | UnpackError::Invalid { .. })
    );
    match senseless {
        true => check_content(content, expected).err().unwrap_or(error),
        false => error,
    }
}

fn stream_error(error: io::Error) -> LayerError {
    match Interruption::of(error) {
        Ok(Interruption::Source(error)) => match error.downcast() {
            Ok(error) => LayerError::Registry(error),
            Err(error) => LayerError::Transfer(error),
        },
        Ok(Interruption::TooLong(size)) => LayerError::TooLong(size),
        Ok(bomb @ Interruption::Bomb(_)) => LayerError::Bomb(bomb.to_string()),
        Ok(Interruption::Cancelled) => LayerError::Cancelled,
        Err(error) => LayerError::Codec(error),
    }
}

fn check(what: &'static str, found: Digest, expected: Option<Digest>) -> Result<(), LayerError> {
    match expected {
        Some(expected) if expected != found => Err(LayerError::Digest { what, found }),
        _ => Ok(()),
    }
}

/// Looks at the room that is left every few megabytes, and notes how far the layer has come.
struct Keeper<'a> {
    around: &'a Surroundings<'a>,
    expected: &'a Expected,
    partial: &'a Partial,
    /// Bytes since the room was looked at.
    unchecked: u64,
    /// Bytes of content up to the last point that was noted.
    noted: u64,
    /// When it was last noted for good.
    kept: Instant,
    /// Nobody can go on any more.
    is_final: bool,
}

impl<R: Read> Watch<&mut Unpacked<'_, &mut Content<R>>> for Keeper<'_> {
    fn wrote(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.unchecked += bytes;
        if self.unchecked < CHECK_BYTES {
            return Ok(());
        }
        self.unchecked = 0;
        let checked = self.around.room.check(0);
        checked.map_err(|full| UnpackError::NoSpace { free: full.free, reserve: full.reserve })
    }

    fn rests(&mut self, archive: &&mut Unpacked<'_, &mut Content<R>>, halt: &Halt<'_>) {
        let Some(point) = archive.source().point().filter(|point| point.content_bytes > self.noted) else {
            return;
        };
        if self.is_final || self.expected.content.is_none() {
            return;
        }
        self.noted = point.content_bytes;
        let note = checkpoint::encode(self.expected, point, archive.verifier(), halt);
        self.partial.note(&note);
        if self.kept.elapsed() < self.around.keep_every {
            return;
        }
        if let Err(error) = self.partial.keep(&note) {
            log::warn!("progress of a layer not kept layer={} cause={error}", self.expected.diff_id);
        }
        self.kept = Instant::now();
    }

    fn replaces(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.is_final, true) {
            true => Ok(()),
            false => self.partial.forget(),
        }
    }
}

/// Less than the smallest reserve that makes sense, divided by the layers that are made at a time.
const CHECK_BYTES: u64 = 2 << 20;
