//! A registry that does what a test wants, down to the byte: the real one cannot be made to misbehave.

use super::layout::{Image, OCI_MANIFEST};
use edgelet_types::Digest;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it arrived; header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// The first byte that is asked for.
    pub(crate) fn from(&self) -> usize {
        let range = self.headers.get("range").map_or("bytes=0-", String::as_str);
        range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a range to the end")
    }
}

/// What is sent back.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// What `Content-Length` says when that is not the truth.
    claimed: Option<u64>,
    /// After the body the connection is held open, silently.
    hold: bool,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), claimed: None, hold: false }
    }

    /// A blob, or what is left of it from where the request begins.
    pub(crate) fn of(blob: &[u8], request: &Request) -> Self {
        match request.from() {
            0 => Self::ok(blob),
            from => {
                let last = blob.len() - 1;
                let range = format!("bytes {from}-{last}/{}", blob.len());
                Self::status(206, &blob[from..]).header("content-range", range)
            }
        }
    }

    /// Sends no more of the body than this, and breaks off.
    pub(crate) fn breaking_after(mut self, bytes: usize) -> Self {
        self.claimed = Some(self.body.len() as u64);
        self.body.truncate(bytes);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Claims another length than the body has.
    pub(crate) fn claiming(mut self, length: u64) -> Self {
        self.claimed = Some(length);
        self
    }

    /// Never finishes.
    pub(crate) fn holding(mut self) -> Self {
        self.hold = true;
        self
    }
}

type Script = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// A listening registry on a loopback port. Its threads end when the test's connections do.
pub(crate) struct Scripted {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// Serves what `script` says, and otherwise the blobs of `image` under any repository, its manifest
    /// under any tag.
    pub(crate) fn serving(
        image: &Image,
        script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let blobs = image.blobs();
        let manifest = blobs.last().expect("a manifest").clone();
        let blobs: BTreeMap<String, Vec<u8>> =
            blobs.into_iter().map(|blob| (Digest::of(&blob).to_string(), blob)).collect();
        Self::listening(move |request| {
            if let Some(reply) = script(request) {
                return Some(reply);
            }
            let last = request.path.rsplit('/').next().unwrap_or_default();
            match (request.path.contains("/manifests/"), blobs.get(last)) {
                (true, None) => Some(Reply::ok(manifest.clone()).header("content-type", OCI_MANIFEST)),
                (true, Some(blob)) => Some(Reply::ok(blob.clone()).header("content-type", OCI_MANIFEST)),
                (false, blob) => blob.map(|blob| Reply::of(blob, request)),
            }
        })
    }

    /// Serves what `script` says, and 404 otherwise.
    pub(crate) fn listening(script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let (requests, script): (Arc<Mutex<Vec<Request>>>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, script) = (log.clone(), script.clone());
                stream.set_nodelay(true).expect("a socket option");
                std::thread::spawn(move || serve(&stream, &log, &script));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// How many requests had `part` in their path.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(part)).count()
    }
}

/// Answers one request after the other until the other side has enough.
fn serve(stream: &TcpStream, log: &Mutex<Vec<Request>>, script: &Arc<Script>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        log.lock().expect("no panic").push(request.clone());
        let reply = script(&request).unwrap_or_else(|| Reply::status(404, ""));
        if send(stream, &reply).is_err() {
            return;
        }
        if reply.hold {
            // Until the client gives up and closes.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = reader.read_line(&mut String::new());
            return;
        }
        if reply.claimed.is_some() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(Request { path, headers })
}

fn send(mut stream: &TcpStream, reply: &Reply) -> std::io::Result<()> {
    let length = reply.claimed.unwrap_or(reply.body.len() as u64);
    let mut head = format!("HTTP/1.1 {} x\r\ncontent-length: {length}\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&reply.body)
}
