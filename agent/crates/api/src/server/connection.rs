//! Who gets in, and what a connection may cost.

use super::reply::{self, Response};
use super::{Context, request};
use crate::error::{Code, Refusal};
use edgelet_types::limits::API_CONNECTIONS;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{SocketAddr, UCred};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request's head may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(15);
/// How long is waited after `accept` failed, which it does for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections are told at the same time why they are not served; more are just closed.
const TURNED_AWAY: usize = 8;
/// How long telling may take.
const TURNING_AWAY: Duration = Duration::from_secs(1);

/// One of the places for connections. Held by the connection, and by a WebSocket that grew out of it.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// Admits connections and counts them.
pub(super) struct Doorkeeper {
    context: Arc<Context>,
    places: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    own_uid: u32,
}

impl Doorkeeper {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            places: Arc::new(Semaphore::new(API_CONNECTIONS)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            own_uid: nix::unistd::geteuid().as_raw(),
        }
    }

    /// Serves a new connection in a task of its own, or turns it away.
    pub(super) async fn admit(&mut self, accepted: io::Result<(UnixStream, SocketAddr)>) {
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn!("api connection not accepted error={error}");
                return tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        };
        match self.check(&stream) {
            Ok(place) => {
                let connection = serve(stream, place, self.context.clone());
                tokio::spawn(connection);
            }
            Err(refusal) => {
                if let Ok(permit) = self.turned_away.clone().try_acquire_owned() {
                    tokio::spawn(turn_away(stream, refusal, permit));
                }
            }
        }
    }

    fn check(&self, stream: &UnixStream) -> Result<Place, Refusal> {
        let peer: UCred = stream.peer_cred().map_err(|error| {
            Refusal::new(Code::Forbidden, format!("the kernel does not say who is asking: {error}"))
        })?;
        if peer.uid() != 0 && peer.uid() != self.own_uid {
            log::warn!("api connection refused uid={} pid={}", peer.uid(), peer.pid().unwrap_or(0));
            let message = format!("user {} may not use this socket, only root may", peer.uid());
            return Err(Refusal::new(Code::Forbidden, message));
        }
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(Arc::new(permit)),
            Err(_) => {
                log::warn!("api connection refused, all {API_CONNECTIONS} are in use");
                let message = format!("all {API_CONNECTIONS} connections are in use");
                Err(Refusal::new(Code::Unavailable, message))
            }
        }
    }

    /// Resolves when no connection and no WebSocket is left.
    pub(super) async fn all_gone(&self) {
        let all = u32::try_from(API_CONNECTIONS).expect("a small constant");
        // Fails only when the semaphore is closed, which nobody does.
        let _ = self.places.acquire_many(all).await;
    }
}

async fn serve(stream: UnixStream, place: Place, context: Arc<Context>) {
    let service = service_fn(|request| request::handle(request, place.clone(), context.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = context.closed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("api connection broke error={error}");
    }
}

/// Answers the first request, whatever it is, with the reason for not serving it.
async fn turn_away(stream: UnixStream, refusal: Refusal, _permit: OwnedSemaphorePermit) {
    let service = service_fn(|_| async { Ok::<Response, Infallible>(reply::refuse(&refusal)) });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    // Whether the answer arrived is the caller's concern.
    let _ = tokio::time::timeout(TURNING_AWAY, connection).await;
}
