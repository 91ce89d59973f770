//! What somebody wants to run. Edges make these from their own formats; the engine sees nothing else.

use crate::{ImageRef, Name, Platform, UnixMillis, WorkloadId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A workload and what should be true of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Stable identity.
    pub id: WorkloadId,
    /// The application it belongs to; `edgelet` for local ones.
    pub application: Name,
    /// Its name within the application. Application and name together are unique on a node.
    pub name: Name,
    /// Who owns the intent.
    pub source: Source,
    /// What should be true.
    pub target: Target,
    /// Grows by one when the specification changes, or when an operator asks for a fresh instance.
    /// An instance of an older generation is replaced.
    pub generation: u64,
    /// How to run it.
    pub spec: WorkloadSpec,
    /// The text it was made from, where there was one.
    pub manifest: Option<String>,
    /// When it was first accepted.
    pub created_at: UnixMillis,
    /// When its intent last changed.
    pub updated_at: UnixMillis,
}

/// Who owns a workload's intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The local API.
    Local,
    /// The fleet controller.
    Managed,
    /// The node's own control plane.
    Controlplane,
}

/// What should be true of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// One healthy instance of the current generation.
    Running,
    /// No instance; the row and the image stay.
    Stopped,
    /// No instance, and then no row.
    Deleted,
}

/// How to run a workload. The defaults are those of an empty manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// What to run.
    pub image: ImageRef,
    /// Which variant of the image; the host's when absent.
    pub platform: Option<Platform>,
    /// Replaces the image's entrypoint when not empty.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command when not empty.
    pub command: Vec<String>,
    /// Added to the image's environment; a later value for a key wins.
    pub env: Vec<(String, String)>,
    /// Absolute; the image's when absent.
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group`, …; the image's when absent.
    pub user: Option<String>,
    /// A group name or number; the user's own when absent.
    pub group: Option<String>,
    /// Which network the workload sees.
    pub network: Network,
    /// All capabilities, all devices, no seccomp profile, writable `/sys`.
    pub privileged: bool,
    /// The root file system is mounted read-only.
    pub read_only_root: bool,
    /// Beyond the default set, such as `CAP_NET_ADMIN`.
    pub cap_add: Vec<String>,
    /// Taken from the default set; `ALL` empties it.
    pub cap_drop: Vec<String>,
    /// Host directories or files seen inside.
    pub binds: Vec<Bind>,
    /// Memory file systems inside.
    pub tmpfs: Vec<Tmpfs>,
    /// Host device nodes seen inside.
    pub devices: Vec<Device>,
    /// Namespaced kernel settings.
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits by lower-case name without `RLIMIT_`, such as `nofile`.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// cgroup limits.
    pub resources: Resources,
    /// Size of `/dev/shm` in bytes; 64 MiB when absent.
    pub shm_bytes: Option<u64>,
    /// Shares the host's process ids.
    pub host_pid: bool,
    /// Shares the host's System V IPC and POSIX queues.
    pub host_ipc: bool,
    /// Has users of its own: who is root inside is nobody outside. Left out where it is not so, for programs that
    /// do not know it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_users: bool,
    /// What users attached; data only, never settings.
    pub labels: BTreeMap<String, String>,
    /// Passed into the runtime's state; data only, never settings.
    pub annotations: BTreeMap<String, String>,
    /// How much log is kept.
    pub log: LogLimit,
    /// How long to wait between the polite and the final signal, in milliseconds.
    pub stop_grace_ms: u64,
}

impl WorkloadSpec {
    /// A specification that runs `image` as its author meant, without any network.
    pub fn of(image: ImageRef) -> Self {
        Self {
            image,
            platform: None,
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            user: None,
            group: None,
            network: Network::None,
            privileged: false,
            read_only_root: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            binds: Vec::new(),
            tmpfs: Vec::new(),
            devices: Vec::new(),
            sysctls: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            resources: Resources::default(),
            shm_bytes: None,
            host_pid: false,
            host_ipc: false,
            own_users: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            log: LogLimit::default(),
            stop_grace_ms: 10_000,
        }
    }
}

/// Which network a workload sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Its own empty one: loopback only.
    None,
    /// The host's.
    Host,
}

/// A host path seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute, on the host; it must exist.
    pub host: String,
    /// Absolute, inside.
    pub container: String,
    /// No writes through this mount.
    pub read_only: bool,
}

/// A memory file system inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Absolute, inside.
    pub container: String,
    /// Upper bound in bytes; half of the memory when absent, as the kernel has it.
    pub bytes: Option<u64>,
    /// Permission bits of its root; 0o1777 when absent.
    pub mode: Option<u32>,
}

/// A host device node seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Below `/dev`, on the host.
    pub host: String,
    /// Absolute, inside.
    pub container: String,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// The resource limits that a workload may set: names of `setrlimit(2)`, lower case, without `RLIMIT_`.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A soft and a hard resource limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// In force.
    pub soft: Option<u64>,
    /// The most that the program may raise `soft` to.
    pub hard: Option<u64>,
}

/// cgroup limits; absent means none of ours.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// How many cores, as thousandths.
    pub cpu_millis: Option<u64>,
    /// Which cores, in the kernel's list format.
    pub cpuset: Option<String>,
    /// Hard memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory kept under pressure, in bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// Memory and swap together in bytes; -1 is unlimited.
    pub memory_swap_bytes: Option<i64>,
    /// The most processes and threads.
    pub pids: Option<u64>,
}

/// How much of a workload's output is kept. The older half goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimit {
    /// A file is closed at this size, in bytes.
    pub file_bytes: u64,
    /// How many closed files are kept beside the open one.
    pub files: u32,
}

impl Default for LogLimit {
    /// 2 × 5 MiB: bounded by default, and enough to see what led to a crash.
    fn default() -> Self {
        Self { file_bytes: 5 << 20, files: 1 }
    }
}
