//! The engine through its public face: what it asks for, what it shows, what it writes.

use edgelet_engine::{
    Action, Actual, Answer, Apply, Engine, Entropy, HeldImage, Ledger, Now, Outcome, Settings, State, Step,
};
use edgelet_types::instance::{Exit, Instance, InstanceState};
use edgelet_types::record::{Change, Contents, StartCause, Unreadable};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{
    ContainerId, Digest, Fault, ImageRef, Name, Platform, Reason, UnixMillis, WorkloadId, WorkloadSpec,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The store, in memory.
#[derive(Debug, Default)]
struct Disk {
    contents: Contents,
    commits: usize,
    full: bool,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Disk>>);

impl Ledger for Memory {
    fn load(&mut self) -> Result<Contents, Fault> {
        Ok(self.0.lock().expect("lock").contents.clone())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let mut disk = self.0.lock().expect("lock");
        if disk.full {
            return Err(Fault::new(Reason::NoSpace, "store: commit: no space left on device"));
        }
        disk.commits += 1;
        let Contents { workloads, fallbacks, supervision, traces, node, .. } = &mut disk.contents;
        for change in changes.iter().cloned() {
            match change {
                Change::PutWorkload(row) => {
                    workloads.retain(|known| known.id != row.id);
                    workloads.push(*row);
                }
                Change::RemoveWorkload(id) => {
                    workloads.retain(|known| known.id != id);
                    fallbacks.retain(|known| known.id != id);
                    supervision.retain(|known| known.workload != id);
                }
                Change::PutFallback(row) => {
                    fallbacks.retain(|known| known.id != row.id);
                    fallbacks.push(*row);
                }
                Change::RemoveFallback(id) => fallbacks.retain(|known| known.id != id),
                Change::PutSupervision(row) => {
                    supervision.retain(|known| known.workload != row.workload);
                    supervision.push(row);
                }
                Change::PutTrace(row) => traces.push(row),
                Change::RemoveTrace(id) => traces.retain(|known| known.container != id),
                Change::PutNode(row) => *node = Some(row),
                Change::PutImage(_) | Change::RemoveImage(_) => panic!("not the engine's"),
            }
        }
        Ok(())
    }
}

struct Counter(u8);

impl Entropy for Counter {
    fn bytes(&mut self) -> [u8; 16] {
        self.0 += 1;
        [self.0; 16]
    }
}

/// An engine with a clock, a machine that does what it is told, and a user.
struct Node {
    engine: Engine,
    memory: Memory,
    now: Duration,
    boot: &'static str,
    instances: Vec<Instance>,
    images: Vec<&'static str>,
    free_bytes: u64,
    /// A step that was handed out and not looked at yet.
    taken: Option<Step>,
}

impl Node {
    fn new() -> Self {
        let memory = Memory::default();
        Self {
            engine: engine(&memory, "boot-1", 0),
            memory,
            now: Duration::ZERO,
            boot: "boot-1",
            instances: Vec::new(),
            images: vec!["app:1", "app:2"],
            free_bytes: 1 << 30,
            taken: None,
        }
    }

    fn time(&self) -> Now {
        let elapsed = i64::try_from(self.now.as_millis()).expect("fits");
        Now { monotonic: self.now, wall: UnixMillis(1_790_000_000_000 + elapsed) }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn look(&mut self) {
        let as_of = self.engine.begin_observation();
        let image = |name: &&str| HeldImage {
            id: Digest::of(name.as_bytes()),
            manifest: None,
            names: vec![reference(name)],
            platform: Platform::host(),
        };
        let actual = Actual {
            as_of,
            instances: self.instances.clone(),
            leftovers: Vec::new(),
            images: self.images.iter().map(image).collect(),
            free_bytes: self.free_bytes,
        };
        self.engine.observe(actual, self.time());
    }

    /// The daemon dies and comes back.
    fn restart_daemon(&mut self) {
        self.engine = engine(&self.memory, self.boot, 100);
        self.look();
    }

    fn deploy(&mut self, image: &str) -> WorkloadId {
        self.engine.apply(wish(image), self.time()).expect("accepted").id
    }

    /// The only step that is wanted now.
    fn step(&mut self) -> Step {
        if let Some(step) = self.taken.take() {
            return step;
        }
        let mut steps = self.engine.next(self.time()).steps;
        assert_eq!(steps.len(), 1, "{steps:?}");
        steps.remove(0)
    }

    /// That nothing is wanted now; and how long it sleeps.
    fn idle(&mut self) -> Option<Duration> {
        let tick = self.engine.next(self.time());
        assert_eq!(tick.steps, []);
        tick.wake_in
    }

    fn answer(&mut self, step: &Step, answer: Answer) {
        self.engine.completed(step.id, answer, self.time());
    }

    /// Takes a step, which must be a start, and does it.
    fn start(&mut self) -> ContainerId {
        let step = self.step();
        let Action::Start { workload, container, .. } = &step.action else { panic!("{step:?}") };
        self.instances.push(Instance {
            container: container.clone(),
            workload: workload.id.clone(),
            generation: workload.generation,
            started_at: self.time().wall,
            state: InstanceState::Running { pid: 42 },
        });
        self.answer(&step, Ok(Outcome::Started { pid: 42, at: self.time().wall }));
        container.clone()
    }

    /// Takes a step, which must be a clean-up, and does it.
    fn remove(&mut self) {
        let step = self.step();
        let Action::Remove { container, .. } = &step.action else { panic!("{step:?}") };
        self.instances.retain(|instance| instance.container != *container);
        self.answer(&step, Ok(Outcome::Done));
    }

    /// The same, where a pull and a start are wanted afterwards. Returns the pull.
    fn remove_beside_a_pull(&mut self) -> Step {
        self.remove();
        let tick = self.engine.next(self.time());
        let [pull, start] = tick.steps.as_slice() else { panic!("{tick:?}") };
        assert!(matches!(pull.action, Action::Pull { .. }), "{pull:?}");
        self.taken = Some(start.clone());
        pull.clone()
    }

    /// The program ends, and the engine hears of it.
    fn exit(&mut self, container: &ContainerId, code: i32) {
        let at = self.time().wall;
        let exit = Exit { code, signal: None, oom_killed: false, at, fault: None };
        let instance = self.instances.iter_mut().find(|instance| instance.container == *container);
        let instance = instance.expect("it is there");
        instance.state = InstanceState::Exited(exit);
        let news = instance.clone();
        self.engine.instance(news, self.time());
    }

    fn fact(&self, id: &WorkloadId) -> edgelet_engine::Fact {
        self.engine.fact(id, self.time()).expect("known")
    }

    fn state(&self, id: &WorkloadId) -> State {
        self.fact(id).state
    }

    fn commits(&self) -> usize {
        self.memory.0.lock().expect("lock").commits
    }
}

fn engine(memory: &Memory, boot: &str, randomness: u8) -> Engine {
    let settings = Settings {
        platform: Platform::host(),
        boot: boot.to_owned(),
        reserve_bytes: 64 << 20,
        pulls: 2,
        steps: 4,
    };
    let now = Now { monotonic: Duration::ZERO, wall: UnixMillis(0) };
    Engine::recover(Box::new(memory.clone()), Box::new(Counter(randomness)), settings, now).expect("recovers")
}

fn reference(name: &str) -> ImageRef {
    ImageRef::parse(name).expect("reference")
}

fn wish(image: &str) -> Apply {
    Apply {
        id: None,
        application: Name::parse("edgelet").expect("name"),
        name: Name::parse("web").expect("name"),
        source: Source::Local,
        target: Target::Running,
        spec: WorkloadSpec::of(reference(image)),
        manifest: None,
    }
}

#[test]
fn a_workload_goes_through_the_states_that_users_know() {
    let mut node = Node::new();
    let id = node.deploy("app:3");
    assert_eq!(node.state(&id), State::Unknown);
    assert!(node.engine.next(node.time()).observe, "nothing is decided before the first look");
    node.look();
    let pull = node.step();
    assert_eq!(node.state(&id), State::Pulling);
    node.answer(&pull, Err(Fault::new(Reason::RegistryUnreachable, "connect: refused")));
    assert_eq!(node.idle(), Some(Duration::from_secs(10)));
    let fact = node.fact(&id);
    assert_eq!(fact.state, State::Failed);
    assert_eq!(fact.error_message.as_deref(), Some("pull docker.io/library/app:3: connect: refused"));
    assert_eq!(fact.next_attempt_in, Some(Duration::from_secs(10)));
    assert_eq!(fact.restart_count, 0, "a failed pull is no restart");
    node.pass(10);
    let pull = node.step();
    node.answer(&pull, Ok(Outcome::Pulled { id: Digest::of(b"app:3"), manifest: None }));
    node.images.push("app:3");
    let start = node.step();
    assert_eq!(start.because, "requested");
    assert_eq!(node.state(&id), State::Starting);
    node.answer(&start, Err(Fault::new(Reason::StartFailed, "exec: not found")));
    node.remove();
    node.idle();
    assert_eq!(node.state(&id), State::Failed);
    node.pass(10);
    let container = node.start();
    node.idle();
    let fact = node.fact(&id);
    assert_eq!(
        (fact.state, fact.pid, fact.container.clone()),
        (State::Running, Some(42), Some(container.clone()))
    );
    assert_eq!(fact.start_cause, Some(StartCause::StartFailed));
    assert_eq!(fact.error_message.as_deref(), Some("exec: not found"), "kept until it has run for 30 s");
    node.pass(30);
    assert_eq!(node.idle(), None);
    assert_eq!(node.fact(&id).error_message, None);
    assert_eq!(node.fact(&id).last_error().map(|(text, _)| text).as_deref(), Some("exec: not found"));
    node.exit(&container, 3);
    node.remove();
    node.idle();
    assert_eq!(node.state(&id), State::Exiting);
    node.pass(10);
    let container = node.start();
    node.engine.set_target(&id, Target::Stopped, node.time()).expect("accepted");
    let stop = node.step();
    assert_eq!(node.state(&id), State::Stopping);
    node.answer(&stop, Ok(Outcome::Done));
    node.exit(&container, 143);
    node.remove();
    assert_eq!(node.idle(), None);
    assert_eq!(node.state(&id), State::Stopped);
    assert_eq!(node.fact(&id).restart_count, 2, "one failed start, one crash; a stop is neither");
    node.engine.set_target(&id, Target::Deleted, node.time()).expect("accepted");
    let forget = node.step();
    assert_eq!(node.state(&id), State::Deleting);
    node.answer(&forget, Ok(Outcome::Done));
    assert_eq!(node.engine.facts(node.time()), []);
    assert_eq!(node.memory.0.lock().expect("lock").contents.workloads, []);
}

#[test]
fn an_update_whose_image_cannot_be_pulled_leaves_the_old_instance_and_says_so() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    let old = node.start();
    node.deploy("app:9");
    let pull = node.step();
    node.answer(&pull, Err(Fault::new(Reason::ImageNotFound, "http 404")));
    assert_eq!(node.idle(), Some(Duration::from_secs(300)), "a person must act, so it is tried rarely");
    let fact = node.fact(&id);
    assert_eq!(
        (fact.state, fact.container, fact.observed_generation),
        (State::Updating, Some(old.clone()), Some(1))
    );
    let text = "pull docker.io/library/app:9: http 404; generation 1 goes on running";
    assert_eq!(fact.error_message.as_deref(), Some(text));
    assert_eq!(node.engine.needed_images(), [Digest::of(b"app:1")].into());
    // A newer wish replaces the one that cannot be fulfilled, at once.
    node.deploy("app:2");
    let stop = node.step();
    assert_eq!(stop.because, "generation 3 replaces 1");
    assert_eq!(node.engine.needed_images(), [Digest::of(b"app:1"), Digest::of(b"app:2")].into());
    node.answer(&stop, Ok(Outcome::Done));
    assert_eq!(node.idle(), Some(Duration::from_secs(10)), "its grace");
    node.exit(&old, 0);
    node.remove();
    node.start();
    assert_eq!((node.state(&id), node.fact(&id).restart_count), (State::Running, 0));
}

#[test]
fn a_program_that_does_not_end_in_its_grace_is_killed() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    let container = node.start();
    node.engine.restart(&id, node.time()).expect("accepted");
    let stop = node.step();
    assert_eq!(stop.action, Action::Stop { workload: Some(id.clone()), container: container.clone() });
    node.answer(&stop, Ok(Outcome::Done));
    node.pass(9);
    assert_eq!(node.idle(), Some(Duration::from_secs(1)));
    node.pass(1);
    let kill = node.step();
    assert_eq!(kill.action, Action::Kill { workload: Some(id.clone()), container: container.clone() });
    assert_eq!(kill.because, "it did not end within 10000 ms");
    node.answer(&kill, Ok(Outcome::Done));
    node.exit(&container, 137);
    node.remove();
    node.start();
    assert_eq!(node.fact(&id).workload.generation, 2);
}

