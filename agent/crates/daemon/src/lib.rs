//! The node: everything wired together behind `edgelet daemon`.
//!
//! What it is not: it decides nothing about workloads (the engine does) and speaks no outside language (the
//! edges do).
//!
//! Invariants:
//! - One daemon per node: it holds [`edgelet_types::Layout::daemon_lock`].
//! - The daemon may be killed at any instant. Whatever it was doing is finished or undone by the next one,
//!   and no container notices.
//! - A defect in one thread ends the process: a node without its engine must not look alive. One that hangs
//!   ends the heartbeat that a service manager watches.

#![forbid(unsafe_code)]

mod adapters;
mod build;
mod bundle;
mod configuration;
mod containers;
mod drive;
mod heartbeat;
mod logging;
mod machine;
mod node;
mod pulls;
mod reap;
mod run;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

pub use build::{BUILD_TIME, GIT_COMMIT, VERSION};
pub use run::run;
