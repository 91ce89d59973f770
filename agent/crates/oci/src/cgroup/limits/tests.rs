use super::*;
use serde_json::{Value, json};
use std::collections::HashMap;

/// A machine that has these controllers, and what files of the group say.
struct Machine {
    controllers: Vec<(&'static str, Version)>,
    files: HashMap<&'static str, &'static str>,
}

impl Group for Machine {
    fn version(&self, controller: &str) -> Option<Version> {
        self.controllers.iter().find(|(name, _)| *name == controller).map(|(_, version)| *version)
    }

    fn read(&self, _: &str, file: &str) -> Option<String> {
        self.files.get(file).map(|text| (*text).to_owned())
    }
}

fn version_1() -> Machine {
    let names =
        ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma", "devices"];
    Machine { controllers: names.map(|name| (name, Version::One)).to_vec(), files: HashMap::new() }
}

fn version_2() -> Machine {
    let names = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma", "misc", "cgroup"];
    Machine { controllers: names.map(|name| (name, Version::Two)).to_vec(), files: HashMap::new() }
}

/// The plan, a step a line: `file=value`, with a sign in front of what is not simply set.
fn planned(resources: Value, machine: &Machine) -> Result<Vec<String>, String> {
    let wanted: Resources = serde_json::from_value(resources).map_err(|error| error.to_string())?;
    let text = |setting: &Setting| format!("{}={}", setting.file, setting.value);
    let line = |step: &Step| match step {
        Step::Set(setting) => text(setting),
        Step::SetWherePresent(setting) => format!("?{}", text(setting)),
        Step::SetOneOf(one, other) => format!("{} | {}", text(one), text(other)),
        Step::SetTogether(one, other) => format!("{} & {}", text(one), text(other)),
    };
    plan(&wanted, machine).map(|steps| steps.iter().map(line).collect())
}

fn check(resources: Value, machine: &Machine, want: &[&str]) {
    let want = want.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(planned(resources.clone(), machine), Ok(want), "{resources}");
}

fn refused(resources: Value, machine: &Machine, want: &str) {
    let got = planned(resources.clone(), machine);
    assert!(got.as_ref().is_err_and(|reason| reason.contains(want)), "{resources}: {got:?}");
}

#[test]
fn limits_that_are_none_need_no_controller() {
    let nothing = Machine { controllers: Vec::new(), files: HashMap::new() };
    let empty = json!({
        "devices": [], "memory": {"limit": 0, "swap": 0, "disableOOMKiller": false}, "cpu": {"shares": 0, "cpus": ""},
        "pids": {}, "network": {}, "blockIO": {"weight": 0, "weightDevice": []}, "hugepageLimits": [], "unified": {},
        "rdma": {},
    });
    check(empty, &nothing, &[]);
    refused(json!({"pids": {"limit": 1}}), &nothing, "pids: there is no pids controller here");
    refused(json!({"unified": {"memory.high": "1"}}), &nothing, "no memory controller");
    refused(json!({"network": {"classID": 1}}), &version_2(), "no net_cls controller");
}

#[test]
fn processors() {
    let all = json!({"cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "burst": 7, "cpus": "0-1", "mems": "0", "idle": 1}});
    check(
        all.clone(),
        &version_1(),
        &[
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.shares=512",
            "cpu.cfs_period_us=100000 & cpu.cfs_quota_us=50000",
            "cpu.cfs_burst_us=7",
            "cpu.idle=1",
        ],
    );
    check(
        all,
        &version_2(),
        &[
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.weight=59",
            "cpu.max=50000 100000 & cpu.max.burst=7",
            "cpu.idle=1",
        ],
    );
    check(json!({"cpu": {"quota": -1}}), &version_1(), &["cpu.cfs_quota_us=-1"]);
    check(json!({"cpu": {"quota": -1}}), &version_2(), &["cpu.max=max"]);
    check(json!({"cpu": {"period": 5000}}), &version_2(), &["cpu.max=max 5000"]);
    let mut limited = version_2();
    limited.files.insert("cpu.max", "20000 100000\n");
    check(json!({"cpu": {"period": 5000}}), &limited, &["cpu.max=20000 5000"]);
    check(
        json!({"cpu": {"realtimeRuntime": 1, "realtimePeriod": 2}}),
        &version_1(),
        &["cpu.rt_period_us=2 & cpu.rt_runtime_us=1"],
    );
    refused(json!({"cpu": {"realtimeRuntime": 1}}), &version_2(), "cpu.realtimeRuntime: cgroup version 2");
}

#[test]
fn shares_become_weights_along_a_curve_through_the_ends_and_the_default() {
    let cases = [(0, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (u64::MAX, 10_000)];
    for (shares, weight) in cases {
        assert_eq!(weight_of(shares), weight, "{shares}");
    }
    assert_eq!([10, 100, 1000, 5].map(io_weight_of), [1, 910, 10_000, 1]);
}

#[test]
fn memory() {
    let both = json!({"memory": {"limit": 100, "swap": 150, "reservation": 50}});
    check(
        both.clone(),
        &version_1(),
        &["memory.limit_in_bytes=100 & memory.memsw.limit_in_bytes=150", "memory.soft_limit_in_bytes=50"],
    );
    check(both, &version_2(), &["memory.swap.max=50", "memory.max=100", "memory.low=50"]);
    let unlimited = json!({"memory": {"limit": -1}});
    check(unlimited.clone(), &version_1(), &["memory.limit_in_bytes=-1"]);
    check(unlimited, &version_2(), &["?memory.swap.max=max", "memory.max=max"]);
    check(json!({"memory": {"limit": 9, "swap": 9}}), &version_2(), &["?memory.swap.max=0", "memory.max=9"]);
    check(json!({"memory": {"swap": -1}}), &version_2(), &["?memory.swap.max=max"]);
    let version_1_only = json!({"memory": {"swappiness": 0, "disableOOMKiller": true}});
    check(version_1_only, &version_1(), &["memory.swappiness=0", "memory.oom_control=1"]);
    refused(json!({"memory": {"swap": 9}}), &version_2(), "needs linux.resources.memory.limit");
    refused(json!({"memory": {"swap": 9, "limit": 10}}), &version_2(), "9 is below");
    refused(json!({"memory": {"swappiness": 0}}), &version_2(), "memory.swappiness: cgroup version 2");
    refused(json!({"memory": {"disableOOMKiller": true}}), &version_2(), "memory.disableOOMKiller");
}

#[test]
fn a_limit_of_memory_can_be_checked_against_what_is_used() {
    let mut machine = version_2();
    machine.files.insert("memory.current", "1000\n");
    let limit = |bytes: i64, check: bool| json!({"memory": {"limit": bytes, "checkBeforeUpdate": check}});
    refused(limit(999, true), &machine, "999 is below the 1000 bytes in use");
    check(limit(999, false), &machine, &["memory.max=999"]);
    check(limit(1000, true), &machine, &["memory.max=1000"]);
}

#[test]
fn block_devices() {
    let io = json!({"blockIO": {
        "weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
    }});
    check(
        io.clone(),
        &version_1(),
        &[
            "blkio.bfq.weight=100 | blkio.weight=100",
            "blkio.bfq.weight_device=8:0 200 | blkio.weight_device=8:0 200",
            "blkio.throttle.read_bps_device=8:16 600",
            "blkio.throttle.write_iops_device=8:16 0",
        ],
    );
    check(
        io,
        &version_2(),
        &[
            "io.bfq.weight=100 | io.weight=default 910",
            "io.bfq.weight=8:0 200 | io.weight=8:0 1920",
            "io.max=8:16 rbps=600",
            "io.max=8:16 wiops=max",
        ],
    );
    check(json!({"blockIO": {"leafWeight": 10}}), &version_1(), &["blkio.leaf_weight=10"]);
    refused(json!({"blockIO": {"leafWeight": 10}}), &version_2(), "blockIO.leafWeight");
}

#[test]
fn the_rest() {
    let rest = json!({
        "pids": {"limit": 0}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}},
    });
    let tail = ["rdma.max=mlx5_1 hca_handle=3 hca_object=4"];
    let version_1_steps =
        ["pids.max=0", "hugetlb.2MB.limit_in_bytes=4096", "?hugetlb.2MB.rsvd.limit_in_bytes=4096"];
    check(rest.clone(), &version_1(), &[&version_1_steps[..], &tail].concat());
    let version_2_steps = ["pids.max=0", "hugetlb.2MB.max=4096", "?hugetlb.2MB.rsvd.max=4096"];
    check(rest, &version_2(), &[&version_2_steps[..], &tail].concat());
    check(json!({"pids": {"limit": -1}}), &version_2(), &["pids.max=max"]);
    check(
        json!({"network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 5}]}}),
        &version_1(),
        &["net_cls.classid=9", "net_prio.ifpriomap=eth0 5"],
    );
    refused(json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}), &version_1(), "not a page size");
}

#[test]
fn files_of_version_2_by_name() {
    let files = json!({"unified": {"memory.high": "9", "io.max": "8:0 rbps=1\n8:1 rbps=2\n", "cgroup.max.depth": "3"}});
    let want = ["cgroup.max.depth=3", "io.max=8:0 rbps=1", "io.max=8:1 rbps=2", "memory.high=9"];
    check(files.clone(), &version_2(), &want);
    refused(files, &version_1(), "cgroup controller");
    refused(json!({"unified": {"memory.high": "9"}}), &version_1(), "version 1 tree");
    for bad in ["memory/../x", "nodot", "/memory.high"] {
        refused(json!({"unified": {bad: "1"}}), &version_2(), "not the name of a file");
    }
}
