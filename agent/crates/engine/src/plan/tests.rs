//! The planner's decisions, one line each.

use super::*;
use crate::ports::HeldImage;
use edgelet_types::instance::Exit;
use edgelet_types::{Fault, ImageRef, Name, Platform, Reason, UnixMillis, WorkloadSpec};

const NOW: Duration = Duration::from_secs(1000);
const ROOM: Room = Room { steps: 4, pulls: 2, low_on_disk: false, journal_from: Duration::ZERO };

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn id(n: u8) -> WorkloadId {
    WorkloadId::from_random([n; 16])
}

fn container(n: u8) -> ContainerId {
    ContainerId::from_random([n; 16])
}

fn workload(n: u8, target: Target) -> Workload {
    let reference = ImageRef::parse(&format!("registry.test/app:{n}")).expect("reference");
    Workload {
        id: id(n),
        application: Name::parse("app").expect("name"),
        name: Name::parse(&format!("w{n}")).expect("name"),
        source: Source::Local,
        target,
        generation: 2,
        spec: WorkloadSpec::of(reference),
        manifest: None,
        created_at: UnixMillis(0),
        updated_at: UnixMillis(0),
    }
}

fn desired(workload: &Workload) -> Desired<'_> {
    let platform = Platform::parse("linux/amd64").expect("platform");
    Desired {
        workload,
        image: ImageKey { reference: workload.spec.image.clone(), platform },
        fallback: None,
        start_from: Duration::ZERO,
        forget_from: Duration::ZERO,
        busy: false,
    }
}

/// The images of these workloads.
fn held(of: &[&Workload]) -> Images {
    let mut images = Images::default();
    let image = |workload: &&Workload| HeldImage {
        id: Digest::of(workload.id.as_str().as_bytes()),
        manifest: None,
        names: vec![workload.spec.image.clone()],
        platform: Platform::parse("linux/amd64").expect("platform"),
    };
    images.replace(of.iter().map(image).collect());
    images
}

fn run(generation: u64, state: RunState) -> Run {
    Run { generation, state, since: secs(990), workload: Some(id(1)), ..Run::unknown(secs(0)) }
}

fn exited() -> RunState {
    RunState::Exited(Exit { code: 1, signal: None, oom_killed: false, at: UnixMillis(0), fault: None })
}

/// What is planned for workload 1 in short words, or what it waits for.
fn decide(wanted: &Desired<'_>, runs: &[(u8, Run)], images: &Images, room: Room) -> String {
    let runs: BTreeMap<ContainerId, Run> = runs.iter().map(|(n, run)| (container(*n), run.clone())).collect();
    let machine =
        Machine { runs: BTreeMap::from([(&wanted.workload.id, &runs)]), strays: Vec::new(), images };
    let plan = plan(std::slice::from_ref(wanted), &machine, room, NOW);
    match plan.steps.as_slice() {
        [] => format!("{:?}", plan.waits[&wanted.workload.id]),
        steps => steps.iter().map(|step| words(&step.todo)).collect::<Vec<_>>().join(", "),
    }
}

fn words(todo: &Todo) -> String {
    let number = |id: &ContainerId| u8::from_str_radix(&id.as_str()[..2], 16).expect("made from a number");
    match todo {
        Todo::Pull(key) => format!("pull {}", key.reference.tag().unwrap_or_default()),
        Todo::Start(..) => "start".to_owned(),
        Todo::StartFallback(..) => "start fallback".to_owned(),
        Todo::Stop(_, id) => format!("stop {}", number(id)),
        Todo::Kill(_, id) => format!("kill {}", number(id)),
        Todo::Remove(_, id) => format!("remove {}", number(id)),
        Todo::Forget(_) => "forget".to_owned(),
    }
}

/// What is there, the target, the runs, and what is decided.
type Case = (&'static str, Target, Vec<(u8, Run)>, &'static str);

