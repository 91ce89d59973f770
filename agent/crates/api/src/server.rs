//! The server half: connections in, answers out.
//!
//! One task per connection on the caller's runtime; the node is called on blocking threads. See
//! [`serve`] for the limits.

mod apply;
mod backend;
mod connection;
mod dispatch;
mod exec;
mod images;
mod logs;
mod microservices;
mod operations;
mod reply;
mod request;
mod routes;
mod sessions;
mod system;

use crate::node::Node;
use backend::Backend;
use connection::Doorkeeper;
use operations::Operations;
use sessions::Sessions;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// How long connections may take to end once the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Everything that handlers share.
pub(crate) struct Context {
    backend: Backend,
    operations: Operations,
    sessions: Sessions,
    /// Turns true once, when the server is told to stop.
    closing: watch::Receiver<bool>,
}

impl Context {
    /// Resolves when the server is told to stop.
    async fn closed(&self) {
        // An error means that the server is gone, which is closing too.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}

/// Serves the API on a bound socket until `shutdown` resolves.
///
/// Only root and the process's own user are served (by peer credentials); others get `FORBIDDEN`. At
/// most [`edgelet_types::limits::API_CONNECTIONS`] connections are held; more get `UNAVAILABLE`. A
/// request's head and body must each arrive within 15 seconds, and the body is limited.
///
/// On shutdown no new connection is accepted, running pulls and loads are asked to give up, programs of
/// exec sessions are killed, and requests under way have two seconds to finish. Must be called on a tokio
/// runtime with I/O and time enabled. The runtime must be shut down with a time limit, because a call to the
/// node that is under way cannot be cut; the socket file is the caller's to remove.
pub async fn serve(listener: UnixListener, node: Arc<dyn Node>, shutdown: impl Future<Output = ()>) {
    let (close, closing) = watch::channel(false);
    let context = Arc::new(Context {
        backend: Backend::new(node),
        operations: Operations::default(),
        sessions: Sessions::default(),
        closing,
    });
    let mut doorkeeper = Doorkeeper::new(context.clone());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => doorkeeper.admit(accepted).await,
        }
    }
    drop(listener);
    // Nobody listens only when every task is gone already.
    let _ = close.send(true);
    context.operations.cancel_all();
    context.sessions.end_all();
    if tokio::time::timeout(FAREWELL, doorkeeper.all_gone()).await.is_err() {
        log::warn!("api connections did not end in time and are cut");
    }
}
