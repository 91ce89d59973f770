//! HTTP over the unix socket: `ureq` with a transport of our own.

use super::connect::connect;
use super::error::ClientError;
use super::socket::{self, Socket};
use crate::wire::{Failure, Success};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Method, Request};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// The largest answer: the daemon sends 4 MiB of log lines at most, JSON-escaped.
const ANSWER_BYTES: u64 = 32 << 20;
/// Nobody looks at it, but HTTP wants one.
const HOST: &str = "http://edgelet";

/// The HTTP side of a client.
pub(super) struct Http {
    agent: ureq::Agent,
    socket: PathBuf,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(socket: &Path, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("edgelet/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector = UnixConnector { socket: socket.to_owned() };
        let agent = ureq::Agent::with_parts(config, connector, NoNames);
        Self { agent, socket: socket.to_owned(), timeout }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.enveloped(Method::GET, path, None)
    }

    /// For the one answer without envelope.
    pub(super) fn get_bare<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.send(Method::GET, path, None)?)
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.enveloped(Method::POST, path, None)
    }

    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.enveloped(Method::DELETE, path, None)
    }

    pub(super) fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(request).expect("requests are plain data");
        self.enveloped(Method::POST, path, Some(("application/json".to_owned(), body)))
    }

    pub(super) fn post_manifest<T: DeserializeOwned>(
        &self,
        path: &str,
        manifest: &str,
        source_name: Option<&str>,
    ) -> Result<T, ClientError> {
        self.enveloped(Method::POST, path, Some(form(manifest, source_name)))
    }

    /// Opens a WebSocket.
    pub(super) fn upgrade(&self, path: &str) -> Result<Socket, ClientError> {
        socket::open(&self.socket, path, self.timeout)
    }

    fn enveloped<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(String, Vec<u8>)>,
    ) -> Result<T, ClientError> {
        Ok(parse::<Success<T>>(&self.send(method, path, body)?)?.data)
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(String, Vec<u8>)>,
    ) -> Result<Vec<u8>, ClientError> {
        let request = Request::builder().method(method).uri(format!("{HOST}{path}"));
        let bad_request = |error: ureq::http::Error| ClientError::Protocol(format!("request: {error}"));
        let answer = match body {
            Some((kind, body)) => {
                self.agent.run(request.header("content-type", kind).body(body).map_err(bad_request)?)
            }
            None => self.agent.run(request.body(()).map_err(bad_request)?),
        };
        let mut answer = answer.map_err(|error| self.broken(error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| self.broken(error))?;
        match answer.status().is_success() {
            true => Ok(body),
            false => Err(refused(answer.status().as_u16(), &body)),
        }
    }

    fn broken(&self, error: ureq::Error) -> ClientError {
        match error {
            ureq::Error::Timeout(_) => ClientError::Timeout,
            ureq::Error::Other(other) => match other.downcast::<Unreachable>() {
                Ok(unreachable) => {
                    ClientError::Unreachable { socket: self.socket.clone(), source: unreachable.0 }
                }
                Err(other) => ClientError::Broken(other.to_string()),
            },
            ureq::Error::Io(error) => ClientError::Broken(error.to_string()),
            other => ClientError::Protocol(other.to_string()),
        }
    }
}

/// Makes an error of an answer that is none.
pub(super) fn refused(status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => ClientError::Api(failure.error),
        Err(_) => ClientError::Protocol(format!("HTTP status {status} without an error object")),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Protocol(error.to_string()))
}

/// Percent-encodes what a path segment or a query value must not contain (RFC 3986 2.3).
pub(super) fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// A `multipart/form-data` body (RFC 7578), and its content type.
fn form(manifest: &str, source_name: Option<&str>) -> (String, Vec<u8>) {
    let mut boundary = "edgelet".to_owned();
    let contains = |boundary: &str| {
        manifest.contains(boundary) || source_name.is_some_and(|name| name.contains(boundary))
    };
    while contains(&boundary) {
        boundary.push('x');
    }
    let mut body = String::new();
    let fields = [("manifest", Some(manifest)), ("sourceName", source_name)];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        body.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    (format!("multipart/form-data; boundary={boundary}"), body.into_bytes())
}

/// There are no names to resolve; the socket's path is the address.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn resolve(
        &self,
        _uri: &ureq::http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(([127, 0, 0, 1], 0).into());
        Ok(addresses)
    }
}

#[derive(Debug)]
struct UnixConnector {
    socket: PathBuf,
}

/// Carries a failed connect through `ureq`, so that it can be told from a connection that broke.
#[derive(Debug, thiserror::Error)]
#[error("connect: {0}")]
struct Unreachable(#[source] io::Error);

impl<In: Transport> Connector<In> for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<In>,
    ) -> Result<Option<UnixTransport>, ureq::Error> {
        let stream =
            connect(&self.socket).map_err(|error| ureq::Error::Other(Box::new(Unreachable(error))))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_write_timeout(limit(&timeout))?;
        let written = self.stream.write_all(&self.buffers.output()[..amount]);
        match written {
            // A server that has no room answers without reading the request; its answer is there.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| timed(error, &timeout)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.set_read_timeout(limit(&timeout))?;
        let read = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| timed(error, &timeout))?,
            }
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// Every request gets a fresh connection: connecting is cheap, and a pool could hold a dead one.
    fn is_open(&mut self) -> bool {
        false
    }
}

impl fmt::Debug for UnixTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixTransport").finish_non_exhaustive()
    }
}

/// A zero timeout means "none" to a socket and "now" to `ureq`.
fn limit(timeout: &NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|limit| *limit)
}

fn timed(error: io::Error, timeout: &NextTimeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
        _ => ureq::Error::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("edgelet.web-1"), "edgelet.web-1");
        assert_eq!(segment("../a b?c#d%"), "..%2Fa%20b%3Fc%23d%25");
    }

    #[test]
    fn the_boundary_is_never_part_of_the_manifest() {
        let (kind, body) = form("name: edgelet edgeletx", Some("edgeletxx.yaml"));
        assert_eq!(kind, "multipart/form-data; boundary=edgeletxxx");
        assert!(String::from_utf8(body).expect("text").ends_with("--edgeletxxx--\r\n"));
    }
}
