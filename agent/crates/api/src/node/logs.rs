//! Output of workloads.

use edgelet_types::UnixMillis;

/// Some lines, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// Where the next batch starts.
    pub next: LogCursor,
    /// What follows these lines.
    pub end: LogEnd,
}

impl LogBatch {
    /// The most lines of one batch.
    pub const LINES: usize = 1000;
    /// About how many bytes of lines one batch has at most: it ends after the line that passes this.
    pub const BYTES: usize = 256 << 10;
}

/// What follows a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// More lines are there already.
    More,
    /// Nothing now; the workload may still write.
    Quiet,
    /// Nothing, and nothing will come: no instance lives and none is wanted.
    Ended,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read from the workload.
    pub at: UnixMillis,
    /// Where it was written.
    pub stream: LogStream,
    /// Without its newline. Bytes that are not UTF-8 have been replaced.
    pub text: String,
}

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A place between two lines. Its numbers mean something to the node only; when the lines after it are
/// gone already, reading goes on with the oldest that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogCursor {
    /// Which file.
    pub file: u64,
    /// Bytes from its start.
    pub offset: u64,
}

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At the oldest line that is kept.
    Start,
    /// At the last so many lines; 0 is the end.
    Tail(u64),
    /// After what was read before.
    After(LogCursor),
}
