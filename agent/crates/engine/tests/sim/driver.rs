//! The driver of the simulation: what the daemon does with the engine, in virtual time, and what can befall
//! it. A violated promise ends the run with its description.

use crate::check::{self, BackOff, Promise};
use crate::ledger::{Cuts, Disk, SimLedger};
use crate::rng::Rng;
use crate::scenario::{self, Intent, SLOTS, Scenario};
use crate::world::{Container, Program, World};
use crate::{Cut, Mutant};
use edgelet_engine::{
    Action, Actual, Answer, Apply, AsOf, Engine, Entropy, HeldImage, Now, Settings, StepId, Tick,
};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{
    ContainerId, Digest, ImageRef, Name, Platform, Reason, UnixMillis, Workload, WorkloadId, WorkloadSpec,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod perform;
mod promises;

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
    /// Starts of an earlier generation, because the image of the new one was not here.
    pub fallbacks: u64,
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
            Action::Pull { image, .. } => {
                self.back_off.all_changed(self.now);
                let disk = self.disk.lock().expect("lock");
                let new = disk.workloads.values().filter(|row| row.spec.image == *image && answer.is_ok());
                for row in new.filter(|row| disk.fallbacks.contains_key(&row.id)) {
                    self.back_off.forgive(&row.id, self.now);
                }
            }
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
        let after = promises::after(intent, before.as_ref());
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
