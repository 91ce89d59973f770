//! cgroup limits, devices and rlimits.

use super::spec::{BundleError, Facts};
use edgelet_types::Workload;
use edgelet_types::workload::ULIMITS;
use serde_json::{Value, json};

/// A fork bomb must not take the device down. Ample for any service, and below the kernel's own default
/// of 32768 for the whole machine.
const DEFAULT_PIDS: u64 = 4096;
/// The CFS period in microseconds; the kernel's default and the Controller's assumption.
const CPU_PERIOD_US: u64 = 100_000;

/// The `linux.resources` object.
pub fn resources(workload: &Workload, facts: &Facts<'_>) -> Value {
    let wanted = &workload.spec.resources;
    let mut resources = json!({
        "pids": { "limit": wanted.pids.unwrap_or(DEFAULT_PIDS) },
        "devices": device_rules(workload, facts),
    });
    let mut memory = serde_json::Map::new();
    let limits = [
        ("limit", wanted.memory_bytes.map(Value::from)),
        ("reservation", wanted.memory_reservation_bytes.map(Value::from)),
        ("swap", wanted.memory_swap_bytes.map(Value::from)),
    ];
    memory.extend(limits.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if !memory.is_empty() {
        resources["memory"] = memory.into();
    }
    let mut cpu = serde_json::Map::new();
    if let Some(millis) = wanted.cpu_millis {
        cpu.insert("period".into(), CPU_PERIOD_US.into());
        cpu.insert("quota".into(), (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(1000).into());
    }
    if let Some(cores) = &wanted.cpuset {
        cpu.insert("cpus".into(), cores.clone().into());
    }
    if !cpu.is_empty() {
        resources["cpu"] = cpu.into();
    }
    resources
}

/// Nothing but what is listed; the runtime adds the harmless standard nodes.
fn device_rules(workload: &Workload, facts: &Facts<'_>) -> Vec<Value> {
    if workload.spec.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(facts.devices.iter().map(|node| {
        json!({
            "allow": true,
            "type": node.kind.to_string(),
            "major": node.major,
            "minor": node.minor,
            "access": node.access,
        })
    }));
    rules
}

/// The `linux.devices` list: nodes to be made in the container's `/dev`.
pub fn devices(facts: &Facts<'_>) -> Vec<Value> {
    let nodes = facts.devices.iter().map(|node| {
        json!({
            "path": node.container,
            "type": node.kind.to_string(),
            "major": node.major,
            "minor": node.minor,
            "fileMode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
        })
    });
    nodes.collect()
}

/// The `process.rlimits` list. What is not set is inherited from the daemon.
pub fn rlimits(workload: &Workload) -> Result<Vec<Value>, BundleError> {
    let limits = workload.spec.ulimits.iter().map(|(name, limit)| {
        if !ULIMITS.contains(&name.as_str()) {
            return Err(BundleError::Rlimit(name.clone()));
        }
        Ok(json!({
            "type": format!("RLIMIT_{}", name.to_ascii_uppercase()),
            "soft": limit.soft.unwrap_or(u64::MAX),
            "hard": limit.hard.unwrap_or(u64::MAX),
        }))
    });
    limits.collect()
}
