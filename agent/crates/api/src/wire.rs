//! The shapes on the wire, for the server to write and the client to read.
//!
//! Names and types follow the EdgeletAPI v1. The client reads leniently (an unknown key is skipped, so
//! that an older command line understands a newer daemon); the server reads strictly. What the client
//! leaves as JSON can only be written.

mod deploy;
mod exec;
mod image;
mod logs;
mod microservice;
mod system;

pub use deploy::{Applied, ApplyStatus, Validation};
pub use exec::{ExecControlFrame, ExecFrame, ExecSession, ExecSessionRequest, ExecSessionStatus};
pub use image::{
    Image, ImageLoadStatus, ImageLoaded, ImagePrune, ImagePullRequest, ImagePullStatus, ImageRemoved,
    LoadRequest, RemoveRequest,
};
pub use logs::{LogEntry, Logs};
pub use microservice::{KillRequest, Microservice, MicroserviceDetail, Raw};
pub use system::{Health, VersionInfo, info, status};

use serde::{Deserialize, Serialize};

/// The engine's name in answers; the one that is built in.
pub const ENGINE: &str = "edgelet";

/// A good answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Success<T> {
    /// Always true.
    pub success: bool,
    /// The answer.
    pub data: T,
}

impl<T> Success<T> {
    /// Wraps an answer.
    pub fn of(data: T) -> Self {
        Self { success: true, data }
    }
}

/// A bad answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// Always false.
    pub success: bool,
    /// Why.
    pub error: ErrorBody,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A stable code; see [`crate::error::Code`].
    pub code: String,
    /// For people: lower case, no full stop, outermost action first.
    pub message: String,
    /// What code can act on beyond `code`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<Details>,
    /// Names the request in the daemon's log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

/// The finer reason of an error, and who must act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// A reason code of [`edgelet_types::Reason`].
    pub reason: String,
    /// `retry-later`, `needs-input`, `needs-person` or `bug`.
    pub remedy: String,
}

/// Some things and how many they are.
#[derive(Debug, Clone, Serialize)]
pub struct List<T> {
    /// The things.
    pub items: Vec<T>,
    /// How many.
    #[serde(default)]
    pub count: usize,
}

impl<T> List<T> {
    /// Counts the things.
    pub fn of(items: Vec<T>) -> Self {
        Self { count: items.len(), items }
    }
}

/// A background operation that has been accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// To ask how it goes.
    pub operation_id: String,
}

/// How far a background operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Waits for its turn.
    Pending,
    /// Is being worked on.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
}

impl OperationState {
    /// Whether it will not change any more.
    pub fn is_final(self) -> bool {
        matches!(self, OperationState::Succeeded | OperationState::Failed)
    }
}

/// Bytes for people: `1.50 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Two decimals are shown, so what f64 loses past 2^53 is never seen.
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (5 << 20, "5.00 MiB"),
            (u64::MAX, "16777216.00 TiB"),
        ];
        for (bytes, want) in cases {
            assert_eq!(human_bytes(bytes), want);
        }
    }
}
