//! Scheduling, processors, memory nodes, execution domain.

use crate::support::Bundle;
use serde_json::json;
use std::fs;

#[test]
fn a_scheduling_policy_is_in_force() {
    const BATCH: &str = "3";
    let bundle = Bundle::args(&["cat", "/proc/self/stat"]).with(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    });
    let stat = bundle.run().good();
    // proc(5): the fields after the name are counted from 3; nice is 19, the policy 41.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    assert_eq!((fields[19 - 3], fields[41 - 3]), ("5", BATCH));
    let wrong = Bundle::args(&["true"]).with(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 100});
    });
    wrong.run().bad();
}

#[test]
fn a_priority_at_disks_is_in_force() {
    let bundle = Bundle::script("ionice -p $$").with(|config| {
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    });
    assert_eq!(bundle.run().good(), "best-effort: prio 6\n");
}

#[test]
fn a_32_bit_domain_changes_the_name_of_the_machine() {
    let bundle = Bundle::script("uname -m").with(|config| {
        config["linux"]["personality"] = json!({"domain": "LINUX32"});
    });
    let machine = match std::env::consts::ARCH {
        "x86_64" => "i686",
        "aarch64" => "armv8l",
        other => other,
    };
    assert_eq!(bundle.run().good(), format!("{machine}\n"));
}

#[test]
fn a_memory_policy_is_in_force() {
    // Without NUMA the kernel has neither the call nor the file.
    if !fs::exists("/proc/self/numa_maps").is_ok_and(|exists| exists) {
        return;
    }
    let bundle = Bundle::script("grep -c bind:0 /proc/self/numa_maps").with(|config| {
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
    });
    assert_ne!(bundle.run().good(), "0\n");
}

#[test]
fn an_exec_runs_on_the_processors_that_it_asks_for() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    bundle.verb("start").good();
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sed", "-n", "s/Cpus_allowed_list:.//p", "/proc/self/status"],
        "execCPUAffinity": {"initial": "0", "final": "0"},
    });
    let file = bundle.path().join("process.json");
    fs::write(&file, process.to_string()).expect("write process");
    let file = file.to_str().expect("a plain path");
    assert_eq!(bundle.runtime(&["exec", "--process", file, &bundle.id]).good(), "0\n");
}
