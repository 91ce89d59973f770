//! Answers: the envelope around results and refusals.

use super::request::current_id;
use crate::error::{Code, Refusal};
use crate::wire::{Failure, Success};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use warp::Reply;
use warp::http::StatusCode;

pub(super) type Response = warp::reply::Response;

/// 200 with the result, or the refusal.
pub(super) fn answer<T: Serialize>(result: Result<T, Refusal>) -> Response {
    answer_as(StatusCode::OK, result)
}

/// 202 with the accepted operation, or the refusal.
pub(super) fn accepted<T: Serialize>(result: Result<T, Refusal>) -> Response {
    answer_as(StatusCode::ACCEPTED, result)
}

fn answer_as<T: Serialize>(status: StatusCode, result: Result<T, Refusal>) -> Response {
    match result {
        Ok(data) => bare(status, &Success::of(data)),
        Err(refusal) => refuse(&refusal),
    }
}

/// A body without envelope.
pub(super) fn bare(status: StatusCode, body: &impl Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

/// The error envelope.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code.http_status()).expect("the table holds valid statuses");
    let mut error = refusal.body();
    error.request_id = current_id();
    bare(status, &Failure { success: false, error })
}

/// Reads a JSON body; an empty one is an empty object.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(Code::InvalidArgument, format!("body: {error}")))
}

/// The query parameters of a request. Each is taken once; what nobody took is refused.
#[derive(Clone)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads what follows the question mark.
    pub(super) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Takes a parameter and parses it; an empty one counts as absent.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.0.remove(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => parse(&text).map(Some).ok_or_else(|| {
                Refusal::new(Code::InvalidArgument, format!("query: {name}={text}: must be {rule}"))
            }),
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Refusal::new(Code::InvalidArgument, format!("query: {name}: no such parameter here")))
            }
        }
    }
}
