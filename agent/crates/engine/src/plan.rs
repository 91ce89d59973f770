//! The planner: from what is wanted and what is so to what is to be done, as a pure function.
//!
//! It is stateless on purpose. Every decision is made again from the facts at every call, so there is no
//! half-finished procedure that a cut could interrupt: a restart of the daemon in the middle of an update
//! finds the same facts and goes on from there.

use crate::images::{ImageKey, Images, Supply};
use crate::run::{Run, RunState};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{ContainerId, Digest, Workload, WorkloadId};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long a run may stay between created and started before it is killed. The driver's own limit for a
/// start is shorter; this one is for a run that was adopted in that state.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);
/// How long after a SIGKILL another one is sent. Only a process in uninterruptible sleep survives one.
pub(crate) const KILL_AGAIN: Duration = Duration::from_secs(10);
/// How often the machine is looked at again while room is waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is wanted of one workload, and from when on it may be tried.
#[derive(Debug)]
pub(crate) struct Desired<'a> {
    /// The workload, with its target.
    pub(crate) workload: &'a Workload,
    /// The image that it needs.
    pub(crate) image: ImageKey,
    /// The image to start the earlier generation from, which bridges the time until `image` is here.
    pub(crate) fallback: Option<Digest>,
    /// No start before then: the back-off.
    pub(crate) start_from: Duration,
    /// No attempt to forget it before then: the last one failed.
    pub(crate) forget_from: Duration,
    /// A step of it is in flight.
    pub(crate) busy: bool,
}

/// What is so.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// Every run of every workload that has any.
    pub(crate) runs: BTreeMap<&'a WorkloadId, &'a BTreeMap<ContainerId, Run>>,
    /// What belongs to no workload, less what has a step in flight.
    pub(crate) strays: Vec<(&'a ContainerId, &'a Run)>,
    /// Images and pulls.
    pub(crate) images: &'a Images,
}

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Steps that may be handed out, other than pulls.
    pub(crate) steps: usize,
    /// Pulls that may be handed out.
    pub(crate) pulls: usize,
    /// The data file system is down to its reserve: what is wanted and held is started, nothing new is begun.
    pub(crate) low_on_disk: bool,
    /// No start before then: the journal could not be written.
    pub(crate) journal_from: Duration,
}

/// The planner's answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// To be done now, in this order, side by side.
    pub(crate) steps: Vec<Planned>,
    /// What each workload waits for that gets no step.
    pub(crate) waits: BTreeMap<WorkloadId, Wait>,
    /// When to plan again if nothing happens.
    pub(crate) wake_at: Option<Duration>,
}

/// One thing to do, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    /// What.
    pub(crate) todo: Todo,
    /// Why, in words.
    pub(crate) because: String,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Todo {
    /// Pull this image.
    Pull(Box<ImageKey>),
    /// Start a run of this workload from this image.
    Start(WorkloadId, Digest),
    /// Start a run of what this workload was before, from this image.
    StartFallback(WorkloadId, Digest),
    /// Send the polite signal.
    Stop(Option<WorkloadId>, ContainerId),
    /// Send SIGKILL.
    Kill(Option<WorkloadId>, ContainerId),
    /// Take away what is left.
    Remove(Option<WorkloadId>, ContainerId),
    /// Delete what belongs to the workload itself.
    Forget(WorkloadId),
}

/// What a workload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: all is as wanted.
    Nothing,
    /// A step in flight.
    Step,
    /// Its turn: as much is in flight as may be.
    Turn,
    /// A pull in flight.
    Image,
    /// The next attempt to pull.
    PullAgain(Duration),
    /// The next attempt to start.
    BackOff(Duration),
    /// A program that was asked to end.
    Grace(Duration),
    /// A program that was killed.
    Death(Duration),
    /// A program that is being started by its shim.
    Starting(Duration),
    /// Free space on the data file system.
    Space,
    /// The next attempt to write the journal.
    Journal(Duration),
    /// The next attempt to clean up.
    CleanUp(Duration),
}

