//! `edgelet-shim`: the process that holds one container.
//!
//! It is a copy of a small process that the daemon keeps for this ([`zygote`]). It starts the container
//! through the runtime library, owns the container's output and its exit status, and outlives the daemon:
//! the daemon may be killed, updated or restarted without any effect on the container. There is one shim
//! per running container, so it is small: one thread, no runtime, and the creation of a container, which
//! needs memory, happens in a short-lived fork.
//!
//! What it is not: it decides nothing. It does not restart, stop or remove; the daemon does.
//!
//! Invariants:
//! - It holds the workload's instance lock from before the container is created until nothing of the
//!   container runs any more. Whoever gets that lock knows that no instance runs.
//! - Its files in the bundle ([`files`]) are what the daemon knows about it; there is no other channel
//!   once the start has been reported.

#![forbid(unsafe_code)]

pub mod files;
mod fork;
mod hold;
mod journal;
mod lines;
mod orphans;
mod relay;
pub mod zygote;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

pub use journal::CURRENT as CURRENT_LOG;
