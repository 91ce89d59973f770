//! What runs, and how it ended.

use crate::{ContainerId, Fault, UnixMillis, WorkloadId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One run of a workload, as found on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// This run.
    pub container: ContainerId,
    /// Whose run it is.
    pub workload: WorkloadId,
    /// The generation of the workload that it was started from.
    pub generation: u64,
    /// When it was started.
    pub started_at: UnixMillis,
    /// What is true of it now.
    pub state: InstanceState,
}

/// What is true of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Its shim lives, but its program has not been started yet.
    Starting,
    /// Its program runs under this host process id.
    Running {
        /// Host process id of the container's first process.
        pid: u32,
    },
    /// Its program has ended, and what it left is still to be removed.
    Exited(Exit),
    /// Its shim died without saying how the program ended. What may still run of it ends when it is removed.
    Lost,
}

impl InstanceState {
    /// Whether a process of this instance may still run.
    pub fn is_live(&self) -> bool {
        matches!(self, InstanceState::Starting | InstanceState::Running { .. })
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// When it ended.
    pub at: UnixMillis,
    /// Why it never ran, when it did not.
    pub fault: Option<Fault>,
}

impl fmt::Display for Exit {
    /// `exitCode=137 oomKilled=true`, the crash text that the Controller shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exitCode={} oomKilled={}", self.code, self.oom_killed)?;
        match &self.fault {
            Some(fault) => write!(f, " error={fault}"),
            None => Ok(()),
        }
    }
}
