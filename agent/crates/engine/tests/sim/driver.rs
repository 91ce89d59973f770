//! The driver of the simulation: what the daemon does with the engine, in virtual time, and what can befall
//! it. A violated promise ends the run with its description.

use crate::check::{self, BackOff, Promise};
use crate::ledger::{Cuts, Disk, SimLedger};
use crate::rng::Rng;
use crate::scenario::{self, Intent, SLOTS, Scenario};
use crate::world::{Container, Program, World};
use crate::{Cut, Mutant};
use edgelet_engine::{
    Action, Actual, Answer, Apply, AsOf, Engine, Entropy, HeldImage, Now, Outcome, Settings, StepId, Tick,
};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{
    ContainerId, Digest, Fault, ImageRef, Name, Platform, Reason, UnixMillis, Workload, WorkloadId,
    WorkloadSpec,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PULLS: usize = 2;
const STEPS: usize = 4;
const RESERVE: u64 = 64 << 20;
/// After the troubles are over, everything must be as wanted within this time: three waits of 300 s, one
/// after the other (clean up, pull, start), and some.
const SETTLING: Duration = Duration::from_secs(1000);

/// What a run was made of.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub places: u64,
    pub cuts: u64,
    pub steps: u64,
    pub starts: u64,
    pub commits: u64,
    pub crashes: u64,
}

type Run<T = ()> = Result<T, String>;

pub struct Sim {
    scenario: Scenario,
    mutant: Mutant,
    cut: Cut,
    rng: Rng,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    queued: u64,
    world: World,
    disk: Arc<Mutex<Disk>>,
    cuts: Arc<Mutex<Cuts>>,
    engine: Option<Engine>,
    /// Counts daemons; what one of them began is nothing to the next.
    daemon: u64,
    daemon_started: Duration,
    wall_jump: i64,
    stray: Option<ContainerId>,
    flights: BTreeMap<StepId, Flight>,
    wakes: u64,
    asleep: Option<Duration>,
    promises: [Option<Promise>; SLOTS],
    counted: BTreeMap<WorkloadId, u64>,
    back_off: BackOff,
    counts: Counts,
    ticks_now: (Duration, u32),
}

struct Flight {
    action: Action,
    cancelled: bool,
}

enum Event {
    Daemon(u64, DaemonEvent),
    /// Of a boot; gone with it.
    Machine(u64, MachineEvent),
    StartDaemon,
    Intent(usize),
    LedgerFull(bool),
    LowOnDisk(bool),
    ClockJump,
    Quiet,
}

enum DaemonEvent {
    Wake(u64),
    Act(StepId, u32),
    Answer(StepId, Answer),
    Sample(AsOf),
    Tell(Actual),
    News(ContainerId),
    Look,
}

enum MachineEvent {
    Runs(ContainerId),
    Ends(ContainerId, i32),
}

struct Random(Rng);

impl Entropy for Random {
    fn bytes(&mut self) -> [u8; 16] {
        self.0.bytes()
    }
}

/// Runs a scenario to its end, cut at place `at`. Says what it was made of, or which promise was broken.
pub fn run(scenario: &Scenario, at: Option<u64>, cut: Cut, mutant: Mutant) -> Run<Counts> {
    let mut sim = Sim::new(scenario.clone(), at, cut, mutant);
    sim.prepare();
    let end = sim.scenario.quiet + SETTLING;
    while let Some(((at, _), event)) = sim.queue.pop_first() {
        if at > end {
            break;
        }
        sim.now = at;
        sim.handle(event)?;
        sim.watch()?;
    }
    sim.now = end;
    sim.finish()?;
    sim.counts.places = sim.cuts.lock().expect("lock").passed;
    sim.counts.commits = sim.disk.lock().expect("lock").commits;
    Ok(sim.counts)
}

impl Sim {
    fn new(scenario: Scenario, at: Option<u64>, cut: Cut, mutant: Mutant) -> Self {
        let cuts = Cuts { at, ..Cuts::default() };
        Self {
            rng: Rng::new(scenario.seed ^ 0x5eed),
            scenario,
            mutant,
            cut,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            queued: 0,
            world: World { free_bytes: 1 << 30, ..World::default() },
            disk: Arc::new(Mutex::new(Disk { mutant, ..Disk::default() })),
            cuts: Arc::new(Mutex::new(cuts)),
            engine: None,
            daemon: 0,
            daemon_started: Duration::ZERO,
            wall_jump: 0,
            stray: None,
            flights: BTreeMap::new(),
            wakes: 0,
            asleep: None,
            promises: [const { None }; SLOTS],
            counted: BTreeMap::new(),
            back_off: BackOff::default(),
            counts: Counts::default(),
            ticks_now: (Duration::ZERO, 0),
        }
    }

