//! What the engine asks its driver to do.

use edgelet_types::{ContainerId, Digest, Fault, ImageRef, Platform, UnixMillis, Workload, WorkloadId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The answer of [`crate::Engine::next`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tick {
    /// To be carried out, side by side, each answered by one call of [`crate::Engine::completed`]. Every
    /// step may be slow and must end in bounded time; one that takes too long is answered with
    /// `TIMED_OUT` after the driver has made sure that it changes nothing any more.
    pub steps: Vec<Step>,
    /// Pulls in flight that nobody wants any more. Best effort; they are still to be answered.
    pub cancel: Vec<StepId>,
    /// A fresh look at the machine is wanted: [`crate::Engine::begin_observation`], then
    /// [`crate::Engine::observe`].
    pub observe: bool,
    /// Call again after this long, even if nothing happens. `None`: only an event can change anything.
    pub wake_in: Option<Duration>,
}

/// Names a step while it is in flight. Not reused within one run of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub(crate) u64);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What [`crate::Engine::completed`] is to be called with.
    pub id: StepId,
    /// What to do.
    pub action: Action,
    /// Why, for the log: `program ended (exitCode=1 oomKilled=false), attempt 3`.
    pub because: String,
}

/// What to do. Every action can be repeated: it succeeds when what it asks for is already so.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the image complete on this device. Answer: [`Outcome::Pulled`].
    Pull {
        /// Which image.
        image: ImageRef,
        /// Which variant of it.
        platform: Platform,
    },
    /// Create and start one run. Answer: [`Outcome::Started`], or a fault; with `CONFLICT` when another
    /// instance of the workload still holds its lock. After any fault the engine removes what was left.
    Start {
        /// What to run.
        workload: Arc<Workload>,
        /// The run's new identity, already in the journal.
        container: ContainerId,
        /// The image to run it from.
        image: Digest,
    },
    /// Send the polite signal: the image's stop signal, or SIGTERM. Answer: [`Outcome::Done`] as soon as it
    /// is sent; the engine waits, not the driver.
    Stop {
        /// Whose run it is, where that is known.
        workload: Option<WorkloadId>,
        /// The run.
        container: ContainerId,
    },
    /// Send SIGKILL to everything in it. Answer: [`Outcome::Done`] as soon as it is sent.
    Kill {
        /// Whose run it is, where that is known.
        workload: Option<WorkloadId>,
        /// The run.
        container: ContainerId,
    },
    /// End what still lives of it and take away all that it left: bundle, mounts, scratch, cgroup. Answer:
    /// [`Outcome::Done`] when nothing of it is left, or never was.
    Remove {
        /// Whose run it is, where that is known.
        workload: Option<WorkloadId>,
        /// The run.
        container: ContainerId,
    },
    /// Delete what belongs to the workload itself, such as its logs. The engine deletes the row afterwards.
    /// Answer: [`Outcome::Done`].
    Forget {
        /// Which one.
        workload: WorkloadId,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Pull { image, platform } => write!(f, "pull {image} for {platform}"),
            Action::Start { workload, container, .. } => {
                write!(f, "start {container} of {} generation {}", workload.name, workload.generation)
            }
            Action::Stop { container, .. } => write!(f, "stop {container}"),
            Action::Kill { container, .. } => write!(f, "kill {container}"),
            Action::Remove { container, .. } => write!(f, "remove {container}"),
            Action::Forget { workload } => write!(f, "forget {workload}"),
        }
    }
}

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The image is complete under this identity.
    Pulled {
        /// The image's identity.
        id: Digest,
        /// The digest that it was pulled by.
        manifest: Option<Digest>,
    },
    /// The program runs, or ran and has already ended; its end is told by an observation.
    Started {
        /// Host process id of its first process.
        pid: u32,
        /// When it was started.
        at: UnixMillis,
    },
    /// What was asked for is so.
    Done,
}

/// How a step ended.
pub type Answer = Result<Outcome, Fault>;
