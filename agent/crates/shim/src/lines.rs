//! Output of a container, cut into log lines.
//!
//! The format is the one of the Kubernetes container runtime interface, which the earlier Edgelet wrote
//! too: `<RFC 3339 time with nanoseconds> <stdout|stderr> <P|F> <text>`, where `P` marks a piece of a line
//! that goes on in the next entry.

use edgelet_types::limits::LOG_LINE_BYTES;

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Holds the unfinished line of one stream. Never holds more than [`LOG_LINE_BYTES`].
pub struct Lines {
    stream: Stream,
    pending: Vec<u8>,
}

impl Lines {
    /// A stream of which nothing has been read.
    pub fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes `bytes` as read and appends the entries that they complete to `out`.
    pub fn feed(&mut self, time: &str, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => self.complete(time, end, out),
                None => self.hold(time, piece, out),
            }
        }
    }

    /// Appends what is left when the stream has ended without a final newline.
    pub fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.complete(time, b"", out);
        }
    }

    fn complete(&mut self, time: &str, end: &[u8], out: &mut Vec<u8>) {
        let end = self.spill(time, end, out);
        entry(time, self.stream, " F ", &self.pending, end, out);
        self.pending.clear();
    }

    fn hold(&mut self, time: &str, piece: &[u8], out: &mut Vec<u8>) {
        let rest = self.spill(time, piece, out);
        self.pending.extend_from_slice(rest);
    }

    /// Writes partial entries until what is pending and the rest of `bytes` fit into one line.
    fn spill<'a>(&mut self, time: &str, mut bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        while self.pending.len() + bytes.len() > LOG_LINE_BYTES {
            let (now, later) = bytes.split_at(LOG_LINE_BYTES - self.pending.len());
            entry(time, self.stream, " P ", &self.pending, now, out);
            self.pending.clear();
            bytes = later;
        }
        bytes
    }
}

fn entry(time: &str, stream: Stream, tag: &str, head: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    // Not by `write!`: formatting is a lot of code to have in memory for a few spaces.
    for part in [time, " ", stream.name(), tag] {
        out.extend_from_slice(part.as_bytes());
    }
    for part in [head, tail, b"\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(chunks: &[&[u8]]) -> String {
        let mut lines = Lines::new(Stream::Stdout);
        let mut out = Vec::new();
        for chunk in chunks {
            lines.feed("T", chunk, &mut out);
        }
        lines.finish("T", &mut out);
        String::from_utf8(out).expect("the tests log ASCII")
    }

    #[test]
    fn chunks_do_not_show_in_the_lines() {
        let want = "T stdout F one\nT stdout F two\nT stdout F \nT stdout F three\n";
        assert_eq!(logged(&[b"one\ntwo\n\nthree"]), want);
        assert_eq!(logged(&[b"o", b"ne", b"\n", b"two\n\nthr", b"ee"]), want);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_and_a_longer_one_is_split() {
        let full = "x".repeat(LOG_LINE_BYTES);
        assert_eq!(logged(&[full.as_bytes(), b"\n"]), format!("T stdout F {full}\n"));
        let chunks: [&[u8]; 2] = [full.as_bytes(), b"y\n"];
        assert_eq!(logged(&chunks), format!("T stdout P {full}\nT stdout F y\n"));
        let long = format!("{full}{full}y\n");
        assert_eq!(
            logged(&[long.as_bytes()]),
            format!("T stdout P {full}\nT stdout P {full}\nT stdout F y\n")
        );
    }

    #[test]
    fn nothing_read_is_nothing_logged() {
        assert_eq!(logged(&[]), "");
        assert_eq!(logged(&[b""]), "");
    }
}