#[test]
fn after_a_reboot_all_starts_from_the_store_without_a_pull() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    node.start();
    node.instances.clear();
    node.boot = "boot-2";
    node.restart_daemon();
    node.remove();
    let start = node.step();
    assert_eq!(start.because, "the device was rebooted");
    let fact = node.fact(&id);
    assert_eq!((fact.start_cause, fact.restart_count), (Some(StartCause::Rebooted), 0));
    assert_eq!((node.engine.node().boots, node.engine.node().starts), (2, 2));
    let story: Vec<String> = node.engine.why(&id).into_iter().map(|line| line.text).collect();
    assert_eq!(story[0], "the device was rebooted; generation 1 went with it");
}

#[test]
fn a_reboot_in_the_middle_of_an_update_brings_the_old_release_back_offline() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    node.start();
    node.deploy("app:9");
    let pull = node.step();
    node.answer(&pull, Err(Fault::new(Reason::RegistryUnreachable, "connect: refused")));
    node.instances.clear();
    node.boot = "boot-2";
    node.restart_daemon();
    let pull = node.remove_beside_a_pull();
    let old = node.start();
    let fact = node.fact(&id);
    assert_eq!((fact.state, fact.observed_generation), (State::Updating, Some(1)));
    assert_eq!((fact.start_cause, fact.restart_count), (Some(StartCause::Rebooted), 0));
    assert!(node.engine.needed_images().contains(&Digest::of(b"app:1")));
    // It is supervised like any other.
    node.exit(&old, 1);
    node.remove();
    node.idle();
    assert_eq!(node.fact(&id).restart_count, 1);
    node.pass(10);
    let old = node.start();
    // The image comes, and the new generation takes over.
    node.images.push("app:9");
    node.answer(&pull, Ok(Outcome::Pulled { id: Digest::of(b"app:9"), manifest: None }));
    let stop = node.step();
    node.answer(&stop, Ok(Outcome::Done));
    node.exit(&old, 143);
    node.remove();
    node.start();
    node.idle();
    assert_eq!(node.fact(&id).observed_generation, Some(2));
    assert_eq!(node.memory.0.lock().expect("lock").contents.fallbacks, []);
}

