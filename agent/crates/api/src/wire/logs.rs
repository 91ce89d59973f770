//! Output of workloads.

use crate::node::{LogLine, LogStream};
use serde::{Deserialize, Serialize};

/// Lines, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The lines.
    pub entries: Vec<LogEntry>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// RFC 3339.
    pub ts: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Without its newline.
    pub line: String,
}

impl From<LogLine> for LogEntry {
    fn from(line: LogLine) -> Self {
        let stream = match line.stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        };
        Self { ts: line.at.to_string(), stream: stream.to_owned(), line: line.text }
    }
}
