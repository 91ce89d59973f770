//! The way to the node: from async handlers to blocking calls, a bounded number at a time.

use crate::error::{Code, Refusal};
use crate::node::{CALLS, LONG_CALLS, Node};
use edgelet_types::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call waits for its turn before the caller is told to come back later.
const TURN: Duration = Duration::from_secs(15);

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
        let turn = self.quick.clone().acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(TURN, turn).await else {
            return Err(Refusal::new(Code::Unavailable, "too many requests are being worked on"));
        };
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

    async fn run<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&dyn Node) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refusal> {
        let node = self.node.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&*node)
        });
        match done.await {
            Ok(result) => result.map_err(Refusal::from),
            Err(died) => Err(Refusal::new(Code::Internal, format!("a worker thread died: {died}"))),
        }
    }
}