#[test]
fn a_new_daemon_keeps_what_runs_and_writes_nothing_but_its_own_start() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    let container = node.start();
    node.idle();
    let commits = node.commits();
    node.restart_daemon();
    assert_eq!(node.idle(), None);
    assert_eq!(node.commits(), commits + 1);
    let fact = node.fact(&id);
    assert_eq!((fact.state, fact.container), (State::Running, Some(container)));
    assert_eq!(fact.start_cause, Some(StartCause::Requested));
}

#[test]
fn a_crash_while_the_daemon_was_away_is_counted_once_whatever_happens() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    let container = node.start();
    node.exit(&container, 1);
    for _ in 0..3 {
        node.restart_daemon();
        let step = node.step();
        assert!(matches!(step.action, Action::Remove { .. }), "{step:?}");
        assert_eq!(node.fact(&id).restart_count, 1);
    }
}

#[test]
fn one_commit_per_start_and_one_per_crash() {
    let mut node = Node::new();
    node.deploy("app:1");
    node.look();
    let mut container = node.start();
    for _ in 0..5 {
        let before = node.commits();
        node.exit(&container, 1);
        node.remove();
        node.idle();
        node.pass(300);
        container = node.start();
        node.idle();
        assert_eq!(node.commits() - before, 2);
    }
}

