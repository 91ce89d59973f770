//! `/v1/images`.

use super::Context;
use super::operations::{Background, Operation, State, percent};
use super::reply::{self, Query, Response};
use crate::error::{Code, Refusal};
use crate::node::{ImageTarget, LoadedImage, PullRequest, PulledImage};
use crate::select;
use crate::wire::{
    Accepted, ENGINE, Image, ImageLoadStatus, ImageLoaded, ImagePrune, ImagePullRequest, ImagePullStatus,
    ImageRemoved, List, LoadRequest, OperationState, RemoveRequest,
};
use edgelet_types::{ImageRef, Platform};
use std::path::Path;
use std::sync::Arc;
use warp::hyper::body::Bytes;

type Pull = Background<PullRequest, PulledImage>;
type Load = Background<String, Vec<LoadedImage>>;

pub(super) async fn list(context: Arc<Context>) -> Response {
    let rows = context.backend.call(|node| {
        let mut rows: Vec<Image> = node.images()?.iter().flat_map(Image::rows).collect();
        rows.sort_by(|a, b| (&a.repository, &a.tag, &a.id).cmp(&(&b.repository, &b.tag, &b.id)));
        Ok(List::of(rows))
    });
    reply::answer(rows.await)
}

/// Starts a pull; answers at once when asked to, else when it is over.
pub(super) async fn pull(body: Bytes, context: Arc<Context>) -> Response {
    let (request, background) = match pull_request(&body) {
        Ok(parsed) => parsed,
        Err(refusal) => return reply::refuse(&refusal),
    };
    let pull = Arc::new(Pull::new("img_pull", request));
    if let Err(refusal) = context.operations.add(Operation::Pull(pull.clone())) {
        return reply::refuse(&refusal);
    }
    tokio::spawn(run_pull(pull.clone(), context.clone()));
    if background {
        return reply::answer(Ok(pull_progress(&pull)));
    }
    pull.finished().await;
    match pull.state() {
        State::Ended { result: Err(refusal), .. } => reply::refuse(&refusal),
        _ => reply::answer(Ok(pull_progress(&pull))),
    }
}

fn pull_request(body: &[u8]) -> Result<(PullRequest, bool), Refusal> {
    let wire: ImagePullRequest = reply::json(body)?;
    let invalid = |message: String| Refusal::new(Code::InvalidArgument, message);
    if wire.registry_id.is_some() {
        let message = "registryId: not supported by this version; name the registry's host in image";
        return Err(Refusal::new(Code::NotImplemented, message));
    }
    let image = ImageRef::parse(&wire.image).map_err(|error| invalid(error.to_string()))?;
    let platform = wire.platform.filter(|text| !text.is_empty());
    let platform = platform
        .map(|text| Platform::parse(&text).map_err(|error| invalid(error.to_string())))
        .transpose()?;
    Ok((PullRequest { image, platform }, wire.background.unwrap_or(false)))
}

async fn run_pull(pull: Arc<Pull>, context: Arc<Context>) {
    let worker = pull.clone();
    let result = context
        .backend
        .long_call(|| pull.started(), move |node| node.image_pull(&worker.request, &*worker))
        .await;
    pull.ended(result);
}

pub(super) async fn pull_status(id: String, context: Arc<Context>) -> Response {
    reply::answer(match context.operations.get(&id) {
        Ok(Operation::Pull(pull)) => Ok(pull_progress(&pull)),
        Ok(_) => Err(Refusal::new(Code::NotFound, format!("operation {id:?}: not a pull"))),
        Err(refusal) => Err(refusal),
    })
}

fn pull_progress(pull: &Pull) -> ImagePullStatus {
    let (done, total) = pull.bytes();
    let image = &pull.request.image;
    let mut status = ImagePullStatus {
        operation_id: pull.id.clone(),
        status: OperationState::Pending,
        progress: percent(done, total),
        bytes_done: done,
        bytes_total: total,
        image: image.to_string(),
        resolved_image: String::new(),
        platform: pull.request.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
        engine: ENGINE.to_owned(),
        message: String::new(),
        error: None,
        error_detail: None,
        started_at: pull.started_at.to_string(),
        ended_at: None,
    };
    match pull.state() {
        State::Pending => status.message = "waits for its turn".to_owned(),
        State::Running => status.status = OperationState::Running,
        State::Ended { at, result } => {
            status.ended_at = Some(at.to_string());
            match result {
                Ok(pulled) => {
                    status.status = OperationState::Succeeded;
                    status.progress = 100;
                    status.resolved_image = format!("{}@{}", image.name(), pulled.manifest);
                    status.platform = pulled.platform.to_string();
                    status.message = format!("image {} is on this device", pulled.id.short());
                }
                Err(refusal) => {
                    status.status = OperationState::Failed;
                    status.error = Some(refusal.message.clone());
                    status.error_detail = Some(refusal.body());
                }
            }
        }
    }
    status
}

