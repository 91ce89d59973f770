//! The local API: HTTP and WebSockets on the node's unix socket, and the client half that the command
//! line uses.
//!
//! What it is not: it decides nothing about workloads and touches no container. It reaches the node only
//! through the [`node::Node`] trait, and converts between that trait's words and the wire's.
//!
//! Invariants:
//! - Every answer of the server is either the documented shape or the error envelope. Only bytes that are
//!   no HTTP at all get a bare 400.
//! - Every body, queue, session table and wait is bounded; a slow reader slows its own source down.
//! - Only root and the daemon's own user are answered, by the kernel's word (peer credentials).

#![forbid(unsafe_code)]

pub mod client;
pub mod error;
pub mod manifest;
pub mod node;
mod select;
mod server;
pub mod wire;
pub use server::serve;