    fn prepare(&mut self) {
        if self.scenario.stray {
            let id = ContainerId::from_random(self.rng.bytes());
            let container = Container {
                workload: WorkloadId::from_random(self.rng.bytes()),
                generation: 3,
                image: scenario::image(0),
                scratch: true,
                mount: true,
                cgroup: true,
                program: Program::Running { pid: 1 },
                confirmed: true,
            };
            self.world.containers.insert(id.clone(), container);
            self.stray = Some(id);
        }
        self.push(Duration::ZERO, Event::StartDaemon);
        for (n, (at, _)) in self.scenario.intents.clone().into_iter().enumerate() {
            self.push(at, Event::Intent(n));
        }
        for (span, make) in [
            (self.scenario.ledger_full, Event::LedgerFull as fn(bool) -> Event),
            (self.scenario.low_on_disk, Event::LowOnDisk as fn(bool) -> Event),
        ] {
            if let Some((from, to)) = span {
                self.push(from, make(true));
                self.push(to, make(false));
            }
        }
        self.push(self.scenario.quiet, Event::Quiet);
        for _ in 0..2 {
            let at = self.millis(200_000);
            self.push(at, Event::ClockJump);
        }
    }

    fn handle(&mut self, event: Event) -> Run {
        match event {
            Event::Daemon(daemon, event) if daemon == self.daemon && self.engine.is_some() => {
                self.daemon_event(event)?;
            }
            Event::Machine(boot, event) if boot == self.world.boot => self.machine_event(event),
            Event::Daemon(..) | Event::Machine(..) => {}
            Event::StartDaemon => self.start_daemon()?,
            Event::Intent(n) => self.intent(n)?,
            Event::LedgerFull(full) => self.disk.lock().expect("lock").full = full,
            Event::LowOnDisk(low) => self.world.free_bytes = if low { RESERVE - 1 } else { 1 << 30 },
            Event::Quiet => self.cuts.lock().expect("lock").over = true,
            Event::ClockJump => {
                // Some fifty years either way.
                self.wall_jump =
                    1_600_000_000_000 - i64::try_from(self.rng.below(3_200_000_000_000)).expect("fits");
            }
        }
        Ok(())
    }

    // ---- the daemon -------------------------------------------------------------------------------------

    fn start_daemon(&mut self) -> Run {
        self.daemon += 1;
        self.daemon_started = self.now;
        self.flights.clear();
        self.back_off.restart();
        for slot in 0..SLOTS {
            if !check::kept(self.promises[slot].as_ref(), self.row(slot).as_ref()) {
                return Err(format!(
                    "slot {slot}: {:?} was promised, and is not durable",
                    self.promises[slot]
                ));
            }
        }
        let ledger = SimLedger { disk: self.disk.clone(), cuts: self.cuts.clone() };
        let settings = Settings {
            platform: Platform::parse("linux/amd64").expect("platform"),
            boot: self.world.boot_id(),
            reserve_bytes: RESERVE,
            pulls: PULLS,
            steps: STEPS,
        };
        let entropy = Random(Rng::new(self.rng.next()));
        let engine = Engine::recover(Box::new(ledger), Box::new(entropy), settings, self.time());
        self.engine = Some(engine.map_err(|fault| format!("recover: {fault}"))?);
        if self.scenario.lossy {
            self.push_daemon(Duration::from_secs(5), DaemonEvent::Look);
        }
        self.after_call()
    }

    fn daemon_event(&mut self, event: DaemonEvent) -> Run {
        let time = self.time();
        match event {
            DaemonEvent::Wake(n) if n != self.wakes => return Ok(()),
            DaemonEvent::Wake(_) => {}
            DaemonEvent::Act(step, stage) => return self.act(step, stage),
            DaemonEvent::Answer(step, answer) => self.answer(step, answer),
            DaemonEvent::Sample(as_of) => {
                let actual = self.sample(as_of);
                let delay = self.millis(50);
                self.push_daemon(delay, DaemonEvent::Tell(actual));
                return Ok(());
            }
            DaemonEvent::Tell(actual) => {
                self.back_off.all_changed(self.now);
                self.engine().observe(actual, time);
            }
            DaemonEvent::News(container) => {
                let Some(instance) = self.world.instance(&container) else { return Ok(()) };
                self.back_off.changed(&instance.workload, self.now);
                self.engine().instance(instance, time);
            }
            DaemonEvent::Look => {
                self.look();
                let delay = self.millis(20_000);
                self.push_daemon(delay, DaemonEvent::Look);
                return Ok(());
            }
        }
        self.after_call()
    }