pub(super) async fn load(body: Bytes, context: Arc<Context>) -> Response {
    reply::accepted(start_load(&body, &context))
}

fn start_load(body: &[u8], context: &Arc<Context>) -> Result<Accepted, Refusal> {
    let LoadRequest { path } = reply::json(body)?;
    if !Path::new(&path).is_absolute() {
        let message = format!("path {path:?}: must be an absolute path on the device");
        return Err(Refusal::new(Code::InvalidArgument, message));
    }
    let load = Arc::new(Load::new("img_load", path));
    context.operations.add(Operation::Load(load.clone()))?;
    tokio::spawn(run_load(load.clone(), context.clone()));
    Ok(Accepted { operation_id: load.id.clone() })
}

async fn run_load(load: Arc<Load>, context: Arc<Context>) {
    let worker = load.clone();
    let result = context
        .backend
        .long_call(|| load.started(), move |node| node.image_load(Path::new(&worker.request), &*worker))
        .await;
    load.ended(result);
}

pub(super) async fn load_status(id: String, context: Arc<Context>) -> Response {
    reply::answer(match context.operations.get(&id) {
        Ok(Operation::Load(load)) => Ok(load_progress(&load)),
        Ok(_) => Err(Refusal::new(Code::NotFound, format!("operation {id:?}: not a load"))),
        Err(refusal) => Err(refusal),
    })
}

fn load_progress(load: &Load) -> ImageLoadStatus {
    let (done, total) = load.bytes();
    let mut status = ImageLoadStatus {
        operation_id: load.id.clone(),
        status: OperationState::Pending,
        progress: percent(done, total),
        loaded: Vec::new(),
        count: 0,
        engine: ENGINE.to_owned(),
        message: String::new(),
        error: None,
        started_at: load.started_at.to_string(),
        ended_at: None,
    };
    match load.state() {
        State::Pending => status.message = "waits for its turn".to_owned(),
        State::Running => status.status = OperationState::Running,
        State::Ended { at, result } => {
            status.ended_at = Some(at.to_string());
            match result {
                Ok(loaded) => {
                    status.status = OperationState::Succeeded;
                    status.progress = 100;
                    status.count = loaded.len();
                    status.message = format!("{} images loaded", loaded.len());
                    status.loaded = loaded.into_iter().map(loaded_row).collect();
                }
                Err(refusal) => {
                    status.status = OperationState::Failed;
                    status.error = Some(refusal.body());
                }
            }
        }
    }
    status
}

fn loaded_row(image: LoadedImage) -> ImageLoaded {
    ImageLoaded {
        name: image.name.map(|name| name.to_string()).unwrap_or_default(),
        id: image.id.to_string(),
    }
}

pub(super) async fn remove(body: Bytes, context: Arc<Context>) -> Response {
    let selector = match reply::json::<RemoveRequest>(&body) {
        Ok(request) => request.selector,
        Err(refusal) => return reply::refuse(&refusal),
    };
    let removed = context.backend.call(move |node| {
        let removed = node.image_remove(&select::image(&node.images()?, &selector)?)?;
        let removed = match removed {
            ImageTarget::Name(name) => name.to_string(),
            ImageTarget::Id(id) => id.to_string(),
        };
        Ok(ImageRemoved {
            status: "removed".to_owned(),
            selector,
            message: format!("{removed} removed"),
            removed,
            engine: ENGINE.to_owned(),
        })
    });
    reply::answer(removed.await)
}

pub(super) async fn prune(mut query: Query, context: Arc<Context>) -> Response {
    let mode = query.take("mode", "dangling", |word| (word == "dangling").then_some(()));
    match mode.and_then(|_| query.finish()) {
        Ok(()) => reply::answer(context.backend.call(|node| node.image_prune().map(ImagePrune::from)).await),
        Err(refusal) => reply::refuse(&refusal),
    }
}