#[test]
fn one_workload_gets_the_step_that_its_facts_call_for() {
    use RunState::{Absent, Lost, Running, Starting};
    use Target::{Deleted, Running as Run_, Stopped};
    let alive = Running { pid: 7 };
    let asked = |at| Run { asked: Some(secs(at)), ..run(2, Running { pid: 7 }) };
    let killed = |at| Run { killed: Some(secs(at)), ..asked(900) };
    let later = |run| Run { retry_from: secs(1005), ..run };
    let rebooted = |run| Run { of_this_boot: false, ..run };
    let cases: &[Case] = &[
        ("nothing runs", Run_, vec![], "start"),
        ("it runs", Run_, vec![(1, run(2, alive.clone()))], "Nothing"),
        ("it is being started", Run_, vec![(1, run(2, Starting))], "Starting(1050s)"),
        (
            "it is not started in time",
            Run_,
            vec![(1, Run { since: secs(940), ..run(2, Starting) })],
            "kill 1",
        ),
        ("it ended", Run_, vec![(1, run(2, exited()))], "remove 1"),
        ("it is lost", Run_, vec![(1, run(2, Lost))], "remove 1"),
        ("a start was cut short", Run_, vec![(1, run(2, Absent))], "remove 1"),
        ("what ended cannot be removed", Run_, vec![(1, later(run(2, exited())))], "start"),
        ("what may live cannot be removed", Run_, vec![(1, later(run(2, Absent)))], "CleanUp(1005s)"),
        ("what a reboot ended cannot be removed", Run_, vec![(1, later(rebooted(run(2, Absent))))], "start"),
        ("an older one runs", Run_, vec![(1, run(1, alive.clone()))], "stop 1"),
        ("an older one is being started", Run_, vec![(1, run(1, Starting))], "kill 1"),
        ("a newer one runs", Run_, vec![(1, run(3, alive.clone()))], "stop 1"),
        ("it was asked to end and is wanted again", Run_, vec![(1, asked(995))], "Grace(1005s)"),
        ("two run", Run_, vec![(1, run(1, alive.clone())), (2, run(2, alive.clone()))], "kill 1"),
        (
            "two run, and one ended",
            Run_,
            vec![(1, run(1, alive.clone())), (2, run(2, alive.clone())), (3, run(1, Lost))],
            "remove 3",
        ),
        ("nothing runs", Stopped, vec![], "Nothing"),
        ("it runs", Stopped, vec![(1, run(2, alive.clone()))], "stop 1"),
        ("it was asked", Stopped, vec![(1, asked(991))], "Grace(1001s)"),
        ("its grace is over", Stopped, vec![(1, asked(990))], "kill 1"),
        ("it was killed", Stopped, vec![(1, killed(995))], "Death(1005s)"),
        ("it does not die", Stopped, vec![(1, killed(990))], "kill 1"),
        ("it ended", Stopped, vec![(1, run(2, exited()))], "remove 1"),
        ("it cannot be removed", Stopped, vec![(1, later(run(2, exited())))], "CleanUp(1005s)"),
        ("it runs", Deleted, vec![(1, run(2, alive))], "stop 1"),
        ("it cannot be removed", Deleted, vec![(1, later(run(2, exited())))], "CleanUp(1005s)"),
        ("nothing is left", Deleted, vec![], "forget"),
    ];
    for (what, target, runs, expected) in cases {
        let workload = workload(1, *target);
        let got = decide(&desired(&workload), runs, &held(&[&workload]), ROOM);
        assert_eq!(got, *expected, "{target:?}: {what}");
    }
}

#[test]
fn a_start_waits_for_image_room_back_off_and_journal_in_this_order() {
    let workload = workload(1, Target::Running);
    let held = held(&[&workload]);
    let mut failed = Images::default();
    failed.failed(&desired(&workload).image, Fault::new(Reason::ImageNotFound, "no"), NOW);
    let none = Images::default();
    let low = Room { low_on_disk: true, ..ROOM };
    let journal = Room { journal_from: secs(1003), ..ROOM };
    let later = || Desired { start_from: secs(1010), ..desired(&workload) };
    let cases = [
        ("all is there", desired(&workload), &held, ROOM, "start"),
        ("no image", desired(&workload), &none, ROOM, "pull 1"),
        ("no image, in back-off", later(), &none, ROOM, "pull 1"),
        ("the pull failed", desired(&workload), &failed, ROOM, "PullAgain(1300s)"),
        ("no image and no room", desired(&workload), &none, low, "Space"),
        ("no room for more than what is held", desired(&workload), &held, low, "start"),
        ("in back-off", later(), &held, journal, "BackOff(1010s)"),
        ("no journal", desired(&workload), &held, journal, "Journal(1003s)"),
        ("no worker", desired(&workload), &held, Room { steps: 0, ..ROOM }, "Turn"),
        ("no line", desired(&workload), &none, Room { pulls: 0, ..ROOM }, "Turn"),
        ("busy", Desired { busy: true, ..later() }, &none, ROOM, "Step"),
    ];
    for (what, wanted, images, room, expected) in cases {
        assert_eq!(decide(&wanted, &[], images, room), expected, "{what}");
    }
}

