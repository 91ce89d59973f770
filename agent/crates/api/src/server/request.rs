//! What every request goes through before and after its route: an id, its body, the log.

use super::connection::Place;
use super::reply::{self, Response};
use super::{Context, dispatch};
use crate::error::{Code, Refusal};
use edgelet_types::WorkloadId;
use edgelet_types::limits::{API_BODY_BYTES, DEPLOY_MANIFEST_BYTES};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(15);
/// What multipart framing and small fields may add to a manifest.
const MULTIPART_EXTRA_BYTES: u64 = 64 << 10;
/// The longest request id that is taken over from a caller.
const REQUEST_ID_BYTES: usize = 128;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    /// The id of the request that the current task answers.
    static CURRENT: String;
}

/// The id of the request being answered; `None` outside of one.
pub(super) fn current_id() -> Option<String> {
    CURRENT.try_with(String::clone).ok()
}

/// Answers one request.
pub(super) async fn handle(
    request: Request<Incoming>,
    place: Place,
    context: Arc<Context>,
) -> Result<Response, Infallible> {
    let id = request_id(&request);
    let line = format!("{} {}", request.method(), request.uri().path());
    // What changes something is worth a line in the log; questions are many.
    let level = if request.method() == Method::GET { log::Level::Debug } else { log::Level::Info };
    let mut response = CURRENT.scope(id.clone(), answer(request, place, context)).await;
    log::log!(level, "api {line} status={} request={id}", response.status().as_u16());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

async fn answer(request: Request<Incoming>, place: Place, context: Arc<Context>) -> Response {
    let (head, body) = request.into_parts();
    let is_form = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("multipart/"));
    let limit = match is_form {
        true => DEPLOY_MANIFEST_BYTES + MULTIPART_EXTRA_BYTES,
        false => API_BODY_BYTES,
    };
    match read(body, limit).await {
        Ok(bytes) => dispatch::answer(Request::from_parts(head, bytes), place, context).await,
        Err(refusal) => reply::refuse(&refusal),
    }
}

async fn read(body: Incoming, limit: u64) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::PayloadTooLarge, format!("the body is larger than {limit} bytes"));
    // What announces itself as too large need not be waited for.
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    match tokio::time::timeout(BODY, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Refusal::new(Code::InvalidArgument, format!("read the body: {error}"))),
        Err(_) => Err(Refusal::new(Code::RequestTimeout, "the body did not arrive in time")),
    }
}

/// The caller's id where it is harmless in a log, else a fresh UUID.
fn request_id(request: &Request<Incoming>) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given
        .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES)
        .filter(|id| id.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| WorkloadId::from_random(random()).to_string(), str::to_owned)
}

/// Random bytes for an identifier.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has had randomness since boot");
    bytes
}