#[test]
fn what_is_not_durable_is_not_acknowledged_and_nothing_is_started() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    let container = node.start();
    node.exit(&container, 1);
    node.memory.0.lock().expect("lock").full = true;
    let fault = node.engine.apply(wish("app:2"), node.time()).expect_err("refused");
    assert_eq!(fault.reason, Reason::NoSpace);
    assert_eq!(node.fact(&id).workload.spec.image, reference("app:1"));
    node.remove();
    node.pass(10);
    node.idle();
    let fact = node.fact(&id);
    assert_eq!(fact.state, State::Failed);
    assert_eq!(fact.error_message.as_deref(), Some("store: commit: no space left on device"));
    node.memory.0.lock().expect("lock").full = false;
    node.pass(10);
    node.start();
    let records = node.memory.0.lock().expect("lock").contents.supervision.clone();
    assert_eq!(records[0].restart_count, 1, "the crash was not forgotten meanwhile");
}

#[test]
fn a_full_disk_holds_pulls_and_replacements_back_until_there_is_room_but_no_start() {
    let mut node = Node::new();
    node.free_bytes = 1 << 20;
    node.deploy("app:1");
    node.look();
    node.start();
    let replaced = node.deploy("app:2");
    let missing = node
        .engine
        .apply(Apply { name: Name::parse("new").expect("name"), ..wish("app:9") }, node.time())
        .expect("accepted")
        .id;
    assert_eq!(node.idle(), Some(Duration::from_secs(10)));
    let text = "1 MiB free on the data file system, below the reserve of 64 MiB";
    let fact = node.fact(&missing);
    assert_eq!((fact.state, fact.error_message.as_deref()), (State::Queued, Some(text)));
    let fact = node.fact(&replaced);
    let still = format!("{text}; generation 1 goes on running");
    assert_eq!((fact.state, fact.error_message), (State::Updating, Some(still)));
    node.pass(10);
    assert!(node.engine.next(node.time()).observe);
    node.free_bytes = 1 << 30;
    node.look();
    assert_eq!(node.engine.next(node.time()).steps.len(), 2);
}

