//! Talking to a program in a workload. Nothing here blocks, so that one thread can wait for the
//! terminal, for signals and for this at the same time.

use super::error::ClientError;
use super::socket::{Socket, failed};
use crate::wire::{ExecControlFrame, ExecFrame};
use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
use std::os::fd::{AsFd, BorrowedFd};
use tungstenite::error::ProtocolError;
use tungstenite::{Error, Message};

/// The conversation with a program. Wait on its descriptor: for readable always, and for writable while
/// [`Attached::is_busy`].
pub struct Attached {
    socket: Socket,
    busy: bool,
}

/// What came from the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Output, or the exit code.
    Frame(ExecFrame),
    /// Nothing now.
    Nothing,
    /// The server hung up.
    Closed,
}

impl Attached {
    pub(super) fn new(socket: Socket) -> Result<Self, ClientError> {
        let nonblocking = socket.get_ref().set_nonblocking(true);
        nonblocking.map_err(|error| ClientError::Broken(error.to_string()))?;
        Ok(Self { socket, busy: false })
    }

    /// What came, without waiting. To be called until it says [`Incoming::Nothing`]: frames may have been
    /// read that the descriptor knows nothing of any more.
    pub fn receive(&mut self) -> Result<Incoming, ClientError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame = serde_json::from_str(&text);
                    return frame
                        .map(Incoming::Frame)
                        .map_err(|error| ClientError::Protocol(error.to_string()));
                }
                Ok(Message::Close(_)) => return Ok(Incoming::Closed),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == WouldBlock => return Ok(Incoming::Nothing),
                Err(error) if is_hang_up(&error) => return Ok(Incoming::Closed),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Gives the program input. Not to be called while busy. Once the server has hung up, input is dropped:
    /// what it said before, such as the exit code, is still to be received.
    pub fn input(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.send(Message::binary(bytes.to_vec()))
    }

    /// Tells the program that its input is at the end.
    pub fn end_input(&mut self) -> Result<(), ClientError> {
        self.send_control(ExecControlFrame::Eof)
    }

    /// Tells the program the size of its terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ClientError> {
        self.send_control(ExecControlFrame::Resize { cols: columns, rows })
    }

    /// Whether something waits to be sent.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Goes on sending what waits.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.busy = match self.socket.flush() {
            Ok(()) => false,
            Err(Error::Io(error)) if error.kind() == WouldBlock => true,
            Err(error) if is_hang_up(&error) => false,
            Err(error) => return Err(failed(error)),
        };
        Ok(())
    }

    fn send_control(&mut self, frame: ExecControlFrame) -> Result<(), ClientError> {
        let text = serde_json::to_string(&frame).expect("a word and two numbers");
        self.send(Message::text(text))
    }

    fn send(&mut self, message: Message) -> Result<(), ClientError> {
        match self.socket.write(message) {
            // The message has been queued all the same.
            Err(Error::Io(error)) if error.kind() == WouldBlock => {}
            Err(error) if is_hang_up(&error) => return Ok(()),
            written => written.map_err(failed)?,
        }
        self.flush()
    }
}

/// Whether the other side is gone: politely, or with our last words unread.
fn is_hang_up(error: &Error) -> bool {
    match error {
        Error::Io(error) => matches!(error.kind(), BrokenPipe | ConnectionReset),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => true,
        Error::ConnectionClosed | Error::AlreadyClosed => true,
        _ => false,
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
