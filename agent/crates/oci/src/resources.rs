//! Limits of a control group without those that are none. Writers of configurations leave values in
//! that mean nothing, and a group of them that is empty would need a controller which the machine may
//! not have.

use crate::spec::Resources;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxPids, LinuxResources};

/// The limits that are meant.
pub(crate) fn meant(written: &Resources) -> LinuxResources {
    let written = written.clone();
    let mut limits = LinuxResources::default();
    limits.set_devices(unless_empty(written.devices));
    limits.set_memory(unless_empty(written.memory.map(memory)));
    limits.set_cpu(unless_empty(written.cpu.map(cpu)));
    // Its zero is a word of its own: as many as there can be.
    limits.set_pids(
        written.pids.and_then(|pids| pids.limit).map(|limit| *LinuxPids::default().set_limit(limit)),
    );
    limits.set_block_io(unless_empty(written.block_io.map(block_io)));
    limits.set_hugepage_limits(unless_empty(written.hugepage_limits));
    limits.set_network(unless_empty(written.network.map(network)));
    limits.set_unified(unless_empty(written.unified));
    limits
}

/// Zeros, empty texts and lists, and groups without anything in them mean nothing.
fn unless_empty<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

fn memory(mut memory: LinuxMemory) -> LinuxMemory {
    memory.set_limit(unless_empty(memory.limit()));
    memory.set_reservation(unless_empty(memory.reservation()));
    memory.set_swap(unless_empty(memory.swap()));
    memory
}

fn cpu(mut cpu: LinuxCpu) -> LinuxCpu {
    cpu.set_shares(unless_empty(cpu.shares()));
    cpu.set_quota(unless_empty(cpu.quota()));
    cpu.set_period(unless_empty(cpu.period()));
    cpu.set_realtime_runtime(unless_empty(cpu.realtime_runtime()));
    cpu.set_realtime_period(unless_empty(cpu.realtime_period()));
    cpu.set_burst(unless_empty(cpu.burst()));
    cpu.set_idle(unless_empty(cpu.idle()));
    cpu.set_cpus(unless_empty(cpu.cpus().clone()));
    cpu.set_mems(unless_empty(cpu.mems().clone()));
    cpu
}

fn block_io(mut block_io: LinuxBlockIo) -> LinuxBlockIo {
    block_io.set_weight(unless_empty(block_io.weight()));
    block_io.set_leaf_weight(unless_empty(block_io.leaf_weight()));
    block_io.set_weight_device(unless_empty(block_io.weight_device().clone()));
    block_io.set_throttle_read_bps_device(unless_empty(block_io.throttle_read_bps_device().clone()));
    block_io.set_throttle_write_bps_device(unless_empty(block_io.throttle_write_bps_device().clone()));
    block_io.set_throttle_read_iops_device(unless_empty(block_io.throttle_read_iops_device().clone()));
    block_io.set_throttle_write_iops_device(unless_empty(block_io.throttle_write_iops_device().clone()));
    block_io
}

fn network(mut network: LinuxNetwork) -> LinuxNetwork {
    network.set_class_id(unless_empty(network.class_id()));
    network.set_priorities(unless_empty(network.priorities().clone()));
    network
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_that_are_none_need_no_controller() {
        let written = json!({
            "memory": {"limit": 0, "swap": -1, "swappiness": 0}, "cpu": {"shares": 0, "cpus": ""}, "network": {},
            "blockIO": {"weight": 0, "weightDevice": []}, "hugepageLimits": [], "pids": {"limit": 0},
        });
        let want = json!({"memory": {"swap": -1, "swappiness": 0}, "pids": {"limit": 0}});
        let nothing = json!({
            "devices": [], "memory": {"swap": 0}, "cpu": {}, "pids": {}, "blockIO": null, "unified": {},
        });
        for (written, want) in [(written, want), (nothing, json!({}))] {
            let written: Resources = serde_json::from_value(written).expect("resources");
            assert_eq!(serde_json::to_value(meant(&written)).expect("JSON"), want);
        }
    }
}
