//! The client half: what the command line calls. Blocking, one thread, no runtime.

mod connect;
mod error;
mod exec;
mod http;
mod logs;
mod socket;

pub use error::ClientError;
pub use exec::{Attached, Incoming};
pub use logs::{LogFilter, LogFollower};

use crate::wire::{
    Accepted, Applied, ApplyStatus, ExecSession, ExecSessionRequest, ImageLoadStatus, ImagePullRequest,
    ImagePullStatus, KillRequest, LoadRequest, Logs, RemoveRequest, VersionInfo,
};
use http::{Http, segment};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A daemon's API, by the path of its socket. Making one does not connect.
///
/// What steers a command is typed. What is rather shown than understood stays JSON: a newer daemon may say
/// more than this program knows, and every type that is read costs code. The shapes are in [`crate::wire`].
pub struct Client {
    http: Http,
}

impl Client {
    /// A client that waits at most `timeout` for each answer.
    pub fn new(socket: &Path, timeout: Duration) -> Self {
        Self { http: Http::new(socket, timeout) }
    }

    /// Which program the daemon is.
    pub fn version(&self) -> Result<VersionInfo, ClientError> {
        self.http.get("/v1/system/version")
    }

    /// The status object.
    pub fn status(&self) -> Result<Value, ClientError> {
        self.http.get_bare("/v1/system/status")
    }

    /// The configuration report.
    pub fn info(&self) -> Result<Value, ClientError> {
        self.http.get("/v1/system/info")
    }

    /// A [`List`](crate::wire::List) of the [`Microservice`](crate::wire::Microservice)s of a source:
    /// `managed`, `local`, `controlplane` or `all`.
    pub fn microservices(&self, source: &str) -> Result<Value, ClientError> {
        self.http.get(&format!("/v1/ms?source={}", segment(source)))
    }

    /// One workload, a [`MicroserviceDetail`](crate::wire::MicroserviceDetail).
    pub fn microservice(&self, selector: &str) -> Result<Value, ClientError> {
        self.http.get(&format!("/v1/ms/{}", segment(selector)))
    }

    /// Wants it running. This and the next four answer a [`Microservice`](crate::wire::Microservice).
    pub fn start(&self, selector: &str) -> Result<Value, ClientError> {
        self.http.post(&format!("/v1/ms/{}/start", segment(selector)))
    }

    /// Wants it stopped.
    pub fn stop(&self, selector: &str) -> Result<Value, ClientError> {
        self.http.post(&format!("/v1/ms/{}/stop", segment(selector)))
    }

    /// Wants a fresh instance of it.
    pub fn restart(&self, selector: &str) -> Result<Value, ClientError> {
        self.http.post(&format!("/v1/ms/{}/restart", segment(selector)))
    }

    /// Sends a signal, SIGKILL when none is named.
    pub fn kill(&self, selector: &str, signal: Option<&str>) -> Result<Value, ClientError> {
        let request = KillRequest { signal: signal.map(str::to_owned) };
        self.http.post_json(&format!("/v1/ms/{}/kill", segment(selector)), &request)
    }

    /// Wants it gone. `cleanup` is a bit that is kept for volumes.
    pub fn delete(&self, selector: &str, cleanup: bool) -> Result<Value, ClientError> {
        self.http.delete(&format!("/v1/ms/{}?cleanup={cleanup}", segment(selector)))
    }

    /// Lines that are there now.
    pub fn logs(&self, selector: &str, filter: &LogFilter) -> Result<Logs, ClientError> {
        self.http.get(&format!("/v1/ms/{}/logs?{}", segment(selector), filter.query("tailLines")))
    }

    /// Lines that are there now, and all that follow.
    pub fn follow_logs(&self, selector: &str, filter: &LogFilter) -> Result<LogFollower, ClientError> {
        let path = format!("/v1/ms/{}/logs:stream?{}", segment(selector), filter.query("tail"));
        Ok(LogFollower::new(self.http.upgrade(&path)?))
    }

    /// Starts a program in a workload.
    pub fn exec(&self, selector: &str, request: &ExecSessionRequest) -> Result<ExecSession, ClientError> {
        self.http.post_json(&format!("/v1/ms/{}/exec/sessions", segment(selector)), request)
    }

    /// Attaches to a program that has been started.
    pub fn attach(&self, session: &ExecSession) -> Result<Attached, ClientError> {
        Attached::new(self.http.upgrade(&session.ws_url)?)
    }

    /// A [`List`](crate::wire::List) of all [`Image`](crate::wire::Image)s.
    pub fn images(&self) -> Result<Value, ClientError> {
        self.http.get("/v1/images")
    }

    /// Starts a pull, in the background when the request says so.
    pub fn pull(&self, request: &ImagePullRequest) -> Result<ImagePullStatus, ClientError> {
        self.http.post_json("/v1/images:pull", request)
    }

    /// How a pull goes.
    pub fn pull_status(&self, operation: &str) -> Result<ImagePullStatus, ClientError> {
        self.http.get(&format!("/v1/images:pull/{}", segment(operation)))
    }

    /// Starts loading an archive; the path is absolute and on the daemon's side.
    pub fn load(&self, path: &str) -> Result<Accepted, ClientError> {
        self.http.post_json("/v1/images:load", &LoadRequest { path: path.to_owned() })
    }

    /// How a load goes.
    pub fn load_status(&self, operation: &str) -> Result<ImageLoadStatus, ClientError> {
        self.http.get(&format!("/v1/images:load/{}", segment(operation)))
    }

    /// Removes an image or one of its names; an [`ImageRemoved`](crate::wire::ImageRemoved).
    pub fn remove_image(&self, selector: &str) -> Result<Value, ClientError> {
        self.http.post_json("/v1/images:remove", &RemoveRequest { selector: selector.to_owned() })
    }

    /// Removes images that have no name and no user; an [`ImagePrune`](crate::wire::ImagePrune).
    pub fn prune_images(&self) -> Result<Value, ClientError> {
        self.http.post("/v1/images:prune?mode=dangling")
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str, source_name: Option<&str>) -> Result<Applied, ClientError> {
        self.http.post_manifest("/v1/deploy/microservices:apply", manifest, source_name)
    }

    /// How a deployment goes.
    pub fn apply_status(&self, operation: &str) -> Result<ApplyStatus, ClientError> {
        self.http.get(&format!("/v1/deploy/microservices:apply/{}", segment(operation)))
    }

    /// Checks a manifest and changes nothing; a [`Validation`](crate::wire::Validation).
    pub fn validate(&self, manifest: &str) -> Result<Value, ClientError> {
        self.http.post_manifest("/v1/deploy/microservices:validate", manifest, None)
    }
}
