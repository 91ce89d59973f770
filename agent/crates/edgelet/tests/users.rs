//! Workloads with users of their own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::{Node, box_manifest};

/// The first id of the range that the configuration gives by default.
const FIRST: u32 = 524_288;

#[test]
fn root_inside_is_nobody_outside_and_each_workload_is_somebody_else() {
    let node = node_with_boxes(&["one", "two"], "");
    let mut owners: Vec<u32> = node.init_pids().iter().map(|pid| owner(format!("/proc/{pid}"))).collect();
    owners.sort_unstable();
    assert_eq!(owners, [FIRST, FIRST + 65_536]);
    let inside = node.ok(&["ms", "exec", "edgelet.one", "--", "/bin/busybox", "id", "-u"]);
    assert_eq!(inside, "0\n");
    // Who is stopped takes nobody's place, and the place is free again.
    node.ok(&["ms", "restart", "edgelet.one"]);
    node.wait_for_state("edgelet.one", "RUNNING");
    let mut again: Vec<u32> = node.init_pids().iter().map(|pid| owner(format!("/proc/{pid}"))).collect();
    again.sort_unstable();
    assert_eq!(again, owners);
}

#[test]
fn files_belong_on_disk_to_whom_they_belong_inside() {
    let volume = tempfile::tempdir().unwrap();
    let bind = format!(
        "    volumes: [ {{ hostDestination: {}, containerDestination: /volume }} ]\n",
        volume.path().display()
    );
    let node = node_with_boxes(&["one"], &bind);
    let run = |script: &str| node.ok(&["ms", "exec", "edgelet.one", "--", "/bin/sh", "-c", script]);
    let script = "b=/bin/busybox; $b touch /volume/made /made; $b chown 7:8 /volume/made /made; $b stat -c %u:%g /etc/theirs /made";
    assert_eq!(run(script), "1000:1001\n7:8\n");
    let made = std::fs::metadata(volume.path().join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (7, 8));
    let scratch =
        std::fs::read_dir(node.path("var/lib/edgelet/containers")).unwrap().flatten().next().unwrap();
    assert_eq!(owner(scratch.path().join("upper/made")), FIRST + 7);
}

#[test]
fn when_all_ids_are_taken_the_next_workload_says_so() {
    let mut node = Node::new();
    let config = node.path("etc/edgelet/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    edgelet_testkit::write(config, "[profiles.default]\nusernsIds = 65536\n");
    node.start();
    node.deploy_box("one", "    userns: auto\n");
    edgelet_testkit::write(node.path("two.yaml"), box_manifest("two", "    userns: auto\n"));
    node.edgelet(&["deploy", "-f", node.path("two.yaml").to_str().unwrap()]);
    support::wait_until("the failure is known", || !node.inspect("edgelet.two")["lastError"].is_null());
    let error = node.inspect("edgelet.two")["lastError"].to_string();
    assert!(error.contains("usernsIds has room for"), "{error}");
}

fn node_with_boxes(names: &[&str], more: &str) -> Node {
    let mut node = Node::new();
    node.start();
    for name in names {
        node.deploy_box(name, &format!("    userns: auto\n{more}"));
    }
    node
}

fn owner(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}
