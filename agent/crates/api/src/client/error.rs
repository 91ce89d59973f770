//! What can go wrong between a command and the daemon.

use crate::wire::ErrorBody;
use std::path::PathBuf;

/// Why a call did not bring an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens on the socket, or we may not use it.
    #[error("daemon not reachable at {socket:?}: {source}")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The daemon refused.
    #[error("{}", .0.message)]
    Api(ErrorBody),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer in time")]
    Timeout,
    /// The connection broke.
    #[error("connection to the daemon broke: {0}")]
    Broken(String),
    /// The daemon said something that is not in the protocol; perhaps it is of another version.
    #[error("the daemon's answer cannot be understood: {0}")]
    Protocol(String),
}
