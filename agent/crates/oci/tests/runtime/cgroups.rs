//! Control groups: limits, membership, removal, what is seen inside.

use crate::support::{Bundle, is_ours};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn limits_are_set_and_processes_are_inside() {
    let bundle = Bundle::args(&["sleep", "100"]).with(|config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 17});
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["cpu"] = json!({"shares": 512});
    });
    bundle.create().good();
    let read = |name: &str| {
        bundle
            .cgroups()
            .iter()
            .find_map(|group| fs::read_to_string(group.join(name)).ok())
            .map(|text| text.trim().to_owned())
    };
    assert_eq!(read("pids.max").as_deref(), Some("17"));
    let memory = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
    assert_eq!(memory, Some((64_u64 << 20).to_string()));
    let pid = bundle.pid().to_string();
    for group in bundle.cgroups() {
        let inside = fs::read_to_string(group.join("cgroup.procs")).expect("cgroup.procs");
        assert!(inside.lines().any(|line| line == pid), "{group:?}");
    }
    if is_ours() {
        let listed: Vec<i32> =
            serde_json::from_str(&bundle.runtime(&["ps", "--format", "json", &bundle.id]).good())
                .expect("JSON");
        assert_eq!(listed, [bundle.pid()]);
    }
}

/// The kernel kills the new process, which cannot say why it ended.
#[test]
fn a_memory_limit_that_is_too_low_for_the_start_is_called_so() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if !mounts.lines().any(|line| line.contains(" - cgroup ") && line.contains("memory")) {
        return;
    }
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 4 << 10});
    });
    let error = bundle.create().bad();
    assert!(!is_ours() || error.contains("memory limit is too low"), "{error}");
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn without_a_path_the_group_is_called_as_the_container_is() {
    let bundle = Bundle::args(&["sleep", "100"]).with(|config| {
        config["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
    });
    bundle.create().good();
    let pid = bundle.pid().to_string();
    assert!(!bundle.cgroups().is_empty());
    for group in bundle.cgroups() {
        let inside = fs::read_to_string(group.join("cgroup.procs")).expect("cgroup.procs");
        assert_eq!(inside.trim(), pid, "{group:?}");
    }
}

#[test]
fn a_limit_of_a_controller_that_is_missing_is_an_error_and_others_are_not() {
    // Version 2 has no such controller.
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if !is_ours() || mounts.lines().any(|line| line.contains(" - cgroup ") && line.contains("net_cls")) {
        return;
    }
    Bundle::args(&["true"]).run().good();
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["linux"]["resources"]["network"] = json!({"classID": 1});
    });
    assert!(bundle.create().bad().contains("there is no net_cls controller here"));
    assert!(bundle.cgroups().is_empty());
}

/// Where version 1 and version 2 are there side by side, each has some of the controllers.
#[test]
fn a_limit_goes_to_the_tree_that_has_its_controller() {
    let bundle = Bundle::args(&["sleep", "100"]).with(|config| {
        config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
    });
    let has =
        |file: &str| bundle.cgroups().iter().find_map(|group| fs::read_to_string(group.join(file)).ok());
    if !is_ours() {
        return;
    }
    bundle.create().good();
    let limit = has("hugetlb.2MB.max").or_else(|| has("hugetlb.2MB.limit_in_bytes"));
    assert_eq!(limit.as_deref(), Some("4194304\n"));
}

#[test]
fn a_group_that_somebody_else_is_in_is_not_taken() {
    if !is_ours() {
        return;
    }
    let first = Bundle::args(&["sleep", "100"]);
    first.create().good();
    first.verb("start").good();
    let mut second = Bundle::args(&["true"]);
    second.config()["linux"]["cgroupsPath"] = format!("/{}", first.id).into();
    assert!(second.create().bad().contains("already has processes"));
    assert_eq!(first.status(), "running");
    assert_eq!(fs::read_dir(second.state_root()).expect("state root").count(), 0);
}

#[test]
fn device_rules_are_enforced() {
    let bundle = Bundle::script("head -c 1 /dev/zero | wc -c; head -c 1 /dev/kmsg 2>&1 | grep -c 'not permitted'; cat /dev/null && echo fine").with(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
    });
    assert_eq!(bundle.run().good(), "1\n1\nfine\n");
}

#[test]
fn without_rules_there_are_no_devices_but_those_that_every_container_has() {
    let bundle =
        Bundle::script("head -c 1 /dev/zero | wc -c; head -c 1 /dev/kmsg 2>&1 | grep -c 'not permitted'")
            .with(|config| {
                config["linux"]["devices"] =
                    json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
                config["linux"]["resources"] = json!({});
            });
    let out = bundle.run().good();
    assert!(out == "1\n1\n" || !is_ours(), "{out}");
}

