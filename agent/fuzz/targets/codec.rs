#![no_main]
//! Compressed streams: what is not compressed passes unchanged, and no zstd frame gets more memory than
//! the limit. What else takes memory, libFuzzer's own limit finds.

use edgelet_image::fuzzing::decode;
use edgelet_types::limits::ZSTD_WINDOW_LOG;
use libfuzzer_sys::fuzz_target;

const OUTPUT: u64 = 4 << 20;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

fuzz_target!(|bytes: &[u8]| {
    let decoded = decode(bytes, OUTPUT);
    if let Some(window) = window(bytes) {
        assert!(decoded.is_err() || window <= 1 << ZSTD_WINDOW_LOG, "a window of {window} bytes");
    } else if !bytes.starts_with(GZIP) && !bytes.starts_with(ZSTD) && !is_skippable(bytes) {
        assert_eq!(decoded.expect("memory can be read"), bytes);
    }
});

fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// What a whole header of a zstd frame asks for (RFC 8878 3.1.1.1.2).
fn window(bytes: &[u8]) -> Option<u64> {
    // Past the magic number: a descriptor without the single-segment flag, then the window.
    match bytes.strip_prefix(ZSTD)? {
        [descriptor, window, ..] if descriptor & 0x20 == 0 => {
            let base = 1_u64 << (10 + (window >> 3));
            Some(base + base / 8 * u64::from(window & 7))
        }
        _ => None,
    }
}
