//! Deflate streams (RFC 1951) that are decoded in one process and gone on with in another.
//!
//! Between two blocks a decoder knows little: the last 32 KiB that it gave out, and how many bits of a byte the next
//! block begins with. Other libraries keep that to themselves; this is the interface of zlib that does not.

use libz_rs_sys as zlib;
use std::fmt;
use std::io;

/// A decoder. It knows nothing of the headers and sums that gzip and zlib put around the stream.
pub struct Inflate {
    /// What the library keeps points back here, so it stays where it is.
    stream: Box<zlib::z_stream>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are not needed again.
    pub consumed: usize,
    /// Bytes of the output that were written.
    pub produced: usize,
    /// How far it came.
    pub at: At,
}

/// Where a decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Somewhere in a block; it needs more input or more room.
    Within,
    /// Between two blocks.
    Boundary,
    /// Behind the last block.
    End,
}

/// All that is needed to go on from between two blocks, with the input that was not consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// The bits of the last consumed byte that belong to the next block, in the lower places; at most seven.
    pub bits: u8,
    /// How many they are.
    pub bit_count: u8,
    /// What was given out last, at most 32 KiB.
    pub window: Vec<u8>,
}

/// The largest window of the format, in bytes.
pub const WINDOW_BYTES: usize = 32 << 10;

impl Inflate {
    /// At the beginning of a stream.
    pub fn new() -> io::Result<Self> {
        let mut stream = Box::new(zlib::z_stream::default());
        // A negative size means a stream without headers.
        const RAW: i32 = -15;
        let size = i32::try_from(size_of::<zlib::z_stream>()).expect("a small structure");
        // SAFETY: `stream` is a valid structure that lives for as long as `self`; a null allocator means the library's own.
        check(unsafe { zlib::inflateInit2_(&raw mut *stream, RAW, zlib::zlibVersion(), size) })?;
        Ok(Self { stream })
    }

    /// Between two blocks of one.
    pub fn at(boundary: &Boundary) -> io::Result<Self> {
        let mut inflate = Self::new()?;
        let stream = &raw mut *inflate.stream;
        if boundary.bit_count > 0 {
            let (count, bits) = (i32::from(boundary.bit_count.min(7)), i32::from(boundary.bits));
            // SAFETY: the stream was initialised and not ended; the same below.
            check(unsafe { zlib::inflatePrime(stream, count, bits) })?;
        }
        let window = &boundary.window[boundary.window.len().saturating_sub(WINDOW_BYTES)..];
        let length = u32::try_from(window.len()).expect("a window");
        // SAFETY: pointer and length describe `window`.
        check(unsafe { zlib::inflateSetDictionary(stream, window.as_ptr(), length) })?;
        Ok(inflate)
    }

    /// Decodes until a block ends, the input is used up, or the output is full. Damage is `InvalidData`.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let stream = &mut *self.stream;
        (stream.next_in, stream.avail_in) = (input.as_ptr(), length(input.len()));
        (stream.next_out, stream.avail_out) = (output.as_mut_ptr(), length(output.len()));
        let (given, room) = (stream.avail_in, stream.avail_out);
        // SAFETY: both pointers are valid for the lengths beside them while the call lasts, and are not used after it.
        let code = unsafe { zlib::inflate(&raw mut *stream, zlib::Z_BLOCK) };
        let (consumed, produced) = (given - stream.avail_in, room - stream.avail_out);
        let at = match code {
            zlib::Z_STREAM_END => At::End,
            // Nothing could be done, for want of input or of room.
            zlib::Z_BUF_ERROR => At::Within,
            code => {
                check(code)?;
                const AFTER_BLOCK: i32 = 128;
                const IN_LAST: i32 = 64;
                match stream.data_type & (AFTER_BLOCK | IN_LAST) {
                    AFTER_BLOCK => At::Boundary,
                    _ => At::Within,
                }
            }
        };
        Ok(Step { consumed: consumed as usize, produced: produced as usize, at })
    }

    /// What is known at [`At::Boundary`]; `last` is the byte that was consumed last.
    pub fn boundary(&mut self, last: u8) -> io::Result<Boundary> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut length = 0;
        let stream = &raw mut *self.stream;
        // SAFETY: there is room for the largest window.
        check(unsafe { zlib::inflateGetDictionary(stream, window.as_mut_ptr(), &raw mut length) })?;
        window.truncate(length as usize);
        let bit_count = u8::try_from(self.stream.data_type & 7).expect("three bits");
        let bits = if bit_count == 0 { 0 } else { last >> (8 - bit_count) };
        Ok(Boundary { bits, bit_count, window })
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised, and is not used any more.
        unsafe { zlib::inflateEnd(&raw mut *self.stream) };
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

// SAFETY: all that the library keeps is reached through this value alone.
unsafe impl Send for Inflate {}

fn check(code: i32) -> io::Result<()> {
    match code {
        zlib::Z_OK => Ok(()),
        zlib::Z_MEM_ERROR => Err(io::ErrorKind::OutOfMemory.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the deflate stream is damaged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text() -> Vec<u8> {
        let mut seed = 7_u32;
        let mut words = Vec::new();
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            write!(words, "{} ", seed >> 20).expect("memory");
        }
        words
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Decodes, and asks `leave` at each boundary whether to go on with a new decoder.
    fn decode(mut input: &[u8], piece: usize, mut leave: impl FnMut(usize) -> bool) -> (Vec<u8>, usize) {
        let mut inflate = Inflate::new().expect("decoder");
        let (mut out, mut buffer, mut boundaries, mut last) = (Vec::new(), vec![0; piece], 0, 0);
        loop {
            let step = inflate.step(&input[..input.len().min(piece)], &mut buffer).expect("sound");
            out.extend_from_slice(&buffer[..step.produced]);
            last = input[..step.consumed].last().copied().unwrap_or(last);
            input = &input[step.consumed..];
            match step.at {
                At::End => return (out, boundaries),
                At::Boundary => {
                    boundaries += 1;
                    if leave(boundaries) {
                        let boundary = inflate.boundary(last).expect("state");
                        inflate = Inflate::at(&boundary).expect("decoder");
                    }
                }
                At::Within => {}
            }
        }
    }

    #[test]
    fn a_stream_is_gone_on_with_at_every_boundary() {
        let text = text();
        let stream = deflated(&text);
        let (whole, boundaries) = decode(&stream, 1 << 16, |_| false);
        assert!(whole == text && boundaries > 5, "{boundaries}");
        let (pieced, again) = decode(&stream, 1 << 16, |_| true);
        assert!(pieced == text && again == boundaries);
    }

    #[test]
    fn damage_is_an_error() {
        let mut stream = deflated(&text()[..10_000]);
        stream[0] |= 6;
        let mut inflate = Inflate::new().expect("decoder");
        let error = inflate.step(&stream, &mut [0; 100]).expect_err("no such block");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