#[test]
fn a_start_that_finds_the_instance_held_is_no_crash_and_makes_it_look_again() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    let start = node.step();
    node.answer(&start, Err(Fault::new(Reason::Conflict, "instance still held")));
    let tick = node.engine.next(node.time());
    assert!(tick.observe && matches!(tick.steps[0].action, Action::Remove { .. }));
    node.answer(&tick.steps[0], Ok(Outcome::Done));
    assert_eq!(node.idle(), Some(Duration::from_secs(2)));
    assert_eq!(node.fact(&id).restart_count, 0);
}

#[test]
fn an_instance_whose_row_cannot_be_read_is_left_alone() {
    let mut node = Node::new();
    let unknown = |n: u8| Instance {
        container: ContainerId::from_random([n; 16]),
        workload: WorkloadId::from_random([n; 16]),
        generation: 1,
        started_at: UnixMillis(0),
        state: InstanceState::Running { pid: 1 },
    };
    let (lost, stray) = (unknown(201), unknown(202));
    node.memory.0.lock().expect("lock").contents.unreadable.push(Unreadable {
        table: "workloads",
        key: lost.workload.to_string(),
        problem: "row version 2".to_owned(),
    });
    node.instances = vec![lost, stray.clone()];
    node.restart_daemon();
    let step = node.step();
    assert_eq!(step.action, Action::Kill { workload: Some(stray.workload), container: stray.container });
    assert_eq!(node.engine.unreadable().len(), 1);
}

#[test]
fn a_workload_that_comes_back_takes_over_what_is_left_of_it() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    node.start();
    let rows = std::mem::take(&mut node.memory.0.lock().expect("lock").contents.workloads);
    node.restart_daemon();
    let kill = node.step();
    assert_eq!(kill.because, "no workload and no journal entry knows it");
    let wish = Apply { id: Some(id.clone()), ..wish("app:1") };
    assert_eq!(rows[0].id, node.engine.apply(wish, node.time()).expect("accepted").id);
    node.idle();
    node.answer(&kill, Ok(Outcome::Done));
    assert_eq!(node.idle(), Some(Duration::from_secs(10)), "one instance of it is still there");
    let container = node.instances[0].container.clone();
    node.exit(&container, 137);
    node.remove();
    node.start();
}

#[test]
fn a_pull_that_nobody_wants_any_more_is_cancelled() {
    let mut node = Node::new();
    let id = node.deploy("app:3");
    node.look();
    let pull = node.step();
    node.engine.set_target(&id, Target::Stopped, node.time()).expect("accepted");
    assert_eq!(node.engine.next(node.time()).cancel, [pull.id]);
    node.answer(&pull, Err(Fault::new(Reason::Cancelled, "cancelled")));
    assert_eq!(node.idle(), None);
    assert_eq!(node.state(&id), State::Stopped);
}

#[test]
fn stuck_is_said_and_trying_goes_on() {
    let mut node = Node::new();
    let id = node.deploy("app:1");
    node.look();
    for failure in 1..=10 {
        let container = node.start();
        // Long enough to be steady, so that the back-off never grows.
        node.pass(31);
        node.exit(&container, 1);
        node.remove();
        let wait = if failure < 10 { 10 } else { 300 };
        node.idle();
        assert_eq!(node.fact(&id).next_attempt_in, Some(Duration::from_secs(wait)), "failure {failure}");
        assert_eq!(node.state(&id) == State::StuckInRestart, failure == 10);
        node.pass(wait);
    }
    node.start();
    assert_eq!(node.state(&id), State::Running);
    node.engine.rebuild(&id, node.time()).expect("accepted");
    assert_eq!((node.fact(&id).restart_count, node.fact(&id).crashes), (0, vec![]));
}
