//! Why a registry did not give what was asked, by cause, because each cause is somebody else's business.

use crate::transfer::{SLOWEST_BYTES, SLOWEST_WINDOW};
use edgelet_types::{Digest, Reason};
use std::io::{self, Read};
use std::time::Duration;
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri, header};

/// Why a request to a registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connection, or it broke before an answer came.
    #[error("reach {host}")]
    Unreachable {
        /// Which host.
        host: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The answer broke off.
    #[error("the answer broke off")]
    Broken(#[source] io::Error),
    /// The answer all but stopped.
    #[error("less than {} B in {} s", SLOWEST_BYTES, SLOWEST_WINDOW.as_secs())]
    TooSlow,
    /// The registry wants to be left alone for a while.
    #[error("http {status}{}", detail(.text))]
    Busy {
        /// 429, 408 or 5xx.
        status: u16,
        /// How long it asked us to wait.
        after: Option<Duration>,
        /// What it says.
        text: String,
    },
    /// Missing or wrong credentials, or no permission.
    #[error("access denied{}", detail(.0))]
    Denied(String),
    /// No such repository, tag or blob.
    #[error("not found{}", detail(.0))]
    NotFound(String),
    /// The certificate is not trusted, or the other side does not speak TLS.
    #[error("{host} is not trusted: {cause}")]
    Untrusted {
        /// Which host.
        host: String,
        /// What TLS says.
        cause: String,
    },
    /// The file with a private authority cannot be used.
    #[error("certificate authority {path:?}: {cause}")]
    Authority {
        /// As configured.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// An answer that the protocol does not have.
    #[error("http {status}{}", detail(.text))]
    Status {
        /// What came.
        status: u16,
        /// What the registry says.
        text: String,
    },
    /// The bytes on the wire are no HTTP, or the answer cannot be understood.
    #[error("the registry's answer makes no sense: {0}")]
    Protocol(String),
    /// Larger than we keep in memory.
    #[error("{what} is larger than {limit} B")]
    TooLarge {
        /// What was asked for.
        what: &'static str,
        /// The most that is accepted.
        limit: u64,
    },
    /// The bytes are not the promised ones.
    #[error("digest is {found}, want {expected}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// A redirect to something that is not an address.
    #[error("redirected to {0:?}, which is no address")]
    Location(String),
    /// A redirect from HTTPS to HTTP.
    #[error("redirected to plain http at {0:?}")]
    Downgrade(String),
    /// More redirects than any honest registry needs.
    #[error("more than {} redirects", edgelet_types::limits::HTTP_REDIRECTS)]
    TooManyRedirects,
    /// A token service that may not be given credentials.
    #[error("the token service {0:?} is not reached by https")]
    TokenService(String),
}

impl RegistryError {
    /// The stable reason for callers.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unreachable { .. } | Self::Broken(_) | Self::TooSlow | Self::Busy { .. } => {
                Reason::RegistryUnreachable
            }
            Self::Denied(_) | Self::TokenService(_) => Reason::RegistryDenied,
            Self::NotFound(_) => Reason::ImageNotFound,
            Self::Untrusted { .. } | Self::Authority { .. } | Self::Downgrade(_) => Reason::RegistryUntrusted,
            Self::TooLarge { .. } => Reason::ImageInvalid,
            Self::Digest { .. } => Reason::DigestMismatch,
            Self::Status { .. } | Self::Protocol(_) | Self::Location(_) | Self::TooManyRedirects => {
                Reason::RegistryProtocol
            }
        }
    }

    /// Whether the same request may well succeed in some seconds.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken(_) | Self::TooSlow | Self::Busy { .. })
    }

    /// How long the registry asked us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }
}

/// Passes a good answer on, of all or of a part, and turns any other into its cause.
pub(super) fn expect_ok(response: Response<Body>) -> Result<Response<Body>, RegistryError> {
    if matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Ok(response);
    }
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
    let text = message_of(response.into_body());
    Err(match status.as_u16() {
        401 | 403 => RegistryError::Denied(text),
        404 => RegistryError::NotFound(text),
        status @ (408 | 429 | 500..=599) => {
            RegistryError::Busy { status, after: after.map(Duration::from_secs), text }
        }
        status => RegistryError::Status { status, text },
    })
}

/// What happened below HTTP.
pub(super) fn cause_of(error: ureq::Error, uri: &Uri) -> RegistryError {
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let untrusted =
        |host: String, cause: &rustls::Error| RegistryError::Untrusted { host, cause: cause.to_string() };
    match error {
        ureq::Error::Rustls(cause) => untrusted(host, &cause),
        ureq::Error::Io(source) => match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(cause) => untrusted(host, cause),
            None => RegistryError::Unreachable { host, source },
        },
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
            RegistryError::Unreachable { host, source: io::Error::other(error) }
        }
        other => RegistryError::Protocol(other.to_string()),
    }
}

/// What a registry says about an error (distribution-spec 1.1, "Error Codes"), cut to one short line; empty
/// when it says nothing in the right form.
fn message_of(body: Body) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        code: Option<String>,
        message: Option<String>,
    }
    const MOST: u64 = 8 << 10;
    let mut bytes = Vec::new();
    // The status is the news; a text that cannot be read is no text.
    if body.into_reader().take(MOST).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let errors = serde_json::from_slice::<Errors>(&bytes).map(|errors| errors.errors).unwrap_or_default();
    let Some(first) = errors.into_iter().next() else { return String::new() };
    let text = [first.code, first.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

fn detail(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(" ({text})"),
    }
}
