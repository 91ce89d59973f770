//! The table of routes, and what is answered where there is none.

use super::connection::Place;
use super::microservices::Action;
use super::reply::{self, Query, Response};
use super::{Context, apply, exec, images, logs, microservices, system};
use crate::error::{Code, Refusal};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use warp::filters::BoxedFilter;
use warp::filters::ws::MissingConnectionUpgrade;
use warp::hyper::body::Bytes;
use warp::reject::{InvalidHeader, MethodNotAllowed, MissingHeader, Rejection};
use warp::{Filter, get, path, post};

pub(super) type Routes = BoxedFilter<(Response,)>;

/// All routes, in the order of the reference.
pub(super) fn all(context: &Arc<Context>) -> Routes {
    health(context)
        .or(path("v1").and(
            system(context)
                .or(images(context))
                .unify()
                .or(microservices(context))
                .unify()
                .or(deploy(context))
                .unify(),
        ))
        .unify()
        .recover(refuse)
        .unify()
        .boxed()
}

fn health(context: &Arc<Context>) -> Routes {
    let live = path!("health" / "live").and(get()).then(system::live);
    let ready = path!("health" / "ready").and(get()).and(with(context)).then(system::ready);
    live.or(ready).unify().boxed()
}

fn system(context: &Arc<Context>) -> Routes {
    let status = path!("system" / "status").and(get()).and(with(context)).then(system::status);
    let info = path!("system" / "info").and(get()).and(with(context)).then(system::info);
    let version = path!("system" / "version").and(get()).and(with(context)).then(system::version);
    status.or(info).unify().or(version).unify().boxed()
}

fn images(context: &Arc<Context>) -> Routes {
    let list = path!("images").and(get()).and(with(context)).then(images::list);
    let pull = path!("images:pull").and(post()).and(body()).and(with(context)).then(images::pull);
    let pulled = path!("images:pull" / String).and(get()).and(with(context)).then(images::pull_status);
    let load = path!("images:load").and(post()).and(body()).and(with(context)).then(images::load);
    let loaded = path!("images:load" / String).and(get()).and(with(context)).then(images::load_status);
    let remove = path!("images:remove").and(post()).and(body()).and(with(context)).then(images::remove);
    let prune = path!("images:prune").and(post()).and(query()).and(with(context)).then(images::prune);
    list.or(pull)
        .unify()
        .or(pulled)
        .unify()
        .or(load)
        .unify()
        .or(loaded)
        .unify()
        .or(remove)
        .unify()
        .or(prune)
        .unify()
        .boxed()
}

fn microservices(context: &Arc<Context>) -> Routes {
    let list = path!("ms")
        .and(get())
        .and(query())
        .and(with(context))
        .then(|query, context| microservices::list(context, query));
    let inspect = path!("ms" / String).and(get()).and(with(context)).then(microservices::inspect);
    let delete =
        path!("ms" / String).and(warp::delete()).and(query()).and(with(context)).then(microservices::delete);
    let act = path!("ms" / String / Action).and(post()).and(with(context)).then(microservices::act);
    let kill =
        path!("ms" / String / "kill").and(post()).and(body()).and(with(context)).then(microservices::kill);
    list.or(inspect)
        .unify()
        .or(delete)
        .unify()
        .or(act)
        .unify()
        .or(kill)
        .unify()
        .or(logs_and_exec(context))
        .unify()
        .boxed()
}

