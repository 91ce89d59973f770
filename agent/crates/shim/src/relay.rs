//! The two output pipes of a container, relayed into its log.

use crate::journal::Journal;
use crate::lines::{Lines, Stream};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

/// How much is read at a time: the capacity of a pipe, so that one read empties a full one.
const CHUNK: usize = 64 << 10;

/// Milliseconds without output after which the code that relayed it is let go. Longer than most pauses of a
/// program that talks all the time, which would only map it again.
const QUIET: u16 = 10_000;

/// Reads both streams and writes the log.
pub struct Relay {
    streams: Vec<(File, Lines)>,
    journal: Journal,
    chunk: Vec<u8>,
    entries: Vec<u8>,
    /// Nothing has happened since memory was given back.
    resting: bool,
}

impl Relay {
    /// Relays what arrives at these non-blocking read ends.
    pub fn new(stdout: OwnedFd, stderr: OwnedFd, journal: Journal) -> Self {
        let streams = vec![
            (File::from(stdout), Lines::new(Stream::Stdout)),
            (File::from(stderr), Lines::new(Stream::Stderr)),
        ];
        Self { streams, journal, chunk: Vec::new(), entries: Vec::new(), resting: false }
    }

    /// Relays until `other` becomes readable.
    pub fn until_readable(&mut self, other: BorrowedFd<'_>) {
        loop {
            let streams = self.streams.iter().map(|(file, _)| file.as_fd());
            let mut waiting: Vec<PollFd<'_>> =
                std::iter::once(other).chain(streams).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let patience = if self.resting { PollTimeout::NONE } else { PollTimeout::from(QUIET) };
            let ready = poll(&mut waiting, patience);
            let done = waiting[0].any().unwrap_or(false);
            drop(waiting);
            if ready == Ok(0) {
                self.rest();
                continue;
            }
            self.resting = false;
            // Interrupted or not, what is ready is looked at afresh.
            self.pump();
            if done {
                return;
            }
        }
    }

    /// What follows a start, or a burst of output, is sleep, and often for days.
    fn rest(&mut self) {
        // When this fails the memory is not given back, that is all.
        let _ = edgelet_sys::memory::release_program_pages();
        self.resting = true;
    }

    /// Takes at most one chunk from each stream that has something, and drops those that have ended.
    /// Says whether anything was read.
    fn pump(&mut self) -> bool {
        self.chunk.resize(CHUNK, 0);
        let time = now();
        let (chunk, entries) = (&mut self.chunk, &mut self.entries);
        let mut read_any = false;
        self.streams.retain_mut(|(file, lines)| match file.read(chunk) {
            Ok(0) => {
                lines.finish(&time, entries);
                false
            }
            Ok(count) => {
                lines.feed(&time, &chunk[..count], entries);
                read_any = true;
                true
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                true
            }
            // A pipe has no other error; if it had, reading on would not end it.
            Err(_) => false,
        });
        self.journal.append(&time, entries);
        // Both buffers go back between bursts: an idle shim holds no memory for them.
        self.entries = Vec::new();
        if !read_any {
            self.chunk = Vec::new();
        }
        read_any
    }

    /// Takes what is still in the pipes, without waiting for those who hold them open, and ends the log.
    pub fn drain(mut self) {
        while self.pump() {}
        let time = now();
        for (_, lines) in &mut self.streams {
            lines.finish(&time, &mut self.entries);
        }
        self.journal.append(&time, &self.entries);
    }
}

fn now() -> String {
    // Out of jiff's range only when the clock is nonsense; then the epoch is as good.
    let time = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    format!("{time:.9}")
}
