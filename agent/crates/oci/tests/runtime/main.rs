//! The runtime's behaviour through its command line, with real bundles of a static busybox.
//!
//! `OCI_RUNTIME=crun` (or any other runtime's name) runs the same tests against that one, which is how
//! the tests themselves are tested: `tests/conformance/run peers`, with what is known to differ in
//! `tests/conformance/differs`. They need root.

// Bundles are made in temporary directories, and tables of cases have the types that they have.
#![allow(clippy::disallowed_methods, clippy::type_complexity)]

mod apart;
mod chance;
mod support;

mod cgroups;
mod cycles;
mod exec;
mod files;
mod hooks;
mod hostile;
mod lifecycle;
mod limits;
mod mapped;
mod namespaces;
mod process;
mod races;
mod rootless;
mod schedule;
mod seccomp;
mod systemd;
mod terminal;
mod trees;
