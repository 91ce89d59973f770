//! The way to the node: from async handlers to blocking calls, a bounded number at a time.

use crate::error::{Code, Refusal};
use crate::node::{CALLS, LONG_CALLS, Node};
use edgelet_types::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long a call waits for its turn before the caller is told to come back later.
const TURN: Duration = Duration::from_secs(15);

/// A call, and what becomes of its result.
type Work = Box<dyn FnOnce(&dyn Node) + Send>;

/// The node behind its two queues.
#[derive(Clone)]
pub(super) struct Backend {
    node: Arc<dyn Node>,
    quick: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Backend {
    pub(super) fn new(node: Arc<dyn Node>) -> Self {
        Self { node, quick: Arc::new(Semaphore::new(CALLS)), long: Arc::new(Semaphore::new(LONG_CALLS)) }
    }

    /// What needs no thread: the calls that the trait promises not to block.
    pub(super) fn node(&self) -> &dyn Node {
        &*self.node
    }

    /// Makes a quick call on a blocking thread.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Node) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.turn().await?;
        self.run(permit, work).await
    }

    /// Makes a long call, when its turn comes.
    pub(super) async fn long_call<T: Send + 'static>(
        &self,
        started: impl FnOnce(),
        work: impl FnOnce(&dyn Node) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.long.clone().acquire_owned();
        let permit = turn.await.expect("the semaphore is never closed");
        started();
        self.run(permit, work).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = self.quick.clone().acquire_owned();
        match tokio::time::timeout(TURN, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Refusal::new(Code::Unavailable, "too many requests are being worked on")),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&dyn Node) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, done) = oneshot::channel();
        self.spawn(
            permit,
            // A caller that is gone needs no answer.
            Box::new(move |node| drop(sender.send(work(node)))),
        );
        match done.await {
            Ok(result) => result.map_err(Refusal::from),
            Err(_) => Err(Refusal::new(Code::Internal, "a worker thread died")),
        }
    }

    /// Boxed, so that tokio's machinery for tasks is compiled once and not for each kind of call.
    fn spawn(&self, permit: OwnedSemaphorePermit, work: Work) {
        let node = self.node.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&*node);
        });
    }
}
