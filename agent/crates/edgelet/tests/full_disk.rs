//! A full file system, at whatever step it fills: said, survived, and made good once there is room.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Node, free_port, get, hello_manifest, sample_image, wait_until};

#[test]
fn a_full_disk_is_said_and_survived() {
    let mut node = Node::new();
    let data = node.path("var/lib/edgelet");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(node.path("etc/edgelet")).unwrap();
    let config = "[profiles.default]\ndiskReserveMiB = 1\n";
    File::create(node.path("etc/edgelet/config.toml")).unwrap().write_all(config.as_bytes()).unwrap();
    // Room for the database and not for the image.
    mount(&["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"], &data);
    node.start();
    let image = sample_image().to_str().unwrap();
    let (_, said) = node.fails(&["image", "load", "-f", image]);
    for word in ["Error[NO_SPACE]", "No space left on device", "hint: make room"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(node.json(&["image", "ls"])["count"], 0);
    mount(&["-o", "remount,size=64m", "tmpfs"], &data);
    node.ok(&["image", "load", "-f", image]);
    let port = node.deploy_hello();
    // The last byte goes while it runs.
    mount(&["-o", "remount,size=16m", "tmpfs"], &data);
    fill(&data);
    node.kill_daemon();
    node.start();
    assert!(get(port).is_some());
    node.wait_for_state("edgelet.hello", "RUNNING");
    fs::remove_file(data.join("ballast")).unwrap();
    node.ok(&["ms", "restart", "edgelet.hello"]);
    wait_until("it serves again", || get(port).is_some());
}

#[test]
fn data_may_run_out_of_inodes_at_every_step_of_a_life() {
    every_step("var/lib/edgelet", Resource::Inodes);
}

#[test]
fn data_may_run_out_of_bytes_at_every_step_of_a_life() {
    every_step("var/lib/edgelet", Resource::Pages);
}

#[test]
fn logs_may_run_out_of_inodes_at_every_step_of_a_life() {
    every_step("var/log/edgelet", Resource::Inodes);
}

#[test]
fn logs_without_room_cost_their_lines_and_not_the_workload() {
    let (node, room) = node_with_its_own("var/log/edgelet");
    node.ok(&["image", "load", "-f", sample_image().to_str().unwrap()]);
    room.leave(Resource::Pages, 0);
    let port = node.deploy_hello();
    room.plenty();
    // Each request is a line; the next one stands behind a note of what is missing.
    assert!(get(port).is_some());
    wait_until("the loss is told", || {
        let lines = node.log_lines("edgelet.hello");
        lines.iter().any(|line| line.contains("bytes of output were lost"))
            && lines.last().is_some_and(|line| line.starts_with("hello request"))
    });
}

#[test]
fn run_may_run_out_of_inodes_at_every_step_of_a_life() {
    every_step("run/edgelet", Resource::Inodes);
}

#[test]
fn run_may_run_out_of_bytes_at_every_step_of_a_life() {
    every_step("run/edgelet", Resource::Pages);
}

/// What a file system runs out of.
#[derive(Clone, Copy)]
enum Resource {
    Inodes,
    Pages,
}

/// Deploys, stops and removes a workload again and again, each of the three with one more of the resource to
/// spare each time, until twice in a row all three were done. Wherever it is not enough, the error names who must
/// act, the daemon lives, and the workload comes up by itself once there is room.
fn every_step(place: &str, resource: Resource) {
    let (node, room) = node_with_its_own(place);
    node.ok(&["image", "load", "-f", sample_image().to_str().unwrap()]);
    let port = free_port();
    edgelet_testkit::write(node.path("manifest.yaml"), hello_manifest(port));
    let manifest = node.path("manifest.yaml").to_str().unwrap().to_owned();
    let steps: [&[&str]; 3] =
        [&["deploy", "-f", &manifest], &["ms", "stop", "edgelet.hello"], &["ms", "rm", "edgelet.hello"]];
    let (mut spare, mut enough, mut refusals) = (0, 0, [0; 3]);
    while enough < 2 {
        let mut lived = true;
        for (step, refused) in steps.iter().zip(&mut refusals) {
            room.leave(resource, spare);
            let done = done_or_no_room(&node, step);
            node.ok(&["system", "status"]);
            node.ok(&["ms", "ls"]);
            room.plenty();
            if !done {
                *refused += 1;
                lived = false;
                node.ok(step);
            }
            if step[0] == "deploy" {
                wait_until("it serves", || get(port).is_some());
                assert_eq!(node.shims().len(), 1, "spare {spare}");
            }
        }
        assert!(node.inspect("edgelet.hello").is_null() && node.shims().is_empty());
        enough = if lived { enough + 1 } else { 0 };
        spare += 1;
    }
    println!("{place}: of {spare} amounts too little for deploy, stop and remove: {refusals:?}");
    assert!(refusals[0] > 0, "nothing was ever too little");
}

/// Whether it was done; when not, it must be for a person to mend, and said so.
fn done_or_no_room(node: &Node, arguments: &[&str]) -> bool {
    let output = node.edgelet(&[&["-o", "json", "--timeout", "90s"], arguments].concat());
    if output.status.success() {
        return true;
    }
    let said = String::from_utf8(output.stderr).unwrap();
    let error = said.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let error = error.unwrap_or_else(|| panic!("{arguments:?}: {said}"));
    let is_said =
        error["error"]["message"].as_str().is_some_and(|text| text.contains("No space left on device"));
    assert!(is_said && error["error"]["remedy"] == "needs-person", "{arguments:?}: {said}");
    false
}

/// A file system whose room can be set.
struct Room {
    at: PathBuf,
}

fn node_with_its_own(place: &str) -> (Node, Room) {
    let mut node = Node::new();
    let room = Room { at: node.path(place) };
    fs::create_dir_all(&room.at).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=64m,nr_inodes=10000,mode=700", "tmpfs"], &room.at);
    fs::create_dir_all(node.path("etc/edgelet")).unwrap();
    let config = "[profiles.default]\ndiskReserveMiB = 0\n";
    edgelet_testkit::write(node.path("etc/edgelet/config.toml"), config);
    // So that it is never empty: to the kernel a size of 0 is no limit.
    edgelet_testkit::write(room.at.join("ballast"), "one page");
    node.start();
    (node, room)
}

impl Room {
    /// Leaves exactly so much.
    fn leave(&self, resource: Resource, spare: u64) {
        let format = match resource {
            Resource::Inodes => "%c %d",
            Resource::Pages => "%b %f",
        };
        let output = Command::new("stat").args(["-f", "-c", format]).arg(&self.at).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (all, free) = text.trim().split_once(' ').unwrap();
        let wanted = all.parse::<u64>().unwrap() - free.parse::<u64>().unwrap() + spare;
        let option = match resource {
            Resource::Inodes => format!("remount,nr_inodes={wanted}"),
            Resource::Pages => format!("remount,size={}", wanted * 4096),
        };
        mount(&["-o", &option, "tmpfs"], &self.at);
    }

    fn plenty(&self) {
        mount(&["-o", "remount,size=64m,nr_inodes=10000", "tmpfs"], &self.at);
    }
}

fn mount(arguments: &[&str], target: &Path) {
    assert!(Command::new("mount").args(arguments).arg(target).status().unwrap().success());
}

fn fill(directory: &Path) {
    let mut ballast = File::options().create(true).append(true).open(directory.join("ballast")).unwrap();
    let block = [0; 4096];
    while ballast.write_all(&block).is_ok() {}
}
