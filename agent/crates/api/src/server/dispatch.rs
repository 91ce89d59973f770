//! From a request to the function that answers it.
//!
//! The routes are matched by hand: a filter per route costs more code than all handlers together. What
//! warp is here for is reading forms and upgrading to WebSockets.

use super::connection::Place;
use super::reply::{self, Query, Response};
use super::routes::{self, Form, Route, Socket};
use super::{Context, apply, exec, images, logs, microservices, system};
use crate::error::{Code, Refusal};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::sync::Arc;
use warp::Filter;
use warp::filters::ws::MissingConnectionUpgrade;
use warp::reject::{InvalidHeader, MissingHeader, Rejection};

/// Answers a request whose body has been read and measured. A WebSocket keeps the place of its connection.
pub(super) async fn answer(request: Request<Bytes>, place: Place, context: Arc<Context>) -> Response {
    let route = match routes::find(request.method(), request.uri().path()) {
        Ok(route) => route,
        Err(refusal) => return reply::refuse(&refusal),
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match route {
        Route::Live => system::live().await,
        Route::Ready => system::ready(context).await,
        Route::Status => system::status(context).await,
        Route::Info => system::info(context).await,
        Route::Version => system::version(context).await,
        Route::Images => images::list(context).await,
        Route::Pull => images::pull(request.into_body(), context).await,
        Route::PullStatus(id) => images::pull_status(id, context).await,
        Route::Load => images::load(request.into_body(), context).await,
        Route::LoadStatus(id) => images::load_status(id, context).await,
        Route::RemoveImage => images::remove(request.into_body(), context).await,
        Route::PruneImages => images::prune(query, context).await,
        Route::Microservices => microservices::list(context, query).await,
        Route::Microservice(selector) => microservices::inspect(selector, context).await,
        Route::Act(selector, action) => microservices::act(selector, action, context).await,
        Route::Kill(selector) => microservices::kill(selector, request.into_body(), context).await,
        Route::Delete(selector) => microservices::delete(selector, query, context).await,
        Route::Logs(selector) => logs::bounded(selector, query, context).await,
        Route::CreateSession(selector) => exec::create(selector, request.into_body(), context).await,
        Route::Session(selector, session) => exec::status(selector, session, context).await,
        Route::DeleteSession(selector, session) => exec::delete(selector, session, context).await,
        Route::Deployments => apply::list(context).await,
        Route::Deployment(selector) => apply::inspect(selector, context).await,
        Route::DeleteDeployment(selector) => apply::delete(selector, context).await,
        Route::ApplyStatus(id) => apply::status(id, context).await,
        Route::Form(purpose) => form(request, purpose, context).await,
        Route::Socket(subject) => websocket(request, subject, query, place, context).await,
    }
}

async fn form(request: Request<Bytes>, purpose: Form, context: Arc<Context>) -> Response {
    // The body is bounded already.
    let filter = warp::multipart::form().max_length(None).then(move |form| {
        let context = context.clone();
        async move {
            match purpose {
                Form::Apply => apply::apply(form, context).await,
                Form::Validate => apply::validate(form).await,
            }
        }
    });
    through(filter, request).await
}

async fn websocket(
    request: Request<Bytes>,
    subject: Socket,
    query: Query,
    place: Place,
    context: Arc<Context>,
) -> Response {
    let filter = warp::ws().then(move |ws| {
        let (subject, query, place, context) =
            (subject.clone(), query.clone(), place.clone(), context.clone());
        async move {
            match subject {
                Socket::Logs(selector) => logs::stream(selector, query, ws, place, context).await,
                Socket::Session(selector, session) => {
                    exec::attach(selector, session, ws, place, context).await
                }
            }
        }
    });
    through(filter, request).await
}

/// Lets one of warp's filters answer.
async fn through(
    filter: impl Filter<Extract = (Response,), Error = Rejection, Future: Send> + Clone + Send + Sync + 'static,
    request: Request<Bytes>,
) -> Response {
    let service = warp::service(filter.recover(refuse).unify());
    match TowerToHyperService::new(service).call(request.map(Full::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// What a filter did not take, in the error envelope.
async fn refuse(rejection: Rejection) -> Result<Response, Infallible> {
    let message = if rejection.find::<MissingConnectionUpgrade>().is_some() {
        "this route is a WebSocket and wants an upgrade".to_owned()
    } else if let Some(missing) = rejection.find::<MissingHeader>() {
        format!("header {}: is missing", missing.name())
    } else if let Some(invalid) = rejection.find::<InvalidHeader>() {
        format!("header {}: is not what is wanted", invalid.name())
    } else {
        format!("{rejection:?}")
    };
    Ok(reply::refuse(&Refusal::new(Code::InvalidArgument, message)))
}
