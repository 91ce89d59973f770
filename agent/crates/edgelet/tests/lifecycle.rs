//! What operators do to a workload, and what it does by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::process::CommandExt;
use std::process::Command;
use support::{Node, SLEEP, box_manifest, free_port, get, hello_manifest, wait_until};

#[test]
fn stop_start_restart_and_an_update_each_replace_the_one_instance() {
    let node = Node::with_sample_image();
    let port = node.deploy_hello();
    let container = || node.inspect("edgelet.hello")["containerId"].clone();
    let first = container();
    node.ok(&["ms", "restart", "edgelet.hello"]);
    wait_until("it serves", || get(port).is_some());
    let second = container();
    assert_ne!(first, second);
    node.ok(&["ms", "stop", "edgelet.hello"]);
    node.wait_for_state("edgelet.hello", "STOPPED");
    assert!(get(port).is_none() && node.shims().is_empty());
    node.ok(&["ms", "start", "edgelet.hello"]);
    wait_until("it serves", || get(port).is_some());
    let other_port = free_port();
    node.deploy(&hello_manifest(other_port));
    wait_until("it serves on the new port", || get(other_port).is_some());
    assert!(get(port).is_none());
    assert_eq!(node.shims().len(), 1);
    let restarts = node.inspect("edgelet.hello")["restartCount"].as_u64().unwrap_or(0);
    assert_eq!(restarts, 0, "nothing of this was a crash");
}

#[test]
fn a_program_that_cannot_start_is_tried_again_with_back_off_and_says_why() {
    let node = Node::with_sample_image();
    let port = free_port();
    let holder = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
    let file = node.path("manifest.yaml");
    std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), hello_manifest(port).as_bytes())
        .unwrap();
    // Whether this fails is a matter of moments: the program runs before it finds its port taken.
    node.edgelet(&["deploy", "-f", file.to_str().unwrap()]);
    wait_until("the failure is known", || node.inspect("edgelet.hello")["restartCount"] == 1);
    assert!(node.log_lines("edgelet.hello").iter().any(|line| line.contains("Address in use")));
    drop(holder);
    // The first back-off is 10 s.
    wait_until("it serves", || get(port).is_some());
    let inspected = node.inspect("edgelet.hello");
    assert_eq!(inspected["restartCount"], 1, "{inspected}");
    assert!(inspected["lastError"].as_str().unwrap().contains("exitCode=1"));
}

#[test]
fn a_start_that_fails_leaves_no_zombie() {
    let node = Node::with_sample_image();
    let manifest = hello_manifest(free_port()) + "    entrypoint: [/nowhere]\n";
    edgelet_testkit::write(node.path("manifest.yaml"), manifest);
    node.fails(&["deploy", "-f", node.path("manifest.yaml").to_str().unwrap()]);
    let zygote = zygote(&node);
    wait_until("the shim is collected", || children(zygote).is_empty());
    assert_eq!(children(node.daemon_pid()), [zygote]);
    assert!(
        node.inspect("edgelet.hello")["lastError"].as_str().unwrap().contains("executable file not found")
    );
}

#[test]
fn orphans_among_the_hosts_processes_do_not_stay_as_zombies() {
    let mut node = Node::new();
    node.start();
    node.load_box();
    let script = "while :; do (/bin/busybox sleep 0.1 &); /bin/busybox sleep 0.05; done";
    node.deploy(&box_manifest("box", "    pidMode: host\n").replace(SLEEP, script));
    node.wait_for_state("edgelet.box", "RUNNING");
    let shim = node.shims()[0].unsigned_abs();
    let mut seen = std::collections::BTreeSet::new();
    wait_until("some have come and gone", || {
        seen.extend(children(shim));
        seen.len() > 10
    });
    // Those of the last moments may not have ended yet, or be about to be collected.
    assert!(children(shim).len() < 8, "{:?}", children(shim));
}

/// What the daemon has its shims copied from.
fn zygote(node: &Node) -> u32 {
    let is_it = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "edgelet-shim\n";
    children(node.daemon_pid()).into_iter().find(is_it).expect("a zygote")
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let children =
        tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    children
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn what_shims_are_copied_from_may_be_killed() {
    let node = Node::with_sample_image();
    let port = node.deploy_hello();
    let (zygote, shim) = (zygote(&node), node.shims()[0]);
    signal("KILL", zygote.cast_signed());
    assert!(get(port).is_some(), "what runs goes on");
    node.ok(&["ms", "restart", "edgelet.hello"]);
    wait_until("a new run serves", || {
        node.shims().first().is_some_and(|pid| *pid != shim) && get(port).is_some()
    });
    assert_ne!(self::zygote(&node), zygote);
    assert!(node.daemon_log().contains("started again"), "{}", node.daemon_log());
}

#[test]
fn a_hung_shim_and_a_suspended_container_are_removed_all_the_same() {
    let node = Node::with_sample_image();
    let port = node.deploy_hello();
    signal("STOP", node.shims()[0]);
    node.ok(&["ms", "rm", "edgelet.hello"]);
    assert!(node.shims().is_empty() && get(port).is_none());
    let port = node.deploy_hello();
    let container = node.inspect("edgelet.hello")["containerId"].as_str().unwrap().to_owned();
    let mut pause = Command::new(env!("CARGO_BIN_EXE_edgelet"));
    pause.arg0("edgelet-oci").arg("--root").arg(node.path("run/edgelet/oci")).args(["pause", &container]);
    assert!(pause.status().unwrap().success());
    node.ok(&["ms", "rm", "edgelet.hello"]);
    assert!(node.shims().is_empty() && get(port).is_none());
}

#[test]
fn a_shim_that_is_killed_takes_nothing_down_but_its_own_run() {
    let node = Node::with_sample_image();
    let port = node.deploy_hello();
    let (shim, init) = (node.shims()[0], node.init_pids()[0]);
    signal("KILL", shim);
    wait_until("a new run serves", || {
        node.init_pids().first().is_some_and(|pid| *pid != init) && get(port).is_some()
    });
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists(), "the old run is gone");
    assert_eq!(node.shims().len(), 1);
    assert_eq!(node.inspect("edgelet.hello")["restartCount"], 1);
}

fn signal(name: &str, pid: i32) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn a_removed_workload_leaves_nothing() {
    let node = Node::with_sample_image();
    node.deploy_hello();
    node.ok(&["ms", "rm", "edgelet.hello"]);
    wait_until("it is gone", || node.inspect("edgelet.hello").is_null());
    assert_eq!(node.mounts(), Vec::<String>::new());
    for left in [
        "run/edgelet/containers",
        "run/edgelet/oci",
        "run/edgelet/locks",
        "var/lib/edgelet/containers",
        "var/log/edgelet/containers",
    ] {
        let entries: Vec<_> =
            std::fs::read_dir(node.path(left)).unwrap().flatten().map(|e| e.path()).collect();
        assert!(entries.is_empty(), "{entries:?}");
    }
}
