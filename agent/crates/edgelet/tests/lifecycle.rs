//! What operators do to a workload, and what it does by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use edgelet_testkit::layout::{Codec, Image, OciLayout, Tar};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use support::{Node, free_port, get, hello_manifest, wait_until};

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
    let sessions =
        std::fs::read_dir(node.path("run/edgelet/containers")).unwrap().next().unwrap().unwrap().path();
    wait_until("session files are gone", || {
        std::fs::read_dir(&sessions)
            .unwrap()
            .flatten()
            .all(|e| !e.file_name().to_string_lossy().starts_with("exec-"))
    });
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
    let mut node = Node::new();
    node.start();
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let tar = Tar::new().dir("bin/", 0o755).program("bin/busybox", &busybox).symlink("bin/sh", "busybox");
    let layout =
        OciLayout::new().add(&Image::new().layer(tar.done(), Codec::Gzip), "docker.io/library/box:1");
    node.ok(&["image", "load", "-f", layout.path().to_str().unwrap()]);
    node.deploy(
        "apiVersion: edgelet.iofog.org/v1\nkind: Microservice\nmetadata: { name: box }\nspec:\n  image: box:1\n  \
         container:\n    entrypoint: [/bin/busybox, sleep, \"1000\"]\n",
    );
    node.wait_for_state("edgelet.box", "RUNNING");
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
fn a_start_that_fails_leaves_no_zombie() {
    let node = Node::with_sample_image();
    let manifest = hello_manifest(free_port()) + "    entrypoint: [/nowhere]\n";
    edgelet_testkit::write(node.path("manifest.yaml"), manifest);
    node.fails(&["deploy", "-f", node.path("manifest.yaml").to_str().unwrap()]);
    wait_until("the shim is collected", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.daemon_pid())).unwrap().flatten();
        tasks
            .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default())
            .all(|c| c.is_empty())
    });
    assert!(
        node.inspect("edgelet.hello")["lastError"].as_str().unwrap().contains("executable file not found")
    );
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
