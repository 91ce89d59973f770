//! Where everything is. One prefix moves all of it, so that several nodes can live side by side.

use crate::{ContainerId, Digest, WorkloadId};
use std::path::{Path, PathBuf};

/// Every path of a node. With no prefix these are the paths of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    prefix: PathBuf,
}

impl Layout {
    /// The environment variable that names the prefix.
    pub const PREFIX_VARIABLE: &'static str = "EDGELET_PREFIX";

    /// A node whose paths all start with `prefix`; `/` for the real ones.
    pub fn new(prefix: impl Into<PathBuf>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix itself, to be handed to child processes.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The directory that operators change: `/etc/edgelet`.
    pub fn etc(&self) -> PathBuf {
        self.prefix.join("etc/edgelet")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.etc().join("config.toml")
    }

    /// What survives a reboot: `/var/lib/edgelet`, mode 0700, all on one file system.
    pub fn data(&self) -> PathBuf {
        self.prefix.join("var/lib/edgelet")
    }

    /// The truth.
    pub fn database(&self) -> PathBuf {
        self.data().join("state.redb")
    }

    /// Unpacked layers. A directory in here is complete and verified, always: it arrives by rename
    /// after its content is durable.
    pub fn layers(&self) -> PathBuf {
        self.data().join("layers")
    }

    /// One unpacked layer.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.to_hex())
    }

    /// Layers that are being fetched, and go on after a restart.
    pub fn partial(&self) -> PathBuf {
        self.data().join("partial")
    }

    /// How far those have come, for as long as the machine runs.
    pub fn pulls(&self) -> PathBuf {
        self.run().join("pulls")
    }

    /// Work in progress; emptied at start.
    pub fn staging(&self) -> PathBuf {
        self.data().join("staging")
    }

    /// Writable layers of containers.
    pub fn scratch(&self) -> PathBuf {
        self.data().join("containers")
    }

    /// One container's writable layer (`upper`) and overlayfs' own directory (`work`).
    pub fn container_scratch(&self, container: &ContainerId) -> PathBuf {
        self.scratch().join(container.as_str())
    }

    /// What a reboot may take away: `/run/edgelet`.
    pub fn run(&self) -> PathBuf {
        self.prefix.join("run/edgelet")
    }

    /// The local API.
    pub fn socket(&self) -> PathBuf {
        self.run().join("edgelet.sock")
    }

    /// Held by the one daemon of this node.
    pub fn daemon_lock(&self) -> PathBuf {
        self.run().join("daemon.lock")
    }

    /// One directory per container, which is also its OCI bundle.
    pub fn bundles(&self) -> PathBuf {
        self.run().join("containers")
    }

    /// One container's bundle.
    pub fn bundle(&self, container: &ContainerId) -> PathBuf {
        self.bundles().join(container.as_str())
    }

    /// The runtime's own state.
    pub fn runtime_root(&self) -> PathBuf {
        self.run().join("oci")
    }

    /// Held by a workload's shim for as long as an instance of it may run. Whoever wants to start
    /// another must hold it first: this is what makes a second instance impossible.
    pub fn instance_lock(&self, workload: &WorkloadId) -> PathBuf {
        self.run().join("locks").join(workload.as_str())
    }

    /// Output of containers, a directory per workload.
    pub fn container_logs(&self) -> PathBuf {
        self.prefix.join("var/log/edgelet/containers")
    }

    /// One workload's output.
    pub fn workload_logs(&self, workload: &WorkloadId) -> PathBuf {
        self.container_logs().join(workload.as_str())
    }
}
