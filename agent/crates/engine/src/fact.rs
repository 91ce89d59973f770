//! What is true of a workload, for those who show it.

use edgelet_types::record::{Crash, StartCause};
use edgelet_types::{ContainerId, Digest, UnixMillis, Workload};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One workload: what is wanted, what is so, and why they differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What is wanted.
    pub workload: Arc<Workload>,
    /// What is so.
    pub state: State,
    /// When `state` became so.
    pub since: UnixMillis,
    /// The run that lives, or the one that is being started.
    pub container: Option<ContainerId>,
    /// Host process id of its first process, while it runs.
    pub pid: Option<u32>,
    /// When that run was started.
    pub started_at: Option<UnixMillis>,
    /// Why that run was started; unknown for one that was found and not in the journal.
    pub start_cause: Option<StartCause>,
    /// The generation of that run. It differs from the workload's while an update is under way.
    pub observed_generation: Option<u64>,
    /// The image on this device that the workload's reference means; absent until it is pulled.
    pub image: Option<Digest>,
    /// Crashes and failed starts since the workload was first applied or last rebuilt.
    pub restart_count: u64,
    /// What is wrong now. Kept until one run has been running for 30 s.
    pub error_message: Option<String>,
    /// The latest crashes, oldest first.
    pub crashes: Vec<Crash>,
    /// What is waited for, in words; empty when all is as wanted.
    pub waiting_for: String,
    /// How long until something is tried again without anybody asking.
    pub next_attempt_in: Option<Duration>,
}

impl Fact {
    /// The latest crash in words, and when it was.
    pub fn last_error(&self) -> Option<(String, UnixMillis)> {
        self.crashes.last().map(|crash| (crash.cause.to_string(), crash.at))
    }
}

/// The state of a workload, in the words that the Controller and users know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Wanted, and waiting for its turn, for room, or for an attempt to be due.
    Queued,
    /// Its image is on its way. How far is known to who pulls.
    Pulling,
    /// A run is being created and started.
    Starting,
    /// Its program runs, from the current generation.
    Running,
    /// A run of an earlier generation is being replaced, or goes on until it can be.
    Updating,
    /// Its program ended, and a new run will follow.
    Exiting,
    /// A run is being ended because it should not run.
    Stopping,
    /// Nothing runs, as wanted.
    Stopped,
    /// It will be forgotten once nothing of it is left.
    Deleting,
    /// The last attempt to get it running failed; the next one will follow.
    Failed,
    /// It failed so often that attempts are made rarely.
    StuckInRestart,
    /// The machine has not been looked at yet.
    Unknown,
}

impl State {
    /// The word as it is sent and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "QUEUED",
            State::Pulling => "PULLING",
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Updating => "UPDATING",
            State::Exiting => "EXITING",
            State::Stopping => "STOPPING",
            State::Stopped => "STOPPED",
            State::Deleting => "DELETING",
            State::Failed => "FAILED",
            State::StuckInRestart => "STUCK_IN_RESTART",
            State::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of a workload's story: what happened, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// When it happened.
    pub at: UnixMillis,
    /// In words.
    pub text: String,
}
