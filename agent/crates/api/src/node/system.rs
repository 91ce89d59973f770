//! The node and its host.

use edgelet_types::config::Config;
use edgelet_types::{Layout, UnixMillis};

/// Which program this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Semantic version.
    pub version: String,
    /// When it was built, RFC 3339; the commit's time, so that builds are reproducible.
    pub build_time: String,
    /// The commit it was built from.
    pub git_commit: String,
}

/// What is true of the node and its host. `None` is "not measured", never zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// How the daemon is.
    pub daemon: DaemonState,
    /// What a person should look at.
    pub warning: Option<String>,
    /// The wall clock.
    pub time: UnixMillis,
    /// Milliseconds since the daemon started.
    pub uptime_ms: u64,
    /// Whether containers can be run.
    pub engine_ready: bool,
    /// `v1`, `v2` or `hybrid`.
    pub cgroup_mode: Option<String>,
    /// The daemon itself.
    pub agent: Usage,
    /// All shims together.
    pub runtime: Usage,
    /// Bytes below the data directory.
    pub data_bytes: Option<u64>,
    /// The machine.
    pub host: Host,
}

/// How the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonState {
    /// Recovery is going on.
    Starting,
    /// All is well.
    Running,
    /// Running, and a person should read the warning.
    Warning,
    /// On its way out; workloads go on.
    Stopping,
}

/// What some processes use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Cores, averaged over the last sample.
    pub cpu_cores: Option<f64>,
    /// Proportional set size in bytes.
    pub memory_bytes: Option<u64>,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Host {
    /// Names of network interfaces that are up, without loopback.
    pub interfaces: Vec<String>,
    /// How many cores.
    pub cpus: Option<u64>,
    /// How busy the cores are, 0 to 100.
    pub cpu_busy_percent: Option<f64>,
    /// Bytes of memory.
    pub memory_total_bytes: Option<u64>,
    /// Bytes of memory that programs can have without swapping.
    pub memory_available_bytes: Option<u64>,
    /// Bytes of the data file system.
    pub disk_total_bytes: Option<u64>,
    /// Bytes of the data file system that are free for the daemon.
    pub disk_available_bytes: Option<u64>,
    /// `ID` of os-release.
    pub os: Option<String>,
    /// `VERSION_ID` of os-release.
    pub os_version: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
}

/// How the node is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The configuration in force.
    pub config: Config,
    /// Where everything is.
    pub layout: Layout,
}