impl Wait {
    /// When the wait is over, for those that end by themselves.
    pub(crate) fn until(self) -> Option<Duration> {
        match self {
            Wait::Nothing | Wait::Step | Wait::Turn | Wait::Image | Wait::Space => None,
            Wait::PullAgain(at)
            | Wait::BackOff(at)
            | Wait::Grace(at)
            | Wait::Death(at)
            | Wait::Starting(at)
            | Wait::Journal(at)
            | Wait::CleanUp(at) => Some(at),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Nothing => "",
            Wait::Step => "the step in progress",
            Wait::Turn => "its turn",
            Wait::Image => "its image",
            Wait::PullAgain(_) => "the next attempt to pull its image",
            Wait::BackOff(_) => "the next attempt to start it",
            Wait::Grace(_) => "its program to end",
            Wait::Death(_) => "its program to die",
            Wait::Starting(_) => "its program to start",
            Wait::Space => "free space on the data file system",
            Wait::Journal(_) => "the store to accept a commit",
            Wait::CleanUp(_) => "the next attempt to clean up",
        })
    }
}

/// Decides what is to be done. It makes no system call, reads no clock and changes nothing.
///
/// The order is that of importance: what must not run, the node's control plane, the controller's
/// workloads, local ones, leftovers.
pub(crate) fn plan(desired: &[Desired<'_>], actual: &Machine<'_>, room: Room, now: Duration) -> Plan {
    let mut planning = Planning { actual, room, now, pulling: Vec::new(), plan: Plan::default() };
    let mut order: Vec<&Desired<'_>> = desired.iter().collect();
    order.sort_by_key(|wanted| importance(wanted.workload));
    for wanted in order {
        let choice = planning.choose(wanted);
        let pulls = matches!(choice, Choice::Do(Todo::Pull(_), _));
        planning.take(Some(&wanted.workload.id), choice);
        if pulls && wanted.fallback.is_some() {
            // A pull goes beside the workload's own steps.
            let choice = planning.choose(wanted);
            planning.take(Some(&wanted.workload.id), choice);
        }
        planning.wake_to_clean_up(wanted);
    }
    for (container, run) in &actual.strays {
        let choice = planning.clear_away(container, run, "no workload and no journal entry knows it");
        planning.take(None, choice);
    }
    planning.plan
}

fn importance(workload: &Workload) -> (u8, u8) {
    let target = match workload.target {
        Target::Stopped | Target::Deleted => 0,
        Target::Running => 1,
    };
    let source = match workload.source {
        Source::Controlplane => 0,
        Source::Managed => 1,
        Source::Local => 2,
    };
    (target, source)
}

/// A plan in the making.
struct Planning<'a> {
    actual: &'a Machine<'a>,
    room: Room,
    now: Duration,
    /// Images whose pull is in this plan.
    pulling: Vec<ImageKey>,
    plan: Plan,
}

/// What is decided for one workload.
enum Choice {
    Do(Todo, String),
    Wait(Wait),
}

