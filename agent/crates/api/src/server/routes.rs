//! The table of routes: which there are, and what is answered where there is none.

use super::microservices::Action;
use crate::error::{Code, Refusal};
use hyper::Method;

/// What a request asks for, with what its path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Live,
    Ready,
    Status,
    Info,
    Version,
    Images,
    Pull,
    PullStatus(String),
    Load,
    LoadStatus(String),
    RemoveImage,
    PruneImages,
    Microservices,
    Microservice(String),
    Act(String, Action),
    Kill(String),
    Delete(String),
    Logs(String),
    CreateSession(String),
    Session(String, String),
    DeleteSession(String, String),
    Deployments,
    Deployment(String),
    DeleteDeployment(String),
    ApplyStatus(String),
    Form(Form),
    Socket(Socket),
}

/// What is done with a manifest that comes as a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Apply,
    Validate,
}

/// What is spoken about on a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Socket {
    Logs(String),
    Session(String, String),
}

/// Finds the route of a request. A slash at the end of the path changes nothing.
pub(super) fn find(method: &Method, path: &str) -> Result<Route, Refusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    if let Some(route) = at(method, &path) {
        return Ok(route);
    }
    let has_others =
        [Method::GET, Method::POST, Method::DELETE].iter().any(|other| at(other, &path).is_some());
    Err(match has_others {
        true => Refusal::new(Code::MethodNotAllowed, "the route has other methods"),
        false => Refusal::new(Code::NotFound, "no such route"),
    })
}

fn at(method: &Method, path: &[&str]) -> Option<Route> {
    match path {
        _ if path.contains(&"") => None,
        ["health", rest @ ..] => health(method, rest),
        ["v1", "system", rest @ ..] => system(method, rest),
        ["v1", "ms", rest @ ..] => microservices(method, rest),
        ["v1", "deploy", rest @ ..] => deploy(method, rest),
        ["v1", rest @ ..] => images(method, rest),
        _ => None,
    }
}

fn health(method: &Method, path: &[&str]) -> Option<Route> {
    match (method.as_str(), path) {
        ("GET", ["live"]) => Some(Route::Live),
        ("GET", ["ready"]) => Some(Route::Ready),
        _ => None,
    }
}

fn system(method: &Method, path: &[&str]) -> Option<Route> {
    match (method.as_str(), path) {
        ("GET", ["status"]) => Some(Route::Status),
        ("GET", ["info"]) => Some(Route::Info),
        ("GET", ["version"]) => Some(Route::Version),
        _ => None,
    }
}

fn images(method: &Method, path: &[&str]) -> Option<Route> {
    match (method.as_str(), path) {
        ("GET", ["images"]) => Some(Route::Images),
        ("POST", ["images:pull"]) => Some(Route::Pull),
        ("GET", ["images:pull", id]) => Some(Route::PullStatus((*id).to_owned())),
        ("POST", ["images:load"]) => Some(Route::Load),
        ("GET", ["images:load", id]) => Some(Route::LoadStatus((*id).to_owned())),
        ("POST", ["images:remove"]) => Some(Route::RemoveImage),
        ("POST", ["images:prune"]) => Some(Route::PruneImages),
        _ => None,
    }
}

fn microservices(method: &Method, path: &[&str]) -> Option<Route> {
    let [selector, rest @ ..] = path else {
        return (method == Method::GET).then_some(Route::Microservices);
    };
    let selector = (*selector).to_owned();
    match (method.as_str(), rest) {
        ("GET", []) => Some(Route::Microservice(selector)),
        ("DELETE", []) => Some(Route::Delete(selector)),
        ("POST", ["start"]) => Some(Route::Act(selector, Action::Start)),
        ("POST", ["stop"]) => Some(Route::Act(selector, Action::Stop)),
        ("POST", ["restart"]) => Some(Route::Act(selector, Action::Restart)),
        ("POST", ["kill"]) => Some(Route::Kill(selector)),
        ("GET", ["logs"]) => Some(Route::Logs(selector)),
        ("GET", ["logs:stream"]) => Some(Route::Socket(Socket::Logs(selector))),
        ("POST", ["exec", "sessions"]) => Some(Route::CreateSession(selector)),
        (_, ["exec", "sessions", session]) => self::session(method, selector, session),
        _ => None,
    }
}

fn session(method: &Method, selector: String, session: &str) -> Option<Route> {
    let (id, verb) = session.split_once(':').map_or((session, None), |(id, verb)| (id, Some(verb)));
    let id = id.to_owned();
    match (method.as_str(), verb) {
        ("GET", Some("attach")) => Some(Route::Socket(Socket::Session(selector, id))),
        ("GET", None) => Some(Route::Session(selector, id)),
        ("DELETE", None) => Some(Route::DeleteSession(selector, id)),
        _ => None,
    }
}

fn deploy(method: &Method, path: &[&str]) -> Option<Route> {
    match (method.as_str(), path) {
        ("GET", ["microservices"]) => Some(Route::Deployments),
        ("GET", ["microservices", selector]) => Some(Route::Deployment((*selector).to_owned())),
        ("DELETE", ["microservices", selector]) => Some(Route::DeleteDeployment((*selector).to_owned())),
        ("POST", ["microservices:apply"]) => Some(Route::Form(Form::Apply)),
        ("GET", ["microservices:apply", id]) => Some(Route::ApplyStatus((*id).to_owned())),
        ("POST", ["microservices:validate"]) => Some(Route::Form(Form::Validate)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_found_by_method_and_path() {
        let web = || "web".to_owned();
        let cases = [
            ("GET", "/health/live", Ok(Route::Live)),
            ("GET", "/v1/ms/", Ok(Route::Microservices)),
            ("GET", "/v1/ms/web", Ok(Route::Microservice(web()))),
            ("DELETE", "/v1/ms/web", Ok(Route::Delete(web()))),
            ("POST", "/v1/ms/web/stop", Ok(Route::Act(web(), Action::Stop))),
            (
                "GET",
                "/v1/ms/web/exec/sessions/x:attach",
                Ok(Route::Socket(Socket::Session(web(), "x".to_owned()))),
            ),
            ("GET", "/v1/ms/web/exec/sessions/x", Ok(Route::Session(web(), "x".to_owned()))),
            ("GET", "/v1/images:pull/x", Ok(Route::PullStatus("x".to_owned()))),
            ("POST", "/v1/deploy/microservices:apply", Ok(Route::Form(Form::Apply))),
            ("POST", "/v1/ms", Err(Code::MethodNotAllowed)),
            ("HEAD", "/v1/images", Err(Code::MethodNotAllowed)),
            ("GET", "/v1/ms/web/stop", Err(Code::MethodNotAllowed)),
            ("GET", "/", Err(Code::NotFound)),
            ("GET", "/v1", Err(Code::NotFound)),
            ("GET", "/v1//ms", Err(Code::NotFound)),
            ("GET", "/v1/ms//logs", Err(Code::NotFound)),
            ("GET", "/v1/ms/web/exec/sessions/x:fly", Err(Code::NotFound)),
            ("POST", "/v1/ms/web/fly", Err(Code::NotFound)),
        ];
        for (method, path, want) in cases {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(find(&method, path).map_err(|refusal| refusal.code), want, "{method} {path}");
        }
    }
}
