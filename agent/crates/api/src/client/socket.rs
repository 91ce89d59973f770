//! WebSockets over the unix socket.

use super::connect::connect;
use super::error::ClientError;
use super::http::refused;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, WebSocket};

pub(super) type Socket = WebSocket<UnixStream>;

/// The largest message: a log line of 16 KiB or a chunk of terminal output, JSON-escaped.
const MESSAGE_BYTES: usize = 1 << 20;

/// Connects and upgrades; blocking, and without time limit once it is open.
pub(super) fn open(socket: &Path, path: &str, timeout: Duration) -> Result<Socket, ClientError> {
    let stream =
        connect(socket).map_err(|source| ClientError::Unreachable { socket: socket.to_owned(), source })?;
    let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
    stream.set_read_timeout(Some(timeout)).map_err(broken)?;
    stream.set_write_timeout(Some(timeout)).map_err(broken)?;
    let request = format!("ws://edgelet{path}").into_client_request();
    let request = request.map_err(|error| ClientError::Protocol(format!("request: {error}")))?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    let (socket, _) = tungstenite::client::client_with_config(request, stream, Some(config)).map_err(
        |error| match error {
            HandshakeError::Failure(error) => failed(error),
            HandshakeError::Interrupted(_) => ClientError::Timeout,
        },
    )?;
    socket.get_ref().set_read_timeout(None).map_err(broken)?;
    socket.get_ref().set_write_timeout(None).map_err(broken)?;
    Ok(socket)
}

/// What an error of the WebSocket layer means to a caller.
pub(super) fn failed(error: tungstenite::Error) -> ClientError {
    match error {
        tungstenite::Error::Http(response) => {
            refused(response.status().as_u16(), response.body().as_deref().unwrap_or_default())
        }
        tungstenite::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => ClientError::Timeout,
            _ => ClientError::Broken(error.to_string()),
        },
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            ClientError::Broken("closed".to_owned())
        }
        other => ClientError::Protocol(other.to_string()),
    }
}