impl Planning<'_> {
    /// Decides for one workload.
    fn choose(&self, wanted: &Desired<'_>) -> Choice {
        if wanted.busy {
            return Choice::Wait(Wait::Step);
        }
        static NONE: BTreeMap<ContainerId, Run> = BTreeMap::new();
        let runs = self.actual.runs.get(&wanted.workload.id).copied().unwrap_or(&NONE);
        let dead = runs.iter().filter(|(_, run)| !run.is_live());
        if let Some((container, run)) = dead.clone().find(|(_, run)| run.retry_from <= self.now) {
            // What is left of earlier runs goes first, so that its space and names are free again. If that
            // fails it is tried again later, and does not keep a new run from starting.
            return self.clear_away(container, run, "");
        }
        match wanted.workload.target {
            Target::Running => self.keep_one_running(wanted, runs),
            Target::Stopped | Target::Deleted => {
                if let Some((container, run)) = runs.iter().find(|(_, run)| run.is_live()) {
                    return self.end(wanted.workload, container, run, "it should not run");
                }
                if let Some(at) = dead.map(|(_, run)| run.retry_from).min() {
                    return Choice::Wait(Wait::CleanUp(at));
                }
                match wanted.workload.target {
                    Target::Deleted if wanted.forget_from > self.now => {
                        Choice::Wait(Wait::CleanUp(wanted.forget_from))
                    }
                    Target::Deleted => Choice::Do(
                        Todo::Forget(wanted.workload.id.clone()),
                        "nothing of it is left".to_owned(),
                    ),
                    _ => Choice::Wait(Wait::Nothing),
                }
            }
        }
    }

    fn keep_one_running(&self, wanted: &Desired<'_>, runs: &BTreeMap<ContainerId, Run>) -> Choice {
        let workload = wanted.workload;
        let current = |run: &Run| run.generation == workload.generation && !run.is_ending();
        let best = |(_, run): &(&ContainerId, &Run)| {
            (current(run), matches!(run.state, RunState::Running { .. }), run.generation)
        };
        let live = runs.iter().filter(|(_, run)| run.is_live());
        let Some((container, run)) = live.clone().max_by_key(best) else {
            // Two instances are worse than none: what may live must be gone first.
            return match runs.values().filter(|run| run.is_in_doubt()).map(|run| run.retry_from).max() {
                Some(at) => Choice::Wait(Wait::CleanUp(at)),
                None => self.start(wanted),
            };
        };
        if let Some((surplus, run)) = live.clone().find(|(other, _)| *other != container) {
            return self.kill(workload, surplus, run, "a second instance must not run");
        }
        if current(run) {
            return match run.state {
                RunState::Starting if run.since + START_LIMIT <= self.now => {
                    self.kill(workload, container, run, "its program was not started in time")
                }
                RunState::Starting => Choice::Wait(Wait::Starting(run.since + START_LIMIT)),
                _ => Choice::Wait(Wait::Nothing),
            };
        }
        if run.is_ending() {
            return self.end(workload, container, run, "it was asked to end");
        }
        // The old run goes on until the new one can be started: the image first, then room, then the switch.
        match self.image_and_room(wanted) {
            Ok(_) if self.room.low_on_disk => Choice::Wait(Wait::Space),
            Ok(_) => {
                let because = format!("generation {} replaces {}", workload.generation, run.generation);
                self.end(workload, container, run, &because)
            }
            Err(choice) => choice,
        }
    }

    fn start(&self, wanted: &Desired<'_>) -> Choice {
        let id = wanted.workload.id.clone();
        match (self.image_and_room(wanted), wanted.fallback) {
            (Ok(image), _) => self.when_due(wanted, Todo::Start(id, image)),
            (
                Err(Choice::Wait(wait @ (Wait::Image | Wait::PullAgain(_) | Wait::Turn | Wait::Space))),
                Some(image),
            ) => {
                match self.when_due(wanted, Todo::StartFallback(id, image)) {
                    // While room is what is missing the machine is looked at again, and that is often enough.
                    Choice::Wait(_) if wait == Wait::Space => Choice::Wait(wait),
                    // Of two waits the one that ends first.
                    Choice::Wait(other) if wait.until().is_some() && wait.until() < other.until() => {
                        Choice::Wait(wait)
                    }
                    choice => choice,
                }
            }
            (Err(choice), _) => choice,
        }
    }

    fn when_due(&self, wanted: &Desired<'_>, todo: Todo) -> Choice {
        if wanted.start_from > self.now {
            return Choice::Wait(Wait::BackOff(wanted.start_from));
        }
        if self.room.journal_from > self.now {
            return Choice::Wait(Wait::Journal(self.room.journal_from));
        }
        Choice::Do(todo, String::new())
    }

    /// The image to start from, if a start is possible; else what is to be done or waited for first.
    fn image_and_room(&self, wanted: &Desired<'_>) -> Result<Digest, Choice> {
        let supply = match self.actual.images.supply(&wanted.image) {
            Supply::Absent { .. } if self.pulling.contains(&wanted.image) => Supply::Coming,
            supply => supply,
        };
        match supply {
            Supply::Coming => Err(Choice::Wait(Wait::Image)),
            Supply::Absent { from } if from > self.now => Err(Choice::Wait(Wait::PullAgain(from))),
            // A start may use the reserve, which is kept for what was there before; a pull only adds.
            Supply::Absent { .. } if self.room.low_on_disk => Err(Choice::Wait(Wait::Space)),
            Supply::Absent { .. } if self.room.pulls == 0 => Err(Choice::Wait(Wait::Turn)),
            Supply::Absent { .. } => {
                let because = format!("{} needs it", wanted.workload.name);
                Err(Choice::Do(Todo::Pull(Box::new(wanted.image.clone())), because))
            }
            Supply::Held(image) => Ok(image),
        }
    }

    /// Ends a run: politely, then by force once its grace is over.
    fn end(&self, workload: &Workload, container: &ContainerId, run: &Run, because: &str) -> Choice {
        // A program that was not started yet can hear no signal.
        if run.killed.is_some() || run.state == RunState::Starting {
            return self.kill(workload, container, run, because);
        }
        let Some(asked) = run.asked else {
            return Choice::Do(Todo::Stop(Some(workload.id.clone()), container.clone()), because.to_owned());
        };
        let grace = asked.saturating_add(Duration::from_millis(workload.spec.stop_grace_ms));
        if grace > self.now {
            return Choice::Wait(Wait::Grace(grace));
        }
        let because = format!("it did not end within {} ms", workload.spec.stop_grace_ms);
        self.kill(workload, container, run, &because)
    }

    fn kill(&self, workload: &Workload, container: &ContainerId, run: &Run, because: &str) -> Choice {
        match run.killed.map(|killed| killed + KILL_AGAIN).filter(|again| *again > self.now) {
            Some(again) => Choice::Wait(Wait::Death(again)),
            None => Choice::Do(Todo::Kill(Some(workload.id.clone()), container.clone()), because.to_owned()),
        }
    }

    /// Takes away a run that is dead, or that nobody wants.
    fn clear_away(&self, container: &ContainerId, run: &Run, because: &str) -> Choice {
        let because = match &run.state {
            _ if !because.is_empty() => because.to_owned(),
            RunState::Absent => "the journal knows of it, and nothing of it runs".to_owned(),
            RunState::Exited(exit) => format!("its program ended: {exit}"),
            _ => "the process that held it died".to_owned(),
        };
        let owner = run.workload.clone();
        let killed = run.killed.map(|killed| killed + KILL_AGAIN).filter(|again| *again > self.now);
        match killed {
            _ if run.retry_from > self.now => Choice::Wait(Wait::CleanUp(run.retry_from)),
            _ if !run.is_live() => Choice::Do(Todo::Remove(owner, container.clone()), because),
            Some(again) => Choice::Wait(Wait::Death(again)),
            None => Choice::Do(Todo::Kill(owner, container.clone()), because),
        }
    }

    /// Puts a choice into the plan, as far as there is room for it.
    fn take(&mut self, workload: Option<&WorkloadId>, choice: Choice) {
        let wait = match choice {
            Choice::Wait(wait) => wait,
            Choice::Do(todo, because) => {
                let (slots, wait) = match &todo {
                    Todo::Pull(_) => (&mut self.room.pulls, Wait::Image),
                    _ => (&mut self.room.steps, Wait::Step),
                };
                if *slots == 0 {
                    Wait::Turn
                } else {
                    *slots -= 1;
                    if let Todo::Pull(key) = &todo {
                        self.pulling.push((**key).clone());
                    }
                    self.plan.steps.push(Planned { todo, because });
                    wait
                }
            }
        };
        self.wake_at(wait.until());
        if let Some(workload) = workload {
            self.plan.waits.insert(workload.clone(), wait);
        }
    }

    /// A clean-up that failed is tried again, whatever else the workload does.
    fn wake_to_clean_up(&mut self, wanted: &Desired<'_>) {
        let runs = self.actual.runs.get(&wanted.workload.id);
        let dead = runs.into_iter().flat_map(|runs| runs.values()).filter(|run| !run.is_live());
        self.wake_at(dead.map(|run| run.retry_from).filter(|at| *at > self.now).min());
    }

    fn wake_at(&mut self, at: Option<Duration>) {
        self.plan.wake_at = [at, self.plan.wake_at].into_iter().flatten().filter(|at| *at > self.now).min();
    }
}

#[cfg(test)]
mod tests;
