//! The daemon may die at any instant; containers do not notice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Node, get, wait_until};

/// How often the daemon is killed.
const KILLS: u64 = 200;

#[test]
fn two_hundred_kills_of_the_daemon_lose_no_request_and_no_line_and_start_no_second_instance() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    let before = node.inspect("edgelet.hello");
    let load = Load::start(port);
    for kill in 0..KILLS {
        // Every instant of a start is hit: from before main to long after it answers.
        thread::sleep(Duration::from_millis(kill % 40 * 3));
        node.kill_daemon();
        node.spawn();
    }
    wait_until("the daemon answers", || node.edgelet(&["system", "status"]).status.success());
    node.wait_for_state("edgelet.hello", "RUNNING");
    let served = load.stop();
    let after = node.inspect("edgelet.hello");
    assert_eq!(before["containerId"], after["containerId"], "the same run goes on");
    assert_eq!(after["restartCount"], before["restartCount"]);
    assert_eq!(node.shims().len(), 1, "one instance");
    assert!(served > KILLS, "the load was real: {served} requests");
    assert_every_request_was_logged(&node, served + 1);
    println!("continuity: {KILLS} kills, {served} requests, 0 lost");
}

#[test]
fn an_exit_while_no_daemon_runs_is_found_with_its_code() {
    let mut node = Node::with_sample_image();
    node.deploy(&support::hello_manifest(support::free_port()));
    node.wait_for_state("edgelet.hello", "RUNNING");
    let first = node.inspect("edgelet.hello")["containerId"].clone();
    node.kill_daemon();
    // The program's own polite end is code 0; SIGKILL is 137.
    let init = node.init_pids()[0].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &init]).status().unwrap().success());
    wait_until("the shim has ended", || node.shims().is_empty());
    node.start();
    wait_until("the exit is known", || node.inspect("edgelet.hello")["lastError"].as_str().is_some());
    let inspected = node.inspect("edgelet.hello");
    assert!(inspected["lastError"].as_str().unwrap().contains("exitCode=137"), "{inspected}");
    assert_eq!(inspected["restartCount"], 1);
    node.wait_for_state("edgelet.hello", "RUNNING");
    assert_ne!(node.inspect("edgelet.hello")["containerId"], first, "a new run");
    assert_eq!(node.shims().len(), 1);
}

#[test]
fn a_stopped_daemon_leaves_its_containers_running() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    node.stop_daemon();
    assert!(get(port).is_some());
    assert!(!node.path("run/edgelet/edgelet.sock").exists(), "clients hear at once that nobody is there");
    node.start();
    node.wait_for_state("edgelet.hello", "RUNNING");
    assert_eq!(node.shims().len(), 1);
}

#[test]
fn a_run_directory_that_was_taken_away_does_not_lead_to_a_second_instance() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    let old = node.init_pids()[0];
    node.stop_daemon();
    node.lose_run();
    node.start();
    wait_until("a new run serves", || !node.init_pids().is_empty() && get(port).is_some());
    node.wait_for_state("edgelet.hello", "RUNNING");
    assert!(!std::path::Path::new(&format!("/proc/{old}")).exists(), "the old run is gone");
}

#[test]
fn a_bundle_that_cannot_be_read_concerns_nobody_else() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    node.kill_daemon();
    let bundles = std::fs::read_dir(node.path("run/edgelet/containers")).unwrap();
    let bundle = bundles.flatten().next().unwrap().path();
    edgelet_testkit::write(bundle.join("order.json"), "{");
    node.start();
    wait_until("a new run serves", || {
        node.inspect("edgelet.hello")["state"] == "RUNNING" && get(port).is_some()
    });
    assert!(!bundle.exists());
    assert!(node.daemon_log().contains("order.json cannot be read"));
}

#[test]
fn a_second_daemon_is_refused() {
    let mut node = Node::new();
    node.start();
    let (code, said) = node.fails(&["daemon"]);
    assert_eq!(code, 1);
    assert!(said.contains("another daemon runs"), "{said}");
    node.ok(&["system", "status"]);
}

/// Asks for the page as fast as it comes, and counts.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    fn start(port: u16) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), served.clone());
        let thread = thread::spawn(move || {
            let started = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                assert!(get(port).is_some(), "request lost after {:?}", started.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
                // A steady load, not a flood: ports in TIME_WAIT are finite.
                thread::sleep(Duration::from_millis(3));
            }
        });
        Self { stop, served, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no request was lost");
        self.served.load(Ordering::Relaxed)
    }
}

#[track_caller]
fn assert_every_request_was_logged(node: &Node, at_least: u64) {
    let lines = node.log_lines("edgelet.hello");
    let number = |line: &String| line.split("number=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    let logged: BTreeSet<u64> = lines.iter().filter_map(number).collect();
    let last = logged.last().copied().unwrap_or(0);
    assert!(last >= at_least, "logged up to {last}, served at least {at_least}");
    let missing: Vec<u64> = (1..=last).filter(|n| !logged.contains(n)).take(5).collect();
    assert!(missing.is_empty(), "lines lost, first of them: {missing:?}");
}
