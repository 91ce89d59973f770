//! The two output pipes of a container, relayed into its log.

use crate::journal::Journal;
use crate::lines::{Lines, Stream};
use crate::orphans::Orphans;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

/// How much is read at a time: few calls for a burst, and little to hold for as long as a container talks.
const CHUNK: usize = 16 << 10;

/// What the entries of most chunks fit into. Those of nothing but empty lines take forty times the chunk.
const ENTRIES: usize = 2 * CHUNK;

/// The time in an entry: RFC 3339, in UTC, with nanoseconds.
const TIME: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// Milliseconds without output after which the code that relayed it is let go. Longer than most pauses of a
/// program that talks all the time, which would only map it again.
const QUIET: u16 = 10_000;

/// After this the code that started the container is let go, which takes longer than the starts and ends of those
/// that do not live so long.
const SETTLED: Duration = Duration::from_secs(1);

/// Reads both streams and writes the log.
///
/// There is one for each container, so what it does for a line is plain: the fewer places of the program it runs
/// through, the fewer pages of it are held in memory.
pub struct Relay {
    streams: Vec<(File, Lines)>,
    journal: Journal,
    /// None until there is output, and while it rests.
    buffers: Option<Buffers>,
}

/// What is held while the container talks.
struct Buffers {
    time: String,
    chunk: Vec<u8>,
    entries: Vec<u8>,
}

impl Relay {
    /// Relays what arrives at these non-blocking read ends.
    pub fn new(stdout: OwnedFd, stderr: OwnedFd, journal: Journal) -> Self {
        let streams = vec![
            (File::from(stdout), Lines::new(Stream::Stdout)),
            (File::from(stderr), Lines::new(Stream::Stderr)),
        ];
        Self { streams, journal, buffers: None }
    }

    /// Relays until `other` becomes readable, and meanwhile has orphans collected.
    pub fn until_readable(&mut self, other: BorrowedFd<'_>, orphans: Option<&Orphans>) {
        // What the start took, a container that never falls silent would keep.
        let mut rest_at = Some(Instant::now() + SETTLED);
        loop {
            // A stream that has ended leaves its place to `other`, which may well be asked twice.
            let stream = |place: usize| self.streams.get(place).map_or(other, |(file, _)| file.as_fd());
            let ends = orphans.map_or(other, |orphans| orphans.as_fd());
            let mut waiting = [other, stream(0), stream(1), ends]
                .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
            let patience = match (rest_at, &self.buffers) {
                (Some(at), _) => milliseconds(at.saturating_duration_since(Instant::now())),
                (None, Some(_)) => PollTimeout::from(QUIET),
                (None, None) => PollTimeout::NONE,
            };
            let ready = poll(&mut waiting, patience);
            let done = waiting[0].any().unwrap_or(false);
            if let Some(orphans) = orphans.filter(|_| waiting[3].any().unwrap_or(false)) {
                orphans.collect();
            }
            if ready == Ok(0) || rest_at.is_some_and(|at| at <= Instant::now()) {
                rest_at = None;
                self.rest();
            }
            if ready == Ok(0) {
                continue;
            }
            // Interrupted or not, what is ready is looked at afresh.
            self.pump();
            if done {
                return;
            }
        }
    }

    /// What follows a start, or a burst of output, is sleep, and often for days.
    fn rest(&mut self) {
        self.buffers = None;
        // When this fails the memory is not given back, that is all.
        let _ = edgelet_sys::memory::release_program_pages();
    }

    /// Takes at most one chunk from each stream that has something, and drops those that have ended.
    /// Says whether anything was read.
    fn pump(&mut self) -> bool {
        let Buffers { time, chunk, entries } = self.buffers.get_or_insert_with(Buffers::new);
        read_clock(time);
        let mut read_any = false;
        self.streams.retain_mut(|(file, lines)| match file.read(chunk) {
            Ok(0) => {
                lines.finish(time, entries);
                false
            }
            Ok(count) => {
                lines.feed(time, &chunk[..count], entries);
                read_any = true;
                true
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                true
            }
            // A pipe has no other error; if it had, reading on would not end it.
            Err(_) => false,
        });
        self.journal.append(time, entries);
        entries.clear();
        entries.shrink_to(ENTRIES);
        read_any
    }

    /// Takes what is still in the pipes, without waiting for those who hold them open, and ends the log.
    pub fn drain(mut self) {
        while self.pump() {}
        let Buffers { time, entries, .. } = self.buffers.get_or_insert_with(Buffers::new);
        for (_, lines) in &mut self.streams {
            lines.finish(time, entries);
        }
        self.journal.append(time, entries);
    }
}

impl Buffers {
    fn new() -> Self {
        // Room for what jiff reserves, so that nothing has to grow.
        Self { time: String::with_capacity(64), chunk: vec![0; CHUNK], entries: Vec::with_capacity(ENTRIES) }
    }
}

/// Rounded up: one that is too short would be asked for again and again.
fn milliseconds(patience: Duration) -> PollTimeout {
    PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}

fn read_clock(time: &mut String) {
    // Out of jiff's range only when the clock is nonsense; then the epoch is as good.
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    time.clear();
    TIME.print_timestamp(&now, time).expect("writing to memory cannot fail");
}
