#![no_main]
//! Reading logs: whatever is in the files, reading ends, every entry's text is in the answer in its order
//! and stream, and the last lines are the last lines.
//!
//! Input: the rotated file and the current one, with a zero byte between them. `~` stands for a time.

use edgelet_api::node::{LogEnd, LogFrom, LogLine, LogStream};
use edgelet_daemon::fuzzing::read_log;
use edgelet_fuzz::{pieces, place::Place};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let place = Place::new();
    let files: [Vec<u8>; 2] = pieces(data).map(with_times);
    for (name, text) in ["0.log.1", "0.log"].iter().zip(&files) {
        fs::write(place.path().join(name), text).expect("write a log file");
    }
    let lines = all(place.path());
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        assert!(written(&files, stream).starts_with(&text(&lines, stream)), "{lines:?}");
    }
    for count in [0, 1, 2, 5] {
        let tail = read_log(place.path(), &LogFrom::Tail(count)).expect("read the tail").lines;
        assert!(tail.len() as u64 <= count);
        let Some((first, rest)) = tail.split_first() else { continue };
        let (before, last) = lines.split_at(lines.len() - rest.len());
        assert_eq!(rest, last, "the last {count} lines");
        // A line that a rotation has cut may start at the cut.
        assert!(before.last().is_some_and(|line| line.text.ends_with(&first.text)), "{first:?}");
    }
});

fn with_times(text: &[u8]) -> Vec<u8> {
    let time = b"2026-01-01T00:00:00.000000001Z".as_slice();
    text.split_inclusive(|byte| *byte == b'~')
        .flat_map(|piece| match piece.strip_suffix(b"~") {
            Some(before) => [before, time],
            None => [piece, b""],
        })
        .flatten()
        .copied()
        .collect()
}

fn all(dir: &Path) -> Vec<LogLine> {
    let (mut lines, mut from) = (Vec::new(), LogFrom::Start);
    loop {
        let batch = read_log(dir, &from).expect("read the log");
        assert!(batch.end == LogEnd::Quiet || !batch.lines.is_empty(), "more, and no step forward");
        lines.extend(batch.lines);
        if batch.end == LogEnd::Quiet {
            return lines;
        }
        from = LogFrom::After(batch.next);
    }
}

fn text(lines: &[LogLine], stream: LogStream) -> String {
    lines.iter().filter(|line| line.stream == stream).map(|line| line.text.as_str()).collect()
}

/// The texts of all entries of one stream, as the format says.
fn written(files: &[Vec<u8>], stream: LogStream) -> String {
    let name = match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    let mut all = String::new();
    for line in files.iter().flat_map(|file| file.split_inclusive(|byte| *byte == b'\n')) {
        let Some(line) = line.strip_suffix(b"\n") else { continue };
        let line = String::from_utf8_lossy(line);
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        if let [time, stream, "P" | "F", text] = fields[..]
            && stream == name
            && edgelet_types::UnixMillis::parse(time).is_some()
        {
            all.push_str(text);
        }
    }
    all
}
