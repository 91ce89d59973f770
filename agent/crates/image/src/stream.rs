//! The two counted ends of a layer: as it arrives, and as it is unpacked.

use crate::progress::{CancelToken, Progress};
use edgelet_types::{Digest, Verifier, limits};
use std::cell::Cell;
use std::io::{self, Read};

/// Why a stream was ended from our side, or by whoever sends it. It travels through decoders inside an
/// `io::Error` and is taken out again by [`Interruption::of`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    /// The sender failed.
    #[error("{0}")]
    Source(io::Error),
    /// More bytes than were promised.
    #[error("more than the promised {0} B")]
    TooLong(u64),
    /// More unpacked than any honest layer.
    #[error("unpacks to more than {0}")]
    Bomb(String),
    /// We were told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Interruption {
    /// Takes an interruption out of the error it travelled in; gives the error back if it is another.
    pub(crate) fn of(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Interruption>()
    }

    fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// Bytes as they arrive: counted, and stopped when there are too many, or none wanted.
pub(crate) struct Incoming<'a, R> {
    source: R,
    /// The promised number of bytes, where there is a promise.
    size: Option<u64>,
    /// How many have arrived; shared with the other end, which compares.
    arrived: &'a Cell<u64>,
    told: u64,
    layer: Digest,
    progress: &'a dyn Progress,
    cancel: &'a CancelToken,
}

impl<'a, R: Read> Incoming<'a, R> {
    /// `arrived` is how many bytes had arrived before those of `source`.
    pub(crate) fn new(
        source: R,
        size: Option<u64>,
        arrived: &'a Cell<u64>,
        layer: Digest,
        progress: &'a dyn Progress,
        cancel: &'a CancelToken,
    ) -> Self {
        Self { source, size, arrived, told: arrived.get(), layer, progress, cancel }
    }
}

impl<R: Read> Read for Incoming<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(Interruption::Cancelled.into_io());
        }
        let count = match self.source.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            // A cancelled connection fails in its own way; the cause is the cancellation.
            Err(_) if self.cancel.is_cancelled() => return Err(Interruption::Cancelled.into_io()),
            Err(error) => return Err(Interruption::Source(error).into_io()),
        };
        let arrived = self.arrived.get() + count as u64;
        self.arrived.set(arrived);
        if let Some(size) = self.size
            && arrived > size
        {
            return Err(Interruption::TooLong(size).into_io());
        }
        if arrived - self.told >= TELL_BYTES || count == 0 {
            self.told = arrived;
            self.progress.layer(&self.layer, arrived, self.size);
        }
        Ok(count)
    }
}

/// How often progress is told: seldom enough to cost nothing, often enough for a bar on a thin link.
const TELL_BYTES: u64 = 64 << 10;

/// Bytes as they come out of the decoder: counted, hashed, and stopped when there are absurdly many.
pub(crate) struct Unpacked<'a, R> {
    source: R,
    verifier: Verifier,
    arrived: &'a Cell<u64>,
}

impl<'a, R: Read> Unpacked<'a, R> {
    /// `verifier` has seen what was unpacked before.
    pub(crate) fn new(source: R, verifier: Verifier, arrived: &'a Cell<u64>) -> Self {
        Self { source, verifier, arrived }
    }

    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// What has seen all bytes so far.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Reads what is left (an archive is filled up after its end) and says what all of it hashes to.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        let mut scratch = [0; 16 << 10];
        while self.read(&mut scratch)? > 0 {}
        Ok(self.verifier.finish())
    }
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.verifier.update(&buffer[..count]);
        match bomb(self.verifier.bytes(), self.arrived.get()) {
            Some(limit) => Err(Interruption::Bomb(limit).into_io()),
            None => Ok(count),
        }
    }
}

/// The limit that `unpacked` bytes out of `arrived` ones break, if any.
fn bomb(unpacked: u64, arrived: u64) -> Option<String> {
    if unpacked > limits::LAYER_UNPACKED_BYTES {
        return Some(format!("{} B", limits::LAYER_UNPACKED_BYTES));
    }
    let ratio =
        unpacked > limits::LAYER_RATIO_FROM_BYTES && unpacked > arrived.saturating_mul(limits::LAYER_RATIO);
    ratio.then(|| format!("{} times its size", limits::LAYER_RATIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn read_all(bytes: &[u8], size: u64, cancel: &CancelToken) -> (io::Result<usize>, u64) {
        let arrived = Cell::new(0);
        let mut incoming = Incoming::new(bytes, Some(size), &arrived, Digest::of(b""), &Silent, cancel);
        (incoming.read_to_end(&mut Vec::new()), arrived.get())
    }

    #[test]
    fn too_many_bytes_are_stopped() {
        let cancel = CancelToken::new();
        let error = read_all(b"abcd", 3, &cancel).0.expect_err("one too many");
        assert!(matches!(Interruption::of(error), Ok(Interruption::TooLong(3))));
        for size in [4, 5] {
            let (read, arrived) = read_all(b"abcd", size, &cancel);
            assert_eq!((read.ok(), arrived), (Some(4), 4));
        }
    }

    #[test]
    fn a_cancelled_stream_stops_at_the_next_read() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let error = read_all(b"abc", 3, &cancel).0.expect_err("cancelled");
        assert!(matches!(Interruption::of(error), Ok(Interruption::Cancelled)));
    }

    #[test]
    fn only_large_and_absurd_ratios_are_bombs() {
        let from = limits::LAYER_RATIO_FROM_BYTES;
        assert_eq!(bomb(from, 1), None);
        assert!(bomb(from + 1, from / limits::LAYER_RATIO).is_some());
        assert_eq!(bomb(from + 1, from / limits::LAYER_RATIO + 1), None);
        assert!(bomb(limits::LAYER_UNPACKED_BYTES + 1, u64::MAX).is_some());
    }
}
