//! Programs run beside a workload, and their terminals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Node, wait_until};

#[test]
fn exec_runs_beside_the_workload_and_its_exit_code_comes_back() {
    let node = Node::with_sample_image();
    node.deploy_hello();
    let output = node.edgelet(&["ms", "exec", "edgelet.hello", "--", "/hello", "env"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("EDGELET_MICROSERVICE_NAME=hello"), "{text}");
    let output = node.edgelet(&["ms", "exec", "edgelet.hello", "--", "/hello", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    let (code, said) = node.fails(&["ms", "exec", "edgelet.hello", "--", "/nowhere"]);
    assert!(code == 4 && said.contains("/nowhere"), "{code} {said}");
    wait_until("session files are gone", || sessions(&node).is_empty());
}

#[test]
fn exec_on_a_terminal_gives_the_program_one() {
    let node = Node::with_sample_image();
    node.deploy_hello();
    let exec = format!("{} ms exec edgelet.hello -- /hello env", env!("CARGO_BIN_EXE_edgelet"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &exec, "/dev/null"])
        .env("EDGELET_PREFIX", node.root.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("TERM=xterm-256color\r\n"), "{text}");
}

#[test]
fn a_terminal_has_the_size_of_ours_and_follows_it() {
    let node = node_with_a_box();
    let exec = format!("{} ms exec edgelet.box -- /bin/sh -c", env!("CARGO_BIN_EXE_edgelet"));
    let watch = "/bin/busybox stty size; for i in 1 2 3 4 5 6; do /bin/busybox sleep 0.5; /bin/busybox stty size; done";
    let script =
        format!("stty rows 33 cols 77; (sleep 1; stty rows 44 cols 88 </dev/tty) & {exec} '{watch}'");
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &script, "/dev/null"])
        .env("EDGELET_PREFIX", node.root.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // What the outer terminal echoes may stand before the first.
    let (before, after) = (text.find("33 77"), text.find("44 88"));
    assert!(before.is_some() && after.is_some() && before < after, "{text}");
    assert!(text.trim_end().ends_with("44 88"), "{text}");
}

#[test]
fn a_session_that_cannot_end_holds_nobody_up() {
    let mut node = node_with_a_box();
    let mut client = Command::new(env!("CARGO_BIN_EXE_edgelet"))
        .args(["ms", "exec", "edgelet.box", "--", "/bin/busybox", "sleep", "999"])
        .env("EDGELET_PREFIX", node.root.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let container = node.inspect("edgelet.box")["containerId"].as_str().unwrap().to_owned();
    let mut program = None;
    wait_until("the program runs", || {
        program = process("/bin/busybox\0sleep\0999\0", &container);
        program.is_some()
    });
    // Suspended by cgroup version 1, it does not die of the kill that follows when nobody listens to it any more.
    // Version 2 lets it die, and then this shows less.
    let mut pause = Command::new(env!("CARGO_BIN_EXE_edgelet"));
    pause.arg0("edgelet-oci").arg("--root").arg(node.path("run/edgelet/oci")).args(["pause", &container]);
    assert!(pause.status().unwrap().success());
    client.kill().unwrap();
    client.wait().unwrap();
    wait_until("the session is given up", || is_gone_or_has_a_kill_pending(&program.clone().unwrap()));
    node.ok(&["--timeout", "10s", "ms", "ls"]);
    let asked = Instant::now();
    node.stop_daemon();
    // Calls of the API are given 2 s; for ever is what this is about.
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    node.start();
    node.ok(&["ms", "rm", "edgelet.box"]);
    wait_until("it is gone", || node.inspect("edgelet.box").is_null());
    assert!(node.shims().is_empty());
}

/// A node that runs a container with a shell and time for us.
fn node_with_a_box() -> Node {
    let mut node = Node::new();
    node.start();
    node.deploy_box("box", "");
    node
}

/// The folders of sessions that the one container of this node has.
fn sessions(node: &Node) -> Vec<PathBuf> {
    let bundles = std::fs::read_dir(node.path("run/edgelet/containers")).unwrap().flatten();
    let entries = bundles.flat_map(|bundle| std::fs::read_dir(bundle.path()).unwrap().flatten());
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("exec-"))
        .collect()
}

/// The process of a container that was started by exactly this command line.
fn process(command_line: &str, container: &str) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
    entries.find(|path| read(path, "cmdline") == command_line && read(path, "cgroup").contains(container))
}

fn is_gone_or_has_a_kill_pending(process: &Path) -> bool {
    let Ok(status) = std::fs::read_to_string(process.join("status")) else { return true };
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t")).unwrap();
    u64::from_str_radix(pending, 16).unwrap() & 1 << (9 - 1) != 0
}
