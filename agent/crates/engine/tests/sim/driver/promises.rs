//! What must hold: before a step is carried out, at every instant, and at the end.

use super::{PULLS, Run, STEPS, Sim};
use crate::Mutant;
use crate::check::{self, Promise};
use crate::scenario::{self, Intent, SLOTS};
use crate::world::{Container, Program};
use edgelet_engine::Action;
use edgelet_types::workload::Target;
use edgelet_types::{ContainerId, ImageRef, WorkloadId};
use std::collections::BTreeMap;

/// What a user may expect after a wish.
pub(super) fn after(intent: Intent, before: Option<&Promise>) -> Option<Promise> {
    let gone = before.is_none_or(|promise| promise.target == Target::Deleted);
    match intent {
        Intent::Apply { image, target, .. } => Some(Promise { target, image: scenario::image(image) }),
        _ if gone => before.cloned(),
        Intent::SetTarget { target, .. } => before.map(|promise| Promise { target, ..promise.clone() }),
        Intent::Restart { .. } | Intent::Rebuild { .. } => {
            before.map(|promise| Promise { target: Target::Running, ..promise.clone() })
        }
    }
}

impl Sim {
    /// Checks a step before it is carried out.
    pub(super) fn admit(&mut self, action: &Action) -> Run {
        let disk = self.disk.lock().expect("lock");
        match action {
            Action::Start { workload, container, .. } => {
                self.counts.starts += 1;
                let row =
                    disk.workloads.get(&workload.id).ok_or("a start of a workload that is not durable")?;
                if workload.generation < row.generation {
                    self.counts.fallbacks += 1;
                    let wanted = &row.spec.image;
                    let is_it = |flight: &super::Flight| matches!(&flight.action, Action::Pull { image, .. } if image == wanted);
                    // One that has just arrived is not known yet.
                    if self.world.images.contains(wanted) && !self.flights.values().any(is_it) {
                        return Err(format!("{} falls back although its image is here", workload.id));
                    }
                }
                if !disk.traces.contains_key(container) && self.mutant != Mutant::ForgetsTraces {
                    return Err(format!("{container} is started without a journal entry"));
                }
                let late = self.scenario.delays_starts();
                drop(disk);
                self.back_off.start(&workload.id, self.now, late)
            }
            Action::Pull { image, .. } if self.world.images.contains(image) => {
                Err(format!("{image} is here and is pulled again"))
            }
            Action::Stop { workload: Some(id), container } => {
                let (Some(row), Some(run)) = (disk.workloads.get(id), self.world.containers.get(container))
                else {
                    return Ok(());
                };
                let replaced = row.target == Target::Running && run.confirmed && run.is_live();
                match replaced && !self.world.images.contains(&row.spec.image) {
                    true => Err(format!("{container} is stopped for an image that is not here")),
                    false => Ok(()),
                }
            }
            Action::Remove { workload: Some(id), container } => {
                let (Some(row), Some(run)) = (disk.workloads.get(id), self.world.containers.get(container))
                else {
                    return Ok(());
                };
                let wanted = row.target == Target::Running && row.generation == run.generation;
                match wanted && run.confirmed && run.is_live() {
                    true => Err(format!("{container} runs as wanted and is removed")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    pub(super) fn count_flights(&self) -> Run {
        let pulls: Vec<&ImageRef> = self
            .flights
            .values()
            .filter_map(|flight| match &flight.action {
                Action::Pull { image, .. } => Some(image),
                _ => None,
            })
            .collect();
        let mut once = pulls.clone();
        once.sort();
        once.dedup();
        let owners: Vec<&WorkloadId> =
            self.flights.values().filter_map(|flight| owner(&flight.action)).collect();
        let mut single = owners.clone();
        single.sort();
        single.dedup();
        let others = self.flights.len() - pulls.len();
        match () {
            () if pulls.len() > PULLS || others > STEPS => Err("too much is in flight".to_owned()),
            () if once.len() < pulls.len() => Err("two pulls of one image are in flight".to_owned()),
            () if single.len() < owners.len() => Err("two steps of one workload are in flight".to_owned()),
            () => Ok(()),
        }
    }

    /// Checks what must hold at every instant.
    pub(super) fn watch(&mut self) -> Run {
        let mut live: BTreeMap<&WorkloadId, &ContainerId> = BTreeMap::new();
        for (id, container) in self.world.containers.iter().filter(|(_, container)| container.is_live()) {
            if let Some(other) = live.insert(&container.workload, id) {
                return Err(format!("two instances of {} live: {other} and {id}", container.workload));
            }
        }
        let disk = self.disk.lock().expect("lock");
        for (id, record) in &disk.supervision {
            let counted = self.counted.entry(id.clone()).or_default();
            if record.restart_count < *counted {
                return Err(format!(
                    "the restart count of {id} went from {counted} to {}",
                    record.restart_count
                ));
            }
            *counted = record.restart_count;
        }
        Ok(())
    }

    /// Checks what must hold when the troubles have been over for long enough.
    pub(super) fn finish(&mut self) -> Run {
        let time = self.time();
        let facts = self.engine.as_ref().ok_or("there is no daemon at the end")?.facts(time);
        let mut wanted = 0;
        for slot in 0..SLOTS {
            let (promise, row) = (self.promises[slot].clone(), self.row(slot));
            if !check::kept(promise.as_ref(), row.as_ref()) {
                return Err(format!("slot {slot}: {promise:?} was promised, durable is {row:?}"));
            }
            let Some(row) = row else { continue };
            let fact = facts.iter().find(|fact| fact.workload.id == row.id).ok_or("a row without a fact")?;
            let state = fact.state.to_string();
            match row.target {
                Target::Deleted => return Err(format!("slot {slot} is still not deleted: {fact:?}")),
                Target::Stopped if state != "STOPPED" => return Err(format!("slot {slot} is {fact:?}")),
                Target::Stopped => {}
                Target::Running => {
                    wanted += 1;
                    let is_it = |container: &&Container| {
                        container.workload == row.id
                            && container.generation == row.generation
                            && container.image == row.spec.image
                            && matches!(container.program, Program::Running { .. })
                    };
                    if state != "RUNNING" || self.world.containers.values().filter(is_it).count() != 1 {
                        return Err(format!("slot {slot} does not run as wanted: {fact:?}"));
                    }
                }
            }
        }
        let disk = self.disk.lock().expect("lock");
        let traced = disk.traces.len();
        match () {
            () if self.world.containers.len() != wanted => {
                Err(format!("{wanted} containers are wanted, and there are {:?}", self.world.containers))
            }
            () if traced != wanted && self.mutant == Mutant::None => {
                Err(format!("{wanted} containers are wanted, and the journal has {traced} entries"))
            }
            () if !disk.fallbacks.is_empty() => {
                Err("a fallback is kept although the new one runs".to_owned())
            }
            () if !self.flights.is_empty() => Err("steps are in flight at rest".to_owned()),
            () if self.asleep.is_some() && !self.scenario.lossy => {
                Err(format!("the engine wants to be woken in {:?} at rest", self.asleep))
            }
            () => Ok(()),
        }
    }
}

fn owner(action: &Action) -> Option<&WorkloadId> {
    match action {
        Action::Pull { .. } => None,
        Action::Start { workload, .. } => Some(&workload.id),
        Action::Stop { workload, .. } | Action::Kill { workload, .. } | Action::Remove { workload, .. } => {
            workload.as_ref()
        }
        Action::Forget { workload } => Some(workload),
    }
}
