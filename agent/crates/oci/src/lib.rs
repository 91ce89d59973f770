//! The OCI runtime as a library: it turns a bundle (a root file system and a `config.json`) into an
//! isolated process, and looks after that process until it is deleted (OCI runtime-spec 1.3).
//!
//! What it is not: it pulls nothing, restarts nothing, holds no standard streams, and keeps no process
//! of its own alive. Callers wait for what they started; see [`Runtime::create`] for who inherits it.
//!
//! Invariants:
//! - One thread. Every verb forks, so the calling process must have exactly one; a verb that is called
//!   with more fails before it touches anything.
//! - The root file system is hostile, `config.json` is trusted. Nothing below the root is ever opened by
//!   a path string: see [`edgelet_sys::root`].
//! - A property of `config.json` that is not implemented is refused by name before anything is touched.
//! - A verb that fails leaves what it found. A verb that is cut (kill -9) leaves at most a record that
//!   `delete --force` or the next `create` of the same id clears.
//! - `stopped` is found by looking (pid and start time), never read from a file.

#![forbid(unsafe_code)]

pub mod cli;
pub mod spec;

mod error;
mod id;
mod options;
mod runtime;

// The verbs, from the caller's side.
mod control;
mod create;
mod exec;
mod holder;
mod sources;
mod stand_in;
mod start;

// What is asked for, checked before anything is touched.
mod config;
mod labels;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod program;
mod refuse;
mod schedule;
mod seccomp;

// The new process, in the order of its life.
mod channel;
mod console;
mod copy_up;
mod devices;
mod executable;
mod identity;
mod init;
mod launch;
mod masks;
mod rootfs;
mod sysctl;
mod users;

// What surrounds it.
mod cgroup;
mod features;
mod hooks;
mod record;
mod systemd;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

pub use cgroup::{daemons_group, end_daemons_group, mode as cgroup_mode, stats};
pub use error::{ControlError, CreateError, ExecError, InitFailure, RunError, StartError};
pub use id::{Id, IdError};
pub use options::{Changes, ConsoleSocket, CreateOptions, ExecOptions, ExecProcess};
pub use runtime::{Process, Runtime, State, Status};
pub use seccomp::default_profile as default_seccomp_profile;
pub use users::user_namespace;
