//! kill -9 in the middle of a pull: the store opens, nothing half is visible, nothing leaks, the pull completes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use edgelet_testkit::layout::{Codec, Image, OciLayout, Tar};
use edgelet_testkit::registry::Registry;
use edgelet_testkit::write;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{Node, wait_until};

/// How often the daemon is killed while it pulls.
const KILLS: u32 = 50;
const LAYERS: usize = 3;

#[test]
fn fifty_kills_of_a_pull_leave_all_or_nothing_and_the_pull_completes() {
    let registry = Registry::start();
    push(&registry);
    let name = format!("{}/app:1", registry.host());
    let mut node = Node::new();
    fs::create_dir_all(node.path("etc/edgelet")).unwrap();
    write(
        node.path("etc/edgelet/config.toml"),
        format!("[registries.\"{}\"]\ninsecure = true\n", registry.host()),
    );
    node.start();
    let whole = time_of_one_pull(&node, &name);
    let mut seen = BTreeSet::new();
    for kill in 0..KILLS {
        empty(&node);
        let mut pull = Command::new(env!("CARGO_BIN_EXE_edgelet"))
            .args(["--quiet", "image", "pull", &name])
            .env("EDGELET_PREFIX", node.root.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the first byte to after the commit.
        thread::sleep(whole * kill * 6 / 5 / KILLS);
        node.kill_daemon();
        pull.wait().unwrap();
        node.start();
        let (images, layers) =
            (node.json(&["image", "ls"])["count"].as_u64().unwrap(), entries(&node, "layers"));
        assert!(images == 0 || layers == LAYERS, "an image is visible without its layers");
        assert_eq!(entries(&node, "staging"), 0, "staging is emptied at start");
        seen.insert((images, layers));
        if images == 0 {
            node.ok(&["image", "prune"]);
            assert_eq!(entries(&node, "layers"), 0, "what no image needs is gone after a prune");
        }
    }
    node.ok(&["--quiet", "image", "pull", &name]);
    assert_eq!((node.json(&["image", "ls"])["count"].as_u64(), entries(&node, "layers")), (Some(1), LAYERS));
    println!("pull: {KILLS} kills within {whole:?}, states seen (images, layers): {seen:?}");
    assert!(seen.len() >= 2, "the kills hit different places: {seen:?}");
}

fn push(registry: &Registry) {
    let mut image = Image::new();
    for number in 0..LAYERS {
        // Neither empty nor compressible, so that a pull takes its time.
        let mut state = number as u64 + 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take((4 << 20) / 8)
        .flatten()
        .collect();
        image = image.layer(Tar::new().file(&format!("file-{number}"), bytes).done(), Codec::Gzip);
    }
    registry.push(&OciLayout::new().add(&image, "1"), "1", "app:1");
}

fn time_of_one_pull(node: &Node, name: &str) -> Duration {
    let started = Instant::now();
    node.ok(&["--quiet", "image", "pull", name]);
    started.elapsed()
}

fn empty(node: &Node) {
    for image in node.json(&["image", "ls"])["items"].as_array().unwrap() {
        node.ok(&["image", "rm", image["id"].as_str().unwrap()]);
    }
    wait_until("no layer is left", || entries(node, "layers") == 0);
}

fn entries(node: &Node, below: &str) -> usize {
    fs::read_dir(node.path("var/lib/edgelet").join(below)).unwrap().count()
}
