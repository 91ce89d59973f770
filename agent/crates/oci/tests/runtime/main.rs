//! The runtime's behaviour through its command line, with real bundles of a static busybox.
//!
//! `OCI_RUNTIME=crun` (or any other runtime's name) runs the same tests against that one, which is how
//! the tests themselves are tested. They need root.
//!
//! Where the runtimes of Debian 12 differ (runc 1.1.5 in 7 cases; crun 1.8.1, where only cgroup version 1
//! is mounted, in 4): runc makes links through a `/dev` that is a link, loses the race with links that come
//! and go, ignores the umask of an exec, runs poststart hooks at create, makes no shared root, and wants
//! mappings for a user namespace that is joined. crun lets mounts into procfs pass, and a console socket
//! without a terminal. Both pass ignored signals on.

// Bundles are made in temporary directories, and tables of cases have the types that they have.
#![allow(clippy::disallowed_methods, clippy::type_complexity)]

mod support;

mod cgroups;
mod exec;
mod files;
mod hooks;
mod hostile;
mod lifecycle;
mod limits;
mod mapped;
mod namespaces;
mod process;
mod schedule;
mod seccomp;
mod systemd;
mod terminal;
