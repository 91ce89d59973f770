//! A run of a workload, as far as the engine knows it: from the journal, from the machine, from its own
//! steps.

use edgelet_types::instance::{Exit, Instance, InstanceState};
use edgelet_types::record::{StartCause, Trace};
use edgelet_types::{Digest, UnixMillis, WorkloadId};
use std::time::Duration;

/// What is known of the state of a run. A run only ever moves down this list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Only the journal, or a leftover, speaks of it; the machine shows no instance.
    Absent,
    /// Its shim lives, its program was not started yet.
    Starting,
    /// Its program runs.
    Running {
        /// Host process id.
        pid: u32,
    },
    /// Its program ended.
    Exited(Exit),
    /// It died without a word, or vanished.
    Lost,
}

impl RunState {
    fn order(&self) -> u8 {
        match self {
            RunState::Absent => 0,
            RunState::Starting => 1,
            RunState::Running { .. } => 2,
            RunState::Exited(_) | RunState::Lost => 3,
        }
    }
}

impl From<InstanceState> for RunState {
    fn from(state: InstanceState) -> Self {
        match state {
            InstanceState::Starting => RunState::Starting,
            InstanceState::Running { pid } => RunState::Running { pid },
            InstanceState::Exited(exit) => RunState::Exited(exit),
            InstanceState::Lost => RunState::Lost,
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// Whose run it is, where that is known.
    pub(crate) workload: Option<WorkloadId>,
    /// The generation that it was started from.
    pub(crate) generation: u64,
    /// The image that it was started from, where that is known.
    pub(crate) image: Option<Digest>,
    /// What is known of it.
    pub(crate) state: RunState,
    /// Why it was started.
    pub(crate) cause: Option<StartCause>,
    /// When it was started.
    pub(crate) started_at: UnixMillis,
    /// When `state` was learned.
    pub(crate) since: Duration,
    /// Its place among the runs of its workload; 0 for one that the journal does not know.
    pub(crate) order: u64,
    /// The journal has an entry for it.
    pub(crate) journalled: bool,
    /// It is of this boot: while nothing else is known of it, it may live.
    pub(crate) of_this_boot: bool,
    /// When the polite signal was sent.
    pub(crate) asked: Option<Duration>,
    /// When SIGKILL was last sent.
    pub(crate) killed: Option<Duration>,
    /// Not before then is the next step tried on it, because the last one failed.
    pub(crate) retry_from: Duration,
    /// How often steps on it failed in a row.
    pub(crate) failures: u32,
    /// The engine's count of events when it last heard of this run other than by an observation.
    pub(crate) touched: u64,
}

impl Run {
    /// A run that the journal speaks of, in the boot `boot`.
    pub(crate) fn of_trace(trace: &Trace, boot: &str, now: Duration) -> Self {
        Self {
            workload: Some(trace.workload.clone()),
            generation: trace.generation,
            image: Some(trace.image),
            cause: Some(trace.cause),
            started_at: trace.at,
            order: trace.order,
            journalled: true,
            of_this_boot: trace.boot == boot,
            ..Self::unknown(now)
        }
    }

    /// A run that was found, and that the journal does not know.
    pub(crate) fn of_instance(instance: &Instance, now: Duration) -> Self {
        Self {
            workload: Some(instance.workload.clone()),
            generation: instance.generation,
            started_at: instance.started_at,
            ..Self::unknown(now)
        }
    }

    /// Something that was left, and whose it is nobody knows.
    pub(crate) fn unknown(now: Duration) -> Self {
        Self {
            workload: None,
            generation: 0,
            image: None,
            state: RunState::Absent,
            cause: None,
            started_at: UnixMillis::default(),
            since: now,
            order: 0,
            journalled: false,
            of_this_boot: true,
            asked: None,
            killed: None,
            retry_from: Duration::ZERO,
            failures: 0,
            touched: 0,
        }
    }

    /// Whether a process of it may run.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, RunState::Starting | RunState::Running { .. })
    }

    /// Whether it may live although the machine shows nothing of it: a start that was cut short or failed.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.state == RunState::Absent && self.of_this_boot
    }

    /// Whether we have begun to end it.
    pub(crate) fn is_ending(&self) -> bool {
        self.asked.is_some() || self.killed.is_some()
    }

    /// Learns a state. Old news are ignored; says whether it was news.
    pub(crate) fn learn(&mut self, state: RunState, now: Duration) -> bool {
        let news = state.order() > self.state.order();
        if news {
            self.state = state;
            self.since = now;
        }
        news
    }

    /// Gives it up: whatever lives of it is to be removed. News that it runs come too late from now on.
    pub(crate) fn abandon(&mut self, now: Duration) {
        self.killed = Some(now);
        if self.is_live() {
            self.state = RunState::Absent;
        }
    }

    /// Notes that a step on it failed, and how long to wait before the next.
    pub(crate) fn stumbled(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.retry_from = now + crate::supervise::back_off(self.failures);
    }
}
