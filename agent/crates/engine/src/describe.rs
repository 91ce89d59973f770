//! From the engine's state to the facts that are shown.

use crate::engine::{Engine, Flight};
use crate::fact::{Fact, State};
use crate::plan::{LOOK_AGAIN, Wait};
use crate::ports::Now;
use crate::run::{Run, RunState};
use crate::unit::Unit;
use edgelet_types::ContainerId;
use edgelet_types::record::StartCause;
use edgelet_types::workload::Target;
use std::time::Duration;

impl Engine {
    /// Notes which state each workload is in, and when that changed.
    pub(crate) fn show(&mut self, now: Now) {
        let states: Vec<State> = self.units.values().map(|unit| self.state(unit, now.monotonic)).collect();
        for (unit, state) in self.units.values_mut().zip(states) {
            if unit.shown.0 != state {
                unit.shown = (state, now.wall);
            }
        }
    }

    /// What is true of one workload.
    pub(crate) fn describe(&self, unit: &Unit, now: Now) -> Fact {
        let run = unit.live().or_else(|| self.starting(unit));
        let (state, since) = match self.state(unit, now.monotonic) {
            state if state == unit.shown.0 => unit.shown,
            // An event has changed it, and the next plan is not made yet.
            state => (state, now.wall),
        };
        let next_at = match unit.wait {
            Wait::Space => Some(self.watch.looked_at + LOOK_AGAIN),
            wait => wait.until(),
        };
        Fact {
            workload: unit.workload.clone(),
            state,
            since,
            container: run.map(|(container, _)| container.clone()),
            pid: run.and_then(|(_, run)| match run.state {
                RunState::Running { pid } => Some(pid),
                _ => None,
            }),
            started_at: run.map(|(_, run)| run.started_at),
            start_cause: run.and_then(|(_, run)| run.cause),
            observed_generation: run.map(|(_, run)| run.generation),
            image: self.images.find(&unit.image(&self.settings.platform)),
            restart_count: unit.health.record.restart_count,
            error_message: self.error(unit),
            crashes: unit.health.record.crashes.clone(),
            waiting_for: unit.wait.to_string(),
            next_attempt_in: next_at.map(|at| at.saturating_sub(now.monotonic)),
        }
    }

    fn state(&self, unit: &Unit, now: Duration) -> State {
        if self.watch.free_bytes.is_none() {
            return State::Unknown;
        }
        match unit.workload.target {
            Target::Deleted => State::Deleting,
            Target::Stopped if unit.runs.is_empty() => State::Stopped,
            Target::Stopped => State::Stopping,
            Target::Running => self.running_state(unit, now),
        }
    }

    fn running_state(&self, unit: &Unit, now: Duration) -> State {
        let old = |run: &Run| run.generation != unit.workload.generation;
        match unit.live() {
            Some((_, run)) if old(run) || run.is_ending() => return State::Updating,
            Some((_, run)) if run.state == RunState::Starting => return State::Starting,
            Some(_) => return State::Running,
            None => {}
        }
        if self.starting(unit).is_some() {
            return State::Starting;
        }
        if unit.health.is_stuck(now) {
            return State::StuckInRestart;
        }
        match unit.wait {
            Wait::Image => State::Pulling,
            Wait::PullAgain(_) | Wait::Journal(_) => State::Failed,
            Wait::BackOff(_) => match unit.health.next_cause {
                StartCause::StartFailed => State::Failed,
                _ => State::Exiting,
            },
            _ if unit.runs.values().any(old) => State::Updating,
            _ if unit.runs.values().any(|run| run.state != RunState::Absent) => State::Exiting,
            _ => State::Queued,
        }
    }

    /// The run whose start is in flight.
    fn starting<'a>(&self, unit: &'a Unit) -> Option<(&'a ContainerId, &'a Run)> {
        match self.flights.get(&unit.step?)? {
            Flight::Start(_, container) => unit.runs.get_key_value(container),
            _ => None,
        }
    }

    /// What is wrong now: what hinders the next step, else what went wrong last.
    fn error(&self, unit: &Unit) -> Option<String> {
        let hindrance = match unit.wait {
            Wait::PullAgain(_) | Wait::Image => {
                let fault = self.images.fault(&unit.image(&self.settings.platform));
                fault.map(|fault| format!("pull {}: {fault}", unit.workload.spec.image))
            }
            Wait::Space => {
                let free = self.watch.free_bytes.unwrap_or_default() >> 20;
                let reserve = self.settings.reserve_bytes >> 20;
                Some(format!("{free} MiB free on the data file system, below the reserve of {reserve} MiB"))
            }
            Wait::Journal(_) => self.journal.fault.as_ref().map(ToString::to_string),
            _ => None,
        };
        let hindrance = hindrance.map(|text| match unit.live() {
            Some((_, run)) if run.generation != unit.workload.generation => {
                format!("{text}; generation {} goes on running", run.generation)
            }
            _ => text,
        });
        let trouble = || unit.trouble.as_ref().map(ToString::to_string);
        hindrance.or_else(|| unit.health.error.clone()).or_else(trouble)
    }
}
