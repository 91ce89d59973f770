//! Every kind of namespace, made and joined.

use crate::support::{Bundle, is_ours};
use serde_json::json;
use std::fs;

const FILES: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("network", "net"),
    ("cgroup", "cgroup"),
];

fn own(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).expect("namespace").to_string_lossy().into_owned()
}

#[test]
fn each_listed_kind_is_new_and_every_other_is_the_hosts() {
    let bundle =
        Bundle::script("for f in pid ipc uts mnt net cgroup user; do readlink /proc/self/ns/$f; done");
    let out = bundle.run().good();
    let inside: Vec<&str> = out.lines().collect();
    for (at, (_, file)) in FILES.iter().enumerate() {
        assert_ne!(inside[at], own(file), "{file}");
    }
    assert_eq!(inside[6], own("user"));
}

#[test]
fn namespaces_of_another_container_can_be_joined() {
    let first = Bundle::args(&["sleep", "100"]);
    first.create().good();
    let pid = first.pid();
    let second = Bundle::script(
        "for f in pid ipc uts net cgroup; do readlink /proc/self/ns/$f; done; echo $$",
    )
    .with(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        for namespace in namespaces.iter_mut() {
            let kind = namespace["type"].as_str().expect("type");
            let (_, file) = FILES.iter().find(|(name, _)| *name == kind).expect("kind");
            if kind != "mount" {
                namespace["path"] = format!("/proc/{pid}/ns/{file}").into();
            }
        }
        config["hostname"] = "".into();
    });
    let out = second.run().good();
    let inside: Vec<&str> = out.lines().collect();
    for (at, file) in ["pid", "ipc", "uts", "net", "cgroup"].iter().enumerate() {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("namespace");
        assert_eq!(inside[at], theirs.to_string_lossy(), "{file}");
    }
    assert_ne!(inside[5], "1", "it is not the first process of that namespace");
}

#[test]
fn the_type_behind_a_path_is_checked() {
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["linux"]["namespaces"][4] = json!({"type": "network", "path": "/proc/self/ns/ipc"});
    });
    bundle.create().bad();
}

#[test]
fn a_user_namespace_maps_ids_and_root_inside_is_nobody_outside() {
    let bundle = Bundle::script(
        "id -u; cat /proc/self/uid_map | tr -s ' '; touch /dev/shm/x; echo > /dev/null; ls -ln /dev/null",
    )
    .with(|config| {
        config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    });
    std::os::unix::fs::chown(bundle.inside(""), Some(100_000), Some(100_000)).expect("chown");
    bundle.open_path();
    let out = bundle.run().good();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("0"));
    assert_eq!(lines.next().map(str::trim), Some("0 100000 65536"));
    assert!(lines.next().is_some_and(|line| line.contains("1,   3")), "{out}");
}

#[test]
fn a_user_namespace_of_another_container_can_be_joined() {
    let with_user = |config: &mut serde_json::Value| {
        config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    };
    let first = Bundle::args(&["sleep", "100"]).with(with_user);
    std::os::unix::fs::chown(first.inside(""), Some(100_000), Some(100_000)).expect("chown");
    first.open_path();
    first.create().good();
    let path = format!("/proc/{}/ns/user", first.pid());
    let second = Bundle::script("readlink /proc/self/ns/user; id -u").with(|config| {
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .push(json!({"type": "user", "path": path}));
    });
    std::os::unix::fs::chown(second.inside(""), Some(100_000), Some(100_000)).expect("chown");
    second.open_path();
    let out = second.run().good();
    let theirs = fs::read_link(&path).expect("namespace");
    assert_eq!(out, format!("{}\n0\n", theirs.to_string_lossy()));
}

#[test]
fn processes_and_users_of_another_container_can_be_joined_together() {
    let mut first = Bundle::args(&["sleep", "100"]);
    first.map_users(100_000);
    first.create().good();
    let of = |pid: i32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace");
    let mut second = Bundle::args(&["sleep", "100"]);
    second.map_users(100_000);
    for namespace in second.config()["linux"]["namespaces"].as_array_mut().expect("namespaces") {
        if let Some(kind @ ("pid" | "user")) = namespace["type"].clone().as_str() {
            namespace["path"] = format!("/proc/{}/ns/{kind}", first.pid()).into();
        }
    }
    // The mappings stay: callers give some with a namespace that has its own.
    second.create().good();
    for kind in ["pid", "user"] {
        assert_eq!(
            of(second.pid(), kind),
            of(first.pid(), kind),
            "the process is the one that the state names"
        );
    }
    assert_ne!(of(second.pid(), "mnt"), of(first.pid(), "mnt"));
    second.verb("start").good();
    assert_eq!(second.status(), "running");
}

#[test]
fn a_time_namespace_has_its_offsets_from_the_first_moment() {
    if !is_ours() && std::env::var("OCI_RUNTIME").is_ok_and(|name| name == "runc" || name == "crun") {
        return; // The versions of Debian 12 do not know the field.
    }
    let bundle = Bundle::script("cat /proc/uptime").with(|config| {
        config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "time"}));
        config["linux"]["timeOffsets"] =
            json!({"boottime": {"secs": 1_000_000_000}, "monotonic": {"secs": 5}});
    });
    let out = bundle.run().good();
    let seconds: f64 = out.split(' ').next().and_then(|text| text.parse().ok()).expect("uptime");
    assert!(seconds > 1_000_000_000.0, "{out}");
}