#[test]
fn trees_that_another_mount_covers_are_not_there() {
    if !Path::new("/sys/fs/cgroup/pids").exists() {
        return;
    }
    let bundle = Bundle::script("echo fine").with(|config| config["linux"]["resources"] = json!({}));
    let script = "mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/pids
        mount -t cgroup -o pids pids /sys/fs/cgroup/pids && exec \"$@\"";
    let run = bundle.command();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.args(["run", "--bundle", bundle.bundle(), &bundle.id]);
    let output = command.output().expect("unshare");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fine\n", "{output:?}");
}

#[test]
fn groups_that_the_container_made_are_removed_with_it() {
    let bundle = Bundle::script("exec sleep 100").with(|config| {
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "rw"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    bundle.create().good();
    bundle.verb("start").good();
    let script = "mkdir -p /sys/fs/cgroup/pids/inner/most && echo $$ > /sys/fs/cgroup/pids/inner/most/cgroup.procs && exec sleep 50";
    bundle.runtime(&["exec", "--detach", &bundle.id, "sh", "-c", script]).good();
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn groups_deeper_than_any_path_are_removed_too() {
    let bundle = Bundle::args(&["sleep", "100"]);
    bundle.create().good();
    let groups = bundle.cgroups();
    let pids = groups.iter().find(|group| group.join("pids.max").exists()).unwrap_or(&groups[0]);
    let mut deepest = edgelet_sys::root::RootDir::open(pids).expect("open");
    for _ in 0..30 {
        deepest = deepest.mkdir_all("n".repeat(200), 0o755).expect("mkdir");
    }
    drop(deepest);
    bundle.runtime(&["delete", "--force", &bundle.id]).good();
    assert!(bundle.cgroups().is_empty());
}

#[test]
fn the_trees_are_shown_read_only_and_only_from_the_containers_group() {
    let bundle = Bundle::script("ls /sys/fs/cgroup | grep -c pids; cat /proc/self/cgroup | grep pids; mkdir /sys/fs/cgroup/pids/x 2>/dev/null || echo refused; ls /sys/fs/cgroup/pids/edgelet-test* 2>&1 | grep -c 'No such'").with(|config| {
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    let out = bundle.run().good();
    assert!(out.starts_with("1\n") && out.contains("pids:/\n") && out.ends_with("refused\n1\n"), "{out}");
}

/// The whole life of a container where only cgroup version 2 is to be seen: in a private mount namespace
/// with a cgroup2 tree over `/sys/fs/cgroup`.
#[test]
fn a_machine_with_version_2_only_works_and_enforces_device_rules() {
    let bundle = Bundle::script("head -c 1 /dev/zero | wc -c; head -c 1 /dev/kmsg 2>&1 | grep -c 'not permitted'; ls /sys/fs/cgroup/cgroup.procs; cat /proc/self/cgroup | grep ^0").with(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    if !is_ours() {
        return;
    }
    let output = in_version_2(&bundle, "exec \"$@\"", &["run", "--bundle", bundle.bundle(), &bundle.id]);
    assert_eq!(output.0, "1\n1\n/sys/fs/cgroup/cgroup.procs\n0::/\n", "{}", output.1);
}

/// A container that manages groups by itself, as systemd does: its outer group takes no processes then.
/// The one controller that version 2 has here (nobody mounts it as version 1) is `hugetlb`.
#[test]
fn exec_on_version_2_follows_the_first_process_into_its_group() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::script("mkdir /sys/fs/cgroup/inner && echo 1 > /sys/fs/cgroup/inner/cgroup.procs; echo +hugetlb > /sys/fs/cgroup/cgroup.subtree_control; echo moved; exec sleep 100").with(|config| {
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    let script = "\"$@\" create --bundle $BUNDLE $ID > $BUNDLE/output && \"$@\" start $ID && \
        until grep -q moved $BUNDLE/output; do :; done; \
        cat /sys/fs/cgroup/$ID/cgroup.subtree_control; \"$@\" exec $ID grep ^0 /proc/self/cgroup; \"$@\" pause $ID; \"$@\" state $ID | grep -o paused; \"$@\" delete -f $ID; \
        test -e /sys/fs/cgroup/$ID || echo gone";
    let (out, err) = in_version_2(&bundle, script, &[]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines, ["hugetlb", "0::/inner", "paused", "gone"], "{err}");
}

/// Runs a script with `$@` the runtime and these words, seeing version 2 only.
fn in_version_2(bundle: &Bundle, script: &str, words: &[&str]) -> (String, String) {
    let run = bundle.command();
    let script = format!("umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    command.arg(run.get_program()).args(run.get_args()).args(words);
    command.env("ID", &bundle.id).env("BUNDLE", bundle.bundle());
    let output = command.output().expect("unshare");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
