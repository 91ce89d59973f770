//! Exec sessions: a program beside a workload's own, with somebody at its terminal.

use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSessionRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// With a terminal.
    #[serde(default = "yes")]
    pub tty: bool,
    /// With a standard input.
    #[serde(default = "yes")]
    pub stdin: bool,
    /// Standard output is sent.
    #[serde(default = "yes")]
    pub stdout: bool,
    /// Standard error is sent.
    #[serde(default = "yes")]
    pub stderr: bool,
    /// Columns of the terminal; 80 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cols: Option<u16>,
    /// Rows of the terminal; 24 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
}

fn yes() -> bool {
    true
}

/// A session whose program runs and waits for somebody to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecSession {
    /// The session.
    pub session_id: String,
    /// Where to attach, on the same server.
    pub ws_url: String,
    /// RFC 3339; nobody attached by then, and the session is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// How a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecSessionStatus {
    /// The session.
    pub session_id: String,
    /// `waiting`, `attached` or `ended`.
    pub status: String,
    /// RFC 3339, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How the program ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// What the server sends to whom is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stream", rename_all = "lowercase")]
pub enum ExecFrame {
    /// Output. Raw text, not lines, in spite of the name.
    Stdout {
        /// The text; bytes that are not UTF-8 have been replaced.
        line: String,
    },
    /// Error output.
    Stderr {
        /// The text.
        line: String,
    },
    /// The program has ended; the last frame.
    #[serde(rename_all = "camelCase")]
    Control {
        /// Its exit code, or 128 + the signal.
        exit_code: i32,
    },
}

/// What who is attached sends as text; binary frames are standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ExecControlFrame {
    /// The terminal has this size now.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Standard input is at its end. Ours; the earlier Edgelet had no way to say it.
    Eof,
}
