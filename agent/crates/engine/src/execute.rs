//! Carrying out: plan, journal, hand out.

use crate::engine::{Engine, Flight};
use crate::images::ImageKey;
use crate::plan::{self, Desired, LOOK_AGAIN, Machine, Plan, Planned, Room, Todo, Wait};
use crate::ports::Now;
use crate::run::Run;
use crate::step::{Action, Step, StepId, Tick};
use edgelet_types::record::{Change, Trace};
use edgelet_types::workload::Target;
use edgelet_types::{ContainerId, Digest, WorkloadId};
use std::time::Duration;

impl Engine {
    /// Decides. To be called after every event and when `wake_in` has passed; blocks on the ledger when a
    /// run is to be started or an exit to be recorded.
    pub fn next(&mut self, now: Now) -> Tick {
        for unit in self.units.values_mut() {
            unit.health.settle(now.monotonic);
        }
        if self.journal.is_urgent() && self.journal.retry_from <= now.monotonic {
            // What is refused stays pending, is shown with every workload, and is tried again.
            let _ = self.journal.commit(Vec::new(), now.monotonic);
        }
        let mut tick = Tick::default();
        let mut wake_at = None;
        if self.watch.free_bytes.is_some() {
            let plan = self.plan(now.monotonic);
            for (id, wait) in &plan.waits {
                if let Some(unit) = self.units.get_mut(id) {
                    unit.wait = *wait;
                }
            }
            let at_rest = plan.steps.is_empty() && plan.waits.values().all(|wait| *wait == Wait::Nothing);
            wake_at = plan.wake_at;
            tick.steps = self.hand_out(plan.steps, now);
            if at_rest && self.flights.is_empty() && self.journal.is_pending() {
                self.commit_at_rest(now.monotonic);
            }
        }
        tick.cancel = self.abandon_pulls();
        tick.observe = self.wants_a_look(now.monotonic);
        tick.wake_in = self.wakes_at(wake_at, now.monotonic).map(|at| at.saturating_sub(now.monotonic));
        self.show(now);
        tick
    }

    fn plan(&self, now: Duration) -> Plan {
        let host = &self.settings.platform;
        let desired: Vec<Desired<'_>> = self
            .units
            .values()
            .map(|unit| Desired {
                workload: &unit.workload,
                image: unit.image(host),
                fallback: unit
                    .fallback
                    .as_ref()
                    .and_then(|fallback| self.images.find(&ImageKey::of(&fallback.spec, host))),
                start_from: unit.health.start_from,
                forget_from: unit.forget.1,
                busy: unit.step.is_some(),
            })
            .collect();
        let busy = |container| self.flights.values().any(|flight| flight.container() == Some(container));
        let machine = Machine {
            runs: self.units.iter().map(|(id, unit)| (id, &unit.runs)).collect(),
            strays: self.strays.iter().filter(|(container, _)| !busy(container)).collect(),
            images: &self.images,
        };
        let pulls = self.images.in_flight();
        let room = Room {
            steps: self.settings.steps.saturating_sub(self.flights.len() - pulls),
            pulls: self.settings.pulls.saturating_sub(pulls),
            low_on_disk: self.watch.free_bytes.is_some_and(|free| free < self.settings.reserve_bytes),
            journal_from: self.journal.retry_from,
        };
        plan::plan(&desired, &machine, room, now)
    }

    /// Turns planned steps into steps in flight. All starts share one commit, which names their runs before
    /// anything of them exists; if it is refused none of them happens.
    fn hand_out(&mut self, planned: Vec<Planned>, now: Now) -> Vec<Step> {
        let mut traces = Vec::new();
        for planned in &planned {
            match &planned.todo {
                Todo::Start(id, image) => traces.extend(self.trace(id, *image, false, now)),
                Todo::StartFallback(id, image) => traces.extend(self.trace(id, *image, true, now)),
                _ => {}
            }
        }
        let changes: Vec<Change> = traces.iter().cloned().map(Change::PutTrace).collect();
        let journalled = changes.is_empty() || self.journal.commit(changes, now.monotonic).is_ok();
        let mut traces = traces.into_iter();
        let mut steps = Vec::with_capacity(planned.len());
        for Planned { todo, because } in planned {
            let step = match todo {
                Todo::Start(id, _) | Todo::StartFallback(id, _) if !journalled => {
                    if let Some(unit) = self.units.get_mut(&id) {
                        unit.wait = Wait::Journal(self.journal.retry_from);
                    }
                    None
                }
                Todo::Start(..) | Todo::StartFallback(..) => {
                    traces.next().and_then(|trace| self.start(trace, now))
                }
                Todo::Pull(key) => Some(self.pull(*key, because, now)),
                Todo::Stop(owner, container) => {
                    let action = Action::Stop { workload: owner.clone(), container: container.clone() };
                    Some(self.fly(Flight::Stop(owner, container), action, because, now))
                }
                Todo::Kill(owner, container) => {
                    let action = Action::Kill { workload: owner.clone(), container: container.clone() };
                    Some(self.fly(Flight::Kill(owner, container), action, because, now))
                }
                Todo::Remove(owner, container) => {
                    if let Some(run) = self.run_mut(owner.as_ref(), &container) {
                        run.abandon(now.monotonic);
                    }
                    let action = Action::Remove { workload: owner.clone(), container: container.clone() };
                    Some(self.fly(Flight::Remove(owner, container), action, because, now))
                }
                Todo::Forget(id) => {
                    Some(self.fly(Flight::Forget(id.clone()), Action::Forget { workload: id }, because, now))
                }
            };
            steps.extend(step);
        }
        steps
    }

