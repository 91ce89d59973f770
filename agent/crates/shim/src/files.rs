//! The files by which daemon and shim know each other, all in the container's bundle below `/run`.

use edgelet_types::workload::LogLimit;
use edgelet_types::{ContainerId, Fault, UnixMillis, WorkloadId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the shim shall hold; written by the daemon before the shim is started.
pub const ORDER: &str = "order.json";
/// The shim's process id and start time, `PID STARTTIME`; written by the shim before anything else.
pub const SHIM_PID: &str = "shim.pid";
/// The container's first process, as a host process id; written once its program runs.
pub const INIT_PID: &str = "init.pid";
/// How it ended, an [`Exit`](edgelet_types::instance::Exit); written when nothing of the container runs any more.
pub const EXIT: &str = "exit.json";

/// What a shim shall hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The run; also the name of the bundle and of the runtime's state.
    pub container: ContainerId,
    /// Whose run it is.
    pub workload: WorkloadId,
    /// The generation of the workload.
    pub generation: u64,
    /// When the daemon gave the order.
    pub at: UnixMillis,
    /// The signal that asks the program to end.
    pub stop_signal: i32,
    /// Where the runtime keeps its state.
    pub runtime_root: PathBuf,
    /// Where output goes.
    pub log_dir: PathBuf,
    /// How much of it is kept.
    pub log_limit: LogLimit,
    /// The user and group of the host that root of the container is, where it has users of its own.
    #[serde(default)]
    pub first_id: Option<u32>,
}

/// What the shim says on its status pipe, once, as a line of JSON. End of file without a line means
/// that the shim died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// The program runs.
    Started {
        /// Host process id of the container's first process.
        pid: u32,
    },
    /// Nothing was started and nothing is left.
    Failed(Fault),
}
