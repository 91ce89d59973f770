//! What a service manager hears: ready, a heartbeat that every vital thread is behind, and the stop.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Node, PATIENCE, get, wait_until};

/// The watchdog's time in these tests; a third of it passes from beat to beat.
const WATCHDOG: Duration = Duration::from_secs(3);

/// A service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    /// Listens at a path and has the node's daemon told so.
    fn of(node: &mut Node) -> Self {
        let path = node.path("notify");
        node.environment.push(("NOTIFY_SOCKET", path.to_str().unwrap().to_owned()));
        Self(UnixDatagram::bind(path).unwrap())
    }

    /// The next message, if one comes within `limit`.
    fn hears_within(&self, limit: Duration) -> Option<String> {
        let mut message = [0; 4096];
        self.0.set_read_timeout(Some(limit)).unwrap();
        let length = self.0.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line and gives the others before it.
    #[track_caller]
    fn waits_for(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.hears_within(left) {
                Some(message) if message.lines().any(|heard| heard == line) => return before,
                Some(message) => before.push(message),
                None => panic!("waited {} s for {line:?}; heard {before:?}", PATIENCE.as_secs()),
            }
        }
    }

    /// Forgets what was said so far.
    fn starts_anew(&self) {
        while self.hears_within(Duration::from_millis(1)).is_some() {}
    }

    /// No beat for as long as it takes a watchdog to bite.
    #[track_caller]
    fn misses_beats(&self) {
        let deadline = Instant::now() + WATCHDOG;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            if let Some(message) = self.hears_within(left) {
                assert!(!message.contains("WATCHDOG=1"), "{message}");
            }
        }
    }
}

/// A file that whoever opens it gets stuck in, until it is let go.
struct Trap {
    path: PathBuf,
    bait: Vec<u8>,
}

impl Trap {
    /// Takes the place of the file, or stands where none was.
    fn set(path: PathBuf) -> Self {
        let bait = fs::read(&path).unwrap_or_default();
        let draft = path.with_extension("trap");
        assert!(Command::new("mkfifo").arg(&draft).status().unwrap().success());
        fs::rename(draft, &path).unwrap();
        Self { path, bait }
    }

    /// Puts the file back, and gives its content to who is stuck.
    fn release(self) {
        // Blocks until somebody is; nothing else in a test knows that.
        let mut fifo = File::options().write(true).open(&self.path).unwrap();
        let draft = self.path.with_extension("bait");
        edgelet_testkit::write(&draft, &self.bait);
        fs::rename(draft, &self.path).unwrap();
        std::io::Write::write_all(&mut fifo, &self.bait).unwrap();
    }
}

fn threads(node: &Node) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", node.daemon_pid())).unwrap();
    let name =
        |task: PathBuf| fs::read_to_string(task.join("comm")).unwrap_or_default().trim_end().to_owned();
    tasks.flatten().map(|task| name(task.path())).collect()
}

#[test]
fn a_manager_hears_when_the_node_answers_and_when_it_stops() {
    let mut node = Node::new();
    let manager = Manager::of(&mut node);
    node.spawn();
    assert_eq!(manager.hears_within(PATIENCE).as_deref(), Some("READY=1\nSTATUS=running"));
    // Without waiting: the message means that it answers.
    node.ok(&["system", "status"]);
    // Nobody asked for beats, so nothing wakes up for them.
    wait_until("the thread has ended", || !threads(&node).contains(&"heartbeat".to_owned()));
    node.stop_daemon();
    let stopping = "STOPPING=1\nSTATUS=stopping, containers go on";
    assert_eq!(manager.hears_within(PATIENCE).as_deref(), Some(stopping));
    assert_eq!(manager.hears_within(Duration::from_millis(1)), None);
}

#[test]
fn beats_come_at_a_third_of_the_watchdogs_time_also_over_an_abstract_socket() {
    let mut node = Node::new();
    let name = format!("edgelet-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let manager = Manager(socket);
    node.environment =
        vec![("NOTIFY_SOCKET", format!("@{name}")), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())];
    node.spawn();
    manager.waits_for("READY=1");
    let begun = Instant::now();
    for _ in 0..3 {
        manager.waits_for("WATCHDOG=1");
    }
    // Three periods; a loaded machine takes longer, and none takes less.
    assert!(begun.elapsed() > WATCHDOG - WATCHDOG / 10, "{:?}", begun.elapsed());
    node.stop_daemon();
    manager.waits_for("STOPPING=1");
    assert_eq!(manager.hears_within(Duration::from_millis(1)), None);
}

