//! The words that every part of edgelet shares: identifiers, digests, image references, workloads,
//! instances, limits, paths, and the reasons why something failed.
//!
//! What it is not: it does no I/O, starts no thread, reads no clock, and knows no protocol.
//!
//! Invariant: a value of a type in this crate has been checked. Text from outside becomes one of these
//! types at the border, once, and is not checked again.

#![forbid(unsafe_code)]

pub mod config;
pub mod digest;
pub mod fault;
pub mod id;
pub mod image;
pub mod instance;
pub mod limits;
pub mod paths;
pub mod platform;
pub mod record;
pub mod reference;
pub mod time;
pub mod workload;

pub use digest::{Digest, Verifier};
pub use fault::{Fault, Reason, Remedy};
pub use id::{ContainerId, Name, WorkloadId};
pub use paths::Layout;
pub use platform::Platform;
pub use reference::ImageRef;
pub use time::UnixMillis;
pub use workload::{Workload, WorkloadSpec};
