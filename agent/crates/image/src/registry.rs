//! The pulling half of OCI distribution-spec 1.1, over HTTPS, or HTTP where a person configured it.
//!
//! What this module takes care of: redirects (bounded, and never with our credentials to another host),
//! authentication, limits, timeouts, and telling one cause of failure from another. What it leaves to its
//! callers: digests of layers, which are checked where they are unpacked.

mod auth;
pub(crate) mod challenge;
mod connect;
mod error;

pub use error::RegistryError;

use crate::manifest::{Blob, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::progress::{CancelHook, CancelToken};
use auth::Authorization;
use edgelet_types::config::Registry;
use edgelet_types::{Digest, ImageRef, limits};
use error::cause_of;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

/// How long we wait for a registry before we call it unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a name and a connection, TLS included.
    pub connect: Duration,
    /// For the first byte of an answer.
    pub answer: Duration,
    /// For the next bytes of an answer that has begun.
    pub progress: Duration,
}

impl Default for Timeouts {
    /// Long enough for a satellite link that reconnects, short enough that a dead one is noticed.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(60),
            progress: Duration::from_secs(45),
        }
    }
}

/// A connection to one repository of one registry.
pub(crate) struct Client {
    agent: Agent,
    /// `https://host[:port]`.
    origin: String,
    repository: String,
    insecure: bool,
    credentials: Option<auth::Credentials>,
    /// What the registry accepted last.
    authorization: Mutex<Option<Authorization>>,
    /// Closes our connections when the work is cancelled.
    _hook: CancelHook,
}

/// A manifest or index as the registry sent it.
pub(crate) struct Served {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
}

const ACCEPT: &str = "accept";
const USER_AGENT: &str = concat!("edgelet/", env!("CARGO_PKG_VERSION"));

impl Client {
    /// Prepares to talk to the registry of `reference`. Nothing is sent yet.
    pub(crate) fn new(
        reference: &ImageRef,
        config: &Registry,
        timeouts: &Timeouts,
        cancel: &CancelToken,
    ) -> Result<Self, RegistryError> {
        let host = match reference.registry() {
            // The registry of that name serves from another host; every engine knows this one.
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let scheme = if config.insecure { "http" } else { "https" };
        let agent = connect::agent(config, timeouts, USER_AGENT)?;
        let shutdown = agent.clone();
        Ok(Self {
            agent,
            origin: format!("{scheme}://{host}"),
            repository: reference.repository().to_owned(),
            insecure: config.insecure,
            credentials: auth::Credentials::of(config),
            authorization: Mutex::new(None),
            _hook: cancel.on_cancel(move || shutdown.shutdown()),
        })
    }

    /// Fetches a manifest or index by tag or digest. Limited in size; a digest is checked.
    pub(crate) fn manifest(&self, selector: &str) -> Result<Served, RegistryError> {
        let url = format!("{}/v2/{}/manifests/{selector}", self.origin, self.repository);
        let accept = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
        let response = self.get(&url, &accept, 0)?;
        let content_type = text_of(response.headers(), header::CONTENT_TYPE);
        let bytes = read_limited(response.into_body(), limits::MANIFEST_BYTES, "a manifest")?;
        if let Ok(digest) = Digest::parse(selector) {
            check(&digest, &bytes)?;
        }
        Ok(Served { bytes, content_type })
    }

    /// Fetches a small blob whole and checks it. The caller has checked `blob.size` against its limit.
    pub(crate) fn small_blob(&self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        let response = self.blob_response(&blob.digest, 0)?;
        let bytes = read_limited(response.into_body(), blob.size, "a configuration")?;
        check(&blob.digest, &bytes)?;
        Ok(bytes)
    }

    /// Opens a blob for reading, from that byte on. The answer begins with the bytes before, as many as its second part
    /// says, where the registry does not serve ranges. Neither size nor digest has been checked.
    pub(crate) fn blob(&self, digest: &Digest, from: u64) -> Result<(Box<dyn Read>, u64), RegistryError> {
        let response = self.blob_response(digest, from)?;
        let known = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                check_range(response.headers(), from)?;
                0
            }
            _ => from,
        };
        Ok((Box::new(response.into_body().into_reader()), known))
    }

    fn blob_response(&self, digest: &Digest, from: u64) -> Result<Response<Body>, RegistryError> {
        self.get(&format!("{}/v2/{}/blobs/{digest}", self.origin, self.repository), "*/*", from)
    }

    /// Sends a GET for what is at `url` from that byte on, with what authentication it takes: at most one new attempt
    /// after the registry says how it wants to be asked.
    fn get(&self, url: &str, accept: &str, from: u64) -> Result<Response<Body>, RegistryError> {
        let used = self.authorization().clone();
        let response = self.get_following(url, accept, from, used.as_ref())?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return error::expect_ok(response);
        }
        let challenges: Vec<String> = (response.headers().get_all(header::WWW_AUTHENTICATE).iter())
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let fresh = self.authorize(&challenges, used.as_ref())?;
        *self.authorization() = Some(fresh.clone());
        error::expect_ok(self.get_following(url, accept, from, Some(&fresh))?)
    }

    /// Follows redirects. Storage behind a registry is often another host, which must not learn our
    /// credentials; and HTTPS must not become HTTP on the way.
    fn get_following(
        &self,
        url: &str,
        accept: &str,
        from: u64,
        authorization: Option<&Authorization>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut uri: Uri = url.parse().map_err(|_| RegistryError::Location(url.to_owned()))?;
        for _ in 0..=limits::HTTP_REDIRECTS {
            let mut request = self.agent.get(uri.clone()).header(ACCEPT, accept);
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            if let Some(authorization) = authorization
                && same_origin(&uri, &self.origin)
            {
                request = request.header(header::AUTHORIZATION, authorization.header());
            }
            let response = request.call().map_err(|error| cause_of(error, &uri))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            uri = self.next_location(&uri, response.headers())?;
        }
        Err(RegistryError::TooManyRedirects)
    }

    fn next_location(&self, from: &Uri, headers: &HeaderMap) -> Result<Uri, RegistryError> {
        let location = text_of(headers, header::LOCATION).unwrap_or_default();
        let bad = || RegistryError::Location(location.chars().take(200).collect());
        let absolute = match location.strip_prefix('/') {
            // `//host/path` keeps the scheme only.
            Some(rest) if rest.starts_with('/') => {
                format!("{}:{location}", from.scheme_str().unwrap_or("https"))
            }
            Some(_) => {
                let authority = from.authority().ok_or_else(bad)?;
                format!("{}://{authority}{location}", from.scheme_str().unwrap_or("https"))
            }
            None => location.clone(),
        };
        let to: Uri = absolute.parse().map_err(|_| bad())?;
        match (to.scheme_str(), self.insecure) {
            (Some("https"), _) | (Some("http"), true) => Ok(to),
            (Some("http"), false) => Err(RegistryError::Downgrade(to.host().unwrap_or_default().to_owned())),
            _ => Err(bad()),
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<Authorization>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether our credentials may be sent there.
fn same_origin(uri: &Uri, origin: &str) -> bool {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}") == origin,
        _ => false,
    }
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Whether a part begins where it should (RFC 9110, section 14.4).
fn check_range(headers: &HeaderMap, from: u64) -> Result<(), RegistryError> {
    let range = text_of(headers, header::CONTENT_RANGE).unwrap_or_default();
    match range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse::<u64>().ok()) {
        Some(start) if from == start => Ok(()),
        _ => Err(RegistryError::Protocol(format!("asked for bytes from {from} on, got {range:?}"))),
    }
}

