//! After a power cut the node comes back from its store alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Node, get, wait_until};

#[test]
fn after_a_reboot_the_workload_runs_again_without_any_network() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    let before = node.inspect("edgelet.hello");
    node.cut_power();
    assert!(get(port).is_none(), "nothing of it runs");
    node.start();
    wait_until("it serves again", || get(port).is_some());
    node.wait_for_state("edgelet.hello", "RUNNING");
    let after = node.inspect("edgelet.hello");
    assert_eq!((&before["uuid"], &before["image"]), (&after["uuid"], &after["image"]));
    assert_ne!(before["containerId"], after["containerId"]);
    assert_eq!(after["restartCount"].as_u64().unwrap_or(0), 0, "a reboot is no crash");
    let scratch = std::fs::read_dir(node.path("var/lib/edgelet/containers")).unwrap().count();
    assert_eq!(scratch, 1, "what the run before left is gone");
}

#[test]
fn a_stopped_workload_stays_stopped_and_a_removed_one_gone() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    node.ok(&["ms", "stop", "edgelet.hello"]);
    node.wait_for_state("edgelet.hello", "STOPPED");
    node.cut_power();
    node.start();
    node.wait_for_state("edgelet.hello", "STOPPED");
    assert!(get(port).is_none());
    node.ok(&["ms", "rm", "edgelet.hello"]);
    wait_until("it is gone", || node.inspect("edgelet.hello").is_null());
    node.cut_power();
    node.start();
    assert_eq!(node.json(&["ms", "ls"])["items"], serde_json::json!([]));
}

#[test]
fn twenty_power_cuts_in_a_row_leave_one_instance_and_nothing_else() {
    let mut node = Node::with_sample_image();
    let port = node.deploy_hello();
    for cut in 0..20 {
        node.cut_power();
        node.spawn();
        // Hits the start of the daemon, of the shim, and of the workload.
        std::thread::sleep(std::time::Duration::from_millis(cut * 15));
    }
    wait_until("it serves again", || get(port).is_some());
    node.wait_for_state("edgelet.hello", "RUNNING");
    assert_eq!(node.shims().len(), 1);
    wait_until("only the live run's files are left", || {
        std::fs::read_dir(node.path("var/lib/edgelet/containers")).unwrap().count() == 1
    });
}