fn logs_and_exec(context: &Arc<Context>) -> Routes {
    let logs = path!("ms" / String / "logs").and(get()).and(query()).and(with(context)).then(logs::bounded);
    let stream = path!("ms" / String / "logs:stream")
        .and(get())
        .and(query())
        .and(warp::ws())
        .and(place())
        .and(with(context))
        .then(logs::stream);
    let create = path!("ms" / String / "exec" / "sessions")
        .and(post())
        .and(body())
        .and(with(context))
        .then(exec::create);
    let attach = path!("ms" / String / "exec" / "sessions" / Attach)
        .and(warp::ws())
        .and(place())
        .and(with(context))
        .then(|selector, Attach(session), ws, place, context| {
            exec::attach(selector, session, ws, place, context)
        });
    let status = path!("ms" / String / "exec" / "sessions" / SessionId)
        .and(get())
        .and(with(context))
        .then(|selector, SessionId(session), context| exec::status(selector, session, context));
    let delete = path!("ms" / String / "exec" / "sessions" / SessionId)
        .and(warp::delete())
        .and(with(context))
        .then(|selector, SessionId(session), context| exec::delete(selector, session, context));
    logs.or(stream)
        .unify()
        .or(create)
        .unify()
        .or(attach)
        .unify()
        .or(status)
        .unify()
        .or(delete)
        .unify()
        .boxed()
}

fn deploy(context: &Arc<Context>) -> Routes {
    // The body has been read and measured before it gets here.
    let form = || warp::multipart::form().max_length(None);
    let list = path!("deploy" / "microservices").and(get()).and(with(context)).then(apply::list);
    let inspect =
        path!("deploy" / "microservices" / String).and(get()).and(with(context)).then(apply::inspect);
    let delete =
        path!("deploy" / "microservices" / String).and(warp::delete()).and(with(context)).then(apply::delete);
    let apply =
        path!("deploy" / "microservices:apply").and(post()).and(form()).and(with(context)).then(apply::apply);
    let status =
        path!("deploy" / "microservices:apply" / String).and(get()).and(with(context)).then(apply::status);
    let validate = path!("deploy" / "microservices:validate").and(post()).and(form()).then(apply::validate);
    list.or(inspect)
        .unify()
        .or(delete)
        .unify()
        .or(apply)
        .unify()
        .or(status)
        .unify()
        .or(validate)
        .unify()
        .boxed()
}

fn with(
    context: &Arc<Context>,
) -> impl Filter<Extract = (Arc<Context>,), Error = Infallible> + Clone + use<> {
    let context = context.clone();
    warp::any().map(move || context.clone())
}

fn body() -> impl Filter<Extract = (Bytes,), Error = Rejection> + Clone + use<> {
    warp::body::bytes()
}

fn query() -> impl Filter<Extract = (Query,), Error = Rejection> + Clone + use<> {
    warp::query::<BTreeMap<String, String>>().map(Query)
}

/// The place of the connection that a WebSocket grows out of.
fn place() -> impl Filter<Extract = (Place,), Error = Rejection> + Clone + use<> {
    warp::ext::get::<Place>()
}

impl FromStr for Action {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "start" => Ok(Action::Start),
            "stop" => Ok(Action::Stop),
            "restart" => Ok(Action::Restart),
            _ => Err(()),
        }
    }
}

/// `{session}` in a path.
struct SessionId(String);

impl FromStr for SessionId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.contains(':') {
            true => Err(()),
            false => Ok(Self(text.to_owned())),
        }
    }
}

/// `{session}:attach` in a path.
struct Attach(String);

impl FromStr for Attach {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        text.strip_suffix(":attach").map(|session| Self(session.to_owned())).ok_or(())
    }
}

/// What no route took, in the error envelope.
async fn refuse(rejection: Rejection) -> Result<Response, Infallible> {
    let refusal = if rejection.is_not_found() {
        Refusal::new(Code::NotFound, "no such route")
    } else if rejection.find::<MissingConnectionUpgrade>().is_some() {
        Refusal::new(Code::InvalidArgument, "this route is a WebSocket and wants an upgrade")
    } else if let Some(missing) = rejection.find::<MissingHeader>() {
        Refusal::new(Code::InvalidArgument, format!("header {}: is missing", missing.name()))
    } else if let Some(invalid) = rejection.find::<InvalidHeader>() {
        Refusal::new(Code::InvalidArgument, format!("header {}: is not what is wanted", invalid.name()))
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        Refusal::new(Code::MethodNotAllowed, "the route has other methods")
    } else {
        Refusal::new(Code::InvalidArgument, format!("{rejection:?}"))
    };
    Ok(reply::refuse(&refusal))
}
