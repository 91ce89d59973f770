//! Handing the listener of a filter to whoever decides about calls (OCI runtime-spec 1.3, config-linux.md, "The
//! Container Process State").

use super::Decider;
use crate::error::{During, SpawnError};
use crate::features::SPEC_VERSION;
use crate::runtime::State;
use edgelet_sys::socket;
use serde::Serialize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A connection to the decider, made while its name can still be reached, and what will be said on it.
#[derive(Debug)]
pub(crate) struct Introduction {
    socket: OwnedFd,
    metadata: Option<String>,
    state: State,
}

impl Introduction {
    pub(crate) fn prepare(decider: &Decider, state: State) -> Result<Self, SpawnError> {
        let path = &decider.path;
        let socket =
            socket::connect_stream(path).during(format!("connect listenerPath {}", path.display()))?;
        Ok(Self { socket, metadata: decider.metadata.clone(), state })
    }

    /// Sends the listener for the process `pid`, as the creator knows it. A container whose first process nobody
    /// knew yet gets this one.
    pub(crate) fn make(&self, pid: i32, listener: BorrowedFd<'_>) -> io::Result<()> {
        let message = ProcessState {
            oci_version: SPEC_VERSION,
            fds: ["seccompFd"],
            pid,
            metadata: self.metadata.as_deref(),
            state: State {
                pid: if self.state.pid == 0 { pid } else { self.state.pid },
                ..self.state.clone()
            },
        };
        socket::send_fd(self.socket.as_fd(), &serde_json::to_vec(&message)?, listener)
    }
}

impl AsFd for Introduction {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    /// Names of the descriptors that come along.
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: State,
}
