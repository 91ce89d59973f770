//! Carrying out steps, stage by stage, and what the machine does by itself.

use super::{DaemonEvent, MachineEvent, Run, Sim};
use crate::scenario;
use crate::world::{Container, Program};
use edgelet_engine::{Action, Answer, Outcome, StepId};
use edgelet_types::{ContainerId, Digest, Fault, Reason, Workload};
use std::time::Duration;

impl Sim {
    /// Carries out one stage of a step. The daemon may die before and after it.
    pub(super) fn act(&mut self, step: StepId, stage: u32) -> Run {
        if self.pass() {
            return Ok(());
        }
        let flight = self.flights.get(&step).expect("in flight");
        let (action, cancelled) = (flight.action.clone(), flight.cancelled);
        let answer = self.perform(&action, stage, cancelled)?;
        if self.pass() {
            return Ok(());
        }
        let delay = self.millis(if matches!(action, Action::Pull { .. }) { 3_000 } else { 30 });
        let next = match answer {
            Some(answer) => DaemonEvent::Answer(step, answer),
            None => DaemonEvent::Act(step, stage + 1),
        };
        self.push_daemon(delay, next);
        Ok(())
    }

    /// Does one stage; answers when it was the last, or when it failed.
    fn perform(&mut self, action: &Action, stage: u32, cancelled: bool) -> Run<Option<Answer>> {
        let trouble = self.now < self.scenario.quiet && self.rng.one_in(self.scenario.trouble_one_in);
        let fail = |reason| Ok(Some(Err(Fault::new(reason, "trouble"))));
        Ok(match action {
            Action::Pull { .. } if cancelled => return fail(Reason::Cancelled),
            Action::Pull { .. } if trouble => {
                let reasons =
                    [Reason::RegistryUnreachable, Reason::ImageNotFound, Reason::NoSpace, Reason::Cancelled];
                return fail(*self.rng.pick(&reasons));
            }
            Action::Pull { .. } if stage == 0 => None,
            Action::Pull { image, .. } => {
                self.world.images.insert(image.clone());
                let id = Digest::of(image.to_string().as_bytes());
                Some(Ok(Outcome::Pulled { id, manifest: None }))
            }
            Action::Start { .. } if trouble => {
                return fail(*self.rng.pick(&[Reason::StartFailed, Reason::Conflict, Reason::TimedOut]));
            }
            Action::Start { workload, container, .. } => self.start(workload, container, stage)?,
            Action::Stop { container, .. } => {
                if !trouble {
                    let deaf = self.nature(container).is_some_and(|nature| nature.deaf);
                    let running = matches!(
                        self.world.containers.get(container),
                        Some(Container { program: Program::Running { .. }, .. })
                    );
                    if running && !deaf {
                        let delay = self.millis(2_000);
                        self.push_machine(delay, MachineEvent::Ends(container.clone(), 143));
                    }
                    return Ok(Some(Ok(Outcome::Done)));
                }
                return fail(Reason::Internal);
            }
            Action::Kill { container, .. } => {
                if trouble {
                    return fail(Reason::Internal);
                }
                self.push_machine(Duration::from_millis(10), MachineEvent::Ends(container.clone(), 137));
                Some(Ok(Outcome::Done))
            }
            Action::Remove { .. } if trouble => return fail(Reason::Storage),
            Action::Remove { container, .. } => self.remove(container, stage),
            Action::Forget { workload } => {
                self.world.forgotten.insert(workload.clone());
                Some(Ok(Outcome::Done))
            }
        })
    }

    fn start(&mut self, workload: &Workload, id: &ContainerId, stage: u32) -> Run<Option<Answer>> {
        if stage == 0 {
            let container = Container {
                workload: workload.id.clone(),
                generation: workload.generation,
                image: workload.spec.image.clone(),
                scratch: true,
                mount: false,
                cgroup: false,
                program: Program::None,
                confirmed: false,
            };
            self.world.containers.insert(id.clone(), container);
            return Ok(None);
        }
        let container =
            self.world.containers.get_mut(id).ok_or("a container vanished while it was started")?;
        match stage {
            1 => container.mount = true,
            2 => container.cgroup = true,
            3 => {
                container.program = Program::Starting;
                let delay = self.millis(50);
                self.push_machine(delay, MachineEvent::Runs(id.clone()));
            }
            _ => {
                return Ok(match container.program {
                    Program::Starting => None,
                    Program::Running { pid } => Some(Ok(Outcome::Started { pid, at: self.time().wall })),
                    Program::Exited(_) => Some(Ok(Outcome::Started { pid: 1, at: self.time().wall })),
                    _ => Some(Err(Fault::new(Reason::StartFailed, "its shim died"))),
                });
            }
        }
        Ok(None)
    }

    fn remove(&mut self, id: &ContainerId, stage: u32) -> Option<Answer> {
        let Some(container) = self.world.containers.get_mut(id) else { return Some(Ok(Outcome::Done)) };
        match stage {
            0 => container.program = Program::None,
            1 => container.cgroup = false,
            2 => container.mount = false,
            _ => {
                self.world.containers.remove(id);
                return Some(Ok(Outcome::Done));
            }
        }
        None
    }

    pub(super) fn machine_event(&mut self, event: MachineEvent) {
        match event {
            MachineEvent::Runs(id) => {
                if !self.world.run(&id) {
                    return;
                }
                self.news(&id);
                if let Some(after) = self.nature(&id).and_then(|nature| nature.ends_after) {
                    let at = after + self.millis(1_000);
                    if self.now + at < self.scenario.quiet {
                        self.push_machine(at, MachineEvent::Ends(id, 1));
                    }
                }
            }
            MachineEvent::Ends(id, code) => {
                let lost = self.nature(&id).is_some_and(|nature| nature.takes_shim_along);
                if self.world.end(&id, code, lost) {
                    self.counts.crashes += u64::from(code == 1);
                    self.news(&id);
                }
            }
        }
    }

    fn news(&mut self, id: &ContainerId) {
        if !(self.scenario.lossy && self.rng.one_in(2)) {
            let delay = self.millis(200);
            self.push_daemon(delay, DaemonEvent::News(id.clone()));
        }
    }

    fn nature(&self, id: &ContainerId) -> Option<scenario::Nature> {
        let image = &self.world.containers.get(id)?.image;
        (0..scenario::IMAGES).find(|n| scenario::image(*n) == *image).map(|n| self.scenario.programs[n])
    }
}
