//! The system calls that edgelet needs and that no crate of ours may make by itself: file systems through
//! descriptors, durable files, processes, namespaces, mounts.
//!
//! One library is here, too, whose interface takes pointers: [`inflate`].
//!
//! What it is not: it decides nothing, logs nothing and keeps no state.
//!
//! Invariants: this is the only crate with `unsafe`, and each block says why it is sound. Every descriptor
//! is close-on-exec. The oldest kernel is that of [`kernel::FLOOR`].

pub mod durable;
pub mod fsinfo;
pub mod place;
mod remove;
pub mod root;
pub mod walk;
pub mod xattr;

pub mod bpf;
pub mod console;
pub mod descriptors;
pub mod inflate;
pub mod interruption;
pub mod kernel;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod new_root;
pub mod notify;
pub mod process;
pub mod procfs;
pub mod schedule;
pub mod seal;
pub mod seccomp;
pub mod socket;
pub mod title;
