//! Zstandard (RFC 8878).

use super::Step;
use edgelet_types::limits;
use std::io;
use zstd::stream::raw::{DParameter, Decoder, Operation};

/// A decoder of all frames, one after the other. One that wants a larger window than
/// [`limits::ZSTD_WINDOW_LOG`] fails.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    /// Whether it is between two frames.
    is_between: bool,
}

impl Zstd {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG))?;
        Ok(Self { decoder, is_between: true })
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let status = self.decoder.run_on_buffers(input, output)?;
        let (consumed, produced) = (status.bytes_read, status.bytes_written);
        if consumed > 0 || produced > 0 {
            self.is_between = status.remaining == 0;
        }
        Ok(Step { consumed, produced, at_point: self.is_between, may_end: self.is_between })
    }
}
