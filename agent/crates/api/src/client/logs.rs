//! Following a workload's output.

use super::error::ClientError;
use super::http::segment;
use super::socket::{Socket, failed};
use crate::wire::LogEntry;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

/// Which lines are wanted; everything when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// Only the last so many, of those that are there now.
    pub tail: Option<u64>,
    /// Not before this time, RFC 3339.
    pub since: Option<String>,
    /// Not after this time, RFC 3339.
    pub until: Option<String>,
}

impl LogFilter {
    /// The parameters; the two routes call the tail differently.
    pub(super) fn query(&self, tail_name: &str) -> String {
        let tail = self.tail.map(|tail| format!("{tail_name}={tail}"));
        let time = |name: &str, time: &Option<String>| {
            time.as_deref().map(|time| format!("{name}={}", segment(time)))
        };
        let parameters = [tail, time("since", &self.since), time("until", &self.until)];
        parameters.into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// Lines as they come; the iterator waits for the next and ends where the workload's output does.
pub struct LogFollower {
    socket: Option<Socket>,
}

impl LogFollower {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket: Some(socket) }
    }
}

impl Iterator for LogFollower {
    type Item = Result<LogEntry, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let socket = self.socket.as_mut()?;
        loop {
            let end = match socket.read() {
                Ok(Message::Text(text)) => match serde_json::from_str(&text) {
                    Ok(entry) => return Some(Ok(entry)),
                    Err(error) => Some(Err(ClientError::Protocol(error.to_string()))),
                },
                Ok(Message::Close(Some(frame))) if frame.code != CloseCode::Normal => {
                    Some(Err(ClientError::Broken(frame.reason.to_string())))
                }
                Ok(Message::Close(_)) => None,
                Ok(_) => continue,
                Err(error) => Some(Err(failed(error))),
            };
            // Tells the server that its close was seen, where it is still there to hear it.
            let _ = socket.flush();
            self.socket = None;
            return end;
        }
    }
}
