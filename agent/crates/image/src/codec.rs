//! Compression: which one it is, its first bytes say. Media types are not asked, because they are
//! sometimes wrong, and because the digests before and after decide what the bytes must be.

use edgelet_types::limits;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Read};

/// The reading side of a compressed stream, with all its members or frames one after the other.
pub(crate) enum Decoder<'a, R: Read> {
    Plain(Peeked<R>),
    Gzip(Box<MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::Decoder<'a, Peeked<R>>>),
}

/// A stream whose first bytes were looked at.
type Peeked<R> = BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

/// What is read from below at a time.
const BUFFER: usize = 64 << 10;

impl<R: Read> Decoder<'_, R> {
    /// Looks at the first bytes and sets up what they ask for. Memory is bounded: a zstd stream that
    /// wants a larger window than [`limits::ZSTD_WINDOW_LOG`] fails when it is read.
    pub(crate) fn new(mut source: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(4);
        source.by_ref().take(4).read_to_end(&mut first)?;
        let kind = first.clone();
        let source = BufReader::with_capacity(BUFFER, io::Cursor::new(first).chain(source));
        match kind[..] {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(source)))),
            // A frame, or a skippable frame (RFC 8878 3.1.1 and 3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
                Ok(Self::Zstd(Box::new(decoder)))
            }
            _ => Ok(Self::Plain(source)),
        }
    }
}

impl<R: Read> Read for Decoder<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(source) => source.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        Decoder::new(bytes)?.read_to_end(&mut decoded)?;
        Ok(decoded)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn each_kind_is_recognised_also_in_pieces() {
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("memory");
        assert_eq!(decode(b"plain text").expect("plain"), b"plain text");
        assert_eq!(decode(b"").expect("empty"), b"");
        assert_eq!(decode(&[gzip(b"two "), gzip(b"members")].concat()).expect("gzip"), b"two members");
        assert_eq!(decode(&[zstd(b"two "), zstd(b"frames")].concat()).expect("zstd"), b"two frames");
        assert!(decode(&gzip(b"cut off")[..20]).is_err());
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let frame = |log: u32| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
            encoder.window_log(log).expect("window");
            encoder.write_all(&vec![7; 1 << 20]).expect("memory");
            encoder.finish().expect("memory")
        };
        assert_eq!(decode(&frame(limits::ZSTD_WINDOW_LOG)).map(|d| d.len()).ok(), Some(1 << 20));
        assert!(decode(&frame(limits::ZSTD_WINDOW_LOG + 1)).is_err());
    }
}
