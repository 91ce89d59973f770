//! System call filters that have somebody else decide.

use crate::support::{Bundle, is_ours};
use edgelet_sys::socket;
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A container whose `mkdir` is left to whoever listens at `decider.sock` in the bundle.
fn undecided(script: &str) -> Bundle {
    let mut bundle = Bundle::script(script);
    let path = bundle.path().join("decider.sock");
    bundle.config()["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "for you",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    bundle
}

/// Takes what the runtime sends: the words and the listener.
fn introduced(listener: &OwnedFd) -> (Value, OwnedFd) {
    let connection = socket::accept(listener.as_fd()).expect("accept");
    let (words, fd) =
        socket::receive_fd(connection.as_fd(), socket::LONGEST).expect("receive").expect("a message");
    (serde_json::from_slice(&words).expect("JSON"), fd.expect("a descriptor"))
}

#[test]
fn whoever_decides_gets_the_listener_and_is_told_whose_it_is() {
    // With the listener closed there is nobody to decide, and the kernel says that there is no such call.
    let bundle = undecided("mkdir /x 2>&1 | grep -o 'not implemented'; exec sleep 100");
    let listener = socket::listen_stream_at(&bundle.path().join("decider.sock")).expect("listen");
    let decider = std::thread::spawn(move || {
        let (words, fd) = introduced(&listener);
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("link");
        (words, link)
    });
    bundle.create().good();
    // Before the container is started.
    let (words, link) = decider.join().expect("the decider");
    bundle.verb("start").good();
    assert_eq!(link.to_str(), Some("anon_inode:seccomp notify"));
    assert_eq!(words["fds"], json!(["seccompFd"]));
    assert_eq!(words["metadata"], "for you");
    assert_eq!(words["pid"], bundle.pid());
    assert_eq!(words["state"]["id"], bundle.id.as_str());
    assert_eq!(words["state"]["pid"], bundle.pid());
    bundle.wait_for_output("not implemented\n");
}

#[test]
fn an_exec_has_a_listener_of_its_own() {
    let bundle = undecided("exec sleep 100");
    let listener = socket::listen_stream_at(&bundle.path().join("decider.sock")).expect("listen");
    let decider = std::thread::spawn(move || [introduced(&listener).0, introduced(&listener).0]);
    bundle.create().good();
    bundle.verb("start").good();
    let out = bundle.runtime(&["exec", &bundle.id, "sh", "-c", "mkdir /y 2>&1 | grep -o 'not implemented'"]);
    assert_eq!(out.good(), "not implemented\n");
    let [first, second] = decider.join().expect("the decider");
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(first["state"]["pid"], second["state"]["pid"]);
}

#[test]
fn without_somebody_to_decide_nothing_is_created() {
    let bundle = undecided("true");
    let error = bundle.create().bad();
    assert!(!is_ours() || error.contains("connect listenerPath"), "{error}");
    let bundle = undecided("true").with(|config| config["linux"]["seccomp"]["listenerPath"] = json!(""));
    let error = bundle.create().bad();
    assert!(!is_ours() || error.contains("SCMP_ACT_NOTIFY needs listenerPath"), "{error}");
}
