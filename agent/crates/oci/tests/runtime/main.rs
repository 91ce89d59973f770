//! The runtime's behaviour through its command line, with real bundles of a static busybox.
//!
//! `OCI_RUNTIME=crun` (or any other runtime's name) runs the same tests against that one, which is how
//! the tests themselves are tested. They need root.

// Bundles are made in temporary directories, and tables of cases have the types that they have.
#![allow(clippy::disallowed_methods, clippy::type_complexity)]

mod support;

mod cgroups;
mod exec;
mod files;
mod hooks;
mod hostile;
mod lifecycle;
mod namespaces;
mod process;
mod terminal;
