#![no_main]
//! Log lines of the shim: without their headers they are the output again, however it was cut.
//!
//! Input: pairs of a length, squared so that a few bytes exceed the limit of a line, and a byte.

use edgelet_shim::fuzzing::{Lines, Stream};
use edgelet_types::limits::LOG_LINE_BYTES;
use libfuzzer_sys::fuzz_target;

/// Enough to meet every case several times, few enough to stay quick.
const PAIRS: usize = 32;

fuzz_target!(|data: &[u8]| {
    let (mut lines, mut entries, mut output) = (Lines::new(Stream::Stdout), Vec::new(), Vec::new());
    for pair in data.chunks_exact(2).take(PAIRS) {
        // A run of one byte, which may be none or line ends, and sometimes a line end behind it.
        let mut chunk = vec![pair[1] & 0x7f; usize::from(pair[0]).pow(2)];
        if pair[1] & 0x80 != 0 {
            chunk.push(b'\n');
        }
        lines.feed("T", &chunk, &mut entries);
        output.extend(chunk);
    }
    lines.finish("T", &mut entries);
    if output.last().is_some_and(|byte| *byte != b'\n') {
        output.push(b'\n');
    }
    assert!(without_headers(&entries) == output, "{} bytes of output changed", output.len());
});

fn without_headers(entries: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    for entry in entries.split_inclusive(|byte| *byte == b'\n') {
        let text = match entry.strip_prefix(b"T stdout F ") {
            Some(text) => text,
            None => entry.strip_prefix(b"T stdout P ").expect("an entry").strip_suffix(b"\n").expect("whole"),
        };
        assert!(text.len() <= LOG_LINE_BYTES + 1, "a line of {} bytes", text.len());
        output.extend_from_slice(text);
    }
    output
}
