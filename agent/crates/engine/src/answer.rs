//! Taking the answers of steps, and drawing their consequences.

use crate::engine::{Engine, Flight};
use crate::images::ImageKey;
use crate::ports::Now;
use crate::run::RunState;
use crate::step::{Answer, Outcome, StepId};
use crate::supervise::back_off;
use crate::unit::Ending;
use edgelet_types::record::Change;
use edgelet_types::workload::Target;
use edgelet_types::{ContainerId, Digest, Fault, Reason, UnixMillis, WorkloadId};

impl Engine {
    /// Tells how a step ended. An unknown id is ignored.
    pub fn completed(&mut self, step: StepId, answer: Answer, now: Now) {
        let Some(flight) = self.flights.remove(&step) else { return };
        self.watch.events += 1;
        let touched = self.watch.events;
        if let Some(unit) = flight.workload().and_then(|id| self.units.get_mut(id)) {
            unit.step = None;
        }
        if let Some(container) = flight.container()
            && let Some(run) = self.run_mut(flight.workload(), container)
        {
            run.touched = touched;
        }
        match flight {
            Flight::Pull(key) => self.pull_ended(&key, answer, now),
            Flight::Start(id, container) => self.start_ended(&id, &container, answer, now),
            Flight::Stop(owner, container) => {
                if let Some(run) = self.run_mut(owner.as_ref(), &container) {
                    run.asked = Some(now.monotonic);
                }
                self.signal_ended(owner.as_ref(), answer);
            }
            Flight::Kill(owner, container) => {
                if let Some(run) = self.run_mut(owner.as_ref(), &container) {
                    // The first one should have been enough: perhaps we missed its effect.
                    let again = run.killed.replace(now.monotonic).is_some();
                    self.watch.look |= again;
                }
                self.signal_ended(owner.as_ref(), answer);
            }
            Flight::Remove(owner, container) => self.remove_ended(owner.as_ref(), container, answer, now),
            Flight::Forget(id) => self.forget_ended(&id, answer, now),
        }
    }

    fn pull_ended(&mut self, key: &ImageKey, answer: Answer, now: Now) {
        let text = match answer.and_then(|outcome| outcome.expect_pulled()) {
            Ok((id, manifest)) => {
                self.watch.last_pulled = self.watch.events;
                self.images.pulled(key, id, manifest, now.monotonic);
                self.forgive_fallbacks(key);
                format!("pulled {} as {id}", key.reference)
            }
            Err(fault) => {
                let text = format!("pull {} failed: {fault}", key.reference);
                let wait = self.images.failed(key, fault, now.monotonic);
                format!("{text}; next attempt in {} s", wait.as_secs())
            }
        };
        self.tell_who_needs(key, now, &text);
    }

    fn start_ended(&mut self, id: &WorkloadId, container: &ContainerId, answer: Answer, now: Now) {
        let fault = match answer.and_then(|outcome| outcome.expect_started()) {
            Ok((pid, at)) => {
                if let Some(run) = self.run_mut(Some(id), container) {
                    run.started_at = at;
                }
                return self.learn(id, container, RunState::Running { pid }, now);
            }
            Err(fault) => fault,
        };
        let Some(unit) = self.units.get_mut(id) else { return };
        if let Some(run) = unit.runs.get_mut(container) {
            run.abandon(now.monotonic);
        }
        match fault.reason {
            Reason::Conflict | Reason::Cancelled | Reason::ShuttingDown => {
                self.watch.look = true;
                unit.tell(now, format!("not started: {fault}"));
                unit.health.postponed(container, fault.to_string(), now.monotonic);
            }
            reason => {
                // Perhaps the image is not what it was.
                self.watch.look |= matches!(reason, Reason::NotFound | Reason::ImageNotFound);
                if let Ending::Counted(record) = unit.start_failed(container, fault, now) {
                    self.journal.record(record);
                }
            }
        }
    }

    /// The failures of the earlier generation do not delay the new one.
    fn forgive_fallbacks(&mut self, key: &ImageKey) {
        let host = &self.settings.platform;
        for unit in self.units.values_mut() {
            if unit.fallback.is_some() && unit.image(host) == *key {
                unit.health.forgive();
            }
        }
    }

    /// After a signal only the clock decides; one that could not be sent is a reason to look.
    fn signal_ended(&mut self, owner: Option<&WorkloadId>, answer: Answer) {
        let trouble = answer.err();
        self.watch.look |= trouble.is_some();
        if let Some(unit) = owner.and_then(|id| self.units.get_mut(id)) {
            unit.trouble = trouble;
        }
    }

    fn remove_ended(&mut self, owner: Option<&WorkloadId>, container: ContainerId, answer: Answer, now: Now) {
        let trouble = answer.err();
        let Some(run) = self.run_mut(owner, &container) else { return };
        if trouble.is_some() {
            run.stumbled(now.monotonic);
            self.watch.look = true;
        } else {
            if run.journalled {
                self.journal.end(container.clone());
            }
            self.watch.last_removed = self.watch.events;
            let removed = owner.and_then(|id| self.units.get_mut(id)?.runs.remove(&container));
            if removed.is_none() {
                self.strays.remove(&container);
            }
        }
        if let Some(unit) = owner.and_then(|id| self.units.get_mut(id)) {
            if let Some(fault) = &trouble {
                unit.tell(now, format!("cannot clean up {container}: {fault}"));
            }
            unit.trouble = trouble;
        }
    }

    /// The row goes last: until then a cut leaves a workload that is still to be deleted.
    fn forget_ended(&mut self, id: &WorkloadId, answer: Answer, now: Now) {
        let Some(unit) = self.units.get_mut(id) else { return };
        if unit.workload.target != Target::Deleted {
            // It was wanted again meanwhile.
            return;
        }
        let removed = answer.and_then(|_| {
            self.journal.forget(id);
            self.journal.commit(vec![Change::RemoveWorkload(id.clone())], now.monotonic)
        });
        match removed {
            Ok(()) => {
                unit.tell(now, "forgotten");
                self.units.remove(id);
            }
            Err(fault) => {
                unit.forget.0 = unit.forget.0.saturating_add(1);
                unit.forget.1 = now.monotonic + back_off(unit.forget.0);
                unit.tell(now, format!("cannot be forgotten: {fault}"));
                unit.trouble = Some(fault);
            }
        }
    }
}

impl Outcome {
    fn expect_pulled(self) -> Result<(Digest, Option<Digest>), Fault> {
        match self {
            Outcome::Pulled { id, manifest } => Ok((id, manifest)),
            other => Err(other.misplaced()),
        }
    }

    fn expect_started(self) -> Result<(u32, UnixMillis), Fault> {
        match self {
            Outcome::Started { pid, at } => Ok((pid, at)),
            other => Err(other.misplaced()),
        }
    }

    fn misplaced(&self) -> Fault {
        Fault::new(Reason::Internal, format!("the driver answered a step with {self:?}"))
    }
}
