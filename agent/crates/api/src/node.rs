//! What the API needs of the node. The daemon implements it; tests implement it in a few lines.
//!
//! The methods block and are called on worker threads, at most [`CALLS`] quick ones and
//! [`LONG_CALLS`] long ones at a time. Selectors, manifests, and signal names have been parsed before a
//! call gets here; the progress of a deployment is read off [`Microservice`], so applying is quick.

mod exec;
mod image;
mod logs;
mod microservice;
mod system;

pub use exec::{Exec, ExecControl, ExecIo, ExecRequest, TerminalSize};
pub use image::{Image, ImageTarget, LoadedImage, Pruned, PullRequest, PulledImage};
pub use logs::{LogBatch, LogCursor, LogEnd, LogFrom, LogLine, LogStream};
pub use microservice::{Applied, Apply, Failure, Microservice, Phase, Signal};
pub use system::{DaemonState, Host, Info, Status, Usage, Version};

use edgelet_types::{Fault, WorkloadId};
use std::path::Path;

/// How many quick calls (everything but pulls and loads) run at a time; more wait.
pub const CALLS: usize = 8;
/// How many pulls and loads run at a time; more are `pending`.
pub const LONG_CALLS: usize = 2;

/// The node as the API sees it.
///
/// Calls that change something return when the intent is durable, not when it has been carried out;
/// what became of it is read from [`Node::microservice`].
pub trait Node: Send + Sync + 'static {
    /// Which program this is. Does not block.
    fn version(&self) -> Version;

    /// Whether workloads are being looked after; an error says why not. Does not block.
    fn ready(&self) -> Result<(), Fault>;

    /// What is true of the node and its host now.
    fn status(&self) -> Result<Status, Fault>;

    /// How the node is configured.
    fn info(&self) -> Result<Info, Fault>;

    /// All workloads, in any order.
    fn microservices(&self) -> Result<Vec<Microservice>, Fault>;

    /// One workload; `NOT_FOUND` when there is none.
    fn microservice(&self, id: &WorkloadId) -> Result<Microservice, Fault>;

    /// Creates the workload of this application and name, or replaces its specification, and wants it
    /// running. The same specification again keeps the generation.
    fn apply(&self, apply: &Apply) -> Result<Applied, Fault>;

    /// Wants it running.
    fn start(&self, id: &WorkloadId) -> Result<(), Fault>;

    /// Wants it stopped.
    fn stop(&self, id: &WorkloadId) -> Result<(), Fault>;

    /// Wants it running by a fresh instance: its generation grows by one.
    fn restart(&self, id: &WorkloadId) -> Result<(), Fault>;

    /// Sends a signal to the first process of the running instance; `CONFLICT` when none runs. Intent
    /// does not change: a workload that dies of it is started again.
    fn kill(&self, id: &WorkloadId, signal: Signal) -> Result<(), Fault>;

    /// Wants it gone.
    fn delete(&self, id: &WorkloadId) -> Result<(), Fault>;

    /// The next lines of a workload's output, of all its instances, oldest first: at most
    /// [`LogBatch::LINES`] lines and about [`LogBatch::BYTES`] bytes. Never waits for new lines.
    fn logs(&self, id: &WorkloadId, from: &LogFrom) -> Result<LogBatch, Fault>;

    /// Starts a program in the running instance and returns when it has been started; `CONFLICT` when
    /// none runs, `START_FAILED` when the program cannot be started, `NOT_FOUND` when the image has no
    /// such program.
    fn exec(&self, id: &WorkloadId, request: &ExecRequest) -> Result<Exec, Fault>;

    /// All images, in any order.
    fn images(&self) -> Result<Vec<Image>, Fault>;

    /// Pulls an image and returns when it is durable, after minutes perhaps. Tells `watch` how far it is,
    /// and gives up with `CANCELLED` soon after it says so.
    fn image_pull(&self, request: &PullRequest, watch: &dyn Watch) -> Result<PulledImage, Fault>;

    /// Loads the images of an archive on this device; otherwise as [`Node::image_pull`].
    fn image_load(&self, archive: &Path, watch: &dyn Watch) -> Result<Vec<LoadedImage>, Fault>;

    /// Removes a name, or an image with all its names; `CONFLICT` when a workload needs it. Answers
    /// what was removed.
    fn image_remove(&self, target: &ImageTarget) -> Result<ImageTarget, Fault>;

    /// Removes images without names that no workload needs, and what nothing refers to any more.
    fn image_prune(&self) -> Result<Pruned, Fault>;
}

/// The other end of a long call: hears how far it is, and may want it ended.
pub trait Watch: Send + Sync {
    /// `done` of `total` bytes; the total is 0 while it is not known. Called as often as convenient.
    fn progress(&self, done_bytes: u64, total_bytes: u64);

    /// Whether the work should be given up.
    fn is_cancelled(&self) -> bool;
}