    fn answer(&mut self, step: StepId, answer: Answer) {
        let time = self.time();
        let flight = self.flights.remove(&step).expect("in flight");
        match &flight.action {
            Action::Pull { .. } => self.back_off.all_changed(self.now),
            Action::Start { workload, container, .. } => {
                self.back_off.changed(&workload.id, self.now);
                match &answer {
                    Ok(_) => {
                        if let Some(container) = self.world.containers.get_mut(container) {
                            container.confirmed = true;
                        }
                    }
                    Err(fault) if matches!(fault.reason, Reason::Conflict | Reason::Cancelled) => {
                        self.back_off.postponed(&workload.id, self.now);
                    }
                    Err(_) => {}
                }
            }
            Action::Stop { workload, .. }
            | Action::Kill { workload, .. }
            | Action::Remove { workload, .. } => {
                if let Some(workload) = workload {
                    self.back_off.changed(workload, self.now);
                }
            }
            Action::Forget { workload } => self.back_off.changed(workload, self.now),
        }
        self.engine().completed(step, answer, time);
    }

    /// After every call of the engine: it may have died in it; else it decides anew.
    fn after_call(&mut self) -> Run {
        if self.died_in_the_ledger() {
            return Ok(());
        }
        let time = self.time();
        let facts = self.engine().facts(time);
        self.back_off.learn(&facts, self.now);
        let tick = self.engine().next(time);
        if self.died_in_the_ledger() || self.pass() {
            return Ok(());
        }
        self.ticks_now =
            if self.ticks_now.0 == self.now { (self.now, self.ticks_now.1 + 1) } else { (self.now, 0) };
        if self.ticks_now.1 > 200 {
            return Err(format!("the engine goes round in circles at {:?}: {tick:?}", self.now));
        }
        self.take_up(tick)
    }

    fn take_up(&mut self, tick: Tick) -> Run {
        for step in tick.cancel {
            self.flights.get_mut(&step).expect("in flight").cancelled = true;
        }
        for step in tick.steps {
            self.counts.steps += 1;
            self.admit(&step.action)?;
            self.flights.insert(step.id, Flight { action: step.action, cancelled: false });
            let delay = self.millis(20);
            self.push_daemon(delay, DaemonEvent::Act(step.id, 0));
        }
        self.count_flights()?;
        if tick.observe {
            self.look();
        }
        self.wakes += 1;
        self.asleep = tick.wake_in;
        if let Some(delay) = tick.wake_in {
            self.push_daemon(delay, DaemonEvent::Wake(self.wakes));
        }
        Ok(())
    }

    fn look(&mut self) {
        let as_of = self.engine().begin_observation();
        let delay = self.millis(50);
        self.push_daemon(delay, DaemonEvent::Sample(as_of));
    }

    fn sample(&self, as_of: AsOf) -> Actual {
        let blind = self.mutant == Mutant::LooksAreBlind;
        // Of what the engine started only the journal knows; of others a look finds the scratch directory.
        let left = |id: &&ContainerId| {
            self.world.containers.get(*id).is_some_and(|container| container.program == Program::None)
        };
        let held = |name: &ImageRef| HeldImage {
            id: Digest::of(name.to_string().as_bytes()),
            manifest: None,
            names: vec![name.clone()],
            platform: Platform::parse("linux/amd64").expect("platform"),
        };
        Actual {
            as_of,
            instances: if blind { Vec::new() } else { self.world.instances() },
            leftovers: self.stray.iter().filter(|id| left(id)).cloned().collect(),
            images: self.world.images.iter().map(held).collect(),
            free_bytes: self.world.free_bytes,
        }
    }

    // ---- carrying out steps -----------------------------------------------------------------------------

