//! All that the engine knows of one workload.

use crate::fact::State;
use crate::images::ImageKey;
use crate::plan::Wait;
use crate::ports::Now;
use crate::run::{Run, RunState};
use crate::step::StepId;
use crate::story::Story;
use crate::supervise::Health;
use edgelet_types::instance::Exit;
use edgelet_types::record::{Crash, CrashCause, StartCause, Supervision};
use edgelet_types::workload::Target;
use edgelet_types::{ContainerId, Fault, Platform, UnixMillis, Workload};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One workload: what is wanted, its runs, how it fares.
#[derive(Debug)]
pub(crate) struct Unit {
    /// What is wanted. Always as the ledger has it.
    pub(crate) workload: Arc<Workload>,
    /// What it was before its image changed; it runs until the new image is here.
    pub(crate) fallback: Option<Arc<Workload>>,
    /// Every run that may have left something on the machine.
    pub(crate) runs: BTreeMap<ContainerId, Run>,
    /// How it fares.
    pub(crate) health: Health,
    /// What happened, and why.
    pub(crate) story: Story,
    /// The step in flight; at most one.
    pub(crate) step: Option<StepId>,
    /// Why the last clean-up failed.
    pub(crate) trouble: Option<Fault>,
    /// How often forgetting it failed, and not before when it is tried again.
    pub(crate) forget: (u32, Duration),
    /// What it waits for, as of the last plan.
    pub(crate) wait: Wait,
    /// What is shown as its state, and since when.
    pub(crate) shown: (State, UnixMillis),
}

/// What became of a run that had ended.
pub(crate) enum Ending {
    /// It was meant to end.
    Expected,
    /// It crashed; the record has changed.
    Counted(Supervision),
    /// It crashed, and was counted before.
    Known,
}

impl Unit {
    /// A workload of which nothing runs, as far as is known.
    pub(crate) fn new(workload: Arc<Workload>, record: Option<Supervision>, now: Now) -> Self {
        let health = Health::new(&workload.id, record);
        let mut story = Story::default();
        for crash in &health.record.crashes {
            story.remember(crash.at, format!("generation {} failed: {}", crash.generation, crash.cause));
        }
        Self {
            workload,
            fallback: None,
            runs: BTreeMap::new(),
            health,
            story,
            step: None,
            trouble: None,
            forget: (0, Duration::ZERO),
            wait: Wait::Nothing,
            shown: (State::Unknown, now.wall),
        }
    }

    /// Adds a line to its story.
    pub(crate) fn tell(&mut self, now: Now, text: impl Into<String>) {
        self.story.tell(&self.workload.name, now.wall, text.into());
    }

    /// The image that it needs.
    pub(crate) fn image(&self, host: &Platform) -> ImageKey {
        ImageKey::of(&self.workload.spec, host)
    }

    /// Whether a run of this generation should go on for now.
    fn wants(&self, generation: u64) -> bool {
        let as_fallback = self.fallback.as_ref().is_some_and(|fallback| fallback.generation == generation);
        self.workload.target == Target::Running && (generation == self.workload.generation || as_fallback)
    }

    /// The run that lives; the one that the planner would keep, if there are several.
    pub(crate) fn live(&self) -> Option<(&ContainerId, &Run)> {
        self.runs
            .iter()
            .filter(|(_, run)| run.is_live())
            .max_by_key(|(_, run)| (run.generation, !run.is_ending()))
    }

    /// Learns what is so of one of its runs, and draws the consequences.
    pub(crate) fn learn(&mut self, container: &ContainerId, state: RunState, now: Now) -> Option<Ending> {
        let generation = self.runs.get(container)?.generation;
        let wanted = self.wants(generation);
        let run = self.runs.get_mut(container)?;
        if !run.learn(state, now.monotonic) {
            return None;
        }
        match run.state.clone() {
            RunState::Absent | RunState::Starting => None,
            RunState::Running { .. } => {
                if wanted && !run.is_ending() {
                    self.health.running(container, now.monotonic);
                }
                None
            }
            RunState::Exited(exit) => Some(self.ended(container, Some(exit), now)),
            RunState::Lost => Some(self.ended(container, None, now)),
        }
    }

    /// Counts a start that failed.
    pub(crate) fn start_failed(&mut self, container: &ContainerId, fault: Fault, now: Now) -> Ending {
        let Some(run) = self.runs.get(container) else { return Ending::Expected };
        let generation = run.generation;
        if !self.wants(generation) {
            self.health.ended(container, now.monotonic);
            self.tell(
                now,
                format!("generation {generation} was not started, and is not wanted any more: {fault}"),
            );
            return Ending::Expected;
        }
        self.count(container, generation, CrashCause::StartFailed(fault), now)
    }

    fn ended(&mut self, container: &ContainerId, exit: Option<Exit>, now: Now) -> Ending {
        let Some(run) = self.runs.get(container) else { return Ending::Expected };
        let (generation, order, ending) = (run.generation, run.order, run.is_ending());
        let cause = exit.map_or(CrashCause::Lost, CrashCause::Exited);
        let wanted = self.wants(generation);
        // Where a later run was begun, this one's end has been dealt with, perhaps by an earlier daemon.
        let replaced = self.runs.values().any(|later| later.order > order);
        if wanted && !ending && !replaced {
            return self.count(container, generation, cause, now);
        }
        self.health.ended(container, now.monotonic);
        let how = if wanted && !ending {
            "had ended before"
        } else if ending {
            "ended as asked"
        } else {
            "ended by itself, and is not wanted any more"
        };
        self.tell(now, format!("an instance of generation {generation} {how}: {cause}"));
        Ending::Expected
    }

    fn count(&mut self, container: &ContainerId, generation: u64, cause: CrashCause, now: Now) -> Ending {
        let at = match &cause {
            CrashCause::Exited(exit) => exit.at,
            _ => now.wall,
        };
        let text = cause.to_string();
        let crash = Crash { container: container.clone(), generation, at, cause };
        match self.health.failed(crash, now.monotonic) {
            Some(wait) => {
                let stuck = if self.health.is_stuck(now.monotonic) { "; it is stuck" } else { "" };
                let count = self.health.record.restart_count;
                self.tell(
                    now,
                    format!("failed: {text} (failure {count}); next attempt in {} s{stuck}", wait.as_secs()),
                );
                Ending::Counted(self.health.record.clone())
            }
            None => {
                self.health.next_cause = StartCause::Exited;
                Ending::Known
            }
        }
    }
}
