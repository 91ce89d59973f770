//! `/v1/system` and `/health`.

use super::Context;
use super::reply::{self, Response};
use crate::node::Phase;
use crate::wire::{self, Health, VersionInfo};
use std::sync::Arc;
use warp::http::StatusCode;

pub(super) async fn version(context: Arc<Context>) -> Response {
    reply::answer(Ok(VersionInfo::from(context.backend.node().version())))
}

/// The one answer without envelope, as it always was.
pub(super) async fn status(context: Arc<Context>) -> Response {
    let status = context.backend.call(|node| {
        let running = node.microservices()?.iter().filter(|ms| ms.phase == Phase::Running).count();
        Ok(wire::status(&node.status()?, running))
    });
    match status.await {
        Ok(status) => reply::bare(StatusCode::OK, &status),
        Err(refusal) => reply::refuse(&refusal),
    }
}

pub(super) async fn info(context: Arc<Context>) -> Response {
    reply::answer(context.backend.call(|node| Ok(wire::info(&node.info()?))).await)
}

pub(super) async fn live() -> Response {
    let health = Health {
        status: "ok".to_owned(),
        local_api_phase: Some("listening".to_owned()),
        reason: None,
        detail: None,
    };
    reply::bare(StatusCode::OK, &health)
}

/// A stand-alone node is ready when its engine runs; being provisioned is no part of it.
pub(super) async fn ready(context: Arc<Context>) -> Response {
    let health = |status: &str, reason: Option<&str>, detail| Health {
        status: status.to_owned(),
        local_api_phase: None,
        reason: reason.map(str::to_owned),
        detail,
    };
    match context.backend.node().ready() {
        Ok(()) => reply::bare(StatusCode::OK, &health("ready", None, None)),
        Err(fault) => {
            let body = health("not_ready", Some("daemon_not_running"), Some(fault.message));
            reply::bare(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}