    /// Checks a step before it is carried out.
    fn admit(&mut self, action: &Action) -> Run {
        let disk = self.disk.lock().expect("lock");
        match action {
            Action::Start { workload, container, .. } => {
                self.counts.starts += 1;
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

    fn count_flights(&self) -> Run {
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

    /// Carries out one stage of a step. The daemon may die before and after it.
    fn act(&mut self, step: StepId, stage: u32) -> Run {
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

    // ---- the machine ------------------------------------------------------------------------------------

    fn machine_event(&mut self, event: MachineEvent) {
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

    // ---- users ------------------------------------------------------------------------------------------

    fn intent(&mut self, n: usize) -> Run {
        if self.engine.is_none() {
            let delay = Duration::from_millis(500);
            self.push(self.now + delay, Event::Intent(n));
            return Ok(());
        }
        let intent = self.scenario.intents[n].1;
        let slot = intent.slot();
        let before = self.promises[slot].clone();
        let after = promise(intent, before.as_ref());
        let time = self.time();
        let id = self.row(slot).map(|row| row.id);
        let engine = self.engine.as_mut().expect("checked above");
        let result = match (intent, &id) {
            (Intent::Apply { image, target, .. }, _) => {
                engine.apply(wish(slot, image, target), time).map(|_| ())
            }
            (_, None) => Ok(()),
            (Intent::SetTarget { target, .. }, Some(id)) => engine.set_target(id, target, time),
            (Intent::Restart { .. }, Some(id)) => engine.restart(id, time),
            (Intent::Rebuild { .. }, Some(id)) => {
                self.counted.remove(id);
                engine.rebuild(id, time)
            }
        };
        if self.died_in_the_ledger() {
            // Nobody was told anything: what was wanted before or after may be so, and nothing else.
            let row = self.row(slot);
            let settled =
                [after, before].into_iter().find(|promise| check::kept(promise.as_ref(), row.as_ref()));
            self.promises[slot] = settled.ok_or_else(|| format!("slot {slot}: a cut left {row:?}"))?;
            return Ok(());
        }
        match result {
            Ok(()) => self.promises[slot] = after,
            Err(fault) if fault.reason == Reason::NoSpace && self.disk.lock().expect("lock").full => {}
            Err(fault) if fault.reason == Reason::Conflict && before == after => {}
            Err(fault) => return Err(format!("{intent:?} is refused: {fault}")),
        }
        if let Some(id) = self.row(slot).map(|row| row.id) {
            self.back_off.forgive(&id, self.now);
        }
        self.after_call()
    }

    fn row(&self, slot: usize) -> Option<Workload> {
        let disk = self.disk.lock().expect("lock");
        disk.workloads.values().find(|row| row.name == name(slot)).cloned()
    }

    // ---- dying ------------------------------------------------------------------------------------------

    /// Passes a place where the daemon can die; true if it does.
    fn pass(&mut self) -> bool {
        let dies = self.cuts.lock().expect("lock").pass();
        if dies {
            self.die();
        }
        dies
    }

    fn died_in_the_ledger(&mut self) -> bool {
        let dead = self.cuts.lock().expect("lock").dead;
        if dead {
            self.die();
        }
        dead
    }

    fn die(&mut self) {
        self.engine = None;
        self.daemon += 1;
        self.counts.cuts += 1;
        let mut cuts = self.cuts.lock().expect("lock");
        cuts.dead = false;
        cuts.at = match self.cut {
            // Again and again, until it is quiet.
            Cut::Often if self.now < self.scenario.quiet => Some(cuts.passed + 1 + self.rng.below(200)),
            _ => None,
        };
        drop(cuts);
        let reboot = match self.cut {
            Cut::Daemon => false,
            Cut::Power => true,
            Cut::Often => self.rng.one_in(3),
        };
        if reboot {
            self.world.reboot();
        }
        let delay = self.millis(2_000);
        self.push(self.now + delay, Event::StartDaemon);
    }

    // ---- what must hold ---------------------------------------------------------------------------------

    /// Checks what must hold at every instant.
    fn watch(&mut self) -> Run {
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
    fn finish(&mut self) -> Run {
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
            () if !self.flights.is_empty() => Err("steps are in flight at rest".to_owned()),
            () if self.asleep.is_some() && !self.scenario.lossy => {
                Err(format!("the engine wants to be woken in {:?} at rest", self.asleep))
            }
            () => Ok(()),
        }
    }

    // ---- time -------------------------------------------------------------------------------------------

    fn time(&self) -> Now {
        let elapsed = self.now - self.daemon_started;
        let pace = if self.mutant == Mutant::ClockIsFast { 2 } else { 1 };
        let wall = 1_790_000_000_000 + i64::try_from(self.now.as_millis()).expect("fits") + self.wall_jump;
        Now { monotonic: elapsed * pace, wall: UnixMillis(wall) }
    }

    /// Up to so many milliseconds.
    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.below(most))
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("events of a dead daemon are dropped")
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn push_daemon(&mut self, delay: Duration, event: DaemonEvent) {
        self.push(self.now + delay, Event::Daemon(self.daemon, event));
    }

    fn push_machine(&mut self, delay: Duration, event: MachineEvent) {
        self.push(self.now + delay, Event::Machine(self.world.boot, event));
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

/// What a user may expect after a wish.
fn promise(intent: Intent, before: Option<&Promise>) -> Option<Promise> {
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

fn wish(slot: usize, image: usize, target: Target) -> Apply {
    Apply {
        id: None,
        application: Name::parse("edgelet").expect("name"),
        name: name(slot),
        source: Source::Local,
        target,
        spec: WorkloadSpec::of(scenario::image(image)),
        manifest: None,
    }
}

fn name(slot: usize) -> Name {
    Name::parse(&format!("w{slot}")).expect("name")
}
