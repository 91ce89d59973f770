use super::*;
use edgelet_types::limits;
use std::io::Write;

fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    Content::new(bytes).read_to_end(&mut decoded)?;
    Ok(decoded)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).expect("memory")
}

/// Text that compresses to about half.
fn text(bytes: usize) -> Vec<u8> {
    let mut seed = 7_u32;
    let mut text = Vec::new();
    while text.len() < bytes {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        write!(text, "{} ", seed >> 12).expect("memory");
    }
    text
}

#[test]
fn each_kind_is_recognised_also_in_pieces() {
    assert_eq!(decode(b"plain text").expect("plain"), b"plain text");
    assert_eq!(decode(b"").expect("empty"), b"");
    assert_eq!(decode(&[gzip(b"two "), gzip(b"members")].concat()).expect("gzip"), b"two members");
    assert_eq!(decode(&[zstd(b"two "), zstd(b"frames")].concat()).expect("zstd"), b"two frames");
    for whole in [gzip(b"cut off somewhere"), zstd(b"cut off somewhere")] {
        for at in 4..whole.len() {
            assert!(decode(&whole[..at]).is_err(), "{at}");
        }
    }
}

#[test]
fn headers_of_every_shape_are_passed_over() {
    let body = &gzip(b"body")[10..];
    let header = |flags: u8, rest: &[u8]| [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], rest, body].concat();
    for whole in [
        header(4, b"\x03\x00abc"),
        header(8 | 16, b"name\0comment\0"),
        header(2 | 4 | 8 | 16, b"\x01\x00x\0\0ss"),
    ] {
        assert_eq!(decode(&whole).expect("gzip"), b"body");
    }
    assert!(decode(&header(8, &[b'n'; 70_000])).is_err());
    assert!(decode(&[gzip(b"a"), b"trailing".to_vec()].concat()).is_err());
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let frame = |log: u32| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).expect("encoder");
        encoder.window_log(log).expect("window");
        encoder.write_all(&vec![7; 1 << 20]).expect("memory");
        encoder.finish().expect("memory")
    };
    assert_eq!(decode(&frame(limits::ZSTD_WINDOW_LOG)).map(|d| d.len()).ok(), Some(1 << 20));
    assert!(decode(&frame(limits::ZSTD_WINDOW_LOG + 1)).is_err());
}

#[test]
fn what_is_behind_the_end_counts_for_the_digest() {
    let mut content = Content::new(&b"plain"[..]);
    content.read_exact(&mut [0; 2]).expect("read");
    assert_eq!(content.finish().expect("finish"), (Digest::of(b"plain"), 5));
}

/// Reads in small pieces, and at each new point goes on with another decoder from just there.
fn decode_from_every_point(bytes: &[u8]) -> (Vec<u8>, usize, Digest) {
    let mut content = Content::new(bytes);
    let (mut out, mut points, mut piece) = (Vec::new(), 0, [0; 5000]);
    let mut seen = 0;
    loop {
        let count = content.read(&mut piece).expect("sound");
        out.extend_from_slice(&piece[..count]);
        if count == 0 {
            return (out, points, content.finish().expect("finish").0);
        }
        let Some(point) = content.point().filter(|point| point.content_bytes > seen).cloned() else {
            continue;
        };
        assert!(point.unpacked_bytes <= out.len() as u64);
        (seen, points) = (point.content_bytes, points + 1);
        let rest = &bytes[usize::try_from(point.content_bytes).expect("in memory")..];
        content = Content::at(rest, &point).expect("a point");
        out.truncate(usize::try_from(point.unpacked_bytes).expect("in memory"));
    }
}

#[test]
fn another_goes_on_from_every_point() {
    let text = text(6 << 20);
    let frames: Vec<u8> = text.chunks(400 << 10).flat_map(zstd).collect();
    let members: Vec<u8> = text.chunks(1 << 20).flat_map(gzip).collect();
    for (bytes, least) in [(gzip(&text), 5), (members, 5), (frames, 4), (text.clone(), 20)] {
        let (out, points, digest) = decode_from_every_point(&bytes);
        assert!(out == text && points >= least, "{points}");
        assert_eq!(digest, Digest::of(&bytes));
    }
    // A single frame has none: see docs/decisions.
    assert_eq!(decode_from_every_point(&zstd(&text)).1, 0);
}

#[test]
fn a_point_that_is_none_is_an_error() {
    let point =
        Point { content: vec![0; 8], content_bytes: 0, unpacked_bytes: 0, decoder: DecoderPoint::Plain };
    assert!(Content::at(&b""[..], &point).is_err());
}
