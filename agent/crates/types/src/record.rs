//! What the store keeps beside workloads and images, and the changes it accepts.
//!
//! The engine decides, the store keeps: these are the words between them, so that neither knows the other.

use crate::instance::Exit;
use crate::{ContainerId, Digest, Fault, UnixMillis, Workload, WorkloadId, image::ImageRecord};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many crashes of one workload are remembered; the oldest goes first. Enough to see a pattern,
/// small enough to be written with every crash.
pub const CRASH_HISTORY: usize = 8;

/// A promise to clean up: something of this container may be on the machine.
///
/// It is durable before the first thing of a container is made (scratch, mount, cgroup, process), and goes
/// only after the last thing of it is gone. After a cut at any instant these records therefore name every
/// container that can have left anything behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The run.
    pub container: ContainerId,
    /// Whose run it is.
    pub workload: WorkloadId,
    /// The generation that it was started from.
    pub generation: u64,
    /// Its place among the runs of its workload: higher than that of every run with an open entry. A later
    /// run is begun only when the earlier ones are known to be over.
    pub order: u64,
    /// The image that it was started from.
    pub image: Digest,
    /// The boot that it was started in. A run of another boot cannot be alive.
    pub boot: String,
    /// Why it was started.
    pub cause: StartCause,
    /// When it was started.
    pub at: UnixMillis,
}

/// Why a run was started. The code is stable: it is stored, shown and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum StartCause {
    /// Somebody asked for it: a new workload, a new specification, `start`, `restart` or `rebuild`.
    Requested,
    /// The device was rebooted, and the run of the previous boot went with it.
    Rebooted,
    /// The program of the previous run ended.
    Exited,
    /// The previous run died with the process that held it.
    Lost,
    /// The previous attempt could not be started.
    StartFailed,
    /// An attempt was begun and nothing of it was found: it was cut short, and its traces were removed.
    CutShort,
}

impl fmt::Display for StartCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartCause::Requested => "requested",
            StartCause::Rebooted => "the device was rebooted",
            StartCause::Exited => "its program ended",
            StartCause::Lost => "the process that held it died",
            StartCause::StartFailed => "the previous attempt failed",
            StartCause::CutShort => "the previous attempt was cut short",
        })
    }
}

/// What is remembered about how a workload fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// Whose record it is.
    pub workload: WorkloadId,
    /// Crashes and failed starts since the workload was first applied or last rebuilt.
    pub restart_count: u64,
    /// The latest of them, oldest first, at most [`CRASH_HISTORY`].
    pub crashes: Vec<Crash>,
}

impl Supervision {
    /// The record of a workload that never failed.
    pub fn new(workload: WorkloadId) -> Self {
        Self { workload, restart_count: 0, crashes: Vec::new() }
    }

    /// Counts a crash, unless this run was counted already. Says whether it was counted.
    ///
    /// A run is one episode: its exit may be seen again after a restart of the daemon.
    pub fn count(&mut self, crash: Crash) -> bool {
        if self.crashes.iter().any(|known| known.container == crash.container) {
            return false;
        }
        self.restart_count = self.restart_count.saturating_add(1);
        self.crashes.push(crash);
        let surplus = self.crashes.len().saturating_sub(CRASH_HISTORY);
        self.crashes.drain(..surplus);
        true
    }
}

/// A run that ended although it should not have, or never began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// The run.
    pub container: ContainerId,
    /// The generation that it was started from.
    pub generation: u64,
    /// When it happened, or was noticed.
    pub at: UnixMillis,
    /// What happened.
    pub cause: CrashCause,
}

/// What happened to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashCause {
    /// Its program ended.
    Exited(Exit),
    /// The process that held it died without a word.
    Lost,
    /// It could not be created or started.
    StartFailed(Fault),
}

impl fmt::Display for CrashCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CrashCause::Exited(exit) => exit.fmt(f),
            CrashCause::Lost => f.write_str("the process that held the container died"),
            CrashCause::StartFailed(fault) => fault.fmt(f),
        }
    }
}

/// What is remembered about the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The kernel's boot id when the daemon last started.
    pub boot: String,
    /// How many different boots were seen.
    pub boots: u64,
    /// How often the daemon was started.
    pub starts: u64,
    /// The daemon ended on purpose; `false` while it runs, and after a crash or a power cut.
    pub clean_shutdown: bool,
}

/// One change of the store. A list of them becomes durable together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Adds or replaces a workload.
    PutWorkload(Box<Workload>),
    /// Forgets a workload, its fallback and its supervision record included.
    RemoveWorkload(WorkloadId),
    /// Keeps what a running workload was before its image changed, until the new one runs.
    PutFallback(Box<Workload>),
    /// Forgets what a workload was before.
    RemoveFallback(WorkloadId),
    /// Adds or replaces a supervision record.
    PutSupervision(Supervision),
    /// Adds or replaces a journal entry.
    PutTrace(Trace),
    /// Ends a journal entry.
    RemoveTrace(ContainerId),
    /// Publishes an image, or changes its names.
    PutImage(Box<ImageRecord>),
    /// Withdraws an image.
    RemoveImage(Digest),
    /// Replaces the node's record.
    PutNode(NodeRecord),
}

/// What the engine reads when it starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// Every workload.
    pub workloads: Vec<Workload>,
    /// What workloads were before their image changed, for those whose new generation never ran.
    pub fallbacks: Vec<Workload>,
    /// Supervision records, for those workloads that ever failed.
    pub supervision: Vec<Supervision>,
    /// Every open journal entry.
    pub traces: Vec<Trace>,
    /// The node's record; absent in a new store.
    pub node: Option<NodeRecord>,
    /// Rows that could not be read. They are left as they are.
    pub unreadable: Vec<Unreadable>,
}

/// A row that is there but cannot be read: written by a newer version, or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The table's name.
    pub table: &'static str,
    /// The row's key. For a workload its identity, which says whose instances must be left alone.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(n: u8) -> Crash {
        let container = ContainerId::from_random([n; 16]);
        Crash { container, generation: 1, at: UnixMillis(i64::from(n)), cause: CrashCause::Lost }
    }

    #[test]
    fn a_run_is_counted_once_and_the_history_stays_short() {
        let mut record = Supervision::new(WorkloadId::from_random([1; 16]));
        for n in 0..20 {
            assert!(record.count(crash(n)));
            assert!(!record.count(crash(n)), "the same run again");
        }
        assert_eq!(record.restart_count, 20);
        assert_eq!(record.crashes, (12..20).map(crash).collect::<Vec<_>>());
    }
}
