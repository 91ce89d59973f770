//! The whole `config.json` (OCI runtime-spec 1.3).

use super::identity::{Identity, IdentityError};
use super::{capabilities, mounts, process, resources};
use edgelet_types::config::IDS_OF_WORKLOAD;
use edgelet_types::image::RunConfig;
use edgelet_types::workload::Network;
use edgelet_types::{ContainerId, Fault, ImageRef, Reason, Workload};
use serde_json::{Value, json};
use std::path::Path;

/// What was looked up on the machine and in the image.
pub struct Facts<'a> {
    /// The run.
    pub container: &'a ContainerId,
    /// Its bundle.
    pub bundle: &'a Path,
    /// Who the program runs as.
    pub identity: Identity,
    /// The name that the container sees as its own.
    pub hostname: &'a str,
    /// `TZ` for workloads that set none.
    pub time_zone: &'a str,
    /// The device nodes of the host that the workload gets.
    pub devices: Vec<DeviceNode>,
    /// The user and group of the host that root is, where the workload has users of its own.
    pub first_id: Option<u32>,
    /// The machine has cgroup file systems that can be shown to the container.
    pub cgroup_mount: bool,
}

/// A device node of the host, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Absolute, inside.
    pub container: String,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// Why a workload cannot be told to the runtime. All of them need another manifest or image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Neither says what to run.
    #[error("image {0} has no command, and the workload gives none")]
    NoCommand(ImageRef),
    /// No such capability.
    #[error("capability {0:?} does not exist")]
    Capability(String),
    /// No such resource limit.
    #[error("ulimit {0:?} does not exist")]
    Rlimit(String),
    /// The user or group.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<BundleError> for Fault {
    fn from(error: BundleError) -> Self {
        Fault::chain(Reason::InvalidInput, &error)
    }
}

/// Kernel files that a container has no business with: they leak about, or act on, the whole machine.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Kernel files that a container may read only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Writes the runtime's configuration for one run of a workload.
pub fn spec(workload: &Workload, image: &RunConfig, facts: &Facts<'_>) -> Result<Value, BundleError> {
    let wanted = &workload.spec;
    let capabilities = capabilities::of(wanted)?;
    let mut linux = json!({
        "namespaces": namespaces(workload),
        "cgroupsPath": edgelet_oci::daemons_group(facts.container.as_str()),
        "resources": resources::resources(workload, facts),
        "devices": resources::devices(facts),
        "sysctl": wanted.sysctls,
        "rootfsPropagation": "private",
    });
    if let Some(first) = facts.first_id {
        let mapping = json!([{ "containerID": 0, "hostID": first, "size": IDS_OF_WORKLOAD }]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    if !wanted.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
        linux["seccomp"] = json!(edgelet_oci::default_seccomp_profile(&capabilities::typed(&capabilities)));
    }
    let mut annotations = wanted.annotations.clone();
    annotations.insert("edgelet.iofog.org/microservice-uid".to_owned(), workload.id.to_string());
    let mut spec = json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs", "readonly": wanted.read_only_root },
        "mounts": mounts::mounts(workload, facts),
        "process": {
            "terminal": false,
            "user": {
                "uid": facts.identity.uid,
                "gid": facts.identity.gid,
                "additionalGids": facts.identity.groups,
            },
            "args": process::arguments(workload, image)?,
            "env": process::environment(workload, image, facts),
            "cwd": wanted.working_dir.as_deref().or(image.working_dir.as_deref()).unwrap_or("/"),
            // Inheritable and ambient stay empty (CVE-2022-29162).
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": resources::rlimits(workload)?,
            // Not the daemon's own, which is the last to go.
            "oomScoreAdj": 0,
            "noNewPrivileges": false,
        },
        "annotations": annotations,
        "linux": linux,
    });
    if wanted.network == Network::None {
        // With the host's network goes the host's name: programs look the one up in the other.
        spec["hostname"] = json!(facts.hostname);
    }
    Ok(spec)
}

