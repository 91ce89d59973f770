//! One layer from its bytes to its directory below `layers/`.
//!
//! The protocol: unpack into a directory of its own in `staging/`, check every digest, flush the file
//! system, rename to `layers/<diffID>`, flush `layers/`. So a directory below `layers/` is complete and
//! verified by construction, and whoever finds one there need not ask. A cut at any point leaves either
//! that or something in `staging/`, which is emptied at start.

use crate::codec::Decoder;
use crate::progress::{CancelToken, Progress};
use crate::registry::RegistryError;
use crate::space::Room;
use crate::staging::Staging;
use crate::stream::{Incoming, Interruption, Unpacked};
use crate::tar::TarError;
use crate::unpack::{self, UnpackError, Watch};
use edgelet_sys::durable;
use edgelet_types::{Digest, Layout};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};

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

/// What the making of layers needs to know about its surroundings.
pub(crate) struct Surroundings<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) room: &'a Room,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a CancelToken,
}

/// Makes a layer out of `source`. Blocks until it is durable.
pub(crate) fn make(
    source: impl Read,
    expected: &Expected,
    around: &Surroundings<'_>,
) -> Result<Standing, LayerError> {
    let staging = Staging::create(around.layout).map_err(LayerError::Publish)?;
    let standing = unpack_verified(source, expected, around, &staging)?;
    publish(&staging, &expected.diff_id, around.layout).map_err(LayerError::Publish)?;
    Ok(standing)
}

fn unpack_verified(
    source: impl Read,
    expected: &Expected,
    around: &Surroundings<'_>,
    staging: &Staging,
) -> Result<Standing, LayerError> {
    let arrived = Cell::new(0);
    let size = expected.content.map(|blob| blob.size);
    let mut incoming =
        Incoming::new(source, size, &arrived, expected.diff_id, around.progress, around.cancel);
    let unpacked = unpack_stream(&mut incoming, &arrived, around, staging);
    let (unpacked_bytes, diff_id) = match unpacked {
        Ok(unpacked) => unpacked,
        Err(error) => return Err(blame(error, incoming, expected)),
    };
    incoming.drain().map_err(stream_error)?;
    if incoming.ended_early() {
        return Err(LayerError::Truncated { arrived: arrived.get(), size: size.unwrap_or_default() });
    }
    let content = incoming.finish();
    check("content", content.digest, expected.content.map(|blob| blob.digest))?;
    check("unpacked content", diff_id, Some(expected.diff_id))?;
    Ok(Standing { unpacked_bytes, content_bytes: content.bytes })
}

fn unpack_stream(
    incoming: &mut Incoming<'_, impl Read>,
    arrived: &Cell<u64>,
    around: &Surroundings<'_>,
    staging: &Staging,
) -> Result<(u64, Digest), LayerError> {
    let decoder = Decoder::new(incoming).map_err(stream_error)?;
    let mut stream = Unpacked::new(decoder, arrived);
    let mut watch = Spending { room: around.room, unchecked: 0 };
    let bytes = unpack::unpack(&mut stream, staging.root(), &mut watch).map_err(|error| match error {
        UnpackError::Archive(TarError::Read(error)) => stream_error(error),
        other => LayerError::Unpack(other),
    })?;
    Ok((bytes, stream.finish().map_err(stream_error)?))
}

/// Bytes that make no sense are most often damaged ones. When the rest of them can still be read, their
/// digest tells damage on the way from a bad image, which are different people's business.
fn blame(error: LayerError, mut incoming: Incoming<'_, impl Read>, expected: &Expected) -> LayerError {
    let senseless = matches!(
        error,
        LayerError::Codec(_) | LayerError::Unpack(UnpackError::Archive(_) | UnpackError::Invalid { .. })
    );
    if !senseless {
        return error;
    }
    if let Err(interrupted) = incoming.drain() {
        return stream_error(interrupted);
    }
    let size = expected.content.map(|blob| blob.size).unwrap_or_default();
    if incoming.ended_early() {
        return LayerError::Truncated { arrived: incoming.finish().bytes, size };
    }
    let content = incoming.finish();
    match check("content", content.digest, expected.content.map(|blob| blob.digest)) {
        Ok(()) => error,
        Err(damaged) => damaged,
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

/// The order matters: content before name, name before anybody may rely on it.
fn publish(staging: &Staging, diff_id: &Digest, layout: &Layout) -> io::Result<()> {
    durable::sync_filesystem(staging.root())?;
    let layers = File::open(layout.layers())?;
    match durable::rename_noreplace(staging.parent(), staging.name(), &layers, diff_id.to_hex()) {
        // Somebody else made the same layer; theirs is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => layers.sync_all(),
    }
}

/// Looks at the room that is left every few megabytes.
struct Spending<'a> {
    room: &'a Room,
    unchecked: u64,
}

impl Watch for Spending<'_> {
    fn wrote(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.unchecked += bytes;
        if self.unchecked < CHECK_BYTES {
            return Ok(());
        }
        self.unchecked = 0;
        self.room.check(0).map_err(|full| UnpackError::NoSpace { free: full.free, reserve: full.reserve })
    }
}

/// Less than the smallest reserve that makes sense, divided by the layers that are made at a time.
const CHECK_BYTES: u64 = 2 << 20;