#[test]
fn host_and_domain_name_are_the_containers_own() {
    let bundle = Bundle::script("hostname; cat /proc/sys/kernel/domainname").with(|config| {
        config["hostname"] = "some-name".into();
        if is_ours() {
            config["domainname"] = "some.domain".into();
        }
    });
    let out = bundle.run().good();
    assert_eq!(out.lines().next(), Some("some-name"));
    if is_ours() {
        assert_eq!(out.lines().nth(1), Some("some.domain"));
    }
}

#[test]
fn loopback_is_up_in_a_new_network_namespace_and_nothing_else_is_there() {
    let out = Bundle::script("ip -o link | grep -c .; ip -o addr show lo | grep -c 127.0.0.1").run().good();
    assert_eq!(out, "1\n1\n");
}

#[test]
fn settings_of_own_namespaces_are_set_and_those_of_the_host_are_refused() {
    let set = |key: &'static str, value: &'static str| {
        move |config: &mut serde_json::Value| config["linux"]["sysctl"] = json!({key: value})
    };
    let bundle = Bundle::script("cat /proc/sys/net/ipv4/ip_forward").with(set("net.ipv4.ip_forward", "1"));
    assert_eq!(bundle.run().good(), "1\n");
    let bundle = Bundle::script("cat /proc/sys/kernel/shmmax").with(set("kernel.shmmax", "123456"));
    assert_eq!(bundle.run().good(), "123456\n");
    let before = fs::read_to_string("/proc/sys/vm/swappiness").expect("setting");
    Bundle::script("true").with(set("vm.swappiness", "7")).run().bad();
    assert_eq!(fs::read_to_string("/proc/sys/vm/swappiness").expect("setting"), before);
}

#[test]
fn without_a_mount_namespace_a_container_has_its_root_and_the_host_no_mounts_of_it() {
    if !is_ours() {
        return;
    }
    let bundle = Bundle::args(&["sleep", "1000"]).with(|config| {
        config["linux"]["namespaces"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config.as_object_mut().expect("config").remove("hostname");
    });
    fs::write(bundle.inside("here"), "").expect("write");
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let before = mounts();
    bundle.create().good();
    bundle.verb("start").good();
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).expect("namespace");
    assert_eq!(of(&bundle.pid().to_string()), of("self"));
    let exec = bundle.runtime(&["exec", &bundle.id, "ls", "/here", "/proc"]);
    assert!(exec.out.starts_with("/here\n"), "{exec:?}");
    assert_eq!(mounts(), before);
}

#[test]
fn a_setting_is_not_made_through_a_path_that_leads_to_the_hosts_namespace() {
    let bundle = Bundle::args(&["true"]).with(|config| {
        config["linux"]["sysctl"] = json!({"kernel.shmmax": "123456"});
        let kinds = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        let ipc = kinds.iter_mut().find(|kind| kind["type"] == "ipc").expect("ipc");
        ipc["path"] = "/proc/self/ns/ipc".into();
    });
    let before = fs::read_to_string("/proc/sys/kernel/shmmax").expect("setting");
    bundle.run().bad();
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmax").expect("setting"), before);
}

/// Its network namespace on the host's side, with one end of a pair of devices.
struct Network(String);

impl Network {
    fn with_device(device: &str, address: &str) -> Self {
        let name = format!("edgelet-test-{}-{device}", std::process::id());
        let ip = |words: &str| {
            let status = std::process::Command::new("ip").args(words.split(' ')).status();
            status.is_ok_and(|status| status.success())
        };
        assert!(ip(&format!("netns add {name}")));
        let made = Self(name);
        let inside = |words: &str| ip(&format!("-n {} {words}", made.0));
        assert!(inside(&format!("link add {device} type veth peer name other")));
        assert!(inside(&format!("addr add {address} dev {device}")));
        made
    }

    /// Starts the runtime in it. Not by `ip netns exec`, which hides the cgroup trees.
    fn start(&self, bundle: &Bundle, verb: &str) -> std::process::Output {
        let run = bundle.command();
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0)).arg(run.get_program()).args(run.get_args());
        command.args([verb, "--bundle", bundle.bundle(), &bundle.id]).output().expect("nsenter")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

#[test]
fn a_network_device_is_handed_over_with_its_address_and_switched_on() {
    if !is_ours() {
        return;
    }
    let network = Network::with_device("given0", "10.99.0.1/24");
    let mut bundle = Bundle::script("ip addr show dev taken0; ip link show other 2>/dev/null || echo alone");
    bundle.config()["linux"]["netDevices"] = json!({"given0": {"name": "taken0"}});
    // The runtime starts where the device is.
    let output = network.start(&bundle, "run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        out.contains("inet 10.99.0.1/24") && out.contains("UP") && out.ends_with("alone\n"),
        "{out}{err}"
    );

    bundle.config()["linux"]["netDevices"] = json!({"nothing0": {}});
    let output = network.start(&bundle, "create");
    assert!(String::from_utf8_lossy(&output.stderr).contains("move network device nothing0"), "{output:?}");
}
