//! What cannot be done is said clearly, with who must act; nothing is lost and the daemon lives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use support::{Node, free_port, get, hello_manifest, wait_until};

/// Deploys a manifest that must be refused.
#[track_caller]
fn refused(node: &Node, manifest: &str, exit: i32, words: &[&str]) {
    let file = node.path("refused.yaml");
    File::create(&file).unwrap().write_all(manifest.as_bytes()).unwrap();
    let (code, said) = node.fails(&["deploy", "-f", file.to_str().unwrap()]);
    assert_eq!(code, exit, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    node.ok(&["system", "status"]);
}

#[test]
fn a_manifest_that_cannot_be_done_names_the_field_and_who_must_act() {
    let mut node = Node::new();
    node.start();
    let manifest = hello_manifest(1);
    refused(
        &node,
        &manifest.replace("hostNetworkMode", "hostNetMode"),
        2,
        &["hostNetMode", "INVALID_ARGUMENT"],
    );
    refused(&node, &manifest.replace("edgelet/hello:1", "UPPER:1"), 2, &["image", "UPPER:1"]);
    refused(&node, &manifest.replace("kind: Microservice", "kind: Pod"), 2, &["kind"]);
    refused(
        &node,
        &format!("{manifest}    healthCheck: {{ test: [NONE] }}\n"),
        6,
        &["healthCheck", "NOT_IMPLEMENTED"],
    );
    refused(&node, "a: &a [*a]\n", 2, &["INVALID_ARGUMENT"]);
    let huge = format!("{manifest}# {}\n", "x".repeat(2 << 20));
    refused(&node, &huge, 2, &["1048576"]);
    assert_eq!(node.json(&["ms", "ls"])["items"], serde_json::json!([]));
}

#[test]
fn an_error_is_json_when_json_was_asked_for() {
    let mut node = Node::new();
    node.start();
    let (code, said) = node.fails(&["-o", "json", "ms", "inspect", "edgelet.nobody"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, said["error"]["code"].as_str()), (4, Some("NOT_FOUND")), "{said}");
    node.stop_daemon();
    let (code, said) = node.fails(&["-o", "json", "ms", "ls"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, said["error"]["code"].as_str()), (10, Some("DAEMON_UNAVAILABLE")), "{said}");
}

#[test]
fn an_unreachable_registry_leaves_the_old_version_running_and_says_why() {
    let node = Node::with_sample_image();
    let port = node.deploy_hello();
    // Nobody listens there.
    let nowhere = format!("127.0.0.1:{}", free_port());
    let update = hello_manifest(port).replace("edgelet/hello:1", &format!("{nowhere}/hello:2"));
    let file = node.path("update.yaml");
    File::create(&file).unwrap().write_all(update.as_bytes()).unwrap();
    let (_, said) = node.fails(&["--timeout", "20s", "deploy", "-f", file.to_str().unwrap()]);
    wait_until("the reason is shown", || {
        node.inspect("edgelet.hello")["errorMessage"].as_str().is_some_and(|text| text.contains(&nowhere))
    });
    assert!(get(port).is_some(), "the old version still serves; {said}");
}

#[test]
fn an_image_in_use_stays_and_one_that_is_not_goes() {
    let node = Node::with_sample_image();
    node.deploy_hello();
    let (code, said) = node.fails(&["image", "rm", "edgelet/hello:1"]);
    assert_eq!(code, 5, "{said}");
    node.ok(&["ms", "rm", "edgelet.hello"]);
    wait_until("it is gone", || node.inspect("edgelet.hello").is_null());
    node.ok(&["image", "rm", "edgelet/hello:1"]);
    assert_eq!(node.json(&["image", "ls"])["count"], 0);
    assert_eq!(fs::read_dir(node.path("var/lib/edgelet/layers")).unwrap().count(), 0, "no layer is left");
}
