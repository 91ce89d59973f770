//! A connection to the service manager's own socket: no bus in between, so it works early and without a bus daemon.

use super::message::{self, Call, Kind, Message};
use edgelet_sys::process::readable_within;
use edgelet_sys::socket;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connected and admitted.
#[derive(Debug)]
pub(super) struct Connection {
    stream: File,
    serial: u32,
    /// What came while something else was waited for.
    signals: Vec<Message>,
}

/// How long the service manager may take for an answer or a job; a busy one takes some seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// More signals than this belong to somebody else's jobs.
const SIGNALS_KEPT: usize = 256;

impl Connection {
    /// Connects and shows who we are (D-Bus specification, "Authentication Protocol", EXTERNAL): the other side
    /// asks the kernel.
    pub(super) fn open(path: &Path, uid: u32) -> io::Result<Self> {
        let mut connection =
            Self { stream: socket::connect_stream(path)?.into(), serial: 0, signals: Vec::new() };
        let identity: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        // In one go: a message that the service manager reads together with the last line of this lies in its
        // buffer until something else arrives.
        connection.stream.write_all(format!("\0AUTH EXTERNAL {identity}\r\nBEGIN\r\n").as_bytes())?;
        let answer = connection.line(Instant::now() + LIMIT)?;
        match answer.starts_with("OK ") {
            true => Ok(connection),
            false => Err(io::Error::new(io::ErrorKind::PermissionDenied, answer)),
        }
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call(&mut self, call: &Call<'_>, body: &[u8]) -> io::Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&call.encode(serial, body))?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let message = self.next(deadline)?;
            match message.kind {
                Kind::Answer if message.answers == Some(serial) => return Ok(message),
                Kind::Error if message.answers == Some(serial) => {
                    let words = message.text(0).unwrap_or_default();
                    return Err(io::Error::other(format!("{words} ({})", message.error)));
                }
                Kind::Signal if self.signals.len() < SIGNALS_KEPT => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for a signal, or finds it among those that came before.
    pub(super) fn signal(&mut self, is_it: impl Fn(&Message) -> bool) -> io::Result<Message> {
        let deadline = Instant::now() + LIMIT;
        let mut earlier = std::mem::take(&mut self.signals).into_iter();
        loop {
            let message = match earlier.next() {
                Some(message) => message,
                None => self.next(deadline)?,
            };
            if message.kind == Kind::Signal && is_it(&message) {
                return Ok(message);
            }
        }
    }

    /// The next message that can be read. A signal that cannot is somebody else's affair.
    fn next(&mut self, deadline: Instant) -> io::Result<Message> {
        loop {
            let mut bytes = vec![0; message::PREFIX];
            self.fill(&mut bytes, deadline)?;
            let length = message::length(bytes.first_chunk().ok_or(io::ErrorKind::InvalidData)?)?;
            let is_signal = message::is_signal(&bytes);
            if is_signal && length > message::LIMIT {
                self.pass_over(length - message::PREFIX, deadline)?;
                continue;
            }
            if length > message::LIMIT {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that is too long"));
            }
            bytes.resize(length.max(message::PREFIX), 0);
            self.fill(&mut bytes[message::PREFIX..], deadline)?;
            match Message::decode(&bytes) {
                Err(_) if is_signal => {}
                decoded => return decoded,
            }
        }
    }

    fn pass_over(&mut self, mut length: usize, deadline: Instant) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while length > 0 {
            let part = length.min(buffer.len());
            self.fill(&mut buffer[..part], deadline)?;
            length -= part;
        }
        Ok(())
    }

    /// One line of the beginning; short, and nothing follows it before we go on.
    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        const LONGEST: usize = 512;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < LONGEST {
            let mut byte = [0];
            self.fill(&mut byte, deadline)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn fill(&mut self, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if !readable_within(self.stream.as_fd(), left)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.stream.read(buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }
}