/// The files that are bound over the container's `/etc`: names and contents.
pub fn host_files(
    workload: &Workload,
    hostname: &str,
    host_resolv_conf: &str,
) -> [(&'static str, String); 3] {
    let resolv_conf = match workload.spec.network {
        Network::Host => host_resolv_conf.to_owned(),
        Network::None => String::new(),
    };
    let hosts =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n");
    [("hostname", format!("{hostname}\n")), ("hosts", hosts), ("resolv.conf", resolv_conf)]
}

fn namespaces(workload: &Workload) -> Vec<Value> {
    let wanted = &workload.spec;
    let kinds = [
        ("mount", true),
        ("pid", !wanted.host_pid),
        ("ipc", !wanted.host_ipc),
        ("network", wanted.network != Network::Host),
        ("uts", wanted.network != Network::Host),
        ("cgroup", !wanted.privileged),
        ("user", wanted.own_users),
    ];
    kinds.into_iter().filter(|(_, own)| *own).map(|(kind, _)| json!({ "type": kind })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::workload::{Resources, Source, Target, Ulimit};
    use edgelet_types::{Name, UnixMillis, WorkloadId, WorkloadSpec};

    fn workload(change: impl FnOnce(&mut WorkloadSpec)) -> Workload {
        let mut spec = WorkloadSpec::of(ImageRef::parse("app").expect("a reference"));
        change(&mut spec);
        Workload {
            id: WorkloadId::from_random([7; 16]),
            application: Name::parse("edgelet").expect("a name"),
            name: Name::parse("web").expect("a name"),
            source: Source::Local,
            target: Target::Running,
            generation: 1,
            spec,
            manifest: None,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        }
    }

    fn build(workload: &Workload, image: &RunConfig) -> Result<Value, BundleError> {
        let facts = Facts {
            container: &ContainerId::from_random([1; 16]),
            bundle: Path::new("/run/edgelet/containers/x"),
            identity: Identity { uid: 1, gid: 2, groups: vec![3], home: "/home".to_owned() },
            hostname: "web",
            time_zone: "UTC",
            devices: vec![],
            first_id: workload.spec.own_users.then_some(524_288),
            cgroup_mount: true,
        };
        spec(workload, image, &facts)
    }

    fn image() -> RunConfig {
        RunConfig {
            env: vec!["PATH=/bin".to_owned(), "A=image".to_owned(), "EDGELET_ROLE=router".to_owned()],
            entrypoint: vec!["/entry".to_owned()],
            command: vec!["default".to_owned()],
            ..RunConfig::default()
        }
    }

    #[test]
    fn the_runtimes_own_reader_takes_what_we_write() {
        let full = workload(|spec| {
            spec.network = Network::Host;
            spec.read_only_root = true;
            spec.ulimits.insert("nofile".to_owned(), Ulimit { soft: Some(1), hard: None });
            spec.resources = Resources {
                cpu_millis: Some(1500),
                cpuset: Some("0-1".to_owned()),
                memory_bytes: Some(1 << 20),
                memory_reservation_bytes: Some(1 << 19),
                memory_swap_bytes: Some(-1),
                pids: Some(5),
            };
        });
        let value = build(&full, &image()).expect("a specification");
        let read: edgelet_oci::spec::Spec = serde_json::from_value(value).expect("valid for the runtime");
        let resources = read.linux.and_then(|linux| linux.resources).expect("resources");
        assert_eq!(resources.cpu.and_then(|cpu| cpu.quota()), Some(150_000));
        assert_eq!(resources.memory.and_then(|memory| memory.swap()), Some(-1));
    }

    #[test]
    fn the_workload_overrides_the_image_as_users_expect() {
        let arguments = |entrypoint: &[&str], command: &[&str]| {
            let workload = workload(|spec| {
                spec.entrypoint = entrypoint.iter().map(|s| (*s).to_owned()).collect();
                spec.command = command.iter().map(|s| (*s).to_owned()).collect();
            });
            build(&workload, &image()).map(|spec| spec["process"]["args"].clone())
        };
        assert_eq!(arguments(&[], &[]), Ok(json!(["/entry", "default"])));
        assert_eq!(arguments(&[], &["own"]), Ok(json!(["/entry", "own"])));
        assert_eq!(arguments(&["/own"], &[]), Ok(json!(["/own"])));
        assert_eq!(arguments(&["/own"], &["x"]), Ok(json!(["/own", "x"])));
        let nothing = build(&workload(|_| ()), &RunConfig::default());
        assert!(matches!(nothing, Err(BundleError::NoCommand(_))));
    }

    #[test]
    fn nobody_can_claim_another_identity() {
        let spec =
            build(&workload(|spec| spec.env = vec![("A".into(), "own".into())]), &image()).expect("a spec");
        let env = spec["process"]["env"].as_array().expect("a list").clone();
        for line in
            ["A=own", "PATH=/bin", "EDGELET_ROLE=workload", "TZ=UTC", "HOME=/home", "EDGELET_SCOPE=local"]
        {
            assert!(env.contains(&json!(line)), "{line} in {env:?}");
        }
    }

    #[test]
    fn a_plain_workload_is_confined_and_a_privileged_one_is_not() {
        let plain = build(&workload(|_| ()), &image()).expect("a spec");
        assert_eq!(plain["linux"]["resources"]["devices"][0], json!({ "allow": false, "access": "rwm" }));
        assert_eq!(plain["process"]["capabilities"]["bounding"].as_array().map(Vec::len), Some(14));
        assert!(plain["linux"]["maskedPaths"].is_array() && plain["linux"]["seccomp"].is_object());
        let free = build(&workload(|spec| spec.privileged = true), &image()).expect("a spec");
        assert_eq!(free["linux"]["resources"]["devices"][0], json!({ "allow": true, "access": "rwm" }));
        assert!(free["linux"].get("maskedPaths").is_none() && free["linux"].get("seccomp").is_none());
    }

    #[test]
    fn a_workload_with_users_of_its_own_has_them_in_its_files_too() {
        use edgelet_types::workload::Bind;
        let own = workload(|spec| {
            spec.own_users = true;
            spec.binds = vec![Bind { host: "/srv".into(), container: "/data".into(), read_only: false }];
        });
        let spec = build(&own, &image()).expect("a spec");
        let mapping = json!([{ "containerID": 0, "hostID": 524_288, "size": 65_536 }]);
        assert_eq!((&spec["linux"]["uidMappings"], &spec["linux"]["gidMappings"]), (&mapping, &mapping));
        let mounts = spec["mounts"].as_array().expect("a list");
        let data = mounts.iter().find(|mount| mount["destination"] == "/data").expect("the volume");
        assert_eq!(data["options"], json!(["rbind", "rprivate", "rw", "ridmap"]));
    }

    #[test]
    fn the_hosts_network_brings_the_hosts_names() {
        let host = workload(|spec| spec.network = Network::Host);
        let spec = build(&host, &image()).expect("a spec");
        let kinds: Vec<_> = spec["linux"]["namespaces"].as_array().expect("a list").iter().collect();
        assert!(
            !kinds.contains(&&json!({ "type": "network" })) && !kinds.contains(&&json!({ "type": "uts" }))
        );
        assert_eq!(host_files(&host, "web", "nameserver 1\n")[2].1, "nameserver 1\n");
        assert_eq!(host_files(&workload(|_| ()), "web", "nameserver 1\n")[2].1, "");
    }
}
