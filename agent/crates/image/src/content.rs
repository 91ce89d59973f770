//! A layer's bytes as they are transferred, decoded: which compression it is, their first bytes say. Media types are
//! not asked, because they are sometimes wrong, and because the digests before and after decide what the bytes must be.
//!
//! Every now and then the decoder is at a point from which another process could go on: [`Content::point`].

mod gzip;
mod zstd;

use edgelet_sys::inflate::Boundary;
use edgelet_types::{Digest, Verifier};
use gzip::Gzip;
use std::io::{self, Read};
use zstd::Zstd;

/// The reading side of a compressed stream, with all its members or frames one after the other. Memory is bounded.
pub(crate) struct Content<R> {
    source: R,
    input: Buffer,
    source_ended: bool,
    /// Of what the decoder has taken.
    verifier: Verifier,
    decoder: Option<Decoder>,
    output: Buffer,
    /// Bytes that came out of the decoder.
    unpacked: u64,
    ended: bool,
    /// Where `output` ends, if that is a point.
    next_point: Option<Point>,
    point: Option<Point>,
}

/// All that is known between two bytes of the unpacked stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    /// The digest of the content so far, whose bytes are not needed again.
    pub(crate) content: Vec<u8>,
    /// How many bytes it is.
    pub(crate) content_bytes: u64,
    /// How many bytes that unpacks to.
    pub(crate) unpacked_bytes: u64,
    pub(crate) decoder: DecoderPoint,
}

/// What a decoder knows there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecoderPoint {
    Plain,
    /// Between two blocks, or where there is nothing to know between two members.
    Gzip(Option<Boundary>),
    /// Between two frames.
    Zstd,
}

enum Decoder {
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
}

/// What a decoder did.
#[derive(Debug, Default)]
struct Step {
    consumed: usize,
    produced: usize,
    /// Whether it is where another could go on.
    at_point: bool,
    /// Whether the stream may end here.
    may_end: bool,
}

impl<R: Read> Content<R> {
    /// From the first byte.
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            input: Buffer::default(),
            source_ended: false,
            verifier: Verifier::new(),
            decoder: None,
            output: Buffer::default(),
            unpacked: 0,
            ended: false,
            next_point: None,
            point: None,
        }
    }

    /// From a point on; `source` begins there. An error means that the point is none.
    pub(crate) fn at(source: R, point: &Point) -> io::Result<Self> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let verifier = Verifier::from_state(&point.content).ok_or_else(damaged)?;
        if verifier.bytes() != point.content_bytes {
            return Err(damaged());
        }
        let decoder = match &point.decoder {
            DecoderPoint::Plain => Decoder::Plain,
            DecoderPoint::Gzip(boundary) => Decoder::Gzip(Gzip::at(boundary.as_ref())?),
            DecoderPoint::Zstd => Decoder::Zstd(Zstd::new()?),
        };
        let point = Some(point.clone());
        let unpacked = point.as_ref().map_or(0, |point| point.unpacked_bytes);
        Ok(Self { verifier, decoder: Some(decoder), unpacked, point, ..Self::new(source) })
    }

    /// Whether it is not compressed at all.
    pub(crate) fn is_plain(&mut self) -> io::Result<bool> {
        Ok(matches!(self.decoder()?, Decoder::Plain))
    }

    /// The last point that does not lie behind what was read.
    pub(crate) fn point(&self) -> Option<&Point> {
        self.point.as_ref()
    }

    /// Reads what is left of the content without unpacking it, and says what all of it hashes to, and how long it is.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        while !self.input.ready().is_empty() || self.fill()? {
            self.verifier.update(self.input.ready());
            self.input.take(self.input.ready().len());
        }
        let bytes = self.verifier.bytes();
        Ok((self.verifier.finish(), bytes))
    }

    /// Reads more of the source; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.source_ended {
            return Ok(false);
        }
        let count = loop {
            match self.source.read(self.input.room()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.input.put(count);
        self.source_ended = count == 0;
        Ok(count > 0)
    }

    /// Decodes a piece into the empty output; false at the end.
    fn decode(&mut self) -> io::Result<bool> {
        self.point = self.next_point.take().or(self.point.take());
        self.decoder()?;
        loop {
            if self.input.ready().is_empty() {
                self.fill()?;
            }
            let Some(decoder) = &mut self.decoder else { return Ok(false) };
            let step = decoder.step(self.input.ready(), self.output.room())?;
            self.verifier.update(&self.input.ready()[..step.consumed]);
            self.input.take(step.consumed);
            self.output.put(step.produced);
            self.unpacked += step.produced as u64;
            if step.at_point {
                self.note_point();
            }
            if step.produced > 0 {
                return Ok(true);
            }
            // Nothing came of what there was: more is needed.
            if step.consumed == 0 && !self.fill()? {
                return match step.may_end && self.input.ready().is_empty() {
                    true => Ok(false),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn decoder(&mut self) -> io::Result<&mut Decoder> {
        if self.decoder.is_none() {
            // The longest magic number has four bytes.
            while self.input.ready().len() < 4 && self.fill()? {}
        }
        Ok(match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::of(self.input.ready())?),
        })
    }

    fn note_point(&mut self) {
        let known = self.next_point.as_ref().or(self.point.as_ref());
        let since = self.verifier.bytes() - known.map_or(0, |point| point.content_bytes);
        let Some(decoder) = self.decoder.as_mut().filter(|_| since >= SPACING_BYTES) else { return };
        self.next_point = decoder.point().map(|decoder| Point {
            content: self.verifier.state(),
            content_bytes: self.verifier.bytes(),
            unpacked_bytes: self.unpacked,
            decoder,
        });
    }
}

/// Points are at least so far apart, in bytes of the content: what they cost is a copy of 32 KiB.
const SPACING_BYTES: u64 = 256 << 10;

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.output.ready().is_empty() && !self.ended && !buffer.is_empty() {
            self.ended = !self.decode()?;
        }
        let count = self.output.ready().len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.output.ready()[..count]);
        self.output.take(count);
        Ok(count)
    }
}

impl Decoder {
    fn of(first: &[u8]) -> io::Result<Self> {
        Ok(match first {
            [0x1f, 0x8b, ..] => Self::Gzip(Gzip::new()?),
            // A frame, or a skippable frame (RFC 8878 3.1.1 and 3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd(Zstd::new()?),
            _ => Self::Plain,
        })
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        match self {
            Self::Plain => {
                let count = input.len().min(output.len());
                output[..count].copy_from_slice(&input[..count]);
                Ok(Step { consumed: count, produced: count, at_point: true, may_end: true })
            }
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Zstd(zstd) => zstd.step(input, output),
        }
    }

    fn point(&mut self) -> Option<DecoderPoint> {
        match self {
            Self::Plain => Some(DecoderPoint::Plain),
            Self::Gzip(gzip) => gzip.point().map(DecoderPoint::Gzip),
            Self::Zstd(_) => Some(DecoderPoint::Zstd),
        }
    }
}

/// Bytes between two that go at different paces.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What is read and decoded at a time.
const BUFFER: usize = 64 << 10;

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Buffer {
    fn ready(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn take(&mut self, count: usize) {
        self.start += count;
    }

    /// Where more can be put; none when it is full.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.bytes[self.end..]
    }

    fn put(&mut self, count: usize) {
        self.end += count;
    }
}

#[cfg(test)]
mod tests;