    fn trace(&mut self, id: &WorkloadId, image: Digest, fallback: bool, now: Now) -> Option<Trace> {
        let container = ContainerId::from_random(self.entropy.bytes());
        let unit = self.units.get(id)?;
        let workload = if fallback { unit.fallback.as_ref()? } else { &unit.workload };
        Some(Trace {
            container,
            workload: id.clone(),
            generation: workload.generation,
            order: unit.runs.values().map(|run| run.order).max().unwrap_or_default() + 1,
            image,
            boot: self.settings.boot.clone(),
            cause: unit.health.next_cause,
            at: now.wall,
        })
    }

    fn start(&mut self, trace: Trace, now: Now) -> Option<Step> {
        let unit = self.units.get_mut(&trace.workload)?;
        let mut because = match unit.health.record.restart_count {
            0 => trace.cause.to_string(),
            count => format!("{} (failures so far: {count})", trace.cause),
        };
        let mut workload = unit.workload.clone();
        if workload.generation != trace.generation {
            because.push_str(&format!("; the image of generation {} is not here", workload.generation));
            workload = unit.fallback.clone()?;
        }
        unit.runs.insert(trace.container.clone(), Run::of_trace(&trace, &trace.boot, now.monotonic));
        let action = Action::Start { workload, container: trace.container.clone(), image: trace.image };
        Some(self.fly(Flight::Start(trace.workload, trace.container), action, because, now))
    }

    fn pull(&mut self, key: ImageKey, because: String, now: Now) -> Step {
        let action = Action::Pull { image: key.reference.clone(), platform: key.platform.clone() };
        let step = self.fly(Flight::Pull(key.clone()), action, because, now);
        self.images.begun(&key, step.id);
        self.tell_who_needs(&key, now, &format!("pull {}", key.reference));
        step
    }

    fn fly(&mut self, flight: Flight, action: Action, because: String, now: Now) -> Step {
        self.handed_out += 1;
        self.watch.events += 1;
        let (id, touched) = (StepId(self.handed_out), self.watch.events);
        if let Some(unit) = flight.workload().and_then(|owner| self.units.get_mut(owner)) {
            unit.step = Some(id);
            unit.tell(now, format!("{action}: {because}"));
        }
        if let Some(container) = flight.container()
            && let Some(run) = self.run_mut(flight.workload(), container)
        {
            run.touched = touched;
        }
        self.flights.insert(id, flight);
        Step { id, action, because }
    }

    /// Tells a line to every workload that needs this image.
    pub(crate) fn tell_who_needs(&mut self, key: &ImageKey, now: Now, text: &str) {
        let host = self.settings.platform.clone();
        for unit in self.units.values_mut() {
            if unit.workload.target == Target::Running && unit.image(&host) == *key {
                unit.tell(now, text);
            }
        }
    }

    fn commit_at_rest(&mut self, now: Duration) {
        if self.journal.retry_from <= now {
            // As above: what is refused stays pending.
            let _ = self.journal.commit(Vec::new(), now);
        }
    }

    fn abandon_pulls(&mut self) -> Vec<StepId> {
        let host = &self.settings.platform;
        let running = self.units.values().filter(|unit| unit.workload.target == Target::Running);
        let wanted: Vec<ImageKey> = running.map(|unit| unit.image(host)).collect();
        self.images.abandon(|key| wanted.contains(key))
    }

    /// Whether the driver is to look at the machine: before the first plan, when something did not go as
    /// planned, and now and then while room is waited for.
    fn wants_a_look(&mut self, now: Duration) -> bool {
        let watch = &mut self.watch;
        let short = self.units.values().any(|unit| unit.wait == Wait::Space);
        let wanted =
            watch.free_bytes.is_none() || watch.look || (short && watch.looked_at + LOOK_AGAIN <= now);
        let asked = watch.asked_at.is_some_and(|asked| now < asked + LOOK_AGAIN);
        if !wanted || asked {
            return false;
        }
        watch.look = false;
        watch.asked_at = Some(now);
        true
    }

    fn wakes_at(&self, planned: Option<Duration>, now: Duration) -> Option<Duration> {
        let healths = self.units.values().map(|unit| &unit.health);
        let of_health = healths.flat_map(|health| [health.settles_at(), health.unstuck_at(now)]);
        let short = self.units.values().any(|unit| unit.wait == Wait::Space);
        let look = [
            short.then_some(self.watch.looked_at + LOOK_AGAIN),
            self.watch.asked_at.map(|asked| asked + LOOK_AGAIN),
            Some(self.journal.retry_from),
            planned,
        ];
        of_health.chain(look).flatten().filter(|at| *at > now).min()
    }
}

impl Flight {
    /// The workload that the step is about.
    pub(crate) fn workload(&self) -> Option<&WorkloadId> {
        match self {
            Flight::Start(workload, _) | Flight::Forget(workload) => Some(workload),
            Flight::Stop(owner, _) | Flight::Kill(owner, _) | Flight::Remove(owner, _) => owner.as_ref(),
            Flight::Pull(_) => None,
        }
    }
}