#[test]
fn a_watchdog_of_another_process_is_not_ours_to_feed() {
    let mut node = Node::new();
    let manager = Manager::of(&mut node);
    node.environment.extend([("WATCHDOG_USEC", "100000".to_owned()), ("WATCHDOG_PID", "1".to_owned())]);
    node.spawn();
    assert_eq!(manager.hears_within(PATIENCE).as_deref(), Some("READY=1\nSTATUS=running"));
    wait_until("the thread has ended", || !threads(&node).contains(&"heartbeat".to_owned()));
}

#[test]
fn a_node_is_not_ready_before_its_engine_has_seen_the_machine() {
    let mut node = Node::new();
    let manager = Manager::of(&mut node);
    node.environment.push(("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()));
    let trap = Trap::set(bundle_of_nobody(&node).join("order.json"));
    node.spawn();
    // The first that is heard at all, but for other threads on a machine that is busy.
    let before = manager.waits_for("STATUS=hangs: engine");
    assert!(before.iter().all(|message| message.starts_with("STATUS=hangs: ")), "{before:?}");
    manager.misses_beats();
    trap.release();
    manager.waits_for("READY=1");
    node.ok(&["system", "status"]);
}

#[test]
fn an_engine_that_hangs_stops_the_beat_and_is_named_once() {
    let mut node = Node::with_sample_image();
    node.stop_daemon();
    let manager = Manager::of(&mut node);
    node.environment.push(("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()));
    node.start();
    let port = node.deploy_hello();
    node.ok(&["ms", "stop", "edgelet.hello"]);
    node.wait_for_state("edgelet.hello", "STOPPED");
    // A start that meets a held lock makes the engine look at the machine, where the trap is.
    let lock = File::open(only_entry(&node.path("run/edgelet/locks"))).unwrap();
    lock.lock().unwrap();
    let trap = Trap::set(bundle_of_nobody(&node).join("order.json"));
    let said = |what: &str| node.daemon_log().matches(what).count();
    let (hangs, answers) =
        ("thread hangs, no heartbeat until it answers name=engine", "thread answers again name=engine");
    let before = (said(hangs), said(answers));
    manager.starts_anew();
    node.edgelet(&["--timeout", "1s", "ms", "start", "edgelet.hello"]);
    manager.waits_for("STATUS=hangs: engine");
    manager.misses_beats();
    assert_eq!((said(hangs), said(answers)), (before.0 + 1, before.1));
    drop(lock);
    trap.release();
    manager.waits_for("STATUS=running");
    manager.waits_for("WATCHDOG=1");
    assert_eq!((said(hangs), said(answers)), (before.0 + 1, before.1 + 1));
    wait_until("it serves", || get(port).is_some());
}

#[test]
fn a_watch_that_hangs_stops_the_beat_and_sees_the_end_when_it_goes_on() {
    let mut node = Node::with_sample_image();
    node.stop_daemon();
    let manager = Manager::of(&mut node);
    node.environment.push(("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()));
    node.start();
    let port = node.deploy_hello();
    let trap = Trap::set(only_entry(&node.path("run/edgelet/containers")).join("order.json"));
    manager.starts_anew();
    let workload = node.init_pids()[0].to_string();
    assert!(Command::new("kill").args(["-9", &workload]).status().unwrap().success());
    manager.waits_for("STATUS=hangs: watch");
    manager.misses_beats();
    trap.release();
    manager.waits_for("WATCHDOG=1");
    wait_until("it serves again", || get(port).is_some());
}

/// A bundle in which no run was ever ordered.
fn bundle_of_nobody(node: &Node) -> PathBuf {
    let bundle = node.path("run/edgelet/containers").join("0".repeat(32));
    fs::create_dir_all(&bundle).unwrap();
    bundle
}

fn only_entry(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir).unwrap();
    let only = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "{dir:?}");
    only
}
