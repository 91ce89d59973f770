//! Changing the limits of a container, and what it uses.

use crate::support::{Bundle, is_ours};
use serde_json::{Value, json};
use std::fs;

fn running() -> Bundle {
    let bundle = Bundle::args(&["sleep", "100"]).with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 17});
    });
    bundle.create().good();
    bundle.verb("start").good();
    bundle
}

/// The first file of one of these names that a group of the container has.
fn read(bundle: &Bundle, names: &[&str]) -> Option<String> {
    let groups = bundle.cgroups();
    let files = groups.iter().flat_map(|group| names.iter().map(|name| group.join(name)));
    files.filter_map(|file| fs::read_to_string(file).ok()).next().map(|text| text.trim().to_owned())
}

const MEMORY: &[&str] = &["memory.limit_in_bytes", "memory.max"];

#[test]
fn limits_are_changed_by_options_and_by_a_file_and_the_others_stay() {
    let bundle = running();
    bundle.runtime(&["update", "--memory", "128m", &bundle.id]).good();
    assert_eq!(read(&bundle, MEMORY), Some((128_u64 << 20).to_string()));
    assert_eq!(read(&bundle, &["pids.max"]).as_deref(), Some("17"));

    let file = bundle.path().join("limits.json");
    // As an engine writes it: with rules for devices, which stay as they are.
    let limits =
        json!({"pids": {"limit": 33}, "cpu": {"shares": 512}, "devices": [{"allow": true, "access": "rwm"}]});
    fs::write(&file, limits.to_string()).expect("write");
    bundle.runtime(&["update", "--resources", file.to_str().expect("a plain path"), &bundle.id]).good();
    assert_eq!(read(&bundle, &["pids.max"]).as_deref(), Some("33"));
    let shares = read(&bundle, &["cpu.shares"]).or_else(|| read(&bundle, &["cpu.weight"]));
    assert!(["512", "59"].contains(&shares.as_deref().unwrap_or_default()), "{shares:?}");
    assert_eq!(read(&bundle, MEMORY), Some((128_u64 << 20).to_string()));
}

#[test]
fn a_container_that_has_ended_has_no_limits() {
    let bundle = running();
    bundle.runtime(&["kill", &bundle.id, "KILL"]).good();
    bundle.wait();
    let error = bundle.runtime(&["update", "--pids-limit", "5", &bundle.id]).bad();
    assert!(!is_ours() || error.contains("container not running"), "{error}");
}

#[test]
fn what_is_used_is_shown() {
    let bundle = running();
    let shown: Value =
        serde_json::from_str(&bundle.runtime(&["events", "--stats", &bundle.id]).good()).expect("JSON");
    let data = &shown["data"];
    assert_eq!(shown["type"], "stats");
    assert_eq!((&data["pids"]["current"], &data["pids"]["limit"]), (&json!(1), &json!(17)));
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    let numbers = [&data["memory"]["usage"]["usage"], &data["cpu"]["usage"]["total"]];
    assert!(numbers.iter().all(|number| number.as_u64().is_some_and(|number| number > 0)), "{data}");
}
