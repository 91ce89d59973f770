//! The engine's words in those of the API.

use crate::pulls::Pulls;
use edgelet_api::node::{Failure, Microservice, Phase};
use edgelet_engine::{Fact, State};
use edgelet_types::record::{Crash, CrashCause};
use edgelet_types::{Fault, Reason};

/// One workload for the API.
pub fn microservice(fact: Fact, pulls: &Pulls) -> Microservice {
    let last_failure = fact.crashes.last().map(failure);
    let error = fact.error_message.as_ref().map(|message| {
        let reason = last_failure.as_ref().map_or(Reason::ContainerExited, |failure| failure.fault.reason);
        Fault::new(reason, message)
    });
    Microservice {
        phase: phase(&fact, pulls),
        container: fact.container,
        running_generation: fact.observed_generation,
        pid: fact.pid,
        started_at: fact.started_at,
        error,
        last_failure,
        restarts: fact.restart_count,
        waiting_for: (!fact.waiting_for.is_empty()).then_some(fact.waiting_for),
        workload: (*fact.workload).clone(),
    }
}

fn phase(fact: &Fact, pulls: &Pulls) -> Phase {
    match fact.state {
        State::Queued => Phase::Queued,
        State::Pulling => Phase::Pulling { percent: pulls.percent(&fact.workload.spec.image) },
        State::Starting => Phase::Starting,
        State::Running => Phase::Running,
        State::Updating => Phase::Updating,
        State::Exiting => Phase::Exiting,
        State::Stopping => Phase::Stopping,
        State::Stopped => Phase::Stopped,
        State::Deleting => Phase::Deleting,
        State::Failed => Phase::Failed,
        State::StuckInRestart => Phase::StuckInRestart,
        State::Unknown => Phase::Unknown,
    }
}

fn failure(crash: &Crash) -> Failure {
    let fault = match &crash.cause {
        CrashCause::StartFailed(fault) => fault.clone(),
        CrashCause::Exited(exit) => Fault::new(Reason::ContainerExited, exit),
        CrashCause::Lost => Fault::new(Reason::SupervisorLost, &crash.cause),
    };
    Failure { fault, at: crash.at, generation: crash.generation }
}