/// Reads a whole body of at most `limit` bytes. What is beyond is not read.
fn read_limited(body: Body, limit: u64, what: &'static str) -> Result<Vec<u8>, RegistryError> {
    if body.content_length().is_some_and(|length| length > limit) {
        return Err(RegistryError::TooLarge { what, limit });
    }
    let mut bytes = Vec::new();
    let mut reader = body.into_reader().take(limit + 1);
    reader.read_to_end(&mut bytes).map_err(RegistryError::Broken)?;
    match bytes.len() as u64 > limit {
        true => Err(RegistryError::TooLarge { what, limit }),
        false => Ok(bytes),
    }
}

fn check(expected: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
    match Digest::of(bytes) {
        found if found == *expected => Ok(()),
        found => Err(RegistryError::Digest { expected: *expected, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_scheme_host_and_port() {
        let origin = "https://registry.example:5000";
        let cases = [
            ("https://registry.example:5000/v2/x", true),
            ("https://registry.example/v2/x", false),
            ("http://registry.example:5000/v2/x", false),
            ("https://registry.example.evil:5000/v2/x", false),
            ("https://user@registry.example:5000/v2/x", false),
            ("/v2/x", false),
        ];
        for (uri, want) in cases {
            assert_eq!(same_origin(&uri.parse().expect(uri), origin), want, "{uri}");
        }
    }

    #[test]
    fn redirects_never_lose_their_encryption() {
        let reference = ImageRef::parse("registry.example:5000/x").expect("reference");
        let client = |insecure| {
            let config = Registry { insecure, ..Registry::default() };
            Client::new(&reference, &config, &Timeouts::default(), &CancelToken::new()).expect("client")
        };
        let next = |insecure: bool, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().expect("value"));
            let from = "https://registry.example:5000/v2/x".parse().expect("uri");
            client(insecure).next_location(&from, &headers).map(|uri| uri.to_string())
        };
        assert_eq!(next(false, "/a?b=c").ok().as_deref(), Some("https://registry.example:5000/a?b=c"));
        assert_eq!(next(false, "//cdn.example/a").ok().as_deref(), Some("https://cdn.example/a"));
        assert_eq!(next(false, "https://cdn.example/a").ok().as_deref(), Some("https://cdn.example/a"));
        assert!(matches!(next(false, "http://cdn.example/a"), Err(RegistryError::Downgrade(_))));
        assert!(next(true, "http://cdn.example/a").is_ok());
        for bad in ["file:///etc/passwd", "a/b", ""] {
            assert!(matches!(next(true, bad), Err(RegistryError::Location(_))), "{bad}");
        }
    }
}
