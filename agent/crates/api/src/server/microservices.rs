//! `/v1/ms`: list, inspect and lifecycle.

use super::Context;
use super::reply::{self, Query, Response};
use crate::error::{Code, Refusal};
use crate::node::{Node, Signal};
use crate::select;
use crate::wire::{KillRequest, List, Microservice, MicroserviceDetail};
use edgelet_types::workload::Source;
use edgelet_types::{Fault, WorkloadId};
use std::sync::Arc;
use warp::hyper::body::Bytes;

pub(super) async fn list(context: Arc<Context>, mut query: Query) -> Response {
    let wanted = query.take("source", "managed, local, controlplane or all", source).and_then(|wanted| {
        query.finish()?;
        Ok(wanted.flatten())
    });
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(refusal) => return reply::refuse(&refusal),
    };
    reply::answer(listed(&context, wanted).await)
}

/// Workloads of one source, or of all, by application and name.
pub(super) async fn listed(context: &Context, wanted: Option<Source>) -> Result<List<Microservice>, Refusal> {
    let list = move |node: &dyn Node| {
        let mut all = node.microservices()?;
        all.retain(|ms| wanted.is_none_or(|source| source == ms.workload.source));
        all.sort_by(|a, b| {
            let key =
                |ms: &crate::node::Microservice| (ms.workload.application.clone(), ms.workload.name.clone());
            key(a).cmp(&key(b))
        });
        Ok(List::of(all.iter().map(Microservice::from).collect()))
    };
    context.backend.call(list).await
}

pub(super) async fn inspect(selector: String, context: Arc<Context>) -> Response {
    let detail = context.backend.call(move |node| Ok(MicroserviceDetail::from(&find(node, &selector)?)));
    reply::answer(detail.await)
}

/// The workload that a selector means. A UUID names it directly; others are looked up among all.
pub(super) fn find(node: &dyn Node, selector: &str) -> Result<crate::node::Microservice, Fault> {
    match WorkloadId::parse(&selector.to_ascii_lowercase()) {
        Ok(id) => node.microservice(&id),
        Err(_) => select::microservice(&node.microservices()?, selector).cloned(),
    }
}

/// What `POST /v1/ms/{id}/…` and `DELETE` do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Stop,
    Restart,
    Delete,
}

pub(super) async fn act(selector: String, action: Action, context: Arc<Context>) -> Response {
    reply::answer(
        change(&context, selector, move |node, id| match action {
            Action::Start => node.start(id),
            Action::Stop => node.stop(id),
            Action::Restart => node.restart(id),
            Action::Delete => node.delete(id),
        })
        .await,
    )
}

/// `cleanup` is a bit that is reserved for volumes, of which there are none yet.
pub(super) async fn delete(selector: String, mut query: Query, context: Arc<Context>) -> Response {
    let checked = query.take("cleanup", "true or false", boolean).and_then(|_| query.finish());
    match checked {
        Ok(()) => act(selector, Action::Delete, context).await,
        Err(refusal) => reply::refuse(&refusal),
    }
}

pub(super) async fn kill(selector: String, body: Bytes, context: Arc<Context>) -> Response {
    match signal(&body) {
        Ok(signal) => reply::answer(change(&context, selector, move |node, id| node.kill(id, signal)).await),
        Err(refusal) => reply::refuse(&refusal),
    }
}

fn signal(body: &[u8]) -> Result<Signal, Refusal> {
    match reply::json::<KillRequest>(body)?.signal {
        None => Ok(Signal::KILL),
        Some(text) => Signal::parse(&text)
            .ok_or_else(|| Refusal::new(Code::InvalidArgument, format!("signal {text:?}: no such signal"))),
    }
}

/// Finds the workload, changes it, and answers what it is like then.
async fn change(
    context: &Context,
    selector: String,
    change: impl FnOnce(&dyn Node, &WorkloadId) -> Result<(), Fault> + Send + 'static,
) -> Result<Microservice, Refusal> {
    let work = move |node: &dyn Node| {
        let found = find(node, &selector)?;
        change(node, &found.workload.id)?;
        // Gone at once is fine: then the last that was known of it is the answer.
        let now = node.microservice(&found.workload.id).unwrap_or(found);
        Ok(Microservice::from(&now))
    };
    context.backend.call(work).await
}

fn source(word: &str) -> Option<Option<Source>> {
    match word {
        "all" => Some(None),
        "local" => Some(Some(Source::Local)),
        "managed" => Some(Some(Source::Managed)),
        "controlplane" => Some(Some(Source::Controlplane)),
        _ => None,
    }
}

/// `true` and `false`, as queries write them.
pub(super) fn boolean(word: &str) -> Option<bool> {
    word.parse().ok()
}
