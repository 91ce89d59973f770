//! Groups that a service manager makes: a real one, in namespaces of its own, with cgroup version 2 only.

use crate::support::Bundle;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Runs a script as a service of a service manager of its own; `$RUNTIME` is the runtime. Gives its output.
fn managed(bundle: &Bundle, script: &str) -> String {
    let dir = bundle.path();
    let run = bundle.command();
    let words = [run.get_program()].into_iter().chain(run.get_args()).map(|word| word.to_string_lossy());
    let runtime = words.collect::<Vec<_>>().join(" ");
    let text = format!(
        "RUNTIME='{runtime} --systemd-cgroup'\nID={}\nBUNDLE={}\n{script}\n",
        bundle.id,
        bundle.bundle()
    );
    fs::write(dir.join("script"), text).expect("write script");
    fs::create_dir(dir.join("units")).expect("mkdir");
    let unit = format!(
        "[Unit]\nDefaultDependencies=no\nSuccessAction=exit-force\nFailureAction=exit-force\n\
         [Service]\nType=oneshot\nExecStart=/bin/sh {0}/script\nStandardOutput=file:{0}/managed\nStandardError=inherit\n",
        bundle.bundle()
    );
    fs::write(dir.join("units/test.service"), unit).expect("write unit");
    let group = Group::new(bundle);
    // The manager's root of all groups is the group that its process moves into, and nobody else.
    let script = "exec timeout -s KILL 60 unshare --mount --pid --fork --ipc --uts --propagation private --kill-child \
        sh -c 'echo 0 > $GROUP/cgroup.procs && exec unshare --cgroup sh -c \"mount -t proc proc /proc; \
        umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; mount -t tmpfs tmpfs /run; \
        exec /lib/systemd/systemd --system --unit=test.service\"'";
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("GROUP", &group.0).env("container", "test");
    command.env("SYSTEMD_UNIT_PATH", dir.join("units"));
    let output = command.output().expect("sh");
    let managed = fs::read_to_string(dir.join("managed")).unwrap_or_default();
    assert!(output.status.success(), "{managed}{output:?}");
    managed
}

/// A group of version 2, wherever that tree is; everything below goes with it.
struct Group(PathBuf);

impl Group {
    fn new(bundle: &Bundle) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let tree = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("a cgroup2 tree");
        let group = PathBuf::from(tree.split(' ').nth(4).expect("mount point"))
            .join(format!("{}-manager", bundle.id));
        fs::create_dir(&group).expect("make group");
        Self(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = Command::new("find")
            .arg(&self.0)
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
            .status();
    }
}

/// A container whose group is seen from outside of it, with a limit that this machine can set.
fn bundle(program: &[&str], path: &str) -> Bundle {
    Bundle::args(program).with(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    })
}

#[test]
fn a_container_is_a_scope_for_as_long_as_it_is_there() {
    let bundle = bundle(&["grep", "^0:", "/proc/self/cgroup"], "a-b.slice:test:box");
    let out = managed(
        &bundle,
        "$RUNTIME create --bundle $BUNDLE $ID\n\
         systemctl show test-box.scope -p ActiveState -p Delegate -p Slice\n\
         cat /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope/hugetlb.2MB.max\n\
         $RUNTIME start $ID\n\
         until $RUNTIME state $ID | grep -q stopped; do :; done\n\
         $RUNTIME delete --force $ID\n\
         systemctl show test-box.scope -p ActiveState\n\
         test -e /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope || echo gone",
    );
    let mut lines: Vec<&str> =
        out.lines().filter(|line| !line.ends_with("/a.slice/a-b.slice/test-box.scope")).collect();
    assert_eq!(lines.len() + 1, out.lines().count(), "{out}");
    lines[..3].sort_unstable();
    let want =
        ["ActiveState=active", "Delegate=yes", "Slice=a-b.slice", "4194304", "ActiveState=inactive", "gone"];
    assert_eq!(lines, want, "{out}");
}

#[test]
fn limits_of_a_scope_are_changed_and_what_runs_in_it_is_killed_with_it() {
    let bundle = bundle(&["sleep", "100"], "");
    let out = managed(
        &bundle,
        "$RUNTIME run --detach --bundle $BUNDLE $ID\n\
         echo '{\"hugepageLimits\": [{\"pageSize\": \"2MB\", \"limit\": 8388608}]}' | $RUNTIME update -r - $ID\n\
         cat /sys/fs/cgroup/system.slice/edgelet-$ID.scope/hugetlb.2MB.max\n\
         $RUNTIME exec $ID sh -c 'cat /proc/self/cgroup' | grep -c edgelet-$ID.scope\n\
         $RUNTIME delete --force $ID ; systemctl is-active edgelet-$ID.scope || true",
    );
    assert_eq!(out, "8388608\n1\ninactive\n");
}

#[test]
fn a_path_that_is_no_scope_is_refused_and_without_a_manager_nothing_is_left() {
    let bundle = bundle(&["true"], "/a/b");
    let create = |path: &str| {
        let bundle = self::bundle(&["true"], path);
        bundle.runtime(&["--systemd-cgroup", "create", "--bundle", bundle.bundle(), &bundle.id]).bad()
    };
    assert!(create("/a/b").contains("must be SLICE:PREFIX:NAME"));
    if !std::path::Path::new("/run/systemd/private").exists() {
        assert!(create("system.slice:test:x").contains("by the service manager"));
    }
    assert_eq!(fs::read_dir(bundle.state_root()).map_or(0, Iterator::count), 0);
}
