//! Workloads and what is true of them.

use edgelet_types::{ContainerId, Fault, Name, UnixMillis, Workload, WorkloadId, WorkloadSpec};

/// A workload: what is wanted and what is true.
#[derive(Debug, Clone, PartialEq)]
pub struct Microservice {
    /// What is wanted.
    pub workload: Workload,
    /// How far it is.
    pub phase: Phase,
    /// The newest instance, while it exists.
    pub container: Option<ContainerId>,
    /// The generation that `container` was started from.
    pub running_generation: Option<u64>,
    /// Host process id of its first process, while it runs.
    pub pid: Option<u32>,
    /// When `container` was started.
    pub started_at: Option<UnixMillis>,
    /// The failure that still matters: gone after 30 s of running.
    pub error: Option<Fault>,
    /// The last failure of all, kept after recovery.
    pub last_failure: Option<Failure>,
    /// Restarts since the last change of the specification.
    pub restarts: u64,
    /// What it is waiting for, in a person's words.
    pub waiting_for: Option<String>,
}

/// Something went wrong with a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What.
    pub fault: Fault,
    /// When.
    pub at: UnixMillis,
    /// The generation that failed.
    pub generation: u64,
}

/// How far a workload is; the words of the earlier Edgelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; nothing has been done yet.
    Queued,
    /// Its image is being fetched.
    Pulling {
        /// 0 to 100, where known.
        percent: Option<u8>,
    },
    /// Its container is being made.
    Creating,
    /// Its program is being started.
    Starting,
    /// Its program runs.
    Running,
    /// An instance of an older generation is being replaced.
    Updating,
    /// Its program ended and will be started again.
    Exiting,
    /// It is being stopped.
    Stopping,
    /// It is stopped, as wanted.
    Stopped,
    /// It is being removed.
    Deleting,
    /// The last attempt failed; the next one waits for its time.
    Failed,
    /// It failed so often that somebody should look; attempts go on slowly.
    StuckInRestart,
    /// Nothing is known yet, such as during recovery.
    Unknown,
}

/// A local workload that somebody wants to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Apply {
    /// The application; `edgelet` for local ones.
    pub application: Name,
    /// The name within it.
    pub name: Name,
    /// How to run it.
    pub spec: WorkloadSpec,
    /// The text it was made from.
    pub manifest: String,
}

impl Apply {
    /// The application of all local workloads.
    pub const LOCAL_APPLICATION: &'static str = "edgelet";
}

/// What applying made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The workload.
    pub id: WorkloadId,
    /// The generation that carries the specification.
    pub generation: u64,
}

/// A signal by number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// SIGKILL, the default of `kill`.
    pub const KILL: Self = Self(nix::libc::SIGKILL);

    /// Parses `TERM`, `SIGTERM` or `15`; real-time signals by number only.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return (1..=64).contains(&number).then_some(Self(number));
        }
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| Self(signal as i32))
    }

    /// The number, as `kill(2)` takes it.
    pub fn number(self) -> i32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, want) in [("KILL", 9), ("sigterm", 15), ("SIGHUP", 1), ("10", 10), ("64", 64)] {
            assert_eq!(Signal::parse(text).map(Signal::number), Some(want), "{text}");
        }
        for bad in ["", "0", "65", "-9", "SIG", "SIGSIGTERM", "NOPE"] {
            assert_eq!(Signal::parse(bad), None, "{bad}");
        }
    }
}