#[test]
fn the_old_instance_runs_until_the_new_one_can_be_started() {
    let workload = workload(1, Target::Running);
    let old = [(1, run(1, RunState::Running { pid: 7 }))];
    let low = Room { low_on_disk: true, ..ROOM };
    let mut failed = Images::default();
    failed.failed(&desired(&workload).image, Fault::new(Reason::RegistryUnreachable, "no"), NOW);
    assert_eq!(decide(&desired(&workload), &old, &Images::default(), ROOM), "pull 1");
    assert_eq!(decide(&desired(&workload), &old, &failed, ROOM), "PullAgain(1010s)");
    assert_eq!(decide(&desired(&workload), &old, &held(&[&workload]), low), "Space");
    assert_eq!(decide(&desired(&workload), &old, &held(&[&workload]), ROOM), "stop 1");
}

#[test]
fn while_the_new_image_is_away_the_earlier_generation_runs() {
    let workload = workload(1, Target::Running);
    let fallback = || Desired { fallback: Some(Digest::of(b"old")), ..desired(&workload) };
    let none = Images::default();
    let mut failed = Images::default();
    failed.failed(&desired(&workload).image, Fault::new(Reason::RegistryUnreachable, "no"), NOW);
    let low = Room { low_on_disk: true, ..ROOM };
    let later = |at| Desired { start_from: secs(at), ..fallback() };
    assert_eq!(decide(&fallback(), &[], &none, ROOM), "pull 1, start fallback");
    assert_eq!(decide(&fallback(), &[], &none, Room { pulls: 0, ..ROOM }), "start fallback");
    assert_eq!(decide(&fallback(), &[], &failed, ROOM), "start fallback");
    assert_eq!(decide(&later(1005), &[], &failed, ROOM), "BackOff(1005s)");
    assert_eq!(decide(&later(1015), &[], &failed, ROOM), "PullAgain(1010s)");
    assert_eq!(decide(&fallback(), &[], &none, low), "start fallback");
    assert_eq!(decide(&later(1005), &[], &none, low), "Space");
    assert_eq!(decide(&fallback(), &[], &held(&[&workload]), ROOM), "start");
}

#[test]
fn what_must_not_run_comes_first_and_one_image_is_pulled_once() {
    let mut workloads: Vec<Workload> = (1..=4).map(|n| workload(n, Target::Running)).collect();
    workloads[1].spec.image = workloads[0].spec.image.clone();
    workloads[2].source = Source::Controlplane;
    workloads[3].target = Target::Stopped;
    let stopped = BTreeMap::from([(container(4), run(2, RunState::Running { pid: 1 }))]);
    let images = Images::default();
    let stray = (container(9), Run { workload: None, ..run(0, RunState::Running { pid: 2 }) });
    let machine = Machine {
        runs: BTreeMap::from([(&workloads[3].id, &stopped)]),
        strays: vec![(&stray.0, &stray.1)],
        images: &images,
    };
    let desired: Vec<Desired<'_>> = workloads.iter().map(desired).collect();
    let plan = plan(&desired, &machine, ROOM, NOW);
    let steps: Vec<String> = plan.steps.iter().map(|step| words(&step.todo)).collect();
    assert_eq!(steps, ["stop 4", "pull 3", "pull 1", "kill 9"]);
    assert_eq!(plan.waits[&workloads[1].id], Wait::Image);
    assert_eq!(plan.steps[3].because, "no workload and no journal entry knows it");
}

#[test]
fn the_next_plan_is_made_when_the_first_wait_is_over() {
    let workloads = [workload(1, Target::Running), workload(2, Target::Running)];
    let images = held(&[&workloads[0], &workloads[1]]);
    let failing = BTreeMap::from([
        (container(1), run(2, RunState::Running { pid: 1 })),
        (container(2), Run { retry_from: secs(1003), ..run(1, RunState::Lost) }),
    ]);
    let machine =
        Machine { runs: BTreeMap::from([(&workloads[0].id, &failing)]), strays: Vec::new(), images: &images };
    let later = Desired { start_from: secs(1007), ..desired(&workloads[1]) };
    let plan = plan(&[desired(&workloads[0]), later], &machine, ROOM, NOW);
    assert_eq!((plan.steps, plan.wake_at), (vec![], Some(secs(1003))));
}
