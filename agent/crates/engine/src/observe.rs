//! Learning what is so: complete looks at the machine, and news of single runs.
//!
//! A look takes time, and steps end meanwhile. What the engine learned after the look began is newer than
//! what the look saw, and is not overwritten by it.

use crate::engine::{Engine, Flight};
use crate::ports::{Actual, AsOf, HeldImage, Now};
use crate::run::{Run, RunState};
use crate::unit::Ending;
use edgelet_types::instance::Instance;
use edgelet_types::{ContainerId, WorkloadId};
use std::collections::BTreeSet;

impl Engine {
    /// Tells everything that was found on the machine. Needed once after [`recover`](Self::recover), when a
    /// tick asks for it, and as seldom or often as the driver likes.
    pub fn observe(&mut self, actual: Actual, now: Now) {
        let seen: BTreeSet<ContainerId> =
            actual.instances.iter().map(|instance| instance.container.clone()).collect();
        for instance in actual.instances {
            self.see(instance, actual.as_of, now);
        }
        self.miss(&seen, actual.as_of, now);
        // A leftover does not say whose it is, so with a protected workload around none is touched.
        if self.protected.is_empty() {
            for container in actual.leftovers {
                if !self.knows(&container) && self.watch.last_removed <= actual.as_of.0 {
                    self.strays.insert(container, Run::unknown(now.monotonic));
                }
            }
        }
        self.images(actual.as_of, actual.images);
        self.watch.free_bytes = Some(actual.free_bytes);
        self.watch.looked_at = now.monotonic;
        self.watch.asked_at = None;
    }

    /// Tells what became of one instance, as soon as it is known: an exit, or the loss of its shim. News of
    /// a run that is not known any more are ignored.
    pub fn instance(&mut self, instance: Instance, now: Now) {
        self.watch.events += 1;
        let touched = self.watch.events;
        if let Some(run) = self.run_mut(Some(&instance.workload), &instance.container) {
            run.touched = touched;
        }
        self.learn(&instance.workload, &instance.container, instance.state.into(), now);
    }

    /// Tells the complete list of images after one was loaded, pulled by hand or removed.
    pub fn images(&mut self, as_of: AsOf, images: Vec<HeldImage>) {
        if self.watch.last_pulled > as_of.0 {
            self.watch.look = true;
            return;
        }
        self.images.replace(images);
    }

    /// The run, among those of its workload or among the strays.
    pub(crate) fn run_mut(
        &mut self,
        workload: Option<&WorkloadId>,
        container: &ContainerId,
    ) -> Option<&mut Run> {
        let of_unit = workload.and_then(|workload| self.units.get_mut(workload)?.runs.get_mut(container));
        of_unit.or_else(|| self.strays.get_mut(container))
    }

    /// Learns the state of one run, and remembers what it means.
    pub(crate) fn learn(
        &mut self,
        workload: &WorkloadId,
        container: &ContainerId,
        state: RunState,
        now: Now,
    ) {
        match self.units.get_mut(workload) {
            Some(unit) => {
                if let Some(Ending::Counted(record)) = unit.learn(container, state, now) {
                    self.journal.record(record);
                }
                let current = unit.live().is_some_and(|(_, run)| run.generation == unit.workload.generation);
                if current && unit.fallback.take().is_some() {
                    self.journal.drop_fallback(workload.clone());
                }
            }
            None => {
                if let Some(run) = self.strays.get_mut(container) {
                    run.learn(state, now.monotonic);
                }
            }
        }
    }

    /// Learns of one instance that a look has found.
    fn see(&mut self, instance: Instance, as_of: AsOf, now: Now) {
        let (workload, container) = (instance.workload.clone(), instance.container.clone());
        if self.protected.contains(workload.as_str()) {
            return;
        }
        let known = self.run_mut(Some(&workload), &container).map(|run| (run.touched, run.state.clone()));
        match known {
            Some((touched, _)) if touched > as_of.0 => return,
            Some((_, state)) => {
                if let (RunState::Absent, Some(unit)) = (state, self.units.get_mut(&workload))
                    && instance.state.is_live()
                {
                    unit.tell(
                        now,
                        format!("generation {} was found running and is kept", instance.generation),
                    );
                }
            }
            // It may be one that was removed while the look was under way.
            None if self.watch.last_removed > as_of.0 => {
                self.watch.look = true;
                return;
            }
            None => {
                let run = Run::of_instance(&instance, now.monotonic);
                match self.units.get_mut(&workload) {
                    Some(unit) => {
                        unit.tell(
                            now,
                            format!("generation {} was found and was not known", instance.generation),
                        );
                        unit.runs.insert(container.clone(), run);
                    }
                    None => {
                        self.strays.insert(container.clone(), run);
                    }
                }
            }
        }
        self.learn(&workload, &container, instance.state.into(), now);
    }

    /// Draws the consequences for runs that lived and that a look has not found.
    fn miss(&mut self, seen: &BTreeSet<ContainerId>, as_of: AsOf, now: Now) {
        let gone = |container: &ContainerId, run: &Run, flights: &BTreeSet<ContainerId>| {
            run.is_live()
                && run.touched <= as_of.0
                && !seen.contains(container)
                && !flights.contains(container)
        };
        let flights: BTreeSet<ContainerId> =
            self.flights.values().filter_map(Flight::container).cloned().collect();
        let of_units =
            self.units.iter().flat_map(|(id, unit)| unit.runs.iter().map(move |run| (id.clone(), run)));
        let missing: Vec<(WorkloadId, ContainerId)> = of_units
            .filter(|(_, (container, run))| gone(container, run, &flights))
            .map(|(id, (container, _))| (id, container.clone()))
            .collect();
        for (workload, container) in missing {
            self.learn(&workload, &container, RunState::Lost, now);
        }
        for (container, run) in &mut self.strays {
            if gone(container, run, &flights) {
                run.learn(RunState::Lost, now.monotonic);
            }
        }
    }

    fn knows(&self, container: &ContainerId) -> bool {
        self.strays.contains_key(container)
            || self.units.values().any(|unit| unit.runs.contains_key(container))
    }
}

impl Flight {
    /// The run that the step is about.
    pub(crate) fn container(&self) -> Option<&ContainerId> {
        match self {
            Flight::Start(_, container)
            | Flight::Stop(_, container)
            | Flight::Kill(_, container)
            | Flight::Remove(_, container) => Some(container),
            Flight::Pull(_) | Flight::Forget(_) => None,
        }
    }
}
